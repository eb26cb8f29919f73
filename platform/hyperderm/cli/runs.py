"""Verbs on runs: show, train, sweep."""

import json
from pathlib import Path
from typing import Annotated

import typer

from hyperderm.cli import app

Name = Annotated[str, typer.Argument(help="An experiment: a file in experiments/.", metavar="EXPERIMENT")]
Set = Annotated[list[str] | None, typer.Option("--set", help="path=value, e.g. learner.n_critic=3; may be repeated.")]
StoreUri = Annotated[str | None, typer.Option("--store", help="A store.")]
Data = Annotated[Path | None, typer.Option("--data", help="A folder of raw files: ingested once, then reused.")]
Profile = Annotated[str, typer.Option(help="auto, small or full; auto is full where there is a GPU.")]
RunName = Annotated[str | None, typer.Option("--name", help="A name of its own.")]
Runs = Annotated[Path | None, typer.Option("--runs", help="Where runs are kept; all nodes of a cluster must see it.")]


@app.command()
def show(experiment: Name, overrides: Set = None, profile: Profile = "auto") -> None:
    """The resolved configuration, nothing started."""
    from hyperderm.cli.setting import Setting, choose_profile, configure

    setting = Setting.here()
    if profile == "auto":  # wrong keys and values are told at once, whatever the profile turns out to be
        configure(experiment, "small", overrides or [])
    resolved = configure(experiment, choose_profile(setting, profile), overrides or [])
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
) -> None:
    """One run; the same command again goes on with it."""
    from hyperderm.cli.setting import Setting, choose_profile, configure
    from hyperderm.cli.training import run_one
    from hyperderm.studies.cluster import quiet_ray

    quiet_ray()
    setting = Setting.here()
    chosen = choose_profile(setting, profile)
    config = configure(experiment, chosen, overrides or [], sweep__workers_per_trial=workers)
    raise typer.Exit(run_one(setting, config, store, data, name, runs))


@app.command()
def sweep(
    experiment: Name,
    space: Annotated[
        str | None, typer.Option(help="A search space: a file in search_spaces/; default: the experiment's name.")
    ] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Trials in all, those of earlier calls counted.")] = None,
    workers_per_trial: Annotated[int | None, typer.Option(min=1, help="Data-parallel workers of each trial.")] = None,
    store: StoreUri = None,
    data: Data = None,
    overrides: Set = None,
    profile: Profile = "auto",
    name: RunName = None,
    runs: Runs = None,
) -> None:
    """A search; the same command again goes on with it."""
    from hyperderm import registry
    from hyperderm.cli.setting import Setting, choose_profile, configure
    from hyperderm.cli.sweeping import run_sweep
    from hyperderm.studies.cluster import quiet_ray

    quiet_ray()
    setting = Setting.here()
    chosen = choose_profile(setting, profile)
    config = configure(experiment, chosen, overrides or [], sweep__trials=trials, sweep__workers_per_trial=workers_per_trial)
    axes = registry.space(space or experiment, config)
    registry.check_space(axes, config)
    raise typer.Exit(run_sweep(setting, config, axes, store, data, name, runs))
