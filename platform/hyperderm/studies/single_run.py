"""One run without Tune: one worker trains in this process, without Ray; several workers train in a Ray Train group."""

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass

from hyperderm.cluster.feed_choice import FeedChoice
from hyperderm.cluster.observer import Observer
from hyperderm.config import Experiment
from hyperderm.errors import Preempted
from hyperderm.store.reader import Store
from hyperderm.store.run_location import RunLocation
from hyperderm.studies.trial_job import TrialJob
from hyperderm.training.context import local
from hyperderm.training.in_parts import once_more_in_parts
from hyperderm.training.inputs import NONE, RunInputs
from hyperderm.training.kept_samples import keep_samples
from hyperderm.training.preemption import asked_to_leave, listening
from hyperderm.training.report import Report
from hyperderm.training.run import run
from hyperderm.training.selection import Selection, read


@dataclass(frozen=True)
class RunParts:
    """Everything that a single run is made of.

    Attributes:
        experiment: the configuration of the run.
        store: the store that holds the cubes of the roles.
        selection: the lesions of each role.
        place: where the run writes its checkpoints and samples.
        provenance: facts that are written into the checkpoints.
        feed_choice: how the train role is fed; None means from memory.
        inputs: the checkpoints of other runs that this run needs.
    """

    experiment: Experiment
    store: Store
    selection: Selection
    place: RunLocation
    provenance: Mapping[str, str]
    feed_choice: FeedChoice | None = None
    inputs: RunInputs = NONE


def run_single(parts: RunParts, job: TrialJob, observer: Observer) -> None:
    """Train the run, or continue from the checkpoint in its place.

    A run with one worker trains in this process and connects to Ray only if the train role is streamed. A run with several
    workers trains as a group on the connected cluster.

    Raises:
        NonFiniteLoss: the run diverged. ConfigError: a worker refused something that the user can correct. MachineTrouble,
            ClusterError: the group of workers failed.
    """
    reports = _grouped(parts) if parts.experiment.sweep.workers_per_trial > 1 else _here(parts)
    trains = False
    with listening(lambda: trains):  # before its first report a run has nothing to save: it ends at once
        try:
            for report in reports:
                trains = True
                if report.note:
                    observer.noted(job, report.note)
                observer.reported(job, report.images, report.metrics)
        except Preempted as told:
            if not asked_to_leave():  # a worker was, more often than it is started again
                raise
            observer.noted(job, told.what)
            raise KeyboardInterrupt from told


def _here(parts: RunParts) -> Iterator[Report]:
    experiment, roles = parts.experiment, (parts.store, parts.selection, parts.experiment)
    if parts.feed_choice and parts.feed_choice.streams:
        from hyperderm.cluster.stream_readers import prepare_stream

        data = prepare_stream(*roles, alone=True, inputs=parts.inputs).load(experiment)
    else:
        data = read(*roles, parts.inputs.states)

    def attempt(count: int) -> Generator[Report, None, None]:
        for report in run(experiment, data, local(parts.place, parts.provenance, count)):
            keep_samples(report, parts.place)
            yield report

    yield from once_more_in_parts(experiment, attempt)


def _grouped(parts: RunParts) -> Iterator[Report]:
    from hyperderm.cluster.shared_data import share
    from hyperderm.cluster.worker_group import group_reports

    experiment = parts.experiment
    shared = share(parts.store, parts.selection, experiment, parts.feed_choice, parts.inputs)
    try:
        how = experiment, shared, parts.place, parts.provenance, experiment.sweep.max_failures
        yield from once_more_in_parts(experiment, lambda count: group_reports(*how, parts=count))
    finally:
        shared.close()
