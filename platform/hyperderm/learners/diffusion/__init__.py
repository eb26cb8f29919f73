"""A diffusion generator of cubes or abundances: EDM, rectified flow or DDPM (METHODS section 7)."""

from hyperderm.learners.diffusion.config import DiffusionConfig

__all__ = ["DiffusionConfig"]
