"""How runs and metrics are called in MLflow."""

import pytest

from hyperderm.metric_groups import grouped, is_result, of_test_role, ungrouped
from hyperderm.tracking.short_texts import LONGEST_NAME, brief, trial_name, trial_note


def test_a_trial_is_named_by_what_tells_it_from_its_neighbours():
    values = {"learner.lr_generator": 0.00031, "learner.n_critic": 2, "training.batch_size": 4, "learner.ema": 0.5}
    assert trial_name(3, values) == "003 lr_g=3.1e-4 n_critic=2 bs=4 ema=0.5"
    assert trial_name(12, {"learner.a.width": 8, "learner.b.width": 9.5e-7}) == "012 a.width=8 b.width=9.5e-7"
    assert trial_name(7, {"data.flips": True, "learner.norm": "layer", "learner.gp_weight": 10.0}) == (
        "007 flips=True norm=layer gp_weight=10"
    )
    assert trial_name(7, {}) == "trial 007"
    assert len(trial_name(7, {f"learner.setting_{k}": "long" for k in range(20)})) == LONGEST_NAME


def test_a_trial_says_what_it_tries_and_where_the_rest_stands():
    note = trial_note("night", 3, {"learner.lr_generator": 0.000312345, "training.batch_size": 4})
    assert note.startswith(
        "**Trial 3 of the sweep night**: `learner.lr_generator` 0.000312, `training.batch_size` 4. Its parent"
    )
    assert "`hyperderm register night/3 --name NAME`" in note
    assert trial_note("night", 0, {}).startswith("**Trial 0 of the sweep night**. Its parent")


def test_metrics_of_a_report_stand_in_their_groups():
    report = {
        "train/critic_loss": 1.0,
        "spectral_energy_distance": 0.5,
        "loss/manifold/coverage": 0.2,
        "validation_auroc": 0.9,
        "floor_real_vs_real": 0.1,
        "floor_real_vs_real/manifold/coverage": 0.3,
    }
    changing, constant = grouped(report)
    assert changing == {
        "train/critic_loss": 1.0,
        "validation/spectral_energy_distance": 0.5,
        "validation/loss/manifold/coverage": 0.2,
        "validation/auroc": 0.9,
    }
    assert constant == {
        "reference/floor_real_vs_real": 0.1,
        "reference/floor_real_vs_real/manifold/coverage": 0.3,
    }
    assert {ungrouped(name) for name in (*changing, *constant)} == {name.removeprefix("train/") for name in report}


@pytest.mark.parametrize("old", ["test_auroc", "test_sensitivity"])
def test_a_score_of_the_test_role_keeps_the_name_of_earlier_versions_in_comparisons(old):
    assert of_test_role(old) == f"test/{old.removeprefix('test_')}"
    assert ungrouped(of_test_role(old)) == old
    assert ungrouped("system/seconds") == "seconds"
    assert is_result("system/seconds")
    assert is_result("validation/auroc")
    assert not is_result("system/memory_gib")
    assert ungrouped("a/level/variance") == "a/level/variance"


@pytest.mark.parametrize(
    ("value", "text"),
    [(100.0, "100"), (0.0003, "3e-4"), (1.27e-5, "1.3e-5"), (0.95, "0.95"), (2.345, "2.35"), (12345.0, "1.2e4"), (0.0, "0")],
)
def test_numbers_are_brief(value, text):
    assert brief(value) == text
    assert brief(True) == "True"
    assert brief(64) == "64"
