"""The data that the trials of a study read by reference: blocks in Ray's object store, or readers that stream."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import ray

from hyperderm.cluster.feed_choice import FeedChoice, choose_feed
from hyperderm.cluster.session import Cluster
from hyperderm.cluster.shared_store import SharedStore, fetch, held_store, materialise
from hyperderm.cluster.stream_readers import StreamedData, prepare_stream
from hyperderm.config import Experiment
from hyperderm.learners.data import TrainData
from hyperderm.store.reader import Store
from hyperderm.training.data import train_data
from hyperderm.training.inputs import NONE, RunInputs
from hyperderm.training.selection import Selection, extra_store, read


@dataclass(frozen=True)
class SharedData:
    """The data that every trial of a sweep reads by reference: Arrow blocks in Ray's object store.

    Attributes:
        blocks: the rows of both roles.
        extra: the rows of the synthetic set, empty without one.
        selection: the lesions of the roles.
        wavelengths_nm: (B,) wavelengths of the bands.
        inputs: the contents of the input checkpoints.
        at_most: largest number of simultaneous trials whose copies fit the memory; None: memory does not limit it.
        each: bytes of RAM that a trial of one worker requests from Ray; trials of several workers are limited only by
            `at_most`.
    """

    blocks: tuple["ray.ObjectRef[pa.Table]", ...]
    extra: tuple["ray.ObjectRef[pa.Table]", ...]
    selection: Selection
    wavelengths_nm: tuple[float, ...]
    inputs: "ray.ObjectRef[Mapping[str, Any]]"
    at_most: int | None = None
    each: int = 0

    def for_trials(self, cluster: Cluster) -> Cluster:
        """Return the part of the cluster that trials may use, which is all of it."""
        return cluster

    def close(self) -> None:
        """Do nothing: only memory is held."""

    def load(self, experiment: Experiment) -> TrainData:
        """Fetch the blocks (zero-copy) and turn them into the training data of `experiment`."""
        train, validation = fetch(self.blocks, self.selection.train), fetch(self.blocks, self.selection.validation)
        extra = fetch(self.extra, self.selection.extra) if self.extra else None
        data = experiment.data
        how = data.size, extra, data.scaling_percentiles, self.selection.fold_free
        made = train_data(train, validation, self.wavelengths_nm, *how)
        return made.given(ray.get(self.inputs), experiment.learner.scaled_as)


@dataclass(frozen=True)
class LocalData:
    """The data that a run of one worker reads by itself, without sharing it with other runs."""

    store: Store
    selection: Selection
    inputs: RunInputs

    def close(self) -> None:
        """Do nothing: nothing is held."""

    def load(self, experiment: Experiment) -> TrainData:
        """Read both roles and, if there is one, the synthetic set."""
        return read(self.store, self.selection, experiment, self.inputs.states)


Shared = SharedData | StreamedData
"""The data that the trials of a sweep share."""
Readable = Shared | LocalData
"""The data from which a run is fed."""


def for_job(store: Store, selection: Selection, experiment: Experiment, inputs: RunInputs = NONE) -> Readable:
    """Return the data of one job of a grid, prepared by the process that performs the job.

    Args:
        store: the store of the real lesions, in Ray's object store or not.
        selection: the lesions of the roles.
        experiment: the job's run; train is streamed if its `data.feed` is "stream", and it sets the number of workers.
        inputs: the inputs of the run.

    Raises:
        ConfigError: the data must be streamed but cannot be; ClusterError: there is no CPU or memory for streaming.
    """
    if experiment.data.feed == "stream":
        return prepare_stream(store, selection, experiment, inputs=inputs)
    if experiment.sweep.workers_per_trial == 1:
        return LocalData(store, selection, inputs)
    roles = [*selection.train, *selection.validation]
    held = store if isinstance(store, SharedStore) else held_store(store, roles)
    return share(held, selection, experiment, FeedChoice(False, 0), inputs)


def share(
    store: Store,
    selection: Selection,
    experiment: Experiment,
    feed_choice: FeedChoice | None = None,
    inputs: RunInputs = NONE,
) -> Shared:
    """Read the data of the trials of `experiment` once into Ray's object store, or prepare to stream it.

    Args:
        store: the store that holds the roles.
        selection: the lesions of the roles.
        experiment: the run whose settings choose the feed.
        feed_choice: the result of `choose_feed`; None: `choose_feed` is called here.
        inputs: the inputs of the run.

    Raises:
        ConfigError: the data must be streamed but cannot be; ClusterError: there is no CPU or memory for streaming.
    """
    feed_choice = feed_choice or choose_feed(store, selection, experiment)
    if feed_choice.streams:
        return prepare_stream(store, selection, experiment, inputs=inputs)
    if isinstance(store, SharedStore):  # its rows are in the object store already, and a trial has no CPU for reading tasks
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
        feed_choice.at_most,
        feed_choice.each,
    )
