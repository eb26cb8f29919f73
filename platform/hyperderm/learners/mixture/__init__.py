"""A Gaussian mixture of whole cubes: the classical rival of the generators (seed 004)."""

from hyperderm.learners.mixture.config import MixtureConfig

__all__ = ["MixtureConfig"]
