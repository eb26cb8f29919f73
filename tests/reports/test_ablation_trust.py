"""What a reader must know before trusting a report: negative controls that help or are lacking, shortcuts, choices."""

import csv
import io
import json
import re
from dataclasses import replace

import pytest

from hyperderm.reports.ablation.answer import (
    answer_lines,
    control_warnings,
    decision_sentence,
    decision_sentences,
    in_short,
    silent_controls,
)
from hyperderm.reports.ablation.effect_figures import forest
from hyperderm.reports.ablation.facts import Dose, Shortcut, verdict_of
from hyperderm.reports.ablation.meter import shortcuts
from hyperderm.reports.ablation.sections import content
from hyperderm.reports.ablation.shortcut_figure import shortcut_meter
from hyperderm.reports.ablation.shortcuts import shortcut_table, shortcut_warnings
from hyperderm.reports.ablation.tables import choice_table, contrast_table, csv_files
from hyperderm.reports.ablation.write import write_report
from hyperderm.statistics.ablation import decision
from hyperderm.statistics.ablation_results import Estimate, UndeclaredDifference
from hyperderm.statistics.intervals import score_limits
from hyperderm.studies.ablation.choice import Choice
from tests.reports import ablation_cases as cases
from tests.reports.figure_words import check_words, texts
from tests.reports.test_ablation_write import plain_figures
from tests.studies import grids

SPECTRAL, CNN = cases.MODELS
ARMS = ("real", "oversampled_1", "shsgan_1", "noisy_1")
DOSES = cases.SMALL_DOSES | {"noisy_1": Dose("noisy_copies", 1.0, "oversampled_1")}
NOT_TRUSTED = (
    f"THIS STUDY IS NOT TO BE TRUSTED: noisy_1 with {CNN} helps, although its synthetic cubes can teach nothing about "
    "melanoma. Something else than synthetic melanomas makes the difference."
)
QUALIFIED = "it would be said to help, but this is not to be trusted, see above."


def analysed(*above):
    """An analysis in which both adjusted intervals of these arms and models lie above 0, and all others hold it."""
    made = cases.analysis(arms=ARMS, doses=DOSES)
    found = tuple(
        replace(c, difference=0.05, adjusted_low=0.01, adjusted_high=0.09)
        if (c.arm, c.model) in above
        else replace(c, difference=0.0, adjusted_low=-0.04, adjusted_high=0.04)
        for c in made.contrasts
    )
    pairs = zip(found[::2], found[1::2], strict=True)
    return replace(made, contrasts=found, decisions=tuple(decision(*pair, pair[0].arm == "noisy_1") for pair in pairs))


def facts(**changes):
    return cases.facts(arms=ARMS, doses=DOSES, negative=("noisy_1",), **changes)


def cells(table):
    return [[" ".join((cell.text, cell.sub)).strip() for cell in row.cells] for row in table.rows]


# --- negative controls


def test_a_negative_control_that_helps_is_told_before_all_else(tmp_path, monkeypatch):
    plain_figures(monkeypatch)
    analysis = analysed(("noisy_1", CNN), ("shsgan_1", SPECTRAL))
    write_report(tmp_path / "report", cases.predictions((CNN,), ARMS[:1], folds=(0,)), analysis, facts())
    text, page = ((tmp_path / "report" / name).read_text() for name in ("report.md", "report.html"))
    assert text.splitlines()[1:4] == ["", "**Can the study be trusted?**  ", NOT_TRUSTED]
    assert re.search(rf'</h1>\s*<dl class="lines"><dt>Can the study be trusted\?</dt><dd>{NOT_TRUSTED}</dd>', page)
    assert json.loads((tmp_path / "report/analysis.json").read_text())["answer"][0] == NOT_TRUSTED
    for written in (text, page):
        assert "it helps" not in written
        assert written.count(QUALIFIED) == 1
        assert "(ways to show synthetic cubes, counted per model), 1 would be said to help, 1 cannot be told." in written
        assert "No verdict here is to be trusted, since a negative control helps." in written
    told = {(c.arm, c.model): verdict_of(analysis, c) for c in facts().declared.contrasts if c.reference == "real"}
    assert told["noisy_1", CNN] == "helps"
    assert told["shsgan_1", SPECTRAL] == "not trusted"
    assert told["shsgan_1", CNN] == "cannot tell"
    last = {(row.cells[0].text, row.cells[-1].text, row.cells[-1].tone) for row in contrast_table(analysis, facts()).rows}
    assert {("noisy_1", "helps", "bad"), ("shsgan_1", "not trusted", "bad"), ("shsgan_1", "cannot tell", "quiet")} <= last
    assert set(told.values()) <= {verdict for _, verdict, _ in last}


def test_negative_controls_are_marked_in_the_forest_plot_and_come_last():
    words = [text.get_text() for text, _ in texts(forest(analysed(), facts()))]
    marked = [word for word in words if "†" in word]
    check_words(forest(analysed(), facts()))
    assert marked[0:2] == ["noisy_1 †"] * 2
    assert marked[2:] == ["† negative control, must not help"]
    assert [word for word in words if word in ("shsgan_1", "noisy_1 †")] == ["shsgan_1", "noisy_1 †"] * 2
    assert not [text for text, _ in texts(forest(cases.analysis(), cases.facts())) if "†" in text.get_text()]


def test_where_no_negative_control_helps_an_answer_stands_unqualified():
    analysis = analysed(("shsgan_1", SPECTRAL))
    assert control_warnings(analysis) == []
    assert answer_lines(analysis)[0][0] == "What was tested"
    said = " ".join(decision_sentences(analysis))
    assert "against oversampled_1: it helps." in said
    assert "1 helps, 1 cannot be told" in said
    assert (
        "No, as it should be: noisy_1 can teach nothing about melanoma and was not shown to help (2 verdicts, Holm" in said
    )
    differences = next(each for each in content(analysis, facts(), []).sections if each.key == "differences")
    assert "to be trusted" not in differences.paragraphs[0]


def test_more_than_three_negative_controls_are_counted():
    analysis = analysed(("shsgan_1", SPECTRAL))
    (control,) = (each for each in analysis.decisions if each.negative and each.model == SPECTRAL)
    more = tuple(replace(control, arm=f"noisy_{k}") for k in (2, 3, 4, 5))
    (said,) = silent_controls(replace(analysis, decisions=(*analysis.decisions, *more)))
    assert said.startswith(
        "No, as it should be: noisy_1, noisy_2, noisy_3 and 2 more can teach nothing about melanoma and were"
    )
    assert "(6 verdicts, Holm-adjusted among themselves)" in said


def test_what_would_have_been_shown_is_told_within_what_is_possible():
    analysis = analysed(("noisy_1", CNN))
    open_one = replace(analysis.decisions[0], verdict="cannot tell", detectable=0.123)
    said = decision_sentence(analysis, open_one)
    assert said.endswith("melanomas a true difference of 0.123 from each of them would have been shown four times in five.")
    said = decision_sentence(analysis, replace(open_one, control="real"))
    assert said.endswith("melanomas a true difference of 0.123 would have been shown four times in five.")
    never = replace(open_one, detectable=0.61)
    said = decision_sentence(analysis, never)
    assert said.endswith("melanomas no difference that is possible would have been shown four times in five.")

    def in_range(*decisions) -> str:
        lines, _ = in_short(replace(analysis, decisions=decisions))
        return dict(lines)["Do synthetic melanomas help?"][-1]

    said = in_range(open_one, replace(open_one, detectable=0.2), never)
    assert "A true difference of 0.123 to 0.200, depending on the arm, would have been shown four times in five (of" in said
    assert " (of 1 of the 3: none that is possible); smaller gains" in said
    assert " A true difference of 0.123 would have been shown four times in five; smaller" in in_range(*[open_one] * 3)
    assert " No difference that is possible would have been shown four times in five. Each" in in_range(*[never] * 3)


def test_an_arm_whose_control_is_real_is_told_once_against_it():
    analysis = analysed(("shsgan_1", SPECTRAL))
    said = decision_sentence(analysis, replace(analysis.decisions[0], control="real"))
    assert said == f"shsgan_1 with {SPECTRAL} changed AUROC by +0.050 [+0.010, +0.090] against real: it helps."


def test_several_negative_controls_that_help_share_a_sentence():
    analysis = analysed(("noisy_1", SPECTRAL), ("noisy_1", CNN))
    (said,) = control_warnings(analysis)
    assert f": noisy_1 with {SPECTRAL} and noisy_1 with {CNN} help, although their synthetic cubes can teach" in said
    assert silent_controls(analysis) == [f"Yes, as is said above: noisy_1 with {SPECTRAL} and noisy_1 with {CNN}."]
    left = (("shuffled_1", CNN, "one class"),)
    said = dict(answer_lines(analysis, left))["Did any negative control help?"]
    assert said == [*silent_controls(analysis), f"{CNN} lacks shuffled_1 (one class), which the plan left out."]


def test_a_model_whose_negative_controls_have_no_result_is_named():
    """They failed, or there was no time for them: another model's controls say nothing of this one."""
    analysis = analysed(("shsgan_1", CNN))
    decisions = tuple(each for each in analysis.decisions if not (each.negative and each.model == CNN))
    said = dict(answer_lines(replace(analysis, decisions=decisions)))["Did any negative control help?"]
    assert said[0].startswith("No, as it should be: noisy_1 can teach nothing about melanoma and was not shown to help (1 v")
    assert said[1:] == [
        f"{CNN} has none with a result, so no negative control says whether its answers can be trusted.",
    ]


def test_a_lost_comparison_is_why_an_arm_cannot_be_told():
    analysis = analysed(("shsgan_1", SPECTRAL))
    lost = replace(analysis.decisions[0], verdict="cannot tell", hurdle="strong")
    assert decision_sentence(analysis, lost) == (
        f"shsgan_1 with {SPECTRAL} changed AUROC by +0.050 [+0.010, +0.090] against real and by +0.050 [+0.010, +0.090] "
        "against oversampled_1: cannot tell, since its declared comparison with strong has no result."
    )
    rule = dict(answer_lines(replace(analysis, decisions=(lost, *analysis.decisions[1:]))))["Do synthetic melanomas help?"][
        1
    ]
    assert rule.startswith("An arm helps only if it beats real cubes alone and strong and also its control")


def test_many_verdicts_are_qualified_too():
    analysis = analysed(("noisy_1", CNN), ("shsgan_1", SPECTRAL), ("shsgan_1", CNN))
    first = analysis.decisions[0]
    many = replace(analysis, decisions=(*analysis.decisions, *[replace(first, verdict="cannot tell")] * 2))
    lines, verdicts = in_short(many)
    assert lines[0] == ("Can the study be trusted?", [NOT_TRUSTED])
    assert [each.endswith(QUALIFIED) for each in verdicts] == [True, True, False]
    assert set(verdicts[:2]) <= set(dict(lines)["Do synthetic melanomas help?"])


def test_negative_controls_that_were_left_out_are_named():
    left = (("classic", SPECTRAL, "no flips"), ("noisy_1", SPECTRAL, "no flips"), ("shuffled_1", SPECTRAL, "one class"))
    known = replace(facts(left_out=(*left, ("shuffled_1", CNN, "one class"))), negative=("noisy_1", "shuffled_1"))
    analysis = analysed()
    analysis = replace(
        analysis, decisions=tuple(each for each in analysis.decisions if each.model == CNN or not each.negative)
    )
    said = dict(answer_lines(analysis, known.lacking_controls))["Did any negative control help?"]
    assert said[0].startswith("No, as it should be: noisy_1 can teach nothing about melanoma and was not shown to help (1 v")
    assert said[1:] == [
        f"{SPECTRAL} lacks noisy_1 (no flips) and shuffled_1 (one class), which the plan left out, so no negative control "
        "says whether its answers can be trusted.",
        f"{CNN} lacks shuffled_1 (one class), which the plan left out.",
    ]
    assert said[1] in dict(in_short(analysis, known.lacking_controls)[0])["Did any negative control help?"]
    assert said[1] in decision_sentences(analysis, known.lacking_controls)


def test_combinations_that_were_left_out_are_listed_by_model_and_reason(tmp_path, monkeypatch):
    plain_figures(monkeypatch)
    left = (("classic", SPECTRAL, "no flips"), ("focal", SPECTRAL, "no loss"), ("noisy_1", SPECTRAL, "no flips"))
    missing = tuple(f"cell {k}: not done" for k in range(50))
    known = facts(left_out=left, missing=missing)
    (cells,) = [each for each in content(analysed(), known, []).sections if each.key == "cells"]
    assert cells.items[:3] == (
        f"Left out of the plan for {SPECTRAL}: classic, noisy_1 (no flips).",
        f"Left out of the plan for {SPECTRAL}: focal (no loss).",
        missing[0],
    )
    assert cells.items[-1] == "and 10 more."
    write_report(tmp_path / "report", cases.predictions((CNN,), ARMS[:1], folds=(0,)), analysed(), known)
    for name in ("report.md", "report.html"):
        assert f"{SPECTRAL} lacks noisy_1 (no flips), which the plan left out." in (tmp_path / "report" / name).read_text()


# --- the shortcut meter


RESTS = Shortcut("shsgan_1", CNN, 0.95, 0.99, (0.6, 0.9), (0.2, 0.25))
SAID = (
    f"{CNN} seems to recognise synthetic cubes instead of melanoma: in arm shsgan_1 its mean probability of melanoma is "
    "0.90 for synthetic melanomas that it never saw, but 0.60 for unseen real ones; the set is told from real cubes with an "
    "AUROC of 0.99."
)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([RESTS], [SAID]),
        ([RESTS, replace(RESTS, arm="noisy_1", melanoma=(0.6, 0.85))], [f"{SAID} The same is seen in noisy_1."]),
        (
            [replace(RESTS, arm="noisy_1", melanoma=(0.6, 0.85), negative=(0.2, 0.5)), RESTS, replace(RESTS, arm="third")],
            [
                f"{SAID} The same is seen in noisy_1, third. In noisy_1 it gives synthetic lesions that are no melanoma "
                "0.50, real ones 0.20."
            ],
        ),
        ([replace(RESTS, model=SPECTRAL), RESTS], [SAID.replace(CNN, SPECTRAL), SAID]),
        ([replace(RESTS, logistic=0.89, network=0.9)], []),  # the set cannot be told from real cubes
        ([replace(RESTS, logistic=None, network=None)], []),
        ([replace(RESTS, melanoma=(0.6, 0.79))], []),  # nor is the classifier surer of it
        ([replace(RESTS, melanoma=(0.9, 0.6))], []),
        ([replace(RESTS, melanoma=None)], []),
        ([], []),
    ],
)
def test_a_model_that_knows_synthetic_cubes_is_warned_of(found, said):
    known = facts(shortcuts=tuple(found))
    assert shortcut_warnings(known) == said
    warned = content(analysed(), known, []).warnings
    assert [each for each in warned if "seems to recognise synthetic cubes" in each] == said


def test_the_meter_stands_beside_every_arms_gain():
    """Arms that nobody declared a comparison of have a gain as well; without predictions there is none."""
    analysis = analysed()
    gain = Estimate(-0.123, -0.2, -0.05, "as for contrasts")
    analysis = replace(analysis, undeclared=(UndeclaredDifference("shsgan_only", CNN, gain, 0.004),))
    declared = next(c for c in analysis.contrasts if (c.arm, c.reference, c.model) == ("shsgan_1", "real", CNN))
    analysis = replace(analysis, contrasts=(replace(declared, difference=0.05, low=0.01, high=0.09),))
    found = (
        RESTS, Shortcut("shsgan_only", CNN, 0.7, None, (0.5, 0.3), (0.2, 0.3)), Shortcut("shsgan_1", SPECTRAL),
    )  # fmt: skip
    table = shortcut_table(analysis, facts(shortcuts=found))
    assert cells(table) == [
        ["shsgan_1", CNN, "+0.050 [+0.010, +0.090]", "0.95", "0.99", "0.60 → 0.90", "0.20 → 0.25"],
        ["shsgan_only", CNN, "−0.123 [−0.200, −0.050]", "0.70", "–", "0.50 → 0.30", "0.20 → 0.30"],
        ["shsgan_1", SPECTRAL, *["–"] * 5],
    ]
    assert [[cell.tone for cell in row.cells[3:]] for row in table.rows[:2]] == [["bad"] * 3 + [""], ["", "", "bad", ""]]
    whole = content(analysis, facts(shortcuts=found), [])
    assert [each.tables[0] for each in whole.sections if each.key == "shortcuts"] == [table]
    assert not [each for each in content(analysis, facts(), []).sections if each.key == "shortcuts"]


def keys(figure) -> list[list[str]]:
    """The words of each line of a figure's key."""
    return [[text.get_text() for text in each.get_texts()] for each in figure.legends]


def test_the_figure_of_the_meter_draws_judges_gain_and_probabilities_side_by_side():
    analysis = analysed(("noisy_1", CNN))
    found = (
        Shortcut("noisy_1", CNN, 0.7, None, (0.2, 0.3)), Shortcut("shsgan_1", SPECTRAL, 0.9),
        Shortcut("shsgan_1", CNN, 0.9, 0.95, (0.25, 0.8), None, (0.85, 1.0)),
    )  # fmt: skip
    drawn = shortcut_meter(analysis, facts(shortcuts=found))
    told, gain, sure = drawn.axes  # nothing is known of how sure the other model is
    assert [label.get_text() for label in told.get_yticklabels()] == ["shsgan_1", "noisy_1 †"]
    points = {line.get_marker(): [*line.get_xdata(), *line.get_ydata()] for line in told.get_lines()}
    assert (points["s"], points["o"]) == ([0.95, 0], [0.7, 1])
    assert [0.85, 1.0] in [list(line.get_xdata()) for line in told.get_lines()]
    against = {c.arm: c for c in analysis.contrasts if c.model == CNN and c.reference != "real"}
    middles = [line.get_xdata()[0] for line in gain.get_lines() if line.get_marker() == "D"]
    assert middles == [against["shsgan_1"].difference, against["noisy_1"].difference]
    assert gain.get_xlim()[1] == -gain.get_xlim()[0] > max(abs(each.adjusted_high) for each in against.values())
    far = tuple(replace(each, adjusted_high=1.0) if each is against["noisy_1"] else each for each in analysis.contrasts)
    four = tuple(replace(found[0], arm=arm, model=model) for model in (SPECTRAL, CNN) for arm in ("shsgan_1", "noisy_1"))
    gain = shortcut_meter(replace(analysis, contrasts=far), facts(shortcuts=four)).axes[4]
    assert gain.get_xlim()[1] < 0.5
    assert [line.get_marker() for line in gain.get_lines() if line.get_marker() in "<>"] == [">"]
    spans = [list(line.get_xdata()) for line in sure.get_lines() if len(line.get_xdata()) == 2]
    assert spans == [[0.25, 0.8], [0.2, 0.3]]
    judges = ["judge: regression", "judge: network", "real melanomas", "synthetic melanomas", "warning from here"]
    assert keys(drawn) == [judges, ["difference to the control", "95 %", "Holm-adjusted, which decides"]]
    assert keys(shortcut_meter(replace(analysis, contrasts=far), facts(shortcuts=four)))[1][-1] == "goes on"
    alone = replace(analysis, contrasts=tuple(c for c in analysis.contrasts if c.reference == "real"))
    drawn = shortcut_meter(alone, facts(shortcuts=(found[0], found[2])))
    _, gain, _ = drawn.axes
    assert keys(drawn)[1][0] == "difference to real"
    assert [line.get_marker() for line in gain.get_lines() if len(line.get_xdata()) == 1] == ["o", "o"]


def test_the_meter_is_the_mean_over_folds_and_seeds(tmp_path):
    plan = grids.plan(
        grids.store(tmp_path / "store"), folds=[0, 1], seeds=[0, 1], arms=["synthetic", "shuffled"], judge=True
    )  # fmt: skip
    cells = [job for job in plan.stage("cell") if job.source]
    shuffled, shown = (next(job.arm for job in cells if ("shuffled" in job.arm) == dealt) for dealt in (True, False))
    results = {
        job.key: {"shortcut": {"melanoma": {"real": 0.5 + 0.1 * job.fold, "synthetic": 0.7 + 0.2 * job.seed}}}
        for job in cells
    }
    judged = {"real": 12.0, "synthetic": 8.0}
    results |= {job.key: {"judge": judged | {"auroc": 0.9 + 0.04 * job.fold}} for job in plan.stage("judge")}
    first = {job.fold: job.source for job in cells if job.arm == shown}
    found = shortcuts(plan, results, {first[0]: 0.75, first[1]: 0.85})
    assert {each.arm for each in found} == {shown} != {shuffled}  # whose diagnoses say nothing
    assert [each.model for each in found] == list(plan.grid.models)
    for each in found:
        assert each.logistic == pytest.approx(0.8)
        assert each.melanoma == pytest.approx((0.55, 0.8))
        assert each.negative is None
        assert each.network == (None if each.model == "spectral" else pytest.approx(0.92))
        assert each.interval == (None if each.model == "spectral" else score_limits(each.network, [(8, 12)] * 2))
    part = {job.key: results[job.key] for job in cells if (job.model, job.fold, job.seed) == ("small_cnn", 0, 1)}
    (alone,) = shortcuts(plan, part, {first[0]: None})
    assert (alone.arm, alone.model, alone.logistic, alone.network) == (shown, "small_cnn", None, None)
    assert alone.melanoma == pytest.approx((0.5, 0.9))
    assert shortcuts(plan, {}, {}) == ()


# --- what validation chose


def test_how_often_each_arm_was_chosen_is_told():
    chosen = ("shsgan_x1", "shsgan_x0.5", "shsgan_x1")
    losses = {"shsgan_x0.5": 0.5, "shsgan_x1": 0.4}
    made = [Choice("shsgan_chosen", CNN, fold, 0, name, losses) for fold, name in enumerate(chosen)]
    made.append(Choice("shsgan_chosen", SPECTRAL, 0, 0, "shsgan_x0.5", losses))
    known = facts(choices=tuple(made))
    table = choice_table(known)
    assert cells(table) == [
        ["shsgan_chosen", CNN, "shsgan_x1 2 of 3, shsgan_x0.5 1 of 3"],
        ["shsgan_chosen", SPECTRAL, "shsgan_x0.5 1 of 1"],
    ]
    arms, bare = (
        next(each for each in content(analysed(), told, []).sections if each.key == "arms") for told in (known, facts())
    )
    assert table in arms.tables
    assert len(bare.tables) == len(arms.tables) - 1
    rows = list(csv.DictReader(io.StringIO(csv_files(analysed(), known)["choices.csv"])))
    assert [row["chosen"] for row in rows] == ["0", "1", "1", "0", "0", "1", "1", "0"]
