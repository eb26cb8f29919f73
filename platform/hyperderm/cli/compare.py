"""The command for tracked runs: compare."""

from pathlib import Path
from typing import Annotated

import typer

from hyperderm import workflows
from hyperderm.cli import app


@app.command()
def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            help="MLflow run ids or their first 6 characters or more, run names, or keys; a sweep stands for its trials.",
            metavar="RUN",
        ),
    ],
    baseline: Annotated[str | None, typer.Option(help="The run differences are taken to; default: the first.")] = None,
    metrics: Annotated[
        list[str] | None, typer.Option("--metric", help="What is compared; may be repeated. Default: all that differ.")
    ] = None,
    over: Annotated[
        list[str] | None,
        typer.Option(help="A setting that means are taken over beside the seed, e.g. data.fold; may be repeated."),
    ] = None,
    form: Annotated[str, typer.Option("--format", help="table, markdown or csv; csv has full precision.")] = "table",
    out: Annotated[Path | None, typer.Option(help="A new file to write to instead.")] = None,
) -> None:
    """Show what differs between runs: configuration, means over seeds, and differences to a baseline."""
    workflows.compare(runs, baseline=baseline, metrics=metrics or (), over=over or (), form=form, out=out)
