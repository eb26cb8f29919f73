"""MLflow behind a login and TLS, S3, and Ray with a token: who may not is told so, and no secret is left behind.

Not in the files of runs, MLflow's database and artifacts, Ray's logs, on the screen, in `ps`, or on Ray's dashboard.
"""

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

from hyperderm.workflows.detached import GOING
from infra.seaweed import free_ports
from tests.command import project_of
from tests.services.front import front, make_certificate
from tests.services.grids import make_project
from tests.services.grids import words as grid_words
from tests.services.marked import MARK, PASSWORD, SECRET, TOKEN, betraying, betrays, token, watching
from tests.services.mlflow_server import MlflowServer
from tests.services.s3_server import S3Server
from tests.services.test_grid_machinery import SMALL
from tests.services.test_sweep_cli import EXPERIMENT, HYPERDERM, SPACE, sweep, tree, wait_for

USER = "ada"


@pytest.fixture
def project(tmp_path):
    for folder, name, text in (("experiments", "tiny", EXPERIMENT), ("search_spaces", "tiny", SPACE)):
        (tmp_path / "project" / folder).mkdir(parents=True)
        (tmp_path / "project" / folder / "__init__.py").touch()
        (tmp_path / "project" / folder / f"{name}.py").write_text(text)
    return tmp_path / "project"


@pytest.fixture
def ray_folder():
    """A folder of its own for Ray's sessions, with a name short enough for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="hd", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


def swept(
    project: Path, store: Path, variables: dict[str, str], *flags: str
) -> tuple[subprocess.CompletedProcess[bytes], set]:
    """Run a sweep to its end, and return it with the command lines that were seen meanwhile."""
    with watching() as watched:
        done = subprocess.run(
            [str(HYPERDERM), *sweep(store), *flags],
            cwd=project, env={**os.environ, **variables}, capture_output=True, timeout=200,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert watched.looks > 10
    assert any(b"raylet" in line for line in watched.seen)
    return done, watched.seen


def nothing_betrayed(done, seen: set[bytes], *folders: Path) -> None:
    assert not betrays(done.stdout + done.stderr)
    assert not [line for line in seen if betrays(line)]
    assert betraying(folders) == []


def test_a_mark_is_found_in_every_form():
    for text in (f"x{TOKEN}", json.dumps({"k": f"{USER}:{PASSWORD}"}).encode().hex(), SECRET):
        assert betrays(text.encode())
    for before in range(6):
        assert betrays(base64.b64encode(b"u" * before + f":{PASSWORD}".encode()))
    assert not betrays(MARK.lower().encode())


@pytest.mark.slow  # its short form: test_keys_of_s3_are_not_sent_by_the_environment (cluster/test_starting.py)
def test_a_sweep_leaves_no_secret(project, phantom_store, mlflow_server, ray_folder):
    """The short form: a password in MLflow's address, a key that nothing needs, a local Ray with a token."""
    variables = token({"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": SECRET, "RAY_TMPDIR": str(ray_folder)})
    with front(mlflow_server.uri, login=(USER, PASSWORD)) as uri:
        address = uri.replace("://", f"://{USER}:{PASSWORD}@")
        flags = ("--trials", "1", "--set", "training.images=32")
        done, seen = swept(project, phantom_store, variables | {"MLFLOW_TRACKING_URI": address}, *flags)
    assert b"entries wait" not in done.stdout
    nothing_betrayed(done, seen, project, mlflow_server.folder, ray_folder)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory) -> Iterator[MlflowServer]:
    """MLflow's own server with its basic-auth app, speaking TLS with a certificate of a CA that nobody knows."""
    folder = tmp_path_factory.mktemp("guarded")
    made = make_certificate(tmp_path_factory.mktemp("ca"), "ours")
    server = MlflowServer(folder, login=(USER, PASSWORD), certificate=made)
    server.start(120)
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def bucket(tmp_path_factory) -> Iterator[S3Server]:
    with S3Server(tmp_path_factory.mktemp("s3"), secret=SECRET) as server:
        server.client().create_bucket(Bucket="runs")
        yield server


def let_in(server: MlflowServer) -> dict[str, str]:
    """The variables of a user whom the server lets in."""
    return {
        "MLFLOW_TRACKING_URI": server.uri,
        "MLFLOW_TRACKING_USERNAME": USER,
        "MLFLOW_TRACKING_PASSWORD": PASSWORD,
        "MLFLOW_TRACKING_SERVER_CERT_PATH": str(server.certificate),
    }


UNTRUSTED = r"is not trusted here \(.*\)\. Set MLFLOW_TRACKING_SERVER_CERT_PATH to the file of the CA that signed it"
REFUSALS = {
    "wrong password": (
        {"MLFLOW_TRACKING_PASSWORD": f"wrong-{MARK}-password"},
        r"refuses user 'ada' with the password given \(401\)\. Correct MLFLOW_TRACKING_USERNAME and",
    ),
    "wrong user": ({"MLFLOW_TRACKING_USERNAME": "eve"}, r"refuses user 'eve' with the password given \(401\)\. Correct"),
    "no password": (
        {"MLFLOW_TRACKING_USERNAME": "", "MLFLOW_TRACKING_PASSWORD": ""},
        r"refuses: not logged in \(401\)\. Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
    ),
    "no CA": ({"MLFLOW_TRACKING_SERVER_CERT_PATH": ""}, UNTRUSTED),
    "a CA that does not sign it": ({"MLFLOW_TRACKING_SERVER_CERT_PATH": "other"}, UNTRUSTED),
}


def refused(command, project: Path, store: Path, variables: dict[str, str], said: str) -> None:
    """The sweep ends with one sentence and its remedy, before a process or a folder was made."""
    begun = {process.pid for process in psutil.Process().children(recursive=True)}
    with project_of(project, **variables):
        done = command(*sweep(store))
    told = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 2, told
    assert re.search(said, told)
    assert not betrays(told.encode())
    assert not list((project / "runs").glob("*"))
    assert {process.pid for process in psutil.Process().children(recursive=True)} <= begun


@pytest.mark.slow  # in short: what a login that is refused says (tracking/test_proof.py)
@pytest.mark.parametrize("case", ["wrong password", "no password"])
def test_who_may_not_is_told_before_anything_starts(case, command, project, phantom_store, mlflow_server):
    """The short form: the login is asked for by a server in front."""
    changes, said = REFUSALS[case]
    with front(mlflow_server.uri, login=(USER, PASSWORD)) as uri:
        variables = {"MLFLOW_TRACKING_USERNAME": USER, "MLFLOW_TRACKING_URI": uri, **changes}
        refused(command, project, phantom_store, variables, said)


@pytest.mark.slow
@pytest.mark.parametrize("case", REFUSALS)
def test_mlflow_s_own_login_and_certificate(case, command, project, phantom_store, guarded, tmp_path):
    changes, said = REFUSALS[case]
    other = {"MLFLOW_TRACKING_SERVER_CERT_PATH": str(make_certificate(tmp_path, "other"))}
    changes = other if "other" in changes.values() else changes
    refused(command, project, phantom_store, let_in(guarded) | changes, said)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_sweep_behind_a_login_tls_and_keys_is_recorded_and_leaves_no_secret(
    project, phantom_store, guarded, bucket, ray_folder, monkeypatch
):
    variables = token({**let_in(guarded), **bucket.variables(), "RAY_TMPDIR": str(ray_folder)})
    done, seen = swept(project, phantom_store, variables, "--storage", "s3://runs/deep", "--trials", "2")
    assert b"entries wait" not in done.stdout
    nothing_betrayed(done, seen, project, guarded.folder, ray_folder)
    for name, value in let_in(guarded).items():
        monkeypatch.setenv(name, value)
    parents, children = tree(MlflowClient(guarded.uri))
    assert [run.info.status for run in parents + children] == ["FINISHED"] * 3
    assert MlflowClient(guarded.uri).list_artifacts(children[0].info.run_id)
    kept = bucket.client().list_objects_v2(Bucket="runs", Prefix="deep/")["Contents"]
    assert [each["Key"] for each in kept if each["Key"].endswith("best.pt")]
    for each in kept:
        assert not betrays(bucket.client().get_object(Bucket="runs", Key=each["Key"])["Body"].read()), each["Key"]


FEW = (*(each for each in SMALL if not each.startswith("arms")), 'arms=["real"]')
"""Of the grid of `grids`: cells without synthetic melanomas."""
PAGES = ("jobs/", "v0/jobs", "v0/actors", "v0/tasks", "v0/workers", "v0/runtime_envs", "v0/objects", "cluster_status")
"""What Ray's dashboard tells of jobs and processes, below /api/; with `detail`, as it is asked here."""


def told_by(dashboard: str, page: str) -> bytes:
    asked = urllib.request.Request(f"{dashboard}/api/{page}?detail=1", headers={"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(asked, timeout=60) as reply:
        return reply.read()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ray_s_dashboard_tells_no_secret_of_a_detached_grid(phantom_store, guarded, bucket, ray_folder, tmp_path):
    pytest.importorskip("aiohttp_cors", reason="Ray takes jobs with ray[default] alone")
    project = make_project(tmp_path / "project")
    port, board = free_ports(2)
    shown = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    others = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_", "AWS_"))}
    words = ["--num-cpus", "2", "--head", "--port", str(port), "--node-ip-address", "127.0.0.1"]
    words += ["--include-dashboard=true", "--dashboard-port", str(board), "--temp-dir", str(ray_folder)]
    head = subprocess.Popen(
        [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *words],
        env=others | shown, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    dashboard = f"http://127.0.0.1:{board}"
    environment = others | shown | let_in(guarded) | bucket.variables() | {"RAY_ADDRESS": f"127.0.0.1:{port}"}
    flags = ["--storage", "s3://runs/grid", *(word for each in FEW for word in ("--set", each))]
    command = [str(HYPERDERM), *grid_words(phantom_store, *flags, name="far"), "--detach"]
    try:
        wait_for(lambda: answers(dashboard), 120, "the dashboard")
        with watching() as watched:
            begun = subprocess.run(command, cwd=project, env=environment, capture_output=True, timeout=120)
            assert begun.returncode == 0, begun.stdout + begun.stderr
            wait_for(lambda: submitted(told_by(dashboard, "jobs/"))["status"] not in GOING, 300, "the job's end")
            pages = {page: told_by(dashboard, page) for page in PAGES}
        job = submitted(pages["jobs/"])
        assert job["status"] == "SUCCEEDED", job
        assert json.loads(pages["v0/actors"])["data"]["result"]["total"] > 0
        assert b"env_vars" in pages["v0/runtime_envs"] + pages["jobs/"]
        pages["log"] = told_by(dashboard, f"jobs/{job['submission_id']}/logs")
        assert [page for page, text in pages.items() if betrays(text)] == []
        nothing_betrayed(begun, watched.seen, project, guarded.folder, ray_folder)
    finally:
        os.killpg(head.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            head.wait(timeout=20)
        with suppress(ProcessLookupError):
            os.killpg(head.pid, signal.SIGKILL)


def submitted(page: bytes) -> dict[str, str]:
    """The one job that was submitted; whoever connects to the cluster is a job too."""
    (job,) = [job for job in json.loads(page) if job["type"] == "SUBMISSION"]
    return job


def answers(dashboard: str) -> bool:
    try:
        return bool(told_by(dashboard, "jobs/"))
    except OSError:
        return False
