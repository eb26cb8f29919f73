"""The whole configuration of a run: one frozen `Experiment`."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from hyperderm.learners.configs import ClassifierConfig, LearnerConfig, ShsGanConfig
from hyperderm.models.known import OWN, TIMM_SIZE
from hyperderm.strict import Strict

FEEDING = ("data.feed", "data.window", "data.sample")
"""Settings that change a run only where its train role is streamed."""
Percent = Annotated[float, Field(ge=0, le=100)]
Diagnosis = Literal[
    "melanoma",
    "dysplastic_nevus",
    "nevus",
    "melanocytic_lesion",
    "solar_lentigo",
    "seborrhoeic_keratosis",
    "intraepidermal_carcinoma",
]


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
    pretrain_diagnoses: tuple[Diagnosis, ...] = ()
    """What a generator sees beside `diagnoses` during its first `training.pretrain_images` images."""
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
    """Images of these that belong to a pre-training: see data.pretrain_diagnoses and synthetic.use = pretrain."""
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


class Experiment(Strict):
    """Everything a run is: its data, learner, training and search."""

    name: str
    profile: Literal["small", "full"] = "full"
    seed: int = Field(0, ge=0)
    data: DataConfig = DataConfig()
    task: TaskConfig | None = None
    """Of classifiers only."""
    synthetic: SyntheticConfig | None = None
    """Of classifiers only."""
    learner: LearnerConfig
    training: TrainingConfig = TrainingConfig()
    sweep: SweepConfig = SweepConfig()

    @model_validator(mode="after")
    def _divisible(self) -> Self:
        workers = self.sweep.workers_per_trial
        if self.training.batch_size % workers:
            raise ValueError(
                f"training.batch_size = {self.training.batch_size} is not divisible by {workers} workers. "
                f"Choose a multiple of {workers}, or fewer workers"
            )
        if workers > 1 and self.sweep.gpus_per_worker % 1:
            raise ValueError(
                f"sweep.gpus_per_worker = {self.sweep.gpus_per_worker} with {workers} workers is refused: two workers of a "
                "trial on one GPU cannot talk over NCCL. Use whole GPUs, or one worker"
            )
        if self.learner.kind == "spectral" and workers > 1:
            raise ValueError(
                f"learner.kind = spectral with {workers} workers is refused: it is fitted at once. Use one worker"
            )
        if not isinstance(self.learner, ShsGanConfig):
            return self
        if self.learner.norm == "batch" and workers > 1:
            raise ValueError(
                f"learner.norm = batch with {workers} workers is refused: batch statistics would depend on the number of "
                "workers. Use learner.norm=layer, or one worker"
            )
        if self.learner.input == "noise" and workers > 1:
            raise ValueError(
                f"learner.input = noise with {workers} workers is refused: the batch norm of the DCGAN would depend on "
                "the number of workers. Use one worker, or learner.input=rgb"
            )
        return self

    @model_validator(mode="after")
    def _size_fits(self) -> Self:
        size = self.data.size
        if not isinstance(self.learner, ShsGanConfig):
            return self
        if self.learner.input == "rgb" and size % 8:
            raise ValueError(
                f"data.size = {size} is refused: the U-Net halves the image three times. Choose a multiple of 8, "
                f"such as {size // 8 * 8}"
            )
        if self.learner.input == "noise" and size & (size - 1):
            raise ValueError(
                f"data.size = {size} is refused: the DCGAN generator doubles from 4 pixels. Choose a power of two, "
                f"such as {2 ** (size.bit_length() - 1)}"
            )
        return self

    @model_validator(mode="after")
    def _network_fits(self) -> Self:
        if not isinstance(self.learner, ClassifierConfig) or self.learner.architecture == OWN:
            return self
        name, size, batch = self.learner.architecture, self.data.size, self.training.batch_size
        if size < TIMM_SIZE:
            raise ValueError(
                f"data.size = {size} with learner.architecture = {name} is refused: it needs {TIMM_SIZE} pixels. Use "
                f"data.size={TIMM_SIZE} or more, or learner.architecture={OWN}"
            )
        if batch < 2:
            raise ValueError(
                f"training.batch_size = {batch} with learner.architecture = {name} is refused: its batch norm needs two "
                "cubes. Use 2 or more"
            )
        return self

    @model_validator(mode="after")
    def _kind_fits(self) -> Self:
        """Refuse the settings of a generator on a classifier and the other way round."""
        if self.learner.generates:
            for name, value in (("task", self.task), ("synthetic", self.synthetic)):
                if value is not None:
                    raise ValueError(f"{name} is set, but learner.kind = {self.learner.kind} is a generator. Leave it out")
        else:
            if self.task is None:
                raise ValueError(f"learner.kind = {self.learner.kind} needs a task. Give task=TaskConfig()")
            if self.data.diagnoses != ("melanoma",) or self.data.pretrain_diagnoses:
                raise ValueError("data.diagnoses is a generator's; a classifier reads those of task.negatives. Leave it out")
        first = self.synthetic is not None and self.synthetic.use == "pretrain"
        if first and self.learner.kind == "spectral":
            raise ValueError(
                "synthetic.use = pretrain with learner.kind = spectral is refused: it is fitted at once. Use add or only"
            )
        if self.learner.kind == "classifier" and self.learner.mixed_share is not None and self.synthetic is None:
            raise ValueError(
                f"learner.mixed_share = {self.learner.mixed_share} without synthetic is refused: nothing can be mixed in. "
                "Give synthetic.store, or leave it out"
            )
        pretrains = bool(self.data.pretrain_diagnoses) or first
        if pretrains != (self.training.pretrain_images > 0):
            raise ValueError(
                f"training.pretrain_images = {self.training.pretrain_images} is refused: it goes together with "
                "data.pretrain_diagnoses or synthetic.use = pretrain. Set both or none"
            )
        if self.training.pretrain_images >= self.training.images:
            raise ValueError(
                f"training.pretrain_images = {self.training.pretrain_images} leaves nothing of training.images = "
                f"{self.training.images}. Give fewer"
            )
        return self

    @property
    def diagnoses(self) -> tuple[Diagnosis, ...] | Literal["all"]:
        """The diagnoses that are learnt."""
        return self.data.diagnoses if self.task is None else self.task.diagnoses

    def identity(self) -> dict[str, object]:
        """Return what makes two runs the same, flat: everything but machine-dependent and extendable settings."""
        free = {
            "sweep.trials",
            "sweep.concurrent",
            "sweep.cpus_per_worker",
            "sweep.gpus_per_worker",
            "sweep.max_failures",
        }
        if self.data.feed != "stream":  # where `auto` comes to a stream, its checkpoints hold on to that
            free |= set(FEEDING)
        return {path: value for path, value in self.flat().items() if path not in free}
