"""Cubes from a checkpoint alone: cube i depends on the seed, i and its source, and on nothing else.

Convolutions round differently for other batch sizes and other numbers of threads, so every cube is made by itself, on one
thread, without TF32 or a search for the fastest kernel. The same kind of processor then gives the same bits, whoever asks
for which cubes together, in which order, on however many workers; another kind may differ in the last digits.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hyperderm.config import Experiment
from hyperderm.errors import StudyError
from hyperderm.learners import keyed
from hyperderm.learners.configs import ShsGanConfig
from hyperderm.learners.scaling import Scaling
from hyperderm.learners.shsgan import generator_network, scaled_rgb

REMEDY = "Give the best.pt or latest.pt that `hyperderm train` or `hyperderm sweep` of a generator left."

RANGE_MARGIN = 0.5
"""A cube may leave train's range of a band by this share of the range's width. The range spans the extremes of a few dozen
lesions whose exposures differ by 30-55 %; a new lesion may well lie beyond it, but hardly by half of it."""
BELOW_ZERO = 0.1
"""Reflectance below 0 is noise of the dark reference (about -0.07 in HSIDermoscopy, METHODS section 1): further down, or
than train itself goes, nothing real lies."""
RANGE_SHARE = 0.001
"""Share of a cube's pixels that may lie even further out: real frames have single hot and dead pixels."""


class Synthesiser(Protocol):
    """A trained generator.

    Attributes:
        experiment: what trained it.
        wavelengths_nm: (B,) of its cubes.
        scaling: fitted on the train role.
        matrix: H (3, B) of its RGB input; None where it takes no sources.
    """

    experiment: Experiment
    wavelengths_nm: tuple[float, ...]
    scaling: Scaling
    matrix: NDArray[np.float64] | None

    def synthesise(self, seed: int, indices: Sequence[int], sources: Tensor | None) -> Tensor:
        """Return reflectance (n, B, H, W) float32 on the CPU, by the exact inverse of train's scaling.

        Args:
            seed: of the set.
            indices: n of them; which cubes of the set.
            sources: (n, 3, H, W) linear RGB in units of H · reflectance, row by row the source of a cube; None where
                `matrix` is None.
        """


def load_synthesiser(checkpoint: Mapping[str, Any], device: str = "cpu") -> Synthesiser:
    """Rebuild a generator from what `training.resume.pack` saved; a new generator joins the match.

    Raises:
        StudyError: a checkpoint of a classifier, of other networks, or not hyperderm's at all.
    """
    try:
        experiment = Experiment.model_validate_json(checkpoint["experiment"])
        match experiment.learner:
            case ShsGanConfig() as config:
                return ShsGanSynthesiser(experiment, config, checkpoint, torch.device(device))
            case other:
                raise StudyError(
                    f"this checkpoint is of a classifier (learner.kind = {other.kind}): it makes no cubes", REMEDY
                )
    except (KeyError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise StudyError(f"this checkpoint is not a generator of this version of hyperderm ({reason})", REMEDY) from error


class ShsGanSynthesiser:
    """The moving average of an SHS-GAN's generator, with its H, gain and scaling."""

    def __init__(
        self, experiment: Experiment, config: ShsGanConfig, checkpoint: Mapping[str, Any], device: torch.device
    ) -> None:
        learner = checkpoint["learner"]
        self.experiment, self.config, self.device = experiment, config, device
        self.wavelengths_nm = tuple(float(nm) for nm in checkpoint["wavelengths_nm"])
        self.scaling = Scaling.from_state(checkpoint["scaling"])
        self.matrix = learner["h"].double().numpy() if config.input == "rgb" else None
        self.gain = float(learner["gain"])
        with torch.random.fork_rng(devices=[]):  # the initial weights are overwritten; nobody's random numbers move
            network = generator_network(config, len(self.wavelengths_nm), experiment.data.size)
        network.load_state_dict(learner["ema"])
        self.network = network.to(device).eval().requires_grad_(False)

    def synthesise(self, seed: int, indices: Sequence[int], sources: Tensor | None) -> Tensor:
        """Return reflectance: see `Synthesiser`."""
        if self.matrix is None:
            inputs = torch.stack([self._noise(seed, index) for index in indices])
        else:
            assert sources is not None
            inputs = scaled_rgb(sources.float(), self.gain)
        with repeatable():
            scaled = torch.cat([self.network(one.to(self.device)).cpu() for one in inputs.split(1)])
        return self.scaling.inverse(scaled.double()).float()

    def _noise(self, seed: int, index: int) -> Tensor:
        return torch.randn(self.config.noise_dim, generator=keyed.generator(seed, "synthesis/noise", index))


@contextmanager
def repeatable() -> Iterator[None]:
    """Compute without gradients, on one thread, with fixed kernels in full precision."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad(), torch.backends.cudnn.flags(True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_num_threads(threads)


def out_of_range(reflectance: Tensor, scaling: Scaling) -> bool:
    """Return whether a cube (B, H, W) is none that could be real.

    That is one with a value that is not finite, or with more than `RANGE_SHARE` of its pixels, in any band, more than
    `RANGE_MARGIN` of train's range outside that range, or below both -`BELOW_ZERO` and train's lowest.
    """
    if not torch.isfinite(reflectance).all():
        return True
    scaled = scaling.whole.forward(reflectance.double()[None])  # train's range is [-1, 1], two wide
    dark = (reflectance.double() < -BELOW_ZERO)[None] & (scaled < -1)
    outside = ((scaled.abs() > 1 + 2 * RANGE_MARGIN) | dark).any(1)
    return bool(outside.double().mean() > RANGE_SHARE)
