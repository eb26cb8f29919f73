"""The grids of the README's studies, as they stand in experiments: what they compare, and that no generator is forgotten."""

from pathlib import Path

import pytest

from hyperderm import registry
from hyperderm.store.reader import open_store
from hyperderm.studies.ablation.plan import Plan, make_plan
from hyperderm.workflows.workspace import Workspace, configure_grid

ROOT = Path(__file__).resolve().parents[2]


def planned(name: str, store: str) -> Plan:
    """The plan of a small grid on one fold."""
    grid, generators = configure_grid(Workspace.here(), name, "small", ["folds=[0]"])
    return make_plan(grid, open_store(store), generators)


def test_every_generator_of_the_project_has_an_arm(phantom_store):
    plan = planned("every_generator", str(phantom_store))
    assert not plan.left_out
    known = [name for name in registry.names("experiments") if not name.startswith("ladder_")]  # steps towards SHS-GAN
    generators = {name for name in known if registry.experiment(name, "small").learner.role == "generator"}
    assert {arm.generator for arm in plan.arms if arm.generator} == generators
    controls = {arm: reference for arm, reference, _ in plan.contrasts if reference != "real"}
    assert controls == {f"{name}_x1": "oversampled_x1" for name in generators}
    trained = {job.experiment.name: job.experiment for job in plan.stage("generator")}
    assert set(trained) == {*generators, "unmixer"}
    assert trained["unmixer"].learner.bands == "rgb", "colour_unmixing sees photographs"
    assert max(each.training.images for each in trained.values()) <= 36_000, "no generator takes more than minutes"


def test_the_seeds_question_has_its_control_and_its_networks(phantom_store):
    plan = planned("fastgan_balance", str(phantom_store))
    assert ("fastgan_balance", "oversampled_balance") in {(arm, reference) for arm, reference, _ in plan.contrasts}
    networks = {job.model: job.experiment.learner for job in plan.stage("cell")}
    assert {name: (each.architecture, each.weights) for name, each in networks.items()} == {
        "resnet18_scratch": ("resnet18", "scratch"),
        "densenet121_scratch": ("densenet121", "scratch"),
        "efficientnet_lite0": ("efficientnet_lite0", "imagenet"),
    }
    assert len({job.experiment.training.images for job in plan.stage("cell")}) == 1, "every arm has the same steps"


@pytest.mark.parametrize("name", sorted(file.stem for file in (ROOT / "experiments").glob("ablation_*.py")))
def test_the_full_profile_is_for_gpus_and_has_every_negative_control(name):
    grid = registry.ablation(name, "full")
    assert grid.resources.gpus == 1
    assert len(grid.seeds) == 3
    assert {"shuffled", "without_melanoma", "noisy_copies"} <= set(grid.arms)
    assert grid.curve
