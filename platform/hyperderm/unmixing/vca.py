"""Vertex component analysis (Nascimento & Dias, IEEE TGRS 43(4), 2005): endmembers are extreme pixels.

The pixels are projected on the signal's subspace, and there on a plane, so that they lie in a simplex. Each step draws a
direction that is orthogonal to the vertices found so far and takes the pixel farthest along it.
"""

import math

import numpy as np
from numpy.typing import NDArray

from hyperderm.unmixing.pixels import Spectra, principal


def vca(spectra: Spectra, count: int, rng: np.random.Generator) -> tuple[Spectra, NDArray[np.intp]]:
    """Return endmembers (R, B) and the indices (R,) of the pixels that they are.

    Endmembers are projected on the signal's subspace, as in the paper, which removes most of their noise. If the signal
    is stronger than 15 + 10 log10(R) dB, the pixels are projected on R directions through the origin and each is scaled
    onto one plane, so brightness does not count. Weaker signals are projected on R − 1 principal components.

    Args:
        spectra: (n, B) finite pixels that `checked` let pass.
        count: R, the number of endmembers.
        rng: draws the directions.
    """
    if signal_to_noise(spectra, count) > 15 + 10 * math.log10(count):
        directions = np.linalg.eigh(spectra.T @ spectra)[1][:, ::-1][:, :count].T
        scores = spectra @ directions.T
        indices = extreme_pixels(_onto_plane(scores), rng)
        return scores[indices] @ directions, indices
    mean, directions = principal(spectra, count - 1)
    scores = (spectra - mean) @ directions.T
    indices = extreme_pixels(lifted(scores), rng)
    return mean + scores[indices] @ directions, indices


def signal_to_noise(spectra: Spectra, count: int) -> float:
    """Return the signal-to-noise ratio (dB) of a signal in R − 1 principal components with white noise (eq. 13).

    It is infinite if nothing is left outside the components, and −infinite if the components hold no more than noise.
    """
    mean, directions = principal(spectra, count - 1)
    power = float(np.square(spectra).sum(1).mean())
    kept = float(np.square((spectra - mean) @ directions.T).sum(1).mean() + mean @ mean)
    signal, noise = kept - count / spectra.shape[1] * power, power - kept
    if noise <= 1e-14 * power:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf


def lifted(scores: Spectra) -> Spectra:
    """Return scores (n, R−1) with a constant last coordinate, the largest length of a score: (n, R)."""
    height = float(np.linalg.norm(scores, axis=1).max())
    return np.column_stack([scores, np.full(len(scores), height)])


def extreme_pixels(points: Spectra, rng: np.random.Generator) -> NDArray[np.intp]:
    """Return the indices (R,) of points (n, R) that are the ends of random directions, each orthogonal to those before.

    The points lie on a plane that does not contain the origin, so R independent ones are the vertices of a simplex.
    """
    count = points.shape[1]
    found = np.zeros(count, np.intp)
    basis = np.zeros((count, 0))
    for step in range(count):
        drawn = rng.standard_normal(count)
        direction = drawn - basis @ (basis.T @ drawn)
        found[step] = np.abs(points @ (direction / np.linalg.norm(direction))).argmax()
        basis = np.linalg.qr(points[found[: step + 1]].T)[0]
    return found


def _onto_plane(scores: Spectra) -> Spectra:
    """Scale scores (n, R) so that their product with the mean score is 1; a pixel on the wrong side cannot be a vertex."""
    along = scores @ scores.mean(0)
    facing = along > 1e-6 * along.mean()
    return np.divide(scores, along[:, None], out=np.zeros_like(scores), where=facing[:, None])
