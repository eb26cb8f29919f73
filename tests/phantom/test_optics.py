"""Optics against published values and closed forms."""

import numpy as np
import pytest

from hyperderm.cubes.cube import HSIDERMOSCOPY_NM
from hyperderm.errors import ConfigError
from hyperderm.phantom.optics import (
    BAND_WIDTH_NM,
    DIFFUSE_PATH,
    EPIDERMIS_CM,
    KERATIN_WHITE,
    MAPS,
    band_optics,
    blood_absorption,
    haemoglobin_extinction,
    infinite_reflectance,
    melanin_absorption,
    read_table,
    reduced_scattering,
    reflectance,
)

SKIN = {
    "melanin": 0.03,
    "deep_melanin": 0.0,
    "pheomelanin": 0.2,
    "blood": 0.015,
    "oxygenation": 0.75,
    "scattering": 1.0,
    "surface": 0.0,
}


def spectrum(**changes: float) -> np.ndarray:
    maps = {name: np.full((1, 1), {**SKIN, **changes}[name], np.float32) for name in MAPS}
    return reflectance(maps, band_optics(HSIDERMOSCOPY_NM))[:, 0, 0].astype(np.float64)


@pytest.mark.parametrize("isosbestic", [500.0, 529.5, 545.2, 570.2, 584.3])
def test_haemoglobin_crosses_at_its_isosbestic_points(isosbestic):
    nm = np.linspace(isosbestic - 3, isosbestic + 3, 601)
    oxy, deoxy = haemoglobin_extinction(nm)
    difference = oxy - deoxy
    assert difference.min() < 0 < difference.max()
    assert abs(nm[np.abs(difference).argmin()] - isosbestic) < 1.5


def test_haemoglobin_peaks_are_prahls():
    nm = np.arange(520.0, 600.0, 2.0)
    oxy, deoxy = haemoglobin_extinction(nm)
    assert nm[oxy.argmax()] == 576
    assert oxy.max() == pytest.approx(55540)
    assert nm[deoxy.argmax()] == 556
    assert deoxy.max() == pytest.approx(54540)
    assert blood_absorption(np.array([55540.0]))[0] == pytest.approx(297.4, rel=1e-3)  # ln 10 · ε · 150 / 64500


def test_wavelengths_outside_the_table_are_refused():
    with pytest.raises(ConfigError, match="440-660"):
        band_optics((430.0, 500.0))


def test_eumelanin_agrees_with_jacques_and_pheomelanin_is_steeper():
    nm = np.array(HSIDERMOSCOPY_NM, dtype=float)
    eumelanin, pheomelanin = melanin_absorption(nm)
    np.testing.assert_allclose(eumelanin, 1.70e12 * nm**-3.48, rtol=0.06)  # Jacques' law for a melanosome
    assert pheomelanin[0] / pheomelanin[-1] == pytest.approx((620 / 465) ** 4.75)
    assert pheomelanin[0] / pheomelanin[-1] > 1.3 * eumelanin[0] / eumelanin[-1]


def test_scattering_of_dermis():
    assert reduced_scattering(np.array([500.0]))[0] == pytest.approx(46.0)
    assert reduced_scattering(np.array([600.0]))[0] == pytest.approx(35.5, rel=0.01)


@pytest.mark.parametrize("ratio", [1e-3, 0.1, 1.0, 20.0])
def test_kubelka_munk_inverts_exactly(ratio):
    r = float(infinite_reflectance(np.array([0.375 * ratio]), np.array([1.0]))[0])
    assert (1 - r) ** 2 / (2 * r) == pytest.approx(ratio, rel=2e-3)


def test_epidermal_melanin_follows_beer_lambert():
    optics = band_optics(HSIDERMOSCOPY_NM)
    mixed = 0.8 * optics.eumelanin + 0.2 * optics.pheomelanin
    expected = -DIFFUSE_PATH * EPIDERMIS_CM * 0.07 * mixed
    np.testing.assert_allclose(np.log(spectrum(melanin=0.10) / spectrum(melanin=0.03)), expected, atol=1e-5)


def test_deep_melanin_looks_bluer_than_epidermal():
    """At equal darkness in the red, light scattered above dermal melanin lifts the blue: the blue-grey veil."""
    veil = spectrum(melanin=0.03, deep_melanin=0.12)
    brown = min((spectrum(melanin=m) for m in np.linspace(0.03, 0.3, 500)), key=lambda s: abs(s[-1] - veil[-1]))
    assert veil[0] > 1.3 * brown[0]


def test_blood_darkens_the_green_and_spares_the_red():
    loss = 1 - spectrum(blood=0.045) / spectrum()
    green, red = loss[HSIDERMOSCOPY_NM.index(544)], loss[HSIDERMOSCOPY_NM.index(620)]
    assert green > 0.25
    assert red < 0.15
    assert green > 3 * red


def test_oxygenation_shows_at_590_and_not_at_the_isosbestic_500():
    change = np.abs(spectrum(oxygenation=0.3) / spectrum(oxygenation=0.9) - 1)
    assert change[HSIDERMOSCOPY_NM.index(590)] > 0.05
    assert change[HSIDERMOSCOPY_NM.index(503)] < 0.02


def test_keratin_hides_the_skin():
    np.testing.assert_allclose(spectrum(surface=1.0), KERATIN_WHITE, rtol=1e-6)


def test_band_average_tends_to_the_centre_and_smooths_peaks():
    sharp, wide = band_optics(HSIDERMOSCOPY_NM, 0.1), band_optics(HSIDERMOSCOPY_NM, 2 * BAND_WIDTH_NM)
    centre = blood_absorption(haemoglobin_extinction(np.array(HSIDERMOSCOPY_NM, dtype=float))[0])
    np.testing.assert_allclose(sharp.oxy, centre, rtol=1e-3)
    peak = HSIDERMOSCOPY_NM.index(540)
    assert wide.oxy[peak] < 0.97 * centre[peak]


def test_tables_are_complete():
    published, gain = read_table("published_bands.csv"), read_table("sensor_gain.csv")
    assert published["band"].tolist() == gain["band"].tolist() == list(range(16))
    assert published["skin_mean"][14] == 0.9221
    assert published["melanoma_mean"][0] == 0.0385
    assert np.all((gain["gain"] > 0.2) & (gain["gain"] < 3))
