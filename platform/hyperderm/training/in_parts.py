"""A run whose memory runs out is tried once more with each batch computed in parts, by accumulated gradients."""

import gc
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import TypeVar

import torch

from hyperderm.config import Experiment
from hyperderm.errors import OutOfMemory
from hyperderm.training.report import Report
from hyperderm.trouble import trouble_of

L = TypeVar("L")
HALVES = 2
"""The number of parts in which a run that ran out of memory computes a batch."""


def once_more_in_parts(
    experiment: Experiment, attempt: Callable[[int], Generator[Report, None, L]], parts: int = 1
) -> Generator[Report, None, L]:
    """Yield the reports of `attempt(1)`, and if memory runs out, those of `attempt(HALVES)` where the learner can do so.

    Args:
        experiment: the run.
        attempt: trains, or goes on, with batches computed in so many parts.
        parts: more than 1 if memory ran out before in another process.
    """
    parts = parts if splits(experiment) else 1
    if parts == 1:
        try:
            return (yield from attempt(1))
        except Exception as error:
            if not splits(experiment) or not _out_of_memory(error):
                raise
        _free_memory()
        parts = HALVES
    return (yield from _saying(in_parts(parts), attempt(parts)))


def splits(experiment: Experiment) -> bool:
    """Return whether each worker can compute its share of a batch in parts and get the same result."""
    each = experiment.training.batch_size // experiment.sweep.workers_per_trial
    return experiment.learner.splits and not experiment.learner.fit_once and each >= HALVES


def in_parts(parts: int) -> str:
    """Return the note of a trial that computes its batches in parts."""
    return f"memory ran out: each batch is computed in {parts} parts from here on, the same result up to rounding"


def _out_of_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or isinstance(trouble_of(error), OutOfMemory)


def _free_memory() -> None:
    """Let go of what the training held that ended with an error."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _saying(note: str, reports: Generator[Report, None, L]) -> Generator[Report, None, L]:
    """Yield reports, and `note` with the first."""
    first = next(reports)
    yield replace(first, note="; ".join(filter(None, (first.note, note))))
    return (yield from reports)
