"""What an evaluation takes and gives: sets of cubes, and scores that stand beside what real cubes reach."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from hyperderm.errors import HyperdermError, StoreError
from hyperderm.metrics.description import Metric
from hyperderm.metrics.feature_spaces import FeatureSpace
from hyperderm.metrics.lesion_features import Masks, automatic_masks
from hyperderm.metrics.subsampling import DRAWS
from hyperderm.statistics.intervals import critical

Table = NDArray[np.float64]
Verdict = Literal["as real", "better than real", "worse than real", "below real", "above real", "not told"]
MOST = 2000
"""Largest number of cubes of a set that metrics are computed of; a larger set is drawn at random. So memory and time do not
grow without bound."""
QUANTILES = (0.001, 0.999)
"""The share of train's values of a band below the lower and the upper end of its common range."""


@dataclass(frozen=True, eq=False)
class CubeGroup:
    """The cubes of one set or role.

    Attributes:
        name: the name in reports.
        ids: (N,) ids of the cubes.
        diagnoses: (N,) their diagnoses.
        groups: (N,) names of their groups, which share a patient, a picture or a source.
        cubes: (N, B, S, S) float32 reflectance.
        masks: (N, S, S) bool, the lesions, found from the cubes alone: annotated masks exist for real cubes only.
    """

    name: str
    ids: tuple[str, ...]
    diagnoses: tuple[str, ...]
    groups: tuple[str, ...]
    cubes: Tensor
    masks: Masks

    def __len__(self) -> int:
        return len(self.ids)

    def chosen(self, rows: Sequence[int] | NDArray[np.intp]) -> "CubeGroup":
        """Return the cubes at these positions, in that order."""
        at = [int(row) for row in rows]
        names, kinds, groups = (tuple(each[row] for row in at) for each in (self.ids, self.diagnoses, self.groups))
        return CubeGroup(self.name, names, kinds, groups, self.cubes[torch.tensor(at, dtype=torch.long)], self.masks[at])

    def sampled(self, most: int = MOST, seed: int = 0) -> "CubeGroup":
        """Return at most `most` of the cubes, drawn without replacement, in their order."""
        if len(self) <= most:
            return self
        return self.chosen(np.sort(np.random.default_rng(seed).permutation(len(self))[:most]))


def cube_group(
    name: str,
    ids: Sequence[str],
    diagnoses: Sequence[str],
    groups: Sequence[str],
    cubes: Tensor,
    wavelengths: Sequence[float],
) -> CubeGroup:
    """Return a `CubeGroup` with automatic masks.

    Raises:
        StoreError: a cube holds NaN or infinite values; the message names it.
    """
    bad = ~cubes.isfinite().flatten(1).all(1)
    if bad.any():
        raise StoreError(f"cube {ids[int(bad.int().argmax())]} of {name} holds NaN or infinite values", "Leave it out.")
    return CubeGroup(name, tuple(ids), tuple(diagnoses), tuple(groups), cubes, automatic_masks(cubes.numpy(), wavelengths))


Features = Callable[[FeatureSpace, Tensor, ArrayLike, ArrayLike, bool], NDArray[np.float32]]
"""Gives the features (N, d) of cubes: `NetworkSpace.features`, or `FeatureCache.features`, which keeps them."""


def computed(space: FeatureSpace, cubes: Tensor, low: ArrayLike, high: ArrayLike, scaled: bool) -> NDArray[np.float32]:
    """Compute features without keeping them."""
    return space.features(cubes, low, high, scaled)


@dataclass(frozen=True, eq=False)
class Comparison:
    """What a synthetic set is compared with, and how.

    Attributes:
        train: the real cubes that the generator has seen.
        held_out: real cubes that it has not seen; no group of `train`.
        wavelengths: (B,) nm.
        low: (B,) lower end of the common range of each band, from train.
        high: (B,) upper end.
        draws: number of samples for intervals and floors.
        seed: seed of all samples.
    """

    train: CubeGroup
    held_out: CubeGroup
    wavelengths: tuple[float, ...]
    low: Table
    high: Table
    draws: int = DRAWS
    seed: int = 0

    @property
    def data_range(self) -> float:
        """The reflectance that counts as white in PSNR, SSIM and the perceptual metrics: the largest upper end."""
        return float(self.high.max())


def comparison(train: CubeGroup, held_out: CubeGroup, wavelengths: Sequence[float], draws: int = DRAWS) -> Comparison:
    """Return the comparison with the common range of train's quantiles `QUANTILES`; a band without spread gets 0 to 1.

    Raises:
        StoreError: there are no cubes, their shapes differ, or a held-out cube shares a group with train.
    """
    if not len(train) or not len(held_out):
        raise StoreError(f"{len(train)} train cubes and {len(held_out)} held-out cubes", "Give some of each.")
    if train.cubes.shape[1:] != held_out.cubes.shape[1:]:
        raise StoreError(f"train cubes {tuple(train.cubes.shape[1:])}, held-out cubes {tuple(held_out.cubes.shape[1:])}")
    if shared := set(train.groups) & set(held_out.groups):
        raise StoreError(f"group {min(shared)} is in train and held out", "Use folds by group.")
    values = train.cubes.movedim(1, 0).flatten(1).numpy()
    low, high = (np.array([np.quantile(band, q) for band in values], np.float64) for q in QUANTILES)
    flat = high - low < np.finfo(np.float32).eps
    nm = tuple(float(each) for each in wavelengths)
    return Comparison(train, held_out, nm, np.where(flat, 0.0, low), np.where(flat, 1.0, high), draws)


@dataclass(frozen=True)
class Score:
    """One metric of a synthetic set.

    Attributes:
        key: the unique name, such as `held_out/inception/frechet`; the last part is the metric's key.
        metric: its description.
        value: the value, at `size` cubes of each set; of a metric of pairs or single cubes the mean over `size` cubes.
        low: lower end of its 95 % interval; None if it has none.
        high: upper end.
        size: number of synthetic cubes that the value stands for.
        real: the value of real cubes in the place of the synthetic ones; None if it could not be had.
        real_low: lower end of the range in which 95 % of such values of real cubes lie.
        real_high: upper end.
        loss: a number for searches, the lower the better: the value itself, its distance from `perfect`, or for
            levels the distance of both distributions in standard deviations of the real one.
        note: what a reader must know beside this value, or "".
        df: degrees of freedom of Student's law behind the range; None: the range is of quantiles.
    """

    key: str
    metric: Metric
    value: float
    low: float | None
    high: float | None
    size: int
    real: float | None
    real_low: float | None
    real_high: float | None
    loss: float
    note: str = ""
    df: float | None = None

    @property
    def verdict(self) -> Verdict:
        """How the value stands to what samples of real cubes reach at this size."""
        if self.real_low is None or self.real_high is None:
            return "not told"
        if self.real_low <= self.value <= self.real_high:
            return "as real"
        above = self.value > self.real_high
        if self.metric.better == "as real":
            return "above real" if above else "below real"
        return "better than real" if above == (self.metric.better == "higher") else "worse than real"

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        names = ("value", "low", "high", "size", "real", "real_low", "real_high", "loss")
        return {name: getattr(self, name) for name in names} | {"verdict": self.verdict, "note": self.note}


class Left(NamedTuple):
    """A score that could not be had, and why."""

    key: str
    why: str


@dataclass
class Scores:
    """Scores as they are computed; what fails for a reason of the data is left out and told, and the rest goes on.

    Attributes:
        only: the key of the only score that is computed; None: all are.
        found: the scores.
        left: what was left out.
    """

    only: str | None = None
    found: list[Score] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)

    def attempt(self, key: str, make: Callable[[], Score]) -> None:
        """Add what `make` returns, or `key` with the reason why there is none."""
        if self.only not in (None, key):
            return
        try:
            self.found.append(make())
        except HyperdermError as error:
            self.left.append(Left(key, str(error)))

    def get(self, key: str) -> Score | None:
        """Return the score of this key, or None."""
        return next((score for score in self.found if score.key == key), None)


def of_values(key: str, metric: Metric, made: Table, real: Table, note: str = "") -> Score:
    """Return the score of a metric that has a value for each cube or pair: the mean, and where means of real cubes lie.

    The range of real cubes is Student's 95 % prediction interval for the mean of as many real cubes as there are synthetic
    ones, of which `real` is a sample. So it holds the uncertainty of both means. Cubes count as independent.

    Args:
        key: see `Score`.
        metric: see `Score`.
        made: (n,) values of the synthetic cubes; NaN where a cube has none.
        real: (m,) values of real cubes in their place.
        note: see `Score`.

    Raises:
        StoreError: no synthetic cube has a value, or fewer than two real ones have.
    """
    made, real, lost = made[np.isfinite(made)], real[np.isfinite(real)], int((~np.isfinite(made)).sum())
    if not len(made) or len(real) < 2:
        raise StoreError(f"{len(made)} synthetic and {len(real)} real cubes have a finite value", "Give more cubes.")
    middle, n, m = float(real.mean()), len(made), len(real)
    reach = critical(m - 1) * float(real.std(ddof=1)) * np.sqrt(1 / n + 1 / m)
    value, half = float(made.mean()), 1.96 * float(made.std(ddof=1) / np.sqrt(n)) if n > 1 else None
    spread = float(real.std()) or 1.0
    gap = float(np.abs(_quantiles(made) - _quantiles(real)).mean() / spread)
    told = "; ".join([*([note] if note else []), *([f"{lost} cubes have no finite value"] if lost else [])])
    return Score(
        key, metric, value, None if half is None else value - half, None if half is None else value + half,
        n, middle, middle - reach, middle + reach, loss_of(metric, value, gap), told, m - 1,
    )  # fmt: skip


def loss_of(metric: Metric, value: float, gap: float) -> float:
    """Return `Score.loss`."""
    if metric.better == "lower":
        return value
    if metric.better == "higher":
        return metric.perfect - value if metric.perfect is not None and np.isfinite(metric.perfect) else -value
    return gap


def _quantiles(values: Table) -> Table:
    """Return a hundred quantiles; the mean difference of two such sets is Wasserstein's distance of both distributions."""
    return np.quantile(values, (np.arange(100) + 0.5) / 100)
