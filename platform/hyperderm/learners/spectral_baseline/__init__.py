"""The baseline without a network: scikit-learn on per-lesion spectral statistics."""

from hyperderm.learners.spectral_baseline.config import SpectralConfig

__all__ = ["SpectralConfig"]
