"""Label Studio's shapes as masks, against closed forms on pixel centres."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from hyperderm.errors import CubeError
from hyperderm.ingest.annotations import rle, shapes
from hyperderm.ingest.annotations.annotation_file import read_annotations
from tests.ingest.test_label_studio import annotation, put, region, task

H, W = 40, 48
Y, X = np.mgrid[:H, :W] + 0.5
SIZE = (H, W)


def draw(kind, **value):
    return shapes.mask(kind, shapes.packed(kind, value), SIZE, 0)


@pytest.mark.parametrize("angle", [0, 20, 90, 135, -30, 359])
@pytest.mark.parametrize("corner", [(30, 30), (60, 40)])
def test_a_rectangle_turns_about_its_corner_in_pixels(angle, corner):
    mask = draw("rectangle", x=corner[0], y=corner[1], width=30, height=40, rotation=angle)
    turn = np.deg2rad(angle)
    dx, dy = X - corner[0] * W / 100, Y - corner[1] * H / 100
    along, down = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
    expected = (along >= 0) & (along < 0.3 * W) & (down >= 0) & (down < 0.4 * H)
    edge = np.isclose(along, 0) | np.isclose(along, 0.3 * W) | np.isclose(down, 0) | np.isclose(down, 0.4 * H)
    np.testing.assert_array_equal(mask[~edge], expected[~edge])
    if corner == (30, 30) and angle in (0, 20):
        assert abs(mask.sum() - 0.3 * W * 0.4 * H) < 12  # of 230.4, where no pixel is cut through


def test_an_upright_rectangle_is_exact_and_a_quarter_turn_lies_left_of_its_corner():
    mask = draw("rectangle", x=25, y=25, width=50, height=25)  # no rotation said
    assert mask.sum() == 24 * 10
    assert mask[10:20, 12:36].all()
    turned = draw("rectangle", x=75, y=25, width=25, height=50, rotation=90)  # 12 wide, 20 high: clockwise, leftwards
    assert turned.sum() == 12 * 20
    assert turned[10:22, 16:36].all()


@pytest.mark.parametrize("angle", [0, 30, 90, -45, 200])
def test_an_ellipse_turns_about_its_centre_in_pixels(angle):
    mask = draw("ellipse", x=50, y=45, radiusX=20, radiusY=35, rotation=angle)
    outline = np.linspace(0, 2 * np.pi, 4000)
    along, down = 0.2 * W * np.cos(outline), 0.35 * H * np.sin(outline)
    turn = np.deg2rad(angle)
    x = 0.5 * W + along * np.cos(turn) - down * np.sin(turn)
    y = 0.45 * H + along * np.sin(turn) + down * np.cos(turn)
    drawn = rle.ring_mask([np.stack([x, y], axis=1)], SIZE)
    assert (mask ^ drawn).sum() <= 4  # centres on the very outline
    assert abs(mask.sum() - np.pi * 0.2 * W * 0.35 * H) < 15
    if angle == 90:  # it lies: wider than high, although it stood in per cent
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert (len(rows), len(columns)) == (20, 28)


def test_an_ellipse_beyond_the_frame_is_cut_off():
    mask = draw("ellipse", x=0, y=0, radiusX=25, radiusY=30)
    expected = (X / 12) ** 2 + (Y / 12) ** 2 <= 1
    np.testing.assert_array_equal(mask, expected)


def vertices(*points, **more):
    return [{"id": f"v{i}", "x": x, "y": y, **more} for i, (x, y) in enumerate(points)]


TRIANGLE = [(25, 25), (75, 25), (50, 75)]


def test_a_closed_vector_is_its_polygon():
    chain = [{**v, "prevPointId": f"v{i - 1}" if i else None} for i, v in enumerate(vertices(*TRIANGLE))]
    polygon = draw("polygon", points=[list(p) for p in TRIANGLE])
    for given in (vertices(*TRIANGLE), chain):
        np.testing.assert_array_equal(draw("vector", vertices=given, closed=True), polygon)
    assert polygon.sum() == 20 * 24 / 2


def url(picture):
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


SPOT = (X - 20) ** 2 + (Y - 20) ** 2 < 64


@pytest.mark.parametrize("mode", ["L", "RGBA"])
def test_a_bitmask_is_its_picture(mode):
    grey = np.where(SPOT, 255, 0).astype(np.uint8)
    picture = Image.fromarray(grey if mode == "L" else np.dstack([np.full((H, W, 3), 255, np.uint8), grey]))
    np.testing.assert_array_equal(draw("bitmask", imageDataURL=url(picture)), SPOT)


BAD = {
    "a keypoint is no mask": ("keypoint", {"x": 1, "y": 1, "width": 1}),
    "the ellipse's radii are 0 and 5 per cent": ("ellipse", {"x": 1, "y": 1, "radiusX": 0, "radiusY": 5}),
    "the ellipse's x, y, radiusX, radiusY, rotation are not all numbers": ("ellipse", {"x": 1, "y": 1, "radiusX": "5"}),
    "the rectangle's width and height are -3 and 5": ("rectangle", {"x": 1, "y": 1, "width": -3, "height": 5}),
    "the rectangle's x, y, width, height, rotation are not all": ("rectangle", {"x": 1, "y": float("nan"), "width": 3}),
    "the vector is not closed": ("vector", {"vertices": vertices(*TRIANGLE), "closed": False}),
    "the vector is not closed ": ("vector", {"vertices": vertices(*TRIANGLE)}),
    "curved edges": ("vector", {"vertices": vertices(*TRIANGLE, isBezier=True), "closed": True}),
    "the vector branches": ("vector", {"vertices": vertices(*TRIANGLE, prevPointId="v0"), "closed": True}),
    "at least three vertices": ("vector", {"vertices": vertices(*TRIANGLE[:2]), "closed": True}),
    "the polygon is not closed": ("polygon", {"points": [[1, 1], [9, 1], [5, 9]], "closed": False}),
    "no `imageDataURL`": ("bitmask", {"imageDataURL": "http://host/a.png"}),
    "the bitmask's PNG is damaged": ("bitmask", {"imageDataURL": "data:image/png;base64,AAAA"}),
    "the bitmask's PNG is damaged ": ("bitmask", {"imageDataURL": "data:image/png;base64,%%"}),
    "the bitmask has 48 x 40 pixels": ("bitmask", {"imageDataURL": url(Image.new("L", (H, W)))}),
    "no pixel of it is marked": ("bitmask", {"imageDataURL": url(Image.new("L", (W, H)))}),
}


@pytest.mark.parametrize("words", BAD)
def test_what_bounds_no_area_is_refused(words):
    kind, value = BAD[words]
    with pytest.raises(CubeError, match=words.strip()):
        draw(kind, **value)


@pytest.mark.parametrize("apart", [False, True])
def test_every_kind_of_a_project_is_read_with_its_label(tmp_path, apart):
    values = {
        "ellipse": {"x": 50, "y": 50, "radiusX": 20, "radiusY": 25, "rotation": 30},
        "rectangle": {"x": 30, "y": 30, "width": 30, "height": 40, "rotation": 20},
        "vector": {"vertices": vertices(*TRIANGLE), "closed": True},
        "bitmask": {"imageDataURL": url(Image.fromarray(SPOT))},
    }
    results = []
    for kind, value in values.items():
        drawn = {"original_width": W, "original_height": H, "name": kind}
        if apart:  # shape and label come as two results
            label = {"id": kind, "type": "labels", "value": {"labels": ["melanoma"]}}
            results += [region(kind, value=value, **drawn), label]
        else:
            results.append(region(f"{kind}labels", value={**value, f"{kind}labels": ["melanoma"]}, **drawn))
    found = read_annotations(put(tmp_path, task(annotation(*results)))).of("a")
    assert [(one.facts["kind"], one.diagnosis) for one in found] == [(kind, "melanoma") for kind in values]
    for one, (kind, value) in zip(found, values.items(), strict=True):
        np.testing.assert_array_equal(one.mask, draw(kind, **value))
