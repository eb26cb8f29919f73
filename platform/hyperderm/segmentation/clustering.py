"""Clusters of the pixels of a scene: Gaussian mixture or k-means on features and place, and baselines on its spectra.

A scene of any size is fitted on at most `FIT_PIXELS` pixels that are drawn by the seed (fewer of long spectra: at most
`FIT_VALUES` numbers), and its pixels are labelled `AT_ONCE` at a time. So beside the scene itself, which is never copied,
memory is needed for the fit alone: some hundred MB.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from hyperderm.errors import ConfigError

Method = Literal["tied", "full", "kmeans"]
"""`tied`: mixture whose clusters share one full covariance matrix; `full`: each has its own; `kmeans`: no covariance.

With matrices of their own, one wide cluster tends to take all mixed pixels between the pure ones. With a shared matrix the
borders between clusters are planes, halfway between the centres if the clusters are of equal size.
"""

Scene = NDArray[np.floating]
Values = NDArray[np.float64]
FEWEST = 2
FIT_PIXELS = 50_000
FIT_VALUES = 4_000_000
AT_ONCE = 20_000
RESTARTS = 5
"""Starts of k-means, of which the one with the least squares is kept. A mixture starts once, from those clusters: among many
starts the likeliest is often a wrong one, with one wide cluster over two materials (on Samson in a third of the seeds)."""
ITERATIONS = 300
RIDGE = 0.1
"""Added to the variances of every cluster of latent vectors, in units of the mean variance of the standardised features."""
PIXEL_RIDGE = 1e-4
"""The same for mixtures of spectra, whose many bands are nearly dependent: only so much that a covariance has an inverse."""


@dataclass(frozen=True, eq=False)
class Clusters:
    """The clusters of a scene, numbered by size: 0 is the largest.

    Attributes:
        labels: (H, W) int32, −1 for masked pixels.
        centres: (K, D) mean of each cluster's distribution, in the units of the features and without coordinates, so that a
            decoder can make spectra of it.
        sizes: (K,) number of pixels; may be 0 for a component of a mixture that is the most likely one nowhere.
        masked: number of pixels left out because a feature is NaN or infinite.
        fitted: number of pixels that the fit has seen.
        converged: whether the fit came to rest within `ITERATIONS` steps.
    """

    labels: NDArray[np.int32]
    centres: Values
    sizes: NDArray[np.int64]
    masked: int
    fitted: int
    converged: bool


def cluster(
    features: Scene, count: int, seed: int, method: Method = "tied", weight: float = 0.0, ridge: float = RIDGE
) -> Clusters:
    """Divide the pixels of a scene into K clusters.

    Features are standardised: centred, and divided by one number so that their mean variance is 1. One number for all
    keeps distances between pixels, so a latent number that hardly varies does not count as much as the others. To them
    λ·(x, y) is added, where (x, y) runs from 0 to 1 over the width and the height of the scene.

    How λ acts: for `kmeans` it scales distances in the picture against those of features, directly. A mixture adapts its
    covariances to any scale, so λ acts through the ridge r alone, which is added to all variances: place matters as far as
    the variance of λ·(x, y), λ²/12 over a whole scene, is not small against r. With r = 0.1, place has little influence at
    λ = 0.5, and as much as it can have from λ = 3 on. λ = 0 leaves place out.

    Args:
        features: (H, W, D) latent vectors or spectra; pixels with a NaN or infinite value are masked.
        count: K, at least 2.
        seed: of the drawn pixels and the starts of k-means; the same seed gives the same clusters.
        method: see `Method`.
        weight: λ, at least 0.
        ridge: r, above 0, in units of the mean variance of the features; not used by `kmeans`.

    Raises:
        ConfigError: K is below 2 or larger than the number of different usable pixels; all usable pixels are equal, or none
            is usable; the weight is negative; or the features are not (H, W, D).
    """
    return _clustered(features, count, seed, method, weight, ridge, lambda part: part)


def baselines(cube: Scene, count: int, seed: int) -> dict[str, Clusters]:
    """Return the clusters that every segmentation is shown beside: k-means and mixtures of spectra, raw and of unit length.

    Mixtures have a covariance matrix for each cluster (`full`) and the ridge `PIXEL_RIDGE`. Place does not count.

    Args:
        cube: (H, W, B) reflectance, at least 2 bands; pixels with a NaN or infinite band are masked.
        count: K, see `cluster`.
        seed: see `cluster`.

    Returns:
        Clusters by name: `k-means, raw`, `mixture, raw`, `k-means, L2` and `mixture, L2`.

    Raises:
        ConfigError: a cube of one band, or pixels that cannot be divided (`cluster`); after division by their length, this
            also means pixels that differ in brightness alone.
    """
    if cube.ndim == 3 and cube.shape[2] < FEWEST:
        raise ConfigError("a cube of one band has no spectra to divide", "Give a cube of 2 bands or more.")
    return {
        name: _clustered(cube, count, seed, method, 0.0, PIXEL_RIDGE, change) for name, (method, change) in BASELINES.items()
    }


def unit_length(spectra: Scene) -> Scene:
    """Return spectra (n, B) divided by their Euclidean length, so that brightness does not count; a zero one stays zero."""
    length = np.linalg.norm(spectra, axis=-1, keepdims=True)
    return np.divide(spectra, length, out=np.zeros_like(spectra), where=length > 0)


def _as_it_is(spectra: Scene) -> Scene:
    return spectra


Change = Callable[[Scene], Scene]
"""What is done to pixels (n, D) before they are divided."""

BASELINES: dict[str, tuple[Method, Change]] = {
    "k-means, raw": ("kmeans", _as_it_is),
    "mixture, raw": ("full", _as_it_is),
    "k-means, L2": ("kmeans", unit_length),
    "mixture, L2": ("full", unit_length),
}
"""The segmentations of spectra beside which every other is shown, by name."""


@dataclass(frozen=True, eq=False)
class Division:
    """Clusters that were fitted to a sample of pixels, for labelling scenes of any number.

    Attributes:
        centres: (K, D) mean of each cluster, in the units of the features, without coordinates.
        sizes: (K,) number of pixels among those that were fitted, falling; cluster 0 is the largest.
        converged: whether the fit came to rest within `ITERATIONS` steps.
        labels: (n,) int32 clusters of the pixels that were fitted.
        model: the fitted model, of standardised features and λ·(x, y).
        new: (K,) the cluster of each component of the model.
        shift: mean (D,) and scale of the features.
        change: what is done to pixels first.
        weight: λ.
    """

    centres: Values
    sizes: NDArray[np.int64]
    converged: bool
    labels: NDArray[np.int32]
    model: KMeans | GaussianMixture
    new: NDArray[np.int32]
    shift: tuple[Values, float]
    change: Change
    weight: float

    def label(self, features: Scene) -> NDArray[np.int32]:
        """Return the clusters (H, W) int32 of a scene's features (H, W, D); −1 where one is NaN or infinite."""
        pixels = features.reshape(-1, features.shape[2])
        found = np.full(len(pixels), -1, np.int32)
        where = np.flatnonzero(finite(pixels))
        place = _Place(features.shape[:2], self.weight)
        for start in range(0, len(where), AT_ONCE):
            part = where[start : start + AT_ONCE]
            found[part] = self._predicted(pixels[part], place(part))
        return found.reshape(features.shape[:2])

    def _predicted(self, pixels: Scene, place: Values) -> NDArray[np.int32]:
        centre, scale = self.shift
        scaled = (self.change(pixels.astype(np.float64)) - centre) / scale
        return self.new[self.model.predict(np.hstack([scaled, place]))]


def divide(
    pixels: Scene,
    place: Values,
    count: int,
    seed: int,
    method: Method = "tied",
    weight: float = 0.0,
    ridge: float = RIDGE,
    change: Change = _as_it_is,
    masked: int = 0,
) -> Division:
    """Fit K clusters to pixels of one or many scenes; see `cluster` for the method, its arguments and its errors.

    Args:
        pixels: (n, D) features, all finite; at most `fit_limit(D)` of them keep within the memory that the module declares.
        place: (n, 2) x and y of each pixel, from 0 to 1 over the width and the height of its scene.
        count, seed, method, weight, ridge: see `cluster`.
        change: what is done to the features first; see `BASELINES`.
        masked: number of pixels that were left out, for messages.
    """
    if not (weight >= 0 and np.isfinite(weight)):
        raise ConfigError(f"--weight {weight}", "Give 0 (place does not count) or more.")
    seen = np.asarray(change(pixels.astype(np.float64)), dtype=np.float64)
    _check_count(count, seen, masked)
    centre, scale = seen.mean(0), float(np.sqrt(seen.var(0).mean()))
    points = np.hstack([(seen - centre) / scale, *([weight * place] if weight else [])])
    model = _fitted(points, count, seed, method, ridge)
    labels, order, sizes = _by_size(model.predict(points).astype(np.int32), count)
    means = model.cluster_centers_ if method == "kmeans" else model.means_
    new = np.empty(count, np.int32)
    new[order] = np.arange(count)
    return Division(
        centres=(means[:, : seen.shape[1]] * scale + centre)[order],
        sizes=sizes,
        converged=bool(model.n_iter_ < ITERATIONS if method == "kmeans" else model.converged_),
        labels=labels,
        model=model,
        new=new,
        shift=(centre, scale),
        change=change,
        weight=weight,
    )


def fit_limit(width: int) -> int:
    """Return the largest number of pixels of `width` features to which clusters are fitted."""
    return min(FIT_PIXELS, max(1, FIT_VALUES // width))


def finite(pixels: Scene) -> NDArray[np.bool_]:
    """Return which pixels (n, D) are finite in all features, (n,) bool, without a copy of them."""
    parts = [np.isfinite(pixels[start : start + AT_ONCE]).all(1) for start in range(0, len(pixels), AT_ONCE)]
    return np.concatenate(parts) if parts else np.zeros(0, np.bool_)


def _clustered(
    features: Scene,
    count: int,
    seed: int,
    method: Method,
    weight: float,
    ridge: float,
    change: Change,
) -> Clusters:
    """Do what `cluster` does, on features that `change` makes of (n, D) pixels."""
    pixels, usable = _usable(features)
    chosen, masked = _sample(usable, pixels.shape[1], seed), int((~usable).sum())
    place = _Place(features.shape[:2], 1.0)(chosen)
    division = divide(pixels[chosen], place, count, seed, method, weight, ridge, change, masked)
    raw = division.label(features).reshape(-1)
    labels, order, sizes = _by_size(raw, count)
    return Clusters(
        labels=labels.reshape(features.shape[:2]),
        centres=division.centres[order],
        sizes=sizes,
        masked=masked,
        fitted=len(chosen),
        converged=division.converged,
    )


class _Place:
    """λ·(x, y) of pixels by their index, or no columns at all for λ = 0."""

    def __init__(self, shape: tuple[int, ...], weight: float) -> None:
        self.columns, self.weight = shape[1], weight
        self.last = np.maximum(np.array([shape[1], shape[0]]) - 1, 1)

    def __call__(self, index: NDArray[np.intp]) -> Values:
        if self.weight == 0:
            return np.empty((len(index), 0))
        y, x = np.divmod(index, self.columns)
        return np.asarray(self.weight * np.stack([x, y], 1) / self.last)


def _usable(features: Scene) -> tuple[Scene, NDArray[np.bool_]]:
    """Return (N, D) features without a copy, and which of the N pixels are finite."""
    if features.ndim != 3 or 0 in features.shape:
        raise ConfigError(f"features of shape {features.shape}", "Give (height, width, features), none of them 0.")
    pixels = features.reshape(-1, features.shape[2])
    usable = finite(pixels)
    if not usable.any():
        raise ConfigError(f"none of the {len(pixels)} pixels is finite in all bands", "Give a cube with finite reflectance.")
    return pixels, usable


def _sample(usable: NDArray[np.bool_], width: int, seed: int) -> NDArray[np.intp]:
    """Return the indices of the pixels that the fit sees, ascending."""
    where = np.flatnonzero(usable)
    most = fit_limit(width)
    if len(where) <= most:
        return where
    return np.sort(np.random.default_rng(seed).choice(where, most, replace=False))


def _check_count(count: int, seen: Values, masked: int) -> None:
    asked = f"--clusters {count}"
    if count < FEWEST:
        raise ConfigError(f"{asked}: a scene is divided into at least {FEWEST}", f"Ask for {FEWEST} or more.")
    if count > len(seen):
        what = f"{asked}: there are {len(seen)} usable pixels, {masked} are masked"
        raise ConfigError(what, "Ask for fewer, or give a cube with more pixels.")
    different = len(np.unique(seen, axis=0))
    if different == 1:
        raise ConfigError(f"{asked}: all {len(seen)} pixels have one colour", "Give a scene whose pixels differ.")
    if count > different:
        raise ConfigError(f"{asked}: the pixels have {different} different colours", f"Ask for {different} or fewer.")


def _fitted(points: Values, count: int, seed: int, method: Method, ridge: float) -> KMeans | GaussianMixture:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # `Clusters.converged` says it
        start = KMeans(count, n_init=RESTARTS, max_iter=ITERATIONS, random_state=seed).fit(points)
        return start if method == "kmeans" else _mixture(points, start, method, ridge, seed).fit(points)


def _mixture(points: Values, start: KMeans, method: Method, ridge: float, seed: int) -> GaussianMixture:
    """Return a mixture, not yet fitted, that starts from the sizes, centres and covariances of the clusters of k-means."""
    weights = np.bincount(start.labels_, minlength=start.n_clusters) / len(points)
    apart = points - start.cluster_centers_[start.labels_]
    own = [apart[start.labels_ == label] for label in range(start.n_clusters)]
    shared = [apart] if method == "tied" else own
    covariances = np.stack([part.T @ part / max(len(part), 1) for part in shared]) + ridge * np.eye(points.shape[1])
    precisions = np.linalg.inv(covariances)
    return GaussianMixture(
        start.n_clusters,
        covariance_type=method,
        reg_covar=ridge,
        max_iter=ITERATIONS,
        random_state=seed,
        weights_init=weights,
        means_init=start.cluster_centers_,
        precisions_init=precisions[0] if method == "tied" else precisions,
    )


def _by_size(raw: NDArray[np.int32], count: int) -> tuple[NDArray[np.int32], NDArray[np.intp], NDArray[np.int64]]:
    """Return labels by falling size, the old label of each new one, and the sizes; equal sizes go by their first pixel."""
    sizes = np.bincount(raw[raw >= 0], minlength=count)
    first = np.full(count, len(raw))
    found, where = np.unique(raw, return_index=True)
    first[found[found >= 0]] = where[found >= 0]
    order = np.lexsort((first, -sizes))
    new = np.empty(count + 1, np.int32)
    new[order], new[-1] = np.arange(count), -1
    return new[raw], order, sizes[order]
