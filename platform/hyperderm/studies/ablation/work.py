"""What a trial of the grid does: train a generator, draw its synthetic set, or train a classifier and predict.

Everything here runs in a worker. Each function is an iterator of reports and leaves its folder done (`result.json`) or
resumable: generators and classifiers go on from their checkpoints, a set is written whole or not at all.
"""

import json
import shutil
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hyperderm.config import Experiment
from hyperderm.durable import write_whole
from hyperderm.errors import CheckpointError
from hyperderm.identity import INPUT
from hyperderm.learners.base import Judge, Learner
from hyperderm.learners.data import TrainData, truth
from hyperderm.learners.decision_rule import Judgement, judgement
from hyperderm.statistics.classification import cell_metrics
from hyperderm.statistics.predictions import Predictions
from hyperderm.store.manifest import MANIFEST
from hyperderm.store.reader import Store, open_store
from hyperderm.store.synthetic import origin_of
from hyperderm.strict import json_of
from hyperderm.studies.ablation.results import PREDICTIONS, RESULT, TIME, now, write_result
from hyperderm.studies.synthesis import generate_here
from hyperderm.training.checkpoint import BEST, FILES, CheckpointFolder
from hyperderm.training.context import local
from hyperderm.training.data import cube_set
from hyperderm.training.inputs import RunInputs, given_inputs
from hyperderm.training.loop import Report
from hyperderm.training.resume import of_one_run
from hyperderm.training.run import run
from hyperderm.training.selection import keep_samples, read, select

SPENT = "spent.json"
STORE = "store"
"""Folder of a synthetic set inside its job's."""


@dataclass(frozen=True)
class Task:
    """A job as it travels to a worker.

    Attributes:
        folder: where its results go.
        source: folder of the job it reads from: a set's generator, a cell's set; None without.
        inputs: of a generator: input of its learner to the address of the checkpoint.
        rgb: URI of the RGB store, "" without.
        provenance: goes into checkpoints.
    """

    key: str
    stage: str
    label: str
    fold: int
    arm: str
    model: str
    seed: int
    folder: Path
    source: Path | None
    experiment: Experiment | None
    counts: Mapping[str, int]
    inputs: Mapping[str, str]
    rgb: str
    provenance: Mapping[str, str]


def work(task: Task, store: Store) -> Iterator[Report]:
    """Do the task; yields reports, the last one when all is written."""
    clock = Clock(task.folder)
    stages = {"generator": _generator, "synthetic": _synthetic}
    for report in stages.get(task.stage, _cell)(task, store, clock):
        clock.keep()
        yield report


class Clock:
    """The time a job takes over all processes that worked on it: a killed one's is kept up to its last report."""

    def __init__(self, folder: Path) -> None:
        self._file, self._began = folder / SPENT, time.monotonic()
        try:
            known = json_of(self._file.read_text("utf-8"))
        except (FileNotFoundError, ValueError):
            known = {"seconds": 0.0, "began": time.strftime(TIME, time.gmtime())}
        self._before, self.began = float(known["seconds"]), str(known["began"])

    @property
    def seconds(self) -> float:
        """Spent so far."""
        return self._before + time.monotonic() - self._began

    def keep(self) -> None:
        """Write it down, where the job is not done yet."""
        if self._file.parent.exists() and not (self._file.parent / RESULT).exists():
            write_whole(self._file, json.dumps({"seconds": self.seconds, "began": self.began}))


def _generator(task: Task, store: Store, clock: Clock) -> Iterator[Report]:
    experiment = task.experiment
    assert experiment is not None
    inputs = given_inputs(task.inputs, experiment, store)
    saved = CheckpointFolder(task.folder)
    note = _forget_other_inputs(saved, inputs)
    data = read(store, select(store, experiment), experiment, inputs.states)
    report = None
    for report in run(experiment, data, local(task.folder, {**task.provenance, **inputs.tags})):
        keep_samples(report, task.folder)
        yield replace(report, note=note or report.note)
        note = ""
    _check_own(saved)
    facts = _facts(task, clock, report) | {"checkpoint": saved.sha256(BEST), "train_lesions": len(data.train)}
    if inputs.held:
        facts["inputs"] = {each.name: each.sha256 for each in inputs.held}
    write_result(task.folder, facts, BEST)
    (task.folder / SPENT).unlink(missing_ok=True)


def _forget_other_inputs(saved: CheckpointFolder, inputs: RunInputs) -> str:
    """Begin anew where the job that this one begins from was done again since (the grid owns both), and say so."""
    try:
        state = saved.load()
    except CheckpointError:
        return ""  # the run says what becomes of it
    was = inputs.content if state is None else state["provenance"]
    if {name: digest for name, digest in was.items() if name.startswith(INPUT)} == inputs.content:
        return ""
    assert isinstance(saved.folder, Path)
    for name in FILES:
        (saved.folder / name).unlink(missing_ok=True)
    return "begins anew: what it begins from was trained again"


def _check_own(saved: CheckpointFolder) -> None:
    """Prove that the best state is this run's: of its last one, which says how good the best was.

    Raises:
        CheckpointError: it is lost, damaged or another's.
    """
    best, latest = _best(saved), saved.load()
    if latest is None or best.get("best") != latest.get("best") or not of_one_run(best, latest):
        raise CheckpointError(
            f"checkpoint {saved.address(BEST)} is not the best of the run that left {saved.address()}",
            f"Move {', '.join(FILES)} in its folder away; the run then begins anew.",
        )


def _synthetic(task: Task, store: Store, clock: Clock) -> Iterator[Report]:
    assert task.source is not None
    place = task.folder / STORE
    note = _forget_other_set(place, task.source)
    if not place.exists():  # a kill may have come between the set and its result
        task.folder.mkdir(parents=True, exist_ok=True)
        generate_here(
            store,
            task.source / BEST,
            str(place),
            counts=task.counts,
            seed=task.seed,
            rgb=open_store(task.rgb) if task.rgb else None,
        )
    made = open_store(str(place)).manifest
    report = Report(sum(task.counts.values()), {"cubes": float(made.lesions)}, note=note)
    facts = _facts(task, clock, report) | {"origin": made.source, "fingerprint": made.fingerprint}
    write_result(task.folder, facts, f"{STORE}/{MANIFEST}")
    (task.folder / SPENT).unlink(missing_ok=True)
    yield report


def _forget_other_set(place: Path, generator: Path) -> str:
    """Draw a set anew where its generator was trained again since, and say so."""
    if not place.exists() or not (generator / BEST).exists():
        return ""
    origin = origin_of(open_store(str(place), verify=False).manifest)
    if origin is not None and origin.checkpoint == CheckpointFolder(generator).sha256(BEST):
        return ""
    shutil.rmtree(place)
    return "drawn anew: its generator was trained again"


def _cell(task: Task, store: Store, clock: Clock) -> Iterator[Report]:
    experiment = task.experiment
    assert experiment is not None
    data = read(store, select(store, experiment), experiment)
    context = local(task.folder, task.provenance)
    reports: list[Report] = []
    learner: Any = yield from _kept(run(experiment, data, context), reports)
    report = reports[-1]
    saved = _best(context.checkpoint)
    learner.load_state_dict(saved["learner"])
    chosen = judgement(learner.judge(data.validation.reflectance, data.validation.masks), truth(data.validation.diagnoses))
    chosen_at = now()
    opened: list[str] = []
    table = _test(task, store, experiment, learner, chosen, opened)
    table.to_parquet(task.folder / PREDICTIONS)
    facts = _facts(task, clock, report) | {
        "judgement": chosen.metrics,
        "best_images": saved["images"],
        "chosen_at": chosen_at,
        "test_opened": opened[0],
        "train": _shown(data, experiment),
        "weights_sha256": experiment.learner.weights_sha256(len(data.wavelengths_nm)),
        "test": _test_metrics(table, chosen.threshold),
    }
    write_result(task.folder, facts, PREDICTIONS)
    for name in (*FILES, SPENT):  # the predictions are what is kept of a cell
        (task.folder / name).unlink(missing_ok=True)


def _best(checkpoint: CheckpointFolder) -> Mapping[str, Any]:
    """Return the best state of a run that has ended.

    Raises:
        CheckpointError: it is lost or damaged, and the last state is no stand-in for it.
    """
    remedy = f"Move what is left of {', '.join(FILES)} in its folder away; the run then begins anew."
    try:
        saved = checkpoint.load(BEST)
    except CheckpointError as error:
        raise CheckpointError(error.what, remedy) from error
    if saved is None:
        raise CheckpointError(f"checkpoint {checkpoint.address(BEST)} is lost", remedy)
    return saved


def _kept(reports: Generator[Report, None, Learner], into: list[Report]) -> Generator[Report, None, Learner]:
    """Pass reports on, the last of them kept in `into`, and return what the run returns."""
    while True:
        try:
            into[:] = [next(reports)]
        except StopIteration as end:
            learner: Learner = end.value
            return learner
        yield into[0]


def _test(
    task: Task,
    store: Store,
    experiment: Experiment,
    learner: Judge,
    chosen: Judgement,
    opened: list[str],
) -> Predictions:
    """Open the test role, after everything is chosen, and predict it."""
    assert experiment.task is not None
    lesions = store.open_test(task.fold, experiment.task.diagnoses, lambda what: opened.append(f"{what} at {now()}"))
    rows = store.read(lesions)
    cubes = cube_set(rows, experiment.data.size)
    logits = learner.judge(cubes.reflectance, cubes.masks).numpy()
    probability = chosen.calibration(logits)
    count = len(logits)
    return Predictions(
        lesion_id=np.array(cubes.lesion_ids),
        group=np.array(rows.column("group").to_pylist()),
        diagnosis=np.array(cubes.diagnoses),
        truth=truth(cubes.diagnoses).numpy().astype(np.int8),
        fold=np.full(count, task.fold),
        seed=np.full(count, task.seed),
        arm=np.full(count, task.arm),
        model=np.full(count, task.model),
        probability=probability,
        raw_probability=1 / (1 + np.exp(-logits)),
        threshold=np.full(count, chosen.threshold),
        cell=np.full(count, task.key),
    )


def _test_metrics(table: Predictions, threshold: float) -> dict[str, float]:
    """Return the cell's own numbers, for its MLflow run; the report computes everything from the predictions."""
    values = cell_metrics(table.truth, table.probability, threshold)
    return {f"test_{name}": value.value for name, value in values.items() if value.value is not None}


def _shown(data: TrainData, experiment: Experiment) -> dict[str, int]:
    return {
        "real": len(data.lesion_ids),
        "real_melanomas": int(truth(data.diagnoses).sum()),
        "synthetic_held": len(data.extra_diagnoses),
        "images": experiment.training.images,
    }


def _facts(task: Task, clock: Clock, report: Report | None) -> dict[str, Any]:
    import torch

    return {
        "key": task.key,
        "stage": task.stage,
        "label": task.label,
        "fold": task.fold,
        "arm": task.arm,
        "model": task.model,
        "seed": task.seed,
        "began": clock.began,
        "seconds": round(clock.seconds, 3),
        "metrics": {} if report is None else {k: v for k, v in report.metrics.items() if np.isfinite(v)},
        "code": task.provenance.get("hyperderm.git_commit", "unknown"),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
    }
