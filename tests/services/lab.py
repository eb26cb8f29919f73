"""A cluster without a common disk and its servers, on which sweeps and grids run while a test disturbs them."""

import os
import re
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from tests.services import grids
from tests.services.mlflow_server import MlflowServer
from tests.services.namespaces import Loopback, Network
from tests.services.nodes import TOKEN, RayNodes, alive
from tests.services.postgres_server import PostgresServer
from tests.services.s3_server import S3Server
from tests.services.test_sweep_cli import EXPERIMENT, SPACE

HYPERDERM = [sys.executable, "-m", "hyperderm"]


@dataclass
class Ended:
    """What is left of a command that ended."""

    done: int
    """Trials or jobs that ended."""
    runs: list[str]
    """Names of its run in MLflow and of those below."""
    open: list[str]
    """Those that are not FINISHED, with their status."""
    said: str
    seconds: float


@dataclass
class Running:
    """A command in mid-run."""

    kind: str
    name: str
    process: subprocess.Popen[bytes]
    screen: Path
    begun: float = field(default_factory=time.monotonic)

    def said(self) -> str:
        """Return what the screen shows so far."""
        return self.screen.read_text()


class Lab:
    """A head here, nodes on a network, an S3 server with the store, and MLflow over PostgreSQL on the head.

    Args:
        folder: holds everything, and is hidden from nodes in namespaces.
        store: a store on this disk, which is copied to S3.
        network: where the nodes live; closed by `stop`.
        trials: number of trials of a sweep.
        images: images of a trial.
    """

    def __init__(self, folder: Path, store: Path, network: Network | Loopback, trials: int, images: int) -> None:
        self.folder, self.network, self._source = folder, network, store
        self.settings = {"sweep.trials": trials, "sweep.concurrent": 3, "sweep.grace_images": images}
        self.settings |= {"training.images": images, "training.validate_every": images // 8}
        self.nodes = RayNodes(folder, self.network)
        self.s3 = S3Server(folder, host=self.network.here)
        self.postgres = PostgresServer()
        self.place: dict[int, int] = {}
        """Number of a namespace to number of its node in `nodes.begun`."""
        self.mlflow: MlflowServer | None = None

    @property
    def tracking(self) -> str:
        """Where MLflow keeps the runs."""
        return self.mlflow.uri if self.mlflow else f"sqlite:///{self.folder}/mlflow.db"

    def start(self, nodes: int = 2) -> None:
        """Start S3, the head and nodes."""
        self.s3.start()
        self.s3.client().create_bucket(Bucket="lab")
        for path in self._source.rglob("*"):
            if path.is_file():
                self.s3.client().upload_file(str(path), "lab", f"store/{path.relative_to(self._source)}")
        self.nodes.begin_head("--object-store-memory", str(2**27))
        for number in range(nodes):
            self.join(number)

    def start_tracking(self) -> None:
        """Start PostgreSQL and an MLflow server over it; without them, MLflow keeps the runs in a file."""
        self.postgres.start()
        self.mlflow = MlflowServer(self.folder, store=self.postgres.uri)
        self.mlflow.start()

    def join(self, number: int, cpus: int = 1) -> None:
        """Start a node in a namespace, and wait for it."""
        words = ["--object-store-memory", str(2**27), "--num-cpus", str(cpus)]
        self.nodes.begin_node(number, *words, hidden=(self.folder, Path("/dev/shm")))
        self.place[number] = len(self.nodes.begun) - 1
        self.nodes.wait_started()

    def leave(self, number: int) -> None:
        """Kill a node with all that it started."""
        self.nodes.end(self.place.pop(number))

    def heal(self) -> None:
        """Bring back the nodes that a fault took away."""
        for number in (0, 1):
            if number in self.place and self.nodes.raylet(self.place[number]) is None:
                self.leave(number)
        self.nodes.wait_alive(1 + len(self.place))
        for number in (0, 1):
            if number not in self.place:
                self.join(number)

    def stop(self) -> None:
        """End everything, and leave nothing."""
        self.nodes.stop()
        if self.mlflow:
            self.mlflow.stop()
        self.postgres.__exit__(None, None, None)
        self.s3.stop()
        self.network.close()

    def environment(self) -> dict[str, str]:
        """What a user exports on the head."""
        held = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "AWS_", "MLFLOW_"))}
        return {
            **held,
            **self.s3.variables(),
            "RAY_ADDRESS": self.nodes.address,
            "RAY_AUTH_TOKEN": TOKEN,
            "MLFLOW_TRACKING_URI": self.tracking,
            "COLUMNS": "200",
        }

    def project(self, name: str) -> Path:
        """Return the folder of a project with a sweep and a grid, in which the command `name` runs."""
        folder = self.folder / name
        if not folder.exists():
            grids.make_project(folder)
            for name, short, long in (("tiny", "images=96", "images=960"), ("ablation_tiny", "images=320", "images=38400")):
                module = folder / "experiments" / f"{name}.py"
                module.write_text(module.read_text().replace(short, long).replace("every=160", "every=9600"))
            (folder / "search_spaces").mkdir()
            (folder / "search_spaces/__init__.py").touch()
            (folder / "search_spaces/tiny.py").write_text(SPACE)
            (folder / "experiments/swept.py").write_text(EXPERIMENT)
        return folder

    def begin(self, kind: str, name: str, *flags: str) -> Running:
        """Start or repeat a sweep or a grid."""
        project = self.project(name)
        where = ["--profile", "small", "--store", "s3://lab/store", "--storage", "s3://lab/runs", "--name", name]
        verb = ["ablation", "tiny", "--set", "folds=[0]"]
        if kind == "sweep":
            verb = ["sweep", "swept", "--space", "tiny"]
            verb += [word for path, value in self.settings.items() for word in ("--set", f"{path}={value}")]
        screen = project / "screen.txt"
        with screen.open("ab") as stream:
            process = subprocess.Popen(
                [*HYPERDERM, *verb, *where, *flags], cwd=project, env=self.environment(), stdout=stream, stderr=stream
            )
        return Running(kind, name, process, screen)

    def call(self, name: str, *words: str) -> str:
        """Run another command in the project of `name`, and return what it printed."""
        done = subprocess.run(
            [*HYPERDERM, *words],
            cwd=self.project(name), env=self.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        return done.stdout

    def finish(self, running: Running, seconds: float = 400) -> Ended:
        """Wait for a command's end and look at what it left."""
        kind, name = running.kind, running.name
        try:
            running.process.wait(seconds)
        finally:
            if running.process.poll() is None:
                running.process.kill()
        said = running.said()
        assert running.process.returncode == 0, f"exit code {running.process.returncode}:\n{said}"
        assert "Traceback" not in said, said
        tree = runs_below(MlflowClient(self.tracking), name)
        return Ended(
            self.done(kind, name),
            sorted(run.info.run_name for run in tree),
            [f"{run.info.run_name} {run.info.status}" for run in tree if run.info.status != "FINISHED"],
            said,
            time.monotonic() - running.begun,
        )

    def done(self, kind: str, name: str) -> int:
        """How many trials or jobs have ended, by the driver's own files or what lies on S3."""
        if kind == "grid":
            held = self.s3.client().list_objects_v2(Bucket="lab", Prefix=f"runs/{name}/").get("Contents", ())
            return sum(each["Key"].endswith("/result.json") for each in held)
        path = self.project(name) / "runs" / name / "study.db"
        if not path.exists():
            return 0
        try:
            with closing(sqlite3.connect(path)) as study:
                ended = "select count(*) from trials where state in ('COMPLETE', 'PRUNED')"
                return int(study.execute(ended).fetchone()[0])
        except sqlite3.OperationalError:
            return 0

    def checkpoints(self, name: str) -> int:
        """How many checkpoints of running jobs lie on S3."""
        held = self.s3.client().list_objects_v2(Bucket="lab", Prefix=f"runs/{name}/").get("Contents", ())
        return sum(each["Key"].endswith("/latest.pt") for each in held)

    def busy(self) -> int:
        """Return the number of a namespace that holds a worker with a job; -1 if none does."""
        for number, node in self.place.items():
            for each in self.nodes.processes(node):
                with suppress(psutil.NoSuchProcess):
                    if re.search(
                        r"ray::(Trial|ResourceTrainable|RayTrainWorker)", " ".join(each.cmdline())
                    ):  # idle, or at work
                        return number
        return -1

    def in_the_middle(self, run: Running) -> bool:
        """Return whether a command has begun its work, on a node in a namespace too, and is not about to end."""
        wanted = self.settings["sweep.trials"] // 2 if run.kind == "sweep" else 1
        return self.checkpoints(run.name) >= wanted and self.busy() >= 0

    def cut(self, number: int) -> None:
        """Take a node off the network; on loopback addresses, stop its processes instead."""
        if isinstance(self.network, Network):
            self.network.cut(number)
        else:
            for each in self.nodes.processes(self.place[number]):
                each.suspend()

    def mend(self, number: int) -> None:
        """Undo `cut`."""
        if isinstance(self.network, Network):
            self.network.mend(number)
        elif number in self.place:
            for each in filter(alive, self.nodes.processes(self.place[number])):
                each.resume()


def runs_below(client: MlflowClient, name: str) -> list[Run]:
    """The run of a sweep or grid, and all below it."""
    experiments = [each.experiment_id for each in client.search_experiments()]
    runs = client.search_runs(experiments, max_results=1000)
    (top,) = [run for run in runs if run.info.run_name == name and "mlflow.parentRunId" not in run.data.tags]
    found = [top]
    for run in found:
        found += [each for each in runs if each.data.tags.get("mlflow.parentRunId") == run.info.run_id]
    return found
