"""Files as laboratories have them, through the whole ingest: wavelengths, axes, structs, headers and missing values.

Every input is one 20 x 24 cube of five bands with a number of its own everywhere; whatever way it is stored, the store must
hold that cube, or the file is named with a remedy.
"""

import json

import h5py
import numpy as np
import pytest
import scipy.io
import tifffile
from PIL import Image

from hyperderm.store.reader import open_store
from tests.command import command  # noqa: F401 - a fixture

H, W, B = 20, 24, 5
NM = [450.0, 500.0, 550.0, 600.0, 650.0]
CUBE = ((np.arange(H * W * B).reshape(H, W, B) + 100) / 4096).astype(np.float32)
FIRST = np.ascontiguousarray(np.moveaxis(CUBE, 2, 0))
LIST = "450:650:5"
FALLING = CUBE[..., ::-1]
NO_UNIT = "its file names no unit of its wavelengths: they are taken for nm"
SORTED = "the wavelengths of its file fall from band to band: its bands were sorted by them"
HEADER = {"samples": W, "lines": H, "bands": B, "header offset": 0, "data type": 4, "interleave": "bil", "byte order": 0}


def envi(path, cube=CUBE, nm=NM, units="Nanometers", more="", drop=(), **fields):
    """A BIL image whose header holds these fields."""
    path.with_suffix(".raw").write_bytes(np.ascontiguousarray(cube.transpose(0, 2, 1)).astype("<f4").tobytes())
    said = {**HEADER, **{key.replace("_", " "): value for key, value in fields.items()}}
    lines = ["ENVI", *(f"{key} = {value}" for key, value in said.items() if key not in drop)]
    lines += [f"wavelength units = {units}"] if units is not None else []
    lines += ["wavelength = {" + ",\n ".join(map(str, nm)) + "}"] if nm is not None else []
    path.write_text("\n".join(lines) + "\n" + more)


def side(path, nm=NM):
    path.write_text("\n".join(map(str, nm)) + "\n")


def pages(path, array, **how):
    tifffile.imwrite(path, array, photometric="minisblack", **how)


def v73(path, marked=True, **arrays):
    """An HDF5 file; keys with dots lie in groups; `marked` ones are as MATLAB writes them."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for key, array in arrays.items():
            data = file.create_dataset(key.replace("__", "/"), data=np.asarray(array).T if marked else array)
            if marked:
                data.attrs["MATLAB_class"] = np.bytes_("double")


@pytest.fixture
def take(tmp_path, command):  # noqa: F811
    """Ingest what `build` puts into a folder: the answer, and the lesions of the store by name."""

    def take(build, *arguments, size="native"):
        root, store = tmp_path / "raw", tmp_path / "store"
        root.mkdir()
        build(root)
        answer = command("ingest", root, "--store", store, "--folds", 0, "--size", size, *arguments)
        found = {one.lesion_id: one for one in open_store(str(store)).lesions()} if answer.returncode == 0 else {}
        return " ".join((answer.stdout + answer.stderr).split()), found, answer.returncode

    return take


WAYS = {
    "no unit": (lambda d: envi(d / "a.hdr", units=None), (), f"note: a: {NO_UNIT}"),
    "unknown unit": (lambda d: envi(d / "a.hdr", units="UNKNOWN"), (), f"note: a: {NO_UNIT}"),
    "empty unit": (lambda d: envi(d / "a.hdr", units=""), (), f"note: a: {NO_UNIT}"),
    "unit in braces": (lambda d: envi(d / "a.hdr", units="{nm}"), (), ""),
    "micrometers": (lambda d: envi(d / "a.hdr", nm=[v / 1000 for v in NM], units="MICROMETERS"), (), ""),
    "side file beside micrometers without a unit": (
        lambda d: (envi(d / "a.hdr", nm=[v / 1000 for v in NM], units=None), side(d / "a.wavelengths.txt")),
        (),
        "the wavelengths from the file are not used: the header names no unit",
    ),
    "side file beside an index": (
        lambda d: (envi(d / "a.hdr", nm=range(1, 6), units="Index"), side(d / "wavelengths.csv")),
        (),
        "not used: the header has wavelengths in 'Index'",
    ),
    "side file beside too few": (
        lambda d: (envi(d / "a.hdr", nm=NM[:3]), side(d / "a.wavelengths.txt")),
        (),
        "not used: 5 bands but 3 wavelengths",
    ),
    "side file beside a MATLAB list": (
        lambda d: (scipy.io.savemat(d / "a.mat", {"x": CUBE, "lambda": range(1, 6)}), side(d / "a.wavelengths.txt")),
        (),
        "not used: lambda names no unit",
    ),
    "wavelengths overruled": (lambda d: envi(d / "a.hdr", nm=[1, 2], units="GHz"), ("--wavelengths", LIST), ""),
    "falling in a header": (lambda d: envi(d / "a.hdr", FALLING, NM[::-1]), (), f"note: a: {SORTED}"),
    "falling in a TIFF": (
        lambda d: pages(d / "a.tif", FIRST[::-1], description=json.dumps({"wavelengths_nm": NM[::-1]}), metadata=None),
        (),
        SORTED,
    ),
    "falling in an npz": (lambda d: np.savez(d / "a.npz", cube=FALLING, wavelengths_nm=NM[::-1]), (), SORTED),
    "falling in MATLAB": (lambda d: scipy.io.savemat(d / "a.mat", {"x": FALLING, "wavelengths_nm": NM[::-1]}), (), SORTED),
    "falling in a side file": (lambda d: (np.save(d / "a.npy", FALLING), side(d / "wavelengths.txt", NM[::-1])), (), SORTED),
    "falling as asked": (lambda d: np.save(d / "a.npy", FALLING), ("--wavelengths", "650:450:5"), SORTED),
    "two bands exchanged": (
        lambda d: envi(d / "a.hdr", CUBE[..., [0, 2, 1, 3, 4]], [450, 550, 500, 600, 650]),
        (),
        "are not in order: its bands were sorted by them",
    ),
    "rows as pages": (lambda d: pages(d / "a.tif", CUBE), ("--wavelengths", LIST), ""),
    "rows as pages with a side file": (lambda d: (pages(d / "a.tif", CUBE), side(d / "a.wavelengths.txt")), (), ""),
    "rows, bands, columns": (
        lambda d: pages(d / "a.tif", np.moveaxis(CUBE, 2, 1)),
        ("--wavelengths", LIST),
        "",
    ),
    "bands as pages": (lambda d: pages(d / "a.tif", FIRST), ("--wavelengths", LIST), ""),
    "ImageJ in one piece": (
        lambda d: tifffile.imwrite(d / "a.tif", FIRST, imagej=True, truncate=True, metadata={"axes": "CYX"}),
        ("--wavelengths", LIST),
        "",
    ),
    "ImageJ's slices in one piece": (
        lambda d: tifffile.imwrite(d / "a.tif", FIRST, imagej=True, truncate=True, metadata={"axes": "ZYX"}),
        ("--wavelengths", LIST),
        "",
    ),
    "BigTIFF in one piece": (lambda d: pages(d / "a.tif", FIRST, truncate=True, bigtiff=True), ("--wavelengths", LIST), ""),
    "bands first in npy": (lambda d: np.save(d / "a.npy", FIRST), ("--wavelengths", LIST), ""),
    "bands in the middle of npz": (
        lambda d: np.savez(d / "a.npz", cube=np.moveaxis(CUBE, 2, 1), wavelengths_nm=NM),
        (),
        "",
    ),
    "bands first in MATLAB": (lambda d: scipy.io.savemat(d / "a.mat", {"x": FIRST, "wavelengths_nm": NM}), (), ""),
    "HDF5 of Python": (lambda d: v73(d / "a.mat", marked=False, cube=CUBE, wavelength=NM), (), NO_UNIT),
    "HDF5 of MATLAB": (lambda d: v73(d / "a.mat", cube=CUBE, wavelengths_nm=[NM]), (), ""),
    "HDF5 as MATLAB, unmarked": (
        lambda d: v73(d / "a.mat", marked=False, cube=CUBE.T, wavelengths_nm=NM),
        (),
        "--axes BHW says otherwise",
    ),
    "struct": (lambda d: scipy.io.savemat(d / "a.mat", {"data": {"cube": CUBE, "wavelengths_nm": NM}}), (), ""),
    "struct in a struct": (
        lambda d: scipy.io.savemat(
            d / "a.mat",
            {"s": {"t": {"cube": CUBE, "wavelengths_nm": NM}, "wavelengths_nm": [1, 2]}, "wavelengths_nm": [3, 4]},
        ),
        (),
        "",
    ),
    "struct and its key": (
        lambda d: scipy.io.savemat(d / "a.mat", {"s": {"white": CUBE + 1, "cube": CUBE, "wavelengths_nm": NM}}),
        ("--key", "s.cube"),
        "",
    ),
    "struct and its field": (
        lambda d: scipy.io.savemat(d / "a.mat", {"s": {"white": CUBE + 1, "cube": CUBE}, "wavelengths_nm": NM}),
        ("--key", "cube"),
        "",
    ),
    "a struct beside a white reference": (
        lambda d: scipy.io.savemat(d / "a.mat", {"white": np.ones_like(CUBE), "data": {"cube": CUBE}, "wavelengths_nm": NM}),
        (),
        "note: a: white (20, 24, 5) is a reference by name, and not used: the image is data.cube (20, 24, 5)",
    ),
    "an array beside one in a struct": (
        lambda d: scipy.io.savemat(d / "a.mat", {"s": {"x": CUBE + 1}, "cube": CUBE, "wavelengths_nm": NM}),
        ("--key", "cube"),
        "",
    ),
    "npz beside a white reference": (
        lambda d: np.savez(d / "a.npz", white=np.ones_like(CUBE), cube=CUBE, wavelengths_nm=NM),
        (),
        "white (20, 24, 5) is a reference by name, and not used",
    ),
    "struct of v7.3": (lambda d: v73(d / "a.mat", data__cube=CUBE, data__wavelengths_nm=[NM]), (), ""),
    "no byte order": (lambda d: envi(d / "a.hdr", drop=("byte order", "header offset")), (), ""),
    "Bil": (lambda d: envi(d / "a.hdr", interleave="Bil"), (), ""),
    "comments and empty braces": (
        lambda d: envi(d / "a.hdr", more="; wavelength = {1}\nGPS = {}\n fps = 25\nfile type =\nbbl = {}\n"),
        (),
        "",
    ),
    "no value ignored": (lambda d: envi(d / "a.hdr", more="data ignore value = nan\n"), (), ""),
    "keys in capitals": (lambda d: envi(d / "a.hdr", drop=("lines",), LINES=H), (), ""),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_cube_comes_out_right(take, way):
    build, arguments, said = WAYS[way]
    answer, found, code = take(build, *arguments)
    assert code == 0, answer
    [lesion] = found.values()
    assert lesion.cube.wavelengths_nm.tolist() == NM
    np.testing.assert_array_equal(lesion.cube.reflectance, CUBE)
    assert said in answer
    assert ("note: a" in answer) == bool(said)  # nothing is told where nothing is to be told
    assert "set aside" not in answer


REFUSED = {
    "two equal centres": (
        lambda d: envi(d / "a.hdr", nm=[450, 500, 500, 600, 650]),
        (),
        "a.hdr: bands 2, 3 have the same wavelength, 500 nm. Give every band's own one with --wavelengths",
    ),
    "micrometers without a unit": (
        lambda d: envi(d / "a.hdr", nm=[0.45, 0.5, 0.55, 0.6, 0.65], units=None),
        (),
        "names no unit of its wavelengths, and 0.45 cannot be nm. Say there that they are micrometers, give --wavelengths",
    ),
    "nanometers that are micrometers": (
        lambda d: envi(d / "a.hdr", nm=[0.45, 0.5, 0.55, 0.6, 0.65]),
        (),
        "the header lists a wavelength of 0.45 nm: its unit, or the list, cannot be right",
    ),
    "wavenumbers": (lambda d: envi(d / "a.hdr", units="Wavenumber"), (), "wavelengths in 'Wavenumber'. Give --wavelengths"),
    "pages as rows of a square": (
        lambda d: pages(d / "a.tif", CUBE[:B]),
        ("--wavelengths", LIST),
        "several axes of its 5 x 24 x 5 array are as long as its 5 wavelengths",
    ),
    "HDF5 of Python, square": (
        lambda d: v73(d / "a.mat", marked=False, cube=CUBE[:B], wavelengths_nm=NM),
        (),
        "Say what its axes are: --axes BWH or HWB",
    ),
    "HDF5 of Python, bands in the middle": (
        lambda d: v73(d / "a.mat", marked=False, cube=np.moveaxis(CUBE, 2, 1), wavelengths_nm=NM),
        (),
        "Say what its axes are, such as --axes HBW",
    ),
    "no axis of that length": (
        lambda d: np.save(d / "a.npy", CUBE),
        ("--wavelengths", "450:650:7"),
        "5 bands but 7 wavelengths (its array is 20 x 24 x 5)",
    ),
    "no wavelengths": (
        lambda d: pages(d / "a.tif", CUBE),
        (),
        "nothing says the wavelengths of its 20 bands (rows x columns x bands: 24 x 5 x 20)",
    ),
    "no such key": (
        lambda d: scipy.io.savemat(d / "a.mat", {"s": {"cube": CUBE}}),
        ("--key", "data.cube", "--wavelengths", LIST),
        "no numeric array 'data.cube' in the file, which holds s.cube (20, 24, 5). Did you mean 's.cube'?",
    ),
    "two cubes in a struct": (
        lambda d: scipy.io.savemat(d / "a.mat", {"s": {"b": CUBE, "a": CUBE}}),
        ("--wavelengths", LIST),
        "one is expected: s.a (20, 24, 5), s.b (20, 24, 5). Name it with --key",
    ),
    "an array beside one in a struct": (
        lambda d: scipy.io.savemat(d / "a.mat", {"s": {"x": CUBE + 1}, "cube": CUBE, "wavelengths_nm": NM}),
        (),
        "one is expected: cube (20, 24, 5), s.x (20, 24, 5). Name it with --key",
    ),
    "an array of structs": (
        lambda d: scipy.io.savemat(d / "a.mat", {"s": np.array([(CUBE,), (CUBE,)], dtype=[("cube", object)])}),
        ("--key", "s.cube"),
        "which holds s (1, 2) array of structs, which are not opened",
    ),
    "a header without bands": (lambda d: envi(d / "a.hdr", drop=("bands",)), (), "a.hdr: the header does not say bands"),
    "a header whose list never ends": (
        lambda d: envi(d / "a.hdr", more="fwhm = {1, 2\n"),
        (),
        "the braces of 'fwhm' are not closed",
    ),
    "a cut ImageJ stack": (
        lambda d: (
            tifffile.imwrite(d / "a.tif", FIRST, imagej=True, truncate=True, metadata={"axes": "CYX"}),
            (d / "a.tif").write_bytes((d / "a.tif").read_bytes()[:-500]),
        ),
        ("--wavelengths", LIST),
        "damaged or truncated (it holds fewer images than ImageJ wrote)",
    ),
}


@pytest.mark.parametrize("way", REFUSED)
def test_what_cannot_be_right_is_refused_with_the_remedy(take, way):
    build, arguments, said = REFUSED[way]
    answer, _, code = take(build, *arguments)
    assert code == 2
    assert said in answer
    assert "without its header" not in answer


@pytest.mark.parametrize(
    ("order", "array"), [("HWB", CUBE[:B]), ("BHW", FIRST[:, :B]), ("hbw", np.moveaxis(CUBE[:B], 2, 1))]
)
@pytest.mark.parametrize("kind", ["tif", "npy", "mat", "hdf5"])
def test_the_user_says_the_axes(take, order, array, kind):
    def build(folder):
        match kind:
            case "tif":
                pages(folder / "a.tif", array)
            case "npy":
                np.save(folder / "a.npy", array)
            case "mat":
                scipy.io.savemat(folder / "a.mat", {"cube": array})
            case "hdf5":
                v73(folder / "a.mat", marked=False, cube=array)

    _, found, code = take(build, "--wavelengths", LIST, "--axes", order)
    assert code == 0
    np.testing.assert_array_equal(found["a"].cube.reflectance, CUBE[:B])


def test_axes_that_are_none(take):
    answer, _, code = take(lambda d: np.save(d / "a.npy", CUBE), "--axes", "HWC")
    assert (code, "--axes 'HWC' is no order of H (rows), W (columns) and B (bands)" in answer) == (2, True)


def test_a_square_npy_is_read_as_documented_and_said(take):
    answer, found, _ = take(lambda d: np.save(d / "a.npy", CUBE[:B]), "--wavelengths", LIST)
    np.testing.assert_array_equal(found["a"].cube.reflectance, CUBE[:B])
    assert "its 5 x 24 x 5 array is taken for rows, columns, bands, though other axes hold 5 values too" in answer


# --- missing values ---

BOX = (8, 8, 12, 14)
CROP = [7, 6, 13, 16]  # half as large again


def mask(folder, name="a_00"):
    picture = np.zeros((H, W), np.uint8)
    picture[BOX[0] : BOX[2], BOX[1] : BOX[3]] = 255
    (folder / "masks").mkdir(exist_ok=True)
    Image.fromarray(picture).save(folder / "masks" / f"{name}.png")


def holed(value, *places):
    cube = CUBE.copy()
    for place in places:
        cube[place] = value
    return cube


def missing_in(kind, value, *places):
    """A builder: the cube in one format with `value` at these places, and the lesion's mask."""

    def build(folder):
        cube = holed(value, *places)
        match kind:
            case "envi":
                envi(folder / "a.hdr", cube, more="" if np.isnan(value) else f"data ignore value = {value}\n")
            case "tif":
                tag = [] if np.isnan(value) else [(42113, "s", 0, str(value), True)]
                pages(folder / "a.tif", np.moveaxis(cube, 2, 0), extratags=tag)
            case "npy":
                np.save(folder / "a.npy", cube)
            case "mat":
                scipy.io.savemat(folder / "a.mat", {"s": {"cube": cube}})
        mask(folder)

    return build


KINDS = [
    ("envi", np.nan),
    ("envi", -9999),
    ("tif", np.nan),
    ("tif", -9999),
    ("npy", np.nan),
    ("npy", np.inf),
    ("mat", np.nan),
]


@pytest.mark.parametrize(("kind", "value"), KINDS)
@pytest.mark.parametrize("size", ["native", 32])
def test_what_is_missing_outside_the_crop_does_not_matter(take, kind, value, size):
    outside = (np.s_[:7], np.s_[13:], np.s_[:, :6], np.s_[7, 16, 2])
    answer, found, code = take(missing_in(kind, value, *outside), "--wavelengths", LIST, size=size)
    assert code == 0, answer
    lesion = found["a_00"]
    assert lesion.origin["crop"] == CROP
    whole = CUBE[CROP[0] : CROP[2], CROP[1] : CROP[3]]
    if size == "native":
        np.testing.assert_array_equal(lesion.cube.reflectance, whole)
    else:  # nothing of the rim was smeared in: values lie between those of the crop
        assert whole.min() <= lesion.cube.reflectance.min() < lesion.cube.reflectance.max() <= whole.max()
    assert "note" not in answer


@pytest.mark.parametrize(("kind", "value"), KINDS)
def test_what_is_missing_inside_is_counted_and_filled_when_asked(take, tmp_path, kind, value):
    dead = (np.s_[10, 10], np.s_[9, 12, 3])
    build = missing_in(kind, value, *dead)
    answer, _, code = take(build, "--wavelengths", LIST)
    assert code == 2
    assert "masks/a_00.png: 6 of 300 values inside the crop are missing (NaN, infinite or declared as no data)" in answer
    assert "Give --fill to take them from their neighbours" in answer
    (tmp_path / "raw").rename(tmp_path / "first")
    answer, found, code = take(build, "--wavelengths", LIST, "--fill")
    assert code == 0, answer
    lesion = found["a_00"]
    np.testing.assert_allclose(lesion.cube.reflectance, CUBE[7:13, 6:16], rtol=1e-5)  # linear in x and y
    np.testing.assert_array_equal(lesion.cube.reflectance[0], CUBE[7, 6:16])
    assert lesion.origin["filled"] == {"values": 6, "of": 300}
    assert "note: a_00: 6 of 300 values of the crop were missing and are filled from their neighbours" in answer


@pytest.mark.parametrize("arguments", [(), ("--fill",)])
def test_a_lesion_cut_out_of_nothing_is_not_filled(take, arguments):
    def build(folder):
        cube = np.zeros_like(CUBE)
        cube[BOX[0] : BOX[2], BOX[1] : BOX[3]] = CUBE[BOX[0] : BOX[2], BOX[1] : BOX[3]]
        envi(folder / "a.hdr", cube, more="data ignore value = 0\n")
        mask(folder)

    answer, _, code = take(build, *arguments)
    assert code == 2
    assert "180 of 300 values inside the crop are missing" in answer
    assert "more than the 5% that --fill would mend" in answer
    assert "Give --fill" not in answer  # a remedy that would not help


def test_a_band_that_was_not_measured(take, tmp_path):
    """Nothing can fill it, but bands that are not asked for do not matter."""
    nm = ",".join(str(400 + 10 * i) for i in range(30))
    cube = np.repeat(CUBE[..., :1], 30, axis=2) * np.linspace(1, 2, 30, dtype=np.float32)

    def build(folder):
        lost = cube.copy()
        lost[..., 29] = np.nan
        np.save(folder / "a.npy", lost)

    answer, _, code = take(build, "--wavelengths", nm, "--fill")
    assert (code, "nothing of band 30 was measured" in answer) == (2, True)
    (tmp_path / "raw").rename(tmp_path / "first")
    _, found, code = take(build, "--wavelengths", nm, "--bands", "400,410,420")
    assert code == 0
    np.testing.assert_array_equal(found["a"].cube.reflectance, cube[..., :3])


def test_automatic_masks_and_pictures_of_a_frame_with_a_rim_of_nothing(take, tmp_path, command):  # noqa: F811
    rows, columns = np.mgrid[:60, :80]
    dark = ((rows - 30) / 10) ** 2 + ((columns - 40) / 12) ** 2 < 1
    cube = np.repeat(np.where(dark, 0.2, 0.8)[..., None], B, axis=2).astype(np.float32)
    cube += np.random.default_rng(0).normal(0, 0.01, cube.shape).astype(np.float32)
    cube[:5] = cube[:, -5:] = np.nan
    _, found, code = take(lambda d: np.save(d / "a.npy", cube), "--wavelengths", LIST, "--masks", "auto")
    assert code == 0
    top, left, bottom, right = found["a_00"].origin["crop"]
    marked = np.zeros_like(dark)
    marked[top:bottom, left:right] = found["a_00"].mask
    assert (marked & dark).sum() / (marked | dark).sum() > 0.85
    assert command("annotate-export", tmp_path / "raw", "--out", tmp_path / "out", "--wavelengths", LIST).returncode == 0
    picture = np.asarray(Image.open(next((tmp_path / "out" / "images").iterdir())))
    assert picture.shape == (60, 80, 3)
    assert picture[:5].max() == 0
    assert picture[30, 40].max() < 60 < 180 < picture[50, 10].min()
