"""The command for ablation grids: plan, run, schedule, inspect and stop a grid."""

from datetime import datetime
from typing import Annotated

import typer

from hyperderm import workflows
from hyperderm.cli import app
from hyperderm.cli.runs import Data, Profile, RunName, Runs, Set, Storage, StoreUri
from hyperderm.cli.terminal import print_aside
from hyperderm.errors import ConfigError
from hyperderm.workflows.grids import GAINS
from hyperderm.workflows.handover import take_over
from hyperderm.workflows.workspace import next_time

GridName = Annotated[str, typer.Argument(help="A grid: a file experiments/ablation_<NAME>.py.", metavar="NAME")]


def _gain(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"--power {text!r} is no number", GAINS) from None


@app.command()
def ablation(
    grid: GridName = "synthetic_vs_real",
    plan: Annotated[
        bool, typer.Option("--plan", help="Print what would run, how long and how large; start nothing.")
    ] = False,
    at: Annotated[str | None, typer.Option(help="Start at this local time, e.g. 22:00.")] = None,
    until: Annotated[
        str | None, typer.Option(help="Start no cell that would run past this local time; then report.")
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Go on without this terminal.")] = False,
    status: Annotated[bool, typer.Option("--status", help="Say how far it is.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Stop it; the same command goes on later.")] = False,
    power: Annotated[
        float | None,
        typer.Option(
            parser=_gain, metavar="<float>", help="Choose seeds and folds that show this difference in AUROC, e.g. 0.03."
        ),
    ] = None,
    pilot: Annotated[
        str | None, typer.Option(help="A finished grid of the same store, whose variances tell the power.")
    ] = None,
    store: StoreUri = None,
    data: Data = None,
    overrides: Set = None,
    profile: Profile = "auto",
    name: RunName = None,
    runs: Runs = None,
    storage: Storage = None,
) -> None:
    """Run the ablation grid, which tests whether synthetic data help. The same command continues it."""
    take_over()
    if sum((plan, detach, status, stop)) > 1:
        raise ConfigError("more than one of --plan, --detach, --status and --stop is given", "Give one.")
    if pilot is not None and power is None and not plan:
        raise ConfigError(f"--pilot {pilot} serves --plan and --power alone", "Give one of these too, or leave it out.")
    now = datetime.now().astimezone()
    begin = next_time("--at", at, now) if at else None
    request = workflows.grid_request(
        grid,
        store=store,
        data=data,
        overrides=overrides or (),
        profile=profile,
        name=name,
        runs=runs,
        storage=storage,
        begin=begin,
        end=next_time("--until", until, begin or now) if until else None,
        power=power,
        pilot=pilot,
    )
    if status:
        workflows.ablation_status(request)
    elif stop:
        workflows.ablation_stop(request)
    elif detach:
        workflows.ablation_detach(request)
    elif plan:
        workflows.ablation_plan(request)
    else:
        print_aside()
        raise typer.Exit(workflows.ablation(request).exit_code)
