"""infra/slurm/sweep.sbatch: checked by ShellCheck, run with stand-ins for Slurm and Ray, and (slow) with Ray itself."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from infra.seaweed import free_ports
from tests.infra.recipes import SBATCH, accepts
from tests.services.test_sweep_cli import ended, project, wait_for  # noqa: F401 - a fixture

SRUN = """#!/bin/bash
echo "$*" >> "$CALLS/srun"
while [[ $1 == --* ]]; do shift; done
exec "$@"
"""
SCONTROL = """#!/bin/bash
[[ $1 == requeue && -e $CALLS/told ]] && echo "the driver has ended" >> "$CALLS/scontrol"
echo "$*" >> "$CALLS/scontrol"
[[ $1 == requeue ]] || echo "JobId=1 JobName=hyperderm JobState=$STATE Reason=None"
"""
PYTHON = f"""#!/bin/bash
if [[ $1 == -c ]]; then exec {sys.executable} "$@"; fi
until [[ -e $CALLS/ray || $2 == 1 ]]; do sleep 0.05; done  # every node has joined
"""
NODE = f"""#!{sys.executable}
import json, os, socket, sys, time
name = os.environ["CALLS"] + f"/ray{{'-head' * ('--head' in sys.argv)}}"
with open(name + ".new", "w") as out:
    json.dump([sys.argv[1:], dict(os.environ)], out)
os.rename(name + ".new", name)
if "--head" in sys.argv:  # the script goes on when this port answers
    port = next(word for word in sys.argv if word.startswith("--port=")).partition("=")[2]
    listening = socket.create_server(("127.0.0.1", int(port)))
time.sleep(60)
"""
DRIVER = f"""#!{sys.executable}
import json, os, signal, sys, time
def told(*_):
    open(os.environ["CALLS"] + "/told", "w").close()
    sys.exit(130)
signal.signal(signal.SIGTERM, told)
with open(os.environ["CALLS"] + "/driver.new", "w") as out:
    json.dump([sys.argv[1:], dict(os.environ)], out)
os.rename(os.environ["CALLS"] + "/driver.new", os.environ["CALLS"] + "/driver")
time.sleep(float(os.environ["SECONDS_LEFT"]))
sys.exit(3)
"""
WORDS = ["shsgan", "--name", "a night", "--trials", "40"]


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def job(tmp_path: Path, state: str = "RUNNING", nodes: int = 2, **more: str) -> dict[str, str]:
    """The environment of a batch script, with stand-ins for Slurm's commands."""
    program(tmp_path / "slurm" / "srun", SRUN)
    program(tmp_path / "slurm" / "scontrol", SCONTROL)
    (tmp_path / "calls").mkdir(exist_ok=True)
    given = {
        "SLURM_JOB_ID": str(free_ports(1)[0] % 10000 + 10000), "SLURMD_NODENAME": "one", "SLURM_JOB_NUM_NODES": str(nodes),
        "SLURM_CPUS_PER_TASK": "1", "HEAD_ADDRESS": "127.0.0.1", "STATE": state, "CALLS": str(tmp_path / "calls"),
    }  # fmt: skip
    return os.environ | given | {"PATH": f"{tmp_path / 'slurm'}:{os.environ['PATH']}"} | more


@pytest.fixture
def folder(tmp_path):
    """A checkout whose Ray and hyperderm only say how they were called; nothing of it outlives the test."""
    for name, text in (("python", PYTHON), ("ray", NODE), ("hyperderm", DRIVER)):
        program(tmp_path / "checkout" / ".venv" / "bin" / name, text)
    yield tmp_path
    for pid in left(tmp_path):
        os.kill(pid, signal.SIGKILL)


def start(folder: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    script = shutil.copy(SBATCH, folder / "checkout")  # Slurm runs a copy too
    return subprocess.Popen(
        ["bash", script, *WORDS], cwd=folder / "checkout", env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def calls(folder: Path, name: str) -> str:
    path = folder / "calls" / name
    return path.read_text() if path.exists() else ""


def test_script_is_linted():
    accepts("shellcheck", SBATCH)


def test_slurm_is_asked_for_what_a_sweep_needs():
    asked = re.findall(r"^#SBATCH (--\S+)$", SBATCH.read_text("utf-8"), re.MULTILINE)
    assert {"--requeue", "--signal=B:TERM@60", "--ntasks-per-node=1", "--open-mode=append"} <= set(asked)
    assert [each for each in asked if each.startswith("--gpus-per-node=")]
    body = SBATCH.read_text("utf-8").splitlines()
    last = max(number for number, line in enumerate(body) if line.startswith("#SBATCH"))
    assert all(line.startswith("#") for line in body[:last]), "Slurm reads no line after the first command"


def test_a_sweep_ends_with_its_own_code_and_ray_ends_too(folder):
    job_ = start(folder, job(folder, SECONDS_LEFT="0"))
    said, _ = job_.communicate(timeout=60)
    assert job_.returncode == 3, said
    words, driver = json.loads(calls(folder, "driver"))
    head_words, head = json.loads(calls(folder, "ray-head"))
    worker_words, worker = json.loads(calls(folder, "ray"))
    address = head_words[head_words.index("--head") + 1 :]
    assert words == ["sweep", *WORDS], "words keep their spaces"
    port = next(word for word in address if word.startswith("--port=")).partition("=")[2]
    assert driver["RAY_ADDRESS"] == f"127.0.0.1:{port}"
    assert f"--address=127.0.0.1:{port}" in worker_words
    tokens = {each["RAY_AUTH_TOKEN"] for each in (driver, head, worker)}
    (token,) = tokens
    assert re.fullmatch("[0-9a-f]{64}", token)
    assert {each["RAY_AUTH_MODE"] + each["RAY_worker_niceness"] for each in (driver, head, worker)} == {"token0"}
    assert token not in str([words, head_words, worker_words]) + calls(folder, "srun") + said
    assert "requeue" not in calls(folder, "scontrol")
    first, second = calls(folder, "srun").splitlines()
    assert "--nodelist=one" in first
    assert "--exclude=one" in second
    assert "--nodes=1" in second
    assert not left(folder)


def left(folder: Path) -> list[int]:
    """The processes that still run from this checkout."""
    return [
        one.pid
        for one in psutil.process_iter(["cmdline"])
        if str(folder / "checkout") in " ".join(one.info["cmdline"] or ())
    ]


@pytest.mark.parametrize(("state", "again"), [("RUNNING", True), ("CANCELLED", False)])
def test_a_signal_leaves_the_sweep_to_be_resumed(folder, state, again):
    """Slurm's warning puts the job back into the queue; `scancel` does not."""
    environment = job(folder, state, SECONDS_LEFT="60")
    job_ = start(folder, environment)
    wait_for(lambda: calls(folder, "driver"), 60, "the driver's start")
    job_.send_signal(signal.SIGTERM)
    said, _ = job_.communicate(timeout=60)
    assert job_.returncode == 0, said
    assert (folder / "calls" / "told").exists(), "the driver ends in order"
    order = f"the driver has ended\nrequeue {environment['SLURM_JOB_ID']}\n"
    assert (order in calls(folder, "scontrol")) == again == ("requeue" in calls(folder, "scontrol"))
    assert not left(folder)


def test_each_start_has_its_own_token_and_one_node_is_enough(folder):
    tokens = []
    for _ in range(2):
        job_ = start(folder, job(folder, nodes=1, SECONDS_LEFT="0"))
        assert job_.wait(timeout=60) == 3
        tokens.append(json.loads(calls(folder, "driver"))[1]["RAY_AUTH_TOKEN"])
    assert len(set(tokens)) == 2
    assert not calls(folder, "ray"), "no second node"


@pytest.mark.slow  # its short forms are above
@pytest.mark.timeout(500)
def test_with_ray_itself(project, phantom_store, tmp_path):  # noqa: F811
    """Two nodes; Slurm's warning in mid-sweep; the job that comes back ends the sweep; no command line has the token."""
    (project / ".venv").symlink_to(Path(sys.executable).parents[1])
    words = ["tiny", "--profile", "small", "--store", str(phantom_store), "--name", "kill"]
    words += ["--set", "training.images=1920", "--set", "sweep.grace_images=1920"]
    environment = job(tmp_path, MLFLOW_TRACKING_URI=f"sqlite:///{project / 'mlflow.db'}", COLUMNS="120")
    temporary = Path(f"/tmp/hd-{environment['SLURM_JOB_ID']}")

    def begin() -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["bash", SBATCH, *words],
            cwd=project,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    try:
        first = begin()
        wait_for(lambda: ended(project) >= 1 or first.poll() is not None, 240, "the first trial's end")
        family = psutil.Process(first.pid).children(recursive=True)
        token = next(one.environ()["RAY_AUTH_TOKEN"] for one in family if "hyperderm" in " ".join(one.cmdline()))
        shown = [" ".join(one.info["cmdline"] or ()) for one in psutil.process_iter(["cmdline"])]
        assert sum("raylet" in line for line in shown) >= 2
        assert not [line for line in shown if token in line]
        first.send_signal(signal.SIGTERM)
        said, _ = first.communicate(timeout=120)
        assert first.returncode == 0, said
        assert "2 CPU and 0 GPU on 2 nodes" in said
        assert token not in said
        assert f"requeue {environment['SLURM_JOB_ID']}" in calls(tmp_path, "scontrol")
        done = ended(project)
        assert 1 <= done < 3, "too short a sweep for this test"
        assert not [one for one in family if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
        second = begin()
        said, _ = second.communicate(timeout=240)
        assert second.returncode == 0, said
        assert f"sweep kill: {done} of 3 trials done" in said
        assert ended(project) == 3
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
