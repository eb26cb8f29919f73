"""A sweep's winner serves its own fold and manifest, and nothing else."""

from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from hyperderm.errors import StudyError
from hyperderm.registry import Space
from hyperderm.studies.ablation.builder import winner
from hyperderm.studies.search import sweep_identity
from hyperderm.training.run_folder import STUDY, claim
from tests.studies.grids import generator, plan

AXES = {
    "learner.lr_critic": FloatDistribution(1e-5, 1e-2, log=True),
    "learner.n_critic": CategoricalDistribution([1, 2, 5]),
}
SPACE = Space("shsgan", 1, AXES)
MANIFEST = "ab" * 32


def sweep(folder: Path, fold: int = 0, manifest: str = MANIFEST, scores=((3.0, 1), (0.5, 5), (2.0, 2)), pruned=()) -> Path:
    """A sweep's folder as `studies.sweep` leaves it."""
    with claim(folder, sweep_identity(generator(data__fold=fold), SPACE, manifest)):
        pass
    study = optuna.create_study(study_name=folder.name, storage=f"sqlite:///{folder / STUDY}")
    for state, trials in ((TrialState.COMPLETE, scores), (TrialState.PRUNED, pruned)):
        for value, n_critic in trials:
            values = {"learner.lr_critic": value * 1e-3, "learner.n_critic": n_critic}
            study.add_trial(create_trial(state=state, value=value, params=values, distributions=AXES))
    return folder


def test_the_winner_is_the_finished_trial_with_the_lowest_objective(tmp_path):
    folder = sweep(tmp_path / "sweep", pruned=((0.1, 1),))
    assert winner(folder, 0, MANIFEST, "shsgan") == {"learner.lr_critic": 0.5e-3, "learner.n_critic": 5}


def refused(what: str, folder: Path, fold: int = 0) -> str:
    with pytest.raises(StudyError) as caught:
        winner(folder, fold, MANIFEST, "shsgan")
    assert what in caught.value.what
    assert str(folder) in caught.value.what
    return caught.value.remedy


def test_another_fold_has_seen_what_is_held_back(tmp_path):
    folder = sweep(tmp_path / "sweep", fold=1)
    remedy = refused("searched fold 1; its winner has seen lesions that fold 0 holds back", folder)
    assert remedy == "Run one sweep per fold (--set data.fold=0 --name …), or leave fold 0 out of searches."
    assert winner(folder, 1, MANIFEST, "shsgan")


def test_another_manifest(tmp_path):
    remedy = refused(f"searched store {'cd' * 6}, not this one ({'ab' * 6})", sweep(tmp_path / "sweep", manifest="cd" * 32))
    assert remedy == "Search on this store, or leave it out of searches."


@pytest.mark.parametrize("content", [None, "{", "[]", '{"key": "k"}'])
def test_no_sweep(tmp_path, content):
    folder = tmp_path / "none"
    folder.mkdir()
    if content is not None:
        (folder / "identity.json").write_text(content)
    assert refused("is no sweep's folder", folder) == "Give one made by `hyperderm sweep`."


def test_a_sweep_without_a_finished_trial(tmp_path):
    assert refused("has no finished trial", sweep(tmp_path / "a", scores=(), pruned=((1.0, 1),))) == "Let it finish first."
    folder = sweep(tmp_path / "b")
    (folder / STUDY).unlink()
    assert refused("has no trial yet", folder) == "Let it finish first."
    assert not (folder / STUDY).exists()  # looking makes none


def test_a_sweep_of_another_experiment(tmp_path):
    folder = sweep(tmp_path / "sweep")
    with pytest.raises(StudyError, match="searched 'shsgan', not 'fastgan'"):
        winner(folder, 0, MANIFEST, "fastgan")


def test_a_grid_trains_each_fold_with_its_own_winner(real, tmp_path):
    manifest = real.manifest.fingerprint
    folders = {
        "0": str(sweep(tmp_path / "zero", 0, manifest)),
        "1": str(sweep(tmp_path / "one", 1, manifest, scores=((1.5, 2),))),
    }
    made = plan(real, searches={"shsgan": folders}, folds=[0, 1, 2])
    found = {
        job.fold: (job.experiment.learner.n_critic, job.experiment.learner.lr_critic) for job in made.stage("generator")
    }
    assert found == {0: (5, 0.5e-3), 1: (2, 1.5e-3), 2: (2, 1e-4)}  # fold 2: as the experiment's file says
    plain = {job.fold: job.key for job in plan(real, folds=[0, 1, 2]).stage("generator")}
    searched = {job.fold: job.key for job in made.stage("generator")}
    assert searched[2] == plain[2]
    assert searched[0] != plain[0]


def test_a_search_is_read_once_however_many_cells_ask(real, tmp_path, monkeypatch):
    from hyperderm.studies.ablation import builder as module

    asked = []
    monkeypatch.setattr(module, "winner", lambda folder, fold, *_: asked.append((folder.name, fold)) or {})
    plan(real, searches={"shsgan": {"0": "a", "4": "b"}}, seeds=[0, 1], ratios=[1, 2], arms=["synthetic", "only"])
    assert asked == [("a", 0), ("b", 4)]


def test_a_grid_refuses_the_winner_of_another_fold(real, tmp_path):
    folder = sweep(tmp_path / "sweep", 0, real.manifest.fingerprint)
    with pytest.raises(StudyError, match="searched fold 0; its winner has seen lesions that fold 1 holds back"):
        plan(real, searches={"shsgan": {"1": str(folder)}})
    with pytest.raises(StudyError, match="is no sweep's folder"):
        plan(real, searches={"shsgan": {"1": str(tmp_path / "nowhere")}})
