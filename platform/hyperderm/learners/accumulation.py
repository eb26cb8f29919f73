"""Gradients of a batch that is computed in parts, one after the other, so that less memory is needed at once."""

from collections.abc import Callable, Mapping

from torch import Tensor

from hyperderm.learners.base import Batch

Computed = tuple[Tensor, Mapping[str, Tensor]]
"""The loss of a batch, and metrics by name. Both must be means over the cubes of the batch."""


def accumulated(batch: Batch, compute: Callable[[Batch], Computed]) -> dict[str, Tensor]:
    """Add the gradients of a batch's loss to those of the weights, and return the metrics of the batch, detached.

    Each part of the batch (`Batch.split`) is computed and differentiated before the next one, with its share of the cubes
    as its weight. So the sums of the gradients and of the metrics are those of the whole batch, and only one part's
    intermediate values are in memory at a time. With one part nothing is added to what `compute` does.

    Args:
        batch: this worker's share of a global batch.
        compute: returns the loss and the metrics of the batch, or of a part of it.
    """
    parts = batch.split()
    if len(parts) == 1:
        return _differentiated(parts[0], compute)
    sums: dict[str, Tensor] = {}
    for part in parts:
        weight = len(part.rows) / len(batch.rows)
        for name, value in _differentiated(part, compute, weight).items():
            sums[name] = sums[name] + weight * value if name in sums else weight * value
    return sums


def _differentiated(batch: Batch, compute: Callable[[Batch], Computed], weight: float | None = None) -> dict[str, Tensor]:
    """Add the gradients of a batch's loss, times a weight, and return its metrics; nothing else of it stays in memory."""
    loss, metrics = compute(batch)
    # A data-parallel network replaces its gradients by their means over the workers at every backward pass. What earlier
    # parts have added is equal on all workers and stays as it is, and all workers have as many parts of the same sizes.
    (loss if weight is None else weight * loss).backward()
    return {name: value.detach() for name, value in metrics.items()}
