"""Finding scenes of every format below a folder, and where their wavelengths come from."""

import os

import numpy as np
import pytest
import scipy.io
import spectral.io.envi as spy
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hyperderm.errors import CubeError
from hyperderm.ingest.formats.scene import Found, ReadOptions
from hyperderm.ingest.formats.scene_files import FORMATS, find_scenes, read_scene, read_wavelengths

CUBE = (np.arange(5 * 7 * 4).reshape(5, 7, 4) / 64).astype(np.float32)
NM = [450.0, 500.5, 544.0, 620.0]


def put(root, name, cube=CUBE):
    """One scene; a name without suffix is a folder of band images."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".hdr":
        spy.save_image(str(path), cube, interleave="bsq", ext=".raw")
    elif path.suffix == ".tif":
        tifffile.imwrite(path, np.moveaxis(cube, -1, 0), photometric="minisblack")
    elif path.suffix == ".npy":
        np.save(path, cube)
    elif path.suffix == ".mat":
        scipy.io.savemat(path, {"cube": cube})
    else:
        path.mkdir()
        for i in range(cube.shape[2]):
            Image.fromarray(np.round(cube[..., i] * 64).astype(np.uint16)).save(path / f"b_{i + 1:02d}.png")
    return path


def names(root):
    found, unread = find_scenes(root)
    return [f.name for f in found], {p.relative_to(root).as_posix(): why for p, why in unread}


def refused(call, *args):
    with pytest.raises(CubeError) as caught:
        call(*args)
    return str(caught.value)


def test_every_format_in_natural_order(tmp_path):
    for name in ("p10/a.hdr", "p2/b.tif", "p2/a.npy", "p2/c10.mat", "p2/c9.mat", "p1/stack", "z.npy"):
        put(tmp_path, name)
    found, unread = find_scenes(tmp_path)
    assert [f.name for f in found] == ["z", "p1/stack", "p2/a", "p2/b", "p2/c9", "p2/c10", "p10/a"]
    assert [f.format for f in found] == ["numpy", "band_images", "numpy", "tiff", "matlab", "matlab", "envi"]
    assert unread == []
    for scene in found:
        factor = 64 if scene.format == "band_images" else 1
        got = read_scene(scene, ReadOptions(wavelengths_nm=tuple(NM)), tmp_path)
        np.testing.assert_array_equal(got.reflectance, CUBE * factor, err_msg=scene.name)
        assert got.wavelengths_nm.tolist() == NM
        assert got.facts["wavelengths"] == "as asked"


def test_names_are_unique(tmp_path):
    assert len({f.NAME for f in FORMATS}) == len(FORMATS)
    for name in ("arm.npy", "arm.mat", "arm", "leg.npy"):
        put(tmp_path, name)
    assert sorted(names(tmp_path)[0]) == ["arm.mat", "arm.npy", "arm.png", "leg"]


def test_side_files_are_neither_scenes_nor_strange(tmp_path):
    put(tmp_path, "a.npy")
    put(tmp_path, "masks/a.npy")
    put(tmp_path, "x/Masks/a.npy")
    put(tmp_path, "responses_study/b.npy")
    for name in ("labels.csv", "coco.json", "wavelengths.txt", "a.wavelengths.csv", "4x4_Responses_v2.mat", ".DS_Store"):
        (tmp_path / name).write_text("450\n")
    (tmp_path / ".git").mkdir()
    put(tmp_path, ".git/c.npy")
    assert names(tmp_path) == (["a", "responses_study/b"], {})


def test_what_no_format_takes_is_listed_with_the_reason(tmp_path):
    put(tmp_path, "a.npy")
    Image.new("RGB", (4, 4)).save(tmp_path / "photo.jpg")
    (tmp_path / "notes.docx").write_text("x")
    (tmp_path / "README").write_text("x")
    (tmp_path / "lost.raw").write_text("x")
    found, unread = names(tmp_path)
    assert found == ["a"]
    assert unread.keys() == {"photo.jpg", "notes.docx", "README", "lost.raw"}
    assert "no band" in unread["photo.jpg"]
    assert unread["notes.docx"] == "no format reads .docx"
    assert "without its header lost.hdr" in unread["lost.raw"]


def test_one_file_stands_for_its_scene(tmp_path):
    header, stack = put(tmp_path, "a.hdr"), put(tmp_path, "stack")
    (tmp_path / "notes.txt").write_text("x")
    for file, name in ((header, "a"), (tmp_path / "a.raw", "a"), (stack / "b_03.png", "b")):
        [found], unread = find_scenes(file)
        assert (found.name, unread) == (name, [])
        np.testing.assert_array_equal(
            read_scene(found, ReadOptions(wavelengths_nm=tuple(NM)), file).reflectance.shape, CUBE.shape
        )
    assert "notes.txt is no scene: no format reads .txt" in refused(find_scenes, tmp_path / "notes.txt")
    assert "does not exist" in refused(find_scenes, tmp_path / "nothing")


def test_links_that_leave_the_root_are_refused_and_circles_end(tmp_path):
    root = tmp_path / "root"
    put(root, "in/a.npy")
    outside = put(tmp_path, "secret.npy")
    (root / "out.npy").symlink_to(outside)
    (root / "folder").symlink_to(tmp_path)
    (root / "broken.npy").symlink_to(tmp_path / "nothing")
    (root / "in" / "circle").symlink_to(root)
    (root / "again.npy").symlink_to(root / "in" / "a.npy")
    found, unread = names(root)
    assert found == ["again", "in/a"]
    assert unread == {
        "out.npy": "a link to something outside root/",
        "folder": "a link to something outside root/",
        "broken.npy": "a link that leads nowhere",
        "in/circle": "a link to a folder that is read where it lies, ./",
    }
    found = Found("out", root / "out.npy", (root / "out.npy",), "numpy")
    assert "outside root/" in refused(read_scene, found, ReadOptions(wavelengths_nm=tuple(NM)), root)
    assert "a link to something outside" in refused(find_scenes, root / "out.npy")


def test_where_wavelengths_come_from(tmp_path):
    put(tmp_path, "a.npy")
    put(tmp_path, "b.npy")
    np.savez(tmp_path / "c.npz", cube=CUBE, wavelengths_nm=NM)
    put(tmp_path, "stack")

    def read(name, **asked):
        [found] = [f for f in find_scenes(tmp_path)[0] if f.name == name]
        return read_scene(found, ReadOptions(**asked), tmp_path)

    said = refused(read, "a")
    assert "--wavelengths" in said
    assert "a.wavelengths.txt" in said
    (tmp_path / "wavelengths.txt").write_text("1000\n1001\n1002\n1003\n")
    (tmp_path / "a.wavelengths.csv").write_text("nm\n" + "\n".join(map(str, NM)))
    (tmp_path / "stack" / "wavelengths.txt").write_text("# centres\n\n450\n500.5 # green\n544,\n620\n")
    assert read("a").wavelengths_nm.tolist() == NM
    assert read("a").facts["wavelengths"] == "from a.wavelengths.csv"
    assert read("b").wavelengths_nm.tolist() == [1000, 1001, 1002, 1003]
    assert read("stack").wavelengths_nm.tolist() == NM
    assert read("c").wavelengths_nm.tolist() == NM
    assert read("c").facts["wavelengths"] == "from the file"
    assert read("a", wavelengths_nm=(1, 2, 3, 4)).wavelengths_nm.tolist() == [1, 2, 3, 4]
    assert tmp_path / "a.wavelengths.csv" in find_scenes(tmp_path)[0][0].files
    (tmp_path / "a.wavelengths.txt").write_text("1\n")
    assert "Leave one of them" in refused(read, "a")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("450\n500\n550\n", "4 bands but 3 wavelengths"),
        ("450\n500\n500\n550\n", "same wavelength"),
        ("450\n500\nnan\n550\n", "cannot be nm"),
        ("450\n500\ninf\n550\n", "cannot be nm"),
        ("0.45\n0.5\n0.55\n0.6\n", "cannot be nm"),
        ("micrometers\n450\n500\n550\n600\n", "its heading says micrometres, so it holds 450000, which cannot be nm"),
        ("450\nblue\n", "line 2 is 'blue'"),
        ("name\n450\n", "line 1 is 'name'"),
        ("450 500 550 600\n", "one number (nm) a line"),
        ("", "no number"),
        ("\udcff", "one number (nm) a line is expected"),
    ],
)
def test_side_files_that_do_not_fit(tmp_path, text, said):
    put(tmp_path, "a.npy")
    (tmp_path / "a.wavelengths.txt").write_bytes(text.encode("utf-8", "surrogateescape"))
    [found] = find_scenes(tmp_path)[0]
    message = refused(read_scene, found, ReadOptions(), tmp_path)
    assert said in message
    assert message.startswith("a.wavelengths.txt: ")


def test_a_side_file_may_not_lie_elsewhere(tmp_path):
    root = tmp_path / "root"
    put(root, "a.npy")
    (tmp_path / "secret.txt").write_text("450\n500\n550\n600\n")
    (root / "a.wavelengths.txt").symlink_to(tmp_path / "secret.txt")
    found, _ = find_scenes(root)
    assert "outside root/" in refused(read_scene, found[0], ReadOptions(), root)


@pytest.mark.skipif(os.geteuid() == 0, reason="root opens every folder")
def test_a_closed_folder_is_listed(tmp_path):
    (tmp_path / "closed").mkdir(mode=0)
    assert "cannot be opened" in names(tmp_path)[1]["closed"]


@settings(max_examples=60, deadline=None)
@given(st.one_of(st.binary(max_size=60), st.text("0123456789.,;#\n e-naif", max_size=40).map(str.encode)))
def test_any_side_file_raises_only_our_error(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("fuzz") / "wavelengths.csv"
    path.write_bytes(content)
    try:
        assert read_wavelengths(path).size > 0
    except CubeError:
        return


FILE_NAMES = st.text("ab1_ .", min_size=1, max_size=4).filter(lambda s: s.strip(" ."))
ENDINGS = st.sampled_from([".npy", ".npz", ".mat", ".tif", ".png", ".hdr", ".raw", "", ".json", "_450nm.png", "_1.png"])


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.tuples(FILE_NAMES, ENDINGS).map("".join), st.binary(max_size=30), max_size=8))
def test_any_folder_is_found_and_read_with_our_errors_only(tmp_path_factory, files):
    root = tmp_path_factory.mktemp("fuzz")
    for name, content in files.items():
        (root / name).write_bytes(content)
    found, unread = find_scenes(root)
    assert len({f.name for f in found}) == len(found)
    seen = {p for f in found for p in f.files} | {p for p, _ in unread}
    shown = {root / n for n in files if not n.startswith(".") and not n.endswith(".json")}
    assert seen == shown
    for scene in found:
        with pytest.raises(CubeError):
            read_scene(scene, ReadOptions(), root)


@pytest.mark.parametrize(
    ("files", "side"),
    [
        (["a.npy"], "a.npy.wavelengths.txt"),
        (["a.npy"], "A.wavelengths.CSV"),
        (["arm0.bil.hdr", "arm0.bil"], "arm0.wavelengths.txt"),
        (["arm0.bil.hdr", "arm0.bil"], "arm0.bil.wavelengths.txt"),
        (["arm0.bil.hdr", "arm0.bil"], "arm0.bil.hdr.wavelengths.csv"),
        (["arm0.hdr", "arm0.bil"], "arm0.bil.wavelengths.txt"),
        (["arm0.hdr", "arm0.raw"], "arm0.hdr.wavelengths.txt"),
    ],
)
def test_a_side_file_may_be_called_with_the_suffixes_of_its_scene(tmp_path, files, side):
    if files[0] == "a.npy":
        put(tmp_path, "a.npy")
    else:
        header = "ENVI\nsamples = 3\nlines = 2\nbands = 4\ndata type = 4\ninterleave = bil\n"
        (tmp_path / files[0]).write_text(header)
        (tmp_path / files[1]).write_bytes(np.arange(24, dtype="<f4").tobytes())
    (tmp_path / "wavelengths.txt").write_text("1000\n1001\n1002\n1003\n")  # the folder's: its own goes before it
    (tmp_path / side).write_text("\n".join(map(str, NM)))
    [found], unread = find_scenes(tmp_path)
    assert unread == []
    scene = read_scene(found, ReadOptions(), tmp_path)
    assert scene.wavelengths_nm.tolist() == NM
    assert scene.facts["wavelengths"] == f"from {side}"


def test_the_closest_name_of_a_side_file_counts(tmp_path):
    put(tmp_path, "a.npy")
    (tmp_path / "a.wavelengths.txt").write_text("1000\n1001\n1002\n1003\n")
    (tmp_path / "a.npy.wavelengths.txt").write_text("\n".join(map(str, NM)))
    [found], _ = find_scenes(tmp_path)
    assert read_scene(found, ReadOptions(), tmp_path).wavelengths_nm.tolist() == NM
    (tmp_path / "a.npy.wavelengths.csv").write_text("\n".join(map(str, NM)))
    [found], _ = find_scenes(tmp_path)
    assert "lie beside it" in refused(read_scene, found, ReadOptions(), tmp_path)


def listing(root, kind, nm):
    """One scene whose file lists wavelengths and no unit."""
    if kind == "mat":
        scipy.io.savemat(root / "a.mat", {"cube": CUBE, "wavelengths": nm})
    else:
        spy.save_image(str(root / "a.hdr"), CUBE, interleave="bsq", ext=".raw", metadata={"wavelength": nm}, force=True)
    return find_scenes(root)[0][0]


@pytest.mark.parametrize("kind", ["mat", "hdr"])
@pytest.mark.parametrize("above", [False, True])
def test_a_file_and_its_side_file_that_contradict_each_other_are_refused(tmp_path, kind, above):
    root = tmp_path / "deep" if above else tmp_path
    root.mkdir(exist_ok=True)
    (tmp_path / "wavelengths.txt").write_text("400\n600\n800\n1000\n")
    own = [450.0, 600.0, 750.0, 900.0]
    listing(root, kind, own)
    found = find_scenes(tmp_path)[0][0]
    assert refused(read_scene, found, ReadOptions(), tmp_path) == (
        "two lists of its wavelengths contradict each other: the file itself lists 450 … 900 without a unit, "
        "wavelengths.txt 400 … 1000 nm; band 4 is 900 or 1000. Give --wavelengths A:B:N, which decides, or remove "
        "wavelengths.txt, or the list in the file."
    )
    assert read_scene(found, ReadOptions((1.0, 2.0, 3.0, 4.0)), tmp_path).wavelengths_nm.tolist() == [1, 2, 3, 4]
    (tmp_path / "wavelengths.txt").unlink()
    assert read_scene(find_scenes(tmp_path)[0][0], ReadOptions(), tmp_path).wavelengths_nm.tolist() == own


@pytest.mark.parametrize(
    ("own", "side", "nm"),
    [
        ([450.0, 500.0, 544.0, 620.0], "450\n500.4\n544\n620\n", [450, 500.4, 544, 620]),  # rounded in the file
        ([450.0, 500.0, 544.0, 620.0], "micrometres\n0.45\n0.5\n0.544\n0.62\n", [450, 500, 544, 620]),
        ([620.0, 544.0, 500.0, 450.0], "450\n500\n544\n620\n", "band 1 is 620 or 450"),
        ([450.0, 500.0, 544.0, 620.0], "450\n500\n545\n620\n", "band 3 is 544 or 545"),
        ([1.0, 2.0, 3.0, 4.0], "450\n500\n544\n620\n", [450, 500, 544, 620]),  # numbers of bands are no wavelengths
    ],
)
def test_lists_that_agree_band_by_band_are_one(tmp_path, own, side, nm):
    (tmp_path / "wavelengths.txt").write_text(side)
    found = listing(tmp_path, "mat", own)
    if isinstance(nm, str):
        assert nm in refused(read_scene, found, ReadOptions(), tmp_path)
    else:
        assert read_scene(found, ReadOptions(), tmp_path).wavelengths_nm.tolist() == nm
