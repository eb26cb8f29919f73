"""The jobs of a grid as plain records: what each needs, and how it is sent to a worker."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal

from hyperderm.config import Experiment
from hyperderm.grid_config import Checkpoint
from hyperderm.identity import read
from hyperderm.tags import ARM_TAG, FOLD_TAG, STAGE_TAG

GENERATORS = "generators"
"""The name of the group of runs that holds the generators and synthetic sets."""


SPARE = 8
"""The number of cubes of each diagnosis that a set holds, where possible, beyond those that any cell shows."""
JUDGED_SHARE = 0.25
"""The share of a classifier's training images that its judge is trained with."""
Stage = Literal["generator", "synthetic", "cell", "judge"]


STAGES: tuple[Stage, ...] = ("generator", "synthetic", "cell", "judge")


@dataclass(frozen=True)
class Job:
    """One job of the grid, as observers know it (see `cluster.observer.Job`).

    Attributes:
        key: first 16 hexadecimal digits of the fingerprint of the job.
        stage: generators train, synthetic sets are drawn, cells train a classifier and predict, judges tell synthetic
            melanomas from real ones.
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
        curation: for a set that is made from a larger one: what is done (`store.curated.Curation`), as JSON values.
        rebuilt: for a set, whether it is train as the generator rebuilds it.
        checkpoint: for a set, the state of the generator from which it is drawn (`Ablation.checkpoints`).
        drawn: for a curated set, diagnosis to the number of cubes of the larger set among which is chosen.
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
    rebuilt: bool = False
    curation: Mapping[str, str] = field(default_factory=dict)
    drawn: Mapping[str, int] = field(default_factory=dict)
    checkpoint: Checkpoint = "best"
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
