"""Scores of an unmixing against a known truth: endmembers matched on the spectral angle, then the abundance error.

The order of endmembers means nothing, so they are matched first. Where the brightness of the reference endmembers is
arbitrary, pixels must have unit length (`pixels.unit_length`) before they are unmixed, and the row of the true endmembers
(`true_endmembers`) says how well the best possible answer scores.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

from hyperderm.errors import ConfigError
from hyperderm.metrics.spectra import spectral_angle
from hyperderm.unmixing.fcls import fcls
from hyperderm.unmixing.pixels import Spectra, finite_pixels


@dataclass(frozen=True, eq=False)
class Score:
    """How far an unmixing is from the truth.

    Attributes:
        order: (R,) the endmember found that is matched with each reference endmember.
        angles: (R,) spectral angle (rad) of each reference endmember to its match.
        abundance_errors: (R,) root mean square over usable pixels of the difference of each reference endmember's abundance.
    """

    order: NDArray[np.intp]
    angles: NDArray[np.float64]
    abundance_errors: NDArray[np.float64]

    @property
    def mean_angle(self) -> float:
        """Mean spectral angle (rad), 0 to π."""
        return float(self.angles.mean())

    @property
    def abundance_rmse(self) -> float:
        """Root mean square over usable pixels and endmembers of the difference of abundances, 0 to 1."""
        return float(np.sqrt(np.square(self.abundance_errors).mean()))

    @property
    def mean_abundance_error(self) -> float:
        """Mean over endmembers of their root mean squares, 0 to 1: the RMSE of some papers. At most `abundance_rmse`."""
        return float(self.abundance_errors.mean())


def matched(endmembers: Spectra, reference: Spectra) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return for each reference endmember (R, B) the index of its match and their angle (rad), least in the sum.

    Raises:
        ConfigError: number or bands of the endmembers differ.
    """
    if endmembers.shape != reference.shape:
        what = f"endmembers (R, B) of shape {endmembers.shape}, reference of shape {reference.shape}"
        raise ConfigError(what, f"Unmix the bands of the reference with --endmembers {len(reference)}.")
    angles = np.array([[spectral_angle(one, found) for found in endmembers] for one in reference])
    rows, order = linear_sum_assignment(angles)
    return order, angles[rows, order]


def score(
    endmembers: Spectra, abundances: NDArray[np.float64], reference: Spectra, reference_abundances: NDArray[np.float64]
) -> Score:
    """Score endmembers (R, B) and abundances (N, R) against the reference; pixels with NaN abundances are left out.

    Raises:
        ConfigError: the shapes differ, or no pixel has abundances.
    """
    order, angles = matched(endmembers, reference)
    if abundances.shape != reference_abundances.shape:
        what = f"abundances (N, R) of shape {abundances.shape}, reference of shape {reference_abundances.shape}"
        raise ConfigError(what, "Give both for the same pixels.")
    errors = abundances[:, order] - reference_abundances
    errors = errors[np.isfinite(errors).all(1)]
    if not len(errors):
        raise ConfigError(f"none of {len(abundances)} pixels has abundances", "Give a scene with usable pixels.")
    return Score(order, angles, np.sqrt(np.square(errors).mean(0)))


def true_endmembers(pixels: ArrayLike, reference: Spectra, reference_abundances: NDArray[np.float64]) -> Score:
    """Score the true endmembers themselves: their abundances by fully constrained least squares, in the pixels (N, B).

    Its abundance error is what noise, scaling and nonlinear mixing cost; no method should be expected to do better.
    Reference endmembers (R, B) must be scaled as the pixels are: of unit length for pixels of unit length.

    Raises:
        ConfigError: the shapes differ, or the endmembers are dependent.
    """
    found = finite_pixels(pixels)
    abundances = found.of_scene(fcls(found.spectra, reference))
    return score(reference, abundances, reference, reference_abundances)
