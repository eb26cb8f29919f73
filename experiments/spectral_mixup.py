"""MixStyle over bands (after Zhou et al., ICLR 2021): a train cube with band means and deviations between two cubes'.

Hypothesis: the exposure and the colour of a lesion differ between images more than they tell of its diagnosis; a lesion that
is shown in the light of another is a cheap new example, and its form stays real.
Command: make sweep-spectral_mixup; in a grid: make ablation SET='generators=["spectral_mixup"]'
Expected: no training; the distance of real cubes. The audit finds copies at another exposure, and is right: the geometry is
that of a train lesion.
Result (`hyperderm train` and `generate --count 100`, fold 0, one seed, 32 px, 72 train melanomas of the ISIC 2018
stand-ins): distance −0.01 to the validation melanomas, as real train cubes, told from real 0.43 (0.29 to 0.58), 90 of 100
called copies. 12 of 112 cubes were out of range, all by dark pixels that the larger deviation moved below −0.1.
"""

from experiments.noisy_copies import interpolation
from hyperderm.config import Experiment
from hyperderm.registry import Profile

SPACE = "mixup"


def experiment(profile: Profile) -> Experiment:
    """Return the whole configuration; both profiles take one core seconds."""
    return interpolation("spectral_mixup", profile, method="spectral_mixup")
