"""Every experiment as its file declares it, with small networks on small cubes: it steps, scores, makes or judges cubes."""

from dataclasses import replace

import pytest
import torch

from hyperderm import registry
from hyperderm.config import Experiment
from hyperderm.learners.base import Compute
from hyperderm.learners.data import TrainData
from hyperderm.learners.scaling import Scaling
from hyperderm.learners.spec import UNMIXING
from hyperderm.training.resume import pack
from hyperderm.training.run import load_sampler
from hyperderm.training.stream import feed_of
from tests.learners.test_contract import colour_net, context, data, saved
from tests.learning import built
from tests.training.tiny import CPU

STEPS = {"batch_size": 4, "images": 8, "validate_every": 8, "validation_samples": 8, "precision": "fp32"}
WIDTH = 4
NEEDED = {"colour_unmixing": {"learner.unmixing": "net"}}
"""What an experiment cannot do without and its file cannot name: a run."""


def small(name: str) -> Experiment:
    """The small profile; of the learner nothing changes but the widths of its networks."""
    made = registry.experiment(name, "small")
    widths = {f"learner.{field}": WIDTH for field in type(made.learner).model_fields if field.endswith("_width")}
    return made.override(
        {"data.size": 16, **{f"training.{key}": value for key, value in STEPS.items()}, **widths, **NEEDED.get(name, {})}
    )


def chosen(made: Experiment) -> TrainData:
    """The cubes of the diagnoses that the experiment asks for."""
    held, asked = data(), made.data.diagnoses
    if UNMIXING in made.learner.needed:
        held = held.given({UNMIXING: colour_net(held)}, None)
    if made.task is not None or asked == "all":
        return made.learner.in_space(made, held)
    roles = [
        role.chosen([n for n, kind in enumerate(role.diagnoses) if kind in asked]) for role in (held.train, held.validation)
    ]
    chosen = replace(held, train=roles[0], validation=roles[1], scaling=Scaling.fit(roles[0].reflectance))
    return made.learner.in_space(made, chosen)


@pytest.mark.parametrize("name", registry.names("experiments"))
def test_every_experiment_steps_scores_and_serves(name):
    made = small(name)
    held = chosen(made)
    learner = built(made, held, Compute(CPU))
    if not made.learner.fit_once:
        batch = feed_of(made, held, context()).batch(0)
        assert batch.real.shape == (4, held.coordinates.channels, 16, 16)
        assert all(torch.isfinite(value).all() for value in learner.step(batch).values())
    found = learner.validate()
    assert all(torch.isfinite(torch.tensor(score)) for score in found.scores.values())
    assert made.learner.objective in found.scores
    if made.learner.role == "generator":
        assert found.cubes.shape == (8, 16, 16, 16)
        sampler = load_sampler(saved(pack(learner, made, held, context())))
        cubes = sampler.sample(made.seed, range(2), learner.condition(torch.arange(2)))
        assert (cubes.shape, cubes.dtype) == ((2, 16, 16, 16), torch.float32)
        assert torch.isfinite(cubes).all()
        assert not torch.equal(*cubes)
    if made.learner.role == "classifier":
        logits = learner.logits_of(held.validation.reflectance, held.validation.masks)
        assert (logits.shape, logits.dtype) == ((len(held.validation),), torch.float64)
        assert torch.isfinite(logits).all()
