"""The command line. Exit codes: 0 done, 1 no trial finished, 2 wrong input or trouble of the machine, 130 stopped."""

import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable

import typer
from rich.console import Console

from hyperderm import __version__
from hyperderm.cli import names, terminal
from hyperderm.errors import HyperdermError
from hyperderm.strict import given_as_setting, is_setting

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


def add_group(name: str, purpose: str) -> typer.Typer:
    """Return a new group of commands, which prints its help if no command is named.

    Args:
        name: the word before its commands.
        purpose: the first line of its help.
    """
    group = typer.Typer(help=purpose, callback=_print_help, invoke_without_command=True, rich_markup_mode=None)
    app.add_typer(group, name=name)
    return group


def _print_help(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main(begin: Callable[[], None] = lambda: None) -> None:
    """Run the command line; an error ends in one sentence, with exit code 2 if a user can correct it, 1 for a program fault.

    Args:
        begin: is called when everything is imported and the command begins.
    """
    terminal.print_what_it_can(sys.stdout, sys.stderr)
    try:
        from hyperderm.cli import ablation, audit, bucket, compare, phantom, ingest, runs, store  # noqa: F401, I001 - they register their verbs, in the order of the help
        from hyperderm.cli import description, unmixing, segmentation, synthesis, evaluation, registration, doctor  # noqa: F401 - so do these

        begin()
        names.check(sys.argv[1:])
        code = app(prog_name="hyperderm", standalone_mode=False)
        terminal.check_printed()
    except HyperdermError as error:
        _complain(str(error))
        sys.exit(error.exit_code)
    except typer.TyperException as error:
        _complain(_usage(error))
        sys.exit(2)
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(130)
    except Exception as error:
        sys.exit(_unforeseen(error))
    sys.exit(code if isinstance(code, int) else 0)


def _usage(error: typer.TyperException) -> str:
    """Return one sentence on the error and one that names the help; the first one already offers similar names."""
    message = str(error.format_message()).strip().rstrip(".")
    context = getattr(error, "ctx", None)  # most of them know where in the command line they arose
    path = context.command_path if context else "hyperderm"
    sentence = message if message.endswith("?") else f"{message}."
    options = {name for each in context.command.params for name in each.opts} if context else set()
    stray = [word for word in sys.argv if is_setting(word) and word in message]
    if "extra argument" in message and stray and "--set" in options:
        sentence += f" {given_as_setting(stray[0])}"
    return f"{sentence} See `{path} --help`."


def _unforeseen(error: Exception) -> int:
    """Print the trouble of the machine, or a program fault with the place of its traceback; return the exit code."""
    from hyperderm.trouble import reason_of, trouble_of

    if trouble := trouble_of(error):
        _complain(str(trouble))
        return trouble.exit_code
    text = "".join(traceback.format_exception(error))
    said = (
        f"{type(error).__name__}: {reason_of(error)}. This is a fault of hyperderm or of its surroundings; the traceback is"
    )
    try:
        number, path = tempfile.mkstemp(prefix=time.strftime("hyperderm-%Y%m%d-%H%M%S-"), suffix=".log")
        with os.fdopen(number, "w", encoding="utf-8") as log:
            log.write(f"hyperderm {__version__}, {sys.argv}\n{text}")
    except OSError:
        sys.stderr.write(text)
        _complain(f"{said} above.")
    else:
        _complain(f"{said} in {path}.")
    return 1


def _complain(text: str) -> None:
    Console(stderr=True, emoji=False).print(
        f"error: {text}", style="bold red", highlight=False, markup=False, soft_wrap=True
    )
