"""Configuration: overrides by path, refusals that name field, value and remedy, fingerprints, identity."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from hyperderm import registry
from hyperderm.config import Experiment, SyntheticConfig, TaskConfig, TrainingConfig
from hyperderm.errors import ConfigError, HyperdermError, nearest
from hyperderm.grid_config import Ablation, Model
from hyperderm.identity import searching
from hyperderm.learners.classifier import ClassifierConfig
from hyperderm.learners.shsgan import ShsGanConfig
from hyperderm.learners.spectral_baseline import SpectralConfig
from hyperderm.strict import differences, fingerprint, parse_overrides, paths

ROOT = Path(__file__).resolve().parents[1]
BASE = Experiment(name="base", learner=ShsGanConfig())
CLASSIFIER = Experiment(name="classifier", learner=ClassifierConfig(), task=TaskConfig())
GRID = Ablation(
    name="grid",
    generators=("shsgan",),
    models=("spectral", "small_cnn"),
    classifiers={
        "cnn": Model(learner=ClassifierConfig(), training=TrainingConfig()),
        "spectral": Model(learner=SpectralConfig(), training=TrainingConfig()),
    },
)


def refused(config=BASE, **values) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        config.override({path.replace("__", "."): value for path, value in values.items()})
    assert "\n" not in str(caught.value)
    return caught.value


def test_override_sets_by_path_and_leaves_the_original():
    changed = BASE.override({"learner.n_critic": 5, "data.diagnoses": "all", "sweep.concurrent": None})
    assert (changed.learner.n_critic, changed.data.diagnoses, changed.sweep.concurrent) == (5, "all", None)
    assert (BASE.learner.n_critic, BASE.data.diagnoses) == (2, ("melanoma",))
    assert differences(BASE.flat(), changed.flat()) == [
        "data.diagnoses: ['melanoma'] -> all",
        "learner.n_critic: 2 -> 5",
    ]


def test_override_is_validated_as_a_whole_not_key_by_key():
    both = BASE.override({"learner.norm": "batch", "learner.loss": "bce", "learner.rgb_weight": 0})  # norm alone is refused
    assert both.learner.rgb_weight == 0
    assert isinstance(both.learner.rgb_weight, float)


def test_every_path_is_a_leaf_and_can_be_overridden_by_its_own_value():
    flat = BASE.flat()
    assert set(flat) <= set(paths(BASE))
    assert BASE.override(flat) == BASE


@pytest.mark.parametrize(
    ("path", "near"),
    [("learner.ncritic", "learner.n_critic"), ("trainin.batch_size", "training.batch_size"), ("seeed", "seed")],
)
def test_unknown_key_names_the_nearest(path, near):
    error = refused(**{path: 1})
    assert error.what == f"unknown configuration key {path!r}"
    assert error.remedy.startswith(f"Did you mean '{near}'")


def test_a_group_is_no_key_and_lists_its_keys():
    error = refused(data={"size": 32})
    assert error.what == "configuration key 'data' is a group"
    keys = ["size", "diagnoses", "fold", "flips", "scaling", "percentiles"]
    keys += ["photographs", "photographs_share", "feed", "window", "sample"]
    assert error.remedy == f"Set one of its keys: {', '.join(f'data.{key}' for key in keys)}."


@pytest.mark.parametrize(
    ("path", "value", "said", "example"),
    [
        ("learner.n_critic", 0, "learner.n_critic = 0 is refused: it should be greater than or equal to 1", "=2"),
        ("learner.n_critic", "three", 'learner.n_critic = "three" is refused: it should be a valid integer', "=2"),
        ("learner.n_critic", 2.0, "learner.n_critic = 2.0 is refused: it should be a valid integer", "=2"),
        ("sweep.trials", True, "sweep.trials = true is refused: it should be a valid integer", "=32"),
        ("learner.norm", "group", "it should be 'none', 'spectral', 'layer' or 'batch'", "=none"),
        ("learner.gp_weight", float("inf"), "learner.gp_weight = Infinity is refused: it should be a finite", "=10.0"),
        ("learner.lr_critic", float("nan"), "learner.lr_critic = NaN is refused: it should be a finite", "=0.0001"),
        ("data.size", 8, "data.size = 8 is refused", "=64"),
        ("data.fold", -1, "data.fold = -1 is refused", "=0"),
        ("data.diagnoses", "melanoma", "it should be a valid array or 'all'", '=["melanoma"]\''),
        ("data.diagnoses", ["melanoma", "wart"], 'data.diagnoses = "wart" is refused: it should be', '=["melanoma"]\''),
        ("data.diagnoses", [], "data.diagnoses = [] is refused", '=["melanoma"]\''),
        ("name", 3, "name = 3 is refused: it should be a valid string", "=…"),
    ],
)
def test_wrong_value_names_field_value_and_remedy(path, value, said, example):
    error = refused(**{path: value})
    assert said in error.what
    assert f"--set {path}" in error.remedy.replace("'", "")
    assert error.remedy.endswith(example)


@pytest.mark.parametrize("path", sorted(set(BASE.flat()) - {"name"}))
def test_the_example_in_a_remedy_works(path):
    item = refused(**{path: ["no"]}).remedy.split("--set ")[1].strip("'")
    assert BASE.override(parse_overrides([item])) == BASE


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"learner.norm": "batch"}, ("learner.norm = batch", "wgan_gp", "Use learner.norm=layer")),
        ({"learner.real_label": 0.9}, ("learner.real_label = 0.9", "wgan_gp", "Use learner.loss=bce")),
        (
            {"training.batch_size": 4, "sweep.workers_per_trial": 3},
            ("training.batch_size = 4", "3 workers", "Choose a multiple of 3"),
        ),
        (
            {"learner.norm": "batch", "learner.loss": "wgan_clip", "sweep.workers_per_trial": 2},
            ("learner.norm = batch", "2 workers", "Use learner.norm=layer, or one worker"),
        ),
    ],
)
def test_rules_between_fields(values, said):
    with pytest.raises(ConfigError) as caught:
        BASE.override(values)
    for part in said:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


# --- unions: learners of several kinds, groups that may be missing, mappings of models


def test_a_key_of_another_kind_of_learner_is_unknown():
    """The nearest are those of the learner that is configured."""
    error = refused(CLASSIFIER, learner__n_critic=3)
    assert error.what == "unknown configuration key 'learner.n_critic'"
    assert "learner.n_critic" not in error.remedy
    error = refused(BASE, learner__augmentation="none")
    assert error.what == "unknown configuration key 'learner.augmentation'"
    assert refused(CLASSIFIER, learner__oversampl=1).remedy.startswith("Did you mean 'learner.oversample'")


@pytest.mark.parametrize(
    ("path", "value", "said", "example"),
    [
        ("learner.lr", -1, "learner.lr = -1 is refused: it should be greater than 0", "=0.0001"),
        (
            "learner.loss",
            "bce",
            "learner.loss = \"bce\" is refused: it should be 'cross_entropy' or 'focal'",
            "=cross_entropy",
        ),
        ("learner.oversample", -1, "learner.oversample = -1 is refused: it should be greater than or equal to 0 or", "=0.0"),
        ("learner.oversample", "equal", "it should be a valid number or 'balance'", "=0.0"),
        ("learner.mixed_share", 1.0, "learner.mixed_share = 1.0 is refused: it should be less than 1", "=null"),
        (
            "learner.kind",
            "dcgann",
            "learner.kind = dcgann is refused: it should be one of shsgan, dcgan, fastgan, r3gan, vae, hvae, imle, mixture, "
            "interpolation, colour_unmixing, diffusion, classifier, spectral",
            "=shsgan",
        ),
        (
            "task.negatives",
            "nevi",
            "task.negatives = \"nevi\" is refused: it should be 'dysplastic_nevus' or 'all_others'",
            "nevus",
        ),
        ("synthetic", 3, "synthetic = 3 is refused: it should be an object", "=null"),
    ],
)
def test_faults_inside_a_union_name_the_key_without_its_tag(path, value, said, example):
    error = refused(CLASSIFIER, **{path: value})
    assert said in error.what
    assert error.remedy.endswith(example)


def test_a_group_that_is_missing_can_be_set_key_by_key():
    whole = CLASSIFIER.override({"synthetic.store": "made", "synthetic.ratio": "balance"})
    assert whole.synthetic == SyntheticConfig(store="made", ratio="balance")
    assert whole.override({"synthetic.ratio": 2}).synthetic.ratio == 2.0
    assert refused(CLASSIFIER, synthetic__ratio=2).what == "synthetic.store is missing"
    assert refused(CLASSIFIER, synthetic__store="made", synthetic__ratio=0).what == (
        "synthetic.ratio = 0 is refused: it should be greater than 0 or 'balance'"
    )
    assert refused(CLASSIFIER, synthetic__stor="made").remedy.startswith("Did you mean 'synthetic.store'")


@pytest.mark.parametrize("ratio", ["balance", 0.25, 4])
def test_ratios_may_be_a_number_or_balance_wherever_they_stand(ratio):
    """A bound on the whole union would be asked of the word as well."""
    assert CLASSIFIER.override({"learner.oversample": ratio}).learner.oversample == ratio
    assert ClassifierConfig(oversample=ratio).oversample == SpectralConfig(oversample=ratio).oversample == ratio
    assert SyntheticConfig(store="s", ratio=ratio).ratio == ratio
    assert GRID.override({"ratios": [ratio]}).ratios == (ratio,)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"data.diagnoses": "all"}, "data.diagnoses is a generator's; a classifier reads those of task.negatives"),
        ({"training.pretrain_images": 8}, "training.pretrain_images = 8 is refused: it goes together with"),
        ({"synthetic.store": "s", "synthetic.use": "pretrain"}, "training.pretrain_images = 0 is refused: it goes together"),
        (
            {"synthetic.store": "s", "synthetic.use": "pretrain", "training.pretrain_images": 100_000},
            "training.pretrain_images = 100000 leaves nothing of training.images = 100000. Give fewer",
        ),
    ],
)
def test_rules_of_classifiers(values, said):
    assert str(refused(CLASSIFIER, **values)).startswith(said)


@pytest.mark.parametrize("values", [{"task": {}}, {"synthetic.store": "s"}])
def test_a_generator_takes_no_settings_of_classifiers(values):
    assert "learner.kind = shsgan is a generator. Leave it out" in str(refused(BASE, **values))


def test_a_grid_is_overridden_inside_its_mapping_of_models():
    changed = GRID.override({"classifiers.cnn.learner.lr": 0.5, "classifiers.spectral.learner.penalty": 2})
    assert changed.classifiers["cnn"].learner == ClassifierConfig(lr=0.5)
    assert changed.classifiers["spectral"].learner == SpectralConfig(penalty=2.0)
    assert changed.classifiers["cnn"].training == TrainingConfig()
    assert GRID.override(GRID.flat()) == GRID
    other = GRID.override({"classifiers": {"one": {"learner": {"kind": "spectral"}, "training": {}}}})
    assert list(other.classifiers) == ["one"]


@pytest.mark.parametrize(
    ("path", "value", "said", "remedy"),
    [
        ("classifiers.cnn.learner.lr", -1, "classifiers.cnn.learner.lr = -1 is refused: it should be greater", "lr=0.0001"),
        ("classifiers.cnn.training.images", 0, "classifiers.cnn.training.images = 0 is refused", "images=100000"),
        (
            "classifiers.cnn.learner.kind",
            "x",
            "classifiers.cnn.learner.kind = x is refused: it should be one of",
            "classifier",
        ),
        ("classifiers.cnn.learner.lrr", 1, "unknown configuration key 'classifiers.cnn.learner.lrr'", "Did you mean"),
        (
            "classifiers.spectral.learner.lr",
            1,
            "unknown configuration key 'classifiers.spectral.learner.lr'",
            "Did you mean",
        ),
        (
            "classifiers.cnm.learner.lr",
            1,
            "unknown configuration key 'classifiers.cnm.learner.lr'",
            "classifiers.cnn.learner.lr",
        ),
        ("classifiers", {"a": 1}, "classifiers.a = 1 is refused: it should be an object", "classifiers.a=…"),
        ("classifiers", {"a": {"training": {}}}, "classifiers.a.learner is missing", "Give it a value."),
    ],
)
def test_faults_inside_a_mapping_of_models_name_the_whole_path(path, value, said, remedy):
    error = refused(GRID, **{path: value})
    assert error.what.startswith(said)
    assert remedy in error.remedy


def test_what_the_rules_allow():
    BASE.override({"learner.norm": "batch", "learner.loss": "wgan_clip"})
    BASE.override({"training.batch_size": 6, "sweep.workers_per_trial": 3})
    BASE.override({"learner.loss": "bce", "learner.real_label": 0.9})


def test_frozen_and_closed():
    with pytest.raises(ValidationError, match="frozen"):
        BASE.seed = 1  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        BASE.learner.n_critic = 1  # type: ignore[misc]
    with pytest.raises(ValidationError, match="Extra inputs"):
        ShsGanConfig(ncritic=3)  # type: ignore[call-arg]


def test_fingerprint_ignores_order_and_is_the_same_everywhere():
    assert fingerprint({"b": [1, 2.5], "a": None}) == fingerprint({"a": None, "b": [1, 2.5]})
    # sha256 of {"a":null,"b":[1,2.5]}: stores and runs on disk are named by this
    assert fingerprint({"b": [1, 2.5], "a": None}) == "e57f5d37865437a82e1108bafb4e5213dfe7e9085f5c253341ebbab30cac5faf"


def test_identity_leaves_out_what_may_change_and_nothing_else():
    free = {"sweep.trials", "sweep.concurrent", "sweep.cpus_per_worker", "sweep.gpus_per_worker", "sweep.max_failures"}
    inputs = {"learner.start", "learner.unmixing"}  # the hashes of their checkpoints count, not their names
    assert set(BASE.flat()) - set(searching(BASE)) == free | inputs | {"data.feed", "data.window", "data.sample"}
    streamed = BASE.override({"data.feed": "stream"})  # there, what a window and the sample hold shapes the result
    assert set(streamed.flat()) - set(searching(streamed)) == free | inputs
    more = BASE.override({"sweep.trials": 99, "sweep.concurrent": 2, "sweep.gpus_per_worker": 0.25})
    assert searching(more) == searching(BASE)
    for path, value in {
        "seed": 1,
        "data.fold": 1,
        "training.images": 7,
        "learner.n_critic": 3,
        "sweep.reduction": 4,
    }.items():
        assert searching(BASE.override({path: value})) != searching(BASE), path


def test_parse_overrides():
    assert parse_overrides(["a=1", "b=1e-3", "c=text", "d=null", 'e=["x"]', "f=a=b", "g="]) == {
        "a": 1,
        "b": 1e-3,
        "c": "text",
        "d": None,
        "e": ["x"],
        "f": "a=b",
        "g": "",
    }
    for wrong in ("learner.n_critic", "=3"):
        with pytest.raises(ConfigError, match="is not of the form path=value"):
            parse_overrides([wrong])


def test_nearest_lists_all_where_nothing_is_near():
    assert nearest("zzz", ["beta", "alpha"]) == "Known: alpha, beta"
    assert nearest("alpa", ["beta", "alpha"]) == "Did you mean 'alpha'?"


def test_errors_survive_pickling_with_their_parts():
    import pickle

    for kind in HyperdermError.__subclasses__():
        error = pickle.loads(pickle.dumps(kind("a is wrong", "Do b.")))
        assert (type(error), error.what, error.remedy, str(error)) == (kind, "a is wrong", "Do b.", "a is wrong. Do b.")


def test_a_wrong_key_costs_no_heavy_import():
    code = """
import sys, time
sys.argv = ["hyperderm", "sweep", "shsgan", "--set", "learner.ncritic=3"]
begun = time.perf_counter()
from hyperderm.cli import main
try:
    main()
except SystemExit as end:
    heavy = [m for m in ("torch", "ray", "mlflow", "optuna", "pyarrow", "scipy", "sklearn", "cv2") if m in sys.modules]
    print(end.code, heavy, time.perf_counter() - begun)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    status, heavy, seconds = done.stdout.strip().split(" ", 1)[0], *done.stdout.strip().split(" ", 1)[1].rsplit(" ", 1)
    assert (status, heavy) == ("2", "[]")
    assert float(seconds) < 2  # 0.3 s alone; the margin is for a busy machine
    assert "Did you mean 'learner.n_critic'" in done.stderr


def test_a_grid_is_shown_without_a_heavy_import():
    code = """
import sys
sys.argv = ["hyperderm", "show", "every_generator", "--profile", "small"]
from hyperderm.cli import main
try:
    main()
except SystemExit as end:
    heavy = [m for m in ("torch", "ray", "mlflow", "optuna", "pyarrow", "scipy", "sklearn", "cv2") if m in sys.modules]
    print(end.code, heavy, file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "0 []"
    assert '"name": "every_generator"' in done.stdout


def test_registry_is_used_from_the_checkout():
    assert registry.project_root() == ROOT
