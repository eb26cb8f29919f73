"""The command register, which makes the model of a run a version of a model in MLflow's registry."""

from pathlib import Path
from typing import Annotated

import typer

from hyperderm import workflows
from hyperderm.cli import app
from hyperderm.cli.terminal import print_aside


@app.command()
def register(
    run: Annotated[
        str, typer.Argument(help="A run, a sweep (its best trial), or a trial of one (sweep/3): below runs/, or a path.")
    ],
    name: Annotated[str, typer.Option(help="The registered model that gets a version; the first one makes it.")],
    alias: Annotated[str | None, typer.Option(help="An alias for this version, such as champion.")] = None,
    source_store: Annotated[
        str | None,
        typer.Option(help="The store that a generator from photographs was trained on, if it is not where it was."),
    ] = None,
    runs: Annotated[Path | None, typer.Option("--runs", help="Where runs are kept.")] = None,
) -> None:
    """Register a trained generator or classifier in MLflow, to be loaded anywhere."""
    print_aside()
    workflows.register(run, name, alias=alias, source_store=source_store, runs=runs)
