"""The file of a scene's known abundances and endmembers: its orders of axes, and what is refused."""

import h5py
import numpy as np
import pytest
import scipy.io

from hyperderm.errors import ConfigError
from hyperderm.ingest.formats.known_mixture import read_known_mixture

HEIGHT, WIDTH, COUNT, BANDS = 3, 4, 2, 5
ROCK = np.linspace(0, 1, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
SHARES = np.stack([ROCK, 1 - ROCK], axis=2)
SPECTRA = np.arange(1.0, COUNT * BANDS + 1).reshape(COUNT, BANDS)
DOWN = SHARES.reshape(-1, COUNT, order="F")
"""(pixels, R): pixels run down the columns of the image first."""


def saved(folder, **arrays):
    path = folder / "end.mat"
    scipy.io.savemat(path, arrays)
    return path


@pytest.mark.parametrize(
    "arrays",
    [
        {"A": DOWN.T, "M": SPECTRA.T},
        {"A": DOWN, "M": SPECTRA},
        {"abundances": SHARES, "endmembers": SPECTRA},
        {"truth": {"a": np.moveaxis(SHARES, 2, 0), "m": SPECTRA.T}},
    ],
    ids=["as benchmark scenes", "turned", "an image", "an image with its materials first, in a struct"],
)
def test_orders_of_axes(tmp_path, arrays):
    known = read_known_mixture(saved(tmp_path, **arrays), HEIGHT, WIDTH)
    np.testing.assert_array_equal(known.abundances, SHARES)
    np.testing.assert_array_equal(known.endmembers, SPECTRA)
    np.testing.assert_array_equal(known.classes, SHARES.argmax(2))
    assert known.names == ("reference 1", "reference 2")


def test_names_stand_in_a_cell(tmp_path):
    cell = np.array([["1-rock"], ["2-water"]], dtype=object)
    known = read_known_mixture(saved(tmp_path, A=DOWN.T, M=SPECTRA.T, cood=cell), HEIGHT, WIDTH)
    assert known.names == ("1-rock", "2-water")


def test_a_file_of_version_7_3(tmp_path):
    with h5py.File(tmp_path / "end.mat", "w") as file:
        for key, value in (("A", DOWN), ("M", SPECTRA)):  # MATLAB stores A (R, pixels) with its axes reversed
            file[key] = value
            file[key].attrs["MATLAB_class"] = np.bytes_("double")
    known = read_known_mixture(tmp_path / "end.mat", HEIGHT, WIDTH)
    np.testing.assert_array_equal(known.abundances, SHARES)
    np.testing.assert_array_equal(known.endmembers, SPECTRA)


def test_abundances_alone_suffice_for_classes(tmp_path):
    assert read_known_mixture(saved(tmp_path, A=DOWN.T), HEIGHT, WIDTH).endmembers is None


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"Y": DOWN}, r"holds Y \(12, 2\), and no abundances"),
        ({"A": DOWN[:-1].T}, r"A of shape \(2, 11\) for a scene of 3 x 4 = 12 pixels"),
        ({"A": 2 * DOWN.T}, "lies from 0 to 2, a pixel's sum from 2 to 2"),
        ({"A": np.where(DOWN == 1, np.nan, DOWN).T}, "A lies from nan to nan"),
        ({"A": DOWN.T, "M": SPECTRA[:, :, None]}, "M of shape .* beside 2 abundances"),
        ({"A": DOWN.T, "M": np.ones((BANDS, 3))}, r"M of shape \(5, 3\) beside 2 abundances"),
    ],
)
def test_what_is_refused(tmp_path, arrays, said):
    with pytest.raises(ConfigError, match=said):
        read_known_mixture(saved(tmp_path, **arrays), HEIGHT, WIDTH)


@pytest.mark.parametrize("content", [b"", b"no MATLAB at all" * 20])
def test_a_file_that_cannot_be_read(tmp_path, content):
    path = tmp_path / "end.mat"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"--reference {path}: "):
        read_known_mixture(path, HEIGHT, WIDTH)
    (tmp_path / "words.txt").write_text("no numbers")
    with pytest.raises(ConfigError, match=r"words\.txt is no MATLAB file"):
        read_known_mixture(tmp_path / "words.txt", HEIGHT, WIDTH)
    with pytest.raises(ConfigError, match=r"nowhere\.mat"):
        read_known_mixture(tmp_path / "nowhere.mat", HEIGHT, WIDTH)
