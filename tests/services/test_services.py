"""`make services-up` as a user meets it: three servers that outlive the command, work together, and end without a trace."""

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import psycopg
import pytest
from mlflow.tracking import MlflowClient

from hyperderm.store.reader import open_store
from hyperderm.store.writer import write_store
from infra.services import ORDER, State, postgres_uri
from tests.services.postgres_server import PostgresServer
from tests.store.lesions import lesions

pytestmark = pytest.mark.slow  # a minute: three servers, twice

ROOT = Path(__file__).resolve().parents[2]
NAMES = ["MLFLOW_TRACKING_URI", "AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"]


@pytest.fixture
def folder():
    """Not below `tmp_path`, which pytest keeps closed to the user that PostgreSQL runs as when root starts it."""
    place = Path(tempfile.mkdtemp(prefix="hyperderm-services-")) / "services"
    yield place
    services("down", place)
    shutil.rmtree(place.parent)


def services(verb, folder):
    command = [sys.executable, "-m", "infra.services", verb, "--folder", str(folder)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)


def exported(text):
    lines = [line.removeprefix("export ").partition("=") for line in text.splitlines()]
    assert [name for name, _, _ in lines] == NAMES, text
    return {name: value for name, _, value in lines}


def belonging_to(folder):
    return [one.pid for one in psutil.process_iter(["cmdline"]) if str(folder) in " ".join(one.info["cmdline"] or ())]


@pytest.mark.timeout(300)
def test_three_servers_up_and_down(folder, tmp_path, monkeypatch):
    first = services("up", folder)
    assert first.returncode == 0, first.stderr
    told = exported(first.stdout)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    kept = folder / "services.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600

    state = State.load(folder)
    family = [one for name in ORDER for one in [state.process(name), *state.process(name).children(recursive=True)]]
    assert all(os.getsid(state.process(name).pid) == state.process(name).pid for name in ORDER), "sessions of their own"
    secrets = (state.secret_key, state.password)
    assert not [one for one in family if any(secret in " ".join(one.cmdline()) for secret in secrets)]

    write_store("s3://stores/demo", lesions(4), fold_count=0)
    assert open_store("s3://stores/demo").manifest.lesions == 4
    client = MlflowClient(told["MLFLOW_TRACKING_URI"])
    run = client.create_run(client.create_experiment("demo")).info
    assert run.artifact_uri.startswith("mlflow-artifacts:")
    (tmp_path / "a.txt").write_text("an artifact")
    client.log_artifact(run.run_id, str(tmp_path / "a.txt"))
    with psycopg.connect(postgres_uri(folder, state, "mlflow")) as database:
        assert database.execute("SELECT run_uuid FROM runs").fetchall() == [(run.run_id,)]
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(postgres_uri(folder, state, "mlflow").replace(state.password, "guess"))

    again = services("up", folder)
    assert exported(again.stdout) == told
    assert "already running" in again.stderr
    assert services("status", folder).returncode == 0

    state.process("mlflow").kill()  # its worker lives on and holds the port
    assert services("status", folder).returncode == 1
    ended = services("down", folder)
    assert (ended.returncode, ended.stdout) == (0, "")
    assert "stopped s3, postgres, mlflow" in ended.stderr
    left = [one for one in family if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
    assert left == []
    assert belonging_to(folder) == []
    assert "nothing runs" in services("down", folder).stderr
    assert services("status", folder).returncode == 1


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_everything_is_there_again_after_a_stop_or_a_kill(folder, monkeypatch):
    told = exported(services("up", folder).stdout)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    written = write_store("s3://stores/demo", lesions(4), fold_count=0)
    experiment = MlflowClient(told["MLFLOW_TRACKING_URI"]).create_experiment("demo")
    for harm in ("down", "kill"):
        if harm == "down":
            services("down", folder)
        else:
            for name in ORDER:
                State.load(folder).process(name).kill()
        assert exported(services("up", folder).stdout) == told, "ports and secrets stay"
        assert open_store("s3://stores/demo").manifest == written
        assert MlflowClient(told["MLFLOW_TRACKING_URI"]).get_experiment_by_name("demo").experiment_id == experiment


def test_a_pid_that_another_process_was_given_is_left_alone(folder):
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        folder.mkdir()
        state = State.load(folder)
        state.processes["s3"] = [(stranger.pid, psutil.Process(stranger.pid).create_time() - 100)]
        state.save(folder)
        assert "nothing runs" in services("down", folder).stderr
        assert stranger.poll() is None
        state.record(folder, "s3", psutil.Process(stranger.pid))
        assert "stopped s3" in services("down", folder).stderr
        assert stranger.wait(5) == -signal.SIGTERM
    finally:
        stranger.kill()
        stranger.wait()


def test_nothing_is_started_where_a_port_is_taken(folder):
    folder.mkdir()
    state = State.load(folder)
    state.save(folder)
    with socket.create_server(("127.0.0.1", state.ports["s3"])):
        refused = services("up", folder)
    assert refused.returncode == 1
    assert f"port {state.ports['s3']} of {folder}/services.json is taken" in refused.stderr
    assert refused.stdout == ""
    assert belonging_to(folder) == []


def test_postgres_for_tests_keeps_its_data_over_a_stop():
    with PostgresServer() as server:
        with psycopg.connect(server.uri, autocommit=True) as connection:
            connection.execute("CREATE TABLE kept (x int)")
        server.stop()
        server.start()
        with psycopg.connect(server.uri) as connection:
            assert connection.execute("SELECT * FROM kept").fetchall() == []
    assert not server.folder.exists()
    assert belonging_to(server.folder) == []
