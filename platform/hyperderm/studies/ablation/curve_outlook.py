"""What the learning curve of a grid can show before it runs, from a pilot's own curve or from stated assumptions."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from hyperderm.statistics import power
from hyperderm.statistics.ablation_results import REAL
from hyperderm.statistics.learning_curve import slope_coefficients
from hyperderm.statistics.multiplicity import FAMILY_LEVEL
from hyperderm.studies.ablation.outlook import assumptions, fold_sizes, pilot_spread
from hyperderm.studies.ablation.pilot import MeasuredCurve, Pilot
from hyperderm.studies.ablation.plan import Plan


@dataclass(frozen=True)
class CurvePower:
    """What the learning curve of each model can show.

    Attributes:
        slopes: model to the smallest true gain of AUROC per doubling of real melanomas that shows in 80 % of such studies;
            None where the arms of its curve share no fold and seed, so that it will not be told.
        sources: sentences that say where the variances come from.
    """

    slopes: Mapping[str, float | None]
    sources: tuple[str, ...]


def curve_power(plan: Plan, pilot: Pilot | None) -> CurvePower | None:
    """Return what the learning curve can show; None for a grid without one.

    Args:
        plan: the grid, with all that was asked of it earlier.
        pilot: a finished grid of the same store and task; None: assumptions.
    """
    shares = {arm.name: arm.share for arm in plan.arms if arm.name.partition("@")[0] == REAL}
    if len(shares) < 2:
        return None
    slopes: dict[str, float | None] = {}
    assumed, sources = [], []
    for model in plan.grid.models:
        points, cells = _common(plan, model, shares)
        if not cells:
            slopes[model] = None
            continue
        mine = [shares[arm] for arm in points]
        folds = {fold for fold, _ in cells}
        counts = (len(folds), round(len(cells) / len(folds)))
        if pilot and model in pilot.curves:
            slopes[model] = _measured(plan, pilot.curves[model], counts, mine)
            sources.append(f"{model}: its learning curve has the variances of that of pilot {pilot.name}")
        else:
            chance = 0.0 if plan.grid.classifiers[model].learner.fit_once else power.TRAINING_SD
            sizes = [(each.melanoma_groups, each.other_groups) for each in fold_sizes(plan.store, plan.grid.task.diagnoses)]
            spread = power.assumed(sizes, training_sd=chance)
            slopes[model] = spread.detectable_slope(*counts, mine)
            assumed.append((model, chance))
    if assumed:
        models = ", ".join(model for model, _ in assumed)
        why = f"pilot {pilot.name} has no learning curve of {models}" if pilot else "no pilot"
        sources.append(assumptions(any(chance for _, chance in assumed), why))
    return CurvePower(slopes, tuple(sources))


Cells = set[tuple[int, int]]


def _common(plan: Plan, model: str, shares: Mapping[str, float]) -> tuple[tuple[str, ...], Cells]:
    """Return the arms of the curve, and the folds and seeds in which the model has them all, as a report would take them."""
    held: dict[str, Cells] = {arm: set() for arm in shares}
    for job in plan.stage("cell"):
        if job.model == model and job.arm in held:
            held[job.arm].add((job.fold, job.seed))
    parts = [arm for arm in shares if arm != REAL]
    for count in range(len(parts), 0, -1):
        found = [(some, set.intersection(*(held[arm] for arm in (*some, REAL)))) for some in combinations(parts, count)]
        some, cells = max(found, key=lambda each: len(each[1]))
        if cells:
            return (*some, REAL), cells
    return (REAL,), set()


def _measured(plan: Plan, found: MeasuredCurve, counts: tuple[int, int], shares: list[float]) -> float:
    """Return the smallest slope by the variance of a pilot's own, which may have had other shares."""
    chance = 0.0 if plan.grid.classifiers[found.model].learner.fit_once else power.TRAINING_SD
    spread = pilot_spread(found, fold_sizes(plan.store, plan.grid.task.diagnoses), chance)
    mine, theirs = (float((np.array(slope_coefficients(each)) ** 2).sum()) for each in (shares, found.shares))
    return float(np.sqrt(mine / theirs)) * spread.detectable(*counts, FAMILY_LEVEL)
