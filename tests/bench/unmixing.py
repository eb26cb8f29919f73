"""Score the classical unmixing methods on Samson: `python -m tests.bench.unmixing FOLDER [SEEDS]` (16 s on one core).

FOLDER holds `Samson.mat` (Y: bands x pixels) and `end_Samson.mat` (M: bands x endmembers, A: endmembers x pixels), or
another scene in these two forms (`known_scene`). Pixels and reference endmembers have unit length (METHODS section 7), so
the row of the true endmembers can be read. Two errors of abundances are in use: the root mean square over all of them, and
the mean of that of each endmember.

METHODS says .038 for the true endmembers, which is the second error, and .082 rad and .077 for VCA, which are the first
error and VCA's pixels as they are (row `vca pixels`); `vca` projects them on the signal's subspace, as the paper does.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from hyperderm.unmixing.dimension import hysime, knee
from hyperderm.unmixing.fcls import fcls
from hyperderm.unmixing.methods import METHODS, reconstruction_errors, reconstruction_rmse, unmix
from hyperderm.unmixing.pixels import unit_length
from hyperderm.unmixing.scoring import Score, score, true_endmembers
from hyperderm.unmixing.sisal import sisal
from hyperderm.unmixing.vca import vca
from tests.bench.known_scene import read_scene

SEEDS = 10
MOST = 8
"""Largest number of endmembers at which the reconstruction error is measured for the knee."""
WIDER = (0.03, 0.1)
"""Shares of pixels beyond each facet at which SISAL is scored too: how much its one parameter matters."""

Array = NDArray[np.float64]
Method = Callable[[int], tuple[Array, Array]]
"""Seed to endmembers and abundances."""


def methods(pixels: Array, count: int) -> dict[str, Method]:
    def usual(name: str) -> Method:
        def run(seed: int) -> tuple[Array, Array]:
            found = unmix(pixels, name, count, seed)
            return found.endmembers, found.abundances

        return run

    def with_fcls(find: Callable[[np.random.Generator], Array]) -> Method:
        def run(seed: int) -> tuple[Array, Array]:
            endmembers = find(np.random.default_rng(seed))
            return endmembers, fcls(pixels, endmembers)

        return run

    def wider(share: float) -> Method:
        return with_fcls(lambda rng: sisal(pixels, count, rng, share).endmembers)

    rows = {name: usual(name) for name in METHODS}
    rows["vca pixels"] = with_fcls(lambda rng: pixels[vca(pixels, count, rng)[1]])
    return rows | {f"sisal {share}": wider(share) for share in WIDER}


def spread(values: list[float]) -> str:
    return f"{np.median(values):.4f} ({min(values):.4f}-{max(values):.4f})"


def row(name: str, scores: list[Score], rmse: list[float], seconds: float) -> str:
    columns = [
        [each.mean_angle for each in scores],
        [each.abundance_rmse for each in scores],
        [each.mean_abundance_error for each in scores],
        rmse,
    ]
    return f"{name:11}" + "".join(f"{spread(values):24}" for values in columns) + f"{seconds:4.1f}"


def main(arguments: list[str]) -> int:
    scene = read_scene(Path(arguments[0]))
    pixels, reference, truth = unit_length(scene.pixels), unit_length(scene.endmembers), scene.abundances
    seeds = int(arguments[1]) if len(arguments) > 1 else SEEDS
    print(f"{scene.name}, {len(reference)} endmembers, pixels of unit length: median of {seeds} seeds (least-largest)")
    print(f"{'':11}{'mean SAD (rad)':24}{'abundance RMSE':24}{'mean RMSE of each':24}{'reconstruction':24}   s")
    rmse = reconstruction_rmse(pixels, reference, fcls(pixels, reference))
    print(row("true", [true_endmembers(pixels, reference, truth)], [rmse], 0))
    for name, method in methods(pixels, len(reference)).items():
        begin = perf_counter()
        found = [method(seed) for seed in range(seeds)]
        seconds = (perf_counter() - begin) / seeds
        scores = [score(*each, reference, truth) for each in found]
        print(row(name, scores, [reconstruction_rmse(pixels, *each) for each in found], seconds), flush=True)
    curve = reconstruction_errors(pixels, "nfindr", range(2, MOST + 1), 0)
    print("N-FINDR, reconstruction by endmembers:", ", ".join(f"{count}: {error:.4f}" for count, error in curve.items()))
    print(f"number of endmembers: HySime {hysime(pixels).count}, knee {knee(curve)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
