"""Write one lesion as files, format by format; `store.export` walks through the store and writes the side-car.

    mat    images/{DNCube,MMCube,OtherCube}/<n>.mat       DataCubeC float32 (H, W, B), wavelengths_nm, lesion_id, origin
           masks/<same folder>/<n>_00.png                 0/255
           lesions.csv                                    file, lesion_id, diagnosis, mask
    envi   cubes/<n>_<lesion id>.hdr and .img             float32, band-sequential, wavelengths in nanometers
           masks/<n>_<lesion id>.png                      0/255, if any pixel is marked
    npz    cubes/<n>_<lesion id>.npz                      cube float32 (H, W, B), wavelengths_nm, mask if there is one

HSIDermoscopy's layout crops every lesion by its mask. A lesion without a mask (such as every synthetic lesion) therefore
gets a mask of the whole frame there; `lesions.csv` and the side-car record which lesions these are.
"""

import csv
import json
import re
from abc import ABC, abstractmethod
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hyperderm.cubes.cube import Lesion
from hyperderm.store.export_format import CUBE, DATA, FOLDERS, HEADER, MASK, OTHER, TABLE, Format, layout_mask

KEY = "DataCubeC"
# Diagnosis to folder and beginning of the file's name in HSIDermoscopy's layout.
PLACES = {diagnosis: (folder, "") for folder, diagnosis in FOLDERS.items() if diagnosis}
PLACES |= {diagnosis: ("OtherCube", tag) for tag, diagnosis in OTHER.items()}
_LONGEST_SLUG = 80


class Files(ABC):
    """A writer of lesions below the folder `root`, one by one."""

    folders: ClassVar[tuple[str, ...]]

    def __init__(self, root: Path) -> None:
        self._root, self._count = root, 0
        for folder in self.folders:
            (root / folder).mkdir(parents=True)

    @abstractmethod
    def put(self, lesion: Lesion) -> tuple[str, str | None]:
        """Write `lesion`; return the relative posix paths of its file and its mask (None if no pixel is marked)."""

    def finish(self) -> None:  # noqa: B027 - most formats have no such file
        """Write the files that describe all lesions, if there are any."""


class MatFiles(Files):
    """Writes HSIDermoscopy's layout, including empty folders, by which readers recognise it."""

    folders = tuple(f"{kind}/{name}" for kind in ("images", "masks") for name in FOLDERS)

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._numbers, self._rows = Counter[str](), list[tuple[str, str, str, str]]()

    def put(self, lesion: Lesion) -> tuple[str, str | None]:
        """Write one `.mat` file and one mask."""
        import scipy.io

        place, tag = PLACES[str(lesion.diagnosis)]
        self._numbers[place + tag] += 1
        file = f"images/{place}/{tag}{self._numbers[place + tag]}.mat"
        content = {
            KEY: lesion.cube.reflectance,
            "wavelengths_nm": lesion.cube.wavelengths_nm,
            "lesion_id": lesion.lesion_id,
            "origin": json.dumps(lesion.origin, sort_keys=True),
        }
        scipy.io.savemat(self._root / file, content, do_compression=True)
        masked = _masked(lesion)
        path = layout_mask(self._root, self._root / file)
        _save_mask(np.ones(lesion.cube.shape[:2], dtype=np.bool_) if masked is None else masked, path)
        self._rows.append((file, lesion.lesion_id, str(lesion.diagnosis), "whole frame" if masked is None else "lesion"))
        return file, None if masked is None else path.relative_to(self._root).as_posix()

    def finish(self) -> None:
        """Write `lesions.csv`."""
        with (self._root / TABLE).open("w", encoding="utf-8", newline="") as stream:
            table = csv.writer(stream)
            table.writerow(["file", "lesion_id", "diagnosis", "mask"])
            table.writerows(self._rows)


class EnviFiles(Files):
    """Writes ENVI headers with band-sequential data files, and masks as pictures."""

    folders = ("cubes", "masks")

    def put(self, lesion: Lesion) -> tuple[str, str | None]:
        """Write one header, one data file and one mask."""
        import spectral.io.envi as envi  # type: ignore[import-untyped]

        self._count += 1
        name = file_name(self._count, lesion.lesion_id)
        file = f"cubes/{name}{HEADER}"
        metadata = {
            "wavelength": [repr(float(nm)) for nm in lesion.cube.wavelengths_nm],
            "wavelength units": "Nanometers",
        }
        path = str((self._root / file).absolute())
        envi.save_image(path, lesion.cube.reflectance, dtype="<f4", interleave="bsq", ext=DATA, metadata=metadata)
        masked = _masked(lesion)
        if masked is None:
            return file, None
        mask = f"masks/{name}.png"
        _save_mask(masked, self._root / mask)
        return file, mask


class NpzFiles(Files):
    """Writes NumPy archives."""

    folders = ("cubes",)

    def put(self, lesion: Lesion) -> tuple[str, str | None]:
        """Write one archive."""
        self._count += 1
        file = f"cubes/{file_name(self._count, lesion.lesion_id)}.npz"
        arrays: dict[str, Any] = {CUBE: lesion.cube.reflectance, "wavelengths_nm": lesion.cube.wavelengths_nm}
        if lesion.mask is not None:
            arrays[MASK] = lesion.mask
        np.savez(self._root / file, **arrays)  # packed, it takes 20 times as long
        return file, None if _masked(lesion) is None else file


FILES: dict[Format, type[Files]] = {"mat": MatFiles, "envi": EnviFiles, "npz": NpzFiles}
"""Format → its writer."""


def _masked(lesion: Lesion) -> NDArray[np.bool_] | None:
    """Return the mask if at least one pixel of it is marked, else None."""
    return lesion.mask if lesion.mask is not None and lesion.mask.any() else None


def _save_mask(mask: NDArray[np.bool_], path: Path) -> None:
    Image.fromarray(mask.astype(np.uint8) * 255).save(path)


def file_name(number: int, lesion_id: str) -> str:
    """Return a file name that sorts in the store's order and contains the lesion's id, made safe for file systems."""
    slug = re.sub(r"[^A-Za-z0-9-]+", "_", lesion_id).strip("_")[:_LONGEST_SLUG]
    return f"{number:06d}_{slug}".rstrip("_")
