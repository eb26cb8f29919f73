"""The columns of a store, and the conversion between rows and lesions."""

import json
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from hyperderm.cubes.cube import Cube, Lesion
from hyperderm.errors import StoreError
from hyperderm.strict import json_of


def schema(shape: tuple[int, int, int]) -> pa.Schema:
    """Return the Arrow schema for cubes of `shape` (H, W, B).

    Plain pyarrow can read it; Ray Data reads the cubes as tensors.
    """
    h, w, _ = shape
    return pa.schema(
        [
            pa.field("lesion_id", pa.string(), nullable=False),
            pa.field("image_id", pa.string(), nullable=False),
            pa.field("group", pa.string(), nullable=False),
            pa.field("diagnosis", pa.string()),
            pa.field("cube", pa.fixed_shape_tensor(pa.float32(), shape), nullable=False),
            pa.field("mask", pa.fixed_shape_tensor(pa.uint8(), (h, w)), nullable=False),
            pa.field("has_mask", pa.bool_(), nullable=False),
            pa.field("origin", pa.string(), nullable=False),
        ]
    )


def to_table(lesions: Sequence[Lesion], shape: tuple[int, int, int]) -> pa.Table:
    """Return the rows of `lesions`.

    Raises:
        StoreError: the cube of a lesion does not have this `shape`.
    """
    for lesion in lesions:
        if lesion.cube.shape != shape:
            raise StoreError(
                f"lesion {lesion.lesion_id} is {lesion.cube.shape}, the store holds {shape}", "A store has one shape."
            )
    target = schema(shape)
    cubes = np.stack([lesion.cube.reflectance for lesion in lesions])
    none = np.zeros(shape[:2], np.uint8)
    masks = np.stack([none if lesion.mask is None else lesion.mask.astype(np.uint8) for lesion in lesions])
    columns = [
        pa.array([lesion.lesion_id for lesion in lesions]),
        pa.array([lesion.image_id for lesion in lesions]),
        pa.array([lesion.group for lesion in lesions]),
        pa.array([lesion.diagnosis for lesion in lesions], pa.string()),
        pa.FixedShapeTensorArray.from_numpy_ndarray(cubes),
        pa.FixedShapeTensorArray.from_numpy_ndarray(masks),
        pa.array([lesion.mask is not None for lesion in lesions]),
        pa.array([json.dumps(lesion.origin, sort_keys=True) for lesion in lesions]),
    ]
    return pa.Table.from_arrays(columns, schema=target)


def to_lesions(table: pa.Table, wavelengths_nm: Sequence[float]) -> Iterator[Lesion]:
    """Yield the lesions of a table's rows, in order; this is the inverse of `to_table`."""
    nm = np.array(wavelengths_nm, dtype=np.float64)
    cubes = table.column("cube").combine_chunks().to_numpy_ndarray()
    masks = table.column("mask").combine_chunks().to_numpy_ndarray()
    for row, cube, mask in zip(table.drop_columns(["cube", "mask"]).to_pylist(), cubes, masks, strict=True):
        yield Lesion(
            lesion_id=row["lesion_id"],
            image_id=row["image_id"],
            group=row["group"],
            diagnosis=row["diagnosis"],
            cube=Cube(cube, nm),
            mask=mask.astype(bool) if row["has_mask"] else None,
            origin=json_of(row["origin"]),
        )
