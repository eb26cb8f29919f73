"""The report's page, Markdown and CSV files say what the analysis holds, and nothing else."""

import base64
import csv
import io
import re
from dataclasses import replace

import pytest

from hyperderm.reports.ablation.answer import answer_lines, decision_sentence, in_short
from hyperderm.reports.ablation.facts import Cells, Dose, result_of
from hyperderm.reports.ablation.sections import caveats, content
from hyperderm.reports.ablation.tables import FIRST_METRICS, TABLES, csv_files, estimate_cell, set_table
from hyperderm.reports.document import Image, Notes, escaped, image, markdown, page
from hyperderm.reports.number_format import MISSING, chance, hours, number, percent, ratio, signed, span, tally
from hyperderm.statistics.ablation_results import METRICS, CellValue, Estimate, UndeclaredDifference
from tests.reports import ablation_cases as cases
from tests.reports.reading import Page

ANSWER = [("Does it help?", ("Nothing changed by more than 0.05.", "So: cannot tell."))]
NASTY = '<script>alert("x")</script> & $a$ | `b` _c_'
BLANK = Image(b"<svg/>", b"", 1.0)


def blank_page(analysis, facts, answer=ANSWER):
    whole = content(analysis, facts, answer)
    return page(whole, {d.name: BLANK for section in whole.sections for d in section.drawings})


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


@pytest.fixture(scope="module")
def small():
    return cases.analysis(), cases.facts()


@pytest.fixture(scope="module")
def drawn(small):
    whole = content(*small, ANSWER)
    return page(whole, {d.name: image(d.draw()) for section in whole.sections for d in section.drawings})


def test_page_is_whole_and_needs_nothing_else(drawn):
    read = Page(drawn)
    assert len(set(read.ids)) == len(read.ids)
    assert read.links
    assert all(link.startswith("#") and link[1:] in read.ids for link in read.links)
    assert "script" not in read.tags
    assert not re.search(r"https?:|url\(|@import", drawn)
    assert not [name for _, name, _ in read.attributes if name.startswith("on")]
    pictures = [value for tag, name, value in read.attributes if (tag, name) == ("img", "src")]
    assert len(pictures) == 6
    for picture in pictures:
        kind, data = picture.split(",", 1)
        assert kind == "data:image/svg+xml;base64"
        svg = base64.b64decode(data).decode()
        assert svg.rstrip().endswith("</svg>")
        assert all(a.startswith(("#", "data:")) for a in re.findall(r'href="([^"]*)"', svg))
    assert all(value for tag, name, value in read.attributes if (tag, name) == ("img", "alt"))


def test_answer_comes_first_then_warnings(small):
    analysis, facts = small
    read = Page(blank_page(analysis, replace(facts, store=replace(facts.store, phantom=True))))
    places = [read.text.index(words) for words in (*ANSWER[0][1], "nothing about patients", "What synthetic data changed")]
    assert places == sorted(places)
    assert "There is no answer" in Page(blank_page(analysis, facts, ())).text


def test_tables_hold_the_numbers_of_the_analysis(small, drawn):
    analysis, facts = small
    body = [row for row in Page(drawn).table("arm", "AUROC") if len(row) > 1]
    expected = []
    for model in facts.models:
        for arm in facts.arms:
            found, c = result_of(analysis, arm, model), result_of(analysis, arm, model).mean_counts
            metrics = [found.metrics[key] for key in FIRST_METRICS]
            shown = [f"{e.value:.3f} [{e.low:.3f}, {e.high:.3f}]" for e in metrics]
            expected.append([arm, *shown, *(f"{n:.0f}" for n in (c.tp, c.fn, c.fp, c.tn))])
    assert body == expected
    body = [row for row in Page(drawn).table("arm", "against") if len(row) > 1]
    assert [row[:2] for row in body] == [[c.arm, c.reference] for c in analysis.contrasts]
    for row, c in zip(body, analysis.contrasts, strict=True):
        value, low, high = map(float, re.findall(r"[+-]?[\d.]+", row[2].replace("−", "-")))
        assert (value, low, high) == pytest.approx((c.difference, c.low, c.high), abs=5.1e-4)
        assert float(row[6]) == pytest.approx(c.detectable, abs=5.1e-4)
    body = [row for row in Page(drawn).table("arm", "melanoma (85)") if len(row) > 1]
    first = next(d for d in analysis.diagnoses if (d.diagnosis, d.arm, d.model) == ("melanoma", "real", cases.MODELS[0]))
    assert body[0][1] == f"{percent(first.rate)} {first.errors:.0f} of 85"


def test_what_is_not_attainable_is_never_a_zero(small):
    analysis, facts = small
    reason = "no threshold reaches it in fold 3"
    lost = dict.fromkeys(METRICS, Estimate(None, None, None, "", reason))
    broken = replace(analysis, arms=tuple(replace(r, metrics=lost) if r.arm == "shsgan_1" else r for r in analysis.arms))
    read = Page(blank_page(broken, facts))
    body = [row for row in read.table("arm", "AUROC") if row[0] == "shsgan_1"]
    assert len(body) == 2
    assert all(cell == f"{MISSING} a" for row in body for cell in row[1:7])
    assert f"a {reason}" in read.text
    table = [r for r in rows(csv_files(broken, facts)["arms.csv"]) if r["arm"] == "shsgan_1" and r["metric"] in METRICS]
    assert len(table) == 2 * len(METRICS)
    assert all((r["value"], r["low"], r["high"], r["reason"]) == ("", "", "", reason) for r in table)
    text = markdown(content(broken, facts, ANSWER))
    assert f"| shsgan_1 | {MISSING}<sup>a</sup> |" in text
    assert f"<sup>a</sup> {reason}" in text


def test_a_value_without_an_interval_says_why():
    notes = Notes()
    cell = estimate_cell(Estimate(1.0, None, None, "", "all scores are equal"), notes)
    assert (cell.text, cell.sub, cell.mark) == ("1.000", "no interval", "a")
    assert notes.listed == (("a", "all scores are equal"),)
    assert notes.mark("all scores are equal") == "a"
    assert notes.mark("another") == "b"
    assert notes.mark("") == ""
    assert [notes.mark(str(i)) for i in range(25)][-2:] == ["z", "aa"]


def test_a_declared_contrast_without_result_keeps_its_row(small):
    analysis, facts = small
    gone = analysis.contrasts[-1]
    some = replace(
        analysis,
        contrasts=analysis.contrasts[:-1],
        arms=tuple(r for r in analysis.arms if (r.arm, r.model) != (gone.arm, gone.model)),
    )
    read = Page(blank_page(some, facts))
    row = [row for row in read.table("arm", "against") if len(row) > 1][-1]
    assert row[:2] == [gone.arm, gone.reference]
    assert all(cell.startswith(MISSING) for cell in row[2:8])
    row = next(r for r in reversed(read.table("arm", "AUROC")) if r[0] == gone.arm)
    assert all(cell.startswith(MISSING) for cell in row[1:])
    assert "1 of 4 declared contrasts have no result" in read.text


def test_every_string_is_escaped():
    arms = ("real", "oversampled_1", NASTY)
    doses = {NASTY: Dose(NASTY, 1.0, "oversampled_1")}
    analysis, facts = cases.analysis(arms=arms, doses=doses), cases.facts(arms=arms, doses=doses, name=NASTY)
    notes = (NASTY, *analysis.notes)
    source = blank_page(replace(analysis, notes=notes), replace(cases.failed(facts), missing=(NASTY,)), [(NASTY, (NASTY,))])
    read = Page(source)
    assert "script" not in read.tags
    assert read.text.count(NASTY) >= 12
    assert read.table("arm", "AUROC")[3][0] == NASTY
    lines = markdown(content(analysis, facts, [(NASTY, (NASTY,))])).splitlines()
    bars = [len(re.findall(r"(?<!\\)\|", line)) for line in lines if line.startswith("| ")]
    at = [i for i, line in enumerate(lines) if line.startswith("| :--")]
    assert at
    assert len(bars) == sum(line.startswith("| ") for line in lines)
    for i in at:
        width = len(re.findall(r"(?<!\\)\|", lines[i]))
        body = []
        for line in lines[i + 1 :]:
            if not line.startswith("|"):
                break
            body.append(len(re.findall(r"(?<!\\)\|", line)))
        assert body
        assert set(body) == {width}
    assert "<script>" not in "\n".join(lines).replace("\\<script", "")


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("shsgan_1 [0.1, 0.2] a-b", "shsgan_1 [0.1, 0.2] a-b"), ("_a_ b_", "\\_a\\_ b\\_"), ("a|b\nc", "a\\|b c"),
        ("[x](y)", "\\[x\\](y)"), ("- a", "\\- a"), ("# a", "\\# a"), ("p < 0.1", "p \\< 0.1"),
        ("R&amp;D & E", "R\\&amp;D & E"),
        ("a $x$ `b` *c*", "a \\$x\\$ \\`b\\` \\*c\\*"),
    ],
)  # fmt: skip
def test_markdown_escapes_what_would_mean_something(text, safe):
    assert escaped(text) == safe


def test_markdown_has_the_sections_and_figures_of_the_page(small):
    whole = content(*small, ANSWER)
    text = markdown(whole)
    assert re.findall(r"^## (.*)$", text, re.M) == [section.title for section in whole.sections]
    drawings = [d.name for section in whole.sections for d in section.drawings]
    assert re.findall(r"^!\[.*\]\((.*)\)$", text, re.M) == [f"{name}.png" for name in drawings]
    assert text.splitlines()[2:4] == ["**Does it help?**  ", " ".join(ANSWER[0][1])]


def test_dose_response_needs_two_ratios(small):
    assert "dose" not in [s.key for s in content(*small, ANSWER).sections]
    doses = cases.SMALL_DOSES | {"shsgan_2": Dose("shsgan", 2.0, "oversampled_2")}
    arms = (*cases.ARMS, "oversampled_2", "shsgan_2")
    whole = content(cases.analysis(arms=arms, doses=doses), cases.facts(arms=arms, doses=doses), ANSWER)
    assert "dose" in [s.key for s in whole.sections]


def test_csv_files_keep_every_digit(small):
    analysis, facts = small
    texts = csv_files(analysis, facts)
    assert tuple(texts) == TABLES
    arms = {(r["arm"], r["model"], r["metric"]): r for r in rows(texts["arms.csv"])}
    for result in analysis.arms:
        for metric, e in result.metrics.items():
            r = arms[result.arm, result.model, metric]
            assert [r[k] for k in ("value", "low", "high")] == [
                "" if v is None else repr(v) for v in (e.value, e.low, e.high)
            ]
            assert r["reason"] == e.reason
    for r, c in zip(rows(texts["contrasts.csv"]), analysis.contrasts, strict=True):
        assert (r["arm"], r["reference"], r["model"]) == (c.arm, c.reference, c.model)
        for name in ("difference", "low", "high", "adjusted_low", "adjusted_high", "p", "adjusted_p", "detectable"):
            assert float(r[name]) == getattr(c, name)
        assert float(r["delong_p"]) == c.delong.p
        assert r["verdict"] in ("helps", "hurts", "cannot tell")
    cells = rows(texts["cells.csv"])
    one = analysis.arms[0]
    mine = [r for r in cells if (r["arm"], r["model"], r["metric"]) == (one.arm, one.model, "auroc")]
    assert [(int(r["fold"]), int(r["seed"]), float(r["value"])) for r in mine] == [
        (c.fold, c.seed, c.value) for c in one.cells["auroc"]
    ]
    assert sum(r["reference"] != "" for r in cells) == sum(len(c.cells) for c in analysis.contrasts)
    counts = [r for r in rows(texts["counts.csv"]) if (r["arm"], r["model"]) == (one.arm, one.model)]
    assert [r["seed"] for r in counts] == ["0", "1", "2", "mean"]
    assert float(counts[-1]["tp"]) == one.mean_counts.tp
    for r, d in zip(rows(texts["diagnoses.csv"]), analysis.diagnoses, strict=True):
        assert (r["diagnosis"], r["arm"], float(r["errors"]), float(r["rate"])) == (d.diagnosis, d.arm, d.errors, d.rate)
    hard = rows(texts["hardest.csv"])
    assert len(hard) == sum(len(h.by_arm) for h in analysis.hardest)
    assert float(hard[0]["probability"]) == analysis.hardest[0].by_arm[hard[0]["arm"]]
    assert {r["arm"]: float(r["gpu_hours"]) for r in rows(texts["costs.csv"])} == {
        arm: cost.gpu_hours for arm, cost in facts.costs.items()
    }
    assert [int(r["fold"]) for r in rows(texts["sets.csv"])] == list(facts.folds)


def changed_set(facts, **changes):
    return replace(facts, sets=(replace(facts.sets[0], **changes), *facts.sets[1:]))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: f, ""),
        (lambda f: replace(f, store=replace(f.store, phantom=True)), "nothing about patients"),
        (lambda f: replace(f, profile="small"), "small profile"),
        (lambda f: changed_set(f, flagged=True), "flagged 1 of 5 synthetic sets (shsgan, fold 0)"),
        (lambda f: changed_set(f, derived=True), "1 of 5 synthetic sets (shsgan, fold 0) are derived"),
        (lambda f: changed_set(f, flagged=None, copies=None), "not audited"),
        (lambda f: changed_set(f, derived=True), "they vary real lesions and hold no new ones."),
        (lambda f: changed_set(f, flagged=None, derived=True), "made from was not judged"),
        (lambda f: changed_set(f, recognisable=0.9), ""),
        (lambda f: changed_set(f, recognisable=None), ""),
        (lambda f: changed_set(f, recognisable=0.996), "learn to recognise synthetic cubes instead of melanoma"),
        (lambda f: changed_set(f, recognisable=0.996), "1 of 5 synthetic sets (shsgan, fold 0) can be told from real cubes"),
        (lambda f: changed_set(f, recognisable=0.996), "AUROC of 0.996, where 0.5 would be indistinguishable"),
        (lambda f: cases.failed(f), "115 of 120 cells are done, 3 failed, 2 were not started"),
        (lambda f: replace(f, cells=Cells(121, 120)), "120 of 121 cells are done, 0 failed, 1 were not started"),
        (lambda f: replace(f, protections=()), "No protection"),
        (lambda f: replace(f, protections=(replace(f.protections[1], passed=False),)), "did not pass: Leak audit"),
        (lambda f: replace(f, folds=(*f.folds, 5)), "5 of 6 folds have results"),
        (lambda f: replace(f, declared=replace(f.declared, contrasts=f.declared.contrasts[1:])), "not declared"),
    ],
)
def test_warnings(small, change, said):
    analysis, facts = small
    found = caveats(analysis, change(facts))
    assert len(found) == bool(said)
    assert said in " ".join(found)


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({"flagged": False, "derived": False}, "passed"),
        ({"flagged": False, "derived": True}, "passed"),
        ({"flagged": True, "derived": True}, "copies"),
        ({"flagged": None, "derived": True}, "not judged: derived"),
        ({"flagged": None, "derived": True, "copies": None}, "not audited"),
        ({"flagged": None, "derived": False, "copies": None}, "not audited"),
    ],
)
def test_a_set_passes_the_audit_only_where_it_was_judged(small, change, verdict):
    assert set_table(changed_set(small[1], **change)).rows[0].cells[6].text == verdict


def test_sets_say_how_recognisable_they_are(small):
    facts = changed_set(changed_set(small[1], recognisable=0.996), fold=9)
    facts = replace(facts, sets=(*facts.sets[:2], replace(facts.sets[2], recognisable=None), *facts.sets[3:]))
    table = set_table(facts)
    at = [column.title for column in table.columns].index("told from real (AUROC)")
    cells = [row.cells[at] for row in table.rows]
    assert [(c.text, c.tone) for c in cells[:3]] == [("0.996", "bad"), ("0.620", ""), (MISSING, "quiet")]
    assert "set from before this was measured" in dict(table.notes)[cells[2].mark]
    assert [r["recognisable"] for r in rows(csv_files(small[0], facts)["sets.csv"])][:3] == ["0.996", "0.62", ""]


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (number(0.8424), "0.842"), (number(-0.0001), "0.000"), (number(-1.5, 1), "−1.5"), (signed(0.0123), "+0.012"),
        (signed(-0.0123), "−0.012"), (signed(-0.0004), "0.000"), (signed(0.0004), "0.000"),
        (span(-0.02, 0.045, signs=True), "[−0.020, +0.045]"), (span(0.1, 1.0), "[0.100, 1.000]"),
        (chance(0.0009), "< 0.001"),
        (chance(0.05), "0.050"), (chance(1.0), "1.000"), (percent(0.0), "0 %"), (percent(0.004), "0.4 %"),
        (percent(0.0996), "10 %"), (percent(1.0), "100 %"), (tally(12.0), "12"), (tally(12.333), "12.3"), (hours(0.0), "0"),
        (hours(0.001), "3.6 s"), (hours(0.004), "14 s"), (hours(0.25), "15 min"), (hours(12.34), "12.3 h"),
        (ratio(0.25), "¼"),
        (ratio(2.0588), "2.06"), (ratio(4.0), "4"),
    ],
)  # fmt: skip
def test_numbers_are_written(written, text):
    assert written == text


def test_many_verdicts_become_a_list_below_the_paragraph(small):
    analysis, facts = small
    first = analysis.decisions[0]
    many = replace(analysis, decisions=tuple(replace(first, verdict=each) for each in ("helps", "hurts", "cannot tell")))
    many = replace(many, decisions=(*many.decisions, *[replace(first, verdict="cannot tell")] * 2))
    lines, verdicts = in_short(many)
    assert set(verdicts) == {decision_sentence(many, each) for each in many.decisions}
    said = dict(lines)["Do synthetic melanomas help?"]
    told = [sentence for sentence in said if sentence in verdicts]
    assert told == [sentence for sentence in verdicts if "cannot tell" not in sentence]  # what a reader looks for
    changes = [number(c.difference).removeprefix("−") for c in analysis.contrasts]
    found = re.findall(r"between [+−]([\d.]+) and [+−]([\d.]+);", said[-1])[0]
    assert set(found) <= set(changes)
    whole = content(many, facts, lines, verdicts)
    read = Page(page(whole, {d.name: BLANK for section in whole.sections for d in section.drawings}))
    places = [read.text.index(words) for words in (said[-1], verdicts[-1])]
    assert places == sorted(places)
    assert f"\n- {escaped(verdicts[1])}\n" in markdown(whole)
    few = replace(analysis, decisions=many.decisions[:2])
    assert in_short(few) == (answer_lines(few), [])


def test_each_of_several_controls_has_its_own_verdict(small):
    analysis, facts = small
    first, second = analysis.contrasts[:2]
    third = replace(second, reference="shsgan_only")
    said = analysis.decisions[0]
    two = (replace(said, verdict="helps"), replace(said, control="shsgan_only", verdict="hurts"))
    both = replace(analysis, contrasts=(first, second, third), decisions=two)
    assert [r["verdict"] for r in rows(csv_files(both, facts)["contrasts.csv"])] == ["", "helps", "hurts"]
    one = replace(both, decisions=two[:1])
    assert [r["verdict"] for r in rows(csv_files(one, facts)["contrasts.csv"])] == ["helps", "helps", ""]


def test_contrasts_that_joined_late_are_told_apart(small):
    analysis, facts = small
    calm = content(analysis, facts, ANSWER)
    assert not any("before the run" in warning for warning in calm.warnings)
    assert {r["declared"] for r in rows(csv_files(analysis, facts)["contrasts.csv"])} == {"before"}
    first = facts.declared.contrasts[0]
    late = replace(facts, declared=replace(facts.declared, late=(first,)))
    whole = content(analysis, late, ANSWER)
    named = f"{first.arm} against {first.reference} with {first.model}"
    assert any(w.startswith("Not all was declared before the run: ") and named in w for w in whole.warnings)
    said = next(s for s in whole.sections if s.key == "differences")
    assert "1 of them after the first job had started" in said.paragraphs[0]
    assert "declared after the first job had started" in [reason for _, reason in said.tables[0].notes]
    found = [r["declared"] for r in rows(csv_files(analysis, late)["contrasts.csv"])]
    assert found == ["late", *["before"] * (len(analysis.contrasts) - 1)]


def test_differences_nobody_declared_have_a_table_of_their_own(small):
    analysis, facts = small
    assert len(next(s for s in content(analysis, facts, ANSWER).sections if s.key == "differences").tables) == 1
    more = tuple(
        UndeclaredDifference("shsgan_only", model, Estimate(-0.123, -0.2, -0.05, "as for contrasts"), 0.004)
        for model in analysis.models
    )
    more = replace(analysis, undeclared=more)
    table = next(s for s in content(more, facts, ANSWER).sections if s.key == "differences").tables[1]
    assert "no verdict rests on them" in table.caption
    assert "−0.123" in Page(blank_page(more, facts, ANSWER)).text
    found = rows(csv_files(more, facts)["undeclared.csv"])
    assert [(r["arm"], r["reference"], r["model"], r["difference"], r["p"]) for r in found] == [
        ("shsgan_only", "real", model, "-0.123", "0.004") for model in analysis.models
    ]


def test_a_model_without_chance_is_said_to_have_one_training():
    whole = replace(cases.analysis(), seeds=(0, 1))
    said = dict(answer_lines(whole))["What was tested"]
    assert not [each for each in said if "without chance" in each]
    alike = tuple(
        replace(each, cells={"auroc": tuple(CellValue(fold, seed, 0.7 + fold / 100) for fold in (0, 1) for seed in (0, 1))})
        if (each.arm, each.model) == ("real", whole.models[0])
        else each
        for each in whole.arms
    )
    said = dict(answer_lines(replace(whole, arms=alike)))["What was tested"]
    assert said[1] == f"{whole.models[0]} is fitted without chance: its trainings on the same cubes are equal."


def test_a_grid_of_real_cubes_alone_misses_nothing():
    bare = replace(cases.analysis(), contrasts=(), decisions=())
    said = dict(answer_lines(bare))
    assert said["Do synthetic melanomas help?"] == ["No synthetic arm was asked for, so there is no answer."]
    assert "Did any negative control help?" not in said
    lost = dict(answer_lines(replace(bare, unanswered=2)))
    assert lost["Do synthetic melanomas help?"][0].startswith("No synthetic arm could be compared")
    assert lost["Did any negative control help?"][0].startswith("There is none with a result")


def test_an_arm_of_one_fold_names_the_melanomas_of_its_own_comparison():
    whole = cases.analysis()
    made = replace(whole.decisions[0], verdict="cannot tell", detectable=0.1)
    fewer = tuple(replace(each, melanomas=7) if each.reference != "real" else each for each in whole.contrasts)
    assert f"with these {whole.melanomas} melanomas a true" in decision_sentence(whole, made)
    assert "with these 7 melanomas a true" in decision_sentence(replace(whole, contrasts=fewer), made)


@pytest.mark.parametrize(
    ("jobs", "said"),
    [
        ({"12ab" * 10: 60}, f"Commit {'12ab' * 10}. Lock"),
        ({}, f"Commit {'12ab' * 10}. Lock"),
        (
            {"ff00" * 10: 50, "12ab" * 10: 10},
            f"This report was computed by commit {'12ab' * 10}; its jobs were run: 10 by {'12ab' * 10}, 50 by "
            f"{'ff00' * 10}. Lock",
        ),
    ],
)
def test_the_code_that_reports_is_told_from_the_code_that_ran_the_jobs(small, jobs, said):
    analysis, facts = small
    shown = content(analysis, replace(facts, jobs_by=jobs), [])
    (again,) = [each for each in shown.sections if each.key == "again"]
    assert again.paragraphs[1].startswith(said)
