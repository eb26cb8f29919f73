"""A store as `.mat` files in HSIDermoscopy's layout, for MATLAB, for others, and for our own ingest.

    <folder>/images/{DNCube,MMCube,OtherCube}/<n>.mat      DataCubeC float32 (H, W, B), wavelengths_nm, lesion_id, origin
    <folder>/masks/<same folder>/<n>_00.png                0/255
    <folder>/lesions.csv                                   file, lesion_id, diagnosis, mask

The layout crops every lesion by its mask, so a lesion without one (every synthetic one) gets a mask of the whole frame;
`lesions.csv` says which. Ingest of those, at the store's size, returns the same cubes bit by bit; around a true mask it
crops again.
"""

import csv
import json
import os
import shutil
import uuid
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from hyperderm.cubes.cube import Lesion
from hyperderm.cubes.readers.hsidermoscopy import FOLDERS, OTHER
from hyperderm.errors import StoreError
from hyperderm.store.reader import Store

KEY = "DataCubeC"
TABLE = "lesions.csv"
_PLACES = {diagnosis: (folder, "") for folder, diagnosis in FOLDERS.items() if diagnosis}
_PLACES |= {diagnosis: ("OtherCube", tag) for tag, diagnosis in OTHER.items()}


def export_mat(store: Store, folder: Path) -> int:
    """Write every lesion of `store` below `folder` and return their number; one part is in memory at a time.

    Raises:
        StoreError: photographs, a lesion without diagnosis (the layout has no place for it), or a folder that is there
            already or cannot be written. Nothing is left behind.
    """
    manifest, uri = store.manifest, store.location.uri
    if manifest.kind != "spectral":
        raise StoreError(f"store {uri} holds photographs, not cubes", "Export a store of cubes.")
    if unknown := [name for name in manifest.diagnoses if name not in _PLACES]:
        raise StoreError(
            f"store {uri} holds {manifest.diagnoses[unknown[0]]} lesions of diagnosis {unknown[0]!r}, for which "
            "HSIDermoscopy's layout has no folder",
            "Export a store in which every lesion has a diagnosis.",
        )
    if folder.exists():
        raise StoreError(f"{folder}: something is already there", "Choose another folder, or remove it first.")
    staging = folder.absolute().with_name(f".{folder.name}.partial-{uuid.uuid4().hex[:8]}")
    try:
        for kind in ("images", "masks"):
            for name in FOLDERS:  # empty ones too: readers know the layout by them
                (staging / kind / name).mkdir(parents=True)
        count = _write_all(store, staging)
        os.replace(staging, folder.absolute())  # noqa: PTH105 - fails, as it must, when another export got there first
    except OSError as error:
        raise StoreError(f"{folder} cannot be written: {error}", "Check the place, its space and rights.") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return count


def _write_all(store: Store, root: Path) -> int:
    numbers: Counter[str] = Counter()
    with (root / TABLE).open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["file", "lesion_id", "diagnosis", "mask"])
        for lesion in store.lesions():
            place, tag = _PLACES[str(lesion.diagnosis)]
            numbers[place + tag] += 1
            name = f"{place}/{tag}{numbers[place + tag]}"
            masked = _write_one(lesion, root, name)
            file = f"images/{name}.mat"
            table.writerow([file, lesion.lesion_id, lesion.diagnosis, "lesion" if masked else "whole frame"])
    return numbers.total()


def _write_one(lesion: Lesion, root: Path, name: str) -> bool:
    """Write one lesion; return whether its mask is one of the lesion."""
    import scipy.io

    content = {
        KEY: lesion.cube.reflectance,
        "wavelengths_nm": lesion.cube.wavelengths_nm,
        "lesion_id": lesion.lesion_id,
        "origin": json.dumps(lesion.origin, sort_keys=True),
    }
    scipy.io.savemat(root / "images" / f"{name}.mat", content, do_compression=True)
    masked = lesion.mask is not None and bool(lesion.mask.any())
    mask = lesion.mask if lesion.mask is not None and masked else np.ones(lesion.cube.shape[:2], dtype=np.bool_)
    Image.fromarray(mask.astype(np.uint8) * 255).save(root / "masks" / f"{name}_00.png")
    return masked
