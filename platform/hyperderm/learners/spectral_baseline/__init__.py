"""The baseline without a network: scikit-learn on spectral statistics of each lesion."""

from hyperderm.learners.spectral_baseline.config import SpectralConfig

__all__ = ["SpectralConfig"]
