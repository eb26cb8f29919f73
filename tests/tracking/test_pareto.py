"""The picture of a search by two objectives holds its numbers, its front and its scale."""

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from hyperderm.tracking.measure import Measure
from hyperderm.tracking.pareto import one_objective, pareto_figure
from hyperderm.tracking.study_plots import study_figure
from hyperderm.tracking.study_points import StudyPoints

SPACE = {"learner.lr": FloatDistribution(0.0, 1.0)}
MEASURES = (Measure("energy", 0.02, 2.0), Measure("loss of coverage", 0.1, 1.0))


def study(*values: tuple[float, float]) -> optuna.Study:
    """A search whose trials end with these values; one that failed and one that runs stand behind them."""
    made = optuna.create_study(study_name="two $of_x$", directions=["minimize", "minimize"])
    for at, each in enumerate(values):
        params = {"learner.lr": at / 10}
        made.add_trial(create_trial(state=TrialState.COMPLETE, values=each, params=params, distributions=SPACE))
    made.add_trial(create_trial(state=TrialState.FAIL, params={"learner.lr": 0.5}, distributions=SPACE))
    made.ask(SPACE)
    return made


def points(axes, label: str) -> list[tuple[float, float]]:
    (found,) = [each for each in axes.collections if each.get_label() == label]
    return [tuple(map(float, place)) for place in found.get_offsets()]


def test_every_finished_trial_is_drawn_and_the_front_bounds_what_it_dominates(tmp_path):
    values = [(0.5, 0.8), (0.7, 0.3), (0.6, 0.9), (0.7, 0.5), (1.0, 0.2)]
    figure = pareto_figure(study(*values), MEASURES)
    figure.savefig(tmp_path / "pareto.png")
    (axes,) = figure.axes
    assert points(axes, "Pareto front") == [values[n] for n in (0, 1, 4)]
    assert points(axes, "another finished trial") == [values[n] for n in (2, 3)]
    assert points(axes, "constant mean cube") == [(2.0, 1.0)]
    assert {text.get_text() for text in axes.texts} == {"0", "1", "2", "3", "4"}
    (stairs,) = [line for line in axes.lines if line.get_drawstyle() == "steps-post"]
    assert [tuple(map(float, at)) for at in stairs.get_xydata()[1:-1]] == [values[n] for n in (0, 1, 4)]
    assert stairs.get_ydata()[-1] == 0.2
    lines = {line.get_label(): line for line in axes.lines}
    assert set(lines["real against real, energy: 0.02"].get_xdata()) == {0.02}
    assert set(lines["real against real, loss of coverage: 0.1"].get_ydata()) == {0.1}
    assert "5 finished trials, 3 on the front, 1 failed and not drawn" in axes.get_title(loc="left")
    assert axes.get_xscale() == "log", "0.02 to 2"
    assert axes.get_yscale() == "linear"
    drawn = [*values, (0.02, 0.1), (2.0, 1.0)]
    assert all(axes.get_xlim()[0] < x < axes.get_xlim()[1] and axes.get_ylim()[0] < y < axes.get_ylim()[1] for x, y in drawn)


@pytest.mark.parametrize("value", [(0.5, 0.5), (0.0, 0.0), (-1.0, 1.0)])
def test_one_trial_without_a_scale_is_drawn_too(tmp_path, value):
    figure = pareto_figure(study(value), (Measure("energy", float("nan"), 2.0), Measure("coverage")))
    figure.savefig(tmp_path / "pareto.png")
    (axes,) = figure.axes
    assert points(axes, "Pareto front") == [value]
    assert [line.get_drawstyle() for line in axes.lines] == ["steps-post"]


def test_a_search_without_a_finished_trial_says_so():
    assert "No trial has finished yet." in {text.get_text() for text in pareto_figure(study(), MEASURES).axes[0].texts}


def test_each_objective_alone_has_the_plots_of_a_search():
    made = study((0.5, 0.8), (0.7, 0.3))
    for at, best in ((0, 0), (1, 1)):
        found = StudyPoints(one_objective(made, at, "some_loss"))
        np.testing.assert_array_equal(found.values, [each.values[at] for each in made.trials[:2]])
        assert found.best.number == best
        assert found.failed == [2]
        assert found.counts["running"] == 1
        assert found.objective == "some loss"
    assert study_figure(one_objective(made, 1, "some_loss")).axes
