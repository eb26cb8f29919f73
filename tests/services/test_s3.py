"""Stores on a real S3 server: written once, read back, and every way in which a server refuses, disappears or returns."""

import http.server
import pickle
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress
from datetime import timedelta

import pytest

from hyperderm import workflows
from hyperderm.errors import StoreError
from hyperderm.reports.description.tables import csv_files
from hyperderm.store import location as location_module
from hyperderm.store import s3
from hyperderm.store.buckets import abort_incomplete, bucket_facts, list_incomplete, presign
from hyperderm.store.location import locate
from hyperderm.store.reader import open_store
from hyperderm.store.s3 import probe, put_new, round_trip
from hyperderm.store.writer import write_store
from hyperderm.studies.description import describe_store
from tests.services.s3_server import READER, READER_SECRET, SECRET, S3Server
from tests.store.lesions import lesions

BOUND_S = 10


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with S3Server(tmp_path_factory.mktemp("s3")) as server:
        server.client().create_bucket(Bucket="stores")
        yield server


def use(monkeypatch, server, **changes):
    for name, value in {**server.variables(), "AWS_PROFILE": None, "AWS_ENDPOINT_URL": None, **changes}.items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)


@pytest.fixture(autouse=True)
def settings(monkeypatch, server):
    use(monkeypatch, server)


@pytest.fixture
def uri(request):
    return f"s3://stores/{request.node.name.partition('[')[0]}/deep/store"


@contextmanager
def bounded(match, seconds=BOUND_S):
    begun = time.monotonic()
    with pytest.raises(StoreError, match=match) as caught:
        yield caught
    assert time.monotonic() - begun < seconds
    said = str(caught.value)
    assert "\n" not in said
    assert caught.value.remedy
    assert SECRET not in said


def keys(server, uri):
    prefix = uri.removeprefix("s3://stores/")
    return [
        item["Key"].removeprefix(prefix)
        for item in server.client().list_objects_v2(Bucket="stores", Prefix=prefix).get("Contents", ())
    ]


# --- an object there and back, for the doctor ---


def test_an_object_goes_there_and_back_and_leaves_nothing(server, uri):
    round_trip(locate(uri))
    round_trip(locate("s3://stores"))
    assert not keys(server, uri)
    assert not [key for key in keys(server, "s3://stores/") if ".hyperderm" in key]
    assert not server.client().list_multipart_uploads(Bucket="stores").get("Uploads")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "the secret of access key tester is wrong"),
        ({"AWS_ACCESS_KEY_ID": "nobody"}, "does not know the access key nobody"),
        (
            {"AWS_ACCESS_KEY_ID": READER, "AWS_SECRET_ACCESS_KEY": READER_SECRET},
            "may read the bucket 'stores' but not write",
        ),
        ({"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"}, "no S3 server answers at http://127.0.0.1:9"),
    ],
)
def test_why_it_does_not(server, uri, monkeypatch, changes, said):
    use(monkeypatch, server, **changes)
    with bounded(said, seconds=5):
        round_trip(locate(uri))


def test_the_doctor_on_a_store(server, uri, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    write_store(uri, lesions(5), fold_count=0)
    before = keys(server, uri)

    def told() -> dict[str, tuple[str, str]]:
        return {each.topic: (each.level, each.found) for each in workflows.doctor(store=uri, runs=tmp_path / "runs")}

    found = told()
    assert found["store"] == ("good", f"{uri}: 5 lesions, 1 parts")
    assert found["S3"] == ("good", "stores: an object was written, read and removed")
    use(monkeypatch, server, AWS_ACCESS_KEY_ID=READER, AWS_SECRET_ACCESS_KEY=READER_SECRET)
    found = told()
    assert found["store"][0] == "good"
    assert found["S3"][0] == "warning", "enough for training"
    assert "may read the bucket 'stores' but not write" in found["S3"][1]
    use(monkeypatch, server, AWS_SECRET_ACCESS_KEY="wrong")
    level, said = told()["store"]
    assert level == "bad"
    assert said == refusal(uri)
    assert keys(server, uri) == before
    assert not list(tmp_path.iterdir())


def refusal(uri: str) -> str:
    with pytest.raises(StoreError) as caught:
        open_store(uri, verify=False)
    return caught.value.what


def test_a_silent_server_costs_three_seconds(server, uri, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        use(monkeypatch, server, AWS_ENDPOINT_URL_S3=f"http://127.0.0.1:{silent.getsockname()[1]}")
        with bounded("no S3 server answers", seconds=5):
            round_trip(locate(uri))


# --- written and read ---


def test_a_store_comes_back_as_from_a_disk(server, uri, tmp_path):
    written = write_store(uri, lesions(70), fold_count=3, seed=1)
    local = write_store(str(tmp_path / "store"), lesions(70), fold_count=3, seed=1)
    there, here = open_store(uri), open_store(str(tmp_path / "store"))
    assert there.manifest == written
    assert [part.sha256 for part in written.parts] == [part.sha256 for part in local.parts]
    ids = here.select("train", 0, "all")
    assert there.select("train", 0, "all") == ids
    assert there.read(ids).equals(here.read(ids))
    assert [one.lesion_id for one in there.lesions()] == [one.lesion_id for one in here.lesions()]
    assert keys(server, uri) == [f"/{part.path}" for part in written.parts] + ["/manifest.json"], "no marker, no probe left"
    with pytest.raises(StoreError, match="something is already there"):
        write_store(uri, lesions(3), fold_count=0)


def test_a_worker_reads_without_any_setting(uri):
    write_store(uri, lesions(5), fold_count=0)
    code = "import pickle, sys; print(pickle.load(sys.stdin.buffer).index().num_rows)"
    done = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(open_store(uri)), env={}, capture_output=True)
    assert (done.stdout, done.returncode) == (b"5\n", 0), done.stderr.decode()


def test_what_exists_is_told_without_markers(server, uri):
    server.client().put_object(Bucket="stores", Key=f"{uri.removeprefix('s3://stores/')}/a/b.txt", Body=b"x")
    place = locate(uri)
    assert [place.exists(name) for name in ("", "a", "a/b.txt", "b.txt", "a/b", "a/b.txt/c")] == [True] * 3 + [False] * 3
    assert not locate(uri[:-1]).exists(), "a prefix of a name is no folder"
    server.client().create_bucket(Bucket="empty-one")
    assert not locate("s3://empty-one").exists()
    assert write_store("s3://empty-one", lesions(2), fold_count=0) == open_store("s3://empty-one/").manifest
    assert locate("s3://empty-one").exists()


def test_a_prefix_in_use_is_refused_but_for_the_parts_of_a_crashed_writer(server, uri):
    prefix = uri.removeprefix("s3://stores/")
    server.client().put_object(Bucket="stores", Key=f"{prefix}/mine.txt", Body=b"x")
    with pytest.raises(StoreError, match="something is already there"):
        write_store(uri, lesions(2), fold_count=0)
    with pytest.raises(StoreError, match="something is already there"):
        write_store(f"{uri}/mine.txt", lesions(2), fold_count=0)
    assert keys(server, uri) == ["/mine.txt"]
    server.client().put_object(Bucket="stores", Key=f"{prefix}2/lesions/0123abcd/part-00000.parquet", Body=b"x")
    with pytest.raises(StoreError, match=r"is not a store: no manifest\.json"):
        open_store(f"{uri}2")
    write_store(f"{uri}2", lesions(2), fold_count=0)
    assert open_store(f"{uri}2").manifest.lesions == 2


def test_damage_is_found(server, uri):
    first, second = (part.path for part in write_store(uri, lesions(70, 2), fold_count=0).parts)
    prefix, client = uri.removeprefix("s3://stores/"), server.client()
    client.copy_object(Bucket="stores", Key=f"{prefix}/{first}", CopySource=f"stores/{prefix}/{second}")
    with pytest.raises(StoreError, match=f"part {first} does not match its sha256"):
        open_store(uri)
    client.delete_object(Bucket="stores", Key=f"{prefix}/{first}")
    with pytest.raises(StoreError, match=f"part {first} is missing"):
        open_store(uri)


# --- refusals ---


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"AWS_ACCESS_KEY_ID": "nobody"}, "does not know the access key nobody. Correct AWS_ACCESS_KEY_ID"),
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "the secret of access key tester is wrong. Correct AWS_SECRET_ACCESS_KEY"),
        ({"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}, "no AWS credentials are set. Set AWS_ACCESS_KEY_ID"),
        ({"AWS_SECRET_ACCESS_KEY": None}, "missing: AWS_SECRET_ACCESS_KEY"),
        ({"AWS_PROFILE": "nope"}, r"The config profile \(nope\) could not be found. Correct AWS_PROFILE"),
        ({"AWS_ENDPOINT_URL_S3": "127.0.0.1:80"}, "Invalid endpoint: 127.0.0.1:80. Correct"),
        ({"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"}, r"no S3 server answers at http://127.0.0.1:9 .*Start it, correct"),
        ({"AWS_ENDPOINT_URL_S3": "http://nowhere.invalid"}, r"no S3 server answers at http://nowhere.invalid .*Start it"),
    ],
    ids=["key", "secret", "none", "half", "profile", "endpoint", "closed", "no host"],
)
def test_settings_that_cannot_work(monkeypatch, server, uri, changes, said):
    use(monkeypatch, server, **changes)
    with bounded(said):
        open_store(uri)
    with bounded(said):
        write_store(uri, lesions(2), fold_count=0)


def test_a_bucket_that_is_missing():
    for call in (lambda: open_store("s3://nope/x"), lambda: write_store("s3://nope/x", lesions(2), fold_count=0)):
        with bounded("there is no bucket 'nope' at http://127.0.0.1:[0-9]+. Make it first"):
            call()


@pytest.mark.slow  # its short form is test_a_silent_server_costs_three_seconds
def test_a_port_that_accepts_and_never_answers(monkeypatch, server, uri):
    with socket.create_server(("127.0.0.1", 0), backlog=20) as silent:
        use(monkeypatch, server, AWS_ENDPOINT_URL_S3=f"http://127.0.0.1:{silent.getsockname()[1]}")
        with bounded("no S3 server answers at"):
            write_store(uri, lesions(2), fold_count=0)


class Elsewhere(http.server.BaseHTTPRequestHandler):
    """Answers as Amazon does for a bucket of another region, which SeaweedFS has not."""

    def do_GET(self):
        self.send_response(301)
        self.send_header("x-amz-bucket-region", "eu-central-1")
        self.send_header("Content-Type", "application/xml")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(b"<Error><Code>PermanentRedirect</Code><Message>elsewhere</Message></Error>")

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


def test_another_region(monkeypatch, server, uri):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as stub:
        threading.Thread(target=stub.serve_forever, daemon=True).start()
        use(monkeypatch, server, AWS_ENDPOINT_URL_S3=f"http://127.0.0.1:{stub.server_port}")
        with bounded("the bucket 'stores' is in eu-central-1, not in us-east-1. Set AWS_REGION=eu-central-1"):
            open_store(uri)
        stub.shutdown()


def test_a_key_that_may_only_read(monkeypatch, server, uri):
    write_store(uri, lesions(4), fold_count=0)
    use(monkeypatch, server, AWS_ACCESS_KEY_ID=READER, AWS_SECRET_ACCESS_KEY=READER_SECRET)
    assert open_store(uri).index().num_rows == 4
    with bounded("access key reader may read the bucket 'stores' but not write to it. Use a key with the right to write"):
        write_store(f"{uri}2", lesions(2), fold_count=0)
    assert keys(server, f"{uri}2") == []
    probe(locate(uri), write=False)
    with pytest.raises(StoreError, match="may read the bucket"):
        probe(locate(uri), write=True)


# --- writers ---


def race(uri, count=2, rows=66):
    """Let writers begin together and end together; return what each got."""
    met, results = threading.Barrier(count), {}

    def writer(number):
        def rows_of():
            yield from lesions(rows, 2)
            met.wait(30)  # all have found the place free and have written a part

        with suppress(StoreError):
            results[number] = StoreError("lost")
            try:
                results[number] = write_store(uri, rows_of(), fold_count=0, source={"writer": number})
            except StoreError as error:
                results[number] = error

    threads = [threading.Thread(target=writer, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [results[number] for number in range(count)]


def test_of_writers_at_once_one_wins_and_the_others_are_told(server, uri):
    results = race(uri, 3)
    [won] = [one for one in results if not isinstance(one, StoreError)]
    lost = [one for one in results if isinstance(one, StoreError)]
    assert all("another writer made a store there first" in str(one) for one in lost)
    assert open_store(uri).manifest == won
    assert keys(server, uri) == [f"/{part.path}" for part in won.parts] + ["/manifest.json"]


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, OSError("disk")])
def test_a_writer_that_fails_leaves_nothing(server, uri, error):
    def broken():
        yield from lesions(70, 2)
        raise error

    with pytest.raises(StoreError if isinstance(error, OSError) else error):
        write_store(uri, broken(), fold_count=0)
    assert keys(server, uri) == []
    assert list_incomplete(uri) == []


def test_an_answer_that_was_lost_is_no_other_writer(uri):
    place = locate(uri)
    put_new(place, "manifest.json", b"mine")
    put_new(place, "manifest.json", b"mine")
    with pytest.raises(FileExistsError):
        put_new(place, "manifest.json", b"theirs")
    assert place.read_bytes("manifest.json") == b"mine"


# --- a server that disappears ---


@pytest.fixture
def frail(tmp_path, monkeypatch):
    with S3Server(tmp_path) as frail:
        use(monkeypatch, frail)
        frail.client().create_bucket(Bucket="stores")
        yield frail


@pytest.mark.slow  # its short form is test_a_server_that_stays_away_is_told_and_changes_nothing (test_s3_runs.py)
def test_a_server_that_goes_away(frail, monkeypatch):
    write_store("s3://stores/a", lesions(70, 32), fold_count=0)
    store = open_store("s3://stores/a")
    before = store.read(["MMCube/0003_00", "MMCube/0066_00"])

    reading = store.lesions()
    assert next(reading).lesion_id == "MMCube/0000_00"
    frail.stop()
    back = threading.Timer(1.5, frail.start)
    back.start()
    assert len(list(reading)) == 69, "the second part is read from the server that came back"
    assert store.read(["MMCube/0003_00", "MMCube/0066_00"]).equals(before)
    back.join()
    assert re.fullmatch(rf"the S3 server at {frail.endpoint} was away; waited \d+ s for it", location_module.waited())
    assert location_module.waited() == "", "it is told once"

    def cut_off():
        yield from lesions(66, 2)
        frail.stop()

    with monkeypatch.context() as hasty:
        for module in (location_module, s3):
            hasty.setattr(module, "PATIENCE_S", 1.0)
        with bounded(r"s3://stores/b: the S3 server went away .*What was written stays in s3://stores/b/lesions/", 30):
            write_store("s3://stores/b", cut_off(), fold_count=0)
        with bounded("s3://stores/a: the S3 server went away and did not come back .*run the same command again"):
            store.index()
        with bounded("s3://stores/a: no S3 server answers"):
            open_store("s3://stores/a")

    frail.start()
    assert store.read(["MMCube/0003_00", "MMCube/0066_00"]).equals(before), "the same call goes on"
    [part] = list_incomplete("s3://stores")
    assert part.key.startswith("b/lesions/")
    write_store("s3://stores/b", lesions(4), fold_count=0)
    assert abort_incomplete("s3://stores", timedelta(0)) == [part]
    assert open_store("s3://stores/b").manifest.lesions == 4


# --- what a user does with a bucket ---


def test_links_let_others_read_a_store_and_nothing_else(server, uri):
    manifest = write_store(uri, lesions(3), fold_count=0)
    links = dict(presign(uri, 60))
    assert list(links) == ["manifest.json", *(part.path for part in manifest.parts)]
    for name, link in links.items():
        with urllib.request.urlopen(link, timeout=10) as reply:
            assert reply.read() == locate(uri).read_bytes(name)
        assert SECRET not in link
    for wrong in (links["manifest.json"].replace("manifest", "other"), links["manifest.json"].partition("?")[0]):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(wrong, timeout=10)
    for seconds in (0, 7 * 24 * 3600 + 1):
        with pytest.raises(StoreError, match="S3 signs for 1 to 604800 s"):
            presign(uri, seconds)
    with pytest.raises(StoreError, match="is not a store"):
        presign(f"{uri}2", 60)


def test_what_a_crash_left_is_listed_and_removed_and_nothing_else(server, uri):
    client, prefix = server.client(), uri.removeprefix("s3://stores/")
    manifest = write_store(uri, lesions(3), fold_count=0)
    upload = client.create_multipart_upload(Bucket="stores", Key=f"{prefix}/lesions/0123abcd/part-00001.parquet")["UploadId"]
    for key in (f"{prefix}/lesions/0123abcd/part-00000.parquet", f"{prefix}/mine/part-00000.parquet", f"{prefix}-2/x"):
        client.put_object(Bucket="stores", Key=key, Body=b"12345")
    left = list_incomplete(uri)
    assert [(one.kind, one.key.removeprefix(prefix), one.bytes) for one in sorted(left, key=lambda one: one.key)] == [
        ("part", "/lesions/0123abcd/part-00000.parquet", 5),
        ("upload", "/lesions/0123abcd/part-00001.parquet", None),
    ]
    assert {one.upload_id for one in left} == {None, upload}
    assert abort_incomplete(uri, timedelta(hours=1)) == [], "a writer may be at work"
    assert abort_incomplete(uri, timedelta(0)) == left
    assert list_incomplete(uri) == []
    assert sorted(keys(server, uri)) == sorted(
        ["-2/x", "/mine/part-00000.parquet", "/manifest.json", *(f"/{part.path}" for part in manifest.parts)]
    )
    assert open_store(uri).manifest == manifest


def test_a_reader_may_not_clean_up(monkeypatch, server, uri):
    key = f"{uri.removeprefix('s3://stores/')}/lesions/0123abcd/part-00000.parquet"
    server.client().put_object(Bucket="stores", Key=key, Body=b"x")
    use(monkeypatch, server, AWS_ACCESS_KEY_ID=READER, AWS_SECRET_ACCESS_KEY=READER_SECRET)
    assert [one.key for one in list_incomplete(uri)] == [key]
    with pytest.raises(StoreError, match="may read the bucket 'stores' but not write"):
        abort_incomplete(uri, timedelta(0))


def test_facts_of_a_bucket(server, tmp_path):
    facts = bucket_facts("s3://stores/any/where")
    assert (facts.bucket, facts.endpoint, facts.exists, facts.versioning) == ("stores", server.endpoint, True, "off")
    server.client().create_bucket(Bucket="versioned")
    server.client().put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": "Enabled"})
    assert bucket_facts("s3://versioned").versioning == "enabled"
    assert not bucket_facts("s3://no-such-bucket").exists
    for call in (bucket_facts, list_incomplete, lambda uri: presign(uri, 60)):
        with pytest.raises(StoreError, match=r"is not in object storage\. Give an s3://bucket/prefix"):
            call(str(tmp_path))


def test_a_store_on_s3_is_described_as_one_on_disk_is(uri, tmp_path):
    found = []
    for place in (uri, str(tmp_path / "store")):
        write_store(place, lesions(70), fold_count=3)
        found.append(describe_store(open_store(place)))
    there, here = found
    assert csv_files(there) == csv_files(here)
    assert there.total.lesions == 70
