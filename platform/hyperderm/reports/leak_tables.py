"""The result of a leak audit for readers, as tables for a terminal, as Markdown and as CSV."""

import csv as csv_module
import io
from collections.abc import Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from hyperderm.learners.spec import PIXELWISE
from hyperderm.store.leaks import KINDS, Finding, Verdict

NAMES = 3
"""The largest number of users of a leak that a table names; more users are counted instead."""
HEADER = ("what", "touched by", "role", "lesions", "used by", "opened")
UNKNOWN = "What cannot be told"


def table(verdict: Verdict) -> Group:
    """Return the tables for a terminal: one for each kind of leak, one of unknown facts, and the summary."""
    parts: list[Table | Text] = []
    for title, header, rows in _blocks(verdict):
        made = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, pad_edge=False, header_style="bold")
        for name in header:
            made.add_column(name, overflow="fold")
        for cells in rows:
            made.add_row(*map(Text, cells))
        parts += [Text(f"{title}: {len(rows)}", style="bold"), made, Text()]
    return Group(*parts, Text(summary(verdict)))


def markdown(verdict: Verdict) -> str:
    """Return the same tables and summary as Markdown."""
    blocks = []
    for title, header, rows in _blocks(verdict):
        lines = [header, [":--"] * len(header), *rows]
        text = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
        blocks.append(f"## {title}: {len(rows)}\n\n{text}")
    return "\n\n".join([*blocks, summary(verdict)]) + "\n"


def csv(verdict: Verdict) -> str:
    """Return one line for each leak and each unknown fact, with all users joined by ";"; an empty cell means "not known"."""
    out = io.StringIO()
    write = csv_module.writer(out, lineterminator="\n").writerow
    write(["kind", "touched_by", "data", "role", "lesions", "of", "how", "users", "opened"])
    for one in verdict.findings:
        held = ["" if number is None else number for number in (one.lesions, one.held)]
        write([one.kind, one.by, one.data, one.role, *held, one.how, ";".join(one.users), one.opened])
    for name, what in verdict.unknown:
        write(["unknown", name, what, "", "", "", "", "", ""])
    return out.getvalue()


def summary(verdict: Verdict) -> str:
    """Return one line that says how much was examined, what leaked, and what is unknown."""
    found = [
        _count(verdict.counts.get(kind, 0), word, word + ("es" if kind == "search" else "s"))
        for kind, word in (("search", "search"), ("generator", "generator"), ("set", "synthetic set"))
    ]
    further = (*PIXELWISE, "evaluation", "description")
    found += [_count(verdict.counts[kind], kind, f"{kind}s") for kind in further if verdict.counts.get(kind)]
    classifiers = _count(verdict.counts.get("classifier", 0), "classifier", "classifiers")
    opened = f"{_count(verdict.roles, 'test role', 'test roles')} opened {_count(verdict.openings, 'time', 'times')}"
    leaks = _count(len(verdict.findings), "leak", "leaks") if verdict.findings else "no leak found"
    unknown = f"{len(verdict.unknown)} unknown" if verdict.unknown else "nothing unknown"
    stores = f"{_count(verdict.stores, 'store', 'stores')} read"
    return f"{', '.join(found)}, {classifiers}; {opened}; {stores}: {leaks}, {unknown}."


def _blocks(verdict: Verdict) -> Iterator[tuple[str, Sequence[str], list[list[str]]]]:
    for kind, title in KINDS.items():
        if rows := [_cells(one) for one in verdict.findings if one.kind == kind]:
            yield title, HEADER, rows
    if verdict.unknown:
        yield UNKNOWN, ("run", "why"), [list(pair) for pair in verdict.unknown]


def _cells(one: Finding) -> list[str]:
    if one.lesions is None:
        lesions = f"not counted ({one.how})" if one.how else "not counted"
    else:
        lesions = f"{one.lesions} of {one.held}" + (f" ({one.how})" if one.how else "")
    more = f" and {len(one.users) - NAMES} more" if len(one.users) > NAMES else ""
    used = ", ".join(one.users[:NAMES]) + more
    return [one.data, one.by, one.role, lesions, used, f"{one.opened} of {len(one.users)}"]


def _count(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"
