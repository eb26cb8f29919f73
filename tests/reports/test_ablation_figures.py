"""Figures show the numbers of the analysis, and nothing in them covers anything else."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_hex

from hyperderm.reports.ablation.arm_styles import MOST_DRAWN, arm_styles, chunks, drawn
from hyperderm.reports.ablation.effect_figures import dose_response, forest
from hyperderm.reports.ablation.facts import Cost, Dose, result_of
from hyperderm.reports.ablation.figures import cost, hardest, roc, tradeoff
from hyperderm.reports.ablation.sections import content
from hyperderm.reports.figure_style import text_width, wrapped
from hyperderm.statistics.ablation_results import Estimate
from tests.reports import ablation_cases as cases
from tests.reports.figure_words import check_words, texts

LONG = (
    "real", "real + classic augmentation", "real + melanoma oversampled to the same ratio ×1", "real + focal loss",
    "real + SHS-GAN melanomas at ratio one, pre-trained on both classes",
    "real + a_generator_with_a_ridiculously_long_name_$x$_v2 ×4",
)  # fmt: skip
LONG_DOSES = {LONG[4]: Dose("shsgan", 1.0, LONG[2]), LONG[5]: Dose("gan_2", 4.0, LONG[2])}
THREE = ("spectral_logistic_regression", "densenet201_imagenet", "efficientnet_lite0_imagenet")


def case(models=cases.MODELS, arms=cases.ARMS, doses=cases.SMALL_DOSES, seeds=(0, 1, 2)):
    return cases.analysis(models, arms, doses, seeds=seeds), cases.facts(models, arms, doses, seeds=seeds)


CASES = {
    "small": case(), "long": case(THREE, LONG, LONG_DOSES, (0,)),
    "full": case(THREE[1:], cases.FULL_ARMS, cases.FULL_DOSES, (0,)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("draw", [forest, dose_response, hardest, tradeoff])
def test_no_words_cover_each_other_or_leave_the_figure(name, draw):
    check_words(draw(*CASES[name]))


def test_cost_words():
    check_words(cost(CASES["long"][1]))


def test_forest_draws_both_intervals_of_every_contrast():
    analysis, facts = CASES["small"]
    figure = forest(analysis, facts)
    axes = figure.axes[0]
    drawn = {tuple(np.round(line.get_xdata(), 9)): line.get_linewidth() for line in axes.lines if len(line.get_xdata()) == 2}
    for c in analysis.contrasts:
        thick, thin = drawn[round(c.low, 9), round(c.high, 9)], drawn[round(c.adjusted_low, 9), round(c.adjusted_high, 9)]
        assert thick > 2 * thin
    low, high = axes.get_xlim()
    assert low == -high
    words = [text.get_text() for text, _ in texts(figure)]
    for c in analysis.contrasts:
        assert f"{c.difference:+.3f}".replace("-", "−") in " ".join(words)
    assert [word for word in words if word in cases.MODELS] == list(cases.MODELS)
    assert sum(word in ("helps", "hurts", "cannot tell") for word in words) == len(analysis.decisions)


def test_forest_keeps_the_row_of_a_contrast_without_result_and_marks_what_goes_on():
    analysis, facts = CASES["small"]
    first, *others = analysis.contrasts
    wide = replace(others[-1], low=-0.8, high=0.9, adjusted_low=-0.9, adjusted_high=0.99)
    figure = forest(replace(analysis, contrasts=(*others[:-1], wide)), facts)
    words = " ".join(text.get_text() for text, _ in texts(figure))
    assert "not attainable: cells are missing" in words
    assert figure.axes[0].get_xlim()[1] < 0.5
    assert [line.get_marker() for line in figure.axes[0].lines if line.get_marker() in "<>"] == ["<", ">"]
    assert first.arm in words
    check_words(figure)
    nothing = forest(replace(analysis, contrasts=(), decisions=()), facts)
    check_words(nothing)


def test_real_is_black_and_every_arm_differs():
    for name in CASES:
        table = arm_styles(CASES[name][1])
        assert table["real"].colour == "#222222"
        assert len({(look.colour, look.marker, look.dash) for look in table.values()}) == len(table)
    full = arm_styles(CASES["full"][1])
    shades = [np.mean([int(full[f"shsgan_{r}"].colour[i : i + 2], 16) for i in (1, 3, 5)]) for r in ("quarter", "1", "4")]
    assert shades == sorted(shades, reverse=True)


def test_groups_hold_every_arm_with_real_and_its_control():
    _, facts = CASES["full"]
    groups = chunks(facts, list(facts.arms))
    assert set().union(*groups) == set(facts.arms)
    assert all(group[0] == "real" and len(group) <= 5 and len(set(group)) == len(group) for group in groups)
    for arm, dose in facts.doses.items():
        assert any({arm, dose.control} <= set(group) for group in groups)
        generators = [{facts.doses[a].generator for a in group if a in facts.doses} for group in groups]
        assert all(len(those) <= 1 for those in generators)
    assert chunks(facts, ["real", "focal"]) == [["real", "focal"]]


def test_of_many_arms_those_in_question_are_drawn():
    doses = {f"g{k}_1": Dose(f"g{k}", 1.0, f"oversampled_{k % 3}") for k in range(20)}
    arms = ("real", "classic", *(f"oversampled_{k}" for k in range(3)), *doses)
    made, facts = cases.analysis(arms=arms, doses=doses), cases.facts(arms=arms, doses=doses)
    decided = [replace(one, verdict="hurts" if one.arm == "g7_1" else "cannot tell") for one in made.decisions]
    chosen = drawn(replace(made, decisions=tuple(decided)), facts)
    assert len(chosen) == MOST_DRAWN
    assert {"real", "g7_1", "oversampled_1"} <= {*chosen}
    assert chosen == facts.ordered(chosen)
    assert all(doses[arm].control in chosen for arm in chosen if arm in doses)
    far = {arm: max(abs(c.difference) for c in made.contrasts if c.arm == arm and c.reference != "real") for arm in doses}
    left = [far[arm] for arm in doses if arm not in chosen]
    assert max(left) <= min(far[arm] for arm in doses if arm in chosen and arm != "g7_1")
    captions = [each.caption for part in content(made, facts, []).sections for each in part.drawings]
    assert sum(f"{MOST_DRAWN} of 25 arms are drawn" in caption for caption in captions) == 4
    assert drawn(*CASES["full"]) == list(CASES["full"][1].arms)


def test_curves_are_those_of_the_analysis():
    analysis, facts = CASES["small"]
    figure = roc(analysis, facts)
    table = arm_styles(facts)
    for axes, model in zip(figure.axes, facts.models, strict=True):
        lines = {to_hex(line.get_color()): line for line in axes.lines}
        for arm in facts.arms:
            curve = result_of(analysis, arm, model).roc
            np.testing.assert_array_equal(lines[table[arm].colour].get_xdata(), curve.x)
            np.testing.assert_array_equal(lines[table[arm].colour].get_ydata(), curve.y)


def test_operating_points_lie_where_the_proportions_say():
    analysis, facts = CASES["small"]
    lost = analysis.arms[0]
    metrics = lost.metrics | {"sensitivity": Estimate(None, None, None, "", "no positives")}
    some = replace(analysis, arms=(replace(lost, metrics=metrics), *analysis.arms[1:]))
    figure = tradeoff(some, facts)
    table = arm_styles(facts)
    for axes, model in zip(figure.axes, facts.models, strict=True):
        points = {line.get_color(): line.get_xydata()[0] for line in axes.lines if line.get_marker() not in ("", "None")}
        expected = {}
        for arm in facts.arms:
            m = result_of(some, arm, model).metrics
            if m["sensitivity"].value is not None:
                expected[table[arm].colour] = (1 - m["specificity"].value, m["sensitivity"].value)
        assert points.keys() == expected.keys()
        for colour, place in expected.items():
            np.testing.assert_allclose(points[colour], place)


def test_dose_response_shows_auroc_at_each_ratio():
    analysis, facts = CASES["full"]
    model = next(iter(facts.models))
    axes = dose_response(analysis, facts).axes[0]
    heights = {to_hex(line.get_color()): line.get_ydata() for line in axes.lines if line.get_marker() not in ("", "None")}
    expected = [
        result_of(analysis, arm, model).metrics["auroc"].value for arm, d in facts.doses.items() if d.generator == "shsgan"
    ]
    np.testing.assert_allclose(heights["#0072b2"], expected)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["¼", "½", "1", "2.06", "4"]
    ends = [line.get_ydata() for line in axes.lines if len(set(line.get_xdata())) == 1 and len(line.get_xdata()) == 2]
    first = result_of(analysis, "shsgan_quarter", model).metrics["auroc"]
    assert any(np.allclose(pair, (first.low, first.high)) for pair in ends)


def test_hardest_fills_the_markers_of_wrong_decisions_and_says_when_there_is_no_picture():
    analysis, facts = CASES["small"]
    lesion = replace(analysis.hardest[0], wrong_by_arm=dict.fromkeys(cases.ARMS, 0.0) | {"real": 1.0})
    figure = hardest(replace(analysis, hardest=(lesion,)), replace(facts, picture=lambda name: None))
    picture, strip = figure.axes
    assert picture.texts[0].get_text() == "no picture"
    inside = [to_hex(line.get_markerfacecolor()) for line in strip.lines if line.get_marker() not in ("", "None")]
    assert inside == ["#222222", "#ffffff", "#ffffff", "#ffffff"]


def test_cost_leaves_out_a_gpu_that_nobody_used():
    _, facts = CASES["small"]
    assert [axes.get_xlabel() for axes in cost(facts).axes] == ["GPU hours", "CPU hours"]
    idle = replace(facts, costs={arm: Cost(0.0, 0.01) for arm in facts.arms})
    figure = cost(idle)
    assert [axes.get_xlabel() for axes in figure.axes] == ["CPU hours"]
    assert max(patch.get_width() for patch in figure.axes[0].patches) == 0.01


@pytest.mark.parametrize("text", [*LONG, "x" * 90, "a_b-c+d/e", "one"])
def test_wrapped_lines_fit_and_lose_nothing_but_the_end(text):
    broken = wrapped(text, 1.2, 8.5, 3)
    lines = broken.split("\n")
    assert len(lines) <= 3
    assert all(text_width(line, 8.5) <= 1.2 for line in lines)
    squeezed = broken.replace("\n", "").replace(" ", "")
    assert text.replace(" ", "").startswith(squeezed.removesuffix("…"))
    assert squeezed.endswith("…") or squeezed == text.replace(" ", "")
