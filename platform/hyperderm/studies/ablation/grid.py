"""The grid on the cluster: each job is a trial, and the queue hands a job out as soon as the jobs that it needs are done."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hyperderm.cluster.session import Cluster, blind_nodes, check_shared, run_remotely
from hyperderm.cluster.trial import KEY, RESOURCES, JobResources
from hyperderm.cluster.tune_driver import drive
from hyperderm.errors import ClusterError
from hyperderm.store.location import locate
from hyperderm.store.manifest import MANIFEST, Manifest
from hyperderm.store.reader import Store
from hyperderm.studies.ablation.estimate import Cost, Measure, capacity, measure_here
from hyperderm.studies.ablation.jobs import Job, Stage, job_to_json
from hyperderm.studies.ablation.plan import Plan
from hyperderm.studies.ablation.queue import JobQueue
from hyperderm.studies.ablation.records import STORE, GridFolder
from hyperderm.studies.ablation.work import perform_job
from hyperderm.tags import FOLD_TAG, PHOTOGRAPHS_TAG, SYNTHETIC_TAG
from hyperderm.training.checkpoint import BEST


def jobs_at_once(plan: Plan, cluster: Cluster, grid: GridFolder) -> dict[float, int]:
    """Return, for each number of GPUs per job, how many such jobs run side by side on `cluster`.

    Raises:
        ClusterError: a job does not fit the cluster, or not every node sees the storage, or the store that jobs read.
    """
    check_shared(grid.storage or grid.path, cluster)
    found, store = capacity(plan, cluster), plan.store.location
    reads = not found.shares or "stream" in plan.feeds.values()
    if reads and store.local and len(cluster.nodes) > 1 and (blind := blind_nodes(Path(store.path) / MANIFEST)):
        raise ClusterError(
            f"jobs read the store {store.uri} themselves, and it is not visible from {', '.join(blind)}",
            "Put the store on S3 or on a disk that all nodes share, or use --set feed=memory.",
        )
    return dict(found.jobs_at_once)


def measure_there(cpus: float) -> Measure:
    """Return a function that measures step times on the connected cluster, with the resources that the job would hold."""

    def measure(job: Job, manifest: Manifest, train: int) -> Cost:
        return run_remotely(measure_here, job, manifest, train, cpus=cpus, gpus=job.gpus)

    return measure


def run_grid(
    plan: Plan, queue: JobQueue, store: Store, cluster: Cluster, grid: GridFolder, provenance: Mapping[str, str]
) -> None:
    """Run the remaining jobs of the plan; an interrupt (Ctrl-C, SIGTERM) leaves running jobs to be resumed.

    Args:
        plan: the grid.
        queue: hands out the jobs of the plan.
        store: the real lesions, as the workers read them.
        cluster: the cluster on which the jobs run.
        grid: the folder in which the jobs write.
        provenance: facts that are written into the checkpoints.

    Raises:
        ClusterError: for the same reasons as `jobs_at_once`. StudyError: Tune itself failed. MachineTrouble: trouble of the
            machine ended the grid; its running jobs are left open.
    """
    asked = plan.grid.resources
    drive(
        queue,
        job_config(plan, grid, provenance, capacity(plan, cluster).each),
        perform_job,
        store,
        cluster,
        grid.path,
        jobs=queue.wanted,
        at_once=max(jobs_at_once(plan, cluster, grid).values()),
        max_failures=asked.max_failures,
        storage=grid.storage,
    )
    if queue.interrupted and queue.trouble:
        raise queue.trouble


SOURCES: Mapping[Stage, Stage] = {"cell": "synthetic", "judge": "synthetic", "synthetic": "generator"}
"""Stage of a job to the stage of the earlier job that its cubes come from; those of a curated set come from a set."""


def job_config(
    plan: Plan, grid: GridFolder, provenance: Mapping[str, str], memory: int = 0
) -> Callable[[Job], dict[str, Any]]:
    """Return a function that turns a job into the data sent to its worker; a cell's data name the place of its set."""
    jobs, resources = {each.key: each for each in plan.jobs}, plan.grid.resources

    def config(job: Job) -> dict[str, Any]:
        stage = "synthetic" if job.curation else SOURCES.get(job.stage)
        source = next((jobs[need] for need in job.needs if jobs[need].stage == stage), None)
        inputs = {name: grid.address(jobs[key], BEST) for name, key in job.inputs.items()}
        experiment = job.experiment
        if experiment is not None:
            values: dict[str, Any] = {f"learner.{name}": place for name, place in inputs.items()}
            values |= {"sweep.workers_per_trial": job.workers, "sweep.cpus_per_worker": resources.cpus}
            values |= {"sweep.gpus_per_worker": job.gpus}
            if job.key in plan.feeds:
                values["data.feed"] = plan.feeds[job.key]
            if experiment.data.photographs:
                values["data.photographs"] = _address(experiment.data.photographs)
            if experiment.synthetic is not None:
                values["synthetic.store"] = grid.address(source, STORE) if source else _address(job.store)
            experiment = experiment.override(values)
        origin = {"run": f"{provenance['run']}/{job.key}", FOLD_TAG: str(job.fold)}
        origin |= {SYNTHETIC_TAG: job.source} if job.source else {}
        if job.experiment is not None and job.experiment.data.photographs:
            origin[PHOTOGRAPHS_TAG] = plan.content[f"data.photographs {job.experiment.data.photographs}"]
        return {
            KEY: job.key,
            RESOURCES: JobResources(job.workers, resources.cpus, job.gpus, memory),
            "job": job_to_json(job),
            "experiment": None if experiment is None else experiment.model_dump(mode="json"),
            "place": grid.address(job),
            "source": _source(grid, job, source),
            "inputs": inputs,
            "rgb": _address(plan.grid.rgb or "") if _sees_colours(source) else "",
            "provenance": {**provenance, **origin},
        }

    return config


def _source(grid: GridFolder, job: Job, source: Job | None) -> str:
    """Return the address of the checkpoint that a set is drawn from, or of the larger set that it is made from."""
    if job.stage != "synthetic":
        return ""
    if job.curation:
        return grid.address(source, STORE) if source else _address(job.store)
    assert source is not None
    return grid.address(source, f"{job.checkpoint}.pt")


def _sees_colours(source: Job | None) -> bool:
    """Return whether a set's generator makes cubes from colours, and so from the grid's photographs."""
    return source is not None and source.experiment is not None and source.experiment.learner.condition == "rgb"


def _address(uri: str) -> str:
    """Return the absolute address of a store, since Tune changes the working directory of workers; "" for no store."""
    place = locate(uri)
    return place.path if uri and place.local else uri
