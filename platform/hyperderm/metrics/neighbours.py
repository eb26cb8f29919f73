"""The nearest cube of one set for each cube of another, by spectral angle or by thumbnail.

A synthetic cube has no partner among the real ones, so a metric of pairs needs one to be chosen. Both functions search all
pairs, in blocks whose memory does not grow with the sets, and compute the value of the pair that they found once more.
Cubes larger than the given side are reduced to it by the mean over areas.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from hyperderm.errors import CubeError
from hyperderm.metrics.description import Metric
from hyperderm.metrics.orientation import ORIENTATIONS, orient
from hyperderm.metrics.spectra import MEAN_FLOOR
from hyperderm.metrics.spectral import spectral_angles

Table = NDArray[np.float64]
Rows = NDArray[np.intp]
Groups = tuple[Sequence[str], Sequence[str]]

BLOCK = 2**23
"""Number of values of a set that are prepared at once: 32 MB in float32, so about 200 MB for two sets and their copies."""
MOST = 2048
"""Number of cubes of a set that are prepared at once, however small: it bounds the table of pairs."""
AT_ONCE = 16
"""Number of whole cubes that are reduced at once."""
ANGLES = 2**20
"""Number of angles that are computed at once: 4 MB, which stay in the processor's cache."""


@torch.no_grad()
def nearest_by_angle(
    x: Tensor, y: Tensor, side: int = 32, orientations: int = 1, exclude: NDArray[np.bool_] | Groups | None = None
) -> tuple[Table, Rows]:
    """Find for each cube of x the cube of y at the smallest mean spectral angle.

    The search is in float32, so it does not tell cubes apart whose angles differ by less than about 3e-4 rad. The angle to
    the cube that it found is then computed by `spectral.spectral_angles`, at the reduced size. Pixels that are zero in
    either cube do not count.

    Args:
        x: (N, B, S, S).
        y: (M, B, S, S).
        side: largest side in pixels at which cubes are compared.
        orientations: how many orientations of x are tried, in the order of `orientation.orient`; 1 tries none but its own.
        exclude: the pairs that may not be chosen: (N, M) bool, or the groups of x (N) and of y (M), in which case a cube is
            never paired with one of its own group.

    Returns:
        The angles (N,) in rad, and the indices (N,) into y. The angle is NaN if no pixel is nonzero in both cubes.

    Raises:
        CubeError: the cubes are not square or do not fit each other; `exclude` does not fit them, or leaves a cube
            without any partner; there is no such number of orientations.
    """
    if not 1 <= orientations <= ORIENTATIONS:
        raise CubeError(f"{orientations} orientations", f"Give a number from 1 to {ORIENTATIONS}.")

    def unit(cubes: Tensor) -> Tensor:
        spectra = _reduced(cubes, side)
        return spectra / spectra.square().sum(1, keepdim=True).sqrt_().clamp_min_(torch.finfo(torch.float32).tiny)

    index, turns = _search(x, y, side, orientations, exclude, unit, _mean_angles)
    angles = np.empty(len(x))
    for rows in _blocks(x, side):
        views = [orient(cube, k) for cube, k in zip(_reduced(x[rows], side), turns[rows], strict=True)]
        partners = _reduced(y[torch.from_numpy(index[rows]).to(y.device)], side)
        angles[rows] = spectral_angles(torch.stack(views), partners)
    return angles, index


def _mean_angles(u: Tensor, v: Tensor) -> Tensor:
    """Return the mean angles (n, m) between unit spectra (n, B, S, S) and (m, B, S, S).

    A pixel that is zero in either cube gives the angle π/2 and is subtracted again. Cubes without a common pixel get π, so
    that any other cube is nearer.
    """
    left, right = u.flatten(2).permute(2, 0, 1).contiguous(), v.flatten(2).permute(2, 1, 0).contiguous()
    total = u.new_zeros(len(u), len(v))
    step = max(1, ANGLES // total.numel())
    for a, b in zip(left.split(step), right.split(step), strict=True):
        total += torch.bmm(a, b).clamp_(-1, 1).acos_().sum(0)
    common = (u != 0).any(1).flatten(1).float() @ (v != 0).any(1).flatten(1).float().T
    known = total - (len(left) - common) * (torch.pi / 2)
    return torch.where(common > 0, known / common.clamp_min(1), torch.pi)


@torch.no_grad()
def nearest_by_thumbnail(
    x: Tensor, y: Tensor, side: int = 16, exclude: NDArray[np.bool_] | Groups | None = None
) -> tuple[Table, Rows]:
    """Find for each cube of x the cube of y with the most similar thumbnail.

    A thumbnail is the cube, reduced, and divided by its mean over pixels and bands (at least `spectra.MEAN_FLOOR`, 0.001),
    so that exposure does not decide. The distance of two thumbnails is their root mean square difference.

    Args:
        x: (N, B, S, S).
        y: (M, B, S, S).
        side: largest side in pixels of a thumbnail.
        exclude: the pairs that may not be chosen, as in `nearest_by_angle`.

    Returns:
        The distances (N,), as a share of the mean reflectance, and the indices (N,) into y.

    Raises:
        CubeError: the cubes are not square or do not fit each other; `exclude` does not fit them, or leaves a cube
            without any partner.
    """

    def thumbnails(cubes: Tensor) -> Tensor:
        small = _reduced(cubes, side).double()
        return small / small.mean((1, 2, 3), keepdim=True).clamp_min(MEAN_FLOOR)

    index, _ = _search(x, y, side, 1, exclude, thumbnails, _mean_squares)
    distances = np.empty(len(x))
    for rows in _blocks(x, side):
        difference = thumbnails(x[rows]) - thumbnails(y[torch.from_numpy(index[rows]).to(y.device)])
        distances[rows] = difference.square_().mean((1, 2, 3)).sqrt_().cpu().numpy()
    return distances, index


def _mean_squares(u: Tensor, v: Tensor) -> Tensor:
    a, b = u.flatten(1), v.flatten(1)
    return (a.square().sum(1, keepdim=True) + b.square().sum(1) - 2 * a @ b.T) / a.shape[1]


def _search(
    x: Tensor,
    y: Tensor,
    side: int,
    orientations: int,
    exclude: NDArray[np.bool_] | Groups | None,
    prepare: Callable[[Tensor], Tensor],
    compare: Callable[[Tensor, Tensor], Tensor],
) -> tuple[Rows, Rows]:
    """Return for each cube of x the index (N,) of the y with the smallest `compare`, and the orientation (N,) of x."""
    _check(x, y)
    barred = _barred(exclude, len(x), len(y))
    index, turns = np.zeros(len(x), np.intp), np.zeros(len(x), np.intp)
    for rows in _blocks(x, side):
        mine = prepare(x[rows])
        best = np.full(len(mine), np.inf)
        for columns in _blocks(y, side):
            theirs = prepare(y[columns])
            for turn in range(orientations):
                costs = compare(orient(mine, turn), theirs).double().cpu().numpy()
                if barred is not None:
                    costs[barred[rows, columns]] = np.inf
                nearest = costs.argmin(1)
                cost = costs[np.arange(len(costs)), nearest]
                better = cost < best
                best[better] = cost[better]
                index[rows][better], turns[rows][better] = nearest[better] + columns.start, turn
    return index, turns


def _blocks(cubes: Tensor, side: int) -> list[slice]:
    """Return consecutive slices of at least one cube, at most `BLOCK` values after reduction, and at most `MOST` cubes."""
    values = cubes.shape[1] * min(cubes.shape[-1], side) ** 2
    count = min(max(1, BLOCK // values), MOST)
    return [slice(i, min(i + count, len(cubes))) for i in range(0, len(cubes), count)]


def _reduced(cubes: Tensor, side: int) -> Tensor:
    """Return the cubes in float32 with a side of at most `side` pixels, `AT_ONCE` cubes at a time."""
    if cubes.shape[-1] <= side:
        return cubes.float()
    return torch.cat([interpolate(part.float(), (side, side), mode="area") for part in cubes.split(AT_ONCE)])


def _barred(exclude: NDArray[np.bool_] | Groups | None, n: int, m: int) -> NDArray[np.bool_] | None:
    """Return the pairs (n, m) that may not be chosen, None if all may."""
    if isinstance(exclude, tuple):
        of_x, of_y = (np.asarray(groups, dtype=object) for groups in exclude)
        exclude = np.asarray(of_x[:, None] == of_y[None, :], dtype=np.bool_)
    if exclude is None:
        return None
    if exclude.shape != (n, m):
        raise CubeError(f"excluded pairs of shape {exclude.shape} for {n} and {m} cubes", f"Give {n} rows and {m} columns.")
    alone = np.flatnonzero(exclude.all(1))
    if len(alone):
        raise CubeError(f"cube {alone[0]} has no cube left to be paired with", "Exclude fewer pairs, or give more groups.")
    return exclude


def _check(x: Tensor, y: Tensor) -> None:
    shapes = f"cubes of shape {tuple(x.shape)} and {tuple(y.shape)}"
    if x.ndim != 4 or x.shape[1:] != y.shape[1:] or x.shape[2] != x.shape[3]:
        raise CubeError(f"{shapes} cannot be paired", "Give square cubes (N, B, S, S) and (M, B, S, S).")
    if not len(y):
        raise CubeError(f"{shapes}: no cube to be paired with", "Give at least one.")


METRICS = (
    Metric(
        key="sam_nearest",
        title="spectral angle to the nearest cube",
        function=nearest_by_angle,
        kind="pair",
        better="as real",
        unit="rad",
        span=(0.0, float(np.pi)),
        perfect=0.0,
        formula="min over y of the mean over pixels of the spectral angle, at 32 px",
        source="Kruse et al., Remote Sensing of Environment 44, 1993",
        cannot="brightness, and variety: one real cube may be the nearest of all; too small is a copy, or an average",
    ),
    Metric(
        key="thumbnail_nearest",
        title="distance to the nearest thumbnail",
        function=nearest_by_thumbnail,
        kind="pair",
        better="as real",
        unit="",
        span=(0.0, None),
        perfect=0.0,
        formula="min over y of sqrt(mean (x / mean x − y / mean y)²), at 16 px",
        source="root mean square difference",
        cannot="detail below a sixteenth of the image, exposure, and lesions that are turned or moved",
    ),
)
