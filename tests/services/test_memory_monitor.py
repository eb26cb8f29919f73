"""Ray's memory monitor, made to end every worker: one sentence that says what to lower, and Ctrl-C is heard meanwhile."""

import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.services.test_sweep_cli import HYPERDERM, ended, finish, project, sweep, wait_for  # noqa: F401 - a fixture

FULL = {"RAY_memory_usage_threshold": "0.001", "RAY_memory_monitor_refresh_ms": "50"}
"""Under these any node is full."""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def begin(project: Path, store: Path, **environment: str) -> subprocess.Popen[str]:  # noqa: F811
    given = {"MLFLOW_TRACKING_URI": f"sqlite:///{project / 'mlflow.db'}", "COLUMNS": "120", **environment}
    return subprocess.Popen(
        [str(HYPERDERM), *sweep(store)],
        cwd=project, env={**os.environ, **given}, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def test_it_is_told_and_the_same_command_goes_on(project, phantom_store):  # noqa: F811
    said = finish(begin(project, phantom_store, **FULL), 2)
    last = said.strip().splitlines()[-1]
    assert "Ray ended a worker, because the memory of its node was nearly full" in last, said
    assert "--set sweep.concurrent=1" in last
    assert "RAY_memory_usage_threshold" in last
    finish(begin(project, phantom_store), 0)
    assert ended(project) == 3


def test_an_interrupt_ends_it_at_once(project, phantom_store):  # noqa: F811
    process = begin(project, phantom_store, **FULL, RAY_task_oom_retries="-1")  # for ever, as Ray has it
    wait_for(lambda: reading(process) or process.poll() is not None, 200, "a worker of Ray's")
    time.sleep(5)
    assert process.poll() is None, process.communicate()[0]
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    finish(process, 130)
    assert time.monotonic() - began < 20


def reading(process: subprocess.Popen[str]) -> bool:
    """Whether Ray has begun to start workers for this driver."""
    return any("ray::" in " ".join(child.cmdline()[:1]) for child in psutil.Process(process.pid).children(recursive=True))
