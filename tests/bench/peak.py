"""The largest memory of this process while it works, as Linux counts it (torch's memory too, which tracemalloc misses)."""

import time
from collections.abc import Callable
from pathlib import Path


def peak_of(work: Callable[[], object]) -> dict[str, float]:
    """Return the seconds of some work, and the megabytes by which it raises the process's largest memory."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew at what is in use
    before, start = _status("VmRSS"), time.perf_counter()
    work()
    return {"s": time.perf_counter() - start, "mb": (_status("VmHWM") - before) / 1e3}


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))
