"""RS-IMLE (Vashist et al. 2024), which makes cubes from noise without a critic: each real cube pulls its nearest sample."""

from hyperderm.learners.imle.config import ImleConfig

__all__ = ["ImleConfig"]
