"""The command unmix, which says what the pixels of a store are mixed of."""

from pathlib import Path
from typing import Annotated

import typer

from hyperderm import workflows
from hyperderm.cli import app
from hyperderm.cli.terminal import print_aside


@app.command()
def unmix(
    store: Annotated[
        str | None, typer.Argument(help="The store; without it --data, or the phantom.", metavar="[STORE]")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="In place of a store: raw files, which are ingested once.")] = None,
    endmembers: Annotated[
        str | None, typer.Option(help="How many, or auto: the knee of the error; 5, or those of --reference.", metavar="N")
    ] = None,
    method: Annotated[str | None, typer.Option(help="sisal (if not given), nfindr or vca.")] = None,
    run: Annotated[str | None, typer.Option(help="In place of a method: a run of train unmixer.", metavar="RUN")] = None,
    source_store: Annotated[
        str | None, typer.Option(help="For photographs: the cubes of the net of --run, if not where they were.")
    ] = None,
    fold: Annotated[int | None, typer.Option(help="Its train role gives the endmembers; 0 if not given.")] = None,
    unit_length: Annotated[
        bool, typer.Option("--unit-length", help="Divide pixels by their length: no brightness.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the sample of pixels and of the method.")] = 0,
    reference: Annotated[
        Path | None, typer.Option(help="MATLAB file of a scene's known abundances A and endmembers M, to score with.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the report; nothing may be there yet.", metavar="DIR")] = None,
    abundances: Annotated[
        str | None,
        typer.Option("--store", help="Also write the abundances as a store, which must not exist.", metavar="URI"),
    ] = None,
    runs: Annotated[Path | None, typer.Option("--runs", help="Where runs are kept.")] = None,
) -> None:
    """Unmix a store: endmembers, abundance maps and errors, as one HTML page and tables; MLflow."""
    print_aside()
    workflows.unmix(
        store,
        data=data,
        endmembers=endmembers,
        method=method,
        run=run,
        source_store=source_store,
        fold=fold,
        unit_length=unit_length,
        seed=seed,
        reference=reference,
        out=out,
        abundances=abundances,
        runs=runs,
    )
