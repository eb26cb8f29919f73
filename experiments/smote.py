"""SMOTE (Chawla et al., JAIR 2002) along principal components: a train cube moved towards one of its nearest neighbours.

Hypothesis: the classical remedy of a rare class, and so a rival that every trained generator must beat: what the components
hold moves between two lesions that are alike, and the texture stays that of one real lesion.
Command: make sweep-smote; in a grid: make ablation SET='generators=["smote"]'
Expected: a decomposition of train, seconds; the distance of real cubes. The audit calls many of the cubes copies.
Result (`hyperderm train` and `generate --count 100`, fold 0, one seed, 32 px, 72 train melanomas of the ISIC 2018
stand-ins): distance 0.01 to the validation melanomas (real train cubes −0.01), told from real 0.59 (0.44 to 0.72), 79 of
100 called copies, 1 of 101 out of range. Lesions, with faint traces of the other one.
"""

from experiments.noisy_copies import interpolation
from hyperderm.config import Experiment
from hyperderm.registry import Profile

SPACE = "mixup"


def experiment(profile: Profile) -> Experiment:
    """Return the whole configuration; both profiles take one core seconds."""
    return interpolation("smote", profile, method="smote")
