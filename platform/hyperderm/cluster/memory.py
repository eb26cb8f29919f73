"""Estimate the memory that the cubes of a run take in each place, and how many trials fit a cluster at a time.

A trial that holds its roles in memory stores them three times: decoded in Ray's object store (once on each node that runs
trials), as the tensors of `training.data.cube_set` in every worker, and scaled on the device that trains. Some moments
need more memory. Networks, optimizers and the results of a step are not counted, because their size is not known in advance.
This module does not use Ray.
"""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from hyperderm.cluster.session import START_S, Cluster, Memory, on_each_node, places_of
from hyperderm.config import Experiment
from hyperderm.learners.spec import DOUBLE, FLOAT
from hyperderm.store.reader import AT_ONCE as PARTS_AT_ONCE
from hyperderm.store.reader import Store
from hyperderm.training.selection import Selection, extra_store

STORE_SHARE = 0.6
"""Largest share of the object store that the roles may take; while they are read, whole parts lie there beside them."""
RAM_SHARE = 0.8
"""Largest share of a node's RAM that cubes may take; the rest is for the interpreters, networks and batches of workers."""
GPU_SHARE = 0.8
"""Largest share of a GPU's memory that cubes may take; the rest is for networks and a CUDA context (0.5 GiB a process)."""


@dataclass(frozen=True)
class Needs:
    """The memory that the cubes of a run take, in bytes.

    Attributes:
        store: bytes of the decoded roles in the object store of each node that runs trials.
        ram: largest number of bytes of RAM that a worker process needs at any moment.
        held: bytes of RAM that a worker process holds while it trains.
        gpu: bytes of memory on the GPU of each worker; 0 on a CPU.
    """

    store: int
    ram: int
    held: int
    gpu: int


@dataclass(frozen=True)
class Roles:
    """The numbers of cubes that a run reads, and their sizes.

    Attributes:
        train: number of cubes of the train role.
        validation: number of cubes of the validation role.
        extra: number of synthetic cubes.
        shape: (H, W, B) of the cubes of the store.
        extra_shape: (H, W) of the cubes of the synthetic store.
        part: number of cubes in the largest part of the store.
        test: number of cubes that the run predicts after training; 0 if it predicts none.
    """

    train: int
    validation: int
    extra: int
    shape: tuple[int, int, int]
    extra_shape: tuple[int, int]
    part: int = 0
    test: int = 0

    @property
    def decoded(self) -> int:
        """The bytes of the decoded cubes of all roles with their masks, in the sizes of their stores."""
        return (self.train + self.validation) * self.row + self.extra * row_bytes(*self.extra_shape, self.shape[2])

    @property
    def row(self) -> int:
        """The bytes of one decoded cube of the store with its mask."""
        return row_bytes(*self.shape)


def row_bytes(height: int, width: int, bands: int) -> int:
    """Return the bytes of a decoded cube (float32) with its mask (one byte for each pixel)."""
    return height * width * (bands * FLOAT + 1)


def roles_of(store: Store, selection: Selection, experiment: Experiment) -> Roles:
    """Return the numbers and sizes of the cubes that a run of `experiment` reads from `store`."""
    shape = store.manifest.shape
    beside = extra_store(experiment, verify=False).manifest.shape if selection.extra else shape
    counts = len(selection.train), len(selection.validation), len(selection.extra)
    return Roles(*counts, shape, beside[:2], max((part.rows for part in store.manifest.parts), default=0))


def needs_of(roles: Roles, experiment: Experiment, gpu: bool, by_ray: bool = True) -> Needs:
    """Return the memory that a run needs if its roles are held in memory.

    Args:
        roles: the cubes that the run reads.
        experiment: the configuration, which sets the size of the cubes in training, the scaling and the learner.
        gpu: whether the run trains on a GPU.
        by_ray: True if the run fetches its roles from Ray's object store, False if it reads the store itself.
    """
    found = moments(roles, experiment, gpu, by_ray)
    scaled = _scaled(roles, experiment) if gpu and not experiment.learner.fit_once else 0
    return Needs(roles.decoded if by_ray else 0, max(found.values()), found["hold"], scaled)


def moments(roles: Roles, experiment: Experiment, gpu: bool, by_ray: bool = True) -> dict[str, int]:
    """Return the bytes of RAM that the cubes of one worker take at each moment that may need the most.

    The moments are:
        read: rows are turned into tensors; the rows of a block that holds other roles too are copied.
        score: the reference of a generator (train in float64) or the scaled validation role of a classifier is made.
        feed: the scaled copy of the train role is made.
        hold: the run trains.
        test: a cell of a grid predicts its test role.

    The arguments are those of `needs_of`.
    """
    size, bands, learner = experiment.data.size, roles.shape[2], experiment.learner
    cube, mask, drawn = size**2 * bands * FLOAT, size**2, roles.train + roles.extra
    sets = (roles.train + roles.validation + roles.extra) * (cube + mask)
    if by_ray:
        rows = (roles.train + roles.validation) * roles.row  # synthetic cubes lie in separate blocks, which are not copied
    else:
        rows = roles.decoded + (PARTS_AT_ONCE + 1) * roles.part * roles.row
    sorted_band = roles.train * mask * DOUBLE if experiment.data.scaling == "robust" else 0
    scaled, joined = _scaled(roles, experiment), drawn * cube if roles.extra else 0
    pixelwise = learner.pixelwise and not gpu
    kept = sets + (0 if gpu else scaled) + (drawn * mask if roles.extra else 0)
    if learner.fit_once:
        kept, feeding = sets, sets + joined + scaled  # the cubes are gathered once and then released
    else:
        feeding = kept + max(joined, scaled if pixelwise else 0) + (scaled if gpu else 0)
    return {
        "read": max(rows + sets, sets + sorted_band),
        "score": kept + learner.scoring_bytes(size**2, bands, roles.train, roles.validation),
        "feed": feeding,
        "hold": kept,
        "test": kept + roles.test * (roles.row + 2 * cube + mask),
    }


def _scaled(roles: Roles, experiment: Experiment) -> int:
    """Return the bytes of the scaled cubes that training may draw."""
    return (roles.train + roles.extra) * experiment.data.size**2 * roles.shape[2] * FLOAT


@dataclass(frozen=True)
class Fit:
    """The number of trials that fit memory at a time.

    Attributes:
        wanted: number of trials that would run at a time if memory were unlimited, at least 1.
        fits: number of trials that memory allows, 0 to `wanted`.
        why: what needs too much memory, if fewer trials fit than are wanted; otherwise "".
        short: the place into which not even one trial fits: "store", "ram" or "gpu"; "" if one trial fits.
        packs: whether trials must reserve RAM through Ray, so that no node receives too many of them.
    """

    wanted: int
    fits: int
    why: str = ""
    short: str = ""
    packs: bool = False


@dataclass(frozen=True)
class Demand:
    """The resources that trials request from a cluster.

    Attributes:
        workers: number of workers of one trial.
        cpus: number of CPUs of each worker.
        gpus: number of GPUs of each worker; may be a fraction.
        trials: largest number of trials at a time; None: no limit.
    """

    workers: int
    cpus: float
    gpus: float
    trials: int | None = None

    @classmethod
    def by(cls, experiment: Experiment) -> "Demand":
        """Return the resources that the trials of a sweep request."""
        sweep = experiment.sweep
        most = min(sweep.trials, sweep.concurrent or sweep.trials)
        return cls(sweep.workers_per_trial, sweep.cpus_per_worker, sweep.gpus_per_worker, most)


def fit(cluster: Cluster, needs: Needs, asked: Demand, whole: bool = False) -> Fit:
    """Return how many trials fit `cluster` at a time. Memory whose size is unknown sets no limit.

    Args:
        cluster: the nodes and their memory.
        needs: the memory that a trial needs.
        asked: the other resources that a trial needs.
        whole: True to let cubes take all memory, False to let them take the shares defined in this module. A trial that does
            not fit all memory can never run.
    """
    places = places_of(cluster, asked.cpus, asked.gpus)
    memory = [m for m, count in zip(cluster.memory, places, strict=True) if count] if cluster.memory else []
    wanted = max(1, min(sum(places) // asked.workers, asked.trials or sum(places)))
    store, ram, gpu = (1.0, 1.0, 1.0) if whole else (STORE_SHARE, RAM_SHARE, GPU_SHARE)
    least = _least([m.store for m in memory])
    if least is not None and needs.store > store * least:
        return Fit(wanted, 0, f"the roles are {mib(needs.store)} decoded, the object store holds {mib(least)}", "store")
    by_ram = _by_ram(cluster, places, needs, ram)
    if by_ram < asked.workers:
        return Fit(wanted, 0, _ram_said(needs, memory, asked.workers, ram), "ram")
    smallest = _least([m.gpu for m in memory]) if asked.gpus else None
    sharing = int(gpu * smallest / needs.gpu) if smallest is not None and needs.gpu else None
    if sharing == 0:
        return Fit(wanted, 0, f"the scaled cubes of a trial are {mib(needs.gpu)}, a GPU holds {mib(smallest or 0)}", "gpu")
    found = Fit(wanted, min(wanted, by_ram // asked.workers))
    if found.fits < wanted:
        packs = len(memory) > 1 and all(m.ram is not None for m in memory)
        found = replace(found, why=_ram_said(needs, memory, asked.workers, ram), packs=packs)
    if sharing is not None and asked.gpus < 1 and sharing < int(1 / asked.gpus + 1e-9) and sharing < found.fits:
        # Ray fills one GPU before it uses the next, so all these trials might share the first GPU.
        each = f"the scaled cubes of a trial are {mib(needs.gpu)}, and cubes may take {mib(gpu * (smallest or 0))} of a GPU"
        found = replace(
            found, fits=sharing, why=f"{each} (1 / {sharing} of a GPU each would use all GPUs: sweep.gpus_per_worker)"
        )
    return found


def _by_ram(cluster: Cluster, places: Sequence[int], needs: Needs, share: float) -> int:
    """Return how many workers fit the RAM of the nodes."""
    memory = cluster.memory or (Memory(),) * len(places)
    pairs = zip(memory, places, strict=True)
    return sum(count if m.ram is None else min(count, int(share * m.ram / needs.ram)) for m, count in pairs)


def _ram_said(needs: Needs, memory: Sequence[Memory], workers: int, share: float) -> str:
    known = [m.ram for m in memory if m.ram is not None]
    whose = "a trial" if workers == 1 else f"each of a trial's {workers} workers"
    there = f"cubes may take {mib(share * sum(known))}" if share < 1 else f"there are {mib(sum(known))}"
    where = "" if len(known) == 1 else f" on {len(known)} nodes together"
    return f"{whose} takes {mib(needs.ram)} of RAM for its cubes, and {there}{where}"


def _least(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return min(known, default=None)


def with_gpu_memory(cluster: Cluster) -> Cluster:
    """Return `cluster` with the memory of its GPUs, which `nvidia-smi` reports here or in a worker on every node."""
    if not cluster.gpus or not cluster.memory or any(m.gpu for m in cluster.memory):
        return cluster
    if len(cluster.nodes) == 1 and cluster.memory[0].here:
        return replace(cluster, memory=(replace(cluster.memory[0], gpu=gpu_bytes()),))
    found = on_each_node(gpu_bytes, START_S)
    return replace(cluster, memory=tuple(replace(m, gpu=found.get(m.address)) for m in cluster.memory))


def gpu_bytes() -> int | None:
    """Return the memory of this machine's smallest GPU in bytes; None if `nvidia-smi` does not report it.

    No CUDA context is created.
    """
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        told: Any = subprocess.run(command, capture_output=True, text=True, timeout=START_S, check=True).stdout  # noqa: S603
        return min(int(line) for line in told.split()) * 2**20
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def mib(count: float) -> str:
    """Return a number of bytes as text, in GiB or MiB."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
