"""Make the table of known answers: `python -m tests.bench.orderings [--check]` (5 minutes on one core).

Phantom lesions of 64 px, whose answer is known (`evaluation.orderings`), measured by every metric with both networks. The
table goes to `platform/hyperderm/metrics/tables/orderings.csv`; with `--check` nothing is written and the exit code is 1 if
what is measured differs from it by more than a network's rounding on another processor explains.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from hyperderm.metrics.evaluation import orderings
from hyperderm.metrics.evaluation.expectations import faults, unsaid
from hyperderm.metrics.evaluation.orderings import Row, committed, known_sets, measured, written
from hyperderm.metrics.evaluation.scores import CubeGroup, comparison, cube_group
from hyperderm.metrics.feature_cache import FeatureCache
from hyperderm.metrics.feature_spaces import FeatureSpace, available_spaces
from hyperderm.phantom.rendering import phantom

COUNT, SIDE = 60, 64
TABLE = Path(orderings.__file__).parents[1] / "tables" / "orderings.csv"
APART = 0.05
"""Largest difference of two runs, in half-widths of the range of real cubes."""


def lesions(name: str, count: int, side: int, seed: int) -> tuple[CubeGroup, list[float]]:
    """Return phantom lesions as a group, each lesion its own group, and their wavelengths."""
    made = [one.lesion for one in phantom(count, side, seed)]
    cubes = torch.from_numpy(np.moveaxis(np.stack([one.cube.reflectance for one in made]), 3, 1).copy())
    ids, nm = [one.lesion_id for one in made], made[0].cube.wavelengths_nm.tolist()
    return cube_group(name, ids, [one.diagnosis for one in made], ids, cubes, nm), nm


def table(count: int, side: int, networks: list[FeatureSpace], folder: Path) -> list[Row]:
    """Measure sets of `count` lesions against as many held-out ones and twice as many train lesions."""
    train, nm = lesions("train", 2 * count, side, 1)
    held_out, _ = lesions("held-out", count, side, 2)
    fresh, _ = lesions("fresh", 2 * count, side, 3)
    start = time.monotonic()

    def progress(name: str) -> None:
        print(f"{time.monotonic() - start:5.0f} s: {name}", flush=True)

    sets, how = known_sets(train, fresh, nm), comparison(train, held_out, nm)
    return measured(sets, how, networks, FeatureCache(folder).features, progress)


def differences(found: list[Row], kept: list[Row]) -> list[str]:
    """Return a sentence for every row that differs."""
    old, new = ({(row.metric, row.set): row for row in rows} for rows in (kept, found))
    told = [f"{' of '.join(at)} is in one table only" for at in sorted(old.keys() ^ new.keys())]
    for at in sorted(old.keys() & new.keys()):
        a, b = old[at], new[at]
        if not abs(a.value - b.value) <= APART * (a.real_high - a.real_low) / 2 + 1e-9:
            told.append(f"{' of '.join(at)}: {b.value:.6g}, the table has {a.value:.6g}")
    return told


def main() -> int:
    """Make or compare the table; the exit code is 1 if it differs, or if an expectation does not hold."""
    networks, missing = available_spaces()
    if missing:
        print(*missing, sep="\n")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        rows = table(COUNT, SIDE, networks, Path(folder))
    told = faults(rows) + unsaid(rows)
    if "--check" in sys.argv:
        told += differences(rows, committed())
    else:
        counts = f"{COUNT} a set and held out, {2 * COUNT} of train"
        head = f"# python -m tests.bench.orderings: phantom lesions of {SIDE} px, {counts}"
        TABLE.parent.mkdir(exist_ok=True)
        TABLE.write_text(f"{head}\n{written(rows)}", encoding="utf-8")
    print(*told, f"{len(rows)} values, {len(told)} faults", sep="\n")
    return int(bool(told))


if __name__ == "__main__":
    sys.exit(main())
