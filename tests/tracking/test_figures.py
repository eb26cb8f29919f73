"""The pictures hold the numbers: pixels of known cubes, means computed by hand, honest titles."""

import threading
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from hyperderm.cubes.cube import HSIDERMOSCOPY_NM
from hyperderm.cubes.pseudo_rgb import SKIN_TONE_SRGB, display_rgb, fit_gain, pseudo_rgb_matrix
from hyperderm.cubes.regions import lesion_region, skin_region
from hyperderm.errors import CubeError
from hyperderm.phantom.rendering import phantom
from hyperderm.tracking.figures import RealSet, lesion_grid, spectra

NM = np.array(HSIDERMOSCOPY_NM, dtype=np.float64)
SIZE = 32


@dataclass(frozen=True)
class Phantoms:
    real: RealSet
    generated: np.ndarray


def save_png(figure, path):
    figure.savefig(path, format="png", dpi=figure.dpi)


@pytest.fixture(scope="module")
def phantoms() -> Phantoms:
    lesions = [p.lesion for p in phantom(12, SIZE, 0)]
    real = RealSet(np.stack([p.cube.reflectance for p in lesions]), [p.diagnosis for p in lesions], NM)
    return Phantoms(real, np.stack([p.lesion.cube.reflectance for p in phantom(6, SIZE, 1)]))


def lines(axes) -> dict[str, np.ndarray]:
    return {line.get_label().split(",")[0]: line.get_ydata() for line in axes.lines if line.get_label()[0] != "_"}


def legend(axes) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def text(figure) -> str:
    titles = [axes.get_title() for axes in figure.axes]
    return "\n".join([*(t.get_text() for t in figure.texts), figure.get_suptitle(), *titles])


def test_spectra_draw_the_means_of_the_automatic_regions(phantoms):
    figure = spectra(phantoms.real, phantoms.generated, "trial 3")
    assert "trial 3" in text(figure)
    for name, cubes in (("real", phantoms.real.reflectance), ("generated", phantoms.generated)):
        lesions = [lesion_region(c) for c in cubes]
        regions = {
            "whole cube": [np.ones((SIZE, SIZE), bool)] * len(cubes),
            "lesion": lesions,
            "skin": [skin_region(c, m) for c, m in zip(cubes, lesions, strict=True)],
        }
        for axes, (region, masks) in zip(figure.axes, regions.items(), strict=True):
            rows = np.stack([c[m].mean(0, dtype=np.float64) for c, m in zip(cubes, masks, strict=True)])
            assert axes.get_title().strip() == region
            np.testing.assert_allclose(lines(axes)[name], rows.mean(0), rtol=1e-6)
            np.testing.assert_array_equal(axes.lines[0].get_xdata(), NM)
            edges = [line.get_ydata() for line in axes.lines if line.get_label()[0] == "_"]
            upper = rows.mean(0) + rows.std(0, ddof=1)
            assert any(np.allclose(edge, upper, rtol=1e-6) for edge in edges)
    assert legend(figure.axes[0]) == ["real, 12 cubes", "generated, 6 cubes"]
    assert figure.axes[0].get_xlabel() == "wavelength (nm)"
    assert figure.axes[0].get_ylabel() == "reflectance"


def test_spectra_of_cubes_without_lesion_say_so(phantoms):
    made = phantoms.generated.copy()
    made[:2] = 0.3
    figure = spectra(phantoms.real, made, "two blank")
    whole, lesion, _ = figure.axes
    assert "no lesion found in 2 of 6 generated" in lesion.get_title()
    assert legend(lesion)[1] == "generated, 4 cubes"
    assert "no lesion" not in whole.get_title()
    constant = spectra(phantoms.real, np.full_like(made, 0.3), "all blank")
    assert "no lesion found in 6 of 6 generated" in constant.axes[1].get_title()
    np.testing.assert_allclose(lines(constant.axes[0])["generated"], 0.3, rtol=1e-6)
    assert not len(lines(constant.axes[1])["generated"])


def test_spectra_count_and_leave_out_cubes_that_are_not_finite(phantoms):
    made = phantoms.generated.copy()
    made[0, 3, 3, 5] = np.nan
    figure = spectra(phantoms.real, made, "one broken")
    assert "1 of 6 generated cubes are not finite" in text(figure)
    np.testing.assert_allclose(lines(figure.axes[0])["generated"], made[1:].mean((0, 1, 2)), rtol=1e-5)


@pytest.mark.parametrize("scale", [0.3, 1e6])
def test_spectra_keep_real_cubes_readable_beside_noise(phantoms, scale):
    noise = (scale * np.random.default_rng(0).standard_normal(phantoms.generated.shape)).astype(np.float32)
    figure = spectra(phantoms.real, noise, "noise")
    low, high = figure.axes[0].get_ylim()
    assert high - low < 5 * float(np.ptp(phantoms.real.spectra["skin"]))
    assert ("beyond the axis" in text(figure)) == (scale > 1)


@pytest.mark.parametrize("count", [0, 1])
def test_figures_of_hardly_any_generated_cubes(phantoms, count, tmp_path):
    made = phantoms.generated[:count]
    figure = spectra(phantoms.real, made, "few")
    assert legend(figure.axes[0])[1] == f"generated, {count} cube{'' if count == 1 else 's'}"
    save_png(figure, tmp_path / "spectra.png")
    grid = lesion_grid(phantoms.real, made, "few", 0, rows=2, columns=2)
    assert grid.axes[1].get_title("left") == f"generated: {count} of {count}"
    canvas = grid.axes[1].images[0].get_array()
    assert np.all(canvas[:, canvas.shape[1] // 2 :] == 255)


def test_grid_shows_each_cube_with_the_gain_and_white_of_the_real_set(phantoms):
    real = phantoms.real
    figure = lesion_grid(real, phantoms.generated, "trial 3", 7, rows=2, columns=2)
    left, right = figure.axes
    order = np.random.default_rng(7).permutation(12)[:4]
    matrix = pseudo_rgb_matrix(NM)
    gain = fit_gain(real.reflectance, matrix)
    first = display_rgb(real.reflectance[order[0]], matrix, gain, real.white)
    canvas = np.asarray(left.images[0].get_array())
    np.testing.assert_array_equal(canvas[2 : 4 * SIZE : 4, 2 : 4 * SIZE : 4], first)
    np.testing.assert_array_equal(canvas[: 4 * SIZE : 4, : 4 * SIZE : 4], first)  # crisp: every pixel became 4 x 4
    made = np.random.default_rng(7).permutation(6)[0]
    expected = display_rgb(phantoms.generated[made], matrix, gain, real.white)
    np.testing.assert_array_equal(np.asarray(right.images[0].get_array())[: 4 * SIZE : 4, : 4 * SIZE : 4], expected)
    assert [t.get_text() for t in left.texts] == [real.diagnoses[i].replace("_", " ") for i in order]
    assert not right.texts
    assert left.get_title("left") == "real: 4 of 12"


def test_grid_is_drawn_pixel_by_pixel(phantoms, tmp_path):
    """A tile's pixels reach the file unblurred: the PNG holds the canvas itself."""
    figure = lesion_grid(phantoms.real, phantoms.generated, "crisp", 0, rows=1, columns=2)
    save_png(figure, tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as image:
        png = np.asarray(image.convert("RGB"))
    canvas = np.asarray(figure.axes[1].images[0].get_array())[:128]
    wide, high = canvas.shape[1], canvas.shape[0]
    x = png.shape[1] - 12 - wide
    y = png.shape[0] - 12 - high - 15
    np.testing.assert_array_equal(png[y : y + high, x : x + wide], canvas)


def test_white_balance_makes_median_skin_the_declared_tone(phantoms):
    real = phantoms.real
    skin = np.concatenate([real.picture(c)[s] for c, (_, s) in zip(real.reflectance, real.regions, strict=True)])
    np.testing.assert_allclose(np.median(skin, axis=0), SKIN_TONE_SRGB, atol=2)


def test_grid_of_noise_negative_and_broken_cubes(phantoms, tmp_path):
    noise = np.random.default_rng(0).standard_normal(phantoms.generated.shape).astype(np.float32)
    noise[0] = np.nan
    noise[1] = -1.0
    save_png(lesion_grid(phantoms.real, noise, "$noise", 0), tmp_path / "grid.png")
    assert (tmp_path / "grid.png").stat().st_size < 600_000


def test_large_and_oblong_cubes_shrink_to_tiles():
    cubes = np.random.default_rng(0).random((2, 200, 400, 16), dtype=np.float32)
    figure = lesion_grid(RealSet(cubes, [None, None], NM), cubes, "oblong", 0, rows=1, columns=2)
    canvas = np.asarray(figure.axes[0].images[0].get_array())
    assert canvas.shape[:2] == (64 + 15, 2 * 128 + 6)


def test_figures_from_a_background_thread(phantoms, tmp_path):
    done = []

    def draw():
        save_png(lesion_grid(phantoms.real, phantoms.generated, "thread", 0), tmp_path / "a.png")
        save_png(spectra(phantoms.real, phantoms.generated, "thread"), tmp_path / "b.png")
        done.append(True)

    thread = threading.Thread(target=draw)
    thread.start()
    thread.join()
    assert done


def test_what_does_not_fit_together_is_refused(phantoms):
    with pytest.raises(CubeError, match="16 bands"):
        spectra(phantoms.real, phantoms.generated[..., :8], "other bands")
    with pytest.raises(CubeError, match="2 diagnoses"):
        RealSet(phantoms.real.reflectance, ["melanoma"] * 2, NM)
    with pytest.raises(CubeError, match="N at least 1"):
        RealSet(phantoms.real.reflectance[:0], [], NM)
