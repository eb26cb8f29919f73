"""The report as Markdown, with its figures as PNG files beside it."""

import re

from hyperderm.reports.ablation.content import Cell, Content, Section, Table

_SPECIAL = re.compile(
    r"[\\`*<>|~$]|^[#+-](?=\s)|(?<![^\W_])_|_(?![^\W_])"  # _ inside a word means nothing
    r"|&(?=\w+;|#)|\](?=[(\[:])|^\[|\[(?=\^)"  # brackets are plain unless they make a link, a task or a note
)


def markdown(content: Content) -> str:
    """Return the whole report; every text is escaped."""
    parts = [f"# {escaped(content.title)}", " ".join(map(escaped, content.answer))]
    if content.warnings:
        parts.append("\n".join(["> **Read this first**", ">", *(f"> - {escaped(warning)}" for warning in content.warnings)]))
    if content.verdicts:
        parts.append("\n".join(f"- {escaped(verdict)}" for verdict in content.verdicts))
    parts.append(f"*{escaped(content.subtitle)}*")
    for section in content.sections:
        parts += _section(section)
    return "\n\n".join(parts) + "\n"


def escaped(text: str) -> str:
    """Return a text on one line, its Markdown and HTML characters taken at their word."""
    return _SPECIAL.sub(lambda found: "\\" + found[0], " ".join(text.split()))


def _section(section: Section) -> list[str]:
    parts = [f"## {escaped(section.title)}", *map(escaped, section.paragraphs)]
    parts += [f"![{escaped(d.alt)}]({d.name}.png)\n\n*{escaped(d.caption)}*" for d in section.drawings]
    for table in section.tables:
        parts += _table(table)
    if section.items:
        parts.append("\n".join(f"- {escaped(item)}" for item in section.items))
    if section.code:
        fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", section.code)), default=0))
        parts.append(f"{fence}python\n{section.code}\n{fence}")
    return parts


def _table(table: Table) -> list[str]:
    """Rows that head others are bold in the first column: Markdown's tables know no spans."""
    lines = [[escaped(column.title) for column in table.columns]]
    lines.append([":--" if column.words else "--:" for column in table.columns])
    for row in table.rows:
        cells = [_cell(cell) for cell in row.cells]
        lines.append([f"**{cells[0]}**", *[""] * (len(table.columns) - 1)] if row.heading else cells)
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    notes = ["  \n".join(f"<sup>{letter}</sup> {escaped(reason)}" for letter, reason in table.notes)] * bool(table.notes)
    return [*[escaped(table.caption)] * bool(table.caption), body, *notes]


def _cell(cell: Cell) -> str:
    mark = f"<sup>{cell.mark}</sup>" if cell.mark else ""
    return f"{escaped(cell.text)}{mark} {escaped(cell.sub)}".strip()
