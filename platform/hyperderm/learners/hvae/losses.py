"""The divergence between posterior and prior of a latent map, in plain form."""

from torch import Tensor


def gaussian_kl(mu_q: Tensor, log_sigma_q: Tensor, mu_p: Tensor, log_sigma_p: Tensor) -> Tensor:
    """Return KL(N(μq, σq²) ‖ N(μp, σp²)) of every number, in nats: log(σp/σq) + (σq² + (μq − μp)²) / (2 σp²) − ½.

    Args:
        mu_q: mean of the posterior, of any shape.
        log_sigma_q: log of its standard deviation, same shape.
        mu_p: mean of the prior, same shape.
        log_sigma_p: log of its standard deviation, same shape.

    Returns:
        A tensor of this shape, at least 0 up to rounding, and 0 where both are equal.
    """
    ratio = log_sigma_q - log_sigma_p
    distance = (mu_q - mu_p) * (-log_sigma_p).exp()
    return 0.5 * ((2 * ratio).exp() + distance.square() - 1) - ratio
