"""The example of CONTRIBUTING, run as it stands there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services.test_sweep_cli import project  # noqa: F401 - a fixture

ROOT = Path(__file__).resolve().parents[2]


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
