"""Run lengths and rings against COCO's own code, published examples, closed forms and their own inverses."""

import contextlib
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as pycoco
from scipy.ndimage import binary_dilation

from hyperderm.errors import CubeError
from hyperderm.ingest.annotations import rle

# Published by others: COCO's numbers beside COCO's string.
COCO_PAIRS = [
    ([0, 6, 1, 3], "061M"),
    ([0, 6, 1], "061"),
    ([0, 6, 1, 1], "061K"),
    ([0, 6, 1, 5], "061O"),
    ([0, 6, 1, 6], "0610"),
    ([0, 1, 1, 2, 1, 3, 1, 4, 1], "011101010"),
    ([0, 1024], "0PP1"),
]
# The example of label-studio-converter's own test of its encoder.
BRUSH_VALUES = [1, 1, 1, 1, 2, 3, 5, 6, 7, 8, 4, 4, 4, 4, 4, 4, 4, 4]
BRUSH_BYTES = [0, 0, 0, 18, 57, 27, 252, 96, 32, 1, 0, 6, 0, 40, 0, 192, 3, 128, 17, 56, 32]
# How an annotation of 3332 x 2527 pixels begins that Label Studio's front end wrote: nothing marked at first.
FRONT_END = bytes(
    [2, 1, 233, 240, 57, 27, 255, 255, 255, 0, 255, 255, 224, 31, 255, 252, 3, 255, 255, 128, 127, 255, 240, 15]
)
masks = hnp.arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12)))


def coco_string(lengths, shape):
    """COCO's compression of run lengths, by COCO."""
    return pycoco.frPyObjects({"size": list(shape), "counts": lengths}, *shape)["counts"].decode()


def coco_lengths(mask):
    """COCO's run lengths of a mask, straight from their definition."""
    flat = [False, *mask.T.ravel().tolist()]
    edges = [i for i in range(1, len(flat)) if flat[i] != flat[i - 1]]
    bounds = [1, *edges, len(flat)]
    return [end - start for start, end in pairwise(bounds)]


def centres_inside(ring, shape):
    """The even-odd rule at every pixel's centre, by counting the edges to its right."""
    inside = np.zeros(shape, bool)
    for r in range(shape[0]):
        for c in range(shape[1]):
            x, y, odd = c + 0.5, r + 0.5, False
            for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
                if (y0 < y) != (y1 < y):
                    odd ^= x0 + (y - y0) * (x1 - x0) / (y1 - y0) > x
            inside[r, c] = odd
    return inside


@pytest.mark.parametrize(("lengths", "text"), COCO_PAIRS)
def test_coco_strings_are_those_of_others(lengths, text):
    shape = (1, sum(lengths))
    np.testing.assert_array_equal(rle.coco_mask(text, shape), rle.coco_mask(lengths, shape))
    assert rle.coco_mask(text, shape).sum() == sum(lengths[1::2])
    assert coco_string(lengths, shape) == text


def test_coco_runs_go_down_the_columns_and_begin_with_off():
    expected = [[0, 1, 0], [0, 1, 0], [1, 0, 0]]
    np.testing.assert_array_equal(rle.coco_mask([2, 3, 4], (3, 3)), np.array(expected, bool))
    assert rle.coco_mask([0, 9], (3, 3)).all()


@given(masks)
def test_what_coco_writes_is_read(mask):
    lengths = coco_lengths(mask)
    written = pycoco.encode(np.asfortranarray(mask, np.uint8))["counts"].decode()
    assert written == coco_string(lengths, mask.shape)
    np.testing.assert_array_equal(rle.coco_mask(lengths, mask.shape), mask)
    np.testing.assert_array_equal(rle.coco_mask(written, mask.shape), mask)


@given(st.lists(st.one_of(st.integers(0, 3), st.integers(0, 5000)), min_size=1, max_size=30))
def test_strings_are_read_as_coco_reads_them(lengths):
    """Also those with runs of no pixels, which no mask is encoded as but tools that count by themselves write."""
    shape = (1, max(sum(lengths), 1))
    lengths[-1] += shape[1] - sum(lengths)
    text = coco_string(lengths, shape)
    np.testing.assert_array_equal(rle.coco_mask(text, shape), pycoco.decode({"size": list(shape), "counts": text}))


@settings(max_examples=300)
@given(masks, st.integers(0, 40), st.text("".join(map(chr, range(40, 120))) + "\0é", max_size=4), st.integers(0, 40))
def test_damaged_strings_are_refused_or_read_but_never_crash(mask, at, put, end):
    text = coco_string(coco_lengths(mask), mask.shape)
    with contextlib.suppress(CubeError):
        assert rle.coco_mask((text[:at] + put + text[at:])[:end], mask.shape).shape == mask.shape


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ([4, 4], "add up to 8 pixels, the image has 3 x 3"),
        ([-1, 10], "add up to 9"),
        ([4.5, 4.5], "neither a list"),
        ([True, 8], "neither a list"),
        (None, "neither a list"),
        ({"a": 1}, "neither a list"),
        ("44", "add up to 8"),
        ("4 5", "damaged"),
        ("4P", "damaged"),
        ("P" * 40 + "0", "damaged"),
        ("", "add up to 0"),
        ([10**30, 5], "add up to"),
    ],
)
def test_coco_runs_that_cannot_be_used(counts, words):
    with pytest.raises(CubeError, match=words):
        rle.coco_mask(counts, (3, 3))


def test_brush_bytes_are_those_of_label_studio():
    assert list(rle.brush_encode(np.array(BRUSH_VALUES, np.uint8))) == BRUSH_BYTES
    np.testing.assert_array_equal(rle.brush_decode(bytes(BRUSH_BYTES), 18), BRUSH_VALUES)


def test_long_runs_are_written_as_label_studios_front_end_does():
    nothing = np.zeros(3332 * 2527 * 4, np.uint8)
    written = rle.brush_encode(nothing)
    assert written.startswith(FRONT_END)
    np.testing.assert_array_equal(rle.brush_decode(written, nothing.size), nothing)


def test_one_pixel_by_hand():
    # 00000004 | 00111 0010 0011 0111 1111 | run, width 3 bits, 4 - 1, 255
    bits = "".join(
        ("00000000000000000000000000000100", "00111", "0010", "0011", "0111", "1111", "1", "00", "011", "11111111")
    )
    bits += "0" * (-len(bits) % 8)
    by_hand = [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]
    assert rle.brush_from_mask(np.ones((1, 1), bool)) == by_hand


@given(hnp.arrays(np.uint8, st.integers(0, 300), elements=st.sampled_from([0, 1, 2, 255])))
def test_brush_round_trip_of_bytes(values):
    np.testing.assert_array_equal(rle.brush_decode(rle.brush_encode(values), values.size), values)


@given(masks)
def test_brush_round_trip_of_masks(mask):
    np.testing.assert_array_equal(rle.brush_mask(bytes(rle.brush_from_mask(mask)), mask.shape), mask)


def test_several_values_in_one_block_and_other_widths_are_read():
    # four widths of one bit; single values: 0, width 0, 2 - 1, then 7 and 9; run: 1, width 3, 2 - 1, then 5
    bits = f"{4:032b}" + "00111" + "0000" * 4 + "0" + "00" + "1" + f"{7:08b}{9:08b}" + "1" + "11" + "1" + f"{5:08b}"
    bits += "0" * (-len(bits) % 8)
    data = bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))
    np.testing.assert_array_equal(rle.brush_decode(data, 4), [7, 9, 5, 5])


@pytest.mark.parametrize("peak", [1, 100, 255])
def test_the_mask_is_alpha_alone_above_half_its_maximum(peak):
    rgba = np.zeros((2, 3, 4), np.uint8)
    rgba[0, :, :3] = 255  # colour without alpha marks nothing
    rgba[1, 1, 3] = peak
    rgba[1, 2, 3] = peak // 3  # the soft edge of a brush
    np.testing.assert_array_equal(rle.brush_mask(rle.brush_encode(rgba.ravel()), (2, 3)), [[0, 0, 0], [0, 1, 0]])


@settings(max_examples=300)
@given(st.binary(max_size=60), st.integers(0, 60), st.binary(max_size=8))
def test_damaged_brushes_are_refused_or_read_but_never_crash(data, cut, tail):
    whole = rle.brush_encode(np.resize(np.frombuffer(b"ab" + data, np.uint8), 64))
    for damaged in (data, whole[:cut] + tail, whole[: cut // 2] + tail + whole[cut // 2 + len(tail) :]):
        try:
            assert rle.brush_decode(damaged, 64).size == 64
        except CubeError:
            continue


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "ends early"),
        (bytes(BRUSH_BYTES[:12]), "ends early"),
        (bytes([0, 0, 0, 17, *BRUSH_BYTES[4:]]), "holds 17 values, 18 belong"),
        (bytes([*BRUSH_BYTES[:4], 0b01111001, *BRUSH_BYTES[5:]]), "values of 16 bits"),
        (bytes([0, 0, 0, 18, 0b00111001, 27, 0b11111111, 255, 255, 255, 255]), "more pixels than the image"),
    ],
)
def test_brushes_that_cannot_be_used(data, words):
    with pytest.raises(CubeError, match=words):
        rle.brush_decode(data, 18)


@pytest.mark.parametrize("size", [(0, 5), (5, -1), (2.0, 5), (None, 5), ("5", 5), (True, 5), (2**14, 2**14)])
def test_sizes_that_cannot_be(size):
    with pytest.raises(CubeError, match="height and width are stated as"):
        rle.check_shape(*size)


def test_a_square_has_its_area_and_not_its_outline():
    square = np.array([[10, 12], [20, 12], [20, 22], [10, 22]], float)
    expected = np.zeros((40, 30), bool)
    expected[12:22, 10:20] = True
    np.testing.assert_array_equal(rle.ring_mask([square], (40, 30)), expected)
    np.testing.assert_array_equal(rle.ring_mask([square[::-1]], (40, 30)), expected)
    np.testing.assert_array_equal(rle.ring_mask([square + 0.4], (40, 30)), expected)  # centres decide
    np.testing.assert_array_equal(rle.ring_mask([square + 0.6], (40, 30)), np.roll(expected, (1, 1), (0, 1)))


def test_a_disc_has_the_area_of_a_disc():
    t = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    disc = np.stack([60.3 + 40 * np.cos(t), 55.8 + 40 * np.sin(t)], axis=1)
    assert rle.ring_mask([disc], (120, 130)).sum() == pytest.approx(np.pi * 40**2, rel=2e-3)


def test_an_outline_is_filled_as_coco_fills_it_but_for_pixels_it_runs_through():
    shape, t = (90, 100), np.linspace(0, 2 * np.pi, 60, endpoint=False)
    for seed in range(20):
        a, b, x, y = np.random.default_rng(seed).uniform([10, 0, 40, 35], [30, 6, 60, 55])
        radius = a * (1 + 0.2 * np.sin(3 * t + b))
        ring = np.stack([x + radius * np.cos(t), y + radius * np.sin(t)], axis=1)
        ours = rle.ring_mask([ring], shape)
        theirs = pycoco.decode(pycoco.frPyObjects([ring.ravel().tolist()], *shape)[0]).astype(bool)
        assert not (ours & ~binary_dilation(theirs)).any()
        assert not (theirs & ~binary_dilation(ours)).any()
        assert (ours ^ theirs).sum() < 0.02 * ours.sum()


def test_rings_join_overlap_is_not_cut_out_and_the_outside_is_cut_off():
    one = np.array([[-5, -5], [4, -5], [4, 4], [-5, 4]], float)
    two = np.array([[2, 2], [50, 2], [50, 6], [2, 6]], float)
    mask = rle.ring_mask([one, two], (8, 9))
    expected = np.zeros((8, 9), bool)
    expected[:4, :4] = expected[2:6, 2:] = True
    np.testing.assert_array_equal(mask, expected)


@given(st.lists(st.tuples(*[st.integers(-8, 24).map(lambda n: n / 2 + 0.13)] * 2), min_size=3, max_size=7))
def test_rings_follow_the_even_odd_rule(points):
    ring = np.array(points)
    np.testing.assert_array_equal(rle.ring_mask([ring], (9, 10)), centres_inside(ring, (9, 10)))


@pytest.mark.parametrize("numbers", [[1, "2"], [float("nan")], [float("inf")], [1e300], [True], [None], [[1]]])
def test_coordinates_that_are_no_numbers(numbers):
    with pytest.raises(CubeError, match="not all numbers"):
        rle.points(numbers)
