"""Recognise trouble of the machine in exceptions: disk, rights, memory, databases and lost workers.

`NonFiniteLoss`, and a configuration that cannot be used, belong to a trial and end it. All errors recognised here belong to
the machine, and the trial stays open. An unforeseen error (such as a KeyError) is neither; the trial is repeated and then
ends as a failure, because the same code would fail on it again. A GPU that is full with one trial alone is
trouble of that trial only (`errors.TooLarge`, found by `cluster.messages`). Neither Ray nor torch nor SQLAlchemy is imported
here.
"""

import errno
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from hyperderm.databases import trouble as database_trouble
from hyperderm.errors import DiskFull, FileTrouble, HyperdermError, MachineTrouble, OutOfMemory, WorkerLost

AGAIN = "then run the same command again: it goes on."
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
FILES = {errno.EMFILE, errno.ENFILE}
RIGHTS = {errno.EACCES, errno.EPERM, errno.EROFS}
NO_MEMORY = re.compile(
    r"DefaultCPUAllocator|can.t allocate memory|cannot allocate memory|failed to map segment|can.t start new thread"
    r"|bad_alloc",
    re.IGNORECASE,
)
"""Messages, in several kinds of errors, of torch, the loader of shared libraries and Python if no memory is left."""
DEVICE = re.compile(
    r"ECC error|CUDA-capable device|unspecified launch failure|GPU is lost|fallen off the bus", re.IGNORECASE
)
"""Messages of torch, in several kinds of errors, about a GPU that broke or is taken."""
PEERS = re.compile(r"gloo.*(connection|timed out|closed|reset)|NCCL (error|communicator)", re.IGNORECASE | re.DOTALL)
"""Messages of a worker in a group when another worker is gone."""
FEWER = (
    "Run fewer at a time (--set sweep.concurrent=1, or a grid's resources.cpus), lower data.size or training.batch_size, or "
    f"use --set data.feed=stream or a machine with more memory; {AGAIN}"
)
"""The remedy for a lack of memory."""


def trouble_of(error: BaseException) -> MachineTrouble | None:
    """Return `error` as trouble of the machine, with one sentence and its remedy; None if it is something else.

    The function looks through errors that Ray, Tune, Train and SQLAlchemy wrap.
    """
    for inner in _chain(error):
        if isinstance(inner, MachineTrouble):
            return inner
        if isinstance(inner, HyperdermError):
            return None  # told already, as what the user can mend or the trial's own
        for kinds, told in _KINDS:
            if kinds & _names(inner) and (found := told(inner)):
                return found
    return None


def own_of(error: BaseException) -> HyperdermError | None:
    """Return the HyperdermError that `error` is or wraps; None if there is none."""
    return next((inner for inner in _chain(error) if isinstance(inner, HyperdermError)), None)


def reason_of(error: BaseException) -> str:
    """Return the last line of an exception's message, without its full stop."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300].rstrip(". ")


def said_by(error: BaseException) -> str:
    """Return an unforeseen error as text: its kind and the last line of its message; for Ray's errors, of the cause."""
    if own := own_of(error):
        return str(own)
    inner = list(_chain(error))[-1]
    return f"{type(inner).__name__}: {reason_of(inner)}"


def cause_for(known: BaseException, error: BaseException) -> BaseException | None:
    """Return the `error` that `known` is raised from, or None if `known` is a part of it.

    An error among its own causes would send Ray, which copies all causes, into an endless recursion.
    """
    return None if any(inner is known for inner in _chain(error)) else error


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield `error` and the errors it wraps, from the outside in; `__context__` counts only for errors of Ray."""
    waiting, seen = [error], set[int]()
    while waiting:
        inner = waiting.pop(0)
        if id(inner) in seen:
            continue
        seen.add(id(inner))
        if "ray.RayTaskError" not in _names(inner):  # it is made to look like its cause, but without its fields
            yield inner
        within = [getattr(inner, "cause", None), getattr(inner, "controller_failure", None), inner.__cause__]
        within += list(getattr(inner, "worker_failures", {}).values())
        if type(inner).__module__.startswith("ray."):
            within.append(inner.__context__)
        waiting += [each for each in within if isinstance(each, BaseException)]


def _names(error: BaseException) -> set[str]:
    """Return the names of the classes of `error`, since most of their packages are not imported for this check."""
    return {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(error).__mro__}


def _of_file(error: BaseException) -> MachineTrouble | None:
    assert isinstance(error, OSError)
    if error.errno in (None, errno.ENOMEM) and NO_MEMORY.search(str(error)):
        return _of_memory(error)
    if isinstance(error, (BrokenPipeError, TimeoutError)) and error.filename is None:
        return None  # what else reads our output, or a wait of ours
    if error.errno is None and error.filename is None:
        full = re.search(r"No space left on device|\[errno (28|122)\]", str(error))  # pyarrow keeps no number
        return DiskFull(reason_of(error), f"Free some space; {AGAIN}") if full else MachineTrouble(*_at(error))
    if error.errno in FULL:
        what, _ = _at(error)
        return DiskFull(what, f"Free some space there; {AGAIN}")
    if error.errno in RIGHTS:
        return FileTrouble(_at(error)[0], f"Give this user the right to it; {AGAIN}")
    if error.errno in FILES:
        return MachineTrouble(_at(error)[0], f"Raise the limit (ulimit -n), or run fewer at a time; {AGAIN}")
    if error.errno == errno.ENOMEM:
        return _of_memory(error)
    return MachineTrouble(*_at(error))


def _at(error: OSError) -> tuple[str, str]:
    if error.errno in (errno.ENOENT, errno.ESTALE) and not _stands():
        return "the working folder: it was removed, or moved away", f"Go to a folder that is there (cd); {AGAIN}"
    where = str(error.filename2 or error.filename or "a file")
    what = f"{where}: {error.strerror or reason_of(error)}"
    return what, f"Check the place, its disk and its rights; {AGAIN}"


def _stands() -> bool:
    """Return whether the working folder exists."""
    try:
        return Path.cwd().exists()
    except OSError:
        return False


def _of_import(error: BaseException) -> MachineTrouble | None:
    return _of_memory(error) if NO_MEMORY.search(str(error)) else None


def _of_memory(error: BaseException) -> MachineTrouble:
    return OutOfMemory(f"the machine has no memory left ({type(error).__name__})", FEWER)


def _of_gpu(error: BaseException) -> MachineTrouble:
    first = (str(error).splitlines() or [""])[0][:200].rstrip(". ")
    return OutOfMemory(f"the GPU's memory is full ({first})", f"Lower training.batch_size or data.size, or free it; {AGAIN}")


def _of_runtime(error: BaseException) -> MachineTrouble | None:
    text = str(error)
    if NO_MEMORY.search(text):
        return _of_memory(error)
    if DEVICE.search(text):
        return MachineTrouble(f"the GPU failed: {reason_of(error)}", f"See nvidia-smi; {AGAIN}")
    if PEERS.search(text):
        return _of_peers(error)
    return None


def _of_peers(error: BaseException) -> MachineTrouble:
    return WorkerLost(
        f"the workers of a group lost each other: {reason_of(error)}", f"See the worker logs and the network; {AGAIN}"
    )


def _of_database(error: BaseException) -> MachineTrouble:
    reason = reason_of(error)
    what = f"a database of this run (study.db, outbox.db or mlflow.db) cannot be used: {reason}"
    if database_trouble(error) == "full":
        return DiskFull(what, f"Free some space there; {AGAIN}")
    return MachineTrouble(what, f"Check the place, its disk and its rights, and that nothing else holds it; {AGAIN}")


def _of_monitor(error: BaseException) -> MachineTrouble:
    said = "Ray ended a worker, because the memory of its node was nearly full"
    return OutOfMemory(said, f"{FEWER} RAY_memory_usage_threshold (0.95) says how full it may be.")


def _of_ray_disk(error: BaseException) -> MachineTrouble:
    return DiskFull(f"Ray has no room for its objects: {reason_of(error)}", f"Free space below RAY_TMPDIR; {AGAIN}")


def _of_worker(error: BaseException) -> MachineTrouble | None:
    if getattr(error, "_actor_init_failed", False):
        return None  # it began with an exception, which stands in its text alone
    return WorkerLost(
        "a worker process or its node died, more often than it is started again (memory, a signal, a lost machine)",
        f"See the worker logs, and dmesg for the kernel's word; {AGAIN}",
    )


_KINDS: tuple[tuple[set[str], Callable[[BaseException], MachineTrouble | None]], ...] = (
    ({"ray.OutOfMemoryError"}, _of_monitor),
    ({"ray.OutOfDiskError", "ray.ObjectStoreFullError"}, _of_ray_disk),
    (
        {
            "ray.RayActorError", "ray.WorkerCrashedError", "ray.NodeDiedError", "ray.LocalRayletDiedError",
            "ray.ObjectLostError", "ray.RaySystemError", "ray.WorkerHealthCheckFailedError",
        },
        _of_worker,
    ),
    ({"torch.OutOfMemoryError"}, _of_gpu),
    ({"torch.DistError"}, _of_peers),
    ({"sqlite3.Error"}, _of_database),
    ({"builtins.MemoryError", "pyarrow.ArrowMemoryError"}, _of_memory),
    ({"builtins.OSError"}, _of_file),
    ({"builtins.RuntimeError"}, _of_runtime),
    ({"builtins.ImportError"}, _of_import),
)  # fmt: skip
