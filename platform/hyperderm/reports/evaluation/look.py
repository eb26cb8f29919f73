"""What the figures of an evaluation share: the look of each set, the choice of cubes, and their pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from hyperderm.errors import CubeError
from hyperderm.metrics.evaluation.measure import Measured
from hyperderm.metrics.evaluation.scores import Comparison, CubeGroup
from hyperderm.reports.figure_parts import EDGE, TEXT, evenly
from hyperderm.reports.figure_style import HUES, INK, QUIET, WIDTH, text_width, wrapped
from hyperderm.tracking.figures import RealSet

Dash = tuple[int, tuple[float, ...]]
Picture = NDArray[np.uint8]
KEY = 0.23
"""Height in inches of a line of the key."""
_GAIN_FROM = 48  # train cubes from which gain and white are taken: more of them change neither


class Look(NamedTuple):
    """How one role is drawn in all figures; it is told apart by marker and dash too."""

    role: str
    colour: str
    marker: str
    dash: Dash


SYNTHETIC = Look("synthetic", HUES[1], "o", (0, ()))
HELD_OUT = Look("held-out", HUES[0], "^", (0, (5, 1.6)))
TRAIN = Look("train", QUIET, "s", (0, (1.2, 1.4)))
Sets = tuple[tuple[Look, CubeGroup], ...]


def sets(found: Measured, how: Comparison) -> Sets:
    """Return the three sets with their looks."""
    return (SYNTHETIC, found.synthetic), (HELD_OUT, how.held_out), (TRAIN, how.train)


def label(look: Look, name: str) -> str:
    """Return the role and the name of a set, the name once if it is the role's."""
    return look.role if name == look.role else f"{look.role}: {name}"


def counted(look: Look, name: str, size: int) -> str:
    """Return the name of a set with its number of cubes."""
    return f"{label(look, name)}, {size} cube{'s' * (size != 1)}"


def key_height(shown: Sets) -> float:
    """Return the height in inches of the key of these sets: one line if they fit, or one line each."""
    return KEY * (1 if _in_a_line(shown) else len(shown)) + 0.08


def key(figure: Figure, shown: Sets, *, line: bool) -> None:
    """Draw the key of sets at the top left; `line` says whether the figure draws lines or markers alone."""
    names = [wrapped(counted(look, group.name, len(group)), WIDTH - 1.2, TEXT, 1) for look, group in shown]
    handles = [
        Line2D(
            [], [], color=look.colour, marker=look.marker, markersize=5.5, linestyle=look.dash if line else "none",
            linewidth=1.6, markerfacecolor=inside(look), label=name.replace("$", r"\$"),
        )
        for (look, _), name in zip(shown, names, strict=True)
    ]  # fmt: skip
    figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(EDGE / WIDTH, 1 - 0.1 / figure.get_figheight()),
        ncols=len(shown) if _in_a_line(shown) else 1, frameon=False, fontsize=TEXT, borderaxespad=0, borderpad=0,
        labelcolor=INK, handlelength=2.8, columnspacing=2, labelspacing=0.35,
    )  # fmt: skip


def inside(look: Look) -> str:
    """Return the fill of a role's markers: train's are hollow."""
    return "white" if look is TRAIN else look.colour


def _in_a_line(shown: Sets) -> bool:
    return sum(text_width(counted(look, group.name, len(group)), TEXT) + 0.8 for look, group in shown) < WIDTH - 2 * EDGE


def spread(group: CubeGroup, count: int, only: Sequence[str] = ()) -> list[int]:
    """Choose at most `count` cubes, evenly spread over the set in order of diagnosis and then of position.

    So every diagnosis has its share, and no cube is chosen for its looks.

    Args:
        group: the set.
        count: number of cubes.
        only: if cubes of these diagnoses are there, no others are chosen.
    """
    rows = [row for row, diagnosis in enumerate(group.diagnoses) if diagnosis in only] or list(range(len(group)))
    rows.sort(key=lambda row: group.diagnoses[row])
    return evenly(rows, count)


@dataclass(frozen=True, eq=False)
class Pictures:
    """Turns cubes into pictures, all at one gain and white balance, which come from train.

    Attributes:
        how: the comparison.
    """

    how: Comparison

    @cached_property
    def _real(self) -> RealSet | None:
        train = self.how.train
        rows = evenly(range(len(train)), _GAIN_FROM)
        cubes = np.moveaxis(train.cubes[rows].numpy(), 1, -1)
        real = RealSet(cubes, [train.diagnoses[row] for row in rows], np.array(self.how.wavelengths))
        try:
            _ = real.gain, real.white
        except CubeError:
            return None
        return real

    @property
    def kind(self) -> str:
        """What the pictures are, in words."""
        if self._real is None:
            return "mean of all bands in grey, because these bands give no pseudo-RGB"
        return "pseudo-RGB, one gain and white balance for all"

    def of(self, group: CubeGroup, row: int) -> Picture:
        """Return the picture (S, S, 3) of a cube; without bands for pseudo-RGB it is the mean of all bands in grey."""
        cube = np.moveaxis(group.cubes[row].numpy(), 0, -1)
        if self._real is not None:
            return np.asarray(self._real.picture(cube))
        grey = ((cube - self.how.low) / (self.how.high - self.how.low)).mean(2)
        level = np.clip(np.round(255 * grey), 0, 255).astype(np.uint8)
        return np.repeat(level[..., None], 3, axis=2)
