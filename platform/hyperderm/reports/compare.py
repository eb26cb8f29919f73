"""A comparison of runs for readers, as tables for a terminal, as Markdown and as CSV."""

import csv as csv_module
import io
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Group as Stack
from rich.table import Table
from rich.text import Text

from hyperderm.reports.comparison import SEED, Comparison, Group, natural, status
from hyperderm.statistics.seed_means import Estimate
from hyperderm.tags import NONFINITE_PREFIX, REASON_TAG, plain
from hyperderm.tracking.fetch import TrackedRun
from hyperderm.tracking.short_texts import short_names, three_digits

NAMES = 2
"""The largest number of values or names that one cell lists; more of them are counted instead."""
FOLD = "data.fold"
_TEXT_COLUMNS = {"run", "status", "metric", "how"}


class Line(NamedTuple):
    """A line of a table.

    Attributes:
        cells: the texts of its cells.
        counted: whether its numbers enter the means.
    """

    cells: list[str]
    counted: bool = True


def table(comparison: Comparison) -> Stack:
    """Return both tables and the notes for a terminal."""
    parts: list[Table | Text] = []
    for header, body in (_groups(comparison), _metrics(comparison)):
        made = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, pad_edge=False, header_style="bold")
        for name in header:
            made.add_column(
                Text(name.replace("_", "_\n") if name not in _TEXT_COLUMNS else name),
                justify="left" if name in _TEXT_COLUMNS else "right",
                overflow="fold",
            )
        for line in body:
            made.add_row(*map(Text, line.cells), style="" if line.counted else "dim")
        parts += [made, Text()]
    return Stack(*parts, Text("\n".join(notes(comparison)), style="dim"))


def markdown(comparison: Comparison) -> str:
    """Return both tables and the notes as Markdown."""
    blocks = []
    for header, body in (_groups(comparison), _metrics(comparison)):
        rule = [":--" if name in _TEXT_COLUMNS else "--:" for name in header]
        lines = (header, rule, *(line.cells for line in body))
        blocks.append("\n".join("| " + " | ".join(map(_escaped, cells)) + " |" for cells in lines))
    return "\n\n".join([*blocks, "\n".join(f"- {note}" for note in notes(comparison))]) + "\n"


def csv(comparison: Comparison) -> str:
    """Return one line for each metric and group, and one line for each uncounted run, with full precision.

    The column `values` holds "seed=value" for every counted run, joined by ";", so that all other numbers can be recomputed.
    """
    out = io.StringIO()
    write = csv_module.writer(out, lineterminator="\n").writerow
    fixed = ["metric", "group", "run", "status", "n", "mean", "low", "high"]
    fixed += ["baseline", "difference", "difference_low", "difference_high", "how", "values", "run_ids"]
    write([*fixed, *comparison.columns])
    for metric in comparison.metrics:
        for group in comparison.groups:
            settings = [";".join(map(str, comparison.cell(group, path))) for path in comparison.columns]
            for cells in _records(comparison, group, metric):
                write([metric, group.number, *cells, *settings])
    return out.getvalue()


def notes(comparison: Comparison) -> list[str]:
    """Return the notes that a reader needs in order to read the numbers correctly."""
    unit = _unit(comparison)
    return [*_left_out(comparison), *_reading(comparison, unit), *_warnings(comparison, unit)]


def _left_out(comparison: Comparison) -> Iterator[str]:
    if comparison.equal:
        yield f"Equal in all runs and left out: {_count(comparison.equal, 'setting or tag', 'settings and tags')}."
    if comparison.equal_metrics:
        yield f"Metrics equal in all runs and left out: {', '.join(comparison.equal_metrics)}."
    if not comparison.metrics:
        yield "No metric differs."


def _reading(comparison: Comparison, unit: str) -> Iterator[str]:
    if comparison.metrics:
        yield (
            f"Values at each run's last logged step; ± and [ ] are 95 % t intervals over {unit}s, each for itself "
            "(no allowance for several comparisons)."
        )
    if comparison.baseline and len(comparison.groups) > 1:
        yield (
            f"Differences to #{comparison.baseline.number}: paired where both have the same {unit}s, else Welch's for "
            "independent runs."
        )


def _warnings(comparison: Comparison, unit: str) -> Iterator[str]:
    runs = comparison.runs
    if FOLD in comparison.over:
        yield "Folds share training cubes: intervals over folds are too narrow, a guide and not a finding."
    if apart := [run for group in comparison.groups for run in group.left_out]:
        yield f"Not counted, since unfinished or failed: {', '.join(map(_reason, apart))}."
    for metric in comparison.metrics:
        steps = sorted({run.metrics[metric][1] for run in runs if metric in run.metrics and run.status == "FINISHED"})
        if len(steps) > 1:
            yield f"{metric}: the last logged steps differ, {steps[0]:,} … {steps[-1]:,}."
        tag = NONFINITE_PREFIX + plain(metric)
        if gone := [f"{_short(run)} ({run.tags[tag]})" for run in runs if tag in run.tags]:
            yield f"{metric}: values that are not finite were not logged in {', '.join(gone)}."
    for group in comparison.groups:
        repeats = [group.repeat(run) for run in group.counted if group.recorded(run)]
        if again := sorted({repeat for repeat in repeats if repeats.count(repeat) > 1}, key=natural):
            yield f"#{group.number}: several runs of {unit} {', '.join(again)} are averaged before anything else."
    if any(not group.recorded(run) for group in comparison.groups for run in group.runs):
        yield f"Runs without a recorded {unit} count each for itself and are never paired."
    if bare := [_short(run) for run in runs if not run.whole]:
        yield f"Without config.json, so compared by their params alone: {', '.join(bare)}."


def _groups(comparison: Comparison) -> tuple[list[str], list[Line]]:
    """Return the header and the cells of the table of differing settings."""
    short = short_names(comparison.columns)
    texts = {path: _texts(comparison, path) for path in short}
    header = ["#", "run", "status", f"{_unit(comparison)}s", *short.values()]
    body: list[Line] = []
    for group in comparison.groups:
        repeats = sorted({group.repeat(run) for run in group.runs}, key=natural)
        cells = [_several([texts[path][str(value)] for value in comparison.cell(group, path)]) for path in short]
        body.append(Line([str(group.number), _name(group), group.statuses, ", ".join(repeats), *cells]))
    return header, body


def _texts(comparison: Comparison, path: str) -> dict[str, str]:
    """Return each full value at `path` with its text in the table, which is short unless two values would look the same."""
    values = {str(value): value for group in comparison.groups for value in comparison.cell(group, path)}
    told = {text: _digits(value) for text, value in values.items()}
    return told if len(set(told.values())) == len(told) else {text: text for text in told}


def _metrics(comparison: Comparison) -> tuple[list[str], list[Line]]:
    """Return the header and the cells of the table of means and differences."""
    base = comparison.baseline
    header = ["metric", "#", "n", "mean", f"minus #{base.number}" if base else "difference", "how"]
    body: list[Line] = []
    for metric in comparison.metrics:
        for group in comparison.groups:
            mean, difference = comparison.mean(group, metric), comparison.difference(group, metric)
            if group.counted:
                cells = [str(len(group.values(metric))), _mean(mean), _difference(difference)]
                body.append(Line([metric, str(group.number), *cells, _how(comparison, group, metric)]))
            for run in group.left_out:
                value, step = run.metrics.get(metric, (None, 0))
                said = "–" if value is None else f"{three_digits(value, keep_zeros=True)} at {step:,}"
                cells = [metric, str(group.number), "–", said, "–", f"{_short(run)} {status(run)}: not counted"]
                body.append(Line(cells, counted=False))
    return header, body


def _records(comparison: Comparison, group: Group, metric: str) -> Iterator[list[object]]:
    """Yield the CSV cells from the column "run" on: one line for the group, and one for each run that is not counted."""
    base = comparison.baseline.number if comparison.baseline else None
    if group.counted:
        mean, difference = comparison.mean(group, metric), comparison.difference(group, metric)
        values = group.values(metric)
        head = [_name(group), group.statuses, len(values), *_numbers(mean), base, *_numbers(difference)]
        pairs = ";".join(f"{repeat}={value!r}" for repeat, value in values.items())
        yield [*head, _how(comparison, group, metric), pairs, ";".join(run.id for run in group.counted)]
    for run in group.left_out:
        value = f"{group.repeat(run)}={run.metrics[metric][0]!r}" if metric in run.metrics else ""
        yield [_short(run), status(run), 0, *_numbers(None), base, *_numbers(None), "not counted", value, run.id]


def _how(comparison: Comparison, group: Group, metric: str) -> str:
    """Return how the numbers of a line were computed, or why they are missing."""
    mean, difference, unit = comparison.mean(group, metric), comparison.difference(group, metric), _unit(comparison)
    said = ["baseline"] if group is comparison.baseline else []
    if mean is None:
        return "; ".join([*said, "not logged"])
    if mean.low is None:
        said.append(f"one {unit}: no interval")
    if difference is not None and difference.how == "paired":
        said.append(f"paired by {' and '.join(comparison.over)}")
    elif difference is not None and difference.low is not None:
        said.append("Welch")
    elif difference is not None:
        said.append("not paired" if mean.low is None else f"baseline has one {unit}: no interval")
    return "; ".join(said)


def _mean(estimate: Estimate | None) -> str:
    if estimate is None:
        return "–"
    value = three_digits(estimate.value, keep_zeros=True)
    return value if estimate.half is None else f"{value} ± {three_digits(estimate.half, keep_zeros=True)}"


def _difference(estimate: Estimate | None) -> str:
    if estimate is None:
        return "–"
    value = _signed(estimate.value)
    if estimate.low is None or estimate.high is None:
        return value
    return f"{value} [{_signed(estimate.low)}, {_signed(estimate.high)}]"


def _signed(value: float) -> str:
    text = three_digits(value, keep_zeros=True)
    return f"+{text}" if value > 0 else text.replace("-", "−", 1) if text.startswith("-") else text


def _numbers(estimate: Estimate | None) -> list[float | None]:
    return [estimate.value, estimate.low, estimate.high] if estimate else [None, None, None]


def _unit(comparison: Comparison) -> str:
    return "seed" if comparison.over == (SEED,) else "repeat"


def _name(group: Group) -> str:
    return _several([_short(run) for run in group.runs])


def _several(texts: Sequence[str]) -> str:
    told = list(dict.fromkeys(texts))
    return ", ".join(told) if len(told) <= NAMES else f"{told[0]} and {len(told) - 1} more"


def _short(run: TrackedRun) -> str:
    return f"{run.name} ({run.id[:8]})"


def _reason(run: TrackedRun) -> str:
    reason = run.tags.get(REASON_TAG, "")
    return f"{_short(run)} {status(run)}" + (f" ({reason})" if reason else "")


def _digits(value: object) -> str:
    """Return a number with three digits, the beginning of a hash, or a commit with the mark that says it was changed."""
    return re.sub(r"\b[0-9a-f]{16,}\b", lambda found: found[0][:8], three_digits(value))


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|").replace("\n", " ")
