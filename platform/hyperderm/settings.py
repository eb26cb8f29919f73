"""The settings of a run that every learner sees: data, task, synthetic cubes, training and search. Free of torch."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from hyperderm.cubes.diagnosis import Diagnosis
from hyperderm.strict import Strict

FEEDING = ("data.feed", "data.window", "data.sample")
"""Settings that change a run only where its train role is streamed."""
Percent = Annotated[float, Field(ge=0, le=100)]


class DataConfig(Strict):
    """What part of a store is learnt."""

    size: int = Field(64, ge=16, le=1024)
    """Pixels a cube is fed at; at most what the store holds."""
    diagnoses: Annotated[tuple[Diagnosis, ...], Field(min_length=1)] | Literal["all"] = ("melanoma",)
    """What a generator learns."""
    fold: int = Field(0, ge=0)
    """Test = this fold, validation = the next, train = the rest."""
    flips: bool = True
    """Random horizontal and vertical flips of training cubes; a lesion has no up and no left."""
    scaling: Literal["range", "robust"] = "range"
    """What of train's reflectance becomes [-1, 1], band by band. range: its least and greatest value. robust: `percentiles`,
    so that a few hot pixels do not squeeze all others; values beyond are not clipped, but a generator that ends in tanh
    does not reach them."""
    percentiles: Annotated[tuple[Percent, ...], Field(min_length=2, max_length=2)] = (0.5, 99.5)
    """Lower and upper, of `scaling=robust`."""
    feed: Literal["auto", "memory", "stream"] = "auto"
    """memory: the roles are held in memory. stream: train is read while it is trained on, shard by shard. auto: memory where
    the roles fit Ray's object store, else stream. The order in which cubes come differs between the two."""
    window: int = Field(4, ge=1)
    """Of `feed=stream`: shards (parts of a store) whose cubes are shuffled together; two windows are held at a time."""
    sample: int = Field(256, ge=2)
    """Of `feed=stream`: cubes of train held all the time, to fit and draw what needs several at once."""

    @field_validator("percentiles")
    @classmethod
    def _increasing(cls, percentiles: tuple[float, ...]) -> tuple[float, ...]:
        if not percentiles[0] < percentiles[1]:
            raise ValueError("the lower one comes first")
        return percentiles

    @property
    def scaling_percentiles(self) -> tuple[float, float] | None:
        """What `Scaling.fit` takes: percentiles, or None for train's whole range."""
        return (self.percentiles[0], self.percentiles[1]) if self.scaling == "robust" else None


class TaskConfig(Strict):
    """What a classifier tells melanoma from."""

    negatives: Literal["dysplastic_nevus", "all_others"] = "dysplastic_nevus"

    @property
    def diagnoses(self) -> tuple[Diagnosis, ...] | Literal["all"]:
        """The diagnoses a classifier reads."""
        return "all" if self.negatives == "all_others" else ("melanoma", "dysplastic_nevus")


class SyntheticConfig(Strict):
    """The synthetic cubes a classifier is trained with, beside or instead of real ones."""

    store: str
    """A store made by `hyperderm generate` from a generator of the same manifest and fold."""
    use: Literal["add", "only", "pretrain"] = "add"
    """add: to the real train role; only: in place of it; pretrain: alone first, then the real train role alone."""
    ratio: Annotated[float, Field(gt=0)] | Literal["balance"] = 1.0
    """add: synthetic melanomas per real melanoma of train (balance: until both classes are equal). only, pretrain:
    synthetic cubes of each class per real one."""


class TrainingConfig(Strict):
    """How long and in what portions."""

    batch_size: int = Field(4, ge=1)
    """Global: split over the workers."""
    images: int = Field(100_000, ge=1)
    """Images shown before the run ends; all progress is counted in them."""
    pretrain_images: int = Field(0, ge=0)
    """Images of these that belong to a pre-training on synthetic cubes: see synthetic.use = pretrain."""
    validate_every: int = Field(5_000, ge=1)
    """Images between validations; each ends with a report and a checkpoint."""
    validation_samples: int = Field(128, ge=8)
    """Cubes generated for one validation."""
    precision: Literal["auto", "fp32", "fp64", "bf16"] = "auto"
    """auto: bf16 autocast on a GPU, fp32 on a CPU."""


class SweepConfig(Strict):
    """How a search over this experiment is run."""

    trials: int = Field(32, ge=1)
    concurrent: int | None = Field(None, ge=1)
    """Trials at a time; None: as many as the cluster's resources hold."""
    workers_per_trial: int = Field(1, ge=1)
    cpus_per_worker: float = Field(1.0, gt=0)
    gpus_per_worker: float = Field(0.0, ge=0)
    """Fractions share a GPU between trials."""
    max_failures: int = Field(2, ge=0)
    """Times a trial whose process or node died is started again from its checkpoint."""
    grace_images: int = Field(20_000, ge=1)
    """Images a trial is given before successive halving may stop it."""
    reduction: int = Field(3, ge=2)
    """Successive halving keeps one in this many at each rung."""
    startup_trials: int = Field(8, ge=1)
    """Random trials before the tree-structured Parzen estimator takes over."""


class Run(Strict):
    """What a run is beside its learner: data, training and search."""

    name: str
    profile: Literal["small", "full"] = "full"
    seed: int = Field(0, ge=0)
    data: DataConfig = DataConfig()
    task: TaskConfig | None = None
    """Of classifiers only."""
    synthetic: SyntheticConfig | None = None
    """Of classifiers only."""
    training: TrainingConfig = TrainingConfig()
    sweep: SweepConfig = SweepConfig()

    @property
    def diagnoses(self) -> tuple[Diagnosis, ...] | Literal["all"]:
        """The diagnoses that are learnt."""
        return self.data.diagnoses if self.task is None else self.task.diagnoses
