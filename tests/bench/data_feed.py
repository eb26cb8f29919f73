"""The feed of classifier batches against the seed project's: scipy.io.loadmat for every item in a DataLoader.

The seed's code is not public; its way is built from its report and METHODS section 2. Every item is read whole, cut by a box
that is known beforehand, augmented by albumentations, brought to size (SmallestMaxSize, CenterCrop) and scaled by band. A
DataLoader does it with two workers, which know nothing of this project's settings. The feed holds the train role in memory,
cut and brought to size, and augments batches where it is called, on one thread, what a trial of one CPU has, and on as many
threads as the seed has processes.
"""

import os
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import scipy.io
import torch
from torch.utils.data import DataLoader, Dataset

from tests.bench.data_files import FULL, KEY, QUICK, Scale
from tests.bench.data_timing import timed
from tests.learning import augmented

WORKERS, WANTED = 2, 10.0
SEED = "the seed's way"
BATCH_WAY, ITEM_WAY, BARE = "the feed, geometry=batch", "the feed, geometry=albumentations", "the feed, no augmentation"
THREADS_WAY = f"{BATCH_WAY}, {WORKERS} threads"


class SeedItems(Dataset):
    """The seed's way to an item.

    Args:
        files: of the train role, each with its crop's box (top, left, bottom, right).
        low: (B,) reflectance that becomes -1.
        high: (B,) reflectance that becomes 1.
        size: pixels.
    """

    def __init__(self, files: list[tuple[Path, tuple[int, ...]]], low: np.ndarray, high: np.ndarray, size: int) -> None:
        self.files, self.low, self.span, self.size = files, low.astype(np.float32), (high - low).astype(np.float32), size
        self.compose = None

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, at: int) -> torch.Tensor:
        path, box = self.files[at]
        return self.augmented(cut(load(path), box))

    def augmented(self, image: np.ndarray) -> torch.Tensor:
        if self.compose is None:  # made where it is used: workers begin without it
            self.compose = seed_augmentation(self.size)
        x = (self.compose(image=image)["image"] - self.low) / self.span * 2 - 1
        return torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, 2, 0)))


def load(path: Path) -> np.ndarray:
    return scipy.io.loadmat(str(path))[KEY]


def cut(cube: np.ndarray, box: tuple[int, ...]) -> np.ndarray:
    top, left, bottom, right = box
    return np.ascontiguousarray(cube[top:bottom, left:right])


def seed_augmentation(size: int):
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # else it asks PyPI for a newer one
    import albumentations as a
    import cv2

    from hyperderm.learners.augmentation import BORDER, DEGREES, SHIFT

    cv2.setNumThreads(1)  # as many processes as cores
    return a.Compose(
        [
            a.Affine(
                scale=1.0,
                translate_percent=(-SHIFT, SHIFT),
                rotate=(-DEGREES, DEGREES),
                interpolation=cv2.INTER_LINEAR,
                border_mode=cv2.BORDER_REFLECT_101,
                p=0.5,
            ),
            a.RandomCropFromBorders(BORDER, BORDER, BORDER, BORDER, p=0.5),
            a.HorizontalFlip(p=0.5),
            a.VerticalFlip(p=0.5),
            a.SmallestMaxSize(size, interpolation=cv2.INTER_LINEAR),
            a.CenterCrop(size, size),
        ]
    )


def feeding(store: Path, raw: Path, scale: Scale) -> bool:
    """Print the images a second of both, and what share of the feed's time the augmentation takes."""
    from hyperderm.store.reader import open_store
    from hyperderm.training.data import train_data
    from hyperderm.training.feed import MemoryFeed

    torch.set_num_threads(1)  # a trial of one CPU; more of them wait for each other where the cores are taken
    begin = perf_counter()
    opened = open_store(str(store), verify=False)
    roles = [opened.read(opened.select(role, 0, "all")) for role in ("train", "validation")]
    data = train_data(*roles, opened.manifest.wavelengths_nm, scale.size)
    feed = MemoryFeed(data.scaling.forward(data.drawn), scale.batch, seed=0, pixelwise=True)
    loaded = perf_counter() - begin
    rows = len(data.train) // scale.batch * scale.batch
    items = SeedItems(_files(raw, roles[0]), data.scaling.low.numpy(), data.scaling.high.numpy(), scale.size)
    seconds = timed(_ways(feed, items, data, rows, scale), scale.rounds, rows)
    cubes = f"{len(data.train)} cubes of {scale.size} px"
    how = f"classic augmentation; {WORKERS} processes of the seed's, one thread of the feed"
    print(f"feed of {cubes} in batches of {scale.batch}, {how}")
    for name, each in seconds.items():
        print(f"  {name:34} {rows / each:8.1f} images/s   {each / rows * 1e3:6.2f} ms an image")
    print(f"  the feed's first batch waits {loaded:.1f} s, once, for the store to be read and scaled")
    return _fast_enough(seconds, items)


def _fast_enough(seconds: dict[str, float], items: SeedItems) -> bool:
    read, augmented = _seed_parts(items)
    print(f"  an item of the seed's, alone: loadmat and crop {read:.1f} ms, augmentation and scaling {augmented:.1f} ms")
    share = {name: 1 - seconds[BARE] / seconds[name] for name in (BATCH_WAY, ITEM_WAY)}
    print(
        f"  augmentation is {share[BATCH_WAY]:.0%} of the feed's time by the batch, {share[ITEM_WAY]:.0%} by albumentations"
    )
    ratio = {name: seconds[SEED] / each for name, each in seconds.items()}
    for name in (ITEM_WAY, BATCH_WAY, BARE):
        print(f"  against the seed's way: {name} {ratio[name]:.1f}x faster")
    print(f"  against the seed's way: {THREADS_WAY} {ratio[THREADS_WAY]:.1f}x faster (wanted: at least {WANTED:.0f}x)")
    return ratio[THREADS_WAY] >= WANTED


def _ways(feed, items: SeedItems, data, rows: int, scale: Scale) -> dict[str, Callable[[], int]]:
    """An epoch of each; the seed's workers end with the loader, when nobody holds it any more."""
    for name in [name for name in os.environ if name.startswith(("MALLOC_", "MIMALLOC_"))]:
        del os.environ[name]  # of this project's settings; read where a process starts, so here they stay in force
    loader = DataLoader(
        items,
        scale.batch,
        shuffle=True,
        drop_last=True,
        num_workers=WORKERS,
        persistent_workers=True,
        multiprocessing_context="spawn",  # this process has threads of pyarrow and Ray
    )
    ways: dict[str, Callable[[], int]] = {SEED: lambda: sum(len(x) for x in loader)}
    found = _augmentations(data, scale)
    for name in (BATCH_WAY, ITEM_WAY):
        ways[name] = _fed(feed, found[name], rows, scale.batch)
    ways[THREADS_WAY] = _on_threads(WORKERS, _fed(feed, found[BATCH_WAY], rows, scale.batch))
    ways[BARE] = _fed(feed, lambda views, keys: _copied(views), rows, scale.batch)
    return ways


def _copied(views: list[torch.Tensor]) -> torch.Tensor:
    """The batch as the augmentation hands it on, (n, H, W, B) in memory, only not moved: turning it would cost more."""
    return torch.stack([view.permute(1, 2, 0) for view in views]).permute(0, 3, 1, 2)


def _on_threads(count: int, way: Callable[[], int]) -> Callable[[], int]:
    def run() -> int:
        before = torch.get_num_threads()
        torch.set_num_threads(count)
        try:
            return way()
        finally:
            torch.set_num_threads(before)

    return run


def _augmentations(data, scale: Scale) -> dict[str, Callable]:
    """The project's own, as a classifier's step builds them."""
    from hyperderm.registry import experiment

    def of(geometry: str) -> Callable:
        settings = {"data.size": scale.size, "learner.augmentation": "classic", "learner.geometry": geometry}
        found = augmented(experiment("classifier", "small").override(settings), data)
        assert len(found) == 1
        return found[0]

    return {BATCH_WAY: of("batch"), ITEM_WAY: of("albumentations")}


def _fed(feed, augment: Callable, rows: int, batch: int) -> Callable[[], int]:
    shown = count(0, rows)

    def epoch() -> int:
        begin = next(shown)
        return sum(len(augment(feed.batch(at).views(), range(at, at + batch))) for at in range(begin, begin + rows, batch))

    return epoch


def _seed_parts(items: SeedItems) -> tuple[float, float]:
    """Return the median milliseconds that an item's reading and its augmentation take where nobody else works."""
    torch.set_num_threads(1)
    read, augmented = [], []
    for path, box in items.files[:40]:
        begin = perf_counter()
        image = cut(load(path), box)
        read.append(perf_counter() - begin)
        begin = perf_counter()
        items.augmented(image)
        augmented.append(perf_counter() - begin)
    return median(read) * 1e3, sum(augmented) / len(augmented) * 1e3  # a mean: half of the items are hardly touched


def _files(raw: Path, train) -> list[tuple[Path, tuple[int, ...]]]:
    """The train role's images and boxes, as the store says them."""
    import json

    origins = [json.loads(text) for text in train.column("origin").to_pylist()]
    return [(raw / origin["file"], tuple(origin["crop"])) for origin in origins]


if __name__ == "__main__":
    sys.exit(not feeding(Path(sys.argv[1]), Path(sys.argv[2]), {"full": FULL, "quick": QUICK}[sys.argv[3]]))
