"""MATLAB scenes: cubes and flattened matrices of both file versions, and every ambiguity named."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperderm.cubes.cube import NOTES
from hyperderm.errors import CubeError
from hyperderm.ingest.formats.array_names import is_reference
from hyperderm.ingest.formats.matlab_scene import find, read
from hyperderm.ingest.formats.scene import ReadOptions

SAMSON = Path(__file__).resolve().parents[3] / "shared" / "data" / "hsi_samson"
H, W, B = 5, 7, 4
NM = [450.0, 500.5, 544.0, 620.0]
CUBE = (np.arange(H * W * B).reshape(H, W, B) / 64).astype(np.float32)
BANDS_FIRST = CUBE.transpose(1, 0, 2).reshape(H * W, B).T
"""(B, H*W), pixels down the columns first: column by column of the image."""


def put(path, version=5, **variables):
    if version == 5:
        scipy.io.savemat(path, variables)
    else:
        with h5py.File(path, "w", userblock_size=512) as file:
            inner = {f"{k}/{f}": a for k, fields in variables.items() if isinstance(fields, dict) for f, a in fields.items()}
            for key, array in ({k: a for k, a in variables.items() if not isinstance(a, dict)} | inner).items():
                file.create_dataset(key, data=np.atleast_2d(array).T).attrs["MATLAB_class"] = np.bytes_("double")
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "scene.mat"


def load(path, **asked):
    [found] = find(path.parent, [path], path.parent)
    return read(found, ReadOptions(**asked))


def refused(path, **asked):
    with pytest.raises(CubeError) as caught:
        load(path, **asked)
    return str(caught.value)


@pytest.mark.parametrize("version", [5, 7.3])
@pytest.mark.parametrize("name", ["wavelengths_nm", "wavelength", "Wavelengths", "lambda", "CentralWavelength"])
def test_a_cube_with_wavelengths(path, version, name):
    put(path, version, DataCube=CUBE, mask=CUBE[..., 0], **{name: np.array([NM])})
    scene = load(path)
    np.testing.assert_array_equal(scene.reflectance, CUBE)
    np.testing.assert_array_equal(scene.wavelengths_nm, NM)
    assert scene.facts["key"] == "DataCube"
    assert load(path, wavelengths_nm=(1, 2, 3, 4)).wavelengths_nm.tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("version", [5, 7.3])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("names", [("nRow", "nCol"), ("rows", "cols"), ("H", "W"), ("lines", "samples")])
def test_a_flattened_matrix_unfolds_column_by_column(path, version, turned, names):
    put(path, version, Y=BANDS_FIRST.T if turned else BANDS_FIRST, **{names[0]: H, names[1]: W})
    scene = load(path)
    np.testing.assert_array_equal(scene.reflectance, CUBE)
    assert scene.facts["unfolded"] == "5 rows x 7 columns, pixels down the columns first"
    assert scene.wavelengths_nm is None


def test_what_the_user_says_overrules_the_scalars(path):
    put(path, Y=BANDS_FIRST, rows=35, cols=1)
    assert load(path).reflectance.shape == (35, 1, B)
    np.testing.assert_array_equal(load(path, rows=H, columns=W).reflectance, CUBE)
    assert load(path, rows=W, columns=H).reflectance.shape == (W, H, B)


def test_numbers_stay_as_they_are(path):
    counts = (CUBE * 64).astype(np.uint16)
    put(path, cube=counts)
    scene = load(path)
    np.testing.assert_array_equal(scene.reflectance, counts.astype(np.float32))
    assert scene.facts["dtype"] == "uint16"


@pytest.mark.parametrize("version", [5, 7.3])
def test_ambiguity_names_the_candidates(path, version):
    put(path, version, first=CUBE, raw=CUBE + 1)
    said = refused(path)
    assert "first (5, 7, 4), raw (5, 7, 4)" in said
    assert "--key" in said
    np.testing.assert_array_equal(load(path, key="raw").reflectance, CUBE + 1)
    assert "Did you mean 'raw'" in refused(path, key="row")
    put(path, version, Y=BANDS_FIRST, A=BANDS_FIRST[:3] + 1, H=H, W=W)
    said = refused(path)
    assert "A (3, 35), Y (4, 35)" in said
    assert "--key" in said
    np.testing.assert_array_equal(load(path, key="A").reflectance, CUBE[..., :3] + 1)


NAMES = {
    "white": True, "White": True, "whiteRef": True, "white_reference": True, "refWhite": True, "WREF": True, "dark1": True,
    "darkCurrent": True, "black": True, "black_ref": True, "calib.white": True, "spectralon": True, "flat_field": True,
    "white_cube": True, "ref": True, "reference": True, "meanDark": True,
    "reflectance": False, "refl": False, "darkness": False, "cube": False, "data.cube": False, "whitened": False,
    "darkCorrected": False, "white_corrected": False, "flattened": False, "d": False, "k": False, "dark_skin": False,
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_names_of_references_in_a_file(name):
    assert is_reference(name) is NAMES[name]


@pytest.mark.parametrize("version", [5, 7.3])
def test_a_reference_by_its_name_is_never_the_scene(path, version):
    put(path, version, white=np.ones_like(CUBE), data={"cube": CUBE})
    scene = load(path)
    np.testing.assert_array_equal(scene.reflectance, CUBE)
    assert scene.facts["key"] == "data.cube"
    note = "white (5, 7, 4) is a reference by name, and not used: the image is data.cube (5, 7, 4)"
    assert scene.facts[NOTES] == [note]
    put(path, version, white=np.ones_like(CUBE), dark=CUBE)
    assert "dark (5, 7, 4), white (5, 7, 4). Name it with --key" in refused(path)
    put(path, version, white=np.ones_like(CUBE), Y=BANDS_FIRST, nRow=H, nCol=W)
    scene = load(path)
    assert scene.facts["key"] == "Y"
    assert scene.facts[NOTES] == ["white (5, 7, 4) is a reference by name, and not used: the image is Y (4, 35)"]


@pytest.mark.parametrize("version", [5, 7.3])
def test_the_one_that_fits_the_wavelengths_is_the_scene_wherever_it_lies(path, version):
    nm = [450.0, 500.0, 550.0, 600.0]
    put(path, version, rgb=CUBE[..., :3], data={"cube": CUBE, "wavelengths_nm": nm})
    scene = load(path)
    np.testing.assert_array_equal(scene.reflectance, CUBE)
    assert scene.facts[NOTES] == ["rgb (5, 7, 3) does not fit the wavelengths, and the image is data.cube (5, 7, 4)"]
    put(path, version, x=CUBE + 1, data={"cube": CUBE, "wavelengths_nm": nm})
    assert "data.cube (5, 7, 4), x (5, 7, 4). Name it with --key" in refused(path)


def test_sizes_that_nothing_says_or_that_do_not_fit(path):
    put(path, Y=BANDS_FIRST)
    assert "--rows and --columns" in refused(path)
    assert "--rows and --columns" in refused(path, rows=5)
    assert "--rows and --columns" in refused(path, key="Y")
    assert "5 x 8 = 40 pixels: Y (4, 35)" in refused(path, rows=5, columns=8)
    assert "neither axis holds 5 x 8" in refused(path, key="Y", rows=5, columns=8)
    assert "not one whole number" in refused(path, rows=0, columns=8)
    put(path, Y=BANDS_FIRST, nRow=5, lines=6, nCol=7)
    assert "lines = 6, nRow = 5" in refused(path)
    put(path, Y=BANDS_FIRST, nRow=4.5, nCol=7)
    assert "not one whole number" in refused(path)
    put(path, Y=np.zeros((35, 35)), nRow=5, nCol=7)
    assert "35 x 35" in refused(path)


def test_no_scene_in_it(path):
    put(path, text="hello", z=CUBE + 1j, s=[{"a": CUBE}, {"a": CUBE}], n=3)
    said = refused(path)
    assert "n (1, 1)" in said
    assert "z (5, 7, 4) complex" in said
    assert "s (1, 2) cell, which is not opened" in said
    put(path, v=np.arange(9), n=3)
    assert "no matrix" in refused(path)
    put(path, x=np.zeros((2, 2, 2, 2)))
    assert "no matrix" in refused(path)
    assert "two or three axes" in refused(path, key="x")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"wavelength": NM[:3]}, "4 bands, but 3 wavelengths in wavelength"),
        ({"wavelength": [0.45, 0.5, 0.55, 0.6]}, "cannot be nm"),
        ({"lambda": [1, 2, 3, 4]}, "cannot be nm"),
        ({"lambda": [450, 500, np.nan, 600]}, "cannot be nm"),
        ({"wavelengths_nm": [450, 500, np.inf, 600]}, "a wavelength of inf nm"),
        ({"wavelengths": NM, "lambda": [451, 500, 550, 600]}, "lambda and wavelengths list different"),
    ],
)
def test_wavelengths_that_do_not_fit(path, more, said):
    put(path, cube=CUBE, **more)
    assert said in refused(path)
    assert load(path, wavelengths_nm=tuple(NM)).wavelengths_nm.tolist() == NM


def test_a_scalar_lambda_and_an_agreeing_double_are_no_trouble(path):
    put(path, cube=CUBE, Lambda=0.1, wavelength=NM, wavelengths_nm=NM)
    assert load(path).wavelengths_nm.tolist() == NM


def test_arrays_that_lie_in_other_files_are_not_opened(tmp_path):
    put(tmp_path / "secret.mat", 7.3, cube=CUBE)
    raw = tmp_path / "secret.raw"
    raw.write_bytes(CUBE.astype("<f4").tobytes())
    with h5py.File(tmp_path / "scene.mat", "w") as file:
        file["link"] = h5py.ExternalLink(str(tmp_path / "secret.mat"), "cube")
        file.create_dataset("data", (B, W, H), "<f4", external=[(str(raw), 0, h5py.h5f.UNLIMITED)])
    said = refused(tmp_path / "scene.mat")
    assert "link in another file" in said
    assert "data (5, 7, 4)" in said


@pytest.mark.parametrize("version", [5, 7.3])
def test_truncated(path, version):
    whole = put(path, version, cube=CUBE).read_bytes()
    for cut in (0, 100, len(whole) // 2, len(whole) - 8):
        path.write_bytes(whole[:cut])
        assert "damaged or truncated" in refused(path) or cut == 0


def test_a_variable_beyond_the_end_with_a_damaged_type_does_not_crash_scipy(path):
    content = bytearray(put(path, Y=BANDS_FIRST, nRow=H, nCol=W).read_bytes())
    assert content[128] == 14  # the tag of the first variable; its length and the type of its values follow
    content[135], content[176] = 16, 135
    path.write_bytes(content)
    assert "goes beyond the end" in refused(path)


@settings(max_examples=60, deadline=None)
@given(
    version=st.sampled_from([5, 7.3]),
    change=st.one_of(st.binary(max_size=200), st.tuples(st.floats(0, 1), st.integers(0, 8), st.binary(max_size=8))),
)
def test_any_bytes_raise_only_our_error(tmp_path_factory, version, change):
    path = tmp_path_factory.mktemp("fuzz") / "a.mat"
    content = change
    if isinstance(change, tuple):
        good = put(path, version, Y=BANDS_FIRST, nRow=H, nCol=W, wavelength=NM).read_bytes()
        at = int(change[0] * len(good))
        content = good[:at] + change[2] + good[at + change[1] :]
    path.write_bytes(content)
    try:
        scene = load(path)
    except CubeError:
        return
    assert scene.reflectance.ndim == 3


@pytest.mark.skipif(not SAMSON.is_dir(), reason="the Samson scene is not beside this repository")
def test_samson_stands_upright():
    """Water lies along the left edge, as in the published pictures, and there the published abundances say water.

    The abundances alone could not tell: unfolded alike, both would be transposed together.
    """
    scene = load(SAMSON / "Samson.mat", wavelengths_nm=tuple(np.linspace(401, 889, 156)))
    truth = load(SAMSON / "end_Samson.mat", key="A", rows=95, columns=95)
    assert scene.reflectance.shape == (95, 95, 156)
    infrared, water = scene.reflectance[..., 120], truth.reflectance[..., 2]
    assert water[:, :15].mean() > 0.9
    assert water[:, -15:].mean() < 0.1
    assert infrared[:, :15].mean() < 0.3 * infrared[:, -15:].mean()
    assert np.corrcoef(infrared.ravel(), water.ravel())[0, 1] < -0.75
