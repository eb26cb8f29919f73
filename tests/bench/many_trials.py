"""Many short trials through the whole product: `python -m tests.bench.many_trials [--trials N] [--seconds S] [--server]`.

A sweep runs as a user runs it: the search in its file, Tune, reports, MLflow with every entry delivered, the summary at its
end. Only the training is left out: a trial sleeps, so that two of them take nothing from the driver, as trials on GPUs, and
reports what a trial reports. Two run at a time, so N trials of S seconds need N·S/2 at least. The wall time over that is the
price of all else: Ray's start and the first trials' imports, which do not grow with N, and what the driver does for a trial,
which does. A trial keeps no samples, as a classifier's: drawing pictures is work of its own, not of this path.
"""

import argparse
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

from hyperderm.cluster.session import quiet_ray
from hyperderm.tracking.server import quiet_client
from hyperderm.training.report import Report

WANTED = 1.1
IMAGES, EVERY = 96, 32
EXPERIMENT = f"""
from hyperderm.config import DataConfig, Experiment, SweepConfig, TrainingConfig
from hyperderm.learners.shsgan import ShsGanConfig

def experiment(profile):
    return Experiment(
        name="many", profile=profile, data=DataConfig(size=16, diagnoses="all"),
        learner=ShsGanConfig(generator_width=4, critic_width=4),
        training=TrainingConfig(batch_size=4, images={IMAGES}, validate_every={EVERY}, validation_samples=8),
        sweep=SweepConfig(trials=2, concurrent=2, grace_images={IMAGES}),
    )
"""
SPACE = """
from optuna.distributions import CategoricalDistribution, FloatDistribution

VERSION = 1

def space(experiment):
    return {
        "learner.lr_generator": FloatDistribution(1e-5, 1e-2, log=True),
        "learner.lr_critic": FloatDistribution(1e-5, 1e-2, log=True),
        "learner.rgb_weight": FloatDistribution(1.0, 50.0, log=True),
        "training.batch_size": CategoricalDistribution([2, 4, 8]),
    }
"""
NAMES = (
    *("mean_spectrum_error", "band_correlation_error", "precision", "recall", "generator_updates"),
    *(f"train/{name}" for name in ("loss_generator", "loss_critic", "gradient_penalty", "rgb", "seconds_per_step")),
    *(f"system/{name}" for name in ("cpu_cores", "memory_gib", "disk_free_gib")),
)
"""Metrics of a report beside the objective."""


def sleeping(seconds: float) -> Callable[..., Iterator[Report]]:
    """The work of a trial that sleeps so long in all, and whose score depends on its learning rates."""

    def perform(config: dict[str, Any], shared: object, trainer: object) -> Iterator[Report]:
        learner = config["experiment"]["learner"]
        score = sum(abs(math.log10(learner[name]) + 3.5) for name in ("lr_generator", "lr_critic"))
        for images in range(0, IMAGES + 1, EVERY):
            if images:
                time.sleep(seconds * EVERY / IMAGES)
            metrics = dict.fromkeys(NAMES, score + images) | {"spectral_energy_distance": score + 1 / (1 + images)}
            yield Report(images, metrics | {"floor_real_vs_real": 0.01, "score_of_mean_cube": 0.9})

    return perform


def timed(parts: list[tuple[float, float]], run: Callable[..., None]) -> Callable[..., None]:
    def wrapped(*arguments: object) -> None:
        parts.append((time.monotonic(), time.process_time()))
        run(*arguments)
        parts.append((time.monotonic(), time.process_time()))

    return wrapped


def delivered(uri: str, trials: int) -> None:
    """Raise unless MLflow holds every trial, finished, with every report."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("many")
    assert experiment is not None
    runs, token = [], None
    while token is None or token:
        page = client.search_runs([experiment.experiment_id], max_results=1000, page_token=token)
        runs += page
        token = page.token or ""
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert len(children) == trials, len(children)
    assert {run.info.status for run in runs} == {"FINISHED"}
    for run in children[:: max(1, trials // 10)]:
        history = client.get_metric_history(run.info.run_id, "validation/spectral_energy_distance")
        assert [each.step for each in history] == list(range(0, IMAGES + 1, EVERY))


def main() -> int:
    parser = argparse.ArgumentParser(description="the wall time of a sweep of many short trials")
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--server", action="store_true", help="deliver to an MLflow server instead of a file")
    asked = parser.parse_args()

    quiet_ray()  # before the imports that import Ray
    quiet_client()
    from hyperderm.phantom.rendering import phantom
    from hyperderm.store.writer import write_store
    from hyperderm.studies import sweep as swept
    from tests.command import project_of
    from tests.services.mlflow_server import MlflowServer

    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        project = Path(folder) / "project"
        for place, text in (("experiments", EXPERIMENT), ("search_spaces", SPACE)):
            (project / place).mkdir(parents=True)
            (project / place / "__init__.py").touch()
            (project / place / "many.py").write_text(text)
        write_store(f"{folder}/store", (one.lesion for one in phantom(90, 32, 0)), fold_count=3, seed=0)
        uri = f"sqlite:///{project}/mlflow.db"
        if asked.server:
            server = MlflowServer(Path(folder))
            stack.callback(server.stop)
            server.start(180)
            uri = server.uri
        parts: list[tuple[float, float]] = []
        stack.enter_context(project_of(project, MLFLOW_TRACKING_URI=uri))
        stack.enter_context(patch.object(swept, "perform_trial", sleeping(asked.seconds)))
        stack.enter_context(patch.object(swept, "run", timed(parts, swept.run)))
        began = time.monotonic(), time.process_time()
        from hyperderm.workflows import sweep

        ended = sweep("many", profile="small", store=f"{folder}/store", trials=asked.trials, name="many")
        parts = [began, *parts, (time.monotonic(), time.process_time())]
        assert ended.exit_code == 0
        delivered(uri, asked.trials)
    least = asked.trials * asked.seconds / 2
    (start, _), (trials, busy), (rest, _) = ((b[0] - a[0], b[1] - a[1]) for a, b in pairwise(parts))
    ratio = (parts[-1][0] - parts[0][0]) / least
    where = "an MLflow server" if asked.server else "MLflow's file"
    print(f"{asked.trials} trials of {asked.seconds:g} s, two at a time, every entry delivered to {where}")
    print(f"  the trials alone, N·s/2    {least:8.1f} s")
    print(f"  Ray's start and the like   {start:8.1f} s")
    print(f"  the trials in the sweep    {trials:8.1f} s   {trials / least:.3f} of the trials alone")
    print(f"  the driver's processor     {1000 * busy / asked.trials:8.1f} ms a trial, of all its threads")
    print(f"  summary, last deliveries   {rest:8.1f} s")
    print(f"  ratio {ratio:.3f} (wanted: at most {WANTED} with 1000 trials); load of this machine {os.getloadavg()[1]:.1f}")
    return 0 if ratio <= WANTED else 1


if __name__ == "__main__":
    sys.exit(main())
