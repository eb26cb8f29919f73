"""Runs and sweeps as a user starts them, and the audit of all of them: show, train, sweep, audit_leaks."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hyperderm import registry
from hyperderm.cluster.session import quiet_ray
from hyperderm.config import Experiment
from hyperderm.errors import ConfigError
from hyperderm.strict import parse_overrides
from hyperderm.workflows.find_store import check_source
from hyperderm.workflows.workspace import Ended, Workspace, choose_profile, configure

if TYPE_CHECKING:
    from hyperderm.store.leaks import Verdict


def show(
    experiment: str, *, overrides: Sequence[str] = (), profile: str = "auto", here: bool = True, **flags: int | None
) -> Experiment:
    """Return the resolved configuration of an experiment; nothing is started.

    Args:
        experiment: the name of a file in `experiments/`.
        overrides: `path=value` texts, such as `learner.n_critic=3`.
        profile: auto, small or full; auto is full where there is a GPU.
        here: run in this process, even if RAY_ADDRESS names a cluster.
        flags: further values by path, with `__` in place of each dot; None means not given.

    Raises:
        ConfigError: an unknown experiment, key, value or profile.
    """
    quiet_ray()
    if profile == "auto":  # whatever the profile turns out to be
        configure(experiment, "small", list(overrides), **flags)
    return configure(experiment, choose_profile(Workspace.here(), profile, here=here), list(overrides), **flags)


def train(
    experiment: str,
    *,
    store: str | None = None,
    data: Path | None = None,
    workers: int | None = None,
    overrides: Sequence[str] = (),
    profile: str = "auto",
    name: str | None = None,
    runs: Path | None = None,
    storage: str | None = None,
) -> Ended:
    """Train one run, or go on with it.

    Args:
        experiment: the name of a file in `experiments/`.
        store: URI of a store; None: `data`, or the default phantom.
        data: a folder of raw files, which is ingested once.
        workers: data-parallel workers; None: as the experiment says.
        overrides: `path=value` texts.
        profile: auto, small or full.
        name: the name of the run's folder; None: a name that is made from the configuration.
        runs: where runs are kept; None: `runs/` of the project.
        storage: `s3://bucket/prefix` for what workers write.

    Raises:
        HyperdermError: an error that the user can correct, before any process starts.
    """
    workspace, here = Workspace.here(), (workers or 1) == 1
    config = show(experiment, overrides=overrides, profile=profile, here=here, sweep__workers_per_trial=workers)
    registry.check_name(name)
    check_source(store, data)
    from hyperderm.workflows.prepared import RunRequest
    from hyperderm.workflows.run_training import run_one

    return run_one(workspace, RunRequest(config, store, data, name, workspace.runs(runs), storage))


def sweep(
    experiment: str,
    *,
    space: str | None = None,
    trials: int | None = None,
    repeat: int | None = None,
    workers_per_trial: int | None = None,
    store: str | None = None,
    data: Path | None = None,
    overrides: Sequence[str] = (),
    profile: str = "auto",
    name: str | None = None,
    runs: Path | None = None,
    storage: str | None = None,
) -> Ended:
    """Search the hyperparameters of an experiment, or go on with the search; `Ended.rows` is the leaderboard.

    With `repeat`, the best trial is then trained again with other seeds (`studies.repeats`): `Ended.repeats`.

    Args:
        experiment: the name of a file in `experiments/`.
        space: the name of a file in `search_spaces/`; None: the experiment's own.
        trials: how many in all, those of earlier calls counted; None: as the experiment says.
        repeat: how many repeats of the best trial in all, those of earlier calls counted; None: none further.
        workers_per_trial: data-parallel workers of each trial.
        store: URI of a store; None: `data`, or the default phantom.
        data: a folder of raw files, which is ingested once.
        overrides: `path=value` texts; a value that is fixed here is not searched.
        profile: auto, small or full.
        name: the name of the sweep's folder; None: a name that is made from the configuration.
        runs: where runs are kept; None: `runs/` of the project.
        storage: `s3://bucket/prefix` for what workers write.

    Raises:
        HyperdermError: an error that the user can correct, before any process starts.
    """
    if repeat is not None and repeat < 1:
        raise ConfigError(f"--repeat {repeat} is refused", "Give the number of repeats, 1 or more, or leave it out.")
    workspace = Workspace.here()
    config = show(
        experiment,
        overrides=overrides,
        profile=profile,
        here=False,
        sweep__trials=trials,
        sweep__workers_per_trial=workers_per_trial,
    )
    registry.check_name(name)
    check_source(store, data)
    found = registry.space(space or registry.space_of(experiment), config)
    axes, fixed = found.without(parse_overrides(list(overrides)))
    registry.check_space(axes, config)
    if fixed:
        workspace.say(f"not searched, because --set fixes it: {', '.join(fixed)}")
    from hyperderm.workflows.prepared import RunRequest
    from hyperderm.workflows.run_sweep import run_sweep

    request = RunRequest(config, store, data, name, workspace.runs(runs), storage)
    return run_sweep(workspace, request, axes, repeat or 0)


def audit_leaks(*, stores: Sequence[str] = (), cubes: bool = True, runs: Path | None = None) -> "Verdict":
    """Return whatever saw a lesion of a later test role, in MLflow, in grids and in every store that they name.

    Args:
        stores: addresses of stores that are no longer where runs say.
        cubes: also compare cubes bit by bit, which reads the stores whole.
        runs: where runs are kept; None: `runs/` of the project.

    Raises:
        HyperdermError: an error that the user can correct, such as a store or a server that is not there.
    """
    from hyperderm.store.reader import open_store

    workspace, given = Workspace.here(), [open_store(uri, verify=False) for uri in stores]
    from hyperderm.workflows.run_audit import run_audit

    return run_audit(workspace, given, cubes, runs)
