"""The settings of a run that every learner sees: data, task, synthetic cubes, training and search. Free of torch."""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from hyperderm.cubes.diagnosis import Diagnosis
from hyperderm.strict import Strict

STREAM_SETTINGS = ("data.feed", "data.window", "data.sample")
"""Settings that affect a run only if its train role is streamed."""
Percent = Annotated[float, Field(ge=0, le=100)]
SEEDS = 2**32
"""Seeds lie below this, which is what scikit-learn takes."""


def _plain(name: str) -> str:
    if not re.fullmatch(NAME, name):
        raise ValueError("a name, which folders are called after, holds letters, digits, '.', '_' and '-' alone")
    return name


NAME = r"\w[\w.-]*"
"""The form of the name of a run or a grid, as a regular expression."""
Name = Annotated[str, AfterValidator(_plain)]

SHARE_OF_PHOTOGRAPHS = 0.5
"""`DataConfig.photographs_share` where it is None."""


class DataConfig(Strict):
    """The part of a store that is learnt."""

    size: int = Field(64, ge=16, le=1024)
    """Height and width in pixels of the cubes that are fed; at most those of the store."""
    diagnoses: Annotated[tuple[Diagnosis, ...], Field(min_length=1)] | Literal["all"] = ("melanoma",)
    """The diagnoses that a generator learns."""
    fold: int = Field(0, ge=0)
    """The test fold; the next fold is validation, and the other folds are train."""
    flips: bool = True
    """Whether training cubes are flipped at random, horizontally and vertically; a lesion has no up and no left."""
    scaling: Literal["range", "robust"] = "range"
    """The range of train's reflectance that is mapped to [-1, 1], band by band. range: from its least to its greatest value.
    robust: between `percentiles`, so that a few hot pixels do not compress all other values; values beyond are not clipped,
    but a generator that ends in tanh does not reach them.
    """
    percentiles: Annotated[tuple[Percent, ...], Field(min_length=2, max_length=2)] = (0.5, 99.5)
    """Lower and upper percentile for `scaling=robust`."""
    photographs: str | None = Field(None, min_length=1)
    """A store of photographs (`hyperderm ingest --layout photographs`) that a generator in abundance space learns beside
    the cubes: an unmixing net that sees three colours (`learner.unmixing`) says what they hold."""
    photographs_share: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of the images shown that are photographs; None: one half."""
    feed: Literal["auto", "memory", "stream"] = "auto"
    """memory: the roles are held in memory. stream: train is read during training, shard by shard. auto: memory if the roles
    fit Ray's object store, else stream. The order of the cubes differs between memory and stream.
    """
    window: int = Field(4, ge=1)
    """For `feed=stream`: shards (parts of a store) whose cubes are shuffled together; two windows are held at a time."""
    sample: int = Field(256, ge=2)
    """For `feed=stream`: number of train cubes that are always held, to fit and draw what needs several cubes at once.
    """

    @field_validator("percentiles")
    @classmethod
    def _increasing(cls, percentiles: tuple[float, ...]) -> tuple[float, ...]:
        if not percentiles[0] < percentiles[1]:
            raise ValueError("the lower one comes first")
        return percentiles

    @model_validator(mode="after")
    def _share_of_something(self) -> Self:
        if self.photographs_share is not None and self.photographs is None:
            raise ValueError(
                f"data.photographs_share = {self.photographs_share} without data.photographs is refused: it has no effect. "
                "Name a store of photographs, or leave it out"
            )
        return self

    @property
    def scaling_percentiles(self) -> tuple[float, float] | None:
        """The argument of `Scaling.fit`: the percentiles, or None for the whole range of train."""
        return (self.percentiles[0], self.percentiles[1]) if self.scaling == "robust" else None


class TaskConfig(Strict):
    """The diagnoses that a classifier tells melanoma from."""

    negatives: Literal["dysplastic_nevus", "all_others"] = "dysplastic_nevus"
    melanomas: float = Field(1.0, gt=0, le=1)
    """Share of the melanoma groups of train that are shown, drawn by fold and seed. A smaller share is a part of a larger
    one; all negatives are shown."""

    @property
    def diagnoses(self) -> tuple[Diagnosis, ...] | Literal["all"]:
        """The diagnoses that a classifier reads."""
        return "all" if self.negatives == "all_others" else ("melanoma", "dysplastic_nevus")


PENDING = "pending"
"""Stands in a grid's plan for the address of a set or a checkpoint that another job of the grid makes."""


Use = Literal["add", "add_both", "only", "pretrain", "pretrain_head"]
PRETRAINS: frozenset[str] = frozenset({"pretrain", "pretrain_head"})
"""The uses of synthetic cubes that show them first and real cubes afterwards."""


class SyntheticConfig(Strict):
    """The synthetic cubes that a classifier is trained with, beside real cubes or instead of them."""

    store: str
    """The address of a store that `hyperderm generate` made from a generator of the same manifest and fold."""
    use: Use = "add"
    """add: melanomas beside the real train role. add_both: cubes of both classes beside it. only: in place of it. pretrain:
    alone first, then the real train role alone. pretrain_head: the same, but then only the last layer is trained."""
    ratio: Annotated[float, Field(gt=0)] | Literal["balance"] = 1.0
    """add: synthetic melanomas per real melanoma of train (balance: as many as make both classes equal). In all other uses:
    synthetic cubes of each class per real cube of the class.
    """
    labels: Literal["own", "redrawn"] = "own"
    """own: each synthetic cube has its diagnosis. redrawn: the diagnoses of the set are dealt out anew at random, a negative
    control."""


class TrainingConfig(Strict):
    """How long a run trains, and in which portions."""

    batch_size: int = Field(4, ge=1)
    """The global batch size, which is split over the workers."""
    images: int = Field(100_000, ge=1)
    """Number of images shown before the run ends; all progress is counted in images."""
    pretrain_images: int = Field(0, ge=0)
    """How many of `images` belong to a pre-training on synthetic cubes (synthetic.use = pretrain or pretrain_head)."""
    validate_every: int = Field(5_000, ge=1)
    """Number of images between validations; each validation ends with a report and a checkpoint."""
    validation_samples: int = Field(128, ge=8)
    """Number of cubes generated for one validation."""
    objective: str | None = None
    """A generator's score that chooses the checkpoint and ranks trials, such as "held_out/inception/kernel" (a metric of
    `hyperderm evaluate` against the validation role); the lower its loss the better. None: the learner's own."""
    precision: Literal["auto", "fp32", "fp64", "bf16"] = "auto"
    """auto means bf16 autocast on a GPU and fp32 on a CPU."""


class SweepConfig(Strict):
    """How a search over this experiment is run."""

    trials: int = Field(32, ge=1)
    concurrent: int | None = Field(None, ge=1)
    """Trials at a time; None means as many as the cluster's resources hold."""
    workers_per_trial: int = Field(1, ge=1)
    cpus_per_worker: float = Field(1.0, gt=0)
    gpus_per_worker: float = Field(0.0, ge=0)
    """GPUs of each worker; with a fraction, trials share a GPU."""
    max_failures: int = Field(2, ge=0)
    """How often a trial whose process or node died is started again from its checkpoint."""
    grace_images: int = Field(20_000, ge=1)
    """Number of images that a trial is shown before successive halving may stop it."""
    reduction: int = Field(3, ge=2)
    """At each rung, successive halving keeps one of this many trials."""
    startup_trials: int = Field(8, ge=1)
    """Number of random trials before the sampler learns from those that finished; for nsga2 also the size of a generation
    (2 at least)."""
    objective: str | tuple[str, ...] | None = None
    """The score that ranks trials, by name, or two such scores: the learner's own, such as "spectral_energy_distance", or a
    generator's score as in `training.objective`, such as "held_out/spectral/coverage". Every validation computes them, and
    their losses are minimised. None: the score that chooses checkpoints. Where training.objective is None, the (first) name
    chooses the checkpoints of trials too. The values of a trial are those of the checkpoint that it keeps. Two scores give a
    Pareto front; then no trial is stopped early, since successive halving ranks by one number."""
    sampler: Literal["tpe", "nsga2"] = "tpe"
    """What draws the values of trials: a tree-structured Parzen estimator, or the genetic algorithm NSGA-II, which needs two
    objectives and whole generations (`startup_trials`)."""

    @field_validator("objective")
    @classmethod
    def _one_or_two(cls, objective: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        if isinstance(objective, tuple):
            if len(objective) != 2:
                raise ValueError(f"a list holds two names for a Pareto front, not {len(objective)}; one name stands alone")
            if objective[0] == objective[1]:
                raise ValueError("both names are one score; give two different ones, or the name alone")
        return objective


class Run(Strict):
    """Everything of a run except its learner: data, training and search."""

    name: Name
    profile: Literal["small", "full"] = "full"
    seed: int = Field(0, ge=0, lt=SEEDS)
    data: DataConfig = DataConfig()
    task: TaskConfig | None = None
    """The task of a classifier; None for generators."""
    synthetic: SyntheticConfig | None = None
    """The synthetic cubes of a classifier; None if there are none."""
    training: TrainingConfig = TrainingConfig()
    sweep: SweepConfig = SweepConfig()

    @property
    def diagnoses(self) -> tuple[Diagnosis, ...] | Literal["all"]:
        """The diagnoses that are learnt."""
        return self.data.diagnoses if self.task is None else self.task.diagnoses
