"""Runs whose workers write to a real S3 server: searched, killed, repeated, refused, generated from."""

import hashlib
import io
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from mlflow.tracking import MlflowClient
from optuna.trial import TrialState

from hyperderm.cluster.session import Cluster, check_shared
from hyperderm.errors import ClusterError, StorageAway, StoreError, StudyError
from hyperderm.store import location as location_module
from hyperderm.store.location import Location
from hyperderm.store.reader import open_store
from hyperderm.store.synthetic import origin_of
from hyperderm.studies.sweep import run as run_trials
from hyperderm.training.checkpoint import BEST, LATEST, PREVIOUS, CheckpointFolder
from hyperderm.training.named_checkpoints import read_checkpoint
from hyperderm.training.selection import select
from hyperderm.training.storage import claim_prefix, open_storage, storage_of_run, trial_place
from tests.cluster.sweeps import Memory, search, tiny, train_once
from tests.command import project_of
from tests.services.s3_server import READER, READER_SECRET, SECRET, S3Server
from tests.services.test_sweep_cli import EXPERIMENT, SPACE

BOUND_S = 10
KEPT = ("best.pt", "latest.pt", "over_training.npz", "previous.pt", "samples.npy")
HYPERDERM = Path(sys.executable).with_name("hyperderm")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with S3Server(tmp_path_factory.mktemp("s3")) as server:
        server.client().create_bucket(Bucket="runs")
        yield server


@pytest.fixture(autouse=True)
def settings(monkeypatch, server):
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in server.variables().items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def storage(request) -> Location:
    return open_storage(f"s3://runs/{request.node.name.partition('[')[0]}")


def objects(server, prefix: str) -> dict[str, bytes]:
    client = server.client()
    found = client.list_objects_v2(Bucket="runs", Prefix=prefix).get("Contents", ())
    return {
        item["Key"].removeprefix(prefix): client.get_object(Bucket="runs", Key=item["Key"])["Body"].read() for item in found
    }


def no_secret(contents) -> None:
    assert not [name for name, content in contents.items() if SECRET.encode() in content]


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# --- checkpoints


def x(state) -> int:
    return state["x"].item()


def test_a_checkpoint_comes_back_as_it_was(server, storage):
    folder = CheckpointFolder(storage)
    assert folder.load() is None
    assert not folder.holds()
    state = {"w": torch.randn(300_000, dtype=torch.float64), "n": 3, "s": "text", "list": [1.5, float("inf")]}
    folder.save(state)
    again = folder.load()
    assert torch.equal(again.pop("w"), state.pop("w"))
    assert again == state
    assert folder.holds()
    assert not folder.holds(BEST)
    held = objects(server, storage.prefix)
    assert list(held) == [f"/{LATEST}"]
    assert folder.sha256() == hashlib.sha256(held[f"/{LATEST}"]).hexdigest()
    with pytest.raises(FileNotFoundError, match=r"s3://runs/.*/best\.pt"):
        folder.sha256(BEST)


def test_best_stays_while_latest_goes_on_and_comes_first(storage, monkeypatch):
    folder, order, write = CheckpointFolder(storage), [], Location.write_bytes

    def watched(self, name, content):
        order.append(name)
        write(self, name, content)

    monkeypatch.setattr(Location, "write_bytes", watched)
    for value, best in ((1, True), (2, True), (3, False), (4, False)):
        folder.save({"x": torch.tensor(value)}, best=best)
    assert (x(folder.load()), x(folder.load(BEST))) == (4, 2)
    assert order == [BEST, LATEST, BEST, LATEST, LATEST, LATEST]


def test_a_kill_between_best_and_latest_promises_nothing_that_is_not_there(storage, monkeypatch):
    folder, write = CheckpointFolder(storage), Location.write_bytes
    folder.save({"x": torch.tensor(1)}, best=True)

    def die(self, name, content):
        if name == LATEST:
            raise KeyboardInterrupt
        write(self, name, content)

    monkeypatch.setattr(Location, "write_bytes", die)
    with pytest.raises(KeyboardInterrupt):
        folder.save({"x": torch.tensor(2)}, best=True)
    assert (x(folder.load()), x(folder.load(BEST))) == (1, 2)


@pytest.mark.parametrize("damage", ["truncated", "empty", "text"])
def test_a_damaged_object_gives_one_clear_sentence(storage, damage):
    folder = CheckpointFolder(storage)
    folder.save({"x": torch.randn(1000)})
    whole = storage.read_bytes(LATEST)
    storage.write_bytes(LATEST, {"truncated": whole[: len(whole) // 2], "empty": b"", "text": b"no checkpoint"}[damage])
    with pytest.raises(StudyError, match=rf"checkpoint {storage.uri}/{LATEST} cannot be read .*Move it away") as caught:
        folder.load()
    assert "\n" not in str(caught.value)


def test_a_damaged_object_falls_back_to_the_one_before(storage):
    folder = CheckpointFolder(storage)
    for value in (1, 2, 3):
        folder.save({"x": torch.tensor(value)})
    storage.write_bytes(LATEST, storage.read_bytes(LATEST)[:-100])
    again = CheckpointFolder(storage)
    assert [(name, x(state)) for name, state in [again.resume()]] == [(PREVIOUS, 2)]
    assert again.told().startswith(f"checkpoint {storage.uri}/{LATEST} cannot be read (")
    again.save({"x": torch.tensor(3)})
    assert (x(again.load()), x(again.load(PREVIOUS))) == (3, 2), "damage never takes the place of the one before"


def test_a_server_that_stays_away_is_told_and_changes_nothing(server, storage, monkeypatch):
    folder = CheckpointFolder(storage)
    folder.save({"x": torch.tensor(1)}, best=True)
    server.stop()
    try:
        with monkeypatch.context() as hasty:
            hasty.setattr(location_module, "PATIENCE_S", 1.0)
            with pytest.raises(StorageAway, match="went away and did not come back"):
                folder.save({"x": torch.tensor(2)}, best=True)
            with pytest.raises(StorageAway):
                folder.load()
    finally:
        server.start()
    assert (x(folder.load()), x(folder.load(BEST))) == (1, 1)


# --- what is refused before anything starts


@pytest.mark.parametrize(
    ("uri", "changes", "said"),
    [
        ("s3://nowhere/x", {}, "there is no bucket 'nowhere'"),
        ("s3://runs/x", {"AWS_ACCESS_KEY_ID": "nobody"}, "does not know the access key nobody"),
        ("s3://runs/x", {"AWS_SECRET_ACCESS_KEY": "wrong"}, "the secret of access key tester is wrong"),
        ("s3://runs/x", {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"}, "no S3 server answers at http://127.0.0.1:9"),
        (
            "s3://runs/x",
            {"AWS_ACCESS_KEY_ID": READER, "AWS_SECRET_ACCESS_KEY": READER_SECRET},
            "may read the bucket 'runs' but not write to it",
        ),
        ("s3://R/x", {}, "--storage 's3://R/x': 'R' is no bucket's name"),
        ("gs://runs/x", {}, "--storage 'gs://runs/x' cannot be opened"),
        ("/tmp/x", {}, "--storage '/tmp/x' is no s3:// address. A folder that all nodes see is given by --runs."),
    ],
)
def test_storage_that_cannot_be_written(server, monkeypatch, uri, changes, said):
    for name, value in changes.items():
        monkeypatch.setenv(name, value)
    begun = time.monotonic()
    with pytest.raises(StoreError) as caught:
        open_storage(uri)
    assert time.monotonic() - begun < BOUND_S
    assert said in str(caught.value)
    assert caught.value.remedy
    assert not objects(server, "x")


def test_a_prefix_belongs_to_one_run(server, storage, tmp_path):
    one, other = tmp_path / "a" / "run", tmp_path / "b" / "run"
    for folder in (one, other):
        folder.mkdir(parents=True)
    mine = storage_of_run(storage, one)
    assert mine.uri == f"{storage.uri}/run"
    claim_prefix(mine, one, "run-1")
    claim_prefix(mine, one, "run-1")
    with pytest.raises(StudyError, match=rf"{mine.uri} holds the files of another run of this name.*--name NAME or --stor"):
        claim_prefix(storage_of_run(storage, other), other, "run-2")
    assert not files(other)
    server.client().delete_object(Bucket="runs", Key=f"{mine.prefix}/owner.json")
    with pytest.raises(StudyError, match="does not hold the files of run any more"):
        claim_prefix(mine, one, "run-1")


def test_every_node_must_reach_the_server(ray_cluster, storage, monkeypatch):
    two = Cluster(((1.0, 0.0), (1.0, 0.0)), "")
    check_shared(storage, two)
    access = type(storage.access)(**{**vars(storage.access), "endpoint": "http://127.0.0.1:9"})
    with pytest.raises(ClusterError, match=rf"--storage {storage.uri} cannot be read from .*AWS_ENDPOINT_URL_S3"):
        check_shared(Location(storage.uri, access.file_system(), storage.path, access), two)


# --- training


def test_one_run_here_ends_as_on_a_disk(server, storage, phantom_store, tmp_path):
    experiment, store = tiny(training__images=64), open_store(str(phantom_store))
    selection = select(store, experiment)
    train_once(experiment, store, tmp_path / "0000", {"run": "r"}, Memory(), selection=selection)
    memory = Memory()
    train_once(experiment, store, storage, {"run": "r"}, memory, selection=selection)
    assert memory.reports[0] == [0, 32, 64]
    held = objects(server, storage.prefix)
    assert sorted(held) == ["/best.pt", "/latest.pt", "/over_training.npz", "/previous.pt", "/samples.npy"]
    assert held["/samples.npy"] == (tmp_path / "0000/samples.npy").read_bytes()
    here = CheckpointFolder(tmp_path / "0000").load()["learner"]["generator"]
    there = CheckpointFolder(storage).load()["learner"]["generator"]
    assert all(torch.equal(here[name], there[name]) for name in here)
    again = Memory()
    train_once(experiment, store, storage, {"run": "r"}, again, selection=selection)
    assert again.reports[0] == [64], "a finished run trains nothing"


@pytest.mark.slow  # its short form, on a disk, is in tests/studies/test_sweep.py
def test_killed_trial_goes_on_from_s3_bit_for_bit(server, storage, tmp_path, shared, ray_cluster):
    """The Ray of the session began without the AWS settings: they travel with the storage."""
    experiment, killed = tiny(sweep__trials=1, training__images=160), []
    run_trials(search(tmp_path / "calm", experiment, Memory()), shared, ray_cluster, tmp_path / "calm", {})

    def kill(number, images):
        if images == 64 and not killed:
            mine = psutil.Process().children(recursive=True)
            victims = [p for p in mine if "ray::Trial" in " ".join(p.cmdline())]
            for victim in victims:
                victim.kill()
            killed.append(len(victims))

    memory = Memory(kill)
    made = search(tmp_path / "killed", experiment, memory)
    run_trials(made, shared, ray_cluster, tmp_path / "killed", {}, storage)
    assert killed[0] >= 1
    assert made.study.trials[0].state == TrialState.COMPLETE
    assert memory.reports[0] == [0, 32, 64, 96, 128, 160]
    calm = torch.load(tmp_path / "calm/trials/0000/latest.pt", weights_only=True)["learner"]["generator"]
    after = CheckpointFolder(trial_place(tmp_path, 0, storage)).load()["learner"]["generator"]
    assert all(torch.equal(calm[name], after[name]) for name in calm)
    assert not (tmp_path / "killed/trials").exists()
    no_secret(objects(server, storage.prefix) | files(tmp_path))


@pytest.mark.slow  # its short form, on a disk, is in tests/cluster/test_worker_group.py
@pytest.mark.timeout(180)
def test_a_group_of_two_workers_needs_no_folder_either(server, storage, phantom_store, ray_cluster):
    experiment, memory = tiny(sweep__workers_per_trial=2, training__images=64), Memory()
    store = open_store(str(phantom_store))
    train_once(experiment, store, trial_place(Path(), 0, storage), {}, memory)
    assert memory.reports[0] == [0, 32, 64]
    held = objects(server, storage.prefix)
    assert {"/trials/0000/best.pt", "/trials/0000/latest.pt", "/trials/0000/samples.npy"} <= set(held)
    assert any(name.startswith("/train/group-") for name in held)
    no_secret(held)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_sweep_that_loses_its_server_leaves_its_trial_open(server, storage, tmp_path, shared, ray_cluster):
    experiment = tiny(sweep__trials=2, sweep__concurrent=1, sweep__max_failures=0)
    made = search(tmp_path, experiment, Memory(lambda number, images: server.stop() if images == 64 else None))
    try:
        with pytest.raises(StorageAway, match="the S3 server went away and did not come back"):
            run_trials(made, shared, ray_cluster, tmp_path, {}, storage)
    finally:
        server.start()
    assert [t.state for t in made.study.trials] == [TrialState.RUNNING]
    memory = Memory()
    again = search(tmp_path, experiment, memory)
    run_trials(again, shared, ray_cluster, tmp_path, {}, storage)
    assert [t.state for t in again.study.trials] == [TrialState.COMPLETE] * 2
    assert memory.reports[0][0] >= 32


# --- as a user does it


@pytest.fixture
def project(tmp_path) -> Path:
    for folder, text in (("experiments", EXPERIMENT), ("search_spaces", SPACE)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").touch()
        (tmp_path / folder / "tiny.py").write_text(text)
    return tmp_path


def hyperderm(project: Path, *arguments: object, code: int = 0) -> str:
    done = subprocess.run(
        [HYPERDERM, *map(str, arguments)],
        cwd=project,
        env={**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{project / 'mlflow.db'}", "COLUMNS": "300"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=180,
    )
    assert done.returncode == code, done.stdout
    assert "Traceback" not in done.stdout, done.stdout
    return done.stdout


@pytest.fixture
def at_once(command, project):
    """Run a command that ends before Ray starts."""

    def at_once(*arguments: object, code: int = 0) -> str:
        with project_of(project, MLFLOW_TRACKING_URI=f"sqlite:///{project / 'mlflow.db'}", COLUMNS="300"):
            done = command(*arguments)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    return at_once


@pytest.mark.slow  # its short form is test_one_run_here_ends_as_on_a_disk
@pytest.mark.timeout(600)
def test_a_sweep_on_s3_from_the_command_to_a_synthetic_set(server, project, phantom_store, at_once):
    sweep = ["sweep", "tiny", "--profile", "small", "--store", phantom_store, "--name", "far", "--trials", 2]
    uri = "s3://runs/cli/deep"
    assert f"checkpoints and samples in {uri}/far" in hyperderm(project, *sweep, "--storage", uri + "/")

    held = objects(server, "cli/deep/far")
    wanted = {f"/trials/{n:04d}/{name}" for n in range(2) for name in KEPT}
    assert set(held) == {*wanted, "/owner.json"}
    assert np.load(io.BytesIO(held["/trials/0001/samples.npy"])).shape == (8, 16, 16, 16)
    local = files(project / "runs")
    assert {"far/study.db", "far/outbox.db", "far/identity.json"} <= set(local)
    assert not [name for name in local if name.endswith((".pt", ".npy"))]
    no_secret(held | files(project))
    client = MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    tracked = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
    children = [r for r in tracked if "mlflow.parentRunId" in r.data.tags]
    assert [r.data.tags["hyperderm.storage"] for r in tracked] == [f"{uri}/far"] * 3
    for child in children:
        assert {"lesions.png", "spectra.png"} <= {f.path for f in client.list_artifacts(child.info.run_id)}

    assert "nothing to do: 2 trials ended before" in at_once(*sweep, "--storage", uri)
    assert objects(server, "cli/deep/far") == held
    refused = at_once(*sweep, "--storage", "s3://runs/elsewhere", code=2)
    assert f"storage: {uri} -> s3://runs/elsewhere" in refused
    assert "--name" in refused
    assert f"storage: {uri} -> (the run's folder)" in at_once(*sweep, code=2)
    assert not objects(server, "elsewhere")

    said = hyperderm(project, "generate", "--run", "far", "--count", 3, "--store", "made")
    best = said.partition(", best trial of sweep far: ")[2].splitlines()[0]
    assert best.startswith(f"{uri}/far/trials/000")
    assert origin_of(open_store(str(project / "made")).manifest).checkpoint == read_checkpoint(best)[1]
    hyperderm(project, "generate", "--checkpoint", best, "--count", 3, "--store", "again")
    fingerprints = [open_store(str(project / name)).manifest.fingerprint for name in ("made", "again")]
    assert fingerprints[0] == fingerprints[1]
    missing = at_once("generate", "--checkpoint", f"{uri}/none.pt", "--count", 3, "--store", "third", code=2)
    assert f"checkpoint {uri}/none.pt does not exist" in missing


@pytest.mark.timeout(120)
def test_a_wrong_bucket_leaves_nothing_behind(project, at_once):
    before = files(project)
    for verb in ("sweep", "train"):
        said = at_once(verb, "tiny", "--profile", "small", "--storage", "s3://nowhere/x", code=2)
        assert "s3://nowhere/x: there is no bucket 'nowhere'" in said
    assert {name for name in files(project) if "__pycache__" not in name} == set(before)


@pytest.mark.slow  # its short form is test_one_run_here_ends_as_on_a_disk
def test_a_single_run_on_s3(server, project, phantom_store, at_once):
    train = ["train", "tiny", "--profile", "small", "--store", phantom_store, "--name", "one"]
    train += ["--storage", "s3://runs/single"]
    assert "checkpoints and samples in s3://runs/single/one/trials/0000" in hyperderm(project, *train)
    held = objects(server, "single/one/")
    assert set(held) == {"owner.json", *(f"trials/0000/{name}" for name in KEPT)}
    assert "storage: s3://runs/single -> (the run's folder)" in at_once(*train[:-2], code=2)
    assert "checkpoint of run one: s3://runs/single/one/trials/0000/best.pt" in hyperderm(
        project, "generate", "--run", "one", "--count", 2, "--store", "made"
    )
