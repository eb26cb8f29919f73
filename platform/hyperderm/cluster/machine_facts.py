"""Collect the facts of one machine that decide whether training works on it, as plain data that a node can send."""

import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path

from hyperderm.cluster.session import machine_ram

PACKAGE = "hyperderm"
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Ray's object store lies
QUERY = "name,memory.total,memory.used,driver_version"
TRY_S = 10.0
"""Seconds that a program may take which asks for GPUs; a driver that hangs takes for ever."""
USED_LIMITS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"), Path("/sys/fs/cgroup/memory/memory.usage_in_bytes")),
)
"""Files that hold a container's memory limit and the memory that it uses, in cgroups 2 and 1."""


@dataclass(frozen=True)
class Gpu:
    """A GPU as its driver reports it; sizes in bytes."""

    name: str
    memory: int
    used: int


@dataclass(frozen=True)
class Gpus:
    """The GPUs of a machine.

    Attributes:
        devices: number of the files /dev/nvidia0, /dev/nvidia1 and so on.
        driver: version of the driver; "" if it does not answer.
        found: the GPUs that the driver reports.
        built: the version of CUDA that torch was built for; "" if torch was built without CUDA or was not asked.
        usable: number of GPUs that torch sees.
        fault: what the driver or torch complained about; "" if nothing.
    """

    devices: int = 0
    driver: str = ""
    found: tuple[Gpu, ...] = ()
    built: str = ""
    usable: int = 0
    fault: str = ""


@dataclass(frozen=True)
class Disk:
    """A file system.

    Attributes:
        holds: the names of the places that lie on it, such as RUNS.
        path: one of these places, or the nearest folder above it that exists.
        free: bytes that this user may still write.
    """

    holds: tuple[str, ...]
    path: str
    free: int


@dataclass(frozen=True)
class MachineFacts:
    """The facts of one machine; sizes in bytes.

    Attributes:
        host: name of the machine.
        python: version of Python.
        packages: package to version; None if the package is not installed.
        installed: version of hyperderm that is installed there, beside code that Ray sent; None if there is none.
        code: digest of that installed code; "" if there is none.
        cores: number of CPU cores that this process may use.
        quota: number of cores that the container may use; None without such a limit.
        ram: memory of the machine, or of its container.
        free: memory that is still available.
        limited: whether a container's limit is smaller than the memory of the machine.
        shared_memory: size of /dev/shm; None if it does not exist.
        disks: the file systems of the places that matter.
        gpus: the GPUs.
        niceness: niceness of this process.
    """

    host: str
    python: str
    packages: Mapping[str, str | None]
    installed: str | None
    code: str
    cores: int
    quota: float | None
    ram: int
    free: int
    limited: bool
    shared_memory: int | None
    disks: tuple[Disk, ...]
    gpus: Gpus = field(default_factory=Gpus)
    niceness: int = 0


def look(packages: Sequence[str], places: Mapping[str, Path], elsewhere: bool) -> MachineFacts:
    """Return the facts of the machine that runs this.

    Args:
        packages: names of distributions whose versions are wanted.
        places: name to folder of what is written to; a folder need not exist.
        elsewhere: whether a worker of Ray runs this; Ray then hides GPUs from it, and has put the driver's code before the
            installed one.
    """
    version, code = installed([each for each in sys.path if not (elsewhere and sent_by_ray(each))])
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    ram = machine_ram()
    return MachineFacts(
        host=socket.gethostname(),
        python=platform.python_version(),
        packages={name: version_of(name) for name in packages},
        installed=version,
        code=code,
        cores=len(os.sched_getaffinity(0)),
        quota=cpu_quota(),
        ram=ram,
        free=free_memory(),
        limited=ram < whole,
        shared_memory=size_of(SHARED_MEMORY),
        disks=disks({"TMPDIR": Path(tempfile.gettempdir()), **places}),
        gpus=look_for_gpus(hidden=elsewhere),
        niceness=os.getpriority(os.PRIO_PROCESS, 0),
    )


def needed() -> list[str]:
    """Return the names of the packages that hyperderm needs, without those for its development."""
    try:
        lines = importlib.metadata.requires(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:  # it runs from a checkout that was not installed
        lines = []
    names = [re.split(r"[^\w.-]", line)[0] for line in lines if "extra ==" not in line]
    return list(dict.fromkeys(["ray", "torch", "numpy", "pyarrow", "mlflow", "optuna", *names]))


def version_of(name: str) -> str | None:
    """Return the version of an installed package without importing it; None if it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def sent_by_ray(entry: str) -> bool:
    """Return whether Ray put this entry of `sys.path` there, for code that a driver sent (`py_modules`)."""
    return "runtime_resources" in Path(entry).parts


def installed(entries: Sequence[str]) -> tuple[str | None, str]:
    """Return the version and the digest of the hyperderm in the given entries of `sys.path`; (None, "") without one."""
    spec = PathFinder.find_spec(PACKAGE, list(entries))
    if spec is None or spec.origin is None:
        return None, ""
    folder = Path(spec.origin).parent
    told = re.search(r"""^__version__\s*=\s*["']([^"']+)""", Path(spec.origin).read_text("utf-8"), re.MULTILINE)
    return (told[1] if told else version_of(PACKAGE) or "unknown"), code_digest(folder)


@cache
def code_digest(folder: Path) -> str:
    """Return twelve digits of the SHA-256 over the names and contents of all Python files below `folder`."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        found.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()[:12]


def cpu_quota() -> float | None:
    """Return how many cores the container may use at a time; None without such a limit."""
    try:
        limit, period = Path("/sys/fs/cgroup/cpu.max").read_text("ascii").split()
        return None if limit == "max" else int(limit) / int(period)
    except (OSError, ValueError):
        return None


def free_memory() -> int:
    """Return the bytes of memory that are available on this machine, or in its container."""
    told = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text("ascii"), re.MULTILINE)
    free = int(told[1]) * 1024 if told else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    for limit, used in USED_LIMITS:
        try:
            free = min(free, max(0, int(limit.read_text("ascii")) - int(used.read_text("ascii"))))
        except (OSError, ValueError):  # the file is missing or says `max`
            continue
    return free


def size_of(folder: Path) -> int | None:
    """Return the size of the file system at `folder`; None if the folder does not exist."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return None
    return found.f_frsize * found.f_blocks


def standing(path: Path) -> Path:
    """Return `path`, or the nearest folder above it that exists."""
    path = path.absolute()
    return next((each for each in (path, *path.parents) if each.exists()), path)


def disks(places: Mapping[str, Path]) -> tuple[Disk, ...]:
    """Return the file systems of `places` (name to folder), each once; a place that cannot be looked at is left out."""
    found: dict[int, Disk] = {}
    for name, place in places.items():
        try:
            path = standing(place)
            device, about = path.stat().st_dev, os.statvfs(path)
        except OSError:
            continue
        if device in found:
            found[device] = Disk((*found[device].holds, name), found[device].path, found[device].free)
        else:
            found[device] = Disk((name,), str(path), about.f_frsize * about.f_bavail)
    return tuple(found.values())


def look_for_gpus(hidden: bool) -> Gpus:
    """Return the GPUs of this machine, asked of the driver and of torch, which makes a number on each GPU that is half free.

    Args:
        hidden: whether Ray hides GPUs from this process, so that torch is asked in an environment without that.
    """
    devices = sum(1 for _ in Path("/dev").glob("nvidia[0-9]*"))
    if not devices and not shutil.which("nvidia-smi"):
        return Gpus()
    driver, found, fault = _driver()
    idle = [number for number, gpu in enumerate(found) if 2 * gpu.used < gpu.memory]
    built, usable, complaint = _torch(idle, hidden)
    return Gpus(devices, driver, found, built, usable, fault or complaint)


def _driver() -> tuple[str, tuple[Gpu, ...], str]:
    """Return the version of the driver, its GPUs, and its complaint, as `nvidia-smi` tells them."""
    command = ["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TRY_S, check=False)  # noqa: S603
        if done.returncode:
            return "", (), _last(done.stdout + done.stderr)
        rows = [[cell.strip() for cell in line.split(",")] for line in done.stdout.splitlines() if line.strip()]
        found = tuple(Gpu(name, int(memory) * 2**20, int(used) * 2**20) for name, memory, used, _ in rows)
        return (rows[0][3] if rows else ""), found, ""
    except FileNotFoundError:
        return "", (), "nvidia-smi is not installed"
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return "", (), _last(str(error))


def _torch(idle: Sequence[int], hidden: bool) -> tuple[str, int, str]:
    """Return torch's version of CUDA, the number of GPUs that it sees, and its complaint; a process of its own is asked."""
    code = (
        "import json, sys, torch\n"
        "told = {'built': torch.version.cuda or '', 'usable': 0, 'fault': ''}\n"
        "try:\n"
        "    told['usable'] = torch.cuda.device_count() if torch.cuda.is_available() else 0\n"
        "    for number in json.loads(sys.argv[1])[: told['usable']]:\n"
        "        if number < told['usable']: torch.ones(1, device=f'cuda:{number}').sum().item()\n"
        "except Exception as error:\n"
        "    told['fault'] = str(error).splitlines()[0]\n"
        "print(json.dumps(told))\n"
    )
    shown = ["/usr/bin/env", "-u", "CUDA_VISIBLE_DEVICES"] if hidden else []
    command = [*shown, sys.executable, "-W", "ignore", "-c", code, json.dumps(list(idle))]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TRY_S, check=True)  # noqa: S603
        told = json.loads(done.stdout.splitlines()[-1])
        return str(told["built"]), int(told["usable"]), str(told["fault"])
    except subprocess.TimeoutExpired:
        return "", 0, f"torch found no GPU within {TRY_S:.0f} s"
    except (OSError, ValueError, IndexError, KeyError, subprocess.SubprocessError) as error:
        return "", 0, _last(str(getattr(error, "stderr", "") or error))


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines[-1] if lines else "no reason given")[:200].rstrip(".")
