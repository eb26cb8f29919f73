"""Augmentation made for cubes: changes that other light or another sensor, not other skin, could cause in the same lesion.

All changes act on reflectance, because there the physics is simple: a gain of the light is a gain of the reflectance.
Networks see cubes scaled per band, where the same gain would be an affine map with other coefficients in every band. So
scaled cubes are first turned into reflectance by the exact inverse of the scaling, and scaled again afterwards.

The changes, in the order in which they affect the signal:

- **illuminant tilt**: a gain that is linear in wavelength and equals one at the middle of the range. Lamps age, and their
  colour temperature drifts between the white reference and the image; over 465-630 nm, Planck's law makes this drift very
  nearly a straight line.
- **exposure**: one gain for all bands. Integration time and the distance of lamp and lens scale every band alike.
- **band gain**: a gain for each band, equal in all pixels. Reflectance is the signal divided by that of a white reference,
  and each reference has its own errors in every band.
- **sensor noise**: noise of variance shot² · x + read² at reflectance x, independent between pixels and bands. Photons
  arrive by Poisson's law, with a variance in proportion to the signal, and reading a pixel adds a constant variance.
  Reflectance below zero (METHODS section 1) has the read noise alone. In cubes with fewer pixels than the camera has, a
  pixel is a mean over several camera pixels; the noise is reduced accordingly.
- **band dropout**: a dead or saturated band is replaced by the mean of the nearest remaining bands on both sides (at an
  end, by the one neighbour). A laboratory repairs such a band in this way. Zeros would make spectra that no skin has, and a
  network would learn to recognise a lost band instead of learning to do without it.

Nothing is clipped: reflectance may leave train's range and exceed the level at which the camera would saturate.
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
"""Number of camera pixels along the side of a typical crop (the same value as in `phantom.rendering`)."""


@dataclass(frozen=True)
class Perturbation:
    """The random changes of one cube.

    Attributes:
        gains: (B,) float64 gains above 0, the product of those of light and calibration.
        noise: whether sensor noise is added.
        dropped: the bands that are lost.
    """

    gains: Tensor
    noise: bool
    dropped: tuple[int, ...]


class SpectralAugmentation:
    """The augmentation that changes cubes as light and sensor would: see the module's docstring.

    Args:
        config: how often and how strongly cubes are changed.
        wavelengths_nm: (B,) wavelengths of the bands.
        scaling: the scaling of the cubes that are passed in a call.

    Raises:
        ConfigError: as many bands would be lost as there are, or more.
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
        """Return augmented cubes with the same scaling.

        Args:
            scaled: (n, B, H, W) cubes scaled by `scaling`.
            keys: n integers ≥ 0; the result for a cube depends on the cube and its key alone, not on the rest of the batch.

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
        """Return augmented reflectance; apart from the missing scaling this equals `__call__`.

        All random numbers of a cube, also its noise, are drawn on the CPU, so that they are the same on every device. For a
        noisy cube of 224 x 224 x 16 this takes 5 ms on one core and the transfer of 3 MB to a GPU.
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
        """Return the changes of the cube of `key`; a kind that is switched off does not affect the draws of the others."""
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
        """Return the standard deviation of the noise for reflectance (B, H, W), in the same shape."""
        calmed = min(1.0, max(cube.shape[-2:]) / CAMERA_PX)
        return (cube.clamp_min(0) * self.config.shot_noise**2 + self.config.read_noise**2).sqrt() * calmed


def _check(cubes: Tensor, keys: Sequence[int]) -> None:
    if len(keys) != len(cubes):
        raise ValueError(f"{len(keys)} keys for {len(cubes)} cubes")


def replace(cube: Tensor, dropped: Sequence[int]) -> None:
    """Replace each dropped band of a cube (B, H, W), in place, by the mean of its nearest bands that are not dropped."""
    kept = [band for band in range(len(cube)) if band not in dropped]
    for band in dropped:
        below, above = [k for k in kept if k < band][-1:], [k for k in kept if k > band][:1]
        cube[band] = cube[below + above].mean(0)


def _noise(cube: Tensor, key: int) -> Tensor:
    """Return standard normal noise of the cube's shape, the same on every device."""
    drawn = torch.randn(cube.shape, generator=randomness.generator(key, "spectral/noise", 0), dtype=torch.float32)
    return drawn.to(cube)


def portions(count: int, device: torch.device) -> Iterator[slice]:
    """Yield slices that together cover `count` cubes: on a GPU one slice, on a CPU slices of one cube for each thread.

    A CPU is fastest if intermediate results stay in its cache; new memory for a whole batch costs more than the arithmetic.
    """
    step = torch.get_num_threads() if device.type == "cpu" else max(count, 1)
    return (slice(at, at + step) for at in range(0, count, step))
