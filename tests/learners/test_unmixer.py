"""The unmixing net: its terms by closed forms, its network by a second implementation, and what it may learn from."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hyperderm.config import DataConfig, Experiment, TrainingConfig
from hyperderm.cubes.pseudo_rgb import pseudo_rgb_matrix
from hyperderm.errors import ConfigError
from hyperderm.learners.base import Compute
from hyperderm.learners.data import CubeSet, TrainData
from hyperderm.learners.scaling import Scaling
from hyperderm.learners.unmixer import UnmixerConfig
from hyperderm.learners.unmixer.learner import START_DRAWS, Unmixer, _volume
from hyperderm.learners.unmixer.losses import angle, charbonnier, half_norm, total_variation
from hyperderm.learners.unmixer.networks import UnmixingNet
from hyperderm.training.checkpoint import CheckpointFolder
from hyperderm.training.context import Context
from hyperderm.training.stream import feed_of
from hyperderm.unmixing.methods import unmix
from hyperderm.unmixing.pixels import candidates
from tests.training.tiny import CPU

NM = tuple(np.linspace(450, 650, 8))
SPECTRA = np.array([np.linspace(0.2, 0.9, 8), np.linspace(0.8, 0.1, 8), [0.3, 0.3, 0.3, 0.9, 0.9, 0.3, 0.3, 0.3]])


def scene(seed: int = 0, size: int = 20) -> CubeSet:
    """One cube that is mixed of three spectra, with pure pixels among them."""
    mixed = np.random.default_rng(seed).dirichlet([0.4] * 3, (size, size)) @ SPECTRA
    cube = torch.from_numpy(mixed).permute(2, 0, 1)[None].float()
    return CubeSet(("scene",), ("unknown",), cube, torch.zeros(1, size, size, dtype=torch.bool))


def learner_of(cubes: CubeSet, held: torch.Tensor | None = None, **settings):
    size = cubes.reflectance.shape[-1]
    experiment = Experiment(
        name="scene",
        profile="small",
        data=DataConfig(size=size, diagnoses="all"),
        learner=UnmixerConfig(**{"endmembers": 3, "width": 8, "stages": 1, "lr": 1e-2} | settings),
        training=TrainingConfig(batch_size=1, images=8, validate_every=8, precision="fp32"),
    )
    data = TrainData(cubes, cubes, NM, Scaling.fit(cubes.reflectance), held_out=held)
    return experiment, data, Unmixer(experiment.learner, experiment, data, Compute(CPU))


def trained(cubes: CubeSet, steps: int, held: torch.Tensor | None = None, **settings) -> Unmixer:
    experiment, data, learner = learner_of(cubes, held, **settings)
    feed = feed_of(experiment, data, Context(CheckpointFolder(Path()), device=CPU))
    for step in range(steps):
        learner.step(feed.batch(step))
    return learner


def test_terms_by_closed_forms():
    real = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).T[None, :, :, None].double()  # (1, 2, 2, 1): two pixels
    mixed = torch.tensor([[1.0, 1.0], [0.0, 2.0]]).T[None, :, :, None].double()
    assert angle(mixed, real).flatten().tolist() == pytest.approx([math.pi / 4, 0], abs=1e-7)
    expected = [(1e-3 + math.sqrt(1 + 1e-6)) / 2] * 2
    assert charbonnier(mixed, real).flatten().tolist() == pytest.approx(expected)
    assert float(total_variation(torch.tensor([[0.0, 1.0, 3.0], [1.0, 1.0, 1.0]]))) == pytest.approx(3 / 4)
    assert float(total_variation(torch.ones(2, 1))) == 0
    even, one = torch.full((1, 4, 1, 1), 0.25), torch.tensor([1.0, 0, 0, 0]).reshape(1, 4, 1, 1)
    assert float(half_norm(even)) == pytest.approx(2, abs=1e-4)
    assert float(half_norm(one)) == pytest.approx(1, abs=1e-3)


def test_the_angle_has_a_finite_gradient_everywhere():
    mixed = torch.tensor([[[0.0, 1.0, 1.0]], [[0.0, 1.0, 2.0]]])[None].requires_grad_(True)  # zero, parallel, apart
    real = torch.tensor([[[1.0, 2.0, 1.0]], [[1.0, 2.0, 0.0]]])[None]
    angle(mixed, real).sum().backward()
    assert mixed.grad.isfinite().all()


def test_the_network_is_what_a_plain_implementation_computes():
    torch.manual_seed(0)
    seen = torch.rand(50, 3)
    net = UnmixingNet(3, torch.rand(2, 5), width=4, stages=1, seen=seen).double()
    x = torch.rand(1, 3, 4, 4, dtype=torch.float64)
    w = {name: value.detach().numpy() for name, value in net.state_dict().items()}

    def leaky(a):
        return np.where(a > 0, a, 0.1 * a)

    def point(a, name):
        return np.einsum("oc,chw->ohw", w[f"{name}.weight"][:, :, 0, 0], a) + w[f"{name}.bias"][:, None, None]

    centre, scale = seen.numpy().mean(0), seen.numpy().std(0, ddof=1)
    a = point((x[0].numpy() - centre[:, None, None]) / scale[:, None, None], "encode.0")
    s = np.pad(leaky(point(a, "encode.1.spectral")), ((0, 0), (1, 1), (1, 1)), mode="edge")
    spatial = np.zeros_like(a)
    for dy in range(3):
        for dx in range(3):
            spatial += w["encode.1.spatial.weight"][:, 0, dy, dx][:, None, None] * s[:, dy : dy + 4, dx : dx + 4]
    spatial += w["encode.1.spatial.bias"][:, None, None]
    a = a + point(leaky(spatial), "encode.1.mix")
    logits = point(leaky(a), "encode.3")
    expected = np.exp(logits) / np.exp(logits).sum(0)
    abundances, mixed = net(x)
    np.testing.assert_allclose(abundances[0].detach().numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(mixed[0].detach().numpy(), np.einsum("rhw,rb->bhw", expected, w["endmembers"]), atol=1e-6)
    assert (
        sum(p.numel() for p in net.parameters()) == (3 * 4 + 4) + (4 * 4 + 4) + (9 * 4 + 4) + (4 * 4 + 4) + (4 * 2 + 2) + 10
    )


def test_it_finds_the_spectra_that_a_scene_is_mixed_of():
    learner = trained(scene(), 150, sparsity_weight=0.01, lr_endmembers=1e-3)
    endmembers = learner.network.endmembers.detach().numpy()
    gaps = np.abs(endmembers[:, None] - SPECTRA[None]).max(2)
    assert gaps.min(0).max() < 0.1
    scores = learner.validate().scores
    assert scores["reconstruction_rmse"] < 0.3 * scores["rmse_of_mean_spectrum"]
    abundances = learner.abundances_of(scene().reflectance)
    assert abundances.sum(1).allclose(torch.ones(1, 20, 20), atol=1e-5)


def test_held_out_pixels_teach_nothing_and_are_all_that_is_scored():
    held = torch.zeros(1, 20, 20, dtype=torch.bool)
    held[:, 4:8, 4:8] = True
    one = scene()
    changed = replace(one, reflectance=torch.where(held[:, None], 0.5 * one.reflectance + 0.3, one.reflectance))
    a, b = (trained(each, 3, held) for each in (one, changed))
    for name, value in a.network.state_dict().items():
        assert torch.equal(value, b.network.state_dict()[name]), name
    outside = replace(one, reflectance=torch.where(held[:, None], one.reflectance, one.reflectance.flip(1)))
    pair = [a, trained(one, 3, held)]
    pair[1].data = replace(pair[1].data, validation=outside)
    assert pair[0].config.stages == 1  # a stage sees one neighbour, so the middle of the block is scored alike
    inner = torch.zeros_like(held)
    inner[:, 5:7, 5:7] = True
    for each in pair:
        each.data = replace(each.data, held_out=inner)
    assert pair[0].validate().scores == pytest.approx(pair[1].validate().scores, rel=1e-6)


def test_colours_are_all_that_the_network_of_colours_sees():
    learner = trained(scene(), 2, bands="rgb")
    matrix = torch.from_numpy(pseudo_rgb_matrix(NM)).float()
    null = torch.linalg.svd(matrix).Vh[-1]  # changes no colour
    cubes = scene().reflectance
    other = cubes + 0.05 * null[None, :, None, None]
    torch.testing.assert_close(learner.abundances_of(cubes), learner.abundances_of(other), atol=1e-4, rtol=0)
    assert not learner.abundances_of(cubes).allclose(learner.abundances_of(1.5 * cubes), atol=1e-3)


def test_endmembers_stay_non_negative_and_may_be_kept():
    kept = trained(scene(), 3, lr_endmembers=0.0)
    start = learner_of(scene(), lr_endmembers=0.0)[2].network.endmembers
    assert torch.equal(kept.network.endmembers, start)
    pushed = trained(scene(), 20, lr_endmembers=0.5)
    assert float(pushed.network.endmembers.detach().min()) >= 0


def test_black_pixels_have_no_direction_and_teach_nothing():
    one = scene()
    cubes = one.reflectance.clone()
    cubes[:, :, 3, 3] = 0
    learner = trained(replace(one, reflectance=cubes), 3, unit_length=True)
    assert all(value.isfinite().all() for value in learner.network.state_dict().values())
    assert np.isfinite(list(learner.validate().scores.values())).all()


def test_the_start_is_the_largest_of_several_draws_of_vca():
    learner = learner_of(scene())[2]
    pixels = candidates(scene().reflectance[0].flatten(1).T.double().numpy())
    volumes = [_volume(unmix(pixels, "vca", 3, seed).endmembers) for seed in range(START_DRAWS)]
    start = learner.network.endmembers.detach().numpy()
    assert _volume(start) == pytest.approx(max(volumes), abs=1e-3)
    assert max(volumes) > min(volumes)
    edges = np.array([[0.0, 0, 0], [3, 0, 0], [0, 2, 0]])
    assert _volume(edges) == pytest.approx(math.log(36))


def test_a_scene_of_black_pixels_alone():
    one = scene()
    with pytest.raises(ConfigError, match="no pixel reflects anything"):
        learner_of(replace(one, reflectance=0 * one.reflectance))


def test_more_endmembers_than_the_pixels_span():
    with pytest.raises(ConfigError, match="vary in 2 independent directions"):
        learner_of(scene(), endmembers=5)
