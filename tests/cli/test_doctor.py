"""The command doctor: what a start would refuse is found first, in the same words, and nothing is left behind."""

import json
import socket
import subprocess
import time
from pathlib import Path

import pytest

from hyperderm import workflows
from hyperderm.errors import ClusterError, StoreError, TrackingError
from hyperderm.store.writer import write_store
from hyperderm.tracking.server import check_server
from hyperderm.training.storage import open_storage
from hyperderm.workflows import examination
from tests.cli.test_bad_input import closed_port, project  # noqa: F401 - a fixture
from tests.services.disks import mounted
from tests.store.lesions import lesions

LEFT = {"experiments", "search_spaces"}


@pytest.fixture
def doctor(project, command, monkeypatch):  # noqa: F811
    """Run the command in a project; return its exit code, and topic to (level, sentence)."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    def doctor(*arguments: object, left: tuple[str, ...] = ()) -> tuple[int, dict[str, tuple[str, str]]]:
        done = command("doctor", "--json", *arguments)
        assert done.stderr == ""
        told = json.loads(done.stdout)["findings"]
        assert all(bool(each["remedy"]) == (each["level"] != "good") for each in told)
        assert {path.name for path in Path().iterdir()} - LEFT == set(left)
        return done.returncode, {each["topic"]: (each["level"], f"{each['found']}. {each['remedy']}") for each in told}

    return doctor


@pytest.fixture
def disk(tmp_path_factory):
    yield from mounted(tmp_path_factory.mktemp("disk"))


def bad(found: dict[str, tuple[str, str]]) -> dict[str, str]:
    return {topic: said for topic, (level, said) in found.items() if level == "bad"}


def test_a_machine_on_which_all_is_well(doctor, project, tmp_path_factory):  # noqa: F811
    place = tmp_path_factory.mktemp("stores") / "mine"
    write_store(str(place), lesions(9, 32), fold_count=3)
    begun = time.monotonic()
    code, found = doctor("--store", place, "--runs", project / "a" / "b")
    assert time.monotonic() - begun < 5
    assert (code, bad(found)) == (0, {})
    assert found["RUNS"][1].startswith(f"{project}/a/b will be made by the first run")
    assert found["store"][1].startswith(f"{place}: 9 lesions, 1 parts")
    assert found["MLflow"][1].endswith("mlflow.db will be created by the first run. ")
    assert set(found) >= {"versions", "GPU", "cores", "memory", "shared", "disk", "Ray"}


def test_on_the_screen_and_from_python(project, command):  # noqa: F811
    done = command("doctor")
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0].startswith("good     versions  hyperderm ")
    assert all(line.split()[0] in ("good", "warning", "bad") for line in lines[:-1])
    assert " good, " in lines[-1]
    assert done.returncode == int("\nbad " in done.stdout)
    assert {each.topic for each in workflows.doctor()} >= {"versions", "RUNS", "MLflow", "Ray"}


def test_what_a_start_refuses_is_found_first_in_its_words(doctor, project, monkeypatch):  # noqa: F811
    (project / "taken").write_text("a file")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{closed_port()}")
    code, found = doctor("--runs", "taken", "--store", "nowhere", "--storage", "s3://bucket/x", left=("taken",))
    assert code == 1
    assert set(bad(found)) == {"RUNS", "store", "storage", "MLflow", "Ray"}
    assert "Not a directory" in found["RUNS"][1]
    with pytest.raises(TrackingError) as refused:
        check_server(examination.Workspace.here().tracking_uri)
    assert found["MLflow"][1] == str(refused.value)
    with pytest.raises(ClusterError) as away, examination.connect(examination.Workspace.here().ray_address):
        pass
    assert found["Ray"][1] == str(away.value)
    with pytest.raises(StoreError) as keyless:
        open_storage("s3://bucket/x")
    assert found["storage"][1] == str(keyless.value)
    assert "no AWS credentials are set" in found["storage"][1]


def test_a_full_and_a_read_only_folder(doctor, disk, project):  # noqa: F811
    small = disk(project / "small", 256)
    small.fill()
    code, found = doctor("--runs", "small", left=("small",))
    assert code == 1
    assert set(bad(found)) == {"RUNS", "disk"}
    assert "No space left on device" in found["RUNS"][1]
    small.free()
    subprocess.run(["mount", "-o", "remount,ro", str(small.place)], check=True)
    assert "Read-only file system" in bad(doctor("--runs", "small", left=("small",))[1])["RUNS"]
    assert not list(small.place.iterdir())


@pytest.mark.parametrize(
    ("address", "said"),
    [("head", "RAY_ADDRESS=head is not host:port"), ("http://head:8265", "is not host:port"), ("127.0.0.1:1", "refused")],
)
def test_addresses_that_are_none(doctor, monkeypatch, address, said):
    monkeypatch.setenv("RAY_ADDRESS", address)
    code, found = doctor("--cluster")
    assert code == 1
    assert said in bad(found)["Ray"]


def test_a_cluster_is_asked_for_and_none_is_named(doctor, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as other:
        monkeypatch.setattr(examination, "HEAD", f"127.0.0.1:{other.getsockname()[1]}")
        code, found = doctor("--cluster")
        assert code == 1
        assert "is taken here, so give it another --port" in bad(found)["Ray"]
    monkeypatch.setattr(examination, "HEAD", f"127.0.0.1:{closed_port()}")
    assert "is free for it here" in bad(doctor("--cluster")[1])["Ray"]


def test_a_token_that_is_demanded_and_missing(doctor, monkeypatch, tmp_path):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/no/such/token")
    code, found = doctor()
    assert code == 1
    assert "RAY_AUTH_TOKEN_PATH=/no/such/token holds no token (No such file or directory)" in bad(found)["Ray"]


def test_a_silent_server_costs_its_limit_and_no_more(doctor, monkeypatch):
    monkeypatch.setattr(examination, "LIMIT_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        begun = time.monotonic()
        code, found = doctor()
        assert time.monotonic() - begun < 4
    assert code == 1
    assert bad(found)["MLflow"].startswith("no answer within 1 s")


def test_wrong_words_end_with_2(command):
    assert command("doctor", "--clusters").returncode == 2
