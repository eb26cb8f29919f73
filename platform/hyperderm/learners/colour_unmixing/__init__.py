"""Cubes from colours by an unmixing net alone, without a generator network."""

from hyperderm.learners.colour_unmixing.config import ColourUnmixingConfig

__all__ = ["ColourUnmixingConfig"]
