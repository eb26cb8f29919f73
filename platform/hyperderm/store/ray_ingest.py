"""Parts of a store made on Ray Data: files in parallel over all workers of a cluster, one part in memory at each."""

from collections.abc import Iterator

import pyarrow as pa
import ray
import ray.data
import ray.exceptions

from hyperderm.errors import ClusterError, HyperdermError
from hyperderm.store.ingest import Make, PartReport, Staging, make_part
from hyperderm.store.jobs import Job


def maker(workers: int) -> Make:
    """Return a maker of parts on the connected cluster, at most `workers` at a time.

    Every node has to see the source, and on a disk the store's folder.
    """

    def make(job: Job, staging: Staging, numbers: list[int]) -> Iterator[PartReport]:
        if not numbers:
            return
        parcel = [ray.put((job, staging))]
        blocks = [pa.table({"number": [number]}) for number in numbers]
        data = ray.data.from_arrow(blocks).map_batches(
            _make,
            fn_args=(parcel,),
            batch_size=None,
            batch_format="pyarrow",
            compute=ray.data.TaskPoolStrategy(size=workers),
            num_cpus=1,
        )
        try:
            for batch in data.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
                for text in batch["report"].to_pylist():
                    yield PartReport.model_validate_json(text)
        except ray.exceptions.RayError as error:
            raise _told(error) from error

    return make


def _make(batch: pa.Table, parcel: "list[ray.ObjectRef[tuple[Job, Staging]]]") -> pa.Table:
    job, staging = ray.get(parcel[0])
    reports = [make_part(job, staging, number).model_dump_json() for number in batch["number"].to_pylist()]
    return pa.table({"report": reports})


def _told(error: BaseException) -> HyperdermError:
    """Return the error of ours that a worker met, or one about the worker."""
    cause: BaseException | None = error
    while cause is not None:
        inner = getattr(cause, "cause", None) or cause.__cause__
        if isinstance(cause, HyperdermError):
            return cause
        cause = inner if isinstance(inner, BaseException) else None
    reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
    return ClusterError(f"a worker failed: {reason[:300].rstrip('.')}", "See the worker logs; the same command goes on.")
