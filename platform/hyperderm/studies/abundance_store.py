"""Abundance maps as a store: the rows of a store of cubes, with how much of each endmember a pixel holds in place of bands.

It has no folds. Its endmembers are those of one fold's train role, and it shows the lesions of train and validation of that
fold; another fold would find lesions of its own test role among those that gave the endmembers. It is for other programs,
which read its Parquet files. Networks of this project learn abundances by `learner.space=abundance`, which finds the
endmembers anew in each fold.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from hyperderm.cubes.cube import Cube, Lesion
from hyperderm.store.manifest import Manifest, SetAsideFile
from hyperderm.store.writer import write_store
from hyperderm.studies.unmixing import Unmixing

VERB = "unmix"


def write_abundances(uri: str, found: Unmixing, maps: Path) -> Manifest:
    """Write the abundances of an unmixed store as a store of kind `abundances`, and return its manifest.

    Lesions with pixels that could not be unmixed are set aside with their number, because a store holds no NaN.

    Args:
        uri: a folder or object-storage prefix that does not hold anything yet.
        found: the unmixing.
        maps: the Parquet file with its abundance maps, (H, W, R) a lesion in the order of the store.

    Raises:
        StoreError: the place is not empty or cannot be written, or no lesion could be unmixed whole. Nothing is left behind.
    """
    request = found.request
    masked = {lesion.lesion_id: lesion.masked for lesion in found.lesions}
    aside = [
        SetAsideFile(file=name, reason=f"{count} pixels without a finite spectrum have no abundances")
        for name, count in masked.items()
        if count
    ]
    source = {
        "verb": VERB,
        "manifest": request.store.manifest.fingerprint,
        "fold": request.fold,
        "method": request.method,
        "seed": request.seed,
        "unit_length": request.unit,
        "wavelengths_nm": list(request.nm),
        "endmembers": found.endmembers.tolist(),
    }
    lesions = (each for each in _lesions(found, maps) if not masked[each.lesion_id])
    return write_store(uri, lesions, fold_count=0, kind="abundances", set_aside=aside, source=source)


def _lesions(found: Unmixing, maps: Path) -> Iterator[Lesion]:
    """Yield the lesions with their abundances for bands; NaN as 0."""
    endmembers = np.arange(1, len(found.endmembers) + 1, dtype=np.float64)
    abundances = _maps(maps)
    wanted = {lesion.lesion_id for lesion in found.lesions}
    for lesion in found.request.store.lesions():
        if lesion.lesion_id in wanted:
            name, values = next(abundances)
            assert name == lesion.lesion_id
            yield replace(lesion, cube=Cube(np.nan_to_num(values), endmembers))


def _maps(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            table = file.read_row_group(group)
            values = table.column("abundances").combine_chunks().to_numpy_ndarray()
            yield from zip(table.column("lesion_id").to_pylist(), values, strict=True)
