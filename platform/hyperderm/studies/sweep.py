"""A sweep: the search decides, the driver runs its trials, and repeating the command goes on where it stood."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hyperderm.cluster.session import Cluster, check_capacity
from hyperderm.cluster.shared_data import Shared
from hyperderm.cluster.trial import KEY, TAKES, Takes, Trainer
from hyperderm.cluster.tune_driver import drive
from hyperderm.config import Experiment
from hyperderm.store.location import Location
from hyperderm.store.run_location import location_at
from hyperderm.strict import parse
from hyperderm.studies.search import Search, SearchTrial
from hyperderm.training.loop import Report
from hyperderm.training.storage import trial_address


def config_of(
    folder: Path, provenance: Mapping[str, str], storage: Location | None, memory: int = 0
) -> Callable[[SearchTrial], dict[str, Any]]:
    """Return what turns a trial into what travels to it, as data. How S3 is spoken to is not in it: Tune shows this.

    Args:
        folder: of the sweep.
        provenance: goes into checkpoints.
        storage: the sweep's part of `--storage`; None: trials write into `folder`.
        memory: bytes of RAM that a trial of one worker asks Ray for.
    """

    def config(trial: SearchTrial) -> dict[str, Any]:
        assert trial.experiment is not None
        sweep = trial.experiment.sweep
        return {
            KEY: trial.key,
            TAKES: Takes(sweep.workers_per_trial, sweep.cpus_per_worker, sweep.gpus_per_worker, memory),
            "images": trial.experiment.training.images,
            "experiment": trial.experiment.model_dump(mode="json"),
            "folder": trial_address(folder, trial.number, storage.uri if storage else ""),
            "provenance": {**provenance, "run": f"{provenance.get('run', '')}/{trial.number}"},
        }

    return config


def perform(config: Mapping[str, Any], shared: Shared, trainer: Trainer) -> Iterator[Report]:
    """Train what a trial's configuration says; this runs in a worker."""
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
    """Run trials until the experiment's number of them ended; an interrupt (Ctrl-C, SIGTERM) leaves open ones to be resumed.

    Args:
        search: what decides.
        shared: what the trials read.
        cluster: where they run.
        folder: of the sweep.
        provenance: goes into their checkpoints.
        storage: the sweep's part of `--storage`, where they write; None: into `folder`.

    Raises:
        ClusterError: a trial that does not fit the cluster, or storage that not every node sees. StudyError,
            MachineTrouble: as for `drive`.
    """
    settings = search.base.sweep
    wanted = settings.trials - len(search.finished())
    if wanted <= 0:
        return
    at_once = check_capacity(search.base, shared.left(cluster), storage or folder)
    search.config = config_of(folder, provenance, storage, shared.each)
    drive(
        search,
        perform,
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
