"""The wall time of a sweep against its trials as bare loops: `python -m tests.bench.sweep_wall`; a ratio of one run.

The same configurations train twice on this machine, one after the other, on one thread each: as a sweep that runs one trial
at a time (the study, Tune, reports, checkpoints, pictures of the last samples; Ray runs already), and as a loop over
`training.run` in a process of their own. What a sweep adds is the start of one worker, and a few milliseconds a report.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WANTED = 1.05
TRIALS, IMAGES = 3, 1_000
SWEPT = ("learner.lr_generator", "learner.lr_critic")
"""Axes that change what a trial learns and not how long it takes."""


def experiment():
    from hyperderm.registry import experiment

    changes = {
        "data.size": 32,
        "data.diagnoses": "all",
        "training.images": IMAGES,
        "training.validate_every": IMAGES // 4,
        "sweep.trials": TRIALS,
        "sweep.concurrent": 1,
        "sweep.grace_images": IMAGES,
    }
    return experiment("shsgan", "small").override(changes)


def sweep(store: str, folder: str) -> None:
    """Run the sweep; print its wall time without the start of Ray, and what its trials were."""
    from hyperderm.cluster.observer import Observers
    from hyperderm.cluster.session import connect, quiet_ray

    quiet_ray()
    with connect(None) as cluster:
        from hyperderm.cluster.shared_data import share
        from hyperderm.registry import space
        from hyperderm.store.reader import open_store
        from hyperderm.studies.search import Search
        from hyperderm.studies.sweep import run
        from hyperderm.training.selection import select

        base, opened = experiment(), open_store(store)
        axes = {path: axis for path, axis in space("shsgan", base).distributions.items() if path in SWEPT}
        search = Search(Path(folder) / "study.db", "bench", base, axes, Observers())
        shared = share(opened, select(opened, base), base)
        began = time.monotonic()
        run(search, shared, cluster, Path(folder), {})
        took = time.monotonic() - began
        assert len(search.finished()) == TRIALS
    print("found", json.dumps({"seconds": took, "values": [trial.params for trial in search.study.trials]}))


def bare(store: str, folder: str) -> None:
    """Run the trials of the sweep in `folder` as bare loops, and print their wall time."""
    import torch

    from hyperderm.store.reader import open_store
    from hyperderm.training.context import local
    from hyperderm.training.run import run
    from hyperderm.training.selection import read, select

    torch.set_num_threads(1)
    base, opened = experiment(), open_store(store)
    values = json.loads((Path(folder) / "values.json").read_text())
    began = time.monotonic()
    for number, each in enumerate(values):
        trial = base.override(each)
        data = read(opened, select(opened, trial), trial)
        for _ in run(trial, data, local(Path(folder) / f"bare-{number}")):
            pass
    print("found", json.dumps({"seconds": time.monotonic() - began}))


def _apart(side: str, store: str, folder: str) -> dict:
    """Run one side in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.sweep_wall", side, store, folder]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    line = next((line for line in reversed(done.stdout.splitlines()) if line.startswith("found ")), None)
    if line is None:
        raise SystemExit(f"{side} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return json.loads(line.removeprefix("found "))


def main() -> int:
    from hyperderm.phantom.rendering import phantom
    from hyperderm.store.writer import write_store

    with tempfile.TemporaryDirectory() as folder:
        store = f"{folder}/store"
        write_store(store, (one.lesion for one in phantom(330, 32, 0)), fold_count=5, seed=0)
        swept = _apart("sweep", store, folder)
        (Path(folder) / "values.json").write_text(json.dumps(swept["values"]))
        alone = _apart("bare", store, folder)
    ratio = swept["seconds"] / alone["seconds"]
    print(f"{TRIALS} trials of {IMAGES} images, one at a time on one thread")
    print(f"  as bare loops  {alone['seconds']:7.1f} s")
    print(f"  as a sweep     {swept['seconds']:7.1f} s")
    print(f"  ratio {ratio:.3f} (wanted: at most {WANTED})")
    return 0 if ratio <= WANTED else 1


if __name__ == "__main__":
    if len(sys.argv) == 4:
        {"sweep": sweep, "bare": bare}[sys.argv[1]](sys.argv[2], sys.argv[3])
    else:
        sys.exit(main())
