"""How long a grid takes and what it stores, from step times measured on this machine and from jobs done before."""

import heapq
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter

import torch

from hyperderm.cluster.session import Cluster
from hyperderm.config import Experiment
from hyperderm.identity import shaping
from hyperderm.learners.base import Placement
from hyperderm.learners.data import CubeSet, TrainData
from hyperderm.learners.scaling import Scaling
from hyperderm.store.manifest import Manifest
from hyperderm.strict import fingerprint
from hyperderm.studies.ablation.job import Job
from hyperderm.studies.ablation.plan import Plan
from hyperderm.studies.ablation.results import GridFolder, result_of
from hyperderm.studies.ablation.room import room
from hyperderm.training.feed import Feed
from hyperderm.training.stream import pixelwise

STEPS = 4
"""Measured after one that is not counted."""
OVERHEAD_S = 1.5
"""Of a job: reading its data, calibrating, predicting, writing."""
DRAWN_A_SECOND = 40.0
"""Synthetic cubes drawn and audited in a second, before any set of the grid was made."""
COMPRESSED = 0.75
"""Stored bytes of a byte of cube (DESIGN, Store)."""


@dataclass(frozen=True)
class Cost:
    """Of one kind of training.

    Attributes:
        step: seconds.
        validation: seconds.
        checkpoint: bytes.
    """

    step: float
    validation: float
    checkpoint: int


@dataclass(frozen=True)
class Estimate:
    """What a plan costs.

    Attributes:
        seconds: key of a job to its time.
        bytes: key of a job to what it leaves on disk.
        done: keys of finished jobs.
    """

    seconds: Mapping[str, float]
    bytes: Mapping[str, int]
    done: frozenset[str]

    def wall(self, jobs: Sequence[Job], places: "Mapping[float, int] | int") -> float:
        """Return the seconds until the jobs not done are, started in order as places and their needs allow.

        Args:
            jobs: of the plan.
            places: number of GPUs that a job takes to how many such jobs run side by side, or one number for all.
        """
        ready = dict.fromkeys(self.done, 0.0)
        count = places if isinstance(places, int) else max(places.values())
        everywhere = [0.0] * count
        alike = {} if isinstance(places, int) else {gpus: [0.0] * held for gpus, held in places.items()}
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
        """Return the seconds of the jobs not done, one after the other."""
        return sum(self.seconds[job.key] for job in jobs if job.key not in self.done)


REPORT_S, REPORT_EACH_S = 120.0, 3.0
"""Of the report: in all, and for each arm of a model (2,000 resamples)."""


def report_s(plan: Plan) -> float:
    """Return the seconds kept free for the report of `plan`."""
    return REPORT_S + REPORT_EACH_S * len(plan.arms) * len(plan.grid.models)


def slots(plan: Plan, cluster: Cluster) -> dict[float, int]:
    """Return, for each number of GPUs that jobs take, how many such jobs run side by side on `cluster`.

    Raises:
        ClusterError: a job that does not fit.
    """
    return dict(room(plan, cluster).places)


Measure = Callable[[Job, Manifest, int], Cost]


def estimate(plan: Plan, grid: GridFolder, measure: "Measure | None" = None) -> Estimate:
    """Measure a few steps of every kind of training in the plan that no finished job of the grid tells of.

    Args:
        plan: the grid.
        grid: where it keeps things.
        measure: as `measure_here`, which is the default, wherever the jobs will run.
    """
    measure = measure or measure_here
    results = {job.key: result for job in plan.jobs if (result := result_of(grid, job))}
    known: dict[str, list[float]] = {}
    for job in plan.jobs:
        if job.key in results:
            known.setdefault(_kind(job), []).append(float(results[job.key]["seconds"]))
    costs: dict[str, Cost] = {}
    seconds, sizes = {}, {}
    for job in plan.jobs:
        kind = _kind(job)
        if job.experiment is not None and kind not in costs and not (kind in known and job.stage == "cell"):
            roles = plan.selections[job.fold]
            cost = measure(job, plan.store.manifest, len(roles.train))
            costs[kind] = _validated(cost, job.experiment, len(roles.validation))
        if kind in known:
            seconds[job.key] = sum(known[kind]) / len(known[kind])
        else:
            seconds[job.key] = _seconds(job, costs.get(kind))
        sizes[job.key] = _bytes(job, costs.get(kind), plan)
    return Estimate(seconds, sizes, frozenset(results))


def measure_here(job: Job, manifest: Manifest, train: int) -> Cost:
    """Return what a step, a validation and a checkpoint cost here, on cubes of noise in the experiment's shape."""
    experiment = job.experiment
    assert experiment is not None
    if experiment.learner.fit_once:
        return Cost(0.0, 0.004 * train, 2_000)
    size, bands = experiment.data.size, len(manifest.wavelengths_nm)
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
        learner = bare.learner.build(bare, data, Placement(device, bf16=device.type == "cuda"))
        held = data.scaling.forward(noise).to(device)
        batch, labels, masks = experiment.training.batch_size, data.labels, data.drawn_masks
        feed = Feed(held, batch, 0, pixelwise=pixelwise(experiment, device), labels=labels, masks=masks)
        times = []
        for step in range(STEPS + 1):
            began = perf_counter()
            float(next(iter(learner.step(feed.batch(step * experiment.training.batch_size)).values())))
            times.append(perf_counter() - began)
        began = perf_counter()
        learner.validate()
        validation = perf_counter() - began
    finally:
        torch.set_num_threads(threads)
    written = io.BytesIO()
    torch.save(learner.state_dict(), written)
    return Cost(sum(times[1:]) / STEPS, validation, written.tell())


def _validated(cost: Cost, experiment: Experiment, cubes: int) -> Cost:
    """Return the cost with validation on all cubes of its role, not on the few measured; generators draw their own."""
    if experiment.learner.role == "generator":
        return cost
    return replace(cost, validation=cost.validation * max(1.0, cubes / _measured(experiment)))


def _measured(experiment: Experiment) -> int:
    return max(16, experiment.training.batch_size)


def _kind(job: Job) -> str:
    """Jobs of one kind take the same time."""
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
    if job.stage == "cell":
        return 20_000  # it keeps its predictions alone
    assert cost is not None
    return 2 * cost.checkpoint
