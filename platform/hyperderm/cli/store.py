"""Verbs on a store: info, verify, diff, export."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from hyperderm.cli import app

store_app = typer.Typer(help="Look at a store, prove it, compare two, or write one out.", rich_markup_mode=None)
app.add_typer(store_app, name="store")


@store_app.callback(invoke_without_command=True)
def _store(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@store_app.command("info")
def info(store: Annotated[str, typer.Argument(help="The store.")]) -> None:
    """What a store holds; every part is hashed."""
    from hyperderm.cli.data import describe
    from hyperderm.store.reader import open_store

    describe(Console(emoji=False), store, open_store(store).manifest)


@store_app.command("export")
def export(
    store: Annotated[str, typer.Argument(help="The store.")],
    out: Annotated[Path, typer.Option(help="Where the files go; nothing may be there yet.")],
) -> None:
    """A store as .mat files in HSIDermoscopy's layout."""
    from hyperderm.store.export import export_mat
    from hyperderm.store.reader import open_store

    count = export_mat(open_store(store), out)
    Console(emoji=False).print(f"{count} lesions in {out}", highlight=False, markup=False, soft_wrap=True)
