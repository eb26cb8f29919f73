"""The facts of a real machine, and a visit to the node of a real Ray."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import hyperderm
from hyperderm import __version__
from hyperderm.cluster import machine_facts, session
from hyperderm.cluster.machine_facts import MachineFacts, code_digest, disks, installed, look, look_for_gpus, needed
from hyperderm.cluster.session import Cluster, check_sockets, machine_ram, told_token
from hyperderm.cluster.visit import visit
from hyperderm.errors import ClusterError, FileTrouble, UnexpectedError
from hyperderm.reports.health import judge_disk
from tests.services.disks import Disk, mounted

CODE = Path(hyperderm.__file__).parent


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[Path, int], Disk]]:
    yield from mounted(tmp_path)


def test_this_machine(tmp_path):
    facts = look(["numpy", "no-such-package"], {"RUNS": tmp_path / "not" / "yet"}, elsewhere=False)
    assert facts.packages == {"numpy": np.__version__, "no-such-package": None}
    assert (facts.installed, facts.code) == (__version__, code_digest(CODE))
    assert facts.cores == len(os.sched_getaffinity(0))
    assert 0 < facts.free < facts.ram == machine_ram()
    assert "RUNS" in {name for each in facts.disks for name in each.holds}
    assert all(each.free >= 0 and Path(each.path).exists() for each in facts.disks)
    assert not (tmp_path / "not").exists()
    assert {"ray", "torch", "timm", "optuna"} <= set(needed())
    assert "ruff" not in needed()


def test_another_version_and_none(tmp_path):
    assert installed([str(tmp_path)]) == (None, "")
    (tmp_path / "hyperderm").mkdir()
    (tmp_path / "hyperderm" / "__init__.py").write_text('"""Old."""\n\n__version__ = "0.0.9"\n')
    version, code = installed([str(tmp_path), str(CODE.parent)])
    assert version == "0.0.9"
    assert len(code) == 12
    assert code != code_digest(CODE)


def test_code_that_ray_has_sent_is_not_what_is_installed(tmp_path, monkeypatch):
    sent = tmp_path / "runtime_resources" / "py_modules_files" / "_ray_pkg_1"
    (sent / "hyperderm").mkdir(parents=True)
    (sent / "hyperderm" / "__init__.py").write_text('__version__ = "9"\n')
    monkeypatch.setattr(sys, "path", [str(sent), *sys.path])
    assert look([], {}, elsewhere=True).installed == __version__
    assert look([], {}, elsewhere=False).installed == "9"


def test_a_disk_that_is_nearly_full(disk, tmp_path):
    disk(tmp_path / "small", 64)
    found = disks({"TMPDIR": tmp_path, "RUNS": tmp_path / "small" / "runs", "Ray": tmp_path / "small"})
    assert [each.holds for each in found] == [("TMPDIR",), ("RUNS", "Ray")]
    assert found[1].free <= 64 * 1024
    assert judge_disk(found[1], "here").level == "bad"


def test_a_driver_that_does_not_answer(tmp_path, monkeypatch):
    """As in a container with the tools of the driver and without its kernel module."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed because it could not communicate with the driver.'\nexit 9\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(machine_facts, "_torch", lambda idle, hidden: ("12.8", 0, ""))  # seconds of imports
    found = look_for_gpus(hidden=False)
    assert (found.driver, found.found, found.usable) == ("", (), 0)
    assert found.fault == "NVIDIA-SMI has failed because it could not communicate with the driver"


@pytest.mark.slow  # its short form is test_a_driver_that_does_not_answer: torch is imported in a process of its own
def test_torch_is_asked_in_a_process_of_its_own():
    built, usable, fault = machine_facts._torch([], hidden=True)
    torch = pytest.importorskip("torch")
    assert built == (torch.version.cuda or "")
    assert usable == torch.cuda.device_count()
    assert not fault


def test_where_the_token_comes_from(tmp_path, monkeypatch):
    for name in (*session.TOKENS, "RAY_AUTH_MODE", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert told_token() == ""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    assert told_token() == "", "a local Ray makes one"
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    with pytest.raises(ClusterError, match="RAY_AUTH_MODE=token, but no token is at hand"):
        told_token()
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("secret")
    assert told_token() == "~/.ray/auth_token"
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(ClusterError, match=r"none holds no token \(No such file or directory\)"):
        told_token()
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    assert told_token() == "RAY_AUTH_TOKEN"
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert told_token() == ""


def test_sockets_are_measured_before_ray_starts(monkeypatch, tmp_path):
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    check_sockets()
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / ("x" * 90)))
    with pytest.raises(ClusterError, match=r"does not start .* cannot exceed 107 bytes.*Set RAY_TMPDIR"):
        check_sockets()


MISMATCH = """Version mismatch: The cluster was started with:
    Ray: 2.59.1
    Python: 3.12.4
This process on node 10.0.0.9 was started with:
    Ray: 2.60.0
    Python: 3.11.7
"""


@pytest.mark.parametrize(
    ("address", "error", "said", "remedy"),
    [
        ("h:1", MISMATCH, "runs Ray 2.59.1 and Python 3.12.4, this machine Ray 2.60.0 and Python 3.11.7", "same versions"),
        ("auto", "Could not find any running Ray instance. Please specify", "auto finds no cluster on this machine", "head"),
        ("h:1", "Token authentication is enabled but no authentication token was found. E", "refuses", "RAY_AUTH_TOKEN"),
    ],
)
def test_why_a_cluster_is_not_joined(address, error, said, remedy):
    told = session._unstarted(address, error, "")
    assert said in told.what
    assert remedy in told.remedy


def refuse() -> None:
    raise FileTrouble("/x: Permission denied", "Give this user the right to it.")


def fail() -> None:
    raise KeyError("unforeseen")


def see(path: Path) -> None:
    assert path.exists()


def test_a_visit_to_a_real_node(ray_cluster: Cluster, tmp_path):
    import ray

    questions = {"sees": partial(see, tmp_path), "refused": refuse, "fails": fail}
    (found,) = visit(["ray", "numpy"], {"Ray": Path("/tmp")}, questions)
    assert found.here
    assert found.started
    assert not found.fault
    assert isinstance(found.facts, MachineFacts)
    assert found.facts.packages["ray"] == ray.__version__
    assert found.facts.niceness == 0
    assert found.clock_s is not None
    assert abs(found.clock_s) < 1
    assert found.store == ray_cluster.memory[0].store
    assert found.answers["sees"] is None
    assert isinstance(found.answers["refused"], FileTrouble)
    assert found.answers["refused"].remedy == "Give this user the right to it."
    assert isinstance(found.answers["fails"], UnexpectedError)
    assert str(found.answers["fails"]).startswith("KeyError")


def test_nothing_is_needed_but_the_programs(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    if not session.local_gpu():
        assert look_for_gpus(hidden=False) == machine_facts.Gpus()
