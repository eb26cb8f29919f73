import numpy as np
import pytest

from hyperderm.errors import ConfigError
from hyperderm.unmixing.methods import METHODS, reconstruction_errors, unmix
from hyperderm.unmixing.pixels import checked, unit_length
from hyperderm.unmixing.scoring import matched, score, true_endmembers
from tests.unmixing.scenes import mixtures


@pytest.mark.parametrize("method", METHODS)
def test_a_scene_is_unmixed_and_masked_pixels_are_counted(method):
    endmembers, abundances, spectra = mixtures(3, pixels=2000, pure=True, snr_db=45)
    spectra[5, 2], spectra[9, 0] = np.nan, np.inf
    found = unmix(spectra, method, 3, seed=1)
    assert found.method == method
    assert found.masked == 2
    assert list(np.flatnonzero(np.isnan(found.abundances).any(1))) == [5, 9]
    scored = score(found.endmembers, found.abundances, endmembers, abundances)
    assert scored.mean_angle < 0.02
    assert scored.abundance_rmse < 0.02
    explained = np.delete(spectra - found.abundances @ found.endmembers, [5, 9], 0)
    assert found.rmse == pytest.approx(np.sqrt(np.square(explained).mean()))
    again = unmix(spectra, method, 3, seed=1)
    np.testing.assert_array_equal(found.endmembers, again.endmembers)


def test_more_endmembers_explain_more():
    errors = reconstruction_errors(mixtures(5, pixels=500, pure=True)[2], "nfindr", (2, 3, 5), 0)
    assert errors[2] > errors[3] > errors[5]
    assert errors[5] < 1e-9


def few_colours(count):
    return np.repeat(np.random.default_rng(0).uniform(size=(count, 8)), 20, 0)


@pytest.mark.parametrize(
    ("pixels", "count", "told"),
    [
        (mixtures(3)[2], 1, "--endmembers 1: .*2 or more"),
        (mixtures(2, bands=3)[2], 4, "--endmembers 4: the pixels have 3 bands.*--endmembers 3 or fewer"),
        (mixtures(2, bands=1)[2], 2, "--endmembers 2: the pixels have 1 band. .*more bands"),
        (mixtures(4)[2][:3], 4, "--endmembers 4: there are 3 usable pixels, 0 are masked.*3 or fewer"),
        (few_colours(1), 2, "--endmembers 2: all 20 pixels have one colour"),
        (few_colours(3), 4, "--endmembers 4: .* 2 independent directions.*--endmembers 3 or fewer"),
        (np.full((9, 4), np.nan), 2, "none of the 9 pixels is finite"),
        (np.ones((4, 4, 4)), 2, "shape"),
    ],
)
def test_scenes_that_cannot_be_unmixed_are_refused(pixels, count, told):
    with pytest.raises(ConfigError, match=told):
        unmix(pixels, "vca", count, 0)


def test_unknown_methods_are_refused():
    with pytest.raises(ConfigError, match=r"'nfinder' is unknown. Did you mean 'nfindr'"):
        unmix(mixtures(3)[2], "nfinder", 3, 0)


def test_as_many_endmembers_as_colours_or_bands_are_allowed():
    assert checked(few_colours(3), 3).masked == 0
    assert unmix(few_colours(3), "nfindr", 3, 0).rmse < 1e-9
    endmembers, _, spectra = mixtures(3, bands=3, pure=True)
    assert matched(unmix(spectra, "vca", 3, 0).endmembers, endmembers)[1].max() < 1e-6


def test_pixels_of_unit_length():
    pixels = unit_length(np.array([[3.0, 4.0], [0.0, 0.0], [np.nan, 1.0]]))
    np.testing.assert_allclose(pixels[0], [0.6, 0.8])
    assert np.isnan(pixels[1:]).any(1).all()


def test_scores_do_not_depend_on_the_order():
    endmembers, abundances, _ = mixtures(4)
    order = np.array([2, 0, 3, 1])
    found = score(endmembers[order], abundances[:, order], endmembers, abundances)
    assert list(order[found.order]) == [0, 1, 2, 3]
    assert found.mean_angle < 1e-7
    assert found.abundance_rmse == 0


def test_scores_have_the_values_of_their_formulas():
    turned = np.array([[np.cos(0.1), np.sin(0.1)], [0.0, 2.0]])
    errors = np.array([[0.3, -0.3], [0.1, -0.1], [np.nan, np.nan]])
    found = score(turned, np.array([[0.5, 0.5]] * 3) + errors * [1, 0.5], np.eye(2), np.full((3, 2), 0.5))
    np.testing.assert_allclose(found.angles, [0.1, 0], atol=1e-12)
    each = np.sqrt(0.05) * np.array([1, 0.5])
    np.testing.assert_allclose(found.abundance_errors, each)
    assert found.abundance_rmse == pytest.approx(np.sqrt(np.square(each).mean()))
    assert found.mean_abundance_error == pytest.approx(each.mean())
    assert found.mean_angle == pytest.approx(0.05)


def test_the_assignment_is_the_best_in_the_sum():
    """Taking the nearest endmember first would give .1 + 1.2 here; the best sum is .3 + .4."""
    directions = {"a": 0.0, "b": 0.7}
    reference = np.array([[np.cos(x), np.sin(x)] for x in directions.values()])
    found = np.array([[np.cos(x), np.sin(x)] for x in (0.4, -0.5)])
    order, angles = matched(found, reference)
    assert list(order) == [1, 0]
    np.testing.assert_allclose(angles, [0.5, 0.3], atol=1e-9)


def test_the_row_of_the_true_endmembers_shows_what_scaling_costs():
    """METHODS section 7: reference endmembers of another brightness ruin abundances; at unit length they do much less."""
    endmembers, abundances, spectra = mixtures(3, snr_db=50)
    bright = endmembers * np.array([[0.5], [0.7], [0.1]])
    scene = abundances @ bright
    plain = true_endmembers(scene, endmembers, abundances)
    unit = true_endmembers(unit_length(scene), unit_length(bright), abundances)
    exact = true_endmembers(scene, bright, abundances)
    assert exact.abundance_rmse < 1e-8 < unit.abundance_rmse
    assert plain.mean_angle < 1e-7
    assert plain.abundance_rmse > 0.2
    assert true_endmembers(spectra, endmembers, abundances).abundance_rmse < 0.01


def test_scores_of_other_shapes_are_refused():
    endmembers, abundances, _ = mixtures(3)
    with pytest.raises(ConfigError, match="--endmembers 3"):
        score(endmembers[:2], abundances[:, :2], endmembers, abundances)
    with pytest.raises(ConfigError, match="same pixels"):
        score(endmembers, abundances[1:], endmembers, abundances)
    with pytest.raises(ConfigError, match="none of 1500"):
        score(endmembers, np.full_like(abundances, np.nan), endmembers, abundances)
