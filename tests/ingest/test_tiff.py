"""TIFF: what tifffile and Pillow write comes back number for number; what is not one stack of bands is refused."""

import io
import json

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from hyperderm.errors import CubeError
from hyperderm.ingest.formats.scene import ReadOptions
from hyperderm.ingest.formats.tiff import find, read

NM = [450.0, 500.5, 544.0, 620.0]


def cube(dtype="uint16", h=5, w=7, b=4):
    return np.arange(h * w * b).reshape(h, w, b).astype(dtype)


def bands_first(x):
    return np.ascontiguousarray(np.moveaxis(x, -1, 0))


def load(path, **asked):
    [found] = find(path.parent, [path], path.parent)
    return read(found, ReadOptions(**asked))


def refused(path, **asked):
    with pytest.raises(CubeError) as caught:
        load(path, **asked)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "scene.tif"


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float16", "float32", "float64"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["pages", "chunky", "planar"])
def test_every_type_order_and_layout_comes_back_exactly(path, dtype, order, kind):
    x = cube(dtype)
    how = {
        "pages": {"data": bands_first(x)},
        "chunky": {"data": x, "planarconfig": "contig"},
        "planar": {"data": bands_first(x), "planarconfig": "separate"},
    }[kind]
    tifffile.imwrite(path, byteorder=order, photometric="minisblack", **how)
    scene = load(path)
    np.testing.assert_array_equal(scene.reflectance, x.astype(np.float32))
    assert scene.reflectance.dtype == np.float32
    assert scene.facts == {"dtype": dtype, "pages": 4 if kind == "pages" else 1}
    assert scene.wavelengths_nm is None


@pytest.mark.parametrize("how", [{"compression": "zlib"}, {"tile": (16, 16)}, {"rowsperstrip": 2}, {"bigtiff": True}])
def test_storage_makes_no_difference(path, how):
    tifffile.imwrite(path, bands_first(cube()), photometric="minisblack", **how)
    np.testing.assert_array_equal(load(path).reflectance, cube())


def test_pages_written_one_by_one(path):
    with tifffile.TiffWriter(path) as writer:
        for band in bands_first(cube()):
            writer.write(band)
    np.testing.assert_array_equal(load(path).reflectance, cube())


def test_a_stack_written_by_pillow(path):
    first, *rest = [Image.fromarray(b) for b in bands_first(cube("uint8"))]
    first.save(path, save_all=True, append_images=rest)
    np.testing.assert_array_equal(load(path).reflectance, cube("uint8"))


def test_wavelengths_from_every_description(tmp_path):
    x, ways = bands_first(cube()), {}
    ways["shaped"] = {"metadata": {"wavelengths_nm": NM}}
    ways["plain"] = {"metadata": None, "description": json.dumps({"wavelengths_nm": NM, "camera": "x"})}
    ways["imagej"] = {"imagej": True, "metadata": {"axes": "CYX", "wavelengths_nm": str(NM)}}
    channel = {"EmissionWavelength": NM, "EmissionWavelengthUnit": ["nm"] * 4}
    ways["nm.ome"] = {"metadata": {"axes": "CYX", "Channel": channel}}
    channel = {"EmissionWavelength": [v / 1000 for v in NM], "EmissionWavelengthUnit": ["µm"] * 4}
    ways["um.ome"] = {"metadata": {"axes": "CYX", "Channel": channel}}
    for name, how in ways.items():
        path = tmp_path / f"{name}.tif"
        tifffile.imwrite(path, x, photometric="minisblack", **how)
        scene = load(path)
        np.testing.assert_allclose(scene.wavelengths_nm, NM, rtol=1e-12, err_msg=name)
        np.testing.assert_array_equal(scene.reflectance, cube(), err_msg=name)
        assert load(path, wavelengths_nm=(1, 2, 3, 4)).wavelengths_nm.tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("nm", "said"),
    [
        (NM[:3], "4 bands but 3 wavelengths"),
        ([450, "blue", 1, 2], "no list of numbers"),
        (450, "4 bands but 1 wavelengths"),
        ([None] * 4, "no list"),
        (["nan"] * 4, "a wavelength of nan nm"),
    ],
)
def test_wavelengths_that_do_not_fit(path, nm, said):
    tifffile.imwrite(path, bands_first(cube()), metadata={"wavelengths_nm": nm}, photometric="minisblack")
    assert said in refused(path)
    assert load(path, wavelengths_nm=tuple(NM)).wavelengths_nm.tolist() == NM


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["pages", "chunky"])
def test_orientation_is_applied_as_pillow_does(path, orientation, kind):
    x, tag = cube("uint8"), [(274, "H", 1, orientation, True)]
    how = {"data": bands_first(x)} if kind == "pages" else {"data": x, "planarconfig": "contig"}
    tifffile.imwrite(path, photometric="minisblack", extratags=tag, **how)
    scene = load(path)
    for band in range(4):
        picture = Image.fromarray(x[..., band])
        picture.getexif()[274] = orientation
        np.testing.assert_array_equal(scene.reflectance[..., band], np.asarray(ImageOps.exif_transpose(picture)))
    assert scene.facts.get("orientation", 1) == orientation


def test_pages_of_differing_size_type_or_orientation(path):
    def write(*bands, **how):
        with tifffile.TiffWriter(path) as writer:
            for band in bands:
                writer.write(band, **how)

    a = np.zeros((5, 7), np.uint8)
    write(a, a, a[:, :6])
    assert refused(path) == (
        "its 3 pages differ in size or type: 5 x 6 uint8, 5 x 7 uint8. "
        "Save the bands alone, without thumbnails and other pictures."
    )
    write(a, a, a.astype(np.uint16))
    assert "differ in size or type" in refused(path)
    with tifffile.TiffWriter(path) as writer:
        for orientation in (1, 6):
            writer.write(a, extratags=[(274, "H", 1, orientation, True)])
    assert "orientation tags: [1, 6]" in refused(path)


def test_what_is_no_stack_of_bands(path):
    x = bands_first(cube("uint8"))
    tifffile.imwrite(path, x[0])
    assert "one greyscale page" in refused(path)
    tifffile.imwrite(path, np.zeros((2, 5, 7, 3), np.uint8), photometric="rgb")
    assert "2 pages of several samples" in refused(path)
    tifffile.imwrite(path, x, photometric="miniswhite")
    assert "inverted" in refused(path)
    tifffile.imwrite(path, np.zeros((3, 4, 5, 7), np.uint8), imagej=True, metadata={"axes": "ZCYX"})
    assert "4 channels, 3 slices" in refused(path)
    ome = path.with_name("a.ome.tif")
    tifffile.imwrite(ome, np.zeros((3, 4, 5, 7), np.uint8), metadata={"axes": "TCYX"})
    assert "4 SizeC, 1 SizeZ, 3 SizeT" in refused(ome, wavelengths_nm=tuple(range(1, 13)))
    tifffile.imwrite(path, cube("complex64"), planarconfig="contig", photometric="minisblack")
    assert "not real numbers" in refused(path)


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_adobe_deflate"])
def test_what_pillow_compresses(path, compression):
    first, *rest = [Image.fromarray(b) for b in bands_first(cube("uint8"))]
    first.save(path, save_all=True, append_images=rest, compression=compression)
    np.testing.assert_array_equal(load(path).reflectance, cube("uint8"))


@pytest.mark.parametrize("compression", ["lzw", "zlib", "zstd", "lzma", "packbits"])
@pytest.mark.parametrize("kind", ["uint16", "float32"])
def test_compressions_of_cameras_and_of_imagej(path, compression, kind):
    predictor = compression in ("lzw", "zlib")
    tifffile.imwrite(path, bands_first(cube(kind)), photometric="minisblack", compression=compression, predictor=predictor)
    np.testing.assert_array_equal(load(path).reflectance, cube(kind))


@pytest.mark.parametrize("compression", ["lzw", "zstd", "packbits", "jpeg", "jpeg2000"])
def test_compressed_data_that_is_damaged_is_refused(path, compression):
    with path.open("wb") as file:
        tifffile.imwrite(file, bands_first(cube("uint8")), photometric="minisblack", compression=compression)
    with tifffile.TiffFile(path) as tif:
        begin, length = tif.pages[0].dataoffsets[0], tif.pages[0].databytecounts[0]
    raw = bytearray(path.read_bytes())
    raw[begin : begin + length] = bytes(length)
    path.write_bytes(bytes(raw))
    assert "TIFF" in refused(path)


def test_other_files_that_ome_data_name_are_not_opened(tmp_path):
    other = tmp_path / "other.ome.tif"
    tifffile.imwrite(other, bands_first(cube()) + 9, photometric="minisblack", metadata={"axes": "CYX"})
    text = tifffile.tiffcomment(other).replace("<TiffData ", '<TiffData FirstC="0" ')
    text = text.replace("</TiffData>", "").replace(
        "/></Pixels>", '><UUID FileName="../secret.tif">x</UUID></TiffData></Pixels>'
    )
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, bands_first(cube()), photometric="minisblack", description=text, metadata=None)
    np.testing.assert_array_equal(load(path).reflectance, cube())


@pytest.mark.parametrize("kind", ["one by one", "stack", "chunky", "zlib"])
def test_truncated_anywhere_is_never_a_smaller_scene(path, kind):
    if kind == "one by one":
        with tifffile.TiffWriter(path) as writer:
            for band in bands_first(cube()):
                writer.write(band)
    elif kind == "chunky":
        tifffile.imwrite(path, cube(), planarconfig="contig", photometric="minisblack")
    else:
        compression = "zlib" if kind == "zlib" else None
        tifffile.imwrite(path, bands_first(cube()), photometric="minisblack", compression=compression)
    whole, refusals = path.read_bytes(), 0
    for cut in range(0, len(whole), 7):
        path.write_bytes(whole[:cut])
        try:
            scene = load(path)
        except CubeError:
            refusals += 1
            continue
        np.testing.assert_array_equal(scene.reflectance, cube())  # only what no pixel needs is missing
    assert refusals > 0.8 * len(range(0, len(whole), 7))


def test_pages_in_a_circle_end(path):
    with tifffile.TiffWriter(path) as writer:
        for band in bands_first(cube()):
            writer.write(band)
    with tifffile.TiffFile(path) as tif:
        first, last = tif.pages[0].offset, tif.pages[-1].offset
        at = last + 2 + 12 * len(tif.pages[-1].tags)
    content = bytearray(path.read_bytes())
    assert content[at : at + 4] == b"\0\0\0\0"  # no next page
    content[at : at + 4] = first.to_bytes(4, "little")
    path.write_bytes(content)
    assert "circle" in refused(path)


def a_file(kind):
    stream = io.BytesIO()
    if kind == "ome":
        channel = {"EmissionWavelength": NM}
        tifffile.imwrite(stream, bands_first(cube()), ome=True, metadata={"axes": "CYX", "Channel": channel})
    elif kind == "imagej":
        tifffile.imwrite(stream, bands_first(cube()), imagej=True, metadata={"axes": "CYX", "wavelengths_nm": str(NM)})
    elif kind == "zlib":
        tifffile.imwrite(stream, cube(), planarconfig="contig", photometric="minisblack", compression="zlib")
    else:
        tifffile.imwrite(stream, bands_first(cube()), photometric="minisblack", metadata={"wavelengths_nm": NM})
    return stream.getvalue()


@settings(max_examples=100, deadline=None)
@given(
    kind=st.sampled_from(["ome", "imagej", "zlib", "shaped"]),
    change=st.one_of(st.binary(max_size=100), st.tuples(st.floats(0, 1), st.integers(0, 8), st.binary(max_size=8))),
)
def test_any_bytes_raise_only_our_error(tmp_path_factory, kind, change):
    content = change
    if isinstance(change, tuple):
        good = a_file(kind)
        at = int(change[0] * len(good))
        content = good[:at] + change[2] + good[at + change[1] :]
    path = tmp_path_factory.mktemp("fuzz") / "a.tif"
    path.write_bytes(content)
    try:
        scene = load(path)
    except CubeError:
        return
    assert scene.reflectance.ndim == 3


def test_the_stack_of_an_ome_file_beside_other_images(tmp_path):
    path = tmp_path / "a.ome.tif"

    def write(*names):
        with tifffile.TiffWriter(path, ome=True) as writer:
            writer.write(np.zeros((3, 3), np.uint8), photometric="minisblack", metadata={"axes": "YX", "Name": "label"})
            for i, name in enumerate(names):
                metadata = {"axes": "CYX", "Name": name, "Channel": {"EmissionWavelength": NM}}
                writer.write(bands_first(cube()) + i, photometric="minisblack", metadata=metadata)

    write("skin")
    scene = load(path)
    np.testing.assert_array_equal(scene.reflectance, cube())
    assert (scene.facts["image"], scene.facts["pages"], scene.wavelengths_nm.tolist()) == ("skin", 4, NM)
    write("skin", "white")
    assert "an OME file of 3 images, one of them is expected: label (1 planes), skin (4 planes), white" in refused(path)
    np.testing.assert_array_equal(load(path, key="white").reflectance, cube() + 1)


def test_smaller_copies_of_pages_are_left_out(path):
    with tifffile.TiffWriter(path) as writer:
        for band in bands_first(cube()):
            writer.write(band, photometric="minisblack", metadata=None)
            writer.write(band[::2, ::2], photometric="minisblack", metadata=None, subfiletype=1)
    np.testing.assert_array_equal(load(path).reflectance, cube())
