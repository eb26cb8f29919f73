"""The Ray cluster that `RAY_ADDRESS` names, or a local one that is started here, and the questions that a study may ask."""

import gc
import logging
import os
import re
import shlex
import signal
import socket
import sys
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

from hyperderm.cluster.ray_output import DRIVER_LOG, captured_stderr, quiet_loggers
from hyperderm.config import Experiment
from hyperderm.errors import ClusterError, HyperdermError, StoreError

if TYPE_CHECKING:  # its import of pyarrow would delay the message about a wrong key
    from hyperderm.store.run_location import RunLocation

T = TypeVar("T")


@dataclass(frozen=True)
class Memory:
    """The memory of a node, in bytes; None if a value is unknown.

    Attributes:
        ram: RAM for all processes together, without the object store.
        store: memory of the object store.
        gpu: memory of the node's smallest GPU.
        address: address of the node.
        here: whether the node is this machine.
    """

    ram: int | None = None
    store: int | None = None
    gpu: int | None = None
    address: str = ""
    here: bool = False


@dataclass(frozen=True)
class Cluster:
    """The resources of a connected cluster."""

    nodes: tuple[tuple[float, float], ...]
    """Numbers of CPUs and GPUs of each node."""
    logs: str
    """Folder of the workers' logs."""
    memory: tuple[Memory, ...] = ()
    """Memory of each node; empty if it is unknown."""

    @property
    def cpus(self) -> float:
        """The number of CPUs of all nodes together."""
        return sum(cpus for cpus, _ in self.nodes)

    @property
    def gpus(self) -> float:
        """The number of GPUs of all nodes together."""
        return sum(gpus for _, gpus in self.nodes)


def _memory() -> dict[str, str]:
    """Return environment variables that let glibc reuse memory for new tensors.

    Mapping new memory would take half the time of a step at 224 px on a CPU. The result is empty for glibc before 2.35,
    which refuses such thresholds and then maps memory even more often.
    """
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
        new = name == "glibc" and tuple(map(int, version.split(".")[:2])) >= (2, 35)
    except (AttributeError, ValueError):
        new = False
    return {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**31)} if new else {}


SETTINGS = _memory() | {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # no CSV, JSON and TensorBoard files
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # the stopper of the sweep handles an interrupt
    "TUNE_FORCE_TRIAL_CLEANUP_S": "20",  # an interrupt need not wait for the next validation: checkpoints are atomic
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # a report of a group costs 5 ms instead of 1.5 s
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # hides CUDA from actors that reserved no GPU
    "RAY_AIR_NEW_OUTPUT": "0",  # the new output prints tables even at verbose=0
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_DATA_LOG_LEVEL": "ERROR",
    "RAY_DEDUP_LOGS_SKIP_REGEX": r"\n",  # the long texts of Ray's memory monitor; a sentence of ours replaces them
    "RAY_task_oom_retries": "3",  # by default Ray repeats tasks without limit when its memory monitor ends them
    "RAY_USAGE_STATS_ENABLED": "0",  # no usage statistics are sent
    "RAY_worker_niceness": "0",  # at Ray's 15, a sweep beside two busy processes on two cores never ends
}
"""Environment variables for Ray, Tune and Train, in this process and in the workers of a cluster."""
GLOO = "GLOO_SOCKET_IFNAME"
"""Gloo's variable for the network interface that it uses."""
TOKENS = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
WAIT = "RAY_gcs_server_port_wait_time_s"
"""Ray's variable for the seconds that it tries to be let in by a head node, for example with a wrong token."""
LONGEST_SOCKET = 107
"""Number of bytes that the path of a socket may have on Linux."""
START_S = 60.0
"""Seconds in which a worker normally starts; a longer start is reported."""
RAY_TAKES = 0.3
"""Share of a machine's memory that Ray's object store takes by default."""
LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Files that hold a container's memory limit, in cgroups 2 and 1."""


def quiet_ray() -> None:
    """Put `SETTINGS` into the environment, except variables that are already set; this must run before Ray is imported.

    If a token is at hand, its use is switched on. `ray start --head` demands a token if the token's file exists, but by
    default Ray sends no token to a given address.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    if token_at_hand():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def use_interface(name: str) -> None:
    """Let gloo use the network interface `name` in this process, unless the environment names one already."""
    os.environ.setdefault(GLOO, name)


def token_at_hand() -> bool:
    """Return whether the environment or the user's home holds a token for Ray clusters."""
    return any(os.environ.get(name) for name in TOKENS) or Path("~/.ray/auth_token").expanduser().is_file()


def told_token() -> str:
    """Return where the token for Ray clusters comes from, in words, and never the token; "" if no token is at hand.

    Raises:
        ClusterError: a token is demanded but missing, or the file that should hold it cannot be read.
    """
    mode, path = os.environ.get("RAY_AUTH_MODE", ""), os.environ.get("RAY_AUTH_TOKEN_PATH")
    if mode.lower() == "disabled":
        return ""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return "RAY_AUTH_TOKEN"
    place = Path(path or "~/.ray/auth_token").expanduser()
    try:
        if place.read_text("utf-8").strip():
            return f"RAY_AUTH_TOKEN_PATH={path}" if path else "~/.ray/auth_token"
        reason = "it is empty"
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
    if path:
        raise ClusterError(f"RAY_AUTH_TOKEN_PATH={path} holds no token ({reason})", _GIVE_TOKEN)
    if mode.lower() == "token" and os.environ.get("RAY_ADDRESS", "local") not in ("", "local"):  # a local Ray makes one
        raise ClusterError("RAY_AUTH_MODE=token, but no token is at hand", _GIVE_TOKEN)
    return ""


_GIVE_TOKEN = "Set RAY_AUTH_TOKEN to what `ray get-auth-token` prints on its head node, and RAY_AUTH_MODE=token."  # noqa: S105


def local_gpu() -> bool:
    """Return whether this machine has an NVIDIA device."""
    return any(Path("/dev").glob("nvidia[0-9]*"))


def this_machine() -> Cluster:
    """Return the resources that a cluster of this machine alone would have, without starting it."""
    gpus = sum(1 for _ in Path("/dev").glob("nvidia[0-9]*"))
    whole = machine_ram()
    store = int(RAY_TAKES * whole)
    memory = Memory(whole - store, store, here=True)
    return Cluster(((float(len(os.sched_getaffinity(0))), float(gpus)),), "/tmp/ray", (memory,))  # noqa: S108 - where Ray writes


def machine_ram() -> int:
    """Return the bytes of RAM of this machine, or those that its container may use."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in LIMITS:
        try:
            whole = min(whole, int(limit.read_text("ascii")))
        except (OSError, ValueError):  # the file is missing or says `max`
            continue
    return whole


def _bytes(resources: Mapping[str, float], name: str) -> int | None:
    return int(resources[name]) if name in resources else None


def connected() -> Cluster:
    """Return the resources of the connected cluster; without a connection, those of a cluster of this machine."""
    import ray

    if not ray.is_initialized():
        return this_machine()
    alive = [node for node in ray.nodes() if node["Alive"]]
    here = ray.get_runtime_context()
    logs = f"{here.get_temp_dir()}/{here.get_session_name()}/logs"
    held = [node["Resources"] for node in alive]
    memory = [
        Memory(
            _bytes(of, "memory"),
            _bytes(of, "object_store_memory"),
            address=node["NodeManagerAddress"],
            here=node["NodeID"] == here.get_node_id(),
        )
        for node, of in zip(alive, held, strict=True)
    ]
    return Cluster(tuple((float(of.get("CPU", 0)), float(of.get("GPU", 0))) for of in held), logs, tuple(memory))


@contextmanager
def held_back() -> Iterator[None]:
    """Hold a SIGINT or SIGTERM back until the block has ended, then raise KeyboardInterrupt; a second one ends the block.

    Python drops an exception that a handler raises while one of its own callbacks runs, which happens while packages are
    imported; and the handler of SIGTERM that `ray.init` puts in place ends the process, or raises where Ray drops it. So
    the signals themselves are noted, whoever handles them. At the end of the block the handlers are those of before it.
    """
    numbers = (signal.SIGINT, signal.SIGTERM)
    main = threading.current_thread() is threading.main_thread()  # only there Python lets handlers be set
    ours = {number: found for number in numbers if main and callable(found := signal.getsignal(number))}
    if not ours:
        yield
        return
    came: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        came.append(number)
        if len(came) > 1:
            raise KeyboardInterrupt

    noted, note = os.pipe()
    os.set_blocking(noted, False)
    os.set_blocking(note, False)
    before = signal.set_wakeup_fd(note, warn_on_full_buffer=False)
    try:
        for number in ours:
            signal.signal(number, handle)
        yield
    finally:
        for number, found in ours.items():
            signal.signal(number, found)
        signal.set_wakeup_fd(before)
        os.close(note)
        with open(noted, "rb") as pipe:  # noqa: PTH123 - a descriptor
            interrupted = set(ours) & set(pipe.read() or b"")
    if interrupted:
        raise KeyboardInterrupt


def temporary_folder() -> Path:
    """Return the folder in which Ray on this machine keeps its sessions, each with its logs and sockets."""
    return Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp") / "ray"  # noqa: S108 - Ray's own default


def check_sockets() -> None:
    """Prove that the paths of the sockets of a local Ray are not too long.

    Raises:
        ClusterError: they are.
    """
    session = f"session_2000-01-01_00-00-00_000000_{os.getpid()}"
    path = temporary_folder() / session / "sockets" / "plasma_store"
    if len(os.fsencode(path)) > LONGEST_SOCKET:
        raise _unstarted(None, f"AF_UNIX path length cannot exceed {LONGEST_SOCKET} bytes: {path}", "")


@contextmanager
def connect(address: str | None, wait_s: int | None = None) -> Iterator[Cluster]:
    """Connect to the cluster at `address`, or start a local one on all cores of this machine; disconnect at the end.

    Args:
        address: host:port of a head node, auto, or None for a local cluster.
        wait_s: seconds for which Ray tries to be let in by a head node that answers; None: Ray's own 20.

    Raises:
        ClusterError: no cluster answers at `address`, or Ray does not start on this machine.
    """
    remote = address not in (None, "", "local")
    if remote and address != "auto":
        check_address(str(address))
    if not remote:
        check_sockets()
    with held_back():
        import ray
    outer = ray.is_initialized()  # by somebody else, who goes on with it after the error below
    package = str(Path(__file__).resolve().parents[1])  # sent to the workers, so that they run the code of the driver
    environment = {"py_modules": [package], "env_vars": SETTINGS} if remote else quoted_interpreter(sys.executable)
    place: dict[str, Any] = {} if remote else dict(include_dashboard=False, _node_ip_address="127.0.0.1")
    try:
        with held_back(), captured_stderr() as said, _waiting(wait_s if remote else None):
            try:
                ray.init(
                    address=address if remote else "local",
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    runtime_env=environment,
                    **place,
                )
            except SystemExit:  # Ray's own handler of SIGTERM, which is in place before `ray.init` returns
                raise KeyboardInterrupt from None
            except Exception as error:  # Ray gives no reason if a node does not start in time
                raise _unstarted(address if remote else None, str(error), said()) from None
        cluster = connected()
        with quiet_loggers(Path(cluster.logs) / DRIVER_LOG):
            yield cluster
    finally:
        if not outer:
            _shut_down(ray.shutdown)


def _shut_down(shutdown: Callable[[], None]) -> None:
    """Shut Ray down while no garbage is collected.

    A collection in another thread would return Ray's references to a core that is already gone, upon which the core ends the
    whole process, before a report is written ("The core worker has already been shutdown").
    """
    gc.collect()
    collects = gc.isenabled()
    gc.disable()
    try:
        shutdown()
    finally:
        if collects:
            gc.enable()


@contextmanager
def _waiting(seconds: int | None) -> Iterator[None]:
    """Limit the time for which Ray tries to be let in by a head node; None, or a limit of the user's, changes nothing."""
    if seconds is None or WAIT in os.environ:
        yield
        return
    os.environ[WAIT] = str(seconds)
    try:
        yield
    finally:
        del os.environ[WAIT]


def quoted_interpreter(path: str) -> dict[str, str] | None:
    """Return a runtime environment with the quoted path of the interpreter, or None if the path needs no quotes.

    Ray passes the path to bash without quotes for every worker with an environment of its own, such as Tune's. With a path
    below `My Drive`, for example, no trial would ever start.
    """
    quoted = shlex.quote(path)
    return None if quoted == path else {"py_executable": quoted}


def _unstarted(address: str | None, error: str, said: str) -> ClusterError:
    """Return the error for a Ray that does not start or a cluster that refuses, from its exception and its core's output."""
    reason = (error.strip().splitlines() or ["no reason given"])[0].rstrip(".")
    refused = "InvalidAuthToken" in said or "Unauthenticated" in said or "AuthenticationError" in error
    if address and (refused or "no authentication token was found" in error):
        held = "this machine's token" if token_at_hand() else "a client without a token"
        return ClusterError(f"the Ray cluster at RAY_ADDRESS={address} refuses {held}", _GIVE_TOKEN)
    if address and (versions := re.findall(r"(Ray|Python): (\S+)", error)) and "Version mismatch" in error:
        there, here = (" and ".join(f"{name} {version}" for name, version in each) for each in (versions[:2], versions[2:]))
        return ClusterError(
            f"the Ray cluster at RAY_ADDRESS={address} runs {there}, this machine {here}",
            "Install the same versions on every node, or start the command on a node of the cluster.",
        )
    if address == "auto":
        return ClusterError(
            f"RAY_ADDRESS=auto finds no cluster on this machine ({reason.partition('. ')[0]})",
            "Start it (`ray start --head`), give host:port of its head node, or unset RAY_ADDRESS to use this machine.",
        )
    if "AF_UNIX path length" in reason:  # Ray's sockets lie below TMPDIR
        return ClusterError(
            f"Ray does not start on this machine: {reason}", "Set RAY_TMPDIR to an existing folder with a short name."
        )
    if address:
        return ClusterError(f"RAY_ADDRESS={address} does not answer: {reason}", "Start the cluster, or unset it.")
    return ClusterError(
        f"Ray does not start on this machine: {reason}", "Look for the cause in the newest folder of /tmp/ray."
    )


def dashboard_address(address: str | None) -> str:
    """Return the address at which the cluster at `address` accepts jobs.

    Raises:
        ClusterError: the cluster has no dashboard.
    """
    with connect(address):
        return connected_dashboard(address)


def connected_dashboard(address: str | None) -> str:
    """Return the address at which the connected cluster accepts jobs; `address` is the cluster's own, for the message.

    Raises:
        ClusterError: the cluster has no dashboard.
    """
    import ray

    found = ray.get_runtime_context().worker.node.address_info.get("webui_url")
    if not found:
        raise ClusterError(
            f"the Ray cluster at {address} has no dashboard, which takes jobs",
            "Start its head with ray[default] installed, or run without --detach in a terminal multiplexer.",
        )
    return f"http://{found}"


def check_address(address: str, timeout_s: float = 5) -> None:
    """Prove, within about `timeout_s` seconds, that a gRPC server listens at `address`; Ray would try for 15 minutes.

    Raises:
        ClusterError: the address is not host:port, nothing listens, or another kind of server listens.
    """
    host, colon, port = address.rpartition(":")
    if "://" in address or not (host and colon and port.isdecimal()):
        raise ClusterError(f"RAY_ADDRESS={address} is not host:port", "Give the head node's, for example 10.0.0.1:6379.")
    remedy = "Start the cluster (`ray start --head`), correct RAY_ADDRESS, or unset it to use this machine."
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=timeout_s) as line:
            if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
                return  # the greeting below would have to be encrypted
            line.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _SETTINGS)
            answer = line.recv(9)
    except (OSError, OverflowError) as error:
        reason = "no answer in time" if isinstance(error, TimeoutError) else str(error)
        raise ClusterError(f"RAY_ADDRESS={address} does not answer ({reason})", remedy) from None
    if len(answer) < 4 or answer[3] != _SETTINGS[3]:
        raise ClusterError(f"what answers at RAY_ADDRESS={address} is not a Ray head node", "Its port is 6379 by default.")


_SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])  # an empty HTTP/2 SETTINGS frame; a gRPC server greets with one of its own


def trials_at_once(cluster: Cluster, workers: int, cpus: float, gpus: float, limit: int | None) -> int:
    """Return how many trials of `workers` workers can run at the same time; each worker must fit on one node.

    Raises:
        ClusterError: not even one trial fits.
    """
    fits = sum(places_of(cluster, cpus, gpus)) // workers
    if fits < 1:
        need = f"{workers} worker{'s' * (workers > 1)} with {cpus:g} CPU and {gpus:g} GPU each"
        raise ClusterError(
            f"a trial needs {need}, the cluster has {described(cluster)}",
            "Use fewer --workers-per-trial (train: --workers), --set sweep.cpus_per_worker or sweep.gpus_per_worker (a "
            "grid: resources.workers, resources.cpus, resources.gpus), or a larger cluster.",
        )
    return min(fits, limit) if limit else fits


def places_of(cluster: Cluster, cpus: float, gpus: float) -> list[int]:
    """Return for each node how many workers with `cpus` CPUs and `gpus` GPUs fit on it."""
    return [min(int(c / cpus + 1e-9), int(g / gpus + 1e-9)) if gpus else int(c / cpus + 1e-9) for c, g in cluster.nodes]


def described(cluster: Cluster) -> str:
    """Return the cluster's size in words."""
    total = f"{cluster.cpus:g} CPU and {cluster.gpus:g} GPU"
    return f"{total} on {len(cluster.nodes)} nodes" if len(cluster.nodes) > 1 else total


def check_capacity(experiment: Experiment, cluster: Cluster, folder: "RunLocation") -> int:
    """Return how many trials of `experiment` can run at the same time, with files in `folder` (or a part of a bucket).

    Raises:
        ClusterError: not even one trial fits, or a node does not see the folder.
    """
    settings = experiment.sweep
    fits = trials_at_once(
        cluster, settings.workers_per_trial, settings.cpus_per_worker, settings.gpus_per_worker, settings.concurrent
    )
    check_shared(folder, cluster)
    return fits


def check_shared(folder: "RunLocation", cluster: Cluster) -> None:
    """Prove that every node sees `folder`, which holds checkpoints and samples; a bucket must be reachable from all nodes.

    Raises:
        ClusterError: some nodes do not see the folder; the message names them.
    """
    if len(cluster.nodes) < 2:
        return
    if isinstance(folder, Path):
        probe = folder / f".probe-{uuid.uuid4().hex[:8]}"
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_text("hyperderm")
        try:
            blind = blind_nodes(probe)
        finally:
            probe.unlink(missing_ok=True)
    else:
        blind = blind_nodes(folder)
    if blind:
        raise unseen(folder, blind)


def unseen(place: "RunLocation", blind: Sequence[str]) -> ClusterError:
    """Return the error for a place of runs that the nodes `blind` do not see."""
    said = (
        (f"--runs {place} is not visible from", "Give a folder on storage that all nodes share, or --storage s3://….")
        if isinstance(place, Path)
        else (f"--storage {place.uri} cannot be read from", "Give AWS_ENDPOINT_URL_S3 an address that all nodes reach.")
    )
    return ClusterError(f"{said[0]} {', '.join(blind)}", said[1])


def blind_nodes(place: "RunLocation") -> list[str]:
    """Return the addresses of the nodes that do not see `place`."""

    def sees() -> bool:
        if isinstance(place, Path):
            return place.exists()
        try:
            place.exists()  # the prefix may still be empty; the answer of the server is enough
        except StoreError:
            return False
        return True

    return [node for node, ok in on_each_node(sees).items() if not ok]


def on_each_node(ask: Callable[[], T], seconds: float | None = None) -> dict[str, T | None]:
    """Call a function once in a worker of every node, and return the answers by address of the node.

    A node that leaves the cluster meanwhile is not among the answers.

    Args:
        ask: the function, which is pickled and sent to the nodes.
        seconds: time to wait for all answers; a node without an answer gives None. None: wait without limit.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    remote = ray.remote(num_cpus=0)(ask)
    asked = {
        node["NodeManagerAddress"]: remote.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote()
        for node in ray.nodes()
        if node["Alive"]
    }
    done, _ = ray.wait(list(asked.values()), num_returns=len(asked), timeout=seconds)
    answers: dict[str, T | None] = {}
    for node, answer in asked.items():
        with suppress(
            ray.exceptions.TaskUnschedulableError, ray.exceptions.NodeDiedError, ray.exceptions.WorkerCrashedError
        ):
            answers[node] = ray.get(answer) if answer in done else None
    return answers


def run_remotely(call: Callable[..., T], *given: object, cpus: float = 1.0, gpus: float = 0.0) -> T:
    """Return the result of `call(*given)`, run in a worker of the connected cluster with `cpus` CPUs and `gpus` GPUs.

    Raises:
        HyperdermError: the error that `call` raised; RayTaskError: `call` raised another error.
    """
    import ray

    there = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=0)(call)
    try:
        result: T = ray.get(there.remote(*given))
    except ray.exceptions.RayTaskError as error:
        raise error.cause if isinstance(error.cause, HyperdermError) else error from None
    return result


def workers_found() -> str:
    """Return a sentence about the workers of a given cluster: their niceness, and the nodes on which no worker starts."""
    found = on_each_node(lambda: os.getpriority(os.PRIO_PROCESS, 0), START_S)
    said = []
    if absent := [node for node, value in found.items() if value is None]:
        said.append(": ".join(unstarted_worker(", ".join(absent), START_S)))
    values = sorted({value for value in found.values() if value is not None})
    if values:
        said.append(f"workers at niceness {' and '.join(map(str, values))}")
    if values and values[-1] > 0:
        said.append(": ".join(STARVING))
    return "; ".join(said)


def unstarted_worker(nodes: str, seconds: float) -> tuple[str, str]:
    """Return what is wrong with nodes on which no worker starts, and where to look."""
    return f"no worker started on {nodes} within {seconds:.0f} s", "see raylet.err in the logs there"


STARVING = ("beside other busy processes they starve", "start the nodes with RAY_worker_niceness=0")
"""What happens to workers at a niceness above 0, and the remedy."""
