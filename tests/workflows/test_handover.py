"""A driver on a cluster has the keys of the terminal it was started from, and nothing that Ray shows holds one."""

import json
import os
import stat
from types import SimpleNamespace

import pytest

from hyperderm.errors import ClusterError
from hyperderm.tracking.server import redacted
from hyperderm.workflows import detached, handover
from hyperderm.workflows.handover import FILE, hand_over, take_over, understood

SECRETS = {
    "AWS_ACCESS_KEY_ID": "AKIA-secret-1",
    "AWS_SECRET_ACCESS_KEY": "secret-2",
    "AWS_SESSION_TOKEN": "secret-3",
    "MLFLOW_TRACKING_USERNAME": "secret-4",
    "MLFLOW_TRACKING_PASSWORD": "secret-5",
    "MLFLOW_TRACKING_TOKEN": "secret-6",
    "HTTPS_PROXY": "http://me:secret-7@proxy:3128",
}
OTHERS = {
    "AWS_REGION": "eu-central-1",
    "AWS_ENDPOINT_URL_S3": "http://10.0.0.2:9000",
    "AWS_CA_BUNDLE": "/etc/ca.pem",
    "MLFLOW_S3_ENDPOINT_URL": "http://10.0.0.2:9000",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "9",
}
URI = "https://me:secret-8@mlflow.example"


class Client:
    """Ray's, as far as a submission needs it."""

    def __init__(self) -> None:
        self.shown = {}

    def submit_job(self, **job):
        self.shown = job
        return "raysubmit_1"

    def get_job_status(self, job):
        return SimpleNamespace(value="STOPPED")


@pytest.fixture
def terminal(tmp_path, monkeypatch):
    """A terminal with keys, and a cluster that takes jobs."""
    for name in understood(os.environ):
        monkeypatch.delenv(name)
    for name, value in (SECRETS | OTHERS).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOME_MADE_KEY", "secret-9")  # not ours to read
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/here")
    client = Client()
    monkeypatch.setattr(detached, "_client", lambda workspace: client)
    workspace = SimpleNamespace(tracking_uri=URI, ray_address="10.0.0.1:6379", say=lambda text: None)
    return SimpleNamespace(client=client, workspace=workspace, folder=tmp_path / "runs" / "night", patch=monkeypatch)


def submit(terminal):
    terminal.folder.parent.mkdir()
    detached._submit(terminal.workspace, terminal.folder, ["ablation", "x"])
    return terminal.client.shown["runtime_env"]["env_vars"]


def test_nothing_that_ray_shows_holds_a_secret_and_the_driver_has_them_all(terminal):
    given = submit(terminal)
    assert "secret" not in json.dumps(terminal.client.shown)
    assert "secret" not in (terminal.folder.parent / "night.ray_job.json").read_text()
    [file] = terminal.folder.parent.glob("*.environment")
    assert given[FILE] == str(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for name in understood(os.environ):
        terminal.patch.delenv(name)
    for name, value in given.items():
        terminal.patch.setenv(name, value)
    terminal.patch.setenv("AWS_PROFILE", "the cluster's own")
    terminal.patch.setenv("AWS_MAX_ATTEMPTS", "7")  # the cluster's own, and no part of an identity
    before = dict(os.environ)
    try:
        take_over()
        assert understood(os.environ) == SECRETS | OTHERS | {"MLFLOW_TRACKING_URI": URI, "AWS_MAX_ATTEMPTS": "7"}
        assert FILE not in os.environ
        assert not file.exists()
    finally:
        os.environ.clear()
        os.environ.update(before)
    terminal.patch.setenv(FILE, str(file))
    with pytest.raises(ClusterError, match=r"is gone\. A job is begun once only"):
        take_over()


def test_what_a_job_never_read_does_not_stay(terminal):
    stray = terminal.folder.with_name("night.0123456789ab.environment")
    stray.parent.mkdir()
    stray.touch()
    detached._submit(terminal.workspace, terminal.folder, [])
    assert not stray.exists()
    assert detached._job(terminal.workspace, terminal.folder) == ("raysubmit_1", "STOPPED")
    assert list(terminal.folder.parent.glob("*.environment")) == []


def test_a_job_that_is_not_taken_leaves_no_file(terminal):
    terminal.patch.setattr(terminal.client, "submit_job", lambda **job: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        submit(terminal)
    assert list(terminal.folder.parent.iterdir()) == []


def test_a_file_system_that_keeps_nothing_to_its_owner_is_refused(terminal):
    terminal.folder.parent.mkdir()
    terminal.patch.setattr(handover, "_mode", lambda made: 0o777)
    with pytest.raises(ClusterError, match="shows every file to others: keys cannot be handed over there"):
        hand_over(terminal.folder, URI)
    assert list(terminal.folder.parent.iterdir()) == []


def test_a_terminal_that_was_not_handed_anything_keeps_what_it_has(terminal):
    before = dict(os.environ)
    take_over()
    assert dict(os.environ) == before


def test_an_address_is_shown_without_its_password_also_where_it_is_none():
    assert redacted("postgresql://me:secret@db/mlflow") == "postgresql://db/mlflow"
    assert redacted("http://me:secret@[::1/x") == "http://[::1/x"


GRID = """
import json, os, pathlib
pathlib.Path("found.json").write_text(json.dumps(dict(os.environ)))
raise SystemExit(0)
"""


@pytest.mark.slow
def test_a_job_of_a_real_cluster_has_what_it_was_given_and_shows_nothing(terminal, tmp_path):
    import time

    pytest.importorskip("aiohttp_cors", reason="Ray takes jobs with ray[default] alone")
    import ray
    from ray.job_submission import JobSubmissionClient

    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "__init__.py").touch()
    (tmp_path / "experiments" / "ablation_tell.py").write_text(GRID)
    terminal.patch.chdir(tmp_path)
    terminal.folder.parent.mkdir()
    for name in SECRETS | OTHERS:  # a cluster that was started elsewhere
        terminal.patch.delenv(name)
    started = ray.init(
        address="local", include_dashboard=True, num_cpus=1, log_to_driver=False, _node_ip_address="127.0.0.1"
    )
    try:
        client = JobSubmissionClient(f"http://{started.dashboard_url}")
        terminal.patch.setattr(detached, "_client", lambda workspace: client)
        for name, value in (SECRETS | OTHERS).items():
            terminal.patch.setenv(name, value)
        detached._submit(terminal.workspace, terminal.folder, ["ablation", "tell", "--profile", "small"])
        job, state = detached._job(terminal.workspace, terminal.folder)
        deadline = time.monotonic() + 120
        while state in detached.GOING and time.monotonic() < deadline:
            time.sleep(1)
            job, state = detached._job(terminal.workspace, terminal.folder)
        shown = json.dumps([repr(each) for each in client.list_jobs()]) + client.get_job_logs(job)
        assert job in shown
        assert "secret" not in shown
        found = json.loads((tmp_path / "found.json").read_text())
        assert {name: found.get(name) for name in SECRETS | OTHERS} == SECRETS | OTHERS
        assert found["MLFLOW_TRACKING_URI"] == URI
        assert list(terminal.folder.parent.glob("*.environment")) == []
    finally:
        ray.shutdown()
