"""Mixup within a diagnosis (Zhang et al., ICLR 2018): weighted means of two train cubes, without training.

Hypothesis: a rival that every trained generator must beat: it costs nothing, has real noise and real spectra, and shows two
lesions over each other.
Command: make sweep-mixup; in a grid: make ablation SET='generators=["mixup"]'
Expected: no training; near the distance of real cubes. With learner.alpha=0.4 a third of the cubes are nearly train cubes,
and the audit calls these copies.
"""

from experiments.noisy_copies import interpolation
from hyperderm.config import Experiment
from hyperderm.registry import Profile


def experiment(profile: Profile) -> Experiment:
    """Return the whole configuration; both profiles take one core seconds."""
    return interpolation("mixup", profile, method="mixup")
