"""The arms and jobs of a grid as plain records: what each changes, what it needs, and how it is sent to a worker."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal

from hyperderm.config import DataConfig, Experiment, SyntheticConfig
from hyperderm.grid_config import REFERENCE, Ablation, Model
from hyperderm.identity import read
from hyperderm.strict import parse
from hyperderm.tags import ARM_TAG, FOLD_TAG, STAGE_TAG

GENERATORS = "generators"
"""The name of the group of runs that holds the generators and synthetic sets."""


Stage = Literal["generator", "synthetic", "cell"]


STAGES: tuple[Stage, ...] = ("generator", "synthetic", "cell")


@dataclass(frozen=True)
class Job:
    """One job of the grid, as observers know it (see `cluster.observer.Job`).

    Attributes:
        key: first 16 hexadecimal digits of the fingerprint of the job.
        stage: generators train, synthetic sets are drawn, cells train a classifier and predict.
        label: a name for people, such as `cell oversampled_x1/small_cnn fold 2 seed 0`.
        fold: the test fold.
        experiment: the configuration that is trained; None for a synthetic set.
        needs: keys of the jobs that must be done before.
        arm: the arm of a cell; "" for other jobs.
        model: the model of a cell; for other jobs, the name of the generator.
        seed: the seed of a cell or of a synthetic set.
        counts: for a synthetic set, diagnosis to number of cubes.
        store: for a cell, the URI of a set made elsewhere, or "".
        gpus: GPUs of each worker of the job.
        workers: number of workers that train the job together.
        inputs: for a generator, input of its learner to the key of the job whose checkpoint is read.
        source: for a cell, its synthetic cubes: the key of their set, or the fingerprint of a set made elsewhere.
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
        """Return the stage of the job."""
        return self.stage

    @property
    def group(self) -> str:
        """Return the arm of a cell; generators and sets have a group of their own."""
        return self.arm or GENERATORS

    @property
    def params(self) -> Mapping[str, object]:
        """Return the values that MLflow shows as the parameters of the job."""
        return {"arm": self.group, "model": self.model, "fold": self.fold, "seed": self.seed, "cell": self.key}

    @property
    def tags(self) -> Mapping[str, str]:
        """Return the tags that the job's run carries in addition to those of the grid."""
        return {FOLD_TAG: str(self.fold), STAGE_TAG: self.stage, ARM_TAG: self.group}

    @property
    def folder(self) -> str:
        """Return the folder of the job's results, relative to the grid's; a set of another size has another folder."""
        size = f"-{sum(self.counts.values())}" if self.stage == "synthetic" else ""
        return f"{self.stage}/{self.key}{size}"


def job_to_json(job: Job) -> dict[str, Any]:
    """Return a job as JSON, for plan.json and for the worker that does it."""
    experiment = None if job.experiment is None else job.experiment.model_dump(mode="json")
    return {**{f.name: getattr(job, f.name) for f in fields(Job)}, "experiment": experiment, "counts": dict(job.counts)}


def job_from_json(data: Mapping[str, Any]) -> Job:
    """Return the job that `job_to_json` wrote in this version or in an earlier one."""
    experiment = None if data["experiment"] is None else read(data["experiment"])
    return Job(**{**data, "experiment": experiment, "needs": tuple(data["needs"])})


def ancestors(jobs: Mapping[str, Job], job: Job) -> list[str]:
    """Return the keys of all jobs that `job` is made from, directly or indirectly, each once.

    Args:
        jobs: key to job, for the whole plan.
        job: one job of the plan.
    """
    found: dict[str, None] = {}
    for need in job.needs:
        found |= dict.fromkeys([need, *ancestors(jobs, jobs[need])])
    return list(found)


Ratio = float | Literal["balance"]


Variant = Literal["own", "all_classes", "pretraining", "pretrained"]


CLASSIC = {"augmentation": "classic"}


PRETRAIN_SHARE = 0.5
"""The share of the training images that pre-training takes, for a classifier or a generator."""


@dataclass(frozen=True)
class Arm:
    """One arm of the grid, which is combined with every model, fold and seed.

    Attributes:
        name: the name of the arm in predictions and reports.
        description: what the arm does, in plain words.
        learner: settings of the classifier that the arm fixes.
        generator: the source of the synthetic cubes; None if the arm shows none.
        variant: how the generator is trained: as its experiment says (`own`); on every class of the task (`all_classes`); or
            first on every class in a run of its own (`pretraining`), and from there as its experiment says (`pretrained`).
        use: the value of `SyntheticConfig.use`.
        ratio: the value of `SyntheticConfig.ratio`; oversampling uses the same ratio.
        control: the arm that shows real melanomas in place of the synthetic ones; None if the arm declares no decision.
        share: the share of train's melanomas that the arm shows, a point of the learning curve.
        labels: the value of `SyntheticConfig.labels`.
    """

    name: str
    description: str
    learner: dict[str, Any] = field(default_factory=dict)
    generator: str | None = None
    variant: Variant = "own"
    use: Literal["add", "add_both", "only", "pretrain"] = "add"
    ratio: Ratio = 1.0
    control: str | None = None
    share: float = 1.0
    labels: Literal["own", "redrawn"] = "own"

    @property
    def kind(self) -> str:
        """The word in the grid's `arms` that requests this arm; it has a meaning only for arms that read synthetic cubes."""
        if self.use == "add_both":
            return "shuffled" if self.negative else "proportional"
        if self.use != "add":
            return self.use
        return "both" if self.variant == "pretrained" else "synthetic"

    @property
    def negative(self) -> bool:
        """Whether the arm is a negative control, whose synthetic cubes can teach nothing about melanoma."""
        return self.labels == "redrawn"

    def suits(self, model: Model) -> str:
        """Return why the arm has no meaning for `model`; "" if it has one."""
        return model.learner.unsuited(self.name, self.use)

    def experiment(self, grid: Ablation, model: Model, fold: int, seed: int, store: str) -> Experiment:
        """Return the configuration of one cell; `store` is the address of its synthetic cubes.

        Raises:
            ConfigError: the model cannot be trained as the grid demands, for example at its size.
        """
        values = model.learner.model_dump(mode="json")
        values |= {name: value for name, value in self.learner.items() if name in type(model.learner).model_fields}
        training = model.training
        if self.use == "pretrain":
            images = round(training.images * PRETRAIN_SHARE)
            training = training.model_copy(update={"pretrain_images": images})
        synthetic = None
        if self.generator:
            synthetic = SyntheticConfig(store=store, use=self.use, ratio=self.ratio, labels=self.labels)
        feed = "memory" if model.learner.fit_once else grid.feed
        facts = {
            "name": grid.name,
            "profile": grid.profile,
            "seed": seed,
            "data": DataConfig(size=grid.size, fold=fold, flips=False, feed=feed).model_dump(mode="json"),
            "task": grid.task.model_dump(mode="json") | ({} if self.share == 1 else {"melanomas": self.share}),
            "synthetic": None if synthetic is None else synthetic.model_dump(mode="json"),
            "learner": values,
            "training": training.model_dump(mode="json"),
        }
        return parse(Experiment, facts)


def named(ratio: Ratio) -> str:
    """Return the suffix of an arm with `ratio`, such as x0.25, x1 or balance."""
    return "balance" if ratio == "balance" else f"x{ratio:g}"


def arms(grid: Ablation) -> list[Arm]:
    """Return the arms in the order of reports; every synthetic arm that adds cubes comes with its control arm."""
    found: dict[str, Arm] = {}
    for arm in _arms(grid):
        found.setdefault(arm.name, arm)
    return list(found.values())


def contrasts(chosen: list[Arm]) -> list[tuple[str, str]]:
    """Return the declared family as (arm, reference): every arm with a control against `real` and against its control."""
    return [(arm.name, reference) for arm in chosen if arm.control for reference in (REFERENCE, arm.control)]


def _arms(grid: Ablation) -> Iterator[Arm]:
    kinds = set(grid.arms)
    decided = bool(kinds & {"synthetic", "both"})
    yield Arm(REFERENCE, "real cubes alone, no augmentation", {"augmentation": "none"})
    for share in sorted(grid.curve, reverse=True):
        text = f"as {REFERENCE}, with {share:g} of train's melanomas and the same steps"
        yield Arm(f"{REFERENCE}@{share:g}", text, {"augmentation": "none"}, share=share)
    if kinds & {"classic", "proportional", "shuffled"}:
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
    for ratio in (each for each in grid.ratios if each != "balance"):
        yield from _proportional(kinds, generator, ratio)
    if "only" in kinds:
        text = f"synthetic cubes of {generator} alone, one per real one of each class, classic augmentation"
        yield Arm(f"{generator}_only", text, CLASSIC, generator, "all_classes", "only")
    if "pretrain" in kinds:
        text = f"half the steps on synthetic cubes of {generator}, half on real ones, classic augmentation"
        yield Arm(f"{generator}_pretrain", text, CLASSIC, generator, "all_classes", "pretrain")


def _proportional(kinds: Collection[str], generator: str, ratio: Ratio) -> Iterator[Arm]:
    text = f"real cubes and synthetic ones of {generator} of every diagnosis ({ratio:g} per real one), classic augmentation"
    both: dict[str, Any] = {"generator": generator, "variant": "all_classes", "use": "add_both", "ratio": ratio}
    if "proportional" in kinds:
        yield Arm(f"{generator}_proportional_{named(ratio)}", text, CLASSIC, **both, control="classic")
    if "shuffled" in kinds:
        text = f"{text}; their diagnoses dealt out anew: a negative control"
        yield Arm(f"{generator}_shuffled_{named(ratio)}", text, CLASSIC, **both, control="classic", labels="redrawn")
