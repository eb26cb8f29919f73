"""The spectral autoencoder of deepHSI (METHODS section 8) for one pixel's spectrum of any number of bands."""

from itertools import pairwise

from torch import Tensor, nn
from torch.nn.functional import interpolate

from hyperderm.errors import ConfigError

CHANNELS = (1, 4, 8, 12, 16)
"""Channels of a spectrum and after each halving of its length."""
FEWEST_BANDS = 2


def stage_lengths(length: int) -> list[int]:
    """Return the length of a spectrum before the first and after every stage of the encoder.

    A stage (kernel 4, stride 2, padding 1) takes a length l to floor(l / 2). There are four stages, or as many as leave at
    least one value: 3 for 8 to 15 bands, 2 for 4 to 7, 1 for 2 and 3.

    Args:
        length: number of values of a spectrum, at least 2.

    Raises:
        ConfigError: the length is below 2, so that there is nothing to halve.
    """
    if length < FEWEST_BANDS:
        what = f"a spectral autoencoder of {length} {'band' if length == 1 else 'bands'}"
        raise ConfigError(what, f"Give a cube of {FEWEST_BANDS} bands or more.")
    lengths = [length]
    while len(lengths) < len(CHANNELS) and lengths[-1] >= FEWEST_BANDS:
        lengths.append(lengths[-1] // 2)
    return lengths


class SpectralAutoencoder(nn.Module):
    """Convolutions along the bands, a linear bottleneck, and the mirror image of both.

    Encoder: convolutions 1→4→8→12→16 (kernel 4, stride 2, padding 1), each with batch norm and tanh, then a linear layer to
    the latent vector. Decoder: a linear layer back, then transposed convolutions 16→12→8→4→1, each with batch norm and tanh
    except the last, which is linear: tanh could not reach the ends of the range. Every transposed convolution has the output
    padding (0 or 1) that gives back the length of its mirror image. Short spectra have fewer stages (`stage_lengths`).

    In training mode, a batch needs at least two spectra if the last stage leaves a single value (batch norm).

    Args:
        bands: B, number of bands, at least 2.
        zdims: Z, length of the latent vector, at least 1. It may be larger than B.
        resample: length to which spectra are interpolated linearly before the encoder, and from which they are interpolated
            back after the decoder; None: the networks work on the B bands as they are. The seed project resamples to 512.

    Shape: spectra (N, B) -> reconstructions (N, B), in the same units (normalised, see `normalisation.Normalisation`).

    Raises:
        ConfigError: bands or resample below 2, or zdims below 1.
    """

    def __init__(self, bands: int, zdims: int, resample: int | None = None) -> None:
        super().__init__()
        if zdims < 1:
            raise ConfigError(f"a latent vector of {zdims} numbers", "Ask for a latent length of 1 or more.")
        stage_lengths(bands)  # refuses too few bands also if they are resampled
        self.bands, self.zdims, self.resample = bands, zdims, resample
        self.lengths = stage_lengths(bands if resample is None else resample)
        stages = list(pairwise(CHANNELS[: len(self.lengths)]))
        self.convolutions = nn.Sequential(*(_down(a, b) for a, b in stages))
        self.top = (CHANNELS[len(stages)], self.lengths[-1])
        self.to_latent = nn.Linear(self.top[0] * self.top[1], zdims)
        self.from_latent = nn.Linear(zdims, self.top[0] * self.top[1])
        paddings = [long - 2 * short for long, short in pairwise(self.lengths)]
        self.mirror = nn.Sequential(
            *(_up(b, a, padding) for (a, b), padding in reversed(list(zip(stages, paddings, strict=True))))
        )

    def forward(self, spectra: Tensor) -> Tensor:
        """Return reconstructions (N, B) of spectra (N, B)."""
        return self.decode(self.encode(spectra))

    def encode(self, spectra: Tensor) -> Tensor:
        """Return latent vectors (N, Z) of spectra (N, B)."""
        x = self._resampled(spectra[:, None], self.lengths[0])
        return self.to_latent(self.convolutions(x).flatten(1))

    def decode(self, latent: Tensor) -> Tensor:
        """Return spectra (N, B) of latent vectors (N, Z)."""
        x = self.mirror(self.from_latent(latent).unflatten(1, self.top))
        return self._resampled(x, self.bands)[:, 0]

    def _resampled(self, x: Tensor, length: int) -> Tensor:
        """Interpolate (N, 1, L) linearly; the first and the last value stay where they are."""
        return x if x.shape[2] == length else interpolate(x, length, mode="linear", align_corners=True)


def _down(a: int, b: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv1d(a, b, 4, 2, 1), nn.BatchNorm1d(b), nn.Tanh())


def _up(b: int, a: int, padding: int) -> nn.Sequential:
    layer = nn.ConvTranspose1d(b, a, 4, 2, 1, output_padding=padding)
    return nn.Sequential(layer) if a == CHANNELS[0] else nn.Sequential(layer, nn.BatchNorm1d(a), nn.Tanh())
