"""A fresh clone in a fresh folder: the seconds of `make setup`, then of the default `make sweep-shsgan`, and the memory.

Memory is the largest sum, over the whole tree of processes, of proportional set sizes: pages that several processes share,
Ray's object store above all, count once.
"""

import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WANTED_SETUP, WANTED_SWEEP, WANTED_GB = 60.0, 300.0, 8.0


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="hyperderm-cold-") as folder:
        clone = Path(folder) / "hyperderm"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        setup, _ = timed(["make", "setup"], clone)
        sweep, peak = timed(["make", "sweep-shsgan"], clone)
    print("a fresh clone:")
    print(f"  make setup          {setup:6.1f} s (wanted: under {WANTED_SETUP:.0f} s)")
    print(f"  make sweep-shsgan   {sweep:6.1f} s (wanted: under {WANTED_SWEEP:.0f} s on two CPU cores)")
    print(f"  largest memory of the whole tree of processes {peak / 1e9:.2f} GB (wanted: at most {WANTED_GB:.0f} GB)")
    return 0 if setup < WANTED_SETUP and sweep < WANTED_SWEEP and peak <= WANTED_GB * 1e9 else 1


def timed(command: list[str], folder: Path) -> tuple[float, float]:
    """Run `command`, its output on the screen; return its seconds and the peak of its process tree in bytes."""
    environment = {k: v for k, v in os.environ.items() if k not in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI", "VIRTUAL_ENV")}
    begin = time.monotonic()
    process = subprocess.Popen(command, cwd=folder, env=environment)
    peak = [0.0]
    done = threading.Event()
    watcher = threading.Thread(target=_watch, args=(process.pid, peak, done))
    watcher.start()
    code = process.wait()
    seconds = time.monotonic() - begin
    done.set()
    watcher.join()
    if code:
        sys.exit(f"{' '.join(command)} ended with {code}")
    return seconds, peak[0]


def _watch(pid: int, peak: list[float], done: threading.Event) -> None:
    import psutil

    while not done.wait(0.5):
        total = 0
        try:
            tree = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        for one in tree:
            try:
                total += one.memory_full_info().pss
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        peak[0] = max(peak[0], total)


if __name__ == "__main__":
    sys.exit(main())
