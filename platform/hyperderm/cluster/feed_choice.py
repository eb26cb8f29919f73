"""Decide whether the roles of a run are held in memory or its train role is streamed, and how many trials fit.

`cluster.memory` counts the memory that a run needs. With `data.feed=auto` a run uses at most the shares of memory that are
named there. With `data.feed=memory` a run is refused only if not even one trial fits the whole memory. This module does not
use Ray.
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
    """The choice between a streamed feed and a feed from memory, with the limits that memory sets.

    Attributes:
        streams: True if the train role is streamed, False if all roles are held in memory.
        needed: bytes of the decoded roles.
        why: what does not fit into memory, which is why the data are streamed; "" if the user asked for a stream, or if the
            data are held in memory.
        at_most: the largest number of simultaneous trials that memory allows; None: memory does not limit it.
        each: bytes of RAM that each worker requests from Ray, so that no node gets more trials than fit; 0: no request.
        limit: the sentence that is printed if memory allows fewer trials than wanted; otherwise "".
        what: the beginning of the sentence that is printed about a stream: the data that are streamed, and the verb.
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
        """Return the text that is printed about a stream whose readers keep `cpus` CPUs."""
        why = self.why or "data.feed = stream"
        return f"{self.what} streamed: {why}; {cpus} CPU{'s' * (cpus > 1)} kept for reading"


def choose_feed(
    store: Store,
    selection: Selection,
    experiment: Experiment,
    cluster: Cluster | None = None,
    alone: bool = False,
) -> FeedChoice:
    """Choose the feed of the trials of `experiment`.

    Args:
        store: the store that holds the roles.
        selection: the lesions of the roles.
        experiment: the configuration with `data.feed`, the learner and the resources of a trial. If a search varies the size
            of the cubes, this is the configuration with the largest size.
        cluster: the cluster on which the trials run; None: the connected cluster, or this machine if there is no connection.
        alone: whether there is only one run, which trains in this process and reads its roles itself.

    Raises:
        ConfigError: the train role must be streamed but cannot be, or must be held in memory but does not fit.
    """
    cluster = cluster or connected()
    gpu = local_gpu() if alone else experiment.sweep.gpus_per_worker > 0
    cluster = with_gpu_memory(cluster) if gpu else cluster
    roles = roles_of(store, selection, experiment)
    needs, asked = needs_of(roles, experiment, gpu, by_ray=not alone), Demand.by(experiment)
    if alone:
        cluster, asked = _machine(cluster), Demand(1, 1.0, float(gpu), 1)
    if experiment.data.feed == "memory":
        found = fit(cluster, replace(needs, store=0), asked)  # a full object store only slows trials down
        return _held(roles.decoded, needs, found, fit(cluster, needs, asked, whole=True), experiment)
    # A run without Ray has no object store. As in earlier versions, its limit is the store that it would have.
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
        return _limited(FeedChoice(False, decoded), replace(found, fits=max(1, found.fits)), needs)  # one may fit
    try:
        check_streams(experiment)
        other = f"Use --set data.feed=stream, {LESS}, or give the machine more memory"
    except ConfigError:  # the train role cannot be streamed either
        other = f"{LESS.capitalize()}, or give the machine more memory"
    raise ConfigError(f"data.feed = memory does not fit one trial at a time: {whole.why}", other)


def _limited(feed_choice: FeedChoice, found: Fit, needs: Needs) -> FeedChoice:
    if found.fits >= found.wanted:
        return feed_choice
    trials = f"{found.fits} trial{'s run' if found.fits > 1 else ' runs'} at a time, not {found.wanted}"
    return replace(feed_choice, at_most=found.fits, each=needs.ram if found.packs else 0, limit=f"{trials}: {found.why}")


def _machine(cluster: Cluster) -> Cluster:
    """Return `cluster` with all RAM of this machine for one process, because no object store takes a part of it."""
    return replace(cluster, memory=tuple(replace(each, ram=machine_ram()) if each.here else each for each in cluster.memory))


def cube_bytes(store: Store) -> int:
    """Return the bytes of one decoded cube with its mask, in the height and width of the store."""
    return row_bytes(*store.manifest.shape)
