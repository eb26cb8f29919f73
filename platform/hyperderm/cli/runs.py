"""Commands for runs: show, train, sweep."""

import json
from pathlib import Path
from typing import Annotated

import typer

from hyperderm import workflows
from hyperderm.cli import app
from hyperderm.cli.terminal import print_aside

Name = Annotated[str, typer.Argument(help="An experiment: a file in experiments/.", metavar="EXPERIMENT")]
Shown = Annotated[
    str,
    typer.Argument(
        help="An experiment: a file in experiments/; or a grid: a file experiments/ablation_<NAME>.py.", metavar="EXPERIMENT"
    ),
]
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
def show(experiment: Shown, overrides: Set = None, profile: Profile = "auto") -> None:
    """Print the resolved configuration of an experiment or of an ablation grid, and start nothing."""
    grid = workflows.show_grid(experiment, overrides=overrides or (), profile=profile)
    resolved = grid or workflows.show(experiment, overrides=overrides or (), profile=profile)
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
    """Train one run. The same command continues an interrupted run."""
    print_aside()
    ended = workflows.train(
        experiment,
        store=store,
        data=data,
        workers=workers,
        overrides=overrides or (),
        profile=profile,
        name=name,
        runs=runs,
        storage=storage,
    )
    raise typer.Exit(ended.exit_code)


@app.command()
def sweep(
    experiment: Name,
    space: Annotated[
        str | None, typer.Option(help="A search space: a file in search_spaces/; default: the experiment's own.")
    ] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Trials in all, those of earlier calls counted.")] = None,
    repeat: Annotated[
        int | None,
        typer.Option(
            help="Then train the best trial again with this many other seeds, those of earlier calls counted, and report "
            "mean and spread."
        ),
    ] = None,
    workers_per_trial: Annotated[int | None, typer.Option(min=1, help="Data-parallel workers of each trial.")] = None,
    store: StoreUri = None,
    data: Data = None,
    overrides: Set = None,
    profile: Profile = "auto",
    name: RunName = None,
    runs: Runs = None,
    storage: Storage = None,
) -> None:
    """Search hyperparameters. The same command continues the search."""
    print_aside()
    ended = workflows.sweep(
        experiment,
        space=space,
        trials=trials,
        repeat=repeat,
        workers_per_trial=workers_per_trial,
        store=store,
        data=data,
        overrides=overrides or (),
        profile=profile,
        name=name,
        runs=runs,
        storage=storage,
    )
    raise typer.Exit(ended.exit_code)
