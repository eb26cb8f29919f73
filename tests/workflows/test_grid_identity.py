"""A grid's folder: what a later call may not change, on the same folds and on others, told before anything runs."""

import json
from dataclasses import replace
from pathlib import Path
from shutil import rmtree

import pytest

from hyperderm.errors import StudyError
from hyperderm.store.reader import Store
from hyperderm.studies.ablation.plan import Plan
from hyperderm.studies.ablation.records import record_plan
from hyperderm.training.run_folder import IDENTITY
from hyperderm.workflows.detached import detach, tell
from hyperderm.workflows.grid_identity import check_identity, identity
from hyperderm.workflows.run_ablation import show_plan
from tests.learners.test_dcgan import experiment as dcgan
from tests.studies.grids import finish, generator, plan, store, synthetic_set
from tests.studies.test_plan_searches import sweep
from tests.studies.test_power import request, workspace
from tests.studies.test_unmixed_generators import MAKER, NET, maker
from tests.studies.test_unmixed_generators import net as unmixing_net


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


def resumed(place: Path, first: Plan, *later: Plan) -> Path:
    """The folder of a grid that was begun with `first`, as the version left it that compared no fold with another."""
    folder = begun(place, first)
    known = json.loads((folder / IDENTITY).read_text())
    for each in later:
        known["identity"] |= identity(each)
    (folder / IDENTITY).write_text(json.dumps(known))
    return folder


def told(real: Store, fold: int, arms: tuple[str, ...] = ("synthetic",), **settings: object) -> Plan:
    """A grid of a generator that can be told the diagnosis."""
    makers = {MAKER: dcgan(**settings)}
    return plan(real, makers, generators=[MAKER], models=["small_cnn"], arms=arms, folds=[fold])


@pytest.mark.parametrize(
    "other",
    [
        {"data__diagnoses": ["melanoma"], "learner__conditioning": "none"},
        {"data__diagnoses": ["dysplastic_nevus", "melanoma"]},
    ],
)
def test_what_follows_from_a_fold_in_variants_is_compared_where_the_user_sets_it(real, tmp_path, other):
    asked = {"data__diagnoses": "all", "learner__conditioning": "class"}
    folder = begun(tmp_path / "night", told(real, 1, **asked))
    check_identity(told(real, 0, **asked), folder)
    with pytest.raises(StudyError, match=r"another dcgan.(data.diagnoses|learner.conditioning) on other folds"):
        check_identity(told(real, 0, **{**asked, **other}), folder)


def test_a_variant_may_learn_the_diagnoses_of_its_fold(real, tmp_path):
    """One fold has two diagnoses beside melanoma, and another has one, of which its generator is not told."""
    arms = ("conditional", "without_melanoma")
    folder = begun(tmp_path / "night", told(real, 1, arms, data__diagnoses=["melanoma"]))
    known = json.loads((folder / IDENTITY).read_text())
    was = {
        "dcgan (all classes) fold 1.data.diagnoses": ["dysplastic_nevus", "melanoma", "nevus"],
        "dcgan (without melanoma) fold 1.data.diagnoses": ["dysplastic_nevus", "nevus"],
        "dcgan (without melanoma) fold 1.learner.conditioning": "class",
        "dcgan (without melanoma) fold 1.learner.balance_classes": True,
    }
    assert all(known["identity"].get(name, value) != value for name, value in list(was.items())[:3])
    (folder / IDENTITY).write_text(json.dumps(known | {"identity": known["identity"] | was}))
    check_identity(told(real, 0, arms, data__diagnoses=["melanoma"]), folder)
    with pytest.raises(StudyError, match=r"another dcgan \(.*learner.critic_width on other folds"):
        check_identity(told(real, 0, arms, data__diagnoses=["melanoma"], learner__critic_width=8), folder)


def test_a_search_frees_what_it_searched_and_nothing_else(real, tmp_path):
    manifest = real.manifest.fingerprint
    sweeps = {str(fold): str(sweep(tmp_path / f"s{fold}", fold, manifest, scores=((fold + 1.0, 2),))) for fold in (0, 1)}

    def asked(fold: int, **settings: object) -> Plan:
        makers = {"shsgan": generator(**settings)}
        return plan(real, makers, folds=[fold], models=["small_cnn"], arms=["synthetic"], searches={"shsgan": sweeps})

    folder = begun(tmp_path / "night", asked(1))
    check_identity(asked(0), folder)
    with pytest.raises(StudyError, match=r"another shsgan.training.images on other folds"):
        check_identity(asked(0, training__images=48), folder)
    rmtree(sweeps["1"])  # a sweep of a fold that is not asked for is not needed
    check_identity(asked(0), folder)


def test_what_was_begun_goes_on_by_its_own_command(real, tmp_path):
    """Folds of a grid may differ, one with the winner of a search, or in a grid that an earlier version let pool them."""
    one, other = of(real, 1), of(real, 0, learner__n_critic=7)
    folder = resumed(tmp_path / "night", one, other)
    check_identity(one, folder)
    check_identity(other, folder)
    with pytest.raises(StudyError, match=r"another shsgan.learner.n_critic on other folds"):
        check_identity(of(real, 2), folder)
    uri = synthetic_set(tmp_path / "made", real, 0, {"melanoma": 20})
    made = plan(real, {}, folds=[0], models=["small_cnn"], arms=["synthetic"], sets={"shsgan": {"0": uri}})
    folder = resumed(tmp_path / "sets", one, made)
    check_identity(one, folder)
    check_identity(made, folder)


@pytest.mark.parametrize(("before", "now"), [(True, False), (False, True)])
def test_a_net_on_one_fold_alone_is_refused(real, tmp_path, before, now):
    """The endmembers of one fold would come from an unmixing net, and those of another from its lesions."""

    def asked(fold: int, net: bool) -> Plan:
        made = dcgan(learner__space="abundance", data__diagnoses=["melanoma"])
        makers = {MAKER: maker() if net else made, NET: unmixing_net()}
        nets = {MAKER: NET} if net else {}
        return plan(real, makers, generators=[MAKER], unmixers=nets, models=["small_cnn"], arms=["synthetic"], folds=[fold])

    folder = begun(tmp_path / "night", asked(1, before))
    check_identity(asked(0, before), folder)
    with pytest.raises(StudyError, match=r"another unmixers.dcgan on other folds.* (unmixer -> none|none -> unmixer)\. "):
        check_identity(asked(0, now), folder)


def test_status_prices_a_set_by_its_cubes_and_finds_a_larger_one(real, tmp_path):
    """Folds hold other numbers of melanomas, so that their sets differ in size; a larger set serves for fewer ratios."""
    asked = {"models": ["small_cnn"], "arms": ["synthetic"]}
    made = plan(real, folds=[0, 1], ratios=[2.0], **asked)
    folder = begun(tmp_path / "night", made)
    record_plan(folder, made)
    first = made.stage("synthetic")[0]
    finish(replace(made, jobs=(first,)), folder)
    less = plan(real, folds=[0, 1], ratios=[1.0], **asked)
    sizes = [sum(job.counts.values()) for job in less.stage("synthetic")]
    space = workspace(tmp_path)
    tell(space, request(real, tmp_path, folds=[0, 1], ratios=[1.0], **asked))
    said = " ".join(space.console.file.getvalue().split())
    left = 2.0 * sizes[1] / sum(first.counts.values())
    assert f"synthetic: 1 of 2 done, 0 begun, 0 failed; left: {left:.0f} s of work cell: 0 of" in said


def test_a_refused_grid_is_not_started_in_the_background(real, tmp_path):
    begun(tmp_path / "night", plan(real))
    with pytest.raises(StudyError, match=r"night exists with another configuration: generator_seed: 0 -> 5\. "):
        detach(workspace(tmp_path), request(real, tmp_path, generator_seed=5))
    assert [path.name for path in (tmp_path / "night").iterdir()] == [IDENTITY]
