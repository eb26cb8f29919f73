"""SISAL (Bioucas-Dias, WHISPERS 2009): the simplex of least volume around the pixels, of which few may lie outside.

Abundances of a pixel with R − 1 principal scores z are A = Q [z; 1], where 1ᵀQ = (0 … 0, 1) makes every sum one. SISAL
minimises −log|det Q| (the logarithm of the volume) + λ Σ max(0, −A), over pixels and endmembers: pixels may lie outside,
at a price. So it needs no pure pixel, and noise does not inflate the simplex.

The volume's term is not convex. As in the paper it is replaced at the present Q by a convex quadratic function, and the
sum is minimised by variable splitting and augmented Lagrangian (V = Q [z; 1]; Eckstein & Bertsekas 1992). Two things differ
from the paper and make it shorter. Scores are whitened, so the linear system of the splitting is a number. The quadratic
function has one curvature for all entries of Q, which grows until the true objective falls (Levenberg–Marquardt).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hyperderm.errors import ConfigError
from hyperderm.unmixing.pixels import Spectra, principal
from hyperderm.unmixing.vca import extreme_pixels, lifted

OUTSIDE = 0.01
"""Share of the pixels that may lie beyond each facet, from which λ follows; see `sisal`."""
STEPS, SPLITS = 500, 100
"""Most quadratic models, and steps of the splitting for each."""
SETTLED = 1e-9
"""Fall of the objective, in units of R, below which a step counts as none."""
STEEPEST = 1e12
"""Curvature at which no step is left that makes the objective smaller."""


@dataclass(frozen=True, eq=False)
class Simplex:
    """A simplex in whitened scores.

    Attributes:
        endmembers: (R, B) its vertices as spectra; they may be slightly negative, as the paper does not bound them.
        fit: (R, R) the matrix Q.
        points: (R, n) the whitened scores with a last row of ones; `fit @ points` are the unconstrained abundances.
        weight: λ.
    """

    endmembers: Spectra
    fit: Spectra
    points: Spectra
    weight: float


def sisal(spectra: Spectra, count: int, rng: np.random.Generator, outside: float = OUTSIDE) -> Simplex:
    """Return the simplex of least volume with soft walls.

    λ = (R − 1) / (`outside` · n). Where the objective is least, blowing the simplex up about its centre gains nothing: the
    sum of 1/R − A over the negative abundances is (R − 1) / λ = `outside` · n. Most of them are nearly 0, so about
    `outside` · n pixels lie beyond each of the R facets, for scenes of any size. More is better for noisy scenes, less for
    scenes with few pixels near the facets.

    Args:
        spectra: (n, B) finite pixels that `checked` let pass.
        count: R, the number of endmembers.
        rng: draws VCA's directions; VCA's vertices, among the same scores, are the start.
        outside: share of the pixels that may lie beyond each facet, above 0 and below 1 / R.

    Raises:
        ConfigError: `outside` is not in its range.
    """
    if not 0 < outside < 1 / count:
        raise ConfigError(f"outside = {outside} for {count} endmembers", f"Give a share between 0 and {1 / count:.2g}.")
    mean, directions = principal(spectra, count - 1)
    scores = (spectra - mean) @ directions.T
    spread = np.sqrt(np.square(scores).mean(0))
    points = np.vstack([(scores / spread).T, np.ones(len(spectra))])
    start = np.linalg.inv(points[:, extreme_pixels(lifted(scores), rng)])
    weight = (count - 1) / (outside * len(spectra))
    fit = _least(start, points, weight)
    vertices = np.linalg.inv(fit)[:-1].T
    return Simplex(mean + (vertices * spread) @ directions, fit, points, weight)


def objective(fit: Spectra, points: Spectra, weight: float) -> float:
    """Return −log|det Q| + λ Σ max(0, −Q [z; 1]), infinite for a simplex without volume."""
    return float(-np.linalg.slogdet(fit)[1] - weight * np.minimum(fit @ points, 0).sum())


def _least(fit: Spectra, points: Spectra, weight: float) -> Spectra:
    """Step from quadratic model to quadratic model until the objective falls no more."""
    value = objective(fit, points, weight)
    curvature = float(np.square(np.linalg.inv(fit)).mean())
    split, dual = fit @ points, np.zeros_like(points)
    for _ in range(STEPS):
        tried, split, dual = _model_step(fit, curvature, points, weight, split, dual)
        found = objective(tried, points, weight)
        if found < value:
            small = value - found < SETTLED * len(fit)
            fit, value, curvature = tried, found, curvature / 2
            if small:
                break
        else:
            curvature *= 4
            if curvature > STEEPEST:
                break
    return fit


def _model_step(
    fit: Spectra, curvature: float, points: Spectra, weight: float, split: Spectra, dual: Spectra
) -> tuple[Spectra, Spectra, Spectra]:
    """Minimise ⟨∇, Q⟩ + curvature/2 ‖Q − fit‖² + λ Σ max(0, −V) with V = Q [z; 1] and fixed column sums of Q.

    Whitened points have [z; 1][z; 1]ᵀ = n, so each Q is a weighted mean, and the column sums are set right by adding the
    same row to all rows. Returns Q, V and the scaled dual variable, with which the next model starts.
    """
    count, number = points.shape
    penalty = 10 * weight
    sums = np.zeros(count)
    sums[-1] = 1
    fixed = curvature * fit + np.linalg.inv(fit).T
    found = fit
    for _ in range(SPLITS):
        found = (fixed + penalty * (split + dual) @ points.T) / (curvature + penalty * number)
        found = found + (sums - found.sum(0)) / count
        abundances = found @ points
        split = _shrunk(abundances - dual, weight / penalty)
        dual = dual - abundances + split
    return found, split, dual


def _shrunk(values: NDArray[np.float64], by: float) -> NDArray[np.float64]:
    """Minimise `by` · max(0, −v) + ½ (v − value)²: negative values move up by at most `by`, until they are 0."""
    return np.maximum(values, np.minimum(values + by, 0))
