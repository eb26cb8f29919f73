"""A trial: its data, its training in one process or in a group of processes, and the transport of its reports and end."""

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import Any

import torch
from ray import tune

from hyperderm.cluster.gpu_share import bound_gpu
from hyperderm.cluster.messages import DONE, end_message, report_message
from hyperderm.cluster.shared_data import LocalData, Readable
from hyperderm.cluster.worker_group import group_reports
from hyperderm.config import Experiment
from hyperderm.learners.base import Learner
from hyperderm.learners.data import TrainData
from hyperderm.store.location import Location, use_access, waited
from hyperderm.store.run_location import RunLocation
from hyperderm.training.context import local
from hyperderm.training.in_parts import once_more_in_parts
from hyperderm.training.kept_samples import keep_samples
from hyperderm.training.preemption import listen
from hyperderm.training.report import Report
from hyperderm.training.run import run

KEY, RESOURCES, PARTS = "key", "resources", "parts"
"""Fields of a trial's configuration: the key of the job, the resources that it takes, and, if it ran out of memory in an
earlier process, the number of parts in which it computes a batch."""


@dataclass(frozen=True)
class JobResources:
    """The resources that a job takes from the cluster.

    Attributes:
        workers: number of workers that train together; if there are several, Ray Train holds their resources.
        cpus: number of CPUs of each worker.
        gpus: number of GPUs of each worker.
        memory: bytes of RAM that Ray reserves for a job of one worker; 0: Ray reserves none.
    """

    workers: int = 1
    cpus: float = 1.0
    gpus: float = 0.0
    memory: int = 0

    def resources(self) -> tune.PlacementGroupFactory:
        """Return the resources that Tune must find before the job starts."""
        if self.workers > 1:
            # The workers hold the CPUs and GPUs; Tune wants the actor that waits for them to hold something.
            return tune.PlacementGroupFactory([{"memory": 2**20}])
        held = {"CPU": self.cpus, "GPU": self.gpus} | ({"memory": float(self.memory)} if self.memory else {})
        return tune.PlacementGroupFactory([held])


class Trainer:
    """The training of a trial: with one worker in the trial's own process, with more in a group of processes.

    Args:
        storage: access to places on S3; None: places are folders.

    Attributes:
        parts: number of parts in which a batch is computed where the learner can (`LearnerConfig.splits`).
    """

    def __init__(self, storage: Location | None = None) -> None:
        self.storage, self.parts = storage, 1
        self._held: tuple[Readable, object, TrainData] | None = None

    def train(
        self, experiment: Experiment, shared: Readable, place: RunLocation, provenance: Mapping[str, str]
    ) -> Generator[Report, None, Learner | None]:
        """Train or continue training, and yield each report once its samples are saved; the last state lies in `place`.

        If memory runs out, the training is tried once more with each batch computed in `HALVES` parts, provided that this
        gives the same result up to rounding; a note says so.

        Args:
            experiment: the run, with the resources of each worker (`sweep`).
            shared: the data that the run reads.
            place: the place of its checkpoints and samples.
            provenance: facts that are saved in its checkpoints.

        Returns:
            The learner in its last state, or None if other processes trained it.

        Raises:
            NonFiniteLoss: the run diverged; ConfigError: a worker refused a setting that the user can mend; MachineTrouble,
                ClusterError: the group had trouble or ended without a result.
        """

        def attempt(parts: int) -> Generator[Report, None, Learner | None]:
            return self._train(experiment, shared, place, provenance, parts)

        return (yield from once_more_in_parts(experiment, attempt, self.parts))

    def _train(
        self, experiment: Experiment, shared: Readable, place: RunLocation, provenance: Mapping[str, str], parts: int
    ) -> Generator[Report, None, Learner | None]:
        if experiment.sweep.workers_per_trial > 1:
            assert not isinstance(shared, LocalData)  # other nodes could not read it
            yield from group_reports(experiment, shared, place, provenance, parts=parts)
            return None
        torch.set_num_threads(max(1, int(experiment.sweep.cpus_per_worker)))
        reports = run(experiment, self.data(experiment, shared), local(place, provenance, parts))
        while True:
            try:
                report = next(reports)
            except StopIteration as end:
                learner: Learner = end.value
                return learner
            keep_samples(report, place)
            yield report

    def data(self, experiment: Experiment, shared: Readable) -> TrainData:
        """Return the data of a run in this process; they are kept, because the next trial may need the same."""
        asked = experiment.data.size, experiment.data.scaling_percentiles, experiment.learner.scaled_as
        if self._held is None or self._held[0] is not shared or self._held[1] != asked:
            self._held = None  # release the old data before the new data are read
            self._held = (shared, asked, shared.load(experiment))
        return self._held[2]

    def release(self) -> None:
        """Release the data of the last run."""
        self._held = None


Perform = Callable[[Mapping[str, Any], Any, Trainer], Iterator[Report]]
"""The function that performs a trial: it takes the configuration, the shared data and a trainer, and yields reports."""


class Trial(tune.Trainable):
    """A trial in the form that Tune runs: a process that is reused for the next trial."""

    def setup(  # type: ignore[override]  # Tune passes them by name
        self, config: dict[str, Any], perform: Perform, shared: object, storage: Location | None = None
    ) -> None:
        """Begin the first trial of this process; Tune calls this method once in each process."""
        use_access(storage.access if storage else None)  # the access is also used for the stores of a job on S3
        self._perform, self._shared, self._trainer = perform, shared, Trainer(storage)
        self._reports: Iterator[Report] | None = None
        listen(lambda: self._reports is not None)
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin the next trial in the same process."""
        self.cleanup()
        self._config, self._trainer.parts = new_config, new_config.get(PARTS, 1)
        torch.set_num_threads(max(1, int(new_config[RESOURCES].cpus)))
        self._said = bound_gpu(new_config[RESOURCES].gpus) if new_config[RESOURCES].workers == 1 else ""
        return True

    def step(self) -> dict[str, Any]:
        """Continue to the next report and return it; after the last report, return the message that ends the trial."""
        try:
            self._reports = self._reports or self._perform(self._config, self._shared, self._trainer)
            report = next(self._reports, None)
        except Exception as error:
            return end_message(error)  # if it raises, Tune repeats the trial from the checkpoint
        if report is None:
            return {**DONE, "note": waited()}
        if self._said:
            report, self._said = replace(report, note="; ".join(filter(None, (report.note, self._said)))), ""
        return report_message(report, self._config.get("images", inf))

    def cleanup(self) -> None:
        """End the work of the trial, such as a group of workers that still runs after the trial was stopped early."""
        if self._reports is not None:
            self._reports.close()  # type: ignore[attr-defined]  # every `Perform` is a generator
            self._reports = None
