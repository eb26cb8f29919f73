"""`compare --sweeps` on folders of sweeps as a driver leaves them, and what mistakes get; nothing is trained."""

import json
import shutil
from pathlib import Path

import pytest

from hyperderm.registry import Space
from hyperderm.studies.search import sweep_identity
from hyperderm.studies.sweep_record import find_sweeps, read_sweep
from hyperderm.training.run_folder import claim
from tests.cluster.sweeps import AXES, Memory, ask, search, tiny

OWN, COVERAGE = "spectral_energy_distance", "held_out/spectral/coverage"


def sweep(place: Path, *scores: float | None, experiment=None, manifest="ab" * 32) -> Path:
    """A sweep whose trials ended with these scores after 96 images; None: the trial failed."""
    experiment = experiment or tiny()
    with claim(place, sweep_identity(experiment, Space("tiny", 1, AXES), manifest)):
        made = search(place, experiment, Memory())
        for score in scores:
            key = ask(made).key
            made.report(key, 0, {"floor_real_vs_real": 0.01, "score_of_mean_cube": 1.5})
            if score is not None:
                made.report(key, 32, {OWN: score + 1, f"loss/{COVERAGE}": 0.5})
                made.report(key, 96, {OWN: score, f"loss/{COVERAGE}": 0.4})
            made.finish(key, "it failed" if score is None else "")
    return place


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two sweeps of one task, one of another store, one that has not finished a trial, and a single run."""
    place = tmp_path_factory.mktemp("sweeps")
    (place / "experiments").mkdir()
    (place / "experiments" / "__init__.py").touch()
    runs = place / "runs"
    sweep(runs / "a", 0.5, 0.3, None)
    sweep(runs / "b", 0.4, 0.2, experiment=tiny(seed=3))
    sweep(runs / "elsewhere", 0.4, experiment=tiny(name="other", data__fold=1), manifest="cd" * 32)
    sweep(runs / "young", None, experiment=tiny(name="other"))
    (runs / "single" / "trials").mkdir(parents=True)
    return runs


@pytest.fixture
def runs(made, monkeypatch):
    """The folder of these runs, in a project that is the working directory."""
    monkeypatch.chdir(made.parent)
    monkeypatch.setenv("COLUMNS", "120")
    return made


def test_a_sweep_is_read_from_its_folder(runs):
    found = read_sweep(runs / "a")
    assert (found.name, found.experiment, found.objective) == ("a", "tiny", "spectral energy distance")
    assert [trial.outcome for trial in found.trials] == ["finished", "finished", "failed"]
    assert found.trials[0].scores == {32: 1.5, 96: 0.5}
    assert [trial.images for trial in found.trials] == [96, 96, 0]
    assert (found.floor, found.mean_cube, found.open) == (0.01, 1.5, 0)
    assert found.trials[0].timed
    assert found.facts["store (fingerprint)"] == "ab" * 6
    assert found.repeats is not None
    assert found.repeats.winner.score == 0.3


def test_the_first_of_two_objectives_is_read(tmp_path):
    two = tiny(sweep__objective=[COVERAGE, OWN])
    found = read_sweep(sweep(tmp_path / "two", 0.7, experiment=two))
    assert found.trials[0].scores == {32: 0.5, 96: 0.4}
    assert found.facts["objective"] == f"loss/{COVERAGE} and {OWN}"


def test_sweeps_are_named_by_folder_path_and_experiment(runs):
    assert find_sweeps(["a", str(runs / "b"), "tiny", "runs/a"], runs) == [runs / "a", runs / "b"]


def test_names_and_paths_give_tables_in_every_form(runs, command):
    done = command("compare", "--sweeps", "a", "runs/b")
    assert (done.returncode, done.stderr) == (0, "")
    assert "96 images of each trial, ranked by the median" in done.stdout
    assert "192 images in all, ranked by the best" in done.stdout
    assert command("compare", "--sweeps", "tiny", "--format", "markdown").stdout.startswith("**What was run; the score is")
    csv = command("compare", "tiny", "--sweeps", "--format", "csv", "--runs", runs).stdout
    assert csv.count("\n") == 9
    assert "images in all,192.0,best,1,b,tiny,spectral_energy_distance,2,2,0.2," in csv


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--sweeps"], "Missing argument 'RUN'"),
        ([], "Missing argument 'RUN'"),
        (["--sweeps", "a"], "fewer than two sweeps to compare: a. Name two or more different ones."),
        (["--sweeps", "a", "runs/a"], "fewer than two sweeps to compare: a. "),
        (["--sweeps", "a", "c"], "c is no sweep, neither in "),
        (["--sweeps", "a", "yong"], "yong is no sweep, neither in "),
        (["--sweeps", "a", "single"], "single is no sweep: "),
        (
            ["--sweeps", "a", "elsewhere"],
            "sweeps a and elsewhere cannot be compared: store (fingerprint) abababababab against cdcdcdcdcdcd; data.fold 0 "
            "against 1. Compare sweeps of one store, fold, size, diagnoses and objective.",
        ),
        (["--sweeps", "a", "young"], "no trial of sweep young has finished. Let it go on, or leave it out."),
        (["--sweeps", "a", "b", "--baseline", "a"], "--baseline and --sweeps are both given. Leave --baseline out"),
        (["--sweeps", "a", "b", "--metric", "x"], "--metric and --sweeps are both given."),
        (["--sweeps", "a", "b", "--format", "html"], "--format 'html' is unknown. Use table, markdown or csv."),
        (["--sweeps", "a", "b", "--out", "runs"], "--out 'runs': something is already there."),
        (["--sweeps", "a", "b", "--out", "x", "--format", "csv"], "--format csv and --out are both given."),
        (
            ["a", "b", "--runs", "runs"],
            "--runs 'runs' without --sweeps. Without it, runs are named as MLflow knows them; leave it out.",
        ),
    ],
)
def test_mistakes(runs, command, arguments, said):
    before = {path for path in runs.parent.rglob("*") if path.is_file()}
    done = command("compare", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {said}")
    assert done.stderr.count("\n") == 1
    assert {path for path in runs.parent.rglob("*") if path.is_file()} == before


def test_a_wrong_name_gets_the_nearest(runs, command):
    assert "Did you mean 'young'?" in command("compare", "--sweeps", "a", "yong").stderr


def test_a_damaged_identity_is_named(runs, command, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(runs / "b", broken)
    (broken / "identity.json").write_text("{")
    done = command("compare", "--sweeps", "a", broken)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {broken / 'identity.json'} is damaged")
    known = json.loads((runs / "a" / "identity.json").read_text())
    known["identity"]["learner.kind"] = "unheard_of"
    (broken / "identity.json").write_text(json.dumps(known))
    done = command("compare", "--sweeps", "a", broken)
    assert done.returncode == 2
    assert done.stderr.startswith("error: broken cannot be compared: ")
