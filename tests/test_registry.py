"""Experiments and search spaces by name; every committed one resolves and fits."""

import shutil
import sys
from pathlib import Path

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from hyperderm import registry
from hyperderm.errors import ConfigError
from hyperderm.registry import Space, check_space

ROOT = Path(__file__).resolve().parents[1]
PROFILES = ("small", "full")

OF_DCGAN = {"learner.norm": "layer", "learner.generator_norm": "layer"}
ALONE = {"autoencoder", "colour_unmixing", "mixture", "mixup"}
"""Experiments whose learner refuses several workers, whatever its settings."""
NORMS = {
    **{name: OF_DCGAN for name in ("dcgan", "dcgan_abundance", "wgan", "wgan_gp", "acgan")},
    **{name: {"learner.norm": "layer"} for name in ("fastgan", "vae")},
}
"""What several workers need: batch norm is refused."""


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", registry.names("experiments"))
def test_every_experiment_resolves_under_its_name(name, profile):
    experiment = registry.experiment(name, profile)
    assert (experiment.name, experiment.profile) == (name, profile)
    assert experiment.override(experiment.flat()) == experiment  # it survives the way to a worker


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", registry.names("search_spaces"))
def test_every_space_fits_its_experiment(name, profile):
    shared = {"sweep.workers_per_trial": 2, **NORMS.get(name, {})}
    for more in ({},) if name in ALONE else ({}, shared):
        experiment = registry.experiment(name, profile).override(more)
        space = registry.space(name, experiment)
        assert space.version >= 1
        assert space.distributions
        check_space(space, experiment)


JOINED = """from experiments.shsgan import experiment as shsgan


def experiment(profile):
    return shsgan(profile).model_copy(update={"name": "NAME"})
"""


@pytest.fixture
def joined(tmp_path, monkeypatch):
    """A project of its own with generators that come before and after all others; its modules are forgotten again."""
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("aaa_gan", "zzz_gan"):
        (tmp_path / "experiments" / f"{name}.py").write_text(JOINED.replace("NAME", name), "utf-8")
    before = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "experiments"}
    for name in before:
        del sys.modules[name]
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield ("aaa_gan", "zzz_gan")
    for name in [name for name in sys.modules if name.partition(".")[0] == "experiments"]:
        del sys.modules[name]
    sys.modules.update(before)


@pytest.mark.parametrize("profile", PROFILES)
def test_an_experiment_that_joins_changes_no_grid(joined, profile):
    names = registry.names("experiments")
    assert (names[0], names[-1]) == joined
    assert [made.name for made in registry.generators(joined, profile).values()] == list(joined)
    grid = registry.ablation("synthetic_vs_real", profile)
    assert Path(sys.modules["experiments.ablation_synthetic_vs_real"].__file__).parents[1] == registry.project_root() != ROOT
    assert grid.generators == ("shsgan",)
    assert not {*grid.sets, *grid.searches, *grid.generator_settings}


def test_unknown_names_offer_the_nearest():
    with pytest.raises(ConfigError, match=r"unknown experiment 'shgan'\. Did you mean 'shsgan' or"):
        registry.experiment("shgan", "small")
    with pytest.raises(ConfigError, match=r"unknown experiment 'zzz'\. Known: .*shsgan"):
        registry.experiment("zzz", "small")
    with pytest.raises(ConfigError, match=r"unknown search space 'shgan'\. Did you mean 'shsgan' or"):
        registry.space("shgan", registry.experiment("shsgan", "small"))
    with pytest.raises(ConfigError, match="unknown experiment '__init__'"):
        registry.experiment("__init__", "small")


@pytest.mark.parametrize(
    ("axis", "said"),
    [
        ({"learner.n_critics": IntDistribution(1, 5)}, "Did you mean 'learner.n_critic'"),
        ({"learner.n_critic": IntDistribution(0, 5)}, "axis learner.n_critic: learner.n_critic = 0 is refused"),
        ({"learner.n_critic": IntDistribution(1, 500)}, "axis learner.n_critic: learner.n_critic = 500 is refused"),
        ({"learner.n_critic": FloatDistribution(1, 5)}, "axis learner.n_critic: learner.n_critic = 1.0 is refused"),
        ({"learner.norm": CategoricalDistribution(["layer", "batch"])}, "axis learner.norm: learner.norm = batch with"),
        ({"training.batch_size": CategoricalDistribution([2, 3])}, "axis training.batch_size: training.batch_size = 3"),
    ],
)
def test_check_space_refuses_a_bad_axis(axis, said):
    experiment = registry.experiment("shsgan", "small").override({"sweep.workers_per_trial": 2})
    with pytest.raises(ConfigError) as caught:
        check_space(Space("mine", 1, axis), experiment)
    assert str(caught.value).startswith("search space 'mine', axis ")
    assert said in str(caught.value)


def test_project_root_is_the_nearest_above(tmp_path, monkeypatch):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "__init__.py").touch()
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    assert registry.project_root() == tmp_path
    monkeypatch.chdir("/")
    assert registry.project_root() == ROOT


def test_fixed_axes_leave_the_space():
    space = registry.Space("s", 1, {"a.x": FloatDistribution(0, 1), "a.y": FloatDistribution(0, 1)})
    left, fixed = space.without(["a.x", "b.z"])
    assert (list(left.distributions), fixed) == (["a.y"], ["a.x"])
    with pytest.raises(ConfigError, match="fixes every axis"):
        space.without(["a.x", "a.y"])
