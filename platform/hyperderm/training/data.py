"""From Arrow rows to tensors: the one place where (H, W, B) becomes (B, H, W)."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import torch
from torch.nn.functional import interpolate

from hyperderm.errors import ConfigError
from hyperderm.learners.blocks import held_out_blocks
from hyperderm.learners.data import CubeSet, TrainData
from hyperderm.learners.scaling import Scaling


def train_data(
    train: pa.Table,
    validation: pa.Table,
    wavelengths_nm: Sequence[float],
    size: int,
    extra: pa.Table | None = None,
    percentiles: tuple[float, float] | None = None,
    fold_free: bool = False,
) -> TrainData:
    """Turn the rows of two roles, and what is trained on beside, into tensors of `size` pixels; train fits the scaling.

    Args:
        train: rows of the role that is learnt.
        validation: rows of the role that scores.
        wavelengths_nm: (B,).
        size: pixels; at most the store's.
        extra: rows that are trained on beside `train`; nothing is fitted on them.
        percentiles: of `data.scaling_percentiles`: what the scaling is fitted to; None: train's extremes.
        fold_free: both roles are all cubes of a store without folds; blocks of their pixels are held out.

    Raises:
        ConfigError: more pixels than the store holds; percentiles that coincide in a band.
    """
    a = cube_set(train, size)
    if fold_free:
        held = held_out_blocks(a.lesion_ids, size)
        learnt = a.reflectance.movedim(1, 0)[:, ~held].T[:, :, None, None]  # (pixels, B, 1, 1)
        return TrainData(a, a, tuple(wavelengths_nm), Scaling.fit(learnt, percentiles), held_out=held)
    b = cube_set(validation, size)
    beside = None if extra is None else cube_set(extra, size)
    return TrainData(a, b, tuple(wavelengths_nm), Scaling.fit(a.reflectance, percentiles), beside)


def check_size(size: int, held: tuple[int, int]) -> None:
    """Refuse more pixels than a store of `held` (H, W) has.

    Raises:
        ConfigError: naming both and the remedy.
    """
    if size > min(held):
        raise ConfigError(
            f"data.size = {size} asks for more pixels than the store's {held[0]} x {held[1]}",
            f"Use --set data.size={min(held)}, or ingest again with --size {size}.",
        )


def cube_set(rows: pa.Table, size: int) -> CubeSet:
    """Turn rows of a store into a `CubeSet` of `size` pixels (area average; size must not exceed the store's).

    Raises:
        ConfigError: more pixels than the store holds.
    """
    cubes = rows.column("cube").combine_chunks().to_numpy_ndarray()  # (N, H, W, B), zero-copy
    masks = rows.column("mask").combine_chunks().to_numpy_ndarray()
    check_size(size, cubes.shape[1:3])
    x = torch.from_numpy(np.ascontiguousarray(np.moveaxis(cubes, 3, 1)))
    m = torch.from_numpy(masks.astype(np.float32))[:, None]
    if x.shape[-2:] != (size, size):
        x, m = interpolate(x, (size, size), mode="area"), interpolate(m, (size, size), mode="area")
    names, diagnoses = rows.column("lesion_id").to_pylist(), rows.column("diagnosis").to_pylist()
    return CubeSet(tuple(names), tuple(diagnoses), x, m[:, 0] > 0.5)
