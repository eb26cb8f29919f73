"""The loop: one screen. It counts images, asks the learner to step, and yields a report at every validation."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from hyperderm.config import Experiment
from hyperderm.errors import NonFiniteLoss
from hyperderm.learners import build
from hyperderm.learners.base import Learner
from hyperderm.learners.data import TrainData
from hyperderm.training.context import Context
from hyperderm.training.feed import Feed

OBJECTIVE = "spectral_energy_distance"
CHECK_EVERY = 16
"""Steps between two looks for a non-finite loss: each look waits for the GPU."""


@dataclass(frozen=True)
class Report:
    """The state of a run after `images` real images."""

    images: int
    metrics: Mapping[str, float]
    cubes: Tensor | None = None
    """What a generator was scored on, (n, B, H, W) reflectance; None on other ranks and when repeated after a resume."""


def train(experiment: Experiment, data: TrainData, context: Context) -> Iterator[Report]:
    """Train until `training.images` real images were shown, yielding a report at image 0 and at every validation.

    Goes on from the latest checkpoint of the context where there is one; the draws are keyed, so the result is that of an
    undisturbed run.

    Raises:
        NonFiniteLoss: naming the step and the metric.
    """
    training = experiment.training
    learner = build(experiment, data, context.placement(training.precision))
    saved = context.checkpoint.load()
    images, best = 0, float("inf")
    if saved:
        learner.load_state_dict(saved["learner"])
        images, best = saved["images"], saved["best"]
        yield Report(images, saved["metrics"])  # again: a kill may have come between the save and the delivery
    cubes = data.scaling.forward(data.train.reflectance).to(context.device)
    feed = Feed(
        cubes,
        training.batch_size,
        experiment.seed,
        rank=context.rank,
        world_size=context.world_size,
        flips=experiment.data.flips,
    )
    meter = Meter()
    if not saved:
        yield _report(learner, meter, context, images)
    while images < training.images:
        meter.add(learner.step(feed.batch(images)), images // training.batch_size)
        before, images = images, images + training.batch_size
        if crossed(before, images, training.validate_every) or images >= training.images:
            report = _report(learner, meter, context, images)
            if context.rank == 0:
                best = _save(learner, context, experiment, data, report, best)
            yield report


def crossed(before: int, after: int, every: int) -> bool:
    """Return whether a multiple of `every` lies in (before, after]."""
    return after // every > before // every


class Meter:
    """Means since the last report, kept on the device; remembers the first step that was not finite."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}
        self.bad: dict[str, Tensor] = {}
        self.started = perf_counter()
        self.steps = 0

    def add(self, metrics: Mapping[str, Tensor], step: int) -> None:
        """Add one step's metrics."""
        for name, value in metrics.items():
            self.sums[name] = self.sums.get(name, torch.zeros_like(value)) + value
            self.counts[name] = self.counts.get(name, 0) + 1
            never = torch.full_like(value, -1.0, dtype=torch.float64)
            first = self.bad.get(name, never)
            self.bad[name] = torch.where((first < 0) & ~torch.isfinite(value), torch.full_like(never, step), first)
        self.steps += 1
        if self.steps % CHECK_EVERY == 0:
            self.check()

    def check(self) -> None:
        """Raise for the earliest non-finite metric.

        Raises:
            NonFiniteLoss: naming the step and the metric.
        """
        bad = sorted((int(step), name) for name, step in self.bad.items() if int(step) >= 0)
        if bad:
            step, name = bad[0]
            raise NonFiniteLoss(f"{name} is not finite at step {step}", "Lower the learning rates, or raise gp_weight.")

    def means(self) -> dict[str, float]:
        """Return the means and start anew."""
        self.check()
        means = {name: float(total) / self.counts[name] for name, total in self.sums.items()}
        seconds = perf_counter() - self.started
        if self.steps:
            means["seconds_per_step"] = seconds / self.steps
        self.__init__()  # type: ignore[misc]
        return means


def _report(learner: Learner, meter: Meter, context: Context, images: int) -> Report:
    metrics = context.mean(meter.means())
    if context.rank:
        return Report(images, metrics)
    validation = learner.validate()
    return Report(images, metrics | dict(validation.scores), validation.cubes)


def _save(learner: Learner, context: Context, experiment: Experiment, data: TrainData, report: Report, best: float) -> float:
    score = report.metrics[OBJECTIVE]
    state: dict[str, Any] = {
        "images": report.images,
        "metrics": dict(report.metrics),
        "best": min(best, score),
        "learner": learner.state_dict(),
        "experiment": experiment.model_dump_json(),
        "scaling": data.scaling.state_dict(),
        "wavelengths_nm": list(data.wavelengths_nm),
        "provenance": dict(context.provenance),
    }
    context.checkpoint.save(state)
    if score < best:
        context.checkpoint.promote()
    return min(best, score)
