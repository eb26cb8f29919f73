"""Compare tracked runs, and print or write what differs."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from hyperderm.durable import write_whole
from hyperderm.errors import ConfigError
from hyperderm.workflows.workspace import Workspace

if TYPE_CHECKING:
    from hyperderm.reports.comparison import Comparison

FORMS = ("table", "markdown", "csv")


def compare(
    runs: Sequence[str],
    *,
    baseline: str | None = None,
    metrics: Sequence[str] = (),
    over: Sequence[str] = (),
    form: str = "table",
    out: Path | None = None,
) -> "Comparison":
    """Print or write what differs between tracked runs, and return it: configuration, means over seeds, differences.

    Args:
        runs: MLflow run ids or their first 6 characters or more, run names, or keys; a sweep stands for its trials.
        baseline: the run that the others are compared with; None: the first.
        metrics: what is compared; empty: all metrics that differ.
        over: further settings, beside the seed, over which the means are computed, such as `data.fold`.
        form: table, markdown or csv; csv has full precision.
        out: a new file to write to; None: it is printed.

    Raises:
        ConfigError: an unknown form, run, metric or setting, or a place for `out` that is taken. TrackingError: the server
            does not answer.
    """
    workspace = Workspace.here()
    check_form(form)
    if out:
        check_free(out)
    from hyperderm.reports import compare as forms
    from hyperderm.reports import comparison
    from hyperderm.tracking.fetch import fetch

    found = fetch(workspace.tracking_uri, [*runs, *([baseline] if baseline else [])])
    compared = comparison.compare(
        [run for one in found[: len(runs)] for run in one],
        baseline=found[-1] if baseline else (),
        metrics=metrics,
        over=over,
        named=baseline or "",
    )
    if form == "table" and not out:
        workspace.console.print(forms.table(compared))
        return compared
    text = {"table": _wide_table, "markdown": forms.markdown, "csv": forms.csv}[form](compared)
    if out:
        check_free(out)  # fetching took its time
        write_whole(out, text)
        workspace.say(f"written to {out}")
    else:
        print(text, end="")
    return compared


def _wide_table(compared: "Comparison") -> str:
    from hyperderm.reports.compare import table

    console = Console(width=160, color_system=None, emoji=False)
    with console.capture() as captured:
        console.print(table(compared))
    return captured.get()


def check_form(form: str) -> None:
    """Refuse a form that is not in `FORMS`.

    Raises:
        ConfigError: the message names the forms.
    """
    if form not in FORMS:
        raise ConfigError(f"--format {form!r} is unknown", f"Use {', '.join(FORMS[:-1])} or {FORMS[-1]}.")


def check_free(out: Path) -> None:
    """Refuse a place for output that is taken, or whose folder is not there.

    Raises:
        ConfigError: the message names the place.
    """
    if out.exists():
        raise ConfigError(f"--out {str(out)!r}: something is already there", "Choose another file, or remove it first.")
    if not out.absolute().parent.is_dir():
        raise ConfigError(f"--out {str(out)!r}: {out.parent} is no folder", "Make it first, or choose another place.")
