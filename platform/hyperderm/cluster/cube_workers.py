"""Synthetic cubes made in order by several workers on Ray Data; a cube does not depend on the worker that makes it."""

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


class IndexedSampler(Protocol):
    """An object that makes cubes by index; it is pickled and sent to the workers."""

    def load(self) -> None:
        """Build the networks, in the worker that makes the cubes."""

    def make(self, indices: list[int]) -> NDArray[np.float32]:
        """Return the cubes (n, B, H, W) with the given indices."""


class _Worker:
    """A callable that lets Ray Data use an `IndexedSampler`."""

    def __init__(self, parcel: list[Any]) -> None:
        self._synthesiser: IndexedSampler = ray.get(parcel[0])
        self._synthesiser.load()

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Add the cubes to a batch of indices."""
        return {"index": batch["index"], "cube": self._synthesiser.make(batch["index"].tolist())}


def made_by_workers(
    synthesiser: IndexedSampler, workers: int, gpus: float
) -> Callable[[Sequence[list[int]]], Iterator[tuple[int, NDArray[np.float32]]]]:
    """Return a function that makes cubes from chunks of indices; it yields index and cube (B, H, W) in order of indices.

    Args:
        synthesiser: the object that makes the cubes.
        workers: number of workers, each on one CPU.
        gpus: number of GPUs of each worker.

    Raises:
        MachineTrouble, ClusterError: raised by that function if a worker fails.
    """
    parcel = ray.put(synthesiser)

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
