"""The seeds' metrics against torchmetrics and piq themselves, and the seeds' printed rows."""

import math
from functools import partial

import numpy as np
import piq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.image import (
    error_relative_global_dimensionless_synthesis,
    peak_signal_noise_ratio,
    relative_average_spectral_error,
    spectral_angle_mapper,
    structural_similarity_index_measure,
    total_variation,
)

from hyperderm.errors import CubeError
from hyperderm.metrics.as_published import METRICS, PUBLISHED, SEED_HIGH, SEED_LOW, as_published
from tests.metrics.reflectance import reflectance

OTHER_KEYS = {"pairs", "range_of_sets", "seed_001/sam_masked"}


def sets(bands=16, side=24, n=3, m=4):
    """Real and synthetic cubes inside the seeds' range, with some values outside."""
    real, synthetic = (reflectance(count, bands, side, side + 3, seed, 0.02, 0.6) for count, seed in ((n, 1), (m, 2)))
    return real, 0.8 * synthetic + 0.2 * reflectance(m, bands, side, side + 3, 1, 0.02, 0.6)


def numbers(found):
    """The values that are there: a PSNR or FID that is None cannot be compared by approx."""
    return {key: value for key, value in found.items() if value is not None}


def by_seed_range(cubes):
    low, high = (torch.tensor(edge).double().view(-1, 1, 1) for edge in (SEED_LOW, SEED_HIGH))
    return (cubes.double() - low) / (high - low)


def stretched(cubes):
    """Folded images, each stretched to [0, 1] by its own extremes."""
    images = torch.stack([by_seed_range(cubes)[:, r::3].mean(1) for r in range(3)], 1)
    return torch.stack([(image - image.min()) / (image.max() - image.min()) for image in images])


@pytest.mark.parametrize("pairs", [3, 8, 11])
def test_seed_001_is_the_mean_over_batches_of_eight_of_torchmetrics_on_clipped_cubes(pairs):
    real, synthetic = sets(n=pairs, m=pairs + 1)
    real[0, :, :5] -= 0.1
    synthetic[1] *= 1.8
    found = as_published(real, synthetic)
    metrics = {
        "ssim": partial(structural_similarity_index_measure, data_range=1.0),
        "psnr": partial(peak_signal_noise_ratio, data_range=1.0),
        "sam": spectral_angle_mapper,
        "rase": relative_average_spectral_error,
        "ergas": error_relative_global_dimensionless_synthesis,
        "total_variation": lambda x, y: total_variation(x, reduction="sum"),
        "total_variation_real": lambda x, y: total_variation(y, reduction="sum"),
    }
    assert by_seed_range(synthetic[:pairs]).max() > 1
    assert by_seed_range(real).min() < 0
    x, y = by_seed_range(synthetic[:pairs]).clamp(0, 1), by_seed_range(real).clamp(0, 1)
    batches = list(zip(x.split(8), y.split(8), strict=True))
    assert len(batches) == 1 + (pairs > 8)
    for name, metric in metrics.items():
        values = [float(metric(a, b)) for a, b in batches]
        assert found[f"seed_001/{name}"] == pytest.approx(np.mean(values), rel=1e-5), name
    assert (found["pairs"], found["range_of_sets"], found["seed_001/sam_masked"]) == (pairs, 0, 0)


def test_the_range_is_that_of_the_seed_project():
    high = ".620 .617 .468 .433 .500 .620 .738 .861 .883 .940 1.189 1.504 1.495 1.474 1.632 1.723"
    low = ".0003 .0044 .0015 .0017 .0019 .0028 .0039 .0049 .0026 .0022 .0080 .0121 .0131 .0148 .0193 .0202"
    np.testing.assert_allclose(SEED_LOW, [float(edge) for edge in low.split()], atol=5e-5, rtol=0)
    np.testing.assert_allclose(SEED_HIGH, [float(edge) for edge in high.split()], atol=5e-4, rtol=0)


def test_rase_and_the_angle_of_many_blocks_are_those_of_one(monkeypatch):
    real, synthetic = sets(n=5)
    whole = as_published(real, synthetic)
    for module in ("as_published", "blocks"):
        monkeypatch.setattr(f"hyperderm.metrics.{module}.AT_ONCE", 3 * real[0].numel() // 2)
    assert numbers(as_published(real, synthetic)) == pytest.approx(numbers(whole), rel=1e-9)


def test_seed_002_is_piq_on_the_stretched_folded_image_without_the_last_pair():
    real, synthetic = sets(n=4, m=4)
    found = as_published(real, synthetic)
    x, y = stretched(real[:3]), stretched(synthetic[:3])
    for name, function in (
        ("psnr", piq.psnr),
        ("ssim", piq.ssim),
        ("ms_gmsd", piq.multi_scale_gmsd),
        ("mdsi", piq.mdsi),
        ("haarpsi", piq.haarpsi),
    ):
        assert found[f"seed_002/{name}"] == pytest.approx(float(function(x, y)), rel=1e-5), name
    assert piq.mdsi(x, y) != pytest.approx(float(piq.mdsi(y, x)), rel=1e-4)
    synthetic[3] = real[3]
    last = as_published(real, synthetic)
    same = {key for key, value in numbers(last).items() if value == found[key]}
    assert {key for key in last if key.startswith("seed_002/")} <= same
    assert same.isdisjoint({"seed_001/ssim", "seed_004/rmse"})


def test_seed_002_has_no_value_of_one_pair_and_leaves_out_a_picture_without_contrast():
    real, synthetic = sets(n=4, m=4)
    single = as_published(real[:1], synthetic[:1])
    assert {key for key, value in single.items() if value is None and "fid" not in key} == {
        f"seed_002/{name}" for name in ("psnr", "ssim", "ms_gmsd", "mdsi", "haarpsi")
    }
    rest = as_published(real[1:], synthetic[1:])
    synthetic[0] = torch.tensor(SEED_LOW).view(-1, 1, 1)
    flat = as_published(real, synthetic)
    assert flat["seed_002/mdsi"] == pytest.approx(rest["seed_002/mdsi"], rel=1e-9)
    assert flat["seed_002/psnr"] == pytest.approx(rest["seed_002/psnr"], rel=1e-9)


def test_seed_004_is_the_mean_over_pairs_of_the_definitions():
    real, synthetic = sets()
    found = as_published(real, synthetic)
    x, y = (by_seed_range(cubes[:3]).numpy() for cubes in (synthetic, real))
    errors = np.square(x - y).mean((1, 2, 3))
    cosines = (x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
    assert found["seed_004/rmse"] == pytest.approx(np.sqrt(errors).mean())
    assert found["seed_004/psnr"] == pytest.approx((-10 * np.log10(errors)).mean())
    assert found["seed_004/sad"] == pytest.approx(np.degrees(np.arccos(cosines)).mean())
    pixels = structural_similarity_index_measure(*map(torch.from_numpy, (x, y)), data_range=1.0, return_full_image=True)[1]
    assert found["seed_004/ssim"] == pytest.approx(float(pixels[..., 5:-5, 5:-5].mean()), rel=1e-5)


def test_the_levels_that_seed_000_names_are_of_mapped_cubes():
    real, synthetic = sets()
    found = as_published(real, synthetic)
    x, y = by_seed_range(synthetic).numpy(), by_seed_range(real).numpy()
    assert found["seed_000/variance"] == pytest.approx(x.var((2, 3)).mean())
    assert found["seed_000/variance_real"] == pytest.approx(y.var((2, 3)).mean())
    p = np.maximum(y, 1e-3)
    p /= p.sum(1, keepdims=True)
    assert found["seed_000/spectral_entropy_real"] == pytest.approx(-(p * np.log2(p)).sum(1).mean(), rel=1e-6)
    counts = [np.histogram(band.clip(0, 1), 256, (0, 1))[0] / band.size for cube in x for band in cube]
    entropies = [-(q[q > 0] * np.log2(q[q > 0])).sum() for q in counts]
    assert found["seed_000/spatial_entropy"] == pytest.approx(np.mean(entropies), rel=1e-4)
    noisier = as_published(real, synthetic + 0.1 * torch.randn(synthetic.shape, generator=torch.Generator().manual_seed(5)))
    assert noisier["seed_000/snr"] < found["seed_000/snr"] - 1


@pytest.mark.parametrize("bands", [3, 16, 200])
def test_copies_by_position_are_perfect_and_in_another_order_they_are_not(bands):
    real, _ = sets(bands, 16)
    copies, moved = as_published(real, real.clone()), as_published(real, real.roll(1, 0))
    for metric in METRICS:
        if metric.perfect is not None and "fid" not in metric.key:
            assert copies[metric.key] == pytest.approx(metric.perfect, abs=1e-9), metric.key
            worse = moved[metric.key] - metric.perfect
            assert (worse < -1e-3) if metric.better == "higher" else (worse > 1e-3), metric.key
    assert copies["seed_001/psnr"] is copies["seed_004/psnr"] is None
    assert moved["seed_001/psnr"] > 0
    assert copies["range_of_sets"] == (bands != 16)


def test_more_noise_is_worse_in_the_direction_that_each_metric_claims():
    real, _ = sets()
    noise = torch.randn(real.shape, generator=torch.Generator().manual_seed(3))
    rows = [as_published(real, real + sigma * noise) for sigma in (0.01, 0.05, 0.2)]
    for metric in METRICS:
        if metric.better != "as real" and "fid" not in metric.key:
            steps = np.diff([row[metric.key] for row in rows])
            assert (steps < 0).all() if metric.better == "higher" else (steps > 0).all(), metric.key


@settings(max_examples=5, deadline=None)
@given(st.permutations(range(3)).map(lambda order: [*order, 3]), st.lists(st.floats(0.2, 5.0), min_size=5, max_size=5))
def test_the_order_of_pairs_before_the_last_and_a_gain_of_a_band_in_both_sets_change_nothing(order, gains):
    real, synthetic = (cubes.double() for cubes in sets(5, 16, 4, 4))
    gain = torch.tensor(gains).double().view(1, -1, 1, 1)
    expected = numbers(as_published(real, synthetic))
    assert len(expected) == len(METRICS) + 5 + len(OTHER_KEYS) - 2
    assert numbers(as_published(real[order], synthetic[order])) == pytest.approx(expected, rel=1e-6)
    assert numbers(as_published(real * gain, synthetic * gain)) == pytest.approx(expected, rel=1e-3)


def test_zero_spectra_make_torchmetrics_nan_and_are_masked_and_counted_here():
    real, synthetic = sets(5, 16, 2, 2)
    real[0, :, :2, :3] = real.amin((0, 2, 3)).minimum(synthetic.amin((0, 2, 3)))[:, None, None]
    synthetic[1, :, 4, 4] = real[0, :, 0, 0]
    low = real[0, :, 0, 0].double().view(1, -1, 1, 1)
    high = torch.maximum(real.amax((0, 2, 3)), synthetic.amax((0, 2, 3))).double().view(1, -1, 1, 1)
    angles = spectral_angle_mapper((synthetic - low) / (high - low), (real - low) / (high - low), reduction="none")
    found = as_published(real, synthetic)
    assert found["seed_001/sam_masked"] == angles.isnan().sum() == 7
    assert found["seed_001/sam"] == pytest.approx(float(angles.nanmean()), rel=1e-6)
    assert all(math.isfinite(value) for key, value in found.items() if "fid" not in key)


@pytest.mark.parametrize("value", [0.0, *SEED_LOW[:1]])
def test_wholly_zero_and_constant_sets_give_no_nan(value):
    cubes = torch.full((2, 4, 16, 16), value)
    found = as_published(cubes, cubes)
    assert found["seed_001/sam"] is None
    assert found["seed_001/sam_masked"] == 2 * 256
    assert found["seed_001/ssim"] == found["seed_004/ssim"] == 1.0
    assert found["seed_002/haarpsi"] is found["seed_002/psnr"] is None
    assert all(value is None or math.isfinite(value) for value in found.values())


def test_half_precision_views_and_one_cube_are_accepted():
    real, synthetic = sets(n=1)
    expected = as_published(real.half().float(), synthetic.half().float())
    view = synthetic.half().permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    assert not view.is_contiguous()
    assert numbers(as_published(real.half(), view)) == pytest.approx(numbers(expected), rel=1e-9)
    three = as_published(*(cubes[:, :3].half() for cubes in (real, synthetic)))
    assert three["seed_001/sam"] > 0


def test_images_that_are_too_small_have_no_value_and_the_others_stay():
    found = as_published(*sets(16, 5))
    missing = {key for key, value in found.items() if value is None}
    fids = {"seed_001/fid_scaled", "seed_001/fid_unscaled"}
    assert missing == {"seed_001/ssim", "seed_001/rase", "seed_002/ssim", "seed_002/haarpsi"} | fids


def test_fid_is_passed_through_and_missing_ones_are_none():
    found = as_published(*sets(), {"scaled": 101.5, "lite0": 7.0})
    assert (found["seed_001/fid_scaled"], found["seed_001/fid_unscaled"], found["seed_001/fid_lite0"]) == (101.5, None, 7.0)


def test_the_keys_are_those_of_the_descriptions():
    keys = set(as_published(*sets()))
    described = {metric.key for metric in METRICS}
    assert len(described) == len(METRICS)
    assert described <= keys
    levels = {f"{metric.key}_real" for metric in METRICS if metric.better == "as real"}
    assert keys == described | levels | OTHER_KEYS
    assert all(metric.cannot.strip().endswith(".") for metric in METRICS)


def test_the_texts_say_which_fid_is_the_seeds_and_that_its_printed_one_is_rather_a_mifid():
    said = {metric.key: metric.cannot for metric in METRICS}
    assert "its code does, so this is its reading" in said["seed_001/fid_scaled"]
    assert "do not compare it with the seed's numbers" in said["seed_001/fid_unscaled"]
    doubts = {row.model: row.doubt for row in PUBLISHED if row.metric == "seed_001/fid"}
    assert "val_MIFID = 114.7889" in doubts["FastGAN"]
    assert "reconstructions" in doubts["VAE"]


@pytest.mark.parametrize(
    ("real", "synthetic", "words"),
    [
        (torch.zeros(0, 16, 16, 16), torch.zeros(2, 16, 16, 16), "0 real and 2 synthetic"),
        (torch.zeros(2, 16, 16, 16), torch.zeros(2, 15, 16, 16), "cannot be compared"),
        (torch.zeros(2, 16, 16), torch.zeros(2, 16, 16), "N, B, H, W"),
        (torch.zeros(2, 2, 16, 16), torch.zeros(2, 2, 16, 16), "folded"),
    ],
)
def test_sets_that_cannot_be_compared_are_refused(real, synthetic, words):
    with pytest.raises(CubeError, match=words):
        as_published(real, synthetic)


@pytest.mark.parametrize("bands", [4, 16])
def test_a_value_that_is_not_finite_is_refused_even_beyond_the_pairs(bands):
    real, synthetic = sets(bands, 16)
    synthetic[3, 0, 0, 0] = math.nan
    with pytest.raises(CubeError, match="cube 3 has values that are not finite"):
        as_published(real, synthetic)


def test_the_printed_rows_are_those_of_the_seeds():
    rows = {(row.model, row.metric): row.value for row in PUBLISHED}
    assert len(rows) == len(PUBLISHED)
    assert rows["FastGAN", "seed_001/fid"] == 114.7
    assert rows["FastGAN", "seed_001/rase"] == 3634
    assert rows["SN-GAN 128", "seed_002/ms_gmsd"] == 0.15
    assert rows["SN-GAN", "seed_002/haarpsi"] == 0.41
    assert rows["5 abundances", "seed_004/sad"] == 5.47
    assert rows["15 abundances", "seed_004/precision"] == 0.08
    known = {metric.key for metric in METRICS} | {f"seed_00{s}" for s in ("1/fid", "4/fid", "4/recall", "4/precision")}
    assert {row.metric for row in PUBLISHED} <= known
    assert all(row.against and row.doubt and row.metric[5:8] == row.seed for row in PUBLISHED)
