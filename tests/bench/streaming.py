"""Our readers against Ray Data, feeding two Train workers from one store on an S3 server.

`python -m tests.bench.streaming [--quick] [--gb 8] [--seconds 30] [--rounds 2] [--ways …]`; `--quick` goes through it
on little data and judges nothing. Measured once with `--gb 1 --seconds 10 --rounds 1` and Ray 2.60, on two cores with
23 GiB that others used as well (load average 5 to 9.5), so no number was repeated and small differences say nothing.
3814 cubes, 0.8 GB on S3, an object store of 512 MiB, a batch of 32:

                          ours      ray v1
    first batch            2.3 s     40.3 s
    cubes/s                195       250
    new epoch              1.1 s     19.9 s
    CPU a cube             6.3 ms     3.8 ms
    memory of processes   3674 MiB  3370 MiB
    object store           201 MiB   191 MiB
    spilled                  0 MiB     0 MiB
    CPUs held                3         3

Ray Data (ray v1) was no slower once it ran, but it starts anew at every epoch: not within 20 % of the first batch, so
the readers stay. Ours reads a part once for every worker, Ray Data once for all, which may be where its lead in cubes
a second comes from.

First batch counts from the moment a worker asks. Before it, ours had needed 43.8 s to start the readers and to go
through the store once for scaling, sample and validation; Ray Data had needed 0.5 s, after a warm-up on four parts
that is not counted, and would still need a pass for the scaling. Without the start of the workers, the first batch of
a run therefore came after 46 s and 41 s: what the readers save is the turn of every epoch.

With the settings it comes with (ray default, 953 cubes, --quick) the first batch came after 63 s and a new epoch
after 27 s, ours after 2.7 s and 1.2 s. Listing files took 23 to 35 s for 4 to 12 of them; by its source, Ray 2.60
starts 32 processes for that in every epoch. The rate of that run (944 cubes/s) says nothing: most cubes would have
been read by then. Not measured to the end: ray lister, ray plain, ray blocks, and 8 GB.

Order and resuming, from documentation and source, not measured here: ours depend on (seed, images shown) alone and go
on anywhere. Ray Data's order depends on which task ends first; with `preserve_order` and seeds blocks are still dealt
out to the workers there are, so another number of them sees other batches, and an iterator has no state to go on from
in the middle of an epoch (ray-project/ray issues 37633 and 58658 are open).
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.streaming_ways import SIZE, TRIED, WAYS, WORKERS
from tests.services.s3_server import S3Server

ROOT = Path(__file__).resolve().parents[2]
CUBE = SIZE * SIZE * 16 * 4
BUCKET, FOLDS, BASES = "bench", 20, 64
LIMIT_S = 600
WANTED = 1.2
"""Ray Data replaces the readers where neither its first batch nor its cubes a second are worse by more than this."""
COLUMNS = {
    "prepared": ("prepared", "s", 1.0),
    "first": ("first batch", "s", 1.0),
    "rate": ("cubes/s", "", 1.0),
    "turn": ("new epoch", "s", 1.0),
    "busy": ("CPU/cube", "ms", 1.0),
    "memory": ("memory", "MiB", 2**-20),
    "store": ("object store", "MiB", 2**-20),
    "spilled": ("spilled", "MiB", 2**-20),
    "cpus": ("CPUs held", "", 1.0),
}


def cubes(count: int) -> Iterator[Any]:
    """Yield `count` phantom lesions with the noise of a sensor, melanomas among them; of few phantoms: they take long."""
    from dataclasses import replace

    import numpy as np

    from hyperderm.cubes.cube import Cube
    from hyperderm.phantom.rendering import phantom

    bases = [one.lesion for one in phantom(min(BASES, count), SIZE, 0)]
    rng = np.random.default_rng(0)
    for number in range(count):
        base = bases[number % len(bases)]
        noise = np.float32(0.006) * rng.standard_normal(base.cube.shape, dtype=np.float32)
        name = f"c{number:06d}"
        cube = Cube(base.cube.reflectance + noise, base.cube.wavelengths_nm)
        yield replace(base, lesion_id=name, image_id=name, group=name, cube=cube, origin={})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="little data, no judgement")
    parser.add_argument("--gb", type=float, default=8.0, help="of decoded cubes; at most a third of the free disk")
    parser.add_argument("--seconds", type=float, default=30.0, help="that a way is fed after its first batch")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS)[:TRIED])
    asked = parser.parse_args()
    if asked.quick:
        asked.gb, asked.seconds, asked.rounds = 0.25, 3.0, 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was begun is ended and removed
    with tempfile.TemporaryDirectory(prefix="hd-", ignore_cleanup_errors=True) as folder:
        size = min(asked.gb * 1e9, shutil.disk_usage(folder).free / 3)
        found = measured(Path(folder), int(size / CUBE), asked)
    table(found)
    return 0 if judged(found) or asked.quick else 1


def measured(folder: Path, count: int, asked: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    """Return what every round said of every way; they take turns."""
    found: dict[str, list[dict[str, float]]] = {way: [] for way in asked.ways}
    limit = max(count * CUBE // 4, 512 * 2**20)
    (folder / "s3").mkdir()
    with S3Server(folder / "s3", volumes=0) as server:
        server.client().create_bucket(Bucket=BUCKET)
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            del os.environ[name]
        os.environ.update(server.variables() | {"RAY_TMPDIR": str(folder), "TMPDIR": str(folder)})
        uri = f"s3://{BUCKET}/store"
        size = written(uri, count)
        print(
            f"{count} cubes of {SIZE} x {SIZE} x 16, {count * CUBE / 1e9:.1f} GB decoded, {size / 1e9:.1f} GB on S3;",
            end=" ",
        )
        print(f"object store {limit / 2**20:.0f} MiB; {WORKERS} workers", flush=True)
        for number in range(asked.rounds):
            for way in asked.ways:
                found[way].append(one(folder, way, uri, asked.seconds, limit))
                print(f"  round {number + 1}, {way}: {said(found[way][-1])}", flush=True)
        alone = one(folder, "ray extremes", uri, 0, limit)
    print(f"  Ray Data goes through the store for the scaling alone in {alone.get('prepared', 0):.1f} s")
    return found


def written(uri: str, count: int) -> int:
    """Write the store; return the bytes of its parts."""
    from hyperderm.store.writer import write_store

    return sum(part.bytes for part in write_store(uri, cubes(count), fold_count=FOLDS).parts)


def one(folder: Path, way: str, uri: str, seconds: float, limit: int) -> dict[str, float]:
    """Return what a process of its own measures of a way; nothing where it does not come to an end."""
    place = Path(tempfile.mkdtemp(dir=folder))
    command = [sys.executable, "-m", "tests.bench.streaming_ways", way, uri, str(place), str(seconds), str(limit)]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        print(f"  {way}: no end within {LIMIT_S} s")
        return {}
    if done.returncode:
        print(f"  {way} failed:\n{done.stderr[-3000:]}")
        return {}
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def said(values: Mapping[str, float]) -> str:
    """Return one way's numbers, named."""
    parts = [(title, values[name] * factor, unit) for name, (title, unit, factor) in COLUMNS.items() if name in values]
    return ", ".join(f"{title} {value:.1f} {unit}".strip() for title, value, unit in parts)


def table(found: Mapping[str, Sequence[Mapping[str, float]]]) -> None:
    """Print the medians of the rounds."""
    print(f"{'':12}" + "".join(f"{' '.join(filter(None, (title, unit))):>17}" for title, unit, _ in COLUMNS.values()))
    for way, rounds in found.items():
        print(f"{way:12}" + "".join(f"{middle(rounds, name) * factor:17.1f}" for name, (*_, factor) in COLUMNS.items()))


def middle(rounds: Sequence[Mapping[str, float]], name: str) -> float:
    """Return the median of one number; nan where no round has it."""
    return median([values[name] for values in rounds if name in values] or [float("nan")])


def judged(found: Mapping[str, Sequence[Mapping[str, float]]]) -> bool:
    """Print the ratios of Ray Data to the readers; return whether the readers are to stay: no way of it is near both."""
    ours, stay = found.get("ours", ()), True
    for way in found:
        if way == "ours" or not ours:
            continue
        first = middle(found[way], "first") / middle(ours, "first")
        rate = middle(found[way], "rate") / middle(ours, "rate")
        near = first <= WANTED and rate >= 1 / WANTED
        stay &= not near
        print(f"  {way}: first batch after {first:.2f}x the time, {rate:.2f}x the cubes a second", end="")
        print(f"; {'near' if near else 'not near'} ours (wanted: at most {WANTED:.2f}x, at least {1 / WANTED:.2f}x)")
    return stay


if __name__ == "__main__":
    sys.exit(main())
