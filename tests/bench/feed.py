"""What an epoch of 96 cubes costs through the feed, against re-streaming Parquet and against indexing a tensor in memory.

The same scaling on all sides, no augmentation, batch 8; the tensor in memory is scaled already, the strictest comparison.
Each side is timed in turn, several epochs; medians are compared.
"""

import sys
import tempfile
from collections.abc import Callable
from statistics import median
from time import perf_counter

import torch

CUBES, SIZE, BATCH, EPOCHS, STREAMED_EPOCHS = 96, 64, 8, 60, 3
WANTED_STREAM, WANTED_TENSOR = 20.0, 1.1


def main() -> int:
    from hyperderm.cluster.session import connect, quiet_ray

    quiet_ray()
    from hyperderm.learners.scaling import Scaling
    from hyperderm.phantom.rendering import phantom
    from hyperderm.store.reader import open_store
    from hyperderm.store.writer import write_store
    from hyperderm.training.data import cube_set
    from hyperderm.training.feed import MemoryFeed

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, connect(None):
        write_store(f"{folder}/store", (one.lesion for one in phantom(CUBES, SIZE, 0)), fold_count=0)
        store = open_store(f"{folder}/store")
        cubes = cube_set(store.read(store.index().column("lesion_id").to_pylist()), SIZE)
        scaling = Scaling.fit(cubes.reflectance)
        streamed = [_streamed(f"{folder}/store/lesions", scaling) for _ in range(STREAMED_EPOCHS)]
        feed = MemoryFeed(scaling.forward(cubes.reflectance), BATCH, seed=0)
        fed, indexed, selected = [], [], []
        for epoch in range(EPOCHS):
            fed.append(_fed(feed, epoch))
            indexed.append(_picked(lambda rows: feed.cubes[rows]))
            selected.append(_picked(lambda rows: feed.cubes.index_select(0, rows)))
    stream, ours, tensor, select = (median(each) for each in (streamed, fed, indexed, selected))
    print(f"an epoch of {CUBES} cubes of {SIZE} x {SIZE} x 16 in batches of {BATCH}, scaled, no augmentation (medians)")
    print(f"  Parquet streamed anew by Ray Data  {stream * 1e3:9.2f} ms")
    print(f"  the feed                           {ours * 1e3:9.2f} ms")
    print(f"  indexing a tensor in memory        {tensor * 1e3:9.2f} ms")
    print(f"  the same with index_select         {select * 1e3:9.2f} ms (what the feed does; the rest is the order of rows)")
    print(f"  feed against streaming {stream / ours:.0f}x faster (wanted: at least {WANTED_STREAM:.0f}x)")
    print(f"  feed against the tensor {ours / tensor:.2f}x its time (wanted: at most {WANTED_TENSOR}x)")
    return 0 if stream / ours >= WANTED_STREAM and ours / tensor <= WANTED_TENSOR else 1


def _streamed(parts: str, scaling) -> float:
    import ray.data

    begin = perf_counter()
    seen = 0
    for batch in ray.data.read_parquet(parts).select_columns(["cube"]).iter_torch_batches(batch_size=BATCH):
        seen += len(scaling.forward(batch["cube"].movedim(3, 1)))
    assert seen == CUBES
    return perf_counter() - begin


def _fed(feed, epoch: int) -> float:
    """The real cubes; a batch draws the sources of a conditional generator only when they are asked for."""
    begin = perf_counter()
    seen = sum(len(feed.batch(epoch * CUBES + at).real) for at in range(0, CUBES, BATCH))
    assert seen == CUBES
    return perf_counter() - begin


def _picked(pick: Callable[[torch.Tensor], torch.Tensor]) -> float:
    begin = perf_counter()
    order = torch.randperm(CUBES)
    seen = sum(len(pick(order[at : at + BATCH])) for at in range(0, CUBES, BATCH))
    assert seen == CUBES
    return perf_counter() - begin


if __name__ == "__main__":
    sys.exit(main())
