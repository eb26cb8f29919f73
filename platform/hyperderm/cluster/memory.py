"""What a run allocates for its cubes, by place, and how many trials at a time a cluster's memory takes. Free of Ray.

A trial that holds its roles in memory stores them three times: decoded in Ray's object store (once on each node that runs
trials), as the tensors of `training.data.cube_set` in every worker, and scaled on the device that trains. Some moments
need more memory. Networks, optimizers and the results of a step are not counted, because their size is not known in advance.
"""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from hyperderm.cluster.session import START_S, Cluster, Memory, on_each_node, places_of
from hyperderm.config import Experiment
from hyperderm.learners.spec import DOUBLE, FLOAT
from hyperderm.store.reader import AT_ONCE as PARTS_AT_ONCE
from hyperderm.store.reader import Store, open_store
from hyperderm.training.selection import Selection

STORE_SHARE = 0.6
"""Share of the object store that held roles may take: reading holds whole parts beside them, for a while."""
RAM_SHARE = 0.8
"""Share of a node's RAM that cubes may take: the interpreters, networks and batches of its workers live in the rest."""
GPU_SHARE = 0.8
"""Share of a GPU that cubes may take: each process has a CUDA context of half a GiB, and networks must be somewhere."""


@dataclass(frozen=True)
class Needs:
    """Bytes that a run's cubes take.

    Attributes:
        store: bytes of the decoded roles in the object store of each node that runs trials.
        ram: of each worker process at its worst moment, all that it holds included.
        held: of each worker process while it trains.
        gpu: of the GPU of each worker; 0 on a CPU.
    """

    store: int
    ram: int
    held: int
    gpu: int


@dataclass(frozen=True)
class Roles:
    """How many cubes a run reads, and how large they are.

    Attributes:
        train: cubes of the role that is learnt; `validation`, `extra` and `test` likewise.
        shape: (H, W, B) of the store.
        extra_shape: (H, W) of the store that `extra` lies in.
        part: cubes of the store's largest part.
        test: cubes that the run predicts when it has ended; 0 where it predicts none.
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
        """Bytes of all roles with their masks, as the stores hold them."""
        return (self.train + self.validation) * self.row + self.extra * row_bytes(*self.extra_shape, self.shape[2])

    @property
    def row(self) -> int:
        """Bytes of one decoded cube of the store with its mask."""
        return row_bytes(*self.shape)


def row_bytes(height: int, width: int, bands: int) -> int:
    """Return the bytes of a cube with its mask of a byte a pixel: held in single precision, whatever computes."""
    return height * width * (bands * FLOAT + 1)


def roles_of(store: Store, selection: Selection, experiment: Experiment) -> Roles:
    """Return what a run of `experiment` reads of `store`."""
    shape = store.manifest.shape
    synthetic = experiment.synthetic if selection.extra else None
    beside = open_store(synthetic.store, verify=False).manifest.shape if synthetic else shape
    counts = len(selection.train), len(selection.validation), len(selection.extra)
    return Roles(*counts, shape, beside[:2], max((part.rows for part in store.manifest.parts), default=0))


def needs_of(roles: Roles, experiment: Experiment, gpu: bool, by_ray: bool = True) -> Needs:
    """Return what a run whose roles are held in memory takes.

    Args:
        roles: what it reads.
        experiment: says how large cubes are fed, and to which learner.
        gpu: it trains on one.
        by_ray: it fetches its roles from the object store; else it reads the store itself.
    """
    found = moments(roles, experiment, gpu, by_ray)
    scaled = _scaled(roles, experiment) if gpu and not experiment.learner.fit_once else 0
    return Needs(roles.decoded if by_ray else 0, max(found.values()), found["hold"], scaled)


def moments(roles: Roles, experiment: Experiment, gpu: bool, by_ray: bool = True) -> dict[str, int]:
    """Return the bytes of RAM that one worker's cubes take at each moment at which they could be most; see `needs_of`.

    read: the rows, copied where a block holds those of other roles too, and the tensors made from them. score: a generator's
    reference (train in float64) or a classifier's validation, scaled. feed: the scaled copy is made. hold: training. test:
    a cell of a grid predicts.
    """
    size, bands, learner = experiment.data.size, roles.shape[2], experiment.learner
    cube, mask, drawn = size**2 * bands * FLOAT, size**2, roles.train + roles.extra
    sets = (roles.train + roles.validation + roles.extra) * (cube + mask)
    if by_ray:
        rows = (roles.train + roles.validation) * roles.row  # extra lies in blocks of its own, which are not copied
    else:
        rows = roles.decoded + (PARTS_AT_ONCE + 1) * roles.part * roles.row
    sorted_band = roles.train * mask * DOUBLE if experiment.data.scaling == "robust" else 0
    scaled, joined = _scaled(roles, experiment), drawn * cube if roles.extra else 0
    pixelwise = learner.pixelwise and not gpu
    kept = sets + (0 if gpu else scaled) + (drawn * mask if roles.extra else 0)
    if learner.fit_once:
        kept, feeding = sets, sets + joined + scaled  # its cubes are gathered once, and let go
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
    """Return the bytes of what is drawn, scaled."""
    return (roles.train + roles.extra) * experiment.data.size**2 * roles.shape[2] * FLOAT


@dataclass(frozen=True)
class Fit:
    """How many trials memory takes at a time.

    Attributes:
        wanted: number of trials that would run at a time without a memory limit.
        fits: how many of them memory allows.
        why: what needs too much memory, and the remedy, if fewer fit than are wanted.
        short: the place that does not even take one trial: "store", "ram" or "gpu"; "" where one fits.
        packs: whether trials must reserve RAM through Ray, so that no node receives too many of them.
    """

    wanted: int
    fits: int
    why: str = ""
    short: str = ""
    packs: bool = False


@dataclass(frozen=True)
class Demand:
    """What trials ask of a cluster: workers of one, what each takes, and how many trials there are at most at a time."""

    workers: int
    cpus: float
    gpus: float
    trials: int | None = None

    @classmethod
    def by(cls, experiment: Experiment) -> "Demand":
        """Return what the trials of a sweep ask."""
        sweep = experiment.sweep
        most = min(sweep.trials, sweep.concurrent or sweep.trials)
        return cls(sweep.workers_per_trial, sweep.cpus_per_worker, sweep.gpus_per_worker, most)


def fit(cluster: Cluster, needs: Needs, asked: Demand, whole: bool = False) -> Fit:
    """Return how many trials of `needs` run at a time on `cluster`; memory that nobody knows limits nothing.

    Args:
        cluster: its nodes and their memory.
        needs: of a run.
        asked: what a trial takes beside.
        whole: count all the memory there is, not the share that cubes should take: what does not fit that never runs.
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
        # Ray gives a GPU away before it begins the next one: so many trials might all share the first.
        each = f"the scaled cubes of a trial are {mib(needs.gpu)}, and cubes may take {mib(gpu * (smallest or 0))} of a GPU"
        found = replace(
            found, fits=sharing, why=f"{each} (1 / {sharing} of a GPU each would use all GPUs: sweep.gpus_per_worker)"
        )
    return found


def _by_ram(cluster: Cluster, places: Sequence[int], needs: Needs, share: float) -> int:
    """Return the workers that fit the nodes' RAM."""
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
    """Return `cluster` with the memory of its GPUs, as `nvidia-smi` tells it: here, or in a worker of every node."""
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
    """Return bytes in words."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
