"""The only link between training and the machine: world size, rank, device, checkpoint folder."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from hyperderm.learners.base import Compute
from hyperderm.store.run_location import RunLocation
from hyperderm.training.checkpoint import CheckpointFolder

Precision = Literal["auto", "fp32", "fp64", "bf16"]


@dataclass(frozen=True)
class Context:
    """The surroundings of a worker. `local` makes them for one worker, `hyperderm.cluster.worker_group` for several.

    Attributes:
        checkpoint: the run's checkpoints, in a place that the nodes of all workers can see.
        rank: number of this worker, 0 … world_size − 1.
        world_size: number of workers.
        device: the device on which this worker computes.
        provenance: facts that are saved in every checkpoint: manifest fingerprint, fold, run key.
        parts: number of parts in which a step computes a batch, to need less memory; see `LearnerConfig.splits`.
    """

    checkpoint: CheckpointFolder
    rank: int = 0
    world_size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    provenance: Mapping[str, str] = field(default_factory=dict)
    parts: int = 1

    def compute(self, precision: Precision) -> Compute:
        """Return device and precision for the learner; `auto` means bf16 autocast on a GPU and fp32 on a CPU."""
        bf16 = precision == "bf16" or (precision == "auto" and self.device.type == "cuda")
        dtype = torch.float64 if precision == "fp64" else torch.float32
        return Compute(self.device, dtype, bf16, self._parallel, self.averaged)

    def mean(self, metrics: dict[str, float]) -> dict[str, float]:
        """Return the means of `metrics` over the workers; all workers must have the same keys."""
        if self.world_size == 1 or not metrics:
            return metrics
        names = sorted(metrics)
        values = torch.tensor([metrics[name] for name in names], dtype=torch.float64, device=self.device)
        dist.all_reduce(values)
        return {name: float(v) / self.world_size for name, v in zip(names, values, strict=True)}

    def least(self, values: Tensor) -> Tensor:
        """Return the elementwise minimum of `values` over the workers."""
        if self.world_size > 1:
            dist.all_reduce(values, dist.ReduceOp.MIN)
        return values

    def _parallel(self, module: nn.Module) -> nn.Module:
        if self.world_size == 1:
            return module
        ids = [self.device.index] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(module, device_ids=ids, broadcast_buffers=False)

    def averaged(self, x: Tensor) -> Tensor:
        """Return the mean of `x` over the workers; all workers must call this alike."""
        if self.world_size == 1:
            return x
        total = x.clone()
        dist.all_reduce(total)
        return total / self.world_size


def local(folder: RunLocation, provenance: Mapping[str, str] | None = None, parts: int = 1) -> Context:
    """Return the context of a single worker, which runs in the calling process (for example a Tune actor)."""
    device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    return Context(CheckpointFolder(folder), device=device, provenance=provenance or {}, parts=parts)
