"""The command for tracked runs: compare."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hyperderm.cli import app
from hyperderm.durable import write_whole
from hyperderm.errors import ConfigError

if TYPE_CHECKING:
    from hyperderm.reports.comparison import Comparison

FORMS = ("table", "markdown", "csv")


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
    """What differs between runs: configuration, means over seeds, differences to a baseline."""
    from hyperderm.workflows.workspace import Workspace

    workspace = Workspace.here()
    if form not in FORMS:
        raise ConfigError(f"--format {form!r} is unknown", f"Use {', '.join(FORMS[:-1])} or {FORMS[-1]}.")
    if out:
        _check_free(out)
    from hyperderm.reports.comparison import compare as put_side_by_side
    from hyperderm.tracking.fetch import fetch

    found = fetch(workspace.tracking_uri, [*runs, *([baseline] if baseline else [])])
    named = found[: len(runs)]
    comparison = put_side_by_side(
        [run for one in named for run in one],
        baseline=found[-1] if baseline else (),
        metrics=metrics or (),
        over=over or (),
        named=baseline or "",
    )
    if out:
        _write(out, _text(comparison, form))
        workspace.say(f"written to {out}")
    elif form == "table":
        from hyperderm.reports.compare import table

        workspace.console.print(table(comparison))
    else:
        typer.echo(_text(comparison, form), nl=False)


def _text(comparison: "Comparison", form: str) -> str:
    from rich.console import Console

    from hyperderm.reports import compare as forms

    if form == "table":
        console = Console(width=160, color_system=None, emoji=False)
        with console.capture() as captured:
            console.print(forms.table(comparison))
        return captured.get()
    return forms.markdown(comparison) if form == "markdown" else forms.csv(comparison)


def _check_free(out: Path) -> None:
    if out.exists():
        raise ConfigError(f"--out {str(out)!r}: something is already there", "Choose another file, or remove it first.")
    if not out.absolute().parent.is_dir():
        raise ConfigError(f"--out {str(out)!r}: {out.parent} is no folder", "Make it first, or choose another place.")


def _write(out: Path, text: str) -> None:
    _check_free(out)  # fetching took its time
    write_whole(out, text)
