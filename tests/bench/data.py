"""The numbers of the data side, as ratios from one run: feed, reading, ingest, and streaming where there is a bench of it.

`python -m tests.bench.data [--quick]`. The whole takes about 7 GB of the temporary folder and 10 minutes on two cores;
`--quick` goes through everything on little data in under a minute and judges nothing.
"""

import argparse
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STREAM = "tests.bench.stream"
"""Is run on its own, with --quick where that is given; ends with 0 where its targets are met."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="little data, no judgement")
    quick = parser.parse_args().quick
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was begun is ended and removed
    with tempfile.TemporaryDirectory(prefix="hd-", ignore_cleanup_errors=True) as folder:
        tempfile.tempdir = os.environ["TMPDIR"] = os.environ["RAY_TMPDIR"] = folder  # of Ray, torch and children too
        met = [*measured(Path(folder), quick), streamed(quick)]
    if quick:
        print("quick: too little data to judge anything by")
        return 0
    print(f"{sum(met)} of {len(met)} groups of targets met")
    return 0 if all(met) else 1


def measured(folder: Path, quick: bool) -> list[bool]:
    """Print every number of this bench; return whether the targets of ingest, reading and feed are met."""
    from hyperderm.cluster.session import connect, quiet_ray

    quiet_ray()
    from tests.bench.data_files import FULL, QUICK
    from tests.bench.data_ingest import ingesting
    from tests.bench.data_read import reading, sharing

    scale, store = QUICK if quick else FULL, folder / "two"
    with connect(None):
        met = [ingesting(folder, scale)]
        sharing(store)
    met.append(reading(store, scale))
    return [*met, _alone("tests.bench.data_feed", store, folder / "raw", "quick" if quick else "full")]


def streamed(quick: bool) -> bool:
    """Run the bench of the streaming feed, where there is one."""
    if importlib.util.find_spec(STREAM) is None:
        print(f"streaming: there is no {STREAM}, nothing is measured")
        return True
    return _alone(STREAM, *(["--quick"] if quick else []))


def _alone(module: str, *arguments: object) -> bool:
    """Run a module as a process of its own, in the environment that a worker of Ray would find."""
    sys.stdout.flush()
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
