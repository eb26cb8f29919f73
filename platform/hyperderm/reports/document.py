"""The parts of a report as plain text, and their conversion to an HTML page or to Markdown with figures."""

import io
import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Literal

from matplotlib import rc_context
from matplotlib.figure import Figure

from hyperderm.reports.figure_style import WIDTH
from hyperderm.reports.number_format import MISSING

Tone = Literal["", "good", "bad", "quiet", "strong"]


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: the value.
        sub: smaller text below the value, e.g. its interval.
        mark: the letter of the note that explains the value.
        tone: a meaning that the page may show as a colour; the text states the meaning too.
    """

    text: str
    sub: str = ""
    mark: str = ""
    tone: Tone = ""


@dataclass(frozen=True)
class Row:
    """One row of cells under the columns; a row with a single cell is a heading for the rows below."""

    cells: tuple[Cell, ...]

    @property
    def heading(self) -> bool:
        """Whether the row is a heading that spans the table."""
        return len(self.cells) == 1


@dataclass(frozen=True)
class Column:
    """The title of a column; numbers are aligned right, words left."""

    title: str
    words: bool = False


@dataclass(frozen=True)
class Table:
    """A table with lettered notes below it."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Drawing:
    """A figure; `name` is its file name without suffix, and `alt` describes the figure to readers who cannot see it."""

    name: str
    draw: Callable[[], Figure]
    alt: str
    caption: str


@dataclass(frozen=True)
class Section:
    """A heading with its content, in the order of the fields.

    Attributes:
        key: the anchor, unique in a report; letters and hyphens only.
        items: a list of sentences.
        code: lines to copy, printed unchanged.
        boxed: whether the section is drawn as a box.
    """

    key: str
    title: str
    paragraphs: tuple[str, ...] = ()
    drawings: tuple[Drawing, ...] = ()
    tables: tuple[Table, ...] = ()
    items: tuple[str, ...] = ()
    code: str = ""
    boxed: bool = False


@dataclass(frozen=True)
class Content:
    """A whole report.

    Attributes:
        answer: the sentences of the first paragraph.
        lines: questions with the sentences that answer them, in place of such a paragraph or below it.
        verdicts: one sentence per synthetic arm and model, listed below the warnings; empty if `answer` holds these
            sentences.
        warnings: what a reader must know before trusting the answer.
    """

    title: str
    subtitle: str
    answer: tuple[str, ...]
    verdicts: tuple[str, ...]
    warnings: tuple[str, ...]
    sections: tuple[Section, ...]
    lines: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass
class Notes:
    """Gives letters to reasons while a table is built; equal reasons share a letter."""

    reasons: dict[str, str] = field(default_factory=dict)

    def mark(self, reason: str) -> str:
        """Return the letter of a reason, or "" for an empty reason."""
        if not reason:
            return ""
        if reason not in self.reasons:
            k = len(self.reasons)
            self.reasons[reason] = (chr(ord("a") + k // 26 - 1) if k >= 26 else "") + chr(ord("a") + k % 26)
        return self.reasons[reason]

    def missing(self, reason: str) -> Cell:
        """Return the cell of a missing number, which says that the number is missing and why."""
        return Cell(MISSING, mark=self.mark(reason or "no reason was recorded"), tone="quiet")

    @property
    def listed(self) -> tuple[tuple[str, str], ...]:
        """The letters and their reasons, in order."""
        return tuple((letter, reason) for reason, letter in self.reasons.items())


_SPECIAL = re.compile(
    r"[\\`*<>|~$]|^[#+-](?=\s)|(?<![^\W_])_|_(?![^\W_])"  # _ inside a word means nothing
    r"|&(?=\w+;|#)|\](?=[(\[:])|^\[|\[(?=\^)"  # brackets are plain unless they make a link, a task or a note
)


def markdown(content: Content) -> str:
    """Return the whole report as Markdown; every text is escaped."""
    parts = [f"# {escaped(content.title)}", *([" ".join(map(escaped, content.answer))] if content.answer else [])]
    if content.lines:
        parts.append("\n\n".join(f"**{escaped(asked)}**  \n{' '.join(map(escaped, said))}" for asked, said in content.lines))
    if content.warnings:
        parts.append(
            "\n".join(["> **Before you rely on this**", ">", *(f"> - {escaped(warning)}" for warning in content.warnings)])
        )
    if content.verdicts:
        parts.append("\n".join(f"- {escaped(verdict)}" for verdict in content.verdicts))
    parts.append(f"*{escaped(content.subtitle)}*")
    for section in content.sections:
        parts += _section(section)
    return "\n\n".join(parts) + "\n"


def escaped(text: str) -> str:
    """Return a text on one line, with its Markdown and HTML characters escaped."""
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
    """Return the lines of a table; heading rows become bold text in the first column, as Markdown tables have no spans."""
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


@dataclass(frozen=True)
class Image:
    """A drawn figure.

    Attributes:
        svg: the figure for the page.
        png: the figure for the files beside the page.
        share: the width of the figure as a share of the page's width, in (0, 1].
    """

    svg: bytes
    png: bytes
    share: float

    @property
    def address(self) -> str:
        """The SVG as a `data:` address."""
        return f"data:image/svg+xml;base64,{b64encode(self.svg).decode('ascii')}"


def image(figure: Figure) -> Image:
    """Return a figure as SVG and PNG; equal figures give equal bytes."""
    svg, png = io.BytesIO(), io.BytesIO()
    with rc_context({"svg.hashsalt": "hyperderm", "svg.fonttype": "path"}):
        figure.savefig(svg, format="svg", metadata={"Date": None})
    figure.savefig(png, format="png", dpi=figure.dpi)
    return Image(svg.getvalue(), png.getvalue(), min(1.0, figure.get_figwidth() / WIDTH))


def page(content: Content, images: Mapping[str, Image]) -> str:
    """Return the report as HTML; every text is escaped.

    Args:
        content: the report.
        images: name of each drawing to its drawn figure.
    """
    from jinja2 import Environment, StrictUndefined  # only a report needs it

    source = files(__package__).joinpath("report.html.j2").read_text(encoding="utf-8")
    jinja = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return jinja.from_string(source).render(report=content, images=images)
