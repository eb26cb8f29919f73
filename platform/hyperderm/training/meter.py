"""Means of a run's metrics since the last report, and the search for the first metric that is not finite."""

from collections.abc import Mapping
from math import isnan
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from hyperderm.errors import NonFiniteLoss
from hyperderm.metric_groups import TRAIN
from hyperderm.training.context import Context
from hyperderm.training.preemption import asked_to_leave
from hyperderm.training.usage import Usage

CHECK_EVERY = 16
"""Largest number of steps between two checks, for which the GPU and the other workers are waited for."""
AGREE_S = 2.0
"""Seconds between two checks of a group whose steps take long: its workers must agree to leave well within 30 s."""
REMEDY = "Lower the learning rates, or a weight of the loss that is very large; with a gradient penalty, raise gp_weight."


class Meter:
    """A meter that keeps the sums of metrics on the device, and for each metric the first step at which it was not finite.

    A new meter is made after every report.

    Args:
        context: the surroundings of the run.
        state: what `state_dict` returned, if the run continues between two reports.

    Attributes:
        leaving: whether this process, or another one of its group, was told to leave its machine. A group agrees on it at
            its checks, so all its workers see it after the same step.
    """

    def __init__(self, context: Context, state: Mapping[str, Any] | None = None) -> None:
        self.context = context
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}
        self.bad: dict[str, Tensor] = {}
        self.started = perf_counter()
        self.usage = Usage(context.device)
        self.steps = 0
        self.leaving = False
        self._next_check = CHECK_EVERY if context.world_size == 1 else 1
        if state:
            self.sums = {name: total.to(context.device) for name, total in state["sums"].items()}
            self.counts, self.steps = dict(state["counts"]), state["steps"]
            self.started -= state["seconds"]
            self._next_check += self.steps

    def state_dict(self) -> dict[str, Any]:
        """Return what a run needs that continues between two reports; all workers of a group must call this alike."""
        self.check()
        sums = {name: self.context.averaged(self.sums[name]).cpu() for name in sorted(self.sums)}
        return {"sums": sums, "counts": self.counts, "steps": self.steps, "seconds": perf_counter() - self.started}

    def add(self, metrics: Mapping[str, Tensor], step: int) -> None:
        """Add the metrics of one step, causes before effects: an error names the first metric that is not finite."""
        for name, value in metrics.items():
            self.sums[name] = self.sums.get(name, torch.zeros_like(value)) + value
            self.counts[name] = self.counts.get(name, 0) + 1
            never = torch.full_like(value, torch.inf, dtype=torch.float64)
            here = torch.where(torch.isfinite(value), never, torch.full_like(never, step))
            self.bad[name] = torch.minimum(self.bad.get(name, never), here)
        self.steps += 1
        if self.steps >= self._next_check:
            self.check()
        if self.context.world_size == 1:
            self.leaving = asked_to_leave()

    def check(self) -> None:
        """Prove that every metric was finite on every worker; all workers raise the same error, and agree on `leaving`.

        Raises:
            NonFiniteLoss: a metric was not finite; the message names the earliest such step and its metric.
        """
        if not self.bad:
            return
        values = list(self.bad.values())
        pace = (perf_counter() - self.started) / self.steps
        stay, slowest = (torch.full_like(values[0], number) for number in (0.0 if asked_to_leave() else 1.0, -pace))
        *first, stays, slowness = self.context.least(torch.stack([*values, stay, slowest])).tolist()
        self.leaving = stays < 1
        several = CHECK_EVERY if self.context.world_size == 1 else int(AGREE_S / max(-slowness, 1e-9))
        self._next_check = self.steps + min(max(several, 1), CHECK_EVERY)
        step, name = min(zip(first, self.bad, strict=True), key=lambda pair: pair[0])
        if step < torch.inf:
            raise NonFiniteLoss(f"{name} is not finite at step {int(step)}", REMEDY)

    def means(self) -> dict[str, float]:
        """Return the means of the metrics over the steps and the workers, and what the workers used, by `metric_groups`.

        Raises:
            NonFiniteLoss: a metric was not finite; the message names the step and the metric.
        """
        self.check()
        means = {f"{TRAIN}{name}": float(total) / self.counts[name] for name, total in self.sums.items()}
        if self.steps:
            means[f"{TRAIN}seconds_per_step"] = (perf_counter() - self.started) / self.steps
            means |= self.usage.since()
        return {name: mean for name, mean in self.context.mean(means).items() if not isnan(mean)}
