"""Variants of what laboratories have: names in other case, side files further up, ids that a spreadsheet rewrote."""

import struct
import zlib
from contextlib import suppress

import numpy as np
import pytest
import scipy.io
from PIL import Image

from hyperderm.errors import CubeError
from hyperderm.ingest.formats.matlab import read_arrays
from hyperderm.store.reader import open_store
from tests.command import command  # noqa: F401 - a fixture

H, W, B = 20, 24, 5
NM = [450.0, 500.0, 550.0, 600.0, 650.0]
CUBE = ((np.arange(H * W * B).reshape(H, W, B) + 100) / 4096).astype(np.float32)
SIDE = "\n".join(map(str, NM))


@pytest.fixture
def take(tmp_path, command):  # noqa: F811
    """Ingest a folder: the answer, and the store where one was made."""

    def take(root, *options):
        place = tmp_path / f"store{len(list(tmp_path.glob('store*')))}"
        check = command("ingest", root, "--check", "--size", "native", *(options or ("--folds", 0)))
        answer = command("ingest", root, "--store", place, "--size", "native", *(options or ("--folds", 0)))
        assert check.returncode == answer.returncode
        return answer, open_store(str(place)) if answer.returncode == 0 else None

    return take


def folder(tmp_path, *names, nm=SIDE):
    root = tmp_path / "data"
    for seed, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(root / f"{name}.npy", CUBE + seed / 100)
    if nm is not None:
        (root / "wavelengths.txt").write_text(nm)
    return root


def hsidermoscopy(root, **variables):
    for kind in ("images", "masks"):
        (root / kind / "MMCube").mkdir(parents=True)
    scipy.io.savemat(root / "images/MMCube/1.mat", variables)
    mask = np.zeros((H, W), np.uint8)
    mask[6:14, 6:18] = 255
    Image.fromarray(mask).save(root / "masks/MMCube/1_00.png")
    return root


@pytest.mark.parametrize("in_struct", [False, True])
def test_hsidermoscopy_keeps_the_wavelengths_that_its_files_list(tmp_path, take, in_struct):
    held = {"cube": CUBE[..., ::-1], "wavelength": NM[::-1]}
    root = hsidermoscopy(tmp_path / "data", **({"data": held} if in_struct else held))
    answer, store = take(root)
    assert store.manifest.wavelengths_nm == tuple(NM)
    assert "they are taken for nm" in answer.stdout
    assert "its bands were sorted by them" in answer.stdout
    [lesion] = store.lesions()
    top, left, bottom, right = lesion.origin["crop"]
    assert np.array_equal(lesion.cube.reflectance, CUBE[top:bottom, left:right])


def test_hsidermoscopy_with_a_list_that_cannot_be_used_is_refused_with_a_remedy_that_works(tmp_path, take):
    root = hsidermoscopy(tmp_path / "data", cube=CUBE, wavelength=[nm / 1000 for nm in NM])
    answer, _ = take(root)
    assert answer.returncode == 2
    assert "0.45 cannot be nm. Give --wavelengths." in answer.stderr
    _, store = take(root, "--folds", 0, "--wavelengths", "450:650:5")
    assert store.manifest.wavelengths_nm == tuple(NM)


def test_wavelengths_of_a_folder_count_in_the_folders_below_it(tmp_path, take):
    root = folder(tmp_path, "one/a", "two/deep/b")
    (root / "two" / "Wavelengths.TXT").write_text("\n".join(str(nm + 10) for nm in NM))
    answer, _ = take(root)
    assert answer.returncode == 2
    assert "other wavelengths" in answer.stderr
    (root / "two" / "Wavelengths.TXT").unlink()
    answer, store = take(root)
    assert store.manifest.lesions == 2
    assert store.manifest.wavelengths_nm == tuple(NM)
    assert "set aside" not in answer.stdout


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("A.Wavelengths.TXT", SIDE),
        ("a.wavelengths.txt", "wavelength (µm)\n" + "\n".join(f"{nm / 1000:.4f}" for nm in NM)),
        ("a.wavelengths.csv", "um\n" + "\n".join(f"{nm / 1000:.4f}".replace(".", ",") for nm in NM)),
        ("a.wavelengths.txt", "nm\n" + SIDE),
    ],
)
def test_side_files_in_other_case_and_units(tmp_path, take, name, text):
    root = folder(tmp_path, "a", nm=None)
    (root / name).write_text(text)
    _, store = take(root)
    assert store.manifest.wavelengths_nm == tuple(NM)


def test_an_envi_image_whose_two_names_differ_in_case(tmp_path, take):
    root = tmp_path / "data"
    root.mkdir()
    (root / "ARM.RAW").write_bytes(CUBE.astype("<f4").tobytes())
    fields = {"samples": W, "lines": H, "bands": B, "data type": 4, "interleave": "bip", "wavelength units": "nm"}
    said = "\n".join(f"{key} = {value}" for key, value in fields.items())
    (root / "arm.HDR").write_text(f"ENVI\n{said}\nwavelength = {{{', '.join(map(str, NM))}}}\n")
    answer, store = take(root)
    assert store.manifest.lesions == 1
    assert "set aside" not in answer.stdout


@pytest.mark.parametrize("given", [True, False])
def test_ids_that_a_spreadsheet_wrote_with_a_decimal_are_one_patient(tmp_path, take, given):
    root = folder(tmp_path, "a", "b", "c")
    table = "image;diagnosis;patient\na;nevus;7\nb;nevus;7,0\nc;nevus;7,5\n"
    (tmp_path / "patients.csv").write_text(table)
    if not given:
        (root / "labels.csv").write_text(table)
    answer, store = take(root, "--folds", 0, *(["--groups", tmp_path / "patients.csv"] if given else []))
    assert store.index()["group"].to_pylist() == ["7", "7", "7,5"]
    said = (
        "patients.csv: 2 groups of 3 images, as --groups says" if given else "labels.csv: 2 groups of images, from patient"
    )
    assert f"note: {said}" in answer.stdout


def test_a_refusal_says_first_why_the_images_cannot_be_used(tmp_path, take):
    root = folder(tmp_path, "a", nm=None)
    for name in ("x.json", "notes.txt", "README.doc"):
        (root / name).write_text("{}")
    answer, _ = take(root)
    assert "cannot be used (a.npy: nothing says the wavelengths of its 5 bands" in answer.stderr
    assert "; and 1 more)" in answer.stderr


def test_a_scale_by_numbers_that_divides_nothing_is_told(tmp_path, take):
    answer, _ = take(folder(tmp_path, "a"), "--folds", 0, "--scale", "above:50=100")
    assert "note: --scale above:50=100 divided nothing: the highest median of a file is 0.317" in answer.stdout


def test_unknown_diagnoses_are_counted_and_named_where_folds_are_asked_for(tmp_path, take):
    root = folder(tmp_path, *"abcdefg")
    (root / "labels.csv").write_text(
        "image,diagnosis\n" + "".join(f"{n},{'nevus' if n == 'g' else 'unknown'}\n" for n in "abcdefg")
    )
    answer, _ = take(root, "--folds", 3)
    assert "folds need a diagnosis on every lesion, 6 of 7 have none: a, b, c, d and 2 more" in answer.stderr


def test_damaged_structs_are_a_reason_and_no_crash(tmp_path):
    """scipy reads what it unpacks before the checksum is compared, and makes room for whatever a shape says."""
    path = tmp_path / "s.mat"
    held = {"data": {"cube": CUBE[:4, :5], "name": "arm", "deep": {"x": np.arange(4.0)}}}
    refused = 0
    for packed in (False, True):
        scipy.io.savemat(path, held, do_compression=packed)
        assert np.array_equal(read_arrays(path).numeric["data.cube"], CUBE[:4, :5])
        whole = path.read_bytes()
        for at in range(128, len(whole), 7):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x40]) + whole[at + 1 :])
            with suppress(CubeError):  # bytes of numbers are as good as any
                read_arrays(path)
                continue
            refused += 1
    assert refused > 80


def test_what_lies_in_a_compressed_variable_is_checked_too(tmp_path):
    path = tmp_path / "s.mat"
    scipy.io.savemat(path, {"data": {"cube": CUBE[:4, :5]}})
    whole = path.read_bytes()
    shape = whole.index(struct.pack("<II", 5, 8), 128) + 8  # of the struct itself
    huge = bytearray(whole[128:])
    huge[shape - 128 : shape - 124] = struct.pack("<i", 1 << 30)
    packed = zlib.compress(bytes(huge))
    path.write_bytes(whole[:128] + struct.pack("<II", 15, len(packed)) + packed)
    with pytest.raises(CubeError, match="the shape of a cell or struct says more than it holds"):
        read_arrays(path)


def test_the_tree_of_ph2_is_told_where_its_pictures_go_and_read_from_there(tmp_path, take):
    root = tmp_path / "PH2"
    picture, lesion = (
        root / "PH2 Dataset images/IMD002/IMD002_Dermoscopic_Image",
        root / "PH2 Dataset images/IMD002/IMD002_lesion",
    )
    mask = np.zeros((H, W), np.uint8)
    mask[6:14, 6:18] = 255
    for place, name, pixels in ((picture, "IMD002", np.full((H, W, 3), 90, np.uint8)), (lesion, "IMD002_lesion", mask)):
        place.mkdir(parents=True)
        Image.fromarray(pixels).save(place / f"{name}.bmp")
    (root / "PH2_dataset.txt").write_text("|| Name || Clinical Diagnosis || Asymmetry ||\n|| IMD002 || 2 || 0 ||\n")
    answer, _ = take(root)
    assert answer.returncode == 2
    assert (
        "colour photographs lie in images/, their masks in masks/ (those of PH2 too: put its pictures there)"
        in answer.stderr
    )
    picture.rename(root / "images")
    lesion.rename(root / "masks")
    answer, store = take(root)
    [found] = store.lesions()
    assert (found.diagnosis, int(found.mask.sum())) == ("melanoma", 8 * 12)


def test_a_mask_of_a_raw_frame_fits_after_bilinear_demosaicking(tmp_path, take):
    root = tmp_path / "data"
    (root / "masks").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(100, 900, (64, 64)).astype(np.uint16)
    Image.fromarray(pixels).save(root / "a.png")
    mask = np.zeros((64, 64), np.uint8)
    mask[20:40, 20:40] = 255
    Image.fromarray(mask).save(root / "masks/a_00.png")
    options = ("--folds", 0, "--layout", "mosaic", "--wavelengths", "465:630:16")
    answer, _ = take(root, *options)
    assert "--demosaic bilinear keeps the frame's size" in answer.stderr
    _, store = take(root, *options, "--demosaic", "bilinear")
    assert [int(lesion.mask.sum()) for lesion in store.lesions()] == [400]


OTHER = [500.0, 520.0, 540.0, 560.0, 580.0]


@pytest.mark.parametrize(
    "place",
    ["wavelengths.txt", "images/wavelengths.csv", "images/MMCube/Wavelengths.TXT", "images/MMCube/1.mat.wavelengths.txt"],
)
def test_hsidermoscopy_takes_the_wavelengths_that_lie_beside_it(tmp_path, take, place):
    root = hsidermoscopy(tmp_path / "data", cube=CUBE[..., ::-1])
    (root / place).write_text("\n".join(map(str, OTHER[::-1])))
    answer, store = take(root)
    assert store.manifest.wavelengths_nm == tuple(OTHER)
    assert store.manifest.set_aside == ()
    [lesion] = store.lesions()
    top, left, bottom, right = lesion.origin["crop"]
    assert np.array_equal(lesion.cube.reflectance, CUBE[top:bottom, left:right])
    assert lesion.origin["side_wavelengths"] == place.rpartition("/")[2]
    answer, store = take(root, "--folds", 0, "--wavelengths", "650,600,550,500,450")
    assert store.manifest.wavelengths_nm == tuple(NM)
    assert f"{place.rpartition('/')[2]} was not used: wavelengths as asked" in answer.stdout


def test_hsidermoscopy_takes_the_closest_side_file_and_its_own_list_before_that(tmp_path, take):
    root = hsidermoscopy(tmp_path / "data", cube=CUBE)
    (root / "wavelengths.txt").write_text("1000\n1001\n1002\n1003\n1004\n")
    (root / "images/MMCube/1.wavelengths.txt").write_text("\n".join(map(str, OTHER)))
    answer, store = take(root)
    assert store.manifest.wavelengths_nm == tuple(OTHER)
    assert [(one.file, one.reason) for one in store.manifest.set_aside] == [
        ("wavelengths.txt", "no scene lies beside it that it belongs to")
    ]
    scipy.io.savemat(root / "images/MMCube/1.mat", {"cube": CUBE, "wavelengths_nm": NM})
    answer, store = take(root)
    assert store.manifest.wavelengths_nm == tuple(NM)
    assert "1.wavelengths.txt is not used: it differs from the wavelengths of the file itself" in answer.stdout


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"wavelengths.txt": "500\n520\n"}, "wavelengths.txt: 5 bands but 2 wavelengths"),
        ({"wavelengths.txt": "image,age\na,3\n"}, "wavelengths.txt: line 1 is 'image,age'"),
        ({"wavelengths.txt": SIDE, "wavelengths.csv": SIDE}, "wavelengths.txt and wavelengths.csv both list wavelengths"),
    ],
)
def test_hsidermoscopy_is_not_stored_with_nominal_wavelengths_beside_a_list_that_cannot_be_used(tmp_path, take, files, said):
    root = hsidermoscopy(tmp_path / "data", cube=CUBE)
    for name, text in files.items():
        (root / name).write_text(text)
    answer, _ = take(root)
    assert answer.returncode == 2
    assert said in answer.stderr + answer.stdout
    _, store = take(root, "--folds", 0, "--wavelengths", "450:650:5")
    assert store.manifest.wavelengths_nm == tuple(NM)


def test_hsidermoscopy_refuses_a_list_of_its_own_that_a_side_file_contradicts(tmp_path, take):
    root = hsidermoscopy(tmp_path / "data", cube=CUBE, wavelength=NM)
    (root / "wavelengths.txt").write_text("\n".join(map(str, OTHER)))
    answer, _ = take(root)
    assert answer.returncode == 2
    assert (
        "the file itself lists 450 … 650 without a unit, wavelengths.txt 500 … 580 nm; band 5 is 650 or 580" in answer.stderr
    )
    (root / "wavelengths.txt").write_text(SIDE)
    _, store = take(root)
    assert store.manifest.wavelengths_nm == tuple(NM)
