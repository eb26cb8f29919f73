"""One run without Tune: in this process with one worker (Ray is not touched), in a Ray Train group with more."""

from collections.abc import Mapping
from pathlib import Path

from hyperderm.config import Experiment
from hyperderm.store.reader import Store
from hyperderm.studies.cluster import check_capacity, connect
from hyperderm.studies.observer import Observer
from hyperderm.studies.selection import Selection, keep_samples
from hyperderm.training.context import local
from hyperderm.training.data import train_data
from hyperderm.training.feed import check_batch
from hyperderm.training.loop import train


def run_here(
    experiment: Experiment,
    store: Store,
    selection: Selection,
    folder: Path,
    provenance: Mapping[str, str],
    observer: Observer,
) -> None:
    """Train with one worker in this process; goes on from the folder's checkpoint.

    Raises:
        ConfigError: a batch the train role cannot serve; NonFiniteLoss: the run diverged.
    """
    check_batch(experiment.training.batch_size, len(selection.train), 1)
    rows = store.read(selection.train), store.read(selection.validation)
    data = train_data(*rows, store.manifest.wavelengths_nm, experiment.data.size)
    for report in train(experiment, data, local(folder, provenance)):
        keep_samples(report, folder)
        observer.reported(0, report.images, report.metrics)


def run_group(
    experiment: Experiment,
    store: Store,
    selection: Selection,
    folder: Path,
    provenance: Mapping[str, str],
    observer: Observer,
    address: str | None,
) -> str:
    """Train with several workers on the cluster at `address`; return the reason of a failure, or "".

    Raises:
        ClusterError: more workers than the cluster has; ConfigError: a batch they cannot serve.
    """
    settings = experiment.sweep
    check_batch(experiment.training.batch_size, len(selection.train), settings.workers_per_trial)
    with connect(address) as cluster:
        from hyperderm.studies.group import WorkerGroup, Workers
        from hyperderm.studies.trial import config_of, share

        workers = Workers(settings.workers_per_trial, settings.cpus_per_worker, settings.gpus_per_worker)
        check_capacity(experiment, cluster, folder)
        config = config_of(0, experiment, folder.absolute(), provenance)
        group = WorkerGroup(config, share(store, selection), workers, settings.max_failures)
        try:
            for message in group.reports():
                if message["failure"]:
                    return str(message["failure"])
                observer.reported(0, message["images"], message["report"])
        finally:
            group.stop()
    return ""
