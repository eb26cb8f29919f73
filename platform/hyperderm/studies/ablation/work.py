"""The work of a grid's trial: train a generator, draw its synthetic set, or train a classifier and predict.

Everything here runs in a worker. Each function yields reports and leaves its folder done (`result.json`) or resumable:
generators and classifiers continue from their checkpoints, and a set is either written whole or not at all.
"""

import json
import shutil
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hyperderm.cluster.shared_data import Readable, for_job
from hyperderm.cluster.trial import Trainer
from hyperderm.config import Experiment
from hyperderm.errors import CheckpointError
from hyperderm.learners.base import Learner, MelanomaClassifier
from hyperderm.learners.data import TrainData, truth
from hyperderm.learners.decision_rule import DecisionRule, fit_decision_rule
from hyperderm.statistics.classification import cell_metrics
from hyperderm.statistics.predictions import Predictions
from hyperderm.store.curated import Curation
from hyperderm.store.location import Location
from hyperderm.store.manifest import MANIFEST, Opening
from hyperderm.store.reader import Store, open_store
from hyperderm.store.run_location import RunLocation, address, below, content_of, forget, holds, location_at, put
from hyperderm.store.s3 import clear
from hyperderm.store.synthetic import SyntheticOrigin, origin_of
from hyperderm.strict import json_of, parse
from hyperderm.studies.ablation.jobs import Job, job_from_json
from hyperderm.studies.ablation.records import SPENT, STORE, now, write_result
from hyperderm.studies.ablation.shapes import SPENT_FILE, wrong
from hyperderm.studies.ablation.shortcut import judged, probabilities, spare_cubes
from hyperderm.studies.curation import curate
from hyperderm.studies.rebuilding import rebuild_here
from hyperderm.studies.synthesis import generate_here
from hyperderm.tags import COMMIT_TAG, INPUT_PREFIX
from hyperderm.training.checkpoint import BEST, FILES, LATEST, CheckpointFolder
from hyperderm.training.context import local
from hyperderm.training.data import cube_set
from hyperderm.training.inputs import NONE, RunInputs, given_inputs
from hyperderm.training.report import Report
from hyperderm.training.resume import feed_of, of_one_run
from hyperderm.training.run_folder import PREDICTIONS, RESULT, Result, Shown
from hyperderm.training.selection import select


@dataclass(frozen=True)
class Task:
    """A job in the form in which its worker does it.

    Attributes:
        job: the job to do.
        experiment: the configuration to train, with the addresses of the data it reads; None for a synthetic set.
        place: where the job writes its results.
        source: for a set, the address of its generator's checkpoint, or of the larger set that it is made from.
        inputs: for a generator, input of its learner to the address of a checkpoint.
        rgb: URI of the RGB store; "" if there is none.
        provenance: facts that are written into the checkpoints.
    """

    job: Job
    experiment: Experiment | None
    place: RunLocation
    source: str
    inputs: Mapping[str, str]
    rgb: str
    provenance: Mapping[str, str]


def perform_job(config: Mapping[str, Any], store: Store, trainer: Trainer) -> Iterator[Report]:
    """Do the job that a configuration holds; this function runs in a worker."""
    yield from work(task_of(config, trainer.storage), store, trainer)


def task_of(config: Mapping[str, Any], storage: Location | None = None) -> Task:
    """Return the task that a configuration holds (see `grid.job_config`); `storage` holds the settings for places on S3."""
    experiment = config["experiment"]
    return Task(
        job=job_from_json(config["job"]),
        experiment=None if experiment is None else parse(Experiment, experiment),
        place=location_at(config["place"], storage),
        source=config["source"],
        inputs=config["inputs"],
        rgb=config["rgb"],
        provenance=config["provenance"],
    )


def work(task: Task, store: Store, trainer: Trainer | None = None) -> Iterator[Report]:
    """Do the task and yield its reports; the last report comes when everything is written.

    Args:
        task: the job to do.
        store: the real lesions.
        trainer: trains the experiment; None means in this process.
    """
    clock = TimeSpent(task.place)
    stages = {"generator": _generator, "synthetic": _synthetic, "judge": _judge}
    for report in stages.get(task.job.stage, _cell)(task, store, clock, trainer or Trainer()):
        clock.keep()
        yield report


class TimeSpent:
    """The time that all processes together spent on a job; the time of a killed process counts up to its last report."""

    def __init__(self, place: RunLocation) -> None:
        self._place, self._started = place, time.monotonic()
        try:
            known = json_of((content_of(place, SPENT) or b"").decode())
        except ValueError:
            known = None
        if wrong(SPENT_FILE, known):
            known = {"seconds": 0.0, "began": now()}
        self._before, self.began = float(known["seconds"]), str(known["began"])

    @property
    def seconds(self) -> float:
        """The seconds spent so far."""
        return self._before + time.monotonic() - self._started

    def keep(self) -> None:
        """Record the time spent, unless the job is already done."""
        if not holds(self._place, RESULT):
            put(self._place, SPENT, json.dumps({"seconds": self.seconds, "began": self.began}).encode())


def _generator(task: Task, store: Store, clock: TimeSpent, trainer: Trainer) -> Iterator[Report]:
    experiment = task.experiment
    assert experiment is not None
    inputs = given_inputs(task.inputs, experiment, store)
    saved = CheckpointFolder(task.place)
    note = _forget_other_inputs(saved, inputs)
    with _shared(trainer, store, experiment, inputs) as shared:
        report = None
        for report in trainer.train(experiment, shared, task.place, {**task.provenance, **inputs.tags}):
            yield replace(report, note=note or report.note)
            note = ""
        _check_own(saved)
        facts = _facts(task, clock, report) | {
            "checkpoint": saved.sha256(BEST),
            "latest": saved.sha256(LATEST),
            "train_lesions": len(select(store, experiment).train),
        }
        if inputs.held:
            facts["inputs"] = {each.name: each.sha256 for each in inputs.held}
        write_result(task.place, facts, BEST)
        forget(task.place, SPENT)


@contextmanager
def _shared(trainer: Trainer, store: Store, experiment: Experiment, inputs: RunInputs = NONE) -> Iterator[Readable]:
    """Hold the data that a run of `experiment` reads, in memory or as streaming readers, until the run has ended."""
    shared = for_job(store, select(store, experiment), experiment, inputs)
    try:
        yield shared
    finally:
        trainer.release()
        shared.close()


def _forget_other_inputs(saved: CheckpointFolder, inputs: RunInputs) -> str:
    """Delete a run's checkpoints if the job it begins from was done again since (the grid owns both); return a note."""
    try:
        state = saved.load()
    except CheckpointError:
        return ""  # the run itself reports this error
    was = inputs.content if state is None else state["provenance"]
    if {name: digest for name, digest in was.items() if name.startswith(INPUT_PREFIX)} == inputs.content:
        return ""
    forget(saved.folder, *FILES)
    return "begins anew: what it begins from was trained again"


def _check_own(saved: CheckpointFolder) -> None:
    """Prove that the best state belongs to this run, using the last state, which records the best score.

    Raises:
        CheckpointError: the best state is lost, damaged or of another run.
    """
    best, latest = _best(saved), saved.load()
    if latest is None or best.get("best") != latest.get("best") or not of_one_run(best, latest):
        raise CheckpointError(
            f"checkpoint {saved.address(BEST)} is not the best of the run that left {saved.address()}",
            f"Move {', '.join(FILES)} in its folder away; the run then begins anew.",
        )


def _synthetic(task: Task, store: Store, clock: TimeSpent, trainer: Trainer) -> Iterator[Report]:
    job, counts, made_at = task.job, task.job.counts, address(task.place, STORE)
    note = _forget_other_set(task)
    if not holds(below(task.place, STORE), MANIFEST):  # a kill may have come between the set and its result
        if job.curation:
            asked = Curation.model_validate(job.curation)
            curate(store, open_store(task.source), made_at, asked, counts, job.drawn, job.seed)
        elif job.rebuilt:
            rebuild_here(store, task.source, made_at, tuple(counts), job.seed)
        else:
            rgb = open_store(task.rgb) if task.rgb else None
            generate_here(store, task.source, made_at, counts=counts, seed=job.seed, rgb=rgb)
    made = open_store(made_at).manifest
    report = Report(sum(counts.values()), {"cubes": float(made.lesions)}, note=note)
    facts = _facts(task, clock, report) | {"origin": made.source, "fingerprint": made.fingerprint}
    write_result(task.place, facts, f"{STORE}/{MANIFEST}")
    forget(task.place, SPENT)
    yield report


def _forget_other_set(task: Task) -> str:
    """Delete a set if what it was made from was made again since, so that it is made anew; return a note."""
    place = below(task.place, STORE)
    if not holds(place, MANIFEST):
        return ""
    origin = origin_of(open_store(address(place), verify=False).manifest)
    if origin is not None and _is_made_from(origin, task):
        return ""
    if isinstance(place, Path):
        shutil.rmtree(place)
    else:
        clear(place, "")
    return f"made anew: its {'pool' if task.job.curation else 'generator'} was made again"


def _is_made_from(origin: SyntheticOrigin, task: Task) -> bool:
    """Return whether a set comes from what its job's source is today; a generator that is gone is not compared."""
    if task.job.curation:
        return (
            origin.curated is not None and origin.curated.pool == open_store(task.source, verify=False).manifest.fingerprint
        )
    folder, _, state = task.source.rpartition("/")
    generator = location_at(folder, _location(task.place))
    return not holds(generator, state) or origin.checkpoint == CheckpointFolder(generator).sha256(state)


def _location(place: RunLocation) -> Location | None:
    return None if isinstance(place, Path) else place


def _cell(task: Task, store: Store, clock: TimeSpent, trainer: Trainer) -> Iterator[Report]:
    experiment = task.experiment
    assert experiment is not None
    reports: list[Report] = []
    with _shared(trainer, store, experiment) as shared:
        learner: Any = yield from _kept(trainer.train(experiment, shared, task.place, task.provenance), reports)
        data = trainer.data(experiment, shared)
        context = local(task.place, task.provenance)
        saved = _best(context.checkpoint)
        if learner is None:  # a group of other processes trained it
            learner = experiment.learner.build(experiment, data, context.compute(experiment.training.precision))
        learner.load_state_dict(saved["learner"])
        report = reports[-1]
        judged = learner.logits_of(data.validation.reflectance, data.validation.masks)
        chosen = fit_decision_rule(judged, truth(data.validation.diagnoses))
        chosen_at = now()
        opened: list[Opening] = []
        table = _test(task, store, experiment, learner, chosen, opened)
        put(task.place, PREDICTIONS, table.to_bytes())
        facts = _facts(task, clock, report) | {
            "judgement": chosen.metrics,
            "best_images": saved["images"],
            "chosen_at": chosen_at,
            "test_opened": asdict(opened[0]),
            "shortcut": _shortcut(experiment, data, learner, chosen),
            "train": _shown(data, experiment),
            "feed": feed_of(data),
            "weights_sha256": experiment.learner.weights_sha256(len(data.wavelengths_nm)),
            "test": _test_metrics(table, chosen.threshold),
        }
        write_result(task.place, facts, PREDICTIONS)
        forget(task.place, *FILES, SPENT)  # only the predictions of a cell are kept


def _shortcut(
    experiment: Experiment, data: TrainData, learner: MelanomaClassifier, chosen: DecisionRule
) -> dict[str, dict[str, float]]:
    """Return how sure the classifier is of synthetic cubes that it was not shown; {} if there are none."""
    asked = experiment.synthetic
    if asked is None or asked.labels != "own":
        return {}
    spare = spare_cubes(open_store(asked.store, verify=False), data.diagnoses, asked, experiment.data.size)
    return {} if spare is None else probabilities(learner, chosen.calibration, data.validation, spare)


def _judge(task: Task, store: Store, clock: TimeSpent, trainer: Trainer) -> Iterator[Report]:
    experiment = task.experiment
    assert experiment is not None
    assert experiment.synthetic is not None
    found = judged(experiment, store, open_store(experiment.synthetic.store))
    report = Report(experiment.training.images, {f"judge_{name}": v for name, v in found.items() if v is not None})
    write_result(task.place, _facts(task, clock, report) | {"judge": found})
    forget(task.place, SPENT)
    yield report


def _best(checkpoint: CheckpointFolder) -> Mapping[str, Any]:
    """Return the best state of a run that has ended.

    Raises:
        CheckpointError: the best state is lost or damaged; the last state may not replace it.
    """
    remedy = f"Move what is left of {', '.join(FILES)} in its folder away; the run then begins anew."
    try:
        saved = checkpoint.load(BEST)
    except CheckpointError as error:
        raise CheckpointError(error.what, remedy) from error
    if saved is None:
        raise CheckpointError(f"checkpoint {checkpoint.address(BEST)} is lost", remedy)
    return saved


def _kept(reports: Generator[Report, None, Learner | None], into: list[Report]) -> Generator[Report, None, Learner | None]:
    """Pass reports on, keep the latest one in `into`, and return the result of the run."""
    while True:
        try:
            into[:] = [next(reports)]
        except StopIteration as end:
            learner: Learner | None = end.value
            return learner
        yield into[0]


def _test(
    task: Task,
    store: Store,
    experiment: Experiment,
    learner: MelanomaClassifier,
    chosen: DecisionRule,
    opened: list[Opening],
) -> Predictions:
    """Open the test role after all choices are made, and predict its lesions."""
    assert experiment.task is not None
    lesions = store.open_test(task.job.fold, experiment.task.diagnoses, lambda what: opened.append(replace(what, at=now())))
    rows = store.read(lesions)
    cubes = cube_set(rows, experiment.data.size)
    logits = learner.logits_of(cubes.reflectance, cubes.masks).numpy()
    probability = chosen.calibration(logits)
    count = len(logits)
    return Predictions(
        lesion_id=np.array(cubes.lesion_ids),
        group=np.array(rows.column("group").to_pylist()),
        diagnosis=np.array(cubes.diagnoses),
        truth=truth(cubes.diagnoses).numpy().astype(np.int8),
        fold=np.full(count, task.job.fold),
        seed=np.full(count, task.job.seed),
        arm=np.full(count, task.job.arm),
        model=np.full(count, task.job.model),
        probability=probability,
        raw_probability=1 / (1 + np.exp(-logits)),
        threshold=np.full(count, chosen.threshold),
        cell=np.full(count, task.job.key),
    )


def _test_metrics(table: Predictions, threshold: float) -> dict[str, float]:
    """Return the test metrics of the cell for its MLflow run; the report computes its numbers from the predictions."""
    values = cell_metrics(table.truth, table.probability, threshold)
    return {f"test_{name}": value.value for name, value in values.items() if value.value is not None}


def _shown(data: TrainData, experiment: Experiment) -> Shown:
    return {
        "real": len(data.lesion_ids),
        "real_melanomas": int(truth(data.diagnoses).sum()),
        "synthetic_held": len(data.extra_diagnoses),
        "images": experiment.training.images,
    }


def _facts(task: Task, clock: TimeSpent, report: Report | None) -> Result:
    import torch

    return {
        "key": task.job.key,
        "stage": task.job.stage,
        "label": task.job.label,
        "fold": task.job.fold,
        "arm": task.job.arm,
        "model": task.job.model,
        "seed": task.job.seed,
        "began": clock.began,
        "seconds": round(clock.seconds, 3),
        "workers": task.job.workers,
        "metrics": {} if report is None else {k: v for k, v in report.metrics.items() if np.isfinite(v)},
        "code": task.provenance.get(COMMIT_TAG, "unknown"),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
    }
