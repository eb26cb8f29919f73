"""The command that examines a whole project: audit leaks."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from hyperderm.cli import add_group
from hyperderm.errors import ConfigError

FORMS = ("text", "markdown", "csv")

audit_app = add_group("audit", "Look back on a whole project.")


@audit_app.command("leaks")
def leaks(
    stores: Annotated[
        list[str] | None, typer.Option("--store", help="A store that no run names, or that has moved; may be repeated.")
    ] = None,
    form: Annotated[str, typer.Option("--format", help="text, markdown or csv; csv names every user.")] = "text",
    cubes: Annotated[
        bool, typer.Option("--cubes/--no-cubes", help="Also compare cubes bit by bit, which reads the stores whole.")
    ] = True,
    runs: Annotated[Path | None, typer.Option("--runs", help="Where runs are kept: grids have their sets there.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 1 also where something could not be told.")] = False,
) -> None:
    """List everything that has seen a lesion of a later test role. The exit code is 1 if there is any."""
    from hyperderm.workflows import audit_leaks

    if form not in FORMS:
        raise ConfigError(f"--format {form!r} is unknown", f"Use {', '.join(FORMS[:-1])} or {FORMS[-1]}.")
    verdict = audit_leaks(stores=stores or (), cubes=cubes, runs=runs)
    from hyperderm.reports import leak_tables

    if form == "text":
        Console(emoji=False).print(leak_tables.table(verdict))
    else:
        typer.echo(leak_tables.markdown(verdict) if form == "markdown" else leak_tables.csv(verdict), nl=False)
    raise typer.Exit(1 if verdict.findings or (strict and verdict.unknown) else 0)
