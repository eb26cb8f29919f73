"""The learning curve in the report: its sentences, tables, files, and the lines that compute it again."""

import csv
import io
from dataclasses import replace

import pytest

from hyperderm.reports.ablation.answer import decision_sentences
from hyperderm.reports.ablation.gather import _enough
from hyperderm.reports.ablation.learning import (
    ELSEWHERE,
    curve_csv,
    curve_sentence,
    curve_table,
    learning_sentences,
    rate_sentence,
    rate_sentences,
    rate_table,
    rates_csv,
)
from hyperderm.reports.ablation.sections import content
from hyperderm.reports.ablation.write import write_report
from hyperderm.statistics.ablation import analyse
from hyperderm.statistics.ablation_results import CANNOT_BE_TOLD, WOULD_HELP, WOULD_NOT, Decision, Estimate, ExchangeRate
from hyperderm.statistics.learning_curve import CurveFacts
from tests.reports import ablation_cases as cases

MODELS = ("spectral_logistic", "small_cnn")
ARMS = ("real", "real@0.5", "real@0.25", "oversampled_1", "shsgan_1")
FACTS = CurveFacts(
    {"real": 1.0, "real@0.5": 0.5, "real@0.25": 0.25}, dict.fromkeys(range(3), 48), {"shsgan_1": ("oversampled_1", 48.0)}
)


@pytest.fixture(scope="module")
def grid():
    predictions = cases.predictions(MODELS, ARMS, folds=range(3))
    analysis = analyse(predictions, cases.contrasts(MODELS), resamples=200, curve=FACTS)
    return predictions, analysis, replace(cases.facts(MODELS, ARMS, folds=range(3), seeds=(0,)), trained_on=FACTS)


def curve(usefulness, low, value, high):
    return replace(analysed_curve(), slope=Estimate(value, low, high, "m"), usefulness=usefulness)


def analysed_curve():
    made = cases.predictions(MODELS[:1], ARMS[:3], folds=range(3))
    return analyse(made, (), resamples=50, curve=replace(FACTS, synthetic={})).curves[0]


def test_what_the_curve_says_in_words():
    assert (
        "would help spectral_logistic: each doubling, from 12 to 48 melanomas in training, changes its AUROC by +0.030 "
        "[+0.010, +0.050]" in curve_sentence(curve(WOULD_HELP, 0.01, 0.03, 0.05))
    )
    flat = curve(WOULD_NOT, -0.01, 0.0, 0.005)
    alone = (
        "More real melanomas alone are not expected to help spectral_logistic, as it is trained here: each doubling, from "
        "12 to 48 melanomas in training, changes its AUROC by 0.000 [−0.010, +0.005], which is less than the 0.01 that "
        "would be worth them."
    )
    assert curve_sentence(flat) == f"{alone} {ELSEWHERE}"
    assert curve_sentence(flat, helped=True) == alone
    assert "synthetic" not in alone
    falls = curve_sentence(curve(WOULD_NOT, -0.03, -0.02, -0.01))
    assert falls.startswith("More real melanomas alone are expected to harm spectral_logistic, as it is trained here: each")
    assert falls.endswith(f"by −0.020 [−0.030, −0.010]. {ELSEWHERE}")
    assert "cannot be told from these cases" in curve_sentence(curve(CANNOT_BE_TOLD, -0.02, 0.01, 0.04))
    none = replace(analysed_curve(), slope=Estimate(None, None, None, reason="a curve needs two shares"))
    assert curve_sentence(none).endswith("cannot be told: a curve needs two shares.")


def test_a_flat_curve_casts_no_doubt_on_an_arm_that_helps(grid):
    """Nor is what helps another model, or a negative control that helps, a reason to keep it silent."""
    flat = curve(WOULD_NOT, -0.01, 0.0, 0.005)
    helps = Decision("shsgan_1", flat.model, "oversampled_1", "helps", 0.1)
    others = (replace(helps, verdict="cannot tell"), replace(helps, model="small_cnn"), replace(helps, negative=True))
    analysis = replace(grid[1], curves=(flat,))
    for decisions, doubted in ((others, True), ((*others, helps), False)):
        (said,) = learning_sentences(replace(analysis, decisions=decisions))
        assert (ELSEWHERE in said) == doubted
    (section,) = [each for each in content(grid[1], grid[2], []).sections if each.key == "learning"]
    assert "no data of this kind" not in section.paragraphs[0]
    assert f"are not expected to help this model, as it is trained here. {ELSEWHERE}" in section.paragraphs[0]


def test_the_curve_stands_before_the_answer(grid):
    said = decision_sentences(grid[1])
    first = next(k for k, each in enumerate(said) if "real melanomas" in each)
    assert first == 2  # after what was tested, and how models do on it
    assert first < next(k for k, each in enumerate(said) if "synthetic" in each)


def test_a_rate_is_told_with_its_span_or_with_why_there_is_none(grid):
    _, analysis, facts = grid
    known = ExchangeRate(
        "shsgan_1", "small_cnn", "oversampled_1", 48, 48, Estimate(0.02, 0.0, 0.04, "m"), Estimate(0.5, -0.1, None, "m")
    )
    own = replace(known, rate=Estimate(-0.5, -1.0, None, "m"), slope=Estimate(0.03, 0.01, 0.05, "m"))
    assert rate_sentence(own) == (
        "A synthetic melanoma of shsgan_1 is worth less than none, −0.50 real ones [−1.00, no end] to small_cnn, by the "
        "curve of oversampled_1 (+0.030 [+0.010, +0.050] per doubling)."
    )
    none = replace(known, model="spectral_logistic", rate=Estimate(None, None, None, reason="the curve is flat (-0.010)"))
    analysis = replace(analysis, rates=(none, known))
    said = " ".join(decision_sentences(analysis))
    assert "A synthetic melanoma of shsgan_1 is worth 0.50 real ones [−0.10, no end] to small_cnn." in said
    assert "worth in real ones to spectral_logistic is not defined: the curve is flat (−0.010)." in said
    rows = [[cell.text for cell in row.cells] for row in rate_table(analysis, facts).rows]
    assert [row[-1] for row in rows] == ["0.50", "not defined"]
    assert [row.cells[-1].sub for row in rate_table(analysis, facts).rows][1] == "the curve is flat (−0.010)"
    found = list(csv.DictReader(io.StringIO(rates_csv(analysis))))
    assert [row["rate"] for row in found] == ["", "0.5"]


def test_of_many_rates_those_of_arms_that_help_are_told_and_the_others_by_their_range(grid):
    rate = ExchangeRate(
        "shsgan_1", "small_cnn", "oversampled_1", 48, 48, Estimate(0.02, 0.0, 0.04, "m"), Estimate(0.5, 0.1, 0.9, "m")
    )
    others = [
        replace(rate, arm=f"other_{k}", rate=Estimate(value, value - 0.1, value + 0.1, "m"))
        for k, value in enumerate((-0.2, 0.05, 0.3))
    ]
    helps = Decision("shsgan_1", "small_cnn", "oversampled_1", "helps", 0.1)
    analysis = replace(grid[1], rates=(others[0], rate, *others[1:]), decisions=(helps,))
    mine = "A synthetic melanoma of shsgan_1 is worth 0.50 real ones [0.10, 0.90] to small_cnn."
    assert rate_sentences(analysis) == [
        mine,
        "To small_cnn, the best estimates of 3 other arms are −0.20 to 0.30 real melanomas for a synthetic one (below 0: "
        "less than none), 2 of their intervals exclude 0 (rates.csv).",
    ]
    undecided = replace(analysis, decisions=(replace(helps, verdict="cannot tell"),))
    doubtful = replace(analysis, decisions=(helps, replace(helps, arm="noisy_1", negative=True)))
    for made in (undecided, doubtful):
        (said,) = rate_sentences(made)
        assert "the best estimates of 4 arms are −0.20 to 0.50 real melanomas" in said
    pair = replace(analysis, rates=(others[0], rate, others[2]))
    assert rate_sentences(pair)[1].startswith("To small_cnn, the best estimates of 2 other arms")
    one = replace(analysis, rates=(rate, *others[1:]))  # of 0.05 and 0.30, 0.1 to either side
    assert "1 of their intervals excludes 0" in rate_sentences(one)[1]
    assert len(rate_sentences(replace(analysis, rates=(others[0], rate)))) == 2


def test_every_point_of_every_model_is_shown(grid):
    _, analysis, _ = grid
    rows = [[cell.text for cell in row.cells] for row in curve_table(analysis).rows]
    assert [row[1:3] for row in rows] == [["12", "25 %"], ["24", "50 %"], ["48", "100 %"]] * 2
    found = list(csv.DictReader(io.StringIO(curve_csv(analysis))))
    assert [float(row["auroc"]) for row in found] == [point.auroc.value for each in analysis.curves for point in each.points]


def test_the_lines_of_the_report_compute_it_again(grid, tmp_path, monkeypatch):
    predictions, analysis, facts = grid
    write_report(tmp_path / "report", predictions, analysis, facts)
    assert (tmp_path / "report/learning_curve.png").exists()
    text = (tmp_path / "report/report.md").read_text()
    assert text.index("## What one more melanoma is worth") < text.index("## What synthetic data changed")
    lines = text.partition("import csv")[2].partition("\n)")[0]
    monkeypatch.chdir(tmp_path / "report")
    again: dict = {}
    exec(f"import csv{lines}\n)", again)
    assert again["analysis"].to_dict() == analysis.to_dict()


def test_an_arm_that_has_just_begun_keeps_no_other_from_being_reported(grid):
    predictions = grid[0]
    begun = (predictions.arm == "shsgan_1") & (predictions.fold == 0)
    first = predictions.lesion_id[begun & (predictions.truth == 1)][0]
    rest = (predictions.arm != "shsgan_1") | (begun & ((predictions.truth == 0) | (predictions.lesion_id == first)))
    table, panels, said = _enough(predictions.take(rest))
    assert "shsgan_1" not in {arm for arm, _ in panels}
    assert len(panels) == 2 * (len(ARMS) - 1)
    assert len(table.lesion_id) == int((predictions.arm != "shsgan_1").sum())
    assert sorted(said)[1] == "arm shsgan_1 with spectral_logistic: too few of its cells were finished to compare it."
    assert _enough(predictions)[2] == []
