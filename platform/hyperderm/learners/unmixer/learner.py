"""The unmixing net as a learner."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hyperderm.cubes.pseudo_rgb import pseudo_rgb_matrix
from hyperderm.learners import randomness
from hyperderm.learners.accumulation import Computed, accumulated
from hyperderm.learners.average import gradient_norm
from hyperderm.learners.base import Batch, Compute, Validation
from hyperderm.learners.data import TrainData
from hyperderm.learners.unmixer.config import UnmixerConfig
from hyperderm.learners.unmixer.losses import angle, charbonnier, half_norm, total_variation
from hyperderm.learners.unmixer.networks import UnmixingNet
from hyperderm.settings import Run
from hyperderm.unmixing.methods import unmix
from hyperderm.unmixing.pixels import candidates

START_PIXELS = 20_000
"""Number of pixels of train among which the first endmembers are sought."""
START_DRAWS = 10
"""Draws of VCA. On Samson one in eight misses an endmember, and a net does not find it again."""
SCORED_AT_ONCE = 16


class Unmixer:
    """An unmixing net and its optimizer (Adam). Its units are reflectance, or shares of a pixel's length."""

    def __init__(self, config: UnmixerConfig, run: Run, data: TrainData, compute: Compute) -> None:
        self.config, self.data, self.compute, self.seed = config, data, compute, run.seed
        self.matrix = torch.from_numpy(pseudo_rgb_matrix(data.wavelengths_nm)) if config.bands == "rgb" else None
        pixels = self._learnt_pixels()
        start = torch.from_numpy(self._start(pixels)).clamp_min(0).float()
        seen = self._seen(pixels.T[None, :, :, None])[0, :, :, 0].T.float()
        with randomness.initialised(self.seed):
            network = UnmixingNet(seen.shape[1], start, config.width, config.stages, seen)
        self.network = network.to(compute.device, compute.dtype)
        self.parallel = compute.parallel(self.network)
        encoder = list(self.network.encode.parameters())
        groups = [
            {"params": encoder, "lr": config.lr},
            {"params": [self.network.endmembers], "lr": config.lr_endmembers},
        ]
        self.optimizer = torch.optim.Adam(groups)
        self.mean_spectrum = pixels.mean(0)

    def step(self, batch: Batch) -> Mapping[str, Tensor]:
        """Update once; return the four terms of the loss, their weighted sum `loss`, and the norm of the `gradient`."""
        self.optimizer.zero_grad(set_to_none=True)
        metrics = accumulated(batch, self._loss)
        metrics["gradient"] = gradient_norm(self.network)
        self.optimizer.step()
        self.network.keep_positive()
        return metrics

    def _loss(self, batch: Batch) -> Computed:
        c = self.config
        real, use = self._shown(batch)
        with self.compute.autocast():
            abundances, mixed = self.parallel(self._seen(real))
        abundances, mixed = abundances.to(real.dtype), mixed.to(real.dtype)
        share = use.to(real.dtype)
        terms = {
            "charbonnier": (1.0, _mean(charbonnier(mixed, real), share)),
            "angle": (c.angle_weight, _mean(angle(mixed, real), share)),
            "smoothness": (c.smoothness_weight, total_variation(self.network.endmembers)),
            "sparsity": (c.sparsity_weight, _mean(half_norm(abundances), share)),
        }
        loss = sum((weight * term for weight, term in terms.values() if weight > 0), real.new_zeros(()))
        return loss, {name: term for name, (_, term) in terms.items()} | {"loss": loss}

    @torch.no_grad()
    def validate(self) -> Validation:
        """Score the mixtures of validation cubes, or of held-out pixels: root mean square error and mean angle (rad)."""
        squares, angles, constant, count = 0.0, 0.0, 0.0, 0.0
        mean = self.mean_spectrum[None, :, None, None].double()
        for first in range(0, len(self.data.validation), SCORED_AT_ONCE):
            rows = slice(first, first + SCORED_AT_ONCE)
            real, use = self._values(self.data.validation.reflectance[rows])
            if self.data.held_out is not None:
                use = use & self.data.held_out[rows].to(use.device)
            _, mixed = self.network(self._seen(real))
            mixed, known, share = mixed.double(), real.double(), use.double()
            squares += float(((mixed - known).square().mean(1) * share).sum())
            constant += float(((mean.to(known) - known).square().mean(1) * share).sum())
            angles += float((angle(mixed, known) * share).sum())
            count += float(share.sum())
        count = max(count, 1.0)
        return Validation(
            {
                "reconstruction_rmse": (squares / count) ** 0.5,
                "mean_angle": angles / count,
                "rmse_of_mean_spectrum": (constant / count) ** 0.5,
            }
        )

    @torch.no_grad()
    def abundances_of(self, reflectance: Tensor) -> Tensor:
        """Return the network's abundances (N, R, H, W) float32 on the CPU of cubes (N, B, H, W)."""
        parts = [self._values(x)[0] for x in reflectance.split(SCORED_AT_ONCE)]
        return torch.cat([self.network(self._seen(x))[0].float().cpu() for x in parts])

    def state_dict(self) -> dict[str, Any]:
        """Return the network and its optimizer."""
        return {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state that `state_dict` returned."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])

    def _shown(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return this worker's cubes in the units that are unmixed, and the pixels (n, H, W) that may be learnt from.

        Pixels that are held out for scores are set to the mean spectrum, because their neighbours see them. The cubes of a
        store without folds are not turned, because the held-out pixels are not either.
        """
        if self.data.held_out is None:
            return self._values(self.data.scaling.inverse(batch.real.double()))
        real, use = self._values(self.data.train.reflectance[batch.rows])
        held = self.data.held_out[batch.rows].to(real.device)
        mean = self.mean_spectrum.to(real)[None, :, None, None]
        return torch.where(held[:, None], mean, real), use & ~held

    def _values(self, reflectance: Tensor) -> tuple[Tensor, Tensor]:
        """Return cubes (n, B, H, W) in the units that are unmixed, and which pixels have a direction (n, H, W)."""
        x = reflectance.to(self.compute.device, self.compute.dtype)
        length = x.square().sum(1, keepdim=True).sqrt()
        usable = length[:, 0] > 0
        return (x / length.clamp_min(torch.finfo(x.dtype).tiny) if self.config.unit_length else x), usable

    def _seen(self, real: Tensor) -> Tensor:
        """Return what the network sees of cubes (n, B, H, W): all bands, or three colours."""
        return real if self.matrix is None else torch.einsum("cb,nbhw->nchw", self.matrix.to(real), real)

    def _learnt_pixels(self) -> Tensor:
        """Return pixels (n, B) of train that are learnt from, in the units that are unmixed, at most `START_PIXELS`."""
        train = self.data.train.reflectance
        real, use = self._values(train)
        if self.data.held_out is not None:
            use = use & ~self.data.held_out.to(use.device)
        pixels = real.movedim(1, 3)[use]
        chosen = torch.randperm(len(pixels), generator=randomness.generator(self.seed, "start", 0))[:START_PIXELS]
        return pixels[chosen.sort().values.to(pixels.device)].cpu()

    def _start(self, learnt: Tensor) -> np.ndarray:
        """Return the first endmembers; of `START_DRAWS` draws of VCA, which may fail, those of the largest simplex."""
        pixels, c = candidates(learnt.double().numpy()), self.config
        draws = START_DRAWS if c.start_by == "vca" else 1
        seeds = [draws * self.seed + draw for draw in range(draws)]
        return max((unmix(pixels, c.start_by, c.endmembers, seed).endmembers for seed in seeds), key=_volume)


def _mean(values: Tensor, share: Tensor) -> Tensor:
    """Return the mean over cubes of the means of (n, H, W) values over the pixels whose share is 1."""
    return ((values * share).sum((1, 2)) / share.sum((1, 2)).clamp_min(1)).mean()


def _volume(endmembers: np.ndarray) -> float:
    """Return the logarithm of the squared volume, up to a constant, of the simplex of endmembers (R, B)."""
    edges = endmembers[1:] - endmembers[0]
    return float(np.linalg.slogdet(edges @ edges.T)[1])
