"""Mean spectra of lesions and skin, computed once for each group of cubes, and how far those of two groups differ."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from hyperderm.metrics.description import Metric
from hyperderm.metrics.evaluation.at_size import floor_at, set_score
from hyperderm.metrics.evaluation.scores import Comparison, CubeGroup, Score, Scores, Table
from hyperderm.metrics.spectra import MEAN_FLOOR, spectral_angle
from hyperderm.metrics.spectral import mean_spectra
from hyperderm.metrics.subsampling import OfRows, at_smaller
from hyperderm.store.folds import POSITIVE

FAMILY = "mean_spectra"
LESION, SKIN = 0, 1


@dataclass(eq=False)
class MeanSpectra:
    """The mean spectra over lesion and skin of every cube, (N, 2, B), by group of cubes; computed when first asked for.

    Attributes:
        how: the comparison.
    """

    how: Comparison
    _known: dict[int, tuple[CubeGroup, Table]] = field(default_factory=dict)

    def of(self, group: CubeGroup) -> Table:
        """Return the spectra (N, 2, B) of the cubes of a group, lesion first."""
        if id(group) not in self._known:
            self._known[id(group)] = group, mean_spectra(group.cubes, group.masks)
        return self._known[id(group)][1]

    @property
    def signature(self) -> Table:
        """The mean spectrum (B,) of the lesions of train's melanomas; of all train lesions where train holds none."""
        spectra = self.of(self.how.train)[:, LESION]
        melanomas = np.array([name == POSITIVE for name in self.how.train.diagnoses])
        return spectra[melanomas].mean(0) if melanomas.any() else spectra.mean(0)


def lesion_angle(x: Table, y: Table) -> float:
    """Return the angle (rad) between the mean over cubes of the lesions' spectra, (n, 2, B) and (m, 2, B)."""
    return spectral_angle(x[:, LESION].mean(0), y[:, LESION].mean(0))


def skin_angle(x: Table, y: Table) -> float:
    """Return the angle (rad) between the mean over cubes of the skin's spectra, (n, 2, B) and (m, 2, B)."""
    return spectral_angle(x[:, SKIN].mean(0), y[:, SKIN].mean(0))


def contrast_difference(x: Table, y: Table) -> float:
    """Return the mean over bands of |log c_x − log c_y|, c the mean over cubes of lesion / skin, (n, 2, B) and (m, 2, B).

    Reflectance below `spectra.MEAN_FLOOR` counts as that.
    """
    a, b = (np.log(np.maximum(each.mean(0), MEAN_FLOOR)) for each in (x, y))
    return float(np.abs((a[LESION] - a[SKIN]) - (b[LESION] - b[SKIN])).mean())


def derivative_difference(x: Table, y: Table) -> float:
    """Return |d_x − d_y| / |d_y|, d the differences between neighbouring bands of the mean lesion spectrum of unit mean.

    Args:
        x: (n, 2, B) spectra, B >= 2.
        y: (m, 2, B), the reference.
    """
    a, b = (each[:, LESION].mean(0) for each in (x, y))
    da, db = (np.diff(each / max(float(each.mean()), MEAN_FLOOR)) for each in (a, b))
    return float(np.linalg.norm(da - db) / max(float(np.linalg.norm(db)), MEAN_FLOOR))


def _metric(key: str, title: str, function: Callable[[Table, Table], float], unit: str, formula: str, cannot: str) -> Metric:
    top = float(np.pi) if unit == "rad" else None
    return Metric(key, title, function, "set", "lower", unit, (0.0, top), 0.0, formula, "definition", cannot)


METRICS = (
    _metric(
        *("lesion_angle", "angle between the mean lesion spectra", lesion_angle, "rad"),
        *("angle of the means over cubes of the lesions' mean spectra", "variety, brightness, and faults of the masks"),
    ),
    _metric(
        *("skin_angle", "angle between the mean skin spectra", skin_angle, "rad"),
        *("angle of the means over cubes of the skin's mean spectra", "variety, brightness, and faults of the masks"),
    ),
    _metric(
        *("contrast_difference", "difference of the contrast of lesion and skin", contrast_difference, ""),
        *("mean over bands of |Δ log (mean lesion / mean skin)|", "variety, brightness, and faults of the masks"),
    ),
    _metric(
        *("derivative_difference", "difference of the slopes of the mean lesion spectra", derivative_difference, ""),
        *("|Δ slopes| / |slopes of the reference|, spectra divided by their mean", "variety and brightness"),
    ),
)
"""Each is a function of two tables of spectra."""


def mean_spectra_scores(scores: Scores, synthetic: CubeGroup, how: Comparison, spectra: MeanSpectra) -> None:
    """Add the score of every metric of mean spectra against the held-out cubes."""
    made, held, real = spectra.of(synthetic), spectra.of(how.held_out), _pool(how, spectra)
    groups = how.train.groups + how.held_out.groups
    for metric in METRICS:

        def make(metric: Metric = metric) -> Score:
            def between(a: Table, b: Table) -> OfRows:
                return lambda x, y: float(metric.function(a[x], b[y]))

            found = at_smaller(between(made, held), len(made), len(held), how.draws, how.seed)
            floor = floor_at(between(real, real), groups, found.size, how)
            return set_score(f"{FAMILY}/{metric.key}", metric, found, floor)

        scores.attempt(f"{FAMILY}/{metric.key}", make)


def _pool(how: Comparison, spectra: MeanSpectra) -> Table:
    return np.concatenate([spectra.of(how.train), spectra.of(how.held_out)])
