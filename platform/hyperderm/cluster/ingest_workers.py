"""Parts of a store made on Ray Data, in parallel on all workers of a cluster; each worker has one part in memory."""

from collections.abc import Iterator, Sequence
from contextlib import closing

import pyarrow as pa
import ray
import ray.data
import ray.exceptions

from hyperderm.errors import (
    ClusterError,
    CubeError,
    DiskFull,
    FileTrouble,
    HyperdermError,
    MachineTrouble,
    StorageAway,
    StoreError,
)
from hyperderm.ingest.pipeline import Make, PartReport, Staging, make_part
from hyperderm.ingest.source import Job
from hyperderm.store.writer import unwritten
from hyperderm.trouble import reason_of, trouble_of


def maker(workers: int) -> Make:
    """Return a function that makes parts on the connected cluster, at most `workers` at a time.

    Every node must see the source and, if the store is on a disk, the folder of the store.
    """

    def make(job: Job, staging: Staging, numbers: list[int]) -> Iterator[PartReport]:
        if not numbers:
            return
        parcel = [ray.put((job, staging))]
        blocks = [pa.table({"number": chunk}) for chunk in chunks(numbers, workers)]
        data = ray.data.from_arrow(blocks).map_batches(
            _make,  # type: ignore[arg-type]  # Ray's types know no tables
            fn_args=(parcel,),
            batch_size=None,
            batch_format="pyarrow",
            compute=ray.data.TaskPoolStrategy(size=workers),
            num_cpus=1,
        )
        data.context.target_max_block_size = 1  # a report is seen when its part is made, not when its task ends
        # Reports are small. Reserving memory for them let one task run until the first had ended, and idled between tasks.
        data.context.op_resource_reservation_enabled = False
        batches = iter(data.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0))
        try:
            with closing(batches):  # type: ignore[type-var]  # a generator; closing it ends the tasks that still write
                for batch in batches:
                    for row in batch.to_pylist():  # type: ignore[union-attr]
                        if row["kind"]:
                            raise _KINDS[row["kind"]](row["report"], row["remedy"])
                        yield PartReport.model_validate_json(row["report"])
        except ray.exceptions.RayError as error:
            if trouble := trouble_of(error):
                raise trouble from error
            raise ClusterError(
                f"a worker failed: {reason_of(error)}", "See the worker logs; the same command goes on."
            ) from error

    return make


_KINDS: dict[str, type[HyperdermError]] = {
    kind.__name__: kind for kind in (CubeError, StoreError, StorageAway, MachineTrouble, FileTrouble, DiskFull)
}


def chunks(numbers: Sequence[int], workers: int) -> Iterator[list[int]]:
    """Divide parts into tasks: each task takes one worker's share of the parts that are left.

    Ray Data checks every 0.1 s whether a task has ended. Therefore the first tasks are long. The last tasks are short, so
    that all workers end together (guided self-scheduling: Polychronopoulos and Kuck, IEEE Transactions on Computers 1987).
    """
    at = 0
    while at < len(numbers):
        step = max(1, (len(numbers) - at) // workers)
        yield list(numbers[at : at + step])
        at += step


def _make(batch: pa.Table, parcel: "list[ray.ObjectRef[tuple[Job, Staging]]]") -> Iterator[pa.Table]:
    """Make the parts of a batch; return errors that the user can mend as data, because Ray Data hides raised errors."""
    job, staging = ray.get(parcel[0])
    for number in batch["number"].to_pylist():
        row = {"kind": "", "report": "", "remedy": ""}
        try:
            report = staging.report(number) or make_part(job, staging, number)  # a lost task made it
            row["report"] = report.model_dump_json()
        except (CubeError, StoreError, MachineTrouble) as error:
            row = {"kind": type(error).__name__, "report": error.what, "remedy": error.remedy}
        except OSError as error:
            told = unwritten(staging.place, error)
            row = {"kind": "StoreError", "report": told.what, "remedy": told.remedy}
        yield pa.Table.from_pylist([row])
        if row["kind"]:
            return  # this error ends the ingest
