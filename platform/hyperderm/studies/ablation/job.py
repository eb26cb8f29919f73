"""One job of a grid, named by the fingerprint of what shapes its result."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal

from hyperderm.config import Experiment
from hyperderm.identity import read

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
