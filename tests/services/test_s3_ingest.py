"""Ingest to a real S3 server: the store of a disk, interrupted and gone on with, and two writers."""

import shutil
import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import pytest
from PIL import Image

from hyperderm.errors import StorageAway, StoreError
from hyperderm.ingest.pipeline import ingest, make_here, make_part, staging_of
from hyperderm.ingest.source import Job
from hyperderm.store import location
from hyperderm.store.location import locate
from hyperderm.store.reader import open_store
from hyperderm.store.verify import verify_store
from tests.ingest.sources import job_of
from tests.ingest.test_ingest import good, no_array, three_of_each
from tests.services.s3_server import READER, READER_SECRET, S3Server
from tests.services.test_s3 import bounded, keys, server, settings, uri, use  # noqa: F401 - fixtures


@pytest.fixture
def job(tmp_path) -> Job:
    """Nine good files and a bad one, two to a part."""
    three_of_each(tmp_path / "raw")
    no_array(tmp_path / "raw")
    return replace(job_of(tmp_path / "raw"), per_part=2)


def take(job, uri, make=None):  # noqa: F811
    return ingest(job, uri, folds=3, seed=0, make=make)


def alone(server, uri, manifest):  # noqa: F811
    """Nothing lies there but what the manifest names."""
    assert sorted(keys(server, uri)) == sorted([*(f"/{part.path}" for part in manifest.parts), "/manifest.json"])


def test_the_store_of_a_disk(server, uri, tmp_path, job):  # noqa: F811
    here = take(job, str(tmp_path / "store"))
    there = take(job, uri)
    assert there.fingerprint == here.fingerprint
    assert open_store(uri).manifest == there
    assert verify_store(uri).faults == ()
    alone(server, uri, there)
    assert [one.lesion_id for one in open_store(uri).lesions()] == [
        one.lesion_id for one in open_store(str(tmp_path / "store")).lesions()
    ]
    with pytest.raises(StoreError, match="something is already there"):
        take(job, uri)


def test_interrupted_it_goes_on(server, uri, tmp_path, job):  # noqa: F811
    whole = take(job, str(tmp_path / "store"))
    again: list[int] = []

    def stops(job, staging, numbers):
        for number in numbers[:3]:
            yield make_part(job, staging, number)
        raise KeyboardInterrupt

    def rest(job, staging, numbers):
        again.extend(numbers)
        yield from make_here(job, staging, numbers)

    with pytest.raises(KeyboardInterrupt):
        take(job, uri, stops)
    with pytest.raises(StoreError, match="is not a store"):
        open_store(uri)
    assert len([key for key in keys(server, uri) if key.endswith(".parquet")]) == 3
    done = take(job, uri, rest)
    assert again == [3, 4]
    assert done.fingerprint == whole.fingerprint
    alone(server, uri, done)


def slowly(going, may_go):
    def make(job, staging, numbers):
        for number in numbers:
            yield make_part(job, staging, number)
            going.set()
            may_go.wait(20)

    return make


@contextmanager
def begun(job, uri):  # noqa: F811
    """Another writer, who has made one part and stands still; let go at the end. Yields what it is told, once it is done."""
    going, may_go, told = threading.Event(), threading.Event(), []

    def write() -> None:
        try:
            take(job, uri, slowly(going, may_go))
        except StoreError as error:
            told.append(str(error))

    first = threading.Thread(target=write)
    first.start()
    going.wait(20)
    try:
        yield told
    finally:
        may_go.set()
        first.join()


@pytest.mark.parametrize(
    ("other", "folds", "both"),
    [({}, 3, True), ({}, 0, False), ({"digest": "f" * 64}, 3, False)],
    ids=["the-same-command", "other-folds-of-the-same-parts", "other-parts"],
)
def test_of_two_writers_one_wins_and_the_other_is_told(server, uri, job, request, other, folds, both):  # noqa: F811
    uri = f"{uri}/{request.node.callspec.id}"
    with begun(job, uri) as told:
        winner = ingest(replace(job, **other), uri, folds=folds, seed=0)
    if both:  # what both made is the same to the last byte: it does not matter who did
        assert told == []
    else:
        assert "another writer made a store there first" in told[0]
    assert open_store(uri).manifest == winner
    alone(server, uri, winner)


def test_two_writers_of_a_store_with_duplicates(server, uri, job):  # noqa: F811
    """The parts whose groups were merged are never written over by whoever makes them again."""
    for kind, ending in (("images", ".mat"), ("masks", "_00.png")):
        shutil.copy(job.root / kind / f"MMCube/0{ending}", job.root / kind / f"MMCube/9{ending}")
    job = replace(job_of(job.root), per_part=2)
    with begun(job, uri) as told:
        winner = take(job, uri)
        assert any(part.path.endswith("regrouped.parquet") for part in winner.parts)
        alone(server, uri, winner)
        make_part(job, staging_of(locate(uri), job), 0)
        assert verify_store(uri).faults == ()
    assert told == [] or "another writer made a store there first" in told[0]
    assert open_store(uri).manifest == winner
    assert verify_store(uri).faults == ()
    alone(server, uri, winner)


@pytest.mark.slow  # its short form is test_a_server_that_stays_away_is_told_and_changes_nothing (test_s3_runs.py)
def test_a_server_that_goes_away_is_told_and_the_same_command_goes_on(tmp_path, job, monkeypatch):
    whole = take(job, str(tmp_path / "store"))
    again: list[int] = []
    (tmp_path / "s3").mkdir()
    with S3Server(tmp_path / "s3") as frail:
        use(monkeypatch, frail)
        frail.client().create_bucket(Bucket="stores")

        def cut_off(job, staging, numbers):
            for number in numbers:
                if number == 3:
                    frail.stop()
                yield make_part(job, staging, number)

        def away(job, staging, numbers):
            raise StorageAway("it was away for a worker, and is back", "Wait for it.")

        def rest(job, staging, numbers):
            again.extend(numbers)
            yield from make_here(job, staging, numbers)

        monkeypatch.setattr(location, "PATIENCE_S", 1.0)
        with bounded("s3://stores/a: the S3 server went away and did not come back .*run the same command again", 20):
            take(job, "s3://stores/a", cut_off)
        monkeypatch.undo()  # started, it takes a while to find what it holds
        use(monkeypatch, frail)
        frail.start()
        with pytest.raises(StorageAway):
            take(job, "s3://stores/a", away)
        done = take(job, "s3://stores/a", rest)
        assert again == [3, 4]
        assert done.fingerprint == whole.fingerprint
        alone(frail, "s3://stores/a", done)


def test_a_refusal_leaves_nothing(server, uri, job, monkeypatch):  # noqa: F811
    with pytest.raises(StoreError, match="cannot fill 30 folds"):
        ingest(job, uri, folds=30, seed=0)
    assert keys(server, uri) == []
    use(monkeypatch, server, AWS_ACCESS_KEY_ID=READER, AWS_SECRET_ACCESS_KEY=READER_SECRET)
    with pytest.raises(StoreError, match="may read the bucket 'stores' but not write to it"):
        take(job, uri)


def test_after_a_refusal_no_worker_writes_on(server, uri, tmp_path, ray_cluster):  # noqa: F811
    from hyperderm.cluster.ingest_workers import maker

    for number in range(100, 260):
        good(tmp_path / "raw", f"MMCube/{number}")
    large = Image.new("L", (32, 24))
    large.paste(255, (2, 2, 30, 22))  # another crop than the others'
    large.save(tmp_path / "raw/masks/MMCube/100_00.png")
    job = replace(job_of(tmp_path / "raw", size=None), per_part=2)
    with pytest.raises(StoreError, match="a store has one shape"):
        take(job, uri, maker(2))
    time.sleep(3)
    assert keys(server, uri) == []
