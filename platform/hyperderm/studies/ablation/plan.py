"""The plan of a grid: every generator, synthetic set and cell with the jobs it needs, made before anything runs.

A job is named by the fingerprint of everything that shapes its result: its configuration, its data, and the names of the
jobs it reads from. The same command therefore finds the finished jobs, and a new seed or arm adds jobs without changing
others. Each job is made once, together with the proof that the data can serve it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from hyperderm.config import Experiment
from hyperderm.errors import ConfigError, StoreError, nearest
from hyperderm.grid_config import Ablation, Model
from hyperderm.store.folds import POSITIVE
from hyperderm.store.manifest import Role
from hyperderm.store.reader import Store
from hyperderm.studies.ablation.arms import CLASSIC_ARM, Arm, arms, contrasts
from hyperderm.studies.ablation.builder import PlanBuilder
from hyperderm.studies.ablation.jobs import STAGES, Job, Stage
from hyperderm.training.selection import Selection, kept_groups

ROLES: tuple[Role, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class Plan:
    """A grid as it will run.

    Attributes:
        jobs: generators, sets and cells in the order of their start, so that an interrupted night is balanced over arms.
        left_out: (arm, model, reason) of each combination that has no meaning.
        selections: fold to the lesions of its train and validation roles.
        content: fingerprints of the sets, photographs and weights that the grid names by an address.
        declared: contrasts that were declared earlier in the folder of this grid; none is ever forgotten.
        feeds: key of each job that trains to its feed, "memory" or "stream", once the feed is known.
    """

    grid: Ablation
    store: Store
    folds: tuple[int, ...]
    arms: tuple[Arm, ...]
    jobs: tuple[Job, ...]
    left_out: tuple[tuple[str, str, str], ...]
    selections: Mapping[int, Selection]
    content: Mapping[str, str] = field(default_factory=dict)
    declared: tuple[tuple[str, str, str], ...] = ()
    feeds: Mapping[str, str] = field(default_factory=dict)

    def stage(self, stage: Stage) -> list[Job]:
        """Return the jobs of one stage."""
        return [job for job in self.jobs if job.stage == stage]

    @property
    def contrasts(self) -> list[tuple[str, str, str]]:
        """The declared family of contrasts, as (arm, reference, model)."""
        missing = {(arm, model) for arm, model, _ in self.left_out}
        asked = [
            (arm, reference, model)
            for model in self.grid.models
            for arm, reference in contrasts(list(self.arms))
            if not {(arm, model), (reference, model)} & missing
        ]
        return list(self.declared) or asked


def make_plan(grid: Ablation, store: Store, generators: Mapping[str, Experiment]) -> Plan:
    """Return the plan of a grid.

    Args:
        grid: the requested ablation.
        store: the real lesions.
        generators: name to experiment, for fold 0, of each generator that is trained here.

    Raises:
        ConfigError: unknown models, folds or generators. StoreError: a fold without melanoma, negatives that the store does
            not hold, or a set or a search of another manifest or fold.
    """
    for name in grid.models:
        if name not in grid.classifiers:
            raise ConfigError(f"models names {name!r}", nearest(name, grid.classifiers))
    height, width, _ = store.manifest.shape
    if grid.size > min(height, width):
        raise ConfigError(
            f"size = {grid.size} asks for more pixels than the store's {height} x {width}",
            f"Use --set size={min(height, width)}, or ingest again with --size {grid.size}.",
        )
    folds = _folds(grid, store)
    _check_roles(grid, store, folds)
    chosen = arms(grid)
    builder = PlanBuilder(grid, store, generators, folds)
    left_out = _left_out(grid, builder, chosen)
    skipped = {(arm, model) for arm, model, _ in left_out}
    compared = [arm for arm in chosen if arm.control]
    if compared and skipped.issuperset((arm.name, model) for arm in compared for model in grid.models):
        _, _, reason = next(each for each in left_out if each[0] == compared[0].name)
        raise ConfigError(
            f"arms = {list(grid.arms)}: no synthetic arm has a meaning here, {compared[0].name} because {reason}",
            "Ask for other arms, generators or models.",
        )
    cells = [
        builder.cell(arm, model, fold, seed)
        for seed in grid.seeds
        for fold in folds
        for model in grid.models
        for arm in chosen
        if (arm.name, model) not in skipped and not arm.chosen_from
    ]
    _check_curve(grid, builder)
    jobs, known = list[Job](), set[str]()
    for cell in cells:
        needed = {job.key: job for job in builder.before(cell.needs) if job.key not in known}
        known |= needed.keys()
        jobs += [*needed.values(), cell]
    if grid.judge:
        jobs += _judges(grid, builder, chosen, cells)
    return Plan(
        grid, store, folds, tuple(chosen), _generators_first(jobs), tuple(left_out), builder.selections, builder.content
    )


def _judges(grid: Ablation, builder: PlanBuilder, chosen: Sequence[Arm], cells: Sequence[Job]) -> list[Job]:
    """Return a judge of the melanomas of each synthetic set that an arm shows as what they are, for each trained model.

    A set that is train rebuilt has none to spare for a test.
    """
    shown = {arm.name: arm for arm in chosen if arm.generator and arm.labels == "own" and not arm.rebuilt}
    judged: dict[str, Job] = {}
    for cell in cells:
        if cell.arm in shown and not grid.classifiers[cell.model].learner.fit_once:
            job = builder.judge(cell, shown[cell.arm])
            judged.setdefault(job.key, job)
    return list(judged.values())


def _left_out(grid: Ablation, builder: PlanBuilder, chosen: Sequence[Arm]) -> list[tuple[str, str, str]]:
    """Return (arm, model, reason) of each combination that has no meaning or that cannot be made."""
    found: list[tuple[str, str, str]] = []
    for model in grid.models:
        spec, gone = grid.classifiers[model], set[str]()
        for arm in chosen:
            if reason := _reason(arm, chosen, spec, builder, gone):
                gone.add(arm.name)
                found.append((arm.name, model, reason))
    return found


def _reason(arm: Arm, chosen: Sequence[Arm], model: Model, builder: PlanBuilder, gone: Collection[str]) -> str:
    """Return why an arm is left out for a model of which `gone` are left out before; "" if it is not."""
    if arm.chosen_from:
        left, least = len(set(arm.chosen_from) - set(gone)), 2 if arm.control else 1  # one control may serve two arms
        return f"{left} of the arms that it is chosen from ha{'s' if left == 1 else 've'} a meaning" if left < least else ""
    reason = builder.meaningless(arm) or arm.suits(model)
    control = next((each for each in chosen if each.name == arm.control), None)
    replaced = arm.control == CLASSIC_ARM  # a model without augmentation has `real` in its place
    if control is not None and not replaced and (none := control.suits(model)):
        reason = reason or f"its control {control.name} has no meaning: {none}"
    return reason


def _generators_first(jobs: Sequence[Job]) -> tuple[Job, ...]:
    """Put jobs that others need first within each fold and its first seed; keep the order of seeds and folds."""
    blocks: dict[tuple[int, int], list[Job]] = {}
    place = (0, 0)
    for job in jobs:
        place = (job.seed, job.fold) if job.stage in ("cell", "judge") else (place[0], job.fold)
        blocks.setdefault(place, []).append(job)
    return tuple(job for block in blocks.values() for job in sorted(block, key=lambda job: STAGES.index(job.stage)))


def _folds(grid: Ablation, store: Store) -> tuple[int, ...]:
    try:
        count = store.folds().count
    except StoreError as error:
        if grid.choose == "validation":
            raise StoreError(f"choose = validation needs a validation role: {error.what}", error.remedy) from None
        raise
    for name in ("sets", "searches"):
        for generator, by_fold in getattr(grid, name).items():
            for fold in sorted(map(int, by_fold)):
                if fold >= count:
                    raise ConfigError(f"{name} of {generator} names fold {fold}", f"This store has folds 0 … {count - 1}.")
    if grid.folds == "all":
        return tuple(range(count))
    for fold in grid.folds:
        if not 0 <= fold < count:
            raise ConfigError(f"folds names {fold}", f"This store has folds 0 … {count - 1}.")
    return tuple(grid.folds)


def _check_curve(grid: Ablation, builder: PlanBuilder) -> None:
    """Prove that the points of the learning curve differ: a share is rounded to whole groups of melanomas."""
    group = {row["lesion_id"]: row["group"] for row in builder.store.index().to_pylist() if row["diagnosis"] == POSITIVE}
    for fold, chosen in sorted(builder.selections.items()):
        groups = {group[lesion] for lesion in chosen.train if lesion in group}
        left = {share: len(kept_groups(groups, share, grid.seeds[0], fold)) for share in sorted(grid.curve)}
        for (less, few), (more, many) in pairwise(left.items()):
            if few == many:
                raise ConfigError(
                    f"curve = {list(grid.curve)}: {less:g} and {more:g} of the melanomas in train of fold {fold} are the "
                    f"same {few} of {len(groups)} groups",
                    f"Leave {less:g} or {more:g} out, or take shares that lie further apart.",
                )


def _check_roles(grid: Ablation, store: Store, folds: Sequence[int]) -> None:
    """Prove, from the diagnoses alone, that every role of every fold holds both classes; no test role is opened for this.

    A class that the whole store lacks is left to `select`, which names it.
    """
    held, task, known = store.folds(), grid.task.diagnoses, set(store.manifest.diagnoses)
    if len(known) < 2 or not {POSITIVE, *(() if task == "all" else task)} <= known:
        return
    rows = [(row["group"], row["diagnosis"]) for row in store.index().to_pylist()]
    for fold in folds:
        for role in ROLES:
            kinds = {kind for group, kind in rows if held.role(group, fold) == role}
            needed = {POSITIVE} if task == "all" else set(task)
            missing = sorted(needed - kinds) or (["negatives"] if kinds == {POSITIVE} else [])
            if missing:
                chooses = role == "validation" and grid.choose == "validation"
                raise StoreError(
                    f"the {role} role of fold {fold} holds no {missing[0]}"
                    + (", and choose = validation chooses by what it holds" if chooses else ""),
                    "Leave that fold out (--set 'folds=[…]'), or ingest with fewer --folds or another --seed.",
                )
