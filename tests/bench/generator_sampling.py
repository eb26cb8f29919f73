"""Cubes a second of every generator's real sampler, one by one and together.

`python -m tests.bench.generator_sampling [--quick] [NAME …]`; without names all are measured.

Every generator is the untrained network of an experiment's small profile, or one of the contract tests' small networks, at
64 px. Its sampler is read from a checkpoint and makes cubes in chunks, as `hyperderm generate` does: once one by one, and
once as many together as it finds to give the same bits. Both sides take turns, and seconds are those of the processor; the
first chunk is not counted, in which the sampler finds that out. The bits are compared, and the largest memory is that of a
quarter of the cubes against all of them. What gains less than `FASTER` and what grows is named. The exit code is 1 only if
a cube differs.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hyperderm import registry
from hyperderm.config import DataConfig, Experiment, TrainingConfig
from hyperderm.learners import synthesis
from hyperderm.learners.base import Compute, Sampler
from hyperderm.learners.data import TrainData
from hyperderm.learners.generative_learner import GenerativeLearner
from hyperderm.training.checkpoint import CheckpointFolder
from hyperderm.training.context import Context
from hyperderm.training.drawn_cubes import CHUNK
from hyperderm.training.resume import pack
from hyperderm.training.run import load_sampler
from tests.bench.peak import peak_of
from tests.training.blobs import tiny_data

SIDE = 64
FASTER, FLAT_MB = 3.0, 16.0
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Row:
    """What was measured of one generator: cubes a second of a processor, how many were made together, memory in MB."""

    name: str
    single: float
    batched: float
    together: int
    equal: bool
    grown: float

    @property
    def gain(self) -> float:
        return self.batched / self.single


def main() -> int:
    """Print the table and the names; the exit code is 1 if a cube depends on what was made with it."""
    count = 100 if "--quick" in sys.argv else 1000
    torch.set_num_threads(1)
    print(f"{count} cubes of {SIDE} px, 16 bands, one thread, in chunks of {CHUNK}; cubes a second of a processor")
    print(f"  {'generator':34} {'one by one':>10} {'batches':>9} {'gain':>6}  together  MB more for {count} than a quarter")
    rows = []
    found = experiments()
    for name in [name for name in sys.argv[1:] if name in found] or found:
        rows.append(measured(name, found[name], count))
        row = rows[-1]
        print(
            f"  {name:34} {row.single:10.0f} {row.batched:9.0f} {row.gain:5.2f}x  {row.together:8}  {row.grown:8.1f}"
            f"{'' if row.equal else '  OTHER BITS'}",
            flush=True,
        )
    print_names(rows)
    return int(not all(row.equal for row in rows))


def print_names(rows: list[Row]) -> None:
    """Name what gains, what does not, whose batches have other bits, and whose memory grows."""
    apart = [row.name for row in rows if row.together == 1]
    fast = [row.name for row in rows if row.together > 1 and row.gain >= FASTER]
    slow = [f"{row.name} ({row.gain:.1f}x)" for row in rows if row.together > 1 and row.gain < FASTER]
    for what, names in (
        (f"at least {FASTER:.0f}x as fast together", fast),
        (f"together, but less than {FASTER:.0f}x as fast", slow),
        ("one by one, because batches give other bits", apart),
        (f"memory not constant within {FLAT_MB:.0f} MB", [row.name for row in rows if row.grown > FLAT_MB]),
    ):
        print(f"{what}: {', '.join(names) or 'none'}")


def experiments() -> dict[str, Experiment]:
    """The small profile of every experiment of a generator with a network, and the contract's small ones, at `SIDE`."""
    from tests.learners.test_contract import GENERATORS, SMALL

    found = {}
    for name in registry.names("experiments"):
        experiment = registry.experiment(name, "small")
        if experiment.learner.role == "generator" and not experiment.learner.fit_once and not name.startswith("ladder_"):
            found[name] = experiment.override({"data.size": SIDE})
    for name in [name for name in GENERATORS if not SMALL[name].fit_once]:
        found[f"tiny: {name}"] = Experiment(
            name="tiny",
            profile="small",
            data=DataConfig(size=SIDE, diagnoses="all"),
            learner=SMALL[name],
            training=TrainingConfig(batch_size=4, images=16, validate_every=8, validation_samples=8),
        )
    return found


def measured(name: str, experiment: Experiment, count: int) -> Row:
    """Time both ways in turn, chunk by chunk, and compare every cube."""
    checkpoint, condition = untrained(experiment, count)
    single, batched = load_sampler(checkpoint), load_sampler(checkpoint)
    chunk_of(single, condition, range(1))  # what a library prepares once
    seconds, equal = [0.0, 0.0], True
    for first in range(0, count, CHUNK):
        chunk = range(first, min(first + CHUNK, count))
        begin = time.process_time()
        with one_by_one():
            alone = chunk_of(single, condition, chunk)
        middle = time.process_time()
        together = chunk_of(batched, condition, chunk)
        if first:
            seconds[0] += middle - begin
            seconds[1] += time.process_time() - middle
        equal = equal and torch.equal(alone, together)
    peaks = [peak_of(partial(made, batched, condition, n))["mb"] for n in (count // 4, count)]
    assert isinstance(batched, synthesis.NetworkSampler)
    found = synthesis._TOGETHER.get(batched.network)
    single_rate, batched_rate = ((count - CHUNK) / each for each in seconds)
    size = found.given if found else 1
    return Row(name, single_rate, batched_rate, size, equal, max(peaks[1] - peaks[0], 0.0))


def untrained(experiment: Experiment, count: int) -> tuple[dict[str, Any], Tensor | None]:
    """A checkpoint of the untrained learner, and the condition of `count` cubes."""
    data = experiment.learner.in_space(experiment, two_classes(tiny_data(size=SIDE)))
    learner = experiment.learner.build(experiment, data, Compute(CPU))
    assert isinstance(learner, GenerativeLearner)
    context = Context(CheckpointFolder(Path()), device=CPU, provenance={"run": "bench"})
    return pack(learner, experiment, data, context), learner.condition(torch.arange(count) % len(data.train))


def two_classes(data: TrainData) -> TrainData:
    """Every third lesion of train is a melanoma."""
    names = tuple("nevus" if row % 3 else "melanoma" for row in range(len(data.train)))
    return replace(data, train=replace(data.train, diagnoses=names))


def chunk_of(sampler: Sampler, condition: Tensor | None, indices: range) -> Tensor:
    """Cubes `indices` of set 0."""
    return sampler.sample(0, indices, None if condition is None else condition[indices.start : indices.stop])


def made(sampler: Sampler, condition: Tensor | None, count: int) -> None:
    """Make `count` cubes and keep none."""
    for first in range(0, count, CHUNK):
        chunk_of(sampler, condition, range(first, min(first + CHUNK, count)))


@contextmanager
def one_by_one() -> Iterator[None]:
    """Forbid batches."""
    most, synthesis.MOST_TOGETHER = synthesis.MOST_TOGETHER, 1
    try:
        yield
    finally:
        synthesis.MOST_TOGETHER = most


if __name__ == "__main__":
    sys.exit(main())
