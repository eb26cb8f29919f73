"""The settings of the augmentation of spectra. This module does not import torch."""

from pydantic import Field

from hyperderm.strict import Strict


class SpectralAugmentationConfig(Strict):
    """How often and how strongly `learners.cube_augmentation` changes spectra; that module explains the physics."""

    probability: float = Field(0.5, ge=0, le=1)
    """Probability of each kind of change; every kind is drawn independently."""
    exposure: float = Field(0.5, ge=0, lt=1)
    """Largest deviation from 1 of one gain for all bands. The default 0.5 gives a standard deviation of 0.29. The calibrated
    phantom attributes that much of the 30-55 % difference between real images to exposure."""
    tilt: float = Field(0.1, ge=0, lt=1)
    """Largest deviation from 1, at the ends of the range, of a gain that is linear in wavelength. The default 0.1 is the
    effect of a change of 210 K on a halogen lamp of 3000 K over 465-630 nm (Planck)."""
    band_gain: float = Field(0.03, ge=0, lt=1)
    """Largest deviation from 1 of a separate gain for each band. The default is an assumption, not a measurement."""
    shot_noise: float = Field(0.02, ge=0, le=1)
    """Noise of a camera pixel, relative to the square root of the reflectance. The default is that of the phantom."""
    read_noise: float = Field(0.006, ge=0, le=1)
    """Noise of a dark pixel, in reflectance. The default is that of the phantom."""
    dropped_bands: int = Field(1, ge=0, le=8)
    """Number of bands that are lost together in one cube."""
