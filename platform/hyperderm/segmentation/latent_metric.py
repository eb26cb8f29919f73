"""Latent vectors in the metric of their decoder: distances as between the spectra that they decode into."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hyperderm.errors import ConfigError

Values = NDArray[np.float64]
SMALLEST = 1e-6
"""Directions that change spectra by less, as a share of the one that changes them most, have no way back to the latent."""


@dataclass(frozen=True, eq=False)
class LatentMetric:
    """A linear map of latent vectors.

    An autoencoder's loss fixes neither the scale nor the angles of its latent axes, so distances between latent vectors
    differ from seed to seed and mean nothing; k-means and any mixture with a ridge depend on them. After this map, the
    distance of two vectors is that of the spectra which the best linear approximation of the decoder makes of them.

    Attributes:
        centre: (Z,) mean latent vector of the fit.
        matrix: (Z, Z) symmetric square root of W Wᵀ, for the least-squares fit spectra ≈ latent W + constant.
    """

    centre: Values
    matrix: Values

    @classmethod
    def fit(cls, latent: NDArray[np.floating], decoded: NDArray[np.floating]) -> "LatentMetric":
        """Fit to latent vectors (n, Z) and the normalised spectra (n, B) that the decoder makes of them, all finite.

        Raises:
            ConfigError: the numbers of pixels differ, a value is not finite, or the spectra do not change with the latent.
        """
        z, x = np.asarray(latent, dtype=np.float64), np.asarray(decoded, dtype=np.float64)
        if len(z) != len(x) or not (np.isfinite(z).all() and np.isfinite(x).all()):
            what = f"{len(z)} latent vectors and {len(x)} decoded spectra, {np.isfinite(x).all(1).sum()} of them finite"
            raise ConfigError(what, "Give the decoded spectra of finite pixels, one for each latent vector.")
        centre = z.mean(0)
        slopes = np.linalg.lstsq(z - centre, x - x.mean(0), rcond=None)[0]  # (Z, B)
        powers, directions = np.linalg.eigh(slopes @ slopes.T)
        if not powers[-1] > 0:
            raise ConfigError("decoded spectra that are all equal", "Train the autoencoder on a scene whose pixels differ.")
        return cls(centre, directions @ np.diag(np.sqrt(np.maximum(powers, 0))) @ directions.T)

    def forward(self, latent: NDArray[np.floating]) -> Values:
        """Return the features (..., Z) of latent vectors (..., Z); NaN stays NaN."""
        return np.asarray((latent - self.centre) @ self.matrix)

    def inverse(self, features: NDArray[np.floating]) -> Values:
        """Return latent vectors (..., Z) of features, e.g. of `Clusters.centres`, for the decoder.

        Directions that do not change the spectra (`SMALLEST`) get their mean.
        """
        return np.asarray(features @ np.linalg.pinv(self.matrix, rcond=SMALLEST) + self.centre)
