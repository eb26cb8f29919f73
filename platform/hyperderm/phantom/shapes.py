"""The geometry of a lesion: outlines, pigment patterns and skin texture as functions of continuous coordinates.

This module does not depend on pixels. A scene is drawn once from a generator; a finer grid shows more detail of the same
scene. Coordinates are in lesion radii, with the lesion near the origin; a grid is the outer product of `y` (rows) and `x`.
The structures of each diagnosis, with the literature, are in `traits`.
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from hyperderm.phantom.traits import Traits

Array = NDArray[np.float32]

EXTENT = 3.2  # scenes are textured for |x|, |y| below this


class Noise:
    """A smooth Gaussian random field of zero mean and unit variance: a cubic B-spline over a lattice of normals."""

    def __init__(self, rng: np.random.Generator, cell: float) -> None:
        self.cell = cell
        n = int(np.ceil(2 * EXTENT / cell)) + 4
        self.values = rng.standard_normal((n, n), dtype=np.float32)

    def at(self, x: Array, y: Array) -> Array:
        """Return the field on the grid y × x.

        It sums four terms per side without BLAS, so that any number of threads gives the same bits.
        """
        rows, columns = self._neighbours(y), self._neighbours(x)
        lines = sum(w[:, None] * self.values[i] for i, w in rows)
        return np.asarray(sum(w * np.take(lines, i, axis=1) for i, w in columns), dtype=np.float32)

    def _neighbours(self, t: Array) -> list[tuple[NDArray[np.intp], Array]]:
        """Return the four lattice indices around each coordinate and their spline weights, whose squares sum to 1."""
        place = (t + np.float32(EXTENT)) / np.float32(self.cell) + 1
        first = np.floor(place).astype(np.intp)
        f = place - first
        w = np.stack([(1 - f) ** 3, 4 - 6 * f**2 + 3 * f**3, 1 + 3 * f + 3 * f**2 - 3 * f**3, f**3])
        w = (w / np.sqrt(np.square(w).sum(axis=0))).astype(np.float32)
        last = self.values.shape[0] - 1
        return [(np.clip(first + k, 0, last), w[k]) for k in range(4)]


def blobs(x: Array, y: Array, centres: Array, radius: Array) -> Array:
    """Return soft discs in [0, 1]: `centres` (K, 2) as (x, y), `radius` (K,).

    The sum of Gaussians is separable and therefore cheap.
    """
    gx = np.exp(-0.7 * ((x[:, None] - centres[:, 0]) / radius) ** 2)
    gy = np.exp(-0.7 * ((y[:, None] - centres[:, 1]) / radius) ** 2)
    cover = np.einsum("ik,jk->ij", gy, gx)  # not BLAS, see Noise.at
    return smoothstep(cover.astype(np.float32), 0.2, 0.8)


def smoothstep(t: Array, low: float, high: float) -> Array:
    """Return 0 below `low`, 1 above `high`, and a smooth transition between them."""
    s = np.clip((t - low) / (high - low), 0, 1)
    return (s * s * (3 - 2 * s)).astype(np.float32)


def sigmoid(t: Array) -> Array:
    """Return the logistic function of `t` without overflow."""
    return (0.5 + 0.5 * np.tanh(0.5 * t)).astype(np.float32)


class Patch:
    """An area that covers about `share` of the plane, with a soft edge."""

    def __init__(self, rng: np.random.Generator, cell: float, share: float, edge: float) -> None:
        self.noise, self.edge = Noise(rng, cell), edge
        self.level = NormalDist().inv_cdf(1 - min(max(share, 1e-3), 1 - 1e-3))
        self.present = share > 0

    def at(self, x: Array, y: Array) -> Array:
        """Return the area's membership in [0, 1] on the grid y × x."""
        if not self.present:
            return np.zeros((y.size, x.size), np.float32)
        return sigmoid((self.noise.at(x, y) - self.level) / self.edge)


@dataclass(frozen=True)
class Polar:
    """A grid in lesion coordinates: `phi` is 1 at the centre and 0 on the border, `angle` is in radians."""

    phi: Array
    angle: Array


class Outline:
    """The border: an ellipse bent by harmonics, roughened by noise, with notches and pseudopods."""

    def __init__(self, rng: np.random.Generator, traits: Traits) -> None:
        self.traits = traits
        self.turn = float(rng.uniform(0, 2 * np.pi))
        self.stretch = float(np.sqrt(1 + traits.elongation))
        t = np.linspace(-np.pi, np.pi, 721)
        k = np.arange(1, 7)[:, None]
        falls = np.array([0.6, 0.7, 1.0, 0.6, 0.4, 0.3])[:, None] * rng.standard_normal((6, 1)) * 0.13
        bends = (falls * np.cos(k * t + rng.uniform(0, 2 * np.pi, (6, 1)))).sum(axis=0)
        self.segment = np.exp(3.0 * (np.cos(t - rng.uniform(-np.pi, np.pi)) - 1))
        spikes = np.clip(np.cos(rng.integers(16, 26) * t + 0.8 * np.sin(3 * t)), 0, None) ** 2
        self.spikes = (self.segment * spikes * traits.streaks).astype(np.float32)
        self.radius = np.exp(traits.asymmetry * bends) * (1 + 0.16 * self.spikes)
        self.softness = np.exp(traits.abruptness * 1.1 * np.cos(t + rng.uniform(-np.pi, np.pi)))
        self.table = t
        self.coarse, self.fine, self.bites = Noise(rng, 0.42), Noise(rng, 0.17), Noise(rng, 0.24)

    def polar(self, x: Array, y: Array) -> Polar:
        """Return `phi` and `angle` on the grid y × x."""
        c, s = np.cos(self.turn), np.sin(self.turn)
        u = (c * x[None, :] + s * y[:, None]) / self.stretch
        v = (c * y[:, None] - s * x[None, :]) * self.stretch
        angle = np.arctan2(v, u).astype(np.float32)
        phi = 1 - np.hypot(u, v) / np.interp(angle, self.table, self.radius)
        ragged = 0.75 * self.coarse.at(x, y) + 0.45 * self.fine.at(x, y)
        phi = phi + self.traits.irregularity * ragged
        bite = self.traits.notch * np.clip(self.bites.at(x, y) - 0.3, 0, 2)
        return Polar((phi - bite * smoothstep(phi, 0.55, 0.1)).astype(np.float32), angle)

    def at_angle(self, values: Array, polar: Polar) -> Array:
        """Return a function of the angle, tabulated like `radius`, on the grid."""
        return np.interp(polar.angle, self.table, values).astype(np.float32)


def lesion_mask(phi: Array) -> NDArray[np.bool_]:
    """Return the lesion's mask: the largest connected part of `phi` > 0, with holes filled."""
    labels, count = ndimage.label(phi > 0)
    if count == 0:
        return np.zeros(phi.shape, np.bool_)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray(ndimage.binary_fill_holes(labels == sizes.argmax()), dtype=np.bool_)


class Network:
    """A pigment network: brown lines around pale holes on a honeycomb, bent by `disorder`."""

    def __init__(self, rng: np.random.Generator, disorder: float) -> None:
        mesh = rng.uniform(0.085, 0.14)
        turns = rng.uniform(0, np.pi) + np.arange(3) * 2 * np.pi / 3
        self.waves = 2 * np.pi / mesh * np.stack([np.cos(turns), np.sin(turns)], axis=1)
        self.bends = [Noise(rng, 0.20) for _ in range(2)]
        self.swing = 0.06 * (0.3 + disorder)
        self.region = Patch(rng, 0.6, 1.0 - 0.55 * disorder, 0.35)

    def at(self, x: Array, y: Array) -> Array:
        """Return the lines, from about -1 in holes to +1 on lines, fading out where the network is absent."""
        dx, dy = (self.swing * n.at(x, y) for n in self.bends)
        px, py = x[None, :] + dx, y[:, None] + dy
        holes = sum(np.cos(w[0] * px + w[1] * py) for w in self.waves)  # -1.5 … 3
        lines = 1 - 2 * smoothstep(np.asarray(holes, dtype=np.float32), -1.1, 1.3)
        return (lines * self.region.at(x, y)).astype(np.float32)


class Spots:
    """Round structures scattered inside the lesion: globules, dots, cysts, plugs, coiled vessels."""

    def __init__(
        self, rng: np.random.Generator, count: int, size: tuple[float, float], amount: float, clusters: int = 0
    ) -> None:
        self.amount = amount
        angle, r = rng.uniform(0, 2 * np.pi, count), 1.1 * np.sqrt(rng.random(count))
        centres = np.stack([r * np.cos(angle), r * np.sin(angle)], axis=1)
        if clusters:
            centres = centres[:clusters][rng.integers(0, clusters, count)] + 0.16 * rng.standard_normal((count, 2))
        self.centres = centres.astype(np.float32)
        self.radius = rng.uniform(*size, count).astype(np.float32)

    def at(self, x: Array, y: Array) -> Array:
        """Return the membership in [0, 1] times the amount."""
        if self.amount == 0:
            return np.zeros((y.size, x.size), np.float32)
        return self.amount * blobs(x, y, self.centres, self.radius)


class Hairs:
    """Gently bent hairs: `dark` hairs are full of melanin, the others are white."""

    def __init__(self, rng: np.random.Generator, count: int, reach: float) -> None:
        self.count = count
        lean = rng.uniform(0, np.pi)
        self.turn = lean + 0.35 * rng.standard_normal(count)
        self.offset = rng.uniform(-reach, reach, count)
        self.bend = 0.12 * rng.standard_normal(count)
        self.start, self.stop = rng.uniform(-2.2, 0.3, count) * reach, rng.uniform(-0.3, 2.2, count) * reach
        self.width = rng.uniform(0.008, 0.018, count)
        self.dark = rng.random() < 0.75

    def at(self, x: Array, y: Array) -> Array:
        """Return the cover in [0, 1]."""
        cover = np.zeros((y.size, x.size), np.float32)
        for turn, offset, bend, start, stop, width in zip(
            self.turn, self.offset, self.bend, self.start, self.stop, self.width, strict=True
        ):
            c, s = np.float32(np.cos(turn)), np.float32(np.sin(turn))
            u = c * x[None, :] + s * y[:, None]
            v = c * y[:, None] - s * x[None, :] - offset - bend * u * u
            distance = np.abs(v) / np.sqrt(1 + (2 * bend * u) ** 2)
            inside = smoothstep(width - distance, -0.5 * width, 0.5 * width) * ((u > start) & (u < stop))
            np.maximum(cover, inside.astype(np.float32), out=cover)
        return cover
