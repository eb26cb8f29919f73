"""A trained spectral autoencoder without the parts that only training needs: spectra to latent vectors, and back."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from hyperderm.learners.spectral_autoencoder.config import AutoencoderConfig
from hyperderm.learners.spectral_autoencoder.networks import SpectralAutoencoder
from hyperderm.learners.spectral_autoencoder.normalisation import Normalisation, lengths, unit_length

AT_ONCE = 16_384
"""Number of spectra that are encoded together."""


@dataclass(frozen=True, eq=False)
class SpectralCoder:
    """A network with the normalisation that was fitted to the pixels it learnt from."""

    network: SpectralAutoencoder
    normalisation: Normalisation
    device: torch.device
    dtype: torch.dtype

    @classmethod
    def of(cls, config: AutoencoderConfig, bands: int, state: Mapping[str, Any]) -> Self:
        """Rebuild a coder from the state of its learner in a checkpoint.

        Raises:
            RuntimeError, KeyError, TypeError: the state is not that of such a network.
        """
        network = SpectralAutoencoder(bands, config.zdims, config.resample)
        network.load_state_dict(state["network"])
        return cls(network, Normalisation(**state["normalisation"]), torch.device("cpu"), torch.float32)

    @property
    def latent(self) -> int:
        """See `PixelCoder.latent`."""
        return self.network.zdims

    @property
    def by_shape(self) -> bool:
        """See `PixelCoder.by_shape`."""
        return self.normalisation.kind == "l2"

    def finite(self) -> bool:
        """See `PixelCoder.finite`."""
        return all(bool(torch.isfinite(each).all()) for each in self.network.state_dict().values())

    @torch.no_grad()
    def encode(self, spectra: Tensor) -> Tensor:
        """Return latent vectors (N, Z) float32 on the CPU of spectra (N, B) in reflectance."""
        self.network.eval()
        return torch.cat([self.network.encode(self._normalised(part)).float().cpu() for part in spectra.split(AT_ONCE)])

    @torch.no_grad()
    def decode(self, latent: Tensor) -> Tensor:
        """Return spectra (N, B) float32 on the CPU of latent vectors: in reflectance, or of unit length for `l2`."""
        self.network.eval()
        parts = [part.to(self.device, self.dtype) for part in latent.split(AT_ONCE)]
        return torch.cat([self.normalisation.inverse(self.network.decode(part).float().cpu()) for part in parts])

    @torch.no_grad()
    def rebuild(self, spectra: Tensor) -> Tensor:
        """Return reconstructions (N, B) float32 on the CPU, in reflectance.

        For `l2`, which learns shapes alone, each has exactly the length of its pixel: that of what the decoder makes
        is near 1 and means nothing.
        """
        self.network.eval()
        parts = []
        for part in spectra.split(AT_ONCE):
            made = self.network(self._normalised(part)).float().cpu()
            made = self.normalisation.inverse(made)
            if self.by_shape:
                made = unit_length(made) * lengths(part.float().cpu())[:, None]
            parts.append(made)
        return torch.cat(parts)

    def _normalised(self, spectra: Tensor) -> Tensor:
        return self.normalisation.forward(spectra.float()).to(self.device, self.dtype)
