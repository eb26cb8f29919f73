"""The command doctor, which finds what a start would refuse."""

from pathlib import Path
from typing import Annotated

import typer

from hyperderm import workflows
from hyperderm.cli import app


@app.command()
def doctor(
    cluster: Annotated[
        bool, typer.Option("--cluster", help="Visit every node of the cluster that RAY_ADDRESS names.")
    ] = False,
    store: Annotated[str | None, typer.Option("--store", help="A store that runs will read.")] = None,
    storage: Annotated[str | None, typer.Option("--storage", help="s3://bucket/prefix for what workers write.")] = None,
    runs: Annotated[Path | None, typer.Option("--runs", help="Where runs are kept.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the same facts as JSON.")] = False,
) -> None:
    """Examine this machine, its servers and a cluster: good, warning or bad, with the remedy. Exit code 1 if bad."""
    found = workflows.doctor(cluster=cluster, store=store, storage=storage, runs=runs, as_json=as_json)
    raise typer.Exit(int(any(each.level == "bad" for each in found)))
