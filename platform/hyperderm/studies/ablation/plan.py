"""The plan of a grid: every generator, synthetic set and cell, with what each needs, before anything runs.

A job is named by the fingerprint of what shapes its result: configuration, data, and the names of the jobs it reads from.
So the same command finds what is done, and a new seed or arm adds jobs without touching others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from hyperderm.ablation import Ablation
from hyperderm.config import Experiment
from hyperderm.errors import ConfigError, StoreError, nearest
from hyperderm.learners.data import truth
from hyperderm.learners.sampling import count_of
from hyperderm.store.folds import POSITIVE
from hyperderm.store.manifest import Role
from hyperderm.store.reader import Store, open_store
from hyperderm.store.synthetic import check_origin
from hyperderm.strict import fingerprint
from hyperderm.studies.ablation.arms import PRETRAIN_SHARE, Arm, Variant, arms, contrasts
from hyperderm.studies.ablation.searches import winner
from hyperderm.studies.selection import Selection, select

Stage = Literal["generator", "synthetic", "cell"]
STAGES: tuple[Stage, ...] = ("generator", "synthetic", "cell")
ROLES: tuple[Role, ...] = ("train", "validation", "test")
VERSION = 1
"""Part of every job's name: raise it when the code changes what a job's configuration leads to."""
PENDING = "pending"
"""Stands in a cell's configuration for the store its set will lie in."""


@dataclass(frozen=True)
class Job:
    """One trial of the grid.

    Attributes:
        key: first 16 digits of the fingerprint.
        stage: generators train, synthetic sets are drawn, cells train a classifier and predict.
        label: for people: `cell oversampled_x1/small_cnn fold 2 seed 0`.
        fold: test fold.
        experiment: what trains; None for a synthetic set.
        needs: keys of jobs that come before.
        arm: of a cell, else "".
        model: of a cell, else the generator's name.
        seed: of a cell.
        counts: of a synthetic set: diagnosis to number of cubes.
        store: of a cell: URI of a set made elsewhere, or "".
        gpus: of the trial.
    """

    key: str
    stage: Stage
    label: str
    fold: int
    experiment: Experiment | None
    needs: tuple[str, ...] = ()
    arm: str = ""
    model: str = ""
    seed: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    store: str = ""
    gpus: float = 0.0

    @property
    def folder(self) -> str:
        """Return where its results lie, relative to the grid's folder; a larger set is another folder."""
        size = f"-{sum(self.counts.values())}" if self.stage == "synthetic" else ""
        return f"{self.stage}/{self.key}{size}"


@dataclass(frozen=True)
class Plan:
    """A grid as it will run.

    Attributes:
        jobs: generators, sets and cells, in the order they are started: an interrupted night is balanced over arms.
        left_out: (arm, model, reason) of combinations that mean nothing.
        selections: fold to the lesions of its train and validation roles.
    """

    grid: Ablation
    store: Store
    folds: tuple[int, ...]
    arms: tuple[Arm, ...]
    jobs: tuple[Job, ...]
    left_out: tuple[tuple[str, str, str], ...]
    selections: Mapping[int, Selection]

    def stage(self, stage: Stage) -> list[Job]:
        """Return the jobs of one stage."""
        return [job for job in self.jobs if job.stage == stage]

    @property
    def contrasts(self) -> list[tuple[str, str, str]]:
        """The declared family: (arm, reference, model)."""
        missing = {(arm, model) for arm, model, _ in self.left_out}
        return [
            (arm, reference, model)
            for model in self.grid.models
            for arm, reference in contrasts(list(self.arms))
            if not {(arm, model), (reference, model)} & missing
        ]


def make_plan(grid: Ablation, store: Store, generators: Mapping[str, Experiment]) -> Plan:
    """Return the plan.

    Args:
        grid: what is asked.
        store: the real lesions.
        generators: experiment of each generator that is trained here, for fold 0.

    Raises:
        ConfigError: unknown models, folds or generators; StoreError: a fold without melanoma, negatives the store does not
            hold, a set or a search of another manifest or fold.
    """
    for name in grid.models:
        if name not in grid.classifiers:
            raise ConfigError(f"models names {name!r}", nearest(name, grid.classifiers))
    folds = _folds(grid, store)
    chosen = arms(grid)
    maker = _Maker(grid, store, generators)
    left_out = []
    for model in grid.models:
        for arm in chosen:
            reason = arm.suits(grid.classifiers[model])
            if reason:
                left_out.append((arm.name, model, reason))
    skipped = {(arm, model) for arm, model, _ in left_out}
    cells = [
        maker.cell(arm, model, fold, seed)
        for seed in grid.seeds
        for fold in folds
        for model in grid.models
        for arm in chosen
        if (arm.name, model) not in skipped
    ]
    _check_roles(grid, store, folds)
    jobs: list[Job] = []
    for cell in cells:
        jobs += [job for job in maker.before(cell.needs) if job not in jobs]
        jobs.append(cell)
    return Plan(grid, store, folds, tuple(chosen), _generators_first(jobs), tuple(left_out), maker.selections)


def _generators_first(jobs: Sequence[Job]) -> tuple[Job, ...]:
    """Within a fold and its first seed, what others wait for comes first; seeds and folds stay in their order."""
    blocks: dict[tuple[int, int], list[Job]] = {}
    place = (0, 0)
    for job in jobs:
        place = (job.seed, job.fold) if job.stage == "cell" else (place[0], job.fold)
        blocks.setdefault(place, []).append(job)
    return tuple(job for block in blocks.values() for job in sorted(block, key=lambda job: STAGES.index(job.stage)))


def _folds(grid: Ablation, store: Store) -> tuple[int, ...]:
    count = store.folds().count
    if grid.folds == "all":
        return tuple(range(count))
    for fold in grid.folds:
        if not 0 <= fold < count:
            raise ConfigError(f"folds names {fold}", f"This store has folds 0 … {count - 1}.")
    return tuple(grid.folds)


def _check_roles(grid: Ablation, store: Store, folds: Sequence[int]) -> None:
    """Prove, from diagnoses alone, that every role of every fold holds both classes; no test role is opened for it."""
    held, task = store.folds(), grid.task.diagnoses
    rows = [(row["group"], row["diagnosis"]) for row in store.index().to_pylist()]
    for fold in folds:
        for role in ROLES:
            kinds = {kind for group, kind in rows if held.role(group, fold) == role}
            needed = {POSITIVE} if task == "all" else set(task)
            missing = sorted(needed - kinds) or (["negatives"] if kinds == {POSITIVE} else [])
            if missing:
                raise StoreError(
                    f"the {role} role of fold {fold} holds no {missing[0]}",
                    "Leave that fold out (--set 'folds=[…]'), or ingest with fewer --folds or another --seed.",
                )


def _check_batch(whose: str, experiment: Experiment, train: int) -> None:
    """Prove that a batch finds as many cubes: no arm's epoch is shorter than the train role."""
    if experiment.training.batch_size > train:
        raise ConfigError(
            f"{whose}training.batch_size = {experiment.training.batch_size} is larger than the train role of fold "
            f"{experiment.data.fold} ({train} cubes)",
            f"Use {train} or less, or more data.",
        )


class _Maker:
    """Makes jobs once each, however many cells share them."""

    def __init__(self, grid: Ablation, store: Store, generators: Mapping[str, Experiment]) -> None:
        self.grid, self.store, self.generators = grid, store, generators
        self.manifest = store.manifest.fingerprint
        self.selections: dict[int, Selection] = {}
        self.diagnosis = dict(zip(*(store.index().column(c).to_pylist() for c in ("lesion_id", "diagnosis")), strict=True))
        self._bases: dict[tuple[str, int], Experiment] = {}
        self._generators: dict[tuple[str, Variant, int], Job] = {}
        self._counts: dict[str, dict[str, int]] = {}
        self._sets: dict[str, tuple[str, int, str]] = {}
        self._digests: dict[str, str] = {}
        self._external: dict[tuple[str, int], Store] = {}
        self.rgb = open_store(grid.rgb).manifest.fingerprint if grid.rgb else ""

    def before(self, needs: Sequence[str]) -> list[Job]:
        """Return the generator and the set that a cell needs, once all cells are known: they set the set's size."""
        found: list[Job] = []
        for key in needs:
            name, fold, generator = self._sets[key]
            found.append(next(job for job in self._generators.values() if job.key == generator))
            found.append(
                Job(key, "synthetic", f"set of {name} fold {fold}", fold, None, (generator,), model=name,
                    seed=self.grid.generator_seed, counts=self._counts[key], gpus=self.grid.resources.gpus)
            )  # fmt: skip
        return found

    def cell(self, arm: Arm, model: str, fold: int, seed: int) -> Job:
        """Return the job of one cell, and note what it needs."""
        grid, spec = self.grid, self.grid.classifiers[model]
        experiment = arm.experiment(grid, spec, fold, seed, PENDING)
        self._select(experiment)
        if spec.learner.kind != "spectral":
            _check_batch(f"classifiers.{model}.", experiment, len(self.selections[fold].train))
        source, store = "", ""
        needs: tuple[str, ...] = ()
        if arm.generator:
            source, store, needs = self._source(arm, fold)
        facts = {
            "experiment": {k: v for k, v in experiment.flat().items() if not k.startswith(("sweep.", "profile", "name"))},
            "manifest": self.manifest,
            "source": source,
            "weights": self._weights(model),
            "version": VERSION,
        }
        gpus = spec.gpus if spec.gpus is not None else 0.0 if spec.learner.kind == "spectral" else grid.resources.gpus
        label = f"{arm.name}/{model} fold {fold} seed {seed}"
        return Job(
            fingerprint(facts)[:16], "cell", label, fold, experiment, needs, arm.name, model, seed, store=store, gpus=gpus
        )

    def _weights(self, model: str) -> str:
        """Return the sha256 of the file that the model begins from: a file of the same name may hold others tomorrow."""
        if model not in self._digests:
            learner, digest = self.grid.classifiers[model].learner, ""
            if learner.kind == "classifier" and learner.weights != "scratch":
                from hyperderm.models.pretrained import load_weights

                found = load_weights(learner.architecture, learner.weights, len(self.store.manifest.wavelengths_nm))
                digest = found.sha256 if found else ""
            self._digests[model] = digest
        return self._digests[model]

    def _source(self, arm: Arm, fold: int) -> tuple[str, str, tuple[str, ...]]:
        """Return the identity of the arm's synthetic cubes, their URI where they exist elsewhere, and who makes them."""
        assert arm.generator is not None
        if arm.generator in self.grid.sets:
            made = self._elsewhere(arm, fold)
            return made.manifest.fingerprint, made.location.uri, ()
        generator = self._generator(arm.generator, arm.variant, fold)
        key = fingerprint({"generator": generator.key, "seed": self.grid.generator_seed, "rgb": self.rgb})[:16]
        self._sets.setdefault(key, (generator.model, fold, generator.key))
        counts = self._counts.setdefault(key, {})
        for diagnosis, count in self._wanted(arm, fold).items():
            counts[diagnosis] = max(counts.get(diagnosis, 0), count)
        return key, "", (key,)

    def _elsewhere(self, arm: Arm, fold: int) -> Store:
        name = str(arm.generator)
        uris = self.grid.sets[name]
        if str(fold) not in uris:
            raise ConfigError(f"sets.{name} names no store for fold {fold}", "Each fold needs one of its own.")
        if (name, fold) not in self._external:
            self._external[name, fold] = open_store(uris[str(fold)])
            check_origin(self._external[name, fold], self.store, fold)
        made = self._external[name, fold]
        held = made.manifest.diagnoses
        for diagnosis, count in self._wanted(arm, fold).items():
            if held.get(diagnosis, 0) < count:
                raise StoreError(
                    f"sets.{name} of fold {fold} holds {held.get(diagnosis, 0)} {diagnosis}, arm {arm.name} needs {count}",
                    "Make a larger set, or leave the arm or ratio out.",
                )
        return made

    def _wanted(self, arm: Arm, fold: int) -> dict[str, int]:
        """Return how many synthetic cubes of each diagnosis the arm shows."""
        held = [self.diagnosis[lesion] for lesion in self.selections[fold].train]
        positives = int(truth(held).sum())
        wanted = {POSITIVE: count_of(positives, len(held) - positives, arm.ratio)}
        if arm.use != "add":
            wanted = {d: held.count(d) for d in sorted(set(held))}
        return {d: count for d, count in wanted.items() if count}

    def _generator(self, name: str, variant: Variant, fold: int) -> Job:
        base = self._base(name, fold)
        learnt = set(self.store.manifest.diagnoses) if base.data.diagnoses == "all" else set(base.data.diagnoses)
        task = self.grid.task.diagnoses
        classes = set(self.store.manifest.diagnoses) if task == "all" else set(task)
        if variant != "own" and classes <= learnt:
            variant = "own"  # it learns all of them already
        if (name, variant, fold) in self._generators:
            return self._generators[name, variant, fold]
        values: dict[str, Any] = {"data.fold": fold, "data.size": self.grid.size, "seed": self.grid.generator_seed}
        if variant == "all_classes":
            values["data.diagnoses"] = sorted(classes)
        if variant == "pretrained":
            values["data.pretrain_diagnoses"] = sorted(classes)
            values["training.pretrain_images"] = round(base.training.images * PRETRAIN_SHARE)
        experiment = base.override(values)
        _check_batch(f"{name}: ", experiment, len(self._select(experiment, keep=False).train))
        facts = {
            "experiment": {k: v for k, v in experiment.flat().items() if not k.startswith(("sweep.", "profile", "name"))},
            "manifest": self.manifest,
            "version": VERSION,
        }
        suffix = "" if variant == "own" else f" ({variant.replace('_', ' ')})"
        job = Job(
            fingerprint(facts)[:16], "generator", f"{name}{suffix} fold {fold}", fold, experiment, model=name,
            gpus=self.grid.resources.gpus,
        )  # fmt: skip
        self._generators[name, variant, fold] = job
        return job

    def _base(self, name: str, fold: int) -> Experiment:
        if name not in self.generators:
            known = [*self.generators, *self.grid.sets]
            raise ConfigError(f"generators names {name!r}, which is no generator", nearest(name, known))
        if (name, fold) not in self._bases:  # a search is read once, however many cells ask
            found = self.grid.searches.get(name, {}).get(str(fold))
            values = winner(Path(found), fold, self.manifest) if found else {}
            self._bases[name, fold] = self.generators[name].override(values)
        return self._bases[name, fold]

    def _select(self, experiment: Experiment, keep: bool = True) -> Selection:
        """Prove that the store serves the experiment; remember the roles of classifiers, equal for all arms."""
        fold = experiment.data.fold
        if keep and fold in self.selections:
            return self.selections[fold]
        bare = experiment.model_copy(update={"synthetic": None})
        selection = select(self.store, bare)
        if keep:
            self.selections[fold] = selection
        return selection
