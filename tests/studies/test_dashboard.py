"""A sweep's study in the stock optuna-dashboard: its server, on the file of a search, tells what the search found."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster.sweeps import Memory, ask, search, tiny
from tests.services.ports import free_port

ROOT = Path(__file__).parents[2]


@contextmanager
def dashboard(study: Path, log: Path) -> Iterator[str]:
    """Yield the address of a dashboard on the file of a study."""
    port = free_port()
    code = "import sys; from optuna_dashboard._cli import main; sys.exit(main())"  # its console script may lie elsewhere
    with log.open("wb") as out:
        server = subprocess.Popen(
            [sys.executable, "-c", code, f"sqlite:///{study}", "--host", "127.0.0.1", "--port", str(port)],
            stdout=out, stderr=out,
        )  # fmt: skip
    try:
        address, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{address}/api/meta", timeout=5).close()
                break
            except OSError:
                assert server.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
        yield address
    finally:
        server.terminate()
        server.wait(timeout=10)


def told(address: str) -> dict:
    with urllib.request.urlopen(address, timeout=10) as reply:
        return json.load(reply)


def test_a_study_opens_as_it_is(tmp_path):
    made = search(tmp_path, tiny(sweep__grace_images=32, sweep__reduction=2), Memory())
    reached = [1.5, 0.25, 9.0]
    for value in reached:  # the last one is stopped early
        key = ask(made).key
        made.report(key, 32, {"spectral_energy_distance": value})
        made.finish(key)
    ask(made)  # one still runs
    with dashboard(tmp_path / "study.db", tmp_path / "dashboard.log") as address:
        (study,) = told(f"{address}/api/studies")["study_summaries"]
        assert study["study_name"] == "sweep"
        assert study["directions"] == ["minimize"]
        shown = told(f"{address}/api/studies/{study['study_id']}")
        trials = shown["trials"]
        assert [trial["number"] for trial in trials] == [0, 1, 2, 3]
        assert [trial["state"] for trial in trials] == ["Complete", "Complete", "Pruned", "Running"]
        assert [trial["values"] for trial in trials[:2]] == [[1.5], [0.25]]
        assert [trial["intermediate_values"] for trial in trials[:3]] == [[{"step": 32, "value": v}] for v in reached]
        for trial, known in zip(trials, made.study.trials, strict=True):
            values = {param["name"]: param["param_internal_value"] for param in trial["params"]}
            assert values == pytest.approx(known.params)
        assert shown["best_trials"][0]["number"] == 1
        page = urllib.request.urlopen(f"{address}/dashboard/studies/{study['study_id']}", timeout=10)
        assert "<title>" in page.read().decode()


def test_make_ui_names_each_study(tmp_path):
    """Only what it prints is run, not the server that it starts then."""
    for name in ("first", "the second"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "study.db").touch()
    asked = ["make", "--dry-run", "ui", f"RUNS={tmp_path / 'runs'}"]
    recipe = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    script = recipe[recipe.index("for study in") : recipe.index("MLFLOW_SERVER")]
    shown = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, env=os.environ).stdout
    assert [line.partition(" --port")[0] for line in shown.splitlines() if "optuna-dashboard" in line] == [
        f'.venv/bin/optuna-dashboard "sqlite:///{tmp_path}/runs/{name}/study.db"' for name in ("first", "the second")
    ]
