"""The losses of critics and generators as functions of scores alone. Scores are (N,), or (N, L) for a critic of patches.

Every loss is a mean over samples and patches, so that the mean over the workers' shares is the loss of the whole batch.
"""

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from torch.nn.functional import relu, softplus

from hyperderm.learners.adversarial_settings import Loss


def critic_loss(
    loss: Loss, on_real: Tensor, on_fake: Tensor, real_label: float = 1.0, margins: Tensor | None = None
) -> Tensor:
    """Return the loss that the critic minimises, without penalties.

    Args:
        loss: name of the loss, see `AdversarialConfig`.
        on_real: (N,) or (N, L) scores D of real cubes.
        on_fake: scores D of generated cubes, of the same shape.
        real_label: label of real cubes for the loss `bce`.
        margins: (2, N) or (2, N, L) margins of the loss `hinge`, first those of real cubes, then those of generated ones;
            None means 1. FastGAN draws them from U(0.8, 1), see `jittered`.

    Raises:
        ValueError: there are margins, but the loss has none, or their shape is another one; the loss compares pairs, and
            the scores have different shapes.
    """
    if margins is not None and (loss != "hinge" or margins.shape != (2, *on_real.shape) or on_real.shape != on_fake.shape):
        raise ValueError(
            f"margins {tuple(margins.shape)} of the loss {loss} for scores {tuple(on_real.shape)} of real and "
            f"{tuple(on_fake.shape)} of generated cubes: only the hinge has margins, one for each score"
        )
    if loss == "bce":
        said = torch.full_like(on_real, real_label)
        return (bce(on_real, said) + bce(on_fake, torch.zeros_like(on_fake))) / 2
    if loss == "hinge":
        at_real, at_fake = (1, 1) if margins is None else margins
        return relu(at_real - on_real).mean() + relu(at_fake + on_fake).mean()
    if loss == "relativistic":
        return softplus(_gap(on_fake, on_real)).mean()
    return on_fake.mean() - on_real.mean()


def generator_loss(loss: Loss, on_fake: Tensor, on_real: Tensor | None = None) -> Tensor:
    """Return the loss that the generator minimises.

    Args:
        loss: name of the loss, see `AdversarialConfig`.
        on_fake: (N,) or (N, L) scores D of generated cubes.
        on_real: scores D of real cubes, of the same shape. Only the loss `relativistic` uses them.

    Raises:
        ValueError: the loss is `relativistic`, and scores of real cubes are missing or have another shape.
    """
    if loss == "relativistic":
        if on_real is None:
            raise ValueError("the generator's relativistic loss compares pairs: it needs the scores of real cubes too")
        return softplus(_gap(on_real, on_fake)).mean()
    return bce(on_fake, torch.ones_like(on_fake)) if loss == "bce" else -on_fake.mean()


def jittered(draws: Tensor) -> Tensor:
    """Return margins in [0.8, 1) of the hinge loss (FastGAN, Liu et al. 2021).

    Args:
        draws: (N, 2) or (N, 2, L) numbers in [0, 1), row by row, as `randomness.rows` draws them.

    Returns:
        (2, N) or (2, N, L), see `critic_loss`.
    """
    return (0.8 + 0.2 * draws).movedim(1, 0)


def _gap(lower: Tensor, upper: Tensor) -> Tensor:
    """Return lower − upper, pair by pair: scores of other shapes would be compared with wrong partners."""
    if lower.shape != upper.shape:
        raise ValueError(f"pairs of scores {tuple(lower.shape)} and {tuple(upper.shape)}: they need equal shapes")
    return lower - upper
