"""R3GAN, which makes cubes from noise: small residual networks without normalisation (Huang et al., NeurIPS 2024)."""

from hyperderm.learners.r3gan.config import R3ganConfig

__all__ = ["R3ganConfig"]
