"""The run tree over a real MLflow server: outages, killed drivers, and servers that are none."""

import http.server
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from mlflow import MlflowClient

from hyperderm.errors import TrackingError
from hyperderm.tracking.runs import Tracker, check_server
from tests.services.mlflow_server import mlflow_server  # noqa: F401  a fixture

STEPS = 20_000
DRIVER = """
import sys, time
from pathlib import Path
from hyperderm.tracking.runs import Tracker
tracker = Tracker(sys.argv[1], "killed", Path(sys.argv[2]), None, print)
tracker.open_run("k", "killed", params={"lr": 1})
for step in range(int(sys.argv[3])):
    tracker.log_metrics("k", {"loss": 1.0 / (step + 1)}, step)
tracker.log_text("k", "written before the kill", "note.txt")
tracker.close_run("k", "FINISHED")
print("all journalled", flush=True)
time.sleep(60)
"""


def only_run(client: MlflowClient, experiment: str, key: str):
    runs = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    (run,) = [run for run in runs if run.data.tags["hyperderm.key"] == key]
    return run


def steps_of(client: MlflowClient, run_id: str, metric: str) -> list[int]:
    return sorted(point.step for point in client.get_metric_history(run_id, metric))


def test_a_server_lost_in_mid_run_costs_neither_time_nor_data(mlflow_server, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # a second retry only makes the test wait
    server, warnings, slowest = mlflow_server, [], 0.0
    check_server(server.uri)
    tracker = Tracker(server.uri, "outage", tmp_path / "j.db", None, warnings.append)
    tracker.open_run("s", "sweep")
    tracker.log_metrics("s", {"loss": 0.0}, 0)
    assert tracker.flush(30) == 0

    server.stop()
    try:
        for step in range(1, 301):
            started = time.perf_counter()
            tracker.log_metrics("s", {"loss": float(step)}, step)
            if step == 100:
                tracker.open_run("s/1", "trial", parent="s")
                tracker.log_text("s/1", "while away", "deep/note.txt")
                tracker.close_run("s/1", "FINISHED")
            slowest = max(slowest, time.perf_counter() - started)
            time.sleep(0.005)
        deadline = time.monotonic() + 15
        while tracker.state == "delivering" and time.monotonic() < deadline:
            time.sleep(0.05)
        assert tracker.state.startswith("server away since")
        assert tracker.pending == 303
    finally:
        server.start()
    assert tracker.flush(40) == 0
    assert slowest < 0.2
    assert tracker.ui_address("s/1").startswith(f"{server.uri}/#/experiments/")
    assert tracker.refused == []
    tracker.close()

    client = MlflowClient(tracking_uri=server.uri)
    parent, child = only_run(client, "outage", "s"), only_run(client, "outage", "s/1")
    assert steps_of(client, parent.info.run_id, "loss") == list(range(301))
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert child.info.status == "FINISHED"
    note = client.download_artifacts(child.info.run_id, "deep/note.txt", str(tmp_path))
    assert Path(note).read_text() == "while away"
    assert len(warnings) == 2


def test_a_driver_killed_in_mid_delivery_loses_and_doubles_nothing(mlflow_server, tmp_path):  # noqa: F811
    event_log = tmp_path / "j.db"
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, mlflow_server.uri, str(event_log), str(STEPS)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert driver.stdout.readline() == "all journalled\n"
        reader = sqlite3.connect(event_log)
        while reader.execute("SELECT count(*) FROM operations").fetchone()[0] > STEPS - 2000:
            assert driver.poll() is None
            time.sleep(0.005)
    finally:
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
    (owed,) = reader.execute("SELECT count(*) FROM operations").fetchone()
    reader.close()
    assert 0 < owed < STEPS, "the kill came in mid-delivery"

    tracker = Tracker(mlflow_server.uri, "killed", event_log, None, print)
    tracker.open_run("k", "killed", params={"lr": 1})
    for step in range(STEPS - 10, STEPS + 10):  # resumed from its last checkpoint
        tracker.log_metrics("k", {"loss": 1.0 / (step + 1)}, step)
    assert tracker.flush(40) == 0
    tracker.close()
    client = MlflowClient(tracking_uri=mlflow_server.uri)
    run = only_run(client, "killed", "k")
    assert steps_of(client, run.info.run_id, "loss") == list(range(STEPS + 10))
    assert run.info.status == "RUNNING"
    note = client.download_artifacts(run.info.run_id, "note.txt", str(tmp_path))
    assert Path(note).read_text() == "written before the kill"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def answering(status: int, body: bytes):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_a_dead_port_is_named_within_six_seconds():
    uri = f"http://user:secret@127.0.0.1:{free_port()}"
    started = time.monotonic()
    with pytest.raises(TrackingError, match=r"127\.0\.0\.1.*does not answer.*MLFLOW_TRACKING_URI") as caught:
        check_server(uri)
    assert time.monotonic() - started < 6
    assert "secret" not in str(caught.value)


def test_a_port_that_takes_and_never_answers_is_named_within_six_seconds():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        started = time.monotonic()
        with pytest.raises(TrackingError, match="does not answer"):
            check_server(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_s=2)
        assert time.monotonic() - started < 3.5


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (401, b"", "MLFLOW_TRACKING_USERNAME"),
        (403, b"Invalid Host header", "--allowed-hosts"),
        (200, b"<html>another program</html>", "not a working MLflow server"),
        (404, b"nothing here", "not a working MLflow server"),
        (503, b"starting", "not a working MLflow server"),
    ],
)
def test_a_server_that_refuses_or_is_another_is_named(status, body, words):
    with answering(status, body) as port, pytest.raises(TrackingError, match=words):
        check_server(f"http://127.0.0.1:{port}")


def test_a_refused_login_keeps_everything_for_later(tmp_path):
    warnings: list[str] = []
    with answering(401, b"log in") as port:
        tracker = Tracker(f"http://127.0.0.1:{port}", "x", tmp_path / "j.db", None, warnings.append)
        tracker.open_run("a", "a")
        tracker.log_metrics("a", {"loss": 1.0}, 0)
        assert tracker.flush(1) == 2
        tracker.close()
    assert tracker.refused == []
    assert "401" in warnings[0]


class _Slow(http.server.BaseHTTPRequestHandler):
    """Takes a file and answers later than a request may take."""

    got: list[tuple[str, str, int]]

    def do_PUT(self):
        left = length = int(self.headers["Content-Length"])
        while left:
            left -= len(self.rfile.read(min(left, 1 << 20)))
        time.sleep(1.5)
        self.got.append((self.path, self.headers["Content-Type"], length))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format, *args):
        pass


def test_a_large_file_has_time_and_the_environment_of_all_threads_stays(tmp_path, monkeypatch):
    from types import SimpleNamespace

    from hyperderm.tracking.event_log import Operation
    from hyperderm.tracking.requests import MlflowRequests

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Slow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(_Slow, "got", [], raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    uri = f"http://127.0.0.1:{server.server_port}"
    courier = MlflowRequests(uri, "x", None, SimpleNamespace(known_run=lambda key: ("r1", "0")), print)
    run = SimpleNamespace(info=SimpleNamespace(artifact_uri="mlflow-artifacts:/0/r1/artifacts"))
    changed: list[str] = []
    monkeypatch.setattr(type(os.environ), "__setitem__", lambda self, name, value: changed.append(name))
    monkeypatch.setattr(MlflowClient, "get_run", lambda self, run_id: run)
    (tmp_path / "samples.png").write_bytes(bytes(2_500_000))
    thread = threading.Thread(
        target=courier.deliver,
        args=([Operation(1, "k", "file", {"artifact_path": "figures"}, tmp_path / "samples.png")],),
    )
    thread.start()
    thread.join(20)
    server.shutdown()
    server.server_close()
    assert _Slow.got == [("/api/2.0/mlflow-artifacts/artifacts/0/r1/artifacts/figures/samples.png", "image/png", 2_500_000)]
    assert changed == []
