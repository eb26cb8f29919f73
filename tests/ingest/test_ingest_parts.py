"""An ingest is divided into parts: whoever makes them and however often it is interrupted, the store is the same."""

import fcntl
import threading
from dataclasses import replace

import pyarrow as pa
import pytest
from PIL import Image

from hyperderm.errors import ClusterError, StorageAway, StoreError
from hyperderm.ingest.pipeline import ingest, make_here, make_part, staging_of
from hyperderm.store.location import locate
from hyperderm.store.reader import open_store
from tests.ingest.sources import job_of
from tests.ingest.test_ingest import good, no_array, three_of_each


@pytest.fixture
def job(tmp_path):
    """Nine good files and a bad one, two to a part."""
    three_of_each(tmp_path / "raw")
    no_array(tmp_path / "raw")
    return replace(job_of(tmp_path / "raw"), per_part=2)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_interrupted_it_goes_on_and_the_store_is_the_same(tmp_path, job):
    whole = ingest(job, str(tmp_path / "whole"), folds=3, seed=0)
    made: list[int] = []

    def stops(job, staging, numbers):
        for number in numbers:
            if len(made) == 3:
                raise KeyboardInterrupt
            made.append(number)
            yield make_part(job, staging, number)

    with pytest.raises(KeyboardInterrupt):
        ingest(job, str(tmp_path / "store"), folds=3, seed=0, make=stops)
    assert not (tmp_path / "store").exists()
    again: list[int] = []
    seen: list[tuple[int, int]] = []

    def rest(job, staging, numbers):
        again.extend(numbers)
        yield from make_here(job, staging, numbers)

    found = ingest(job, str(tmp_path / "store"), folds=3, seed=0, make=rest, progress=lambda *at: seen.append(at))
    assert (made, again) == ([0, 1, 2], [3, 4])
    assert seen[0] == (6, 10)
    assert found == whole
    assert names(tmp_path) == ["raw", "store", "whole"]
    assert names(tmp_path / "store") == ["lesions", "manifest.json"]
    assert all(name.endswith(".parquet") for name in names(tmp_path / "store" / "lesions"))
    open_store(str(tmp_path / "store"))


def test_a_part_that_was_damaged_meanwhile_is_made_again(tmp_path, job):
    whole = ingest(job, str(tmp_path / "whole"), folds=3, seed=0)
    staging = staging_of(locate(tmp_path / "store"), job)
    staging.place.fs.create_dir(staging.place.join("lesions"), recursive=True)
    for number in range(job.parts):
        make_part(job, staging, number)
    part = tmp_path / f"store.partial-{job.digest[:8]}" / "lesions" / "part-00001.parquet"
    part.write_bytes(part.read_bytes()[:-1] + b"x")
    again: list[int] = []

    def rest(job, staging, numbers):
        again.extend(numbers)
        yield from make_here(job, staging, numbers)

    assert ingest(job, str(tmp_path / "store"), folds=3, seed=0, make=rest) == whole
    assert again == [1]


def test_the_lock_of_a_writer_killed_after_its_store_was_there_goes(tmp_path, job):
    ingest(job, str(tmp_path / "store"), folds=3, seed=0)
    lock = tmp_path / f"store.partial-{job.digest[:8]}.lock"
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(StoreError, match="already there"):
            ingest(job, str(tmp_path / "store"), folds=3, seed=0)
        assert lock.exists(), "another process holds it"
    with pytest.raises(StoreError, match="already there"):
        ingest(job, str(tmp_path / "store"), folds=3, seed=0)
    assert not lock.exists()


def test_files_that_changed_meanwhile_are_another_job(tmp_path, job):
    good(tmp_path / "raw", "MMCube/0", seed=99)
    assert job_of(tmp_path / "raw").digest != job.digest
    assert job_of(tmp_path / "raw", size=8).digest != job_of(tmp_path / "raw").digest


def test_of_two_writers_one_wins_and_the_other_is_told(tmp_path, job):
    going, may_go = threading.Event(), threading.Event()

    def slowly(job, staging, numbers):
        for number in numbers:
            going.set()
            may_go.wait(20)
            yield make_part(job, staging, number)

    told: list[str] = []

    def write() -> None:
        try:
            ingest(job, str(tmp_path / "store"), folds=3, seed=0, make=slowly)
        except StoreError as error:
            told.append(str(error))

    first = threading.Thread(target=write)
    first.start()
    going.wait(20)
    with pytest.raises(StoreError, match="is being written by another process"):
        ingest(job, str(tmp_path / "store"), folds=3, seed=0)
    other = replace(job, digest="f" * 64)  # other options: not the same staging place, the rename decides
    winner = ingest(other, str(tmp_path / "store"), folds=3, seed=0)
    may_go.set()
    first.join()
    assert "another writer made a store there first" in told[0]
    assert open_store(str(tmp_path / "store")).manifest == winner
    assert names(tmp_path) == ["raw", "store"]


def test_cubes_of_several_sizes_want_a_size(tmp_path):
    good(tmp_path / "raw", "MMCube/0")
    three_of_each(tmp_path / "raw")
    wide = Image.new("L", (32, 24), 255)
    wide.putpixel((0, 0), 0)  # nearly the whole frame: another crop
    wide.save(tmp_path / "raw/masks/MMCube/2_00.png")
    with pytest.raises(StoreError, match=r"cubes of 12 x 12 x 16 and 24 x 32 x 16 .*Give --size") as caught:
        ingest(job_of(tmp_path / "raw", size=None), str(tmp_path / "store"), folds=0, seed=0)
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == ["raw"]


def test_ray_makes_the_store_that_this_process_makes(tmp_path, job, ray_cluster):
    from hyperderm.cluster.ingest_workers import maker

    here = ingest(job, str(tmp_path / "here"), folds=3, seed=0)
    there = ingest(job, str(tmp_path / "there"), folds=3, seed=0, make=maker(2))
    assert there == here
    assert [one.file for one in there.set_aside] == ["images/MMCube/bad.mat"]


def test_a_worker_s_refusal_is_a_user_s_error(tmp_path, job, ray_cluster):
    from hyperderm.cluster.ingest_workers import maker

    blind = replace(job, root=tmp_path / "elsewhere")
    with pytest.raises(StoreError, match=r"elsewhere is not visible from .* all nodes share"):
        ingest(blind, str(tmp_path / "store"), folds=3, seed=0, make=maker(2))
    assert names(tmp_path) == ["raw"]


def test_tasks_hold_every_part_once_and_get_shorter():
    from hyperderm.cluster.ingest_workers import chunks

    for count in (0, 1, 2, 17, 100):
        for workers in (1, 2, 7, 200):
            found = list(chunks(range(count), workers))
            assert [number for chunk in found for number in chunk] == list(range(count))
            sizes = [len(chunk) for chunk in found]
            assert sizes == sorted(sizes, reverse=True)
    assert [len(chunk) for chunk in chunks(range(17), 2)] == [8, 4, 2, 1, 1, 1]


def test_a_lost_task_that_is_repeated_makes_no_part_twice(tmp_path, job, ray_cluster, monkeypatch):
    import ray

    from hyperderm.cluster import ingest_workers
    from hyperderm.ingest.pipeline import staging_of
    from hyperderm.store.location import locate

    staging = staging_of(locate(str(tmp_path / "store")), job)
    staging.place.fs.create_dir(staging.place.join(staging.folder), recursive=True)
    task, parcel = pa.table({"number": [0]}), [ray.put((job, staging))]
    once = [table.to_pylist() for table in ingest_workers._make(task, parcel)]
    monkeypatch.setattr(ingest_workers, "make_part", None)
    assert [table.to_pylist() for table in ingest_workers._make(task, parcel)] == once
    assert once[0][0]["report"]


def test_a_server_that_stays_away_is_told_by_a_worker_as_it_is_here(tmp_path, job, ray_cluster, monkeypatch):
    import ray

    from hyperderm.cluster import ingest_workers

    def away(*_):
        raise StorageAway("s3://a: the S3 server went away", "Start it.")

    monkeypatch.setattr(ingest_workers, "make_part", away)
    staging = staging_of(locate(str(tmp_path / "store")), job)
    [table] = ingest_workers._make(pa.table({"number": [0]}), [ray.put((job, staging))])
    [row] = table.to_pylist()
    assert (ingest_workers._KINDS[row["kind"]], row["report"], row["remedy"]) == (
        StorageAway,
        "s3://a: the S3 server went away",
        "Start it.",
    )


def test_a_worker_that_is_lost_costs_no_part(tmp_path, job):
    def lost(job, staging, numbers):
        yield make_part(job, staging, numbers[0])
        raise ClusterError("a worker failed: out of memory", "See the worker logs; the same command goes on.")

    again = []

    def rest(job, staging, numbers):
        again.extend(numbers)
        yield from make_here(job, staging, numbers)

    with pytest.raises(ClusterError, match="the same command goes on"):
        ingest(job, str(tmp_path / "store"), folds=3, seed=0, make=lost)
    ingest(job, str(tmp_path / "store"), folds=3, seed=0, make=rest)
    assert again == list(range(1, job.parts))
    assert names(tmp_path) == ["raw", "store"]
