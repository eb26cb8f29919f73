"""The command describe, which says what a store holds."""

from pathlib import Path
from typing import Annotated

import typer

from hyperderm import workflows
from hyperderm.cli import app
from hyperderm.cli.terminal import print_aside


@app.command()
def describe(
    store: Annotated[str | None, typer.Argument(help="The store; without it --data, or the phantom.")] = None,
    data: Annotated[Path | None, typer.Option(help="In place of a store: raw files, which are ingested once.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the report; nothing may be there yet.", metavar="DIR")] = None,
    runs: Annotated[Path | None, typer.Option("--runs", help="Where runs are kept.")] = None,
) -> None:
    """Describe a store: counts, sizes, values, spectra, cubes, folds, as one HTML page; MLflow."""
    print_aside()
    workflows.describe(store, data=data, out=out, runs=runs)
