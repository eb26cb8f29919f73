"""A node of a given cluster dies in mid-sweep: its trial goes on elsewhere, and nothing but lines of ours is printed."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from tests.services.test_sweep_cli import ended, finish, project, start, tree, wait_for  # noqa: F401 - a fixture

PORT = 6397
RAY = Path(sys.executable).with_name("ray")
COUNT = """
from hyperderm.cluster.session import connect, quiet_ray
quiet_ray()
with connect("127.0.0.1:{port}") as cluster:
    print(len(cluster.nodes))
"""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(500)]


def begin_node(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(RAY), "start", "--num-cpus", "1", "--block", *words],
        env={**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_worker_niceness": "0"},
        text=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip


def end_node(node: subprocess.Popen[str]) -> None:
    """Kill a node with all that it started."""
    if node.poll() is None:
        os.killpg(node.pid, signal.SIGKILL)
        node.wait(30)


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[subprocess.Popen[str]]]:
    """A head and a second node on this machine, one CPU each."""
    place = f"/tmp/hd{os.getpid()}"  # Ray's sockets want a short name
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    head = begin_node("--head", "--port", str(PORT), "--include-dashboard=false", "--temp-dir", place)
    made = [head]
    try:
        wait_for(lambda: count() >= 1, 120, "the head's start")
        made.append(begin_node("--address", f"127.0.0.1:{PORT}"))
        wait_for(lambda: count() == 2, 120, "the second node's start")
        yield made
    finally:
        for node in reversed(made):
            end_node(node)
        shutil.rmtree(place, ignore_errors=True)


def count() -> int:
    code = COUNT.format(port=PORT)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    return int(done.stdout) if done.returncode == 0 else 0


def test_the_sweep_goes_on_with_the_other_node(project, phantom_store, nodes, monkeypatch):  # noqa: F811
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{PORT}")
    uri = f"sqlite:///{project / 'mlflow.db'}"
    longer = ("training.images=3840", "training.validate_every=480", "sweep.grace_images=3840", "sweep.concurrent=2")
    flags = [word for each in longer for word in ("--set", each)]
    sweep = start(project, phantom_store, uri, *flags)
    trials = project / "runs" / "kill" / "trials"
    begun = lambda: all((trials / name / "latest.pt").exists() for name in ("0000", "0001"))  # noqa: E731
    wait_for(lambda: begun() or sweep.poll() is not None, 240, "both nodes' first checkpoints")
    assert ended(project) == 0, "a trial is too short for this test"
    end_node(nodes[1])
    said = finish(sweep, 0, 300)
    assert ended(project) == 3
    lost = [line for line in said.splitlines() if "was lost; it goes on from its checkpoint" in line]
    assert len(lost) == 1, said
    assert "(raylet)" not in said, said
    parents, children = tree(MlflowClient(uri))
    assert {run.info.status for run in parents + children} == {"FINISHED"}
    for child in children:
        steps = [
            m.step for m in MlflowClient(uri).get_metric_history(child.info.run_id, "validation/spectral_energy_distance")
        ]
        assert sorted(steps) == list(range(0, 3841, 480)), "each report once"
