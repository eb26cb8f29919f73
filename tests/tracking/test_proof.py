"""What the doctor finds out about MLflow, on a real server behind a login and TLS, and on a file; nothing is left behind."""

import os
import sqlite3
import time
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient

from hyperderm.errors import TrackingError
from hyperderm.tracking.proof import look_at_tracking, prove_artifacts
from hyperderm.tracking.server import check_server
from tests.services.front import answering, front, make_certificate
from tests.services.mlflow_server import MlflowServer
from tests.services.postgres_server import PostgresServer

VARIABLES = ("USERNAME", "PASSWORD", "TOKEN", "SERVER_CERT_PATH", "INSECURE_TLS")


@pytest.fixture(autouse=True)
def no_login(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)


def kept(server: MlflowServer) -> set[Path]:
    return {path for path in Path(server.artifacts).rglob("*") if path.is_file() or path.name.startswith(".hyperderm")}


def test_a_server_that_keeps_files(mlflow_server):
    client = MlflowClient(mlflow_server.uri)
    before = {each.experiment_id for each in client.search_experiments()}, kept(mlflow_server)
    facts = look_at_tracking(mlflow_server.uri)
    assert facts.server == facts.client
    assert facts.shown == mlflow_server.uri
    assert prove_artifacts(mlflow_server.uri).startswith("mlflow-artifacts:")
    assert ({each.experiment_id for each in client.search_experiments()}, kept(mlflow_server)) == before


def test_behind_a_login(mlflow_server, monkeypatch):
    with front(mlflow_server.uri, login=("ada", "s3cret")) as uri:
        with pytest.raises(TrackingError, match=r"not logged in \(401\)"):
            look_at_tracking(uri)
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "s3cret")
        assert look_at_tracking(uri).server
        assert prove_artifacts(uri)
    with front(mlflow_server.uri, rights=False) as uri, pytest.raises(TrackingError, match=r"refuses \(403\)"):
        look_at_tracking(uri)


def test_a_ca_that_does_not_sign_the_server(mlflow_server, monkeypatch, tmp_path):
    ours, other = make_certificate(tmp_path, "ours"), make_certificate(tmp_path, "other")
    with front(mlflow_server.uri, certificate=ours) as uri:
        for ca in (None, other, tmp_path / "none.pem"):
            if ca:
                monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(ca))
            with pytest.raises(TrackingError, match="is not trusted here") as caught:
                look_at_tracking(uri)
            assert "MLFLOW_TRACKING_SERVER_CERT_PATH" in caught.value.remedy
            assert len(caught.value.what) < 250
        monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(ours))
        assert look_at_tracking(uri).server
        assert prove_artifacts(uri)
    with pytest.raises(TrackingError, match=r"does not speak TLS.*http://"):
        look_at_tracking(mlflow_server.uri.replace("http", "https"))


def test_a_server_whose_artifacts_cannot_be_written(mlflow_server, monkeypatch):
    client = MlflowClient(mlflow_server.uri)
    made = client.create_experiment("doctor: elsewhere", artifact_location="/no/such/folder/of/the/server")
    try:
        with pytest.raises(TrackingError, match="a folder that is not on this machine"):
            prove_artifacts(mlflow_server.uri)
        client.delete_experiment(made)
        made = client.create_experiment("doctor: too deep", artifact_location="mlflow-artifacts:/x" + "y" * 300)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # each only makes the test wait
        with pytest.raises(TrackingError, match="does not keep files in mlflow-artifacts:/xy"):
            prove_artifacts(mlflow_server.uri)
        monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES")
    finally:
        client.delete_experiment(made)
    assert prove_artifacts(mlflow_server.uri)


@pytest.mark.slow  # its short form is test_a_server_without_its_database: a server of its own over PostgreSQL
def test_postgresql_is_stopped_behind_the_server(tmp_path):
    with PostgresServer() as database:
        server = MlflowServer(tmp_path, store=database.uri)
        server.start(120)
        try:
            assert look_at_tracking(server.uri).server
            assert prove_artifacts(server.uri).startswith("mlflow-artifacts:")
            database.stop()
            begun = time.monotonic()
            with pytest.raises(TrackingError, match=r"its database may be away \(503: ") as caught:
                look_at_tracking(server.uri)
            assert time.monotonic() - begun < 5
            assert "PostgreSQL" in caught.value.remedy
        finally:
            server.stop()


@pytest.mark.parametrize("status", [500, 503])
def test_a_server_without_its_database(status):
    """As MLflow answers while PostgreSQL is stopped."""
    said = '{"error_code": "TEMPORARILY_UNAVAILABLE", "message": "(psycopg.OperationalError) connection is bad: "}'
    with (
        answering(status, said) as uri,
        pytest.raises(TrackingError, match=r"\(psycopg.OperationalError\) connection is bad:"),
    ):
        look_at_tracking(uri)
    with answering(status, "<html>") as uri, pytest.raises(TrackingError, match="is not a working MLflow server"):
        look_at_tracking(uri)


def test_a_server_that_takes_no_files_in_time(mlflow_server, monkeypatch):
    """As one whose bucket is away."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "5")
    begun = time.monotonic()
    with front(mlflow_server.uri, slow={"PUT": 3}) as uri, pytest.raises(TrackingError, match="does not keep files in"):
        prove_artifacts(uri)
    assert time.monotonic() - begun < 9
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "5"


def test_a_file_is_looked_at_and_not_made(tmp_path):
    path = tmp_path / "deep" / "mlflow.db"
    assert look_at_tracking(f"sqlite:///{path}").state == "will be created by the first run"
    assert not list(tmp_path.iterdir())
    check_server(f"sqlite:///{path}")
    before = {each.name: each.read_bytes() for each in path.parent.iterdir()}
    facts = look_at_tracking(f"sqlite:///{path}")
    assert (facts.server, facts.state) == ("", "can be written")
    assert {each.name: each.read_bytes() for each in path.parent.iterdir()} == before
    with closing(sqlite3.connect(path)) as database:
        database.execute("DELETE FROM alembic_version")
        database.commit()
    assert look_at_tracking(f"sqlite:///{path}").state == "is made anew by the next run"


def test_a_file_that_is_locked_or_none_of_mlflow_s(tmp_path):
    path = tmp_path / "x.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("CREATE TABLE mine (a)")
        with pytest.raises(TrackingError, match="is an SQLite file, but not MLflow's"):
            look_at_tracking(f"sqlite:///{path}")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(TrackingError, match=r"kept it locked for 2 s"):
            look_at_tracking(f"sqlite:///{path}")
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(TrackingError, match="is damaged, or no SQLite database"):
        look_at_tracking(f"sqlite:///{path}")
    with pytest.raises(TrackingError, match="cannot be written"):
        look_at_tracking("sqlite:////proc/nowhere/mlflow.db")
    with pytest.raises(TrackingError, match="cannot be used"):
        look_at_tracking("postgresql://u:secret@h/db")


def test_what_the_server_says_about_its_version_is_no_page(mlflow_server):
    with urllib.request.urlopen(f"{mlflow_server.uri}/version", timeout=5) as reply:
        assert reply.read().decode() == look_at_tracking(mlflow_server.uri).server
