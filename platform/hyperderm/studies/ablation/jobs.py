"""The arms of a grid and its jobs, as plain records: what each changes, what it needs, and how it travels to a worker."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal

from hyperderm.ablation import REFERENCE, Ablation, Model
from hyperderm.config import DataConfig, Experiment, SyntheticConfig
from hyperderm.identity import read
from hyperderm.strict import parse

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
