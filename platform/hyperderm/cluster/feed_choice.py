"""Decide whether the roles of a run are held in memory or the train role is streamed, and how many trials fit. Free of Ray.

`cluster.memory` counts the memory that a run needs. With `data.feed=auto` a run uses at most the shares of memory that are
named there. With `data.feed=memory` a run is refused only if not even one trial fits the whole memory.
"""

from dataclasses import dataclass, replace
from typing import Literal

from hyperderm.cluster.memory import (
    Demand,
    Fit,
    Needs,
    fit,
    needs_of,
    roles_of,
    row_bytes,
    with_gpu_memory,
)
from hyperderm.cluster.session import Cluster, connected, local_gpu, machine_ram
from hyperderm.config import Experiment
from hyperderm.errors import ConfigError
from hyperderm.store.reader import Store
from hyperderm.training.selection import Selection
from hyperderm.training.stream import check_streams

LESS = "lower data.size, learn fewer data.diagnoses"


@dataclass(frozen=True)
class FeedChoice:
    """How a run is fed.

    Attributes:
        streams: shard by shard, or from memory.
        needed: bytes of the decoded roles.
        why: why the data are streamed, namely what does not fit; "" if the user asked for a stream.
        at_most: the largest number of simultaneous trials that memory allows; None: memory does not limit it.
        each: bytes of RAM that each worker asks Ray for, so that no node gets more trials than fit; 0: nothing is limited.
        limit: what is printed of a limit; "" without.
        what: is streamed, in words.
    """

    streams: bool
    needed: int
    why: str = ""
    at_most: int | None = None
    each: int = 0
    limit: str = ""
    what: str = "train is"

    @property
    def mode(self) -> Literal["memory", "stream"]:
        """Return the feed as the tag `hyperderm.feed` names it."""
        return "stream" if self.streams else "memory"

    def said(self, cpus: int) -> str:
        """Return what is printed of a stream for which `cpus` are kept."""
        why = self.why or "data.feed = stream"
        return f"{self.what} streamed: {why}; {cpus} CPU{'s' * (cpus > 1)} kept for reading"


def choose_feed(
    store: Store,
    selection: Selection,
    experiment: Experiment,
    capacity: int | None = None,
    cluster: Cluster | None = None,
    alone: bool = False,
) -> FeedChoice:
    """Return how `experiment` is fed.

    Args:
        store: the store that holds the roles.
        selection: the lesions of the roles.
        experiment: `data.feed`, what is learnt, and what a trial takes; where sizes are searched, of the largest.
        capacity: bytes of the object store of every node; None: the cluster's.
        cluster: where trials run; None: the connected one, without any this machine.
        alone: one run, which trains in this process and reads its roles itself.

    Raises:
        ConfigError: train must be streamed but the learner cannot stream, or must be held but does not fit.
    """
    cluster = _given(cluster or connected(), capacity)
    gpu = local_gpu() if alone else experiment.sweep.gpus_per_worker > 0
    cluster = with_gpu_memory(cluster) if gpu else cluster
    roles = roles_of(store, selection, experiment)
    needs, asked = needs_of(roles, experiment, gpu, by_ray=not alone), Demand.by(experiment)
    if alone:
        cluster, asked = _machine(cluster), Demand(1, 1.0, float(gpu), 1)
    if experiment.data.feed == "memory":
        found = fit(cluster, replace(needs, store=0), asked)  # what an object store hardly holds slows, and kills nobody
        return _held(roles.decoded, needs, found, fit(cluster, needs, asked, whole=True), experiment)
    # A run alone has no object store: what it may hold was always measured by the one it would have.
    found = fit(cluster, replace(needs, store=roles.decoded), asked)
    if experiment.data.feed == "auto" and not found.short:
        return _limited(FeedChoice(False, roles.decoded), found, needs)
    try:
        if selection.fold_free:
            raise ConfigError("a store without folds cannot be streamed", "Use --set data.feed=memory.")
        check_streams(experiment)
    except ConfigError as error:
        if experiment.data.feed == "stream":
            raise
        never = fit(cluster, needs, asked, whole=True).short
        remedy = f"Give the machine more memory, {LESS}" if never else error.remedy
        raise ConfigError(f"{found.why}, so they would be streamed; but {error.what}", remedy) from None
    what = "train and the synthetic cubes are" if selection.extra else "train is"
    return FeedChoice(True, roles.decoded, found.why if found.short else "", what=what)


def _held(decoded: int, needs: Needs, found: Fit, whole: Fit, experiment: Experiment) -> FeedChoice:
    if not whole.short:
        return _limited(FeedChoice(False, decoded), replace(found, fits=max(1, found.fits)), needs)  # one may just fit
    try:
        check_streams(experiment)
        other = f"Use --set data.feed=stream, {LESS}, or give the machine more memory"
    except ConfigError:  # it cannot be streamed either
        other = f"{LESS.capitalize()}, or give the machine more memory"
    raise ConfigError(f"data.feed = memory does not fit one trial at a time: {whole.why}", other)


def _limited(feeding: FeedChoice, found: Fit, needs: Needs) -> FeedChoice:
    if found.fits >= found.wanted:
        return feeding
    trials = f"{found.fits} trial{'s run' if found.fits > 1 else ' runs'} at a time, not {found.wanted}"
    return replace(feeding, at_most=found.fits, each=needs.ram if found.packs else 0, limit=f"{trials}: {found.why}")


def _given(cluster: Cluster, capacity: int | None) -> Cluster:
    """Return `cluster` with an object store of `capacity` bytes on every node."""
    if capacity is None:
        return cluster
    return replace(cluster, memory=tuple(replace(each, store=capacity) for each in cluster.memory))


def _machine(cluster: Cluster) -> Cluster:
    """Return this machine as one process has it: its RAM is not shared with an object store."""
    return replace(cluster, memory=tuple(replace(each, ram=machine_ram()) if each.here else each for each in cluster.memory))


def cube_bytes(store: Store) -> int:
    """Return the bytes of one decoded cube with its mask, at the store's size."""
    return row_bytes(*store.manifest.shape)
