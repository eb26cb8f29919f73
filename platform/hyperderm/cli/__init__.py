"""The command line. Exit codes: 0 done, 1 no trial finished, 2 the user's input, 130 interrupted."""

import sys

import typer
from rich.console import Console

from hyperderm import __version__
from hyperderm.errors import HyperdermError

app = typer.Typer(
    name="hyperderm",
    help="Does synthetic hyperspectral dermoscopy data help? Answered honestly, on a laptop or a cluster.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def _root(context: typer.Context, version: bool = typer.Option(False, "--version", help="Print the version.")) -> None:
    if version:
        typer.echo(__version__)
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> None:
    """Run the command line; every error a user can cause ends in one sentence and exit code 2."""
    from hyperderm.cli import data, runs  # noqa: F401 - they register their verbs

    try:
        app()
    except HyperdermError as error:
        Console(stderr=True).print(f"error: {error}", style="bold red", highlight=False, markup=False, soft_wrap=True)
        sys.exit(error.exit_code)
