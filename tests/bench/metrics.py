"""The cost of an evaluation's metrics on phantom cubes: `python -m tests.bench.metrics [--quick]` (a quarter of an hour).

Wanted, on two quiet cores: all metrics of 500 against 500 cubes of 64 x 64 x 16 within `FIRST` seconds, and within `SECOND`
once the features are kept; spectral metrics `FASTER` times as fast as torchmetrics called for each image; no more memory
for more cubes, beyond the cubes; precision, recall, density and coverage of 20,000 against 20,000 features in less than
`MOST_MB`. A ratio is of one run, so a slow machine slows both sides. What is missed is marked. The exit code is 1 only if a
value is not that of torchmetrics or piq.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import piq
import torch
import torchmetrics.functional.image as tm
from torch import Tensor

from hyperderm.metrics import perceptual, similarity, spectral
from hyperderm.metrics.evaluation.measure import measure
from hyperderm.metrics.evaluation.scores import Comparison, CubeGroup, comparison, cube_group
from hyperderm.metrics.feature_cache import FeatureCache
from hyperderm.metrics.feature_spaces import FeatureSpace, available_spaces
from hyperderm.metrics.folding import folded_mean
from hyperderm.metrics.manifold import manifold
from tests.bench.orderings import lesions
from tests.bench.peak import peak_of

SIDE = 64
FIRST, SECOND, FASTER, MOST_MB = 240.0, 20.0, 5.0, 512.0
FLAT_MB = 64.0
"""What the peak may grow by from the fewest to the most cubes, beyond the cubes, and still be called flat."""
TURNS = 3
SAME = 1e-3
"""Largest relative difference: torchmetrics takes arc cosines in float32."""
Pairs = Callable[[Tensor, Tensor], np.ndarray]
One = Callable[[Tensor, Tensor], Tensor]


def said(text: str, wanted: str, well: bool) -> None:
    """Print a line, and whether it is as wanted."""
    print(f"  {text} (wanted: {wanted}{'' if well else '; MISSED'})", flush=True)


def whole(count: int) -> None:
    """Time all metrics twice, the second time with the features kept."""
    train, nm = lesions("train", count, SIDE, 1)
    held_out, _ = lesions("held-out", count, SIDE, 2)
    synthetic, _ = lesions("synthetic", count, SIDE, 3)
    networks, missing = available_spaces()
    print(
        f"all metrics of {count} cubes, {count} held-out and {count} of train, {SIDE} px, {torch.get_num_threads()} threads"
    )
    for sentence in missing:
        print(f"  {sentence}")
    how = comparison(train, held_out, nm)
    with tempfile.TemporaryDirectory() as folder:
        for time_of, wanted in (("first", FIRST), ("second", SECOND)):
            total = evaluated(synthetic, how, networks, FeatureCache(Path(folder)))
            said(f"{time_of} time {total:.1f} s", f"below {wanted:.0f} s", total < wanted)


def evaluated(synthetic: CubeGroup, how: Comparison, networks: list[FeatureSpace], cache: FeatureCache) -> float:
    """Return the seconds of one evaluation, and print those of each part, with the processor's seconds beside them."""
    marks: list[tuple[str, float, float]] = []

    def progress(part: str) -> None:
        marks.append((part, time.perf_counter(), time.process_time()))
        if len(marks) > 1:
            (name, start, used), (_, end, now) = marks[-2:]
            print(f"    {end - start:6.1f} s ({now - used:6.1f} of processors)  {name}", flush=True)

    found = measure(synthetic, how, networks, cache.features, progress)
    progress("")
    assert not found.scores.left, found.scores.left
    return marks[-1][1] - marks[0][1]


def against_others(count: int) -> list[str]:
    """Time pairs of cubes against one call of torchmetrics or piq for each, and return what is not the same number.

    On one thread, the best of `TURNS` turns of each side: threads that wait for a busy machine measure the machine.
    """
    x, y = (lesions(name, count, SIDE, seed)[0].cubes for name, seed in (("x", 4), ("y", 5)))
    top = float(max(x.max(), y.max()))
    ours_all, theirs_all, wrong, threads = 0.0, 0.0, list[str](), torch.get_num_threads()
    torch.set_num_threads(1)
    print(f"against one call for each of {count} pairs")
    for name, (ours, theirs, counts) in _both(top).items():
        a = b = np.inf
        for _ in range(TURNS):
            start = time.perf_counter()
            mine = ours(x, y)
            middle = time.perf_counter()
            other = np.array([float(theirs(x[i : i + 1], y[i : i + 1])) for i in range(count)])
            a, b = min(a, middle - start), min(b, time.perf_counter() - middle)
        apart = float(np.abs(mine / other - 1).max())
        if not apart < SAME:
            wrong.append(f"{name} differs by {apart:.1e}")
        ours_all, theirs_all = ours_all + a * counts, theirs_all + b * counts
        print(f"    {name:24} {b / a:5.1f}x ({a:.3f} s against {b:.3f} s), largest relative difference {apart:.0e}")
    torch.set_num_threads(threads)
    ratio = theirs_all / ours_all
    said(f"spectral metrics together {ratio:.1f}x", f"{FASTER:.0f}x", ratio >= FASTER)
    return wrong


def _both(top: float) -> dict[str, tuple[Pairs, One, bool]]:
    """Return ours, theirs, and whether it is a spectral metric."""

    def folded(function: Callable[..., Tensor], **more: str) -> One:
        return lambda a, b: function(*((folded_mean(c) / top).clamp(0, 1) for c in (a, b)), **more)

    return {
        "SAM": (spectral.spectral_angles, tm.spectral_angle_mapper, True),
        "ERGAS": (spectral.ergas, lambda a, b: tm.error_relative_global_dimensionless_synthesis(a, b, ratio=1), True),
        "RASE as torchmetrics": (spectral.rase_as_published, tm.relative_average_spectral_error, True),
        "PSNR": (
            lambda a, b: similarity.psnr(a, b, top),
            lambda a, b: tm.peak_signal_noise_ratio(a, b, data_range=top),
            False,
        ),
        "MDSI (piq)": (lambda a, b: perceptual.mdsi(a, b, top), folded(piq.mdsi), False),
        "HaarPSI (piq)": (lambda a, b: perceptual.haarpsi(a, b, top), folded(piq.haarpsi), False),
        "MS-GMSD (piq)": (lambda a, b: perceptual.ms_gmsd(a, b, top), folded(piq.multi_scale_gmsd), False),
    }


def memory(counts: tuple[int, ...]) -> None:
    """Measure the peak memory of all metrics but Inception's, whose blocks have one size, in a process for each number."""
    print("peak memory beyond the cubes, with the features of EfficientNet-Lite0")
    peaks = [child("cubes", count)["mb"] for count in counts]
    for count, peak in zip(counts, peaks, strict=True):
        print(f"    {count:5} against {count} and {count} cubes: {peak:5.0f} MB")
    grown = peaks[-1] - peaks[0]
    said(f"{grown:.0f} MB more for {counts[-1]} than for {counts[0]}", f"flat, {FLAT_MB:.0f} MB", grown <= FLAT_MB)


def neighbours(count: int) -> None:
    """Measure time and memory of the four metrics of neighbours."""
    found = child("features", count)
    print(f"precision, recall, density, coverage of {count} against {count} features of 2048 dimensions: {found['s']:.0f} s")
    said(f"{found['mb']:.0f} MB beyond the features", f"below {MOST_MB:.0f} MB", found["mb"] < MOST_MB)


def child(what: str, count: int) -> dict[str, float]:
    """Run one measurement of memory in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.metrics", f"--{what}", str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def cubes_in_child(count: int) -> dict[str, float]:
    """Return the cost of all metrics of sets of `count` cubes, made from few lesions with gain and noise."""
    base, nm = lesions("base", 32, SIDE, 6)
    rng = torch.Generator().manual_seed(0)

    def group(name: str) -> CubeGroup:
        cubes = torch.empty(count, *base.cubes.shape[1:])
        for i in range(count):
            noise = 0.01 * torch.randn(base.cubes.shape[1:], generator=rng)
            cubes[i] = base.cubes[i % 32].roll(i // 32, 1) * (0.7 + 0.6 * torch.rand(1, generator=rng)) + noise
        ids = [f"{name}{i}" for i in range(count)]
        return cube_group(name, ids, ["nevus"] * count, ids, cubes, nm)

    how, synthetic = comparison(group("train"), group("held-out"), nm), group("synthetic")
    lite0 = [space for space in available_spaces()[0] if space.name == "lite0"]
    warm = [each.chosen(range(32)) for each in (synthetic, how.train, how.held_out)]
    measure(warm[0], comparison(warm[1], warm[2], nm), lite0)  # what libraries keep once is not the cubes' memory
    return peak_of(lambda: measure(synthetic, how, lite0))


def features_in_child(count: int) -> dict[str, float]:
    """Return the cost of the metrics of neighbours of two sets of `count` features."""
    rng = np.random.default_rng(0)
    real, made = (rng.standard_normal((count, 2048), np.float32) for _ in range(2))
    manifold(real[:100], made[:100])
    return peak_of(lambda: manifold(real, made))


def main() -> int:
    """Print all parts; the exit code is 1 if a value is wrong."""
    for option, work in (("--cubes", cubes_in_child), ("--features", features_in_child)):
        if option in sys.argv:
            print(json.dumps(work(int(sys.argv[-1]))))
            return 0
    quick = "--quick" in sys.argv
    whole(60 if quick else 500)
    wrong = against_others(60 if quick else 500)
    memory((50, 100) if quick else (250, 500, 1000))
    neighbours(2000 if quick else 20_000)
    for sentence in wrong:
        print(f"WRONG: {sentence}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
