"""A job of a grid is an ordinary run: with two workers, on S3 and streamed a grid ends as one in memory does."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from mlflow.tracking import MlflowClient

from hyperderm.statistics.predictions import Predictions
from hyperderm.store.manifest import MANIFEST
from tests.services.grids import HYPERDERM, make_project, results, words
from tests.services.s3_server import S3Server
from tests.services.test_node_death import begin_node, end_node, wait_for

PORT = 6395
BUCKET = "grids"
SMALL = ("folds=[0]", 'arms=["real","synthetic"]', 'models=["small_cnn"]', "classifiers.small_cnn.training.images=96",
         "classifiers.small_cnn.training.validate_every=96")  # fmt: skip
"""Of the grid of `grids`: a generator, its set, and cells without, with and in place of synthetic melanomas."""


def grid(
    project: Path, store: Path, name: str, *settings: str, flags: tuple[str, ...] = (), code: int = 0, **env: str
) -> str:
    chosen = [word for each in (*SMALL, *settings) for word in ("--set", each)]
    done = subprocess.run(
        [str(HYPERDERM), *words(store, *chosen, *flags, name=name)],
        cwd=project,
        env={**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{project / 'mlflow.db'}", "COLUMNS": "200", **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=400,
    )
    assert done.returncode == code, done.stdout
    assert "Traceback" not in done.stdout, done.stdout
    return done.stdout


def told(project: Path, name: str) -> Predictions:
    return Predictions.from_parquet(project / "runs" / name / "predictions.parquet")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with S3Server(tmp_path_factory.mktemp("s3")) as made:
        made.client().create_bucket(Bucket=BUCKET)
        yield made


def held(server: S3Server, prefix: str) -> set[str]:
    pages = server.client().get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
    return {item["Key"].removeprefix(prefix) for page in pages for item in page.get("Contents", [])}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_grid_on_s3_ends_as_one_on_a_disk_and_is_gone_on_with(server, tmp_path, phantom_store):
    project, uri = make_project(tmp_path), f"s3://{BUCKET}/deep"
    grid(project, phantom_store, "near")
    flags = ("--storage", uri)
    said = grid(project, phantom_store, "far", flags=flags, **server.variables())
    near, far = told(project, "near"), told(project, "far")
    for column in ("lesion_id", "arm", "fold", "seed", "probability", "threshold"):
        assert getattr(near, column).tolist() == getattr(far, column).tolist()
    keys = {path.rpartition("/")[0] for path in held(server, "deep/far/") if path.endswith("result.json")}
    assert {key.partition("/")[0] for key in keys} == {"generator", "synthetic", "cell"}
    assert any(path.endswith(f"store/{MANIFEST}") for path in held(server, "deep/far/"))
    local = [path for path in (project / "runs" / "far").rglob("*") if path.is_file()]
    assert not [path for path in local if path.name in ("best.pt", "result.json") or "store" in path.parts]
    assert "report: " in said

    again = grid(project, phantom_store, "far", flags=flags, **server.variables())
    assert "nothing to do" in again
    status = grid(project, phantom_store, "far", flags=("--status",), **server.variables())
    assert re.search(r"cell: (\d+) of \1 done", status)
    refused = grid(project, phantom_store, "far", code=2, **server.variables())
    assert f"storage: {uri} -> (the run's folder)" in refused
    client = MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
    cells = [
        run for run in runs if run.data.tags.get("hyperderm.storage") and run.data.tags.get("hyperderm.stage") == "cell"
    ]
    assert cells
    assert all(
        {"result.json", "predictions.parquet"} <= {f.path for f in client.list_artifacts(r.info.run_id)} for r in cells
    )

    cell = next(key for key in keys if key.startswith("cell/"))  # a result that is lost is made again
    server.client().delete_object(Bucket=BUCKET, Key=f"deep/far/{cell}/result.json")
    grid(project, phantom_store, "far", flags=flags, **server.variables())
    assert f"{cell}/result.json" in held(server, "deep/far/")
    assert told(project, "far").probability.tolist() == near.probability.tolist()


@pytest.fixture
def four_cpus(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Ray of four CPUs on this machine, whatever it has."""
    place = f"/tmp/hg{os.getpid()}"  # Ray's sockets want a short name
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{PORT}")
    node = begin_node("--num-cpus", "4", "--head", "--port", str(PORT), "--include-dashboard=false", "--temp-dir", place)
    code = f"from hyperderm.cluster.session import connect, quiet_ray\nquiet_ray()\nwith connect('127.0.0.1:{PORT}'): pass"
    begun = lambda: subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0  # noqa: E731
    try:
        wait_for(begun, 120, "Ray's start")
        yield
    finally:
        end_node(node)
        shutil.rmtree(place, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_workers_a_job_on_s3_with_streamed_roles_end_as_one_in_memory_does(server, tmp_path, phantom_store, four_cpus):
    project, exact = make_project(tmp_path), "classifiers.small_cnn.training.precision=fp64"
    grid(project, phantom_store, "one", exact)
    workers = "resources.workers=2"
    grid(project, phantom_store, "two", exact, workers)
    one, two = told(project, "one"), told(project, "two")
    real = one.arm == "real"
    assert one.lesion_id.tolist() == two.lesion_id.tolist()
    np.testing.assert_allclose(one.probability[real], two.probability[real], rtol=1e-4)  # up to the order of summation

    flags = ("--storage", f"s3://{BUCKET}/all")
    said = grid(project, phantom_store, "all", exact, workers, "feed=stream", flags=flags, **server.variables())
    every = told(project, "all")
    assert every.lesion_id.tolist() == one.lesion_id.tolist()
    assert np.isfinite(every.probability).all()
    assert "are streamed" in said
    place = project / "runs" / "all"
    assert set(json.loads((place / "feeds.json").read_text()).values()) == {"stream"}
    assert (place / "report" / "report.html").exists()
    assert len(results(project, "one")) == len([path for path in held(server, "all/all/") if path.endswith("/result.json")])
