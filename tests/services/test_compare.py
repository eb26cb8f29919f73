"""`hyperderm compare` against a real MLflow server: how runs are found, what is written, what mistakes get."""

import csv
import io
import socket
from pathlib import Path

import numpy as np
import pytest

from hyperderm.errors import ConfigError, TrackingError
from hyperderm.tracking import fetch as module
from hyperderm.tracking.fetch import fetch
from hyperderm.tracking.runs import Tracker
from hyperderm.workflows import compare

TAGS = {"hyperderm.manifest": "ab" * 32}


def config(**changed):
    learner = {"lr": 1e-4, "norm": "none", "diagnoses": ["melanoma"], "clip": None}
    return {"name": "demo", "seed": 0, "learner": {**learner, **changed.pop("learner", {})}, **changed}


def log(tracker, key, name, configuration=None, parent=None, params=None, scores=(), status="FINISHED"):
    tracker.open_run(key, name, parent=parent, tags=TAGS, params=params or {})
    if configuration:
        tracker.log_json(key, configuration, "config.json")
    for step, score in enumerate(scores):
        tracker.log_metrics(key, {"score": score, "best_score": min(scores[: step + 1])}, 10 * step)
    if status:
        tracker.close_run(key, status)


@pytest.fixture(scope="module")
def uri(mlflow_server, tmp_path_factory):
    """A grid of two arms with three seeds each, a sweep of three trials, a run of its own."""
    place = tmp_path_factory.mktemp("compare")
    warnings: list[str] = []
    tracker = Tracker(mlflow_server.uri, "compare", place / "event log.db", None, warnings.append)
    log(tracker, "cmp-grid", "cmp-grid")
    for arm, first in (("x", 0.5), ("y", 0.3)):
        log(tracker, f"cmp-grid/{arm}", f"arm {arm}", parent="cmp-grid")
        for seed in range(3):
            last = first + seed / 10 + (arm == "y") * seed / 100
            params = {"arm": arm, "model": "cnn", "fold": 1, "seed": seed, "cell": f"{arm}{seed}"}
            made = config(seed=seed, data={"fold": 1})
            log(tracker, f"cmp-grid/{arm}/{seed}", f"cmp-{arm}{seed}", made, f"cmp-grid/{arm}", params, [9.0, 0.4, last])
    log(tracker, "cmp-sweep-77", "cmp-sweep", config())
    for number, status in enumerate(("FINISHED", "FAILED", None)):
        key, lr = f"cmp-sweep-77/{number}", 0.01 * (number + 1)
        changed = config(learner={"lr": lr})
        log(
            tracker,
            key,
            f"trial {number:03d}",
            changed,
            "cmp-sweep-77",
            {"learner.lr": lr},
            [0.9, 0.8 - number / 10],
            status,
        )
    params = {"name": "demo", "seed": 0, "learner.lr": 0.01, "learner.diagnoses": ["melanoma"], "learner.norm": "none"}
    log(tracker, "cmp bare 'it", "trial 000", params={**params, "learner.clip": None}, scores=[0.45])
    assert tracker.flush(60) == 0
    assert warnings == []
    tracker.close()
    return mlflow_server.uri


@pytest.fixture
def run(uri, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments, uri=uri) -> tuple[int, str, str]:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        done = command("compare", *arguments)
        return done.returncode, done.stdout, done.stderr

    return run


def names(uri, *wanted):
    return [[one.name for one in runs] for runs in fetch(uri, wanted)]


# --- how runs are found ---


def test_a_run_is_found_by_name_key_id_and_prefix(uri):
    ((first,),) = fetch(uri, ["cmp-x1"])
    found = fetch(uri, ["cmp-grid/x/1", first.id, first.id[:12], "cmp-x1"])
    assert [[one.id for one in runs] for runs in found] == [[first.id]] * 4
    assert first.metrics == {"score": (pytest.approx(0.6), 20), "best_score": (0.4, 20)}, "the last step, not the best"
    assert (first.status, first.whole, first.tags["hyperderm.key"]) == ("FINISHED", True, "cmp-grid/x/1")
    told = {"seed": 1, "learner.lr": 1e-4, "learner.diagnoses": ["melanoma"], "data.fold": 1, "arm": "x", "model": "cnn"}
    assert first.settings == {"name": "demo", "learner.norm": "none", "learner.clip": None, **told}


def test_a_parent_stands_for_its_children_down_to_the_leaves(uri, monkeypatch):
    trials = [f"cmp-sweep/trial {number:03d}" for number in range(3)]
    cells = [f"cmp-grid/arm {arm}/cmp-{arm}{seed}" for arm in "xy" for seed in range(3)]
    assert names(uri, "cmp-sweep", "cmp-grid", "cmp-grid/y") == [trials, cells, cells[3:]]
    assert names(uri, "cmp-sweep-77/1") == [["cmp-sweep/trial 001"]]
    monkeypatch.setattr(module, "PAGE", 2)
    assert names(uri, "cmp-sweep") == [trials]


def test_a_run_without_its_configuration_is_compared_by_its_params(uri):
    (bare,), (same,) = fetch(uri, ["cmp bare 'it", "cmp-sweep-77/0"])
    assert not bare.whole
    assert {path: str(value) for path, value in bare.settings.items()} == {
        path: str(value) for path, value in same.settings.items()
    }


def test_names_that_fit_several_or_none(uri):
    (bare,), (trial,) = fetch(uri, ["cmp bare 'it", "cmp-sweep-77/0"])
    with pytest.raises(ConfigError, match="run 'trial 000' could be any of 2 runs: ") as caught:
        fetch(uri, ["trial 000"])
    assert f"{trial.id} (cmp-sweep/trial 000, finished, 20" in str(caught.value)
    assert f"{bare.id} (trial 000, finished, 20" in str(caught.value)
    for wrong, said in {
        "cmp-sweeep": "Did you mean 'cmp-sweep'",
        "CMP-SWEEP": "no run is called 'CMP-SWEEP'",
        "abc": "at least 6 characters",
        'cmp-"x1': "Did you mean 'cmp-x1'",
        "cmp-x1' OR 'x' = 'x": "no run is called",
        "f" * 32: "no run is called",
    }.items():
        with pytest.raises(ConfigError) as caught:
            fetch(uri, [wrong])
        assert said in str(caught.value)


def test_an_ambiguous_prefix_lists_its_candidates(uri, monkeypatch):
    monkeypatch.setattr(module, "PREFIX", 1)  # ten random ids share first digits, hardly ever six
    found = fetch(uri, ["cmp-grid", "cmp-sweep", "cmp bare 'it"])
    ids = [one.id for runs in found for one in runs]
    digits = [one[0] for one in ids]
    many = max(digits, key=digits.count)
    if digits.count(many) > 1:
        with pytest.raises(ConfigError, match=f"run '{many}' could be any of") as caught:
            fetch(uri, [many])
        assert all(one in str(caught.value) for one in ids if one[0] == many)


# --- as a user ---


def test_two_arms_of_three_seeds(run, tmp_path):
    code, out, err = run("cmp-grid/x", "cmp-grid/y", "--metric", "score")
    assert (code, err) == (0, "")
    text = " ".join(out.split())
    assert "status seeds arm" in text
    assert "3 finished 0, 1, 2 y" in text
    assert "score 1 3 0.600 ± 0.248 – baseline" in text  # t(.975, 2) · 0.1 / √3
    assert "score 2 3 0.410 ± 0.273 −0.190 [−0.215, −0.165] paired by seed" in text  # t(.975, 2) · 0.01 / √3
    assert "best_score 1 3 0.400 ± 0.00 – baseline" in text
    assert run("cmp-grid", "--format", "csv", "--out", "c.csv")[:2] == (0, "written to c.csv\n")
    told = csv.DictReader(io.StringIO(Path("c.csv").read_text()))
    (line,) = [row for row in told if (row["metric"], row["group"]) == ("score", "2")]
    assert float(line["difference"]) == pytest.approx(np.mean([-0.2, -0.19, -0.18]), abs=1e-12)
    assert {path.name for path in tmp_path.iterdir()} == {"c.csv"}
    code, out, err = run("cmp-grid", "--format", "csv", "--out", "c.csv")
    assert (code, out) == (2, "")
    assert err == "error: --out 'c.csv': something is already there. Choose another file, or remove it first.\n"


def test_from_python(uri, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    found = compare(["cmp-grid/x", "cmp-grid/y"], baseline="cmp-grid/y", metrics=["score"], form="csv")
    assert (len(found.groups), found.baseline, found.metrics[0]) == (2, found.groups[1], "score")
    printed = capsys.readouterr().out
    compare(["cmp-grid/x", "cmp-grid/y"], baseline="cmp-grid/y", metrics=["score"], form="csv", out=tmp_path / "it.csv")
    assert (tmp_path / "it.csv").read_text() == printed


def test_a_sweep_with_a_failed_and_a_running_trial(run):
    code, out, _ = run("cmp-sweep", "--baseline", "cmp-x0", "--format", "markdown")
    assert code == 0
    assert "| 1 | cmp-sweep/trial 000 (" in out
    assert "failed: not counted |" in out
    assert "running: not counted |" in out
    assert "one seed: no interval; paired by seed |" in out
    assert "| minus #4 |" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["cmp-x0"], "fewer than two runs to compare: cmp-grid/arm x/cmp-x0 ("),
        (["cmp-x0", "cmp-x1", "--metric", "scor"], "no run has logged the metric 'scor'. Did you mean 'score'"),
        (["cmp-x0", "cmp-x9"], "no run is called 'cmp-x9'. Did you mean 'cmp-"),
        (
            ["cmp-x0", "cmp-y0", "--baseline", "cmp-sweep"],
            "--baseline 'cmp-sweep' stands for 3 configurations. Name a run of ",
        ),
        (["cmp-x0", "cmp-y0", "--format", "html"], "--format 'html' is unknown. Use table, markdown or csv."),
        (["cmp-x0", "cmp-y0", "--out", "no/x.md"], "--out 'no/x.md': no is no folder. Make it first"),
        ([], "Missing argument 'RUN'. See `hyperderm compare --help`."),
    ],
)
def test_mistakes(run, tmp_path, arguments, said):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {said}")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_away_and_a_database_that_is_not_there(run, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code, _, err = run("a", "b", uri=f"http://127.0.0.1:{port}")
    assert code == 2
    assert err.startswith(f"error: The MLflow server at http://127.0.0.1:{port} does not answer (")
    code, _, err = run("a", "b", uri=f"sqlite:///{tmp_path}/mlflow.db")
    assert code == 2
    assert err.startswith(f"error: {tmp_path}/mlflow.db does not exist: nothing is tracked here. ")
    assert list(tmp_path.iterdir()) == [], "looking makes no database"


def test_a_server_lost_between_two_questions(uri, monkeypatch):
    monkeypatch.setattr(module, "check_server", lambda _, write=True: None)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(TrackingError, match="does not give the runs") as caught:
        fetch(f"http://user:secret@127.0.0.1:{port}", ["a"])
    assert "secret" not in str(caught.value)
