"""The grid `affine_vs_synthetic` as it stands in experiments: what it compares, and that its networks can be built."""

import torch

from hyperderm import registry
from hyperderm.learners.classifier.networks import build_classifier
from hyperderm.store.reader import open_store
from hyperderm.studies.ablation.jobs import SPARE
from hyperderm.studies.ablation.plan import make_plan

NAME = "affine_vs_synthetic"


def test_the_small_grid_on_the_phantom(phantom_store):
    grid = registry.ablation(NAME, "small").override({"folds": [0]})
    plan = make_plan(grid, open_store(str(phantom_store)), registry.generators(grid.trained, "small"))
    made = {f"{name}_x{ratio}" for name in ("dcgan_abundance", "mixture", "noisy_copies") for ratio in (4, 8)}
    controls = {"oversampled_x4", "oversampled_x8", "oversampled_x4@0.25", "oversampled_x8@0.25"}
    assert {arm.name for arm in plan.arms} == {"real", "real@0.5", "real@0.25", "classic"} | controls | made
    assert {arm: reference for arm, reference, _ in plan.contrasts if reference != "real"} == {
        name: f"oversampled_x{name[-1]}" for name in made
    }
    melanomas = _train_kinds(plan).count("melanoma")
    assert {job.counts["melanoma"] for job in plan.stage("synthetic")} == {8 * melanomas + SPARE}, (
        "smaller arms show a part of it"
    )
    assert len({job.experiment.training.images for job in plan.stage("cell")}) == 1, "every arm has the same steps"


def _train_kinds(plan):
    (selection,) = plan.selections.values()
    index = plan.store.index()
    kinds = dict(zip(index["lesion_id"].to_pylist(), index["diagnosis"].to_pylist(), strict=True))
    return [kinds[lesion] for lesion in selection.train]


def test_the_full_grid_has_the_seed_s_networks_from_scratch():
    grid = registry.ablation(NAME, "full")
    assert grid.models == ("alexnet", "vgg16", "resnet18")
    assert grid.ratios == (80.0, 160.0)
    for name in grid.models:
        learner = grid.classifiers[name].learner
        assert (learner.architecture, learner.weights) == (name, "scratch")


def test_the_seed_s_networks_fit_its_cubes():
    """AlexNet, VGG-16 and ResNet-18 on 16 bands of 64 px: one number a cube."""
    grid = registry.ablation(NAME, "full")
    for name in grid.models:
        built = build_classifier(name, grid.classifiers[name].learner.weights, 16).eval()
        with torch.no_grad():
            assert built(torch.zeros(2, 16, grid.size, grid.size)).numel() == 2
