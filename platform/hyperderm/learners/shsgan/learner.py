"""SHS-GAN makes a cube from an RGB image, with RGB consistency (Hauser et al., IEEE TCI 7, 2021).

Units: the networks see cubes scaled to [-1, 1] per band. The fixed pseudo-RGB matrix H acts on reflectance, which the exact
inverse of the scaling gives; one gain (fitted on train) and a clip to [-1, 1] follow. The real cubes of a step and the cubes
whose RGB the generator sees are independent draws from train.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hyperderm.cubes.pseudo_rgb import fit_gain, pseudo_rgb_matrix
from hyperderm.learners.adversarial import AdversarialLearner, Terms
from hyperderm.learners.adversarial_settings import check_bands
from hyperderm.learners.base import Batch, Compute
from hyperderm.learners.critics import Critic
from hyperderm.learners.data import TrainData
from hyperderm.learners.shsgan.config import ShsGanConfig
from hyperderm.learners.shsgan.networks import UNetGenerator
from hyperderm.learners.shsgan.sampler import ShsGanSampler, scaled_rgb
from hyperderm.learners.sources import rgb_levels
from hyperderm.settings import Run


class ShsGan(AdversarialLearner):
    """The learner of SHS-GAN with a critic and a U-Net as generator: see `AdversarialLearner`."""

    config: ShsGanConfig

    def __init__(self, config: ShsGanConfig, run: Run, data: TrainData, compute: Compute) -> None:
        matrix = pseudo_rgb_matrix(data.wavelengths_nm)
        self.gain = fit_gain(data.train.reflectance.movedim(1, 3).numpy(), matrix)
        self.h = torch.from_numpy(matrix).to(compute.device, compute.dtype)  # (3, B)
        check_bands(config.critic, len(data.wavelengths_nm))
        super().__init__(config, run, data, compute)

    def pair(self, bands: int) -> tuple[nn.Module, nn.Module]:
        """See `AdversarialLearner.pair`."""
        c = self.config
        check_bands(c.critic, bands)
        generator = UNetGenerator(bands, c.generator_width)
        return generator, Critic(bands, c.critic_width, 3 if c.critic == "conv3d" else 2, c.fft_arm, c.norm)

    def inputs(self, batch: Batch, stream: str) -> Tensor:
        """Return the scaled RGB of the sources: (n, 3, H, W)."""
        return self.rgb(batch.source.to(self.compute.dtype))

    def consistency(self, inputs: Tensor, fake: Tensor) -> Terms:
        """Return `rgb_loss`: ‖rgb − H·cube‖ as root mean square per sample."""
        weight = self.config.rgb_weight
        return {"rgb_loss": (weight, self._rgb_error(inputs, fake).mean())} if weight > 0 else {}

    def rgb(self, scaled: Tensor) -> Tensor:
        """Return the scaled pseudo-RGB of scaled cubes: 2 · clip(gain · H · reflectance, 0, 1) − 1, (N, 3, H, W)."""
        reflectance = self.data.coordinates.inverse(scaled)
        return scaled_rgb(torch.einsum("cb,nbhw->nchw", self.h.to(reflectance.dtype), reflectance), self.gain)

    def _rgb_error(self, rgb: Tensor, fake: Tensor) -> Tensor:
        return (self.rgb(fake) - rgb).square().flatten(1).mean(1).clamp_min(1e-12).sqrt()  # (n,)

    def sampler(self) -> ShsGanSampler:
        """See `GenerativeLearner.sampler`."""
        matrix = self.h.double().cpu().numpy()
        data = self.data
        how = self.config, self.run, self.ema, data.wavelengths_nm, data.scaling
        return ShsGanSampler(*how, space=data.space, matrix=matrix, gain=self.gain)

    def condition(self, rows: Tensor) -> Tensor:
        """Return the levels H · reflectance of train cubes."""
        levels = rgb_levels(self.data.train.reflectance[rows], self.h.double().cpu().numpy())
        return torch.from_numpy(levels)

    def further_scores(self, cubes: Tensor, condition: Tensor | None) -> Mapping[str, float]:
        """Return `rgb_consistency_error`: root mean square difference of the given RGB and the RGB of the cubes."""
        assert condition is not None
        given = scaled_rgb(condition, self.gain)
        again = scaled_rgb(torch.from_numpy(rgb_levels(cubes, self.h.double().cpu().numpy())), self.gain)
        return {"rgb_consistency_error": float((again - given).square().flatten(1).mean(1).sqrt().mean())}

    def begin_from(self, state: Mapping[str, Any]) -> None:
        """See `GenerativeLearner.begin_from`: the gain is taken over too, because the generator's input depends on it."""
        super().begin_from(state)
        self.gain = float(state["gain"])

    def state_dict(self) -> dict[str, Any]:
        """Return networks, moving average, optimizers, H and the gain."""
        return super().state_dict() | {"h": self.h.cpu(), "gain": self.gain}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state that `state_dict` returned."""
        super().load_state_dict(state)
        self.h = state["h"].to(self.compute.device, self.compute.dtype)
        self.gain = state["gain"]
