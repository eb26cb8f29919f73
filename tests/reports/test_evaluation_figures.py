"""Figures of an evaluation: they show what was measured, for few cubes and many bands too, and no word covers another."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from torch.nn.functional import avg_pool2d, interpolate

from hyperderm.metrics.evaluation.mean_spectra import LESION, MeanSpectra
from hyperderm.metrics.evaluation.measure import METRICS, Measured, measure
from hyperderm.metrics.evaluation.pairs import Nearest
from hyperderm.metrics.evaluation.scores import Score, comparison, cube_group
from hyperderm.phantom.rendering import phantom
from hyperderm.reports.document import image
from hyperderm.reports.evaluation.cube_figures import angle_map, angle_maps, contact_sheet, nearest_pairs, three_bands
from hyperderm.reports.evaluation.figures import drawings
from hyperderm.reports.evaluation.look import HELD_OUT, SYNTHETIC, TRAIN, spread
from hyperderm.reports.evaluation.score_figure import REACH, score_forest, standardised
from hyperderm.reports.evaluation.set_figures import embedding, level_histograms, mean_spectra
from hyperderm.reports.figure_parts import ending, evenly
from hyperderm.reports.figure_style import text_width
from tests.reports.figure_words import check_words, texts

LONG = "a_generator_with_$long$_names-and-dashes_of_seed_0003_epoch_200"
SIDE = 32


def lesions(count, seed):
    found = [each.lesion for each in phantom(count, SIDE, seed)]
    cubes = torch.from_numpy(np.moveaxis(np.stack([each.cube.reflectance for each in found]), 3, 1).copy())
    return cubes, [each.diagnosis for each in found], found[0].cube.wavelengths_nm


def group(name, cubes, diagnoses, nm):
    ids = [f"{name}-{i:04d}" for i in range(len(cubes))]
    return cube_group(name, ids, diagnoses, ids, cubes, nm)


def bands(cubes, count):
    """Cubes with another number of bands over the same wavelengths."""
    n, _, height, width = cubes.shape
    flat = cubes.permute(0, 2, 3, 1).reshape(n, height * width, -1)
    return interpolate(flat, count, mode="linear", align_corners=True).reshape(n, height, width, count).movedim(3, 1)


def measured(made, train, held, nm, name=LONG, diagnoses=None):
    real = comparison(group("train", *train, nm), group("held-out", *held, nm), nm, draws=30)
    return measure(group(name, made, diagnoses or ["melanoma"] * len(made), nm), real), real


@pytest.fixture(scope="module")
def real():
    return lesions(14, 1), lesions(8, 2)


@pytest.fixture(scope="module")
def bad(real):
    """Blurred copies of train, and noise."""
    (train, kinds, nm), (held, others, _) = real
    noise = torch.rand((3, *train.shape[1:]), generator=torch.Generator().manual_seed(0))
    noise[0, :, :8, :8] = 0
    made = torch.cat([avg_pool2d(train[:5], 3, 1, 1, count_include_pad=False), noise])
    return measured(made, (train, kinds), (held, others), nm, diagnoses=[*kinds[:5], *["intraepidermal_carcinoma"] * 3])


@pytest.fixture(scope="module")
def single(real):
    """One cube of 200 bands."""
    (train, kinds, nm), (held, others, _) = real
    wide = np.linspace(nm[0], nm[-1], 200)
    return measured(bands(held[:1], 200) * 1.1, (bands(train[:6], 200), kinds[:6]), (bands(held[:3], 200), others[:3]), wide)


@pytest.fixture(scope="module")
def infrared(real):
    """Three bands that give no pseudo-RGB, one diagnosis."""
    (train, _, _), (held, _, _) = real
    three = [0, 7, 15]
    kinds = ["nevus"] * 14
    return measured(train[8:, three], (train[:8, three], kinds[:8]), (held[:, three], kinds[:8]), (700.0, 800.0, 900.0))


CASES = ("bad", "single", "infrared")


@pytest.mark.parametrize("case", CASES)
def test_every_figure_is_drawn_and_no_words_cover_each_other_or_leave_it(case, request):
    found, how = request.getfixturevalue(case)
    made = drawings(found, how, "set-1")
    assert len({each.name for each in made}) == len(made) == 7 + len(found.features)
    assert {f"set-1-{each.name}" for each in drawings(found, how, "")} == {each.name for each in made}
    for each in made:
        assert len(each.caption) > len(each.alt) > 30
        figure = each.draw()
        check_words(figure)
        assert min(text.get_fontsize() for text, _ in texts(figure)) >= 7


def test_long_names_of_all_sets_fit(bad):
    found, how = bad
    new = {"train": f"train_{LONG}", "held-out": f"held_{LONG}", LONG: LONG}
    real = replace(how, **{
        role: replace(cubes, name=new[cubes.name]) for role, cubes in (("train", how.train), ("held_out", how.held_out))
    })  # fmt: skip
    made = Measured(
        found.synthetic,
        MeanSpectra(real),
        found.scores,
        {metric: {new[name]: each for name, each in values.items()} for metric, values in found.level_values.items()},
        {each.name: Nearest(found.synthetic, each) for each in (real.train, real.held_out)},
        {"spectral": {new[name]: table for name, table in found.features["spectral"].items()}},
    )
    for each in drawings(made, real, "x"):
        check_words(each.draw())


def test_equal_measurements_give_equal_bytes(bad):
    found, how = bad

    def pictures():
        for figure in (embedding(found, how, "spectral"), level_histograms(found), score_forest(found, how)):
            drawn = image(figure)
            yield drawn.svg, drawn.png

    assert list(pictures()) == list(pictures())


def test_cubes_are_chosen_evenly_by_diagnosis(bad):
    _, how = bad
    kinds = how.train.diagnoses
    chosen = spread(how.train, 7)
    assert len(set(chosen)) == 7
    assert [kinds[row] for row in chosen] == sorted(kinds[row] for row in chosen)
    assert evenly(range(10), 5) == [1, 3, 5, 7, 9]
    assert evenly(range(3), 5) == [0, 1, 2]
    only = spread(how.train, 100, ["melanoma"])
    assert only == [row for row, kind in enumerate(kinds) if kind == "melanoma"]
    assert len(spread(how.train, 100, ["no such diagnosis"])) == len(how.train)


def test_contact_sheet_shows_all_sets_at_one_gain(bad):
    found, how = bad
    figure = contact_sheet(found, how, 6)
    assert len(figure.axes) == 6 + 6 + 3
    brighter = replace(found.synthetic, cubes=found.synthetic.cubes * 0.5)
    darker = contact_sheet(Measured(brighter, MeanSpectra(how)), how, 6)
    before, after = (np.stack([axes.images[0].get_array() for axes in each.axes]).astype(int) for each in (figure, darker))
    assert (after[:6] < before[:6]).mean() > 0.7
    np.testing.assert_array_equal(after[6:], before[6:])


def test_three_bands_are_the_ends_and_the_middle(bad):
    found, how = bad
    figure = three_bands(found, how, 4)
    said = [text.get_text() for text, _ in texts(figure)]
    assert [word for word in said if word.endswith(" nm")] == [f"{how.wavelengths[b]:.0f} nm" for b in (0, 7, 15)]
    assert len(figure.axes) == 2 * 4 * 3
    row = spread(found.synthetic, 4)[0]
    shown = [np.asarray(axes.images[0].get_array()) for axes in figure.axes[:3]]
    for picture, band in zip(shown, (0, 7, 15), strict=True):
        level = (found.synthetic.cubes[row, band].numpy() - how.low[band]) / (how.high[band] - how.low[band])
        order = np.argsort(np.clip(level, 0, 1).ravel())
        assert np.all(np.diff(picture.ravel()[order]) >= 0)


def test_mean_spectra_are_drawn_with_their_spread(bad):
    found, how = bad
    figure = mean_spectra(found, how)
    curves = {line.get_color(): line.get_ydata() for line in figure.axes[0].lines if line.get_marker() != "None"}
    for look, cubes in ((SYNTHETIC, found.synthetic), (HELD_OUT, how.held_out), (TRAIN, how.train)):
        np.testing.assert_allclose(curves[look.colour], np.nanmean(found.spectra.of(cubes)[:, LESION], 0))
    assert len(figure.axes) == 2 * (1 + min(7, len({*found.synthetic.diagnoses, *how.train.diagnoses})))
    said = " ".join(text.get_text() for text, _ in texts(figure))
    assert "3 / 0 / 0 cubes" in said


def test_a_spectrum_with_nan_is_left_out_of_the_mean(bad):
    found, how = bad
    spectra = MeanSpectra(how)
    values = spectra.of(found.synthetic)
    values[0, LESION, 2] = np.nan
    lines = mean_spectra(Measured(found.synthetic, spectra), how).axes[0].lines
    curve = next(line.get_ydata() for line in lines if line.get_color() == SYNTHETIC.colour and line.get_marker() != "None")
    np.testing.assert_allclose(curve, values[1:, LESION].mean(0))


def test_histograms_share_bins_and_tell_what_is_missing(bad):
    found, how = bad
    values = dict(found.level_values)
    first, second, third, *_ = values
    name = found.synthetic.name
    values[first] = values[first] | {name: np.where(np.arange(8) < 2, np.nan, values[first][name])}
    values[second] = dict.fromkeys(values[second], np.full(8, 0.25))
    values[third] = dict.fromkeys(values[third], np.full(8, np.nan))
    figure = level_histograms(Measured(found.synthetic, MeanSpectra(how), level_values=values))
    check_words(figure)
    said = [text.get_text().replace("\n", " ") for text, _ in texts(figure)]
    assert "2 cubes without a value" in said
    assert "16 cubes without a value" in said
    assert len(figure.axes) == len(values)
    for axes in (figure.axes[0], figure.axes[1], figure.axes[3]):
        bars, others = [patch.get_data() for patch in axes.patches]
        np.testing.assert_array_equal(bars.edges, others.edges)
        np.testing.assert_allclose([bars.values.sum(), others.values.sum()], 1)
    assert any(METRICS[first].unit in word for word in said)
    check_words(level_histograms(Measured(found.synthetic, MeanSpectra(how))))


def test_angle_maps_have_the_mean_that_the_search_found(bad):
    found, how = bad
    angles, partners = found.nearest["held-out"].by_angle
    for row in range(len(angles)):
        drawn = angle_map(found.synthetic.cubes[row], how.held_out.cubes[partners[row]])
        np.testing.assert_allclose(np.nanmean(drawn), angles[row], rtol=1e-5)
    assert np.isnan(angle_map(found.synthetic.cubes[5], how.held_out.cubes[0])).sum() == 64
    large = torch.ones(4, 50, 50)
    assert angle_map(large, 2 * large).shape == (32, 32)
    assert angle_map(large, 2 * large).max() < 1e-3
    said = [text.get_text() for text, _ in texts(angle_maps(found, how))]
    assert sum(word.startswith("mean 0.") for word in said) == 6
    assert any("64 px without spectrum" in text.get_text() for text, _ in texts(angle_maps(found, how, 8)))


def test_nearest_pairs_begin_with_the_copy(bad):
    found, how = bad
    said = [text.get_text() for text, _ in texts(nearest_pairs(found, how))]
    angles, partners = found.nearest["train"].by_angle
    first = int(np.argmin(angles))
    assert first < 5
    assert partners[first] == first
    ids = [word.replace("\n", "").split("-")[-1] for word in said if word.startswith("train-")]
    assert ids[0].startswith(how.train.ids[first].split("-")[-1])
    printed = [float(word.split()[0]) for word in said if word.endswith(" rad")]
    np.testing.assert_allclose(printed[0::2], sorted(angles), atol=6e-4)


@pytest.mark.parametrize("lines", [1, 2])
def test_long_ids_keep_their_end(lines):
    text = ending(f"{LONG}_0042", 1.1, 7.5, lines)
    assert text.startswith("…")
    assert text.endswith("0042")
    assert text.count("\n") < lines
    assert all(text_width(line, 7.5) <= 1.1 for line in text.split("\n"))
    assert ending("short", 1.1, 7.5, lines) == "short"


def test_embedding_draws_every_cube_and_says_why_t_sne_is_missing(bad):
    found, how = bad
    components, t_sne = embedding(found, how, "spectral").axes
    for axes in (components, t_sne):
        counts = {line.get_color(): len(line.get_xdata()) for line in axes.lines}
        assert counts == {SYNTHETIC.colour: 8, HELD_OUT.colour: 8, TRAIN.colour: 14}
        assert len({line.get_marker() for line in axes.lines}) == 3
    tables = found.features["spectral"]
    few = {name: table[: 14 if name == "train" else 1] for name, table in tables.items()}
    few["held-out"] = np.full_like(few["held-out"], np.nan)
    figure = embedding(Measured(found.synthetic, found.spectra, features={"spectral": few}), how, "spectral")
    components, t_sne = figure.axes
    check_words(figure)
    assert "it needs 5 cubes" in t_sne.texts[0].get_text().replace("\n", " ")
    assert [len(line.get_xdata()) for line in components.lines] == [14, 0, 1]
    assert not t_sne.lines
    nothing = {name: np.full_like(table, np.nan) for name, table in tables.items()}
    check_words(embedding(Measured(found.synthetic, found.spectra, features={"spectral": nothing}), how, "spectral"))


def score(key, value, low=1.0, high=3.0, **other):
    metric = replace(METRICS["sam_nearest"], **other)
    return Score(key, metric, value, value - 0.1, value + 0.1, 8, 2.0, low, high, 0.0)


def test_standardised_values():
    assert standardised(score("held_out/nearest/a", 3.0), 3.0) == 1
    assert standardised(score("held_out/nearest/a", 1.0), 1.0) == -1
    assert standardised(score("held_out/nearest/a", 1.0, better="higher"), 1.0) == 1
    assert standardised(score("held_out/nearest/a", 2.0, low=2.0, high=2.0), 2.0) == 0
    assert standardised(score("held_out/nearest/a", 2.1, low=2.0, high=2.0), 2.1) == np.inf


def test_forest_places_and_marks_every_score(bad):
    found, how = bad
    made = Measured(found.synthetic, MeanSpectra(how))
    made.scores.found += [
        score("level/a", 2.5, title="first"),
        score("held_out/nearest/b", 4.0, title="second", better="lower"),
        score("train/nearest/b", 0.0, title="second", better="lower"),
        score("train/nearest/c", 99.0, title="third"),
        score("held_out/x/d", np.inf, title="fourth", better="higher"),
        score("held_out/x/e", 1.0, None, None, title="untold"),
    ]
    figure = score_forest(made, how)
    check_words(figure)
    drawn = []
    for axes in figure.axes:
        points = [line for line in axes.lines if len(line.get_xdata()) == 1]
        drawn.append([(p.get_xdata()[0], p.get_marker(), to_hex(p.get_markerfacecolor())) for p in points])
    assert drawn[0] == [(0.5, "o", "#ffffff"), (2.0, "o", "#d55e00"), (-REACH, "<", "#ffffff")]
    assert drawn[1] == [(-2.0, "o", "#ffffff"), (REACH, ">", "#d55e00")]
    said = [text.get_text() for text, _ in texts(figure)]
    assert [word for word in said if word in ("first", "second", "third", "fourth", "untold")] == [
        "first", "second", "third", "fourth",
    ]  # fmt: skip
    assert any("1 without a range of real cubes" in word for word in said)
    check_words(score_forest(Measured(found.synthetic, MeanSpectra(how)), how))


def test_forest_of_every_metric_and_space_keeps_its_words_apart(bad):
    found, how = bad
    made = Measured(replace(found.synthetic, name=LONG * 3), MeanSpectra(how))
    for key in METRICS:
        for family in ("held_out/inception", "train/inception", f"held_out/{LONG}{LONG}"):
            made.scores.found.append(replace(score(f"{family}/{key}", -9.0), metric=METRICS[key]))
    check_words(score_forest(made, how))
