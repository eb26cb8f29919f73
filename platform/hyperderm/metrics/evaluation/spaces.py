"""Scores of sets in feature spaces: distances, neighbours and the classifier two-sample test, against both references."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np

from hyperderm.errors import StoreError
from hyperderm.metrics import distribution, manifold
from hyperderm.metrics.description import Metric
from hyperderm.metrics.distribution import Features as Table
from hyperderm.metrics.evaluation.at_size import floor_at, set_score
from hyperderm.metrics.evaluation.scores import Comparison, CubeGroup, Features, Score, Scores, computed
from hyperderm.metrics.feature_spaces import FeatureSpace
from hyperderm.metrics.manifold import Manifold
from hyperderm.metrics.pair_matrices import PairMatrices
from hyperderm.metrics.spectra import Standardiser, cube_features, energy_distance
from hyperderm.metrics.subsampling import AtSize, OfRows, Rows, at_smaller
from hyperderm.metrics.two_sample import FOLDS, LEAST, cross_validated
from hyperderm.statistics.intervals import hanley_mcneil

AUROC_MOST = 300
"""Largest number of cubes of each set in the classifier two-sample test, whose time grows with the cube of this number."""
SIZE_MOST = 1000
"""Largest size at which metrics of sets are computed, so that hundreds of samples of them take seconds."""
SPECTRAL = "spectral"
"""The space of `spectra.cube_features`: level, spread and gradient energy of each band."""

_ALL = {metric.key: metric for metric in (*distribution.METRICS, *manifold.METRICS)}
AUROC = "two_sample_auroc"
ENERGY = Metric(
    key="energy",
    title="spectral energy distance",
    function=energy_distance,
    kind="set",
    better="lower",
    unit="",
    span=(None, None),
    perfect=0.0,
    formula="(2 E|X − Y| − E|X − X'| − E|Y − Y'|) / √d; log mean, spread and gradient energy of each band, scaled by train",
    source="Székely & Rizzo, JSPI 143, 2013, eq. 5, unbiased",
    cannot="It cannot see where in a cube something lies, nor copies; it was the objective of most searches.",
)
UNSCALED = Metric(
    key="frechet_unscaled",
    title="Fréchet distance, first weights not scaled",
    function=distribution.frechet_distance,
    kind="set",
    better="lower",
    unit="",
    span=(0.0, None),
    perfect=0.0,
    formula="as the Fréchet distance, but the first convolution's weights are repeated without the factor 3/B",
    source="the other reading of seed 001's adapted FID",
    cannot="Its network gets B/3 times the contrast that it was trained for, so that it saturates.",
)
SPACE_METRICS: tuple[str, ...] = ("frechet", "kernel", "precision", "recall", "density", "coverage")
METRICS: dict[str, Metric] = {**_ALL, ENERGY.key: ENERGY, UNSCALED.key: UNSCALED}


@dataclass(frozen=True, eq=False)
class Space:
    """The features of a comparison in one space.

    Attributes:
        name: the name in keys.
        of: gives the features (N, d) of a group of cubes.
        metrics: keys of the metrics that are computed from all pairs.
    """

    name: str
    of: Callable[[CubeGroup], Table]
    metrics: tuple[str, ...]


def network_space(space: FeatureSpace, how: Comparison, features: Features = computed, scaled: bool = True) -> Space:
    """Return the space of a network on the common range of `how`; `scaled` as in `NetworkSpace.features`."""

    def of(group: CubeGroup) -> Table:
        return features(space, group.cubes, how.low, how.high, scaled)

    return Space(space.name, of, SPACE_METRICS if scaled else (UNSCALED.key,))


def spectral_space(how: Comparison) -> Space:
    """Return the space of spectral statistics, standardised by train."""
    standardise = Standardiser(cube_features(how.train.cubes))
    return Space(SPECTRAL, lambda group: standardise(cube_features(group.cubes)), (ENERGY.key, "coverage"))


def space_scores(
    scores: Scores, synthetic: CubeGroup, how: Comparison, space: Space, auroc: bool = True
) -> dict[str, Table]:
    """Add all scores in one space against the held-out cubes and against train, and return the features by name of group.

    Both comparisons are made at one size, that of the smallest of the three groups (`SIZE_MOST` at most), because a Fréchet
    distance depends on it. One floor stands beside both: two samples of all real cubes at that size.

    Args:
        scores: where the scores are added.
        synthetic: the synthetic cubes.
        how: the comparison.
        space: the space.
        auroc: whether the classifier two-sample test is made.

    Raises:
        CubeError: see `NetworkSpace.features`.
    """
    made, train, held = (space.of(group) for group in (synthetic, how.train, how.held_out))
    size = min(len(made), len(held), len(train), SIZE_MOST)
    of_real = _functions(PairMatrices(np.concatenate([train, held])))
    groups = how.train.groups + how.held_out.groups

    @cache
    def floor(key: str) -> AtSize | None:
        return floor_at(of_real[key], groups, size, how)

    for family, reference, group in (("held_out", held, how.held_out), ("train", train, how.train)):
        functions = _functions(PairMatrices(made, reference))
        for key in space.metrics:
            name = f"{family}/{space.name}/{key}"

            def make(name: str = name, key: str = key, functions: Functions = functions, m: int = len(reference)) -> Score:
                found = at_smaller(functions[key], len(made), m, how.draws, how.seed, size)
                return set_score(name, METRICS[key], found, floor(key))

            scores.attempt(name, make)
        if auroc:
            name = f"{family}/{space.name}/{AUROC}"
            scores.attempt(name, partial(_auroc, name, (made, synthetic.groups), (reference, group.groups), how.seed))
    return {synthetic.name: made, how.train.name: train, how.held_out.name: held}


Functions = dict[str, OfRows]
Grouped = tuple[Table, Sequence[str]]


def _functions(pairs: PairMatrices) -> Functions:
    """Return every metric of rows. The four metrics of neighbours are computed together, and once for the same rows."""
    known: dict[bytes, Manifold] = {}

    def neighbours(x: Rows, y: Rows) -> Manifold:
        rows = x.tobytes() + b"|" + y.tobytes()
        if rows not in known:
            known[rows] = pairs.manifold(x, y)
        return known[rows]

    return {
        "frechet": pairs.frechet,
        UNSCALED.key: pairs.frechet,
        "kernel": pairs.kernel,
        ENERGY.key: pairs.energy,
        "precision": lambda x, y: neighbours(x, y).precision,
        "recall": lambda x, y: neighbours(x, y).recall,
        "density": lambda x, y: neighbours(x, y).density,
        "coverage": lambda x, y: neighbours(x, y).coverage,
    }


def _auroc(name: str, made: Grouped, real: Grouped, seed: int) -> Score:
    """Return how well a classifier tells both sets apart; two samples of one law give .5, with the range of such samples.

    Raises:
        StoreError: a set has fewer than `two_sample.LEAST` groups.
    """
    rng = np.random.default_rng(seed)
    features, groups = [], []
    for table, of in (made, real):
        rows = np.sort(rng.permutation(len(table))[:AUROC_MOST])
        features.append(table[rows].astype(np.float64))
        groups.append([of[row] for row in rows])
        if len(set(groups[-1])) < LEAST:
            raise StoreError(
                f"a set of {len(set(groups[-1]))} groups is too small for a classifier", f"Use {LEAST} or more."
            )
    is_made = np.arange(len(features[0]) + len(features[1])) < len(features[0])
    numbers = np.unique([*groups[0], *groups[1]], return_inverse=True)[1].astype(np.intp)
    found = cross_validated(np.concatenate(features), is_made, numbers, seed)
    low, high = found.limits()
    widened = 1 + FOLDS / (FOLDS - 1)  # as `two_sample` widens its variance
    reach = 1.96 * float(np.sqrt(widened * hanley_mcneil(0.5, len(features[0]), len(features[1]))))
    metric = METRICS[AUROC]
    return Score(
        name, metric, found.value, low, high, len(features[0]), 0.5, 0.5 - reach, 0.5 + reach, max(found.value, 0.5),
        f"{len(features[0])} against {len(features[1])} cubes; interval and range by formula (DeLong, Hanley-McNeil)"
        + ("; below .5: near copies across the sets" if found.value < 0.5 - reach else ""),
    )  # fmt: skip
