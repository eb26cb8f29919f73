"""Ingest on Ray: two workers against one, and what a worker holds in memory."""

import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.bench.data_files import Scale, write_source

WANTED_SPEED, WANTED_GB, WANTED_GROWTH = 1.5, 1.0, 1.1
WATCH_S, LOOK_ROUND_S = 0.05, 0.5


@dataclass
class Peak:
    """Largest memory of any one Ray worker: resident, and in proportion to who shares it."""

    rss: int = 0
    pss: int = 0
    others: float = 0.0
    """Share of all cores that processes outside this bench took meanwhile."""


def ingesting(folder: Path, scale: Scale) -> bool:
    """Print the memory and the speed on a connected Ray; leave the store at `folder`/two, its source at `folder`/raw."""
    few, many = scale.small
    write_source(folder / "few", few, scale.small_frame)
    write_source(folder / "many", many, scale.small_frame)
    size = write_source(folder / "raw", scale.files, scale.frame)
    _ingest(folder / "few", folder / "warm", 16, 2)  # Ray's workers start and import
    _, before = _ingest(folder / "few", folder / "few-store", 16, 2)
    _, after = _ingest(folder / "many", folder / "many-store", 16, 2)
    one, peak_one = _ingest(folder / "raw", folder / "one", scale.size, 1)
    two, peak_two = _ingest(folder / "raw", folder / "two", scale.size, 2)
    for name in ("few", "many", "warm", "few-store", "many-store", "one"):
        shutil.rmtree(folder / name)
    ratio, growth, most = one / two, after.rss / before.rss, max(peak_one.rss, peak_two.rss)
    h, w = scale.frame
    print(f"ingest of {scale.files} images of {h} x {w} x 16, {size / 1e9:.2f} GB of uncompressed .mat, to {scale.size} px")
    for name, seconds, peak in (("one Ray worker", one, peak_one), ("two Ray workers", two, peak_two)):
        speed = f"{seconds:7.1f} s   {size / seconds / 1e6:5.0f} MB/s"
        print(f"  {name:16} {speed}   others took {max(0.0, peak.others):.0%} of the cores   peak of a worker {_told(peak)}")
    print(f"  two against one {ratio:.2f}x faster (wanted: at least {WANTED_SPEED:.1f}x)")
    print(f"  largest resident memory of a worker {most / 1e9:.2f} GB (wanted: under {WANTED_GB:.0f} GB)")
    h, w = scale.small_frame
    print(f"  {few} images of {h} x {w} x 16, the peak of a worker {_told(before)}; {many} images {_told(after)}")
    print(f"  ten times the files {growth:.3f}x the resident memory (wanted: at most {WANTED_GROWTH:.1f}x)")
    return ratio >= WANTED_SPEED and most < WANTED_GB * 1e9 and growth <= WANTED_GROWTH


def _ingest(source: Path, store: Path, size: int, workers: int) -> tuple[float, Peak]:
    """Return seconds and peak; what earlier writing left to the disk is written first."""
    from hyperderm.cluster.ingest_workers import maker
    from hyperderm.ingest.layouts.scene_folder import Camera
    from hyperderm.ingest.lesions import CropOptions
    from hyperderm.ingest.pipeline import ingest
    from hyperderm.ingest.source import make_job

    os.sync()
    with _watched() as peak:
        begin, busy, own = time.perf_counter(), _busy(), _own()
        job = make_job(source, "auto", CropOptions(size), Camera())
        manifest = ingest(job, str(store), folds=5, seed=0, make=maker(workers))
        seconds = time.perf_counter() - begin
        peak.others = ((_busy() - busy) - (_own() - own)) / seconds / (psutil.cpu_count() or 1)
    assert manifest.lesions == len(job.sources), manifest.set_aside
    return seconds, peak


@contextmanager
def _watched() -> Iterator[Peak]:
    peak, done = Peak(), threading.Event()
    watcher = threading.Thread(target=_watch, args=(peak, done))
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()


def _watch(peak: Peak, done: threading.Event) -> None:
    """Sample every Ray worker below this process: the resident memory often, what it costs more to ask for seldom."""
    looked, workers = 0.0, []
    while not done.wait(WATCH_S):
        if seldom := time.monotonic() - looked > LOOK_ROUND_S:
            looked, workers = time.monotonic(), _workers()
        for one in workers:
            try:
                peak.rss = max(peak.rss, one.memory_info().rss)
                if seldom:
                    peak.pss = max(peak.pss, one.memory_full_info().pss)
            except psutil.Error:
                continue


def _workers() -> list[psutil.Process]:
    found = []
    for one in psutil.Process().children(recursive=True):
        try:
            if (one.cmdline() or [""])[0].startswith("ray::"):
                found.append(one)
        except psutil.Error:
            continue
    return found


def _told(peak: Peak) -> str:
    return f"{peak.rss / 1e6:.0f} MB resident, {peak.pss / 1e6:.0f} MB its share"


def _busy() -> float:
    """CPU seconds of the whole machine."""
    now = psutil.cpu_times()
    return now.user + now.nice + now.system


def _own() -> float:
    """CPU seconds of this process and all below it."""
    total = 0.0
    for one in (psutil.Process(), *psutil.Process().children(recursive=True)):
        try:
            now = one.cpu_times()
            total += now.user + now.system
        except psutil.Error:
            continue
    return total
