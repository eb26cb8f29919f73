"""Ray nodes with addresses of their own and a token, on this machine: begun, killed, cut off, and ended without a trace."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from hyperderm.cluster.session import check_address
from hyperderm.errors import ClusterError
from infra.seaweed import free_ports
from tests.services.grids import wait_for
from tests.services.namespaces import Loopback, Network

TOKEN = "0123456789abcdef0123456789abcdef"
COUNT = """
import sys, time, ray
from hyperderm.cluster.session import connect, quiet_ray
quiet_ray()
with connect(sys.argv[1]):
    for _ in range(900):
        if sum(node["Alive"] for node in ray.nodes()) == int(sys.argv[2]):
            sys.exit(0)
        time.sleep(0.1)
sys.exit(1)
"""


def make_network(count: int) -> Network | Loopback:
    """Return `count` namespaces; where this user may not make those, loopback addresses with everything in common."""
    try:
        return Network(count)
    except (OSError, subprocess.CalledProcessError):
        return Loopback()


def alive(process: psutil.Process) -> bool:
    """Return whether a process runs, or could go on."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class RayNodes:
    """A head on this machine and nodes on a network; `begun` holds the head and then the nodes, each a process group.

    Args:
        folder: keeps Ray's own messages.
        network: where the nodes live; `close` is left to the caller.
    """

    def __init__(self, folder: Path, network: Network | Loopback) -> None:
        self.network, self.folder = network, folder
        self.address = f"{network.here}:{free_ports(1)[0]}"
        self.temporary = Path(f"/tmp/hd{os.getpid()}")  # Ray's sockets want a short name
        self.begun: list[subprocess.Popen[bytes]] = []
        self._family: dict[int, psutil.Process] = {}

    def begin_head(self, *words: str) -> None:
        """Start the head and wait until it answers."""
        port = self.address.rpartition(":")[2]
        more = ["--include-dashboard=false", "--temp-dir", str(self.temporary), *words]
        self.begin([sys.executable], "--head", "--port", port, "--node-ip-address", self.network.here, *more)
        wait_for(self.listens, 60, "the head's start")

    def begin_node(
        self, number: int, *words: str, python: Path | str = sys.executable, hidden: tuple[Path, ...] = ()
    ) -> None:
        """Start a node that shares no folder for temporary files with the head."""
        program = self.network.inside(number, [str(python)], self.temporary, *hidden)
        joins = ["--address", self.address, "--node-ip-address", self.network.addresses[number]]
        self.begin(program, *joins, *words)

    def begin(self, program: list[str], *words: str) -> None:
        """Start a node with one CPU by the interpreter `program`."""
        environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "RAY_ADDRESS")}
        environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
        command = [*program, "-m", "ray.scripts.scripts", "start", "--num-cpus", "1", "--block", *words]
        with (self.folder / "ray.log").open("ab") as log:
            self.begun.append(
                subprocess.Popen(command, env=environment, cwd="/", stdout=log, stderr=log, start_new_session=True)
            )

    def listens(self) -> bool:
        """Return whether the head answers."""
        try:
            check_address(self.address, 1)
        except ClusterError:
            return False
        return True

    def wait_started(self) -> None:
        """Wait until each node that was begun says that it has started."""
        log = self.folder / "ray.log"
        wait_for(lambda: log.read_text().count("Ray runtime started.") == len(self.begun), 120, "the nodes' start")

    def wait_alive(self, count: int) -> None:
        """Wait until the head counts so many nodes."""
        environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
        command = [sys.executable, "-c", COUNT, self.address, str(count)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=150, check=False)
        assert done.returncode == 0, f"not {count} nodes: {done.stderr}"

    def processes(self, number: int) -> list[psutil.Process]:
        """Return the processes of a node, its raylet and workers among them."""
        try:
            found = psutil.Process(self.begun[number].pid).children(recursive=True)
        except psutil.NoSuchProcess:
            found = []
        self._family |= {each.pid: each for each in found}
        return found

    def raylet(self, number: int) -> psutil.Process | None:
        """Return a node's raylet; None if it has ended."""
        return next((each for each in self.processes(number) if each.name() == "raylet" and alive(each)), None)

    def end(self, number: int) -> None:
        """Kill a node with all that it started; the head notices by itself."""
        family, node = self.processes(number), self.begun[number]
        if node.poll() is None:
            os.killpg(node.pid, signal.SIGKILL)
            node.wait(30)
        for each in filter(alive, family):
            each.kill()
        wait_for(lambda: not any(map(alive, family)), 20, "the end of a node")

    def stop(self) -> None:
        """Kill all nodes, the head last, and remove their files."""
        for number in reversed(range(len(self.begun))):
            self.end(number)
        for each in filter(alive, self._family.values()):  # what a killed raylet left behind
            each.kill()
        shutil.rmtree(self.temporary, ignore_errors=True)
