"""A grid's folder: what a later call may not change, on the same folds and on others, told before anything runs."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from hyperderm.errors import StudyError
from hyperderm.store.reader import Store
from hyperderm.studies.ablation.plan import Plan
from hyperderm.training.run_folder import IDENTITY
from hyperderm.workflows.detached import tell
from hyperderm.workflows.grid_identity import check_identity, identity
from hyperderm.workflows.run_ablation import show_plan
from tests.studies.grids import finish, generator, plan, store, synthetic_set
from tests.studies.test_power import request, workspace


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return store(tmp_path_factory.mktemp("grid") / "real")


def begun(folder: Path, made: Plan) -> Path:
    """The folder of a grid that was begun."""
    folder.mkdir()
    (folder / IDENTITY).write_text(json.dumps({"key": "k", "identity": identity(made)}))
    return folder


def of(real: Store, fold: int, arms: tuple[str, ...] = ("synthetic",), **settings: object) -> Plan:
    return plan(real, {"shsgan": generator(**settings)}, folds=[fold], models=["small_cnn"], arms=arms)


def test_a_generator_with_other_settings_on_another_fold_is_refused(real, tmp_path):
    """The folds of one arm would else be of two generators."""
    folder = begun(tmp_path / "night", of(real, 1))
    check_identity(of(real, 0), folder)
    with pytest.raises(
        StudyError, match=r"another shsgan.learner.n_critic on other folds, .* hold both: \d -> 7\. .*--name"
    ):
        check_identity(of(real, 0, learner__n_critic=7), folder)
    with pytest.raises(StudyError, match=r"shsgan.training.images on other folds"):
        check_identity(of(real, 0, training__images=48), folder)
    check_identity(of(real, 1), folder)


def test_variants_of_a_generator_are_told_apart(real, tmp_path):
    """The pre-training of one arm and the training after it have other numbers of images, on every fold."""
    arms = ("synthetic", "both", "without_melanoma", "proportional")
    made = of(real, 1, arms, data__diagnoses=["melanoma"])
    folder = begun(tmp_path / "night", made)
    check_identity(of(real, 0, arms, data__diagnoses=["melanoma"]), folder)
    with pytest.raises(StudyError, match=r"another shsgan.*learner.lr_critic on other folds"):
        check_identity(of(real, 0, arms, data__diagnoses=["melanoma"], learner__lr_critic=1e-5), folder)


def test_a_set_made_elsewhere_cannot_take_the_place_of_a_trained_generator(real, tmp_path):
    folder = begun(tmp_path / "night", of(real, 1))
    uri = synthetic_set(tmp_path / "made", real, 0, {"melanoma": 20})
    other = plan(real, {}, folds=[0], models=["small_cnn"], arms=["synthetic"], sets={"shsgan": {"0": uri}})
    with pytest.raises(StudyError, match=r"another shsgan on other folds.* trained by the grid -> a set made elsewhere"):
        check_identity(other, folder)
    folder = begun(tmp_path / "other", other)
    with pytest.raises(
        StudyError, match=r"another shsgan on other folds.* a set made elsewhere \(sets\) -> trained by the grid"
    ):
        check_identity(of(real, 1), folder)


def test_what_a_run_refuses_a_plan_refuses(real, tmp_path):
    folder = begun(tmp_path / "night", plan(real))
    before = {path.name for path in folder.iterdir()}
    with pytest.raises(StudyError, match=r"night exists with another configuration: generator_seed: 0 -> 5\. "):
        show_plan(workspace(tmp_path), request(real, tmp_path, generator_seed=5))
    assert {path.name for path in folder.iterdir()} == before
    check_identity(plan(real), tmp_path / "nowhere")


def test_status_prices_jobs_by_their_kind(real, tmp_path):
    """Two finished cells of the regression say nothing of the network's, nor copies of what a generator takes."""
    asked = {"folds": [0, 1], "models": ["spectral", "small_cnn"]}
    made = plan(real, **asked)
    folder = begun(tmp_path / "night", made)
    done = [job for job in made.stage("cell") if job.model == "spectral"][:2]
    finish(replace(made, jobs=tuple(done)), folder)
    space = workspace(tmp_path)
    tell(space, request(real, tmp_path, **asked))
    said = " ".join(space.console.file.getvalue().split())
    cells = made.stage("cell")
    left = sum(job.model == "spectral" for job in cells) - 2
    networks = len(cells) - left - 2
    assert "generator: 0 of 2 done, 0 begun, 0 failed; left: 2 jobs of unknown length (shsgan)" in said
    assert f"cell: 2 of {len(cells)} done, 0 begun, 0 failed; left: {2 * left} s of work and {networks} jobs of" in said
    with pytest.raises(StudyError, match="night exists with another configuration: generator_seed: 0 -> 5"):
        tell(space, request(real, tmp_path, **asked, generator_seed=5))
