"""The plots of a search hold its numbers, and say why a plot is missing."""

import json
import math
import re
import threading

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from hyperderm.errors import StudyError
from hyperderm.tracking.study_plots import study_figure, study_page
from hyperderm.tracking.study_points import Axis, StudyPoints

SPACE = {
    "learner.lr_generator": FloatDistribution(1e-5, 1e-3, log=True),
    "training.batch_size": CategoricalDistribution([1, 2, 4, 8]),
    "learner.n_critic": IntDistribution(1, 5),
}


def save_png(figure, path):
    figure.savefig(path, format="png", dpi=figure.dpi)


def add(study, state, value=None, steps=(), params=None, space=SPACE):
    params = params or {"learner.lr_generator": 1e-4, "training.batch_size": 2, "learner.n_critic": 3}
    intermediate = {i: v for i, v in enumerate(steps)}
    study.add_trial(
        create_trial(state=state, value=value, params=params, distributions=space, intermediate_values=intermediate)
    )


def search(count: int, seed: int = 0) -> optuna.Study:
    """A search in which the generator's learning rate matters and nothing else; every third trial is stopped early."""
    rng = np.random.default_rng(seed)
    study = optuna.create_study(study_name="shsgan <v1>")
    study.set_user_attr("objective", "spectral_energy_distance")
    for i in range(count):
        rate = float(10 ** rng.uniform(-5, -3))
        params = {
            "learner.lr_generator": rate,
            "training.batch_size": [1, 2, 4, 8][rng.integers(4)],
            "learner.n_critic": int(rng.integers(1, 6)),
        }
        score = 0.2 + (math.log10(rate) + 3) ** 2 / 4 + 0.02 * rng.random()
        if i % 3 == 2:
            add(study, TrialState.PRUNED, None, (score + 1, score), params)
        else:
            add(study, TrialState.COMPLETE, score, (), params)
    return study


def sentences(figure) -> str:
    return "\n".join(t.get_text() for axes in figure.axes for t in axes.texts)


def plots(page: str) -> list[list[dict]]:
    """The traces of every interactive plot of a page."""
    decode = json.JSONDecoder().raw_decode
    starts = [m.end() for m in re.finditer(r'Plotly\.newPlot\(\s*"[0-9a-f-]{36}",\s*', page)]
    return [decode(page, start)[0] for start in starts]


@pytest.fixture(scope="module")
def study() -> optuna.Study:
    return search(24)


@pytest.fixture(scope="module")
def page(study) -> str:
    return study_page(study)


def test_points_are_final_scores_and_the_last_of_stopped_trials(study):
    found = StudyPoints(study)
    for point, trial in zip(found.points, study.trials, strict=True):
        assert point.number == trial.number
        assert point.value == (trial.value if point.finished else trial.intermediate_values[1])
    assert found.best.number == study.best_trial.number
    assert found.summary.startswith("24 trials: 16 finished, 8 stopped early. Best: trial ")
    assert found.shade[np.argmin(found.values)] == 0
    assert found.shade.max() == 1


def test_importance_finds_the_one_parameter_that_matters(study):
    shares, note = StudyPoints(study).importance
    assert next(iter(shares)) == "lr_generator"
    assert shares["lr_generator"] > 0.8
    assert math.isclose(sum(shares.values()), 1, rel_tol=1e-6)
    assert note == "from 24 trials"
    assert StudyPoints(study).importance[0] == shares


def test_one_diverged_trial_does_not_take_over_the_importance():
    study = search(24)
    add(study, TrialState.COMPLETE, 1e6)
    assert next(iter(StudyPoints(study).importance[0])) == "lr_generator"


def test_a_small_search_gives_a_hint_or_no_importance():
    assert StudyPoints(search(9)).importance[1] == "from 9 trials: a hint, no finding"
    shares, why = StudyPoints(search(7)).importance
    assert not shares
    assert why == "Importance needs at least 8 trials with a score; there are 7."


def test_axes_cover_the_searched_range_and_label_it_shortly():
    rate, batch, critic = (Axis(path, path, d) for path, d in SPACE.items())
    assert math.isclose(rate.position(1e-4), 0.5)
    assert [text for _, text in rate.ticks] == ["1e-05", "0.0001", "0.001"]
    assert (batch.position(4), batch.position(8)) == (2 / 3, 1)
    assert [text for _, text in batch.ticks] == ["1", "2", "4", "8"]
    assert (critic.position(1), critic.position(2), critic.position(5)) == (0, 0.25, 1)
    assert [label.label for label in StudyPoints(search(1)).axes] == ["lr_generator", "batch_size", "n_critic"]


def test_figure_draws_history_importance_lines_and_slices(study):
    figure = study_figure(study)
    history, importance, parallel, rate, batch, _ = figure.axes
    finished = [(t.number, t.value) for t in study.trials if t.value is not None]
    finished = [(n, v) for n, v in finished if n % 3 != 2]
    np.testing.assert_allclose(history.collections[0].get_offsets(), finished)
    assert len(history.collections[1].get_offsets()) == 8
    np.testing.assert_allclose(history.lines[0].get_ydata(), np.minimum.accumulate([v for _, v in finished]))
    shares, _ = StudyPoints(study).importance
    np.testing.assert_allclose([bar.get_width() for bar in importance.patches], list(shares.values())[::-1])
    assert len([line for line in parallel.lines if len(line.get_xdata()) == 4]) == 24
    assert rate.get_xlabel() == "lr_generator"
    stars = rate.collections[-1].get_offsets()
    np.testing.assert_allclose(stars[0][1], study.best_value)
    assert [t.get_text() for t in batch.get_xticklabels()] == ["1", "2", "4", "8"]


def test_optunas_own_plots_still_leave_out_what_was_stopped_early(study):
    """Why there are plots of ours; where this fails, Optuna has learned it: compare again."""
    history, slices = optuna.visualization.plot_optimization_history(study), optuna.visualization.plot_slice(study)
    assert len(history.data[0].x) == 16
    assert {len(trace.x) for trace in slices.data} == {16}
    assert len(StudyPoints(study).points) == 24


def test_page_is_one_offline_file_with_four_plots_of_the_same_points(study, page):
    assert page.count("plotly.js v") == 1
    assert "<script src" not in page
    assert "shsgan &lt;v1&gt;" in page
    history, importance, parallel, slices = plots(page)
    found = StudyPoints(study)
    assert history[0]["y"] == [p.value for p in found.finished]
    assert history[1]["x"] == list(range(2, 24, 3))
    assert importance[0]["y"][-1] == "lr_generator"
    labels = [d["label"] for d in parallel[0]["dimensions"]]
    assert labels == ["lr_generator", "batch_size", "n_critic", "status", "spectral energy distance"]
    assert parallel[0]["dimensions"][-1]["values"] == found.values.tolist()
    assert len(slices) == 6
    assert slices[1]["x"] == [p.params["learner.lr_generator"] for p in found.finished]
    assert f"--set learner.lr_generator={study.best_params['learner.lr_generator']}" in page


def empty(study):
    pass


def failed(study):
    add(study, TrialState.FAIL)
    add(study, TrialState.RUNNING)


def silent(study):
    add(study, TrialState.PRUNED)


def infinite(study):
    add(study, TrialState.COMPLETE, math.inf)
    add(study, TrialState.PRUNED, None, (0.3, math.nan))


@pytest.mark.parametrize(
    ("fill", "why"),
    [
        (empty, "No trial has been started."),
        (failed, "No trial has a finite score yet."),
        (silent, "No trial has a finite score yet."),
        (infinite, "No trial has a finite score yet."),
    ],
)
def test_nothing_to_draw_is_said(fill, why, tmp_path):
    study = optuna.create_study()
    fill(study)
    figure = study_figure(study)
    save_png(figure, tmp_path / "study.png")
    assert sentences(figure).count(why) == 3
    page = study_page(study)
    assert page.count(why) == 4
    assert not plots(page)
    assert len(page) < 5_000


@pytest.mark.parametrize("count", [1, 2])
def test_few_trials_are_drawn_without_importance(count, tmp_path):
    study = search(count)
    figure = study_figure(study)
    save_png(figure, tmp_path / "study.png")
    assert "Importance needs at least 8" in sentences(figure)
    page = study_page(study)
    assert len(plots(page)) == 3
    assert "Importance needs at least 8" in page


def test_only_stopped_trials_are_drawn_without_a_best():
    study = optuna.create_study()
    for score in (0.5, 0.4, 0.6):
        add(study, TrialState.PRUNED, None, (1.0, score))
    figure = study_figure(study)
    assert figure.axes[0].collections[0].get_offsets()[:, 1].tolist() == [0.5, 0.4, 0.6]
    assert not figure.axes[0].lines
    history, *_ = plots(study_page(study))
    assert history[1]["y"] == [0.5, 0.4, 0.6]


def test_equal_scores_have_no_importance_but_are_drawn(tmp_path):
    study = optuna.create_study()
    for critic in [1, 2, 3, 4, 5] * 2:
        params = {"learner.lr_generator": 1e-4, "training.batch_size": 2, "learner.n_critic": critic}
        add(study, TrialState.COMPLETE, 0.5, (), params)
    figure = study_figure(study)
    save_png(figure, tmp_path / "study.png")
    assert "All trials have the same score" in sentences(figure)
    assert len(plots(study_page(study))) == 3


def test_infinite_scores_are_left_out_and_counted():
    study = search(6)
    add(study, TrialState.COMPLETE, math.inf)
    found = StudyPoints(study)
    assert len(found.points) == 6
    assert "Left out, for their score is not finite: 1." in found.summary
    assert "not finite: 1." in study_page(study)


def test_failed_trials_are_marked():
    study = search(4)
    add(study, TrialState.FAIL)
    history = study_figure(study).axes[0]
    assert history.collections[-1].get_offsets()[:, 0].tolist() == [4]
    assert "Failed: 4." in study_page(study)


def test_trials_without_a_parameter_are_missing_from_parallel_coordinates_only():
    study = search(5)
    add(study, TrialState.COMPLETE, 0.4, (), {"learner.n_critic": 3}, {"learner.n_critic": SPACE["learner.n_critic"]})
    figure = study_figure(study)
    parallel = figure.axes[2]
    assert len([line for line in parallel.lines if len(line.get_xdata()) == 4]) == 5
    assert "1 of 6 trials lack some parameters" in parallel.get_xlabel()
    assert "1 of 6 trials lack some parameters" in study_page(study)


def test_a_search_without_parameters(tmp_path):
    study = optuna.create_study()
    add(study, TrialState.COMPLETE, 0.4, (), {"x": 1}, {"x": IntDistribution(1, 1)})
    study_figure(study)
    bare = optuna.create_study()
    bare.add_trial(create_trial(state=TrialState.COMPLETE, value=0.4))
    save_png(study_figure(bare), tmp_path / "study.png")
    assert "No parameter was searched." in study_page(bare)


def test_wide_scores_get_a_logarithmic_axis():
    study = optuna.create_study()
    for score in (0.01, 0.1, 5.0):
        add(study, TrialState.COMPLETE, score)
    assert study_figure(study).axes[0].get_yscale() == "log"
    add(study, TrialState.COMPLETE, -0.02)
    assert study_figure(study).axes[0].get_yscale() == "linear"


def test_figure_from_a_background_thread(study, tmp_path):
    done = []

    def draw():
        save_png(study_figure(study), tmp_path / "study.png")
        done.append(study_page(study)[:15])

    thread = threading.Thread(target=draw)
    thread.start()
    thread.join()
    assert done == ["<!doctype html>"]


def test_other_directions_are_refused():
    with pytest.raises(StudyError, match="maximize"):
        study_figure(optuna.create_study(direction="maximize"))
    with pytest.raises(StudyError, match="minimize, minimize"):
        study_page(optuna.create_study(directions=["minimize", "minimize"]))
