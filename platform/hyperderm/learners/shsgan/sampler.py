"""A trained SHS-GAN: the moving average of its generator, with the matrix H, the gain and the scaling."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from hyperderm.learners.shsgan.config import ShsGanConfig
from hyperderm.learners.shsgan.networks import UNetGenerator
from hyperderm.learners.synthesis import NetworkSampler
from hyperderm.settings import Run


class ShsGanSampler(NetworkSampler):
    """A sampler that makes cubes from RGB images.

    Args:
        how: the arguments of `NetworkSampler`.
        gain: the gain of the RGB, fitted on train.
    """

    def __init__(self, *how: Any, gain: float, **more: Any) -> None:  # noqa: ANN401 - those of NetworkSampler
        super().__init__(*how, **more)
        self.gain = gain

    def inputs(self, seed: int, index: int, condition: Tensor | None) -> tuple[Tensor, ...]:
        """Return the scaled RGB (1, 3, H, W)."""
        assert condition is not None
        return (scaled_rgb(condition.to(self.dtype), self.gain),)


def load(config: ShsGanConfig, run: Run, checkpoint: Mapping[str, Any], device: str) -> ShsGanSampler:
    """Return the sampler of a checkpoint: see `LearnerConfig.load_sampler`."""
    learner = checkpoint["learner"]
    return ShsGanSampler.restored(
        config,
        run,
        checkpoint,
        device,
        lambda bands: UNetGenerator(bands, config.generator_width),
        matrix=learner["h"].double().numpy(),
        gain=float(learner["gain"]),
    )


def scaled_rgb(levels: Tensor, gain: float) -> Tensor:
    """Return the generator's input 2 · clip(gain · levels, 0, 1) − 1 for linear RGB levels H · reflectance (N, 3, H, W)."""
    return (gain * levels).clamp(0, 1) * 2 - 1
