"""Target grids: subsets bit for bit, linear and constant spectra, the library's own weights, and what is refused."""

import numpy as np
import pytest
from spectral import BandResampler

from hyperderm.cubes.bands import DENSER, mix, resampling_matrix, to_bands
from hyperderm.cubes.cube import HSIDERMOSCOPY_NM
from hyperderm.errors import CubeError

FINE = np.arange(400.0, 1000.5, 1.0)
CAVE = np.arange(400.0, 701.0, 10.0)
TARGET = np.linspace(465.3, 630, 16)  # not all held by FINE: that were a subset


def spectra(nm, slope=1 / 600, h=3, w=2):
    """(H, W, B): every pixel linear in wavelength, with an offset and slope of its own."""
    gain = np.arange(1, h * w + 1).reshape(h, w, 1)
    return (0.1 + gain * slope * (nm - 400)).astype(np.float32)


def test_held_wavelengths_are_a_subset_bit_for_bit():
    nm = np.array(HSIDERMOSCOPY_NM)
    cube = np.random.default_rng(0).normal(size=(4, 5, 16)).astype(np.float32)
    wanted = [1, 4, 5, 15]
    got = to_bands(cube, nm, nm[wanted] + 9e-7)
    assert got.tobytes() == np.ascontiguousarray(cube[..., wanted]).tobytes()
    assert got.flags.c_contiguous
    assert to_bands(cube, nm, nm).tobytes() == cube.tobytes()
    assert to_bands(cube, nm, nm[wanted] + 1e-3).tobytes() != got.tobytes()  # not held: resampled


def test_where_the_cube_is_denser_the_weights_are_the_library_s():
    cube = np.random.default_rng(1).random((3, 4, FINE.size), dtype=np.float32)
    reference = BandResampler(FINE, TARGET)  # Gaussian bands, FWHM from the grids' spacings
    expected = [[reference(pixel.astype(np.float64)) for pixel in row] for row in cube]
    np.testing.assert_allclose(to_bands(cube, FINE, TARGET), expected, rtol=1e-6)


@pytest.mark.parametrize("target", [TARGET, np.linspace(400, 1000, 16), np.array([400.2, 700, 1000.4])])
def test_linear_spectra_keep_their_line_when_averaged(target):
    np.testing.assert_allclose(to_bands(spectra(FINE), FINE, target), spectra(target), atol=1e-3)
    shift = resampling_matrix(FINE, target) @ FINE - target
    assert np.abs(shift).max() < 0.032  # nm: the share of the spacing that the module's docstring states


@pytest.mark.parametrize("held", [np.array(HSIDERMOSCOPY_NM), CAVE, np.array([450.0, 480, 560, 640])])
def test_linear_spectra_keep_their_line_exactly_when_interpolated(held):
    inside = np.linspace(held[0] - 2, held[-1] + 3, 40)  # the outer ones lie beyond the outer bands, within half a spacing
    np.testing.assert_allclose(to_bands(spectra(held), held, inside), spectra(inside), atol=2e-6)
    np.testing.assert_allclose(resampling_matrix(held, inside) @ held, inside, rtol=1e-12)


@pytest.mark.parametrize("target", [TARGET, CAVE[3:20] + 0.3, np.linspace(401, 690, 5), np.array([555.5])])
@pytest.mark.parametrize("held", [FINE, CAVE, np.array([400.0, 401, 420, 500, 600, 601, 700])])
def test_constant_spectra_stay_constant(held, target):
    got = to_bands(np.full((2, 2, held.size), 0.37, np.float32), held, target)
    np.testing.assert_allclose(got, 0.37, rtol=1e-6)
    np.testing.assert_allclose(resampling_matrix(held, target).sum(axis=1), 1, rtol=1e-12)


def test_how_many_bands_a_target_takes_follows_the_rule():
    def taken(spacing):
        return np.count_nonzero(resampling_matrix(CAVE, 550 + spacing * np.array([-1.0, 0, 1]))[1])

    assert taken(10 * DENSER - 1) == 1  # on a band: the line through it
    assert taken(10 * DENSER + 1) == 3  # averaged
    # At the very end a band can be no wider than what the cube covers on both sides of its centre.
    ends = resampling_matrix(FINE, np.linspace(400, 1000, 16))[[0, -1]]
    np.testing.assert_array_equal(np.count_nonzero(ends, axis=1), 1)


def test_averaging_lowers_noise_and_interpolation_does_not_blur():
    noise = np.random.default_rng(2).normal(size=(40, 40, FINE.size)).astype(np.float32)
    assert to_bands(noise, FINE, TARGET).std() < 0.4
    edge = (CAVE > 555).astype(np.float32)[None, None]
    assert set(np.unique(to_bands(edge, CAVE, CAVE[2:-2] + 1))) <= {0, np.float32(0.1), 1}


def test_mix_multiplies_every_spectrum():
    cube = np.random.default_rng(3).random((5, 4, 6), dtype=np.float32)
    matrix = np.random.default_rng(4).normal(size=(3, 6))
    np.testing.assert_allclose(mix(cube, matrix), np.einsum("kb,hwb->hwk", matrix, cube), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ([394.9, 500, 620], "394.9 nm lie outside the cube's bands, which cover 395 to 705 nm"),
        ([500, 705.1, 800], "705.1, 800 nm"),
        ([500, 500], "increase"),
        ([600, 500], "increase"),
        ([], "increase"),
        ([500, np.nan], "increase"),
        ([[500, 510]], "increase"),
    ],
)
def test_targets_that_cannot_be_reached(target, message):
    with pytest.raises(CubeError, match=message):
        to_bands(spectra(CAVE), CAVE, target)


def test_a_single_band_has_no_width():
    one = np.full((2, 2, 1), 0.5, np.float32)
    np.testing.assert_array_equal(to_bands(one, [550.0], [550.0]), one)
    with pytest.raises(CubeError, match="cover 550 to 550 nm"):
        to_bands(one, [550.0], [551.0])


def test_wavelengths_must_fit_the_cube():
    with pytest.raises(CubeError, match="31 bands but 30 wavelengths"):
        to_bands(spectra(CAVE), CAVE[1:], [500.0])
    with pytest.raises(CubeError, match="must increase"):
        to_bands(spectra(CAVE), CAVE[::-1], [500.0])
