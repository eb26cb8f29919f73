"""Abundance space: what networks see of a cube is how much of each endmember every pixel holds (seed 004).

Unmixing before fusion (Yu, Pan et al., CVPR 2024) makes cubes in the space of R abundances instead of B bands: x = E·a + ε.
Endmembers are those of a trained unmixing net, or are found among the pixels of train. Abundances are those of fully
constrained least squares, scaled to 2a − 1. What mixtures do not explain, ε, is modelled on train (`ResidualField`) and
drawn anew for every synthetic cube, so that synthetic cubes are not smoother than real ones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hyperderm.learners import randomness
from hyperderm.unmixing.fcls import fcls

COMPONENTS = 16
"""Most principal components of the residual whose spatial structure is modelled; further ones are too weak to be seen."""
OUTLYING = 3.0
MAD_OF_NORMAL = 1.4826
"""Standard deviation of a normal distribution, in units of its median absolute deviation."""
AT_ONCE = 32
"""Number of cubes that are unmixed together, which bounds the memory."""


@dataclass(frozen=True, eq=False)
class ResidualField:
    """ε as a stationary Gaussian field: its mean spectrum, its covariance between bands, and its structure in space.

    The residuals of train are projected on their principal components. Each component is then a field whose power spectrum,
    averaged over cubes and over directions, is kept. A drawn field is white noise filtered to this spectrum. It repeats no
    residual of train; it also knows nothing of the lesion: where residuals depend on what is mixed, this model misses it.
    Specular reflections are many times brighter than any mixture of skin. They are no noise that every pixel has, so the
    residuals of each band are cut off at `OUTLYING` robust standard deviations from their median first.

    Attributes:
        mean: (B,) reflectance.
        vectors: (K, B) orthonormal principal components.
        power: (K, F) power of each component at the frequencies 0 … F − 1 cycles a cube, mean over directions.
    """

    mean: Tensor
    vectors: Tensor
    power: Tensor

    @classmethod
    def fit(cls, residuals: Tensor) -> Self:
        """Return the model of residuals (N, B, H, H), float64."""
        n, bands, size, _ = residuals.shape
        pixels = residuals.movedim(1, 3).reshape(-1, bands)
        middle = pixels.median(0).values
        reach = OUTLYING * MAD_OF_NORMAL * (pixels - middle).abs().median(0).values
        pixels = pixels.clamp(middle - reach, middle + reach)
        mean = pixels.mean(0)
        centred = pixels - mean
        _, vectors = torch.linalg.eigh(centred.T @ centred / len(centred))
        vectors = vectors.flip(1)[:, : min(COMPONENTS, bands)].T
        fields = (centred @ vectors.T).view(n, size, size, -1).movedim(3, 1)
        spectrum = torch.fft.fft2(fields).abs().square().mean(0) / size**2  # (K, H, H)
        rings, members = _rings(size)
        power = torch.zeros(len(vectors), len(members), dtype=torch.float64)
        power.index_add_(1, rings.flatten(), spectrum.flatten(1))
        return cls(mean, vectors, power / members)

    def fits(self, size: int) -> bool:
        """Return whether cubes of this height and width in pixels have the frequencies of the fit."""
        return self.power.shape[1] == len(_rings(size)[1])

    def draw(self, seed: int, index: int, size: int) -> Tensor:
        """Return the residual (B, size, size) float64 of cube `index` of a set; it depends on seed and index alone.

        Args:
            seed: seed of the set.
            index: position of the cube in the set.
            size: height and width, those of the fit.
        """
        rings, _ = _rings(size)
        key = randomness.generator(seed, "synthesis/residual", index)
        white = torch.randn(len(self.vectors), size, size, generator=key, dtype=torch.float64)
        fields = torch.fft.ifft2(torch.fft.fft2(white) * self.power.sqrt()[:, rings]).real
        return self.mean[:, None, None] + torch.einsum("kb,khw->bhw", self.vectors, fields)


@dataclass(frozen=True, eq=False)
class AbundanceSpace:
    """The map between reflectance (N, B, H, W) and scaled abundances 2a − 1 (N, R, H, W).

    Attributes:
        endmembers: (R, B) float64 reflectance.
        residual: the model of what mixtures do not explain.
        unmixing: how the endmembers were found, for reports.
    """

    endmembers: Tensor
    residual: ResidualField
    unmixing: str

    @classmethod
    def fit(cls, train: Tensor, endmembers: NDArray[np.float64], unmixing: str) -> Self:
        """Return the space of given endmembers (R, B), with the residual model of train cubes (N, B, H, W)."""
        ends = torch.from_numpy(np.array(endmembers, dtype=np.float64))
        parts = []
        for part in train.split(AT_ONCE):
            mixed = torch.einsum("rb,nrhw->nbhw", ends, _abundances(part, endmembers))
            parts.append(part.double().cpu() - mixed)
        return cls(ends, ResidualField.fit(torch.cat(parts)), unmixing)

    def without_residual(self) -> Self:
        """Return this space with ε = 0, so that what is made in it are exact mixtures."""
        field = self.residual
        return replace(self, residual=replace(field, mean=torch.zeros_like(field.mean), power=torch.zeros_like(field.power)))

    @property
    def channels(self) -> int:
        """R, the number of channels that networks see."""
        return len(self.endmembers)

    def forward(self, reflectance: Tensor) -> Tensor:
        """Return 2a − 1 of the abundances a of fully constrained least squares, in the precision of `reflectance`."""
        ends = self.endmembers.numpy()
        parts = [_abundances(part, ends).mul_(2).sub_(1).to(reflectance) for part in reflectance.split(AT_ONCE)]
        return torch.cat(parts) if parts else reflectance.new_zeros(0, self.channels, *reflectance.shape[2:])

    def inverse(self, seen: Tensor) -> Tensor:
        """Return the mixtures E·a of the nearest abundances on the simplex, without ε; differentiable almost everywhere."""
        return torch.einsum("rb,nrhw->nbhw", self.endmembers.to(seen), on_simplex((seen + 1) / 2))

    def made(self, seen: Tensor, seed: int, indices: Sequence[int]) -> Tensor:
        """Return E·a + ε for the cubes `indices` of a set."""
        drawn = torch.stack([self.residual.draw(seed, index, seen.shape[-1]) for index in indices])
        return self.inverse(seen) + drawn.to(seen)

    def state_dict(self) -> dict[str, Any]:
        """Return the space as plain lists, for a checkpoint."""
        r = self.residual
        fields = {"endmembers": self.endmembers, "mean": r.mean, "vectors": r.vectors, "power": r.power}
        return {name: value.tolist() for name, value in fields.items()} | {"unmixing": self.unmixing}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Return the space that `state_dict` saved.

        Raises:
            ValueError: a value is not finite, or the parts are of different sizes.
        """
        fields = [torch.tensor(state[name], dtype=torch.float64) for name in ("endmembers", "mean", "vectors", "power")]
        ends, mean, vectors, power = fields
        if not all(bool(torch.isfinite(field).all()) for field in fields):
            raise ValueError("its abundance space holds NaN or infinite values")
        if {ends.shape[-1], vectors.shape[-1]} != {len(mean)} or len(vectors) != len(power) or power.dim() != 2:
            raise ValueError(
                f"the parts of its abundance space do not fit: {', '.join(str(tuple(f.shape)) for f in fields)}"
            )
        return cls(ends, ResidualField(mean, vectors, power), str(state["unmixing"]))


def on_simplex(values: Tensor) -> Tensor:
    """Return the nearest points (N, R, H, W) that are not negative and have sum one over R (Duchi et al. 2008, figure 1)."""
    ordered = values.sort(1, descending=True).values
    excess = ordered.cumsum(1) - 1
    count = torch.arange(1, values.shape[1] + 1, device=values.device, dtype=values.dtype).view(1, -1, 1, 1)
    kept = (ordered * count > excess).sum(1, keepdim=True).clamp_min(1)  # none is only where values are NaN, which stay
    return (values - excess.gather(1, kept - 1) / kept).clamp_min(0)


def _abundances(reflectance: Tensor, endmembers: NDArray[np.float64]) -> Tensor:
    """Return the abundances (N, R, H, W) float64 of cubes (N, B, H, W)."""
    n, bands, height, width = reflectance.shape
    pixels = reflectance.detach().cpu().double().movedim(1, 3).reshape(-1, bands).numpy()
    found = fcls(pixels, endmembers).reshape(n, height, width, -1)
    return torch.from_numpy(found).movedim(3, 1).contiguous()


def _rings(size: int) -> tuple[Tensor, Tensor]:
    """Return the whole number of cycles (size, size) of each frequency of `fft2`, and how many frequencies have each."""
    along = torch.fft.fftfreq(size, dtype=torch.float64) * size
    rings = (along[:, None].square() + along[None].square()).sqrt().round().long()
    return rings, torch.bincount(rings.flatten()).double()
