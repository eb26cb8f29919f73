"""The pixels that can be unmixed: finite ones, and enough different ones for the endmembers that are asked for."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hyperderm.errors import ConfigError

Spectra = NDArray[np.float64]
"""Pixels (n, B) or endmembers (R, B), all finite."""

FEWEST = 2
EXTREMES = (0.5, 99.5)
"""Percentiles of the pixels' lengths (as vectors) between which candidates for endmembers lie; see `candidates`."""
NO_SPREAD = 1e-12
"""Share of the pixels' mean power below which a principal component counts as rounding: a millionth of the amplitude."""


@dataclass(frozen=True, eq=False)
class Pixels:
    """The pixels of a scene that can be unmixed.

    Attributes:
        spectra: (n, B) the finite pixels.
        usable: (N,) which of the N pixels of the scene they are.
    """

    spectra: Spectra
    usable: NDArray[np.bool_]

    @property
    def masked(self) -> int:
        """Number of pixels that are left out because a band is NaN or infinite."""
        return int((~self.usable).sum())

    def of_scene(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return values (n, ...) of the usable pixels as (N, ...) of all pixels, with NaN for those that are masked."""
        whole = np.full((len(self.usable), *values.shape[1:]), np.nan)
        whole[self.usable] = values
        return whole


def finite_pixels(pixels: ArrayLike) -> Pixels:
    """Return the pixels (N, B) without those that have a NaN or infinite band.

    Raises:
        ConfigError: the array is not (pixels, bands), or no pixel is finite.
    """
    given = np.asarray(pixels, dtype=np.float64)
    if given.ndim != 2:
        raise ConfigError(f"pixels have the shape {given.shape}", "Give an array of the shape (pixels, bands).")
    usable: NDArray[np.bool_] = np.asarray(np.isfinite(given).all(1))
    if not usable.any():
        what = f"none of the {len(given)} pixels is finite in all bands" if len(given) else "no pixel reflects anything"
        raise ConfigError(what, "Give a cube with finite reflectance above 0.")
    return Pixels(given[usable], usable)


def checked(pixels: ArrayLike, count: int) -> Pixels:
    """Return the finite pixels of (N, B) after proving that `count` endmembers can be found among them.

    R endmembers span R − 1 dimensions, so the pixels must vary in at least R − 1 principal components. This also
    refuses fewer than R different pixels.

    Raises:
        ConfigError: fewer than 2 endmembers, more than bands, more than the pixels span, or pixels that are not usable.
    """
    found = finite_pixels(pixels)
    number, bands = found.spectra.shape
    asked = f"--endmembers {count}"
    if count < FEWEST:
        raise ConfigError(f"{asked}: a mixture has at least {FEWEST}", f"Ask for {FEWEST} or more.")
    if count > bands:
        raise ConfigError(f"{asked}: the pixels have {bands} {_bands(bands)}", _at_most(bands))
    if count > number:
        raise ConfigError(f"{asked}: there are {number} usable pixels, {found.masked} are masked", _at_most(number))
    spread = affine_dimension(found.spectra)
    if spread == 0:
        raise ConfigError(f"{asked}: all {number} pixels have one colour", "Give a scene whose pixels differ.")
    if count > spread + 1:
        what = f"{asked}: the pixels vary in {spread} independent directions only"
        raise ConfigError(what, _at_most(spread + 1))
    return found


def affine_dimension(spectra: Spectra) -> int:
    """Return the number of principal components of pixels (n, B) that are more than rounding (`NO_SPREAD`)."""
    centred = spectra - spectra.mean(0)
    variances = np.linalg.eigvalsh(centred.T @ centred / len(spectra))
    return int((variances > NO_SPREAD * np.square(spectra).sum(1).mean()).sum())


def unit_length(pixels: ArrayLike) -> NDArray[np.float64]:
    """Return pixels (N, B) divided by their Euclidean length, so that brightness does not count; black ones become NaN.

    Scenes are scored so if the brightness of their reference endmembers is arbitrary: those of Samson each have maximum 1,
    while its pure pixels have .49, .65 and .075 (METHODS section 7). NaN pixels are masked later.
    """
    given = np.asarray(pixels, dtype=np.float64)
    length = np.linalg.norm(given, axis=1, keepdims=True)
    return np.divide(given, length, out=np.full_like(given, np.nan), where=length > 0)


def candidates(spectra: Spectra) -> Spectra:
    """Return the pixels (n, B) of middle length (`EXTREMES`), among which endmembers may be sought.

    Corners of the frame and hairs reflect noise, whose colour VCA's projection would take for the purest of all. Specular
    reflections and pixels that the white reference left too bright are many times brighter than skin: a simplex around
    them hardly sees skin. Pixels of unit length all stay.
    """
    if not len(spectra):
        return spectra
    lengths = np.linalg.norm(spectra, axis=1)
    low, high = np.percentile(lengths, EXTREMES)
    return spectra[(lengths >= low * (1 - 1e-9)) & (lengths <= high * (1 + 1e-9))]


def principal(spectra: Spectra, dimensions: int) -> tuple[Spectra, Spectra]:
    """Return the mean (B,) and the first principal directions (dimensions, B), orthonormal, largest variance first."""
    mean = spectra.mean(0)
    centred = spectra - mean
    directions = np.linalg.eigh(centred.T @ centred)[1]
    return mean, directions[:, ::-1][:, :dimensions].T


def _bands(count: int) -> str:
    return "band" if count == 1 else "bands"


def _at_most(count: int) -> str:
    return f"Ask for --endmembers {count} or fewer." if count >= FEWEST else "Give a cube with more bands or more pixels."
