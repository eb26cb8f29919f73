"""The whole configuration of a run: one frozen `Experiment`."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from hyperderm.learners.configs import LearnerConfig
from hyperderm.strict import Strict

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


class TrainingConfig(Strict):
    """How long and in what portions."""

    batch_size: int = Field(4, ge=1)
    """Global: split over the workers."""
    images: int = Field(100_000, ge=1)
    """Real images shown before the run ends; all progress is counted in them."""
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

    def identity(self) -> dict[str, object]:
        """Return what makes two runs the same, flat: everything but machine-dependent and extendable settings."""
        free = {
            "sweep.trials",
            "sweep.concurrent",
            "sweep.cpus_per_worker",
            "sweep.gpus_per_worker",
            "sweep.max_failures",
        }
        return {path: value for path, value in self.flat().items() if path not in free}
