"""How the jobs of a grid are fed: as the grid says, as memory takes it, and as a job began."""

from dataclasses import replace
from pathlib import Path

import pytest

from hyperderm.cluster.observer import Observers
from hyperderm.cluster.session import Cluster, Memory
from hyperderm.errors import ClusterError, ConfigError
from hyperderm.store.reader import open_store
from hyperderm.studies.ablation import grid as grid_module
from hyperderm.studies.ablation.estimate import capacity, with_feeds
from hyperderm.studies.ablation.grid import jobs_at_once, run_grid
from hyperderm.studies.ablation.plan import make_plan
from hyperderm.studies.ablation.queue import JobQueue
from hyperderm.studies.ablation.records import GridFolder, read_feeds, record_feeds, result_of
from tests.studies.grids import plan
from tests.studies.test_failing import GRID

LARGE = Cluster(((4.0, 0.0),), "", memory=(Memory(store=2**30, ram=2**33, here=True),))
SMALL = replace(LARGE, memory=(Memory(store=2**10, ram=2**33, here=True),))


def feeds(made, cluster: Cluster = LARGE, known=None) -> dict[str, set[str]]:
    """The feeds of each model's jobs."""
    found: dict[str, set[str]] = {}
    fed = with_feeds(made, cluster, known or {})
    for job in made.jobs:
        if job.key in fed.feeds:
            found.setdefault(job.model, set()).add(fed.feeds[job.key])
    return found


def test_what_fits_is_held_and_what_does_not_is_streamed_but_the_baseline(real):
    made = plan(real)
    assert feeds(made) == {"shsgan": {"memory"}, "spectral": {"memory"}, "small_cnn": {"memory"}}
    assert feeds(made, SMALL) == {"shsgan": {"stream"}, "spectral": {"memory"}, "small_cnn": {"stream"}}


def test_the_grid_says_how_its_jobs_are_fed(real):
    assert feeds(plan(real, feed="memory"), SMALL) == {name: {"memory"} for name in ("shsgan", "spectral", "small_cnn")}
    assert feeds(plan(real, feed="stream")) == {"shsgan": {"stream"}, "spectral": {"memory"}, "small_cnn": {"stream"}}
    assert {job.key for job in plan(real, feed="stream").jobs} == {job.key for job in plan(real).jobs}


def test_a_job_goes_on_as_it_began(real, tmp_path):
    made = plan(real)
    record_feeds(tmp_path, with_feeds(made, SMALL, {}))
    assert feeds(made, LARGE, read_feeds(tmp_path))["small_cnn"] == {"stream"}


def test_a_streamed_job_takes_a_cpu_for_reading_beside_its_workers(real):
    made = with_feeds(plan(real, feed="stream"), LARGE, {})
    assert capacity(made, LARGE).jobs_at_once == {0.0: 2}
    two = with_feeds(plan(real, feed="stream", resources__workers=2), LARGE, {})
    assert capacity(two, LARGE).jobs_at_once == {0.0: 1}
    with pytest.raises(ClusterError, match=r"a job that is streamed needs 3 CPU, 1 of them for reading: there are 2 CPU"):
        capacity(two, replace(LARGE, nodes=((2.0, 0.0),)))


def test_nodes_that_do_not_see_the_store_are_named(real, tmp_path, monkeypatch):
    """Where jobs read the store themselves; in memory, its rows travel through Ray."""
    two = replace(LARGE, nodes=((4.0, 0.0), (4.0, 0.0)), memory=LARGE.memory * 2)
    seen = []
    monkeypatch.setattr(grid_module, "check_shared", lambda *_: None)
    monkeypatch.setattr(grid_module, "blind_nodes", lambda place: seen.append(place) or ["10.0.0.2"])
    grid = GridFolder(tmp_path)
    assert jobs_at_once(with_feeds(plan(real), two, {}), two, grid) == {0.0: 8}
    assert not seen
    with pytest.raises(ClusterError, match=r"read the store .* is not visible from 10\.0\.0\.2.*feed=memory"):
        jobs_at_once(with_feeds(plan(real, feed="stream"), two, {}), two, grid)


@pytest.mark.parametrize("flag", ["--plan", "--detach"])
def test_a_storage_that_is_none_is_refused_before_anything_is_planned(command, flag):
    done = command("ablation", flag, "--profile", "small", "--storage", "/a/folder")
    assert done.returncode == 2
    assert "--storage '/a/folder' is no s3:// address. A folder that all nodes see is given by --runs." in done.stderr


def test_workers_share_a_batch_evenly(real):
    with pytest.raises(ConfigError, match=r"batch_size = \d+ is not divisible by resources.workers = 3"):
        plan(real, resources__workers=3)


@pytest.mark.slow  # its short forms are in tests/cluster/test_stream_readers.py
def test_a_streamed_cell_ends(phantom_store: Path, tmp_path: Path, ray_cluster: Cluster):
    made = make_plan(GRID.override({"seeds": [0], "feed": "stream"}), open_store(str(phantom_store)), {})
    made, grid = with_feeds(made, ray_cluster, {}), GridFolder(tmp_path / "grid")
    grid.path.mkdir()
    queue = JobQueue(grid, made.jobs, Observers(), lambda job: 1.0)
    run_grid(made, queue, made.store, ray_cluster, grid, {"run": "streamed"})
    assert (queue.failed, queue.open) == ({}, {})
    (job,) = made.jobs
    result = result_of(grid, job)
    assert result["feed"].startswith("stream: windows of")
    assert result["train"]["real"] == len(made.selections[0].train)
