"""Two data-parallel workers against one on two cores: `python -m tests.bench.generator_workers [--quick] [NAME …]`.

The global batch and the result are the same. Every worker has one thread. Printed are images a second through the real Ray
Train worker group, by the seconds a step that a run reports; then, to tell where the rest goes, the same without Ray (gloo
processes), two processes that exchange nothing (what the machine itself gives), and the seconds of the processor, which
hardly depend on what else the machine does. Sides take turns; medians count. The exit code is 1 if a ratio through Ray Train
is below `WANTED`; a quick run judges nothing.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from hyperderm import registry
from hyperderm.config import Experiment

WANTED = 1.6
SIDE, LESIONS = 64, 96
ROUNDS, STEPS = 3, 24
WARM = 3
CASES: dict[str, tuple[str, dict[str, object]]] = {
    "shsgan": (
        "SHS-GAN, half width, 8 a step",
        {"learner.generator_width": 32, "learner.critic_width": 16, "training.batch_size": 8},
    ),
    "fastgan": ("FastGAN, layer norm, 16 a worker", {"learner.norm": "layer", "training.batch_size": 32}),
    "dcgan": (
        "DCGAN, layer norms, 16 a worker",
        {"learner.norm": "layer", "learner.generator_norm": "layer", "training.batch_size": 32},
    ),
}


def main() -> int:
    """Print every case; see the module for the exit code."""
    quick = "--quick" in sys.argv
    names = [name for name in sys.argv[1:] if name in CASES] or list(CASES)
    rounds, steps = (1, 4) if quick else (ROUNDS, STEPS)
    print(f"two workers against one, {SIDE} px, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    ratios = [case(name, rounds, steps) for name in names]
    return int(not quick and min(ratios) < WANTED)


def case(name: str, rounds: int, steps: int) -> float:
    """Measure and print one case; return the ratio through Ray Train."""
    title, _ = CASES[name]
    print(f"  {title}", flush=True)
    sides: dict[str, list[dict[str, float]]] = {side: [] for side in ("one", "two", "apart")}
    for _ in range(rounds):
        for side, taken in sides.items():
            taken.append(plain(name, side, steps))
    ray = _alone("ray", name, rounds, steps)
    batch = experiment(name, 1, steps).training.batch_size
    through = [batch / median(ray[workers]) for workers in ("1", "2")]
    ratio = through[1] / through[0]
    print(f"    through Ray Train: {through[0]:6.2f} and {through[1]:6.2f} images/s: {ratio:.2f}x (wanted: {WANTED}x)")
    wall, used = ({side: median(r[what] for r in taken) for side, taken in sides.items()} for what in ("wall", "cpu"))
    plainly = batch / wall["one"], batch / wall["two"]
    print(f"    without Ray: {plainly[0]:6.2f} and {plainly[1]:6.2f} images/s: {plainly[1] / plainly[0]:.2f}x")
    print(f"    two that exchange nothing: {wall['one'] / wall['apart']:.2f}x, which is what this machine gives")
    print(
        f"    processor seconds a step: {used['one']:.3f}; of each of two {used['two']:.3f}, without exchange "
        f"{used['apart']:.3f}: {used['one'] / used['two']:.2f}x if nobody waited",
        flush=True,
    )
    return ratio


def experiment(name: str, workers: int, steps: int) -> Experiment:
    """A run that warms up for as many steps as it is measured."""
    base = registry.experiment(name, "small").override({"data.size": SIDE, "data.diagnoses": "all", **CASES[name][1]})
    images = steps * base.training.batch_size
    changes = {
        "training.precision": "fp32",
        "training.images": 2 * images,
        "training.validate_every": images,
        "training.validation_samples": 8,
        "sweep.grace_images": images,
        "sweep.workers_per_trial": workers,
    }
    return base.override(changes)


def plain(name: str, side: str, steps: int) -> dict[str, float]:
    """Return the median wall and processor seconds of a step of `one` process, or of each of `two`, or of two `apart`."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.bench.generator_workers", "--rank"]
        started = [
            subprocess.Popen([*command, str(rank), name, side, str(steps), folder], stdout=subprocess.PIPE, text=True)
            for rank in range(1 if side == "one" else 2)
        ]
        said = [each.communicate(timeout=900)[0] for each in started]
        assert not any(each.returncode for each in started), said
    found = [json.loads(text.splitlines()[-1]) for text in said]
    return {what: max(each[what] for each in found) for what in ("wall", "cpu")}


def rank_main(rank: int, name: str, side: str, steps: int, folder: Path) -> None:
    """Train as one of the processes of `plain` and print the seconds; each of two `apart` has half the batch for itself."""
    import torch
    import torch.distributed as dist

    from hyperderm.training.checkpoint import CheckpointFolder
    from hyperderm.training.context import Context
    from hyperderm.training.stream import feed_of
    from tests.training.blobs import tiny_data

    torch.set_num_threads(1)
    workers = 1 if side == "one" else 2
    if workers == 2:  # two apart only begin together
        dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    made = experiment(name, 2 if side == "two" else 1, steps)
    if side == "apart":
        made = made.override({"training.batch_size": made.training.batch_size // 2})
    data = tiny_data(LESIONS // 2, 8, SIDE)
    context = Context(CheckpointFolder(folder), rank, workers) if side == "two" else Context(CheckpointFolder(folder))
    learner = made.learner.build(made, data, context.compute("fp32"))
    feed, batch, times = feed_of(made, data, context), made.training.batch_size, []
    for step in range(WARM + steps):
        if step == WARM and workers == 2:
            dist.barrier()
        begin, used = time.perf_counter(), time.process_time()
        learner.step(feed.batch(step * batch))
        times.append((time.perf_counter() - begin, time.process_time() - used))
    wall, cpu = (median(each[kind] for each in times[WARM:]) for kind in (0, 1))
    print(json.dumps({"wall": wall, "cpu": cpu}))
    if workers == 2:
        dist.barrier()
        dist.destroy_process_group()


def through_ray(name: str, rounds: int, steps: int) -> dict[int, list[float]]:
    """Return the seconds a step that runs of one and of two workers report, in turn, by number of workers."""
    from hyperderm.cluster.session import connect, quiet_ray

    quiet_ray()
    from hyperderm.cluster.shared_data import share
    from hyperderm.cluster.worker_group import group_reports
    from hyperderm.phantom.rendering import phantom
    from hyperderm.store.reader import open_store
    from hyperderm.store.writer import write_store
    from hyperderm.training.selection import select

    found: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory(prefix="hd-") as folder, connect(None):
        write_store(f"{folder}/store", (one.lesion for one in phantom(LESIONS, SIDE, 0)), fold_count=3, seed=0)
        store = open_store(f"{folder}/store")
        for turn in range(rounds):
            for workers, taken in found.items():
                made = experiment(name, workers, steps)
                shared = share(store, select(store, made), made)
                place = Path(folder) / "runs" / "trials" / f"{turn}-{workers}"
                place.mkdir(parents=True)
                reports = list(group_reports(made, shared, place, {}))
                taken.append(reports[-1].metrics["train/seconds_per_step"])
    return found


def _alone(*command: object) -> dict[str, list[float]]:
    """Run `through_ray` in a process of its own, so that nothing of this one is in its way."""
    words = [sys.executable, "-m", "tests.bench.generator_workers", *(f"--{command[0]}", *map(str, command[1:]))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, timeout=3600, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"Ray Train failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    line = next(line for line in reversed(done.stdout.splitlines()) if line.startswith("found "))
    return json.loads(line.removeprefix("found "))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--rank"]:
        rank_main(int(sys.argv[2]), sys.argv[3], sys.argv[4], int(sys.argv[5]), Path(sys.argv[6]))
    elif sys.argv[1:2] == ["--ray"]:
        print("found", json.dumps(through_ray(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
    else:
        sys.exit(main())
