"""Augmentation made for cubes: what the light and the sensor, not the skin, could have made of the same lesion.

Everything acts on reflectance, where the physics is: a gain of the light is a gain of the reflectance. Networks see cubes
scaled per band, where the same gain would be an affine map of other coefficients in every band; scaled cubes are therefore
taken back by the exact inverse of the scaling first, and scaled again afterwards.

In the order of the signal's way:

- **illuminant tilt**: a gain linear in wavelength, one at the middle of the range. Lamps age and their colour temperature
  drifts between the white reference and the image; over 465-630 nm Planck's law makes of that very nearly a straight line.
- **exposure**: one gain for all bands. Integration time and the distance of lamp and lens scale every band alike.
- **band gain**: a gain of each band, equal in all its pixels. Reflectance is the signal over a white reference's; each
  reference carries errors of its own in every band.
- **sensor noise**: variance shot² · x + read² at reflectance x, independent between pixels and bands. Photons arrive by
  Poisson's law, with a variance in proportion to the signal, and reading a pixel adds a constant. Reflectance below zero
  (METHODS section 1) has the read noise alone. Cubes of fewer pixels than the camera's are means over several of them, and
  the noise is smaller by as much.
- **band dropout**: a dead or saturated band, replaced by the mean of its nearest neighbours on both sides that are not
  lost (by the one neighbour at an end). That is what a laboratory does with such a band; zeros would be spectra that no
  skin has, and a network would learn the mark of a lost band in place of getting along without it.

Nothing is clipped: reflectance may come to lie outside train's range and beyond what the camera would saturate at.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hyperderm.errors import ConfigError
from hyperderm.learners import randomness
from hyperderm.learners.augmentation_settings import SpectralAugmentationConfig
from hyperderm.learners.scaling import Scaling

CAMERA_PX = 160
"""Pixels of the camera along a typical crop's side (`cubes.phantom` has the same)."""


@dataclass(frozen=True)
class Perturbation:
    """What is drawn for one cube.

    Attributes:
        gains: (B,) float64, of light and calibration together; above 0.
        noise: whether the sensor's noise is added.
        dropped: the bands that are lost.
    """

    gains: Tensor
    noise: bool
    dropped: tuple[int, ...]


class SpectralAugmentation:
    """Changes cubes as light and sensor would: see the module.

    Args:
        config: how often and how strongly.
        wavelengths_nm: (B,) of the cubes' bands.
        scaling: of the cubes that are given when called.

    Raises:
        ConfigError: as many bands to lose as there are.
    """

    def __init__(self, config: SpectralAugmentationConfig, wavelengths_nm: Sequence[float], scaling: Scaling) -> None:
        bands = len(wavelengths_nm)
        if config.dropped_bands >= bands:
            raise ConfigError(
                f"learner.spectral_augmentation.dropped_bands = {config.dropped_bands} leaves nothing of {bands} bands",
                f"Use --set learner.spectral_augmentation.dropped_bands={bands - 1} or less",
            )
        self.config, self.scaling = config, scaling
        nm = torch.tensor(wavelengths_nm, dtype=torch.float64)
        width = float(nm.max() - nm.min())
        self.along = (2 * (nm - nm.min()) / width - 1) if width else torch.zeros(bands, dtype=torch.float64)  # -1 … 1

    @torch.no_grad()
    def __call__(self, scaled: Tensor, keys: Sequence[int]) -> Tensor:
        """Return augmented cubes, scaled as they came.

        Args:
            scaled: (n, B, H, W), by `scaling`.
            keys: n numbers of 0 or more; a cube and its key alone decide the result, whatever else is in the batch.

        Returns:
            (n, B, H, W) of the cubes' dtype, on their device.
        """
        _check(scaled, keys)
        seen = torch.empty_like(scaled)
        for part in portions(len(scaled), scaled.device):
            reflectance = self.scaling.inverse(scaled[part])
            seen[part] = self.scaling.forward(self.on_reflectance(reflectance, keys[part]))
        return seen

    @torch.no_grad()
    def on_reflectance(self, reflectance: Tensor, keys: Sequence[int]) -> Tensor:
        """Return augmented reflectance; everything else as in `__call__`.

        The few numbers of a cube are drawn on the CPU, and so is its noise, to be the same on every device: 5 ms a cube of
        224 x 224 x 16 on one core where there is noise, and 3 MB on the way to a GPU.
        """
        _check(reflectance, keys)
        drawn = [self.draw(key) for key in keys]
        gains = torch.stack([each.gains for each in drawn])
        seen = reflectance * gains.to(reflectance)[:, :, None, None]
        for cube, each, key in zip(seen, drawn, keys, strict=True):
            if each.noise:
                cube += self._deviation(cube) * _noise(cube, key)
            replace(cube, each.dropped)
        return seen

    def draw(self, key: int) -> Perturbation:
        """Return what happens to the cube of `key`; a kind that is switched off leaves the draws of the others alone."""
        c, bands = self.config, len(self.along)
        u = torch.rand(7 + 2 * bands, generator=randomness.generator(key, "spectral", 0), dtype=torch.float64)
        tilted, exposed, drifted, noisy, dropped = (u[:5] < c.probability).tolist()
        tilt, exposure = (2 * u[5:7] - 1).tolist()
        each, order = 2 * u[7 : 7 + bands] - 1, u[7 + bands :].argsort()
        gains = 1 + c.tilt * tilted * tilt * self.along
        gains = gains * (1 + c.exposure * exposed * exposure) * (1 + c.band_gain * drifted * each)
        noise = noisy and (c.shot_noise > 0 or c.read_noise > 0)
        return Perturbation(gains, noise, tuple(order[: c.dropped_bands].tolist()) if dropped else ())

    def _deviation(self, cube: Tensor) -> Tensor:
        """The noise's standard deviation at (B, H, W) reflectance."""
        calmed = min(1.0, max(cube.shape[-2:]) / CAMERA_PX)
        return (cube.clamp_min(0) * self.config.shot_noise**2 + self.config.read_noise**2).sqrt() * calmed


def _check(cubes: Tensor, keys: Sequence[int]) -> None:
    if len(keys) != len(cubes):
        raise ValueError(f"{len(keys)} keys for {len(cubes)} cubes")


def replace(cube: Tensor, dropped: Sequence[int]) -> None:
    """Put the mean of the nearest bands that are not `dropped` in place of those that are, in (B, H, W), in place."""
    kept = [band for band in range(len(cube)) if band not in dropped]
    for band in dropped:
        below, above = [k for k in kept if k < band][-1:], [k for k in kept if k > band][:1]
        cube[band] = cube[below + above].mean(0)


def _noise(cube: Tensor, key: int) -> Tensor:
    """Standard normal of the cube's shape, the same on every device."""
    drawn = torch.randn(cube.shape, generator=randomness.generator(key, "spectral/noise", 0), dtype=torch.float32)
    return drawn.to(cube)


def portions(count: int, device: torch.device) -> Iterator[slice]:
    """Yield slices that make up `count` cubes: all of them on a GPU, one a thread on a CPU.

    A CPU is quickest where intermediate results stay in its cache; fresh memory for a whole batch costs more than the sums.
    """
    step = torch.get_num_threads() if device.type == "cpu" else max(count, 1)
    return (slice(at, at + step) for at in range(0, count, step))
