"""How many jobs of a grid memory takes at a time: each reads its roles in a process of its own, beside the whole store."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from hyperderm.cluster.memory import STORE_SHARE, Asked, Fit, Needs, Roles, fit, needs_of, row_bytes, with_gpu_memory
from hyperderm.cluster.session import Cluster, described, trials_at_once
from hyperderm.cluster.stream_readers import reader_cpus
from hyperderm.config import Experiment
from hyperderm.errors import ClusterError, ConfigError
from hyperderm.store.manifest import Role
from hyperderm.store.reader import open_store
from hyperderm.studies.ablation.job import Job
from hyperderm.studies.ablation.plan import Plan
from hyperderm.training.stream import check_streams

Counts = Mapping[tuple[Role, str], int]
"""Role and diagnosis to cubes."""


@dataclass(frozen=True)
class Room:
    """What a cluster takes of a grid.

    Attributes:
        places: number of GPUs that jobs take to how many such jobs run side by side.
        each: bytes of RAM that each job asks Ray for, so that no node gets more than fit; 0: nothing is limited.
        said: what is printed where memory takes fewer than would run; "" where it takes all.
        shares: the whole store lies in the object store of each node; else each job reads what it needs.
    """

    places: Mapping[float, int]
    each: int = 0
    said: str = ""
    shares: bool = True


def with_feeds(plan: Plan, cluster: Cluster, known: Mapping[str, str]) -> Plan:
    """Return `plan` with how each of its jobs that train is fed.

    Args:
        plan: the grid.
        cluster: whose memory decides where the configuration does not.
        known: how jobs were fed before; a job that began one way goes on that way, on whatever cluster.

    Raises:
        ConfigError: a job that must be streamed and cannot be.
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
    """Return whether a job's roles fit memory, beside the whole store; also where they must, since nothing streams them."""
    try:
        check_streams(experiment)
    except ConfigError:
        return True
    needs = replace(needs_of(roles, experiment, job.gpus > 0), store=_decoded(plan))
    return not cluster.memory or not fit(cluster, needs, Asked(job.workers, plan.grid.resources.cpus, job.gpus, 1)).short


def _decoded(plan: Plan) -> int:
    return plan.store.manifest.lesions * row_bytes(*plan.store.manifest.shape)


def room(plan: Plan, cluster: Cluster) -> Room:
    """Return how many jobs of `plan` run side by side on `cluster`.

    All are counted as the one that takes most; a synthetic set takes less than the generator that makes it took.

    Raises:
        ClusterError: a job that does not fit.
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
        return Room(fits, shares=bool(needs))
    shares = not streams or _decoded(plan) <= STORE_SHARE * min(m.store or 0 for m in cluster.memory)
    store = _decoded(plan) if shares else max(n.store for n in needs)
    most = Needs(store, max(n.ram for n in needs), max(n.held for n in needs), max(n.gpu for n in needs))
    found: dict[float, Fit] = {}
    for gpus in fits:
        wanted = Asked(workers[gpus], asked.cpus, gpus, asked.concurrent)
        never = fit(cluster, most, wanted, whole=True)
        if never.short:
            remedy = "Lower the grid's size (--set size=…), take fewer diagnoses, or give the machine more memory"
            raise ClusterError(f"a job does not fit the memory: {_of_jobs(never.why)}", remedy)
        found[gpus] = fit(cluster, replace(most, store=0), wanted)
    less = [each for each in found.values() if each.fits < each.wanted]
    places = {gpus: min(count, max(1, found[gpus].fits)) for gpus, count in fits.items()}
    if not less or places == fits:
        return Room(fits, shares=shares)
    at_once, wanted_at_once = max(places.values()), max(fits.values())
    said = f"{at_once} job{'s run' if at_once > 1 else ' runs'} at a time, not {wanted_at_once}: {_of_jobs(less[0].why)}"
    return Room(places, most.ram if any(each.packs for each in less) else 0, said, shares)


def _beside_readers(plan: Plan, cluster: Cluster, workers: int, count: int) -> int:
    """Return how many jobs run side by side where each may keep CPUs for reading, which its workers do not use."""
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
    """Return the jobs that train, with what they read."""
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
