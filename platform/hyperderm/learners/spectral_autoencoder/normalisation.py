"""Normalisation of spectra before the autoencoder: centred and scaled by their range, on request after unit length."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from hyperderm.errors import ConfigError

Kind = Literal["range", "l2"]
"""`range`: the seed project's, brightness counts. `l2`: every spectrum has unit length first, brightness does not count."""


@dataclass(frozen=True)
class Normalisation:
    """One offset and one factor for all bands and pixels of a scene, which keep the shapes of spectra.

    Attributes:
        kind: `range` or `l2`.
        centre: mean over the pixels and bands of the fit, in reflectance (`l2`: of spectra of unit length).
        width: largest value less the smallest, in the same units; above 0.
    """

    kind: Kind
    centre: float
    width: float

    @classmethod
    def fit(cls, spectra: Tensor, kind: Kind) -> "Normalisation":
        """Fit to the spectra (N, B) that a network is trained on; all must be finite.

        Raises:
            ConfigError: all values are equal (`l2`: after division by the length), or a value is not finite.
        """
        x = spectra.double()
        x = unit_length(x) if kind == "l2" else x
        low, high = float(x.min()), float(x.max())
        if not low < high or not float("-inf") < high - low < float("inf"):
            what = f"spectra between {low:.6g} and {high:.6g} cannot be scaled by their range"
            raise ConfigError(what, "Give a scene of finite spectra that are not all the same flat line.")
        return cls(kind, float(x.mean()), high - low)

    @property
    def origin(self) -> float:
        """The normalised value of a reflectance of 0."""
        return -self.centre / self.width

    def forward(self, spectra: Tensor) -> Tensor:
        """Return normalised spectra (N, B), within [-1, 1] for the spectra of the fit; a zero spectrum is at `origin`."""
        x = unit_length(spectra) if self.kind == "l2" else spectra
        return (x - self.centre) / self.width

    def inverse(self, normalised: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return spectra (N, B) in reflectance.

        Args:
            normalised: (N, B), of `forward` or of a network.
            lengths: (N,) lengths of the spectra before normalisation (`lengths`), used by `l2` alone; None: `l2` gives
                spectra as they would be at unit length.
        """
        x = normalised * self.width + self.centre
        return x if self.kind == "range" or lengths is None else x * lengths[:, None]

    def state_dict(self) -> dict[str, Any]:
        """Return the fit as plain values, for a checkpoint; `Normalisation(**state)` reads it."""
        return {"kind": self.kind, "centre": self.centre, "width": self.width}


def lengths(spectra: Tensor) -> Tensor:
    """Return the Euclidean lengths (N,) of spectra (N, B)."""
    return torch.linalg.vector_norm(spectra, dim=1)


def unit_length(spectra: Tensor) -> Tensor:
    """Return spectra (N, B) divided by their length; a zero spectrum stays zero."""
    length = lengths(spectra)[:, None]
    return spectra / torch.where(length > 0, length, 1.0)
