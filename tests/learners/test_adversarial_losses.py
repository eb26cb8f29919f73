"""Losses of critics and generators against closed forms: values, gradients at given scores, shapes that do not fit."""

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

from hyperderm.learners import randomness
from hyperderm.learners.adversarial_losses import critic_loss, generator_loss, jittered

REAL, FAKE = torch.tensor([0.5, 2.0]), torch.tensor([-0.25, 0.75])
LOSSES = ("wgan_gp", "wgan_clip", "hinge", "bce", "relativistic")


def scores(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2


def test_losses_are_those_of_the_papers():
    real, fake = REAL, FAKE
    assert critic_loss("hinge", real, fake) == pytest.approx((0.5 + 0) / 2 + (0.75 + 1.75) / 2)
    assert critic_loss("wgan_gp", real, fake) == pytest.approx(0.25 - 1.25)
    expected = (softplus(-real).mean() + softplus(fake).mean()) / 2
    assert float(critic_loss("bce", real, fake)) == pytest.approx(float(expected))
    smoothed = (0.9 * softplus(-real) + 0.1 * softplus(real)).mean()
    assert float(critic_loss("bce", real, fake, 0.9)) == pytest.approx(float((smoothed + softplus(fake).mean()) / 2))
    assert float(generator_loss("bce", fake)) == pytest.approx(float(softplus(-fake).mean()))
    assert float(generator_loss("hinge", fake)) == pytest.approx(-0.25)


def test_the_bits_of_the_losses_that_runs_were_trained_with():
    real, fake = scores(64).float(), scores(64, seed=1).float()
    bce, one, none = binary_cross_entropy_with_logits, torch.ones(64), torch.zeros(64)
    assert torch.equal(critic_loss("bce", real, fake, 0.9), (bce(real, 0.9 * one) + bce(fake, none)) / 2)
    assert torch.equal(critic_loss("hinge", real, fake), torch.relu(1 - real).mean() + torch.relu(1 + fake).mean())
    assert torch.equal(generator_loss("bce", fake), bce(fake, one))
    for loss in ("wgan_gp", "wgan_clip"):
        assert torch.equal(critic_loss(loss, real, fake), fake.mean() - real.mean())
        assert torch.equal(generator_loss(loss, fake), -fake.mean())


# --- hinge with margins


def test_margins_move_each_hinge():
    margins = torch.tensor([[0.8, 0.9], [0.85, 0.95]])
    got = critic_loss("hinge", REAL, FAKE, margins=margins)
    assert float(got) == pytest.approx((0.3 + 0) / 2 + (0.6 + 1.7) / 2)
    assert torch.equal(critic_loss("hinge", REAL, FAKE, margins=torch.ones(2, 2)), critic_loss("hinge", REAL, FAKE))


def test_a_score_beyond_its_margin_has_no_gradient():
    real = torch.tensor([0.85, 0.85], requires_grad=True)
    fake = torch.tensor([-0.85, -0.85], requires_grad=True)
    critic_loss("hinge", real, fake, margins=torch.tensor([[0.8, 0.9], [0.9, 0.8]])).backward()
    assert real.grad.tolist() == [0, -0.5]
    assert fake.grad.tolist() == [0.5, 0]


def test_drawn_margins_are_uniform_and_the_same_for_shares_of_the_batch():
    def drawn(count, share, *patches):
        return jittered(randomness.rows(3, "margins", 16, count, (2, *patches), share))

    whole = drawn(4000, slice(0, 4000))
    assert whole.shape == (2, 4000)
    assert 0.8 <= whole.min() < 0.8005
    assert 0.9995 < whole.max() < 1
    assert whole.mean().item() == pytest.approx(0.9, abs=0.003)
    assert torch.equal(torch.cat([drawn(4000, slice(0, 1000)), drawn(4000, slice(1000, 4000))], 1), whole)
    patches = drawn(6, slice(2, 5), 50)
    assert patches.shape == (2, 3, 50)
    critic_loss("hinge", scores(3, 50), scores(3, 50), margins=patches)


# --- relativistic


def test_relativistic_losses_compare_pairs():
    expected = (softplus(torch.tensor(-0.75)) + softplus(torch.tensor(-1.25))) / 2
    assert float(critic_loss("relativistic", REAL, FAKE)) == pytest.approx(float(expected))
    expected = (softplus(torch.tensor(0.75)) + softplus(torch.tensor(1.25))) / 2
    assert float(generator_loss("relativistic", FAKE, REAL)) == pytest.approx(float(expected))


def test_relativistic_is_symmetric_and_knows_no_offset():
    real, fake = scores(32), scores(32, seed=1)
    assert torch.equal(critic_loss("relativistic", real, fake), generator_loss("relativistic", real, fake))
    for loss in (critic_loss, generator_loss):
        torch.testing.assert_close(loss("relativistic", real + 5, fake + 5), loss("relativistic", real, fake))
    swapped = critic_loss("relativistic", real, fake[torch.arange(31, -1, -1)])
    assert abs(float(swapped - critic_loss("relativistic", real, fake))) > 1e-3  # other pairs, another loss


def test_relativistic_gradients_are_those_of_softplus():
    """d/dD(x) softplus(D(G(z)) − D(x)) = −σ(D(G(z)) − D(x)); the generator's is σ of the negative, and both move."""
    real, fake = scores(8).requires_grad_(), scores(8, seed=1).requires_grad_()
    wrong = torch.sigmoid(fake - real).detach() / 8
    to_real, to_fake = torch.autograd.grad(critic_loss("relativistic", real, fake), (real, fake))
    torch.testing.assert_close(to_real, -wrong)
    torch.testing.assert_close(to_fake, wrong)
    (to_fake,) = torch.autograd.grad(generator_loss("relativistic", fake, real), fake)
    torch.testing.assert_close(to_fake, -(1 / 8 - wrong))


# --- all of them


@pytest.mark.parametrize("loss", LOSSES)
def test_patches_are_averaged_like_samples_and_shares_like_the_batch(loss):
    real, fake = scores(6, 5), scores(6, 5, seed=1)
    for each in (lambda r, f: critic_loss(loss, r, f), lambda r, f: generator_loss(loss, f, r)):
        whole = each(real, fake)
        assert whole.shape == ()
        torch.testing.assert_close(each(real.flatten(), fake.flatten()), whole)
        torch.testing.assert_close((each(real[:3], fake[:3]) + each(real[3:], fake[3:])) / 2, whole)


@pytest.mark.parametrize("loss", LOSSES)
def test_descent_parts_the_scores_for_the_critic_and_joins_them_for_the_generator(loss):
    real, fake = torch.full((4,), 0.1, requires_grad=True), torch.full((4,), -0.1, requires_grad=True)
    to_real, to_fake = torch.autograd.grad(critic_loss(loss, real, fake), (real, fake))
    assert (to_real < 0).all()
    assert (to_fake > 0).all()
    (to_fake,) = torch.autograd.grad(generator_loss(loss, fake, real), fake)
    assert (to_fake < 0).all()


@pytest.mark.parametrize("loss", ["bce", "wgan_gp", "relativistic"])
def test_margins_are_the_hinge_s_alone(loss):
    with pytest.raises(ValueError, match=f"of the loss {loss} .* only the hinge has margins"):
        critic_loss(loss, REAL, FAKE, margins=torch.ones(2, 2))


@pytest.mark.parametrize("shape", [(2,), (2, 1), (1, 2), (2, 2, 1)])
def test_margins_that_would_be_broadcast_are_refused(shape):
    with pytest.raises(ValueError, match="one for each score"):
        critic_loss("hinge", REAL, FAKE, margins=torch.ones(shape))


def test_pairs_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="needs the scores of real cubes too"):
        generator_loss("relativistic", FAKE)
    for other in (REAL[:1], REAL[:, None]):
        with pytest.raises(ValueError, match="they need equal shapes"):
            generator_loss("relativistic", FAKE, other)
        with pytest.raises(ValueError, match="they need equal shapes"):
            critic_loss("relativistic", other, FAKE)
