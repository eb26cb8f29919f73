"""Penalties of critics whose gradients are known, and LeCam after k updates, against closed forms."""

import copy
import io

import pytest
import torch
from torch import Tensor, nn

from hyperderm.learners.penalties import LeCam, gradient_penalty, zero_centred_penalty


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Quadratic(nn.Module):
    """D(x) = ½ xᵀ A x + wᵀ x over the flattened cube, whose gradient is (A + Aᵀ) x / 2 + w."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.a, self.w = nn.Parameter(draws(features, features, seed=1) / 5), nn.Parameter(draws(features, seed=2))

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        return torch.einsum("ni,ij,nj->n", x, self.a, x) / 2 + x @ self.w

    def gradient(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ (self.a + self.a.T) / 2 + self.w


@pytest.fixture(name="x")
def cubes():
    return draws(5, 3, 4, 2)


def linear(w: Tensor):
    return lambda x: (x * w).sum((1, 2, 3))


def test_penalties_of_a_linear_critic_are_those_of_the_flattened_weight(x):
    w = draws(3, 4, 2, seed=3).requires_grad_()
    penalty, norm = gradient_penalty(linear(w), x.clone())
    torch.testing.assert_close(norm, w.norm())
    torch.testing.assert_close(penalty, (w.norm() - 1) ** 2)
    (slope,) = torch.autograd.grad(penalty, w)  # d/dw (‖w‖ − 1)² = 2 (‖w‖ − 1) w / ‖w‖
    torch.testing.assert_close(slope, 2 * (w.norm() - 1) * w / w.norm())
    penalty = zero_centred_penalty(linear(w), x)
    torch.testing.assert_close(penalty, w.square().sum())
    (slope,) = torch.autograd.grad(penalty, w)  # d/dw ‖w‖² = 2 w
    torch.testing.assert_close(slope, 2 * w)


def test_penalties_of_a_quadratic_critic_average_over_samples(x):
    d = Quadratic(24)
    squares = d.gradient(x).square().sum(1)
    assert squares.max() > 1.5 * squares.min()
    torch.testing.assert_close(gradient_penalty(d, x.clone())[0], (squares.sqrt() - 1).square().mean())
    penalty = zero_centred_penalty(d, x)
    torch.testing.assert_close(penalty, squares.mean())
    for got, expected in zip(*(torch.autograd.grad(each, (d.a, d.w)) for each in (penalty, squares.mean())), strict=True):
        torch.testing.assert_close(got, expected)
    halves = [zero_centred_penalty(d, each) for each in (x[:2], x[2:4])]
    torch.testing.assert_close(sum(halves) / 2, zero_centred_penalty(d, x[:4]))


def test_a_critic_of_patches_is_penalised_for_the_slope_of_its_mean(x):
    d = Quadratic(24)
    shares = torch.tensor([0.5, 1.0, 1.5], dtype=torch.float64)
    torch.testing.assert_close(zero_centred_penalty(lambda x: d(x)[:, None] * shares, x), zero_centred_penalty(d, x))
    torch.testing.assert_close(zero_centred_penalty(lambda x: d(x)[:, None], x), zero_centred_penalty(d, x))


def test_classes_reach_the_critic(x):
    factors, y = torch.tensor([1.0, 3.0], dtype=torch.float64), torch.tensor([0, 1, 1, 0, 0])
    penalty = zero_centred_penalty(lambda x, y: factors[y] * x.sum((1, 2, 3)), x, (y,))
    assert float(penalty) == pytest.approx(24 * (3 * 1 + 2 * 9) / 5)


def test_the_cubes_of_the_caller_stay_as_they_are(x):
    """Real cubes may be views of the stored ones; generated ones may be part of a graph, which R2 must not follow."""
    before, w = x.clone(), draws(3, 4, 2, seed=3).requires_grad_()
    zero_centred_penalty(linear(w), x).backward()
    assert torch.equal(x, before)
    assert (x.requires_grad, x.grad) == (False, None)
    z = draws(5, 1, 1, 1).requires_grad_()
    zero_centred_penalty(Quadratic(24), z * x).backward()
    assert z.grad is None


# --- LeCam


def test_lecam_after_k_updates_is_the_bias_corrected_average():
    lecam = LeCam(decay=0.9).double()
    steps = [(draws(6, seed=2 * k), draws(6, seed=2 * k + 1) - 1) for k in range(7)]
    for real, fake in steps:
        lecam.update(real, fake)
    weights = torch.tensor([0.9 ** (7 - k) for k in range(1, 8)], dtype=torch.float64)
    for got, side in ((lecam.real, 0), (lecam.fake, 1)):
        means = torch.stack([each[side].mean() for each in steps])
        torch.testing.assert_close(got, (weights * means).sum() / weights.sum())
    assert int(lecam.updates) == 7


def test_lecam_draws_scores_to_the_average_of_the_other_side():
    lecam = LeCam().double()
    lecam.update(torch.tensor([1.0, 3.0]), torch.tensor([-1.0, 0.0]))
    assert (lecam.real.item(), lecam.fake.item()) == pytest.approx((2, -0.5))  # the first update takes over its means
    real = torch.tensor([0.5, 1.5], dtype=torch.float64, requires_grad=True)
    fake = torch.tensor([1.0, 0.0], dtype=torch.float64, requires_grad=True)
    penalty = lecam(real, fake)
    assert penalty.item() == pytest.approx((1 + 4) / 2 + (1 + 4) / 2)
    to_real, to_fake = torch.autograd.grad(penalty, (real, fake))  # 2 (D(x) − α_F) / n, 2 (D(G(z)) − α_R) / n
    torch.testing.assert_close(to_real, real.detach() + 0.5)
    torch.testing.assert_close(to_fake, fake.detach() - 2)
    patches = lecam(real[:, None].expand(2, 9), fake[:, None].expand(2, 9))
    torch.testing.assert_close(patches, penalty)


def test_lecam_forgets_at_its_decay_and_keeps_no_graph():
    lecam = LeCam(decay=0.99)
    for _ in range(1000):
        lecam.update(torch.ones(2, requires_grad=True), torch.zeros(2))
    for _ in range(69):  # 0.99^69 ≈ ½
        lecam.update(torch.zeros(2), torch.zeros(2))
    assert lecam.real.item() == pytest.approx(0.99**69, rel=1e-3)
    assert not lecam.real.requires_grad


def test_lecam_goes_on_from_its_state_bit_for_bit():
    lecam = LeCam()
    for k in range(3):
        lecam.update(draws(4, seed=k), draws(4, seed=k + 50))
    saved = io.BytesIO()
    torch.save(lecam.state_dict(), saved)
    saved.seek(0)
    restored, live = LeCam(), copy.deepcopy(lecam)
    restored.load_state_dict(torch.load(saved))
    for each in (live, restored):
        each.update(draws(4, seed=9), draws(4, seed=59))
    assert live.state_dict().keys() == {"real", "fake", "updates"}
    assert all(torch.equal(value, restored.state_dict()[name]) for name, value in live.state_dict().items())
    assert not torch.equal(live.real, lecam.real)


def test_lecam_takes_the_mean_over_the_workers():
    """The function stands in for an all-reduce; `tests.training.test_ddp` does it with two processes."""
    lecam = LeCam(mean=lambda x: x + torch.tensor([1.0, -1.0]))
    lecam.update(torch.tensor([2.0]), torch.tensor([0.0]))
    assert (lecam.real.item(), lecam.fake.item()) == (3, -1)
