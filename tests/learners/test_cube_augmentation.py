"""Light and sensor: every kind alone against its formula, moments of the noise, keys, and what the classifier does of it."""

import math

import numpy as np
import pytest
import torch

from hyperderm.config import Experiment, TaskConfig
from hyperderm.cubes.cube import HSIDERMOSCOPY_NM
from hyperderm.errors import ConfigError
from hyperderm.learners.augmentation_settings import SpectralAugmentationConfig
from hyperderm.learners.batch_augmentation import BatchAugmentation
from hyperderm.learners.classifier import ClassifierConfig
from hyperderm.learners.cube_augmentation import CAMERA_PX, SpectralAugmentation, portions, replace
from hyperderm.learners.scaling import Scaling
from hyperderm.phantom import rendering as phantom
from tests.learners.test_classifier import DOUBLE, feed
from tests.learners.tissue import classifier, lesions
from tests.learning import augmented, built
from tests.training.tiny import CPU, blobs

OFF = {"exposure": 0, "tilt": 0, "band_gain": 0, "shot_noise": 0, "read_noise": 0, "dropped_bands": 0}
SCALING = Scaling(torch.linspace(-0.05, 0.2, 16).double(), torch.linspace(0.4, 1.7, 16).double())


def spectral(nm=HSIDERMOSCOPY_NM, scaling=SCALING, **values):
    return SpectralAugmentation(SpectralAugmentationConfig(**values), nm, scaling)


def only(probability=1.0, **values):
    return spectral(probability=probability, **{**OFF, **values})


def cubes(n, size=12, seed=0):
    """Reflectance from -0.2 to 2.5, beyond train's range on both sides and beyond saturation."""
    return torch.rand(n, 16, size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2.7 - 0.2


def gains(augment, count=3000):
    return torch.stack([augment.draw(key).gains for key in range(count)])


def uniform(values, most):
    """Whether values are drawn evenly from 1 ± most, by bounds and moments."""
    assert (values - 1).abs().max() <= most
    assert (values - 1).abs().max() > 0.99 * most
    assert float(values.mean()) == pytest.approx(1, abs=4 * most / math.sqrt(3 * values.numel()))
    assert float(values.std()) == pytest.approx(most / math.sqrt(3), rel=0.05)


# --- gains


def test_exposure_is_one_gain_for_all_bands():
    g = gains(only(exposure=0.5))
    assert torch.equal(g, g[:, :1].expand(-1, 16))
    uniform(g[:, 0], 0.5)


def test_tilt_is_linear_in_wavelength_and_one_at_the_middle():
    nm, g = np.array(HSIDERMOSCOPY_NM), gains(only(tilt=0.1)).numpy()
    for one in g[:50]:
        slope, offset = np.polyfit(nm, one, 1)
        np.testing.assert_allclose(one, offset + slope * nm, rtol=0, atol=1e-12)
        assert offset + slope * (465 + 620) / 2 == pytest.approx(1, abs=1e-12)
    uniform(torch.from_numpy(g[:, -1]), 0.1)
    np.testing.assert_allclose(g[:, 0] + g[:, -1], 2, atol=1e-12)


def test_the_default_tilt_is_a_halogen_lamp_at_210_k_less():
    def planck(kelvin):
        return nm**-5.0 / np.expm1(14_387_769 / (nm * kelvin))

    nm = np.linspace(465, 630, 100)
    ratio = planck(2790) / planck(3000)
    ratio /= np.interp(547.5, nm, ratio)
    line = 1 + SpectralAugmentationConfig().tilt * (nm - 547.5) / 82.5
    np.testing.assert_allclose(ratio, line, rtol=0.012)


def test_band_gains_are_independent_and_equal_across_pixels():
    augment = only(band_gain=0.03)
    g = gains(augment)
    uniform(g.flatten(), 0.03)
    correlation = torch.corrcoef(g.T) - torch.eye(16)
    assert correlation.abs().max() < 0.1
    x = cubes(8)
    seen = augment.on_reflectance(x, range(8))
    torch.testing.assert_close(seen, x * g[:8, :, None, None], rtol=1e-12, atol=0)


def test_all_gains_together_stay_above_zero_at_the_largest_settings():
    assert gains(only(exposure=0.99, tilt=0.99, band_gain=0.99)).min() > 0


def test_the_default_exposure_is_the_phantom_s():
    assert SpectralAugmentationConfig().exposure / math.sqrt(3) == pytest.approx(phantom.EXPOSURE_SIGMA, rel=0.02)


# --- noise


@pytest.mark.parametrize("level", [-0.07, 0.0, 0.04, 0.5, 1.8])
def test_moments_of_the_noise(level):
    augment = only(shot_noise=0.02, read_noise=0.006)
    flat = torch.full((2, 16, CAMERA_PX, CAMERA_PX), level, dtype=torch.float64)
    noise = augment.on_reflectance(flat, [5, 6]) - flat
    count = noise.numel()
    variance = 0.02**2 * max(level, 0) + 0.006**2
    assert float(noise.mean()) == pytest.approx(0, abs=4 * math.sqrt(variance / count))
    assert float(noise.var()) == pytest.approx(variance, rel=4 * math.sqrt(2 / count))
    z = noise / math.sqrt(variance)
    assert float(z.pow(3).mean()) == pytest.approx(0, abs=4 * math.sqrt(15 / count))
    assert float(z.pow(4).mean()) == pytest.approx(3, abs=4 * math.sqrt(96 / count))
    for a, b in [(z[0], z[1]), (z[:, 1:], z[:, :-1]), (z[..., 1:], z[..., :-1]), (z[:, :, 1:], z[:, :, :-1])]:
        assert float((a * b).mean()) == pytest.approx(0, abs=4 / math.sqrt(a.numel()))  # keys, bands, pixels


def test_fewer_pixels_than_the_camera_s_have_calmer_noise():
    augment = only(shot_noise=0.0, read_noise=0.1)

    def deviation(size):
        flat = torch.zeros(4, 16, size, size)
        return float(augment.on_reflectance(flat, range(4)).std())

    assert deviation(40) == pytest.approx(0.1 / 4, rel=0.02)
    assert deviation(224) == pytest.approx(0.1, rel=0.02)


def test_the_defaults_are_the_phantom_s_camera():
    config = SpectralAugmentationConfig()
    assert (config.shot_noise, config.read_noise) == (phantom.SHOT_NOISE, phantom.READ_NOISE)
    assert CAMERA_PX == phantom.NATIVE_PX


# --- lost bands


def test_a_lost_band_is_the_mean_of_its_neighbours_and_all_bands_are_lost_as_often():
    augment, x = only(dropped_bands=1), cubes(64)
    seen = augment.on_reflectance(x, range(64))
    for key, (was, now) in enumerate(zip(x, seen, strict=True)):
        (band,) = augment.draw(key).dropped
        beside = [b for b in (band - 1, band + 1) if 0 <= b < 16]
        torch.testing.assert_close(now[band], sum(was[b] for b in beside) / len(beside))
        others = [b for b in range(16) if b != band]
        assert torch.equal(now[others], was[others])
    counts = np.bincount([augment.draw(key).dropped[0] for key in range(4800)], minlength=16)
    assert counts.min() > 300 - 5 * math.sqrt(300)
    assert counts.max() < 300 + 5 * math.sqrt(300)


@pytest.mark.parametrize(
    ("dropped", "expected"),
    [
        ((), [0, 1, 4, 9, 16]),
        ((2,), [0, 1, 5, 9, 16]),
        ((1, 2), [0, 4.5, 4.5, 9, 16]),
        ((0, 1), [4, 4, 4, 9, 16]),
        ((4, 3), [0, 1, 4, 4, 4]),
    ],
)
def test_neighbours_are_the_nearest_that_are_left(dropped, expected):
    cube = (torch.arange(5.0) ** 2)[:, None, None].repeat(1, 3, 3)
    replace(cube, dropped)
    assert cube[:, 1, 1].tolist() == expected


def test_as_many_bands_lost_as_there_are():
    with pytest.raises(ConfigError) as caught:
        spectral(HSIDERMOSCOPY_NM[:3], dropped_bands=3)
    assert caught.value.what == "learner.spectral_augmentation.dropped_bands = 3 leaves nothing of 3 bands"
    assert "dropped_bands=2" in caught.value.remedy
    assert spectral(HSIDERMOSCOPY_NM[:3], dropped_bands=2).draw(1).gains.shape == (3,)


def test_a_single_band_has_no_tilt():
    augment = spectral((550.0,), Scaling(torch.zeros(1), torch.ones(1)), **{**OFF, "tilt": 0.9, "probability": 1.0})
    assert augment.draw(0).gains.tolist() == [1.0]


# --- all of it


def test_half_of_everything_and_each_for_itself():
    one = {name: {**OFF, name: value} for name, value in [("exposure", 0.5), ("tilt", 0.1), ("band_gain", 0.03)]}
    kinds = [spectral(**values) for values in one.values()] + [spectral()]
    changed = [torch.tensor([bool((a.draw(key).gains != 1).any()) for key in range(1500)]) for a in kinds[:3]]
    drawn = [kinds[3].draw(key) for key in range(1500)]
    changed += [torch.tensor([each.noise for each in drawn]), torch.tensor([bool(each.dropped) for each in drawn])]
    for a in changed:
        assert float(a.double().mean()) == pytest.approx(0.5, abs=0.05)
    for i, a in enumerate(changed):
        for b in changed[i + 1 :]:
            assert float((a & b).double().mean()) == pytest.approx(0.25, abs=0.045)


def test_a_kind_that_is_switched_off_leaves_the_others_alone():
    whole, part = spectral(probability=1.0), spectral(probability=1.0, exposure=0, shot_noise=0, read_noise=0)
    exposure, rest = only(exposure=0.5).draw(7).gains, part.draw(7)
    torch.testing.assert_close(whole.draw(7).gains, rest.gains * exposure, rtol=1e-14, atol=0)
    assert whole.draw(7).dropped == rest.dropped
    assert (whole.draw(7).noise, rest.noise) == (True, False)


@pytest.mark.parametrize("augment", [only(probability=0.0, exposure=0.5, read_noise=0.1), only()])
def test_never_or_nothing_is_the_same_cube(augment):
    x = cubes(6)
    assert torch.equal(augment.on_reflectance(x, range(6)), x)


def test_a_cube_and_its_key_alone_decide():
    augment, x, keys = spectral(), cubes(12), list(range(100, 112))
    once = augment(x, keys)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    assert torch.equal(augment(x[order], [keys[i] for i in order]), once[order])
    assert torch.equal(augment(x[5:6], keys[5:6]), once[5:6])
    assert torch.equal(spectral()(x, keys), once)
    assert not torch.equal(augment(x, range(12)), once)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert torch.equal(augment(x, keys), once)
    finally:
        torch.set_num_threads(threads)


def test_precision_and_the_caller_s_cubes_are_left_alone():
    augment, state = spectral(probability=1.0), torch.get_rng_state()
    exact = augment(cubes(4), range(4))
    for dtype in (torch.float32, torch.float64):
        x = cubes(4).to(dtype).requires_grad_(True)
        before = x.detach().clone()
        for change in (augment, augment.on_reflectance):
            seen = change(x, range(4))
            assert (seen.dtype, seen.shape, seen.requires_grad) == (dtype, x.shape, False)
        assert torch.equal(x, before)
        torch.testing.assert_close(augment(x, range(4)).double(), exact, rtol=1e-4, atol=1e-5)
    assert torch.equal(torch.get_rng_state(), state)
    assert augment(cubes(1)[:0], []).shape == (0, 16, 12, 12)
    for change in (augment, augment.on_reflectance):
        with pytest.raises(ValueError, match="1 keys for 2 cubes"):
            change(cubes(2), [1])


def test_gains_act_on_reflectance_and_nothing_is_clipped():
    """Of scaled cubes they are affine, with another offset in every band; far outside [-1, 1] as well."""
    augment, scaled = only(exposure=0.9, tilt=0.2, band_gain=0.1), cubes(30) * 4 - 3
    g = gains(augment, 30)[:, :, None, None]
    offset = (g - 1) * (1 + 2 * SCALING.low / (SCALING.high - SCALING.low))[:, None, None]
    torch.testing.assert_close(augment(scaled, range(30)), g * scaled + offset, rtol=1e-10, atol=1e-10)


# --- in the classifier


def test_names_say_what_is_done_and_in_which_order():
    data = lesions()

    def seen(name, x, keys):
        for augment in augmented(classifier(learner__augmentation=name), data):
            x = augment(x, keys)
        return x

    x, keys = data.scaling.forward(blobs(6)), range(6)
    augment = SpectralAugmentation(SpectralAugmentationConfig(), data.wavelengths_nm, data.scaling)
    assert torch.equal(seen("none", x, keys), x)
    assert torch.equal(seen("classic", x, keys), BatchAugmentation(16)(x, keys))
    assert torch.equal(seen("spectral", x, keys), augment(x, keys))
    assert torch.equal(seen("classic+spectral", x, keys), augment(BatchAugmentation(16)(x, keys), keys))


def test_it_stays_in_training_and_takes_its_settings():
    data, plain = lesions(), built(classifier(), lesions(), DOUBLE)
    experiment = classifier(learner__augmentation="spectral", learner__spectral_augmentation__probability=1.0)
    none = experiment.override({"learner.spectral_augmentation.probability": 0.0})
    batch = feed(data, experiment).batch(0)
    one, two, still = (built(each, data, DOUBLE) for each in (experiment, experiment, none))
    held = data.validation.reflectance, data.validation.masks
    assert torch.equal(one.logits_of(*held), plain.logits_of(*held))
    loss = one.step(batch)["loss"]
    assert torch.equal(loss, two.step(batch)["loss"])
    torch.testing.assert_close(still.step(batch)["loss"], plain.step(batch)["loss"], rtol=1e-6, atol=0)
    assert abs(float(loss - plain.step(batch)["loss"])) > 1e-4


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("exposure", 1.0, "it should be less than 1"),
        ("tilt", -0.1, "it should be greater than or equal to 0"),
        ("shot_noise", 2, "it should be less than or equal to 1"),
        ("dropped_bands", 9, "it should be less than or equal to 8"),
        ("probability", 1.5, "it should be less than or equal to 1"),
    ],
)
def test_settings_out_of_bounds(name, value, said):
    path = f"learner.spectral_augmentation.{name}"
    with pytest.raises(ConfigError) as caught:
        Experiment(name="c", learner=ClassifierConfig(), task=TaskConfig()).override({path: value})
    assert caught.value.what == f"{path} = {value} is refused: {said}"
    assert f"--set {path}={getattr(SpectralAugmentationConfig(), name)}" in caught.value.remedy


def test_portions_make_up_the_whole():
    for count in (0, 1, 7):
        for device in (CPU, torch.device("cuda")):
            parts = list(portions(count, device))
            assert [row for part in parts for row in range(count)[part]] == list(range(count))
    assert len(list(portions(7, torch.device("cuda")))) == 1
