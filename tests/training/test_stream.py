"""The streamed feed: its order against a reference in plain Python, its memory, its shares, resuming."""

import hashlib
import random
from collections import Counter
from dataclasses import replace
from math import floor
from pathlib import Path

import pytest
import torch

from hyperderm.config import Experiment
from hyperderm.errors import ConfigError, StudyError
from hyperderm.identity import searching
from hyperderm.learners.data import CubeSet, Streamed, TrainData
from hyperderm.learners.fastgan import FastGanConfig
from hyperderm.learners.sampling import Phase, phases, real_entries
from hyperderm.learners.scaling import Scaling
from hyperderm.learners.spec import LearnerConfig
from hyperderm.learners.vae import VaeConfig
from hyperderm.training.checkpoint import CheckpointFolder
from hyperderm.training.context import Context
from hyperderm.training.feed import Feed, MemoryFeed
from hyperderm.training.loop import train
from hyperderm.training.stream import StreamFeed, check_streams, feed_of
from tests.learners.tissue import classifier, lesions, mixed, spectral
from tests.training.test_feed import NONE, names, numbered
from tests.training.tiny import steady, tiny, tiny_data

IDENTITY = Scaling(torch.tensor([-1.0, -1.0]).double(), torch.tensor([1.0, 1.0]).double())


class Disk:
    """Shards of numbered cubes; remembers what was asked for and how many cubes were out at once."""

    def __init__(self, cubes: torch.Tensor, shards: tuple[tuple[int, ...], ...]) -> None:
        self.cubes, self.shards, self.asked = cubes, shards, list[int]()

    def begin(self, number: int):
        self.asked.append(number)
        return lambda: self.cubes[list(self.shards[number])]


def streamed(cubes: torch.Tensor, shards, window: int, diagnoses: tuple[str, ...] | None = None) -> tuple[Streamed, Disk]:
    disk = Disk(cubes, shards)
    ids = tuple(f"lesion-{i}" for i in range(len(cubes)))
    return Streamed(ids, diagnoses or ("melanoma",) * len(cubes), shards, window, disk.begin), disk


def scattered(count: int, shards: int, seed: int = 0) -> tuple[tuple[int, ...], ...]:
    """Rows dealt to shards of unequal sizes, in no order."""
    rows = list(range(count))
    random.Random(seed).shuffle(rows)
    cuts = sorted(random.Random(seed + 1).sample(range(1, count), shards - 1))
    return tuple(tuple(rows[a:b]) for a, b in zip([0, *cuts], [*cuts, count], strict=True))


def permuted(items: list, seed: int, stream: str, step: int) -> list:
    """What `randomness.generator` stands for, written out."""
    digest = hashlib.blake2b(f"{seed}/{stream}/{step}".encode(), digest_size=8).digest()
    g = torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)
    return [items[i] for i in torch.randperm(len(items), generator=g).tolist()]


def reference(shards, window: int, seed: int, entries: list[int], epochs: int, stream: str = "real") -> list[int]:
    """The rows of whole epochs, one after another, as lists."""
    shown = []
    for epoch in range(epochs):
        mine = [[row for row in entries if row in shard] for shard in shards]
        order = [held for held in permuted(mine, seed, "order/shards", epoch) if held]
        for number, at in enumerate(range(0, len(order), window)):
            inside = [row for held in order[at : at + window] for row in held]
            shown += permuted(inside, seed, f"order/{stream}/window-{number}", epoch)
    return shown


@pytest.mark.parametrize(("window", "batch_size"), [(1, 4), (2, 4), (3, 1), (2, 23), (5, 7), (99, 4)])
@pytest.mark.parametrize("stream", ["real", "source"])
def test_the_order_is_that_of_the_reference(window, batch_size, stream):
    shards = scattered(23, 7)
    data, _ = streamed(numbered(23), shards, window)
    feed = StreamFeed(data, IDENTITY, batch_size, 5)
    wanted = reference(shards, window, 5, list(range(23)), 1 + 100 // 23 + batch_size // 23, stream)
    for images in (*range(0, 90, batch_size), 92, 46, 3, 0):  # in any order: a batch depends on the key alone
        batch = feed.batch(images)
        shown = names(batch.real if stream == "real" else batch.source)
        assert shown == wanted[images : images + batch_size]
    assert batch.rows.tolist() == names(batch.real)
    torch.testing.assert_close(batch.real, numbered(23)[batch.rows])


def test_one_phase_gives_the_batches_it_always_gave():
    """Recorded before there were several phases: checkpoints of runs that were streamed then go on as they began."""
    diagnoses = tuple("melanoma" if i % 5 == 0 else "nevus" for i in range(23))
    data, _ = streamed(numbered(23), scattered(23, 7), 2, diagnoses)
    feed = StreamFeed(data, IDENTITY, 4, 5, flips=True, phases=[Phase(0, real_entries(diagnoses, 2.0), NONE)])
    rows, sources, shards, pixels = list[int](), list[int](), list[list[int]](), hashlib.sha256()
    for i in range(0, 160, 4):
        batch = feed.batch(i)
        rows += batch.rows.tolist()
        sources += names(batch.source)
        shards.append(feed.shards_of(i))
        pixels.update(batch.real.numpy().tobytes())
        pixels.update(batch.source.numpy().tobytes())
    assert rows[:16] == [20, 11, 0, 21, 0, 20, 18, 20, 6, 4, 0, 15, 22, 1, 16, 15]
    assert sources[:16] == [6, 20, 4, 0, 0, 11, 18, 20, 20, 0, 21, 1, 15, 15, 8, 16]
    assert shards[2:6] == [[0, 3, 5, 6], [5, 6, 4, 1], [5, 6, 4, 1], [4, 1, 2]]
    assert pixels.hexdigest() == "79d7eb5a1e3d78f1ec1fef81b2dc482b0cda5e93b600d844181116359dccbc42"
    drawn = hashlib.sha256(repr((rows, sources, shards)).encode()).hexdigest()
    assert drawn == "04e189a27f30ba6f2608309f0e8fc10f5d6c615b0b7c94ba04e97172b796dd02"


def test_every_cube_comes_once_an_epoch_and_epochs_differ():
    data, _ = streamed(numbered(30), scattered(30, 6), 2)
    feed = StreamFeed(data, IDENTITY, 5, 0)
    drawn = [n for i in range(0, 120, 5) for n in names(feed.batch(i).real)]
    epochs = [tuple(drawn[k : k + 30]) for k in range(0, 120, 30)]
    assert all(sorted(epoch) == list(range(30)) for epoch in epochs)
    assert len(set(epochs)) == 4


def test_oversampled_melanomas_come_again_in_the_window_of_their_shard():
    diagnoses = tuple("melanoma" if i % 5 == 0 else "nevus" for i in range(20))
    entries, shards = real_entries(diagnoses, 2.0), scattered(20, 5)
    data, _ = streamed(numbered(20), shards, 2, diagnoses)
    feed = StreamFeed(data, IDENTITY, 4, 1, phases=[Phase(0, entries, NONE)])
    drawn = [n for i in range(0, 56, 4) for n in names(feed.batch(i).real)]
    assert drawn == reference(shards, 2, 1, entries.tolist(), 2)
    assert Counter(drawn[:28]) == {i: 3 if i % 5 == 0 else 1 for i in range(20)}


@pytest.mark.parametrize("workers", [2, 3])
def test_shares_of_several_workers_are_the_single_worker_s_batch(workers):
    data, _ = streamed(numbered(25), scattered(25, 6), 2)
    whole = StreamFeed(data, IDENTITY, 6, 1, flips=True)
    parts = [StreamFeed(data, IDENTITY, 6, 1, rank=r, world_size=workers, flips=True) for r in range(workers)]
    for i in range(0, 60, 6):
        batch, shares = whole.batch(i), [p.batch(i) for p in parts]
        assert torch.equal(torch.cat([s.real for s in shares]), batch.real)
        assert torch.equal(torch.cat([s.source for s in shares]), batch.source)
        assert torch.equal(torch.cat([s.rows for s in shares]), batch.rows)


def test_labels_come_with_the_cubes_and_masks_are_refused():
    labels, (data, _) = torch.arange(25) % 3, streamed(numbered(25), scattered(25, 6), 2)
    whole = StreamFeed(data, IDENTITY, 6, 1, flips=True, labels=labels)
    parts = [StreamFeed(data, IDENTITY, 6, 1, rank=r, world_size=2, flips=True, labels=labels) for r in range(2)]
    for i in (0, 24, 6):
        batch, shares = whole.batch(i), [p.batch(i) for p in parts]
        assert torch.equal(batch.labels, labels[names(batch.real)])
        assert torch.equal(torch.cat([s.labels for s in shares]), batch.labels)
        for each in (batch, *shares):
            with pytest.raises(ConfigError, match=r"cubes that are streamed come without theirs.*data.feed=memory"):
                _ = each.masks


def test_two_windows_are_held_and_each_shard_is_read_once_an_epoch():
    shards = tuple(tuple(range(k, k + 10)) for k in range(0, 120, 10))
    data, disk = streamed(numbered(120), shards, 3)
    feed = StreamFeed(data, IDENTITY, 8, 0)
    for i in range(0, 480, 8):
        assert len(feed.batch(i).real) == 8
        assert len(feed._held) + len(feed._waiting) <= 6
    assert Counter(disk.asked[:48]).most_common(1)[0][1] <= 5  # a shard in the last and the next first window stays
    assert len(disk.asked) <= 48 + 6
    ahead = StreamFeed(data, IDENTITY, 8, 0)
    disk.asked.clear()
    ahead.batch(0)
    assert len(disk.asked) == 6  # the next window is read while this one is shown


def test_cubes_are_scaled_and_flipped_as_in_memory():
    data = tiny_data(train=12)
    shards = scattered(12, 3)
    source, _ = streamed(data.train.reflectance, shards, 99)
    feed = StreamFeed(source, data.scaling, 4, 3, flips=True)
    memory = MemoryFeed(data.scaling.forward(data.train.reflectance), 4, 3, flips=True)
    memory.order = feed.order  # the order is all that differs
    for i in (0, 4, 8, 12):
        assert torch.equal(feed.batch(i).real, memory.batch(i).real)
        assert torch.equal(feed.batch(i).source, memory.batch(i).source)


def test_a_batch_larger_than_the_role_is_refused():
    data, _ = streamed(numbered(5), ((0, 1, 2), (3, 4)), 1)
    with pytest.raises(ConfigError, match=r"batch_size = 8 is larger than the train role \(5 cubes\)"):
        StreamFeed(data, IDENTITY, 8, 0)


# --- the loop


def as_stream(data: TrainData, sample: int, window: int = 2) -> TrainData:
    """The same roles; train behind a stream, and the synthetic cubes in shards of their own."""
    shards, real = scattered(len(data.train), 4), len(data.train)
    if data.extra:
        shards += tuple(tuple(real + row for row in rows) for rows in scattered(len(data.extra), 3, seed=1))
    disk = Disk(data.drawn, shards)
    source = Streamed(
        data.train.lesion_ids, data.train.diagnoses, shards, window, disk.begin, data.extra.diagnoses if data.extra else ()
    )
    kept = CubeSet(
        data.train.lesion_ids[:sample],
        data.train.diagnoses[:sample],
        data.train.reflectance[:sample],
        data.train.masks[:sample],
    )
    return replace(data, train=kept, extra=None, streamed=source)


FASTGAN = FastGanConfig(generator_width=8, critic_width=8, noise_dim=8, conditioning="class", balance_classes=True)

VAE = VaeConfig(generator_width=4, encoder_width=4, conditioning="class", balance_classes=True)


def told(learner: LearnerConfig) -> Experiment:
    """A generator that is told the diagnosis."""
    return tiny(training__validate_every=12).model_copy(update={"learner": learner})


def tiny_classes() -> TrainData:
    """One melanoma to two nevi, which are as bright."""
    data = tiny_data()
    names = tuple("melanoma" if row % 3 == 0 else "nevus" for row in range(len(data.train)))
    return replace(data, train=replace(data.train, diagnoses=names))


ADDED = {"synthetic__store": "set"}
PRETRAINED = ADDED | {"synthetic__use": "pretrain", "training__pretrain_images": 44}  # inside a batch
USES = {
    "add": ADDED,
    "mixed": ADDED | {"learner__mixed_share": 0.3},
    "only": ADDED | {"synthetic__use": "only"},
    "pretrain": PRETRAINED,
}
NEVI = ("dysplastic_nevus",) * 8
BOTH, SOON = mixed(12, 20), {"training__validate_every": 24}
RUNS = {
    "shsgan": (tiny(), tiny_data(), 0),
    "classifier": (classifier(**SOON, learner__oversample=1.0, learner__class_weights="balanced"), lesions(), 0),
    "add": (classifier(**USES["add"], **SOON), lesions(extra=BOTH), 0),
    "mixed": (classifier(**USES["mixed"]), lesions(extra=BOTH), 0),
    "pretrain": (classifier(**PRETRAINED, training__validate_every=16), lesions(extra=BOTH), 0),
    "fastgan": (told(FASTGAN), tiny_classes(), 0),
    "vae": (told(VAE), tiny_classes(), 0),
    "pretrain-boundary": (classifier(**PRETRAINED, training__validate_every=20), lesions(extra=BOTH), 40),
}


@pytest.mark.parametrize("kind", RUNS)
def test_resuming_in_the_middle_of_an_epoch_is_the_undisturbed_run(kind, tmp_path):
    experiment, data, at = RUNS[kind]
    data = as_stream(data, 6)
    runs = {}
    for name in ("whole", "broken"):
        context = Context(CheckpointFolder(tmp_path / name))
        reports = []
        for report in train(experiment, data, context):
            reports.append(report)
            if name == "broken" and report.images not in (0, experiment.training.images) and report.images >= at:
                break
        if name == "broken":
            assert report.images % len(phases(experiment.learner, experiment, data)[0].entries)  # inside an epoch
            reports += list(train(experiment, data, context))[1:]
        runs[name] = reports, context.checkpoint.load()
    whole, broken = runs["whole"], runs["broken"]
    same = [steady(r.metrics) for r in whole[0]]
    assert same == [steady(r.metrics) for r in broken[0]]
    weights = "generator" if experiment.learner.role == "generator" else "network"
    a, b = (run[1]["learner"][weights] for run in (whole, broken))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_generator_sees_its_classes_equally_often_from_a_stream_too():
    data = as_stream(tiny_classes(), 6)
    feed = feed_of(told(FASTGAN), data, Context(CheckpointFolder(Path())))
    epoch = 2 * Counter(data.diagnoses)["nevus"]
    batches = [feed.batch(images) for images in range(0, epoch, 4)]
    assert epoch % 4 == 0
    assert torch.bincount(torch.cat([each.labels for each in batches])).tolist() == [epoch // 2] * 2
    for each in batches:
        assert [data.classes[label] for label in each.labels] == [data.diagnoses[row] for row in each.rows]


# --- synthetic cubes, phases, mixed streams


def feeds(use: str, count: int = 1, **settings: object) -> tuple[TrainData, list[StreamFeed], Feed]:
    """The data in memory, `count` workers' streams of it, and its feed from memory."""
    experiment, held = classifier(**USES[use], data__flips=False, **settings), lesions(extra=BOTH)
    apart = [Context(CheckpointFolder(Path()), rank=rank, world_size=count) for rank in range(count)]
    streams = [feed_of(experiment, as_stream(held, 6), context) for context in apart]
    return held, streams, feed_of(experiment, held, Context(CheckpointFolder(Path())))


def drawn(feed: Feed, images: int, stream: str) -> list[int]:
    return torch.cat([feed._rows(stream, at) for at in range(0, images, feed.batch_size)]).tolist()


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("stream", ["real", "source"])
def test_an_epoch_shows_each_entry_once_and_what_memory_shows(use, stream):
    held, (feed,), memory = feeds(use)
    shown, there = drawn(feed, 480, stream), drawn(memory, 480, stream)
    assert len(shown) == 480
    assert shown != there
    starts = [phase.start for phase in feed.phases]
    assert starts == ([0, 44] if use == "pretrain" else [0])
    for phase, stop in zip(feed.phases, [*starts[1:], 480], strict=True):
        for entries, second in ((phase.entries.tolist(), False), (phase.mixed.tolist(), True)):
            mine, theirs = (
                [row for row in rows[phase.start : stop] if not phase.share or (row in phase.mixed) is second]
                for rows in (shown, there)
            )
            for at in range(0, len(mine) - len(entries) + 1, len(entries) or 1):
                if entries:
                    epoch = slice(at, at + len(entries))
                    assert Counter(mine[epoch]) == Counter(entries) == Counter(theirs[epoch])
    real = len(held.train)
    assert any(row >= real for row in shown)
    assert any(row < real for row in shown) is (use != "only")


@pytest.mark.parametrize("use", USES)
def test_cubes_of_both_stores_are_theirs_scaled_as_train(use):
    held, (feed,), _ = feeds(use)
    scaled, shown = held.scaling.forward(held.drawn), set[int]()
    for at in (*range(0, 160, 8), 32, 40, 0):
        batch = feed.batch(at)
        assert torch.equal(batch.real, scaled[batch.rows])
        assert torch.equal(batch.labels, held.labels[batch.rows])
        source = batch.source
        assert torch.equal(source, scaled[feed._rows("source", at)])
        shown |= set(batch.rows.tolist())
    assert shown == set(torch.cat([rows for p in feed.phases for rows in (p.entries, p.mixed)]).tolist())


@pytest.mark.parametrize("use", USES)
def test_workers_share_the_batches_of_both_stores(use):
    _, (whole,), _ = feeds(use)
    _, parts, _ = feeds(use, 2, sweep__workers_per_trial=2)
    for at in (*range(0, 96, 8), 40, 0):
        batch, shares = whole.batch(at), [part.batch(at) for part in parts]
        assert torch.equal(torch.cat([share.rows for share in shares]), batch.rows)
        assert torch.equal(torch.cat([share.real for share in shares]), batch.real)


@pytest.mark.parametrize("use", USES)
def test_windows_are_read_ahead_and_let_go_also_where_a_phase_ends(use):
    """No batch reaches over two windows: whatever is shown was asked for while the batch before it was shown."""
    adds = use in ("add", "mixed")
    experiment = classifier(**USES[use], training__batch_size=4)
    held = lesions(12, 20, extra=("melanoma",) * 12 + NEVI if adds else mixed(12, 20))
    data = as_stream(held, 6)
    even = tuple(tuple(range(k, k + 4)) for k in range(0, len(held.drawn), 4))
    source, disk = streamed(held.drawn, even, 2)
    data = replace(data, streamed=replace(data.streamed, shards=even, begin=source.begin))
    feed = feed_of(experiment, data, Context(CheckpointFolder(Path())))
    most = 2 * 2 * (2 if use == "mixed" else 1)
    asked = set(feed.shards_of(0))
    for at in range(0, 160, 4):
        batch = feed.batch(at)
        assert len(batch.real) == 4
        assert {int(shard) for shard in feed.shard[batch.rows]} <= asked
        assert len(feed._held) + len(feed._waiting) <= most
        asked = set(feed.shards_of(at))
    entries = torch.cat([rows for phase in feed.phases for rows in (phase.entries, phase.mixed)])
    assert set(disk.asked) == set(feed.shard[entries].tolist())  # a shard without an entry is never read


def test_phases_and_mixed_streams_follow_the_reference():
    """Several phases, the second mixed, the third within one batch of it, in plain Python."""
    shards, window, seed = scattered(30, 9), 2, 3
    plan = [
        Phase(0, torch.arange(5, 18), NONE),
        Phase(37, torch.arange(12), torch.arange(15, 30), 0.4),
        Phase(70, torch.arange(4, 9), NONE),
        Phase(73, torch.arange(20, 30), NONE),
    ]
    source, _ = streamed(numbered(30), shards, window)
    feed = StreamFeed(source, IDENTITY, 5, seed, phases=plan)
    for stream in ("real", "source"):
        wanted = list[int]()
        for phase, stop in zip(plan, [37, 70, 73, 150], strict=True):
            key = f"/{phase.start}" if phase.start else ""
            first = iter(reference(shards, window, seed, phase.entries.tolist(), 20, f"{stream}{key}"))
            second = iter(reference(shards, window, seed, phase.mixed.tolist(), 20, f"{stream}/mixed{key}"))
            for place in range(stop - phase.start):
                more = floor((place + 1) * phase.share) > floor(place * phase.share)
                wanted.append(next(second if more else first))
        for at in (*range(0, 150, 5), 70, 35, 145, 0):
            batch = feed.batch(at)
            assert names(batch.real if stream == "real" else batch.source) == wanted[at : at + 5]


def test_a_checkpoint_of_the_other_feed_is_refused(tmp_path):
    data, context = tiny_data(), Context(CheckpointFolder(tmp_path))
    list(train(tiny(), data, context))
    with pytest.raises(StudyError, match=r"made by another run: .*data.feed.*memory.*stream: windows of 2 shards"):
        next(train(tiny(), as_stream(data, 6), context))
    list(train(tiny(data__feed="memory"), data, context))  # what was asked for does not matter, what it came to does


def test_what_cannot_be_streamed_is_refused_in_a_sentence():
    check_streams(tiny())
    check_streams(classifier(learner__oversample="balance"))
    check_streams(classifier(synthetic__store="somewhere"))
    with pytest.raises(ConfigError, match=r"learner.kind = spectral cannot be fed by a stream"):
        check_streams(spectral())
    with pytest.raises(ConfigError, match=r"data.scaling = robust cannot be fed by a stream.*scaling=range"):
        check_streams(tiny(data__scaling="robust"))


def test_the_feed_is_part_of_a_run_s_identity_only_where_it_streams():
    assert not any(key in searching(tiny()) for key in ("data.feed", "data.window", "data.sample"))
    assert searching(tiny(data__feed="memory")) == searching(tiny())
    assert searching(tiny(data__feed="stream")) == searching(tiny()) | {
        "data.feed": "stream",
        "data.window": 4,
        "data.sample": 256,
    }
