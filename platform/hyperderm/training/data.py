"""Convert Arrow rows to tensors; only here (H, W, B) becomes (B, H, W)."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from hyperderm.errors import ConfigError
from hyperderm.learners.data import CubeSet, TrainData
from hyperderm.learners.held_out_pixels import held_out_blocks
from hyperderm.learners.scaling import Scaling

AT_ONCE = 64
"""Number of rows that are copied or resized together."""


def train_data(
    train: pa.Table,
    validation: pa.Table,
    wavelengths_nm: Sequence[float],
    size: int,
    extra: pa.Table | None = None,
    percentiles: tuple[float, float] | None = None,
    fold_free: bool = False,
) -> TrainData:
    """Turn the rows of two roles, and further rows for training, into tensors of `size` pixels.

    The scaling is fitted to train.

    Args:
        train: rows of the train role.
        validation: rows of the validation role.
        wavelengths_nm: (B,) wavelengths of the bands.
        size: side of the cubes in pixels, at most that of the store.
        extra: rows that are used for training beside `train`; nothing is fitted to them.
        percentiles: `data.scaling_percentiles`, to which the scaling is fitted; None: train's extremes.
        fold_free: whether both roles are all cubes of a store without folds; then blocks of their pixels are held out.

    Raises:
        ConfigError: `size` is larger than the store's, or both percentiles of a band are equal.
    """
    a = cube_set(train, size)
    if fold_free:
        held = held_out_blocks(a.lesion_ids, size)
        learnt = a.reflectance.movedim(1, 0)[:, ~held].T[:, :, None, None]  # (pixels, B, 1, 1)
        return TrainData(a, a, tuple(wavelengths_nm), Scaling.fit(learnt, percentiles), held_out=held)
    b = cube_set(validation, size)
    beside = None if extra is None else cube_set(extra, size)
    return TrainData(a, b, tuple(wavelengths_nm), Scaling.fit(a.reflectance, percentiles), beside)


def release_rows() -> None:
    """Give back the memory of rows that are no longer used: Arrow would keep it, which may be as much as a whole role."""
    pa.default_memory_pool().release_unused()


def check_size(size: int, held: tuple[int, int]) -> None:
    """Refuse more pixels than a store of `held` (H, W) has.

    Raises:
        ConfigError: `size` is too large; the message names both sizes and the remedy.
    """
    if size > min(held):
        raise ConfigError(
            f"data.size = {size} asks for more pixels than the store's {held[0]} x {held[1]}",
            f"Use --set data.size={min(held)}, or ingest again with --size {size}.",
        )


def cube_set(rows: pa.Table, size: int) -> CubeSet:
    """Turn rows of a store into a `CubeSet` of `size` pixels (area average; size must not exceed the store's).

    Raises:
        ConfigError: `size` is larger than the store's.
    """
    h, w, bands = rows.schema.field("cube").type.shape
    check_size(size, (h, w))
    x, m = np.empty((len(rows), bands, size, size), np.float32), np.empty((len(rows), size, size), np.bool_)
    for at, cubes in _pieces(rows.column("cube")):
        x[at] = _resized(np.moveaxis(cubes, 3, 1), size)
    for at, masks in _pieces(rows.column("mask")):
        m[at] = _resized(masks[:, None], size)[:, 0] > 0.5
    names, diagnoses = rows.column("lesion_id").to_pylist(), rows.column("diagnosis").to_pylist()
    return CubeSet(tuple(names), tuple(diagnoses), torch.from_numpy(x), torch.from_numpy(m))


def _resized(images: NDArray[Any], size: int) -> NDArray[Any]:
    """Return images (n, C, H, W) as (n, C, size, size), averaged over areas; images of that size are returned unchanged."""
    if images.shape[-2:] == (size, size):
        return images
    return interpolate(torch.from_numpy(images.astype(np.float32, order="C")), (size, size), mode="area").numpy()


def _pieces(column: pa.ChunkedArray) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Yield a column of tensors in pieces (n, …), each with its row range; the whole column at once would be a copy."""
    begin = 0
    for chunk in column.chunks:
        held = chunk.to_numpy_ndarray()  # zero-copy
        for at in range(0, len(held), AT_ONCE):
            piece = held[at : at + AT_ONCE]
            yield slice(begin + at, begin + at + len(piece)), piece
        begin += len(held)
