"""Read raw files into a store, say what would become of them, and export their pictures to an annotation tool."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from hyperderm.errors import ClusterError, ConfigError
from hyperderm.reports.progress import counting
from hyperderm.reports.store_description import SHOWN, describe, list_aside, say
from hyperderm.store.manifest import Manifest
from hyperderm.workflows.workspace import Workspace

if TYPE_CHECKING:
    from hyperderm.ingest.annotation_pictures import Exported
    from hyperderm.ingest.dry_run import Checked
    from hyperderm.ingest.layouts.scene_folder import Camera
    from hyperderm.ingest.pipeline import Make
    from hyperderm.ingest.source import Job

MANY_BYTES = 2**30
"""The number of bytes above which reading takes longer than Ray takes to start."""
SIZE = 64
"""The default side of the stored crops in pixels."""
NATIVE = "native"


def ingest_job(
    source: Path,
    *,
    layout: str = "auto",
    size: int | str = "",
    bands_nm: tuple[float, ...] | None = None,
    masks: str = "",
    groups: Path | None = None,
    scale: Sequence[str] = (),
    fill: bool = False,
    camera: "Camera | None" = None,
) -> "Job":
    """List the raw files of a source, and return how each becomes lesions; no image is read.

    Args:
        source: a folder of images in a known layout, or one file.
        layout: a name in `ingest.source.LAYOUTS`; auto: the layout that the source has.
        size: the side of the stored crops in pixels, 16 to 1024, or native: as the images are; "": 64.
        bands_nm: the wavelengths (K,) in nm to which every cube is brought; None: unchanged.
        masks: a COCO or Label Studio file; auto: a lesion is searched where no mask picture marks one; "": neither.
        groups: a CSV file with the columns image and patient; folds never split a patient.
        scale: divisors of the numbers: `N`, `PATTERN=N` for files of such names, or `above:MEDIAN=N`.
        fill: fill a few missing values in a crop from their neighbours.
        camera: what is known of the files beside their content; None: nothing.

    Raises:
        HyperdermError: an error that the user can correct.
    """
    from hyperderm.ingest.layouts.scene_folder import Camera
    from hyperderm.ingest.lesions import CropOptions, LesionMarks
    from hyperderm.ingest.source import make_job
    from hyperderm.ingest.units import parse_scale

    pixels = str(size) or str(SIZE)
    if pixels != NATIVE and not (pixels.isdecimal() and 16 <= int(pixels) <= 1024):
        raise ConfigError(f"--size {pixels!r} is none", "Give 16 … 1024 pixels, or native.")
    annotations = None if masks in ("", "auto") else Path(masks)
    if annotations is not None and not annotations.is_file():
        raise ConfigError(f"--masks {masks} does not exist", "Name a COCO or Label Studio file, or write auto.")
    how = CropOptions(
        None if pixels == NATIVE else int(pixels),
        bands_nm,
        LesionMarks(automatic=masks == "auto"),
        scale=parse_scale(scale),
        fill=fill,
    )
    job = make_job(source, layout, how, camera or Camera(), annotations, groups)
    if job.layout == "exported" and size:
        raise ConfigError(f"--size {size} is not for what was exported: its cubes come back as they were", "Leave it out.")
    return job


def ingest(job: "Job", store: str, *, folds: int = 5, seed: int = 0, workers: int | None = None) -> Manifest:
    """Read raw files into a store, and return its manifest; the same call goes on with an interrupted one.

    Little data is read in this process, much data on Ray over all cores or the cluster.

    Args:
        job: the files to read, and how, from `ingest_job`.
        store: a folder or `s3://` address; nothing may be there yet.
        folds: the number of folds, 3 or more; 0 for none.
        seed: the seed of the folds.
        workers: files read at a time; None means one for little data, and as many as there are CPUs for much.

    Raises:
        HyperdermError: an error that the user can correct.
    """
    from hyperderm.ingest import pipeline

    workspace = Workspace.here()
    with _maker(workspace, job, store, workers) as make, counting(workspace.console, _reading(job.root)) as bar:
        task = bar.add_task("", total=None)

        def told(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        manifest = pipeline.ingest(job, store, folds=folds, seed=seed, progress=told, make=make)
    workspace.say(*(f"note: {said}" for said in job.used))
    describe(workspace.console, store, manifest)
    return manifest


def check_ingest(job: "Job", store: str = "", *, folds: int = 5, seed: int = 0) -> "Checked":
    """Read everything that `ingest` would read, print what it would make of it, and return that; nothing is written.

    Args:
        job: the files to read, and how, from `ingest_job`.
        store: where the store would go; "": nowhere yet.
        folds: the number of folds.
        seed: the seed of the folds.

    Raises:
        HyperdermError: the error that the ingest would end with, after everything is printed.
    """
    from hyperderm.ingest.dry_run import check, described
    from hyperderm.ingest.pipeline import told_of
    from hyperderm.ingest.source import plain

    console = Console(emoji=False)
    with counting(console, _reading(job.root)) as bar:
        task = bar.add_task("", total=None)
        found = check(job, store, folds, seed, lambda done, total: bar.update(task, completed=done, total=total))
    sizes = ", ".join(f"{' x '.join(map(str, shape))} ({count})" for shape, count in sorted(found.shapes.items()))
    read = f"{len(found.rows)} lesion{'s' * (len(found.rows) != 1)}"
    done = f"{read} read, none would be stored (the error says why)" if found.error else f"{read} would be stored"
    say(console, f"layout {job.layout}: {done}, cubes of {sizes or 'no size'}")
    if found.rows:
        say(console, f"values {min(row.low for row in found.rows):.4g} … {max(row.high for row in found.rows):.4g}")
    kinds = described(found.rows)
    warnings = found.manifest.warnings if found.manifest else told_of(job, found.rows)
    say(
        console,
        *(f"  {name}: {count}" for name, count in sorted(Counter(row.diagnosis or "unknown" for row in found.rows).items())),
        *kinds[:SHOWN],
        *[f"… and files of {len(kinds) - SHOWN} more kinds"] * (len(kinds) > SHOWN),
        *(f"note: {said}" for said in (*job.used, *warnings)),
    )
    list_aside(console, [(plain(one.file), plain(one.reason)) for one in found.set_aside], whole=True)
    if found.error:
        raise found.error
    return found


def annotate_export(job: "Job", out: Path, root: Path | None = None) -> "Exported":
    """Write pictures to mark lesions on, as Label Studio opens them; known masks go along to be corrected.

    Args:
        job: the files to read, from `ingest_job`; its size, bands and scale do not matter.
        out: the folder of the pictures and tasks; nothing may be there yet.
        root: the folder that Label Studio serves local files from; None: the one that `out` stands in.

    Raises:
        CubeError: no image can be used, or the folder cannot be written. Nothing is left behind.
    """
    from hyperderm.ingest.annotation_pictures import export_images
    from hyperderm.ingest.source import plain

    console = Console(emoji=False)
    found = export_images(job, out, root)
    notes = (f"note: {plain(said)}" for said in (*job.used, *found.notes))
    say(console, f"{found.count} picture{'s' * (found.count != 1)} in {out}", *notes)
    list_aside(console, [(plain(file), plain(reason)) for file, reason in found.aside], whole=True)
    return found


def _reading(root: Path) -> str:
    """Return the text of the bar, escaped because a path may contain markup or a task field of rich."""
    return "reading " + escape(str(root)).replace("{", "{{").replace("}", "}}")


@contextmanager
def _maker(workspace: Workspace, job: "Job", uri: str, workers: int | None) -> "Iterator[Make | None]":
    from hyperderm.store.location import locate

    if workers == 1 or job.parts < 2 or (workers is None and not workspace.ray_address and _bytes(job) < MANY_BYTES):
        yield None
        return
    from hyperderm.cluster.session import check_shared, connect, described, quiet_ray, workers_found

    quiet_ray()
    with connect(workspace.ray_address) as cluster:
        from hyperderm.cluster.ingest_workers import maker

        count = workers or int(cluster.cpus)
        if count > cluster.cpus:
            raise ClusterError(f"--workers {count}: the cluster has {cluster.cpus:g} CPU", "Give as many at most.")
        place = locate(uri)
        if place.local:
            check_shared(Path(place.path).parent, cluster)
        workspace.say(f"{described(cluster)}: {count} files read at a time")
        if workspace.ray_address:
            workspace.say(workers_found())
        yield maker(count)


def _bytes(job: "Job") -> int:
    base = job.root if job.root.is_dir() else job.root.parent
    return sum(path.stat().st_size for path in base.rglob("*") if path.is_file())
