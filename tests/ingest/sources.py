"""Ingest as the command line does it, in one call."""

from pathlib import Path

from hyperderm.ingest.formats.scene import ReadOptions
from hyperderm.ingest.layouts.scene_folder import Camera
from hyperderm.ingest.lesions import CropOptions
from hyperderm.ingest.pipeline import Make, Progress, ingest
from hyperderm.ingest.source import Folder, Job, make_job
from hyperderm.store.manifest import Manifest


def job_of(source: Path, size: int | None = 16, wavelengths=None, layout: str = "auto", **more) -> Job:
    nm = None if wavelengths is None else tuple(wavelengths)
    how = CropOptions(size, **{k: more.pop(k) for k in ("bands_nm", "marker") if k in more})
    return make_job(source, layout, how, Camera(ReadOptions(nm)), **more)


def read_one(layout: str, source, root: Path, how: CropOptions):
    return Folder(root, layout).read(source, how)


def ingest_folder(
    source: Path,
    uri: str,
    *,
    size: int | None = 16,
    wavelengths=None,
    folds: int = 3,
    seed: int = 0,
    progress: Progress = lambda done, total: None,
    layout: str = "auto",
    make: Make | None = None,
    **more,
) -> Manifest:
    job = job_of(source, size, wavelengths, layout, **more)
    return ingest(job, uri, folds=folds, seed=seed, progress=progress, make=make)
