"""A project read back from MLflow as the trackers write it: sweep, training, grid, and runs of others."""

import json

import pytest

from hyperderm.errors import TrackingError
from hyperderm.store.manifest import Opening
from hyperderm.tracking import project as module
from hyperderm.tracking.project import Project, walk
from hyperderm.tracking.runs import Tracker

TAGS = {"hyperderm.manifest": "ab" * 32, "hyperderm.store": "stores/a"}
FOLD = {**TAGS, "hyperderm.fold": "1"}


def generator(**learner):
    return {
        "name": "gan",
        "learner": {"kind": "shsgan", **learner},
        "data": {"fold": 1, "diagnoses": ["melanoma"]},
        "task": None,
    }


def classifier(store=None):
    made = {"store": store} if store else None
    return {"name": "cnn", "learner": {"kind": "classifier"}, "task": {"negatives": "dysplastic_nevus"}, "synthetic": made}


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    place = tmp_path_factory.mktemp("project")
    uri = f"sqlite:///{place / 'mlflow.db'}"
    warnings: list[str] = []
    for experiment, fill in (("gan", _sweeps), ("tiny", _grid), ("others", _others)):
        tracker = Tracker(uri, experiment, place / f"{experiment}.db", place / "artifacts", warnings.append)
        fill(tracker)
        assert tracker.flush(60) == 0
        tracker.close()
    assert warnings == []
    return uri


def log(tracker, key, name, documents=None, parent=None, tags=None, params=None, status="FINISHED"):
    tracker.open_run(key, name, parent=parent, tags=tags or {}, params=params or {})
    for file, content in (documents or {}).items():
        tracker.log_json(key, content, file)
    tracker.close_run(key, status)


def _sweeps(tracker):
    log(tracker, "s-1", "sweep one", {"config.json": generator()}, tags=FOLD, params={"space": "gan v1"})
    for number, lr in enumerate((0.001234567, 0.0001)):
        tags = {**FOLD, "hyperderm.trial": str(number)}
        config = {"config.json": generator(lr=lr)}
        log(tracker, f"s-1/{number}", f"trial {number:03d}", config, "s-1", tags, {"learner.lr": lr})
    tags = {**FOLD, "hyperderm.trial": "0", "hyperderm.repeat": "0"}
    log(
        tracker, "s-1/repeat-ab-1", "trial 000, seed 1", {"config.json": generator(lr=0.001234567)}, "s-1", tags, {"seed": 1}
    )
    tags = {**FOLD, "hyperderm.trial": "0", "hyperderm.synthetic": "cd" * 32}
    log(tracker, "t-1", "train", {"config.json": classifier("made/one")}, tags=tags, params={"name": "cnn", "data.fold": 1})
    begun = {**FOLD, "hyperderm.trial": "0", "hyperderm.input.start": "ef" * 32}
    log(tracker, "t-3", "begun", {"config.json": generator()}, tags={**begun, "hyperderm.input_run.start": "t-1"})
    log(tracker, "t-4", "nameless", {"config.json": generator()}, tags=begun)
    fused = {**generator(), "data": {"fold": 1, "photographs": "made/pictures"}}
    seen = {**FOLD, "hyperderm.trial": "0", "hyperderm.photographs": "9f" * 32}
    log(tracker, "t-5", "fused", {"config.json": fused}, tags=seen)
    log(tracker, "t-2", "bare", tags={**FOLD, "hyperderm.trial": "0"}, params={"learner.kind": "classifier"})


def _grid(tracker):
    jobs = [
        {"key": "gen1", "model": "tiny", "needs": [], "store": "", "source": ""},
        {"key": "gen2", "model": "tiny", "needs": ["gen1"], "store": "", "source": ""},
        {"key": "set1", "model": "tiny", "needs": ["gen1"], "store": "", "source": ""},
        {"key": "cell1", "model": "cnn", "needs": ["set1"], "store": "", "source": "set1"},
        {"key": "cell2", "model": "cnn", "needs": [], "store": "made/two", "source": "ee" * 32},
        {"key": "cell3", "model": "cnn", "needs": [], "store": "", "source": ""},
    ]
    plan = {"jobs": jobs, "grid": {"searches": {"tiny": {"1": "/gone/runs/sweep one"}}}}
    log(tracker, "g", "grid", {"plan.json": plan}, tags=TAGS)
    for arm in ("generators", "x"):
        log(tracker, f"g/arm/{arm}", arm, parent="g", tags={**TAGS, "hyperderm.arm": arm})

    def job(key, stage, arm, documents, status="FINISHED"):
        tags = {**FOLD, "hyperderm.stage": stage, "hyperderm.arm": arm}
        log(tracker, f"g/{key}", f"{stage} {key}", documents, f"g/arm/{arm}", tags, {"cell": key, "fold": 1}, status)

    opened = {"test_opened": {"fold": 1, "manifest": "ab" * 32, "at": "2026-01-01T00:00:01Z"}}
    origin = {"manifest": "ab" * 32, "fold": 1, "run": "g/gen1", "experiment": "e", "checkpoint": "c0"}
    job("gen1", "generator", "generators", {"config.json": generator(lr=0.001234567), "result.json": {"checkpoint": "c0"}})
    job("gen2", "generator", "generators", {"config.json": generator(lr=0.001234567), "result.json": {"checkpoint": "c1"}})
    job("set1", "synthetic", "generators", {"result.json": {"fingerprint": "ff" * 32, "origin": origin}})
    done = {"config.json": classifier("pending"), "result.json": {**opened, "chosen_at": "2026-01-01T00:00:00Z"}}
    job("cell1", "cell", "x", done)
    job("cell2", "cell", "x", done)
    job("cell3", "cell", "x", {"config.json": classifier(), "result.json": {"test_opened": "all of it"}})
    job("cell4", "cell", "x", {"config.json": classifier("pending")})


def _others(tracker):
    log(tracker, "o", "a notebook")
    tags = {"hyperderm.test_opened": f"test role of fold 3 of store {'ab' * 32}", "hyperderm.manifest": "ab" * 32}
    log(tracker, "o2", "by hand", tags=tags)


@pytest.fixture(scope="module")
def project(uri) -> Project:
    return walk(uri)


@pytest.fixture
def known(project):
    return {one.key: one for one in project.artefacts}


def test_everything_is_there_once(project, known):
    assert set(known) == {
        "s-1", "t-1", "t-2", "t-3", "t-4", "t-5", "g/gen1", "g/gen2",
        "ff" * 32, "g/cell1", "g/cell2", "g/cell3", "g/cell4", "o2",
    }  # fmt: skip
    assert len(known) == len(project.artefacts)
    assert project.foreign == ("a notebook",)
    assert project.runs == 21
    assert set(project.stores) == {"stores/a", "made/one", "made/two", "made/pictures"}
    assert known["t-5"].photographs == "9f" * 32


def test_a_sweep_stands_for_its_trials(known):
    sweep = known["s-1"]
    assert (sweep.kind, sweep.classifies, sweep.name) == ("search", False, "sweep one")
    assert (sweep.manifest, sweep.fold, sweep.diagnoses) == ("ab" * 32, 1, ("melanoma",))
    assert [(one.name, one.values) for one in sweep.trials] == [
        ("trial 000", {"learner.lr": 0.001234567}),
        ("trial 000, seed 1", {}),
        ("trial 001", {"learner.lr": 0.0001}),
    ]
    assert [one.key for one in sweep.trials] == ["s-1/0", "s-1/repeat-ab-1", "s-1/1"]
    assert sweep.missing == ()


def test_a_training_names_its_set(known):
    train = known["t-1"]
    assert (train.kind, train.classifies) == ("classifier", True)
    assert train.uses == ("cd" * 32,)
    assert train.diagnoses == ("melanoma", "dysplastic_nevus")
    assert (train.openings, train.missing) == ((), ())


def test_a_training_names_the_run_that_it_began_from(known):
    assert (known["t-3"].kind, known["t-3"].uses, known["t-3"].missing) == ("generator", ("t-1",), ())
    assert (known["t-4"].uses, known["t-4"].missing) == ((), ("the run that left its input start",))


def test_a_generator_of_a_grid_names_the_one_it_began_from(known):
    assert known["g/gen2"].uses == ("s-1", "g/gen1")
    assert known["g/gen2"].missing == ()


def test_a_grid_is_linked_by_its_plan(known):
    cell, made, maker = known["g/cell1"], known["ff" * 32], known["g/gen1"]
    assert cell.name == "grid/x/cell cell1"
    assert cell.uses == (made.key,)
    assert made.uses == ("g/gen1",)
    assert (made.kind, made.manifest, made.fold) == ("set", "ab" * 32, 1)
    assert maker.uses == ("s-1",)  # by its name: the folder is gone
    assert known["g/cell2"].uses == ("ee" * 32,)
    assert cell.openings == (Opening("ab" * 32, 1, "2026-01-01T00:00:01Z"),)
    assert cell.chosen_at == "2026-01-01T00:00:00Z"
    assert [one.missing for one in (cell, made, maker, known["g/cell2"])] == [()] * 4


def test_what_is_missing_is_said(known):
    assert known["t-2"].missing == ("its configuration",)
    assert known["g/cell3"].missing == ("which test role it opened ('all of it')",)
    assert known["g/cell4"].missing == (
        "which synthetic set it read",
        "the plan of its grid, so what it was made with",
        "which test role it opened",
    )
    assert known["o2"].missing == ("its fold", "its configuration")
    assert known["o2"].openings == (Opening("ab" * 32, 3, ""),)


def test_a_search_that_is_not_alone_of_its_name_is_not_guessed(uri, monkeypatch):
    kept = module.gather
    monkeypatch.setattr(module, "gather", lambda runs: kept([_renamed(run) for run in runs]))
    maker = next(one for one in walk(uri).artefacts if one.key == "g/gen1")
    assert maker.uses == ()
    assert maker.missing == ("the search in /gone/runs/sweep one, which is not in MLflow or not alone of its name",)


def _renamed(run):
    from dataclasses import replace

    return replace(run, name="sweep one") if run.name == "a notebook" else run


def test_the_folder_of_a_search_names_its_run(tmp_path, uri, monkeypatch):
    (tmp_path / "identity.json").write_text(json.dumps({"key": "s-7"}))
    kept = module.gather

    def moved(runs):
        for run in runs:
            for plan in filter(None, [run.documents.get("plan.json")]):
                plan["grid"]["searches"]["tiny"]["1"] = str(tmp_path)
        return kept(runs)

    monkeypatch.setattr(module, "gather", moved)
    maker = next(one for one in walk(uri).artefacts if one.key == "g/gen1")
    assert maker.uses == ("s-7",)


def test_pages_are_all_read(uri, project, monkeypatch):
    monkeypatch.setattr(module, "PAGE", 3)
    assert {one.key for one in walk(uri).artefacts} == {one.key for one in project.artefacts}


def test_a_server_that_is_away_and_a_database_that_is_not_there_are_named(tmp_path):
    with pytest.raises(TrackingError, match="does not exist"):
        walk(f"sqlite:///{tmp_path / 'none.db'}")
    assert not (tmp_path / "none.db").exists()
    with pytest.raises(TrackingError, match="does not answer"):
        walk("http://127.0.0.1:9")
