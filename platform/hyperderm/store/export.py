"""Export a store as files for MATLAB, ENVI or NumPy (see `store.export_files`), and for our own ingest.

The file `export.json` (`ingest.layouts.exported`) lies beside the others. With it, ingest returns the same lesions bit by
bit, neither cropped nor resized, with their ids, groups, diagnoses and origins.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import get_args

from hyperderm.durable import make_parents, publish, room
from hyperderm.errors import ConfigError, CubeError, StoreError, nearest
from hyperderm.store.export_files import FILES, PLACES
from hyperderm.store.export_format import SIDECAR, Export, ExportedLesion, Format, describe, digest
from hyperderm.store.reader import Store

FORMATS: tuple[Format, ...] = get_args(Format)
MATLAB_LIMIT = 2**31
"""The maximum number of bytes of one variable in a MATLAB v5 file."""

Progress = Callable[[int, int], None]
"""A function that is called with the number of lesions written and the total number of lesions."""


def export_store(store: Store, folder: Path, format_: str, progress: Progress = lambda done, total: None) -> int:
    """Write every lesion of `store` below `folder` and return their number; one part is in memory at a time.

    Args:
        store: a store of cubes; for all formats but `mat` also a store of photographs.
        folder: the target folder; it must not exist yet.
        format_: one of `FORMATS`.
        progress: called after every lesion.

    Raises:
        ConfigError: the format is unknown.
        StoreError: the store holds abundances, the format cannot hold the data (`mat`: photographs, a lesion without
            diagnosis, cubes of 2 GiB), or the folder exists already or cannot be written. Nothing is left behind.
    """
    chosen = next((one for one in FORMATS if one == format_), None)
    if chosen is None:
        raise ConfigError(f"--format {format_!r} is unknown", nearest(format_, FORMATS))
    if store.manifest.kind == "abundances":
        raise StoreError(
            f"store {store.location.uri} holds abundances, which are no images that `ingest` could read back",
            "Read its Parquet files with pyarrow, or use the files in the report of `hyperderm unmix`.",
        )
    if chosen == "mat":
        _check_mat(store)
    if folder.exists():
        raise StoreError(f"{folder}: something is already there", "Choose another folder, or remove it first.")
    place = folder.absolute()
    try:
        make_parents(place)
        with room(place) as made:
            (made / place.name).mkdir()
            count = _write_all(store, made / place.name, chosen, progress)
            publish(made / place.name, place)  # fails, as it must, when another export got there first
    except OSError as error:
        raise StoreError(f"{folder} cannot be written: {error}", "Check the place, its space and rights.") from error
    return count


def _check_mat(store: Store) -> None:
    manifest, uri = store.manifest, store.location.uri
    other = "Export a store of cubes, or as --format npz or envi."
    if manifest.kind != "spectral":
        raise StoreError(f"store {uri} holds photographs, not cubes, for which HSIDermoscopy's layout has no place", other)
    if unknown := [name for name in manifest.diagnoses if name not in PLACES]:
        raise StoreError(
            f"store {uri} holds {manifest.diagnoses[unknown[0]]} lesions of diagnosis {unknown[0]!r}, for which "
            "HSIDermoscopy's layout has no folder",
            "Export a store in which every lesion has a diagnosis, or as --format npz or envi.",
        )
    h, w, b = manifest.shape
    if 4 * h * w * b >= MATLAB_LIMIT:
        raise StoreError(
            f"store {uri} holds cubes of {h} x {w} x {b}, MATLAB v5 files end at 2 GiB", "Export as --format npz or envi."
        )


def _write_all(store: Store, root: Path, format_: Format, progress: Progress) -> int:
    manifest = store.manifest
    files, lesions = FILES[format_](root), list[ExportedLesion]()
    for lesion in store.lesions():
        file, mask = files.put(lesion)
        lesions.append(
            ExportedLesion(
                file=file,
                lesion_id=lesion.lesion_id,
                image_id=lesion.image_id,
                group=lesion.group,
                diagnosis=lesion.diagnosis,
                mask=mask,
                cube_sha256=digest(lesion.cube.reflectance),
                mask_sha256=None if lesion.mask is None else digest(lesion.mask),
                origin=lesion.origin,
            )
        )
        progress(len(lesions), manifest.lesions)
    files.finish()
    assert manifest.kind != "abundances"
    sidecar = Export(
        format=format_,
        kind=manifest.kind,
        wavelengths_nm=manifest.wavelengths_nm,
        shape=manifest.shape,
        fingerprint=manifest.fingerprint,
        source=manifest.source,
        lesions=tuple(lesions),
    )
    text = json.dumps(sidecar.model_dump(mode="python"), indent=1)  # pydantic would write the NaN of an origin as null
    (root / SIDECAR).write_text(text + "\n", encoding="utf-8")
    try:
        describe(root)
    except CubeError as error:
        raise StoreError(
            f"store {store.location.uri} holds text that {SIDECAR} cannot hold ({error.what})", "Mend it, then export again."
        ) from error
    return len(lesions)
