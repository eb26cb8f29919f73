"""Streaming on a real Ray: the choice, more data than memory, every CPU taken, dead readers, damaged parts."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hyperderm.cluster import stream_readers
from hyperderm.cluster.feed_choice import choose_feed
from hyperderm.cluster.session import Cluster, connected
from hyperderm.cluster.shared_data import share
from hyperderm.cluster.stream_readers import Shard, StreamedData, prepare_stream
from hyperderm.cubes.cube import Cube, Lesion
from hyperderm.errors import ClusterError, ConfigError, StoreError
from hyperderm.learners.data import TrainData
from hyperderm.store.reader import open_store
from hyperderm.store.synthetic import SyntheticCube, SyntheticOrigin, write_synthetic
from hyperderm.store.writer import write_store
from hyperderm.training.context import local
from hyperderm.training.loop import train
from hyperderm.training.selection import read, select
from tests.cluster.sweeps import Memory, classifier, run, tiny

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


def synthetic(place: str, real: str) -> str:
    """70 synthetic cubes of `real`'s fold 0 in two parts, larger than the real ones; returns `place`."""
    rng, counts = np.random.default_rng(1), {"melanoma": 24, "dysplastic_nevus": 46}
    kinds = [kind for kind, count in counts.items() for _ in range(count)]
    cubes = [SyntheticCube(i, rng.random((20, 20, 16), np.float32) * 0.9, kind) for i, kind in enumerate(kinds)]
    origin = SyntheticOrigin(
        generator="noise",
        run="none",
        checkpoint="0" * 64,
        experiment="none",
        manifest=open_store(real).manifest.fingerprint,
        fold=0,
        seed=0,
        requested=counts,
        derived=False,
    )
    write_synthetic(place, cubes, NM, origin)
    return place


@pytest.fixture(scope="module")
def made_store(noise_store, tmp_path_factory) -> str:
    return synthetic(str(tmp_path_factory.mktemp("made") / "store"), noise_store)


def with_made(made_store: str, **overrides: object):
    """A classifier that sees synthetic cubes, streamed."""
    return classifier(data__feed="stream", data__window=1, sweep__trials=1, synthetic__store=made_store, **overrides)


OPEN: list[StreamedData] = []


@pytest.fixture(autouse=True)
def closed():
    """The readers' CPUs come back after every test."""
    yield
    while OPEN:
        OPEN.pop().close()


def streamed(uri: str, experiment) -> StreamedData:
    store = open_store(uri)
    OPEN.append(prepare_stream(store, select(store, experiment), experiment))
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


def with_object_store(capacity: int) -> Cluster:
    """The connected cluster, or this machine, with an object store of `capacity` bytes on every node."""
    found = connected()
    return replace(found, memory=tuple(replace(each, store=capacity) for each in found.memory))


def test_the_feed_is_chosen_by_what_fits(noise_store):
    store = open_store(noise_store)
    selection = select(store, tiny())
    needed = (len(selection.train) + len(selection.validation)) * 16 * 16 * (16 * 4 + 1)
    assert not choose_feed(store, selection, tiny(), with_object_store(2 * needed)).streams
    few = choose_feed(store, selection, tiny(), with_object_store(needed))
    assert (few.streams, few.needed) == (True, needed)
    assert few.said(2) == (
        "train is streamed: the roles are 1 MiB decoded, the object store holds 1 MiB; 2 CPUs kept for reading"
    )
    assert not choose_feed(store, selection, tiny(data__feed="memory"), with_object_store(needed)).streams
    assert choose_feed(store, selection, tiny(data__feed="stream"), with_object_store(2**40)).streams
    with pytest.raises(ConfigError, match=r"roles are 1 MiB.*would be streamed; but data.scaling = robust cannot"):
        choose_feed(store, selection, tiny(data__scaling="robust"), with_object_store(needed))


USES = {
    "pretrain": {"synthetic__use": "pretrain", "training__pretrain_images": 44},
    "only": {"synthetic__use": "only"},
    "add": {"synthetic__ratio": "balance"},
    "mixed": {"learner__mixed_share": 0.3},
}


def test_synthetic_cubes_are_streamed_as_they_would_be_held(noise_store, made_store, tmp_path, ray_cluster):
    """Bit for bit, and for every use to the end; scaling, sample and validation are those of the real store alone."""
    experiment, store = with_made(made_store, **USES["mixed"]), open_store(noise_store)
    held = read(store, select(store, experiment), experiment.override({"data.feed": "memory"}))
    shared = streamed(noise_store, experiment)
    _same(shared.load(experiment), held)
    for use, settings in USES.items():
        mine = with_made(made_store, **settings)
        reports = list(train(mine, shared.load(mine), local(tmp_path / use)))
        assert [report.images for report in reports] == [0, 32, 64, 96]
    with pytest.raises(ConfigError, match=r"learner.mixed_share cannot be searched while train is streamed, unless"):
        replace(shared, mixing=False).load(experiment)


def _same(data: TrainData, held: TrainData) -> None:
    assert data.extra is None
    assert data.scaling.state_dict() == held.scaling.state_dict()
    assert torch.equal(data.validation.reflectance, held.validation.reflectance)
    assert set(data.train.lesion_ids) == set(held.train.lesion_ids)
    assert (data.rows, data.drawn_diagnoses, data.classes) == (held.rows, held.drawn_diagnoses, held.classes)
    assert len(data.extra_diagnoses) == 70
    drawn, shards = held.drawn, data.streamed.shards
    assert sorted(row for shard in shards for row in shard) == list(range(held.rows))
    assert [min(shard) >= len(held.train) for shard in shards] == [max(shard) >= len(held.train) for shard in shards]
    for number, shard in enumerate(shards):
        assert torch.equal(data.streamed.begin(number)(), drawn[list(shard)])


@pytest.mark.slow
@pytest.mark.parametrize("use", USES)
def test_a_sweep_with_a_synthetic_store_streams_to_the_end(use, noise_store, made_store, tmp_path, ray_cluster):
    experiment, memory = with_made(made_store, **USES[use]), Memory()
    run(tmp_path, experiment, streamed(noise_store, experiment), ray_cluster, memory)
    assert memory.reports == {0: [0, 32, 64, 96]}
    assert ("finished", 0, "") in memory.events
    saved = torch.load(tmp_path / "trials/0000/latest.pt", weights_only=True)
    assert saved["images"] == 96


def test_synthetic_cubes_that_do_not_fit_are_streamed_too(noise_store, made_store):
    store, experiment = open_store(noise_store), with_made(made_store).override({"data.feed": "auto"})
    found = choose_feed(store, select(store, experiment), experiment, with_object_store(2**20))
    assert found.streams
    assert found.said(1).startswith("train and the synthetic cubes are streamed: the roles are ")
    robust = experiment.override({"data.scaling": "robust"})
    with pytest.raises(ConfigError, match=r"would be streamed; but data.scaling = robust cannot"):
        choose_feed(store, select(store, experiment), robust, with_object_store(2**20))


def test_room_is_kept_for_the_windows_of_both_streams_of_mixed_sampling(noise_store, made_store, ray_cluster, monkeypatch):
    store = open_store(noise_store)
    shards = [Shard("", ("lesion",) * count, kind) for count, kind in ((10, False), (3, False), (8, True), (7, True))]
    capacity, cube = sum(memory.store or 0 for memory in connected().memory), 16 * 16 * (16 * 4 + 1)
    plain, mixed = with_made(made_store), with_made(made_store, learner__mixed_share=0.3)
    monkeypatch.setattr(stream_readers, "HELD", (5 + 20) * cube / capacity * 1.01)  # the largest window of either store
    assert stream_readers._room(store, plain, shards, 3, 2) == 1
    monkeypatch.setattr(stream_readers, "HELD", (5 + 36) * cube / capacity * 0.99)
    with pytest.raises(
        ClusterError, match=r"do not fit the object store: two windows of each of the two streams of a trial"
    ):
        stream_readers._room(store, mixed, shards, 3, 2)
    monkeypatch.setattr(stream_readers, "HELD", (5 + 36) * cube / capacity * 1.01)
    assert stream_readers._room(store, mixed, shards, 3, 2) == 1


@pytest.mark.slow  # a Ray of its own with a small object store; `make bench-data` measures the same
@pytest.mark.parametrize("kind", ["shsgan", "classifier"])
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


@pytest.mark.slow
def test_a_damaged_part_of_the_synthetic_store_is_named(noise_store, tmp_path, ray_cluster):
    made = synthetic(str(tmp_path / "made"), noise_store)
    experiment = with_made(made)
    data = streamed(noise_store, experiment).load(experiment)
    part = Path(made) / open_store(made).manifest.parts[-1].path
    part.write_bytes(part.read_bytes()[:1000])
    with pytest.raises(StoreError, match=r"made: part .* cannot be read.*generate it again"):
        data.streamed.begin(len(data.streamed.shards) - 1)()


def test_what_was_prepared_once_cannot_be_searched(noise_store, ray_cluster):
    shared = streamed(noise_store, tiny())
    with pytest.raises(ConfigError, match=r"data.size and data.scaling cannot be searched while train is streamed"):
        shared.load(tiny(data__size=32))


def test_what_fits_is_shared_as_before(noise_store, ray_cluster):
    store = open_store(noise_store)
    assert not isinstance(share(store, select(store, tiny()), tiny()), StreamedData)
