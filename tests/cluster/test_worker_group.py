"""Trials on several workers."""

import time

import pytest
import ray
import torch
from optuna.trial import TrialState

from hyperderm.errors import ConfigError
from hyperderm.store.reader import open_store
from hyperderm.studies.sweep import run as run_trials
from tests.cluster.sweeps import Memory, classifier, run, search, tiny, train_once


def test_two_workers_train_what_one_worker_trains(tmp_path, shared, ray_cluster):
    """In float64 the group ends with the weights of the single worker, up to the order of summation."""
    settings = {"sweep__trials": 1, "training__precision": "fp64", "training__images": 32, "training__validate_every": 16}
    run(tmp_path / "one", tiny(**settings), shared, ray_cluster, Memory())
    memory = Memory()
    made = run(tmp_path / "two", tiny(**settings, sweep__workers_per_trial=2), shared, ray_cluster, memory)
    assert made.study.trials[0].state == TrialState.COMPLETE
    assert memory.reports == {0: [0, 16, 32]}
    one, two = (torch.load(tmp_path / w / "trials/0000/latest.pt", weights_only=True)["learner"] for w in ("one", "two"))
    for network in ("generator", "critic", "ema"):
        for name, expected in one[network].items():
            assert torch.allclose(two[network][name], expected, rtol=0, atol=1e-5 * float(expected.abs().max()) + 1e-12), (
                name
            )


@pytest.mark.slow
def test_two_workers_train_the_classifier_that_one_trains(tmp_path, told, ray_cluster):
    """Dropout, augmentation and class weights included: through Tune, Ray Train and gloo."""
    settings = {"sweep__trials": 1, "training__precision": "fp64", "training__images": 32, "training__validate_every": 16}
    run(tmp_path / "one", classifier(**settings), told, ray_cluster, Memory())
    made = run(tmp_path / "two", classifier(**settings, sweep__workers_per_trial=2), told, ray_cluster, Memory())
    assert made.study.trials[0].state == TrialState.COMPLETE
    one, two = (torch.load(tmp_path / w / "trials/0000/latest.pt", weights_only=True)["learner"] for w in ("one", "two"))
    for name, expected in one["network"].items():
        assert torch.allclose(two["network"][name], expected, rtol=0, atol=1e-5 * float(expected.abs().max()) + 1e-12), name


@pytest.mark.slow
def test_a_group_that_refuses_says_so_as_a_user_s_error(tmp_path, phantom_store, ray_cluster):
    experiment = classifier(learner__architecture="resnet18", data__size=32, sweep__workers_per_trial=2)
    store = open_store(str(phantom_store))
    with pytest.raises(ConfigError, match="resnet18 with 2 workers on CPUs is refused"):
        train_once(experiment, store, tmp_path, {}, Memory())


@pytest.mark.slow
def test_group_stopped_early_leaves_its_actor_to_the_next_trial(tmp_path, shared, ray_cluster):
    experiment = tiny(
        sweep__workers_per_trial=2, sweep__trials=3, sweep__grace_images=32, sweep__reduction=2, training__images=64
    )
    made = run(tmp_path, experiment, shared, ray_cluster, Memory())
    states = [t.state for t in made.study.trials]
    assert len(states) == 3
    assert set(states) <= {TrialState.COMPLETE, TrialState.PRUNED}


@pytest.mark.slow
def test_diverged_group_fails_with_step_and_culprit(tmp_path, shared, ray_cluster):
    experiment = tiny(sweep__workers_per_trial=2, sweep__trials=1, learner__gp_weight=1e30, learner__lr_critic=1.0)
    made = run(tmp_path, experiment, shared, ray_cluster, Memory())
    assert made.study.trials[0].state == TrialState.FAIL
    assert "is not finite at step" in made.study.trials[0].user_attrs["reason"]


@pytest.mark.slow
def test_interrupted_group_gives_everything_back_and_goes_on(tmp_path, shared, ray_cluster):
    experiment = tiny(sweep__workers_per_trial=2, sweep__trials=1)
    first = Memory()
    made = search(tmp_path, experiment, first)
    first._on_report = lambda number, images: setattr(made, "interrupted", True) if images == 32 else None
    run_trials(made, shared, ray_cluster, tmp_path, {})
    assert made.study.trials[0].state == TrialState.RUNNING
    for _ in range(60):
        if ray.available_resources().get("CPU") == ray_cluster.cpus:
            break
        time.sleep(0.5)
    assert ray.available_resources().get("CPU") == ray_cluster.cpus
    second = Memory()
    again = run(tmp_path, experiment, shared, ray_cluster, second)
    assert again.study.trials[0].state == TrialState.COMPLETE
    assert second.reports[0][0] >= 32  # a step that ran on while the interrupt came is not lost


@pytest.fixture(autouse=True)
def _bounded(request):
    request.node.add_marker(pytest.mark.timeout(180))
