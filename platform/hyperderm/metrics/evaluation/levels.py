"""Scores of single cubes: what a synthetic cube has in itself, beside what held-out cubes have."""

from collections.abc import Callable

from hyperderm.metrics import spectral, texture
from hyperderm.metrics.description import Metric
from hyperderm.metrics.evaluation.mean_spectra import MeanSpectra
from hyperderm.metrics.evaluation.names import FAMILIES
from hyperderm.metrics.evaluation.scores import Comparison, CubeGroup, Score, Scores, Table, of_values

FAMILY = "level"
METRICS: dict[str, Metric] = {m.key: m for m in (*spectral.METRICS, *texture.METRICS) if m.key in FAMILIES[FAMILY]}
Level = Callable[[CubeGroup], Table]


def levels(how: Comparison, spectra: MeanSpectra) -> dict[str, Level]:
    """Return the function that gives each level metric its values (N,) for a group of cubes."""
    low, high = float(how.low.min()), float(how.high.max())
    return {
        "spectral_smoothness": lambda g: spectral.spectral_smoothness(g.cubes, how.wavelengths),
        "spectral_entropy": lambda g: spectral.spectral_entropy(g.cubes),
        "signature_angle": lambda g: spectral.signature_angles(spectra.of(g)[:, 0], spectra.signature),
        "total_variation": lambda g: texture.total_variation(g.cubes),
        "variance": lambda g: texture.variance(g.cubes),
        "spatial_entropy": lambda g: texture.spatial_entropy(g.cubes, low, high),
        "signal_to_noise": lambda g: texture.signal_to_noise(g.cubes),
        "spectrum_slope": lambda g: texture.spectrum_slope(g.cubes),
    }


def level_scores(scores: Scores, synthetic: CubeGroup, how: Comparison, spectra: MeanSpectra) -> dict[str, dict[str, Table]]:
    """Add the score of every level metric, and return the values by metric and by name of the group, for histograms."""
    kept: dict[str, dict[str, Table]] = {}
    for key, level in levels(how, spectra).items():

        def make(key: str = key, level: Level = level) -> Score:
            made, real = level(synthetic), level(how.held_out)
            kept[key] = {synthetic.name: made, how.held_out.name: real}
            return of_values(f"{FAMILY}/{key}", METRICS[key], made, real)

        scores.attempt(f"{FAMILY}/{key}", make)
    return kept
