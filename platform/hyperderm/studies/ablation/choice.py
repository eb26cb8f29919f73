"""Arms whose cells are chosen among those of other arms, by validation alone, within each model, fold and seed.

The best of several ratios or filters on the test role would be found better than it is. Here the cell with the lowest
calibrated log loss on validation lends its test predictions to the chosen arm: the score that also chose its checkpoint, its
calibration and its threshold. No test result is read for the choice, and nothing is trained again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hyperderm.statistics.predictions import CellKey, Predictions
from hyperderm.studies.ablation.jobs import Job
from hyperderm.studies.ablation.plan import Plan
from hyperderm.training.run_folder import Result

SCORE = "calibrated_log_loss"
"""The score of validation that is lowest in the chosen cell."""


@dataclass(frozen=True)
class Choice:
    """The cell that was chosen for one model, fold and seed of an arm.

    Attributes:
        arm: the arm that takes its predictions from other arms.
        model: the classifier.
        fold: the test fold.
        seed: the seed of the classifier.
        chosen: the arm whose cell was chosen.
        losses: every arm that could be chosen, to its `SCORE` on validation.
    """

    arm: str
    model: str
    fold: int
    seed: int
    chosen: str
    losses: Mapping[str, float]


def planned(plan: Plan) -> list[CellKey]:
    """Return all cells of the plan, those that are trained and those that are chosen among them."""
    trained = [CellKey(job.arm, job.model, job.fold, job.seed) for job in plan.stage("cell")]
    missing = {(arm, model) for arm, model, _ in plan.left_out}
    blocks = dict.fromkeys((key.model, key.fold, key.seed) for key in trained)
    chosen = [arm.name for arm in plan.arms if arm.chosen_from]
    return trained + [CellKey(arm, *block) for arm in chosen for block in blocks if (arm, block[0]) not in missing]


def choices(plan: Plan, results: Mapping[str, Result]) -> list[Choice]:
    """Return the choice of every block of a chosen arm all of whose candidates are finished.

    Args:
        plan: the grid.
        results: key of a finished job to its result.
    """
    cells: dict[tuple[str, int, int], dict[str, Job]] = {}
    for job in plan.stage("cell"):
        cells.setdefault((job.model, job.fold, job.seed), {})[job.arm] = job
    missing = {(arm, model) for arm, model, _ in plan.left_out}
    found = []
    for arm in (each for each in plan.arms if each.chosen_from):
        for block, jobs in cells.items():
            names = [name for name in arm.chosen_from if (name, block[0]) not in missing]
            candidates = [jobs[name] for name in names if name in jobs]
            if names and len(candidates) == len(names) and all(job.key in results for job in candidates):
                losses = {job.arm: float(results[job.key]["judgement"][SCORE]) for job in candidates}
                found.append(Choice(arm.name, *block, min(losses, key=lambda name: losses[name]), losses))
    return found


def with_choices(table: Predictions, made: Sequence[Choice]) -> Predictions:
    """Return `table` with the predictions of the chosen cells added under the names of the arms that chose them."""
    rows = [table]
    for each in made:
        own = table.where(arm=each.chosen, model=each.model, fold=each.fold, seed=each.seed)
        rows.append(replace(own, arm=np.full(len(own), each.arm)))
    return Predictions.concatenate(rows)
