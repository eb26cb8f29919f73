"""Synthetic first, then real by the head alone: what moves and what stays."""

from dataclasses import replace

import pytest
import torch

from hyperderm.learners.classifier.architectures import ends
from hyperderm.training.context import local
from tests.cluster.sweeps import classifier
from tests.learning import built
from tests.training.tiny import cube_set, tiny_data

FIRST, BATCH = 8, 4


@pytest.mark.parametrize("architecture", ["small_cnn", "resnet18"])
def test_features_stay_and_the_head_moves(tmp_path, architecture):
    """Through the learner's own steps; resnet18 has batch norm, whose statistics stay too."""
    size = 32
    run = classifier(
        training__images=24, training__pretrain_images=FIRST, training__batch_size=BATCH, data__size=size,
        learner__architecture=architecture, synthetic__store="x", synthetic__use="pretrain_head",
    )  # fmt: skip
    held = cube_set(torch.rand(12, 16, size, size))
    held = replace(held, diagnoses=("melanoma",) * 4 + ("dysplastic_nevus",) * 8)
    data = replace(tiny_data(), train=held, validation=held, extra=held)
    context = local(tmp_path)
    learner = built(run, data, context.compute("fp32"))
    from hyperderm.training.stream import feed_of

    feed = feed_of(run, data, context)
    states = []
    for images in range(0, 24, BATCH):
        learner.step(feed.batch(images))
        states.append({name: value.clone() for name, value in learner.network.state_dict().items()})
    first, last = states[FIRST // BATCH - 1], states[-1]
    moved = {name for name in first if not torch.equal(first[name], last[name])}
    head = ends(architecture).head
    assert moved == {f"{head}.weight", f"{head}.bias"}
    assert not all(torch.equal(states[0][name], first[name]) for name in first if not name.startswith(head))
