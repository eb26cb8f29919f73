"""A trained SHS-GAN: the moving average of its generator, with its H, gain and scaling."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from hyperderm.learners import keyed
from hyperderm.learners.scaling import Scaling
from hyperderm.learners.shsgan.config import ShsGanConfig
from hyperderm.learners.shsgan.learner import generator_network, scaled_rgb
from hyperderm.learners.synthesis import repeatable
from hyperderm.settings import Run


class ShsGanSampler:
    """Makes cubes: see `learners.base.Sampler`."""

    def __init__(self, config: ShsGanConfig, run: Run, checkpoint: Mapping[str, Any], device: str) -> None:
        learner = checkpoint["learner"]
        self.run, self.config, self.device = run, config, torch.device(device)
        self.wavelengths_nm = tuple(float(nm) for nm in checkpoint["wavelengths_nm"])
        self.scaling = Scaling.from_state(checkpoint["scaling"])
        self.matrix = learner["h"].double().numpy() if config.input == "rgb" else None
        self.gain = float(learner["gain"])
        with torch.random.fork_rng(devices=[]):  # the initial weights are overwritten; nobody's random numbers move
            network = generator_network(config, len(self.wavelengths_nm), run.data.size)
        network.load_state_dict(learner["ema"])
        self.network = network.to(self.device).eval().requires_grad_(False)

    def sample(self, seed: int, indices: Sequence[int], condition: Tensor | None) -> Tensor:
        """See `learners.base.Sampler.sample`."""
        if self.matrix is None:
            inputs = torch.stack([self._noise(seed, index) for index in indices])
        else:
            assert condition is not None
            inputs = scaled_rgb(condition.float(), self.gain)
        with repeatable():
            scaled = torch.cat([self.network(one.to(self.device)).cpu() for one in inputs.split(1)])
        return self.scaling.inverse(scaled.double()).float()

    def _noise(self, seed: int, index: int) -> Tensor:
        return torch.randn(self.config.noise_dim, generator=keyed.generator(seed, "synthesis/noise", index))
