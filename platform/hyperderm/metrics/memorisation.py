"""Memorisation audit: are synthetic cubes nearer to the training cubes than real lesions that no training has seen?

The distance of each cube to its nearest training cube is measured in two spaces. In pixels it is the root mean square
difference in reflectance, at 32 px or less, the smallest over the eight flips and quarter turns. In spectral features it is
the distance of `spectra.cube_features` in units of train's deviations. A synthetic cube is called a copy if, in either
space, its distance is not larger than the 1 % quantile of the distances of the held-out real cubes. This quantile is the
j-th smallest of n distances with j = ceil(n / 100), so for fewer than 101 held-out cubes it is the smallest. Held-out cubes
that are identical to train cubes (a picture that a data set contains twice) are left out and counted: they would hide every
copy.

The set is called memorised if it holds more copies than that threshold lets through by chance. If synthetic and held-out
cubes were alike, a new cube would lie below the j-th smallest of n with a probability that is itself distributed as
Beta(j, n + 1 − j), because the threshold is an estimate. Therefore the number of copies among m cubes is beta-binomial; for
large n this is the binomial at 1 %. The rule: P(as many copies or more) < .01 / 2 in one of the two spaces.
The validation role serves as held-out; the test role is never used. A derived set (each cube is made from the pseudo-RGB of
a train cube) keeps the geometry of its sources and is expected to be nearer in pixels; the result is reported unchanged.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import ceil, log10
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from scipy.stats import betabinom
from torch import Tensor
from torch.nn.functional import interpolate

from hyperderm.errors import StoreError
from hyperderm.metrics.orientation import ORIENTATIONS, orient
from hyperderm.metrics.spectra import Standardiser, cube_features

PIXELS = 32
"""Side in pixels at which cubes are compared: finer detail is noise, in which a copy may differ."""
QUANTILE = 0.01
LEVEL = 0.01
CHUNK = 32
IDENTICAL_BELOW = 1e-5
"""Root mean square difference in reflectance below which two cubes are the same picture. Such a difference comes from
rounding; sensor noise is hundreds of times larger."""
_DIGITS = 6


@dataclass(frozen=True)
class SpaceAudit:
    """The audit in one space.

    Attributes:
        threshold: the 1 % quantile of the held-out cubes' distances to the nearest train cube.
        copies: number of synthetic cubes whose distance is not larger than the threshold.
        expected: number of copies to be expected of a generator that has memorised nothing.
        p: probability that such a generator makes as many copies or more.
        median_synthetic: median distance of the synthetic cubes.
        median_held_out: median distance of the held-out cubes.
    """

    threshold: float
    copies: int
    expected: float
    p: float
    median_synthetic: float
    median_held_out: float


@dataclass(frozen=True)
class Audit:
    """The audit of a set.

    Attributes:
        synthetic: number of synthetic cubes in the audit.
        train: number of train cubes with which they were compared.
        held_out: number of real cubes that gave the thresholds.
        pixel: the audit in pixel space.
        spectral: the audit in the space of spectral features.
        copied: positions in the set of the cubes that are copies in either space.
        share: share of the set that are copies.
        memorised: whether there are significantly more copies than held-out real cubes would give.
        quantile_is_minimum: whether the threshold is the smallest distance, because there are fewer than 101 held-out cubes.
        derived: whether each cube was made from the RGB of a train cube and so keeps its geometry.
        identical: number of held-out cubes that were left out because they are identical to train cubes.
    """

    synthetic: int
    train: int
    held_out: int
    pixel: SpaceAudit
    spectral: SpaceAudit
    copied: tuple[int, ...]
    share: float
    memorised: bool
    quantile_is_minimum: bool
    derived: bool = False
    identical: int = 0

    @property
    def notes(self) -> list[str]:
        """Sentences that a reader should know beside the verdict."""
        said = [
            f"{space} {found.copies} copies, {found.expected:.2g} expected by chance, p = {found.p:.2g}"
            for space, found in (("pixels:", self.pixel), ("spectral features:", self.spectral))
        ]
        if self.quantile_is_minimum:
            said.append(f"with {self.held_out} held-out cubes the 1 % quantile is the smallest distance")
        if self.identical:
            said.append(f"{self.identical} more held-out cubes are train cubes over again and were left out")
        if self.derived and self.memorised and self.spectral.p >= LEVEL / 2:
            said.append("in pixels alone, as is to be expected of a derived set: it keeps the geometry of train cubes")
        return said

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values and the notes; numbers have six digits, because further ones depend on the processor."""
        found: dict[str, Any] = _rounded(asdict(self))
        return found | {"notes": self.notes}


class Auditor:
    """An auditor that takes a set chunk by chunk and keeps two numbers for each cube.

    Raises:
        StoreError: there is no train cube or no held-out cube, all held-out cubes are also in train, or the cubes are not
            square or have different shapes.
    """

    def __init__(self, train: Tensor, held_out: Tensor) -> None:
        for role, cubes in (("train", train), ("held-out", held_out)):
            if not len(cubes):
                raise StoreError(f"no {role} cube to audit with", "Use more diagnoses, fewer folds, or more data.")
        self.shape = tuple(train.shape[1:])
        pixels = _pixels(train)
        self._centre = pixels.mean(0)
        self._pixels = pixels - self._centre  # a copy: `pixels` may be the caller's own memory
        features = cube_features(train)
        self._standardise = Standardiser(features)
        self._features = self._standardise(features)
        self._found: list[NDArray[np.float64]] = []
        held = np.concatenate([self._distances(chunk) for chunk in held_out.split(CHUNK)], axis=1)
        fresh = held[0] > IDENTICAL_BELOW
        self._held_out, self._identical = held[:, fresh], int((~fresh).sum())
        if not fresh.any():
            raise StoreError(
                f"all {self._identical} held-out cubes are train cubes over again, so nothing tells a copy",
                "Ingest without duplicates, or give such pictures one group.",
            )

    def add(self, synthetic: Tensor) -> None:
        """Add cubes (m, B, S, S) in reflectance to the audit."""
        self._found.append(self._distances(synthetic))

    def result(self, derived: bool = False) -> Audit:
        """Return the audit of all cubes added.

        Args:
            derived: see `Audit`.

        Raises:
            StoreError: no cube was added.
        """
        if not self._found:
            raise StoreError("no synthetic cube to audit", "Generate some.")
        found, held = np.concatenate(self._found, axis=1), self._held_out
        n = held.shape[1]
        order = ceil(QUANTILE * n)
        thresholds = np.sort(held, axis=1)[:, order - 1]
        closer = found <= thresholds[:, None]
        pixel, spectral = (_space(found[i], held[i], float(thresholds[i]), order) for i in (0, 1))
        return Audit(
            synthetic=found.shape[1],
            train=len(self._pixels),
            held_out=n,
            pixel=pixel,
            spectral=spectral,
            copied=tuple(int(i) for i in np.flatnonzero(closer.any(0))),
            share=float(closer.any(0).mean()),
            memorised=min(pixel.p, spectral.p) < LEVEL / 2,
            quantile_is_minimum=order == 1,
            derived=derived,
            identical=self._identical,
        )

    def _distances(self, cubes: Tensor) -> NDArray[np.float64]:
        """Return the distances (2, m) to the nearest train cube: in pixels, then in spectral features."""
        if tuple(cubes.shape[1:]) != self.shape:
            raise StoreError(f"cubes of {tuple(cubes.shape[1:])} cannot be audited with train cubes of {self.shape}")
        spectral = cdist(self._standardise(cube_features(cubes)), self._features).min(1)
        return np.stack([self._nearest(cubes), spectral])

    def _nearest(self, cubes: Tensor) -> NDArray[np.float64]:
        views = torch.stack([_pixels(orient(cubes, k)) - self._centre for k in range(ORIENTATIONS)])  # (8, m, d)
        train = self._pixels
        squares = views.square().sum(2, keepdim=True) + train.square().sum(1) - 2 * views @ train.T  # (8, m, N)
        nearest = squares.permute(1, 0, 2).flatten(1).argmin(1)
        which, row = nearest // len(train), nearest % len(train)
        pairs = views[which, torch.arange(len(cubes))].double() - train[row].double()
        return pairs.square().mean(1).sqrt().numpy()  # anew: the expanded square is inexact near zero


def describe(audit: Mapping[str, Any]) -> str:
    """Return one sentence about an audit in the form of `Audit.to_dict()`, as a manifest keeps it."""
    where = "any of the" if audit["quantile_is_minimum"] else "99 % of the"
    verdict = "MEMORISED: more than" if audit["memorised"] else "no more than"
    return (
        f"{len(audit['copied'])} of {audit['synthetic']} cubes lie nearer to one of {audit['train']} train cubes than "
        f"{where} {audit['held_out']} held-out real cubes do, {verdict} chance lets through ({'; '.join(audit['notes'])})"
    )


def _space(found: NDArray[np.float64], held: NDArray[np.float64], threshold: float, order: int) -> SpaceAudit:
    copies, m, n = int((found <= threshold).sum()), len(found), len(held)
    chance = betabinom(m, order, n + 1 - order)
    return SpaceAudit(
        threshold=threshold,
        copies=copies,
        expected=float(chance.mean()),
        p=float(chance.sf(copies - 1)),
        median_synthetic=float(np.median(found)),
        median_held_out=float(np.median(held)),
    )


def _pixels(cubes: Tensor) -> Tensor:
    """Return the values (n, d) float32 of cubes that are reduced to a side of at most `PIXELS`."""
    size = cubes.shape[-1]
    if cubes.shape[-2] != size:
        raise StoreError(f"cubes of {tuple(cubes.shape[-2:])} pixels cannot be audited", "Use square cubes.")
    x = cubes.float()
    if size > PIXELS:
        x = interpolate(x, (PIXELS, PIXELS), mode="area")
    return x.flatten(1)


def _rounded(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, dict):
        return {name: _rounded(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(inner) for inner in value]
    if isinstance(value, float) and value:
        return round(value, _DIGITS - 1 - int(np.floor(log10(abs(value)))))
    return value
