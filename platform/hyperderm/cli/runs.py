"""Commands for runs: show, train, sweep."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hyperderm.cli import app
from hyperderm.cli.terminal import print_aside

if TYPE_CHECKING:
    from hyperderm.config import Experiment
    from hyperderm.workflows.workspace import Workspace

Name = Annotated[str, typer.Argument(help="An experiment: a file in experiments/.", metavar="EXPERIMENT")]
Set = Annotated[list[str] | None, typer.Option("--set", help="path=value, e.g. learner.n_critic=3; may be repeated.")]
StoreUri = Annotated[str | None, typer.Option("--store", help="A store.")]
Data = Annotated[Path | None, typer.Option("--data", help="A folder of raw files: ingested once, then reused.")]
Profile = Annotated[str, typer.Option(help="auto, small or full; auto is full where there is a GPU.")]
RunName = Annotated[str | None, typer.Option("--name", help="A name of its own.")]
Runs = Annotated[
    Path | None,
    typer.Option("--runs", help="Where runs are kept; all nodes of a cluster must see it, or --storage is given."),
]
Storage = Annotated[
    str | None, typer.Option("--storage", help="s3://bucket/prefix for what workers write: checkpoints and samples.")
]


@app.command()
def show(experiment: Name, overrides: Set = None, profile: Profile = "auto") -> None:
    """The resolved configuration, nothing started."""
    from hyperderm.workflows.workspace import Workspace

    resolved = _resolve(Workspace.here(), experiment, profile, overrides, here=True)
    typer.echo(json.dumps(resolved.model_dump(mode="json"), indent=2))


@app.command()
def train(
    experiment: Name,
    store: StoreUri = None,
    data: Data = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Data-parallel workers (Ray Train).")] = None,
    overrides: Set = None,
    profile: Profile = "auto",
    name: RunName = None,
    runs: Runs = None,
    storage: Storage = None,
) -> None:
    """One run; the same command again goes on with it."""
    from hyperderm.registry import check_name
    from hyperderm.workflows.find_store import check_source
    from hyperderm.workflows.workspace import Workspace

    print_aside()
    workspace = Workspace.here()
    here = (workers or 1) == 1
    config = _resolve(workspace, experiment, profile, overrides, here=here, sweep__workers_per_trial=workers)
    check_name(name)
    check_source(store, data)
    from hyperderm.workflows.run_training import run_one

    raise typer.Exit(run_one(workspace, config, store, data, name, runs, storage))


@app.command()
def sweep(
    experiment: Name,
    space: Annotated[
        str | None, typer.Option(help="A search space: a file in search_spaces/; default: the experiment's own.")
    ] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Trials in all, those of earlier calls counted.")] = None,
    workers_per_trial: Annotated[int | None, typer.Option(min=1, help="Data-parallel workers of each trial.")] = None,
    store: StoreUri = None,
    data: Data = None,
    overrides: Set = None,
    profile: Profile = "auto",
    name: RunName = None,
    runs: Runs = None,
    storage: Storage = None,
) -> None:
    """A search; the same command again goes on with it."""
    from hyperderm import registry
    from hyperderm.registry import check_name
    from hyperderm.strict import parse_overrides
    from hyperderm.workflows.find_store import check_source
    from hyperderm.workflows.workspace import Workspace

    print_aside()
    workspace = Workspace.here()
    config = _resolve(
        workspace, experiment, profile, overrides, sweep__trials=trials, sweep__workers_per_trial=workers_per_trial
    )
    check_name(name)
    check_source(store, data)
    axes, fixed = registry.space(space or registry.space_of(experiment), config).without(parse_overrides(overrides or []))
    registry.check_space(axes, config)
    if fixed:
        workspace.say(f"not searched, because --set fixes it: {', '.join(fixed)}")
    from hyperderm.workflows.run_sweep import run_sweep

    raise typer.Exit(run_sweep(workspace, config, axes, store, data, name, runs, storage))


def _resolve(
    workspace: "Workspace",
    experiment: str,
    profile: str,
    overrides: list[str] | None,
    here: bool = False,
    **flags: int | None,
) -> "Experiment":
    """Return the configuration; wrong names and values are told before anything heavy is imported or a cluster asked."""
    from hyperderm.cluster.session import quiet_ray
    from hyperderm.workflows.workspace import choose_profile, configure

    quiet_ray()
    if profile == "auto":  # whatever the profile turns out to be
        configure(experiment, "small", overrides or [], **flags)
    return configure(experiment, choose_profile(workspace, profile, here=here), overrides or [], **flags)
