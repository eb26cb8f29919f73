"""Run an ingest: in this process if there is little to read, else on Ray over all cores or the cluster."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from hyperderm.ingest.pipeline import ingest
from hyperderm.ingest.source import Job
from hyperderm.store.manifest import Manifest
from hyperderm.workflows.workspace import Workspace

if TYPE_CHECKING:
    from hyperderm.ingest.pipeline import Make

MANY_BYTES = 2**30
"""The number of bytes above which reading takes longer than Ray takes to start."""


def run_job(console: Console, job: Job, uri: str, folds: int, seed: int, workers: int | None = None) -> Manifest:
    """Ingest raw files with a progress bar on `console`.

    Args:
        console: the console for the progress bar.
        job: the files to read, and how.
        uri: the address of the new store.
        folds: the number of folds, as in `ingest.pipeline`.
        seed: the seed, as in `ingest.pipeline`.
        workers: files read at a time; None means one for little data, and as many as there are CPUs for much.

    Raises:
        HyperdermError: an error that the user can correct.
    """
    from hyperderm.reports.progress import counting

    with _maker(Workspace.here(), job, uri, workers) as make, counting(console, reading(job.root)) as bar:
        task = bar.add_task("", total=None)

        def told(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        return ingest(job, uri, folds=folds, seed=seed, progress=told, make=make)


def reading(root: Path) -> str:
    """Return the text of the bar, escaped because a path may contain markup or a task field of rich."""
    return "reading " + escape(str(root)).replace("{", "{{").replace("}", "}}")


@contextmanager
def _maker(workspace: Workspace, job: Job, uri: str, workers: int | None) -> "Iterator[Make | None]":
    from hyperderm.store.location import locate

    if workers == 1 or job.parts < 2 or (workers is None and not workspace.ray_address and _bytes(job) < MANY_BYTES):
        yield None
        return
    from hyperderm.cluster.session import check_shared, connect, described, quiet_ray, workers_found

    quiet_ray()
    with connect(workspace.ray_address) as cluster:
        from hyperderm.cluster.ingest_workers import maker
        from hyperderm.errors import ClusterError

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


def _bytes(job: Job) -> int:
    base = job.root if job.root.is_dir() else job.root.parent
    return sum(path.stat().st_size for path in base.rglob("*") if path.is_file())
