"""Classification losses on one logit, melanoma = 1, as per-sample terms; the learner takes the mean over the batch."""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from hyperderm.errors import ConfigError


def cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Return −w log p_y for every sample.

    Args:
        logits: (n,) logits of melanoma.
        labels: (n,) labels, 1 for melanoma, 0 for other lesions.
        weights: (n,) weight of every sample, e.g. that of its class (`class_weights`); ones for no weighting.

    Returns:
        (n,), finite with finite gradients for any finite logit.
    """
    return -weights * logsigmoid(_towards(logits, labels))


def focal(logits: Tensor, labels: Tensor, weights: Tensor, gamma: float = 2.0) -> Tensor:
    """Return −w (1 − p_y)^γ log p_y for every sample (Lin et al. 2017, eq. 5, with w in place of α).

    1 − p_y is computed in logarithms, as the sigmoid of the negated logit: a subtraction would lose all digits for p_y near
    1, such as 1 − 1e-8.

    Args:
        logits: (n,) logits of melanoma.
        labels: (n,) labels, 1 for melanoma, 0 for other lesions.
        weights: (n,) weight of every sample.
        gamma: γ; 0 gives `cross_entropy`.

    Returns:
        (n,), finite with finite gradients for any finite logit.
    """
    z = _towards(logits, labels)
    return -weights * torch.exp(gamma * logsigmoid(-z)) * logsigmoid(z)


def class_weights(labels: Tensor) -> tuple[float, float]:
    """Return (w_0, w_1) with w_c = n / (2 n_c), so that the mean weight over the labels (n,) is one.

    Raises:
        ConfigError: there is a class without cases.
    """
    n, melanomas = labels.numel(), int((labels == 1).sum())
    for count, name in ((melanomas, "a melanoma"), (n - melanomas, "a negative")):
        if count == 0:
            raise ConfigError(
                f"class weights of {n} train cases of which none is {name}",
                "Choose a fold, a store or task.negatives with cases of both classes in the train role.",
            )
    return n / (2 * (n - melanomas)), n / (2 * melanomas)


def _towards(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the logit of the true class, (n,)."""
    return torch.where(labels == 1, logits, -logits)
