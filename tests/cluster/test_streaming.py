"""Streaming on a real Ray: the choice, more data than memory, every CPU taken, dead readers, damaged parts."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from hyperderm.cluster import stream_readers
from hyperderm.cluster.feed_choice import choose_feed
from hyperderm.cluster.session import Cluster
from hyperderm.cluster.shared_data import share
from hyperderm.cluster.stream_readers import StreamedData, stream
from hyperderm.cubes.cube import Cube, Lesion
from hyperderm.errors import ClusterError, ConfigError, StoreError
from hyperderm.store.reader import open_store
from hyperderm.store.writer import write_store
from hyperderm.training.selection import read, select
from tests.cluster.sweeps import Memory, run, tiny

NM = np.linspace(465.0, 630.0, 16)
LIMIT = 80 * 2**20
"""Bytes of the small object store."""


def noise(count: int, size: int):
    """Lesions of noise, melanomas darker; fast to make, slow to compress, and of many values."""
    rng = np.random.default_rng(0)
    for i in range(count):
        diagnosis = "melanoma" if i % 3 == 0 else "dysplastic_nevus"
        cube = rng.random((size, size, 16), np.float32) * (0.3 if i % 3 == 0 else 0.5) + 0.1
        yield Lesion(f"n{i:05d}", f"n{i:05d}", f"g{i}", diagnosis, Cube(cube, NM), None, {})


@pytest.fixture(scope="module")
def noise_store(tmp_path_factory) -> str:
    """140 lesions at 16 px in three parts, of which the last is small."""
    place = str(tmp_path_factory.mktemp("noise") / "store")
    write_store(place, noise(140, 16), fold_count=3)
    return place


@pytest.fixture(scope="module")
def large_store(tmp_path_factory) -> str:
    """Four times the small object store, decoded."""
    place = str(tmp_path_factory.mktemp("large") / "store")
    write_store(place, noise(-(-4 * LIMIT // (32 * 32 * 17 * 4)), 32), fold_count=8)
    return place


OPEN: list[StreamedData] = []


@pytest.fixture(autouse=True)
def closed():
    """The readers' CPUs come back after every test."""
    yield
    while OPEN:
        OPEN.pop().close()


def streamed(uri: str, experiment) -> StreamedData:
    store = open_store(uri)
    OPEN.append(stream(store, select(store, experiment), experiment))
    return OPEN[-1]


def test_what_is_streamed_is_what_would_be_held(noise_store, ray_cluster):
    """Scaling, validation, sample and every shard are those of the roles in memory, bit for bit."""
    experiment, store = tiny(data__sample=20), open_store(noise_store)
    held = read(store, select(store, experiment), experiment)
    data = streamed(noise_store, experiment).load(experiment)
    assert data.scaling.state_dict() == held.scaling.state_dict()
    assert data.validation.lesion_ids == held.validation.lesion_ids
    assert torch.equal(data.validation.reflectance, held.validation.reflectance)
    assert torch.equal(data.validation.masks, held.validation.masks)
    assert (data.lesion_ids, data.diagnoses) == (held.train.lesion_ids, held.train.diagnoses)
    rows = [held.train.lesion_ids.index(name) for name in data.train.lesion_ids]
    assert len(rows) == 20
    assert rows == sorted(rows)
    assert torch.equal(data.train.reflectance, held.train.reflectance[rows])
    assert sorted(row for shard in data.streamed.shards for row in shard) == list(range(len(held.train)))
    for number, shard in enumerate(data.streamed.shards):
        assert torch.equal(data.streamed.begin(number)(), held.train.reflectance[list(shard)])


def test_cubes_are_resized_as_in_memory(phantom_store, ray_cluster):
    experiment, store = tiny(data__size=16), open_store(str(phantom_store))
    held = read(store, select(store, experiment), experiment)
    data = streamed(str(phantom_store), experiment).load(experiment)
    assert data.scaling.state_dict() == held.scaling.state_dict()
    for number, shard in enumerate(data.streamed.shards):
        assert torch.equal(data.streamed.begin(number)(), held.train.reflectance[list(shard)])


def test_the_feed_is_chosen_by_what_fits(noise_store):
    store = open_store(noise_store)
    selection = select(store, tiny())
    needed = (len(selection.train) + len(selection.validation)) * 16 * 16 * (16 * 4 + 1)
    assert not choose_feed(store, selection, tiny(), 2 * needed).streams
    few = choose_feed(store, selection, tiny(), needed)
    assert (few.streams, few.needed) == (True, needed)
    assert few.said(2) == (
        "train is streamed: the roles are 1 MiB decoded, the object store holds 1 MiB; 2 CPUs kept for reading"
    )
    assert not choose_feed(store, selection, tiny(data__feed="memory"), needed).streams
    assert choose_feed(store, selection, tiny(data__feed="stream"), 2**40).streams
    with pytest.raises(ConfigError, match=r"roles are 1 MiB.*would be streamed; but data.scaling = robust cannot"):
        choose_feed(store, selection, tiny(data__scaling="robust"), needed)


@pytest.mark.parametrize("kind", ["shsgan", pytest.param("classifier", marks=pytest.mark.slow)])
def test_four_times_the_object_store_trains_with_every_cpu_taken(large_store, tmp_path, kind):
    """Two CPUs, two trials of one CPU each that both ask to run: bounded in time, under the limit, nothing spilled."""
    command = [sys.executable, "-m", "tests.cluster.small_ray", str(tmp_path), large_store, kind, str(LIMIT), "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=220, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert found["streams"]
    assert found["needed"] > 3 * LIMIT  # train and validation; the store is four times
    assert found["left"] == 1.0
    assert found["reports"] == {"0": [0, 80, 160], "1": [0, 80, 160]}
    assert found["ended"].count("finished") == 2
    assert 0 < found["peak"] <= LIMIT
    assert found["spilled"] == 0


@pytest.mark.slow
def test_a_streamed_sweep_resumes_to_the_same_weights_after_its_reader_died(noise_store, tmp_path, ray_cluster):
    import ray

    experiment = tiny(data__feed="stream", data__window=1, sweep__trials=1, training__images=192)
    calm = streamed(noise_store, experiment)
    run(tmp_path / "calm", experiment, calm, ray_cluster, Memory())
    killed = []

    def kill(number: int, images: int) -> None:
        if images == 64 and not killed:
            killed.append(images)
            for _, actor in hurt.readers:
                ray.kill(actor, no_restart=False)

    OPEN.pop().close()
    hurt = streamed(noise_store, experiment)
    memory = Memory(kill)
    run(tmp_path / "hurt", experiment, hurt, ray_cluster, memory)
    assert killed
    assert ("finished", 0, "") in memory.events
    a, b = (
        torch.load(tmp_path / name / "trials/0000/latest.pt", weights_only=True)["learner"]["generator"]
        for name in ("calm", "hurt")
    )
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_more_than_one_node_s_cpus_leave_none_for_a_trial(noise_store, ray_cluster):
    cpus = ray_cluster.cpus
    with pytest.raises(ClusterError, match=r"a trial needs 1 worker with .* CPU kept for reading"):
        streamed(noise_store, tiny(sweep__cpus_per_worker=cpus))


def test_readers_that_find_no_cpu_are_told(noise_store, ray_cluster, monkeypatch):
    import ray

    @ray.remote(num_cpus=0)
    class Other:
        def ready(self) -> None: ...

    other = Other.options(num_cpus=ray_cluster.cpus).remote()
    monkeypatch.setattr(stream_readers, "PATIENCE_S", 2.0)
    waiting = Cluster(ray_cluster.nodes, "")
    assert waiting.cpus >= 1
    try:
        ray.get(other.ready.remote(), timeout=20)
        with pytest.raises(ClusterError, match=r"no CPU came free for reading within 2 s"):
            streamed(noise_store, tiny())
    finally:
        ray.kill(other)


def test_windows_beyond_the_object_store_are_refused(noise_store, ray_cluster, monkeypatch):
    monkeypatch.setattr(stream_readers, "HELD", 1e-6)
    with pytest.raises(
        ClusterError, match=r"data.window = 4 and data.sample = 256 do not fit the object store: two windows"
    ):
        streamed(noise_store, tiny())


def test_a_part_that_is_damaged_after_the_store_was_opened_is_named(noise_store, tmp_path, ray_cluster):
    import shutil

    place = tmp_path / "store"
    shutil.copytree(noise_store, place)
    store, data = open_store(str(place)), streamed(str(place), tiny()).load(tiny())
    part = place / store.manifest.parts[0].path
    part.write_bytes(part.read_bytes()[:1000])
    shard = next(
        number for number, rows in enumerate(data.streamed.shards) if "n00000" <= data.lesion_ids[rows[0]] < "n00064"
    )
    with pytest.raises(StoreError, match=r"part lesions/part-00000.parquet cannot be read"):
        data.streamed.begin(shard)()


def test_what_was_prepared_once_cannot_be_searched(noise_store, ray_cluster):
    shared = streamed(noise_store, tiny())
    with pytest.raises(ConfigError, match=r"data.size and data.scaling cannot be searched while train is streamed"):
        shared.load(tiny(data__size=32))


def test_what_fits_is_shared_as_before(noise_store, ray_cluster):
    store = open_store(noise_store)
    assert not isinstance(share(store, select(store, tiny()), tiny()), StreamedData)
