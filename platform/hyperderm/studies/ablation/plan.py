"""The plan of a grid: its arms, and every generator, synthetic set and cell with what each needs, before anything runs.

A job is named by the fingerprint of what shapes its result: configuration, data, and the names of the jobs it reads from.
So the same command finds what is done, and a new seed or arm adds jobs without touching others.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal

from hyperderm.ablation import REFERENCE, Ablation, Model
from hyperderm.config import DataConfig, Experiment, SyntheticConfig
from hyperderm.errors import ConfigError, StoreError, nearest
from hyperderm.identity import read
from hyperderm.store.folds import POSITIVE
from hyperderm.store.manifest import Role
from hyperderm.store.reader import Store
from hyperderm.strict import parse
from hyperderm.studies.ablation.job_maker import JobMaker
from hyperderm.training.selection import Selection

GENERATORS = "generators"
"""The group of runs in which generators and synthetic sets stand."""
Stage = Literal["generator", "synthetic", "cell"]
STAGES: tuple[Stage, ...] = ("generator", "synthetic", "cell")


@dataclass(frozen=True)
class Job:
    """One job of the grid (see `cluster.observer.Job`).

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
        gpus: of each of its workers.
        workers: that train it together.
        inputs: of a generator: input of its learner to the key of the job whose checkpoint that is.
        source: of a cell: which synthetic cubes it reads: the key of their set, or the fingerprint of one made elsewhere.
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
    source: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)
    workers: int = 1
    values: ClassVar[Mapping[str, Any]] = {}

    @property
    def kind(self) -> str:
        """Return its stage."""
        return self.stage

    @property
    def group(self) -> str:
        """Return the arm of a cell; generators and sets have a group of their own."""
        return self.arm or GENERATORS

    @property
    def params(self) -> Mapping[str, object]:
        """Return what MLflow shows as its parameters."""
        return {"arm": self.group, "model": self.model, "fold": self.fold, "seed": self.seed, "cell": self.key}

    @property
    def tags(self) -> Mapping[str, str]:
        """Return what its run carries beside the grid's tags."""
        return {"hyperderm.fold": str(self.fold), "hyperderm.stage": self.stage, "hyperderm.arm": self.group}

    @property
    def folder(self) -> str:
        """Return where its results lie, relative to the grid's folder; a larger set is another folder."""
        size = f"-{sum(self.counts.values())}" if self.stage == "synthetic" else ""
        return f"{self.stage}/{self.key}{size}"


def job_to_json(job: Job) -> dict[str, Any]:
    """Return a job as JSON, for plan.json and for the worker that does it."""
    experiment = None if job.experiment is None else job.experiment.model_dump(mode="json")
    return {**{f.name: getattr(job, f.name) for f in fields(Job)}, "experiment": experiment, "counts": dict(job.counts)}


def job_from_json(data: Mapping[str, Any]) -> Job:
    """Return the job that `job_to_json` wrote, also where an earlier version did."""
    experiment = None if data["experiment"] is None else read(data["experiment"])
    return Job(**{**data, "experiment": experiment, "needs": tuple(data["needs"])})


def behind(jobs: Mapping[str, Job], job: Job) -> list[str]:
    """Return the keys of all jobs that `job` is made from, however far back, each once.

    Args:
        jobs: key to job, of the whole plan.
        job: one of them.
    """
    found: dict[str, None] = {}
    for need in job.needs:
        found |= dict.fromkeys([need, *behind(jobs, jobs[need])])
    return list(found)


Ratio = float | Literal["balance"]
Variant = Literal["own", "all_classes", "pretraining", "pretrained"]
CLASSIC = {"augmentation": "classic"}
PRETRAIN_SHARE = 0.5
"""Of the images of a classifier or a generator, those of its pre-training."""


@dataclass(frozen=True)
class Arm:
    """One column of the grid.

    Attributes:
        name: as in predictions and reports.
        description: in plain words.
        learner: settings of the classifier that the arm fixes.
        generator: where synthetic cubes come from; None without them.
        variant: how that generator is trained: as its experiment says; on every class of the task; or first on those, in a
            run of its own (`pretraining`), and from there as its experiment says (`pretrained`).
        use: see `SyntheticConfig.use`.
        ratio: see `SyntheticConfig.ratio`, and the same for oversampling.
        control: the arm that shows real melanomas in place of the synthetic ones; None where no decision is declared.
    """

    name: str
    description: str
    learner: dict[str, Any] = field(default_factory=dict)
    generator: str | None = None
    variant: Variant = "own"
    use: Literal["add", "only", "pretrain"] = "add"
    ratio: Ratio = 1.0
    control: str | None = None

    @property
    def kind(self) -> str:
        """The word in the grid's `arms` that asks for this arm, of those that read synthetic cubes."""
        if self.use != "add":
            return self.use
        return "both" if self.variant == "pretrained" else "synthetic"

    def suits(self, model: Model) -> str:
        """Return why the arm means nothing for `model`, or "" where it does."""
        return model.learner.unsuited(self.name, self.use)

    def experiment(self, grid: Ablation, model: Model, fold: int, seed: int, store: str) -> Experiment:
        """Return the configuration of one cell; `store` is where its synthetic cubes are.

        Raises:
            ConfigError: the model cannot be trained as the grid asks, such as at its size.
        """
        values = model.learner.model_dump(mode="json")
        values |= {name: value for name, value in self.learner.items() if name in type(model.learner).model_fields}
        training = model.training
        if self.use == "pretrain":
            images = round(training.images * PRETRAIN_SHARE)
            training = training.model_copy(update={"pretrain_images": images})
        synthetic = SyntheticConfig(store=store, use=self.use, ratio=self.ratio) if self.generator else None
        feed = "memory" if model.learner.fit_once else grid.feed
        facts = {
            "name": grid.name,
            "profile": grid.profile,
            "seed": seed,
            "data": DataConfig(size=grid.size, fold=fold, flips=False, feed=feed).model_dump(mode="json"),
            "task": grid.task.model_dump(mode="json"),
            "synthetic": None if synthetic is None else synthetic.model_dump(mode="json"),
            "learner": values,
            "training": training.model_dump(mode="json"),
        }
        return parse(Experiment, facts)


def named(ratio: Ratio) -> str:
    """Return the suffix of an arm at `ratio`: x0.25, x1, balance."""
    return "balance" if ratio == "balance" else f"x{ratio:g}"


def arms(grid: Ablation) -> list[Arm]:
    """Return the arms in the order of reports; every synthetic arm that adds cubes comes with its control."""
    found: dict[str, Arm] = {}
    for arm in _arms(grid):
        found.setdefault(arm.name, arm)
    return list(found.values())


def contrasts(chosen: list[Arm]) -> list[tuple[str, str]]:
    """Return (arm, reference) of the declared family: every arm with a control, against `real` and against its control."""
    return [(arm.name, reference) for arm in chosen if arm.control for reference in (REFERENCE, arm.control)]


def _arms(grid: Ablation) -> Iterator[Arm]:
    kinds = set(grid.arms)
    decided = bool(kinds & {"synthetic", "both"})
    yield Arm(REFERENCE, "real cubes alone, no augmentation", {"augmentation": "none"})
    if "classic" in kinds:
        yield Arm("classic", "real cubes, classic augmentation", CLASSIC)
    if "oversampled" in kinds or decided:
        for ratio in grid.ratios:
            yield _control(ratio)
    if "focal" in kinds:
        yield Arm("focal", "real cubes, classic augmentation, focal loss", CLASSIC | {"loss": "focal"})
    for generator in grid.generators:
        yield from _synthetic(grid, generator)


def _control(ratio: Ratio) -> Arm:
    more = (
        "until the classes are equal" if ratio == "balance" else f"{ratio:g} extra showing{'s' * (ratio != 1)} per melanoma"
    )
    return Arm(
        f"oversampled_{named(ratio)}",
        f"real cubes, classic augmentation, melanomas shown again: {more}",
        CLASSIC | {"oversample": ratio},
        ratio=ratio,
    )


def _synthetic(grid: Ablation, generator: str) -> Iterator[Arm]:
    kinds = set(grid.arms)
    for ratio in grid.ratios:
        more = "until the classes are equal" if ratio == "balance" else f"{ratio:g} per real melanoma"
        control = f"oversampled_{named(ratio)}"
        text = f"real cubes and synthetic melanomas of {generator} ({more}), classic augmentation"
        if "synthetic" in kinds:
            yield Arm(f"{generator}_{named(ratio)}", text, CLASSIC, generator, ratio=ratio, control=control)
        if "both" in kinds:
            text = f"{text}; the generator was pre-trained on both classes"
            name = f"{generator}_both_{named(ratio)}"
            yield Arm(name, text, CLASSIC, generator, "pretrained", ratio=ratio, control=control)
    if "only" in kinds:
        text = f"synthetic cubes of {generator} alone, one per real one of each class, classic augmentation"
        yield Arm(f"{generator}_only", text, CLASSIC, generator, "all_classes", "only")
    if "pretrain" in kinds:
        text = f"half the steps on synthetic cubes of {generator}, half on real ones, classic augmentation"
        yield Arm(f"{generator}_pretrain", text, CLASSIC, generator, "all_classes", "pretrain")


ROLES: tuple[Role, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class Plan:
    """A grid as it will run.

    Attributes:
        jobs: generators, sets and cells, in the order they are started: an interrupted night is balanced over arms.
        left_out: (arm, model, reason) of combinations that mean nothing.
        selections: fold to the lesions of its train and validation roles.
        content: fingerprints of what the grid names by an address: sets, photographs, weights.
        declared: contrasts that were declared before, in this grid's folder; nothing that was asked is forgotten.
        feeds: key of a job that trains to how it is fed, "memory" or "stream", once that is known.
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
        """The declared family: (arm, reference, model)."""
        missing = {(arm, model) for arm, model, _ in self.left_out}
        asked = [
            (arm, reference, model)
            for model in self.grid.models
            for arm, reference in contrasts(list(self.arms))
            if not {(arm, model), (reference, model)} & missing
        ]
        return list(self.declared) or asked


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
    height, width, _ = store.manifest.shape
    if grid.size > min(height, width):
        raise ConfigError(
            f"size = {grid.size} asks for more pixels than the store's {height} x {width}",
            f"Use --set size={min(height, width)}, or ingest again with --size {grid.size}.",
        )
    folds = _folds(grid, store)
    chosen = arms(grid)
    maker = JobMaker(grid, store, generators, folds)
    left_out = _left_out(grid, maker, chosen)
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
    return Plan(grid, store, folds, tuple(chosen), _generators_first(jobs), tuple(left_out), maker.selections, maker.content)


def _left_out(grid: Ablation, maker: JobMaker, chosen: Sequence[Arm]) -> list[tuple[str, str, str]]:
    """Return (arm, model, reason) of combinations that mean nothing, or that cannot be made."""
    found = []
    for model in grid.models:
        for arm in chosen:
            reason = arm.suits(grid.classifiers[model])
            if arm.variant == "pretrained":
                reason = maker.not_pretrained(arm) or reason
            if reason:
                found.append((arm.name, model, reason))
    return found


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
