"""A sweep: the search decides, the driver runs the trials, and a repeated command continues where the last one stopped.

Repeats of the best trial (`studies.repeats`) are run in the same way as trials.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from socket import gethostname
from typing import Any

import torch

from hyperderm.cluster.observer import Job
from hyperderm.cluster.session import Cluster, check_capacity, described
from hyperderm.cluster.shared_data import Shared
from hyperderm.cluster.study import J, Study
from hyperderm.cluster.trial import KEY, RESOURCES, JobResources, Trainer
from hyperderm.cluster.tune_driver import drive
from hyperderm.config import Experiment
from hyperderm.store.location import Location
from hyperderm.store.run_location import location_at
from hyperderm.strict import parse
from hyperderm.studies.search import Search
from hyperderm.studies.sweep_record import note_machine
from hyperderm.training.report import Report


def trial_config(
    folder: Path, provenance: Mapping[str, str], storage: Location | None, memory: int = 0
) -> Callable[[Job], dict[str, Any]]:
    """Return a function that turns a trial into the data sent to its worker; Tune shows them, so they hold no S3 settings.

    Args:
        folder: the folder of the sweep.
        provenance: facts that are written into the checkpoints.
        storage: the part of `--storage` that belongs to the sweep; if None, trials write into `folder`.
        memory: bytes of RAM that a trial with one worker requests from Ray.
    """

    def config(trial: Job) -> dict[str, Any]:
        assert trial.experiment is not None
        sweep = trial.experiment.sweep
        return {
            KEY: trial.key,
            RESOURCES: JobResources(sweep.workers_per_trial, sweep.cpus_per_worker, sweep.gpus_per_worker, memory),
            "images": trial.experiment.training.images,
            "experiment": trial.experiment.model_dump(mode="json"),
            "folder": f"{storage.uri}/{trial.folder}" if storage else str(folder / trial.folder),
            "provenance": {**provenance, "run": f"{provenance.get('run', '')}/{trial.key}"},
        }

    return config


def perform_trial(config: Mapping[str, Any], shared: Shared, trainer: Trainer) -> Iterator[Report]:
    """Train the experiment in a trial's configuration; this function runs in a worker."""
    experiment, place = parse(Experiment, config["experiment"]), location_at(config["folder"], trainer.storage)
    yield from trainer.train(experiment, shared, place, config["provenance"])


def run(
    search: Search,
    shared: Shared,
    cluster: Cluster,
    folder: Path,
    provenance: Mapping[str, str],
    storage: Location | None = None,
) -> None:
    """Run trials until the wanted number has ended; an interrupt (Ctrl-C, SIGTERM) leaves open trials to be resumed.

    Args:
        search: makes the decisions of the sweep.
        shared: the data that the trials read.
        cluster: the cluster on which the trials run.
        folder: the folder of the sweep.
        provenance: facts that are written into the checkpoints of the trials.
        storage: the part of `--storage` that belongs to the sweep; if None, trials write into `folder`.

    Raises:
        ClusterError: a trial does not fit the cluster, or not every node sees the storage. StudyError, MachineTrouble: for
            the same reasons as `drive`.
    """
    wanted = search.base.sweep.trials - len(search.finished())
    if wanted > 0:
        gpu = f", {torch.cuda.get_device_name()}" if cluster.gpus and torch.cuda.is_available() else ""
        note_machine(search.study, f"{gethostname()} ({described(cluster)}{gpu})")
    run_jobs(search, wanted, search.base, shared, cluster, folder, provenance, storage)


def run_jobs(
    study: Study[J],
    wanted: int,
    base: Experiment,
    shared: Shared,
    cluster: Cluster,
    folder: Path,
    provenance: Mapping[str, str],
    storage: Location | None = None,
) -> None:
    """Run at most `wanted` jobs of a study, each of which trains an experiment with the resources of `base`.

    The other arguments and the errors are those of `run`.
    """
    if wanted <= 0:
        return
    settings = base.sweep
    at_once = check_capacity(base, shared.for_trials(cluster), storage or folder)
    drive(
        study,
        trial_config(folder, provenance, storage, shared.each),
        perform_trial,
        shared,
        cluster,
        folder,
        jobs=wanted,
        at_once=min(at_once, shared.at_most or at_once),
        max_failures=settings.max_failures,
        storage=storage,
    )
    if study.trouble:
        raise study.trouble
