"""Budgets, ranks and refusals of a comparison of sweeps, on trials that are made up so that every number is known."""

import csv as csv_module
import io

import pytest
from rich.console import Console

from hyperderm.errors import ConfigError
from hyperderm.reports import compare_sweeps as forms
from hyperderm.reports.sweep_comparison import best_so_far, compare_sweeps
from hyperderm.reports.sweep_figures import best_so_far_figure
from hyperderm.studies.sweep_record import SweepRecord, TrialRecord

FACTS = {"store (fingerprint)": "ab12", "data.fold": "0", "data.size": "16", "diagnoses": "all", "objective": "distance"}
SETTINGS = {"training.validate_every": 50, "training.validation_samples": 8, "profile": "small"}


def trial(number, *scores: float, outcome="finished", every=50, pace=0.1, timed=True, batch=1, **more) -> TrialRecord:
    """A trial that reported these scores, one every `every` images, at `pace` seconds an image."""
    found = {every * (at + 1): min(scores[: at + 1]) for at in range(len(scores))}
    seconds = {images: pace * images for images in found} if timed else {}
    return TrialRecord(number, outcome, found, seconds, more.get("seconds", pace * every * len(scores)), batch)


def sweep(name, *trials: TrialRecord, **changed) -> SweepRecord:
    given = {"facts": FACTS, "settings": SETTINGS, "machines": ("one (2 CPU and 0 GPU)",), "floor": 0.01, "mean_cube": 1.5}
    return SweepRecord(name, f"e_{name}", "distance", trials, 0, **{**given, **changed})


SHORT = sweep("short", trial(0, 0.8, 0.6), trial(1, 0.9, 0.5), trial(2, 0.7, 0.4))
"""Three trials of 100 images and 10 s: 300 images and 30 s in all."""
LONG = sweep("long", *(trial(number, 0.95, 0.7, 0.45, 0.2 + 0.1 * number, pace=0.2) for number in range(4)))
"""Four trials of 200 images and 40 s: 800 images and 160 s in all."""


def budget(found, unit, whole):
    (one,) = [each for each in found.budgets if (each.unit, each.whole) == (unit, whole)]
    return one, {line.sweep.name: line for line in one.lines}


def test_each_trial_has_the_images_that_every_finished_trial_has_seen():
    one, lines = budget(compare_sweeps([SHORT, LONG]), "images", False)
    assert (one.amount, one.ranked_by) == (100, "median")
    assert lines["short"].scores == {0: 0.6, 1: 0.5, 2: 0.4}
    assert lines["long"].scores == dict.fromkeys(range(4), 0.7)
    assert (lines["short"].best, lines["short"].median, lines["short"].worst) == (0.4, 0.5, 0.6)
    assert lines["short"].quartiles == (pytest.approx(0.45), pytest.approx(0.55))
    assert (lines["short"].rank, lines["long"].rank) == (1, 2)


def test_all_trials_share_the_images_of_the_smallest_sweep_and_the_last_one_is_cut():
    one, lines = budget(compare_sweeps([SHORT, LONG]), "images", True)
    assert (one.amount, one.ranked_by) == (300, "best")
    assert lines["short"].scores == {0: 0.6, 1: 0.5, 2: 0.4}
    assert (lines["long"].begun, lines["long"].scores) == (2, {0: 0.2, 1: 0.7}), "200 images and 100 of the next"
    assert (lines["long"].rank, lines["short"].rank) == (1, 2)


def test_what_is_fitted_at_once_sets_no_budget_of_images_and_counts_whole():
    once = sweep("once", trial(0, 0.3, every=8, pace=1.0), trial(1, 0.35, every=8, pace=1.0), fit_once=True)
    found = compare_sweeps([SHORT, LONG, once])
    for whole, amount in ((False, 100), (True, 300)):
        one, lines = budget(found, "images", whole)
        assert one.amount == amount
        assert (lines["once"].begun, lines["once"].scores) == (2, {0: 0.3, 1: 0.35})
        assert lines["short"].scores == {0: 0.6, 1: 0.5, 2: 0.4}
    one, _ = budget(found, "seconds", True)
    assert one.amount == 16
    assert "Fitted at once, so it sets no budget of images and counts whole in one: once." in forms.markdown(found)
    one, _ = budget(compare_sweeps([once, sweep("twice", trial(0, 0.2, every=8), fit_once=True)]), "images", False)
    assert one.amount == 8


def test_seconds_are_cut_in_the_same_way():
    found = compare_sweeps([SHORT, LONG])
    one, lines = budget(found, "seconds", False)
    assert one.amount == 10
    assert lines["long"].scores == dict.fromkeys(range(4), 0.95), "50 images in 10 s"
    one, lines = budget(found, "seconds", True)
    assert one.amount == pytest.approx(30)
    assert lines["short"].scores == {0: 0.6, 1: 0.5, 2: 0.4}
    assert (lines["long"].begun, lines["long"].scores) == (1, {0: 0.45}), "150 images in 30 s"
    assert (lines["short"].rank, lines["long"].rank) == (1, 2)


def test_seconds_that_were_not_recorded_at_reports_are_taken_in_proportion_and_told():
    untimed = sweep("untimed", *(trial(n, 0.95, 0.7, 0.45, 0.2, timed=False, pace=0.2) for n in range(2)))
    found = compare_sweeps([SHORT, untimed])
    assert budget(found, "seconds", True)[1]["untimed"].scores == {0: 0.45}
    assert any(note.startswith("In untimed the seconds of reports are not recorded") for note in forms.notes(found))
    none = compare_sweeps([SHORT, sweep("none", trial(0, 0.3, 0.2, seconds=0.0, timed=False))])
    assert [each.unit for each in none.budgets] == ["images", "images"]
    assert "No budgets of seconds: the seconds of trials are not recorded in none." in forms.notes(none)


def test_failed_trials_spend_their_budget_without_a_score_and_stopped_ones_keep_theirs():
    rough = sweep(
        "rough", trial(0, 0.01, outcome="failed"), trial(1, 0.55, outcome="stopped early"), trial(2, 0.9, 0.3, 0.2)
    )
    one, lines = budget(compare_sweeps([rough, SHORT]), "images", True)
    assert one.amount == 250
    assert lines["rough"].scores == {1: 0.55, 2: 0.2}
    assert lines["rough"].begun == 3
    assert lines["short"].scores == {0: 0.6, 1: 0.5, 2: 0.7}, "200 images and 50 of the last"
    one, lines = budget(compare_sweeps([rough, SHORT]), "images", False)
    assert one.amount == 100
    assert lines["rough"].scores == {1: 0.55, 2: 0.3}


def test_a_report_counts_if_its_last_step_began_within_the_budget():
    """Batches of 7 end at 105 images where batches of 1 end at 100."""
    wide = sweep("wide", trial(0, 0.9, 0.1, 0.05, every=53, batch=7))
    (one, lines) = budget(compare_sweeps([SHORT, wide]), "images", False)
    assert one.amount == 100
    assert lines["wide"].scores == {0: 0.1}
    narrow = sweep("narrow", trial(0, 0.9, 0.1, 0.05, every=53, batch=6))
    assert budget(compare_sweeps([SHORT, narrow]), "images", False)[1]["narrow"].scores == {0: 0.9}


def test_equal_values_share_a_rank():
    one, lines = budget(compare_sweeps([SHORT, sweep("same", *SHORT.trials), LONG]), "images", False)
    assert {name: line.rank for name, line in lines.items()} == {"short": 1, "same": 1, "long": 3}
    assert [line.rank for line in one.lines] == [1, 1, 3]


def test_the_best_so_far_runs_over_the_trials_one_behind_the_other():
    rough = sweep("rough", trial(1, 0.4, 0.3), trial(0, 0.9, 0.5), trial(2, 0.1, outcome="failed"), trial(3, 0.35, 0.2))
    assert best_so_far(rough, "images") == ([50, 100, 150, 200, 300, 350], [0.9, 0.5, 0.4, 0.3, 0.3, 0.2])
    assert best_so_far(rough, "seconds")[0] == pytest.approx([5, 10, 15, 20, 30, 35])


@pytest.mark.parametrize(
    ("fact", "value"),
    [("store (fingerprint)", "cd34"), ("data.fold", "1"), ("data.size", "32"), ("diagnoses", "nevus"), ("objective", "kid")],
)
def test_scores_of_another_task_are_refused_with_what_differs(fact, value):
    other = sweep("other", *SHORT.trials, facts={**FACTS, fact: value})
    with pytest.raises(ConfigError) as caught:
        compare_sweeps([SHORT, other])
    assert caught.value.what == f"sweeps short and other cannot be compared: {fact} {FACTS[fact]} against {value}"


def test_one_sweep_and_a_sweep_without_a_finished_trial_are_refused():
    with pytest.raises(ConfigError, match="fewer than two sweeps to compare: short"):
        compare_sweeps([SHORT])
    with pytest.raises(ConfigError, match="no trial of sweep bad has finished"):
        compare_sweeps([SHORT, sweep("bad", trial(0, 0.1, outcome="stopped early"))])


def test_the_csv_has_every_digit_and_what_is_needed_to_compute_it_again():
    found = compare_sweeps([SHORT, sweep("thirds", trial(0, 1 / 3), trial(1, 2 / 3, 1 / 7))])
    rows = list(csv_module.DictReader(io.StringIO(forms.csv(found))))
    assert len(rows) == 8
    (row,) = [row for row in rows if (row["budget"], row["sweep"]) == ("images of each trial", "thirds")]
    values = dict(pair.split("=") for pair in row["values"].split(";"))
    assert {int(number): float(value) for number, value in values.items()} == {0: 1 / 3, 1: 2 / 3}
    assert (float(row["median"]), row["amount"], row["ranked_by"]) == (0.5, "50", "median")


def test_the_tables_say_what_ranks_them_and_warn_of_what_is_not_equal():
    other = sweep("other", *LONG.trials, machines=("two",), settings={**SETTINGS, "training.validate_every": 10})
    found = compare_sweeps([SHORT, other])
    text = forms.markdown(found)
    for title in (
        "**100 images of each trial, ranked by the median**",
        "**300 images in all, ranked by the best**",
        "**10 s of each trial, ranked by the median**",
        "**30 s in all, ranked by the best**",
    ):
        assert title in text
    assert (
        "Beware: seconds of different machines do not compare. Machines: short: one (2 CPU and 0 GPU); other: two." in text
    )
    assert "Beware: training.validate_every differs (short: 50, other: 10)" in text
    assert "Real against real, the floor: 0.0100." in text
    console = Console(file=io.StringIO(), width=100, color_system=None)
    console.print(forms.table(found))
    assert max(map(len, console.file.getvalue().splitlines())) <= 100
    same = forms.notes(compare_sweeps([SHORT, LONG]))
    assert "Machine of all sweeps: one (2 CPU and 0 GPU)." in same


def test_the_figure_has_a_panel_for_each_unit_with_the_equal_budget():
    figure = best_so_far_figure(compare_sweeps([SHORT, LONG]))
    images, seconds = figure.axes
    assert images.get_title(loc="left") == "equal budget, 300 images"
    assert seconds.get_title(loc="left") == "equal budget, 30 s"
    lines = [line for line in images.lines if line.get_drawstyle() == "steps-post"]
    assert [list(line.get_ydata())[-1] for line in lines] == [0.4, 0.2]
    assert [list(line.get_xdata())[-1] for line in lines] == [300, 800]
