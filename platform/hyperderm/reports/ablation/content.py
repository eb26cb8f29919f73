"""The parts a report is made of, before they become HTML or Markdown: plain text only, nothing is escaped yet."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from matplotlib.figure import Figure

from hyperderm.statistics.number_format import MISSING

Tone = Literal["", "good", "bad", "quiet", "strong"]


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: the value.
        sub: what stands smaller below it, e.g. its interval.
        mark: letter of the note that explains it.
        tone: meaning that the page may colour; the text says it too.
    """

    text: str
    sub: str = ""
    mark: str = ""
    tone: Tone = ""


@dataclass(frozen=True)
class Row:
    """Cells under the columns; a row of one cell is a heading over the rows below."""

    cells: tuple[Cell, ...]

    @property
    def heading(self) -> bool:
        """Whether it spans the table."""
        return len(self.cells) == 1


@dataclass(frozen=True)
class Column:
    """A column's title; numbers stand right, words left."""

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
    """A figure: `name` is its file without suffix, `alt` is for those who cannot see it."""

    name: str
    draw: Callable[[], Figure]
    alt: str
    caption: str


@dataclass(frozen=True)
class Section:
    """One heading and what stands below it, in this order.

    Attributes:
        key: the anchor, unique in a report, letters and hyphens only.
        items: a list of sentences.
        code: lines to copy, as they are.
        boxed: drawn as a box.
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
        answer: sentences of the first paragraph.
        verdicts: one sentence per synthetic arm and model, as a list below the warnings; empty where `answer` holds them.
        warnings: what to know before believing the answer.
    """

    title: str
    subtitle: str
    answer: tuple[str, ...]
    verdicts: tuple[str, ...]
    warnings: tuple[str, ...]
    sections: tuple[Section, ...]


@dataclass
class Notes:
    """Letters for reasons while a table is built; equal reasons share a letter."""

    reasons: dict[str, str] = field(default_factory=dict)

    def mark(self, reason: str) -> str:
        """Return the letter of a reason; none for an empty one."""
        if not reason:
            return ""
        if reason not in self.reasons:
            k = len(self.reasons)
            self.reasons[reason] = (chr(ord("a") + k // 26 - 1) if k >= 26 else "") + chr(ord("a") + k % 26)
        return self.reasons[reason]

    def missing(self, reason: str) -> Cell:
        """Return the cell of a number that is not there: it says so and why."""
        return Cell(MISSING, mark=self.mark(reason or "no reason was recorded"), tone="quiet")

    @property
    def listed(self) -> tuple[tuple[str, str], ...]:
        """Letters and reasons in order."""
        return tuple((letter, reason) for reason, letter in self.reasons.items())
