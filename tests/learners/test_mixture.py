"""The Gaussian mixture: its draws have train's moments, classes stay apart, and what has no effect is refused."""

from dataclasses import replace

import pytest
import torch

from hyperderm.config import DataConfig, Experiment, TrainingConfig
from hyperderm.errors import ConfigError, StudyError
from hyperderm.learners.base import Compute
from hyperderm.learners.mixture import MixtureConfig
from hyperderm.training.resume import pack
from hyperderm.training.run import load_sampler
from tests.learners.test_contract import context, data, saved
from tests.learning import built
from tests.training.tiny import CPU


def experiment(**learner) -> Experiment:
    return Experiment(
        name="tiny",
        profile="small",
        data=DataConfig(size=16, diagnoses="all"),
        learner=MixtureConfig(**{"components": 2, "dimensions": 8} | learner),
        training=TrainingConfig(batch_size=4, images=8, validate_every=8, validation_samples=8),
    )


def test_draws_of_one_gaussian_have_train_s_mean_and_variances():
    made, held = experiment(components=1), data()
    learner = built(made, held, Compute(CPU))
    cubes = learner.sample(0, range(600), None)
    train = held.train.reflectance
    flipped = torch.cat([train, train.flip(-1), train.flip(-2), train.flip(-1, -2)])
    spread = float(flipped.std(0).mean())
    assert float((cubes.mean(0) - flipped.mean(0)).abs().max()) < 0.25 * spread
    assert float(cubes.var(0).sum() / flipped.var(0).sum()) == pytest.approx(1.0, abs=0.15)


def test_a_diagnosis_has_a_mixture_of_its_own():
    """Melanomas of these cubes are darker than nevi."""
    made, held = experiment(conditioning="class"), data()
    learner = built(made, held, Compute(CPU))
    dark, bright = (float(learner.sample(1, range(40), torch.full((40,), kind)).mean()) for kind in (0, 1))
    real = held.train.reflectance.mean((1, 2, 3))
    for found, name in ((dark, "melanoma"), (bright, "nevus")):
        rows = [row for row, own in enumerate(held.train.diagnoses) if own == name]
        assert found == pytest.approx(float(real[rows].mean()), rel=0.06)
    assert dark < 0.8 * bright


def test_truncated_draws_vary_less():
    learner = built(experiment(components=1), data(), Compute(CPU))
    sampler = learner.sampler()
    free = sampler.sample(0, range(60), None).var(0).sum()
    sampler.drawing = replace(sampler.drawing, truncation=0.5)
    assert float(sampler.sample(0, range(60), None).var(0).sum() / free) < 0.3


def test_a_checkpoint_of_other_classes_is_refused():
    made, held = experiment(conditioning="class"), data()
    state = saved(pack(built(made, held, Compute(CPU)), made, held, context()))
    state["learner"]["classes"] = []
    with pytest.raises(StudyError, match="its generator was told no diagnosis"):
        load_sampler(state)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"training.objective": "held_out/spectral/coverage"}, "mixture is refused: it is fitted at once"),
        ({"sweep.objective": "held_out/spectral/coverage"}, "mixture is fitted at once, and its only score"),
        ({"data.photographs": "rgb", "learner.space": "abundance", "learner.unmixing": "net"}, "mixture is refused"),
        ({"learner.components": 0}, "learner.components = 0 is refused"),
        ({"learner.dimensions": 0}, "learner.dimensions = 0 is refused"),
    ],
)
def test_settings_without_effect_are_refused(change, told):
    with pytest.raises(ConfigError, match=told):
        experiment().override(change)
