"""What a user can get wrong about a grid: refused before anything runs, with the value and the remedy."""

import io
import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from hyperderm import registry
from hyperderm.cluster.observer import Observers
from hyperderm.errors import ConfigError, HyperdermError, StoreError, StudyError
from hyperderm.statistics.predictions import CellKey
from hyperderm.store.manifest import MANIFEST, Manifest
from hyperderm.store.reader import Store, open_store
from hyperderm.store.writer import write_store
from hyperderm.studies.ablation.builder import VERSION
from hyperderm.studies.ablation.plan import make_plan
from hyperderm.studies.ablation.queue import JobQueue
from hyperderm.studies.ablation.records import GridFolder, predictions, result_of
from hyperderm.training.run_folder import PREDICTIONS, claim
from hyperderm.workflows.grid_identity import check_version, identity
from hyperderm.workflows.workspace import Workspace, configure_grid
from tests.studies.grids import finish, generator, grid, lesions, plan, store, synthetic_set

BATCH = "classifiers.small_cnn.training.batch_size"
ROOT = Path(__file__).resolve().parents[2]


def refusal(kind: type[HyperdermError], real: Store, makers=None, **overrides) -> HyperdermError:
    with pytest.raises(kind) as caught:
        plan(real, makers, **overrides)
    assert "\n" not in str(caught.value)
    assert caught.value.remedy
    return caught.value


# --- sets made elsewhere


def elsewhere(real: Store, uris: dict[str, str], kind: type[HyperdermError] = StoreError, **overrides) -> HyperdermError:
    return refusal(kind, real, {}, generators=["made"], sets={"made": uris}, folds=[0], **overrides)


def test_a_set_of_another_fold(real, tmp_path):
    uri = synthetic_set(tmp_path / "made", real, 1, {"melanoma": 20})
    error = elsewhere(real, {"0": uri})
    assert error.what.startswith(f"synthetic set {uri} was made for fold 1, not for fold 0: its generator has seen lesions")
    assert error.remedy == "Use it with data.fold=1, or generate a set from a checkpoint of fold 0."


def test_a_set_of_another_manifest(real, tmp_path):
    uri = synthetic_set(tmp_path / "made", real, 0, {"melanoma": 20}, manifest="ab" * 32)
    error = elsewhere(real, {"0": uri})
    assert f"was made from store {'ab' * 6}" in error.what
    assert real.manifest.fingerprint[:12] in error.what


def test_a_store_that_is_no_set_or_not_there(real, tmp_path):
    assert "is no synthetic set" in elsewhere(real, {"0": real.location.uri}).what
    assert f"{tmp_path / 'none'} is not a store" in elsewhere(real, {"0": str(tmp_path / "none")}).what


def test_a_fold_without_a_set(real, tmp_path):
    uri = synthetic_set(tmp_path / "made", real, 1, {"melanoma": 20})
    error = elsewhere(real, {"1": uri}, ConfigError)
    assert (error.what, error.remedy) == ("sets.made names no store for fold 0", "Each fold needs one of its own.")


def test_a_set_that_holds_too_few(real, tmp_path):
    uri = synthetic_set(tmp_path / "made", real, 0, {"melanoma": 9})
    error = elsewhere(real, {"0": uri}, ratios=[1, 4])
    assert error.what == "sets.made of fold 0 holds 9 melanoma, arm made_x4 needs 36"
    assert error.remedy == "Make a larger set, or leave the arm or ratio out."
    error = elsewhere(real, {"0": uri}, arms=["only"])
    assert error.what == "sets.made of fold 0 holds 0 dysplastic_nevus, arm made_only needs 15"


# --- names


def test_unknown_models_generators_and_folds(real):
    error = refusal(ConfigError, real, models=["spectral", "smal_cnn"])
    assert (error.what, error.remedy[:25]) == ("models names 'smal_cnn'", "Did you mean 'small_cnn'?")
    error = refusal(ConfigError, real, generators=["shsgn"])
    assert error.what == "generators names 'shsgn', which is no generator"
    assert error.remedy == "Did you mean 'shsgan'?"
    error = refusal(ConfigError, real, folds=[0, 5])
    assert (error.what, error.remedy) == ("folds names 5", "This store has folds 0 … 4.")


@pytest.mark.parametrize(
    ("name", "what", "remedy"),
    [
        ("shsgn", "generators names 'shsgn', which is no experiment", "Did you mean 'shsgan' or 'fastgan'?"),
        ("classifier", "generators names 'classifier', which generates nothing", "Name an experiment that does."),
    ],
)
def test_generators_are_looked_up_before_a_store_is_opened(name, what, remedy):
    with pytest.raises(ConfigError) as caught:
        registry.generators([name], "small")
    assert (caught.value.what, caught.value.remedy) == (what, remedy)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"ratios": [0]}, 'ratios = [0.0] is refused: a ratio is above 0 and at most 1000. For none there is arms=["real"]'),
        ({"ratios": [1, -0.5]}, "ratios = [1.0, -0.5] is refused: a ratio is above 0"),
        ({"ratios": ["balanced"]}, 'ratios = "balanced" is refused'),
        ({"ratios": [1, 1.0]}, "ratios = [1.0, 1.0] names one twice. Name each once"),
        ({"seeds": [0, 1, 0]}, "seeds = [0, 1, 0] names one twice. Name each once"),
        ({"folds": [2, 2]}, "folds = [2, 2] names one twice. Name each once"),
        ({"models": ["spectral", "spectral"]}, "models = ['spectral', 'spectral'] names one twice"),
        ({"generators": []}, "generators = [] with arms = ['real', 'oversampled', 'synthetic'] is refused"),
        ({"seeds": [-1]}, "seeds = [-1] is refused: a seed is 0 to 4294967295"),
        ({"folds": []}, "folds = [] is refused"),
        ({"arms": ["real", "synthetics"]}, 'arms = "synthetics" is refused: it should be'),
        ({"arms": []}, "arms = [] is refused"),
        ({"size": 8}, "size = 8 is refused: it should be greater than or equal to 16"),
        (
            {"classifiers__small_cnn__learner__lr": -1},
            "classifiers.small_cnn.learner.lr = -1 is refused: it should be greater",
        ),
        (
            {"classifiers__small_cnn__learner__lrr": 1},
            "unknown configuration key 'classifiers.small_cnn.learner.lrr'. Did you",
        ),
    ],
)
def test_values_of_the_grid(overrides, said):
    with pytest.raises(ConfigError) as caught:
        grid(**overrides)
    assert str(caught.value).startswith(said)


# --- stores


def test_negatives_that_the_store_does_not_hold(tmp_path):
    others = store(tmp_path / "others", {"melanoma": 12, "nevus": 15}, 3)
    error = refusal(StoreError, others)
    assert error.what == "task.negatives = dysplastic_nevus, which this store does not hold: nevus"
    assert error.remedy.startswith("Use --set task.negatives=all_others")
    assert len(plan(others, task__negatives="all_others").stage("cell")) == 18
    alone = store(tmp_path / "alone", {"melanoma": 9}, 3)
    assert refusal(StoreError, alone, task__negatives="all_others").what.endswith("does not hold: melanoma only")
    none = store(tmp_path / "none", {"dysplastic_nevus": 9, "nevus": 9}, 3)
    assert refusal(StoreError, none).what == "this store holds no melanoma, so there is nothing to tell"


def moved(place: Path, diagnosis: str, source: int, target: int) -> Store:
    """A store whose fold `source` holds no `diagnosis`: `ingest` makes none without melanoma, other tools may."""
    made = store(place, {"melanoma": 12, "dysplastic_nevus": 16}, 4)
    kinds = {row["group"]: row["diagnosis"] for row in made.index().to_pylist()}
    groups = {
        group: target if fold == source and kinds[group] == diagnosis else fold
        for group, fold in made.folds().groups.items()
    }
    folds = made.folds().model_copy(update={"groups": groups})
    manifest: Manifest = made.manifest.model_copy(update={"folds": folds}).sealed()
    (place / MANIFEST).write_text(manifest.model_dump_json())
    return open_store(str(place))


@pytest.mark.parametrize("diagnosis", ["melanoma", "dysplastic_nevus"])
@pytest.mark.parametrize("negatives", ["dysplastic_nevus", "all_others"])
def test_a_fold_without_one_class_is_refused_whichever_role_it_plays(tmp_path, diagnosis, negatives):
    bad = moved(tmp_path / "bad", diagnosis, 1, 2)
    for fold, role in ((0, "validation"), (1, "test")):
        error = refusal(StoreError, bad, arms=["real"], folds=[fold], task__negatives=negatives)
        assert f"the {role} role of fold {fold} holds no " in error.what
        assert error.what.endswith((diagnosis, "negatives"))
    assert plan(bad, arms=["real"], folds=[2, 3], task__negatives=negatives).jobs  # there train holds others


def test_a_diagnosis_that_a_generator_was_not_taught(real):
    settings = {"shsgan": {"data.diagnoses": ["dysplastic_nevus"], "learner.n_critic": 3}}
    makers = {"shsgan": generator(**{path.replace(".", "__"): value for path, value in settings["shsgan"].items()})}
    error = refusal(ConfigError, real, makers, generator_settings=settings)
    assert error.what == (
        "arm shsgan_x1, generator shsgan: diagnosis 'melanoma' was not learnt by this generator "
        "(data.diagnoses: dysplastic_nevus)"
    )
    assert error.remedy == (
        "Known: dysplastic_nevus. What it learns stands in generator_settings: --set "
        """'generator_settings={"shsgan":{"data.diagnoses":["melanoma"],"learner.n_critic":3}}'. """
        "Or leave that arm out, or take a smaller ratio or another generator."
    )


def test_a_batch_larger_than_a_train_role(real):
    error = refusal(ConfigError, real, classifiers__small_cnn__training__batch_size=32)
    assert error.what == "classifiers.small_cnn.training.batch_size = 32 is larger than the train role of fold 0 (24 cubes)"
    assert error.remedy == "Use 24 or less, or more data."
    plan(real, models=["spectral"], classifiers__spectral__training__batch_size=32)  # it is fitted at once
    few = {"shsgan": generator(data__diagnoses=["melanoma"], training__batch_size=12)}
    error = refusal(ConfigError, real, few)
    assert error.what == "shsgan: training.batch_size = 12 is larger than the train role of fold 0 (9 cubes)"
    plan(real, {"shsgan": generator(training__batch_size=12)})


def test_a_network_that_wants_more_pixels_than_the_grid_has(real):
    error = refusal(ConfigError, real, classifiers__small_cnn__learner__architecture="resnet18")
    assert error.what.startswith(
        "model small_cnn does not fit the grid: data.size = 16 with learner.architecture = resnet18"
    )
    assert error.remedy == "Change size or the model."


def test_more_pixels_than_the_store_holds(real):
    assert "32 asks for more pixels than the store's 16 x 16" in refusal(ConfigError, real, size=32).what


# --- folders


@pytest.fixture
def begun(real, tmp_path):
    """A folder that a grid was begun in."""
    folder = tmp_path / "grid"
    with claim(folder, identity(plan(real)), grows=True):
        pass
    return folder


def changed(real: Store, folder: Path, makers=None, **overrides) -> str:
    with pytest.raises(StudyError) as caught, claim(folder, identity(plan(real, makers, **overrides)), grows=True):
        pass
    assert caught.value.remedy == "Give the new one a name of its own: --name NAME (make: NAME=…)."
    what, differs = caught.value.what.split(": ", 1)
    assert what == "grid exists with another configuration"
    return differs


@pytest.mark.parametrize(
    ("overrides", "differs"),
    [
        ({"classifiers__small_cnn__learner__lr": 0.5}, "small_cnn.learner.lr: 0.001 -> 0.5"),
        ({"classifiers__small_cnn__training__images": 128}, "small_cnn.training.images: 64 -> 128"),
        ({"classifiers__spectral__learner__penalty": 3}, "spectral.learner.penalty: 1.0 -> 3.0"),
        ({"task__negatives": "all_others"}, "task.negatives: dysplastic_nevus -> all_others"),
    ],
)
def test_a_grid_changed_under_the_same_name_is_refused_with_what_differs(real, begun, overrides, differs):
    assert changed(real, begun, **overrides) == differs


def test_another_size_store_or_generator_under_the_same_name(real, begun, tmp_path):
    wide = {"shsgan": generator(learner__lr_critic=0.5)}
    assert changed(real, begun, wide) == "; ".join(f"shsgan fold {k}.learner.lr_critic: 0.0001 -> 0.5" for k in range(5))
    seeded = changed(real, begun, generator_seed=3)
    assert seeded.startswith("generator_seed: 0 -> 3")
    other = store(tmp_path / "other", {"melanoma": 15, "dysplastic_nevus": 26})
    assert changed(other, begun).startswith(f"manifest: {real.manifest.fingerprint} -> ")
    smaller = identity(plan(real)) | {"size": 24}
    with pytest.raises(StudyError, match="size: 16 -> 24"), claim(begun, smaller, grows=True):
        pass


@pytest.mark.parametrize(
    "overrides",
    [
        {"seeds": [0, 1]},
        {"arms": ["real", "oversampled", "synthetic", "only", "focal", "pretrain"]},
        {"ratios": [1, 2, "balance"]},
        {"models": ["spectral", "small_cnn", "other_cnn"]},
        {"models": ["spectral"], "folds": [1], "arms": ["real"]},
        {"resources__concurrent": 1, "resources__max_failures": 0},
    ],
)
def test_what_may_join_or_be_left_out(real, begun, overrides):
    with claim(begun, identity(plan(real, **overrides)), grows=True) as first:
        pass
    with claim(begun, identity(plan(real)), grows=True) as second:
        assert first == second
    assert changed(real, begun, generator_seed=1)  # and it still knows what it stands for


def test_a_model_that_joined_later_may_not_change_either(real, begun):
    with claim(begun, identity(plan(real, models=["other_cnn"])), grows=True):
        pass
    differs = changed(real, begun, models=["other_cnn"], classifiers__other_cnn__learner__lr=0.5)
    assert differs == "other_cnn.learner.lr: 0.0001 -> 0.5"


def test_a_set_or_photographs_replaced_in_place_are_another_grid(real, tmp_path):
    def asked() -> dict[str, object]:
        place, rgb = tmp_path / "made", tmp_path / "rgb"
        return {"folds": [0], "generators": ["made"], "sets": {"made": {"0": str(place)}}, "rgb": str(rgb)}

    synthetic_set(tmp_path / "made", real, 0, {"melanoma": 9})
    write_store(str(tmp_path / "rgb"), lesions({"melanoma": 3}), fold_count=0, kind="rgb")
    folder = tmp_path / "grid"
    with claim(folder, identity(plan(real, {}, **asked())), grows=True):
        pass
    shutil.rmtree(tmp_path / "made")
    synthetic_set(tmp_path / "made", real, 0, {"melanoma": 9}, seed=1)
    assert changed(real, folder, {}, **asked()).startswith("sets.made.0: ")
    shutil.rmtree(tmp_path / "made")
    synthetic_set(tmp_path / "made", real, 0, {"melanoma": 9})
    with claim(folder, identity(plan(real, {}, **asked())), grows=True):
        pass
    shutil.rmtree(tmp_path / "rgb")
    write_store(str(tmp_path / "rgb"), lesions({"melanoma": 4}), fold_count=0, kind="rgb")
    assert changed(real, folder, {}, **asked()).startswith("rgb: ")


def test_photographs_that_cannot_serve_are_refused_before_a_generator_trains(real, tmp_path):
    write_store(str(tmp_path / "rgb"), lesions({"melanoma": 1, "dysplastic_nevus": 4}), fold_count=0, kind="rgb")
    uri = str(tmp_path / "rgb")
    error = refusal(ConfigError, real, rgb=uri)
    assert error.what == (
        "arm shsgan_x1, generator shsgan: 9 different cubes of melanoma cannot be made from 1 photographs in 8 orientations"
    )
    write_store(str(tmp_path / "nevi"), lesions({"dysplastic_nevus": 40}), fold_count=0, kind="rgb")
    error = refusal(StudyError, real, rgb=str(tmp_path / "nevi"))
    said = f"rgb = {tmp_path / 'nevi'} holds no melanoma (it holds dysplastic_nevus)"
    assert error.what == f"arm shsgan_x1 needs photographs of melanoma: {said}"
    write_store(str(tmp_path / "melanomas"), lesions({"melanoma": 40}), fold_count=0, kind="rgb")
    only = {"arms": ["real", "oversampled", "synthetic", "only"], "rgb": str(tmp_path / "melanomas")}
    error = refusal(StudyError, real, **only)
    assert error.what.startswith("arm shsgan_only needs photographs of dysplastic_nevus: rgb = ")
    assert "--rgb" not in str(error)
    assert """Without that arm: --set 'arms=["real","oversampled","synthetic"]'""" in error.remedy
    refusal_is_gone = plan(real, None, **{**only, "arms": ["real", "oversampled", "synthetic"]})
    assert refusal_is_gone.jobs


# --- what cells leave


def test_predictions_missing_for_a_cell(real, tmp_path):
    made = plan(real, folds=[0], models=["small_cnn"])
    finish(made, tmp_path)
    assert len(predictions(GridFolder(tmp_path), made).cells()) == len(made.stage("cell"))
    job = made.stage("cell")[1]
    gone = tmp_path / job.folder / PREDICTIONS
    whole = gone.read_bytes()
    for spoil in (gone.unlink, lambda: gone.write_bytes(whole[:-1])):
        spoil()
        assert result_of(GridFolder(tmp_path), job) is None  # not done: the same command runs it again
        assert job.key not in JobQueue(GridFolder(tmp_path), made.jobs, Observers(), lambda job: 0.0).done
        held = predictions(GridFolder(tmp_path), made).cells()
        assert CellKey(job.arm, job.model, job.fold, job.seed) not in held


# --- the command line


@pytest.fixture
def refused(tmp_path, monkeypatch, command):
    """Run `hyperderm ablation` in a project of its own and return the one sentence that it ends with."""
    registry.ablation("synthetic_vs_real", "small")  # imported from the checkout, not from here
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    monkeypatch.chdir(tmp_path)
    for name in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)

    def refused(*words: str) -> str:
        done = command("ablation", *words)
        err = done.stderr
        assert done.returncode == 2
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert {path.name for path in tmp_path.iterdir()} == {"experiments"}, "something half-written"
        return err.removeprefix("error: ").strip()

    return refused


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--at", "25:00"], "--at '25:00' is no time of day. Write --at 22:00."),
        (["--until", "7"], "--until '7' is no time of day. Write --until 22:00."),
        (["--plan", "--status"], "more than one of --plan, --detach, --status and --stop is given. Give one."),
        (["--stop", "--detach"], "more than one of --plan, --detach, --status and --stop is given. Give one."),
        (
            ["synthetic_vs_reel"],
            "unknown ablation 'synthetic_vs_reel'. Did you mean 'synthetic_vs_real' or 'affine_vs_synthetic'?",
        ),
        (
            ["--set", "ratios=[0]"],
            'ratios = [0.0] is refused: a ratio is above 0 and at most 1000. For none there is arms=["real"]',
        ),
        (["--set", "seeds=[1,1]"], "seeds = [1, 1] names one twice. Name each once"),
        (
            ["--set", 'generators=["shsgn"]'],
            "generators names 'shsgn', which is no experiment. Did you mean 'shsgan' or 'fastgan'?",
        ),
        (
            ["--set", 'generators=["spectral"]'],
            "generators names 'spectral', which generates nothing. Name an experiment that does.",
        ),
        (
            ["--set", 'generator_settings={"shsgan": {"learner.ncritic": 2}}'],
            "generator_settings of shsgan: unknown configuration key 'learner.ncritic'. Did you mean 'learner.n_critic'",
        ),
        (
            ["--set", 'generator_settings={"shsgan":{"learner.n_critic":[1,2]}}'],
            "generator_settings of shsgan: learner.n_critic = [1, 2] is refused: it should be a valid integer. For example "
            """--set 'generator_settings={"shsgan":{"learner.n_critic":2}}'.""",
        ),
        (
            ["--set", 'generator_settings={"shsgan":{"learner.lr_critic":[[1],2]}}'],
            "generator_settings of shsgan: learner.lr_critic = [[1], 2] is refused: it should be a valid number. For ",
        ),
        (
            ["--set", 'generator_settings={"shsgan":{"data.diagnoses":["melanom"]}}'],
            """generator_settings of shsgan: data.diagnoses = "melanom" is refused: it should be 'melanoma', """,
        ),
        (
            ["--set", 'generator_settings={"shsgan":["learner.critic"]}'],
            'generator_settings.shsgan = ["learner.critic"] is refused: it should be an object. For example --set '
            """'generator_settings={"NAME": {"training.images": 9600}}'""",
        ),
        (
            ["--set", "curve=0.3"],
            "curve = 0.3 is refused: it should be a valid array. For example --set 'curve=[0.25, 0.5]'",
        ),
        (
            ["--set", 'generator_settings={"shsgan":{"data.diagnoses":[true],"learner.n_critic":3}}'],
            """generator_settings of shsgan: data.diagnoses = true is refused: it should be 'melanoma', """,
        ),
        (
            ["--set", 'searches={"shsgan":{"0":3}}'],
            "searches.shsgan.0 = 3 is refused: it should be a valid string. For example --set "
            """'searches={"NAME": {"0": "runs/sweep-0"}}'""",
        ),
        (
            ["--set", "sets=3"],
            """sets = 3 is refused: it should be an object. For example --set 'sets={"made": {"0": "stores/made-0"}}'""",
        ),
        (
            ["--set", "unmixers=x"],
            """unmixers = "x" is refused: it should be an object. For example --set 'unmixers={"NAME": "NET"}'""",
        ),
        (
            ["--set", "rgb=3"],
            "rgb = 3 is refused: it should be a valid string. For example --set rgb=stores/photographs",
        ),
        (["--set", "seeds=[]"], "seeds = [] is refused: it should name at least one. For example --set 'seeds=[0]'"),
        (
            ["--set", "models=[]"],
            """models = [] is refused: it should name at least one. For example --set 'models=["NAME"]'""",
        ),
        (["--set", "folds=[]"], "folds = [] is refused: it should name at least one or 'all'. For example --set folds=all"),
        (
            ["--power", "abc"],
            "--power 'abc' is no number. Give a difference of AUROC above 0 and below 0.5, such as 0.03.",
        ),
        (
            ["--set", 'models=["spectral","resnet18"]'],
            "models names 'resnet18'. Known: small_cnn, spectral; resnet18 stands in the full profile: --profile full",
        ),
        (
            ["--set", 'models=["mine"]'],
            "models names 'mine'. Known: small_cnn, spectral; densenet121, densenet201, efficientnet_b3, ",
        ),
        (
            ["--set", "pool=4", "--set", 'arms=["real","matched"]'],
            """pool = 4 with arms = ['real', 'matched'] is refused: the arm "filtered" alone uses it. Add that arm, or """,
        ),
        (["--set", 'filters=["all"]'], "filters = ['all'] with arms = ['real', 'oversampled', 'synthetic', 'only', "),
        (
            ["--set", 'matches=["noise"]', "--set", 'arms=["real","filtered"]'],
            """matches = ['noise'] with arms = ['real', 'filtered'] is refused: the arm "matched" alone uses it. Add """,
        ),
        (
            ["--set", "curve=[1.0]"],
            "curve = [1.0] is refused: a share of the melanomas is above 0 and below 1, and the whole is the arm real",
        ),
        (
            ["--set", 'arms=["filtered"]', "--set", 'filters=["best"]'],
            """filters = "best" is refused: it should be 'random', 'judge', 'confidence', 'copies' or 'all'. For example """,
        ),
        (
            ["--set", 'arms=["matched"]', "--set", 'matches=["texture"]'],
            """matches = "texture" is refused: it should be 'moments', 'noise' or 'both'. For example --set """,
        ),
        (
            ["--set", 'arms=["controls"]'],
            """arms = "controls" is refused: it should be 'real', 'classic', 'strong', 'oversampled', 'focal', """,
        ),
        (["--store", "nowhere"], "nowhere is not a store: no manifest.json."),
        (["--store", "a", "--data", "b"], "--store and --data are both given."),
    ],
)
def test_wrong_words(refused, words, said):
    assert refused("--profile", "small", *words).startswith(said)


def test_what_only_the_store_can_tell(refused, real):
    """As a plan asks for it: nothing is started, nothing written."""
    asked = ["--profile", "small", "--plan", "--store", real.location.uri, "--set"]
    assert refused(*asked, "size=64").startswith("size = 64 asks for more pixels than the store's 16 x 16")
    small = [*asked, "size=16", "--set"]
    assert refused(*small, 'models=["smal_cnn"]').startswith("models names 'smal_cnn'. Did you mean 'small_cnn'")
    assert refused(*small, "folds=[7]") == "folds names 7. This store has folds 0 … 4."
    one = refused(*small, "curve=[0.1]", "--set", 'models=["spectral"]')
    assert one.startswith(
        "task.melanomas = 0.1 leaves 1 of 9 melanomas in train of fold 0, and a classifier needs 2. Use a "
    )


def test_arms_of_the_user_drop_what_the_profile_alone_chose():
    """The full profile draws from two states and chooses by validation; real cubes alone have neither."""
    space = Workspace(Console(file=io.StringIO()), ROOT, None, "")
    for words, left in (
        (['arms=["real"]'], (("best",), "nothing")),
        (['arms=["real","oversampled","noisy_copies"]'], (("best",), "nothing")),
        (['arms=["real","filtered"]', "ratios=[1]", 'filters=["random"]'], (("best",), "nothing")),
        (['arms=["real","filtered"]'], (("best",), "validation")),
        (['arms=["real","synthetic"]'], (("best", "latest"), "validation")),
        (["folds=[0]"], (("best", "latest"), "validation")),
    ):
        grid, _ = configure_grid(space, "synthetic_vs_real", "full", words)
        assert (grid.checkpoints, grid.choose) == left
    for own in ('checkpoints=["latest"]', "choose=validation"):
        with pytest.raises(ConfigError, match=own.partition("=")[0]):
            configure_grid(space, "synthetic_vs_real", "full", ['arms=["real"]', own])


@pytest.mark.parametrize("profile", ["small", "full"])
@pytest.mark.parametrize("name", registry.grids())
def test_real_cubes_alone_may_be_asked_of_every_grid(name, profile):
    space = Workspace(Console(file=io.StringIO()), ROOT, None, "")
    grid, generators = configure_grid(space, name, profile, ['arms=["real"]'])
    left = (grid.arms, grid.checkpoints, grid.choose, grid.matches)
    assert left == (("real",), ("best",), "nothing", ("moments", "noise", "both"))
    assert not generators


def test_arms_of_the_user_keep_what_the_profile_says_of_them():
    space = Workspace(Console(file=io.StringIO()), ROOT, None, "")
    grid, _ = configure_grid(space, "synthetic_vs_real", "full", ['arms=["real","filtered"]'])
    assert (grid.filters, grid.matches, grid.choose) == (("judge", "all"), ("moments", "noise", "both"), "validation")
    with pytest.raises(ConfigError, match=r"filters = \['judge', 'all'\] with arms"):
        configure_grid(space, "synthetic_vs_real", "full", ['arms=["real"]', 'filters=["judge","all"]'])


def test_a_model_of_the_small_profile_alone():
    space = Workspace(Console(file=io.StringIO()), ROOT, None, "")
    for profile, models, remedy in (
        ("full", '["small_cn"]', r"Did you mean 'small_cnn'\?$"),
        ("full", '["mine"]', r"Known: densenet.*, spectral$"),
        ("small", '["efficientnet_lite0"]', r"; efficientnet_lite0 stands in the full profile: --profile full$"),
    ):
        with pytest.raises(ConfigError, match=remedy):
            configure_grid(space, "synthetic_vs_real", profile, [f"models={models}"])


def test_an_example_keeps_the_other_settings_of_generators():
    space = Workspace(Console(file=io.StringIO()), ROOT, None, "")
    asked = {"unmixer": {"learner.bands": "rgb"}, "dcgan": {"data.feed": "disk", "learner.loss": "bce"}}
    with pytest.raises(ConfigError) as caught:
        configure_grid(space, "every_generator", "small", [f"generator_settings={json.dumps(asked)}"])
    item = caught.value.remedy.split("--set ")[1].strip("'.")
    whole = json.loads(item.partition("=")[2])
    assert whole == {**asked, "dcgan": {"data.feed": "auto", "learner.loss": "bce"}}
    configure_grid(space, "every_generator", "small", [item])


def test_the_committed_grid_is_sound_in_both_profiles(real):
    for profile in ("small", "full"):
        asked = registry.ablation("synthetic_vs_real", profile)
        asked = asked.override({"size": 16, "models": ["spectral", "small_cnn"], BATCH: 16})
        assert make_plan(asked, real, registry.generators(asked.trained, profile)).jobs


def test_a_grid_of_an_earlier_version_is_refused_with_what_still_works(tmp_path):
    folder = tmp_path / "ablation-mine"
    folder.mkdir()
    (folder / "identity.json").write_text(json.dumps({"key": "k", "identity": {"code version": 2, "size": 32}}))
    with pytest.raises(
        StudyError, match=r"ablation-mine was run by another version.*report and predictions stay.*--name NAME"
    ):
        check_version(folder)
    (folder / "identity.json").write_text(json.dumps({"key": "k", "identity": {"code version": VERSION}}))
    check_version(folder)
    check_version(tmp_path / "new")
