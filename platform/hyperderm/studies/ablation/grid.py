"""The grid on Ray Tune: each job a trial, handed out by the queue as soon as what it needs is done."""

import pickle
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune
from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.search import Searcher

from hyperderm.cluster.session import Cluster, check_shared
from hyperderm.cluster.shared_store import SharedStore
from hyperderm.cluster.start_watch import StartWatch
from hyperderm.cluster.trial import ended
from hyperderm.config import Experiment
from hyperderm.errors import HyperdermError
from hyperderm.store.location import locate
from hyperderm.store.manifest import Manifest
from hyperderm.strict import parse
from hyperderm.studies.ablation.estimate import Cost, Measure, measure_here, slots
from hyperderm.studies.ablation.job import Job, Stage
from hyperderm.studies.ablation.plan import Plan
from hyperderm.studies.ablation.queue import Queue
from hyperderm.studies.ablation.room import room
from hyperderm.studies.ablation.work import STORE, Task, work
from hyperderm.studies.sweep import interruptible, told
from hyperderm.studies.tune_glue import final, recovered
from hyperderm.training.checkpoint import BEST
from hyperderm.training.loop import Report


def places(plan: Plan, cluster: Cluster, folder: Path) -> dict[float, int]:
    """Return, for each number of GPUs that jobs take, how many such jobs run side by side on `cluster`.

    Raises:
        ClusterError: a job that does not fit, or storage that not every node sees.
    """
    check_shared(folder, cluster)
    return slots(plan, cluster)


def measure_there(cpus: float) -> Measure:
    """Return a measure of step times that runs on the connected cluster, with what the job would hold."""

    def measure(job: Job, manifest: Manifest, train: int) -> Cost:
        there = ray.remote(num_cpus=cpus, num_gpus=job.gpus, max_retries=0)(measure_here)
        try:
            cost: Cost = ray.get(there.remote(job, manifest, train))
        except ray.exceptions.RayTaskError as error:
            raise error.cause if isinstance(error.cause, HyperdermError) else error from None
        return cost

    return measure


def run_grid(
    plan: Plan, queue: Queue, store: SharedStore, cluster: Cluster, folder: Path, provenance: Mapping[str, str]
) -> None:
    """Run what is left of the plan; an interrupt (Ctrl-C, SIGTERM) leaves running jobs to be resumed.

    Raises:
        ClusterError: see `places`; StudyError: Tune itself failed; MachineTrouble: what ended the grid, its jobs left open.
    """
    if not queue.wanted:
        return
    asked = plan.grid.resources
    memory = {"memory": each} if (each := room(plan, cluster).each) else {}
    trainable = tune.with_parameters(GridTrial, store=store, threads=max(1, int(asked.cpus)))

    def resources(config: dict[str, Any]) -> tune.PlacementGroupFactory:
        return tune.PlacementGroupFactory([{"CPU": asked.cpus, "GPU": config["gpus"], **memory}])

    with interruptible(queue) as stopper:
        tuner = tune.Tuner(
            tune.with_resources(trainable, resources),
            tune_config=tune.TuneConfig(
                search_alg=QueueSearcher(queue, lambda job: task_of(plan, job, folder, provenance)),
                num_samples=queue.wanted,
                max_concurrent_trials=max(places(plan, cluster, folder).values()),
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name=time.strftime("%Y%m%d-%H%M%S"),
                storage_path=str(folder.absolute() / "tune"),
                failure_config=tune.FailureConfig(max_failures=asked.max_failures),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # jobs write their own
                callbacks=[
                    QueueCallback(queue, cluster.logs),
                    StartWatch(lambda trial, said: queue.note(trial.config["key"], said), cluster.logs),
                ],
                stop=stopper,
                verbose=0,
            ),
        )
        with told(cluster):
            try:
                tuner.fit()
            except Exception:
                if queue.running or not queue.over:
                    raise
                # Every job has ended: only Tune's own summary failed, as it does on a full disk. The queue knows better.
            finally:
                queue.leave_open()
        if queue.interrupted and queue.trouble:
            raise queue.trouble


SOURCES: Mapping[Stage, Stage] = {"cell": "synthetic", "synthetic": "generator"}
"""Which of a job's needs its cubes come from."""


def task_of(plan: Plan, job: Job, folder: Path, provenance: Mapping[str, str]) -> dict[str, Any]:
    """Return the job as data for a worker; a cell's configuration now names where its synthetic set lies."""
    jobs = {each.key: each for each in plan.jobs}
    source = next((str(folder / jobs[need].folder) for need in job.needs if jobs[need].stage == SOURCES.get(job.stage)), "")
    experiment = job.experiment
    if experiment is not None and experiment.synthetic is not None:
        place = _address(job.store) or str(Path(source) / STORE)
        experiment = experiment.override({"synthetic.store": place})
    inputs = {name: str(folder / jobs[key].folder / BEST) for name, key in job.inputs.items()}
    if experiment is not None:
        experiment = experiment.override({f"learner.{name}": place for name, place in inputs.items()})
    return {
        "key": job.key,
        "stage": job.stage,
        "label": job.label,
        "fold": job.fold,
        "arm": job.arm,
        "model": job.model,
        "seed": job.seed,
        "folder": str(folder / job.folder),
        "source": source,
        "experiment": None if experiment is None else experiment.model_dump(mode="json"),
        "counts": dict(job.counts),
        "inputs": inputs,
        "rgb": _address(plan.grid.rgb or ""),
        "provenance": {
            **provenance,
            "run": f"{provenance['run']}/{job.key}",
            "hyperderm.fold": str(job.fold),
            **({"hyperderm.synthetic": job.source} if job.source else {}),
        },
        "gpus": job.gpus,
    }


def _address(uri: str) -> str:
    """Return where a store is for a worker, which Tune moves to another working directory; "" for none."""
    place = locate(uri)
    return place.path if uri and place.local else uri


class GridTrial(tune.Trainable):
    """One job of the grid; the actor takes the next one over."""

    def setup(self, config: dict[str, Any], store: SharedStore | None = None, threads: int = 1) -> None:
        """Begin a job; called once an actor."""
        torch.set_num_threads(threads)
        self._store = store
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin the next job in the same process."""
        facts = {k: v for k, v in new_config.items() if k != "gpus"}
        experiment = facts["experiment"]
        self._task = Task(
            **{
                **facts,
                "folder": Path(facts["folder"]),
                "source": Path(facts["source"]) if facts["source"] else None,
                "experiment": None if experiment is None else parse(Experiment, experiment),
            }
        )
        self._reports: Iterator[Report] | None = None
        return True

    def step(self) -> dict[str, Any]:
        """Go on to the next report; the one after the last ends the job."""
        assert self._store is not None
        try:
            self._reports = self._reports or work(self._task, self._store)
            report = next(self._reports, None)
        except Exception as error:
            return {"metrics": {}, **ended(error)}  # or raised: Tune tries again, from the checkpoint
        if report is None:
            return {"images": -1, "metrics": {}, "failure": "", "done": True}
        return {
            "images": report.images,
            "metrics": dict(report.metrics),
            "note": report.note,
            "failure": "",
            "done": False,
        }


class QueueSearcher(Searcher):
    """Hands out the queue's jobs as Tune configurations."""

    def __init__(self, queue: Queue, task: Callable[[Job], dict[str, Any]]) -> None:
        super().__init__(metric="images", mode="max")
        self._queue, self._task = queue, task

    def suggest(self, trial_id: str) -> Any:  # noqa: ANN401 - Tune's own annotation forgets FINISHED
        """Return the next job, None while none is ready, or that there are no more."""
        job = self._queue.ask()
        if job is not None:
            return self._task(job)
        return Searcher.FINISHED if self._queue.over else None

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing: the callback closes the job."""

    def save(self, checkpoint_path: str) -> None:
        """Write an empty state: the folders are the state."""
        with Path(checkpoint_path).open("wb") as stream:
            pickle.dump(None, stream)

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the folders are the state."""


class QueueCallback(Callback):
    """Tells the queue of reports and ends; `logs` is where those of the workers are."""

    def __init__(self, queue: Queue, logs: str = "") -> None:
        self._queue, self._logs = queue, logs

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: object
    ) -> None:
        """Pass a report on."""
        if note := result.get("note"):
            self._queue.note(trial.config["key"], note)
        if result["images"] >= 0:
            self._queue.report(trial.config["key"], Report(result["images"], result["metrics"]))

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: object) -> None:
        """Close a job that ended by itself; trouble of the machine leaves it open."""
        if trouble := trial.last_result.get("trouble"):
            self._queue.leave(trial.config["key"], trouble)
        else:
            self._queue.finish(trial.config["key"], trial.last_result.get("failure", ""))

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: object) -> None:
        """Say why a job begins again from its checkpoint."""
        self._queue.note(trial.config["key"], recovered(trial))

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: object) -> None:
        """End a job that met trouble more often than `resources.max_failures` allows; the unforeseen is a failure."""
        trouble, why = final(trial, self._logs)
        if trouble:
            self._queue.leave(trial.config["key"], trouble)
        else:
            self._queue.finish(trial.config["key"], why)
