"""A training step of FastGAN against a plain one: `python -m tests.bench.generator_step [--quick]`.

64 px, batch 8, 16 bands, one thread, fp32. The plain side is `tests.bench.plain_fastgan` with the same weights, losses and
draws in torch's default memory format and with its default Adam; ours is the learner itself, with all that it reports.
Losses must agree to `AGREE`; steps are timed in turn, by seconds of the processor. The exit code is 1 if the losses differ
or, not quickly, if ours is less than `WANTED` times as fast.
"""

import os
import sys
import time
from statistics import median

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, normalize, relu

from hyperderm import registry
from hyperderm.learners import randomness
from hyperderm.learners.base import Batch, Compute
from hyperderm.learners.fastgan.learner import FastGan
from hyperderm.training.feed import MemoryFeed
from tests.bench.plain_fastgan import PlainDiscriminator, PlainGenerator
from tests.training.blobs import tiny_data

SIDE, BATCH, WIDTH = 64, 8, 16
WANTED, AGREE = 1.15, 1e-4
COMPARED, STILL = 3, 1e-12
"""Number of steps whose losses are compared, and the learning rate in them."""


def main() -> int:
    """Print the ratio and how far the losses are apart; see the module for the exit code."""
    quick = "--quick" in sys.argv
    torch.set_num_threads(1)
    apart = compared({"learner.lr_generator": STILL, "learner.lr_critic": STILL})
    a, b = timed(4 if quick else 40)
    print(f"a step of FastGAN, {SIDE} px, batch {BATCH}, width {WIDTH}, one thread, load {os.getloadavg()[0]:.1f}")
    print(f"  ours {a:.3f} s, plain {b:.3f} s of the processor: {b / a:.2f}x as fast (wanted: {WANTED}x)")
    print(f"  largest relative difference of a loss in {COMPARED} steps {apart:.1e} (wanted: {AGREE:.0e})")
    return int(not apart <= AGREE or (not quick and b / a < WANTED))


def compared(changes: dict[str, object]) -> float:
    """Return the largest relative difference of a loss. Weights hardly move: Adam's first steps enlarge what was rounded."""
    ours, plain, feeds = sides(changes)
    found = []
    for step in range(COMPARED):
        told, said = ours.step(feeds[0].batch(step * BATCH)), plain.step(feeds[1].batch(step * BATCH))
        found += [abs(float(told[name]) / float(said[name]) - 1) for name in said]
    return max(found)


def timed(rounds: int) -> tuple[float, float]:
    """Return the median seconds of a step of ours and of the plain one; the first only warms up."""
    ours, plain, feeds = sides({})
    seconds: tuple[list[float], list[float]] = [], []
    for step in range(1 + rounds):
        begin = time.process_time()
        ours.step(feeds[0].batch(step * BATCH))
        middle = time.process_time()
        plain.step(feeds[1].batch(step * BATCH))
        seconds[0].append(middle - begin)
        seconds[1].append(time.process_time() - middle)
    return median(seconds[0][1:]), median(seconds[1][1:])


def sides(changes: dict[str, object]) -> "tuple[FastGan, Plain, list[MemoryFeed]]":
    """Return both sides with the same weights, and a feed for each: ours in the layout that its runs have."""
    settings = {"data.size": SIDE, "training.batch_size": BATCH, "learner.diffaug.policy": "none", "data.flips": False}
    settings |= {"learner.generator_width": WIDTH, "learner.critic_width": WIDTH, "learner.reconstruction": "l1"}
    experiment = registry.experiment("fastgan", "small").override(settings | changes)
    data = tiny_data(4 * BATCH, 4, SIDE)
    ours = experiment.learner.build(experiment, data, Compute(torch.device("cpu")))
    assert isinstance(ours, FastGan)
    scaled = data.scaling.forward(data.drawn)
    feeds = [MemoryFeed(scaled, BATCH, experiment.seed, pixelwise=pixelwise) for pixelwise in (True, False)]
    return ours, Plain(ours), feeds


class Plain:
    """The same training step, written plainly, with the weights of `ours` before its first step."""

    def __init__(self, ours: FastGan) -> None:
        c, self.ours, bands = ours.config, ours, len(ours.data.wavelengths_nm)
        self.generator = PlainGenerator(bands, c.generator_width, SIDE, c.noise_dim)
        self.critic = PlainDiscriminator(bands, c.critic_width, SIDE)
        self.generator.load_state_dict(ours.generator.state_dict())
        self.critic.load_state_dict(ours.critic.state_dict())
        betas = c.beta1, c.beta2
        self.g_optimizer = torch.optim.Adam(self.generator.parameters(), c.lr_generator, betas)
        self.d_optimizer = torch.optim.Adam(self.critic.parameters(), c.lr_critic, betas)
        self.average = [p.detach().clone() for p in self.generator.parameters()]

    def step(self, batch: Batch) -> dict[str, Tensor]:
        c = self.ours.config
        real = batch.real
        with torch.no_grad():
            fake, small = self.generator(*self._draws(batch, "critic"))
        part = int(torch.randint(4, (), generator=randomness.generator(self.ours.seed, "quadrant", batch.images)))
        on_real, rebuilt = self.critic(real, avg_pool2d(real, 2), part)
        on_fake, _ = self.critic(fake, small)
        drawn = randomness.rows(self.ours.seed, "margins", batch.images, BATCH, (2, *on_real.shape[1:]), batch.share)
        margins = (0.8 + 0.2 * drawn).float()
        loss = relu(margins[:, 0] - on_real).mean() + relu(margins[:, 1] + on_fake).mean()
        half = SIDE // 2
        piece = real[:, :, (part // 2) * half :, (part % 2) * half :][:, :, :half, :half]
        wanted = (avg_pool2d(real, 2), avg_pool2d(real, 2), piece)
        inverse = self.ours.data.scaling.inverse
        for made, cube in zip(rebuilt, wanted, strict=True):
            a, b = normalize(inverse(made), dim=1), normalize(inverse(cube), dim=1)
            angle = 2 * torch.asin(((a - b).norm(dim=1) / 2).clamp(max=1 - 1e-7))
            loss = loss + c.reconstruction_weight * (made - cube).abs().mean() + c.spectral_weight * angle.mean()
        self._updated(self.d_optimizer, loss)
        on_fake, _ = self.critic(*self.generator(*self._draws(batch, "generator")))
        generator_loss = -on_fake.mean()
        self._updated(self.g_optimizer, generator_loss)
        with torch.no_grad():
            for mean, p in zip(self.average, self.generator.parameters(), strict=True):
                mean.lerp_(p, 0.01)
        return {"critic_loss": loss.detach(), "generator_loss": generator_loss.detach()}

    def _updated(self, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def _draws(self, batch: Batch, stream: str) -> tuple[Tensor, list[Tensor]]:
        z = self.ours.inputs(batch, stream)
        shapes = self.ours.generator.noise_shapes()
        seed, images = self.ours.seed, batch.images
        maps = [
            randomness.rows(seed, f"maps/{stream}/{place}", images, BATCH, shape, batch.share, normal=True).float()
            for place, shape in enumerate(shapes)
        ]
        return z, maps


if __name__ == "__main__":
    sys.exit(main())
