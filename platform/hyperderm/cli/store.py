"""Commands for a store: info, verify, diff, export."""

from pathlib import Path
from typing import Annotated

import typer

from hyperderm import workflows
from hyperderm.cli import add_group
from hyperderm.cli.terminal import print_aside

store_app = add_group("store", "Look at a store, prove it, compare two, or write one out.")


@store_app.command("info")
def info(store: Annotated[str, typer.Argument(help="The store.")]) -> None:
    """Show what a store holds, and check the hash of every part."""
    workflows.store_info(store)


@store_app.command("verify")
def verify(store: Annotated[str, typer.Argument(help="The store.")]) -> None:
    """Check the hash of every part and every row. The exit code is 2 if something is wrong."""
    workflows.store_verify(store)


@store_app.command("diff")
def diff(
    a: Annotated[str, typer.Argument(help="A store.")],
    b: Annotated[str, typer.Argument(help="Another store.")],
) -> None:
    """Show the differences between two stores, lesion by lesion."""
    workflows.store_diff(a, b)


@store_app.command("export")
def export(
    store: Annotated[str, typer.Argument(help="The store.")],
    out: Annotated[Path, typer.Option(help="Where the files go; nothing may be there yet.")],
    format_: Annotated[str, typer.Option("--format", help="mat (HSIDermoscopy's layout), envi or npz.")] = "mat",
) -> None:
    """Write a store as .mat, ENVI or .npz files. `ingest` reads them back without any change."""
    print_aside()
    workflows.store_export(store, out, form=format_)
