"""Spectral norm: torch's own, in both memory formats, with its state; derivatives; autocast."""

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm as of_torch

from hyperderm.learners.spectral_norm import spectral_norm

LAYERS = {
    "conv": lambda: nn.Conv2d(6, 5, 3, bias=False),
    "1 px": lambda: nn.Conv2d(6, 5, 1, bias=False),
    "transposed": lambda: nn.ConvTranspose2d(6, 5, 4, bias=False),
}
FORMATS = {"default": torch.contiguous_format, "channels_last": torch.channels_last}


@pytest.fixture(autouse=True)
def _seeded():
    torch.random.default_generator.manual_seed(0)


@pytest.mark.parametrize("memory", FORMATS)
@pytest.mark.parametrize("layer", LAYERS)
def test_as_torch_does_it(layer, memory):
    """Weights, gradients and buffers over several passes; each loads the other's state."""
    ours, theirs = spectral_norm(LAYERS[layer]()).double(), of_torch(LAYERS[layer]()).double()
    theirs.load_state_dict(ours.state_dict())
    ours = ours.to(memory_format=FORMATS[memory])
    for _ in range(3):
        weight, expected = ours.weight, theirs.weight
        torch.testing.assert_close(weight, expected, rtol=1e-12, atol=1e-14)
        g = torch.randn_like(expected)
        for each, network in ((weight, ours), (expected, theirs)):
            network.zero_grad()
            each.backward(g)
        gradients = [network.parametrizations.weight.original.grad for network in (ours, theirs)]
        torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-12)
        assert gradients[0].is_contiguous(memory_format=FORMATS[memory])
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=1e-12, atol=1e-14)
    ours.eval(), theirs.eval()
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    torch.testing.assert_close(ours.weight, theirs.weight, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(ours.state_dict(), before, rtol=0, atol=0)


def test_the_largest_singular_value_becomes_one():
    layer = spectral_norm(nn.Conv2d(6, 5, 3, bias=False)).double()
    for _ in range(200):
        weight = layer.weight
    assert float(torch.linalg.matrix_norm(weight.detach().flatten(1), 2)) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("memory", FORMATS)
def test_derivatives(memory):
    """Against differences, where the singular vectors are constants, as in the paper."""
    norm = spectral_norm(nn.Conv2d(3, 2, 2, bias=False)).double().eval().parametrizations.weight[0]
    w = torch.randn(2, 3, 2, 2, dtype=torch.float64).to(memory_format=FORMATS[memory]).requires_grad_()
    assert torch.autograd.gradcheck(norm, (w,))


def test_a_penalty_on_the_gradient_of_the_input():
    """As R1 needs it, against torch's own spectral norm."""
    ours, theirs = spectral_norm(nn.Conv2d(3, 2, 2, bias=False)).double(), of_torch(nn.Conv2d(3, 2, 2, bias=False)).double()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, 5, 5, dtype=torch.float64, requires_grad=True)
    for layer in (ours, theirs):
        (gradient,) = torch.autograd.grad(layer(x).sigmoid().sum(), x, create_graph=True)
        gradient.square().sum().backward()
    torch.testing.assert_close(*(each.parametrizations.weight.original.grad for each in (ours, theirs)))


def test_two_passes_before_one_backward():
    """A discriminator sees real and made cubes before it learns: the second pass must not change what the first keeps."""
    layer = spectral_norm(nn.Conv2d(3, 2, 2, bias=False)).double()
    original = layer.parametrizations.weight.original
    first = layer.weight
    u, v = (layer.state_dict()[f"parametrizations.weight.0.{name}"].clone() for name in ("_u", "_v"))
    second = layer.weight
    first.sum().backward()
    sigma = torch.dot(u, original.flatten(1) @ v)
    expected = (1 - first.sum() * torch.outer(u, v).view_as(original)) / sigma
    torch.testing.assert_close(original.grad, expected.detach())
    assert not torch.equal(first, second)


def test_autocast_leaves_it_in_float():
    layer = spectral_norm(nn.Conv2d(3, 2, 2, bias=False))
    other = spectral_norm(nn.Conv2d(3, 2, 2, bias=False))
    other.load_state_dict(layer.state_dict())
    with torch.autocast("cpu", torch.bfloat16):
        inside = layer.weight
    assert torch.equal(inside, other.weight)
