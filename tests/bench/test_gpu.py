"""The GPU bench without a GPU, on what a machine with torch, numpy, scipy and pydantic alone can import."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.gpu import generators

ROOT = Path(__file__).resolve().parents[2]
ABSENT = (
    *("ray", "mlflow", "pyarrow", "pandas", "sklearn", "matplotlib", "cv2", "optuna", "timm", "torchvision", "boto3"),
    *("PIL", "skimage", "h5py", "tifffile", "psutil", "piq", "torchmetrics", "albumentations", "pytest", "diffusers"),
)
BARE = f"""
import runpy, sys

class Without:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in {ABSENT!r} else self.finder.find_spec(name, path, target)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
sys.argv = ["gpu", *sys.argv[1:]]
runpy.run_module("tests.bench.gpu", run_name="__main__")
"""


@pytest.mark.slow  # in short: every learner steps and serves (learners/test_experiments.py)
def test_it_runs_without_ray_and_mlflow_and_prints_its_table():
    names = ["dcgan", "vae", "dcgan_abundance"]
    command = [sys.executable, "-c", BARE, "--steps", "1", "--names", *names, "diffusion"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    rows = [line for line in done.stdout.splitlines() if re.match(rf"\| ({'|'.join(names)}) \|", line)]
    assert [row.split(" | ")[4] for row in rows] == ["fp32", "bf16"] * len(names)
    assert "| diffusion is not measured: it needs diffusers, which is not installed here |" in done.stdout
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert float(cells[5]) > 0
        assert cells[8] == "same"
    assert all(0 < float(row.split("|")[8]) < 0.02 for row in rows if "bf16" in row)
    if "no GPU" in done.stdout:
        assert {row.split("|")[2].strip() for row in rows} == {"32"}


@pytest.mark.slow
def test_every_generator_has_its_rows():
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.gpu", "--steps", "2"], cwd=ROOT, capture_output=True, text=True, timeout=900
    )
    assert "Traceback" not in done.stderr, done.stderr[-2000:]
    rows = {line.split(" | ")[0].removeprefix("| ") for line in done.stdout.splitlines() if " | fp32 | " in line}
    assert rows == set(generators())


@pytest.mark.slow
def test_every_sampler_is_timed():
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.generator_sampling", "--quick"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
