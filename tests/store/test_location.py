"""Addresses, the settings behind `s3://`, and two writers on one disk; the server's part is in tests/services/test_s3.py."""

import pickle
import threading

import pytest

from hyperderm import durable
from hyperderm.errors import StoreError
from hyperderm.store.location import locate
from hyperderm.store.reader import open_store
from hyperderm.store.writer import write_store
from tests.store.lesions import lesions

CONFIG = """
[default]
region = eu-west-1
[profile lab]
region = eu-north-1
services = lab-services
s3 =
    addressing_style = virtual
[services lab-services]
s3 =
    endpoint_url = http://lab.example:9000
"""
CREDENTIALS = """
[default]
aws_access_key_id = of-default
aws_secret_access_key = secret-default
[lab]
aws_access_key_id = of-lab
aws_secret_access_key = secret-lab
aws_session_token = token-lab
"""
AMAZON = "https://s3.amazonaws.com"


@pytest.fixture
def use(tmp_path, monkeypatch):
    import os

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    (tmp_path / "config").write_text(CONFIG)
    (tmp_path / "credentials").write_text(CREDENTIALS)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))

    def use(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return locate("s3://bucket/a/b/").access

    return use


@pytest.mark.parametrize(
    ("variables", "key", "region", "endpoint"),
    [
        ({}, "of-default", "eu-west-1", "https://s3.eu-west-1.amazonaws.com"),
        ({"AWS_PROFILE": "lab"}, "of-lab", "eu-north-1", "http://lab.example:9000"),
        ({"AWS_PROFILE": "lab", "AWS_ENDPOINT_URL_S3": "http://x:1"}, "of-lab", "eu-north-1", "http://x:1"),
        ({"AWS_ENDPOINT_URL": "http://x:1"}, "of-default", "eu-west-1", "http://x:1"),
        ({"AWS_ENDPOINT_URL": "http://x:1", "AWS_ENDPOINT_URL_S3": "http://y:2"}, "of-default", "eu-west-1", "http://y:2"),
        ({"AWS_DEFAULT_REGION": "us-east-1"}, "of-default", "us-east-1", AMAZON),
        ({"AWS_DEFAULT_REGION": "us-west-2", "AWS_REGION": "us-east-1"}, "of-default", "us-east-1", AMAZON),
        ({"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": "us-east-1"}, "k", "us-east-1", AMAZON),
    ],
)
def test_settings_by_the_conventions(use, variables, key, region, endpoint):
    access = use(**variables)
    assert (access.key, access.region, access.endpoint) == (key, region, endpoint)


def test_all_of_a_profile_travels_and_no_secret_is_shown(use):
    use(AWS_PROFILE="lab", AWS_CA_BUNDLE="/etc/ca.pem")
    place = locate("s3://bucket/a/b/")
    assert (place.bucket, place.prefix, place.local) == ("bucket", "a/b", False)
    access = place.access
    assert (access.secret, access.token, access.virtual, access.ca_file) == ("secret-lab", "token-lab", True, "/etc/ca.pem")
    assert "secret-lab" not in repr(place)
    assert "token-lab" not in repr(place)
    back = pickle.loads(pickle.dumps(place))
    assert back == place
    assert back.fs.region == "eu-north-1"


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("s3://", "'' is no bucket's name"),
        ("s3://Big_Bucket/x", "'Big_Bucket' is no bucket's name"),
        ("s3://bucket//x", "an empty, '.' or '..' part"),
        ("s3://bucket/a/../b", "an empty, '.' or '..' part"),
        ("s3://bucket/x?endpoint_override=y", "AWS_ENDPOINT_URL_S3"),
        ("s3a://bucket/x", "Give a folder, or an s3:// address"),
        ("gs://bucket/x", "Give a folder, or an s3:// address"),
    ],
)
def test_addresses_that_are_none(use, uri, said):
    with pytest.raises(StoreError) as caught:
        locate(uri)
    assert said in str(caught.value)
    assert uri in str(caught.value)


def test_credentials_in_an_address_are_refused_and_not_repeated(use):
    with pytest.raises(StoreError, match="credentials in the address") as caught:
        locate("s3://key:verysecret@bucket/x")
    assert "verysecret" not in str(caught.value)


def test_of_writers_on_one_disk_one_wins_and_the_others_are_told(tmp_path):
    place, met, results = tmp_path / "store", threading.Barrier(3), []

    def writer(number):
        def rows():
            yield from lesions(66, 2)
            met.wait(30)  # all have found the place free and have written a part

        try:
            results.append(write_store(str(place), rows(), fold_count=0, source={"writer": number}))
        except StoreError as error:
            results.append(str(error))

    threads = [threading.Thread(target=writer, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told = [one for one in results if isinstance(one, str)]
    [won] = [one for one in results if not isinstance(one, str)]
    assert len(told) == 2
    assert all("another writer made a store there first" in one for one in told)
    assert open_store(str(place)).manifest == won
    assert list(tmp_path.iterdir()) == [place], "nothing half-written"


@pytest.mark.parametrize("taken_at", ["open", "flock"])
def test_a_room_that_another_writer_takes_for_a_dead_ones_is_made_anew(taken_at, tmp_path, monkeypatch):
    """Between the making of the folder and the lock, the second writer's clearing may remove it."""
    where = {"open": durable.os, "flock": durable.fcntl}[taken_at]
    real, taken = getattr(where, taken_at), []

    def taking(*given, **named):
        if not taken:
            [folder] = tmp_path.glob(".store.*.partial")
            folder.rmdir()
            taken.append(folder)
        return real(*given, **named)

    monkeypatch.setattr(where, taken_at, taking)
    with durable.room(tmp_path / "store") as made:
        assert made.is_dir()
        assert made not in taken
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [None, 5, "a\0b"])
def test_what_is_no_address_makes_no_store(wrong, tmp_path, monkeypatch):
    """From Python anything can be given; a folder called None would be a surprise."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError, match="is no address"):
        write_store(wrong, lesions(2), fold_count=0)
    assert list(tmp_path.iterdir()) == []
