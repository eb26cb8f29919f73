"""One run without Tune: in this process with one worker (Ray is not touched), in a Ray Train group with more."""

from collections.abc import Mapping
from pathlib import Path

from hyperderm.cluster.feed_choice import Feeding
from hyperderm.cluster.observer import Observer
from hyperderm.config import Experiment
from hyperderm.errors import ConfigError, NonFiniteLoss
from hyperderm.store.reader import Store
from hyperderm.store.run_location import Place, address
from hyperderm.training.context import local
from hyperderm.training.inputs import NONE, RunInputs
from hyperderm.training.run import run
from hyperderm.training.selection import Selection, keep_samples, read


def run_here(
    experiment: Experiment,
    store: Store,
    selection: Selection,
    folder: Place,
    provenance: Mapping[str, str],
    observer: Observer,
    feeding: Feeding | None = None,
    inputs: RunInputs = NONE,
) -> None:
    """Train with one worker in this process; goes on from the checkpoint in `folder`. A stream is read by Ray, if connected.

    Raises:
        NonFiniteLoss: the run diverged.
    """
    if feeding and feeding.streams:
        from hyperderm.cluster.stream_readers import stream

        data = stream(store, selection, experiment, alone=True, inputs=inputs).load(experiment)
    else:
        data = read(store, selection, experiment, inputs.states)
    for report in run(experiment, data, local(folder, provenance)):
        keep_samples(report, folder)
        if report.note:
            observer.noted(0, report.note)
        observer.reported(0, report.images, report.metrics)


def run_group(
    experiment: Experiment,
    store: Store,
    selection: Selection,
    folder: Place,
    provenance: Mapping[str, str],
    observer: Observer,
    feeding: Feeding | None = None,
    inputs: RunInputs = NONE,
) -> None:
    """Train with several workers on the connected cluster; goes on from the checkpoint in `folder`.

    Raises:
        NonFiniteLoss: the run diverged; ConfigError: a worker refused what the user can mend; ClusterError: the group died.
    """
    from hyperderm.cluster.trial import config_of, share
    from hyperderm.cluster.worker_group import WorkerGroup, Workers

    settings = experiment.sweep
    config = config_of(0, experiment, address(folder.absolute() if isinstance(folder, Path) else folder), provenance)
    workers = Workers(settings.workers_per_trial, settings.cpus_per_worker, settings.gpus_per_worker)
    shared = share(store, selection, experiment, feeding, inputs)
    group = WorkerGroup(
        config,
        shared,
        workers,
        settings.max_failures,
        None if isinstance(folder, Path) else folder,
    )
    try:
        for message in group.reports():
            if trouble := message.get("trouble"):
                raise trouble
            if message["failure"]:
                raise (ConfigError if message["refused"] else NonFiniteLoss)(str(message["failure"]))
            if message["note"]:
                observer.noted(0, message["note"])
            observer.reported(0, message["images"], message["report"])
    finally:
        group.stop()
        shared.close()
