"""All metrics of one synthetic set, with what a report draws beside them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from hyperderm.errors import HyperdermError, StoreError
from hyperderm.metrics import spectral
from hyperderm.metrics.as_published import FIDS, as_published
from hyperderm.metrics.description import Metric
from hyperderm.metrics.distribution import Features as FeatureTable
from hyperderm.metrics.distribution import frechet_distance
from hyperderm.metrics.evaluation import levels, mean_spectra, pairs, spaces
from hyperderm.metrics.evaluation.levels import level_scores
from hyperderm.metrics.evaluation.mean_spectra import MeanSpectra, mean_spectra_scores
from hyperderm.metrics.evaluation.pairs import Nearest, pair_scores
from hyperderm.metrics.evaluation.scores import MOST, Comparison, CubeGroup, Features, Left, Scores, Table, computed
from hyperderm.metrics.evaluation.spaces import Space, network_space, space_scores, spectral_space
from hyperderm.metrics.feature_spaces import FeatureSpace

INCEPTION, UNSCALED = "inception", "inception, unscaled"
METRICS: dict[str, Metric] = {
    **levels.METRICS,
    **{metric.key: metric for metric in mean_spectra.METRICS},
    **pairs.METRICS,
    **spaces.METRICS,
}
"""Every metric of an evaluation by its key, the seeds' way of computing apart (`as_published.METRICS`)."""
Progress = Callable[[str], None]
"""Is told what is computed next."""


@dataclass(eq=False)
class Measured:
    """What was measured of one set.

    Attributes:
        synthetic: the cubes.
        spectra: mean spectra of all groups.
        scores: all scores, and what was left out.
        level_values: metric to name of a group to values (N,).
        nearest: the nearest real cubes of the synthetic ones, by the gallery's name.
        features: space to name of a group to features (N, d).
        bands: relative errors (N, B) to the nearest held-out cube, for a table of bands.
        published: the seeds' metrics in the seeds' way (`as_published`); empty if the cubes do not suit them.
    """

    synthetic: CubeGroup
    spectra: MeanSpectra
    scores: Scores = field(default_factory=Scores)
    level_values: dict[str, dict[str, Table]] = field(default_factory=dict)
    nearest: dict[str, Nearest] = field(default_factory=dict)
    features: dict[str, dict[str, FeatureTable]] = field(default_factory=dict)
    bands: Table = field(default_factory=lambda: np.empty((0, 0)))
    published: dict[str, float | None] = field(default_factory=dict)


def measure(
    synthetic: CubeGroup,
    how: Comparison,
    networks: Sequence[FeatureSpace] = (),
    features: Features = computed,
    progress: Progress = lambda what: None,
) -> Measured:
    """Measure a synthetic set; a metric that the cubes do not suit is left out and told, the others go on.

    Args:
        synthetic: at most `MOST` cubes.
        how: the comparison, each role of at most `MOST` cubes.
        networks: the feature spaces, usually `feature_spaces.available_spaces`.
        features: computes features, or reads them from a cache.
        progress: is told what is computed next.

    Raises:
        StoreError: the set is empty, or too large; its cubes have another shape than the real ones.
    """
    _check(synthetic, how)
    found = Measured(synthetic, MeanSpectra(how))
    progress("mean spectra and levels")
    mean_spectra_scores(found.scores, synthetic, how, found.spectra)
    found.level_values = level_scores(found.scores, synthetic, how, found.spectra)
    progress("nearest cubes")
    found.nearest = pair_scores(found.scores, synthetic, how)
    search = found.nearest[how.held_out.name]
    found.bands = spectral.relative_rmse(synthetic.cubes, how.held_out.cubes[search.by_angle[1].tolist()])
    _spaces(found, how, networks, features, progress)
    progress("the seeds' way")
    found.published = _published(found, how)
    return found


def _check(synthetic: CubeGroup, how: Comparison) -> None:
    for group in (synthetic, how.train, how.held_out):
        if not 0 < len(group) <= MOST:
            raise StoreError(f"{group.name} has {len(group)} cubes", f"Give 1 to {MOST}.")
    if synthetic.cubes.shape[1:] != how.train.cubes.shape[1:]:
        raise StoreError(
            f"{synthetic.name} has cubes of shape {tuple(synthetic.cubes.shape[1:])}, the real ones have "
            f"{tuple(how.train.cubes.shape[1:])}",
            "Give sets of the same bands and size.",
        )


def _spaces(
    found: Measured, how: Comparison, networks: Sequence[FeatureSpace], features: Features, progress: Progress
) -> None:
    """Add the scores of all spaces; a space that cannot take the cubes (too few bands) is left out as a whole."""
    made: list[tuple[str, Callable[[], Space], bool]] = [(spaces.SPECTRAL, lambda: spectral_space(how), True)]
    for network in networks:
        made.append((network.name, partial(network_space, network, how, features), True))
        if network.name == INCEPTION:
            made.append((UNSCALED, partial(network_space, network, how, features, scaled=False), False))
    for name, make, auroc in made:
        progress(f"features: {name}")
        try:
            found.features[name] = space_scores(found.scores, found.synthetic, how, make(), auroc)
        except HyperdermError as error:
            found.scores.left.append(Left(name, str(error)))


def _published(found: Measured, how: Comparison) -> dict[str, float | None]:
    """Return the seeds' metrics against the held-out cubes, with the FIDs of the same cubes."""
    fids: dict[str, float] = {}
    for name, space in zip(FIDS, (INCEPTION, UNSCALED), strict=True):
        tables = found.features.get(space)
        if tables and min(len(found.synthetic), len(how.held_out)) > 1:
            fids[name] = frechet_distance(tables[found.synthetic.name], tables[how.held_out.name])
    try:
        return as_published(how.held_out.cubes, found.synthetic.cubes, fids)
    except HyperdermError as error:
        found.scores.left.append(Left("as_published", str(error)))
        return {}
