"""Sweeps and grids on three nodes without a common disk, undisturbed and with a fault in mid-run, as a table."""

import os
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from tests.services import grids
from tests.services.grids import wait_for
from tests.services.mlflow_server import MlflowServer
from tests.services.namespaces import Network
from tests.services.nodes import TOKEN, RayNodes, alive, make_network
from tests.services.postgres_server import PostgresServer
from tests.services.s3_server import S3Server
from tests.services.test_sweep_cli import EXPERIMENT, SPACE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
KINDS = ("sweep", "grid")
TRIALS = 4
COUNTS = {"sweep": TRIALS, "grid": 10}
RUNS = {"sweep": 1 + TRIALS, "grid": 16}
AWAY_S, CUT_S = 30, 60
LONGER = {"training.images": 2560, "training.validate_every": 320, "sweep.grace_images": 2560}
SWEEP = {"sweep.trials": TRIALS, "sweep.concurrent": 3, **LONGER}
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
        return self.screen.read_text()


class Lab:
    """Three nodes, an S3 server, and MLflow over PostgreSQL on the head; what is killed is begun again by `heal`."""

    def __init__(self, folder: Path, store: Path) -> None:
        self.folder = folder
        self.network = make_network(2)
        self.nodes = RayNodes(folder, self.network)
        self.s3 = S3Server(folder, host=self.network.here)
        self.postgres = PostgresServer()
        self.place: dict[int, int] = {}
        """Number of a namespace to number of its node in `nodes.begun`."""
        self._source = store

    def start(self) -> None:
        self.s3.start()
        self.s3.client().create_bucket(Bucket="lab")
        for path in self._source.rglob("*"):
            if path.is_file():
                self.s3.client().upload_file(str(path), "lab", f"store/{path.relative_to(self._source)}")
        self.postgres.start()
        self.mlflow = MlflowServer(self.folder, store=self.postgres.uri)
        self.mlflow.start()
        self.nodes.begin_head("--object-store-memory", str(2**27))
        for number in (0, 1):
            self.join(number)

    def join(self, number: int) -> None:
        """Start a node in a namespace, and wait for it."""
        self.nodes.begin_node(number, "--object-store-memory", str(2**27), hidden=(self.folder, Path("/dev/shm")))
        self.place[number] = len(self.nodes.begun) - 1
        self.nodes.wait_alive(1 + len(self.place))

    def leave(self, number: int) -> None:
        """Kill a node with all that it started."""
        self.nodes.end(self.place.pop(number))

    def heal(self) -> None:
        """Bring back what a fault took away."""
        for number in (0, 1):
            if number in self.place and self.nodes.raylet(self.place[number]) is None:
                self.leave(number)
        self.nodes.wait_alive(1 + len(self.place))
        for number in (0, 1):
            if number not in self.place:
                self.join(number)

    def stop(self) -> None:
        self.nodes.stop()
        if hasattr(self, "mlflow"):
            self.mlflow.stop()
        self.postgres.stop()
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
            "MLFLOW_TRACKING_URI": self.mlflow.uri,
            "COLUMNS": "200",
        }

    def project(self, name: str) -> Path:
        folder = self.folder / name
        if not folder.exists():
            grids.make_project(folder)
            for name, short, long in (("tiny", "images=96", "images=960"), ("ablation_tiny", "images=320", "images=4800")):
                module = folder / "experiments" / f"{name}.py"
                module.write_text(module.read_text().replace(short, long).replace("every=160", "every=2400"))
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
            verb = [
                "sweep",
                "swept",
                "--space",
                "tiny",
                *(word for each in SWEEP.items() for word in ("--set", "%s=%s" % each)),
            ]
        screen = project / "screen.txt"
        with screen.open("ab") as stream:
            process = subprocess.Popen(
                [*HYPERDERM, *verb, *where, *flags], cwd=project, env=self.environment(), stdout=stream, stderr=stream
            )
        return Running(kind, name, process, screen)

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
        tree = runs_below(MlflowClient(self.mlflow.uri), name)
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
            names = [" ".join(each.cmdline()) for each in self.nodes.processes(node) if alive(each)]
            if any("ray::Trial" in name for name in names):
                return number
        return -1

    def in_the_middle(self, run: Running) -> bool:
        """Return whether a command has begun its work, on a node in a namespace too, and is not about to end."""
        begun = self.checkpoints(run.name) >= 2 if run.kind == "sweep" else self.done(run.kind, run.name) >= 1
        return begun and self.busy() >= 0

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


def runs_below(client: MlflowClient, name: str) -> list:
    """The run of a sweep or grid, and all below it."""
    experiments = [each.experiment_id for each in client.search_experiments()]
    runs = client.search_runs(experiments, max_results=1000)
    (top,) = [run for run in runs if run.info.run_name == name and "mlflow.parentRunId" not in run.data.tags]
    found = [top]
    for run in found:
        found += [each for each in runs if each.data.tags.get("mlflow.parentRunId") == run.info.run_id]
    return found


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, phantom_store: Path) -> Iterator[Lab]:
    made = Lab(tmp_path_factory.mktemp("lab"), phantom_store)
    try:
        made.start()
        yield made
    finally:
        made.stop()


def raylet_killed(lab: Lab, run: Running) -> Running:
    raylet = lab.nodes.raylet(lab.place[lab.busy()])
    assert raylet
    raylet.kill()
    return run


def node_cut_off(lab: Lab, run: Running) -> Running:
    number = lab.busy()
    lab.cut(number)
    time.sleep(CUT_S)
    lab.mend(number)
    return run


def driver_killed(lab: Lab, run: Running) -> Running:
    run.process.kill()
    run.process.wait(30)
    return lab.begin(run.kind, run.name)


def mlflow_stopped(lab: Lab, run: Running) -> Running:
    return without(lab.mlflow, run)


def s3_stopped(lab: Lab, run: Running) -> Running:
    return without(lab.s3, run)


def postgres_stopped(lab: Lab, run: Running) -> Running:
    return without(lab.postgres, run)


def without(server: MlflowServer | S3Server | PostgresServer, run: Running) -> Running:
    server.stop()
    time.sleep(AWAY_S)
    server.start()
    return run


def node_added(lab: Lab, run: Running) -> Running:
    lab.join(1)
    return run


FAULTS: dict[Callable[[Lab, Running], Running], str] = {
    raylet_killed: r"node 10\S+ was lost",
    node_cut_off: r"node 10\S+ was lost",
    driver_killed: r"[1-9] of \d+ (trials|jobs) done|goes on",
    mlflow_stopped: r"tracking: ",
    s3_stopped: r"the S3 server at \S+ was away",
    postgres_stopped: r"tracking: ",
    node_added: r"node 10\S+ joined",
}
"""What is done to a command in mid-run, and what the screen must say about it."""


def survive(lab: Lab, kind: str, fault: Callable[[Lab, Running], Running] | None) -> Ended:
    """Run a sweep or a grid with a fault in its middle, to its end."""
    lab.heal()
    if fault is node_added:
        lab.leave(1)
        lab.nodes.wait_alive(2)
    run = lab.begin(kind, f"{fault.__name__ if fault else 'calm'}_{kind}")
    if fault:
        wait_for(lambda: run.process.poll() is not None or lab.in_the_middle(run), 200, f"{run.name}'s first checkpoint")
        run = fault(lab, run)
        said = run.said()
        assert run.process.poll() is None, f"{run.name} ended before its fault did:\n{said}"
    return lab.finish(run)


def verdict(kind: str, ended: Ended, words: str) -> tuple[str, str]:
    """Return what is wrong with a row, or "", and the lines that name the fault."""
    lines = [line for line in ended.said.splitlines() if words and re.search(words, line)]
    wrong = []
    if ended.done != COUNTS[kind]:
        wrong.append(f"{ended.done} done")
    if ended.open:
        wrong.append(f"not FINISHED: {', '.join(ended.open)}")
    if len(set(ended.runs)) < len(ended.runs) or len(ended.runs) != RUNS[kind]:
        wrong.append(f"runs: {ended.runs}")
    if words and not lines:
        wrong.append("not told")
    return "; ".join(wrong), "\n".join(lines)


CHOSEN = [each for each in FAULTS if each.__name__ in os.environ.get("FAULTS", each.__name__)]


def test_every_fault_is_survived(lab, tmp_path):
    rows, red = [], []
    for fault in (None, *CHOSEN):
        for kind in KINDS:
            name = fault.__name__ if fault else "undisturbed"
            try:
                ended = survive(lab, kind, fault)
            except (AssertionError, subprocess.TimeoutExpired) as error:
                rows.append((name, kind, 0.0, f"RED: {error}"))
                continue
            wrong, said = verdict(kind, ended, FAULTS[fault] if fault else "")
            rows.append((name, kind, ended.seconds, f"RED: {wrong}\n{ended.said}" if wrong else said))
            print("%-18s%-8s%5.0f s  %s" % rows[-1], flush=True)
    print("\n".join("%-18s%-8s%5.0f s  %s" % row for row in rows))
    assert not [row for row in rows if row[3].startswith("RED")]
