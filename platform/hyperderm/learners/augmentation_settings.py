"""The knobs of the augmentation of spectra. Free of torch."""

from pydantic import Field

from hyperderm.strict import Strict


class SpectralAugmentationConfig(Strict):
    """What `learners.spectral_augmentation` does to spectra, and how strongly; its docstrings give the physics."""

    probability: float = Field(0.5, ge=0, le=1)
    """Of each kind, each drawn for itself."""
    exposure: float = Field(0.5, ge=0, lt=1)
    """One gain for all bands, 1 ± at most this. 0.5 has a standard deviation of 0.29: what the calibrated phantom puts down
    to exposure of the 30-55 % by which the real images differ."""
    tilt: float = Field(0.1, ge=0, lt=1)
    """A gain linear in wavelength, 1 ± at most this at the ends. 0.1 is what 210 K do to a halogen lamp of 3000 K over
    465-630 nm (Planck)."""
    band_gain: float = Field(0.03, ge=0, lt=1)
    """A gain of each band, 1 ± at most this: declared, not measured."""
    shot_noise: float = Field(0.02, ge=0, le=1)
    """Noise of a camera's pixel, relative to the root of the reflectance; the phantom's."""
    read_noise: float = Field(0.006, ge=0, le=1)
    """Noise of a dark pixel, in reflectance; the phantom's."""
    dropped_bands: int = Field(1, ge=0, le=8)
    """Bands lost at a time."""
