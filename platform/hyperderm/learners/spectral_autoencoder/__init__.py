"""The spectral autoencoder: the spectrum of a pixel as a few numbers, and back."""

from hyperderm.learners.spectral_autoencoder.config import AutoencoderConfig

__all__ = ["AutoencoderConfig"]
