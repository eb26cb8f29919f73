"""Blurred means of a few train cubes: a negative control of a study, and the worst that a blurred generator can be.

Hypothesis: the mean of lesions that are not aligned has their spectra and no lesion, so an arm with it must not help; where
it does, the classifier gains from spectra alone, or from seeing melanomas more often.
Command: make sweep-blurred_average; in a grid: make ablation SET='generators=["blurred_average"]'
Expected: no training; a distance far from that of real cubes, because means of lesions vary less than lesions.
"""

from experiments.noisy_copies import interpolation
from hyperderm.config import Experiment
from hyperderm.registry import Profile

SPACE = "mixup"


def experiment(profile: Profile) -> Experiment:
    """Return the whole configuration; both profiles take one core seconds."""
    return interpolation("blurred_average", profile, method="average")
