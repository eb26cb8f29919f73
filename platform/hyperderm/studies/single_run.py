"""One run without Tune: one worker trains in this process, without Ray; several workers train in a Ray Train group."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from hyperderm.cluster.feed_choice import FeedChoice
from hyperderm.cluster.observer import Observer
from hyperderm.config import Experiment
from hyperderm.store.reader import Store
from hyperderm.store.run_location import RunLocation
from hyperderm.tags import TRIAL_TAG
from hyperderm.training.context import local
from hyperderm.training.inputs import NONE, RunInputs
from hyperderm.training.loop import Report
from hyperderm.training.run import run
from hyperderm.training.run_folder import trial_folder
from hyperderm.training.selection import Selection, keep_samples, read


@dataclass(frozen=True)
class SingleRun:
    """A run that is a study of its own, as observers know it (see `cluster.observer.Job`)."""

    label: str
    experiment: Experiment
    key: ClassVar[str] = ""
    kind: ClassVar[str] = "run"
    group: ClassVar[str] = ""
    folder: ClassVar[str] = trial_folder(Path(), 0).as_posix()
    values: ClassVar[Mapping[str, Any]] = {}

    @property
    def params(self) -> Mapping[str, object]:
        """Return the whole configuration of the run."""
        return self.experiment.flat()

    @property
    def tags(self) -> Mapping[str, str]:
        """Return the tag that marks the run as trial 0, the only trial of its study."""
        return {TRIAL_TAG: "0"}


@dataclass(frozen=True)
class RunParts:
    """Everything that a single run is made of.

    Attributes:
        experiment: the configuration of the run.
        store: the store that holds the cubes of the roles.
        selection: the lesions of each role.
        place: where the run writes its checkpoints and samples.
        provenance: facts that are written into the checkpoints.
        feeding: how the train role is fed; None means from memory.
        inputs: the checkpoints of other runs that this run needs.
    """

    experiment: Experiment
    store: Store
    selection: Selection
    place: RunLocation
    provenance: Mapping[str, str]
    feeding: FeedChoice | None = None
    inputs: RunInputs = NONE


def run_single(parts: RunParts, job: SingleRun, observer: Observer) -> None:
    """Train the run, or continue from the checkpoint in its place.

    A run with one worker trains in this process and connects to Ray only if the train role is streamed. A run with several
    workers trains as a group on the connected cluster.

    Raises:
        NonFiniteLoss: the run diverged. ConfigError: a worker refused something that the user can correct. MachineTrouble,
            ClusterError: the group of workers failed.
    """
    reports = _grouped(parts) if parts.experiment.sweep.workers_per_trial > 1 else _here(parts)
    for report in reports:
        if report.note:
            observer.noted(job, report.note)
        observer.reported(job, report.images, report.metrics)


def _here(parts: RunParts) -> Iterator[Report]:
    experiment, roles = parts.experiment, (parts.store, parts.selection, parts.experiment)
    if parts.feeding and parts.feeding.streams:
        from hyperderm.cluster.stream_readers import stream

        data = stream(*roles, alone=True, inputs=parts.inputs).load(experiment)
    else:
        data = read(*roles, parts.inputs.states)
    for report in run(experiment, data, local(parts.place, parts.provenance)):
        keep_samples(report, parts.place)
        yield report


def _grouped(parts: RunParts) -> Iterator[Report]:
    from hyperderm.cluster.shared_data import share
    from hyperderm.cluster.worker_group import group_reports

    experiment = parts.experiment
    shared = share(parts.store, parts.selection, experiment, parts.feeding, parts.inputs)
    try:
        yield from group_reports(experiment, shared, parts.place, parts.provenance, experiment.sweep.max_failures)
    finally:
        shared.close()
