"""Estimate how long a grid takes, what it stores, and how many of its jobs memory allows at a time."""

import heapq
import io
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter, process_time
from typing import Literal

import torch

from hyperderm.cluster.memory import STORE_SHARE, Demand, Fit, Needs, Roles, fit, needs_of, row_bytes, with_gpu_memory
from hyperderm.cluster.session import Cluster, described, trials_at_once
from hyperderm.cluster.stream_readers import reader_cpus
from hyperderm.config import Experiment
from hyperderm.errors import ClusterError, ConfigError
from hyperderm.identity import shaping
from hyperderm.learners.base import Compute
from hyperderm.learners.data import CubeSet, TrainData
from hyperderm.learners.scaling import Scaling
from hyperderm.learners.spec import FLOAT
from hyperderm.store.manifest import Manifest, Role
from hyperderm.store.reader import open_store
from hyperderm.strict import fingerprint
from hyperderm.studies.ablation.jobs import Job
from hyperderm.studies.ablation.plan import Plan
from hyperderm.studies.ablation.records import GridFolder, result_of
from hyperderm.training.feed import MemoryFeed
from hyperderm.training.stream import check_streams, pixelwise

Counts = Mapping[tuple[Role, str], int]
"""The number of cubes for each role and diagnosis."""


@dataclass(frozen=True)
class Capacity:
    """How much of a grid a cluster can run at a time.

    Attributes:
        jobs_at_once: number of GPUs per job to the number of such jobs that run side by side.
        each: bytes of RAM that each job requests from Ray, so that no node receives more jobs than fit; 0 means no limit.
        said: the sentence that is printed if memory allows fewer jobs than would otherwise run; "" if memory allows all.
        shares: whether the whole store lies in the object store of each node; if not, each job reads the part it needs.
    """

    jobs_at_once: Mapping[float, int]
    each: int = 0
    said: str = ""
    shares: bool = True


def with_feeds(plan: Plan, cluster: Cluster, known: Mapping[str, str]) -> Plan:
    """Return `plan` with the feed, "memory" or "stream", of each of its jobs that train.

    Args:
        plan: the grid.
        cluster: its memory decides if the configuration leaves the choice open.
        known: the earlier feed of jobs; a job that began with one feed keeps it on every cluster.

    Raises:
        ConfigError: a job must be streamed, but its experiment cannot be.
    """
    feeds = {}
    cluster = with_gpu_memory(cluster) if any(job.gpus for job in plan.jobs) else cluster
    for job, experiment, roles in _trained(plan):
        feed = known.get(job.key) or experiment.data.feed
        if feed == "auto":
            feed = "memory" if _may_be_held(plan, cluster, job, experiment, roles) else "stream"
        if feed == "stream":
            check_streams(experiment)
        feeds[job.key] = feed
    return replace(plan, feeds=feeds)


def _may_be_held(plan: Plan, cluster: Cluster, job: Job, experiment: Experiment, roles: Roles) -> bool:
    """Return whether a job's roles fit memory beside the whole store; also True if the job cannot be streamed."""
    try:
        check_streams(experiment)
    except ConfigError:
        return True
    needs = replace(needs_of(roles, experiment, job.gpus > 0), store=_decoded(plan))
    return not cluster.memory or not fit(cluster, needs, Demand(job.workers, plan.grid.resources.cpus, job.gpus, 1)).short


def _decoded(plan: Plan) -> int:
    return plan.store.manifest.lesions * row_bytes(*plan.store.manifest.shape)


def capacity(plan: Plan, cluster: Cluster) -> Capacity:
    """Return how many jobs of `plan` run side by side on `cluster`.

    Every job is counted as the one that takes most; a synthetic set takes less than the training of its generator.

    Raises:
        ClusterError: a job does not fit the cluster.
    """
    asked = plan.grid.resources
    workers = {gpus: max(job.workers for job in plan.jobs if job.gpus == gpus) for gpus in {j.gpus for j in plan.jobs}}
    fits = {g: trials_at_once(cluster, workers[g], asked.cpus, g, asked.concurrent) for g in sorted(workers)}
    streams = any(feed == "stream" for feed in plan.feeds.values())
    if streams:
        fits = {gpus: _beside_readers(plan, cluster, workers[gpus], count) for gpus, count in fits.items()}
    if any(workers):
        cluster = with_gpu_memory(cluster)
    held = [each for each in _trained(plan) if plan.feeds.get(each[0].key) != "stream"]
    needs = [needs_of(roles, experiment, job.gpus > 0) for job, experiment, roles in held]
    if not needs or not cluster.memory:
        return Capacity(fits, shares=bool(needs))
    shares = not streams or _decoded(plan) <= STORE_SHARE * min(m.store or 0 for m in cluster.memory)
    store = _decoded(plan) if shares else max(n.store for n in needs)
    most = Needs(store, max(n.ram for n in needs), max(n.held for n in needs), max(n.gpu for n in needs))
    found: dict[float, Fit] = {}
    for gpus in fits:
        wanted = Demand(workers[gpus], asked.cpus, gpus, asked.concurrent)
        never = fit(cluster, most, wanted, whole=True)
        if never.short:
            remedy = "Lower the grid's size (--set size=…), take fewer diagnoses, or give the machine more memory"
            raise ClusterError(f"a job does not fit the memory: {_of_jobs(never.why)}", remedy)
        found[gpus] = fit(cluster, replace(most, store=0), wanted)
    less = [each for each in found.values() if each.fits < each.wanted]
    jobs_at_once = {gpus: min(count, max(1, found[gpus].fits)) for gpus, count in fits.items()}
    if not less or jobs_at_once == fits:
        return Capacity(fits, shares=shares)
    at_once, wanted_at_once = max(jobs_at_once.values()), max(fits.values())
    said = f"{at_once} job{'s run' if at_once > 1 else ' runs'} at a time, not {wanted_at_once}: {_of_jobs(less[0].why)}"
    return Capacity(jobs_at_once, most.ram if any(each.packs for each in less) else 0, said, shares)


def _beside_readers(plan: Plan, cluster: Cluster, workers: int, count: int) -> int:
    """Return how many jobs run side by side if each may reserve CPUs for reading, beside the CPUs of its workers."""
    readers = reader_cpus(plan.store, cluster)
    each = workers * plan.grid.resources.cpus + readers
    fits = min(count, int(cluster.cpus / each + 1e-9))
    if fits < 1:
        raise ClusterError(
            f"a job that is streamed needs {each:g} CPU, {readers} of them for reading: there are {described(cluster)}",
            "Use fewer resources.workers, a larger cluster, or --set feed=memory.",
        )
    return fits


def _of_jobs(why: str) -> str:
    return (
        why.replace("a trial", "a job")
        .replace("the roles are", "the store is")
        .replace("sweep.gpus_per_worker", "resources.gpus")
    )


def _trained(plan: Plan) -> Sequence[tuple[Job, Experiment, Roles]]:
    """Return the jobs that train, each with its experiment and the roles that it reads."""
    manifest = plan.store.manifest
    counts = {fold: _counts(plan, fold) for fold in {job.fold for job in plan.jobs}}
    sets = {job.key: sum(job.counts.values()) for job in plan.jobs if job.stage == "synthetic"}
    sets |= {uri: open_store(uri, verify=False).manifest.lesions for uri in {job.store for job in plan.jobs if job.store}}
    part = max((part.rows for part in manifest.parts), default=0)
    found = []
    for job in plan.jobs:
        if (experiment := job.experiment) is None:
            continue
        held, wanted = counts[job.fold], experiment.task.diagnoses if experiment.task else experiment.data.diagnoses
        extra = sum(sets.get(each, 0) for each in (job.store, *job.needs))
        test = _count(held, "test", wanted) if job.stage == "cell" else 0
        beside = experiment.data.size, experiment.data.size
        learnt, scored = _count(held, "train", wanted), _count(held, "validation", wanted)
        roles = Roles(learnt, scored, extra, manifest.shape, beside, part, test)
        found.append((job, experiment, roles))
    return found


def _counts(plan: Plan, fold: int) -> Counts:
    folds = plan.store.folds()
    return Counter((folds.role(row["group"], fold), row["diagnosis"]) for row in plan.store.index().to_pylist())


def _count(counts: Counts, role: Role, diagnoses: Sequence[str] | Literal["all"]) -> int:
    return sum(count for (of, name), count in counts.items() if of == role and (diagnoses == "all" or name in diagnoses))


STEPS = 4
"""Number of steps that are measured, after one more step that is not counted."""
OVERHEAD_S = 1.5
"""Seconds of a job for reading its data, calibrating, predicting and writing."""
DRAWN_A_SECOND = 40.0
"""Assumed number of synthetic cubes drawn and audited per second, until the grid has made its first set."""
COMPRESSED = 0.75
"""Stored bytes per byte of a cube (DESIGN, Store)."""


@dataclass(frozen=True)
class Cost:
    """The cost of one kind of training.

    Attributes:
        step: seconds of one step.
        validation: seconds of one validation.
        checkpoint: bytes of one checkpoint.
        had_cpu: processor time over time of the measurement, at most 1. Less than 1 on an idle machine never happens: some
            thread always works. Where a GPU works, or nothing is measured, it is 1.
    """

    step: float
    validation: float
    checkpoint: int
    had_cpu: float = 1.0


@dataclass(frozen=True)
class Estimate:
    """The cost of a plan.

    Attributes:
        seconds: key of a job to its duration.
        bytes: key of a job to the bytes that it leaves on disk.
        done: keys of finished jobs.
        had_cpu: the least `Cost.had_cpu` of what was measured.
    """

    seconds: Mapping[str, float]
    bytes: Mapping[str, int]
    done: frozenset[str]
    had_cpu: float = 1.0

    def wall(self, jobs: Sequence[Job], jobs_at_once: "Mapping[float, int] | int") -> float:
        """Return the seconds until all open jobs are done, if jobs start in order as capacity and their needs allow.

        Args:
            jobs: the jobs of the plan.
            jobs_at_once: number of GPUs per job to the number of such jobs that run side by side, or one number for all.
        """
        ready = dict.fromkeys(self.done, 0.0)
        count = jobs_at_once if isinstance(jobs_at_once, int) else max(jobs_at_once.values())
        everywhere = [0.0] * count
        alike = {} if isinstance(jobs_at_once, int) else {gpus: [0.0] * held for gpus, held in jobs_at_once.items()}
        for job in sorted((j for j in jobs if j.key not in self.done), key=lambda j: j.stage == "cell"):
            mine = alike.get(job.gpus)
            waits = [heapq.heappop(everywhere), *(ready.get(need, 0.0) for need in job.needs)]
            start = max([*waits, heapq.heappop(mine)] if mine else waits)
            ready[job.key] = start + self.seconds[job.key]
            heapq.heappush(everywhere, ready[job.key])
            if mine is not None:
                heapq.heappush(mine, ready[job.key])
        return max(everywhere)

    def work(self, jobs: Iterable[Job]) -> float:
        """Return the seconds that the open jobs take one after the other."""
        return sum(self.seconds[job.key] for job in jobs if job.key not in self.done)


REPORT_S, REPORT_EACH_S = 120.0, 3.0
"""Seconds of the report: a fixed part, and a part for each arm of each model (2,000 resamples)."""


def report_s(plan: Plan) -> float:
    """Return the seconds that are reserved for the report of `plan`."""
    return REPORT_S + REPORT_EACH_S * len(plan.arms) * len(plan.grid.models)


Measure = Callable[[Job, Manifest, int], Cost]


def estimate(plan: Plan, grid: GridFolder, measure: "Measure | None" = None) -> Estimate:
    """Estimate the cost of a plan; measure a few steps of each kind of training that no finished job tells the time of.

    Args:
        plan: the grid.
        grid: the folder of the grid.
        measure: measures one job as `measure_here` does (the default), possibly on another machine.
    """
    measure = measure or measure_here
    results = {job.key: result for job in plan.jobs if (result := result_of(grid, job))}
    known: dict[str, list[float]] = {}
    for job in plan.jobs:
        if job.key in results:
            known.setdefault(kind_of(job), []).append(float(results[job.key]["seconds"]))
    costs: dict[str, Cost] = {}
    seconds, sizes = {}, {}
    for job in plan.jobs:
        kind = kind_of(job)
        if job.experiment is not None and kind not in costs and not (kind in known and job.stage == "cell"):
            roles = plan.selections[job.fold]
            cost = measure(job, plan.store.manifest, len(roles.train))
            costs[kind] = _validated(cost, job.experiment, len(roles.validation))
        if kind in known:
            seconds[job.key] = sum(known[kind]) / len(known[kind])
        else:
            seconds[job.key] = _seconds(job, costs.get(kind))
        sizes[job.key] = _bytes(job, costs.get(kind), plan)
    return Estimate(seconds, sizes, frozenset(results), min((cost.had_cpu for cost in costs.values()), default=1.0))


def measure_here(job: Job, manifest: Manifest, train: int) -> Cost:
    """Return the cost of a step, a validation and a checkpoint here, measured on noise cubes of the experiment's shape."""
    experiment = job.experiment
    assert experiment is not None
    size, bands = experiment.data.size, len(manifest.wavelengths_nm)
    if experiment.learner.fit_once:
        kept = train * bands * size**2 * FLOAT  # a generator may keep all cubes that it was fitted to
        return Cost(0.0, 0.004 * train, 2_000 + kept * (experiment.learner.role == "generator"))
    count = _measured(experiment)
    noise = torch.rand(count, bands, size, size, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.2
    diagnoses = tuple("melanoma" if row % 2 else "dysplastic_nevus" for row in range(count))
    cubes = CubeSet(tuple(map(str, range(count))), diagnoses, noise, torch.zeros(count, size, size, dtype=torch.bool))
    data = TrainData(cubes, cubes, manifest.wavelengths_nm, Scaling.fit(noise))
    learning = experiment.learner.model_copy(update=dict.fromkeys(experiment.learner.inputs))
    bare = experiment.model_copy(update={"synthetic": None, "learner": learning})
    device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, int(experiment.sweep.cpus_per_worker)))
    try:
        data = bare.learner.in_space(bare, data)
        learner = bare.learner.build(bare, data, Compute(device, bf16=device.type == "cuda"))
        held = data.coordinates.forward(noise).to(device)
        batch, labels, masks = experiment.training.batch_size, data.labels, data.drawn_masks
        feed = MemoryFeed(held, batch, 0, pixelwise=pixelwise(experiment, device), labels=labels, masks=masks)
        times = []
        for step in range(STEPS + 1):
            if step == 1:
                whole, worked = perf_counter(), process_time()
            began = perf_counter()
            float(next(iter(learner.step(feed.batch(step * experiment.training.batch_size)).values())))
            times.append(perf_counter() - began)
        began = perf_counter()
        learner.validate()
        validation = perf_counter() - began
        had_cpu = (process_time() - worked) / (perf_counter() - whole) if device.type == "cpu" else 1.0
    finally:
        torch.set_num_threads(threads)
    written = io.BytesIO()
    torch.save(learner.state_dict(), written)
    return Cost(sum(times[1:]) / STEPS, validation, written.tell(), min(1.0, had_cpu))


def _validated(cost: Cost, experiment: Experiment, cubes: int) -> Cost:
    """Return the cost with validation scaled to all cubes of the role; a generator's validation draws its own cubes."""
    if experiment.learner.role == "generator":
        return cost
    return replace(cost, validation=cost.validation * max(1.0, cubes / _measured(experiment)))


def _measured(experiment: Experiment) -> int:
    return max(16, experiment.training.batch_size)


def kind_of(job: Job) -> str:
    """Return the name of the kind of a job; all jobs of one kind take the same time."""
    if job.experiment is None:
        return f"synthetic/{job.model}/{sum(job.counts.values())}"
    experiment = job.experiment
    facts = {k: v for k, v in shaping(experiment).items() if k.startswith(("data.size", "learner.", "training."))}
    arm = {"learner.oversample", "learner.lr", "learner.weight_decay"}
    return fingerprint({k: v for k, v in facts.items() if k not in arm})


def _seconds(job: Job, cost: Cost | None) -> float:
    if job.experiment is None:
        return OVERHEAD_S + sum(job.counts.values()) / DRAWN_A_SECOND
    assert cost is not None
    training = job.experiment.training
    if job.experiment.learner.fit_once:
        return OVERHEAD_S + cost.validation
    steps, validations = -(-training.images // training.batch_size), training.images // training.validate_every + 1
    return OVERHEAD_S + steps * cost.step + validations * cost.validation


def _bytes(job: Job, cost: Cost | None, plan: Plan) -> int:
    if job.experiment is None:
        bands = len(plan.store.manifest.wavelengths_nm)
        return int(sum(job.counts.values()) * plan.grid.size**2 * bands * 4 * COMPRESSED)
    if job.stage in ("cell", "judge"):
        return 20_000  # it keeps only its predictions, or its result
    assert cost is not None
    return 2 * cost.checkpoint
