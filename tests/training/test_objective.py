"""A search may take any score of an evaluation as its objective; the best checkpoint and the ranks follow it."""

import math

import pytest
import torch

from hyperderm.cluster.messages import end_message
from hyperderm.config import Experiment
from hyperderm.errors import ConfigError, NonFiniteLoss, StudyError
from hyperderm.metrics import feature_spaces
from hyperderm.metrics.evaluation.names import OBJECTIVES
from hyperderm.store.reader import open_store
from hyperderm.training import objective as module
from hyperderm.training.data import train_data
from hyperderm.training.objective import Objective
from tests.cluster.sweeps import Memory, classifier, tiny, train_once
from tests.evaluations import Projection, lesions
from tests.training.tiny import steady


@pytest.fixture(scope="module")
def store(phantom_store):
    return open_store(str(phantom_store))


@pytest.fixture(scope="module")
def data(store):
    roles = [store.read(store.select(role, 0, "all")) for role in ("train", "validation")]
    return train_data(*roles, store.manifest.wavelengths_nm, 16)


@pytest.fixture(autouse=True)
def projections(monkeypatch):
    made = {name: lambda device, name=name: Projection(name) for name in feature_spaces.SPACES}
    monkeypatch.setattr(module, "SPACES", made)


@pytest.mark.parametrize("key", OBJECTIVES)
def test_every_objective_puts_real_cubes_before_noise(data, key):
    """Fresh phantom lesions have a lower loss than noise of the same level, or the score says that it cannot tell."""
    chosen = Objective(key, data, "cpu")
    fresh = torch.nn.functional.interpolate(lesions(24, seed=5)[0], (16, 16), mode="area")
    noise = torch.rand(24, *fresh.shape[1:], generator=torch.Generator().manual_seed(0))
    good, bad = chosen.scores(fresh), chosen.scores(noise)
    assert all(math.isfinite(good[f"loss/{key}"]) for good in (good, bad))
    assert good["floor_real_vs_real"] == bad["floor_real_vs_real"]
    blind = ("spectral_entropy", "recall", "density", "mean_spectra")  # what noise of the same level may have too
    if not any(word in key for word in blind):
        assert good[f"loss/{key}"] < bad[f"loss/{key}"]


def test_a_run_chooses_its_checkpoint_by_the_objective(tmp_path, store):
    reports, key = [], "level/total_variation"

    class Kept(Memory):
        def reported(self, job, images, metrics):
            reports.append(dict(metrics))

    experiment = tiny(training__objective=key)
    train_once(experiment, store, tmp_path, {}, Kept())
    losses = [metrics[f"loss/{key}"] for metrics in reports]
    assert len(set(losses)) > 1
    assert reports[-1][f"best_loss/{key}"] == min(losses[1:])
    best = torch.load(tmp_path / "best.pt", weights_only=False)
    assert best["metrics"][f"loss/{key}"] == min(losses[1:])


def test_a_run_reports_both_scores_that_rank_it_and_what_gives_each_a_scale(tmp_path, store):
    """The own score chooses; coverage of the validation cubes is told at each validation, and its yardsticks apart."""
    reports, key = [], "held_out/spectral/coverage"

    class Kept(Memory):
        def reported(self, job, images, metrics):
            reports.append(dict(metrics))

    few = tiny(training__validation_samples=16)
    train_once(few.override({"sweep.objective": ["spectral_energy_distance", key]}), store, tmp_path / "two", {}, Kept())
    two, reports = reports, []
    train_once(few, store, tmp_path / "one", {}, Kept())
    for with_both, alone in zip(two, reports, strict=True):
        assert steady(alone).items() <= with_both.items(), "a second score changes nothing that a run does"
        assert with_both[f"loss/{key}"] == 1 - with_both[key]
        assert 0 <= with_both[f"floor_real_vs_real/{key}"] < with_both[f"score_of_mean_cube/{key}"] <= 1
    first, second = (torch.load(tmp_path / run / "best.pt", weights_only=False)["learner"] for run in ("one", "two"))
    assert all(torch.equal(first["generator"][name], second["generator"][name]) for name in first["generator"])
    swapped = tiny(sweep__objective=[key, "spectral_energy_distance"]).as_trial()
    own = {"spectral_energy_distance": 1.0, "floor_real_vs_real": 0.1, "score_of_mean_cube": 2.0}
    cubes = torch.nn.functional.interpolate(lesions(12, seed=5)[0], (16, 16), mode="area")
    roles = train_data(
        *(store.read(store.select(role, 0, "all")) for role in ("train", "validation")), store.manifest.wavelengths_nm, 16
    )
    told = module.with_objectives(module.objectives_of(swapped, roles, "cpu"), own, cubes, swapped)
    assert told["floor_real_vs_real/spectral_energy_distance"] == 0.1
    assert told["score_of_mean_cube/spectral_energy_distance"] == 2.0
    assert told["floor_real_vs_real"] == two[0][f"floor_real_vs_real/{key}"]


def test_wrong_objectives_are_refused():
    with pytest.raises(ConfigError, match=r"no score of `hyperderm evaluate`.*held_out/inception/kernel"):
        tiny(training__objective="held_out/inception/kernal")
    with pytest.raises(ConfigError, match="no score of"):
        tiny(training__objective="train/inception/kernel")
    with pytest.raises(ConfigError, match="is a classifier"):
        classifier(training__objective="level/variance")
    assert Experiment.objective.fget(tiny()) == "spectral_energy_distance"


def test_a_single_cube_ends_the_run_too_and_is_no_trouble_of_the_machine(data):
    with pytest.raises(StudyError, match=r"held_out/inception/kernel cannot be had"):
        Objective("held_out/inception/kernel", data, "cpu").scores(data.train.reflectance[:1])


def test_an_objective_that_the_cubes_do_not_have_ends_the_run_with_its_reason(data):
    with pytest.raises(StudyError, match=r"held_out/inception/kernel cannot be had: .*Use 4 cubes"):
        Objective("held_out/inception/kernel", data, "cpu").scores(data.train.reflectance[:2])


def test_a_diverged_generator_ends_its_trial_and_is_no_trouble_of_the_machine(data):
    with pytest.raises(NonFiniteLoss, match="NaN or infinite") as raised:
        Objective("level/variance", data, "cpu").scores(torch.full((4, *data.train.reflectance.shape[1:]), torch.nan))
    assert end_message(raised.value)["failure"]
