"""Search for the train lesion of which a cube is a copy, whatever a camera changed: exposure, angle, position, sharpness.

The similarity of two cubes is a normalised cross-correlation that does not see what a copy may change:

- *Exposure and gain of bands.* Each band is divided by its mean over the image, and 1 is subtracted.
- *Noise.* Bands are reduced to the few components that hold more signal than noise, by the minimum noise fraction
  transformation (Green et al., IEEE TGRS 26, 1988) of the train lesions. The noise is estimated from second differences.
- *Sharpness.* The components are whitened: each spatial frequency is divided by its root mean power in train, up to
  `CUTOFF` cycles an image, and by less where noise hides it. Without whitening all lesions resemble each other, as dark
  blobs on skin; with it, two different lesions are nearly uncorrelated, and blurring lowers the correlation of a copy but
  raises that of no other pair.
- *Angle, mirror, position, zoom.* All are searched: on a coarse grid against every train lesion (`_coarse`), then finely
  for the best few (`_fine`), where the correlation counts only the part that both images show (Padfield, IEEE TIP 21, 2012).

The similarity is Fisher's z of the correlation, atanh r; it has no unit. Two different lesions of the phantom come to about
0.65, at most about 1; copies to 1.1 and more (`python -m tests.bench.audit`).
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import eigh
from torch import Tensor
from torch.nn.functional import affine_grid, avg_pool2d, grid_sample, interpolate, pad

from hyperderm.errors import StoreError

SIDE = 32
"""Side in pixels at which cubes are compared finely; finer detail is noise, in which a copy may differ."""
CUTOFF = 6.0
"""Highest spatial frequency that counts, in cycles an image; a slight blur leaves it."""
LEAST_SNR = 1.0
"""Ratio of signal to noise that a spectral component must have; at least two components are kept."""
READ_NOISE, SHOT_NOISE = 0.006, 0.02
"""Noise that a copy may add, as the spectral augmentation does: in reflectance, and relative to its square root."""
_COARSE = 12
_ANGLES = 24
_SHIFT = 3  # of `_COARSE` pixels: a quarter of the image in each direction
_ZOOMS = (1.0, 1.25)
_TOP = 3  # train lesions that are compared finely
_TURNS = (-6.0, -3.0, 0.0, 3.0, 6.0)  # degrees around the coarse angle
_FINE_ZOOMS = {1.0: (0.94, 1.0, 1.08), 1.25: (1.16, 1.25, 1.33)}
_LEAST_OVERLAP = 0.5
_MARGIN = SIDE // 4  # reflected around an image before it is filtered, since a transform joins opposite edges
_WIDE = SIDE + 2 * _MARGIN
_PADDED = SIDE + SIDE // 2  # enough: with a larger shift less than `_LEAST_OVERLAP` is common
_TINY = 1e-9
_MOST = 0.9999  # beyond, rounding decides


@dataclass(frozen=True, eq=False)
class Matches:
    """The best matches of n cubes.

    Attributes:
        similarity: (n,) similarity to the train lesion that matches best.
        row: (n,) row of that lesion among the train cubes.
    """

    similarity: NDArray[np.float64]
    row: NDArray[np.intp]


class CopySearch:
    """Compares cubes with all train lesions; components and whitening are fitted to these.

    Args:
        train: (N, B, S, S) reflectance, N >= 2; it is not changed.

    Raises:
        StoreError: the cubes are not square.
    """

    def __init__(self, train: Tensor) -> None:
        contrast = _contrast(train)
        measured = _relative(train.float()) if train.shape[-1] < SIDE else contrast  # enlarging makes noise look like signal
        self._components = _noise_fraction(measured, train.float().mean((0, 2, 3)))
        self._gain = _whitening(torch.einsum("nbhw,bk->nkhw", contrast, self._components))
        self._train = self._whitened(contrast)  # (N, k, SIDE, SIDE)
        self._orientations = [(mirror, turn, zoom) for zoom in _ZOOMS for mirror in (False, True) for turn in _turns()]
        kept = len(self._components.T)
        maps = torch.stack([_map(*each) for each in self._orientations])
        self._grid = affine_grid(maps, [len(maps), kept, _COARSE, _COARSE], align_corners=False)
        small = (_reduced(self._train, _COARSE) * _disc(_COARSE)).flatten(1)
        self._small = (small / small.norm(dim=1, keepdim=True).clamp_min(_TINY)).T.contiguous()  # (d, N)
        self._fine_parts = {zoom: _FineParts(zoom) for zoom in _ZOOMS}

    def search(self, cubes: Tensor, excluded: NDArray[np.bool_] | None = None) -> Matches:
        """Return the best match of every cube.

        Args:
            cubes: (n, B, S, S) reflectance.
            excluded: (n, N), True for train lesions with which a cube must not be compared, such as itself and its group.
                If all are excluded, the similarity is minus infinity.
        """
        found, rows = np.full(len(cubes), -np.inf), np.zeros(len(cubes), np.intp)
        for at in range(len(cubes)):
            signal = self._whitened(_contrast(cubes[at : at + 1]))[0]
            similar, oriented = self._coarse(signal)
            if excluded is not None:
                similar[torch.from_numpy(excluded[at])] = -math.inf
            for row in similar.topk(min(_TOP, len(similar))).indices.tolist():
                if similar[row] == -math.inf:
                    continue
                value = self._fine(signal, row, self._orientations[int(oriented[row])])
                if value > found[at]:
                    found[at], rows[at] = value, row
        return Matches(found, rows)

    def _whitened(self, contrast: Tensor) -> Tensor:
        components = torch.einsum("nbhw,bk->nkhw", contrast, self._components)
        wide = torch.fft.rfft2(pad(components, (_MARGIN,) * 4, mode="reflect"))
        return torch.fft.irfft2(wide * self._gain, (_WIDE, _WIDE))[..., _MARGIN:-_MARGIN, _MARGIN:-_MARGIN]

    def _coarse(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        """Return the highest correlation with each train lesion over the grid (N,), and its orientation (N,)."""
        small = _reduced(signal[None], _COARSE).expand(len(self._orientations), -1, -1, -1)
        turned = grid_sample(small, self._grid, padding_mode="zeros", align_corners=False) * _disc(_COARSE)
        moved = pad(turned, (_SHIFT,) * 4)
        places = range(2 * _SHIFT + 1)
        views = [moved[:, :, y : y + _COARSE, x : x + _COARSE] for y in places for x in places]
        stacked = torch.stack(views, 1).flatten(2)  # (orientations, places, d)
        whole = turned.flatten(1).norm(dim=1)[:, None, None]
        # What remains of a cube that is nearly shifted out of the image must not be blown up.
        norm = torch.maximum(torch.linalg.vector_norm(stacked, dim=2, keepdim=True), 0.5 * whole).clamp_min(_TINY)
        best: Any = (stacked @ self._small / norm).amax(1).max(0)
        return best.values, best.indices

    def _fine(self, signal: Tensor, row: int, orientation: tuple[bool, float, float]) -> float:
        """Return the similarity to one train lesion, over all shifts and over angles and zooms near `orientation`."""
        mirror, turn, zoom = orientation
        parts = self._fine_parts[zoom]
        grid = _near(mirror, turn, zoom)
        turned = grid_sample(signal.expand(len(grid), -1, -1, -1), grid, mode="bicubic", align_corners=False) * parts.shown
        other = self._train[row] * _disc(SIDE)
        product = _back((_padded(turned) * _padded(other).conj()).sum(1))
        own = _back(_padded(turned.square().sum(1)) * _padded(_disc(SIDE)).conj())
        its = _back(parts.shown_spectrum * _padded(other.square().sum(0)).conj())
        correlation = product / (own.clamp_min(_TINY) * its.clamp_min(_TINY)).sqrt()
        return float(torch.atanh(correlation[parts.overlap >= _LEAST_OVERLAP].max().clamp(-_MOST, _MOST)))


class _FineParts:
    """What the fine search needs of the masks, for each angle and zoom near a coarse zoom.

    Attributes:
        shown: (m, 1, SIDE, SIDE), 1 where a turned cube shows something.
        shown_spectrum: its padded transform.
        overlap: (m, padded, padded) share of the image that both show, at each shift.
    """

    def __init__(self, zoom: float) -> None:
        discs = [_disc(SIDE, 1 / max(each, 1.0)) for _ in _TURNS for each in _FINE_ZOOMS[zoom]]
        self.shown = torch.stack(discs)[:, None]
        self.shown_spectrum = _padded(self.shown[:, 0])
        self.overlap = _back(self.shown_spectrum * _padded(_disc(SIDE)).conj()) / _disc(SIDE).sum()


def _contrast(cubes: Tensor) -> Tensor:
    """Return cubes at `SIDE` pixels, each band divided by its mean, minus 1: (n, B, S, S) -> (n, B, SIDE, SIDE) float32."""
    if cubes.shape[-1] != cubes.shape[-2]:
        raise StoreError(f"cubes of {tuple(cubes.shape[-2:])} pixels cannot be audited", "Use square cubes.")
    x = cubes.float()
    x = _reduced(x, SIDE) if x.shape[-1] > SIDE else interpolate(x, (SIDE, SIDE), mode="bilinear", align_corners=False)
    return _relative(x)


def _relative(cubes: Tensor) -> Tensor:
    """Return each band divided by its mean, minus 1."""
    return cubes / cubes.mean((2, 3), keepdim=True).clamp_min(1e-3) - 1


def _noise_fraction(contrast: Tensor, mean: Tensor) -> Tensor:
    """Return the components (B, k) with more than `LEAST_SNR` times as much signal as noise, at least two.

    The noise is that of the train cubes, `contrast` (N, B, H, W), and what a camera may add at their level, `mean`
    (B,). Each component has unit noise.
    """
    fine = contrast.diff(dim=2).diff(dim=3) / 2  # as much noise as a pixel, and hardly any signal
    noise, signal = _covariance(fine), _covariance(avg_pool2d(contrast, 3, 1))
    level = mean.double().clamp_min(1e-3).numpy()
    noise += np.diag((READ_NOISE**2 + SHOT_NOISE**2 * level) / level**2)
    ratio, vectors = eigh(signal, noise)
    kept = max(2, int((ratio > LEAST_SNR).sum()))
    return torch.from_numpy(vectors[:, ::-1][:, :kept].copy()).float()


def _covariance(images: Tensor) -> NDArray[np.float64]:
    x = images.transpose(0, 1).flatten(1).double()
    found: NDArray[np.float64] = (x @ x.T / x.shape[1]).numpy()
    return found


def _whitening(components: Tensor) -> Tensor:
    """Return the gain of each frequency, 0 above `CUTOFF`: (k, _WIDE, _WIDE // 2 + 1).

    It is one over train's root mean power, times Wiener's share of signal in that power plus noise.
    """
    power = torch.fft.rfft2(components * _disc(SIDE), (_WIDE, _WIDE)).abs().square().mean(0)
    y, x = torch.fft.fftfreq(_WIDE) * SIDE, torch.fft.rfftfreq(_WIDE) * SIDE
    radius = (y[:, None].square() + x.square()).sqrt()
    ring = radius.round().long()
    rings = torch.zeros(len(power), int(ring.max()) + 1).index_add_(1, ring.flatten(), power.flatten(1))
    mean = rings / torch.bincount(ring.flatten())
    rolled = 0.5 * (1 + torch.cos(math.pi * ((radius / CUTOFF - 0.7) / 0.3).clamp(0, 1)))
    power = mean[:, ring].clamp_min(_TINY)
    return rolled * (radius >= 0.5) * power.sqrt() / (power + _disc(SIDE).sum())


def _map(mirror: bool, turn: float, zoom: float) -> Tensor:
    """Return the map (2, 3) of `affine_grid` that turns an image by `turn` degrees after shrinking it by `zoom`."""
    a = math.radians(turn)
    c, s = zoom * math.cos(a), zoom * math.sin(a)
    return torch.tensor([[-c if mirror else c, -s, 0.0], [-s if mirror else s, c, 0.0]])


@lru_cache(maxsize=2 * 2 * _ANGLES)
def _near(mirror: bool, turn: float, zoom: float) -> Tensor:
    """Return the grids of `grid_sample` for angles and zooms near an orientation: (m, SIDE, SIDE, 2), never changed."""
    maps = torch.stack([_map(mirror, turn + more, each) for more in _TURNS for each in _FINE_ZOOMS[zoom]])
    return affine_grid(maps, [len(maps), 1, SIDE, SIDE], align_corners=False)


def _turns() -> list[float]:
    return [360 * k / _ANGLES for k in range(_ANGLES)]


@lru_cache(maxsize=64)
def _disc(side: int, radius: float = 1.0) -> Tensor:
    """Return an image that is 1 in a disc; `radius` is relative to half the side. It is kept and must not be changed."""
    at = (torch.arange(side) + 0.5) / side * 2 - 1
    return ((at[:, None].square() + at.square()).sqrt() <= radius).float()


def _reduced(images: Tensor, side: int) -> Tensor:
    return interpolate(images, (side, side), mode="area")


def _padded(images: Tensor) -> Tensor:
    return torch.fft.rfft2(images, (_PADDED, _PADDED))


def _back(spectra: Tensor) -> Tensor:
    return torch.fft.irfft2(spectra, (_PADDED, _PADDED))
