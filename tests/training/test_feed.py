import pytest
import torch
from torch import Tensor

from hyperderm.errors import ConfigError
from hyperderm.training.feed import Feed


def numbered(count: int) -> Tensor:
    """Cubes whose every pixel tells the cube and the place."""
    place = torch.arange(2 * 4 * 4).view(1, 2, 4, 4) / 100
    return torch.arange(float(count)).view(-1, 1, 1, 1) + place


def names(x: Tensor) -> list[int]:
    return x.flatten(1).amin(1).floor().int().tolist()


@pytest.mark.parametrize("batch_size", [1, 4, 5, 10])
@pytest.mark.parametrize("stream", ["real", "source"])
def test_every_cube_comes_once_an_epoch(batch_size, stream):
    feed = Feed(numbered(10), batch_size, seed=0)
    drawn = [n for i in range(0, 60, batch_size) for n in names(getattr(feed.batch(i), stream))]
    epochs = [drawn[k : k + 10] for k in range(0, 60, 10)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 6  # each in an order of its own


def test_epochs_may_end_inside_a_batch():
    feed = Feed(numbered(7), 4, seed=0)
    drawn = [n for i in range(0, 28, 4) for n in names(feed.batch(i).real)]
    assert all(sorted(drawn[k : k + 7]) == list(range(7)) for k in range(0, 28, 7))


def test_a_batch_depends_on_the_key_alone():
    one, two = Feed(numbered(9), 3, seed=5, flips=True), Feed(numbered(9), 3, seed=5, flips=True)
    for i in (0, 3, 6, 9):
        one.batch(i)
    for i in (30, 3, 0, 12):  # in any order, after anything
        assert torch.equal(one.batch(i).real, two.batch(i).real)
        assert torch.equal(one.batch(i).source, two.batch(i).source)
    other = Feed(numbered(9), 3, seed=6, flips=True)
    assert any(not torch.equal(one.batch(i).real, other.batch(i).real) for i in (0, 3, 6))


@pytest.mark.parametrize("workers", [2, 3])
def test_shares_of_several_workers_are_the_single_worker_s_batch(workers):
    cubes = numbered(10)
    whole = Feed(cubes, 6, seed=1, flips=True)
    parts = [Feed(cubes, 6, seed=1, rank=r, world_size=workers, flips=True) for r in range(workers)]
    for i in range(0, 60, 6):
        batch, shares = whole.batch(i), [p.batch(i) for p in parts]
        assert torch.equal(torch.cat([s.real for s in shares]), batch.real)
        assert torch.equal(torch.cat([s.source for s in shares]), batch.source)
        assert [s.share for s in shares] == [slice(r * 6 // workers, (r + 1) * 6 // workers) for r in range(workers)]
        assert {(s.count, s.images) for s in shares} == {(6, i)}


def test_flips_are_the_four_of_a_rectangle_and_equally_likely():
    cubes = numbered(1)
    feed = Feed(cubes, 1, seed=0, flips=True)
    four = [cubes, cubes.flip(-1), cubes.flip(-2), cubes.flip(-1, -2)]
    counts = [0] * 4
    for i in range(400):
        drawn = feed.batch(i).real
        (which,) = [k for k, x in enumerate(four) if torch.equal(x, drawn)]
        counts[which] += 1
    assert all(70 < n < 130 for n in counts)


def test_without_flips_cubes_come_as_they_are():
    cubes = numbered(6)
    batch = Feed(cubes, 6, seed=0).batch(0)
    assert torch.equal(batch.real, cubes[names(batch.real)])


def test_a_batch_larger_than_the_train_role_is_refused():
    with pytest.raises(ConfigError, match=r"batch_size = 8 is larger than the train role \(5 cubes\).*batch_size=5 or less"):
        Feed(numbered(5), 8, seed=0)


def test_a_batch_the_workers_cannot_share_is_refused():
    with pytest.raises(ConfigError, match=r"batch_size = 5 is not divisible by 2 workers. Use a multiple of 2"):
        Feed(numbered(9), 5, seed=0, world_size=2)
