"""Cubes between real ones, without a network: rivals that generators must beat, and controls that must not help."""

from hyperderm.learners.interpolation.config import InterpolationConfig

__all__ = ["InterpolationConfig"]
