"""Blurred means of a few train cubes: a negative control of a study, and the worst that a blurred generator can be.

Hypothesis: the mean of lesions that are not aligned has their spectra and no lesion, so an arm with it must not help; where
it does, the classifier gains from spectra alone, or from seeing melanomas more often.
Command: make sweep-blurred_average; in a grid: make ablation SET='generators=["blurred_average"]'
Expected: no training; a distance far from that of real cubes, because means of lesions vary less than lesions.
Result (`hyperderm train` and `generate --count 100`, fold 0, one seed, 32 px, 72 train melanomas of the ISIC 2018
stand-ins): distance 1.38 to the validation melanomas (real train cubes −0.01, the mean cube 2.68), told from real 0.94
(0.84 to 0.98), 4 of 100 called copies, none out of range. Soft round spots, all alike.
"""

from experiments.noisy_copies import interpolation
from hyperderm.config import Experiment
from hyperderm.registry import Profile

SPACE = "mixup"


def experiment(profile: Profile) -> Experiment:
    """Return the whole configuration; both profiles take one core seconds."""
    return interpolation("blurred_average", profile, method="average")
