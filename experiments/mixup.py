"""Mixup within a diagnosis (Zhang et al., ICLR 2018): weighted means of two train cubes, without training.

Hypothesis: a rival that every trained generator must beat: it costs nothing, has real noise and real spectra, and shows two
lesions over each other.
Command: make sweep-mixup; in a grid: make ablation SET='generators=["mixup"]'
Expected: no training; near the distance of real cubes. With learner.alpha=0.4, a third of the cubes are nearly train
cubes, and the audit calls these copies.
Result (`hyperderm train` and `generate --count 100`, fold 0, one seed, 32 px, 72 train melanomas of the ISIC 2018
stand-ins): distance 0.05 to the validation melanomas (real train cubes −0.01), told from real 0.63 (0.47 to 0.76), 81 of
100 called copies, none out of range. Lesions, some of them two over each other.
"""

from experiments.noisy_copies import interpolation
from hyperderm.config import Experiment
from hyperderm.registry import Profile


def experiment(profile: Profile) -> Experiment:
    """Return the whole configuration; both profiles take one core seconds."""
    return interpolation("mixup", profile, method="mixup")
