"""The classic augmentation by the batch, against albumentations: the same draws, the same pixels."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from hyperderm.errors import ConfigError
from hyperderm.learners import batch_augmentation
from hyperderm.learners.augmentation import Augmentation, _albumentations, classic
from hyperderm.learners.batch_augmentation import BatchAugmentation, Geometry, draw, remap, resample
from tests.learners.test_augmentation import cubes, positions
from tests.learners.test_classifier import DOUBLE, feed, gradients
from tests.learners.tissue import classifier, lesions
from tests.learning import augmented, built

SIZE = 32
INNER = (slice(None), slice(None), slice(8, -8), slice(8, -8))
STILL = np.eye(2, 3)


@pytest.fixture(scope="module")
def augment():
    return BatchAugmentation(SIZE)


def smooth(n, size):
    """Cubes that bend little between pixels, so that interpolating twice or once makes no difference."""
    y, x = torch.meshgrid(torch.arange(size).float(), torch.arange(size).float(), indexing="ij")
    phases = torch.arange(16.0)[:, None, None]
    return (3 * torch.sin(x / 60 + phases) * torch.cos(y / 70 - phases) - 0.5)[None].repeat(n, 1, 1, 1)


def by_albumentations(transforms, image):
    pipeline = _albumentations().Compose(transforms)
    return torch.from_numpy(pipeline(image=image.permute(1, 2, 0).numpy())["image"]).permute(2, 0, 1)


def fixed(a, degrees=4.0, shift=(3, -2)):
    return a.Affine(
        scale=1.0, translate_px={"x": (shift[0],) * 2, "y": (shift[1],) * 2}, rotate=(degrees,) * 2,
        interpolation=cv2.INTER_LINEAR, border_mode=cv2.BORDER_REFLECT_101, p=1.0,
    )  # fmt: skip


def turned(size, degrees=4.0, shift=(3, -2)):
    """Output -> input of a turn by `degrees` about the centre and a shift after it, from the formula."""
    c, s, middle = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees)), (size - 1) / 2
    back = np.array([[c, -s], [s, c]])
    return np.column_stack([back, middle - back @ (middle + np.array(shift))])


# --- given parameters


@pytest.mark.parametrize("degrees", [-4.0, 1.5, 4.0])
def test_a_turn_and_a_shift_are_albumentations_also_at_reflected_borders(degrees):
    rough = cubes(1)
    expected = by_albumentations([fixed(_albumentations(), degrees)], rough[0])
    found = resample(rough, [Geometry(turned(SIZE, degrees), (0, 0, SIZE, SIZE))])[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)


def test_a_cut_stretched_back_is_albumentations_to_the_edge():
    a, rough, box = _albumentations(), cubes(1), (3, 5, 28, 30)
    crop = a.Crop(*box, p=1.0)
    expected = by_albumentations([crop, a.Resize(SIZE, SIZE, interpolation=cv2.INTER_LINEAR)], rough[0])
    torch.testing.assert_close(resample(rough, [Geometry(STILL, box)])[0], expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("across", "down"), [(True, False), (False, True), (True, True)])
def test_everything_composed_is_everything_in_turn(across, down):
    a, size, box = _albumentations(), 96, (10, 4, 80, 90)
    x = smooth(1, size)
    chain = [fixed(a), a.Crop(*box, p=1.0), a.Resize(size, size, interpolation=cv2.INTER_LINEAR)]
    chain += [a.HorizontalFlip(p=1.0)] * across + [a.VerticalFlip(p=1.0)] * down
    expected = by_albumentations(chain, x[0])
    found = resample(x, [Geometry(turned(size), box, across, down)])
    torch.testing.assert_close(found[INNER][0], expected[None][INNER][0], rtol=0, atol=1e-3)


def test_interpolating_once_keeps_more_texture_than_twice():
    a, rough, box = _albumentations(), cubes(1), (2, 2, 30, 30)
    chain = [fixed(a), a.Crop(*box, p=1.0), a.Resize(SIZE, SIZE, interpolation=cv2.INTER_LINEAR)]
    twice, once = by_albumentations(chain, rough[0]), resample(rough, [Geometry(turned(SIZE), box)])[0]
    assert float(twice.std()) < float(once.std()) < float(rough.std())


# --- drawn parameters


ROUNDED = 1 / 64
"""Pixels: OpenCV rounds the positions of images of many bands to 1/32."""


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize(("by_torch", "most"), [(True, 0.0), (False, ROUNDED)])
def test_the_same_keys_move_cubes_as_albumentations_does(size, by_torch, most):
    n, batch = 200, BatchAugmentation(size)

    def moved(x, keys):
        return batch._resampled(x, [draw(batch._pipeline, key, size) for key in keys]) if by_torch else batch(x, keys)

    x = positions(n, size).repeat(1, 2, 1, 1)  # OpenCV is exact in images of four bands, not of two
    expected, found = classic(size)(x, range(n)), moved(x, range(n))
    inner = (found - expected).abs()[:, :, size // 4 : -size // 4, size // 4 : -size // 4]
    assert inner.max() < most + 1e-3  # pixels
    assert (found - expected).abs().mean() < 0.5 * most + 1e-3
    x, keys = smooth(n // 4, size), range(1000, 1000 + n // 4)
    expected, found = classic(size)(x, keys), moved(x, keys)
    assert (found - expected).abs()[INNER].max() < 2 * 3 / 60 * most + 1e-3  # both ways, times the slope


def test_opencv_moves_cubes_as_torch_does_to_the_edge():
    drawn = [draw(classic(SIZE), key, SIZE) for key in range(100)]
    x = positions(100, SIZE).repeat(1, 8, 1, 1)
    by_opencv, by_torch = remap(x, drawn), BatchAugmentation(SIZE)._resampled(x, drawn)
    assert (by_opencv - by_torch).abs().max() < ROUNDED + 1e-3


def test_cubes_may_lie_pixel_by_pixel_and_be_given_one_by_one():
    for augment in (BatchAugmentation(SIZE), classic(SIZE)):
        x, keys = cubes(9), range(9)
        expected = augment(x, keys)
        held = x.contiguous(memory_format=torch.channels_last)
        assert torch.equal(augment(held.unbind(), keys), expected)
        assert torch.equal(augment(x.unbind(), keys), expected)
        assert torch.equal(held, x)


@pytest.mark.parametrize("bands", [1, 4, 127, 128, 129, 200])
def test_every_band_of_a_cube_moves_alike(bands):
    """OpenCV 5 takes an image of more than 128 channels for something else, and leaves it unwritten."""
    x = positions(20, SIZE)[:, :1]
    found = BatchAugmentation(SIZE)(x.repeat(1, bands, 1, 1), range(20))
    expected = BatchAugmentation(SIZE)(x, range(20)).repeat(1, bands, 1, 1)
    assert (found - expected).abs().max() < ROUNDED + 1e-3


def test_albumentations_says_how_many_bands_it_moves():
    data = replace(lesions(), wavelengths_nm=tuple(range(400, 529)))
    with pytest.raises(ConfigError, match=r"geometry = albumentations moves 128 bands at most, not 129.*geometry=batch"):
        augmented(classifier(learner__augmentation="classic", learner__geometry="albumentations"), data)


def test_moments_over_many_draws_are_those_of_albumentations():
    """Other keys on either side: the distributions, not the draws."""
    n, x = 300, positions(300)
    ours, theirs = BatchAugmentation(SIZE)(x, range(n)), classic(SIZE)(x, range(n, 2 * n))
    for at in [(4, 4), (16, 16), (8, 24)]:
        a, b = ours[:, :, at[0], at[1]], theirs[:, :, at[0], at[1]]
        error = ((a.var(0) + b.var(0)) / n).sqrt()
        assert ((a.mean(0) - b.mean(0)).abs() < 4 * error).all()
        assert ((a.std(0) / b.std(0)).log().abs() < 0.2).all()


def test_what_is_only_flipped_is_copied(augment):
    pipeline, x = classic(SIZE), cubes(1)
    drawn = {key: draw(pipeline, key, SIZE) for key in range(60)}
    still = {key: each for key, each in drawn.items() if not each.resamples(SIZE)}
    assert len(still) > 5
    for key, each in still.items():
        axes = [axis for axis, wanted in ((-1, each.across), (-2, each.down)) if wanted]
        assert torch.equal(augment(x, [key]), x.flip(axes))


def test_a_cube_and_its_key_alone_decide(augment, monkeypatch):
    monkeypatch.setattr(batch_augmentation, "WORTH_THREADS", 0)
    x, keys = cubes(12), list(range(100, 112))
    once = augment(x, keys)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    assert torch.equal(augment(x[order], [keys[i] for i in order]), once[order])
    assert torch.equal(augment(x[5:6], keys[5:6]), once[5:6])
    assert torch.equal(BatchAugmentation(SIZE)(x, keys), once)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert torch.equal(augment(x, keys), once)
    finally:
        torch.set_num_threads(threads)


def test_nothing_is_clipped_and_nothing_is_made_up(augment):
    x = cubes(200)
    before, state = x.clone(), torch.get_rng_state()
    seen = augment(x.requires_grad_(True), range(200))
    assert torch.equal(x, before)
    assert torch.equal(torch.get_rng_state(), state)
    assert not seen.requires_grad
    assert (seen.amin((2, 3)) >= x.amin((2, 3)) - 1e-5).all()
    assert (seen.amax((2, 3)) <= x.amax((2, 3)) + 1e-5).all()
    assert seen.min() < -2.99
    assert seen.max() > 4.99
    flat = torch.full((50, 16, SIZE, SIZE), -2.5)
    torch.testing.assert_close(augment(flat, range(50)), flat)


def test_any_number_of_bands_and_precision():
    for bands, dtype in ((1, torch.float64), (31, torch.float32), (3, torch.bfloat16)):
        seen = BatchAugmentation(24)(cubes(6, bands, 24).to(dtype), range(6))
        assert (seen.shape, seen.dtype) == ((6, bands, 24, 24), dtype)
    assert BatchAugmentation(24)(cubes(1, 3, 24)[:0], []).shape == (0, 3, 24, 24)


def test_other_sizes_and_other_numbers_of_keys_are_refused(augment):
    with pytest.raises(ValueError, match="24, 24"):
        augment(cubes(2, size=24), [1, 2])
    with pytest.raises(ValueError, match="2 keys for 3 cubes"):
        augment(cubes(3), [1, 2])


# --- in the classifier


def test_the_configuration_says_what_computes_it():
    data = lesions()
    found = [
        type(augmented(classifier(learner__augmentation="classic", learner__geometry=each), data)[0])
        for each in ("batch", "albumentations")
    ]
    assert found == [BatchAugmentation, Augmentation]


def test_the_mean_over_shares_is_the_whole_batch():
    experiment = classifier(learner__augmentation="classic+spectral", learner__geometry="batch")
    data = lesions()
    whole = built(experiment, data, DOUBLE)
    whole.step(feed(data, experiment).batch(8))
    parts = [built(experiment, data, DOUBLE) for _ in range(2)]
    for rank, one in enumerate(parts):
        one.step(feed(data, experiment, rank, 2).batch(8))
    found = [gradients(one) for one in parts]
    for name, gradient in gradients(whole).items():
        mean = torch.stack([each[name] for each in found]).mean(0)
        torch.testing.assert_close(mean, gradient, rtol=1e-9, atol=1e-12)
