"""What is refused in the plan rather than after hours of training a generator."""

import json
import re

import pytest
import torch

from hyperderm.config import TrainingConfig
from hyperderm.errors import ConfigError
from hyperderm.grid_config import Model
from hyperderm.learners.classifier import ClassifierConfig
from hyperderm.studies.ablation.arms import arms as all_arms
from hyperderm.workflows.run_ablation import check_weights
from hyperderm.workflows.workspace import Workspace, configure_grid
from tests.studies.grids import generator, grid, plan, store


def refused(message: str, *args, **changes) -> None:
    with pytest.raises(ConfigError, match=message):
        plan(*args, **changes)


def test_photographs_that_are_cubes(real):
    refused("is a store of cubes, not of photographs", real, rgb=real.location.path)


def test_more_derived_cubes_than_sources_give(real):
    message = r"\d+ different cubes of melanoma cannot be made from \d+ train cubes in 8 orientations; .* --set rgb=URI"
    refused(message, real, ratios=[9.0])


@pytest.mark.parametrize("what", ["sets", "searches", "generator_settings"])
def test_settings_of_a_generator_that_is_not_there(real, what):
    values = {"generator_settings": {"fastgan": {"seed": 1}}}.get(what, {"fastgan": {"0": "x"}})
    refused(f"{what} names 'fastgan', which is not one of generators", real, **{what: values})


def test_a_fold_that_is_no_number(real):
    refused("sets names fold 'zero'", real, sets={"shsgan": {"zero": "x"}})


def test_pretraining_on_what_is_learnt_anyway_is_left_out(real):
    made = plan(real, arms=["synthetic", "both"])
    assert {arm for arm, _, _ in made.left_out} == {"shsgan_both_x1"}
    assert all("learns every class of the task anyway" in reason for _, _, reason in made.left_out)
    assert not any("both" in arm for arm, _, _ in made.contrasts)


def test_weights_that_are_not_here_are_refused_with_the_grid_that_runs_without_them(tmp_path, monkeypatch):
    """No network begins from scratch in place of what was asked for; the remedy is a setting that can be copied."""
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    steps = TrainingConfig(batch_size=8, images=64, validate_every=32)
    asked = grid(models=["spectral", "small_cnn"])
    lacking = {"resnet": {"architecture": "resnet18", "weights": "imagenet"}, "own": {"weights": str(tmp_path / "a.pt")}}
    models = {name: Model(learner=ClassifierConfig(**each), training=steps) for name, each in lacking.items()}
    classifiers = asked.classifiers | models

    def refusal(*names: str) -> ConfigError:
        with pytest.raises(ConfigError) as caught:
            check_weights(asked.model_copy(update={"classifiers": classifiers, "models": names}), 16)
        return caught.value

    error = refusal("spectral", "resnet", "small_cnn")
    assert error.what.startswith("model resnet: weights = 'imagenet': the file of resnet18 is not on this machine")
    assert "hf download timm/resnet18" in error.remedy
    assert error.remedy.endswith(
        """Without it: --set 'models=["spectral","small_cnn"]' (make: SET='models=["spectral","small_cnn"]')."""
    )
    both = refusal("resnet", "own", "small_cnn")
    left = re.search(r"Without resnet, own: --set 'models=(.*?)'", both.remedy)
    check_weights(asked.model_copy(update={"classifiers": classifiers, "models": tuple(json.loads(left[1]))}), 16)
    assert "Without" not in refusal("own").remedy, "nothing would be left"


def test_points_of_the_curve_that_are_the_same_lesions(real):
    """Nine melanomas, each a group of its own, are in train of fold 0."""
    refused(r"task.melanomas = 0.95 leaves out none of the 9 melanomas in train of fold 0", real, curve=[0.95])
    refused(
        r"curve = \[0.5, 0.47\]: 0.47 and 0.5 of the melanomas in train of fold 0 are the same 4 of 9",
        real,
        curve=[0.5, 0.47],
    )
    assert plan(real, curve=[0.5, 0.3])


def test_a_fold_whose_train_lacks_a_rare_diagnosis_has_its_generator_without_melanoma(tmp_path):
    """`task.negatives=all_others` takes every diagnosis of the store; of two nevi not every role has one."""
    held = store(tmp_path / "rare", {"melanoma": 15, "dysplastic_nevus": 25, "nevus": 2})
    asked = {"shsgan": generator(data__diagnoses=["melanoma"])}
    made = plan(held, asked, arms=["synthetic", "without_melanoma"], task__negatives="all_others")
    learnt = {job.fold: job.experiment.data.diagnoses for job in made.stage("generator") if "without" in job.label}
    assert {("dysplastic_nevus",)} <= set(learnt.values()) <= {("dysplastic_nevus",), ("dysplastic_nevus", "nevus")}
    whole = plan(held, {"shsgan": generator(data__diagnoses="all")}, arms=["proportional"], task__negatives="all_others")
    kinds = {row["lesion_id"]: row["diagnosis"] for row in held.index().to_pylist()}
    for job in whole.stage("synthetic"):
        assert set(job.counts) == {kinds[lesion] for lesion in whole.selections[job.fold].train}, (
            "it learns what train holds"
        )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ratios": [1.0000001, 1.0]}, r"ratios = \[1.0000001, 1.0\] names two that differ by less than"),
        ({"ratios": [1e308]}, r"a ratio is above 0 and at most 1000"),
        ({"seeds": [2**32]}, r"a seed is 0 to 4294967295"),
        ({"generator_seed": 2**32}, r"generator_seed = 4294967296"),
        ({"task__melanomas": 0.5}, r"task.melanomas = 0.5 is refused: a grid shows parts .* curve="),
        ({"name": "../../elsewhere"}, r"name = .* is refused: a name, which folders are called after"),
        ({"choose": "validation", "arms": ["real"], "generators": []}, "choose = validation .* nothing to choose among"),
        ({"choose": "validation", "arms": ["noisy_copies"]}, "choose = validation .* nothing to choose among"),
        ({"searches": {"shsgan": {"00": "x"}}}, "searches names fold '00'"),
        ({"searches": {"shsgan": {"7": "x"}}}, "searches of shsgan names fold 7. This store has folds 0 … 4"),
        ({"sets": {"shsgan": {"9": "x"}}}, "sets of shsgan names fold 9. This store has folds 0 … 4"),
        ({"generator_settings": {"shsgan": {"seed": 3}}}, "of shsgan names seed, .* Use generator_seed for it"),
        ({"generator_settings": {"shsgan": {"data.fold": 3}}}, "of shsgan names data.fold, .* Use folds for it"),
        ({"generator_settings": {"shsgan": {"data.size": 64}}}, "of shsgan names data.size, .* Use size for it"),
        ({"generator_settings": {"shsgan": {"learner.kind": "dcgan"}}}, "learner.kind, .* Use generators for it"),
        (
            {"arms": ["pretrain_head"], "models": ["spectral"]},
            r"arms = \['pretrain_head'\]: no synthetic arm has a meaning here, shsgan_pretrain_head because ",
        ),
        (
            {"generators": ["shsgan", "noisy_copies"], "sets": {"noisy_copies": {"0": "x"}}},
            "sets names 'noisy_copies', which is a negative control",
        ),
    ],
    ids=str,
)
def test_what_would_be_ignored_or_could_not_run(real, changes, said):
    refused(said, real, **changes)


def test_a_model_with_two_names(real):
    own = grid().classifiers
    twice = {name: each.model_dump(mode="json") for name, each in own.items()} | {"twin": own["spectral"].model_dump()}
    refused("spectral and twin are one model with two names", real, classifiers=twice, models=["spectral", "twin"])


@pytest.mark.parametrize(
    ("generators", "arms", "name"),
    [
        (["shsgan", "shsgan_random"], ["synthetic", "filtered"], "shsgan_random_x1"),
        (["oversampled"], ["synthetic"], "oversampled_x1"),
    ],
)
def test_two_arms_of_one_name(generators, arms, name):
    """The names of sets are the user's to give; none of two arms may vanish for it."""
    named = {each: {"0": "x"} for each in generators if each != "shsgan"}
    with pytest.raises(ConfigError, match=f"two arms are called {name}: .* Give the set or generator"):
        all_arms(grid(generators=generators, arms=arms, sets=named))


def test_the_profile_is_an_option():
    with pytest.raises(ConfigError, match=r"profile = full is no setting of a grid. Use --profile"):
        configure_grid(Workspace.here(), "synthetic_vs_real", "small", ["profile=full"])
