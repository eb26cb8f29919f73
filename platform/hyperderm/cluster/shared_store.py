"""Read selected lesions once into Ray's object store, so that trials can share them by reference."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeVar

import pyarrow as pa
import ray
import ray.data
import ray.exceptions

from hyperderm.errors import StoreError
from hyperderm.store.reader import Store, chosen, ordered
from hyperderm.trouble import reason_of, trouble_of

T = TypeVar("T")


def materialise(store: Store, lesion_ids: Sequence[str]) -> list["ray.ObjectRef[pa.Table]"]:
    """Return references to Arrow blocks that together hold the rows of `lesion_ids`.

    In a trial, `ray.get` of a block makes no copy and needs no further CPU (see the measurements in DESIGN). In a cluster of
    several nodes, the blocks come to the driver's node. Ray would make a block that is lost with its node again by tasks
    that want CPUs, and the very trials that wait for the block may hold them all.
    """
    several = sum(node["Alive"] for node in ray.nodes()) > 1
    if store.location.local and several:
        return [ray.put(store.read(lesion_ids).combine_chunks())]  # other nodes may not see this disk
    wanted = pa.array(lesion_ids, pa.string())

    def keep(block: pa.Table) -> pa.Table:
        return chosen(block, wanted)

    def read() -> list["ray.ObjectRef[pa.Table]"]:
        rows = ray.data.read_parquet(store.part_paths(), filesystem=store.location.fs)
        kept = rows.map_batches(keep, batch_format="pyarrow", batch_size=None, zero_copy_batch=True)
        made = list(kept.materialize().to_arrow_refs())
        return [ray.put(ray.get(made.pop(0))) for _ in range(len(made))] if several else made

    try:
        return apart(lambda: store.location.patiently(read))
    except ray.exceptions.RayError as error:
        if trouble := trouble_of(error):
            raise trouble from error
        raise StoreError(
            f"{store.location.uri} cannot be read by Ray's workers: {reason_of(error)}",
            "See the worker logs, and prove the store: hyperderm store verify URI.",
        ) from error


def apart(call: Callable[[], T]) -> T:
    """Return the result of `call()`, run in a thread, so that Ctrl-C ends the wait at once, also during work of Ray."""
    ended: Future[T] = Future()

    def run() -> None:
        try:
            ended.set_result(call())
        except BaseException as error:
            ended.set_exception(error)

    threading.Thread(target=run, name="hyperderm-read", daemon=True).start()  # Python waits for a pool at exit
    return ended.result()


@dataclass(frozen=True)
class SharedStore(Store):
    """A store whose rows lie in Ray's object store: workers read them by reference, so they need not see the disk."""

    blocks: tuple["ray.ObjectRef[pa.Table]", ...] = ()

    def _tables(self, columns: list[str] | None) -> Iterator[pa.Table]:
        for table in ray.get(list(self.blocks)):
            if table.num_rows:
                yield table if columns is None else table.select(columns)


def shared_store(store: Store) -> SharedStore:
    """Return `store` with all its rows in Ray's object store."""
    blocks = materialise(store, store.index().column("lesion_id").to_pylist())
    return SharedStore(store.location, store.manifest, tuple(blocks))


def held_store(store: Store, lesion_ids: Sequence[str]) -> SharedStore:
    """Return `store` with the rows of `lesion_ids`, read by this process, in Ray's object store."""
    return SharedStore(store.location, store.manifest, (ray.put(store.read(lesion_ids)),))


def fetch(blocks: Sequence["ray.ObjectRef[pa.Table]"], lesion_ids: Sequence[str]) -> pa.Table:
    """Return the rows of `lesion_ids`, ordered by lesion_id; the order in which reading tasks ended does not matter."""
    wanted = pa.array(lesion_ids, pa.string())
    return ordered(pa.concat_tables(chosen(table, wanted) for table in ray.get(list(blocks)) if table.num_rows))
