"""A sweep: the search decides, the driver runs the trials, and a repeated command continues where the last one stopped."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hyperderm.cluster.session import Cluster, check_capacity
from hyperderm.cluster.shared_data import Shared
from hyperderm.cluster.trial import KEY, RESOURCES, JobResources, Trainer
from hyperderm.cluster.tune_driver import drive
from hyperderm.config import Experiment
from hyperderm.store.location import Location
from hyperderm.store.run_location import location_at
from hyperderm.strict import parse
from hyperderm.studies.search import Search
from hyperderm.studies.trial_job import TrialJob
from hyperderm.training.loop import Report
from hyperderm.training.storage import trial_address


def trial_config(
    folder: Path, provenance: Mapping[str, str], storage: Location | None, memory: int = 0
) -> Callable[[TrialJob], dict[str, Any]]:
    """Return a function that turns a trial into the data sent to its worker; Tune shows them, so they hold no S3 settings.

    Args:
        folder: the folder of the sweep.
        provenance: facts that are written into the checkpoints.
        storage: the part of `--storage` that belongs to the sweep; if None, trials write into `folder`.
        memory: bytes of RAM that a trial with one worker requests from Ray.
    """

    def config(trial: TrialJob) -> dict[str, Any]:
        assert trial.experiment is not None
        sweep = trial.experiment.sweep
        return {
            KEY: trial.key,
            RESOURCES: JobResources(sweep.workers_per_trial, sweep.cpus_per_worker, sweep.gpus_per_worker, memory),
            "images": trial.experiment.training.images,
            "experiment": trial.experiment.model_dump(mode="json"),
            "folder": trial_address(folder, trial.number, storage.uri if storage else ""),
            "provenance": {**provenance, "run": f"{provenance.get('run', '')}/{trial.number}"},
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
    settings = search.base.sweep
    wanted = settings.trials - len(search.finished())
    if wanted <= 0:
        return
    at_once = check_capacity(search.base, shared.for_trials(cluster), storage or folder)
    drive(
        search,
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
    if search.trouble:
        raise search.trouble
