"""The bench of MLflow's pages opens each of them and finds on it what it waits for."""

import pytest
from playwright.sync_api import expect

from tests.bench.pages import PAGES, by_command, measured, read, write
from tests.services.browser import browser  # noqa: F401 - a fixture
from tests.services.mlflow_server import MlflowServer


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_each_page_of_more_than_a_hundred_trials_is_opened(browser, tmp_path):  # noqa: F811 - skips without one
    database = write(tmp_path, 120)
    written = read(database)
    assert len(written.trials) == 120
    server = MlflowServer(tmp_path, store=database)
    server.start(120)
    expect.set_options(timeout=30_000)
    try:
        seconds = measured(browser, server.uri, written, 1, None)
        by_command(tmp_path, server.uri)
    finally:
        expect.set_options(timeout=None)
        server.stop()
    assert seconds.keys() == PAGES.keys()
    assert all(len(each) == 1 for each in seconds.values())
    lines = (tmp_path / "all.csv").read_text().splitlines()
    assert sum(run.info.run_id[:6] in line for run in written.trials for line in lines) >= 120, lines[:5]
