"""A grid of a thousand cells without its trainings: `python -m tests.bench.grid_scale [--seeds N]`.

The seconds are printed that a user waits for: the plan of a new grid, alone (`make_plan`) and as `hyperderm ablation --plan`
makes and prints it, with the steps of each kind of training that it measures; what a command does that resumes the finished
grid before anything runs (the plan, reading every result, joining what was asked before); and the analysis with its report.
The grid has every part that adds jobs or sections: a learning curve, filtered and matched sets, negative controls, judges, a
choice on validation. The cells hold random predictions, as if they had been trained, and the sets bring an audit, as drawn
ones do: one of a set of this grid, the same for all.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from rich.console import Console

from hyperderm import registry
from hyperderm.reports.ablation import gather
from hyperderm.store.reader import Store, open_store
from hyperderm.studies.ablation.audits import audit_set
from hyperderm.studies.ablation.choice import SCORE
from hyperderm.studies.ablation.plan import Plan, make_plan
from hyperderm.studies.ablation.records import (
    STORE,
    GridFolder,
    record_plan,
    result_of,
    with_larger_sets,
    write_result,
)
from hyperderm.training.run_folder import RESULT
from hyperderm.workflows.run_ablation import prepare, show_plan
from hyperderm.workflows.run_tracking import real_set
from hyperderm.workflows.workspace import GridRequest, Workspace
from tests.studies.grids import finish, generator, grid, store, synthetic_set

T = TypeVar("T")
WANTED = {"make_plan": 10.0, "--plan": 10.0, "resume": 20.0, "report": 60.0}
"""The most seconds with 1,000 cells."""
KINDS = {"melanoma": 120, "dysplastic_nevus": 240}
PARTS: dict[str, Any] = {
    "arms": [
        *("real", "classic", "oversampled", "synthetic", "filtered", "matched", "proportional"),
        *("shuffled", "without_melanoma", "noisy_copies"),
    ],
    "curve": [0.25, 0.5],
    "ratios": [1.0, 2.0],
    "choose": "validation",
    "judge": True,
    "models": ["small_cnn", "other_cnn"],
}


class Took(NamedTuple):
    """Seconds on the clock, and those that this process was computing: the fewer of them, the busier was the machine."""

    clock: float
    computing: float


def timed(call: Callable[[], T]) -> tuple[T, Took]:
    began, computing = time.perf_counter(), time.process_time()
    return call(), Took(time.perf_counter() - began, time.process_time() - computing)


def request(real: Store, runs: Path, seeds: int) -> GridRequest:
    """The grid as a user asks for it."""
    made = {"shsgan": generator(), "noisy_copies": registry.experiment("noisy_copies", "small")}
    asked = grid(**PARTS, seeds=list(range(seeds)))
    return GridRequest(asked, made, str(real.location.uri), None, "grid", runs, None, None, None, ())


def draw_sets(made: Plan, folder: Path) -> None:
    """Write the synthetic sets of the grid, each with the audit of the first one."""
    jobs, audit = made.stage("synthetic"), None
    for job in jobs:
        place = folder / job.folder / STORE
        place.parent.mkdir(parents=True)
        if audit is None:
            first = open_store(synthetic_set(folder / "first", made.store, job.fold, job.counts), verify=False)
            audit = audit_set(made, first, job.fold)
        synthetic_set(place, made.store, job.fold, job.counts, audit=audit)


def complete(made: Plan, folder: Path) -> None:
    """Write into the results of finished jobs what the report reads beside predictions."""
    melanomas, rng = KINDS["melanoma"] * 3 // 5, np.random.default_rng(0)
    for job in made.jobs:
        place = folder / job.folder
        held = json.loads((place / RESULT).read_text())
        facts = {**held, "arm": job.arm, "model": job.model, "seed": job.seed, "label": job.label}
        facts |= {"began": "2026-01-01T00:00:00Z", "code": "0" * 40, "device": "cpu", "workers": 1}
        if job.stage == "cell":
            shown = {"real": sum(KINDS.values()) * 3 // 5, "real_melanomas": melanomas, "synthetic_held": 0, "images": 64}
            facts |= {"train": shown, "judgement": {SCORE: float(rng.random())}}
            facts["shortcut"] = {"melanoma": {"real": 0.6, "synthetic": 0.5, "cubes": 8.0}} if job.source else {}
        if job.stage == "synthetic":
            facts["origin"] = open_store(str(place / STORE)).manifest.source
        if job.stage == "judge":
            facts["judge"] = {"auroc": float(rng.random()), "real": 24.0, "synthetic": 8.0}
        write_result(place, facts, *held["outputs"])


def main() -> int:
    parser = argparse.ArgumentParser(description="how long a large grid takes to plan, resume and report")
    parser.add_argument("--seeds", type=int, default=3, help="about 350 cells each")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder, seconds = Path(place), dict[str, Took]()
        real = store(folder / "store", KINDS)
        wanted = request(real, folder, asked.seeds)
        space = Workspace(Console(file=StringIO(), width=120), folder, None, "")

        made, seconds["make_plan"] = timed(lambda: make_plan(wanted.grid, real, wanted.generators))
        _, seconds["--plan"] = timed(lambda: show_plan(space, wanted))
        place_of = GridFolder(folder / "grid")
        place_of.path.mkdir()
        record_plan(place_of.path, made)
        draw_sets(made, place_of.path)
        finish(made, place_of.path)
        complete(made, place_of.path)

        def resumed() -> Plan:
            again = with_larger_sets(place_of, prepare(space, wanted)[0])
            assert all(result_of(place_of, job) for job in again.jobs)
            return record_plan(place_of.path, again)

        whole, seconds["resume"] = timed(resumed)
        pictures = real_set(real, made.selections[0].validation, made.grid.size)
        outcome, seconds["report"] = timed(lambda: gather.conclude(whole, place_of, {}, {}, (), pictures))
        assert outcome is not None
        assert (outcome.folder / "report.html").exists()
        cells = len(made.stage("cell"))
    print(
        f"a grid of {cells} cells and {len(made.jobs) - cells} other jobs: {len(made.arms)} arms, 2 models, 5 folds, "
        f"{asked.seeds} seeds, {sum(KINDS.values())} lesions"
    )
    for name, took in seconds.items():
        verdict = "over" if took.clock > WANTED[name] else "ok"
        told = f"{verdict:<5} (wanted: {WANTED[name]:.0f} s with 1000 cells; computing {took.computing:.1f} s)"
        print(f"  {name:<10}{took.clock:7.1f} s   {told}")
    return int(any(took.clock > WANTED[name] for name, took in seconds.items()))


if __name__ == "__main__":
    sys.exit(main())
