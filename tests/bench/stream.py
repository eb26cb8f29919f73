"""Training from a store four times the object store against training from memory, and what else could feed it.

One Ray with two CPUs and an object store of `LIMIT`, in a process of its own: a trial streams with one CPU while a reader
has the other. The same trial then trains from memory in this process. The rate is that of the images between the first
report and the last. Beside it: what an epoch of Ray Data costs until its first batch and per cube, to choose by.
`python -m tests.bench.stream [--quick]`; `--quick` shows few images and judges nothing.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

LIMIT, SIZE, IMAGES, QUICK_IMAGES, WANTED = 80 * 2**20, 64, 1500, 200, 0.5
KINDS = ("shsgan", "classifier")


def main(quick: bool) -> int:
    """Print the rates; return 0 where the streamed ones reach their target."""
    from hyperderm.store.writer import write_store
    from tests.cluster.test_stream_readers import noise

    with tempfile.TemporaryDirectory() as folder:
        images, kinds = (QUICK_IMAGES, KINDS[1:]) if quick else (IMAGES, KINDS)
        count = -(-4 * LIMIT // (SIZE * SIZE * 17 * 4))
        write_store(f"{folder}/store", noise(count, SIZE), fold_count=20)  # a small validation role leaves room for windows
        results = {kind: [_child(folder, kind, mode, images) for mode in ("stream", "memory")] for kind in kinds}
        data = _child(folder, "-", "ray-data", images)
    print(f"{count} cubes of {SIZE} x {SIZE} x 16, {4 * LIMIT / 2**20:.0f} MiB; object store {LIMIT / 2**20:.0f} MiB")
    good = True
    for kind, (stream, memory) in results.items():
        ratio = stream["rate"] / memory["rate"]
        good &= ratio >= WANTED and stream["peak"] <= LIMIT and not stream["spilled"]
        print(
            f"  {kind:10s} streamed {stream['rate']:7.1f} images/s, from memory {memory['rate']:7.1f}: {ratio:.0%}", end=""
        )
        print(f" (wanted: at least {WANTED:.0%}); peak of the object store {stream['peak'] / 2**20:.0f} MiB,", end="")
        print(f" {stream['spilled'] / 2**20:.0f} MiB spilled")
    print(f"  the feed alone, a reader  {data['reader']:7.1f} cubes/s, first window after {data['reader_first']:.2f} s")
    print(f"  an epoch of Ray Data      {data['ray']:7.1f} cubes/s, first batch after {data['ray_first']:.2f} s")
    return 0 if good or quick else 1


def _child(folder: str, kind: str, mode: str, images: int) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.bench.stream", folder, kind, mode, str(images)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def child(folder: str, kind: str, mode: str, images: int) -> dict[str, float]:
    """What one process measures."""
    import torch

    from hyperderm.cluster.stream_readers import prepare_stream
    from hyperderm.store.reader import open_store
    from hyperderm.training.context import local
    from hyperderm.training.run import run
    from hyperderm.training.selection import read, select
    from tests.cluster.small_ray import Watch, connect
    from tests.cluster.sweeps import classifier, tiny

    torch.set_num_threads(1)
    store = open_store(f"{folder}/store", verify=False)
    settings = {"data__size": SIZE, "data__window": 1, "data__sample": 16, "training__images": images}
    settings |= {"training__validate_every": images, "training__validation_samples": 8, "data__feed": mode}
    if mode == "ray-data":
        connect(LIMIT * 4, 2)
        return _readers(store, select(store, tiny()), tiny(data__size=SIZE, data__window=1)) | _ray_data(store)
    experiment = (tiny if kind == "shsgan" else classifier)(**settings)
    watch = None
    if mode == "stream":
        connect(LIMIT, 2)
        watch = Watch()
        shared = prepare_stream(store, select(store, experiment), experiment)
        data = shared.load(experiment)
    else:
        data = read(store, select(store, experiment), experiment)
    steps = []
    for report in run(experiment, data, local(Path(folder) / f"{kind}-{mode}")):
        steps.append(report.metrics.get("train/seconds_per_step"))
    if watch:
        watch.close()
    rate = experiment.training.batch_size / steps[-1]
    return {"rate": rate, "peak": watch.peak if watch else 0, "spilled": watch.spilled if watch else 0}


def _readers(store, selection, experiment) -> dict[str, float]:
    from hyperderm.cluster.stream_readers import prepare_stream
    from hyperderm.training.stream import StreamFeed

    data = prepare_stream(store, selection, experiment).load(experiment)
    feed = StreamFeed(data.streamed, data.scaling, 8, 0)
    begin = perf_counter()
    assert len(feed.batch(0).real)
    first = perf_counter() - begin
    seen = 8 * sum(1 for at in range(8, len(data.lesion_ids), 8) if len(feed.batch(at).real))
    return {"reader": seen / (perf_counter() - begin - first), "reader_first": first}


def _ray_data(store) -> dict[str, float]:
    import ray.data

    begin = perf_counter()
    first = seen = 0
    rows = ray.data.read_parquet(store.part_paths()).select_columns(["cube"])
    rows.context.execution_options.preserve_order = True
    for batch in rows.iter_torch_batches(batch_size=8):
        first = first or perf_counter() - begin
        seen += len(batch["cube"])
    return {"ray": seen / (perf_counter() - begin - first), "ray_first": first}


if __name__ == "__main__":
    if sys.argv[1:] in ([], ["--quick"]):
        sys.exit(main(quick=len(sys.argv) > 1))
    *where, images = sys.argv[1:]
    print(json.dumps(child(*where, int(images))))
