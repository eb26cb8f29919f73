"""Does a derived cube copy the lesion that it was made from, beyond the pseudo-RGB that its generator was given?

Such a cube shares geometry and pseudo-RGB with its lesion by construction, so that only what remains is compared: the
*detail*. Each band is divided by its mean and reduced, by least squares within the cube, by what is linear in the three
channels of the cube's own pseudo-RGB. Exposure and gains of bands drop out, and a slight blur changes cube and detail alike.
The detail of all bands is reduced to the components that hold more signal than noise (minimum noise fraction, Green et al.,
IEEE TGRS 26, 1988) and to low spatial frequencies (`CUTOFF`), and is whitened as in `copy_search`.

The similarity is Fisher's z, atanh r, of r = <a, l> / (max(|a|, |l|) |l|) for the details a of the cube and l of the lesion:
the correlation, but no more than the share of the lesion's detail that the cube holds. Otherwise the little detail of a
smooth cube would count as much as that of a copy.

An honest generator guesses some detail from what it was given. How much is learnt from the same generator: it is given
the pseudo-RGB of held-out lesions, and its cubes are compared with these.

- A *cube* is named a copy of its own lesion if the law of the held-out similarities gives its similarity, or a higher one, a
  probability of at most `RATE`, and if it holds at least `LEAST` of the detail. The law is Gumbel's with their mean and
  deviation, since they are skewed and a normal law would name too many; Student's factor for a prediction widens it, since
  they are few.
- A *set* copies its own lesions if the similarities of its train lesions are larger than those of the held-out ones
  (Mann-Whitney, one-sided, p < `LEVEL`, and the means differ by `LEAST_DIFFERENCE`), if the means of more lesions than
  chance lets through lie beyond the threshold of a more cautious law, or if one of them is beyond doubt; the rules are those
  of `memorisation`. The first tells of any generator that fits its train lesions better than others; both means are printed.

Lesions of one group count as one. `python -m tests.bench.audit` prints what is found and what is not.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import pi, sqrt

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import dctn
from scipy.linalg import eigh
from scipy.stats import binom, gumbel_r, mannwhitneyu, norm, t
from torch import Tensor
from torch.nn.functional import interpolate

from hyperderm.errors import StoreError
from hyperderm.metrics.camera_changes import CameraChange
from hyperderm.metrics.copy_search import READ_NOISE, SIDE
from hyperderm.metrics.memorisation import ALLOWANCE, CERTAIN, CHUNK, LEVEL, MOST, POWER, RATE, Copy, drawn
from hyperderm.statistics.intervals import wilson

FEWEST_HELD_OUT = 8
"""Smallest number of groups of held-out lesions from which the law is learnt."""
CUTOFF = 0.625
"""Highest spatial frequency that counts, relative to the highest that the pixels show along an axis."""
LEAST = 0.25
"""Similarity below which no cube is a copy: it holds less than a quarter of its lesion's detail, however rare that is."""
LEAST_DIFFERENCE = 0.1
"""Difference of mean similarities below which a set copies nothing worth the name, however certain the difference is. A
barely trained generator of blurred cubes came to .09 by chance of its fold."""
LEAST_RATIO = 1.15
"""Ratio of signal and noise to noise that a spectral component must have; at least two components are kept."""
_NOISE_FROM = 0.75  # of the highest frequency along an axis: beyond, only noise is left
_LEAST_SHARE = 0.02  # of signal at a frequency, relative to noise
_RIDGE = 1e-5  # relative; channels of a nearly grey cube are nearly the same
_TINY = 1e-9
_MOST = 0.9999


class Detail:
    """What cubes show beyond their pseudo-RGB; components and whitening are fitted to at most `MOST` lesions of train.

    Args:
        train: (N, B, S, S) reflectance.
        matrix: H (3, B) of the pseudo-RGB.
    """

    def __init__(self, train: Tensor, matrix: NDArray[np.float64]) -> None:
        self._matrix = torch.from_numpy(matrix).double()
        train = train[torch.from_numpy(drawn(np.random.default_rng(0), len(train), MOST))]
        spectra = np.concatenate([self._spectra(piece) for piece in train.split(CHUNK)])
        side = spectra.shape[-1]
        radius = np.hypot(*np.mgrid[:side, :side])
        self._low = (radius > 0) & (radius <= CUTOFF * side)
        low = spectra[:, :, self._low]
        level = train.double().mean((0, 2, 3)).clamp_min(1e-3).numpy()
        noise = _covariance(spectra[:, :, radius > _NOISE_FROM * side]) + np.diag((READ_NOISE / level) ** 2)
        ratio, vectors = eigh(_covariance(low), noise)
        kept = max(2, int((ratio > LEAST_RATIO).sum()))
        self._components = vectors[:, ::-1][:, :kept]
        power = np.square(np.einsum("nbf,bk->nkf", low, self._components)).mean(0)  # noise has power one
        ring = radius[self._low].round().astype(int)
        count = np.maximum(np.bincount(ring), 1)
        power = np.stack([np.bincount(ring, each) / count for each in power])[:, ring]
        self._gain = np.sqrt(np.maximum(power - 1, _LEAST_SHARE)) / np.maximum(power, _TINY)

    def of(self, cubes: Tensor) -> NDArray[np.float64]:
        """Return the whitened detail of cubes (n, B, S, S) as rows (n, d)."""
        low = (self._spectra(piece)[:, :, self._low] for piece in cubes.split(CHUNK))
        found = np.concatenate([np.einsum("nbf,bk->nkf", each, self._components) * self._gain for each in low])
        return found.reshape(len(cubes), -1)

    def _spectra(self, cubes: Tensor) -> NDArray[np.float64]:
        """Return the cosine transform (n, B, side, side) of what is not linear in each cube's own pseudo-RGB."""
        large = cubes.shape[-1] > SIDE
        x = (interpolate(cubes, (SIDE, SIDE), mode="area") if large else cubes).double()
        contrast = _contrast(x).flatten(2).transpose(1, 2)  # (n, pixels, B)
        rgb = _contrast(torch.einsum("cb,nbhw->nchw", self._matrix, x)).flatten(2).transpose(1, 2)
        products = rgb.transpose(1, 2) @ rgb
        products += torch.diag_embed(_RIDGE * products.diagonal(dim1=1, dim2=2) + _TINY)
        rest = contrast - rgb @ torch.linalg.solve(products, rgb.transpose(1, 2) @ contrast)
        found: NDArray[np.float64] = dctn(rest.transpose(1, 2).reshape(x.shape).numpy(), axes=(2, 3), norm="ortho")
        return found


def similarity(cubes: NDArray[np.float64], lesions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the similarity of cubes to lesions, row by row, from their details (n, d): see this module."""
    a, b = np.linalg.norm(cubes, axis=1), np.linalg.norm(lesions, axis=1)
    shared = (cubes * lesions).sum(1) / np.maximum(np.maximum(a, b) * b, _TINY)
    return np.arctanh(np.clip(shared, -_MOST, _MOST))


@dataclass(frozen=True)
class OwnLaw:
    """The law of the similarity of a cube to its own lesion, where its generator has not seen the lesion.

    Attributes:
        mean: mean of the held-out similarities.
        deviation: their standard deviation.
        count: their number.
        freedom: degrees of freedom of Student's factor.
    """

    mean: float
    deviation: float
    count: int
    freedom: float

    @classmethod
    def fitted(cls, held_out: NDArray[np.float64]) -> "OwnLaw":
        """Return the law of similarities (n,), n >= 2."""
        return cls(float(held_out.mean()), float(held_out.std(ddof=1)), len(held_out), len(held_out) - 1)

    @property
    def cautious(self) -> "OwnLaw":
        """The law for a set, all of whose cubes would be accused together if the deviation came out too small.

        The variance of n values varies by (2 + excess kurtosis) / n of its square. Gumbel's law has an excess kurtosis of
        2.4, so that their deviation is as uncertain as that of n / 2.2 normal values.
        """
        return replace(self, freedom=self.freedom / 2.2)

    @property
    def _scale(self) -> float:
        """Scale of the law of a further similarity."""
        few = float(t.isf(RATE, self.freedom) / norm.isf(RATE))
        return max(self.deviation, _TINY) * sqrt(1 + 1 / self.count) * few * sqrt(6) / pi

    @property
    def _location(self) -> float:
        return self.mean - float(np.euler_gamma) * self._scale

    @property
    def threshold(self) -> float:
        """The similarity that is reached with probability `RATE`, at least `LEAST`."""
        return max(LEAST, float(gumbel_r.isf(RATE, self._location, self._scale)))

    def p(self, value: float) -> float:
        """Return the probability of this similarity or a higher one."""
        return float(gumbel_r.sf(value, self._location, self._scale))


@dataclass(frozen=True)
class OwnAudit:
    """Whether the cubes of a derived set copy the lesions that they were made from, beyond the pseudo-RGB.

    Attributes:
        lesions: number of groups of train lesions from which cubes were made.
        held_out: number of groups of held-out lesions whose pseudo-RGB the generator was given to compare with.
        threshold: similarity from which on a cube is a copy of its own lesion.
        copies: the copies.
        above: number of groups whose mean similarity lies beyond the threshold of `OwnLaw.cautious`.
        certain_from: the smallest such number that makes this set memorised by itself.
        mean: mean similarity of train lesions, over groups.
        mean_held_out: mean similarity of held-out lesions, over groups.
        p: probability that train lesions come out so much more similar than held-out ones by chance (Mann-Whitney).
        memorised: whether the set copies its own lesions.
        changed: number of train lesions whose exposure, bands and noise were changed as a camera may change them.
        found: number of those that were found.
    """

    lesions: int
    held_out: int
    threshold: float
    copies: tuple[Copy, ...]
    above: int
    certain_from: int
    mean: float
    mean_held_out: float
    p: float
    memorised: bool
    changed: int
    found: int

    @property
    def notes(self) -> list[str]:
        """Sentences that a reader should know beside the verdict."""
        low, high = wilson(self.found / self.changed, self.changed)
        return [
            f"beyond the pseudo-RGB, cubes resemble their own {self.lesions} lesions by {self.mean:.2f} and, made by the "
            f"same generator from {self.held_out} held-out lesions, those by {self.mean_held_out:.2f} "
            f"(Fisher's z, p = {self.p:.2g})",
            f"of {self.changed} own lesions at other exposure, with other gains of bands and noise, it would name "
            f"{self.found} ({low:.0%} to {high:.0%} of such copies)",
        ]


class OwnReference:
    """What cubes of a derived set are compared with: their own lesions, and the law of cubes of unseen lesions.

    Args:
        train: (N, B, S, S) reflectance of the lesions that cubes may be made from, and of all others of train.
        lesion_ids: (N,) their ids.
        groups: (N,) their groups.
        held_out: (M, B, S, S) reflectance of lesions that the generator has not seen.
        made: (M, B, S, S) cubes that it made from their pseudo-RGB, in the orientation of the lesions.
        held_out_groups: (M,) groups of the held-out lesions, at least `FEWEST_HELD_OUT` different ones.
        matrix: H (3, B) of the pseudo-RGB.

    Attributes:
        law: the law of the similarity of a cube to its own lesion, if the generator has not seen that.
    """

    def __init__(
        self,
        train: Tensor,
        lesion_ids: Sequence[str],
        groups: Sequence[str],
        held_out: Tensor,
        made: Tensor,
        held_out_groups: Sequence[str],
        matrix: NDArray[np.float64],
    ) -> None:
        self._detail = Detail(train, matrix)
        self._lesions = self._detail.of(train)
        self._row = {name: row for row, name in enumerate(lesion_ids)}
        self._group = dict(zip(lesion_ids, groups, strict=True))
        unseen = similarity(self._detail.of(made), self._detail.of(held_out))
        self._held_out = _group_means(unseen, held_out_groups)
        self.law = OwnLaw.fitted(self._held_out)
        self._try_copies(train)

    def similarity(self, cubes: Tensor, sources: Sequence[str]) -> NDArray[np.float64]:
        """Return the similarity (n,) of cubes (n, B, S, S) to the lesions they were made from, in the same orientation.

        Raises:
            StoreError: a source is no train lesion.
        """
        if unknown := [name for name in sources if name not in self._row]:
            raise StoreError(
                f"cubes derived from lesion {unknown[0]}, which is not in train", "Audit them with their own store."
            )
        return similarity(self._detail.of(cubes), self._lesions[[self._row[name] for name in sources]])

    def result(self, similar: NDArray[np.float64], sources: Sequence[str]) -> OwnAudit:
        """Return the audit of a set.

        Args:
            similar: (m,) similarities of its cubes, m >= 1, from `similarity`.
            sources: (m,) the lesions they were made from.
        """
        seen = _group_means(similar, [self._group[name] for name in sources])
        law, threshold, cautious = self.law, self.law.threshold, self.law.cautious
        chance = binom(len(seen), ALLOWANCE * RATE)
        above = int((seen >= cautious.threshold).sum())
        p = float(mannwhitneyu(seen, self._held_out, alternative="greater").pvalue)
        most = float(seen.max())
        certain = most >= LEAST and cautious.p(most) * len(seen) < CERTAIN
        closer = p < LEVEL and float(seen.mean()) >= law.mean + LEAST_DIFFERENCE
        return OwnAudit(
            lesions=len(seen),
            held_out=law.count,
            threshold=threshold,
            copies=tuple(
                Copy(at, sources[at], float(similar[at]), law.p(float(similar[at])))
                for at in np.flatnonzero(similar >= threshold).tolist()
            ),
            above=above,
            certain_from=int(chance.isf(LEVEL)) + 1,
            mean=float(seen.mean()),
            mean_held_out=law.mean,
            p=p,
            memorised=closer or certain or float(chance.sf(above - 1)) < LEVEL,
            changed=self._changed,
            found=self._found,
        )

    def _try_copies(self, train: Tensor) -> None:
        rng = np.random.default_rng(0)
        rows = drawn(rng, len(train), POWER)
        copies = [
            CameraChange(exposure=float(rng.uniform(0.7, 1.3)), band_gain=0.03, noise=READ_NOISE)(train[row : row + 1], rng)
            for row in rows
        ]
        met = similarity(self._detail.of(torch.cat(copies)), self._lesions[rows])
        self._changed, self._found = len(rows), int((met >= self.law.threshold).sum())


def _contrast(images: Tensor) -> Tensor:
    return images / images.mean((2, 3), keepdim=True).clamp_min(1e-3) - 1


def _covariance(values: NDArray[np.float64]) -> NDArray[np.float64]:
    x = np.moveaxis(values, 1, 0).reshape(values.shape[1], -1)
    return x @ x.T / x.shape[1]


def _group_means(values: NDArray[np.float64], groups: Sequence[str]) -> NDArray[np.float64]:
    names, place = np.unique(np.array(groups), return_inverse=True)
    return np.bincount(place, values, minlength=len(names)) / np.bincount(place, minlength=len(names))
