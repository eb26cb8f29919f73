"""Compare sweeps at equal budgets, and print the tables or write them with a figure into a folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hyperderm.durable import publish, room
from hyperderm.errors import ConfigError
from hyperderm.workflows.run_comparison import check_form, check_free
from hyperderm.workflows.workspace import Workspace

if TYPE_CHECKING:
    from hyperderm.reports.sweep_comparison import SweepComparison

TABLES, FIGURE = "compare_sweeps", "best_so_far.png"
"""The beginning of the names of the tables in the folder that `out` names, and the name of the figure in it."""


def compare_sweeps(
    sweeps: Sequence[str], *, form: str = "table", out: Path | None = None, runs: Path | None = None
) -> "SweepComparison":
    """Print or write how sweeps compare at equal budgets of images and of seconds, and return it.

    Args:
        sweeps: names of folders below `runs` or paths of them; the name of an experiment stands for all of its sweeps.
        form: table, markdown or csv, which is printed; csv has full precision.
        out: a new folder, into which the tables as Markdown and as CSV and a figure are written; None: they are printed.
        runs: where runs are kept; None: `runs/` of the project.

    Raises:
        ConfigError: an unknown form, a place for `out` that is taken, fewer than two sweeps, sweeps of different stores,
            folds, sizes, diagnoses or objectives, or a sweep without a finished trial. StudyError: a name stands for no
            sweep, or the files of a sweep are damaged.
    """
    workspace = Workspace.here()
    check_form(form)
    if out:
        check_free(out)
        if form != "table":
            raise ConfigError(
                f"--format {form} and --out are both given", "Leave --format out: the folder holds Markdown and CSV."
            )
    from hyperderm.reports import compare_sweeps as forms
    from hyperderm.reports.sweep_comparison import compare_sweeps as compared
    from hyperderm.studies.sweep_record import find_sweeps, read_sweep

    found = compared([read_sweep(folder) for folder in find_sweeps(sweeps, workspace.runs(runs))])
    if out:
        _write(out, found)
        workspace.say(f"written to {out}: {TABLES}.md, {TABLES}.csv, {FIGURE}")
    elif form == "table":
        workspace.console.print(forms.table(found))
    else:
        print({"markdown": forms.markdown, "csv": forms.csv}[form](found), end="")
    return found


def _write(out: Path, found: "SweepComparison") -> None:
    from hyperderm.reports import compare_sweeps as forms
    from hyperderm.reports.sweep_figures import best_so_far_figure

    figure = best_so_far_figure(found)
    with room(out) as place:
        made = place / out.name
        made.mkdir()
        (made / f"{TABLES}.md").write_text(f"{forms.markdown(found)}\n![]({FIGURE})\n", encoding="utf-8")
        (made / f"{TABLES}.csv").write_text(forms.csv(found), encoding="utf-8")
        figure.savefig(made / FIGURE, format="png", dpi=figure.dpi)
        check_free(out)
        publish(made, out)
