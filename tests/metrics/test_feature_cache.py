"""What was computed is never computed again, and what is damaged is, with a sentence; a space that counts its calls."""

import numpy as np
import pytest
import torch

from hyperderm.metrics import feature_cache as module
from hyperderm.metrics.feature_cache import FeatureCache

LOW, HIGH = np.zeros(4), np.ones(4)


class Counting:
    """Features are the sorted first values of a cube."""

    def __init__(self, identity="one", dimension=6):
        self.name, self.identity, self.dimension, self.seen = "counting", identity, dimension, 0

    def features(self, cubes, low, high, scaled=True):
        self.seen += len(cubes)
        x = (cubes.float() - torch.tensor(low).float()[:, None, None]).flatten(1)[:, : self.dimension]
        return (x * (1 if scaled else 2)).numpy()


@pytest.fixture
def cubes():
    return torch.rand(30, 4, 5, 5, generator=torch.Generator().manual_seed(0))


def test_a_second_evaluation_computes_nothing(cubes, tmp_path):
    space, first = Counting(), FeatureCache(tmp_path / "a" / "b")
    expected = space.features(cubes, LOW, HIGH)
    space.seen = 0
    assert np.array_equal(first.features(space, cubes, LOW, HIGH), expected)
    assert space.seen == first.computed == 30
    second = FeatureCache(tmp_path / "a" / "b")
    order = torch.randperm(30)
    found = second.features(space, cubes[order].permute(0, 1, 3, 2).contiguous().permute(0, 1, 3, 2), LOW, HIGH)
    assert found.dtype == np.float32
    assert np.array_equal(found, expected[order])
    assert (space.seen, second.computed, second.notes) == (30, 0, [])


def test_only_what_is_new_is_computed_and_doubles_once(cubes, tmp_path):
    space, cache = Counting(), FeatureCache(tmp_path)
    cache.features(space, cubes[:10], LOW, HIGH)
    again = torch.cat([cubes[5:15], cubes[12:20], cubes[:1]])
    assert np.array_equal(cache.features(space, again, LOW, HIGH), space.features(again, LOW, HIGH))
    assert cache.computed == 20
    assert cache.features(space, cubes[:0], LOW, HIGH).shape == (0, 6)


def test_half_precision_is_known_by_its_values(cubes, tmp_path):
    space, cache = Counting(), FeatureCache(tmp_path)
    cache.features(space, cubes.half(), LOW, HIGH)
    cache.features(space, cubes.half().float(), LOW, HIGH)
    assert cache.computed == 30
    cache.features(space, cubes, LOW, HIGH)
    assert cache.computed == 60


def test_whatever_shapes_features_separates_them(cubes, tmp_path):
    cache = FeatureCache(tmp_path)
    settings = [
        (Counting(), LOW, HIGH, True),
        (Counting(), LOW, HIGH, False),
        (Counting(), LOW + 0.1, HIGH, True),
        (Counting(), LOW, HIGH + 1, True),
        (Counting("two", 5), LOW, HIGH, True),
    ]
    for space, *setting in settings:
        expected = space.features(cubes, *setting)
        space.seen = 0
        assert np.array_equal(cache.features(space, cubes, *setting), expected)
        assert space.seen == 30
    turned = cubes.reshape(30, 4, 25, 1)  # the same bytes in another shape
    cache.features(settings[0][0], turned, LOW, HIGH)
    assert cache.computed == 6 * 30


def test_an_interrupted_evaluation_keeps_its_parts(cubes, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PART", 8)
    space, cache = Counting(), FeatureCache(tmp_path)
    compute = space.features

    def stopped(part, *rest):
        if space.seen >= 16:
            raise KeyboardInterrupt
        return compute(part, *rest)

    space.features = stopped
    with pytest.raises(KeyboardInterrupt):
        cache.features(space, cubes, LOW, HIGH)
    space.features = compute
    found = cache.features(space, cubes, LOW, HIGH)
    assert space.seen == 30
    assert np.array_equal(found, Counting().features(cubes, LOW, HIGH))


def test_a_damaged_part_is_computed_again_and_said(cubes, tmp_path):
    """A byte anywhere in the file, or its end, is changed: either nothing depends on it, or the part is replaced."""
    space = Counting()
    expected = space.features(cubes, LOW, HIGH)
    FeatureCache(tmp_path).features(space, cubes, LOW, HIGH)
    (part,) = tmp_path.rglob("*.npz")
    whole, said = part.read_bytes(), 0
    rng = np.random.default_rng(0)
    damages = [whole[:size] for size in (0, 10, len(whole) // 2, len(whole) - 1)] + [b"no zip" * 100]
    for at in [*range(0, 120), *rng.integers(len(whole), size=60)]:
        damages.append(whole[:at] + bytes([whole[at] ^ (1 << int(rng.integers(8)))]) + whole[at + 1 :])
    for damage in damages:
        part.write_bytes(damage)
        cache = FeatureCache(tmp_path)
        assert np.array_equal(cache.features(space, cubes, LOW, HIGH), expected)
        assert len(cache.notes) == (cache.computed > 0)
        said += len(cache.notes)
        after = FeatureCache(tmp_path)
        after.features(space, cubes, LOW, HIGH)
        assert (after.computed, after.notes) == (0, [])
    assert said > 100
    part.write_bytes(damages[2])
    cache = FeatureCache(tmp_path)
    cache.features(space, cubes[:5], LOW, HIGH)  # another part is written, and the damaged one is gone
    assert f"{part} was damaged" in cache.notes[0]
    cache.features(space, cubes[:5], LOW, HIGH)
    assert (cache.computed, len(cache.notes)) == (5, 1)


def test_a_part_of_another_dimension_is_damage(cubes, tmp_path):
    cache = FeatureCache(tmp_path)
    cache.features(Counting(), cubes, LOW, HIGH)
    found = cache.features(Counting(dimension=5), cubes, LOW, HIGH)  # as if a space had forgotten to change its identity
    assert found.shape == (30, 5)
    assert len(cache.notes) == 1


def test_a_part_that_another_process_removes_is_no_trouble(cubes, tmp_path, monkeypatch):
    space = Counting()
    FeatureCache(tmp_path).features(space, cubes, LOW, HIGH)
    (part,) = tmp_path.rglob("*.npz")
    read = type(part).read_bytes
    monkeypatch.setattr(type(part), "read_bytes", lambda path: path.unlink() or read(path))
    cache = FeatureCache(tmp_path)
    assert np.array_equal(cache.features(space, cubes, LOW, HIGH), Counting().features(cubes, LOW, HIGH))
    assert (cache.computed, cache.notes) == (30, [])


def test_a_folder_that_cannot_be_written_is_an_error(cubes, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        FeatureCache(tmp_path / "file").features(Counting(), cubes, LOW, HIGH)
