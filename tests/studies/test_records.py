"""What a grid remembers: less asked for later forgets nothing; and which blocks of its cells can be compared."""

import json

import numpy as np
import pytest

from hyperderm.errors import StudyError
from hyperderm.statistics.ablation import analyse
from hyperderm.statistics.ablation_results import Contrast
from hyperderm.statistics.multiplicity import holm
from hyperderm.statistics.predictions import CellKey, Predictions
from hyperderm.studies.ablation.audits import audit
from hyperderm.studies.ablation.jobs import SPARE
from hyperderm.studies.ablation.plan import make_plan
from hyperderm.studies.ablation.records import (
    FAILURE,
    FEEDS,
    GridFolder,
    commands,
    declarations,
    failure_of,
    predictions,
    read_feeds,
    record_plan,
    result_of,
    unfinished,
    with_larger_sets,
)
from hyperderm.training.run_folder import PLAN, RESULT
from tests.studies.grids import finish, generator, grid, plan


def test_asking_for_less_changes_nothing(real, tmp_path):
    whole = record_plan(tmp_path, plan(real, seeds=[0, 1]))
    declared = declarations(tmp_path)
    assert [contrast for contrast, _ in declared] == whole.contrasts
    assert len(declared) == 4
    less = record_plan(tmp_path, plan(real, models=["spectral"], seeds=[1], folds=[2]))
    assert {(j.key, j.arm) for j in less.jobs} == {(j.key, j.arm) for j in whole.jobs}
    assert less.contrasts == whole.contrasts
    assert (less.grid.models, less.grid.seeds, less.folds) == (("spectral", "small_cnn"), (0, 1), (0, 1, 2, 3, 4))
    assert declarations(tmp_path) == declared


def test_what_joins_is_declared_when_it_joins(real, tmp_path):
    first = record_plan(tmp_path, plan(real, models=["spectral"]), "hyperderm ablation a")
    path = tmp_path / PLAN
    content = json.loads(path.read_text())
    for each in content["declared"]:
        each["at"] = "2020-01-01T00:00:00+00:00"
    path.write_text(json.dumps(content))
    more = record_plan(tmp_path, plan(real, ratios=[1, 2]), "hyperderm ablation b")
    assert commands(tmp_path) == ["hyperderm ablation a", "hyperderm ablation b"]
    record_plan(tmp_path, plan(real, ratios=[1, 2]), "hyperderm ablation a")
    assert commands(tmp_path) == ["hyperderm ablation a", "hyperderm ablation b"]
    assert set(first.contrasts) < set(more.contrasts)
    assert {contrast: at.year for contrast, at in declarations(tmp_path)} == {
        contrast: 2020 if contrast in first.contrasts else declarations(tmp_path)[-1][1].year for contrast in more.contrasts
    }
    assert [arm.name for arm in more.arms][:2] == ["real", "oversampled_x1"]


def test_a_job_remembered_is_the_job_that_was_planned(real, tmp_path):
    asked = plan(real)
    record_plan(tmp_path, asked)
    again = record_plan(tmp_path, plan(real, models=["spectral"], folds=[0]))
    assert {job.key: job for job in again.jobs} == {job.key: job for job in asked.jobs}


@pytest.mark.parametrize(
    "text", ["{", "[]", "null", "3", '{"folds":3}', '{"folds":["x"]}', '{"jobs":[{}]}', '{"declared":[{"at":"x"}]}']
)
def test_a_damaged_plan_is_refused(real, tmp_path, text):
    (tmp_path / PLAN).write_text(text)
    for reads in (lambda: record_plan(tmp_path, plan(real)), lambda: declarations(tmp_path)):
        with pytest.raises(StudyError, match=r"plan\.json cannot be read \(.+\)") as caught:
            reads()
        assert caught.value.remedy == "Restore it: it says what was declared before."
    assert (tmp_path / PLAN).read_text() == text


@pytest.mark.parametrize("text", ["{", "null", '["a"]', '{"a":1}'])
def test_damaged_feeds_are_refused(tmp_path, text):
    (tmp_path / FEEDS).write_text(text)
    with pytest.raises(StudyError, match=r"feeds\.json cannot be read"):
        read_feeds(tmp_path)


@pytest.mark.parametrize("text", ["[1]", '{"x":1}', '{"outputs":[],"ended":"","seconds":1}', '{"ended":"","seconds":1}'])
def test_a_damaged_result_is_no_result(real, tmp_path, text):
    made = plan(real, folds=[0], models=["spectral"])
    finish(made, tmp_path)
    (job, *_) = made.stage("cell")
    (tmp_path / job.folder / RESULT).write_text(text)
    with pytest.raises(StudyError, match=r"result\.json cannot be read .*Remove its folder"):
        result_of(GridFolder(tmp_path), job)
    (tmp_path / job.folder / FAILURE).write_text("{}")
    with pytest.raises(StudyError, match=r"failure\.json cannot be read \(reason: field required\)"):
        failure_of(GridFolder(tmp_path), job)


def test_a_file_that_was_lost_before_its_result_was_written_is_not_there(real, tmp_path):
    made = plan(real, folds=[0], models=["spectral"])
    finish(made, tmp_path)
    (job, *_) = made.stage("cell")
    path = tmp_path / job.folder / RESULT
    path.write_text(json.dumps(json.loads(path.read_text()) | {"outputs": {"nowhere": "lost"}}))
    assert result_of(GridFolder(tmp_path), job) is None


def test_two_models_that_the_arms_make_one_keep_all_their_cells(real, tmp_path):
    """The augmentation of a model is the arms' to say; cells of one configuration are run once and are of both models."""
    asked = grid(models=["small_cnn"], folds=[0])
    own = asked.classifiers["small_cnn"]
    plainer = own.model_copy(update={"learner": own.learner.model_copy(update={"augmentation": "none"})})
    twins = {"classifiers": asked.classifiers | {"plainer": plainer}, "models": ("small_cnn", "plainer")}
    made = make_plan(asked.model_copy(update=twins), real, {"shsgan": generator()})
    assert len({job.key for job in made.stage("cell")}) < len(made.stage("cell"))
    whole = record_plan(tmp_path, made)
    assert [job.label for job in whole.stage("cell")] == [job.label for job in made.stage("cell")]
    assert len({(job.arm, job.model) for job in record_plan(tmp_path, made).stage("cell")}) == len(made.stage("cell"))


def test_contrasts_without_an_answer_stay_in_the_family(real, tmp_path):
    made = plan(real, folds=[0, 1], models=["spectral"])
    finish(made, tmp_path)
    table = predictions(GridFolder(tmp_path), made)
    asked = [Contrast(*each) for each in made.contrasts]
    alone, among = (analyse(table, asked, unanswered=n, resamples=100) for n in (0, 6))
    p = [each.p for each in alone.contrasts]
    assert [each.p for each in among.contrasts] == p
    assert [each.adjusted_p for each in among.contrasts] == [one.adjusted_p for one in holm([*p, *[1.0] * 6])][:2]
    for one, other in zip(alone.contrasts, among.contrasts, strict=True):
        assert other.adjusted_high - other.adjusted_low > one.adjusted_high - one.adjusted_low


def test_the_audit_of_fewer_folds_reads_those_of_before_too(real, tmp_path):
    everything = plan(real, models=["small_cnn"])
    record_plan(tmp_path, everything)
    results = finish(everything, tmp_path)
    less = record_plan(tmp_path, plan(real, models=["small_cnn"], folds=[1]))
    assert less.selections == everything.selections
    assert all(passed for what, _, passed in audit(less, GridFolder(tmp_path), results) if "tested" in what)


def test_smaller_ratios_use_the_larger_set_that_is_there(real, tmp_path):
    both = plan(real, ratios=[1, 2], folds=[0], models=["small_cnn"])
    record_plan(tmp_path, both)
    finish(both, tmp_path)
    (large,), (small,) = both.stage("synthetic"), plan(real, ratios=[1], folds=[0], models=["small_cnn"]).stage("synthetic")
    assert (large.counts, small.counts) == ({"melanoma": 18 + SPARE}, {"melanoma": 9 + SPARE})
    again = with_larger_sets(GridFolder(tmp_path), plan(real, ratios=[1], folds=[0], models=["small_cnn"]))
    assert again.stage("synthetic") == [large]
    assert record_plan(tmp_path, again).stage("synthetic") == [large]
    more = with_larger_sets(GridFolder(tmp_path), plan(real, ratios=[3], folds=[0], models=["small_cnn"]))
    assert more.stage("synthetic")[0].counts == {"melanoma": 27 + SPARE}


ARMS = ("real", "oversampled_x1", "shsgan_x1")


def planned(models=("cnn",), arms=ARMS, folds=(0, 1, 2), seeds=(0, 1)) -> list[CellKey]:
    return [CellKey(arm, model, fold, seed) for seed in seeds for fold in folds for model in models for arm in arms]


def table(cells: list[CellKey]) -> Predictions:
    """Two lesions a cell."""
    rows = [(key, i) for key in cells for i in range(2)]
    names = np.array([f"L{key.fold}-{i}" for key, i in rows])
    truth = np.array([i for _, i in rows])
    columns = {name: np.array([getattr(key, name) for key, _ in rows]) for name in CellKey._fields}
    chance = np.linspace(0, 1, len(rows))
    return Predictions(
        lesion_id=names, group=names, diagnosis=np.where(truth == 1, "melanoma", "nevus"), truth=truth.astype(np.int8),
        probability=chance, raw_probability=chance, threshold=np.full(len(rows), 0.5),
        cell=np.array([str(key) for key, _ in rows]), **columns,
    )  # fmt: skip


def test_of_a_whole_grid_nothing_is_told():
    assert unfinished(table(planned()), planned()) == []


def test_an_arm_that_lacks_a_cell_is_named_with_it():
    held = [key for key in planned() if key != CellKey("shsgan_x1", "cnn", 1, 0)]
    assert unfinished(table(held), planned()) == [
        "arm shsgan_x1 with cnn: 5 of 6 cells were finished; missing: fold 1 seed 0."
    ]


def test_models_are_looked_at_one_by_one():
    keys = planned(("cnn", "spectral"))
    held = [key for key in keys if key.model == "spectral" or key.arm == "real"]
    assert [said.partition(";")[0] for said in unfinished(table(held), keys)] == [
        "arm oversampled_x1 with cnn: 0 of 6 cells were finished",
        "arm shsgan_x1 with cnn: 0 of 6 cells were finished",
    ]
    assert unfinished(table([key for key in keys if key.model == "cnn"]), keys) == ["model spectral: no cell was finished."]
