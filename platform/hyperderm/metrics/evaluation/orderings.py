"""Sets of cubes whose answer is known, and what every metric says of them: the appendix of an evaluation's report.

A number is worth what it can tell apart. So fresh real cubes are damaged in ways that physics knows, every metric is
computed of each set as of a synthetic one, and `sights` says whether it notices. What it must notice, and what it cannot
notice by its construction, stands in `expectations`. The table that was measured on phantom lesions, with both networks, is
kept in `metrics/tables/orderings.csv`; `python -m tests.bench.orderings` makes it.
"""

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.resources import files
from math import ceil
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from hyperderm.errors import StoreError
from hyperderm.metrics.evaluation.measure import Progress, measure
from hyperderm.metrics.evaluation.scores import Comparison, CubeGroup, Features, Score, computed, cube_group
from hyperderm.metrics.feature_spaces import FeatureSpace
from hyperderm.metrics.orientation import ORIENTATIONS, orient

FRESH, COPIES, DARK, FEW = "fresh", "copies", "dark half", "few modes"
SETS: dict[str, str] = {
    FRESH: "real cubes of lesions that are neither in train nor held out",
    "slight blur": "the fresh cubes, blurred by a Gaussian with a σ of 1/32 of the side",
    "strong blur": "the fresh cubes, blurred by a Gaussian with a σ of 1/8 of the side",
    "shifted": "the fresh cubes, moved by 1/8 of the side in both directions; what leaves at one side comes in at the other",
    "bands permuted": "the fresh cubes with their bands in one random order",
    "bands exchanged": "the fresh cubes with neighbouring bands exchanged: 0 with 1, 2 with 3, …",
    "weak noise": "the fresh cubes with white noise of .02 in reflectance",
    "strong noise": "the fresh cubes with white noise of .1 in reflectance",
    "half exposure": "the fresh cubes times .5",
    "pure noise": "white noise with the mean and the standard deviation of each band of train",
    "mean cube": "the mean of train, again and again",
    COPIES: "train cubes with white noise of .001 in reflectance",
    DARK: "of twice as many fresh cubes the darker half",
    FEW: "five of the fresh cubes again and again, turned and mirrored, with white noise of .001 in reflectance",
}
"""The sets by name, with what they hold."""
CHANGES = tuple(SETS)[1:9]
"""The sets that are the fresh cubes, changed: a metric that cannot see the change has the same value."""
SLIGHT, STRONG = 1 / 32, 1 / 8
NOISES = {"weak noise": 0.02, "strong noise": 0.1, COPIES: 0.001, FEW: 0.001}
MODES = 5
Sight = Literal["sees", "does not see", "takes for better"]
"""Whether a metric notices a damage; it may also take the damaged cubes for better than real ones."""


class Row(NamedTuple):
    """One metric of one set.

    Attributes:
        metric: the score's key, such as `held_out/inception/frechet`.
        set: the name of the set, of `SETS`.
        value: the value.
        real_low: lower end of the range of real cubes; NaN if there is none.
        real_high: upper end.
        loss: see `Score.loss`.
        verdict: see `Score.verdict`.
    """

    metric: str
    set: str
    value: float
    real_low: float
    real_high: float
    loss: float
    verdict: str


def known_sets(train: CubeGroup, fresh: CubeGroup, wavelengths: Sequence[float], seed: int = 0) -> dict[str, CubeGroup]:
    """Return the sets of `SETS`, each of half as many cubes as `fresh` has.

    Args:
        train: the real cubes of the comparison, of which the copies are made; as many as the sets or more.
        fresh: real cubes of other groups than train and the held-out cubes.
        wavelengths: (B,) nm.
        seed: seed of noise and of the order of bands.

    Raises:
        StoreError: there are fewer than ten fresh cubes, or fewer train cubes than a set has.
    """
    count = len(fresh) // 2
    if not MODES <= count <= len(train):
        raise StoreError(
            f"{len(fresh)} fresh and {len(train)} train cubes", f"Give {2 * MODES} fresh ones, and half as many of train."
        )
    whole, dark = fresh.chosen(range(count)), fresh.chosen(_darker(fresh.cubes, count))
    copied = train.chosen(range(count))
    made = {FRESH: whole}
    for name, cubes in _changed(whole.cubes, train.cubes, copied.cubes, seed).items():
        of = copied if name == COPIES else whole
        ids = [f"{name} {one}" for one in of.ids]
        made[name] = cube_group(name, ids, of.diagnoses, ids, cubes, wavelengths)
    made[DARK] = dark
    return {name: _named(made[name], name) for name in SETS}


def _darker(cubes: Tensor, count: int) -> list[int]:
    return sorted(cubes.mean((1, 2, 3)).argsort(stable=True)[:count].tolist())


def _named(group: CubeGroup, name: str) -> CubeGroup:
    return CubeGroup(name, group.ids, group.diagnoses, group.groups, group.cubes, group.masks)


def _changed(x: Tensor, train: Tensor, copied: Tensor, seed: int) -> dict[str, Tensor]:
    """Return the cubes (n, B, S, S) of every set that has to be computed."""
    random = torch.Generator().manual_seed(seed)
    bands, side = x.shape[1], x.shape[-1]
    step, pairs = max(1, side // 8), torch.arange(bands - bands % 2).view(-1, 2).flip(1).flatten()
    level, spread = train.mean((0, 2, 3))[:, None, None], train.std((0, 2, 3))[:, None, None]

    def noise(strength: float | Tensor) -> Tensor:
        return strength * torch.randn(x.shape, generator=random)

    return {
        "slight blur": _blurred(x, SLIGHT),
        "strong blur": _blurred(x, STRONG),
        "shifted": x.roll((step, step), (2, 3)),
        "bands permuted": x[:, torch.randperm(bands, generator=random)],
        "bands exchanged": x[:, torch.cat([pairs, torch.arange(len(pairs), bands)])],
        "weak noise": x + noise(NOISES["weak noise"]),
        "strong noise": x + noise(NOISES["strong noise"]),
        "half exposure": x * 0.5,
        "pure noise": level + noise(spread),
        "mean cube": train.mean(0, keepdim=True).expand(x.shape).clone(),
        COPIES: copied + noise(NOISES[COPIES]),
        FEW: torch.stack([orient(x[i % MODES], i // MODES % ORIENTATIONS) for i in range(len(x))]) + noise(NOISES[FEW]),
    }


def _blurred(x: Tensor, share: float) -> Tensor:
    sigma = share * x.shape[-1]
    reach = min(ceil(3 * sigma), x.shape[-1] - 1)
    return gaussian_blur(x, [2 * reach + 1] * 2, [sigma] * 2)


def measured(
    sets: Mapping[str, CubeGroup],
    how: Comparison,
    networks: Sequence[FeatureSpace] = (),
    features: Features = computed,
    progress: Progress = lambda what: None,
) -> list[Row]:
    """Return every metric of every set; the arguments are those of `measure`.

    Raises:
        StoreError: see `measure`.
    """
    rows = list[Row]()
    for name, group in sets.items():
        progress(name)
        rows += [_row(name, score) for score in measure(group, how, networks, features).scores.found]
    return rows


def _row(name: str, score: Score) -> Row:
    low, high = (np.nan if end is None else float(end) for end in (score.real_low, score.real_high))
    return Row(score.key, name, score.value, low, high, score.loss, score.verdict)


def sights(rows: Iterable[Row]) -> dict[tuple[str, str], Sight]:
    """Return whether a metric notices the damage of a set, by metric and set.

    It does if its value lies outside the range of real cubes and further out than that of the fresh cubes, by more than half
    of the range's half-width: the fresh cubes may lie near an end, or by chance outside. What is nearer to train than real
    cubes are was copied from it; so of copies, and against train, it counts as noticed that a value is better than real.
    The loss is not asked: it would only repeat this, and that of levels has another unit than the range.
    """
    table = {(row.metric, row.set): row for row in rows}
    return {at: _sight(row, table[row.metric, FRESH]) for at, row in table.items() if (row.metric, FRESH) in table}


def _sight(row: Row, fresh: Row) -> Sight:
    middle, half = (row.real_low + row.real_high) / 2, (row.real_high - row.real_low) / 2
    side = np.sign(row.value - middle)
    moved = side * (row.value - fresh.value)
    if row.verdict in ("as real", "not told") or not moved > half / 2:
        return "does not see"
    memory = row.set == COPIES and row.metric.startswith("train/")
    return "takes for better" if row.verdict == "better than real" and not memory else "sees"


def unmoved(row: Row, fresh: Row) -> bool:
    """Return whether a value is that of the fresh cubes, up to a fiftieth of the half-width of the range of real cubes."""
    return abs(row.value - fresh.value) <= 0.01 * (row.real_high - row.real_low) + 1e-12


def written(rows: Iterable[Row]) -> str:
    """Return the rows as CSV, with six digits."""
    lines = [",".join(Row.__annotations__)]
    for row in rows:
        lines.append(",".join(f"{each:.6g}" if isinstance(each, float) else each for each in row))
    return "\n".join(lines) + "\n"


def committed() -> list[Row]:
    """Return the rows of `metrics/tables/orderings.csv`; lines that start with # say how it was made."""
    text = files("hyperderm.metrics").joinpath("tables", "orderings.csv").read_text(encoding="utf-8")
    kinds: dict[str, Callable[[str], str | float]] = dict.fromkeys(("metric", "set", "verdict"), str)
    lines = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return [Row(**{name: kinds.get(name, float)(each) for name, each in line.items()}) for line in lines]  # type: ignore[arg-type]
