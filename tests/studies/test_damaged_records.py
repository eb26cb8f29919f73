"""A result.json or plan.json that lost a field, or holds another kind of value, is refused by name, field by field."""

import json
from pathlib import Path

import pytest

from hyperderm.errors import StudyError
from hyperderm.metrics.memorisation import VERSION
from hyperderm.studies.ablation.grid import job_config
from hyperderm.studies.ablation.jobs import STAGES
from hyperderm.studies.ablation.records import GridFolder, declarations, folds_asked, joined, record_plan, result_of
from hyperderm.studies.ablation.work import SPENT, TimeSpent, task_of, work
from hyperderm.tags import MANIFEST_TAG
from hyperderm.training.run_folder import PLAN, RESULT
from tests.studies.grids import finish, grid, plan, store

GONE = object()
"""Stands for a field that is deleted."""
DAMAGE: list[tuple[str, str, object]] = [
    ("cell", "began", GONE),
    ("cell", "began", "yesterday"),
    ("cell", "began", "2026-01-01T00:00:00"),
    ("cell", "began", 20260101),
    ("cell", "ended", "x"),
    ("cell", "ended", "0001-01-01T00:00:00+20:00"),
    ("cell", "seconds", "long"),
    ("cell", "seconds", -1.0),
    ("cell", "seconds", float("nan")),
    ("cell", "model", GONE),
    ("cell", "outputs.x", 3),
    ("cell", "workers", 0),
    ("cell", "workers", None),
    ("cell", "device", None),
    ("cell", "judgement", GONE),
    ("cell", "judgement", {}),
    ("cell", "judgement.calibrated_log_loss", float("nan")),
    ("cell", "train", {}),
    ("cell", "train", {"real": 9, "real_melanomas": 0}),
    ("cell", "shortcut", {"melanoma": {"real": 0.5}}),
    ("cell", "shortcut", []),
    ("cell", "chosen_at", "2026-01-01T00:00:00"),
    ("cell", "test_opened.at", "2026-01-01T00:00:01"),
    ("cell", "test_opened", 3),
    ("cell", "weights_sha256", 1),
    ("cell", "test", [0.5]),
    ("generator", "began", GONE),
    ("generator", "checkpoint", {}),
    ("generator", "inputs", "start"),
    ("synthetic", "origin", GONE),
    ("synthetic", "origin", None),
    ("synthetic", "origin", {}),
    ("synthetic", "origin.requested", {"melanoma": "many"}),
    ("synthetic", "origin.audit", {"version": VERSION}),
    ("judge", "judge", GONE),
    ("judge", "judge", {}),
    ("judge", "judge.auroc", "high"),
    ("judge", "judge.auroc", 1.5),
    ("judge", "judge.synthetic", 0.0),
]


def change(path: Path, where: str, value: object) -> None:
    """Set one field of a JSON file, named by its dotted path, or delete it."""
    content = json.loads(path.read_text())
    *parents, leaf = [int(name) if name.isdecimal() else name for name in where.split(".")]
    held = content
    for name in parents:
        held = held[name]
    if value is GONE:
        del held[leaf]
    else:
        held[leaf] = value
    path.write_text(json.dumps(content))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory):
    """A grid with a finished job of every stage, and its folder."""
    folder = tmp_path_factory.mktemp("done")
    made = plan(store(folder / "store"), folds=[0], models=["small_cnn"], judge=True)
    finish(made, folder)
    return made, folder


@pytest.mark.parametrize("stage", STAGES)
def test_a_finished_job_of_each_stage_is_done(done, stage):
    made, folder = done
    assert all(result_of(GridFolder(folder), job) for job in made.stage(stage))


@pytest.mark.parametrize(("stage", "path", "value"), DAMAGE, ids=lambda value: "gone" if value is GONE else None)
def test_a_result_with_a_damaged_field_is_refused_by_name(done, stage, path, value):
    made, folder = done
    job = made.stage(stage)[0]
    place = folder / job.folder / RESULT
    whole = place.read_text()
    try:
        change(place, path, value)
        with pytest.raises(StudyError) as caught:
            result_of(GridFolder(folder), job)
    finally:
        place.write_text(whole)
    assert caught.value.what.startswith(f"{place} cannot be read ({path.partition('.')[0]}")
    assert caught.value.remedy == "Remove its folder; the job is then run again."


OPTIONAL = {"train", "shortcut", "weights_sha256", "feed", "workers", "code", "device", "latest", "chosen_at", "test_opened"}


def test_what_work_writes_today_is_read_at_every_stage_and_so_is_what_it_wrote_before(real, tmp_path):
    made = plan(real, folds=[0], models=["small_cnn"], judge=True)
    tags = {"run": "a-run", MANIFEST_TAG: real.manifest.fingerprint}
    config = job_config(made, GridFolder(tmp_path), tags)
    for job in made.jobs:
        list(work(task_of(config(job)), real))
    assert {job.stage for job in made.jobs} == set(STAGES)
    assert all(result_of(GridFolder(tmp_path), job) for job in made.jobs)
    for job in made.jobs:
        place = tmp_path / job.folder / RESULT
        content = json.loads(place.read_text())
        place.write_text(json.dumps({name: value for name, value in content.items() if name not in OPTIONAL}))
    assert all(result_of(GridFolder(tmp_path), job) for job in made.jobs)


@pytest.mark.parametrize("text", ["{}", "[]", '{"seconds":1.0,"began":"yesterday"}', '{"seconds":"x","began":"x"}'])
def test_a_damaged_record_of_the_time_spent_is_begun_anew(tmp_path, text):
    (tmp_path / SPENT).write_text(text)
    assert TimeSpent(tmp_path).seconds < 1
    assert TimeSpent(tmp_path).began.endswith("Z")


PLANS: list[tuple[str, object, str]] = [
    ("folds", [0, 1, 2, 3, 9], "folds: it names fold 9, and the store has folds 0 … 4"),
    ("folds", [9], "folds: it names fold 9, and the store has folds 0 … 4"),
    ("folds", [-1], "folds.0: "),
    ("folds", ["1"], "folds.0: "),
    ("seeds", [1.5], "seeds.0: "),
    ("declared.0.at", "2026-01-01T00:00:00", "declared.0.at: input should be an ISO time with its zone"),
    ("declared.0.at", 5, "declared.0.at: "),
    ("arms.0.description", GONE, "arms.0.description: field required"),
    ("arms.0.ratio", "much", "arms.0.ratio"),
    ("arms", [], "cell real/small_cnn fold 0 seed 0 is of arm real, which is lost"),
    ("jobs.0.fold", 7, "folds: it names fold 7"),
    ("jobs.0.stage", "x", "jobs.0.stage: "),
    ("jobs.0.experiment", None, "has no experiment"),
    ("jobs.0.counts", [1], "jobs.0.counts: "),
    ("jobs.0.mystery", 1, "jobs.0.mystery: "),
    ("jobs.0.key", "other", "which is lost"),
]


@pytest.mark.parametrize(("where", "value", "said"), PLANS, ids=lambda value: "gone" if value is GONE else None)
def test_a_plan_with_a_damaged_field_is_refused_by_name(real, tmp_path, where, value, said):
    made = plan(real, folds=[0], models=["small_cnn"])
    record_plan(tmp_path, made, "hyperderm ablation tiny")
    change(tmp_path / PLAN, where, value)
    for reads in (lambda: folds_asked(tmp_path, real), lambda: joined(tmp_path, made), lambda: record_plan(tmp_path, made)):
        with pytest.raises(StudyError) as caught:
            reads()
        assert caught.value.what.startswith(f"{tmp_path / PLAN} cannot be read (")
        assert said in caught.value.what
        assert caught.value.remedy == "Restore it: it says what was declared before."


def test_declarations_without_a_zone_are_refused_where_they_are_read(real, tmp_path):
    record_plan(tmp_path, plan(real, folds=[0], models=["small_cnn"]))
    change(tmp_path / PLAN, "declared.0.at", "2026-01-01T00:00:00")
    with pytest.raises(StudyError, match=r"plan\.json cannot be read \(declared\.0\.at: "):
        declarations(tmp_path)


def test_folds_of_another_store_are_told_as_such(real, tmp_path):
    record_plan(tmp_path, plan(real, folds=[4], models=["small_cnn"]))
    with pytest.raises(StudyError, match=r"names fold 4, and the store has folds 0 … 2") as caught:
        folds_asked(tmp_path, store(tmp_path / "store", folds=3))
    assert "It is of another store" in caught.value.remedy


def test_all_that_a_grid_records_today_is_read(real, tmp_path):
    arms = list(type(grid()).model_fields["arms"].get_default(call_default_factory=True))
    whole = plan(real, folds=[0, 4], arms=[*arms, "filtered"], judge=True)
    record_plan(tmp_path, whole)
    assert folds_asked(tmp_path, real) == (0, 4)
    assert {job.key for job in joined(tmp_path, whole).jobs} == {job.key for job in whole.jobs}
