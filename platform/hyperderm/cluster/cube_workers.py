"""Synthetic cubes made by several workers of the cluster, on Ray Data; in order, and the same whoever makes them."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import ray
import ray.data
import ray.exceptions
from numpy.typing import NDArray

from hyperderm.errors import ClusterError
from hyperderm.trouble import reason_of, trouble_of


class Maker(Protocol):
    """Makes cubes by index; it is pickled to the workers."""

    def load(self) -> None:
        """Build the networks, where the cubes are made."""

    def make(self, indices: list[int]) -> NDArray[np.float32]:
        """Return the cubes (n, B, H, W) of these indices."""


class _Worker:
    """A maker as Ray Data drives it."""

    def __init__(self, parcel: list[Any]) -> None:
        self._maker: Maker = ray.get(parcel[0])
        self._maker.load()

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Add the cubes to a batch of indices."""
        return {"index": batch["index"], "cube": self._maker.make(batch["index"].tolist())}


def made_by_workers(
    maker: Maker, workers: int, gpus: float
) -> Callable[[Sequence[list[int]]], Iterator[tuple[int, NDArray[np.float32]]]]:
    """Return what makes cubes from chunks of indices: it yields index and cube (B, H, W), in the order of the indices.

    Args:
        maker: makes them.
        workers: that make them, each on one CPU.
        gpus: of each worker.

    Raises:
        MachineTrouble, ClusterError: while cubes are made, where a worker fails.
    """
    parcel = ray.put(maker)

    def made(chunks: Sequence[list[int]]) -> Iterator[tuple[int, NDArray[np.float32]]]:
        blocks = [pa.table({"index": chunk}) for chunk in chunks]
        data = ray.data.from_arrow(blocks).map_batches(  # blocks in memory: reading tasks would want CPUs of their own
            _Worker,
            fn_constructor_args=([parcel],),
            batch_size=max(map(len, chunks)),
            batch_format="numpy",
            compute=ray.data.ActorPoolStrategy(size=min(workers, len(blocks))),
            num_cpus=1,
            num_gpus=gpus,
        )
        data.context.execution_options.preserve_order = True
        try:
            for batch in data.iter_batches(batch_size=None, batch_format="numpy"):
                yield from zip(batch["index"].tolist(), batch["cube"].copy(), strict=True)  # Ray's memory is read-only
        except ray.exceptions.RayError as error:
            if trouble := trouble_of(error):
                raise trouble from error
            raise ClusterError(f"a worker failed: {reason_of(error)}", "See the worker logs; then start again.") from error

    return made
