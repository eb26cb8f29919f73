"""The two terms of the VAE's loss, L1 + weight · KL (METHODS section 6), in plain form."""

from torch import Tensor


def kl_divergence(mu: Tensor, log_variance: Tensor) -> Tensor:
    """Return KL(N(μ, σ²) ‖ N(0, I)) as the mean over batch **and** latent dimensions, in nats per dimension.

    One dimension gives ½ (μ² + σ² − 1 − log σ²) (Kingma & Welling 2014, appendix B). There it is summed over the dimensions
    of a sample; the mean here is METHODS' "KL(mean)", so a weight of 1e-2 means 1e-2 / Z for that sum, Z dimensions.

    Args:
        mu: μ (N, Z).
        log_variance: log σ² (N, Z).

    Returns:
        A scalar of at least 0, which is 0 only for μ = 0 and σ = 1.
    """
    return 0.5 * (mu.square() + log_variance.exp() - 1 - log_variance).mean()


def l1_reconstruction(rebuilt: Tensor, cubes: Tensor) -> Tensor:
    """Return the mean absolute difference over batch, bands and pixels, in units of the scaled cubes (0 to 2).

    Args:
        rebuilt: (N, B, H, W) in [-1, 1].
        cubes: (N, B, H, W) in [-1, 1].

    Raises:
        ValueError: the shapes differ; broadcasting would compare one cube with several.
    """
    if rebuilt.shape != cubes.shape:
        raise ValueError(f"{tuple(rebuilt.shape)} is compared with {tuple(cubes.shape)}")
    return (rebuilt - cubes).abs().mean()
