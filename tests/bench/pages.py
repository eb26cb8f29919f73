"""How soon MLflow's pages show a sweep of many trials: `python -m tests.bench.pages [--trials N] [--visits N] [--shots DIR]`

The runs are written by the project's own tracking into MLflow's database file, as a sweep writes them: names, tags, notes,
params, data sets, and the metrics of ten reports. MLflow's server stands on that file, and a browser with an empty cache
opens each page anew. A page counts as open when it shows what a person came for (`PAGES`), not at its first frame. What
`hyperderm compare` takes for all trials, in one table or CSV, stands beside it. Measured with MLflow 3.17.2 on two cores
that others used as well, median (slowest) of five visits in seconds:

    1000 trials                                  load 3.1     load 6.5
    the sweep                                    0.9 (1.6)    1.4 (1.6)
    charts of the best 100, ten of them drawn    1.9 (2.4)    3.1 (3.6)
    charts of the best 100, all drawn            3.3 (4.3)    5.3 (6.6)
    comparison of 20                             1.8 (2.3)    2.3 (3.4)
    hyperderm compare, all trials, its start     16.5         21.8
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import numpy as np
from mlflow import MlflowClient
from mlflow.entities import Run
from optuna.distributions import FloatDistribution, IntDistribution
from playwright.sync_api import Browser, Page, expect

from hyperderm.metric_groups import grouped
from hyperderm.reports.leaderboard import Row
from hyperderm.reports.run_notes import Searched, Trained, ended_note, sweep_note
from hyperderm.tags import EXPERIMENT_TAG, FOLD_TAG, MANIFEST_TAG, OUTCOME_TAG, STORE_TAG, TRIAL_TAG
from hyperderm.tracking.datasets import DataSet
from hyperderm.tracking.measure import Measure
from hyperderm.tracking.runs import Tracker
from hyperderm.tracking.server import quiet_client
from hyperderm.tracking.short_texts import three_digits, trial_name, trial_note
from hyperderm.tracking.study_tracker import DESCRIPTION_TAG
from tests.services.browser import VARIABLE, Album, chromium, opened, settle, visit
from tests.services.mlflow_server import MlflowServer

WANTED_S = 5.0
PATIENCE_S = 60
REPORTS, EVERY = 10, 500
OBJECTIVE = "spectral_energy_distance"
BEST = f"validation/best_{OBJECTIVE}"
NAMES = (
    *("mean_spectrum_largest_error", "mean_spectrum_angle", "rgb_consistency_error", "generator_updates"),
    *(f"train/{name}" for name in ("wasserstein", "penalty", "critic_loss", "adversarial", "rgb_loss", "generator_loss")),
    *(f"system/{name}" for name in ("cpu_cores", "memory_gib", "disk_free_gib")),
)
FINGERPRINT, ROLES = "ab" * 32, ("train", "validation")
AXES = {
    "learner.lr_generator": FloatDistribution(1e-5, 1e-2, log=True),
    "learner.lr_critic": FloatDistribution(1e-5, 1e-2, log=True),
    "learner.n_critic": IntDistribution(1, 5),
}


@dataclass(frozen=True)
class Written:
    """A sweep in MLflow, its trials the best first."""

    experiment: str
    parent: Run
    trials: list[Run]


def write(folder: Path, trials: int) -> str:
    """Write a sweep with so many trials into a new database file below the folder; return the address of the file."""
    uri = f"sqlite:///{folder}/mlflow.db"
    tracker = Tracker(uri, "many", folder / "events.db", folder / "artifacts", lambda text: print(text, file=sys.stderr))
    tags = {MANIFEST_TAG: FINGERPRINT, STORE_TAG: "stores/many", FOLD_TAG: "0", EXPERIMENT_TAG: "many"}
    tracker.open_run("many", "many", tags=tags, params={"space": "many v1", "profile": "small"})
    draw, rows = np.random.default_rng(0), []
    for number in range(trials):
        key = f"many/{number}"
        rates = 10 ** draw.uniform(-5, -2, 2)
        values = dict(zip(AXES, (*map(float, rates), int(draw.integers(1, 6))), strict=True))
        mine = {TRIAL_TAG: str(number), DESCRIPTION_TAG: trial_note("many", number, values)}
        tracker.open_run(key, trial_name(number, values), parent="many", tags=tags | mine, params=values)
        final = float(np.abs(np.log10(rates) + 3.5).sum())
        for report in range(REPORTS + 1):
            score = final + 3 / (1 + report) + 0.01 * draw.random()
            metrics = dict(zip(NAMES, (score * draw.random(len(NAMES))).tolist(), strict=True)) | {OBJECTIVE: score}
            tracker.log_metrics(key, grouped(metrics | ({f"best_{OBJECTIVE}": score} if report else {}))[0], report * EVERY)
        constant = {"reference/floor_real_vs_real": 0.01, "reference/score_of_mean_cube": 2.5}
        tracker.log_metrics(key, constant, 0)
        tracker.log_data(
            key, [DataSet(f"many, {role} of fold 0", role, FINGERPRINT[:36], {}, (32, 32, 16), {}) for role in ROLES]
        )
        tracker.set_tags(key, {OUTCOME_TAG: "finished"})
        tracker.close_run(key, "FINISHED")
        rows.append(Row(number, "finished", score, REPORTS * EVERY, REPORTS * EVERY, 60.0, values))
        best = min(row.best for row in rows if row.best is not None)
        tracker.log_metrics("many", {"best/score": best, "trials/finished": len(rows)}, len(rows))
    tracker.set_tags("many", {DESCRIPTION_TAG: _note(rows)})
    tracker.close_run("many", "FINISHED")
    while tracker.flush(600):
        print("tracking still delivers", file=sys.stderr)
    tracker.close()
    return uri


def _note(rows: Sequence[Row]) -> str:
    manifest: Any = SimpleNamespace(fingerprint=FINGERPRINT, diagnoses={"melanoma": 60, "nevus": 120})
    trained = Trained("`many` (shsgan, profile small)", "stores/many", manifest, 0, (120, 30), "hyperderm sweep many")
    searched = Searched(
        trained, "the space `many v1`", AXES, len(rows), Measure("spectral energy distance", 0.01, 2.5), None
    )
    return sweep_note(searched, rows, ended_note(rows, interrupted=False, broken=""))


def read(uri: str) -> Written:
    """Return the sweep as MLflow's client tells it."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("many")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], max_results=5000)
    children = [run for run in found if "mlflow.parentRunId" in run.data.tags]
    (parent,) = (run for run in found if "mlflow.parentRunId" not in run.data.tags)
    return Written(experiment.experiment_id, parent, sorted(children, key=lambda run: run.data.metrics[BEST]))


def parent(page: Page, uri: str, written: Written) -> None:
    """The sweep's page: its best trial in the description, the best score among its metrics, links to trials."""
    best = written.trials[0]
    page.goto(f"{uri}/#/experiments/{written.experiment}/runs/{written.parent.info.run_id}")
    score = three_digits(best.data.metrics[BEST], keep_zeros=True)
    _shows(page, f"Best: trial {best.data.tags[TRIAL_TAG]} with {score}", str(best.data.metrics[BEST]), "Child runs")


def charts(page: Page, uri: str, written: Written) -> None:
    """The charts of the best 100 beside their names; MLflow draws the first ten at first."""
    below = quote(f"tags.`mlflow.parentRunId` = '{written.parent.info.run_id}'")
    order = f"orderByKey={quote(f'metrics.`{BEST}`')}&orderByAsc=true"
    page.goto(f"{uri}/#/experiments/{written.experiment}/runs?compareRunsMode=CHART&searchFilter={below}&{order}")
    _shows(page, f"{min(100, len(written.trials))} matching runs", *(run.info.run_name for run in written.trials[:10]))
    page.wait_for_function(LINES, arg=10)


def charts_of_all(page: Page, uri: str, written: Written) -> None:
    """The same, and then a line of each of the 100 in a chart, as by the eye above their names."""
    charts(page, uri, written)
    page.get_by_role("columnheader").get_by_role("button").first.click()
    page.get_by_text("Show all runs").click()
    page.wait_for_function(LINES, arg=min(100, len(written.trials)))


def comparison(page: Page, uri: str, written: Written) -> None:
    """Twenty trials side by side: names, plot, their best scores."""
    best = written.trials[:20]
    runs, experiments = (quote(json.dumps(each)) for each in ([run.info.run_id for run in best], [written.experiment]))
    page.goto(f"{uri}/#/compare-runs?runs={runs}&experiments={experiments}")
    _shows(page, f"Comparing {len(best)} Runs", *(run.info.run_name for run in best), BEST)
    _shows(page, *(str(round(run.data.metrics[BEST], 3)) for run in best[:5]))  # what fits beside each other
    expect(page.locator(".js-plotly-plot").first).to_be_visible()


PAGES: Mapping[str, Callable[[Page, str, Written], None]] = {
    "the sweep": parent,
    "charts of the best 100, ten of them drawn": charts,
    "charts of the best 100, all drawn": charts_of_all,
    "comparison of 20": comparison,
}
LINES = """wanted => [...document.querySelectorAll(".js-plotly-plot")].some(
    plot => (plot.data || []).filter(line => line.type !== "bar" && line.x && line.x.length > 1).length >= wanted)"""
"""Whether a chart draws so many lines."""


def _shows(page: Page, *words: str) -> None:
    for each in words:
        expect(page.locator("body")).to_contain_text(each, use_inner_text=True)


def measured(browser: Browser, uri: str, written: Written, visits: int, album: Album | None) -> dict[str, list[float]]:
    """Return the seconds of every visit of every page, by somebody who was there before and has an empty cache."""
    seconds: dict[str, list[float]] = {name: [] for name in PAGES}
    settled = settle(browser, uri)
    for at in range(visits):
        for name, open_page in PAGES.items():
            with visit(browser, settled) as page:
                page.set_default_timeout(1000 * PATIENCE_S)
                began = time.monotonic()
                open_page(page, uri, written)
                seconds[name].append(time.monotonic() - began)
                if album and not at:
                    album.keep(page, open_page.__name__)
    return seconds


def by_command(folder: Path, uri: str) -> float:
    """Return the seconds that `hyperderm compare` takes for all trials."""
    (folder / "experiments").mkdir()
    began = time.monotonic()
    words = ["compare", "many", "--metric", BEST.removeprefix("validation/"), "--format", "csv", "--out", "all.csv"]
    environment = os.environ | {"MLFLOW_TRACKING_URI": uri}
    done = subprocess.run(
        [sys.executable, "-m", "hyperderm", *words], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return time.monotonic() - began


def main() -> int:
    parser = argparse.ArgumentParser(description="how soon MLflow's pages show a sweep of many trials")
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--visits", type=int, default=5, help="of every page")
    parser.add_argument("--shots", type=Path, help="a folder for screenshots")
    asked = parser.parse_args()
    if (executable := chromium()) is None:
        print(f"no Chromium: set {VARIABLE} to the path of one (CONTRIBUTING says how to get one)", file=sys.stderr)
        return 2
    expect.set_options(timeout=1000 * PATIENCE_S)
    quiet_client()
    if asked.shots:
        asked.shots.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        began = time.monotonic()
        database = write(folder, asked.trials)
        size = (folder / "mlflow.db").stat().st_size / 1e6
        print(f"{asked.trials} trials written in {time.monotonic() - began:.0f} s, {size:.0f} MB")
        written = read(database)
        assert len(written.trials) == asked.trials
        server = MlflowServer(folder, store=database)
        server.start(180)
        try:
            with opened(executable) as browser:
                album = Album(asked.shots) if asked.shots else None
                seconds = measured(browser, server.uri, written, asked.visits, album)
            command = by_command(folder, server.uri)
        finally:
            server.stop()
    print(f"seconds until a page shows its content, median (slowest) of {asked.visits} visits; wanted: {WANTED_S:g}")
    for name, each in seconds.items():
        late = "" if max(each) <= WANTED_S else "   over: MLflow's drawing, or the load; hyperderm compare lists all trials"
        print(f"  {name:42s} {median(each):5.1f} ({max(each):.1f}){late}")
    print(f"  {'hyperderm compare, all trials, its start':42s} {command:5.1f}")
    print(f"load of this machine {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    return 0 if all(max(each) <= WANTED_S for each in seconds.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
