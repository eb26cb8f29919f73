import dataclasses
import json

import numpy as np
import pytest
import torch

from hyperderm.errors import ConfigError
from hyperderm.learners.scaling import Scaling
from hyperderm.learners.synthesis import out_of_range
from hyperderm.store.reader import open_store
from hyperderm.store.writer import write_store
from hyperderm.training.checkpoint import CheckpointFolder
from hyperderm.training.context import local
from hyperderm.training.data import train_data
from hyperderm.training.loop import train
from hyperderm.training.run import load_sampler
from tests.store.lesions import NM, lesions
from tests.training.tiny import blobs, tiny, tiny_data


def test_train_spans_minus_one_to_one_in_every_band():
    cubes = blobs(6).double()
    scaled = Scaling.fit(cubes).forward(cubes)
    torch.testing.assert_close(scaled.amin((0, 2, 3)), torch.full((16,), -1.0).double())
    torch.testing.assert_close(scaled.amax((0, 2, 3)), torch.full((16,), 1.0).double())


def test_inverse_is_exact_also_beyond_train_s_range():
    scaling, cubes = Scaling.fit(blobs(6)), blobs(6, seed=1).double() * 3 - 0.5
    torch.testing.assert_close(scaling.inverse(scaling.forward(cubes)), cubes, rtol=1e-12, atol=1e-12)


def test_survives_a_checkpoint_as_json():
    scaling = Scaling.fit(blobs(6))
    again = Scaling.from_state(json.loads(json.dumps(scaling.state_dict())))
    assert torch.equal(again.low, scaling.low)
    assert torch.equal(again.high, scaling.high)


def test_a_constant_band_stays_finite():
    cubes = blobs(6)
    cubes[:, 2] = 0.25
    scaling = Scaling.fit(cubes)
    assert torch.isfinite(scaling.forward(cubes)).all()
    torch.testing.assert_close(scaling.inverse(scaling.forward(cubes)), cubes)


# --- by percentiles


@pytest.mark.parametrize("percentiles", [(0.5, 99.5), (0.0, 100.0), (2.5, 60.0)])
def test_percentiles_of_every_band_are_numpy_s(percentiles):
    cubes = blobs(7) ** 2 * 3 - 0.1
    scaling = Scaling.fit(cubes, percentiles)
    for band in range(16):
        low, high = np.percentile(cubes[:, band].double().numpy(), percentiles)
        assert float(scaling.low[band]) == pytest.approx(low, rel=1e-14)
        assert float(scaling.high[band]) == pytest.approx(high, rel=1e-14)
    for end, least in ((scaling.whole.low, cubes.amin((0, 2, 3))), (scaling.whole.high, cubes.amax((0, 2, 3)))):
        assert torch.equal(end, least.double())


def test_hot_pixels_do_not_move_a_robust_scaling_and_are_not_clipped():
    cubes = blobs(6)
    hot = cubes.clone()
    hot[2, 3, 4, 4], hot[3, 3, 5, 5] = 50.0, -20.0
    robust, still = Scaling.fit(hot, (0.5, 99.5)), Scaling.fit(cubes, (0.5, 99.5))
    torch.testing.assert_close(robust.high, still.high, rtol=0.02, atol=0)
    assert Scaling.fit(hot).high[3] == 50.0
    seen = robust.forward(hot.double())
    assert seen[2, 3, 4, 4] > 50
    assert seen[3, 3, 5, 5] < -20
    torch.testing.assert_close(robust.inverse(seen), hot.double(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_inverse_is_exact_within_rounding(dtype):
    scaling, cubes = Scaling.fit(blobs(6), (5.0, 95.0)), (blobs(6, seed=1).double() * 6 - 2).to(dtype)
    bound = 32 * torch.finfo(dtype).eps
    torch.testing.assert_close(scaling.inverse(scaling.forward(cubes)), cubes, rtol=bound, atol=bound)


def test_seventeen_million_values_a_band():
    """Above 2²⁴ torch's quantile gave up for years, and float32 cannot count."""
    cubes = torch.zeros(17, 1, 1000, 1000)
    cubes[:, 0, :10] = 1.0  # one pixel in a hundred
    scaling = Scaling.fit(cubes, (0.5, 99.5))
    assert (float(scaling.low), float(scaling.high)) == (0.0, 1.0)


def test_a_robust_scaling_survives_a_checkpoint_and_older_ones_are_read(tmp_path):
    scaling = Scaling.fit(blobs(6), (1.0, 99.0))
    torch.save({"scaling": scaling.state_dict()}, tmp_path / "c.pt")
    for state in (
        torch.load(tmp_path / "c.pt", weights_only=True)["scaling"],
        json.loads(json.dumps(scaling.state_dict())),
    ):
        again = Scaling.from_state(state)
        assert torch.equal(again.low, scaling.low)
        assert torch.equal(again.high, scaling.high)
        assert again.robust.percentiles == (1.0, 99.0)
        assert torch.equal(again.whole.high, scaling.whole.high)
        assert again.state_dict() == scaling.state_dict()
    old = Scaling.from_state({"low": [0.0, 0.1], "high": [1.0, 2.0]})
    assert old.robust is None
    assert old.whole is old
    assert set(Scaling.fit(blobs(6)).state_dict()) == {"low", "high"}  # and those of the range are read by older versions


def test_percentiles_that_coincide_are_refused_by_name():
    cubes = blobs(6)
    cubes[:, 5] = 0.25
    cubes[0, 5, 0, 0] = 0.75
    with pytest.raises(ConfigError) as caught:
        Scaling.fit(cubes, (0.5, 99.5))
    assert caught.value.what == (
        "data.percentiles = [0.5, 99.5] are both 0.25 in band 5, whose values reach from 0.25 to 0.75"
    )
    assert "--set data.scaling=range" in caught.value.remedy
    cubes[:, 5] = 0.25  # a band that is constant is as harmless as ever
    scaling = Scaling.fit(cubes, (0.5, 99.5))
    torch.testing.assert_close(scaling.inverse(scaling.forward(cubes)), cubes)


def test_a_synthetic_cube_is_judged_by_train_s_extremes_whatever_the_scaling():
    """Robust percentiles lie within the extremes: real cubes would be refused if these were the measure."""
    cubes = blobs(6)
    cubes[0, :, :8] *= 4  # one overexposed lesion
    for scaling in (Scaling.fit(cubes), Scaling.fit(cubes, (5.0, 80.0))):
        assert not any(out_of_range(cube, scaling) for cube in cubes)
        assert out_of_range(cubes[0] * 2.5, scaling)


# --- by configuration


def test_the_field_says_what_the_fit_takes():
    assert tiny().data.scaling_percentiles is None
    assert tiny(data__percentiles=[1, 99]).data.scaling_percentiles is None
    assert tiny(data__scaling="robust").data.scaling_percentiles == (0.5, 99.5)
    assert tiny(data__scaling="robust", data__percentiles=[1, 99]).data.scaling_percentiles == (1.0, 99.0)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([99, 1], "data.percentiles = [99, 1] is refused: the lower one comes first"),
        ([50, 50], "data.percentiles = [50, 50] is refused: the lower one comes first"),
        ([-1, 99], "data.percentiles = -1 is refused: it should be greater than or equal to 0"),
        ([1, 101], "data.percentiles = 101 is refused: it should be less than or equal to 100"),
        ([1], "data.percentiles = [1] is refused: it should name at least 2"),
        ([1, 50, 99], "data.percentiles = [1, 50, 99] is refused: Tuple should have at most 2 items"),
    ],
)
def test_wrong_percentiles(values, said):
    with pytest.raises(ConfigError) as caught:
        tiny(data__percentiles=values)
    assert caught.value.what.startswith(said)
    assert "data.percentiles=[0.5, 99.5]" in caught.value.remedy


def test_train_data_fits_train_alone_by_the_percentiles(tmp_path):
    write_store(str(tmp_path / "store"), lesions(24, 16), fold_count=3)
    store = open_store(tmp_path / "store")
    train, validation = (store.read(store.select(role, 0, "all")) for role in ("train", "validation"))
    data = train_data(train, validation, NM, 8, percentiles=(2.0, 98.0))
    expected = Scaling.fit(data.train.reflectance, (2.0, 98.0))
    assert data.scaling.state_dict() == expected.state_dict()
    assert train_data(train, train, NM, 8, train, (2.0, 98.0)).scaling.state_dict() == expected.state_dict()
    assert train_data(train, validation, NM, 8).scaling.robust is None


def test_a_run_with_a_robust_scaling_trains_and_its_checkpoint_generates_reflectance(tmp_path):
    data, experiment = tiny_data(), tiny(data__scaling="robust", training__images=16)
    data = dataclasses.replace(data, scaling=Scaling.fit(data.train.reflectance, experiment.data.scaling_percentiles))
    list(train(experiment, data, local(tmp_path)))
    saved = CheckpointFolder(tmp_path).load()
    synthesiser = load_sampler(saved)
    assert synthesiser.scaling.state_dict() == data.scaling.state_dict()
    sources = torch.full((2, 3, 16, 16), 0.3)
    made = synthesiser.sample(0, [0, 1], sources)
    scaled = data.scaling.forward(made.double())
    assert (scaled.abs() <= 1 + 1e-5).all()  # tanh, taken back by this very scaling
    assert next(train(experiment, data, local(tmp_path))).images == 16  # goes on from there
