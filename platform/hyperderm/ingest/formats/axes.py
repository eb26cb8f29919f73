"""Decide which axes of an array are rows, columns and bands if its file does not say so.

The axis that is as long as the list of wavelengths holds the bands. If several axes have that length, the documented order
of the format is used and reported. If the format documents no order, the file is refused until the user gives `--axes`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hyperderm.errors import ConfigError, CubeError

_WORDS = {"H": "rows", "W": "columns", "B": "bands"}


@dataclass(frozen=True)
class Axes:
    """The possible axes of a three-dimensional array; each order is written with the letters H, W and B.

    Attributes:
        orders: the orders for bands on the first, the middle and the last axis; None: the format does not allow it.
        usual: the index of the order that is used if the wavelengths do not decide.
        documented: whether `usual` is also used if several axes are as long as the list of wavelengths.
        first_note: a note for the user if the bands are the first axis; empty: no note.
    """

    orders: tuple[str | None, str | None, str | None]
    usual: int
    documented: bool = True
    first_note: str = ""

    @property
    def known(self) -> bool:
        """Return whether only one order is possible."""
        return sum(order is not None for order in self.orders) == 1


BANDS_LAST = Axes((None, None, "HWB"), 2)
"""The file itself says that the bands are the last axis."""
BANDS_FIRST = Axes(("BHW", None, None), 0)
"""The file itself says that the bands are the first axis."""
ARRAY = Axes(("BHW", "HBW", "HWB"), 2)
"""NumPy and MATLAB arrays: rows, columns and bands, unless something indicates another order."""
PLANES = Axes(("BHW", "HBW", "HWB"), 0)
"""Planes of an image that its writer calls channels, slices or frames."""
PAGES = Axes(("BHW", "HBW", "HWB"), 0, documented=False)
"""Pages of a TIFF: usually bands, but rows if Python's tifffile was given an array of rows, columns and bands."""
HDF5 = Axes(
    ("BWH", None, "HWB"),
    0,
    documented=False,
    first_note="its array has the bands first and no marks of MATLAB: it is taken for bands, columns, rows as MATLAB writes "
    "them; --axes BHW says otherwise",
)
"""An HDF5 array without MATLAB's marks: MATLAB stores bands, columns, rows; Python stores rows, columns, bands."""


def parse_axes(text: str) -> str | None:
    """Return the order of axes that a user gives, in capital letters; None if the text is empty.

    Raises:
        ConfigError: the text is not an order of H, W and B.
    """
    order = text.strip().upper()
    if order and sorted(order) != ["B", "H", "W"]:
        raise ConfigError(f"--axes {text!r} is no order of H (rows), W (columns) and B (bands)", "Give HWB, BHW or HBW.")
    return order or None


def settle(shape: Sequence[int], axes: Axes, bands: int | None, asked: str | None) -> tuple[str, str]:
    """Return the order of the axes of an array of `shape`, and a note for the user, or "".

    Args:
        shape: the three sizes of the array.
        axes: the orders that the format allows.
        bands: the number of wavelengths; None: unknown.
        asked: the user's order; it overrules the format if the format does not fix the order.

    Raises:
        CubeError: no axis, or more than one, has as many entries as there are bands.
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
