"""Every generator at its full profile on a GPU: `python -m tests.bench.gpu [--names NAME …] [--steps N] [--compile]`.

It runs where only torch, numpy, scipy and pydantic are installed, and makes its cubes itself. A generator that needs another
package (diffusion: diffusers) is then named and left out; one that takes no steps (`mixture`) is always. One table is
printed: steps and images a second in fp32 and bf16, how far the first losses of the two are apart, whether `sample` gives
the same bits twice and one by one, the largest memory (of the GPU; on a CPU of the whole process), and steps a second after
torch.compile and with CUDA graphs, or why these fail. Without a GPU the networks are tiny, the size is 32 px, and the table
says so; torch.compile is then tried only on request.
The exit code is 1 if the losses are more than `APART` apart, a cube differs, or a learner is missing.
"""

import argparse
import sys
import time
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hyperderm import registry
from hyperderm.cluster.gpu_share import bound_gpu
from hyperderm.config import Experiment
from hyperderm.errors import ConfigError
from hyperderm.learners import kinds, learner_of
from hyperderm.learners.adversarial import AdversarialLearner
from hyperderm.learners.base import Compute
from hyperderm.learners.data import TrainData
from hyperderm.learners.generative_learner import GenerativeLearner
from hyperderm.metrics.weights import LPIPS_VGG16
from hyperderm.training.feed import MemoryFeed
from tests.bench.peak import peak_of
from tests.training.blobs import tiny_data

APART = 0.02
"""Largest difference of a loss in bf16 from that in fp32, as a share of the latter, or of `SMALL_LOSS` if that is more."""
SMALL_LOSS = 0.5
PARTS = 0.8
"""Largest share of its memory that a step may take in two parts."""
COMPARED = 3
"""Number of first steps whose losses are compared; later, small differences have moved the weights apart."""
TINY: dict[str, object] = {"data.size": 32, "training.batch_size": 4, "learner.generator_width": 8}
TINY_WIDTHS = ("critic_width", "encoder_width")
LOSSES = ("critic_loss", "generator_loss", "loss", "squared_distance", "denoising")
"""Names under which a learner reports the losses that it minimises."""

COLUMNS = (
    *("generator", "px", "batch", "million weights", "precision", "steps/s", "images/s", "losses apart", "bits of sample"),
    *("peak MB", "compiled steps/s", "CUDA graphs steps/s"),
)


@dataclass
class Row:
    """What was found of one learner in one precision."""

    name: str
    precision: str
    size: int
    batch: int
    parameters: int
    steps: float = 0.0
    megabytes: float = 0.0
    same_bits: bool = True
    apart: float | None = None
    losses: tuple[dict[str, float], ...] = ()
    compiled: str = "not tried"
    graphs: str = "not tried"

    def line(self) -> str:
        apart = "" if self.apart is None else f"{self.apart:.1e}"
        bits = "same" if self.same_bits else "DIFFER"
        cells = (
            *(self.name, self.size, self.batch, f"{self.parameters / 1e6:.2f}", self.precision, f"{self.steps:.2f}"),
            *(f"{self.steps * self.batch:.1f}", apart, bits, f"{self.megabytes:.0f}", self.compiled, self.graphs),
        )
        return f"| {' | '.join(map(str, cells))} |"


def main() -> int:
    """Print the table; see the module for the exit code."""
    asked = _asked()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    gpu = device.type == "cuda"
    if not gpu:
        torch.set_num_threads(1)
    print(
        f"torch {torch.__version__}, {torch.cuda.get_device_name()}: full profiles"
        if gpu
        else f"torch {torch.__version__}, no GPU: tiny networks at 32 px on one thread of the CPU, not the full profiles"
    )
    print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|")
    wrong = []
    for name in asked.names or generators():
        wrong += learner_rows(name, device, asked.steps, gpu or asked.compile)
    if not asked.names:
        stepping = {kind for kind in kinds("generator") if (learner := learner_of(kind)) and not learner.fit_once}
        wrong += [f"{kind}: no experiment" for kind in stepping - {learner_kind(n) for n in generators()}]
    wrong += parts_row(gpu)
    wrong += share_row(gpu)
    for sentence in wrong:
        print(f"WRONG: {sentence}")
    return int(bool(wrong))


def parts_row(gpu: bool) -> list[str]:
    """Print how much less memory a step of SHS-GAN takes in two parts, as a trial takes them that ran out of memory."""
    if not gpu:
        print("a step in parts: not tried without a GPU")
        return []
    device = torch.device("cuda", 0)
    experiment = configured("shsgan", device)
    data = blob_data(experiment)
    peaks = []
    for parts in (1, 2):
        learner = experiment.learner.build(experiment, data, Compute(device))
        held = data.coordinates.forward(data.drawn).to(device)
        feed = MemoryFeed(held, experiment.training.batch_size, experiment.seed, labels=data.labels, parts=parts)
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        learner.step(feed.batch(0))
        peaks.append((torch.cuda.max_memory_allocated() - before) / 2**20)
        del learner, held, feed
        torch.cuda.empty_cache()
    print(f"a step of SHS-GAN in two parts: {peaks[1]:.0f} instead of {peaks[0]:.0f} MB beside weights and cubes")
    return [] if peaks[1] < PARTS * peaks[0] else [f"a step in two parts takes {peaks[1] / peaks[0]:.2f} of the memory"]


def share_row(gpu: bool) -> list[str]:
    """Print whether a trial is held to its share of the GPU (`cluster.gpu_share`); last, for it binds the process."""
    if not gpu:
        print("GPU share: not tried without a GPU")
        return []
    total = torch.cuda.mem_get_info()[1]
    print(f"GPU share: {bound_gpu(0.1)}")
    kept = torch.empty(int(0.05 * total), dtype=torch.uint8, device="cuda")
    try:
        torch.empty(int(0.1 * total), dtype=torch.uint8, device="cuda")
    except torch.cuda.OutOfMemoryError:
        print(f"GPU share: refused beyond it, with {kept.numel() / 2**30:.1f} GiB held")
        return []
    finally:
        bound_gpu(1.0)
    return ["a process that is bound to a tenth of the GPU took more"]


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", nargs="+")
    parser.add_argument("--steps", type=int, default=20, help="steps that are timed")
    parser.add_argument("--compile", action="store_true", help="try torch.compile on a CPU too")
    return parser.parse_args()


def generators() -> list[str]:
    """The experiments of generators that take steps, without the rungs of the ladder."""
    names = [name for name in registry.names("experiments") if not name.startswith("ladder_")]
    learners = {name: registry.experiment(name, "full").learner for name in names}
    return [name for name, learner in learners.items() if learner.role == "generator" and not learner.fit_once]


def learner_kind(name: str) -> str:
    return registry.experiment(name, "full").learner.kind


def learner_rows(name: str, device: torch.device, steps: int, compiles: bool) -> list[str]:
    """Print the rows of one experiment, or which package it lacks here; return what is wrong."""
    experiment = configured(name, device)
    data = blob_data(experiment)
    try:
        data = experiment.learner.in_space(experiment, data)
        experiment.learner.build(experiment, data, Compute(device))
    except ModuleNotFoundError as error:
        print(f"| {name} is not measured: it needs {error.name}, which is not installed here |", flush=True)
        return []
    whole = measured(experiment, data, device, "fp32", steps, compiles)
    print(whole.line(), flush=True)
    half = measured(experiment, data, device, "bf16", steps, compiles)
    half.apart = furthest(whole.losses, half.losses)
    print(half.line(), flush=True)
    wrong = [f"{name} in {row.precision}: sample gives other bits" for row in (whole, half) if not row.same_bits]
    if not half.apart <= APART:
        wrong.append(f"{name}: losses in bf16 are {half.apart:.1%} from those in fp32")
    return wrong


def configured(name: str, device: torch.device) -> Experiment:
    """The full profile, or without a GPU tiny networks; LPIPS only on a GPU where its weights are, and it is said if not."""
    experiment = registry.experiment(name, "full")
    fields, changes = type(experiment.learner).model_fields, dict[str, object]()
    if device.type != "cuda":
        changes = TINY | {f"learner.{field}": 8 for field in TINY_WIDTHS if field in fields}
    if getattr(experiment.learner, "reconstruction", None) == "lpips" and (changes or not lpips_is_here()):
        print(f"| {name} with reconstruction=l1 instead of lpips: {'tiny' if changes else 'its weights are missing'} |")
        changes["learner.reconstruction"] = "l1"
    return experiment.override(changes)


def lpips_is_here() -> bool:
    """Return whether the weights of LPIPS, which come as a package, are installed."""
    try:
        LPIPS_VGG16.proved("")
    except ConfigError:
        return False
    return True


def blob_data(experiment: Experiment) -> TrainData:
    """Blob cubes of two diagnoses, enough for two batches."""
    data = tiny_data(max(2 * experiment.training.batch_size, 16), 4, experiment.data.size)
    names = tuple("nevus" if row % 3 else "melanoma" for row in range(len(data.train)))
    return replace(data, train=replace(data.train, diagnoses=names))


def measured(
    experiment: Experiment, data: TrainData, device: torch.device, precision: str, steps: int, compiles: bool
) -> Row:
    """Train `COMPARED` and then `steps` timed steps, sample, and try compilation."""
    run = Training(experiment, data, device, precision)
    learner, batch = run.learner, experiment.training.batch_size
    weights = sum(p.numel() for network in learner.modules.values() for p in network.parameters())
    row = Row(experiment.name, precision, experiment.data.size, batch, weights)

    def work() -> None:
        row.losses = tuple(run.step() for _ in range(COMPARED))
        row.steps = run.speed(steps)

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        work()
        row.megabytes = torch.cuda.max_memory_allocated() / 1e6
    else:
        row.megabytes = peak_of(work)["peak_mb"]
    row.same_bits = same_bits(learner)
    if compiles:
        row.compiled = compiled(experiment, data, device, precision, steps, row.losses, None)
        if device.type == "cuda":
            row.graphs = compiled(experiment, data, device, precision, steps, row.losses, "reduce-overhead")
    return row


class Training:
    """A learner and its feed, without anything else of a run."""

    def __init__(self, experiment: Experiment, data: TrainData, device: torch.device, precision: str) -> None:
        compute = Compute(device, torch.float32, precision == "bf16")
        built = experiment.learner.build(experiment, data, compute)
        assert isinstance(built, GenerativeLearner)
        self.learner, self.device, self.images = built, device, 0
        held = data.coordinates.forward(data.drawn).to(device)
        pixelwise = experiment.learner.pixelwise and device.type == "cpu"
        flips, size = experiment.data.flips, experiment.training.batch_size
        self.feed = MemoryFeed(held, size, experiment.seed, flips=flips, labels=data.labels, pixelwise=pixelwise)

    def step(self) -> dict[str, float]:
        """Take a step and return its losses."""
        metrics = self.learner.step(self.feed.batch(self.images))
        self.images += self.feed.batch_size
        return {name: float(metrics[name]) for name in LOSSES if name in metrics}

    def speed(self, steps: int) -> float:
        """Return steps a second; as many updates of the generator as usual fall into the time."""
        cycle = self.learner.config.n_critic if isinstance(self.learner, AdversarialLearner) else 1
        steps = -(-steps // cycle) * cycle
        self._wait()
        begin = time.perf_counter()
        for _ in range(steps):
            self.learner.step(self.feed.batch(self.images))
            self.images += self.feed.batch_size
        self._wait()
        return steps / (time.perf_counter() - begin)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def furthest(whole: tuple[dict[str, float], ...], other: tuple[dict[str, float], ...]) -> float:
    """Return the largest difference of a loss, see `APART`; not a number if a loss is not finite."""
    pairs = [(a[name], b[name]) for a, b in zip(whole, other, strict=True) for name in a]
    assert pairs, "the learner reports none of LOSSES"
    apart = torch.tensor([abs(b - a) / max(abs(a), SMALL_LOSS) for a, b in pairs])
    return float(apart.max())  # the largest of values with a nan is nan


def same_bits(learner: GenerativeLearner) -> bool:
    """Return whether cubes are the same bits again, and one by one."""
    count = 6
    condition = learner.condition(torch.arange(count) % len(learner.data.train))

    def made(rows: range) -> Tensor:
        return learner.sample(1, rows, None if condition is None else condition[rows.start : rows.stop])

    cubes = made(range(count))
    singles = torch.cat([made(range(row, row + 1)) for row in range(count)])
    return torch.equal(made(range(count)), cubes) and torch.equal(singles, cubes)


def compiled(
    experiment: Experiment,
    data: TrainData,
    device: torch.device,
    precision: str,
    steps: int,
    losses: tuple[dict[str, float], ...],
    mode: str | None,
) -> str:
    """Return steps a second with compiled networks and how far the losses are from those without, or why it fails."""
    try:
        torch._dynamo.reset()
        run = Training(experiment, data, device, precision)
        for network in run.learner.modules.values():
            network.compile(mode=mode)
        apart = furthest(losses, tuple(run.step() for _ in range(COMPARED)))
        run.speed(2)  # what is compiled late
        return f"{run.speed(steps):.2f} ({apart:.1%} apart)"
    except Exception as error:  # whatever a compiler raises is the answer
        return f"fails: {type(error).__name__}: {' '.join(str(error).split())[:90]}"


if __name__ == "__main__":
    sys.exit(main())
