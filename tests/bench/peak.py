"""The largest memory of this process while it works, as Linux counts it (torch's memory too, which tracemalloc misses)."""

import time
from collections.abc import Callable
from pathlib import Path


def peak_of(work: Callable[[], object]) -> dict[str, float]:
    """Return the seconds `s` of some work, the process's largest memory `peak_mb` in it, and how much more that is: `mb`."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew at what is in use
    before, start = _status("VmRSS"), time.perf_counter()
    work()
    seconds, peak = time.perf_counter() - start, _status("VmHWM")
    return {"s": seconds, "peak_mb": peak / 1e3, "mb": (peak - before) / 1e3}


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))
