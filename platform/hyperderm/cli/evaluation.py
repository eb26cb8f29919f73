"""The command evaluate, which says how good synthetic sets are."""

from pathlib import Path
from typing import Annotated

import typer

from hyperderm import workflows
from hyperderm.cli import app
from hyperderm.cli.terminal import print_aside


@app.command()
def evaluate(
    real: Annotated[
        str | None,
        typer.Option(help="The real store: needed with --synthetic; with --run only if it was moved.", metavar="URI"),
    ] = None,
    synthetic: Annotated[
        list[str] | None, typer.Option(help="A synthetic store; several make one table.", metavar="URI")
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(
            help="In place of --synthetic: a run, sweep or trial (sweep/3) whose best checkpoint makes a set; or last."
        ),
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, help="With --run: number of cubes; default 100.")] = None,
    fold: Annotated[int | None, typer.Option(min=0, help="The fold; default: that of the sets.")] = None,
    final: Annotated[bool, typer.Option("--final", help="Against the test role; the opening is recorded.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder of the report; default below runs/.", metavar="DIR")] = None,
    runs: Annotated[Path | None, typer.Option("--runs", help="Where runs are kept.")] = None,
) -> None:
    """Say how clear, realistic, diverse and new synthetic cubes are: report, numbers, MLflow."""
    print_aside()
    workflows.evaluate(real, synthetic or (), run=run, count=count, fold=fold, final=final, out=out, runs=runs)
