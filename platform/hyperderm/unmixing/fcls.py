"""Fully constrained least squares (Heinz & Chang, IEEE TGRS 39(3), 2001): abundances that are not negative and sum to one.

Every pixel is a small convex quadratic programme, solved exactly by a primal active-set method (Lawson & Hanson 1974, with
the sum as an equality; Nocedal & Wright 2006, ch. 16.5): all pixels step together, each with its own set of endmembers.
"""

import numpy as np
from numpy.typing import NDArray

from hyperderm.errors import ConfigError
from hyperderm.unmixing.pixels import Spectra

AT_ONCE = 20_000
"""Pixels that step together; more use more memory and are not faster."""
TOLERANCE = 1e-11
"""Largest gain per abundance, in units of the largest squared length of an endmember, that ends the search of a pixel."""
DEPENDENT = 1e-7
"""Endmembers whose differences have a smaller ratio of singular values are dependent, and abundances not unique."""


def fcls(spectra: Spectra, endmembers: Spectra) -> NDArray[np.float64]:
    """Return abundances (n, R) that minimise ‖y − aᵀE‖² with a ≥ 0 and sum 1.

    Args:
        spectra: (n, B) finite pixels.
        endmembers: (R, B), in the units of the pixels.

    Raises:
        ConfigError: bands differ, an endmember is not finite, or one is an affine mixture of the others.
    """
    _same_bands(spectra, endmembers)
    _independent(endmembers)
    scale = float(np.square(endmembers).sum(1).max())
    gram, product = endmembers @ endmembers.T / scale, spectra @ endmembers.T / scale
    parts = [_solved(gram, product[start : start + AT_ONCE]) for start in range(0, len(spectra), AT_ONCE)]
    return np.concatenate(parts) if parts else np.zeros((0, len(endmembers)))


def _same_bands(spectra: Spectra, endmembers: Spectra) -> None:
    if spectra.shape[1] != endmembers.shape[1]:
        what = f"pixels have {spectra.shape[1]} bands and endmembers {endmembers.shape[1]}"
        raise ConfigError(what, "Give endmembers of the same bands.")


def _independent(endmembers: Spectra) -> None:
    if not np.isfinite(endmembers).all():
        raise ConfigError("an endmember is not finite", "Give endmembers without NaN and infinite values.")
    if len(endmembers) == 1:
        return
    differences = endmembers[1:] - endmembers[0]
    values = np.linalg.svd(differences, compute_uv=False)
    if len(differences) > len(values) or values[-1] <= DEPENDENT * values[0]:
        what = f"the {len(endmembers)} endmembers are not independent, so that abundances are not unique"
        raise ConfigError(what, "Ask for fewer with --endmembers, or leave out endmembers that are alike.")


def _solved(gram: NDArray[np.float64], product: NDArray[np.float64]) -> NDArray[np.float64]:
    """Minimise ½ aᵀGa − bᵀa on the simplex for every row b of (n, R), starting at the nearest endmember."""
    number, count = product.shape
    free = np.zeros((number, count), bool)
    free[np.arange(number), (product - np.diag(gram) / 2).argmax(1)] = True
    abundances = free.astype(np.float64)
    unsolved = np.arange(number)
    for _ in range(100 + 20 * count):  # a pixel needs about 2 R steps
        if not len(unsolved):
            return abundances
        wanted, before = product[unsolved], free[unsolved]
        moved, here = _step(abundances[unsolved], _on_face(gram, wanted, before), before)
        at_minimum = (here == before).all(1)
        gain = _gains(gram, wanted, moved, here)
        enters, rows = gain.argmax(1), np.arange(len(unsolved))
        better = gain[rows, enters] > TOLERANCE * np.maximum(1, np.abs(wanted).max(1))
        grows = at_minimum & better
        here[rows[grows], enters[grows]] = True
        abundances[unsolved], free[unsolved] = moved, here
        unsolved = unsolved[~at_minimum | better]
    what = f"abundances of {len(unsolved)} pixels do not settle: the {count} endmembers are too alike"
    raise ConfigError(what, "Ask for fewer with --endmembers.")


def _on_face(gram: NDArray[np.float64], product: NDArray[np.float64], free: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the minimisers (n, R) with sum 1 if only the free abundances may differ from 0 (they may be negative)."""
    number, count = product.shape
    system = np.zeros((number, count + 1, count + 1))
    system[:, :count, :count] = gram * (free[:, :, None] & free[:, None, :])
    diagonal = np.arange(count)
    system[:, diagonal, diagonal] += ~free
    system[:, :count, count] = system[:, count, :count] = free
    right = np.column_stack([product * free, np.ones(number)])
    return np.linalg.solve(system, right[:, :, None])[:, :count, 0] * free


def _step(
    abundances: NDArray[np.float64], target: NDArray[np.float64], free: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Go towards the target until an abundance becomes 0, which is then no longer free; return abundances and free ones."""
    blocking = free & (target <= 0)
    share = np.divide(abundances, abundances - target, out=np.zeros_like(target), where=blocking & (abundances > 0))
    share[~blocking] = np.inf
    length = np.minimum(share.min(1, keepdims=True), 1)
    stops = blocking & (share <= length)
    moved = np.where(stops | ~free, 0, np.maximum(abundances + length * (target - abundances), 0))
    moved = np.where(blocking.any(1, keepdims=True), moved, target)
    return moved, free & ~stops


def _gains(
    gram: NDArray[np.float64], product: NDArray[np.float64], abundances: NDArray[np.float64], free: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return how fast the objective falls (n, R) if an abundance that is 0 takes from the others; −inf for the others."""
    slope = product - abundances @ gram
    return np.where(free, -np.inf, slope - (slope * abundances).sum(1, keepdims=True))
