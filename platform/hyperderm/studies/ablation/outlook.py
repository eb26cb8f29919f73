"""What a grid can show before it runs: whether anything at all, and the spread of its comparisons, from a pilot or from
stated assumptions."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hyperderm.errors import StudyError
from hyperderm.statistics import power
from hyperderm.statistics.learning_curve import CHECKED_GROUPS
from hyperderm.statistics.multiplicity import FAMILY_LEVEL
from hyperderm.statistics.panel import too_few
from hyperderm.statistics.power import Enough, OutOfReach, Spread
from hyperderm.store.folds import FEWEST, POSITIVE
from hyperderm.store.reader import Store
from hyperderm.studies.ablation.pilot import Measured, MeasuredCurve, Pilot
from hyperderm.studies.ablation.plan import Plan
from hyperderm.training.selection import kept_groups


@dataclass(frozen=True)
class FoldSize:
    """What the test role of one fold holds.

    Attributes:
        melanomas: number of melanoma lesions.
        melanoma_groups: number of groups (source images) with a melanoma.
        other_groups: number of the other groups.
        others: number of lesions that are no melanoma.
    """

    melanomas: int
    melanoma_groups: int
    other_groups: int
    others: int


@dataclass(frozen=True)
class Outlook:
    """What a grid can show.

    Attributes:
        contrasts: number of declared comparisons, at least one, those of earlier calls counted.
        tested: what each fold of the store tests.
        spreads: model to the spread of its comparisons.
        sources: sentences that say where the spreads come from.
    """

    contrasts: int
    tested: tuple[FoldSize, ...]
    spreads: Mapping[str, Spread]
    sources: tuple[str, ...]

    @property
    def alpha(self) -> float:
        """The level of the worst place in Holm's procedure."""
        return FAMILY_LEVEL / self.contrasts

    def detectable(self, model: str, folds: int, seeds: int) -> float:
        """Return the smallest true difference that a grid of `folds` folds and `seeds` seeds shows with 80 % power."""
        return self.spreads[model].detectable(folds, seeds, self.alpha)

    def needed(self, difference: float) -> Enough | OutOfReach:
        """Return the grid of fewest cells that shows a difference with every model."""
        return power.needed(difference, list(self.spreads.values()), len(self.tested), self.alpha)


def outlook(plan: Plan, pilot: Pilot | None) -> Outlook | None:
    """Return what the grid can show; None if it declares no comparison but of negative controls.

    Args:
        plan: the grid, with all that was asked of it earlier, since what was declared stays in the family; its folds and
            seeds do not matter.
        pilot: a finished grid of the same store and task; None: assumptions.
    """
    controls = {arm.name for arm in plan.arms if arm.negative}  # a family of their own
    asked = [each for each in plan.contrasts if each[0] not in controls]
    if not asked:
        return None
    tested = fold_sizes(plan.store, plan.grid.task.diagnoses)
    models = [model for model in dict.fromkeys(model for _, _, model in asked) if model in plan.grid.classifiers]
    chance = {model: 0.0 if plan.grid.classifiers[model].learner.fit_once else power.TRAINING_SD for model in models}
    count = len(asked)
    if pilot is None:
        sizes = [(each.melanoma_groups, each.other_groups) for each in tested]
        spreads = {model: power.assumed(sizes, training_sd=chance[model]) for model in models}
        return Outlook(count, tested, spreads, (assumptions(any(chance.values())),))
    spreads, sources = {}, [_size(pilot, plan.grid.size)] if pilot.size != plan.grid.size else []
    for model in models:
        found, which = pilot.like(asked, model)
        each = [pilot_spread(measured, tested, chance[model]) for measured in found]
        spreads[model] = power.median(each)
        unknown = chance[model] > 0 and any(not measured.seed_variance for measured in found)
        sources.append(_from_pilot(pilot, model, found, which, unknown))
    return Outlook(count, tested, spreads, tuple(sources))


def fold_sizes(store: Store, diagnoses: Sequence[str] | str) -> tuple[FoldSize, ...]:
    """Return what the test role of each fold holds, from the index of the store alone; no cube is read.

    Args:
        store: a store with folds.
        diagnoses: the diagnoses of the task, or "all".
    """
    folds = store.folds()
    rows = [row for row in store.index().to_pylist() if diagnoses == "all" or row["diagnosis"] in diagnoses]
    found = []
    for fold in range(folds.count):
        mine = [row for row in rows if folds.groups[row["group"]] == fold]
        positive = [row["group"] for row in mine if row["diagnosis"] == POSITIVE]
        groups = {row["group"] for row in mine}
        found.append(FoldSize(len(positive), len(set(positive)), len(groups - set(positive)), len(mine) - len(positive)))
    return tuple(found)


def check_answerable(plan: Plan, before: Collection[int] = ()) -> None:
    """Refuse a grid whose report could hold no interval, because no fold tests two groups of some class.

    A grid some of whose folds test two passes: the spread of the others is taken from them (`statistics.clustered`).

    Args:
        plan: the grid.
        before: the folds that were asked of it earlier, which its report holds too.

    Raises:
        StudyError: that is so; the message says how many groups each fold tests.
    """
    tested, folds = fold_sizes(plan.store, plan.grid.task.diagnoses), sorted({*plan.folds, *before})
    for name, counts in _groups(tested).items():
        if too_few([counts[fold] for fold in folds]):
            each = ", ".join(f"fold {fold}: {counts[fold]}" for fold in folds)
            raise StudyError(
                f"no fold tests two groups (patients or images) of {name}, so that nothing in this grid's report could have "
                f"an interval (groups of {name}: {each})",
                _more_groups(plan, name, counts),
            )


def _groups(tested: Sequence[FoldSize]) -> dict[str, list[int]]:
    return {
        POSITIVE: [each.melanoma_groups for each in tested],
        "lesions other than melanoma": [each.other_groups for each in tested],
    }


def _more_groups(plan: Plan, name: str, counts: Sequence[int]) -> str:
    """Return what makes a fold test two groups of a class that has `counts` groups in the folds of the store."""
    ways = [] if too_few(counts) else ["take more folds (--set folds=all)"]
    if not too_few(_groups(fold_sizes(plan.store, "all"))[name]) and plan.grid.task.negatives != "all_others":
        ways += ["take other negatives (--set task.negatives=all_others)"] if too_few(counts) else []
    ways += [f"ingest {'melanomas' if name == POSITIVE else 'such lesions'} of more patients"]
    ways += ["ingest with fewer --folds"] if len(counts) > FEWEST else []
    told = ", or ".join(ways)
    return f"{told[0].upper()}{told[1:]}."


def curve_sentence(plan: Plan) -> str:
    """Return on how few melanomas the learning curve rests; "" without one, and if its intervals were checked on so few."""
    if not plan.grid.curve:
        return ""
    tested = fold_sizes(plan.store, plan.grid.task.diagnoses)
    groups = sum(tested[fold].melanoma_groups for fold in plan.folds)
    if groups >= CHECKED_GROUPS:
        return ""
    lesions = sum(tested[fold].melanomas for fold in plan.folds)
    group = {row["lesion_id"]: row["group"] for row in plan.store.index().to_pylist() if row["diagnosis"] == POSITIVE}
    train = [{group[lesion] for lesion in plan.selections[fold].train if lesion in group} for fold in plan.folds]
    whole, left = (
        float(np.mean([len(kept_groups(each, share, 0, fold)) for each, fold in zip(train, plan.folds, strict=True)]))
        for share in (1.0, min(plan.grid.curve))
    )
    rated = any(arm.control and not arm.negative and not arm.chosen_from for arm in plan.arms)
    no_rate = "; no exchange rate will be defined" if rated else ""
    return (
        f"the learning curve rests on {lesions} melanomas in {groups} groups that are tested (train holds {whole:.3g} "
        f"groups a fold, the smallest share {left:.3g}): how often such intervals hold the truth was checked down to "
        f"{CHECKED_GROUPS} groups, and not for fewer{no_rate}"
    )


def pilot_spread(measured: Measured | MeasuredCurve, tested: Sequence[FoldSize], training_sd: float) -> Spread:
    """Return the spread that a pilot measured.

    Args:
        measured: what it measured.
        tested: what each fold of the store tests.
        training_sd: assumed standard deviation of an AUROC between trainings, where the pilot could not see it.
    """
    held = [tested[fold] for fold in measured.cells]
    sizes = (float(sum(each.melanoma_groups for each in held)), float(sum(each.other_groups for each in held)))
    cells = list(measured.cells.values())
    return power.measured(measured.lesion_variance, measured.seed_variance, measured.stretch, cells, sizes, training_sd)


def assumptions(trainings: bool, why: str = "no pilot") -> str:
    """Return what is assumed of the variance.

    Args:
        trainings: whether some model differs between trainings.
        why: what is lacking, so that it is assumed.
    """
    told = f"{why}, so it is assumed: AUROC {power.AUROC:g} of both arms, correlation {power.CORRELATION:g} of their scores"
    return f"{told}, standard deviation {power.TRAINING_SD:g} of an AUROC between trainings" if trainings else told


def _size(pilot: Pilot, size: int) -> str:
    return f"note: the cubes of pilot {pilot.name} have {pilot.size} pixels, those of this grid {size}"


def _from_pilot(pilot: Pilot, model: str, found: Sequence[Measured], which: str, unknown: bool) -> str:
    folds = sorted({len(each.cells) for each in found})
    seeds = sorted({count for each in found for count in each.cells.values()})
    grid = f"{_range(folds)} fold{'s' * (folds != [1])} x {_range(seeds)} seed{'s' * (seeds != [1])}"
    median = f"median of its {len(found)} comparisons" if len(found) > 1 else "its comparison"
    told = f"{model}: variances of pilot {pilot.name} ({grid}), {median} {which}"
    if unknown:
        told += (
            f"; how trainings differ is unknown there, so a standard deviation of {power.TRAINING_SD:g} of an AUROC is "
            "assumed"
        )
    return told


def _range(values: Sequence[int]) -> str:
    return f"{values[0]}" if len(values) == 1 else f"{values[0]} to {values[-1]}"
