"""The diffusion generator as a learner: a U-Net that undoes noise, and a sampler that undoes all of it step by step.

Choices of this project:
- Cubes of a batch have independent levels of noise; all draws depend on the seed and the images shown, not on the workers.
- All scores of denoising use the moving average, the same noise and the same levels at every validation, so that curves can
  be compared; cubes are not augmented for them and are told their diagnosis.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from scipy.special import ndtri
from torch import Tensor, nn

from hyperderm.learners import randomness
from hyperderm.learners.accumulation import Computed, accumulated
from hyperderm.learners.average import gradient_norm
from hyperderm.learners.base import Batch, Compute, Validation
from hyperderm.learners.data import CubeSet, TrainData
from hyperderm.learners.diffusion.augmentation import augmented, draws, labels_of
from hyperderm.learners.diffusion.config import DiffusionConfig
from hyperderm.learners.diffusion.curves import parted
from hyperderm.learners.diffusion.networks import UNTOLD, Denoiser
from hyperderm.learners.diffusion.processes import guided, process_of
from hyperderm.learners.from_noise import ToldDiagnosis, load_told_sampler
from hyperderm.learners.generative_learner import GENERATOR
from hyperderm.learners.synthesis import NetworkSampler, noise, repeatable
from hyperderm.settings import Run

SCORED = 64
"""Most cubes of each role whose denoising is scored."""
LEVELS = 4
"""Number of levels of noise at which each of them is denoised."""
AT_ONCE = 32
"""Number of cubes that are denoised together."""


class DiffusionSampler(NetworkSampler):
    """A sampler that makes cubes from the noise of every pixel and, if there are classes, from a class."""

    config: DiffusionConfig
    network: Denoiser

    def inputs(self, seed: int, index: int, condition: Tensor | None) -> tuple[Tensor, ...]:
        """Return the noise (1, C, H, W), the key (1,) of further noise and, if there is a condition, the class y (1,)."""
        channels, size = self.coordinates.channels, self.run.data.size
        z = noise(seed, index, channels * size**2).view(1, channels, size, size)
        key = torch.tensor([randomness.generator(seed, "synthesis/steps", index).initial_seed()])
        return (z, key) if condition is None else (z, key, condition)

    def call(self, given: Sequence[Tensor]) -> Tensor:
        """Return what networks see of cubes, (n, C, H, W), by all steps of sampling."""
        first, keys, *classes = given
        guidance = self.config.guidance if self.drawing.guidance is None else self.drawing.guidance

        def denoise(x: Tensor, time: Tensor) -> Tensor:
            if guidance == 1:
                return self.network(x, time, *classes)
            untold = self.network(x, time, torch.full_like(classes[0], UNTOLD))
            return untold if guidance == 0 else guided(self.network(x, time, *classes), untold, guidance)

        def fresh(step: int) -> Tensor:
            return torch.cat([noise(key, step, first[0].numel()).view(1, *first.shape[1:]) for key in keys.tolist()])

        return self.network.back(process_of(self.config).sample(denoise, first, self.config.sampling_steps, fresh))


class Diffusion(ToldDiagnosis):
    """A U-Net that learns to undo noise, until it begins to learn its train cubes by heart.

    With `stop_when_parted`, updates end once the denoising losses on train and on held-out cubes have parted. The run then
    goes on to its number of images without cost: every validation from then on is the last one again.

    Attributes:
        curves: at each validation the number of updates, and the denoising losses on train and on held-out cubes.
    """

    config: DiffusionConfig
    generator: Denoiser
    sampler_class: ClassVar[type[NetworkSampler]] = DiffusionSampler

    def __init__(self, config: DiffusionConfig, run: Run, data: TrainData, compute: Compute) -> None:
        super().__init__(config, run, data, compute)
        self.denoise, self.optimizer = self.wrapped[GENERATOR], self.optimizers["optimizer"]
        self.process = process_of(config)
        self.curves: list[tuple[int, float, float]] = []
        self._last: Validation | None = None
        self._asked, self._ended = -1, False

    def networks(self, bands: int) -> Mapping[str, nn.Module]:
        """See `GenerativeLearner.networks`."""
        network = _denoiser(self.config, bands, self.run.data.size, len(self.classes))
        if self.config.standardise != "none":
            network.standardise(self.data.coordinates.forward(self.data.train.reflectance), self.config.standardise)
        return {GENERATOR: network}

    def made_optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """See `GenerativeLearner.made_optimizers`."""
        c, weights = self.config, self.generator.parameters()
        return {"optimizer": torch.optim.Adam(weights, c.lr, betas=(c.beta1, c.beta2), fused=True)}

    def step(self, batch: Batch) -> Mapping[str, Tensor]:
        """Update once; return `denoising`, the loss, `gradient`, the norm of its gradient, and whether it has `stopped`."""
        if self._stopped(batch):
            known = torch.tensor([self.curves[-1][1] if self.curves else 0.0, 0.0, 1.0], device=self.compute.device)
            return dict(zip(("denoising", "gradient", "stopped"), known, strict=True))
        self.optimizer.zero_grad(set_to_none=True)
        metrics = accumulated(batch, self._denoised)
        metrics["gradient"] = gradient_norm(self.generator)
        self.optimizer.step()
        self.updated(batch, batch.count)
        return metrics | {"stopped": metrics["denoising"].new_zeros(())}

    def _denoised(self, batch: Batch) -> Computed:
        c, real = self.config, self.real(batch)
        labels = labels_of(draws(self.seed, batch.images, batch.count, batch.share), c.augment, real.shape[-1])
        real = augmented(real, labels.to(real.device)) if c.augment else real
        noised = self.process.noised(
            self.generator.forth(real),
            self._rows(batch, "noise", tuple(real.shape[1:]), normal=True),
            self.process.levels(self._rows(batch, "level", (), normal=True)),
        )
        left_out = self._rows(batch, "dropout", (self.generator.dropped,)) if c.dropout else None
        with self.compute.autocast():
            output = self.denoise(noised.given, noised.time, self._told(batch), labels.to(real), left_out)
        loss = self._loss(output.to(real.dtype), noised.target).mean()
        return loss, {"denoising": loss}

    def _stopped(self, batch: Batch) -> bool:
        """Return whether updates have ended. Rank 0 alone validates, so all are told at the first batch after that."""
        period = batch.images // self.run.training.validate_every
        if self.config.stop_when_parted and period != self._asked:
            self._asked = period
            self._ended = bool(self.compute.mean(torch.tensor(float(self.parted), device=self.compute.device)) > 0)
        return self._ended

    def validate(self) -> Validation:
        """See `GenerativeLearner.validate`; once updates have ended, the last validation is returned again."""
        ended = self.config.stop_when_parted and self.parted
        if not ended or self._last is None:
            self._last = super().validate()
        return self._last

    @property
    def parted(self) -> bool:
        """Whether the denoising losses on train and on held-out cubes have parted, see `curves.parted`."""
        return parted([train for _, train, _ in self.curves], [held for _, _, held in self.curves])

    def further_scores(self, cubes: Tensor, condition: Tensor | None) -> Mapping[str, float]:
        """Return `denoising_train` and `denoising_held_out`: losses of the average on train and on validation cubes.

        At most `SCORED` cubes of each role, as many of both, are given the same noise at the same levels in every
        validation. Diagnoses that train does not hold are left out. Nothing is returned if no validation cube is left.
        """
        train, held = self.data.train, self.data.validation
        rows, others = self._known(train), self._known(held)
        count = min(len(rows), len(others), SCORED)
        if not count:
            return {}
        losses = [self._denoising(role, known[:count]) for role, known in ((train, rows), (held, others))]
        now = (self.generator_updates, losses[0], losses[1])
        self.curves = [*(point for point in self.curves if point[0] != self.generator_updates), now]
        return {"denoising_train": losses[0], "denoising_held_out": losses[1]}

    def _known(self, role: CubeSet) -> list[int]:
        """Return rows of a role in an order that the seed decides, without diagnoses that the network is not told."""
        order = torch.randperm(len(role), generator=randomness.generator(self.seed, "denoised", 0)).tolist()
        return [row for row in order if not self.classes or role.diagnoses[row] in self.classes]

    def _denoising(self, role: CubeSet, rows: list[int]) -> float:
        """Return the loss on cubes of a role, the mean over rows and levels."""
        seen = self.data.coordinates.forward(role.reflectance[rows]).to(self.compute.device, self.compute.dtype)
        classes = torch.tensor([self.classes.index(role.diagnoses[row]) for row in rows]) if self.classes else None
        total = 0.0
        with repeatable():
            clean = self.ema_network.forth(seen)
            for turn in range(LEVELS):
                key = randomness.generator(self.seed, "denoised/noise", turn)
                noises = torch.randn(clean.shape, generator=key, dtype=torch.float64).to(clean)
                quantiles = (turn + (torch.arange(len(rows), dtype=torch.float64) + 0.5) / len(rows)) / LEVELS
                levels = self.process.levels(torch.from_numpy(ndtri(quantiles.numpy())).to(clean.dtype)).to(clean.device)
                noised = self.process.noised(clean, noises, levels)
                for piece in torch.arange(len(rows)).split(AT_ONCE):
                    told = None if classes is None else classes[piece].to(clean.device)
                    output = self.ema(noised.given[piece], noised.time[piece], told)
                    total += float(self._loss(output, noised.target[piece]).sum())
        return total / (LEVELS * len(rows))

    @property
    def ema_network(self) -> Denoiser:
        """The moving average, by its own type."""
        assert isinstance(self.ema, Denoiser)
        return self.ema

    def _loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each cube, (n,)."""
        difference = output - target
        return (difference.abs() if self.config.loss == "l1" else difference.square()).mean((1, 2, 3))

    def _rows(self, batch: Batch, stream: str, shape: tuple[int, ...], normal: bool = False) -> Tensor:
        """Return random numbers (n, *shape) of this worker's share of a batch, on the device and in its precision."""
        drawn = randomness.rows(self.seed, f"diffusion/{stream}", batch.images, batch.count, shape, batch.share, normal)
        return drawn.to(self.compute.device, self.compute.dtype)

    def _told(self, batch: Batch) -> Tensor | None:
        """Return the classes (n,) of a batch, some of them left out; None without classes."""
        if not self.classes:
            return None
        told = batch.labels.to(self.compute.device)
        left_out = self._rows(batch, "class", ()) < self.config.class_dropout
        return told.masked_fill(left_out, UNTOLD)

    def state_dict(self) -> dict[str, Any]:
        """Return networks, moving average, optimizer, classes and curves."""
        return super().state_dict() | {"curves": [list(point) for point in self.curves]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state that `state_dict` returned."""
        super().load_state_dict(state)
        self.curves = [(int(updates), float(train), float(held)) for updates, train, held in state["curves"]]


def load(config: DiffusionConfig, run: Run, checkpoint: Mapping[str, Any], device: str) -> DiffusionSampler:
    """Return the sampler of a checkpoint: see `LearnerConfig.load_sampler`."""
    size = run.data.size
    return load_told_sampler(
        config, run, checkpoint, device, lambda bands, classes: _denoiser(config, bands, size, classes), DiffusionSampler
    )


def _denoiser(config: DiffusionConfig, channels: int, size: int, classes: int) -> Denoiser:
    c = config
    return Denoiser(channels, c.generator_width, size, c.multipliers, c.layers, c.attention_levels, c.dropout, classes)
