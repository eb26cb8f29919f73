"""Reading a store: against plain pyarrow on a disk, against boto3 from a real S3 server. Hashes are outside."""

import io
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

import pyarrow.parquet as pq

from tests.bench.data_files import Scale
from tests.bench.data_timing import timed

WANTED_DISK, WANTED_S3 = 0.6, 0.6
BUCKET = "bench"


def reading(store: Path, scale: Scale) -> bool:
    """Print what is read a second from a disk and from an S3 server, all rows; both warm in the page cache."""
    from hyperderm.store.reader import open_store

    opened = open_store(str(store))
    ids, paths = opened.index().column("lesion_id").to_pylist(), opened.part_paths()
    size = sum(part.bytes for part in opened.manifest.parts)
    print(f"reading a store of {len(ids)} cubes of {scale.size} px: {size / 1e6:.0f} MB in {len(paths)} parts, all rows")
    seconds = timed(
        {
            "pyarrow.parquet.read_table": lambda: pq.read_table(paths).num_rows,
            "the store": lambda: opened.read(ids).num_rows,
        },
        scale.rounds,
        len(ids),
    )
    disk = _table(seconds, size)
    print(f"  the store reaches {disk:.0%} of pyarrow (wanted: at least {WANTED_DISK:.0%})")
    with tempfile.TemporaryDirectory(prefix="hyperderm-s3-", dir=store.parent) as folder:
        s3 = _from_s3(store, Path(folder), ids, size, scale)
    return disk >= WANTED_DISK and s3 >= WANTED_S3


def sharing(store: Path) -> None:
    """Print the time of a sweep's way to the rows, on a connected Ray: once into its object store, then by reference."""
    from hyperderm.cluster.shared_store import fetch, materialise
    from hyperderm.store.reader import open_store

    opened = open_store(str(store), verify=False)
    ids = opened.index().column("lesion_id").to_pylist()
    materialise(opened, ids)  # Ray Data's workers start
    begin = perf_counter()
    blocks = materialise(opened, ids)
    shared = perf_counter() - begin
    begin = perf_counter()
    assert fetch(blocks, ids).num_rows == len(ids)
    fetched = perf_counter() - begin
    print(f"the {len(ids)} rows of that store for a sweep")
    print(f"  read into Ray's object store, once {shared:.2f} s; taken from there, every trial {fetched:.2f} s")


def _from_s3(store: Path, folder: Path, ids: list[str], size: int, scale: Scale) -> float:
    from hyperderm.store.reader import open_store
    from tests.services.s3_server import S3Server

    with S3Server(folder) as server, _environment(server.variables()):
        client = server.client()
        client.create_bucket(Bucket=BUCKET)
        names = [path.relative_to(store).as_posix() for path in sorted(store.rglob("*")) if path.is_file()]
        for name in names:
            client.upload_file(str(store / name), BUCKET, f"store/{name}")
        opened = open_store(f"s3://{BUCKET}/store")
        keys = [f"store/{part.path}" for part in opened.manifest.parts]

        def downloaded() -> int:
            total = 0
            for key in keys:
                target = io.BytesIO()
                client.download_fileobj(BUCKET, key, target)
                total += target.getbuffer().nbytes
            assert total == size
            return len(ids)

        print(f"the same from an S3 server on this machine (SeaweedFS): {len(keys)} objects")
        paths, fs = opened.part_paths(), opened.location.fs
        seconds = timed(
            {
                "boto3 download": downloaded,
                "pyarrow.parquet.read_table": lambda: pq.read_table(paths, filesystem=fs).num_rows,
                "the store": lambda: opened.read(ids).num_rows,
            },
            scale.rounds,
            len(ids),
        )
    ratio = _table(seconds, size)
    print(f"  the store, unpacked and in order, reaches {ratio:.0%} of boto3 (wanted: at least {WANTED_S3:.0%})")
    return ratio


def _table(seconds: Mapping[str, float], size: int) -> float:
    """Print the rates; return the last against the first."""
    for name, each in seconds.items():
        print(f"  {name:28} {each:7.2f} s   {size / each / 1e6:6.0f} MB/s of the files' bytes")
    times = list(seconds.values())
    return times[0] / times[-1]


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    for name in before:
        del os.environ[name]
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            os.environ.pop(name, None)
        os.environ.update(before)
