from pathlib import Path

import numpy as np
import pytest

from hyperderm.cubes.regions import lesion_region, skin_region
from hyperderm.errors import CubeError
from hyperderm.metrics.lesion_features import SHAPE, automatic_masks, feature_names, lesion_features
from hyperderm.store.reader import open_store
from hyperderm.training.data import cube_set

NM = np.linspace(465, 620, 6)


def scenes(n=7, bands=6, size=24, seed=0):
    """Cubes with noise in space and masks of every kind of size."""
    rng = np.random.default_rng(seed)
    cubes = rng.uniform(0.05, 1.5, (n, bands, size, size)).astype(np.float32)
    y, x = np.mgrid[:size, :size]
    radii = rng.uniform(3, 8, n)[:, None, None]
    masks = (y - size / 2 + rng.uniform(-2, 2, n)[:, None, None]) ** 2 + (x - size / 2) ** 2 < radii**2
    return cubes, masks


def column(table, name, bands=6):
    """All bands of one statistic, (N, B), or a shape fact, (N,)."""
    names = feature_names(bands)
    if name in SHAPE:
        return table[:, names.index(name)]
    wanted = [i for i, n in enumerate(names) if n.startswith(f"{name}_") and n[len(name) + 1].isdigit()]
    return table[:, wanted]


def test_statistics_are_numpy_s_lesion_by_lesion():
    cubes, masks = scenes()
    found = lesion_features(cubes, masks)
    assert found.dtype == np.float64
    for i, (cube, mask) in enumerate(zip(cubes.astype(np.float64), masks, strict=True)):
        inside = cube[:, mask]  # (B, pixels)
        skin = cube[:, skin_region(np.moveaxis(cubes[i], 0, -1), mask)].mean(1)
        low, high = np.quantile(inside, [0.1, 0.9], axis=1)
        expected = {
            "mean": inside.mean(1),
            "std": inside.std(1),
            "q10": low,
            "q90": high,
            "skin": skin,
            "log_ratio": np.log(inside.mean(1) / skin),
            "log_contrast": np.log(high / low),
            "log_slope": np.log(inside.mean(1)[1:] / inside.mean(1)[:-1]),
        }
        for name, value in expected.items():
            np.testing.assert_allclose(column(found[i : i + 1], name)[0], value, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("bands", [1, 3, 16])
def test_one_name_a_column(bands):
    cubes, masks = scenes(2, bands)
    names = feature_names(bands)
    assert len(set(names)) == len(names) == lesion_features(cubes, masks).shape[1] == 7 * bands + bands - 1 + 4


def test_many_cubes_are_what_each_is_alone():
    """More than one chunk."""
    cubes, masks = scenes(150)
    found = lesion_features(cubes, masks)
    np.testing.assert_allclose(
        found[[0, 127, 128, 149]], lesion_features(cubes[[0, 127, 128, 149]], masks[[0, 127, 128, 149]])
    )
    assert lesion_features(cubes[:0], masks[:0]).shape == (0, found.shape[1])


def test_exposure_cancels_from_every_logarithm_and_from_the_shape():
    cubes, masks = scenes()
    one, two = lesion_features(cubes, masks), lesion_features(cubes * 1.7, masks)
    for name in ("log_ratio", "log_contrast", "log_slope", *SHAPE):
        np.testing.assert_allclose(column(one, name), column(two, name), rtol=1e-5, atol=1e-6)
    for name in ("mean", "std", "q10", "q90", "skin"):
        np.testing.assert_allclose(column(one, name) * 1.7, column(two, name), rtol=1e-5)


@pytest.mark.parametrize("kind", ["no lesion", "no skin", "one pixel", "dark", "negative", "constant"])
def test_odd_cubes_and_masks_stay_finite(kind):
    cubes, masks = scenes()
    cubes, masks = cubes.copy(), masks.copy()
    if kind in ("no lesion", "no skin"):
        masks[:] = kind == "no skin"
    elif kind == "one pixel":
        masks[:] = False
        masks[:, 5, 5] = True
    else:
        cubes[:] = {"dark": 0.0, "constant": 0.4}.get(kind, -cubes)
    found = lesion_features(cubes, masks)
    assert np.isfinite(found).all()
    if kind in ("no skin", "dark", "constant"):
        np.testing.assert_allclose(column(found, "log_ratio"), 0, atol=1e-9)
    if kind == "no lesion":
        assert np.abs(column(found, "log_ratio")).max() < 0.01  # skin is all but dark corners
        assert (found[:, -4:] == 0).all()
        np.testing.assert_allclose(column(found, "mean"), cubes.mean((2, 3)), rtol=1e-5)


def shape_of(mask):
    found = lesion_features(np.ones((1, 2, *mask.shape), np.float32), mask[None])[0, -4:]
    return dict(zip(SHAPE, found, strict=True))


Y, X = np.mgrid[:96, :96] - 47.5


def test_a_disc():
    facts = shape_of(X**2 + Y**2 < 30**2)
    assert facts["area_share"] == pytest.approx(np.pi * 30**2 / 96**2, rel=0.01)
    assert facts["irregularity"] == pytest.approx(1, abs=0.02)
    assert facts["asymmetry"] == 0
    assert facts["eccentricity"] == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize("degrees", [0, 30, 45, 80])
def test_an_ellipse_turned_any_way(degrees):
    a = np.deg2rad(degrees)
    u, v = X * np.cos(a) + Y * np.sin(a), -X * np.sin(a) + Y * np.cos(a)
    facts = shape_of((u / 40) ** 2 + (v / 20) ** 2 < 1)
    assert facts["eccentricity"] == pytest.approx(np.sqrt(1 - 0.25), abs=0.01)
    around = np.pi * (3 * 60 - np.sqrt((3 * 40 + 20) * (40 + 3 * 20)))  # Ramanujan
    assert facts["irregularity"] == pytest.approx(around**2 / (4 * np.pi * np.pi * 800), rel=0.05)
    assert facts["asymmetry"] < 0.01


def test_a_square_and_a_ragged_border():
    square = shape_of((abs(X) < 30) & (abs(Y) < 30))
    assert square["irregularity"] == pytest.approx(4 / np.pi, rel=0.12)  # four directions see 5 % less of its border
    assert square["asymmetry"] == 0
    star = shape_of(np.hypot(X, Y) < 30 * (1 + 0.3 * np.sin(9 * np.arctan2(Y, X))))
    assert star["irregularity"] > 2
    assert star["asymmetry"] > 0.1  # nine rays: turned by 180° they fall between


def test_half_a_disc_by_hand():
    """Turned about its centroid, 4r/3π above the cut, a half disc covers less of itself."""
    r = 40
    mask = (np.hypot(X, Y) < r) & (Y > 0)
    t = 4 * r / (3 * np.pi)
    y = np.linspace(max(2 * t - r, 0), min(2 * t, r), 20_001)
    common = np.trapezoid(2 * np.sqrt(np.minimum(r**2 - y**2, r**2 - (2 * t - y) ** 2)), y)
    assert shape_of(mask)["asymmetry"] == pytest.approx(1 - common / (np.pi * r**2 / 2), abs=0.02)


def test_masks_are_the_regions_of_each_cube():
    cubes, _ = scenes(4)
    found = automatic_masks(cubes, NM)
    assert found.dtype == np.bool_
    for cube, mask in zip(cubes, found, strict=True):
        assert (mask == lesion_region(np.moveaxis(cube, 0, -1))).all()
    assert not automatic_masks(np.ones((2, 6, 16, 16), np.float32), NM).any()
    assert automatic_masks(cubes[:0], NM).shape == (0, 24, 24)


def test_bands_on_another_axis_are_refused():
    with pytest.raises(CubeError, match=r"shape \(4, 24, 24, 6\) with 6 wavelengths"):
        automatic_masks(np.moveaxis(scenes(4)[0], 1, -1), NM)


def test_the_features_know_melanoma_on_the_phantom(phantom_store: Path):
    """90 lesions at 32 px, 5 folds: .88 here; shuffled diagnoses give chance. `pytest -s` prints the numbers."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    store = open_store(str(phantom_store))
    cubes = cube_set(store.read(store.index().column("lesion_id").to_pylist()), 32)
    x = cubes.reflectance.numpy()
    features = lesion_features(x, automatic_masks(x, np.array(store.manifest.wavelengths_nm)))
    truth = np.array(cubes.diagnoses) == "melanoma"

    def auroc(truth):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
        folds = StratifiedKFold(5, shuffle=True, random_state=0).split(features, truth)
        scores = [
            (test, model.fit(features[train], truth[train]).decision_function(features[test])) for train, test in folds
        ]
        return np.mean([roc_auc_score(truth[test], score) for test, score in scores])

    rng = np.random.default_rng(0)
    real, chance = auroc(truth), np.mean([auroc(rng.permutation(truth)) for _ in range(6)])
    print(f"melanoma against all others: {real:.3f}; shuffled {chance:.3f}")
    assert real > 0.8
    assert abs(chance - 0.5) < 0.12
