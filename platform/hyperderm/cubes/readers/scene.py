"""What every file format yields: one image as its files hold it, before bands, masks and crops."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hyperderm.cubes.cube import NOTES
from hyperderm.errors import CubeError


@dataclass(frozen=True)
class SetAside:
    """A file that was not used.

    Attributes:
        file: its path relative to the root, posix.
        reason: one sentence why.
        image: False where it can be no image by what it holds, such as a table of numbers.
    """

    file: str
    reason: str
    image: bool = True


@dataclass(frozen=True)
class Found:
    """A scene that lies in a folder, unread.

    Attributes:
        name: of the image below the root, posix, without suffix: `patient7/left_arm`.
        path: the file that stands for it, or the folder of its band images.
        files: everything its pixels and wavelengths depend on, `path` first where that is a file.
        format: `NAME` of the module that reads it.
    """

    name: str
    path: Path
    files: tuple[Path, ...]
    format: str


@dataclass(frozen=True)
class Scene:
    """One image as its files hold it.

    Attributes:
        reflectance: (H, W, B) float32 in the order of the file's bands, or of their wavelengths where those are known. NaN
            or infinite where nothing was measured: only what a crop needs is judged.
        wavelengths_nm: (B,) nm, strictly increasing; None where no file says them.
        facts: what the files said that shaped the pixels, JSON-serialisable: goes into a lesion's origin.
    """

    reflectance: NDArray[np.float32]
    wavelengths_nm: NDArray[np.float64] | None
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Beside:
    """A side file of wavelengths: its name and the nm that it lists, or why it cannot be used."""

    name: str
    nm: tuple[float, ...] = ()
    problem: CubeError | None = None


@dataclass(frozen=True)
class Asked:
    """What a user says about files that cannot say it themselves; every format looks at what concerns it.

    Attributes:
        wavelengths_nm: (B,) nm in the order of the file's bands; overrules the files. None: the files know.
        rows: of a matrix of pixels by bands, where nothing else says so.
        columns: likewise.
        key: of the array in a file that holds several.
        axes: what the axes of a file's array are, in its order: some order of "H", "W" and "B"; None: the file knows.
        beside: the side file of one scene; counts where its file lists no wavelengths that can be used.
    """

    wavelengths_nm: tuple[float, ...] | None = None
    rows: int | None = None
    columns: int | None = None
    key: str | None = None
    axes: str | None = None
    beside: Beside | None = None


class Format(Protocol):
    """A module that reads one file format."""

    NAME: str

    def find(self, folder: Path, files: Sequence[Path], root: Path) -> list[Found]:
        """Return the scenes among `files`, all directly in `folder`, by their names alone."""

    def read(self, found: Found, asked: Asked) -> Scene:
        """Read one scene; CubeError, in one sentence, where it cannot be one."""


def inside(root: Path, folder: Path, name: str) -> Path:
    """Return the file that a side file in `folder` names, which must lie below `root`.

    Raises:
        CubeError: an absolute name, or one that climbs out of `root`.
    """
    path = (folder / name).resolve()
    if Path(name).is_absolute() or not path.is_relative_to(root.resolve()):
        raise CubeError(f"names the file {name!r}, which lies outside {root.name}/", "Side files name files beside them.")
    return path


def checked_nm(wavelengths_nm: Sequence[float] | NDArray[np.float64], bands: int) -> NDArray[np.float64]:
    """Return the wavelengths of so many bands in their order, which may be any.

    Raises:
        CubeError: another number of wavelengths than of bands, one that is no positive number, or one twice.
    """
    nm = np.asarray(wavelengths_nm, dtype=np.float64)
    if nm.shape != (bands,):
        raise CubeError(f"{bands} bands but {nm.size} wavelengths")
    if not np.all(np.isfinite(nm)) or np.any(nm <= 0):
        raise CubeError(f"wavelengths must be positive, got {nm.tolist()}")
    values, counts = np.unique(nm, return_counts=True)
    if values.size < nm.size:
        twice = float(values[counts > 1][0])
        numbers = ", ".join(str(i + 1) for i in np.flatnonzero(nm == twice))
        raise CubeError(
            f"bands {numbers} have the same wavelength, {twice:g} nm",
            "Give every band's own one with --wavelengths, or save the image without the band that comes twice.",
        )
    return nm


def by_wavelength(
    reflectance: NDArray[np.float32], wavelengths_nm: Sequence[float] | NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float64], dict[str, Any]]:
    """Bring the bands of (H, W, B) into the order of their wavelengths (B,) nm.

    Returns:
        The bands and wavelengths, rising; and facts for a lesion's origin: `band_order`, for every band its place in the
        file from 0, and a note, where anything had to be moved.

    Raises:
        CubeError: as `checked_nm`.
    """
    nm = checked_nm(wavelengths_nm, reflectance.shape[2])
    order = np.argsort(nm)
    if np.all(order[1:] > order[:-1]):
        return reflectance, nm, {}
    how = "fall from band to band" if np.all(np.diff(nm) < 0) else "are not in order"
    note = f"the wavelengths of its file {how}: its bands were sorted by them"
    return np.ascontiguousarray(reflectance[..., order]), nm[order], {"band_order": order.tolist(), NOTES: [note]}


def ascending(
    reflectance: NDArray[np.float32], wavelengths_nm: Sequence[float] | NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Prove that (H, W, B) and (B,) nm belong together and rise.

    Raises:
        CubeError: another number of wavelengths than of bands, one twice, or falling ones.
    """
    nm = checked_nm(wavelengths_nm, reflectance.shape[2])
    if np.any(np.diff(nm) <= 0):
        raise CubeError(f"wavelengths must increase from band to band, got {nm.tolist()}")
    return reflectance, nm
