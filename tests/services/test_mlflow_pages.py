"""MLflow's pages in a real browser: the words and numbers that a person must see of a sweep, its trials and its model."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from PIL import Image
from playwright.sync_api import Browser, Page, StorageState, expect

from hyperderm.tracking.short_texts import three_digits
from tests.services.browser import Album, album, browser, settle, visit  # noqa: F401 - fixtures
from tests.services.mlflow_server import MlflowServer
from tests.services.test_sweep_cli import EXPERIMENT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
HYPERDERM = Path(sys.executable).with_name("hyperderm")
TRIALS = 4
SCORE = "validation/spectral_energy_distance"
BEST = "validation/best_spectral_energy_distance"
PATIENCE_MS = 20_000
DRAWN = """metric => {
    const lines = [...document.querySelectorAll(".js-plotly-plot")].flatMap(plot => plot.data || []);
    const line = lines.find(each => each.metricKey === metric);
    return line && {x: Array.from(line.x), y: Array.from(line.y)};
}"""
"""What a chart of this metric draws; undefined before there is one."""

SPACE = """
from optuna.distributions import FloatDistribution, IntDistribution

VERSION = 1

def space(experiment):
    return {"learner.lr_generator": FloatDistribution(1e-4, 1e-2, log=True), "learner.n_critic": IntDistribution(1, 3)}
"""


@dataclass(frozen=True)
class Night:
    """A sweep that ran at night, as MLflow's client tells it.

    Attributes:
        uri: address of the server.
        address: what the sweep printed on where it is to be seen.
        command: what started it.
        store: the store that it learnt.
        parent: its run.
        trials: those of its trials, the best first.
        client: asks the server.
    """

    uri: str
    address: str
    command: str
    store: str
    parent: Run
    trials: list[Run]
    client: MlflowClient

    def page_of(self, run: Run, tab: str = "") -> str:
        return f"{self.uri}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}{tab}"


@pytest.fixture(scope="module")
def night(
    browser: Browser,  # noqa: F811 - first, so that without one nothing is trained
    phantom_store: Path,
    mlflow_server: MlflowServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Night:
    """A sweep of four trials from the command line, its best registered as champion."""
    project = tmp_path_factory.mktemp("project")
    for folder, text in (("experiments", EXPERIMENT.replace("trials=3", f"trials={TRIALS}")), ("search_spaces", SPACE)):
        (project / folder).mkdir()
        (project / folder / "__init__.py").touch()
        (project / folder / "tiny.py").write_text(text)
    words = ["sweep", "tiny", "--profile", "small", "--store", str(phantom_store), "--name", "night"]
    said = _hyperderm(project, mlflow_server.uri, *words)
    _hyperderm(project, mlflow_server.uri, "register", "night", "--name", "nightly", "--alias", "champion")
    found = re.search(r"^see (http\S+)$", said, re.MULTILINE)
    assert found, said
    client = MlflowClient(mlflow_server.uri)
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    trials = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    (parent,) = (run for run in runs if run not in trials)
    assert len(trials) == TRIALS
    ranked = sorted(trials, key=lambda run: run.data.metrics[BEST])
    command = f"hyperderm {' '.join(words)}"
    return Night(mlflow_server.uri, found[1], command, str(phantom_store), parent, ranked, client)


def _hyperderm(project: Path, uri: str, *words: str) -> str:
    environment = {**os.environ, "MLFLOW_TRACKING_URI": uri, "COLUMNS": "300"}
    done = subprocess.run([str(HYPERDERM), *words], cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def settled(browser: Browser, mlflow_server: MlflowServer) -> StorageState:  # noqa: F811
    return settle(browser, mlflow_server.uri)


@pytest.fixture
def page(browser: Browser, settled: StorageState) -> Iterator[Page]:  # noqa: F811
    with visit(browser, settled) as page:
        yield page


def sees(page: Page, *words: str) -> None:
    """Wait until the page shows each of these words."""
    for each in words:
        expect(page.locator("body")).to_contain_text(each, use_inner_text=True, timeout=PATIENCE_MS)


def number(value: float) -> str:
    """A number as JavaScript writes it."""
    return str(int(value)) if value == int(value) else repr(value)


def test_the_address_that_a_sweep_prints_opens_its_page_for_who_was_never_here(browser, night, album):  # noqa: F811
    with visit(browser) as page:
        page.goto(night.address)
        sees(page, "night", "Model training", "searched by Optuna")
        album.keep(page, "parent_at_a_first_visit")
        assert page.get_by_role("link", name="Evaluation runs").count() == 0, "MLflow opened its pages of language models"


def test_the_page_of_a_sweep_explains_it(page, night, album):  # noqa: F811
    best = night.trials[0]
    score = three_digits(best.data.metrics[BEST], keep_zeros=True)
    page.goto(night.page_of(night.parent))
    sees(page, f"{TRIALS} trials of tiny (shsgan, profile small)", "It has ended: 4 finished.")
    album.keep(page, "parent")
    more = page.get_by_text("Show more")
    answer = page.get_by_text(f"Best: trial {int(best.data.tags['hyperderm.trial'])} with {score}")
    assert _bottom(answer.bounding_box()) < more.bounding_box()["y"], "the best trial is folded away"
    more.click()
    sees(page, "Show less")
    album.keep(page, "parent_unfolded")
    reference = {name: best.data.metrics[f"reference/{name}"] for name in ("floor_real_vs_real", "score_of_mean_cube")}
    floor, mean_cube = (three_digits(each, keep_zeros=True) for each in reference.values())
    sees(
        page,
        "The spectral energy distance between generated and validation lesions, lower is better.",
        f"Real against real, the floor: {floor}. Constant mean cube: {mean_cube}.",
        "learner.lr_generator 1e-4 to 0.01, logarithmic",
        "learner.n_critic 1 to 3",
        f"{night.store} (fingerprint {night.parent.data.tags['hyperderm.manifest'][:12]}:",
        "The test role is not opened.",
        night.command,
    )
    board = page.get_by_role("table").filter(has_text="spectral energy distance").locator("tbody tr")
    rows = [[cell.strip() for cell in row.split("\t")] for row in board.all_inner_texts()]
    assert [row[0] for row in rows] == [run.data.tags["hyperderm.trial"] for run in night.trials]
    assert [row[2] for row in rows] == [three_digits(run.data.metrics[BEST], keep_zeros=True) for run in night.trials]
    sees(page, f"best/score {number(best.data.metrics[BEST])}", f"trials/finished {TRIALS}")
    for run in night.trials:
        assert page.get_by_role("link", name=run.info.run_name).count() == 1


def _bottom(box: dict[str, float]) -> float:
    return box["y"] + box["height"]


def test_a_trial_is_named_by_its_values_and_shows_its_metrics_in_groups(page, night, album):  # noqa: F811
    best = night.trials[0]
    page.goto(night.page_of(night.parent))
    page.get_by_role("link", name=best.info.run_name).click()
    expect(page.get_by_role("heading", name=best.info.run_name)).to_be_visible(timeout=PATIENCE_MS)
    sees(page, "Its parent run says what is searched", *(f"{name} {text}" for name, text in best.data.params.items()))
    album.keep(page, "trial")
    groups = {name.partition("/")[0] for name in best.data.metrics}
    assert groups == {"validation", "train", "reference", "system"}
    for name in (BEST, SCORE, "reference/floor_real_vs_real", "train/critic_loss"):
        row = page.get_by_role("row").filter(has=page.get_by_role("link", name=name, exact=True))
        row.scroll_into_view_if_needed()
        expect(row).to_contain_text(number(best.data.metrics[name]))
    sees(page, "hyperderm.outcome", "nightly")
    page.get_by_role("link", name="night", exact=True).click()
    expect(page.get_by_role("heading", name="night", exact=True)).to_be_visible(timeout=PATIENCE_MS)


def test_charts_stand_in_the_groups_of_their_metrics(page, night, album):  # noqa: F811
    best = night.trials[0]
    page.goto(night.page_of(best, "/model-metrics"))
    for group in ("reference", "train", "validation"):
        count = sum(name.startswith(f"{group}/") for name in best.data.metrics)
        sees(page, f"{group} ({count})")
    expect(page.locator(".js-plotly-plot").first).to_be_visible(timeout=PATIENCE_MS)
    album.keep(page, "charts")
    page.get_by_placeholder("Search metric charts").fill("spectral_energy")
    drawn = page.wait_for_function(DRAWN, arg=SCORE, timeout=PATIENCE_MS).json_value()
    album.keep(page, "charts_of_the_score")
    history = sorted(night.client.get_metric_history(best.info.run_id, SCORE), key=lambda each: each.step)
    assert drawn == {"x": [each.step for each in history], "y": [each.value for each in history]}
    page.goto(night.page_of(best, "/system-metrics"))
    names = [name for name in best.data.metrics if name.startswith("system/")]
    sees(page, *(name.removeprefix("system/") for name in names))
    for name in names:
        page.wait_for_function(DRAWN, arg=name, timeout=PATIENCE_MS)
    album.keep(page, "system")


def test_pictures_are_shown(page, night, album, tmp_path):  # noqa: F811
    best = night.trials[0]
    for name in ("lesions.png", "spectra.png", "over_training.png"):
        page.goto(night.page_of(best, f"/artifacts/{name}"))
        sees(page, name)
        page.get_by_text(name, exact=True).first.click()
        picture = page.get_by_role("img", name=name)
        expect(picture).to_be_visible(timeout=PATIENCE_MS)
        page.wait_for_function("picture => picture.naturalWidth > 0", arg=picture.element_handle())
        with Image.open(night.client.download_artifacts(best.info.run_id, name, str(tmp_path))) as kept:
            assert picture.evaluate("picture => [picture.naturalWidth, picture.naturalHeight]") == list(kept.size)
        album.keep(page, f"picture_{name.removesuffix('.png')}")


def test_trials_stand_below_their_sweep_and_two_are_compared(page, night, album):  # noqa: F811
    first, last = night.trials[0], night.trials[-1]
    page.goto(f"{night.uri}/#/experiments/{night.parent.info.experiment_id}/runs")
    page.get_by_role("gridcell").filter(has=page.get_by_role("link", name="night", exact=True)).get_by_role("button").click()
    sees(page, *(run.info.run_name for run in night.trials))
    album.keep(page, "runs")
    for run in (first, last):
        row = page.get_by_role("row").filter(has=page.get_by_role("link", name=run.info.run_name))
        row.get_by_role("checkbox").first.check()
    page.get_by_role("button", name="Compare").click()
    sees(page, "Comparing 2 Runs from 1 Experiment", first.info.run_name, last.info.run_name)
    sees(page, *(run.data.params["learner.lr_generator"] for run in (first, last)))
    sees(page, *(f"{run.data.metrics[BEST]:.3f}".rstrip("0") for run in (first, last)))
    album.keep(page, "compared")


def test_a_link_in_the_description_opens_the_charts_of_the_trials(page, night, album):  # noqa: F811
    page.goto(night.page_of(night.parent))
    page.get_by_text("Show more").click()
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Charts of the trials, the best first").click()
    page = opened.value
    sees(page, f"{TRIALS} matching runs", f"Sort: {BEST}")
    names = page.get_by_role("grid").get_by_role("link").all_inner_texts()
    assert names == [run.info.run_name for run in night.trials]
    expect(page.locator(".js-plotly-plot").first).to_be_visible(timeout=PATIENCE_MS)
    album.keep(page, "charts_of_all_trials")


def test_the_registered_model_has_its_alias_and_says_what_it_is(page, night, album):  # noqa: F811
    best = night.trials[0]
    version = night.client.get_model_version_by_alias("nightly", "champion")
    page.goto(f"{night.uri}/#/models/nightly")
    sees(
        page,
        "Synthetic hyperspectral cubes of skin lesions",
        "champion",
        f"Version {version.version}",
        "A generator (shsgan)",
    )
    album.keep(page, "model")
    page.get_by_role("link", name=f"Version {version.version}").click()
    trial = int(best.data.tags["hyperderm.trial"])
    sees(
        page,
        "champion",
        best.info.run_name,
        f"trial {trial:03d}, best trial of sweep night",
        f"spectral_energy_distance {best.data.metrics[BEST]:.4g} on the validation role (lower is better)",
        f'mlflow.pyfunc.load_model("models:/nightly/{version.version}")',
        "Research only: synthetic lesions are no evidence about patients.",
    )
    album.keep(page, "model_version")
