"""The known abundances and endmembers of a scene, as benchmark scenes of unmixing carry them in a MATLAB file of its own.

Samson, Jasper Ridge, Urban and their like (Zhu 2017, arXiv 1708.05125) come with a file that holds `M`, the reference
endmembers (bands, R), and `A`, their abundances (R, pixels), whose pixels run down the columns of the image first. Each may
be turned, `A` may also be an image (rows, columns, R), and both may be fields of structs.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.io
from numpy.typing import NDArray

from hyperderm.errors import ConfigError, CubeError
from hyperderm.ingest.formats.matlab import DAMAGED, read_arrays

ABUNDANCES = ("a", "abundances", "abundance", "s")
ENDMEMBERS = ("m", "endmembers", "endmember", "e", "spectra")
NAMES = ("cood", "names", "label_strings", "materials")
"""The names of the arrays in lower case, the likeliest first; case in a file does not matter."""
FORM = "with A (R, pixels) and M (bands, R)"
OFF = 0.02
"""How far an abundance may lie outside 0 to 1, and their sum from 1: files round."""

Numeric = dict[str, NDArray[np.generic]]


@dataclass(frozen=True, eq=False)
class KnownMixture:
    """What the pixels of a scene are known to be mixed of.

    Attributes:
        abundances: (H, W, R) float64, each pixel's sum is 1.
        endmembers: (R, B) float64 in units of their own; None if the file holds none.
        names: R names of the materials; "reference 1" and so on where the file holds none.
    """

    abundances: NDArray[np.float64]
    endmembers: NDArray[np.float64] | None
    names: tuple[str, ...]

    @property
    def classes(self) -> NDArray[np.intp]:
        """(H, W): the material with the largest abundance in each pixel, counted from 0."""
        return self.abundances.argmax(2)


def read_known_mixture(path: Path, height: int, width: int) -> KnownMixture:
    """Read the known mixture of a scene of `height` x `width` pixels.

    Raises:
        ConfigError: the file cannot be read, holds no abundances of so many pixels, or they are no shares.
    """
    if path.suffix.lower() != ".mat":
        raise ConfigError(f"--reference {path} is no MATLAB file", f"Give a .mat file {FORM}.")
    try:
        arrays = read_arrays(path).numeric
    except (CubeError, OSError) as error:
        why = error.what if isinstance(error, CubeError) else error.strerror
        raise ConfigError(f"--reference {path}: {why}", f"Give a MATLAB file {FORM}.") from None
    abundances = _abundances(path, arrays, height, width)
    count = abundances.shape[2]
    return KnownMixture(abundances, _endmembers(path, arrays, count), _names(path, count))


def _abundances(path: Path, arrays: Numeric, height: int, width: int) -> NDArray[np.float64]:
    key = _named(arrays, ABUNDANCES)
    if key is None:
        listed = ", ".join(f"{name} {array.shape}" for name, array in sorted(arrays.items())) or "no numbers"
        raise ConfigError(
            f"--reference {path} holds {listed}, and no abundances", "Name the array A or abundances, (R, pixels)."
        )
    array = np.asarray(arrays[key], dtype=np.float64)
    shares = _unfolded(array, height, width)
    if shares is None:
        raise ConfigError(
            f"--reference {path}: {key} of shape {array.shape} for a scene of {height} x {width} = {height * width} pixels",
            "Give the abundances (R, pixels) of this scene, at its native size.",
        )
    sums = shares.sum(2)
    if not (shares.min() >= -OFF and np.abs(sums - 1).max() <= OFF):  # NaN fails it too
        raise ConfigError(
            f"--reference {path}: {key} lies from {shares.min():g} to {shares.max():g}, a pixel's sum from {sums.min():g} "
            f"to {sums.max():g}",
            "Abundances are shares, 0 to 1, whose sum is 1.",
        )
    return shares


def _unfolded(array: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64] | None:
    """Return (H, W, R) from one of the orders that files have; None if no order fits."""
    if array.ndim == 3 and array.shape[:2] == (height, width):
        return array
    if array.ndim == 3 and array.shape[1:] == (height, width):
        return np.moveaxis(array, 0, 2)
    if array.ndim == 2 and height * width in array.shape:
        by_pixel = array.T if array.shape[1] == height * width else array
        return by_pixel.reshape((height, width, -1), order="F")
    return None


def _endmembers(path: Path, arrays: Numeric, count: int) -> NDArray[np.float64] | None:
    key = _named(arrays, ENDMEMBERS)
    if key is None:
        return None
    array = np.asarray(arrays[key], dtype=np.float64)
    if array.ndim != 2 or count not in array.shape or not np.isfinite(array).all():
        raise ConfigError(
            f"--reference {path}: {key} of shape {array.shape} beside {count} abundances",
            f"Give {count} finite spectra (bands, {count}).",
        )
    return array.T if array.shape[1] == count else array


def _named(arrays: Numeric, names: tuple[str, ...]) -> str | None:
    for name in names:
        for key in arrays:
            if key.rpartition(".")[2].lower() == name:
                return key
    return None


def _names(path: Path, count: int) -> tuple[str, ...]:
    """Return the names of the materials from a cell of texts, which `read_arrays` does not open."""
    try:
        held = scipy.io.loadmat(path)
    except DAMAGED:  # a v7.3 file, whose numbers h5py has read
        held = {}
    for key, value in held.items():
        if key.lower() in NAMES and isinstance(value, np.ndarray) and value.size == count:
            said = tuple(str(np.asarray(each).ravel()[0]) for each in value.ravel() if np.asarray(each).size)
            if len(set(said)) == count:
                return said
    return tuple(f"reference {k + 1}" for k in range(count))
