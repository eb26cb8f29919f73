"""Which axes of an array are rows, columns and bands, where its file does not say so.

The axis that is as long as the list of wavelengths holds the bands. Where several are, the order of axes that the format
documents counts and is told; a format without one is refused, and `--axes` says it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hyperderm.errors import ConfigError, CubeError

_WORDS = {"H": "rows", "W": "columns", "B": "bands"}


@dataclass(frozen=True)
class Axes:
    """What the axes of a three-dimensional array may be, each order as letters H, W and B.

    Attributes:
        orders: the order where the bands are the first, the middle or the last axis; None: the format cannot have it so.
        usual: which of the three counts where the wavelengths do not decide.
        documented: whether `usual` also counts where several axes are as long as the list of wavelengths.
        first_note: what must be said where the bands are the first axis; empty: nothing.
    """

    orders: tuple[str | None, str | None, str | None]
    usual: int
    documented: bool = True
    first_note: str = ""

    @property
    def known(self) -> bool:
        """Whether only one order is possible."""
        return sum(order is not None for order in self.orders) == 1


BANDS_LAST = Axes((None, None, "HWB"), 2)
"""The file says so."""
BANDS_FIRST = Axes(("BHW", None, None), 0)
"""Likewise."""
ARRAY = Axes(("BHW", "HBW", "HWB"), 2)
"""NumPy and MATLAB: rows, columns and bands, if nothing speaks against it."""
PLANES = Axes(("BHW", "HBW", "HWB"), 0)
"""Planes of an image that its writer calls channels, slices or frames."""
PAGES = Axes(("BHW", "HBW", "HWB"), 0, documented=False)
"""Pages of a TIFF: bands as a rule, rows where Python's tifffile was given an array of rows, columns and bands."""
HDF5 = Axes(
    ("BWH", None, "HWB"),
    0,
    documented=False,
    first_note="its array has the bands first and no marks of MATLAB: it is taken for bands, columns, rows as MATLAB writes "
    "them; --axes BHW says otherwise",
)
"""An HDF5 array without MATLAB's marks: MATLAB stores bands, columns, rows; Python rows, columns, bands."""


def parse_axes(text: str) -> str | None:
    """Return the order of axes that a user gives, in capitals; None where it is empty.

    Raises:
        ConfigError: it is no order of H, W and B.
    """
    order = text.strip().upper()
    if order and sorted(order) != ["B", "H", "W"]:
        raise ConfigError(f"--axes {text!r} is no order of H (rows), W (columns) and B (bands)", "Give HWB, BHW or HBW.")
    return order or None


def settle(shape: Sequence[int], axes: Axes, bands: int | None, asked: str | None) -> tuple[str, str]:
    """Return the order of the axes of an array of `shape`, and what must be said of it, or "".

    Args:
        shape: three sizes.
        axes: what the format knows.
        bands: how many wavelengths there are; None: nobody knows.
        asked: the user's order; overrules the format where that does not know it.

    Raises:
        CubeError: no axis, or several, hold that many bands.
    """
    usual = axes.orders[axes.usual]
    assert usual is not None
    if asked is not None and not axes.known:
        usual, possible = asked, [asked]
    else:
        possible = [order for order in axes.orders if order is not None]
    if bands is None:
        return usual, ""
    fitting = [order for order in possible if shape[order.index("B")] == bands]
    said = " x ".join(map(str, shape))
    if not fitting:
        held = shape[usual.index("B")]
        if len(possible) == 1:
            raise CubeError(f"{held} bands but {bands} wavelengths")
        middle = shape[1] == bands and axes.orders[1] is None
        remedy = "Say what its axes are, such as --axes HBW." if middle else "Give as many --wavelengths as it has bands."
        raise CubeError(f"{held} bands but {bands} wavelengths (its array is {said})", remedy)
    if len(fitting) == 1:
        return fitting[0], axes.first_note if not asked and fitting[0] == axes.orders[0] else ""
    if not axes.documented:
        raise CubeError(
            f"several axes of its {said} array are as long as its {bands} wavelengths: which are the bands cannot be told",
            f"Say what its axes are: --axes {' or '.join(fitting)}.",
        )
    words = ", ".join(_WORDS[axis] for axis in usual)
    return usual, f"its {said} array is taken for {words}, though other axes hold {bands} values too; --axes says otherwise"
