"""Prediction sets whose truth is known: a binormal model with group, fold and seed effects, paired over arms.

Latent score of lesion i in group g, arm a, fold k, seed s, melanoma y:

    x = y (d_a + fold_ak + seed_aks) + group_g + lesion_i + lesion_ai + noise_aiks + offset_ak

All effects are normal. Groups and lesions are the same for all arms (that pairs them). The offset makes folds incomparable,
as in METHODS section 9. Given the folds' effects, the AUROC of a cell, averaged over lesions and seeds, is
Φ((d_a + fold_ak) / sqrt(2 v + seed variance)), v being the variance of x within a class.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, ndtr

from hyperderm.statistics.panel import Fold, Panel
from hyperderm.statistics.predictions import Predictions

LARGE, SMALL = (85, 175), (24, 96)
"""Groups with and without melanoma: HSIDermoscopy, and a small study."""


@dataclass(frozen=True)
class Design:
    """What is simulated; standard deviations in units of the latent score."""

    separations: tuple[float, ...] = (1.6, 1.6)
    groups: tuple[int, int] = LARGE
    folds: int = 5
    seeds: int = 3
    pairs: float = 0.2  # share of groups with two lesions
    mixed: float = 0.0  # share of melanoma groups that also hold a negative
    group_sd: float = 0.5
    lesion_sd: float = 0.5
    arm_sd: float = 0.4
    noise_sd: float = 0.4
    seed_sd: float = 0.15  # of each of two parts, one shared by the arms
    fold_sd: float = 0.1
    offset_sd: float = 1.0
    threshold_sd: float = 0.15


@dataclass(frozen=True)
class Simulated:
    panels: tuple[Panel, ...]
    aurocs: tuple[float, ...]
    sensitivities: tuple[float, ...]


def simulate(design: Design, rng: np.random.Generator) -> Simulated:
    arms = len(design.separations)
    separation = np.array(design.separations)[:, None] + design.fold_sd * rng.normal(size=(arms, design.folds))
    within = design.group_sd**2 + design.lesion_sd**2 + design.arm_sd**2 + design.noise_sd**2
    between_seeds = 2 * design.seed_sd**2
    cut = np.mean(design.separations) / 2
    folds = [_fold(design, k, separation[:, k], cut, rng) for k in range(design.folds)]
    panels = tuple(Panel(f"arm{a}", "simulated", tuple(fold[a] for fold in folds)) for a in range(arms))
    melanomas = np.array([fold[0].truth.sum() for fold in folds])
    sensitivity = ndtr((separation - cut) / np.sqrt(within + between_seeds + design.threshold_sd**2))
    return Simulated(
        panels,
        tuple(ndtr(separation / np.sqrt(2 * within + between_seeds)).mean(1)),
        tuple(sensitivity @ melanomas / melanomas.sum()),
    )


def _fold(design, number, separation, cut, rng) -> list[Fold]:
    truth, group = _lesions(design, number, rng)
    arms, n, seeds = len(separation), len(truth), design.seeds
    x = design.group_sd * rng.normal(size=group.max() + 1)[group] + design.lesion_sd * rng.normal(size=n)
    x = x + design.arm_sd * rng.normal(size=(arms, 1, n)) + design.noise_sd * rng.normal(size=(arms, seeds, n))
    shift = design.seed_sd * (rng.normal(size=(1, seeds)) + rng.normal(size=(arms, seeds)))
    x = x + (separation[:, None] + shift)[..., None] * truth
    offset = design.offset_sd * rng.normal(size=(arms, 1))
    threshold = offset + cut + design.threshold_sd * rng.normal(size=(arms, seeds))
    probability = expit(x + offset[..., None] - cut)
    ids = np.array([f"{number}-{i:04d}" for i in range(n)])
    return [
        Fold(
            number, tuple(range(design.seeds)), ids, truth, group, probability[a], probability[a], expit(threshold[a] - cut)
        )
        for a in range(arms)
    ]


def _lesions(design, number, rng):
    """Lesions of one fold; the melanoma groups come first."""
    truth, group = [], []
    shares = (len(range(number, design.groups[0], design.folds)), len(range(number, design.groups[1], design.folds)))
    for label, count in zip((True, False), shares, strict=True):
        for _ in range(count):
            mine = [label] * (1 + (rng.random() < design.pairs)) + [False] * (label and rng.random() < design.mixed)
            group += [group[-1] + 1 if group else 0] * len(mine)
            truth += mine
    return np.array(truth), np.array(group)


def predictions(panels: tuple[Panel, ...]) -> Predictions:
    """The panels as the artifact that a grid writes."""
    columns: dict[str, list] = {name: [] for name in Predictions.__dataclass_fields__}
    for panel in panels:
        for fold in panel.folds:
            for s, seed in enumerate(fold.seeds):
                n = len(fold.truth)
                columns["lesion_id"] += fold.lesion_id.tolist()
                columns["group"] += [f"{fold.number}/{g}" for g in fold.group]
                columns["diagnosis"] += np.where(fold.truth, "melanoma", "dysplastic_nevus").tolist()
                columns["truth"] += fold.truth.astype(int).tolist()
                columns["fold"] += [fold.number] * n
                columns["seed"] += [seed] * n
                columns["arm"] += [panel.arm] * n
                columns["model"] += [panel.model] * n
                columns["probability"] += fold.probability[s].tolist()
                columns["raw_probability"] += fold.raw_probability[s].tolist()
                columns["threshold"] += [fold.threshold[s]] * n
                columns["cell"] += [f"{panel.arm}/{panel.model}/{fold.number}/{seed}"] * n
    return Predictions.from_columns(columns)
