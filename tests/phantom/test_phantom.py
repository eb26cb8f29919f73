"""The phantom against the published statistics of HSIDermoscopy and against dermatology."""

import hashlib
import os
import re
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from scipy import ndimage

from hyperderm.cubes.cube import HSIDERMOSCOPY_NM
from hyperderm.cubes.diagnosis import DIAGNOSES
from hyperderm.errors import ConfigError
from hyperderm.phantom.optics import MAPS, read_table
from hyperderm.phantom.rendering import (
    PHANTOM_COUNTS,
    PHANTOM_VERSION,
    SATURATION,
    phantom,
    plan,
    render,
    sensor_gain,
)
from tests.phantom.published import LESIONS, fit_gain, measured, published, report

RATIO_TOLERANCE = 0.15
SPREAD_TOLERANCE = 0.25  # reached at seed 0: 0.21 in the worst band (published skin jumps from 0.53 at 553 nm to 0.39)

GOLDEN = (0.022250, 0.301153, 0.142519, 0.302734)
"""Lesion at 465 and 620 nm, skin at 553 nm, share of the mask: melanoma 0 of seed 0 at 32 px, version 1."""


@pytest.fixture(scope="module")
def lesions():
    return list(phantom(330, 32, 0))


@pytest.fixture(scope="module")
def statistics(lesions):
    result = measured(lesions)
    print("\n" + report(result))
    return result


def of(lesions, diagnosis):
    return [p for p in lesions if p.lesion.diagnosis == diagnosis]


def digest(p):
    h = hashlib.sha256(p.lesion.cube.reflectance.tobytes() + p.lesion.mask.tobytes())
    for name in MAPS:
        h.update(p.chromophores[name].tobytes())
    return h.hexdigest()


# --- calibration -----------------------------------------------------------------------------------------------------


def test_normal_skin_is_at_the_published_means(statistics):
    np.testing.assert_allclose(statistics.mean["skin"], published().mean["skin"], rtol=0.03)


@pytest.mark.parametrize("diagnosis", LESIONS)
def test_lesions_are_as_dark_as_published_in_every_band(statistics, diagnosis):
    np.testing.assert_allclose(statistics.ratio(diagnosis), published().ratio(diagnosis), rtol=RATIO_TOLERANCE)


def test_the_ratio_tolerance_tells_melanoma_from_nevus(statistics):
    swapped = np.abs(statistics.ratio("melanoma") / published().ratio("dysplastic_nevus") - 1)
    assert np.count_nonzero(swapped > RATIO_TOLERANCE) >= 12


@pytest.mark.parametrize("name", ["skin", *LESIONS])
def test_images_differ_as_much_as_published(statistics, name):
    np.testing.assert_allclose(statistics.spread(name), published().spread(name), rtol=SPREAD_TOLERANCE)


def test_the_committed_gain_is_the_fitted_one(statistics):
    np.testing.assert_allclose(sensor_gain(), fit_gain(statistics), rtol=0.01)


def test_percentiles_of_crops(lesions):
    crops = [p.lesion.cube.reflectance.reshape(-1, 16) for p in lesions if p.lesion.diagnosis in LESIONS]
    values = np.concatenate(crops)
    table = read_table("published_bands.csv")
    high = np.percentile(values, 99, axis=0) / table["p99"]
    assert np.all((high > 0.6) & (high < 1.3))
    low = np.percentile(values, 1, axis=0)
    assert np.all(np.abs(low - table["p1"]) < 0.035)


def test_values_are_finite_and_in_the_range_of_the_data(lesions):
    values = np.stack([p.lesion.cube.reflectance for p in lesions])
    assert np.isfinite(values).all()
    assert values.min() > -0.07
    assert 1.5 < values.max() <= SATURATION + 1e-3


# --- plan, identity, determinism -------------------------------------------------------------------------------------


def test_plan_has_the_published_counts():
    assert Counter(plan(330, 0)) == PHANTOM_COUNTS
    assert sum(PHANTOM_COUNTS.values()) == 330
    assert set(PHANTOM_COUNTS) == set(DIAGNOSES)


@pytest.mark.parametrize("count", [1, 7, 24, 100, 331])
def test_plan_is_proportional(count):
    counts = Counter(plan(count, 3))
    assert sum(counts.values()) == count
    for diagnosis, n in PHANTOM_COUNTS.items():
        assert abs(counts[diagnosis] - count * n / 330) < 1


def test_plan_is_shuffled_by_the_seed():
    assert plan(330, 1) == plan(330, 1)
    assert plan(330, 1) != plan(330, 2)
    assert len(set(plan(330, 0)[:20])) >= 3


def test_repetition_is_bit_identical_and_any_key_changes_everything():
    first = render(5, "melanoma", 24, 0)
    assert digest(first) == digest(render(5, "melanoma", 24, 0))
    others = [render(6, "melanoma", 24, 0), render(5, "nevus", 24, 0), render(5, "melanoma", 24, 1)]
    assert len({digest(p) for p in [first, *others]}) == 4


def test_iteration_equals_rendering_one_by_one():
    for i, (p, d) in enumerate(zip(phantom(6, 16, 4), plan(6, 4), strict=True)):
        assert digest(p) == digest(render(i, d, 16, 4))


def test_bits_do_not_depend_on_the_number_of_threads():
    """Nor does the fingerprint of a phantom store: there is no BLAS in the renderer."""
    code = "import hashlib, sys; from hyperderm.phantom.rendering import render; " + (
        "[sys.stdout.write(hashlib.sha256(render(i, 'melanoma', 64, 0).lesion.cube.reflectance.tobytes()).hexdigest())"
        " for i in range(2)]"
    )
    digests = set()
    for threads in ("1", "2"):
        env = {**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
        digests.add(done.stdout)
    assert len(digests) == 1


def test_golden_lesion():
    """If this fails on purpose, raise PHANTOM_VERSION and refit the gain: stores of the two versions must differ."""
    assert PHANTOM_VERSION == 1
    p = render(0, "melanoma", 32, 0)
    x, mask = p.lesion.cube.reflectance, p.lesion.mask
    got = [x[mask][:, 0].mean(), x[mask][:, 15].mean(), x[~mask][:, 9].mean(), mask.mean()]
    np.testing.assert_allclose(got, GOLDEN, rtol=2e-3)


def test_identity_of_a_lesion():
    lesion = render(17, "dysplastic_nevus", 16, 2).lesion
    assert lesion.lesion_id == lesion.image_id == lesion.group == "phantom-2-00017"
    assert lesion.origin == {"phantom": PHANTOM_VERSION, "seed": 2, "index": 17}
    assert lesion.diagnosis == "dysplastic_nevus"
    assert lesion.cube.shape == (16, 16, 16)
    assert lesion.cube.wavelengths_nm.tolist() == list(HSIDERMOSCOPY_NM)


@pytest.mark.parametrize(
    ("call", "what"),
    [
        (lambda: plan(0, 0), "count = 0"),
        (lambda: plan(5, -1), "seed = -1"),
        (lambda: phantom(0), "count = 0"),
        (lambda: phantom(3, size=4), "size = 4"),
        (lambda: render(-1, "nevus", 16, 0), "index = -1"),
        (lambda: render(0, "nevuss", 16, 0), "'nevus'"),
    ],
)
def test_wrong_arguments_say_what_to_do(call, what):
    with pytest.raises(ConfigError, match=re.escape(what)):
        call()


# --- the picture -----------------------------------------------------------------------------------------------------


def test_lesion_spans_two_thirds_of_the_frame(lesions):
    for p in lesions:
        mask = p.lesion.mask
        assert not (mask[0].any())
        assert not (mask[-1].any())
        assert not (mask[:, 0].any())
        assert not (mask[:, -1].any())
        sides = [np.ptp(np.flatnonzero(mask.any(axis=a))) + 1 for a in (0, 1)]
        assert max(sides) / 32 == pytest.approx(2 / 3, abs=0.09)
        assert ndimage.label(mask)[1] <= 3  # pixels of a notched border may part when halved


@pytest.mark.parametrize(("index", "diagnosis"), [(1, "melanoma"), (2, "dysplastic_nevus"), (3, "seborrhoeic_keratosis")])
def test_the_scene_is_the_same_at_any_size(index, diagnosis):
    small, large = render(index, diagnosis, 32, 0), render(index, diagnosis, 128, 0)
    halved = large.lesion.cube.reflectance.reshape(32, 4, 32, 4, 16).mean(axis=(1, 3))
    error = np.sqrt(np.square(small.lesion.cube.reflectance - halved).mean(axis=(0, 1)))
    noise = 0.003  # of the sensor, in both
    assert np.all(error < 0.05 * halved.mean(axis=(0, 1)) + noise)
    share = large.lesion.mask.reshape(32, 4, 32, 4).mean(axis=(1, 3))
    wrong = np.where(small.lesion.mask, share < 0.25, share > 0.75)  # pixels cut by the border aside
    assert wrong.sum() <= 0.01 * small.lesion.mask.sum()


def test_chromophores_explain_the_mask(lesions):
    for p in lesions:
        assert tuple(p.chromophores) == MAPS
        for name, chart in p.chromophores.items():
            assert chart.shape == (32, 32)
            assert chart.dtype == np.float32
            assert np.isfinite(chart).all(), name
            assert chart.min() >= 0, name
        assert p.chromophores["oxygenation"].max() <= 1
        assert p.chromophores["surface"].max() <= 1
    far = [~ndimage.binary_dilation(p.lesion.mask, iterations=4) for p in lesions]
    deep = [p.chromophores["deep_melanin"] for p in lesions]
    astray = sum(float(d[f].sum()) for d, f in zip(deep, far, strict=True))  # in satellites of melanomas
    assert astray < 0.01 * sum(float(d.sum()) for d in deep)
    for d in LESIONS:
        darker = [p.chromophores["melanin"][p.lesion.mask].mean() > p.chromophores["melanin"][~p.lesion.mask].mean()
                  for p in of(lesions, d)]  # fmt: skip
        assert np.mean(darker) > 0.95
    red = [render(i, "intraepidermal_carcinoma", 16, 0) for i in range(4)]
    for p in red:
        assert p.chromophores["blood"][p.lesion.mask].mean() > 2 * p.chromophores["blood"][~p.lesion.mask].mean()


# --- dermatology (ABCD, pattern analysis) ----------------------------------------------------------------------------


def asymmetry(mask):
    """1 - overlap with the half turn and the two mirror images about the centroid, the least of the three."""
    cy, cx = ndimage.center_of_mass(mask)
    centred = ndimage.shift(mask.astype(float), (15.5 - cy, 15.5 - cx), order=1) > 0.5
    turned = [centred[::-1, ::-1], centred[::-1], centred[:, ::-1]]
    return min(1 - (centred & t).sum() / (centred | t).sum() for t in turned)


def border(mask):
    """Perimeter beyond that of a circle of equal area, relative."""
    edge = np.abs(np.diff(mask.astype(int), axis=0)).sum() + np.abs(np.diff(mask.astype(int), axis=1)).sum()
    return edge * np.pi / 4 / (2 * np.sqrt(np.pi * mask.sum())) - 1


def colours(p):
    """Deviation of the logarithm of reflectance within the lesion, away from its border."""
    inner = ndimage.binary_erosion(p.lesion.mask, iterations=2)
    return np.log(p.lesion.cube.reflectance[inner].clip(1e-3)).std(axis=0).mean()


def sharpness(p):
    """Share of the lesion's contrast that falls within one pixel of the mask's border."""
    m, melanin = p.lesion.mask, p.chromophores["melanin"] + p.chromophores["deep_melanin"]
    inside = melanin[m & ~ndimage.binary_erosion(m, iterations=2)].mean()
    outside = melanin[~m & ndimage.binary_dilation(m, iterations=2)].mean()
    total = melanin[ndimage.binary_erosion(m, iterations=3)].mean()
    return (inside - outside) / total


@pytest.fixture(scope="module")
def rare():
    return {d: [render(i, d, 32, 7) for i in range(20)] for d in ("nevus", "seborrhoeic_keratosis", "solar_lentigo")}


def test_melanoma_is_asymmetric_irregular_and_many_coloured(lesions, rare):
    melanomas, dysplastic, nevi = of(lesions, "melanoma"), of(lesions, "dysplastic_nevus"), rare["nevus"]
    measures = [(lambda p: asymmetry(p.lesion.mask), 1.3), (lambda p: border(p.lesion.mask), 1.5), (colours, 1.2)]
    for measure, times in measures:
        m, d, n = (np.mean([measure(p) for p in group]) for group in (melanomas, dysplastic, nevi))
        assert m > times * d
        assert d > times * n
    veiled = [np.mean([p.chromophores["deep_melanin"].max() > 0.03 for p in g]) for g in (melanomas, dysplastic, nevi)]
    assert veiled[0] > 0.35
    assert veiled[1] < 0.2
    assert veiled[2] == 0


def test_borders_and_surfaces_of_the_others(lesions, rare):
    keratoses, dysplastic = rare["seborrhoeic_keratosis"], of(lesions, "dysplastic_nevus")
    assert np.mean([sharpness(p) for p in keratoses]) > 1.2 * np.mean([sharpness(p) for p in dysplastic])
    cysts = [p.chromophores["surface"][p.lesion.mask].max() > 0.05 for p in keratoses]
    assert np.mean(cysts) > 0.6
    lentigo, nevus = (np.mean([colours(p) for p in rare[d]]) for d in ("solar_lentigo", "nevus"))
    assert lentigo < 1.1 * nevus
    assert np.mean([border(p.lesion.mask) for p in rare["solar_lentigo"]]) > 1.05 * np.mean(
        [border(p.lesion.mask) for p in rare["nevus"]]
    )


def test_classes_overlap(lesions):
    """No single number tells melanoma from dysplastic nevus, yet each helps."""
    melanomas, dysplastic = of(lesions, "melanoma"), of(lesions, "dysplastic_nevus")

    def auroc(measure):
        m, d = (np.array([measure(p) for p in g]) for g in (melanomas, dysplastic))
        return np.mean(m[:, None] > d[None, :])

    def contrast(p):
        x, mask = p.lesion.cube.reflectance[..., 8], p.lesion.mask
        return -x[mask].mean() / x[~mask].mean()

    for measure in (contrast, colours, lambda p: asymmetry(p.lesion.mask), lambda p: border(p.lesion.mask)):
        assert 0.55 < auroc(measure) < 0.93
