"""A grid of a thousand cells without its trainings: `python -m tests.bench.grid_scale [--seeds N]`.

The seconds are printed that a user waits for: the plan of a new grid; what a command does that resumes the finished grid
before anything runs (the plan, reading every result, joining what was asked before); and the analysis with its report. The
cells hold random predictions, as if they had been trained.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from unittest.mock import patch

from hyperderm.reports.ablation import gather
from hyperderm.store.reader import open_store
from hyperderm.studies.ablation.plan import Plan
from hyperderm.studies.ablation.records import (
    STORE,
    GridFolder,
    record_plan,
    result_of,
    with_larger_sets,
    write_result,
)
from hyperderm.training.run_folder import RESULT
from hyperderm.workflows.run_tracking import real_set
from tests.studies.grids import finish, plan, store

T = TypeVar("T")
WANTED = {"plan": 10.0, "resume": 20.0, "report": 60.0}
KINDS = {"melanoma": 120, "dysplastic_nevus": 240}
ARMS = {
    "arms": ["real", "classic", "oversampled", "synthetic"],
    "curve": [0.25, 0.5],
    "ratios": [1.0, 2.0, 4.0],
    "models": ["small_cnn", "other_cnn"],
}


def timed(call: Callable[[], T]) -> tuple[T, float]:
    began = time.perf_counter()
    return call(), time.perf_counter() - began


def complete(made: Plan, folder: Path) -> None:
    """Write into the results of finished jobs what the report reads beside predictions."""
    melanomas = KINDS["melanoma"] * 3 // 5
    for job in made.jobs:
        place = folder / job.folder
        held = json.loads((place / RESULT).read_text())
        facts = {**held, "arm": job.arm, "model": job.model, "seed": job.seed, "label": job.label}
        facts |= {"began": "2026-01-01T00:00:00Z", "code": "0" * 40, "device": "cpu", "workers": 1}
        if job.stage == "cell":
            shown = {"real": sum(KINDS.values()) * 3 // 5, "real_melanomas": melanomas, "synthetic_held": 0, "images": 64}
            facts["train"] = shown
        if job.stage == "synthetic":
            facts["origin"] = open_store(str(place / STORE)).manifest.source
        write_result(place, facts, *held["outputs"])


def main() -> int:
    parser = argparse.ArgumentParser(description="how long a large grid takes to plan, resume and report")
    parser.add_argument("--seeds", type=int, default=10, help="100 cells each")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder, seconds = Path(place), dict[str, float]()
        real = store(folder / "store", KINDS)

        def planned() -> Plan:
            return plan(real, **ARMS, seeds=list(range(asked.seeds)))

        made, seconds["plan"] = timed(planned)
        grid = GridFolder(folder / "grid")
        grid.path.mkdir()
        record_plan(grid.path, made)
        finish(made, grid.path)
        complete(made, grid.path)

        def resumed() -> Plan:
            again = with_larger_sets(grid, planned())
            assert all(result_of(grid, job) for job in again.jobs)
            return record_plan(grid.path, again)

        whole, seconds["resume"] = timed(resumed)
        pictures = real_set(real, made.selections[0].validation, made.grid.size)
        with patch.object(gather, "_audited", lambda plan, origin, uri, fold: origin):  # real sets bring their audit
            outcome, seconds["report"] = timed(lambda: gather.conclude(whole, grid, {}, {}, (), pictures))
        assert outcome is not None
        assert (outcome.folder / "report.html").exists()
        cells = len(made.stage("cell"))
    print(f"a grid of {cells} cells: {len(made.arms)} arms, 2 models, 5 folds, {asked.seeds} seeds, 360 lesions")
    for name, took in seconds.items():
        print(f"  {name:<8}{took:7.1f} s   (wanted: {WANTED[name]:.0f} s with 1000 cells)")
    return int(any(took > WANTED[name] for name, took in seconds.items()))


if __name__ == "__main__":
    sys.exit(main())
