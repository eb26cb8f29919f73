"""The result of every file format: one image as its files hold it, before bands, masks and crops."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hyperderm.errors import CubeError


@dataclass(frozen=True)
class SetAside:
    """A file that is not used.

    Attributes:
        file: the file's posix path relative to the root.
        reason: one sentence that says why.
        image: False if the content cannot be an image, such as a table of numbers.
    """

    file: str
    reason: str
    image: bool = True


@dataclass(frozen=True)
class Found:
    """A scene that was found in a folder and has not been read.

    Attributes:
        name: the image's posix path below the root, without suffix: `patient7/left_arm`.
        path: the file that represents the scene, or the folder of its band images.
        files: all files that determine the pixels and wavelengths; `path` comes first if it is a file.
        format: the `NAME` of the module that reads the scene.
    """

    name: str
    path: Path
    files: tuple[Path, ...]
    format: str


@dataclass(frozen=True)
class Scene:
    """One image as its files hold it.

    Attributes:
        reflectance: (H, W, B) float32 in the order of the file's bands, or of their wavelengths if these are known. Values
            are NaN or infinite where nothing was measured; only the values that a crop needs are judged.
        wavelengths_nm: (B,) nm, strictly increasing; None if no file gives them.
        facts: the file entries that shaped the pixels, JSON-serialisable, for a lesion's origin.
    """

    reflectance: NDArray[np.float32]
    wavelengths_nm: NDArray[np.float64] | None
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Beside:
    """A side file of wavelengths: its name and the listed nm, or the reason why it cannot be used."""

    name: str
    nm: tuple[float, ...] = ()
    problem: CubeError | None = None


@dataclass(frozen=True)
class ReadOptions:
    """The user's options for files that lack this information; every format uses the options that concern it.

    Attributes:
        wavelengths_nm: (B,) nm in the order of the file's bands; overrules the files. None: the files give them.
        rows: the number of rows of an image stored as a matrix of pixels by bands, if nothing else gives it.
        columns: the number of columns of such an image.
        key: the key of the array to read from a file that holds several.
        axes: the order of the axes of a file's array, written with "H", "W" and "B"; None: the file gives it.
        beside: the side file of one scene; used if the scene's own file lists no usable wavelengths.
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
        """Return the scenes among `files`, which all lie directly in `folder`, by their names alone."""

    def read(self, found: Found, asked: ReadOptions) -> Scene:
        """Read one scene; raise CubeError with one sentence if it cannot be a scene."""


def inside(root: Path, folder: Path, name: str) -> Path:
    """Return the file that a side file in `folder` names; it must lie below `root`.

    Raises:
        CubeError: the name is absolute or leads out of `root`.
    """
    path = (folder / name).resolve()
    if Path(name).is_absolute() or not path.is_relative_to(root.resolve()):
        raise CubeError(f"names the file {name!r}, which lies outside {root.name}/", "Side files name files beside them.")
    return path
