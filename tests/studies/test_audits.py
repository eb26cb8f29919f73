"""The leak audit reads what was written: a sound grid passes, each single leak fails its own line and no other."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from hyperderm.store.reader import open_store
from hyperderm.store.writer import write_store
from hyperderm.studies.ablation.audits import audit
from hyperderm.studies.ablation.plan import Plan
from hyperderm.studies.ablation.records import GridFolder
from hyperderm.studies.ablation.work import STORE
from hyperderm.training.run_folder import PREDICTIONS
from tests.studies.grids import FOLDS, KINDS, finish, generator, grid, lesions, plan, predictions, store, synthetic_set

GROUPS, TESTED, SETS, SEARCHES, OPENED = (
    "no group and no source image lies in two roles of a fold",
    "every prediction is of a lesion of the cell's own test role",
    "every generator was trained on its cell's own fold and manifest (checkpoint chosen on validation)",
    "hyperparameter searches",
    "test role opened only after checkpoint, calibration and threshold were chosen",
)


@pytest.fixture
def made(real) -> Plan:
    return plan(real, folds=[0, 1], models=["small_cnn"])


@pytest.fixture
def done(made, tmp_path):
    return finish(made, tmp_path)


def failing(made: Plan, folder, results) -> set[str]:
    return {what for what, _, passed in audit(made, GridFolder(folder), results) if not passed}


def cell(made: Plan, arm: str, fold: int = 0):
    return next(job for job in made.stage("cell") if (job.arm, job.fold) == (arm, fold))


def test_a_sound_grid_passes_every_line(made, done, tmp_path):
    lines = list(audit(made, GridFolder(tmp_path), done))
    assert [what for what, _, _ in lines] == [GROUPS, TESTED, SETS, SEARCHES, OPENED]
    assert all(passed for _, _, passed in lines)
    details = {what: detail for what, detail, _ in lines}
    assert details[GROUPS] == "40 groups, 2 folds, 0 crossings"
    assert details[TESTED] == "6 cells, 0 foreign lesions or groups"
    assert details[SETS] == "2 cells with synthetic cubes, 0 with a set of another fold or manifest"
    assert details[OPENED] == "6 of 6 cells recorded it"


def test_what_is_not_done_is_not_asked(made, done, tmp_path):
    left = {key: facts for key, facts in done.items() if key != cell(made, "shsgan_x1").key}
    shutil.rmtree(tmp_path / cell(made, "shsgan_x1").folder)
    assert failing(made, tmp_path, left) == set()


@pytest.mark.parametrize("leak", ["fold", "manifest", "no origin"])
def test_a_set_of_another_fold_or_manifest_fails(made, done, tmp_path, leak):
    (drawn,) = (job for job in made.stage("synthetic") if job.fold == 0)
    place = tmp_path / drawn.folder / STORE
    shutil.rmtree(place)
    if leak == "fold":
        synthetic_set(place, made.store, 1, drawn.counts)
    elif leak == "manifest":
        synthetic_set(place, made.store, 0, drawn.counts, manifest="0" * 64)
    else:
        store(place, {"melanoma": 9}, 0)
    assert failing(made, tmp_path, done) == {SETS}


def test_a_set_that_is_gone_proves_nothing(made, done, tmp_path):
    shutil.rmtree(tmp_path / made.stage("synthetic")[0].folder)
    assert failing(made, tmp_path, done) == {SETS}


def test_a_set_made_elsewhere_is_read_again(real, tmp_path):
    uri = synthetic_set(tmp_path / "made", real, 0, {"melanoma": 9})
    asked = plan(real, {}, folds=[0], generators=["made"], sets={"made": {"0": uri}}, models=["small_cnn"])
    done = finish(asked, tmp_path / "grid")
    assert failing(asked, tmp_path / "grid", done) == set()
    shutil.rmtree(uri)
    synthetic_set(tmp_path / "made", real, 1, {"melanoma": 9})  # put in its place after the plan
    assert failing(asked, tmp_path / "grid", done) == {SETS}


def test_cells_of_a_set_that_has_grown_since_are_proved_by_the_smaller_one(real, tmp_path):
    small = plan(real, folds=[0], models=["small_cnn"])
    finish(small, tmp_path)
    large = plan(real, folds=[0], models=["small_cnn"], ratios=[1, 4])
    held = {job.key: facts for job in large.jobs if (facts := _result(tmp_path, job))}
    assert len(held) == 4  # the generator and three cells; the larger set is still to be made
    assert failing(large, tmp_path, held) == set()


def _result(folder, job):
    path = folder / job.folder / "result.json"
    return json.loads(path.read_text()) if path.exists() else None


@pytest.mark.parametrize("role", ["train", "validation"])
def test_predictions_of_other_roles_fail(made, done, tmp_path, role):
    job = cell(made, "real")
    predictions(made, job, role).to_parquet(tmp_path / job.folder / PREDICTIONS)
    assert failing(made, tmp_path, done) == {TESTED}


def test_a_single_foreign_lesion_fails(made, done, tmp_path):
    job = cell(made, "oversampled_x1", 1)
    table = predictions(made, job)
    names = table.lesion_id.copy()
    names[0] = made.selections[1].train[0]
    replace(table, lesion_id=names).to_parquet(tmp_path / job.folder / PREDICTIONS)
    assert failing(made, tmp_path, done) == {TESTED}


def test_groups_that_the_store_does_not_know_fail(made, done, tmp_path):
    job = cell(made, "real")
    table = predictions(made, job)
    renamed = np.array([f"synthetic-{name}" for name in table.lesion_id])
    replace(table, lesion_id=renamed, group=renamed).to_parquet(tmp_path / job.folder / PREDICTIONS)
    assert failing(made, tmp_path, done) == {TESTED}


@pytest.mark.parametrize(
    "said", [None, {}, "all", {"fold": 1}, {"manifest": "00"}, {"at": "2025-12-31T23:59:59Z"}]
)  # the last was opened before anything was chosen
def test_a_cell_that_did_not_record_the_opening_of_its_own_test_role_fails(made, done, tmp_path, said):
    facts = done[cell(made, "real").key]
    if said is None:
        del facts["test_opened"]
    else:
        facts["test_opened"] = facts["test_opened"] | said if said and said != "all" else said
    assert failing(made, tmp_path, done) == {OPENED}


def test_an_image_in_two_roles_fails(tmp_path):
    """Folds are drawn by group; an image that was given two groups leaks all the same."""
    crossed = (replace(lesion, image_id="one image") for lesion in lesions(KINDS))
    write_store(str(tmp_path / "store"), crossed, fold_count=FOLDS, seed=0)
    made = plan(open_store(str(tmp_path / "store")), folds=[0, 1], models=["small_cnn"])
    assert failing(made, tmp_path / "grid", finish(made, tmp_path / "grid")) == {GROUPS}


def test_searches_are_named(made, done, tmp_path):
    lines = {what: detail for what, detail, _ in audit(made, GridFolder(tmp_path), done)}
    assert lines[SEARCHES] == "none took part; values are those of the plan"
    searched = replace(made, grid=grid(searches={"shsgan": {"0": "a", "3": "b"}}))
    lines = {what: detail for what, detail, _ in audit(searched, GridFolder(tmp_path), done)}
    assert lines[SEARCHES] == "winners taken for their own fold only: shsgan fold 0, shsgan fold 3"


BEGUN = "every generator that begins from another run began from one of its own fold and manifest"


@pytest.fixture
def begun(real, tmp_path):
    """A grid with a pre-trained generator, done; results as `work` writes them."""
    made = plan(real, {"shsgan": generator(data__diagnoses=["melanoma"])}, arms=["both"], folds=[0], models=["small_cnn"])
    results = finish(made, tmp_path)
    first, second = made.stage("generator")
    results[first.key] |= {"checkpoint": "c1" * 32}
    results[second.key] |= {"checkpoint": "c2" * 32, "inputs": {"start": "c1" * 32}}
    return made, results


def test_a_generator_that_began_from_its_fold_s_pre_training_passes(begun, tmp_path):
    made, results = begun
    lines = {what: (detail, passed) for what, detail, passed in audit(made, GridFolder(tmp_path), results)}
    said = "1 generators that begin from another, 0 from a checkpoint of another fold or none that is there"
    assert lines[BEGUN] == (said, True)


@pytest.mark.parametrize("leak", ["another checkpoint", "another fold", "nothing recorded"])
def test_a_generator_that_began_from_something_else_fails(begun, tmp_path, leak):
    made, results = begun
    first, second = made.stage("generator")
    if leak == "another checkpoint":
        results[first.key]["checkpoint"] = "c3" * 32
    if leak == "nothing recorded":
        del results[second.key]["inputs"]
    if leak == "another fold":
        jobs = tuple(replace(job, fold=1) if job.key == first.key else job for job in made.jobs)
        made = replace(made, jobs=jobs)
    assert BEGUN in failing(made, tmp_path, results)


def test_a_generator_that_began_from_another_fold_is_found_before_a_cell_reads_it(begun, tmp_path):
    made, results = begun
    first = made.stage("generator")[0]
    trained = {job.key: results[job.key] for job in made.stage("generator")}
    assert failing(made, tmp_path, trained) == set()
    jobs = tuple(replace(job, fold=1) if job.key == first.key else job for job in made.jobs)
    assert BEGUN in failing(replace(made, jobs=jobs), tmp_path, trained)
