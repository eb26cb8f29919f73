"""What every file format yields: one image as its files hold it, before bands, masks and crops."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

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
class ReadOptions:
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

    def read(self, found: Found, asked: ReadOptions) -> Scene:
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
