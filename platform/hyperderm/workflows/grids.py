"""Ablation grids as a user starts, plans, inspects and stops them."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from hyperderm import registry
from hyperderm.cluster.session import quiet_ray
from hyperderm.errors import ConfigError, nearest
from hyperderm.grid_config import Ablation
from hyperderm.registry import check_name
from hyperderm.statistics.ablation_results import LARGEST_GAIN
from hyperderm.strict import parse_overrides
from hyperderm.workflows.find_store import check_source
from hyperderm.workflows.workspace import Ended, GridRequest, Workspace, configure_grid

if TYPE_CHECKING:
    from hyperderm.studies.ablation.plan import Plan

GAINS = f"Give a difference of AUROC above 0 and below {LARGEST_GAIN:g}, such as 0.03."
"""What --power takes."""


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
    power: float | None = None,
    pilot: str | None = None,
) -> GridRequest:
    """Return the request for an ablation grid. Everything that can be checked without reading cubes is checked.

    Args:
        grid: the name of a file `experiments/ablation_<grid>.py`.
        store: URI of a store; None: `data`, or the default phantom.
        data: a folder of raw files, which is ingested once.
        overrides: `path=value` texts.
        profile: auto, small or full.
        name: the name of the grid's folder; None: a name that is made from the configuration.
        runs: the folder of all runs; None: `runs/` of the project.
        storage: `s3://bucket/prefix` for what jobs write.
        begin: when it starts; None: now.
        end: no job is started that would run past this time; None: no limit.
        power: the difference of AUROC for which folds and seeds are chosen; None: those of the grid.
        pilot: name or folder of a finished grid whose variances tell the power; None: stated assumptions.

    Raises:
        HyperdermError: an error that the user can correct.
    """
    quiet_ray()
    if power is not None and not 0 < power < LARGEST_GAIN:
        raise ConfigError(f"--power {power:g} is refused", GAINS)
    resolved = configure_grid(Workspace.here(), grid, profile, list(overrides))
    check_name(name)
    check_source(store, data)
    given = {"--store": store, "--data": data, "--name": name, "--runs": runs, "--storage": storage}
    given |= {"--power": None if power is None else repr(power), "--pilot": pilot}
    if profile != "auto":
        given["--profile"] = profile
    words = ["ablation", grid]
    for option, value in given.items():
        words += [] if value is None else [option, str(value)]
    for each in overrides:
        words += ["--set", each]
    fixed = frozenset(parse_overrides(list(overrides)))
    return GridRequest(*resolved, store, data, name, runs, begin, end, storage, tuple(words), power, pilot, fixed)


def show_grid(grid: str, *, overrides: Sequence[str] = (), profile: str = "auto") -> Ablation | None:
    """Return the resolved configuration of an ablation grid, and start nothing; None for any name that is near no grid's.

    Args:
        grid: the name of a file `experiments/ablation_<grid>.py`, with or without `ablation_`.
        overrides: `path=value` texts.
        profile: auto, small or full.

    Raises:
        ConfigError: an unknown key, value or profile, or a name that is nearly that of a grid.
    """
    quiet_ray()
    short, experiments, grids = grid.removeprefix(registry.GRID), registry.names("experiments"), registry.grids()
    if grid not in experiments and short not in grids:
        near = nearest(short, [*experiments, *grids])
        if near.endswith("?") and any(repr(name) in near for name in grids):
            raise ConfigError(f"unknown experiment or grid {grid!r}", near)
    if grid in experiments or short not in grids:
        return None
    return configure_grid(Workspace.here(), grid, profile, list(overrides))[0]


def ablation(request: GridRequest) -> Ended:
    """Run an ablation grid, or go on with it, and write its report.

    Args:
        request: the grid and where it is kept, from `grid_request`.

    Raises:
        HyperdermError: an error that the user can correct, before any process starts.
    """
    from hyperderm.workflows.run_ablation import run

    return run(Workspace.here(), request)


def ablation_plan(request: GridRequest) -> "Plan":
    """Print what a grid would run, how long and how large, and return the plan; nothing is started.

    Args:
        request: the grid, from `grid_request`.

    Raises:
        HyperdermError: an error that the user can correct.
    """
    from hyperderm.workflows.run_ablation import show_plan

    return show_plan(Workspace.here(), request)


def ablation_status(request: GridRequest) -> None:
    """Print how far a grid has come.

    Args:
        request: the request with which the grid was started.

    Raises:
        HyperdermError: an error that the user can correct.
    """
    from hyperderm.workflows.detached import tell

    tell(Workspace.here(), request)


def ablation_stop(request: GridRequest) -> None:
    """End the driver of a grid in order, as Ctrl-C does; finished jobs stay finished, and `ablation` goes on with it.

    Args:
        request: the request with which the grid was started.

    Raises:
        StudyError: the driver runs on another machine, or its process cannot be identified; no process is signalled.
    """
    from hyperderm.workflows.detached import stop

    stop(Workspace.here(), request)


def ablation_detach(request: GridRequest) -> None:
    """Start a grid in a process of its own that goes on without this terminal, or as a job of the cluster.

    Args:
        request: the grid, from `grid_request`, so that what can be refused is refused here.

    Raises:
        StudyError: a driver already runs the grid, or the new one ended at once. ClusterError: the cluster accepts no jobs.
    """
    from hyperderm.workflows.detached import detach

    detach(Workspace.here(), request)
