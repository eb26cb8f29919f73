"""Whether a run's roles fit the memory that is shared between trials, or train is streamed. Free of Ray."""

import os
from dataclasses import dataclass

import numpy as np

from hyperderm.config import Experiment
from hyperderm.errors import ConfigError
from hyperderm.store.reader import Store
from hyperderm.studies.selection import Selection
from hyperderm.training.stream import check_streams

MARGIN = 0.6
"""Share of the object store that held roles may take: reading holds whole parts beside them, for a while."""
RAY_TAKES = 0.3
"""Of a machine's memory, Ray's object store by default."""


@dataclass(frozen=True)
class Feeding:
    """How a run is fed.

    Attributes:
        streams: shard by shard, or from memory.
        needed: bytes of the decoded roles.
        capacity: bytes of the object store; 0 where it was not asked for.
    """

    streams: bool
    needed: int
    capacity: int

    @property
    def mode(self) -> str:
        """For tags."""
        return "stream" if self.streams else "memory"

    def said(self, cpus: int) -> str:
        """Return what is printed of a stream for which `cpus` are kept."""
        why = f"the roles are {mib(self.needed)} decoded, the object store holds {mib(self.capacity)}"
        return f"train is streamed: {why}; {cpus} CPU{'s' * (cpus > 1)} kept for reading"


def choose(store: Store, selection: Selection, experiment: Experiment, capacity: int | None = None) -> Feeding:
    """Return how `experiment` is fed.

    Args:
        store: of the roles.
        selection: the roles.
        experiment: `data.feed` and what is learnt.
        capacity: bytes of the object store; None: the connected cluster's.

    Raises:
        ConfigError: it must be streamed and cannot be.
    """
    lesions = len(selection.train) + len(selection.validation) + len(selection.extra)
    needed, asked = lesions * cube_bytes(store), experiment.data.feed
    if asked == "memory":
        return Feeding(False, needed, 0)
    capacity = object_store() if capacity is None else capacity
    if asked == "auto" and needed <= MARGIN * capacity:
        return Feeding(False, needed, capacity)
    try:
        if selection.fold_free:
            raise ConfigError("a store without folds cannot be streamed", "Use --set data.feed=memory.")
        check_streams(experiment)
    except ConfigError as error:
        if asked == "stream":
            raise
        why = f"the roles are {mib(needed)} decoded, the object store holds {mib(capacity)}, so they would be streamed"
        raise ConfigError(f"{why}; but {error.what}", error.remedy) from None
    return Feeding(True, needed, capacity)


def cube_bytes(store: Store) -> int:
    """Return the bytes of one decoded cube with its mask, at the store's size."""
    h, w, bands = store.manifest.shape
    return h * w * (bands * np.dtype(np.float32).itemsize + 1)


def object_store() -> int:
    """Return the bytes of the connected cluster's object store; of the one a Ray of this machine would have without any."""
    import ray

    if ray.is_initialized():
        return int(ray.cluster_resources().get("object_store_memory", 0))
    return int(RAY_TAKES * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def mib(count: float) -> str:
    """Return bytes in words."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
