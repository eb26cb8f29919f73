"""What a sweep hands to MLflow at its end; nothing is trained."""

from types import SimpleNamespace
from typing import Any

from hyperderm.workflows import run_sweep
from tests.cluster.sweeps import Memory, ask, search, tiny

OWN, COVERAGE = "spectral_energy_distance", "held_out/spectral/coverage"


def closed(folder, experiment, *reports: dict[str, float]) -> tuple[str, dict[str, Any]]:
    """The summary of a search whose trials reported these scores, each at its end."""
    made, told = search(folder, experiment, Memory()), []
    for metrics in reports:
        key = ask(made).key
        made.report(key, experiment.training.images, metrics)
        made.finish(key)
    board = SimpleNamespace(close=lambda broken: {})
    run_sweep._close(made, SimpleNamespace(close=lambda status, **more: told.append((status, more))), board)
    ((status, summary),) = told
    return status, summary


def scores(first: float, second: float) -> dict[str, float]:
    scale = {"floor_real_vs_real": 0.01, "score_of_mean_cube": 2.0}
    apart = {f"floor_real_vs_real/{COVERAGE}": 0.125, f"score_of_mean_cube/{COVERAGE}": 0.75}
    return {OWN: first, f"loss/{COVERAGE}": second, **scale, **apart}


def test_two_objectives_end_in_a_front(tmp_path):
    two = tiny(sweep__objective=[OWN, COVERAGE])
    status, found = closed(tmp_path, two, scores(0.5, 0.5), scores(0.6, 0.6), scores(0.7, 0.2))
    assert status == "FINISHED"
    assert found["tags"] == {"hyperderm.best": "0.5", "hyperderm.front": "0, 2"}
    assert found["metrics"] == {"": {"front_trials": 2.0}}
    assert set(found["figures"]) == {"pareto.png", "search.png", "search_second.png"}
    (axes,) = found["figures"]["pareto.png"].axes
    lines = {line.get_label() for line in axes.lines}
    assert {"real against real, spectral energy distance: 0.01", f"real against real, loss of {COVERAGE}: 0.125"} <= lines
    assert set(found["texts"]) == {"leaderboard.md", "leaderboard.csv", "pareto.md", "search.html", "search_second.html"}
    rows = [line.split(" | ")[0] for line in found["texts"]["pareto.md"].splitlines() if " | finished | " in line]
    assert rows == ["| 0", "| 2"]
    for said in ("Score 1: constant mean cube: 2.00.", "Score 2: constant mean cube: 0.750."):
        assert said in found["texts"]["leaderboard.md"]


def test_one_objective_has_none(tmp_path):
    status, found = closed(tmp_path, tiny(), {OWN: 0.5}, {OWN: 0.4})
    assert status == "FINISHED"
    assert found["tags"] == {"hyperderm.best": "0.4"}
    assert set(found["figures"]) == {"search.png"}
    assert set(found["texts"]) == {"leaderboard.md", "leaderboard.csv", "search.html"}
    assert not found["metrics"]
