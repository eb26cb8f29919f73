import cv2
import numpy as np
import pytest
from scipy import ndimage

from hyperderm.cubes.regions import annotation_image, lesion_region, skin_region

SIDE = 64
Y, X = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
GAINS = np.linspace(0.3, 1.5, 16)


def cube(grey, noise=0.0, seed=0):
    """A 16-band cube whose band mean is `grey`."""
    x = grey[..., None] * GAINS / GAINS.mean()
    return (x + noise * np.random.default_rng(seed).standard_normal(x.shape)).astype(np.float32)


def ellipse(cy=0.0, cx=0.0, a=0.5, b=0.35):
    return ((Y - cy) / a) ** 2 + ((X - cx) / b) ** 2 < 1


def lesion_image(mask, skin=0.6, lesion=0.2, rim=1.5):
    return cv2.GaussianBlur(np.where(mask, lesion, skin).astype(np.float64), (0, 0), rim)


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def is_one_region_without_holes(mask):
    _, parts = ndimage.label(mask, np.ones((3, 3)))
    return parts == 1 and (ndimage.binary_fill_holes(mask) == mask).all()


def test_annotation_image_is_the_mean_of_the_bands():
    x = np.random.default_rng(0).random((5, 6, 16)).astype(np.float32)
    np.testing.assert_allclose(annotation_image(x), x.astype(np.float64).mean(axis=2), rtol=1e-6)


@pytest.mark.parametrize("where", [{}, {"cy": 0.25, "cx": -0.2}, {"a": 0.8, "b": 0.7}])
def test_finds_a_dark_ellipse(where):
    truth = ellipse(**where)
    found = lesion_region(cube(lesion_image(truth), noise=0.02))
    assert dice(found, truth) > 0.9
    assert is_one_region_without_holes(found)


def test_a_small_one_is_found_a_little_large():
    truth = ellipse(a=0.2, b=0.2)
    found = lesion_region(cube(lesion_image(truth), noise=0.02))
    assert (found | truth).sum() == found.sum()
    assert dice(found, truth) > 0.75  # its rim, three pixels wide, counts as lesion


def test_finds_it_under_a_vignette_and_a_tilt_without_eating_it():
    truth = ellipse(a=0.55, b=0.5)
    light = (1 - 0.3 * (X**2 + Y**2)) * (1 + 0.25 * X)
    assert dice(lesion_region(cube(lesion_image(truth, lesion=0.35) * light, noise=0.01)), truth) > 0.9


def test_black_lens_corners_are_neither_lesion_nor_skin():
    truth = ellipse(a=0.4, b=0.4)
    lens = np.hypot(X, Y) > 1.1
    grey = lesion_image(truth, lesion=0.3)
    grey[lens] = 0.02
    x = cube(grey, noise=0.005)
    found = lesion_region(x)
    assert dice(found, truth) > 0.9
    skin = skin_region(x, found)
    assert not (skin & lens).any()
    assert not (skin & found).any()
    assert skin.sum() > 0.9 * (~lens & ~truth).sum() - 0.12 * SIDE**2  # all but the margin around the lesion


def test_a_central_lesion_wins_over_a_darker_spot_at_the_edge():
    truth = ellipse(a=0.4, b=0.4)
    grey = lesion_image(truth, lesion=0.3)
    grey[:9, 25:38] = 0.1
    assert dice(lesion_region(cube(grey)), truth) > 0.9


def test_a_bright_centre_is_filled_and_hairs_are_not_followed():
    truth = ellipse(a=0.6, b=0.6)
    grey = lesion_image(truth)
    grey[28:36, 28:36] = 0.7
    grey[:, 5] = 0.1  # a hair beside the lesion
    found = lesion_region(cube(grey))
    assert found[30:34, 30:34].all()
    assert dice(found, truth) > 0.9


def test_a_gain_and_an_offset_change_nothing():
    x = cube(lesion_image(ellipse(cy=0.1)), noise=0.05).astype(np.float64)
    first = lesion_region(x)
    np.testing.assert_array_equal(lesion_region(4.0 * x), first)
    np.testing.assert_array_equal(lesion_region(0.25 * x), first)
    assert dice(lesion_region(x + 0.5), first) > 0.99


@pytest.mark.parametrize("sigma", [0, 1, 4, 16])
@pytest.mark.parametrize("seed", range(4))
def test_noise_still_gives_one_region(sigma, seed):
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((SIDE, SIDE, 16))
    if sigma:
        noise = ndimage.gaussian_filter(noise, (sigma, sigma, 0))
    found = lesion_region(noise.astype(np.float32))  # half of it negative, as an untrained net may give
    assert found.any()
    assert not found.all()
    assert is_one_region_without_holes(found)
    skin = skin_region(noise, found)
    assert not (skin & found).any()


@pytest.mark.parametrize("value", [-0.2, 0.0, 0.4])
def test_constant_image_has_no_lesion_and_only_skin(value):
    x = np.full((SIDE, SIDE, 16), value, np.float32) * GAINS.astype(np.float32)
    found = lesion_region(x)
    assert found.dtype == bool
    assert not found.any()
    assert skin_region(x, found).all()


def test_images_without_a_lesion_and_odd_shapes_give_a_region():
    checker = (np.indices((SIDE, SIDE)).sum(axis=0) % 2).astype(float)
    point = np.ones((SIDE, SIDE))
    point[10, 50] = 0.0
    for grey in (X, Y, X**2 + Y**2, -(X**2), checker, point, 1 - point, X[:, :23], X[:9, :9], np.eye(2)):
        found = lesion_region(cube(grey))
        assert found.shape == grey.shape
        assert found.any()
        assert not found.all()


def test_skin_keeps_its_distance_and_may_be_empty():
    truth = ellipse(a=0.4, b=0.4)
    x = cube(lesion_image(truth))
    skin = skin_region(x, truth)
    distance = ndimage.distance_transform_edt(~truth)
    assert not skin[distance <= 3].any()  # 6 % of 64 pixels is a disc of radius 4
    assert skin[distance > 6].all()
    assert not skin_region(x, np.ones_like(truth)).any()


def test_same_input_same_answer():
    x = cube(lesion_image(ellipse()), noise=0.1)
    np.testing.assert_array_equal(lesion_region(x), lesion_region(x.copy()))
