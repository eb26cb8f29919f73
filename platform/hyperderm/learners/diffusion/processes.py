"""The processes between noise and data: EDM, rectified flow, DDPM. What a network sees, what it learns, how it samples.

Each process gives, for clean values y, noise ε and a level of noise, the network's input, its time input and its target. A
loss compares the network's output with the target, so all three share one training step. Samples are made by schedulers of
diffusers. With EDM and flow a cube depends on its first noise alone; DDPM takes fresh noise in each step.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from diffusers import DDIMScheduler, EDMDPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor

from hyperderm.learners.diffusion.config import DdpmConfig, DiffusionConfig, EdmConfig, FlowConfig

Fresh = Callable[[int], Tensor]
"""A function that returns fresh standard normal noise (n, C, H, W) for the step of a number."""
Network = Callable[[Tensor, Tensor], Tensor]
"""A function of the input (n, C, H, W) and the time input (n,) of a network; it returns the output (n, C, H, W)."""

SIGMA_DATA = 0.5
"""Standard deviation of the data that EDM's preconditioning assumes; `networks.Standardiser` makes it so."""
FLOW_TIMES = 1000
"""Time input of a flow at t = 1: the sinusoids of the time embedding are made for numbers of this size."""


class Noised(NamedTuple):
    """What the network gets for n noisy cubes, and what it shall return.

    Attributes:
        given: (n, C, H, W) input.
        time: (n,) time input.
        target: (n, C, H, W) output of a perfect network.
    """

    given: Tensor
    time: Tensor
    target: Tensor


class Process(Protocol):
    """One of the processes."""

    def levels(self, normal: Tensor) -> Tensor:
        """Return levels of noise (n,) from standard normal numbers (n,), monotone: a larger number is not less noise."""

    def noised(self, clean: Tensor, noise: Tensor, levels: Tensor) -> Noised:
        """Return what the network gets and shall return for clean values and noise (n, C, H, W), and levels (n,)."""

    def sample(self, network: Network, noise: Tensor, steps: int, fresh: Fresh) -> Tensor:
        """Return samples (n, C, H, W) that `steps` calls of the network make from standard normal noise of that shape."""


@dataclass(frozen=True)
class Edm:
    """Karras et al. 2022, table 1: x = y + σ ε, and a network whose input, output and loss have unit size at every σ.

    The denoiser is D(x; σ) = c_skip x + c_out F(c_in x, c_noise); the loss weight λ = 1 / c_out² makes λ |D − y|² equal to
    |F − target|², where target = (y − c_skip x) / c_out. Sampled by DPM-Solver++(2M) (Lu et al. 2022) over the levels of
    equation 5.
    """

    config: EdmConfig

    def levels(self, normal: Tensor) -> Tensor:
        """Return σ, log-normal."""
        return (self.config.p_mean + self.config.p_std * normal).exp()

    def noised(self, clean: Tensor, noise: Tensor, levels: Tensor) -> Noised:
        """See `Process.noised`."""
        sigma = _wide(levels)
        x = clean + sigma * noise
        whole = (sigma.square() + SIGMA_DATA**2).sqrt()
        skip, out = (SIGMA_DATA / whole).square(), sigma * SIGMA_DATA / whole
        return Noised(x / whole, levels.log() / 4, (clean - skip * x) / out)

    def sample(self, network: Network, noise: Tensor, steps: int, fresh: Fresh) -> Tensor:
        """See `Process.sample`."""
        c = self.config
        scheduler = EDMDPMSolverMultistepScheduler(c.sigma_min, c.sigma_max, SIGMA_DATA, rho=c.rho)
        scheduler.set_timesteps(steps)
        x = noise * c.sigma_max
        for t in scheduler.timesteps:
            output = network(scheduler.scale_model_input(x, t), t.expand(len(x)).to(x))
            x = scheduler.step(output, t, x).prev_sample
        return x


@dataclass(frozen=True)
class Flow:
    """Rectified flow (Liu et al. 2023; Lipman et al. 2023): x = (1 − t) y + t ε, and the target is the velocity ε − y.

    Sampled by Euler's steps from t = 1 to 0, of equal length.
    """

    config: FlowConfig

    def levels(self, normal: Tensor) -> Tensor:
        """Return t in (0, 1): uniform, or the logistic function of a normal number (Esser et al. 2024)."""
        if self.config.times == "uniform":
            return torch.special.ndtr(normal.double()).to(normal)
        return torch.sigmoid(normal)

    def noised(self, clean: Tensor, noise: Tensor, levels: Tensor) -> Noised:
        """See `Process.noised`."""
        t = _wide(levels)
        return Noised((1 - t) * clean + t * noise, levels * FLOW_TIMES, noise - clean)

    def sample(self, network: Network, noise: Tensor, steps: int, fresh: Fresh) -> Tensor:
        """See `Process.sample`."""
        scheduler = FlowMatchEulerDiscreteScheduler(FLOW_TIMES)
        scheduler.set_timesteps(sigmas=[1 - step / steps for step in range(steps)])
        x = noise
        for t in scheduler.timesteps:
            x = scheduler.step(network(x, t.expand(len(x)).to(x)), t, x).prev_sample
        return x


@dataclass(frozen=True)
class Ddpm:
    """Ho et al. 2020: x = √ᾱ y + √(1 − ᾱ) ε with ᾱ = Π (1 − β) over T steps of linear β; the target is the noise ε.

    Sampled by the steps of Song et al. (2021) from T − 1 on: η = 1 adds fresh noise as Ho et al. do, η = 0 adds none.
    Few steps make too little variety: Gaussian data of deviation 0.40 come out with 0.35 in 50 of 2000 steps, 0.40 in 2000.
    """

    config: DdpmConfig

    def levels(self, normal: Tensor) -> Tensor:
        """Return whole steps 0 … T − 1, each equally probable, in the precision of `normal`."""
        level = torch.special.ndtr(normal.double()).to(normal)
        return (level * self.config.timesteps).floor().clamp(max=self.config.timesteps - 1)

    def noised(self, clean: Tensor, noise: Tensor, levels: Tensor) -> Noised:
        """See `Process.noised`."""
        kept = _wide(self.kept.to(clean)[levels.long()])
        return Noised(kept.sqrt() * clean + (1 - kept).sqrt() * noise, levels, noise)

    @property
    def kept(self) -> Tensor:
        """ᾱ (T,) float64: the share of the data's variance that is left at each step."""
        c = self.config
        return (1 - torch.linspace(c.beta_start, c.beta_end, c.timesteps, dtype=torch.float64)).cumprod(0)

    def sample(self, network: Network, noise: Tensor, steps: int, fresh: Fresh) -> Tensor:
        """See `Process.sample`."""
        c = self.config
        scheduler = DDIMScheduler(
            c.timesteps,
            c.beta_start,
            c.beta_end,
            "linear",
            clip_sample=c.clip is not None,
            clip_sample_range=c.clip or 1.0,
            timestep_spacing="trailing",
        )
        scheduler.set_timesteps(steps)
        x = noise
        for number, t in enumerate(scheduler.timesteps):
            output = network(x, t.expand(len(x)).to(x))
            x = scheduler.step(
                output,
                t,
                x,
                eta=c.eta,
                use_clipped_model_output=c.clip is not None,
                variance_noise=fresh(number).to(x) if c.eta else None,
            ).prev_sample
        return x


def process_of(config: DiffusionConfig) -> Process:
    """Return the process that a configuration names."""
    match config.process:
        case "edm":
            return Edm(config.edm)
        case "flow":
            return Flow(config.flow)
        case "ddpm":
            return Ddpm(config.ddpm)


def guided(told: Tensor, untold: Tensor, guidance: float) -> Tensor:
    """Return untold + guidance · (told − untold): classifier-free guidance (Ho & Salimans 2022, with 1 + w = guidance).

    The output of each process is affine in its denoised cube, so guiding outputs is guiding denoised cubes.

    Args:
        told: output of the network that is told the class.
        untold: output of the same network for no class.
        guidance: 0 is untold, 1 told, above 1 further from what all classes share.
    """
    return untold + guidance * (told - untold)


def _wide(levels: Tensor) -> Tensor:
    return levels[:, None, None, None]
