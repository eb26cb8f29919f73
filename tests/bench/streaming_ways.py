"""What `tests.bench.streaming` runs in a process of its own: one way of feeding two Train workers, watched.

Every way has a Ray of its own with `CPUS` CPUs: one for each worker, and one that is left for reading. The workers do
nothing with a batch but take its mean and meet, so what is measured is the feed.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

from tests.cluster.small_ray import connect, used  # before Ray: it sets what Ray reads from the environment

WORKERS, CPUS = 2, 3
BATCH = 32
"""Cubes of both workers together."""
WINDOW, ROWS_PER_PART = 4, 64
"""Parts that are shuffled together, and cubes of each."""
SIZE = 64
LISTERS = "RAY_DATA_PARQUET_FOOTER_NUM_ACTORS"
WAYS: Mapping[str, Mapping[str, Any]] = {
    "ours": {},
    "ray v1": {"v1": True, "by_part": True, "files": True, "buffer": True, "prefetch": 4},
    "ray lister": {"listers": 1, "files": True, "buffer": True, "prefetch": 4},
    "ray default": {"files": True, "buffer": True},
    "ray plain": {"v1": True, "by_part": True, "prefetch": 4},
    "ray blocks": {"v1": True, "by_part": True, "blocks": True, "buffer": True, "prefetch": 4},
}
"""ours: the readers. ray default: Ray Data as it is documented: files shuffled anew every epoch, and a local shuffle buffer
in each worker, both together as large as a window of ours. ray lister: the same with one process, not 32, that reads the
ends of files when they are listed. ray v1: with the reader that 2.60 has beside its new one, and a block for every part.
ray plain: that without any shuffling. ray blocks: that with blocks shuffled after they were read."""
TRIED = 3
"""Ways that are measured where nobody names any: ours, and the two of Ray Data that came out best."""


class Watch:
    """Looks at Ray and at the processes below this one three times a second."""

    def __init__(self) -> None:
        self.store = self.spilled = self.memory = self.cpus = 0.0
        self._seconds: dict[tuple[int, float], float] = {}  # of CPU, of every process seen
        self._line: list[tuple[float, float]] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        import ray

        while not self._end.wait(0.33):
            now, own = used(), 0
            for one in [psutil.Process(), *psutil.Process().children(recursive=True)]:
                try:
                    times, memory, key = one.cpu_times(), one.memory_info(), (one.pid, one.create_time())
                except psutil.Error:
                    continue
                own += memory.rss - memory.shared
                self._seconds[key] = times.user + times.system
            self._line.append((time.time(), sum(self._seconds.values())))
            held = ray.cluster_resources().get("CPU", 0.0) - ray.available_resources().get("CPU", 0.0)
            self.store, self.spilled = max(self.store, now["used"]), max(self.spilled, now["spilled"])
            self.memory, self.cpus = max(self.memory, own), max(self.cpus, held)

    def between(self, begin: float, end: float) -> float:
        """Return the seconds of CPU that the processes used between two times."""
        inside = [seconds for at, seconds in self._line if begin <= at <= end]
        return inside[-1] - inside[0] if len(inside) > 1 else 0.0

    def close(self) -> dict[str, float]:
        self._end.set()
        self._thread.join()
        return {"store": self.store, "spilled": self.spilled, "memory": self.memory, "cpus": self.cpus}


def consume(batches: Iterator[Any], begun: float, seconds: float) -> dict[str, float]:
    """Take batches (n, B, H, W) until `seconds` after the first one or the end, all workers alike.

    Returns:
        `first`: seconds from `begun` to the first batch; `rate`: cubes of all workers a second after it; `pause`: the
        longest one between two batches after it; `seen`: cubes of all workers; `from` and `to`: when the first and the last
        came.
    """
    import torch
    import torch.distributed as dist

    first, last, pause, count = 0.0, 0.0, 0.0, 0
    while True:
        x = next(batches, None)
        now = time.time()
        done = torch.tensor(float(x is None or (count > 0 and now - first > seconds)))
        dist.all_reduce(done, dist.ReduceOp.MAX)
        if done or x is None:
            break
        assert x.shape == (BATCH // WORKERS, 16, SIZE, SIZE)
        assert x.dtype == torch.float32
        assert float(x.mean()) < 1
        now = time.time()
        first, pause = (first, max(pause, now - last)) if count else (now, 0.0)
        last, count = now, count + 1
    rate = (count - 1) * BATCH / (last - first) if count > 1 else 0.0
    return {"first": first - begun, "rate": rate, "pause": pause, "seen": count * BATCH, "from": first, "to": last}


def settings_of() -> Any:
    """Return the experiment of all ways."""
    from tests.cluster.sweeps import tiny

    chosen = {"data__size": SIZE, "data__window": WINDOW, "data__feed": "stream", "data__flips": False}
    return tiny(**chosen, training__batch_size=BATCH, sweep__workers_per_trial=WORKERS)


# --- ours


def our_worker(config: dict[str, Any]) -> None:
    """Be fed as a worker of `cluster.worker_group` is."""
    import ray
    import torch

    from hyperderm.cluster.worker_group import worker_group
    from hyperderm.training.stream import feed_of

    torch.set_num_threads(1)
    experiment = settings_of()
    shared, _ = ray.get(config["channel"].shared.remote())
    begun = time.time()
    data, context = shared.load(experiment), worker_group(Path(config["folder"]))
    feed = feed_of(experiment, data, context)
    count = len(data.streamed.lesion_ids)
    found = consume((feed.batch(at).real for at in range(0, count - BATCH + 1, BATCH)), begun, config["seconds"])
    # over the end of an epoch: what is held there is wanted first, as it would be after an epoch
    begin = max(count // BATCH - 40, 0) * BATCH
    over = consume((feed.batch(at).real for at in range(begin, begin + 80 * BATCH, BATCH)), time.time(), 60)
    _keep(config, found | {"turn": over["pause"]})


def ours(uri: str, folder: Path, seconds: float) -> dict[str, float]:
    """Return what the readers do; the driver reads all of the store once for scaling, sample and validation."""
    from hyperderm.cluster.stream_readers import prepare_stream
    from hyperderm.cluster.worker_group import ReportChannel

    begin = time.time()
    store, selection = _opened(uri)
    shared = prepare_stream(store, selection, settings_of())
    prepared = time.time() - begin
    made: Any = ReportChannel
    _fit(our_worker, {"channel": made.remote(shared, None), "folder": str(folder), "seconds": seconds}, folder)
    return {"prepared": prepared}


# --- Ray Data


def ray_worker(config: dict[str, Any]) -> None:
    """Be fed by the worker's share of a dataset."""
    import ray.train
    import torch

    from hyperderm.learners.scaling import Scaling

    torch.set_num_threads(1)
    scaling = Scaling(torch.zeros(16, dtype=torch.float64), torch.ones(16, dtype=torch.float64))
    begun = time.time()
    shard = ray.train.get_dataset_shard("train")
    how = {"batch_size": BATCH // WORKERS, "drop_last": True, "prefetch_batches": config["prefetch"]}

    def epoch(number: int) -> Iterator[Any]:
        shuffled = {"local_shuffle_buffer_size": config["buffer"], "local_shuffle_seed": number} if config["buffer"] else {}
        for batch in shard.iter_torch_batches(**how, **shuffled):
            yield scaling.forward(batch["cube"])

    found = consume(epoch(0), begun, config["seconds"])
    again = consume(epoch(1), time.time(), 2)
    _keep(config, found | {"turn": again["first"]})


def tensors(block: Any) -> Any:
    """Return the column `cube` of an Arrow block as (n, H, W, B)."""
    column = block.column("cube").combine_chunks()
    return column.to_numpy_ndarray() if hasattr(column, "to_numpy_ndarray") else column.to_numpy(zero_copy_only=False)


def rows_of(store: Any, wanted: Any, how: Mapping[str, Any], paths: list[str]) -> Any:
    """Return the dataset of the cubes `wanted` as (B, H, W), read and turned by the same tasks."""
    import numpy as np
    import ray.data

    from hyperderm.store.reader import chosen

    def turned(block: Any) -> dict[str, Any]:
        return {"cube": np.ascontiguousarray(np.moveaxis(tensors(chosen(block, wanted)), 3, 1))}

    rows = ray.data.read_parquet(
        paths,
        filesystem=store.location.fs,
        columns=["lesion_id", "cube"],
        shuffle=ray.data.FileShuffleConfig(seed=0) if how.get("files") else None,
        override_num_blocks=len(paths) if how.get("by_part") else None,
    )
    rows = rows.map_batches(turned, batch_format="pyarrow", batch_size=None, zero_copy_batch=True)
    return rows.randomize_block_order(seed=0) if how.get("blocks") else rows


def ray_data(uri: str, folder: Path, seconds: float, how: Mapping[str, Any]) -> dict[str, float]:
    """Return what Ray Data does; its worker processes are warm, as they would be after the scaling was fitted."""
    import pyarrow as pa
    import ray.data

    store, selection = _opened(uri)
    context = ray.data.DataContext.get_current()
    context.use_datasource_v2 = not how.get("v1", False)
    context.enable_progress_bars = context.print_on_execution_start = False
    wanted, paths = pa.array(selection.train, pa.string()), store.part_paths()
    warm = {name: how[name] for name in ("by_part",) if name in how}
    extremes(rows_of(store, wanted, warm, paths[:WINDOW]))
    begin = time.time()
    rows = rows_of(store, wanted, how, paths)
    prepared = time.time() - begin
    buffer = WINDOW * ROWS_PER_PART // WORKERS if how.get("buffer") else 0
    config = {"buffer": buffer, "prefetch": how.get("prefetch", 1), "folder": str(folder), "seconds": seconds}
    _fit(ray_worker, config, folder, {"train": rows})
    return {"prepared": prepared}


def extremes(rows: Any) -> tuple[Any, Any]:
    """Return (B,) least and greatest values of a dataset: what a scaling is fitted to."""
    import numpy as np

    def ends(batch: dict[str, Any]) -> dict[str, Any]:
        return {"low": batch["cube"].min((0, 2, 3))[None], "high": batch["cube"].max((0, 2, 3))[None]}

    found = rows.map_batches(ends, batch_size=None, zero_copy_batch=True).take_all()
    return np.min([row["low"] for row in found], 0), np.max([row["high"] for row in found], 0)


def ray_extremes(uri: str) -> dict[str, float]:
    """Return the seconds in which Ray Data fits the scaling of train, to which the workers are not there yet."""
    import pyarrow as pa
    import ray.data

    begin = time.time()
    store, selection = _opened(uri)
    ray.data.DataContext.get_current().use_datasource_v2 = False
    extremes(rows_of(store, pa.array(selection.train, pa.string()), {"by_part": True}, store.part_paths()))
    return {"prepared": time.time() - begin}


# --- both


def _opened(uri: str) -> tuple[Any, Any]:
    from hyperderm.store.reader import open_store
    from hyperderm.training.selection import select

    store = open_store(uri, verify=False)
    return store, select(store, settings_of())


def _fit(worker: Any, config: dict[str, Any], folder: Path, datasets: dict[str, Any] | None = None) -> None:
    import ray.train
    from ray.train.torch import TorchTrainer

    TorchTrainer(
        worker,
        train_loop_config=config,
        scaling_config=ray.train.ScalingConfig(num_workers=WORKERS, resources_per_worker={"CPU": 1}),
        run_config=ray.train.RunConfig(name="group", storage_path=str(folder / "train")),
        datasets=datasets,
    ).fit()


def _keep(config: dict[str, Any], found: dict[str, float]) -> None:
    import ray.train

    rank = ray.train.get_context().get_world_rank()
    (Path(config["folder"]) / f"rank-{rank}.json").write_text(json.dumps(found))


def main(way: str, uri: str, folder: Path, seconds: float, limit: int) -> dict[str, float]:
    """Return everything that is measured of one way."""
    if listers := WAYS.get(way, {}).get("listers"):
        os.environ[LISTERS] = str(listers)
    connect(limit, CPUS)
    watch = Watch()
    if way == "ray extremes":
        return ray_extremes(uri) | watch.close()
    done = ours(uri, folder, seconds) if way == "ours" else ray_data(uri, folder, seconds, WAYS[way])
    ranks = [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(WORKERS)]
    worst = {name: max(rank[name] for rank in ranks) for name in ("first", "turn", "pause")}
    busy = 1000 * watch.between(ranks[0]["from"], ranks[0]["to"]) / max(ranks[0]["seen"] - BATCH, 1)
    return done | ranks[0] | worst | {"busy": busy} | watch.close()


if __name__ == "__main__":
    way, uri, folder, seconds, limit = sys.argv[1:]
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    print(json.dumps(main(way, uri, Path(folder), float(seconds), int(limit))))
