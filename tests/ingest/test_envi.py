"""ENVI: everything spectral writes comes back number for number; what cannot be right is refused in one sentence."""

import itertools

import numpy as np
import pytest
import spectral.io.envi as spy
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperderm.errors import CubeError
from hyperderm.ingest.formats.envi import find, read
from hyperderm.ingest.formats.scene import Beside, ReadOptions
from hyperderm.ingest.formats.scene_files import find_scenes

H, W, B = 5, 7, 4
NM = [450.0, 500.5, 544.0, 620.0]
TYPES = ["uint8", "int16", "int32", "float32", "float64", "uint16", "uint32", "int64", "uint64"]


def numbers(dtype, h=H, w=W, b=B):
    """Numbers that float32 holds exactly, another one everywhere, negative ones where the type has them."""
    x = np.arange(h * w * b).reshape(h, w, b)
    if dtype.startswith("float"):
        return (x / 64 - 0.25).astype(dtype)
    return (x - (50 if dtype.startswith("int") else 0)).astype(dtype)


def picture(dtype, h=32, w=32, b=3):
    """A bright blob with some noise, as a camera gives it."""
    y, x = np.mgrid[:h, :w]
    blob = np.exp(-((x - w / 2) ** 2 + (y - h / 2) ** 2) / 150)[..., None] * np.linspace(0.5, 1, b)
    noisy = blob + 0.01 * np.random.default_rng(0).normal(size=(h, w, b)) + 0.05
    return noisy.astype(dtype) if dtype.startswith("float") else np.round(noisy * 3000).astype(dtype)


def put(folder, cube, name="scene", nm=NM, units="Nanometers", more=None, **how):
    fields = {} if nm is None else {"wavelength": nm, **({"wavelength units": units} if units else {})}
    spy.save_image(str(folder / f"{name}.hdr"), cube, metadata={**fields, **(more or {})}, force=True, **how)
    return folder / f"{name}.hdr"


def edit(header, old, new):
    text = header.read_text()
    assert old in text, text
    header.write_text(text.replace(old, new))


def load(root, asked=ReadOptions(), folder=None):  # noqa: B008
    folder = folder or root
    [found] = find(folder, sorted(folder.iterdir()), root)
    return read(found, asked)


def refused(root, asked=ReadOptions(), folder=None):  # noqa: B008
    with pytest.raises(CubeError) as caught:
        load(root, asked, folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("interleave", "dtype", "order"), list(itertools.product(["bsq", "bil", "bip"], TYPES, [0, 1])))
def test_every_interleave_type_and_byte_order_comes_back_exactly(tmp_path, interleave, dtype, order):
    cube = numbers(dtype)
    put(tmp_path, cube, interleave=interleave, dtype=dtype, byteorder=order)
    scene = load(tmp_path)
    assert scene.reflectance.dtype == np.float32
    assert scene.reflectance.flags.writeable
    np.testing.assert_array_equal(scene.reflectance, cube.astype(np.float32))
    np.testing.assert_array_equal(scene.wavelengths_nm, NM)
    assert scene.facts["interleave"] == interleave
    assert scene.facts["dtype"] == dtype


@pytest.mark.parametrize("ext", ["", ".img", ".dat", ".raw", ".bin", ".bsq", ".IMG"])
def test_data_file_names(tmp_path, ext):
    put(tmp_path, numbers("float32"), ext=ext, interleave="bsq")
    [found] = find(tmp_path, sorted(tmp_path.iterdir()), tmp_path)
    assert found.name == "scene"
    assert [p.name for p in found.files] == ["scene.hdr", f"scene{ext}"]
    assert read(found, ReadOptions()).reflectance.shape == (H, W, B)


def test_a_header_named_after_its_data_file_and_one_below_the_root(tmp_path):
    folder = tmp_path / "patient7"
    folder.mkdir()
    put(folder, numbers("uint16"), name="arm", ext=".img")
    (folder / "arm.hdr").rename(folder / "arm.img.hdr")
    [found] = find(folder, sorted(folder.iterdir()), tmp_path)
    assert (found.name, found.path.name) == ("patient7/arm.img", "arm.img.hdr")
    np.testing.assert_array_equal(read(found, ReadOptions()).reflectance, numbers("uint16"))


def test_header_offset_is_skipped(tmp_path):
    header = put(tmp_path, numbers("float32"), interleave="bil")
    data = tmp_path / "scene.img"
    data.write_bytes(b"x" * 13 + data.read_bytes())
    edit(header, "header offset = 0", "header offset = 13")
    np.testing.assert_array_equal(load(tmp_path).reflectance, numbers("float32"))


def test_scale_factor_divides_and_is_recorded(tmp_path):
    put(tmp_path, numbers("uint16"), dtype="uint16", more={"reflectance scale factor": 10000})
    scene = load(tmp_path)
    np.testing.assert_array_equal(scene.reflectance, (numbers("uint16") / 10000.0).astype(np.float32))
    assert scene.facts["reflectance_scale_factor"] == 10000
    assert scene.facts["dtype"] == "uint16"


@pytest.mark.parametrize("value", ["0", "-1", "nan", "ten"])
def test_a_scale_factor_that_cannot_be_used(tmp_path, value):
    put(tmp_path, numbers("uint16"), more={"reflectance scale factor": value})
    assert "reflectance scale factor" in refused(tmp_path)


@pytest.mark.parametrize("kind", ["data", "data reflectance"])
@pytest.mark.parametrize(("dtype", "interleave"), [("uint16", "bil"), ("float32", "bsq")])
def test_gains_and_offsets_of_a_header_count_band_by_band_in_the_file_s_order(tmp_path, kind, dtype, interleave):
    gain, offset = [0.5, 0.25, 2.0, 1.0], [0.0, 1.0, -3.0, 0.5]
    more = {f"{kind} gain values": gain, f"{kind} offset values": offset, "data ignore value": 9}
    put(tmp_path, numbers(dtype), nm=NM[::-1], dtype=dtype, interleave=interleave, more=more)
    expected = numbers(dtype) * np.array(gain) + np.array(offset)
    expected[numbers(dtype) == 9] = np.nan
    scene = load(tmp_path)
    np.testing.assert_array_equal(scene.reflectance, expected[..., ::-1].astype(np.float32))
    key = kind.replace(" ", "_")
    assert (scene.facts[f"{key}_gain_values"], scene.facts[f"{key}_offset_values"]) == (gain, offset)
    assert scene.facts["dtype"] == dtype
    header = tmp_path / "scene.hdr"
    header.write_text("\n".join(line for line in header.read_text().splitlines() if "offset values" not in line))
    np.testing.assert_array_equal(load(tmp_path).reflectance, (expected - offset)[..., ::-1].astype(np.float32))


ONES = {"data gain values": [1] * B, "data offset values": [0] * B}
HALVES = {"data gain values": [0.5] * B}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            {"data gain values": [0.5] * 3},
            "4 bands, but the header's data gain values are 3 numbers. Give one for every band",
        ),
        ({"data offset values": [1] * 5}, "4 bands, but the header's data offset values are 5 numbers"),
        ({"data gain values": [1, 1, 0, 1]}, "the header's data gain values hold 0, positive numbers are expected"),
        ({"data gain values": [1, 1, "nan", 1]}, "the header's data gain values are not all finite"),
        ({"data gain values": [1, "x", 1, 1]}, "data gain values is no list of numbers"),
        ({**HALVES, "reflectance scale factor": 100}, "has reflectance scale factor and data gain values: which of them"),
        ({**HALVES, "data reflectance gain values": [2] * B}, "data gain values and data reflectance gain values: which"),
    ],
)
def test_gains_that_do_not_fit_are_refused_with_the_reason(tmp_path, more, said):
    put(tmp_path, numbers("float32"), more=more)
    assert said in refused(tmp_path)


def test_gains_that_change_nothing_say_nothing(tmp_path):
    put(tmp_path, numbers("uint16"), more={**ONES, "reflectance scale factor": 2})
    scene = load(tmp_path)
    np.testing.assert_array_equal(scene.reflectance, (numbers("uint16") / 2).astype(np.float32))
    assert "data_gain_values" not in scene.facts


@pytest.mark.parametrize("second", ["scene.raw", "scene", "scene.RAW"])
def test_of_two_data_files_the_one_that_fits_is_read_and_the_other_is_told(tmp_path, second):
    put(tmp_path, numbers("float32"), ext=".dat")
    right = (tmp_path / "scene.dat").read_bytes()
    (tmp_path / "scene.dat").rename(tmp_path / second)
    (tmp_path / "scene.dat").write_bytes(right[:-4])
    [scene], left = find_scenes(tmp_path)
    np.testing.assert_array_equal(read(scene, ReadOptions()).reflectance, numbers("float32"))
    assert scene.files == (tmp_path / "scene.hdr", tmp_path / second)
    assert left == [
        (tmp_path / "scene.dat", "a second data file beside the header scene.hdr, which is read with another one")
    ]


def test_two_data_files_that_both_fit_are_refused_and_neither_is_said_to_lack_its_header(tmp_path):
    put(tmp_path, numbers("float32"), ext=".dat")
    (tmp_path / "scene.raw").write_bytes((tmp_path / "scene.dat").read_bytes())
    assert refused(tmp_path) == (
        "scene.dat (560 bytes) and scene.raw (560 bytes) lie beside it, and all of them fit the 560 bytes that it says. "
        "Leave one, or add a line 'data file = scene.dat' to the header."
    )
    assert find_scenes(tmp_path)[1] == []
    header = tmp_path / "scene.hdr"
    header.write_text(header.read_text() + "data file = scene.raw\n")
    assert load(tmp_path).facts["data_file"] == "scene.raw"
    (tmp_path / "scene.hdr").write_text(header.read_text().replace("data file = scene.raw\n", ""))
    (tmp_path / "scene.hdr").rename(tmp_path / "scene.raw.hdr")  # a header named after its file means that one
    assert load(tmp_path).facts["data_file"] == "scene.raw"


def test_micrometers_become_nm(tmp_path):
    put(tmp_path, numbers("float32"), nm=[0.45, 0.5005, 0.544, 0.62], units="Micrometers")
    assert load(tmp_path).wavelengths_nm.tolist() == NM


@pytest.mark.parametrize(
    ("units", "nm", "said"),
    [
        ("Micrometers", NM, "a wavelength of 450000 nm: its unit, or the list, cannot be right (as they stand, 450 … 620"),
        ("um", NM, "450000 nm"),
        (
            "Nanometers",
            [0.45, 0.5, 0.55, 0.6],
            "a wavelength of 0.45 nm: its unit, or the list, cannot be right. Correct it",
        ),
        ("Angstroms", NM, "a wavelength of 45 nm"),
        ("Micrometers", [0.45, 0.5, 0.55, 31], "31000 nm"),
        ("", [450, 500, 550, 40_000], "names no unit of its wavelengths, and 40000 cannot be nm"),
    ],
)
def test_a_unit_that_contradicts_its_numbers_is_refused_with_the_ways_out(tmp_path, units, nm, said):
    put(tmp_path, numbers("float32"), nm=nm, units=units)
    message = refused(tmp_path)
    assert said in message
    assert "--wavelengths" in message
    scene = load(tmp_path, ReadOptions(beside=Beside("scene.wavelengths.txt", tuple(NM))))
    assert scene.wavelengths_nm.tolist() == NM


@pytest.mark.parametrize(
    ("units", "factor"),
    [("Nanometers (nm)", 1), ("Wavelength (nm)", 1), ("[nm]", 1), ("Micrometers (µm)", 1000), ("{Micrometers, um}", 1000)],
)
def test_units_with_brackets_and_words_around_them(tmp_path, units, factor):
    header = put(tmp_path, numbers("float32"), nm=[nm / factor for nm in NM], units="xx")
    header.write_text(header.read_text().replace("xx", units), encoding="utf-8")
    assert load(tmp_path).wavelengths_nm.tolist() == NM


@pytest.mark.parametrize("units", ["Nanometers (um)", "nm (Index)", "%"])
def test_units_that_name_two_things_are_refused_whole(tmp_path, units):
    put(tmp_path, numbers("float32"), units=units)
    assert f"the header has wavelengths in {units!r}" in refused(tmp_path)


@pytest.mark.parametrize("units", ["Wavenumber", "GHz", "Index"])
def test_other_units_are_refused_unless_the_user_says_the_wavelengths(tmp_path, units):
    put(tmp_path, numbers("float32"), units=units)
    assert "--wavelengths" in refused(tmp_path)
    scene = load(tmp_path, ReadOptions(wavelengths_nm=(1, 2, 3, 4)))
    assert scene.wavelengths_nm.tolist() == [1, 2, 3, 4]


def test_no_wavelengths_is_no_error_here(tmp_path):
    put(tmp_path, numbers("float32"), nm=None)
    assert load(tmp_path).wavelengths_nm is None


@pytest.mark.parametrize(
    ("nm", "said"),
    [
        ([450, 500, 550], "4 bands but 3 wavelengths"),
        ([450, 500, 500, 550], "bands 2, 3 have the same wavelength, 500 nm"),
        ([450, 500, "nan", 550], "a wavelength of nan nm"),
        ([450, 500, "blue", 550], "no list of numbers"),
    ],
)
def test_wavelengths_that_do_not_fit(tmp_path, nm, said):
    put(tmp_path, numbers("float32"), nm=nm)
    assert said in refused(tmp_path)


def test_truncated_and_overlong_data(tmp_path):
    put(tmp_path, numbers("float32"))
    data = tmp_path / "scene.img"
    whole = data.read_bytes()
    data.write_bytes(whole[:-1])
    assert "scene.img holds 559 bytes, its header says 560: truncated" in refused(tmp_path)
    data.write_bytes(whole + b"\0" * 4)
    assert "lines, samples, bands, data type" in refused(tmp_path)


def test_missing_data_file(tmp_path):
    put(tmp_path, numbers("float32"))
    (tmp_path / "scene.img").unlink()
    assert "data file is missing" in refused(tmp_path)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", "uint16", "int32", "uint32"])
@pytest.mark.parametrize("order", [0, 1])
def test_a_wrong_byte_order_is_named_and_the_right_one_is_not(tmp_path, dtype, order):
    cube = picture(dtype)
    header = put(tmp_path, cube, nm=[450, 500, 550], dtype=dtype, byteorder=order)
    np.testing.assert_array_equal(load(tmp_path).reflectance, cube.astype(np.float32))
    edit(header, f"byte order = {order}", f"byte order = {1 - order}")
    assert "byte order" in refused(tmp_path)


def test_noise_and_large_counts_are_no_wrong_byte_order(tmp_path):
    rng = np.random.default_rng(1)
    for i, cube in enumerate([rng.integers(0, 65536, (40, 40, 3)), rng.integers(2_000_000, 9_000_000, (40, 40, 3))]):
        folder = tmp_path / str(i)
        folder.mkdir()
        dtype = ["uint16", "uint32"][i]
        put(folder, cube.astype(dtype), nm=[450, 500, 550], dtype=dtype)
        np.testing.assert_array_equal(load(folder).reflectance, cube.astype(np.float32))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16"])
def test_ignored_values_are_missing(tmp_path, dtype):
    cube = numbers(dtype)
    value = -9999 if dtype == "int16" else -9999.1
    cube[0, :2, 1] = value
    put(tmp_path, cube, more={"data ignore value": value, "reflectance scale factor": 2})
    expected = cube.astype(np.float32) / 2
    expected[0, :2, 1] = np.nan
    np.testing.assert_array_equal(load(tmp_path).reflectance, expected)


def test_nan_stays(tmp_path):
    cube = numbers("float32")
    cube[1, 2, 3] = np.nan
    put(tmp_path, cube)
    np.testing.assert_array_equal(load(tmp_path).reflectance, cube)


def test_bad_bands_are_kept_and_recorded(tmp_path):
    put(tmp_path, numbers("float32"), more={"bbl": [1, 0, 1, 0]})
    scene = load(tmp_path)
    assert scene.facts["bad_bands"] == [1, 3]
    assert scene.reflectance.shape[2] == B


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("data type = 4", "data type = 6", "complex"),
        ("data type = 4", "data type = 9", "complex"),
        ("data type = 4", "data type = 77", "data type"),
        ("interleave = bip", "interleave = bix", "interleave"),
        ("lines = 5", "lines = -5", "lines"),
        ("lines = 5", "lines = many", "lines"),
        ("lines = 5", "", "lines"),
        ("samples = 7", "samples = 7000000000000", "header says"),
        ("byte order = 0", "byte order = 2", "byte order"),
        ("file type = ENVI Standard", "file type = ENVI Spectral Library", "file type"),
        ("header offset = 0", "header offset = 0\nfile compression = 1", "compress"),
        ("header offset = 0", "header offset = 0\nmajor frame offsets = {1, 2}", "frame offsets"),
        ("ENVI\n", "ENVELOPE\n", "ENVI"),
    ],
)
def test_headers_that_cannot_be_used(tmp_path, old, new, said):
    header = put(tmp_path, numbers("float32"), byteorder=0)
    edit(header, old, new)
    assert said in refused(tmp_path)


def test_capital_fields_and_a_latin_header_are_read(tmp_path):
    header = put(tmp_path, numbers("float32"))
    edit(header, "wavelength units", "Wavelength Units")
    edit(header, "samples", "Samples")
    assert load(tmp_path).wavelengths_nm.tolist() == NM
    header.write_bytes(header.read_bytes() + "operator = Jörg\n".encode("latin-1"))
    assert load(tmp_path).wavelengths_nm.tolist() == NM


def test_a_data_file_may_be_named_but_not_outside_the_root(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "secret.bin"
    (root / "a").mkdir(parents=True)
    header = put(root / "a", numbers("float32"))
    (root / "a" / "scene.img").rename(root / "other.bin")
    outside.write_bytes((root / "other.bin").read_bytes())
    header.write_text(header.read_text() + "data file = ../other.bin\n")
    [found] = find(root / "a", [header], root)
    assert found.files == (header, root / "other.bin")
    np.testing.assert_array_equal(read(found, ReadOptions()).reflectance, numbers("float32"))
    for name in ("../../secret.bin", str(outside), "../../../../etc/passwd"):
        edit(header, header.read_text().splitlines()[-1], f"data file = {name}")
        assert "outside root/" in refused(root, folder=root / "a")
    edit(header, header.read_text().splitlines()[-1], "data file = a\0b")
    refused(root, folder=root / "a")


HEADER = b"""ENVI
description = {x}
samples = 2
lines = 2
bands = 2
header offset = 0
file type = ENVI Standard
data type = 4
interleave = bsq
byte order = 0
wavelength units = nm
wavelength = {450, 500}
data ignore value = -1
reflectance scale factor = 2
bbl = {1, 1}
"""


@settings(max_examples=80, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.tuples(st.integers(0, len(HEADER)), st.integers(0, 12), st.binary(max_size=6))))
def test_any_header_and_any_data_raise_only_our_error(tmp_path_factory, change):
    folder = tmp_path_factory.mktemp("fuzz")
    text = change
    if isinstance(change, tuple):
        at, length, new = change
        text = HEADER[:at] + new + HEADER[at + length :]
    (folder / "x.hdr").write_bytes(text)
    (folder / "x").write_bytes(np.arange(8, dtype="<f4").tobytes())
    try:
        scene = load(folder)
    except CubeError:
        return
    assert scene.reflectance.ndim == 3
