import hashlib
from collections import Counter
from dataclasses import replace
from math import floor
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hyperderm.errors import ConfigError
from hyperderm.learners.sampling import Phase
from hyperderm.training.checkpoint import CheckpointFolder
from hyperderm.training.context import Context
from hyperderm.training.feed import MemoryFeed
from hyperderm.training.stream import feed_of
from tests.training.tiny import CPU, tiny, tiny_data


def numbered(count: int) -> Tensor:
    """Cubes whose every pixel tells the cube and the place."""
    place = torch.arange(2 * 4 * 4).view(1, 2, 4, 4) / 100
    return torch.arange(float(count)).view(-1, 1, 1, 1) + place


def names(x: Tensor) -> list[int]:
    return x.flatten(1).amin(1).floor().int().tolist()


@pytest.mark.parametrize("batch_size", [1, 4, 5, 10])
@pytest.mark.parametrize("stream", ["real", "source"])
def test_every_cube_comes_once_an_epoch(batch_size, stream):
    feed = MemoryFeed(numbered(10), batch_size, seed=0)
    drawn = [n for i in range(0, 60, batch_size) for n in names(getattr(feed.batch(i), stream))]
    epochs = [drawn[k : k + 10] for k in range(0, 60, 10)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 6  # each in an order of its own


def test_epochs_may_end_inside_a_batch():
    feed = MemoryFeed(numbered(7), 4, seed=0)
    drawn = [n for i in range(0, 28, 4) for n in names(feed.batch(i).real)]
    assert all(sorted(drawn[k : k + 7]) == list(range(7)) for k in range(0, 28, 7))


def test_a_batch_depends_on_the_key_alone():
    one, two = MemoryFeed(numbered(9), 3, seed=5, flips=True), MemoryFeed(numbered(9), 3, seed=5, flips=True)
    for i in (0, 3, 6, 9):
        one.batch(i)
    for i in (30, 3, 0, 12):  # in any order, after anything
        assert torch.equal(one.batch(i).real, two.batch(i).real)
        assert torch.equal(one.batch(i).source, two.batch(i).source)
    other = MemoryFeed(numbered(9), 3, seed=6, flips=True)
    assert any(not torch.equal(one.batch(i).real, other.batch(i).real) for i in (0, 3, 6))


@pytest.mark.parametrize("workers", [2, 3])
def test_shares_of_several_workers_are_the_single_worker_s_batch(workers):
    cubes = numbered(10)
    whole = MemoryFeed(cubes, 6, seed=1, flips=True)
    parts = [MemoryFeed(cubes, 6, seed=1, rank=r, world_size=workers, flips=True) for r in range(workers)]
    for i in range(0, 60, 6):
        batch, shares = whole.batch(i), [p.batch(i) for p in parts]
        assert torch.equal(torch.cat([s.real for s in shares]), batch.real)
        assert torch.equal(torch.cat([s.source for s in shares]), batch.source)
        assert [s.share for s in shares] == [slice(r * 6 // workers, (r + 1) * 6 // workers) for r in range(workers)]
        assert {(s.count, s.images) for s in shares} == {(6, i)}


def test_flips_are_the_four_of_a_rectangle_and_equally_likely():
    cubes = numbered(1)
    feed = MemoryFeed(cubes, 1, seed=0, flips=True)
    four = [cubes, cubes.flip(-1), cubes.flip(-2), cubes.flip(-1, -2)]
    counts = [0] * 4
    for i in range(400):
        drawn = feed.batch(i).real
        (which,) = [k for k, x in enumerate(four) if torch.equal(x, drawn)]
        counts[which] += 1
    assert all(70 < n < 130 for n in counts)


def test_without_flips_cubes_come_as_they_are():
    cubes = numbered(6)
    batch = MemoryFeed(cubes, 6, seed=0).batch(0)
    assert torch.equal(batch.real, cubes[names(batch.real)])


def test_a_batch_larger_than_the_train_role_is_refused():
    with pytest.raises(ConfigError, match=r"batch_size = 8 is larger than the train role \(5 cubes\).*batch_size=5 or less"):
        MemoryFeed(numbered(5), 8, seed=0)


def test_a_batch_the_workers_cannot_share_is_refused():
    with pytest.raises(ConfigError, match=r"batch_size = 5 is not divisible by 2 workers. Use a multiple of 2"):
        MemoryFeed(numbered(9), 5, seed=0, world_size=2)


# --- phases


NONE = torch.zeros(0, dtype=torch.int64)


def shown(feed: MemoryFeed, images: int, stream: str = "rows") -> list[int]:
    """Which cubes the first `images` images are."""
    batches = [feed.batch(i) for i in range(0, images, feed.batch_size)]
    if stream == "source":
        return [n for batch in batches for n in names(batch.source)]
    return [n for batch in batches for n in batch.rows.tolist()]


def test_without_phases_every_draw_is_what_it_was_before_there_were_any():
    """Computed by `training/feed.py` of commit 3f6f9fd: checkpoints made then go on as they would have."""
    feed = MemoryFeed(numbered(7), 4, seed=11, flips=True)
    assert [names(feed.batch(i).real) for i in (0, 4, 8)] == [[4, 0, 1, 5], [3, 6, 2, 3], [6, 0, 1, 5]]
    assert [names(feed.batch(i).source) for i in (0, 4, 8)] == [[2, 6, 5, 0], [1, 3, 4, 5], [6, 0, 4, 3]]
    digest = hashlib.sha256()
    for i in range(0, 40, 4):
        digest.update(feed.batch(i).real.numpy().tobytes())
        digest.update(feed.batch(i).source.numpy().tobytes())
    assert digest.hexdigest() == "54ccbc1297c9bf726ccd4124b6760faa2491dd9cc4fd01a6fccc9df389f7052d"


def test_rows_name_the_cubes_that_are_shown():
    feed = MemoryFeed(numbered(9), 3, seed=2, flips=True, phases=[Phase(0, torch.tensor([8, 8, 1, 0, 5]), NONE)])
    for i in (0, 3, 6):
        batch = feed.batch(i)
        assert batch.rows.tolist() == names(batch.real)


def test_an_epoch_shows_every_entry_as_often_as_it_stands_there():
    feed = MemoryFeed(numbered(9), 3, seed=0, phases=[Phase(0, torch.tensor([0, 1, 2, 2, 7, 7, 7]), NONE)])
    drawn = shown(feed, 63)
    for k in range(0, 63, 7):
        assert Counter(drawn[k : k + 7]) == {0: 1, 1: 1, 2: 2, 7: 3}


@pytest.mark.parametrize("stream", ["rows", "source"])
@pytest.mark.parametrize("switch", [1, 6, 7, 8, 12])
def test_the_phase_changes_at_its_image_also_inside_a_batch(switch, stream):
    two = [Phase(0, torch.arange(6), NONE), Phase(switch, torch.arange(6, 10), NONE)]
    drawn = shown(MemoryFeed(numbered(10), 4, seed=3, phases=two), 24, stream)
    assert set(drawn[:switch]) <= set(range(6))
    assert set(drawn[switch:]) <= set(range(6, 10))
    for k in range(switch, 21, 4):
        assert sorted(drawn[k : k + 4]) == [6, 7, 8, 9]  # epochs are counted from the switch
    alone = shown(MemoryFeed(numbered(10), 4, seed=3, phases=two[:1]), 24, stream)
    assert drawn[:switch] == alone[:switch]  # a later phase changes nothing before it


def test_two_phases_of_the_same_cubes_have_orders_of_their_own():
    same = [Phase(start, torch.arange(8), NONE) for start in (0, 8)]
    drawn = shown(MemoryFeed(numbered(8), 4, seed=0, phases=same), 16)
    assert sorted(drawn[:8]) == sorted(drawn[8:]) == list(range(8))
    assert drawn[:8] != drawn[8:]


@pytest.mark.parametrize("share", [0.1, 0.25, 0.29, 1 / 3, 0.5, 0.75, 0.9])
def test_the_mixed_share_is_exact_and_even(share):
    feed = MemoryFeed(numbered(20), 5, seed=0, phases=[Phase(0, torch.arange(12), torch.arange(12, 20), share)])
    drawn = shown(feed, 300)
    second = [n >= 12 for n in drawn]
    for upto in range(301):  # nowhere is it one image off
        assert abs(sum(second[:upto]) - floor(upto * share)) <= 1
        assert abs(sum(second[:upto]) - upto * share) < 1 + 1e-9
    for rows in ([n for n in drawn if n < 12], [n for n in drawn if n >= 12]):
        length = len(set(rows))
        for k in range(0, len(rows) - length + 1, length):  # each stream comes in epochs of its own
            assert len(set(rows[k : k + length])) == length


@pytest.mark.parametrize("workers", [2, 3])
def test_phases_and_mixed_streams_are_the_same_with_several_workers(workers):
    cubes = numbered(14)
    plan = [Phase(0, torch.arange(8), torch.arange(8, 14), 0.4), Phase(21, torch.arange(3, 14), NONE)]
    whole = MemoryFeed(cubes, 6, seed=1, flips=True, phases=plan)
    parts = [MemoryFeed(cubes, 6, seed=1, rank=r, world_size=workers, flips=True, phases=plan) for r in range(workers)]
    for i in (0, 18, 12, 48, 6, 0):  # in any order, as after a resume
        batch, shares = whole.batch(i), [p.batch(i) for p in parts]
        assert torch.equal(torch.cat([s.rows for s in shares]), batch.rows)
        assert torch.equal(torch.cat([s.real for s in shares]), batch.real)
        assert torch.equal(torch.cat([s.source for s in shares]), batch.source)


def test_a_batch_larger_than_what_a_phase_shows_is_refused():
    few = [Phase(0, torch.arange(9), NONE), Phase(18, torch.arange(3), NONE)]
    with pytest.raises(ConfigError, match=r"batch_size = 4 is larger than the train role \(3 cubes\)"):
        MemoryFeed(numbered(9), 4, seed=0, phases=few)


# --- masks and labels


def bright(cubes: Tensor) -> Tensor:
    """A mask that is told by the cube alone, of no symmetry."""
    return (cubes[:, 0] * 700).long() % 3 == 0


def masked(**how: Any) -> MemoryFeed:
    cubes = torch.rand(10, 2, 4, 5, generator=torch.Generator().manual_seed(0))
    return MemoryFeed(cubes, 6, seed=1, masks=bright(cubes), labels=torch.arange(10) % 3, **how)


@pytest.mark.parametrize("flips", [True, False])
def test_masks_turn_with_their_cubes_and_labels_are_theirs(flips):
    feed = masked(flips=flips)
    turned = 0
    for i in range(0, 60, 6):
        batch = feed.batch(i)
        assert batch.masks.shape == (6, 4, 5)
        assert torch.equal(batch.masks, bright(batch.real))
        assert torch.equal(batch.labels, batch.rows % 3)
        turned += sum(not torch.equal(mask, feed.masks[row]) for mask, row in zip(batch.masks, batch.rows, strict=True))
    assert (turned > 30) == flips  # three in four


@pytest.mark.parametrize("workers", [2, 3])
def test_masks_and_labels_of_several_workers_are_the_single_worker_s(workers):
    whole = masked(flips=True)
    parts = [masked(flips=True, rank=rank, world_size=workers) for rank in range(workers)]
    for i in (0, 6, 48, 12):
        batch, shares = whole.batch(i), [part.batch(i) for part in parts]
        assert torch.equal(torch.cat([share.masks for share in shares]), batch.masks)
        assert torch.equal(torch.cat([share.labels for share in shares]), batch.labels)
        assert all(torch.equal(share.masks, bright(share.real)) for share in shares)


def test_masks_are_those_of_the_phase_s_cubes_also_where_two_are_mixed():
    mixed = [Phase(0, torch.arange(6), torch.arange(6, 10), 0.4), Phase(21, torch.arange(3, 10), NONE)]
    feed = masked(flips=True, phases=mixed)
    for i in range(0, 48, 6):
        batch = feed.batch(i)
        assert torch.equal(batch.masks, bright(batch.real))
        assert torch.equal(batch.labels, batch.rows % 3)


def test_masks_are_refused_where_there_are_none():
    batch = MemoryFeed(numbered(6), 3, seed=0, flips=True).batch(0)
    with pytest.raises(ConfigError, match=r"wants masks, and cubes that are streamed come without.*data.feed=memory"):
        _ = batch.masks


def test_a_run_s_feed_has_the_masks_and_labels_of_its_data():
    held = tiny_data()
    masks = bright(held.train.reflectance)
    kinds = tuple("melanoma" if row % 3 else "nevus" for row in range(len(masks)))
    held = replace(held, train=replace(held.train, masks=masks, diagnoses=kinds))
    feed = feed_of(tiny(data__flips=True), held, Context(CheckpointFolder(Path()), device=CPU))
    batch = feed.batch(4)
    still = feed_of(tiny(data__flips=False), held, Context(CheckpointFolder(Path()), device=CPU)).batch(4)
    assert torch.equal(still.masks, masks[still.rows])
    assert torch.equal(batch.masks.flatten(1).sum(1), masks[batch.rows].flatten(1).sum(1))
    assert not torch.equal(batch.masks, masks[batch.rows])
    assert [held.classes[label] for label in batch.labels] == [kinds[row] for row in batch.rows]
