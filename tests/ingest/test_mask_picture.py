"""Mask pictures as users save them: transparency, palettes, numbers, inverted, noisy; and what could mean two things."""

import io

import numpy as np
import pytest
import tifffile
from PIL import Image

from hyperderm.errors import CubeError
from hyperderm.ingest.annotations.mask_picture import read_mask_picture

H, W = 40, 48
ROWS, COLUMNS = np.mgrid[:H, :W]
LESION = ((ROWS - 20) / 8) ** 2 + ((COLUMNS - 24) / 9.6) ** 2 < 1
GREY = np.where(LESION, 255, 0).astype(np.uint8)
NUMBERS = np.zeros((H, W), np.uint8)
NUMBERS[4:14, 4:14], NUMBERS[24:34, 4:14], NUMBERS[10:30, 28:44] = 1, 2, 3
VOC = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]


def read(folder, picture, ending="png", **options):
    """Save a picture or an array and read it."""
    path = folder / f"mask.{ending}"
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(path, **options)
    return read_mask_picture(path, (H, W, 16))[0]


def with_alpha(colour, alpha, mode="RGBA"):
    bands = np.broadcast_to(np.asarray(colour, np.uint8), (H, W, len(mode) - 1))
    return Image.fromarray(np.dstack([bands, alpha]).astype(np.uint8), mode)


def palette(indices, colours, clear=None):
    picture = Image.fromarray(np.asarray(indices).astype(np.uint8), "P")
    picture.putpalette(colours + [0] * (768 - len(colours)))
    if clear is not None:
        picture.info["transparency"] = clear
    return picture


def coloured(*regions, ground=(0, 0, 0)):
    picture = np.empty((H, W, 3), np.uint8)
    picture[:] = ground
    for mask, colour in regions:
        picture[mask] = colour
    return picture


def blurred(grey, radius=1.0):
    from PIL import ImageFilter

    return Image.fromarray(grey).filter(ImageFilter.GaussianBlur(radius))


CLEAR = {
    "white": with_alpha([255, 255, 255], GREY),
    "black": with_alpha([0, 0, 0], GREY),
    "white of grey and alpha": with_alpha([255], GREY, "LA"),
    "black of grey and alpha": with_alpha([0], GREY, "LA"),
    "red on clear black": with_alpha(coloured((LESION, (255, 0, 0))), GREY),
    "half transparent": with_alpha([255, 255, 255], GREY // 2),
    "faint": with_alpha([255, 255, 255], GREY // 255),
    "a first colour that is clear": palette(LESION, [255, 255, 255] * 2, clear=bytes([0, 255])),
    "one clear grey": Image.fromarray(np.where(LESION, 7, 200).astype(np.uint8)),
}
CLEAR["one clear grey"].info["transparency"] = 200


@pytest.mark.parametrize("name", CLEAR)
def test_where_transparency_varies_the_opaque_is_marked(tmp_path, name):
    [one] = read(tmp_path, CLEAR[name])
    np.testing.assert_array_equal(one.mask, LESION)
    assert one.facts == {"mask_read": "transparency"}
    assert (one.label, one.notes) == ("", ())


PLAIN = {
    "255": (GREY, "png"),
    "1": (GREY // 255, "png"),
    "200 on 100": (np.where(LESION, 200, 100).astype(np.uint8), "png"),
    "200 on 150": (np.where(LESION, 200, 150).astype(np.uint8), "png"),
    "one bit": (LESION, "png"),
    "16 bits": (GREY.astype(np.uint16) * 257, "png"),
    "1 in 16 bits": (LESION.astype(np.uint16), "png"),
    "float": (LESION.astype(np.float32), "tiff"),
    "32 bits": (LESION.astype(np.int32) * 70000, "tiff"),
    "bitmap": (GREY, "bmp"),
    "gif": (GREY, "gif"),
    "RGB": (np.dstack([GREY] * 3), "png"),
    "RGB of 1": (np.dstack([GREY // 255] * 3), "png"),
    "red on black": (coloured((LESION, (255, 0, 0))), "png"),
    "dark blue on black": (coloured((LESION, (0, 0, 90))), "png"),
    "an opaque alpha": (with_alpha(np.dstack([GREY] * 3), np.full((H, W), 255)), "png"),
    "a constant half alpha": (with_alpha(np.dstack([GREY] * 3), np.full((H, W), 128)), "png"),
    "palette": (palette(LESION, VOC), "png"),
    "a palette with the background behind": (palette(~LESION, [255, 0, 0, 0, 0, 0]), "png"),
}


@pytest.mark.parametrize("name", PLAIN)
def test_the_brighter_of_two_values_is_marked(tmp_path, name):
    picture, ending = PLAIN[name]
    [one] = read(tmp_path, picture, ending)
    np.testing.assert_array_equal(one.mask, LESION)
    assert one.label == ""
    if name != "a palette with the background behind":
        assert (one.facts, one.notes) == ({}, ())


OFF_BORDER = ((ROWS - 12) / 5) ** 2 + ((COLUMNS - 12) / 5) ** 2 < 1
INVERTED = {
    "grey": 255 - GREY,
    "0 on 1": (~LESION).astype(np.uint8),
    "16 bits": (255 - GREY).astype(np.uint16) * 257,
    "a hole in what is opaque": with_alpha([255, 255, 255], 255 - GREY),
    "palette, black on white": palette(LESION, [255, 255, 255, 0, 0, 0]),
    "palette, the lesion first": palette(~LESION, [0, 0, 0, 255, 255, 255]),
    "black on red": coloured((~LESION, (255, 0, 0))),
}


@pytest.mark.parametrize("name", INVERTED)
def test_what_lies_around_is_no_lesion(tmp_path, name):
    [one] = read(tmp_path, INVERTED[name])
    np.testing.assert_array_equal(one.mask, LESION)
    assert one.facts == {"mask_read": "inverted"}
    assert one.notes == ("its mask picture marks what lies around the lesion; it was read as inverted",)


def test_a_lesion_that_fills_the_frame_is_not_inverted(tmp_path):
    hole = np.ones((H, W), bool)
    hole[20:22, 20:24] = False  # 8 of 1920 pixels: a hair, a reflex
    [one] = read(tmp_path, hole)
    np.testing.assert_array_equal(one.mask, hole)
    assert one.notes == ("its mask marks 100% of the frame's border; is it inverted?",)
    corners = np.ones((H, W), bool)
    corners[:12, :12] = False
    [one] = read(tmp_path, corners)  # what is left out reaches the border
    assert one.mask.sum() == H * W - 144
    assert one.notes == ("its mask marks 87% of the frame's border; is it inverted?",)


def test_an_inverted_mask_need_not_mark_quite_all_of_the_border(tmp_path):
    mask = ~LESION
    mask[0, :5] = False
    [one] = read(tmp_path, mask)
    np.testing.assert_array_equal(one.mask, LESION)


LABELLED = {
    "three": NUMBERS,
    "16 bits": NUMBERS.astype(np.uint16),
    "RGB": np.dstack([NUMBERS] * 3),
    "palette of VOC": palette(NUMBERS, VOC),
    "palette of greys": palette(NUMBERS, [0, 0, 0, 90, 90, 90, 170, 170, 170, 255, 255, 255]),
    "palette, the first one clear": palette(NUMBERS, VOC, clear=0),
}


@pytest.mark.parametrize("name", LABELLED)
def test_small_numbers_are_lesions(tmp_path, name):
    found = read(tmp_path, LABELLED[name])
    assert [(one.label, int(one.mask.sum()), one.facts["mask_label"]) for one in found] == [
        ("1", 100, "1"), ("2", 100, "2"), ("3", 320, "3"),
    ]  # fmt: skip
    assert [one.notes for one in found] == [()] * 3
    for number, one in enumerate(found, 1):
        np.testing.assert_array_equal(one.mask, number == NUMBERS)


@pytest.mark.parametrize(("picture", "ending"), [(NUMBERS.astype(np.float32), "tiff"), (NUMBERS, "bmp"), (NUMBERS, "gif")])
def test_numbers_in_other_formats(tmp_path, picture, ending):
    assert [int(one.mask.sum()) for one in read(tmp_path, picture, ending)] == [100, 100, 320]


def test_numbers_need_not_follow_each_other_or_be_in_one_piece(tmp_path):
    numbers = np.select([NUMBERS == 1, NUMBERS == 2, NUMBERS == 3], [7, 7, 50], 0).astype(np.uint8)
    assert [(one.label, int(one.mask.sum())) for one in read(tmp_path, numbers)] == [("7", 200), ("50", 320)]
    only = np.where(NUMBERS == 3, 3, 0).astype(np.uint8)
    [one] = read(tmp_path, only)
    assert (one.label, int(one.mask.sum())) == ("", 320)


def test_numbers_that_touch_and_a_tiny_one(tmp_path):
    numbers = NUMBERS.copy()
    numbers[10:30, 28:36] = 2
    numbers[38, 44:47] = 9
    found = read(tmp_path, numbers)
    assert [(one.label, int(one.mask.sum())) for one in found] == [("1", 100), ("2", 260), ("3", 160), ("9", 3)]
    assert [one.notes for one in found] == [(), (), (), ("its mask has 3 pixels",)]


def test_one_is_the_background_where_it_lies_around_and_there_is_no_zero(tmp_path):
    found = read(tmp_path, NUMBERS + 1)
    assert [(one.label, int(one.mask.sum())) for one in found] == [("2", 100), ("3", 100), ("4", 320)]
    assert "1 lies around everything in its mask picture, so it is taken for no lesion" in found[0].notes
    [one] = read(tmp_path, np.where(LESION, 2, 1).astype(np.uint8))
    np.testing.assert_array_equal(one.mask, LESION)


def test_void_of_voc_is_not_marked(tmp_path):
    numbers = np.where(NUMBERS == 1, 1, np.where(NUMBERS == 3, 15, 0)).astype(np.uint8)
    numbers[3, 3:15] = numbers[14, 3:15] = 255
    for picture in (numbers, palette(numbers, VOC + [90] * 753)):
        found = read(tmp_path, picture)
        assert [(one.label, int(one.mask.sum())) for one in found] == [("1", 100), ("15", 320)]
        assert "255 in its mask picture is taken as undecided, so not marked" in found[0].notes


def test_greys_and_colours_apart_from_each_other_are_lesions(tmp_path):
    greys = np.select([NUMBERS == 1, NUMBERS == 2, NUMBERS == 3], [85, 170, 255], 0).astype(np.uint8)
    found = read(tmp_path, greys)
    assert [(one.label, int(one.mask.sum())) for one in found] == [("85", 100), ("170", 100), ("255", 320)]
    assert found[0].notes == ("its mask picture marks a lesion by each of the greys 85, 170, 255",)
    colours = [(128, 0, 0), (0, 128, 0), (0, 0, 40)]
    for picture in (
        coloured(*((n == NUMBERS, colours[n - 1]) for n in (1, 2, 3))),
        with_alpha(coloured(*((n == NUMBERS, colours[n - 1]) for n in (1, 2, 3))), np.where(NUMBERS, 255, 0)),
        coloured(*((n == NUMBERS, colours[n - 1]) for n in (1, 2, 3)), ground=(255, 255, 255)),
    ):
        sizes = {one.label: int(one.mask.sum()) for one in read(tmp_path, picture)}
        assert sizes == {"800000": 100, "008000": 100, "000028": 320}


def test_soft_edges_and_noise_are_no_numbers(tmp_path):
    big = np.kron(GREY, np.ones((4, 4), np.uint8))
    soft = np.asarray(Image.fromarray(big).resize((W, H), Image.Resampling.BILINEAR))
    rng = np.random.default_rng(0)
    noisy = np.clip(GREY.astype(int) + rng.integers(-3, 4, GREY.shape), 0, 255).astype(np.uint8)
    for picture in (soft, noisy, blurred(GREY), palette(soft, [v for i in range(256) for v in (i, i, i)])):
        [one] = read(tmp_path, picture)
        assert (one.mask ^ LESION).sum() <= 12
        assert one.label == ""
    [one] = read(tmp_path, np.asarray(blurred(GREY * 0 + 50 * (GREY // 255))))  # soft edges of a mask of 50
    assert (one.mask ^ LESION).sum() <= 12
    np.testing.assert_array_equal(read(tmp_path, noisy)[0].mask, LESION)


@pytest.mark.parametrize(("ending", "options"), [("jpg", {"quality": 30}), ("jpg", {"quality": 95}), ("webp", {})])
@pytest.mark.parametrize("tint", [None, (0, 0, 255), (255, 40, 0)])
def test_lossy_pictures_are_split_half_way(tmp_path, ending, options, tint):
    picture = GREY if tint is None else coloured((LESION, tint))
    [one] = read(tmp_path, picture, ending, **options)
    assert (one.mask ^ LESION).sum() <= (30 if tint else 10)  # colours are stored at half the resolution
    [one] = read(tmp_path, 255 - GREY, ending, **options)
    assert (one.mask ^ LESION).sum() <= 10
    assert one.facts == {"mask_read": "inverted"}


def half(colour, other):
    return coloured((COLUMNS < 24, colour), (COLUMNS >= 24, other))


RNG = np.random.default_rng(0)
TRIMAP = np.where(LESION, 255, np.where(((ROWS - 20) / 12) ** 2 + ((COLUMNS - 24) / 14) ** 2 < 1, 128, 0)).astype(np.uint8)
REFUSED = {
    "the mask is empty: no pixel of it is marked": np.zeros((H, W), np.uint8),
    "the mask is empty ": with_alpha([255, 255, 255], np.zeros((H, W))),
    "the mask is empty  ": palette(np.zeros((H, W)), VOC),
    "marks every pixel of its frame": np.full((H, W), 255, np.uint8),
    "marks every pixel of its frame ": np.ones((H, W), np.uint8),
    "marks every pixel of its frame  ": with_alpha([255, 255, 255], np.full((H, W), 255)),
    "transparency and its colours both vary": with_alpha(np.dstack([GREY] * 3), np.where(COLUMNS > 3, 255, 0)),
    "its values are 250 to 255": np.where(LESION, 255, 250).astype(np.uint8),
    "greys 0, 128, 255 in regions that touch": TRIMAP,
    "neither dark nor bright: it is a picture": np.uint8(COLUMNS * 5),
    "0, 1, 255: 255 may be a lesion": np.select([NUMBERS == 1, NUMBERS == 3], [1, 255], 0).astype(np.uint8),
    "the number 1 of the mask lies around": np.where(NUMBERS == 3, 2, np.where(NUMBERS == 2, 0, 1)).astype(np.uint8),
    "no 0 for what is no lesion": np.where(COLUMNS < 16, 1, np.where(COLUMNS < 32, 2, 3)).astype(np.uint8),
    "which colour of the mask is no lesion": half((255, 0, 0), (255, 255, 255)),
    "which colour of the mask's palette": palette(COLUMNS < 24, [255, 255, 255, 0, 0, 0]),
    "its border is not of one": RNG.integers(0, 255, (H, W, 3)).astype(np.uint8),
    "the numbers 1, 2 of the mask lie only along": np.where(NUMBERS == 3, 3, 0).astype(np.uint8),
}
SMALL = REFUSED["the numbers 1, 2 of the mask lie only along"]
SMALL[10:30, 27], SMALL[10:30, 26] = 2, 1
SMALL[30:38, 4:20] = 4


@pytest.mark.parametrize("words", REFUSED)
def test_what_marks_nothing_or_could_mean_two_things_is_refused(tmp_path, words):
    with pytest.raises(CubeError, match=words.strip()):
        read(tmp_path, REFUSED[words])


def test_lossy_numbers_and_greys_are_refused(tmp_path):
    with pytest.raises(CubeError, match="hardly any contrast"):
        read(tmp_path, NUMBERS, "jpg")
    with pytest.raises(CubeError, match="a region of the mask is grey"):
        read(tmp_path, NUMBERS * 85, "jpg", quality=95)


def test_another_size_several_frames_and_nan(tmp_path):
    with pytest.raises(CubeError, match="the mask has 48 x 40 pixels, its image 40 x 48"):
        read(tmp_path, np.full((W, H), 255, np.uint8))
    frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    for ending in ("gif", "tiff", "png"):
        with pytest.raises(CubeError, match="the mask has 2 frames"):
            read(tmp_path, frames[0], ending, save_all=True, append_images=frames[1:])
    with pytest.raises(CubeError, match="NaN or infinite"):
        read(tmp_path, np.where(LESION, 1, np.nan).astype(np.float32), "tiff")


@pytest.mark.parametrize("cut", range(0, 120, 17))
def test_a_damaged_palette_or_alpha_picture_is_refused_in_words(tmp_path, cut):
    stream = io.BytesIO()
    CLEAR["white"].save(stream, "PNG")
    (tmp_path / "mask.png").write_bytes(stream.getvalue()[:cut])
    with pytest.raises(CubeError, match="not a readable image"):
        read_mask_picture(tmp_path / "mask.png", (H, W))


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int64, np.uint64, np.uint32, np.int8, bool])
def test_tiffs_of_numbers_that_pillow_cannot_hold(tmp_path, dtype):
    path = tmp_path / "mask.TIF"
    tifffile.imwrite(path, LESION.astype(dtype), photometric="minisblack")
    [found] = read_mask_picture(path, (H, W, 16))[0]
    assert np.array_equal(found.mask, LESION)
    if dtype is not bool:
        tifffile.imwrite(path, NUMBERS.astype(dtype), photometric="minisblack")
        found = read_mask_picture(path, (H, W, 16))[0]
        assert [(one.label, int(one.mask.sum())) for one in found] == [("1", 100), ("2", 100), ("3", 320)]


@pytest.mark.filterwarnings("ignore:Truncated File Read")
def test_tiffs_that_are_still_no_masks(tmp_path):
    path = tmp_path / "mask.tif"
    for numbers, said in (
        (LESION.astype(np.int64) * 2**40, "numbers are larger than a mask needs. Save it as 8-bit"),
        (np.where(LESION, np.nan, 1.0), "NaN or infinite"),
        (np.zeros((H, W)), "the mask is empty"),
        (np.stack([LESION.astype(float)] * 2), "the mask"),
    ):
        tifffile.imwrite(path, numbers, photometric="minisblack")
        with pytest.raises(CubeError, match=said):
            read_mask_picture(path, (H, W, 16))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(CubeError, match="not a readable image"):
        read_mask_picture(path, (H, W, 16))
