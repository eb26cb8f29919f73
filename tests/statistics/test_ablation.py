"""Every number of the analysis from simulated predictions, recomputed by other means."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, confusion_matrix, roc_auc_score

from hyperderm.errors import StudyError
from hyperderm.reports.ablation.answer import baseline_sentence, decision_sentence, decision_sentences
from hyperderm.reports.ablation.facts import result_of
from hyperderm.statistics.ablation import FEW_DF, analyse, decision
from hyperderm.statistics.ablation_results import METRICS, Contrast
from hyperderm.statistics.panel import common, panel
from hyperderm.statistics.predictions import Predictions
from tests.simulation import Design, predictions, simulate

ARMS = ("real", "oversampled_x1", "shsgan_x1", "copier_x1")
FAMILY = [Contrast(arm, reference, "cnn") for arm in ARMS[2:] for reference in ARMS[:2]]


def grid(separations=(1.6, 1.6, 2.3, 1.6), seed=0, spectral=True, **design):
    made = simulate(Design(separations, **{"fold_sd": 0.0, **design}), np.random.default_rng(seed)).panels
    panels = [replace(p, arm=arm, model="cnn") for p, arm in zip(made, ARMS, strict=False)]
    if spectral:
        panels.append(replace(made[1], arm="real", model="spectral_logistic"))
    return predictions(tuple(panels))


@pytest.fixture(scope="module")
def table() -> Predictions:
    return grid()


@pytest.fixture(scope="module")
def analysis(table):
    return analyse(table, FAMILY, resamples=300)


def test_every_cell_is_scikit_learns(table, analysis):
    references = {"auroc": roc_auc_score, "auprc": average_precision_score, "brier": brier_score_loss}
    for result in analysis.arms:
        for name, reference in references.items():
            for cell in result.cells[name]:
                rows = table.where(arm=result.arm, model=result.model, fold=cell.fold, seed=cell.seed)
                assert cell.value == pytest.approx(reference(rows.truth, rows.probability))


def test_counts_and_pooled_metrics_follow_from_the_rows(table, analysis):
    for result in analysis.arms:
        assert list(result.metrics) == list(METRICS)
        for counts in result.counts:
            rows = table.where(arm=result.arm, model=result.model, seed=counts.seed)
            tn, fp, fn, tp = confusion_matrix(rows.truth, rows.probability >= rows.threshold).ravel()
            assert (counts.tp, counts.fn, counts.fp, counts.tn) == (tp, fn, fp, tn)
        mean = result.mean_counts
        assert mean.seed is None
        assert result.metrics["sensitivity"].value == pytest.approx(mean.tp / (mean.tp + mean.fn))
        assert mean.tp + mean.fn == pytest.approx(analysis.melanomas)
        for estimate in result.metrics.values():
            assert estimate.low <= estimate.value <= estimate.high
            assert estimate.method


def test_seeds_share_a_generator_and_that_is_said_where_one_is_compared(table, analysis):
    shared = "share one generator and one synthetic set: intervals say nothing of what training the generator again"
    assert sum(shared in note for note in analysis.notes) == 1
    assert not any("generator" in note for note in analyse(table, [], resamples=50).notes)


def test_differences_are_those_of_the_arms_and_delong_agrees(analysis):
    for contrast in analysis.contrasts:
        pair = [result_of(analysis, arm, "cnn").metrics["auroc"].value for arm in (contrast.arm, contrast.reference)]
        assert contrast.difference == pytest.approx(pair[0] - pair[1])
        assert np.mean([cell.value for cell in contrast.cells]) == pytest.approx(contrast.difference)
        assert contrast.delong.difference == pytest.approx(contrast.difference)
        assert contrast.delong.high - contrast.delong.low == pytest.approx(contrast.high - contrast.low, rel=0.5)
        assert contrast.adjusted_low <= contrast.low < contrast.high <= contrast.adjusted_high
        assert contrast.detectable > contrast.standard_error
        assert "seeds nested" in contrast.method


def test_a_helpful_arm_helps_and_a_copier_cannot_be_told(analysis):
    verdicts = {decision.arm: decision for decision in analysis.decisions}
    assert verdicts["shsgan_x1"].verdict == "helps"
    assert verdicts["copier_x1"].verdict == "cannot tell"
    assert {decision.control for decision in analysis.decisions} == {"oversampled_x1"}
    sentence = decision_sentence(analysis, verdicts["copier_x1"])
    assert f"with these {analysis.melanomas} melanomas a true difference of" in sentence
    assert f"{verdicts['copier_x1'].detectable:.3f}" in sentence


def test_a_harmful_arm_hurts():
    found = analyse(grid((2.2, 2.2, 1.4), spectral=False), FAMILY[:2], resamples=100)
    assert [decision.verdict for decision in found.decisions] == ["hurts"]
    assert "it hurts" in decision_sentences(found)[5]
    assert "1 hurts" in decision_sentences(found)[3]


def test_beating_only_real_is_not_help():
    """The control does as well: the melanomas' weight helped, not the synthetic cubes."""
    found = analyse(grid((1.5, 2.3, 2.3), spectral=False), FAMILY[:2], resamples=100)
    against_real, against_control = found.contrasts
    assert against_real.adjusted_low > 0
    assert against_control.adjusted_low < 0
    assert found.decisions[0].verdict == "cannot tell"


def test_the_rule_looks_at_the_adjusted_intervals(analysis):
    real, control = (replace(c, low=0.01, adjusted_low=0.005) for c in analysis.contrasts[:2])
    assert decision(real, control).verdict == "helps"
    assert decision(real, replace(control, adjusted_low=-0.001)).verdict == "cannot tell"
    assert decision(replace(real, adjusted_low=-0.001), control).verdict == "cannot tell"


def test_negative_controls_are_a_family_of_their_own(table, analysis):
    """The intervals of the arms in question are as wide as without them; theirs are adjusted among themselves."""
    alone = analyse(table, FAMILY[:2], resamples=300)
    both = analyse(table, FAMILY, resamples=300, negative=["copier_x1"])
    assert both.contrasts[:2] == alone.contrasts
    assert both.contrasts[2:] == analyse(table, FAMILY[2:], resamples=300).contrasts
    assert both.contrasts[0].adjusted_p < analysis.contrasts[0].adjusted_p
    assert [decision.negative for decision in both.decisions] == [False, True]
    assert "for 2 declared comparisons" in " ".join(decision_sentences(both))
    left = analyse(table, FAMILY, resamples=300, negative=["copier_x1"], unanswered=2)
    assert left.contrasts[2:] == both.contrasts[2:]
    assert left.contrasts[0].adjusted_p > both.contrasts[0].adjusted_p


def test_what_must_be_beaten_too_decides_as_well(analysis):
    real, control = (replace(c, low=0.01, adjusted_low=0.005) for c in analysis.contrasts[:2])
    strong = replace(control, reference="strong", adjusted_low=-0.001, detectable=0.3)
    assert decision(real, control, hurdle=replace(strong, adjusted_low=0.001)).verdict == "helps"
    assert decision(real, control, hurdle=strong).verdict == "cannot tell"
    assert decision(real, control, hurdle=strong).detectable == 0.3
    asked = [*FAMILY[:2], replace(FAMILY[1], reference="copier_x1")]
    found = analyse(grid((1.5, 1.5, 2.2, 2.4), spectral=False), asked, resamples=100, hurdle="copier_x1")
    (made,) = found.decisions
    assert (made.control, made.hurdle) == ("oversampled_x1", "copier_x1")
    assert "against copier_x1" in decision_sentence(found, made)
    helped = analyse(grid((1.2, 1.2, 2.6, 1.6), spectral=False), FAMILY[:2], resamples=100)
    lost = analyse(grid((1.2, 1.2, 2.6, 1.6), spectral=False), FAMILY[:2], resamples=100, lost=[("shsgan_x1", "cnn")])
    assert [each.verdict for each in (*helped.decisions, *lost.decisions)] == ["helps", "cannot tell"]


def test_a_model_without_augmentation_is_decided_against_real_alone():
    """An arm that has lost its control is not: it has no decision."""
    table, asked = grid((1.2, 1.2, 2.6, 1.6), spectral=False), FAMILY[:1]
    assert analyse(table, asked, resamples=100).decisions == ()
    (made,) = analyse(table, asked, resamples=100, alone=[("shsgan_x1", "cnn")]).decisions
    assert (made.control, made.verdict) == ("real", "helps")
    said = decision_sentence(analyse(table, asked, resamples=100, alone=[("shsgan_x1", "cnn")]), made)
    assert said.count("against real") == 1
    assert "against real and" not in said
    whole = decision_sentences(analyse(table, asked, resamples=100, alone=[("shsgan_x1", "cnn")]))
    assert "An arm helps only if it beats real cubes alone." in whole


def test_sentences_say_the_numbers(analysis):
    said = decision_sentences(analysis)
    contrast = next(c for c in analysis.contrasts if (c.arm, c.reference) == ("shsgan_x1", "real"))
    expected = f"+{contrast.difference:.3f} [{contrast.adjusted_low:+.3f}, {contrast.adjusted_high:+.3f}] against real"
    assert any(expected in sentence for sentence in said)
    others = analysis.lesions - analysis.melanomas
    assert said[0].startswith(f"Each of {analysis.melanomas} melanomas and {others} other lesions (")
    assert said[1].startswith("With real cubes alone, the AUROC of melanoma (0.5 is guessing, 1 is perfect) is ")
    assert said[2].startswith("No learning curve was asked for")
    assert "Of 2 synthetic arms" in said[3]
    assert "1 helps, 1 cannot be told" in said[3]
    assert said[4].startswith("An arm helps only if it beats real cubes alone and also its control")
    assert any(sentence.startswith("There is none with a result") for sentence in said)
    assert all(sentence.endswith(".") for sentence in said)
    assert not re.search(r"nan|None|inf\b", " ".join(said))


def test_deep_models_are_held_against_the_spectral_baseline(analysis):
    (found,) = analysis.baselines
    assert (found.model, found.baseline) == ("cnn", "spectral_logistic")
    gap = [result_of(analysis, "real", model).metrics["auroc"].value for model in ("cnn", "spectral_logistic")]
    assert found.difference.value == pytest.approx(gap[0] - gap[1])
    assert "does not demonstrably beat" in baseline_sentence(found)


def test_arms_nobody_asked_about_are_held_against_real(analysis, table):
    asked = {(c.arm, c.model) for c in analysis.contrasts if c.reference == "real"}
    others = [(r.arm, r.model) for r in analysis.arms if r.arm != "real" and (r.arm, r.model) not in asked]
    assert others
    assert [(u.arm, u.model) for u in analysis.undeclared] == others
    for each in analysis.undeclared:
        gap = [result_of(analysis, arm, each.model).metrics["auroc"].value for arm in (each.arm, "real")]
        assert each.difference.value == pytest.approx(gap[0] - gap[1])
        assert each.difference.low < each.difference.value < each.difference.high
    alone = analyse(table, [], resamples=100)
    assert {(u.arm, u.model) for u in alone.undeclared} == {(r.arm, r.model) for r in alone.arms if r.arm != "real"}
    declared = next(c for c in analysis.contrasts if c.reference == "real")
    same = next(u for u in analyse(table, [], resamples=analysis.resamples).undeclared if u.arm == declared.arm)
    assert (same.difference.low, same.difference.high, same.p) == (declared.low, declared.high, declared.p)


def test_lesions_and_diagnoses(table, analysis):
    for row in analysis.diagnoses:
        mine = table.where(arm=row.arm, model=row.model)
        kind = mine.diagnosis == row.diagnosis
        wrong = (mine.probability >= mine.threshold) != (mine.truth == 1)
        assert row.lesions == len(np.unique(mine.lesion_id[kind]))
        assert row.errors == pytest.approx(wrong[kind].sum() / 3)
        assert row.rate == pytest.approx(row.errors / row.lesions)
    assert len(analysis.diagnoses) == 2 * 5
    worst = [each for each in analysis.hardest if each.model == "cnn"]
    assert [each.error for each in worst] == sorted((each.error for each in worst), reverse=True)
    every = {}
    cnn = table.where(model="cnn")
    for lesion, truth, probability in zip(cnn.lesion_id, cnn.truth, cnn.probability, strict=True):
        every.setdefault(str(lesion), []).append(abs(truth - probability))
    assert worst[0].error == pytest.approx(max(np.mean(each) for each in every.values()))
    one = worst[0]
    rows = table.where(arm="real", model="cnn")
    assert one.by_arm["real"] == pytest.approx(rows.probability[rows.lesion_id == one.lesion_id].mean())
    assert set(one.by_arm) == set(ARMS) == set(one.wrong_by_arm)


def test_the_order_of_rows_and_a_file_change_nothing(table, analysis, tmp_path):
    shuffled = table.take(np.random.default_rng(1).permutation(len(table)))
    shuffled.to_parquet(tmp_path / "predictions.parquet")
    again = analyse(Predictions.from_parquet(tmp_path / "predictions.parquet"), FAMILY, resamples=300)
    assert json.dumps(again.to_dict(), allow_nan=False) == json.dumps(analysis.to_dict(), allow_nan=False)


def test_perfect_and_constant_models_give_numbers_without_nan():
    held = grid((1.6, 1.6, 1.6), spectral=False, groups=(12, 30), folds=3, seeds=2)
    columns = {name: getattr(held, name).copy() for name in held.__dataclass_fields__}
    columns["probability"][held.arm == "shsgan_x1"] = 0.1 + 0.8 * held.truth[held.arm == "shsgan_x1"]
    columns["probability"][held.arm == "oversampled_x1"] = 0.5
    columns["threshold"][:] = 0.6
    found = analyse(Predictions.from_columns(columns), FAMILY[:2], resamples=100)
    text = json.dumps(found.to_dict(), allow_nan=False)
    assert "NaN" not in text
    perfect, constant = result_of(found, "shsgan_x1", "cnn"), result_of(found, "oversampled_x1", "cnn")
    assert perfect.metrics["auroc"].value == 1
    assert perfect.metrics["auroc"].low < 1
    assert perfect.metrics["auprc"].low is None
    assert constant.metrics["auroc"].value == 0.5
    for name in ("specificity_at_sensitivity_95", "sensitivity_at_specificity_90", "precision"):
        assert constant.metrics[name].value is None
    assert "reached only by calling every lesion melanoma in 6 of 6 cells" in " ".join(constant.notes)
    assert any("finding all of them" in note for note in found.notes)


def test_one_seed_is_said():
    found = analyse(grid((1.6, 1.6, 1.7), spectral=False, seeds=1), FAMILY[:2], resamples=50)
    assert "once for each fold (one seed)" in decision_sentences(found)[-1]
    assert all("One seed" in contrast.notes[0] for contrast in found.contrasts)
    assert "One seed" in found.notes[0]


def test_an_interrupted_night_is_analysed_with_what_it_has(table):
    short = table.take(~((table.fold == 3) & (table.seed > 0)))
    found = analyse(short, FAMILY, resamples=50)
    assert any("different numbers of seeds" in note for note in found.notes)
    cells = [cell for cell in found.contrasts[0].cells if cell.fold == 3]
    assert [cell.seed for cell in cells] == [0]


def test_without_contrasts_there_is_no_answer(table):
    found = analyse(table.where(arm="real"), [], resamples=50)
    assert found.contrasts == () == found.decisions
    assert "no answer" in decision_sentences(found)[3]


@pytest.mark.parametrize(
    ("contrasts", "message"),
    [
        ([Contrast("shsgan_x2", "real", "cnn")], "no predictions of arm 'shsgan_x2'.*Did you mean 'shsgan_x1'"),
        ([Contrast("shsgan_x1", "real", "resnet")], "Models: cnn, spectral_logistic"),
        ([Contrast("real", "real", "cnn")], "with itself"),
        ([*FAMILY, FAMILY[0]], "declared twice"),
    ],
)
def test_contrasts_that_cannot_be_are_refused(table, contrasts, message):
    with pytest.raises(StudyError, match=message):
        analyse(table, contrasts, resamples=50)


def test_arms_that_test_other_lesions_are_refused(table):
    odd = (table.arm == "real") & (table.lesion_id == table.lesion_id[table.truth == 0][0])
    with pytest.raises(StudyError, match=r"only one of them|different lesions"):
        analyse(table.take(~odd), FAMILY, resamples=50)


def test_the_whole_family_is_adjusted_together(table, analysis):
    alone = analyse(table, FAMILY[2:3], resamples=300).contrasts[0]
    together = next(c for c in analysis.contrasts if (c.arm, c.reference) == (alone.arm, alone.reference))
    assert alone.p == together.p == alone.adjusted_p
    assert together.adjusted_p >= together.p
    assert together.adjusted_high - together.adjusted_low > alone.adjusted_high - alone.adjusted_low


def test_a_lost_cell_costs_only_its_own_comparisons():
    """One cell of the synthetic arm is missing: the control against real stays as it was, to the last digit."""
    whole = grid(spectral=False)
    lost = (whole.arm == "shsgan_x1") & (whole.fold == 1) & (whole.seed == 0)
    part = whole.take(~lost)
    family = [Contrast("oversampled_x1", "real", "cnn"), Contrast("shsgan_x1", "real", "cnn")]
    all_cells, fewer = (analyse(table, family, resamples=100) for table in (whole, part))
    assert fewer.contrasts[0].difference == all_cells.contrasts[0].difference
    assert fewer.contrasts[0].low == all_cells.contrasts[0].low
    assert len(fewer.contrasts[1].cells) == len(all_cells.contrasts[1].cells) - 1
    cells = len(all_cells.contrasts[1].cells)
    assert f"Compared over the {cells - 1} of {cells} cells that both arms have." in fewer.contrasts[1].notes
    assert any("Some arms lack cells (shsgan_x1 with cnn)" in note for note in fewer.notes)
    assert not any("lack cells" in note for note in all_cells.notes)


def test_a_comparison_counts_the_melanomas_of_its_own_folds():
    whole = grid(spectral=False)
    family = [Contrast("oversampled_x1", "real", "cnn"), Contrast("shsgan_x1", "real", "cnn")]
    part = whole.take((whole.arm != "shsgan_x1") | (whole.fold == 1))
    found = analyse(part, family, resamples=50)
    there = whole.lesion_id[(whole.truth == 1) & (whole.fold == 1)]
    assert found.contrasts[0].melanomas == found.melanomas
    assert found.contrasts[1].melanomas == len(np.unique(there)) < found.melanomas


def test_few_degrees_of_freedom_are_told():
    (found,) = analyse(grid(spectral=False), [Contrast("shsgan_x1", "real", "cnn")], resamples=50).contrasts
    told = [note for note in found.notes if "degrees of freedom" in note]
    assert bool(told) == (found.df is not None and found.df < FEW_DF)
    whole = grid(spectral=False)
    only = whole.take((whole.fold == 1) & np.isin(whole.arm, ("real", "shsgan_x1")))
    swayed = only.probability + 0.3 * (only.seed == 1) * (only.arm == "shsgan_x1") * (only.truth == 0)
    wide = replace(only, probability=np.clip(swayed, 0, 1), raw_probability=np.clip(swayed, 0, 1))
    (found,) = analyse(wide, [Contrast("shsgan_x1", "real", "cnn")], resamples=50).contrasts
    assert found.df < FEW_DF
    assert [note for note in found.notes if note.startswith(f"The variance has {found.df:.0f} degrees of freedom")]


def test_arms_without_a_common_cell_are_refused():
    whole = grid(spectral=False)
    part = whole.take(np.where(whole.arm == "shsgan_x1", whole.fold == 1, whole.fold != 1))
    with pytest.raises(StudyError, match="'shsgan_x1' and 'real' with model 'cnn' have no cell in common"):
        analyse(part, [Contrast("shsgan_x1", "real", "cnn")], resamples=50)


def test_cells_in_common_that_are_too_few_are_none():
    """One melanoma a fold: two folds give an interval to neither arm, and what they share even less."""
    whole = grid(spectral=False)
    real, arm = (panel(whole, name, "cnn") for name in ("real", "shsgan_x1"))
    assert not real.thin
    one = replace(real, folds=tuple(_with_one_melanoma(fold) for fold in real.folds))
    assert one.thin
    assert common(one, one) is not None  # nothing better is there
    two = replace(real, folds=(real.folds[0], _with_one_melanoma(real.folds[1])))
    other = replace(arm, folds=(_with_one_melanoma(arm.folds[1]), arm.folds[2]))
    assert not two.thin
    assert not other.thin
    assert common(two, other) is None


def _with_one_melanoma(fold):
    kept = ~fold.truth
    kept[np.flatnonzero(fold.truth)[0]] = True
    scores = {name: getattr(fold, name)[:, kept] for name in ("probability", "raw_probability")}
    rows = {name: getattr(fold, name)[kept] for name in ("lesion_id", "truth")}
    return replace(fold, group=np.unique(fold.group[kept], return_inverse=True)[1], **rows, **scores)
