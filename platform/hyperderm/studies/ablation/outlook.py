"""What a grid can show before it runs: the spread of its comparisons, from a pilot or from stated assumptions."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from hyperderm.statistics import power
from hyperderm.statistics.multiplicity import FAMILY_LEVEL
from hyperderm.statistics.power import Enough, OutOfReach, Spread
from hyperderm.store.folds import POSITIVE
from hyperderm.store.reader import Store
from hyperderm.studies.ablation.pilot import Measured, Pilot
from hyperderm.studies.ablation.plan import Plan


@dataclass(frozen=True)
class FoldSize:
    """What the test role of one fold holds.

    Attributes:
        melanomas: number of melanoma lesions.
        melanoma_groups: number of groups (source images) with a melanoma.
        other_groups: number of the other groups.
    """

    melanomas: int
    melanoma_groups: int
    other_groups: int


@dataclass(frozen=True)
class Outlook:
    """What a grid can show.

    Attributes:
        contrasts: number of declared comparisons, at least one, those that were declared earlier counted.
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


def outlook(plan: Plan, pilot: Pilot | None, declared: Collection[tuple[str, str, str]] = ()) -> Outlook | None:
    """Return what the grid can show; None if it declares no comparison but of negative controls.

    Args:
        plan: the grid; its folds and seeds do not matter.
        pilot: a finished grid of the same store and task; None: assumptions.
        declared: contrasts that were declared earlier in the grid's folder; they stay in the family.
    """
    controls = {arm.name for arm in plan.arms if arm.negative}  # a family of their own
    asked = [each for each in plan.contrasts if each[0] not in controls]
    if not asked:
        return None
    tested = fold_sizes(plan.store, plan.grid.task.diagnoses)
    models = list(dict.fromkeys(model for _, _, model in asked))
    chance = {model: 0.0 if plan.grid.classifiers[model].learner.fit_once else power.TRAINING_SD for model in models}
    count = len({*asked, *(each for each in declared if each[0] not in controls)})
    if pilot is None:
        sizes = [(each.melanoma_groups, each.other_groups) for each in tested]
        spreads = {model: power.assumed(sizes, training_sd=chance[model]) for model in models}
        return Outlook(count, tested, spreads, (_assumptions(any(chance.values())),))
    spreads, sources = {}, [_size(pilot, plan.grid.size)] if pilot.size != plan.grid.size else []
    for model in models:
        found, which = pilot.like(asked, model)
        each = [_spread(measured, tested, chance[model]) for measured in found]
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
        found.append(FoldSize(len(positive), len(set(positive)), len(groups - set(positive))))
    return tuple(found)


def _spread(measured: Measured, tested: Sequence[FoldSize], training_sd: float) -> Spread:
    held = [tested[fold] for fold in measured.cells]
    sizes = (float(sum(each.melanoma_groups for each in held)), float(sum(each.other_groups for each in held)))
    cells = list(measured.cells.values())
    return power.measured(measured.lesion_variance, measured.seed_variance, measured.stretch, cells, sizes, training_sd)


def _assumptions(trainings: bool) -> str:
    told = (
        f"no pilot, so it is assumed: AUROC {power.AUROC:g} of both arms, correlation {power.CORRELATION:g} of their scores"
    )
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
