"""References by their names and by what they hold: which files are some, whose they are, and what comes out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from hyperderm.errors import CubeError
from hyperderm.ingest.formats.scene import Found, ReadOptions, Scene
from hyperderm.ingest.layouts import scene_folder
from hyperderm.ingest.layouts.references import applied, parted, read
from hyperderm.ingest.layouts.scene_folder import Camera
from hyperderm.ingest.lesions import CropOptions
from hyperderm.ingest.reflectance import to_reflectance
from tests.ingest.sources import read_one

H, W, B = 6, 8, 5
NM = np.linspace(460.0, 620.0, B)
RNG = np.random.default_rng(0)
TRUE = RNG.uniform(0.1, 0.9, (H, W, B)).astype(np.float32)
DARK = RNG.integers(90, 110, (W, B)).astype(np.uint16)
WHITE = (DARK + RNG.integers(2000, 3000, (W, B))).astype(np.uint16)
RAW = (DARK + TRUE * (WHITE - DARK.astype(float))).astype(np.float32)


def envi(path: Path, array: np.ndarray, nm=NM, **fields: object) -> Path:
    from spectral.io import envi as files

    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"wavelength": list(nm), "wavelength units": "nm", **fields}
    files.save_image(str(path), array, dtype=array.dtype, ext="raw", metadata=metadata, interleave="bil", force=True)
    return path


def lines(line: np.ndarray, count: int = 3) -> np.ndarray:
    """A few lines whose mean is `line`."""
    steps = np.arange(count) - (count - 1) // 2
    return (line[None].astype(np.int32) + steps[:, None, None]).astype(np.uint16)


@pytest.mark.parametrize("form", ["(n, W, B)", "(1, W, B)", "(W, B)", "(H, W, B)", "(N, H, W, B)"])
def test_lines_are_averaged_and_applied_to_their_columns(form):
    def shaped(line):
        full = np.broadcast_to(line, (H, W, B))
        return {
            "(n, W, B)": lines(line),
            "(1, W, B)": line[None],
            "(W, B)": line,
            "(H, W, B)": full,
            "(N, H, W, B)": np.stack([full, full]),
        }[form]

    got, facts = to_reflectance(RAW, shaped(DARK), shaped(WHITE))
    np.testing.assert_allclose(got, TRUE, atol=1e-5)
    assert facts["calibrated"] == "(raw - dark) / (white - dark)"


def test_a_row_of_one_spectrum_and_as_many_lines_as_rows():
    np.testing.assert_allclose(to_reflectance(RAW, None, np.full((1, B), 2.0))[0], RAW / 2, rtol=1e-6)
    ramp = np.arange(1.0, H + 1)[:, None, None] * np.ones((H, W, B))
    np.testing.assert_allclose(
        to_reflectance(RAW, None, ramp)[0], RAW / ramp, rtol=1e-6
    )  # of the image's shape: pixel by pixel
    with pytest.raises(CubeError, match=r"one of \(6, 8, 5\), \(N, 6, 8, 5\), \(5,\), \(8, 5\), \(N, 8, 5\) fits"):
        to_reflectance(RAW, None, np.ones((H, W - 1, B)))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("WHITEREF_scan", "white"),
        ("DARKREF_scan", "dark"),
        ("scan_whiteref", "white"),
        ("scan-white-reference", "white"),
        ("darkReference", "dark"),
        ("scanDarkRef", "dark"),
        ("White Reference 2", "white"),
        ("WHITEDARKREF_scan", "white_dark"),
        ("white", "white"),
        ("dark_current", "dark"),
        ("flat_field", "white"),
        ("whiteref/panel", "white"),
        ("black", "dark"),
        ("BLACKREF_scan", "dark"),
        ("ref_white", "white"),
        ("reference-dark", "dark"),
        ("white_20ms", "white"),
        ("dark_0.5s_2", "dark"),
        ("dark_2024_05_01", "dark"),
        ("whiteCalibration", "white"),
        ("calib_dark", "dark"),
        ("whites", "white"),
        ("BLACKS", "dark"),
        ("dark_noise", "dark"),
        ("whiteboard", "white"),
        ("BlackBalance", "dark"),
        ("White Reference (1)", "white"),
        ("WREF_scan", "white"),
        ("scan_dref", "dark"),
        ("white_black_ref", "white_dark"),
        ("black_mole", None),
        ("blackberry", None),
        ("white_paper", None),
        ("white_lesion", None),
        ("dark_nevus_3", None),
        ("white/arm", None),
        ("whitehead", None),
        ("darkrefuge", None),
        ("flathead", None),
        ("reference", None),
    ],
)
def test_names_of_references_are_few(name, kind, tmp_path):
    path = tmp_path / f"{name}.npy"
    _, references = parted([Found(name, path, (path,), "")])
    assert [one.kind for one in references] == [kind] * (kind is not None)


def test_a_word_alone_counts_beside_a_scan_of_that_name():
    found = [Found(n, Path(f"{n}.npy"), (Path(f"{n}.npy"),), "numpy") for n in ("arm", "arm_white", "dark_arm", "white_leg")]
    left, known = parted(found)
    assert [one.name for one in left] == ["arm", "white_leg"]
    assert [(one.kind, one.scan) for one in known] == [("white", "arm"), ("dark", "arm")]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("black_scan1", "dark"),
        ("SCAN1_WHITE", "white"),
        ("scan1_wr", "white"),
        ("dr_scan1", "dark"),
        ("scan1white", "white"),
        ("whitescan1", "white"),
        ("scan1_white_tile", "white"),
        ("dark_current_scan1", "dark"),
        ("white_scan1_20ms", "white"),
        ("dark_20ms_scan1", "dark"),
        ("whiteref_scan1_20ms", "white"),
        ("reference_dark_scan1", "dark"),
        ("BLACKREF_scan1", "dark"),
        ("DREF_scan1", "dark"),
    ],
)
def test_references_of_one_scan_in_either_order_with_exposures_and_without(name, kind):
    found = [Found(n, Path(f"{n}.npy"), (Path(f"{n}.npy"),), "numpy") for n in ("scan1", "scan10", name)]
    left, known = parted(found)
    assert [one.name for one in left] == ["scan1", "scan10"]
    assert [(one.kind, one.scan) for one in known] == [(kind, "scan1")]


@pytest.mark.parametrize("name", ["white_scan10", "WHITEREF_scan10", "white_496", "whiteref_496", "scan10_wr"])
def test_the_beginning_of_a_name_is_no_scan(name):
    found = [Found(n, Path(f"{n}.npy"), (Path(f"{n}.npy"),), "numpy") for n in ("scan1", "4", name)]
    assert not {one.scan for one in parted(found)[1]} & {"scan1", "4"}


@pytest.mark.parametrize(
    ("white", "dark"),
    [
        ("white", "black"),
        ("ref_white", "ref_dark"),
        ("white_20ms", "dark_20ms"),
        ("white_calibration", "dark_calibration"),
        ("whites", "dark_noise"),
        ("scan_wr", "scan_dr"),
        ("WREF_scan", "DREF_scan"),
        ("whiteboard", "blackboard"),
        ("WHITEREF_scan", "BLACKREF_scan"),
    ],
)
def test_common_spellings_calibrate_their_scan(tmp_path, white, dark):
    envi(tmp_path / "scan.hdr", RAW)
    envi(tmp_path / f"{white}.hdr", lines(WHITE))
    envi(tmp_path / f"{dark}.hdr", lines(DARK))
    [source] = scene_folder.scan(tmp_path, Camera())
    np.testing.assert_allclose(scene_folder.open_image(source, tmp_path).reflectance, TRUE, atol=1e-5)
    assert scene_folder.orphans(tmp_path, [source]) == []


@pytest.mark.parametrize("name", ["white_paper", "paper_black", "white/scan", "calibration"])
def test_what_may_be_a_reference_is_set_aside_beside_scans_and_a_scene_where_a_mask_or_table_says_so(tmp_path, name):
    root = tmp_path / "data"
    envi(root / "scan.hdr", RAW)
    envi(root / f"{name}.hdr", RAW)
    sources = scene_folder.scan(root, Camera())
    assert [one.found.name for one in sources] == ["scan"]
    [said] = scene_folder.orphans(root, sources)
    assert said.file == f"{name}.hdr"
    assert said.reason.startswith(
        "its name may be that of a white or dark reference of the other scans. If it is one, name it"
    )
    assert "mark it with a mask, name it in a table of diagnoses, or rename it" in said.reason
    (root / "labels.csv").write_text(f"image,diagnosis\n{name},nevus\n")
    assert {one.found.name for one in scene_folder.scan(root, Camera())} == {"scan", name}
    (root / "labels.csv").unlink()
    mask = root / "masks" / f"{name}_00.png"
    mask.parent.mkdir(parents=True)
    Image.fromarray(np.eye(H, W, dtype=np.uint8) * 255).save(mask)
    assert {one.found.name for one in scene_folder.scan(root, Camera())} == {"scan", name}


@pytest.mark.parametrize("name", ["dark_nevus_03", "black_mole", "white_lesion", "arm_black"])
def test_a_lesion_may_be_called_black(tmp_path, name):
    envi(tmp_path / "scan.hdr", RAW)
    envi(tmp_path / f"{name}.hdr", RAW)
    assert {one.found.name for one in scene_folder.scan(tmp_path, Camera())} == {"scan", name}


def test_where_every_scan_is_called_white_none_is_in_doubt(tmp_path):
    for n in "ab":
        envi(tmp_path / f"white_{n}.hdr", RAW)
    assert [one.found.name for one in scene_folder.scan(tmp_path, Camera())] == ["white_a", "white_b"]


@pytest.mark.parametrize(
    ("scan", "reference"),
    [("arm0.bil", "{}_arm0"), ("arm0", "{}_arm0.bil"), ("arm0.BIL", "arm0.raw_{}"), ("arm0.raw", "{}")],
)
def test_double_suffixes_of_scans_and_references(tmp_path, scan, reference):
    def named(name, array):
        place = tmp_path / f"{name}.hdr"
        envi(tmp_path / "x.hdr", array)
        (tmp_path / "x.hdr").rename(place)
        (tmp_path / "x.raw").rename(place.with_suffix("" if "." in name else ".raw"))

    named(scan, RAW)
    named(reference.format("WHITEREF"), lines(WHITE))
    named(reference.format("DARKREF"), lines(DARK))
    np.testing.assert_allclose(image_of(tmp_path, scan).reflectance, TRUE, atol=1e-5)


def scan_folder(root: Path, name: str, gain: float) -> None:
    """A push-broom scan with its references, as Specim's cameras leave it."""
    capture = root / name / "capture"
    envi(capture / f"{name}.hdr", (DARK + TRUE * gain).astype(np.float32))
    envi(capture / f"WHITEREF_{name}.hdr", np.broadcast_to((DARK + gain).astype(np.uint16), (4, W, B)).copy())
    envi(capture / f"DARKREF_{name}.hdr", lines(DARK))


def image_of(root: Path, name: str, camera: Camera | None = None):
    [source] = [one for one in scene_folder.scan(root, camera or Camera()) if one.found.name == name]
    return scene_folder.open_image(source, root)


def test_every_scan_is_calibrated_by_its_own_references(tmp_path):
    for name, gain in (("one", 1000.0), ("two", 3000.0)):
        scan_folder(tmp_path, name, gain)
    sources = scene_folder.scan(tmp_path, Camera())
    assert [one.found.name for one in sources] == ["one/capture/one", "two/capture/two"]
    for source in sources:
        image = scene_folder.open_image(source, tmp_path)
        np.testing.assert_allclose(image.reflectance, TRUE, atol=1e-5)
        stem = source.found.name[:3]
        assert (image.facts["white"], image.facts["dark"]) == (f"WHITEREF_{stem}.hdr", f"DARKREF_{stem}.hdr")
    assert scene_folder.orphans(tmp_path, sources) == []
    [said] = scene_folder.used_references(tmp_path, sources)
    assert said.startswith("2 of 2 images become reflectance, (raw - dark) / (white - dark), by the references beside each")


def test_one_named_file_is_calibrated_too(tmp_path):
    scan_folder(tmp_path, "one", 1000.0)
    header = tmp_path / "one" / "capture" / "one.hdr"
    [source] = scene_folder.scan(header, Camera())
    np.testing.assert_allclose(scene_folder.open_image(source, header).reflectance, TRUE, atol=1e-5)
    with pytest.raises(CubeError, match=r"WHITEREF_one.hdr is a white reference by its name, no scene"):
        scene_folder.scan(header.with_name("WHITEREF_one.hdr"), Camera())


def test_without_references_counts_stay_and_the_files_are_named(tmp_path):
    scan_folder(tmp_path, "one", 1000.0)
    camera = Camera(references=False)
    sources = scene_folder.scan(tmp_path, camera)
    image = scene_folder.open_image(sources[0], tmp_path)
    np.testing.assert_array_equal(image.reflectance, (DARK + TRUE * 1000.0).astype(np.float32))
    assert [(one.file, one.reason) for one in scene_folder.orphans(tmp_path, sources)] == [
        (f"one/capture/{word}REF_one.hdr", f"a {word.lower()} reference by its name, no scene: --no-references was given")
        for word in ("DARK", "WHITE")
    ]


@pytest.mark.parametrize("suffix", [".hdr", ".raw", ".npy", ".tif", ".npz"])
def test_given_references_in_every_format_are_no_scenes(tmp_path, suffix):
    envi(tmp_path / "scan.hdr", RAW)
    for name, line in (("w", WHITE), ("d", DARK)):
        if suffix in (".hdr", ".raw"):
            envi(tmp_path / f"{name}.hdr", lines(line))
        elif suffix == ".npy":
            np.save(tmp_path / f"{name}.npy", lines(line))
        elif suffix == ".npz":
            np.savez(tmp_path / f"{name}.npz", lines(line))
        else:
            tifffile.imwrite(tmp_path / f"{name}.tif", lines(line), photometric="minisblack")
    camera = Camera(white=tmp_path / f"w{suffix}", dark=tmp_path / f"d{suffix}")
    [source] = scene_folder.scan(tmp_path, camera)
    assert source.found.name == "scan"
    np.testing.assert_allclose(scene_folder.open_image(source, tmp_path).reflectance, TRUE, atol=1e-5)
    assert scene_folder.orphans(tmp_path, [source]) == []


def test_bands_as_pages_of_a_tiff(tmp_path):
    tifffile.imwrite(tmp_path / "w.tif", np.moveaxis(lines(WHITE), -1, 0), photometric="minisblack")
    got = applied(Scene(RAW, NM), tmp_path / "w.tif", None, 1.0, ReadOptions())
    np.testing.assert_allclose(got.reflectance, RAW / WHITE, rtol=1e-5)


def test_the_order_of_the_image_s_file_counts_for_a_reference_without_wavelengths(tmp_path):
    np.save(tmp_path / "w.npy", WHITE[:, ::-1])  # as the camera wrote them: falling, and so the image was sorted
    order = list(range(B))[::-1]
    got = applied(Scene(RAW, NM, {"band_order": order}), tmp_path / "w.npy", None, 1.0, ReadOptions())
    np.testing.assert_allclose(got.reflectance, RAW / WHITE, rtol=1e-5)


def test_a_header_s_factor_is_honoured(tmp_path):
    envi(tmp_path / "w.hdr", lines(WHITE), **{"reflectance scale factor": 10})
    values, nm = read(tmp_path / "w.hdr", ReadOptions())
    np.testing.assert_allclose(values.mean(axis=0), WHITE / 10, rtol=1e-5)
    np.testing.assert_allclose(nm, NM)
    assert read(envi(tmp_path / "v.hdr", lines(WHITE)), ReadOptions())[0].dtype == np.uint16  # counts that may be saturated


def test_references_of_other_bands_or_of_a_finished_image_are_refused(tmp_path):
    envi(tmp_path / "w.hdr", lines(WHITE), nm=NM + 3)
    with pytest.raises(CubeError, match=r"w.hdr is of other bands: its wavelengths are up to 3 nm off the image's"):
        applied(Scene(RAW, NM), tmp_path / "w.hdr", None, 1.0, ReadOptions())
    envi(tmp_path / "v.hdr", lines(WHITE))
    with pytest.raises(CubeError, match=r"they are reflectance .* Is the image in reflectance already"):
        applied(Scene(TRUE, NM), tmp_path / "v.hdr", None, 1.0, ReadOptions())
    (tmp_path / "x.raw").write_bytes(b"1")
    with pytest.raises(CubeError, match=r"x.raw: none of the files that hold a reference"):
        read(tmp_path / "x.raw", ReadOptions())


def aside_of(root: Path) -> dict[str, str]:
    sources = scene_folder.scan(root, Camera())
    read_ = [read_one("scenes", source, root, CropOptions(None))[1] for source in sources]
    return {one.file: one.reason for each in [scene_folder.orphans(root, sources), *read_] for one in each}


def test_counts_are_not_stored_where_it_is_unclear_which_references_are_meant(tmp_path):
    scan_folder(tmp_path, "one", 1000.0)
    capture = tmp_path / "one" / "capture"
    envi(capture / "later.hdr", RAW)
    reason = aside_of(tmp_path)["one/capture/later.hdr"]
    assert (
        "no reflectance (about 0 … 2), it has no white reference, and those beside it belong to other scans (WHITEREF_one"
        in reason
    )
    assert "Give it references of its own: WHITEREF_<its name> and DARKREF_<its name> beside it, or a folder" in reason
    np.save(capture / "whiteref.npy", WHITE)
    np.save(capture / "white_reference.npy", WHITE)
    reason = aside_of(tmp_path)["one/capture/later.hdr"]
    assert reason.startswith("2 white references may be meant (white_reference.npy, whiteref.npy)")


def test_the_nearest_reference_of_a_folder_counts_and_a_dark_one_alone_does_not(tmp_path):
    envi(tmp_path / "day" / "a.hdr", RAW)
    envi(tmp_path / "day" / "deep" / "b.hdr", RAW)
    envi(tmp_path / "other" / "c.hdr", RAW)
    envi(tmp_path / "day" / "whiteReference.hdr", lines(WHITE))
    envi(tmp_path / "day" / "darkReference.hdr", lines(DARK))
    envi(tmp_path / "other" / "darkReference.hdr", lines(DARK))
    for name in ("day/a", "day/deep/b"):
        np.testing.assert_allclose(image_of(tmp_path, name).reflectance, TRUE, atol=1e-5)
    np.testing.assert_array_equal(image_of(tmp_path, "other/c").reflectance, RAW)
    assert aside_of(tmp_path) == {
        "other/darkReference.hdr": "a dark reference by its name, no scene: no white one lies beside it"
    }


def test_numbers_name_scans_where_scans_have_them(tmp_path):
    """Specim IQ calls scans 496, 497, … and lets several lie in one folder once they were copied together."""
    for name, gain in (("496", 1000.0), ("497", 3000.0)):
        envi(tmp_path / f"{name}.hdr", (TRUE * gain).astype(np.float32))
        envi(tmp_path / f"WHITEREF_{name}.hdr", np.full((2, W, B), gain, np.uint16))
    for name in ("496", "497"):
        np.testing.assert_allclose(image_of(tmp_path, name).reflectance, TRUE, atol=1e-5)


def test_raw_frames_have_references_beside_them_too(tmp_path):
    from hyperderm.ingest.formats.mosaic import Mosaic

    white = np.full((8, 8), 1000, np.uint16)
    tifffile.imwrite(tmp_path / "frame.tif", white // 2)
    tifffile.imwrite(tmp_path / "whiteref_frame.tif", white)
    camera = Camera(mosaic=Mosaic(wavelengths_nm=tuple(np.arange(465.0, 625, 10))))
    [source] = scene_folder.scan(tmp_path, camera)
    np.testing.assert_allclose(scene_folder.open_image(source, tmp_path).reflectance, 0.5)
    assert scene_folder.orphans(tmp_path, [source]) == []
    [source] = scene_folder.scan(tmp_path, replace(camera, references=False))
    np.testing.assert_allclose(scene_folder.open_image(source, tmp_path).reflectance, 500)


def test_a_folder_of_references_alone(tmp_path):
    np.save(tmp_path / "whiteref.npy", WHITE)
    with pytest.raises(CubeError, match="holds references and no scene"):
        scene_folder.scan(tmp_path, Camera())


def specim(folder: Path, *, references: bool = True) -> None:
    """One scan as a Specim IQ leaves it: counts and references in capture/, its own reflectance in results/."""
    envi(folder / "capture" / "7.hdr", RAW)
    if references:
        envi(folder / "capture" / "WHITEREF_7.hdr", lines(WHITE))
        envi(folder / "capture" / "DARKREF_7.hdr", lines(DARK))
    envi(folder / "results" / "REFLECTANCE_7.hdr", TRUE)


@pytest.mark.parametrize(
    ("references", "camera", "name", "said"),
    [
        (True, Camera(), "one/capture/7", "the camera's reflectance of one/capture/7, which becomes"),
        (True, Camera(references=False), "one/results/REFLECTANCE_7", "the counts of one/results/REFLECTANCE_7"),
        (False, Camera(), "one/results/REFLECTANCE_7", "the counts of one/results/REFLECTANCE_7"),
    ],
)
def test_counts_and_reflectance_of_one_scan_are_one_lesion(tmp_path, references, camera, name, said):
    specim(tmp_path / "one", references=references)
    (only,) = sources = scene_folder.scan(tmp_path, camera)
    assert only.name == name
    np.testing.assert_allclose(scene_folder.open_image(only, tmp_path).reflectance, TRUE, atol=1e-3)
    reasons = [one for one in scene_folder.orphans(tmp_path, sources) if "reference by its name" not in one.reason]
    assert len(reasons) == 1
    assert reasons[0].reason.startswith(said)


def test_a_reflectance_without_its_counts_beside_it_is_a_scene_like_any_other(tmp_path):
    envi(tmp_path / "a" / "results" / "REFLECTANCE_7.hdr", TRUE)
    envi(tmp_path / "b" / "capture" / "7.hdr", TRUE)
    assert [one.name for one in scene_folder.scan(tmp_path, Camera())] == ["a/results/REFLECTANCE_7", "b/capture/7"]


PER_CENT = TRUE * 100
BYTES = np.linspace(180, 240, W * B).reshape(W, B).astype(np.uint8)


@pytest.mark.parametrize(
    ("values", "dark", "white", "said"),
    [
        (TRUE, DARK, WHITE, "most of them lie below the dark reference"),
        (
            TRUE * 1.9,
            None,
            WHITE,
            "they are reflectance (about 0 … 2) already, or scaled, and the white reference is in counts",
        ),
        (TRUE, None, BYTES, "they are reflectance (about 0 … 2) already, or scaled, and the white reference is in counts"),
        (PER_CENT.clip(0, 80), DARK, WHITE, "most of them lie below the dark reference"),
        (TRUE * 20, None, WHITE, "what comes out has the median 0.00"),
        (DARK - np.float32(5) + 0 * RAW, DARK, None, "most of them lie below the dark reference"),
    ],
)
@pytest.mark.parametrize("beside", [False, True])
def test_what_cannot_be_raw_values_of_its_references_is_set_aside_with_both_ranges(
    tmp_path, values, dark, white, said, beside
):
    root = tmp_path / "data"
    envi(root / "scan.hdr", values.astype(np.float32))
    place = root if beside else tmp_path
    given = {name: place / f"{name}ref.npy" for name, line in (("dark", dark), ("white", white)) if line is not None}
    for name, path in given.items():
        np.save(path, dark if name == "dark" else white)
    if beside and white is None:
        return  # a dark reference alone is not used there
    sources = scene_folder.scan(root, Camera() if beside else Camera(**given))
    lesions, [aside] = read_one("scenes", sources[0], root, CropOptions(None))
    assert not lesions
    assert said in aside.reason
    low, high = values.min(), values.max()
    assert aside.reason.startswith(f"its values ({low:.4g} … {high:.4g}) cannot be raw ones of the reference")
    for name, path in given.items():
        line = dark if name == "dark" else white
        assert f"{path.name} ({float(line.min()):.4g} … {float(line.max()):.4g})" in aside.reason
    assert "call each reference after its scan (WHITEREF_<scan>, DARKREF_<scan>)" in aside.reason


def test_numbers_that_a_header_scales_to_reflectance_are_no_counts(tmp_path):
    envi(tmp_path / "scan.hdr", (TRUE * 10000).astype(np.uint16), **{"reflectance scale factor": 10000})
    np.save(tmp_path / "whiteref.npy", WHITE)
    assert "they are reflectance (about 0 … 2) already" in aside_of(tmp_path)["scan.hdr"]
    np.save(tmp_path / "whiteref.npy", WHITE.astype(np.float32) / 4000)  # taken in the same unit: then they go together
    np.testing.assert_allclose(image_of(tmp_path, "scan").reflectance, TRUE * 4000 / WHITE, rtol=1e-3)


def test_raw_frames_that_are_no_raw_values_are_set_aside_too(tmp_path):
    from hyperderm.ingest.formats.mosaic import Mosaic

    frame = np.random.default_rng(1).integers(2, 9, (8, 8)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "frame.tif", frame)
    tifffile.imwrite(tmp_path / "whiteref_frame.tif", np.full((8, 8), 1000, np.uint16))
    tifffile.imwrite(tmp_path / "darkref_frame.tif", np.full((8, 8), 50, np.uint16))
    [source] = scene_folder.scan(tmp_path, Camera(mosaic=Mosaic(wavelengths_nm=tuple(np.arange(465.0, 625, 10)))))
    with pytest.raises(CubeError, match=r"cannot be raw ones of the references darkref_frame.tif \(50 … 50\) and whiteref"):
        scene_folder.open_image(source, tmp_path)


@pytest.mark.parametrize("white", ["WHITEREF_scan1", "scan1_white", "white_reference/scan1"])
def test_references_of_one_scan_do_not_stand_in_the_way_of_others(tmp_path, white):
    envi(tmp_path / "scan1.hdr", RAW)
    envi(tmp_path / f"{white}.hdr", lines(WHITE))
    envi(tmp_path / f"{white.replace('white', 'dark').replace('WHITE', 'DARK')}.hdr", lines(DARK))
    envi(tmp_path / "ready.hdr", TRUE)
    np.savez(tmp_path / "other.npz", cube=TRUE / 2, wavelengths_nm=NM)
    np.testing.assert_allclose(image_of(tmp_path, "scan1").reflectance, TRUE, atol=1e-5)
    np.testing.assert_array_equal(image_of(tmp_path, "ready").reflectance, TRUE)
    np.testing.assert_array_equal(image_of(tmp_path, "other").reflectance, TRUE / 2)
    assert aside_of(tmp_path) == {}


def test_the_remedies_for_counts_beside_references_of_others_work(tmp_path):
    envi(tmp_path / "scan1.hdr", RAW)
    envi(tmp_path / "WHITEREF_scan1.hdr", lines(WHITE))
    envi(tmp_path / "DARKREF_scan1.hdr", lines(DARK))
    envi(tmp_path / "scan2.hdr", RAW)
    assert list(aside_of(tmp_path)) == ["scan2.hdr"]
    envi(tmp_path / "WHITEREF_scan2.hdr", lines(WHITE))
    reason = aside_of(tmp_path)["scan2.hdr"]  # a white one alone would leave the camera's offset in
    assert reason.startswith(
        "dark references lie beside it, and none is called after it (DARKREF_scan1.hdr). Call them after"
    )
    envi(tmp_path / "DARKREF_scan2.hdr", lines(DARK))
    assert aside_of(tmp_path) == {}
    np.testing.assert_allclose(image_of(tmp_path, "scan2").reflectance, TRUE, atol=1e-5)


def test_references_of_no_scan_that_exists_are_in_doubt_for_all(tmp_path):
    envi(tmp_path / "a.hdr", TRUE)
    envi(tmp_path / "WHITEREF_gone.hdr", lines(WHITE))
    assert aside_of(tmp_path)["a.hdr"].startswith(
        "white references lie beside it, and none is called after it (WHITEREF_gone.hdr). Call them after it (WHITEREF_<its"
    )
