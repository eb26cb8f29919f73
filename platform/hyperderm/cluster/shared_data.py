"""What the trials of a study read, by reference: blocks in the object store of Ray, or readers that stream."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import ray

from hyperderm.cluster.feed_choice import FeedChoice, choose_feed
from hyperderm.cluster.session import Cluster
from hyperderm.cluster.shared_store import SharedStore, fetch, held_store, materialise
from hyperderm.cluster.stream_readers import StreamedData, stream
from hyperderm.config import Experiment
from hyperderm.learners.data import TrainData
from hyperderm.store.reader import Store
from hyperderm.training.data import train_data
from hyperderm.training.inputs import NONE, RunInputs
from hyperderm.training.selection import Selection, extra_store, read


@dataclass(frozen=True)
class SharedData:
    """What every trial of a sweep reads, by reference: Arrow blocks in Ray's object store.

    Attributes:
        at_most: trials at a time whose copies fit the memory; None: it limits nothing.
        each: bytes of RAM that a trial of one worker asks Ray for; one of several is bounded by `at_most` alone.
    """

    blocks: tuple["ray.ObjectRef[pa.Table]", ...]
    extra: tuple["ray.ObjectRef[pa.Table]", ...]
    selection: Selection
    wavelengths_nm: tuple[float, ...]
    inputs: "ray.ObjectRef[Mapping[str, Any]]"
    at_most: int | None = None
    each: int = 0

    def left(self, cluster: Cluster) -> Cluster:
        """Return what trials may use of the cluster: all of it."""
        return cluster

    def close(self) -> None:
        """Nothing but memory is held."""

    def load(self, experiment: Experiment) -> TrainData:
        """Fetch the blocks (zero-copy) and turn them into what `experiment` is given."""
        train, validation = fetch(self.blocks, self.selection.train), fetch(self.blocks, self.selection.validation)
        extra = fetch(self.extra, self.selection.extra) if self.extra else None
        data = experiment.data
        how = data.size, extra, data.scaling_percentiles, self.selection.fold_free
        made = train_data(train, validation, self.wavelengths_nm, *how)
        return made.given(ray.get(self.inputs), experiment.learner.scaled_as)


@dataclass(frozen=True)
class ReadHere:
    """What a run of one worker reads by itself, where nothing is shared with others."""

    store: Store
    selection: Selection
    inputs: RunInputs

    def close(self) -> None:
        """Nothing is held."""

    def load(self, experiment: Experiment) -> TrainData:
        """Read both roles, and the synthetic set."""
        return read(self.store, self.selection, experiment, self.inputs.states)


Shared = SharedData | StreamedData
"""What the trials of a sweep share."""
Readable = Shared | ReadHere
"""What a run is fed from."""


def for_job(store: Store, selection: Selection, experiment: Experiment, inputs: RunInputs = NONE) -> Readable:
    """Return what one job of a grid reads, made by the process that does it.

    Args:
        store: the real lesions, in Ray's object store or not.
        selection: the roles.
        experiment: whose `data.feed` is "stream" where train is streamed, and which says how many workers train.
        inputs: of the run.

    Raises:
        ConfigError: what must be streamed and cannot be; ClusterError: no CPU or memory for that.
    """
    if experiment.data.feed == "stream":
        return stream(store, selection, experiment, inputs=inputs)
    if experiment.sweep.workers_per_trial == 1:
        return ReadHere(store, selection, inputs)
    roles = [*selection.train, *selection.validation]
    held = store if isinstance(store, SharedStore) else held_store(store, roles)
    return share(held, selection, experiment, FeedChoice(False, 0), inputs)


def share(
    store: Store,
    selection: Selection,
    experiment: Experiment,
    feeding: FeedChoice | None = None,
    inputs: RunInputs = NONE,
) -> Shared:
    """Read what the trials of `experiment` need once into Ray's object store, or make ready to stream it.

    Args:
        store: of the roles.
        selection: the roles.
        experiment: whose settings choose the feed.
        feeding: what `choose_feed` said; None: it is asked here.
        inputs: of the run.

    Raises:
        ConfigError: what must be streamed and cannot be; ClusterError: no CPU or memory for that.
    """
    feeding = feeding or choose_feed(store, selection, experiment)
    if feeding.streams:
        return stream(store, selection, experiment, inputs=inputs)
    if isinstance(store, SharedStore):  # its rows are there already; a trial that asks has no CPU left for reading tasks
        blocks = list(store.blocks)
        extra = [ray.put(extra_store(experiment).read(selection.extra))] if selection.extra else []
    else:
        blocks = materialise(store, [*selection.train, *selection.validation])
        extra = materialise(extra_store(experiment), selection.extra) if selection.extra else []
    return SharedData(
        tuple(blocks),
        tuple(extra),
        selection,
        store.manifest.wavelengths_nm,
        ray.put(inputs.states),
        feeding.at_most,
        feeding.each,
    )
