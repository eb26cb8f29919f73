"""What a user can start, callable from Python: `from hyperderm.workflows import sweep`. The command line only parses flags.

Every function resolves names and proves values before anything heavy is imported. It prints what the command prints, and
goes on where an earlier call of the same run stood. Errors that a user can mend are `hyperderm.errors.HyperdermError`.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from hyperderm.config import Experiment
    from hyperderm.store.leaks import Verdict
    from hyperderm.store.manifest import Manifest
    from hyperderm.workflows.workspace import Ended, GridRequest, Workspace

Profile = Literal["auto", "small", "full"]


def show(
    experiment: str,
    *,
    overrides: Sequence[str] = (),
    profile: str = "auto",
    workspace: "Workspace | None" = None,
    here: bool = True,
    **flags: int | None,
) -> "Experiment":
    """Return the resolved configuration of an experiment; nothing is started.

    Args:
        experiment: the name of a file in `experiments/`.
        overrides: `path=value` texts, such as `learner.n_critic=3`.
        profile: auto, small or full; auto is full where there is a GPU.
        workspace: where the project keeps things; None: it is read from the environment.
        here: run in this process, even if RAY_ADDRESS names a cluster.
        flags: further values by path, with `__` in place of each dot; None means not given.

    Raises:
        ConfigError: an unknown experiment, key, value or profile.
    """
    from hyperderm.cluster.session import quiet_ray
    from hyperderm.workflows.workspace import Workspace, choose_profile, configure

    quiet_ray()
    if profile == "auto":  # whatever the profile turns out to be
        configure(experiment, "small", list(overrides), **flags)
    chosen = choose_profile(workspace or Workspace.here(), profile, here=here)
    return configure(experiment, chosen, list(overrides), **flags)


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
) -> "Ended":
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
    from hyperderm.registry import check_name
    from hyperderm.workflows.find_store import check_source
    from hyperderm.workflows.workspace import Workspace

    workspace, here = Workspace.here(), (workers or 1) == 1
    config = show(
        experiment,
        overrides=overrides,
        profile=profile,
        workspace=workspace,
        here=here,
        sweep__workers_per_trial=workers,
    )
    check_name(name)
    check_source(store, data)
    from hyperderm.workflows.prepared import RunRequest
    from hyperderm.workflows.run_training import run_one

    return run_one(workspace, RunRequest(config, store, data, name, runs or workspace.root / "runs", storage))


def sweep(
    experiment: str,
    *,
    space: str | None = None,
    trials: int | None = None,
    workers_per_trial: int | None = None,
    store: str | None = None,
    data: Path | None = None,
    overrides: Sequence[str] = (),
    profile: str = "auto",
    name: str | None = None,
    runs: Path | None = None,
    storage: str | None = None,
) -> "Ended":
    """Search the hyperparameters of an experiment, or go on with the search; `Ended.rows` is the leaderboard.

    Args:
        experiment: the name of a file in `experiments/`.
        space: the name of a file in `search_spaces/`; None: the experiment's own.
        trials: how many in all, those of earlier calls counted; None: as the experiment says.
        workers_per_trial: data-parallel workers of each trial.
        store: see `train`; the following likewise.
        data: raw files.
        overrides: `path=value` texts; a value that is fixed here is not searched.
        profile: auto, small or full.
        name: the name of the folder.
        runs: where runs are kept.
        storage: `s3://bucket/prefix` for what workers write.

    Raises:
        HyperdermError: an error that the user can correct, before any process starts.
    """
    from hyperderm import registry
    from hyperderm.strict import parse_overrides
    from hyperderm.workflows.find_store import check_source
    from hyperderm.workflows.workspace import Workspace

    workspace = Workspace.here()
    config = show(
        experiment,
        overrides=overrides,
        profile=profile,
        workspace=workspace,
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

    request = RunRequest(config, store, data, name, runs or workspace.root / "runs", storage)
    return run_sweep(workspace, request, axes)


def grid_request(
    grid: str = "synthetic_vs_real",
    *,
    store: str | None = None,
    data: Path | None = None,
    overrides: Sequence[str] = (),
    profile: str = "auto",
    name: str | None = None,
    runs: Path | None = None,
    storage: str | None = None,
    begin: datetime | None = None,
    end: datetime | None = None,
    workspace: "Workspace | None" = None,
) -> "GridRequest":
    """Return what is asked of an ablation grid, proven as far as that goes without reading cubes.

    Args:
        grid: the name of a file `experiments/ablation_<grid>.py`.
        store: see `train`; the following likewise.
        data: raw files.
        overrides: `path=value` texts.
        profile: auto, small or full.
        name: the name of the folder.
        runs: where runs are kept.
        storage: `s3://bucket/prefix` for what jobs write.
        begin: when it starts; None: now.
        end: no job is started that would run past this time; None: no limit.
        workspace: where the project keeps things.

    Raises:
        HyperdermError: an error that the user can correct.
    """
    from hyperderm.cluster.session import quiet_ray
    from hyperderm.registry import check_name
    from hyperderm.workflows.find_store import check_source
    from hyperderm.workflows.workspace import GridRequest, Workspace, configure_grid

    quiet_ray()
    resolved = configure_grid(workspace or Workspace.here(), grid, profile, list(overrides))
    check_name(name)
    check_source(store, data)
    return GridRequest(*resolved, store, data, name, runs, begin, end, storage)


def ablation(grid: str = "synthetic_vs_real", **asked: Any) -> "Ended":  # noqa: ANN401 - those of grid_request
    """Run an ablation grid, or go on with it, and write its report.

    Args:
        grid: the name of a file `experiments/ablation_<grid>.py`.
        asked: see `grid_request`.

    Raises:
        HyperdermError: an error that the user can correct, before any process starts.
    """
    from hyperderm.workflows.run_ablation import run
    from hyperderm.workflows.workspace import Workspace

    workspace = Workspace.here()
    return run(workspace, grid_request(grid, workspace=workspace, **asked))


def generate(
    store: str,
    counts: Mapping[str, int],
    *,
    run: str | None = None,
    checkpoint: str | None = None,
    seed: int = 0,
    rgb: str | None = None,
    source_store: str | None = None,
    workers: int = 1,
    runs: Path | None = None,
) -> "Manifest":
    """Write a synthetic set from a trained generator, and return its manifest.

    Args:
        store: where the set goes; nothing may be there yet.
        counts: diagnosis to number of cubes, such as `{"melanoma": 300}`.
        run: a run or sweep, by name or path; its best checkpoint is taken.
        checkpoint: a checkpoint file or `s3://` address, in place of `run`.
        seed: another seed is another set.
        rgb: URI of a store of photographs that new lesions are made from.
        source_store: the store that the generator was trained on, where it is not where it was.
        workers: Ray Data workers; 1: this process, without Ray.
        runs: where runs are kept; None: `runs/` of the project.

    Raises:
        HyperdermError: an error that the user can correct. Nothing is left behind.
    """
    from hyperderm.workflows.run_generation import run_generation
    from hyperderm.workflows.workspace import Workspace

    return run_generation(Workspace.here(), store, counts, run, checkpoint, seed, rgb, source_store, workers, runs)


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
    from hyperderm.workflows.workspace import Workspace

    workspace, given = Workspace.here(), [open_store(uri, verify=False) for uri in stores]
    from hyperderm.workflows.run_audit import run_audit

    return run_audit(workspace, given, cubes, runs)
