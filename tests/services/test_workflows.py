"""The example of CONTRIBUTING, run as it stands there, and a grid that is asked for from Python."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hyperderm import workflows
from hyperderm.errors import StudyError
from tests.command import project_of
from tests.services.grids import NAME, make_project
from tests.services.test_sweep_cli import project  # noqa: F401 - a fixture

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow  # a sweep and a set; what it calls is tested in tests/workflows and tests/studies
@pytest.mark.timeout(240)
def test_the_lines_of_contributing_run(project, phantom_store):  # noqa: F811
    (lines,) = re.findall(r"```python\n(from hyperderm\.workflows.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    assert len([line for line in lines.splitlines() if line]) <= 10
    (project / "phantom").symlink_to(phantom_store)
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{project / 'mlflow.db'}"}
    done = subprocess.run([sys.executable, "-c", lines], cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"trial \d of night: \S+ with \{'learner\.lr_generator'", done.stdout)
    assert "3 cubes of generator shsgan" in done.stdout


def test_a_grid_is_planned_and_looked_at_from_python(tmp_path, phantom_store, capsys):
    with project_of(make_project(tmp_path)):
        request = workflows.grid_request("tiny", store=str(phantom_store), profile="small", name=NAME)
        plan = workflows.ablation_plan(request)
        assert (plan.grid, plan.store.manifest.lesions, len(plan.jobs) > 0) == (request.grid, 90, True)
        workflows.ablation_status(request)
        workflows.ablation_stop(request)
    assert capsys.readouterr().out.endswith(f"{NAME} was never started\nstore {phantom_store}\n{NAME} is not running\n")


def test_a_set_of_no_cubes_is_refused():
    with pytest.raises(StudyError, match="--count 0"):
        workflows.generate("synthetic", {"melanoma": 0}, run="night")
