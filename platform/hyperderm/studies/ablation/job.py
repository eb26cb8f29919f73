"""One trial of a grid, named by the fingerprint of what shapes its result."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from hyperderm.config import Experiment

Stage = Literal["generator", "synthetic", "cell"]
STAGES: tuple[Stage, ...] = ("generator", "synthetic", "cell")


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

    @property
    def folder(self) -> str:
        """Return where its results lie, relative to the grid's folder; a larger set is another folder."""
        size = f"-{sum(self.counts.values())}" if self.stage == "synthetic" else ""
        return f"{self.stage}/{self.key}{size}"


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
