"""The doctor on three nodes with addresses of their own and a token: each finds its real causes, and nothing is left."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.services.namespaces import Loopback, Network
from tests.services.nodes import TOKEN, RayNodes, make_network
from tests.services.s3_server import S3Server
from tests.services.test_sweep_cli import wait_for

ROOT = Path(__file__).resolve().parents[2]
BOUND_S = 15
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]  # in short: test_a_visit_to_a_real_node (test_machine_facts.py)


def bare_python(folder: Path) -> Path:
    """Return an interpreter that has every package but hyperderm."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "packages.pth").write_text(f"{Path(np.__file__).parents[1]}\n")
    return folder / "bin" / "python"


def pretend(python: Path) -> None:
    """Give an interpreter another version of hyperderm, and the record of another version of numpy."""
    (site,) = python.parents[1].glob("lib/python*/site-packages")
    (site / "hyperderm").mkdir()
    (site / "hyperderm" / "__init__.py").write_text('__version__ = "0.0.9"\n')
    (site / "numpy-1.99.0.dist-info").mkdir()
    (site / "numpy-1.99.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 1.99.0\n")


class Nodes(RayNodes):
    """A head here and two nodes in namespaces: one without hyperderm; one with much that is wrong."""

    def __init__(self, folder: Path, network: Network | Loopback) -> None:
        super().__init__(folder, network)
        self.runs = folder / "runs"
        self.runs.mkdir()

    def start(self) -> None:
        bare, other = (bare_python(self.folder / name) for name in ("bare", "other"))
        pretend(other)
        self.begin_head()
        self.begin_node(0, python=bare)
        wait_for(lambda: self.count() == 2, 90, "the second node")  # two at a time would take the same sockets
        crooked = self.network.inside(1, ["nice", "-n", "5", str(other)], self.temporary, self.runs)
        joins = ["--address", self.address, "--node-ip-address", self.network.addresses[1]]
        self.begin(crooked, *joins, "--num-gpus", "1")
        wait_for(lambda: self.count() == 3, 90, "three nodes")

    def count(self) -> int:
        findings = by_topic(self.doctor()[1])
        said = findings.get(("cluster", "Ray"), {}).get("found", "")
        return int(said.split(" on ")[1].split()[0]) if " on " in said else 1

    def doctor(self, *words: object, **more: str) -> tuple[int, dict[str, Any]]:
        held = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_", "AWS_"))}
        held |= {"RAY_ADDRESS": self.address, "RAY_AUTH_TOKEN": TOKEN, **more}
        command = [sys.executable, "-m", "hyperderm", "doctor", "--json", *map(str, words)]
        done = subprocess.run(command, cwd=ROOT, env=held, capture_output=True, text=True, timeout=90, check=False)
        assert done.stderr == ""
        return done.returncode, json.loads(done.stdout)


def by_topic(told: Mapping[str, Any]) -> dict[tuple[str, str], dict[str, str]]:
    """Return (place, topic) to the worst finding."""
    order = ["good", "warning", "bad"]
    return {(each["where"], each["topic"]): each for each in sorted(told["findings"], key=lambda e: order.index(e["level"]))}


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """Three nodes in namespaces; where this user may not make those, on loopback addresses with everything in common."""
    network = make_network(2)
    made = Nodes(tmp_path_factory.mktemp("nodes"), network)
    try:
        made.start()
        yield made
    finally:
        made.stop()
        network.close()


@pytest.fixture
def apart(nodes: Nodes) -> Nodes:
    """Nodes that have neither a disk nor loopback addresses in common."""
    if isinstance(nodes.network, Loopback):
        pytest.skip("this user may not make network namespaces, so every node sees everything")
    return nodes


def test_what_is_wrong_with_which_node(nodes):
    bare, crooked = nodes.network.addresses
    begun = time.monotonic()
    code, told = nodes.doctor("--cluster")
    seconds = time.monotonic() - begun
    print(f"three nodes: {seconds:.1f} s")
    assert seconds < BOUND_S
    found = by_topic(told)
    level = {key: each["level"] for key, each in found.items()}
    assert code == 1
    assert found["cluster", "token"]["found"] == "RAY_AUTH_TOKEN is accepted"
    assert level["cluster", "dashboard"] == "warning"
    assert found[bare, "hyperderm"]["found"] == "hyperderm is not installed: it gets the driver's code"
    assert {topic for (place, topic), each in found.items() if place == bare and each["level"] != "good"} <= {"shared"}
    assert found[crooked, "hyperderm"]["found"].startswith("hyperderm 0.0.9 (code ")
    assert found[crooked, "versions"]["found"] == f"numpy 1.99.0, the driver's is {np.__version__}"
    assert found[crooked, "GPU"]["found"] == "Ray counts 1 GPU there, torch sees 0"
    assert level[crooked, "GPU"] == "bad"
    assert found[crooked, "niceness"]["found"].startswith("workers at 5: ")
    assert found[bare, "clock"]["found"].startswith("clock ")
    assert TOKEN not in json.dumps(told)


def test_a_bucket_that_only_the_driver_reaches(apart, tmp_path):
    """Its server listens on the loopback address alone, a frequent mistake."""
    bare, crooked = apart.network.addresses
    with S3Server(tmp_path) as server:
        server.client().create_bucket(Bucket="runs")
        begun = time.monotonic()
        code, told = apart.doctor("--cluster", "--storage", "s3://runs/x", **server.variables())
        assert time.monotonic() - begun < BOUND_S
        assert not server.client().list_objects_v2(Bucket="runs").get("Contents")
    found = by_topic(told)
    assert (code, found["this machine", "storage"]["level"], found["cluster", "storage"]["level"]) == (1, "good", "bad")
    said = found["cluster", "storage"]
    assert said["found"].startswith(f"--storage s3://runs/x cannot be read from {bare}, {crooked} (")
    assert "AWS_ENDPOINT_URL_S3 an address that all nodes reach" in said["remedy"]
    assert server.variables()["AWS_SECRET_ACCESS_KEY"] not in json.dumps(told)


def test_a_folder_that_one_node_does_not_see(apart):
    code, told = apart.doctor("--cluster", "--runs", apart.runs)
    said = by_topic(told)["cluster", "RUNS"]
    assert (code, said["level"]) == (1, "bad")
    assert said["found"] == f"--runs {apart.runs} is not visible from {apart.network.addresses[1]}"
    assert "--storage s3://" in said["remedy"]
    assert not list(apart.runs.iterdir())


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"RAY_AUTH_TOKEN": TOKEN[::-1]}, "refuses this machine's token"),
        ({"RAY_AUTH_TOKEN": "", "HOME": "/nowhere"}, "refuses a client without a token"),
        (
            {"RAY_AUTH_TOKEN": "", "HOME": "/nowhere", "RAY_AUTH_MODE": "token"},
            "RAY_AUTH_MODE=token, but no token is at hand",
        ),
    ],
)
def test_a_token_that_is_wrong_or_missing(nodes, more, said):
    begun = time.monotonic()
    code, told = nodes.doctor("--cluster", **more)
    assert time.monotonic() - begun < BOUND_S
    found = by_topic(told)["cluster", "Ray"]
    assert (code, found["level"]) == (1, "bad")
    assert said in found["found"]
    assert "RAY_AUTH_TOKEN" in found["remedy"]
    assert TOKEN not in json.dumps(told)


def test_auto_without_a_cluster(tmp_path):
    """In a namespace of processes of its own, where no other test's Ray is seen."""
    inside = ["unshare", "--pid", "--fork", "--mount-proc"]
    if subprocess.run([*inside, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user may not make namespaces of processes")
    environment = {**os.environ, "RAY_ADDRESS": "auto", "RAY_TMPDIR": str(tmp_path), "RAY_AUTH_MODE": "disabled"}
    command = [*inside, sys.executable, "-m", "hyperderm", "doctor", "--json"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    found = by_topic(json.loads(done.stdout))["cluster", "Ray"]
    assert done.returncode == 1
    assert found["found"].startswith("RAY_ADDRESS=auto finds no cluster on this machine (")
    assert "ray start --head" in found["remedy"]


def test_a_node_that_died(nodes):
    """The last test: it kills a node."""
    os.killpg(nodes.begun[2].pid, signal.SIGKILL)
    found: dict[tuple[str, str], dict[str, str]] = {}

    def noticed() -> bool:
        found.update(by_topic(nodes.doctor("--cluster")[1]))
        return ("cluster", "lost") in found

    wait_for(noticed, 90, "the head's notice of the death")
    assert found["cluster", "lost"]["level"] == "warning"
    assert nodes.network.addresses[1] in found["cluster", "lost"]["found"]
