"""Automatic masks against the true ones of phantom lesions, and where there is nothing to find."""

import cv2
import numpy as np
import pytest

from hyperderm.errors import CubeError
from hyperderm.ingest.annotations.automatic import LARGEST, automatic_mask
from hyperderm.phantom.rendering import phantom

GAINS = np.linspace(0.3, 1.5, 16)


def scene(radius, shape=(136, 256), at=(0.5, 0.5)):
    """A full frame, evenly lit and a little noisy, with a dark disc; and the disc."""
    y, x = np.indices(shape)
    disc = (y - at[0] * shape[0]) ** 2 + (x - at[1] * shape[1]) ** 2 < radius**2
    grey = cv2.GaussianBlur(np.where(disc, 0.2, 0.6), (0, 0), 1.0)
    noise = 0.01 * np.random.default_rng(0).standard_normal((*shape, 16))
    return (grey[..., None] * GAINS + noise).astype(np.float32), disc


def overlap(a, b):
    return (a & b).sum() / (a | b).sum()


def test_phantom_lesions_are_found():
    lesions = [p.lesion for p in phantom(60)]
    found = [overlap(automatic_mask(one.cube.reflectance)[0], one.mask) for one in lesions]
    assert np.mean(found) > 0.75  # 0.780
    assert np.median(found) > 0.80  # 0.824
    assert min(found) > 0.3


@pytest.mark.parametrize("at", [(0.5, 0.5), (0.3, 0.25), (0.6, 0.8)])
def test_a_disc_anywhere_in_a_frame(at):
    x, disc = scene(25, at=at)
    mask, facts = automatic_mask(x)
    assert overlap(mask, disc) > 0.85
    assert facts == {
        "mask": "automatic",
        "method": "Otsu on the annotation image less its illumination, darkest component near the centre",
        "share": round(float(mask.mean()), 4),
    }


@pytest.mark.parametrize("value", [0.0, 0.4])
def test_constant_images(value):
    with pytest.raises(CubeError, match="no lesion can be found: the image is the same everywhere"):
        automatic_mask(np.full((40, 50, 16), value, np.float32))


def test_too_small():
    one, _ = scene(9, shape=(272, 512), at=(0.5, 0.4))
    two, _ = scene(9, shape=(272, 512), at=(0.5, 0.6))
    with pytest.raises(CubeError, match=r"takes 0\.\d\d% of the frame, under 0\.5%"):
        automatic_mask(np.minimum(one, two))  # together above, each of them below


def test_too_large():
    x, disc = scene(130)
    assert 1 > disc.mean() > LARGEST
    with pytest.raises(CubeError, match=r"takes 9\d\.\d\d% of the frame, over 90%"):
        automatic_mask(x)


@pytest.mark.parametrize("seed", range(3))
def test_noise_is_no_lesion(seed):
    noise = np.random.default_rng(seed).standard_normal((60, 80, 16)).astype(np.float32)
    with pytest.raises(CubeError, match=r"is 0\.\d\d standard deviations darker than the rest, under 0\.4"):
        automatic_mask(noise)
