"""Trials as Tune runs them: one worker trains inside the Tune actor, several in a Ray Train group launched from it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import ray
import torch
from ray import tune

from hyperderm.cluster.feed_choice import Feeding, choose
from hyperderm.cluster.session import Cluster
from hyperderm.cluster.shared_store import fetch, materialise
from hyperderm.cluster.stream_readers import StreamedData, stream
from hyperderm.config import Experiment
from hyperderm.errors import (
    ClusterError,
    ConfigError,
    DiskFull,
    FileTrouble,
    HyperdermError,
    MachineTrouble,
    NonFiniteLoss,
    StoreError,
)
from hyperderm.learners.data import TrainData
from hyperderm.store.location import Location
from hyperderm.store.reader import Store
from hyperderm.store.run_location import placed
from hyperderm.strict import parse
from hyperderm.training.context import Context, local
from hyperderm.training.data import train_data
from hyperderm.training.inputs import NONE, RunInputs
from hyperderm.training.loop import Report
from hyperderm.training.run import run
from hyperderm.training.selection import Selection, extra_store, keep_samples
from hyperderm.trouble import AGAIN, own_of, trouble_of

OTHERS = 0.15
"""Share of a GPU's memory that others hold where a trial that does not fit is not to blame; a CUDA context takes some."""


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


Shared = SharedData | StreamedData


def share(
    store: Store,
    selection: Selection,
    experiment: Experiment,
    feeding: Feeding | None = None,
    inputs: RunInputs = NONE,
) -> Shared:
    """Read what the trials of `experiment` need once into Ray's object store, or make ready to stream it.

    Args:
        store: of the roles.
        selection: the roles.
        experiment: whose settings choose the feed.
        feeding: what `choose` said; None: it is asked here.
        inputs: of the run.

    Raises:
        ConfigError: what must be streamed and cannot be; ClusterError: no CPU or memory for that.
    """
    feeding = feeding or choose(store, selection, experiment)
    if feeding.streams:
        return stream(store, selection, experiment, inputs=inputs)
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


def config_of(number: int, experiment: Experiment, folder: str, provenance: Mapping[str, str]) -> dict[str, Any]:
    """Return what travels to a trial, as data; how S3 is spoken to does not: Tune and Train keep and show configurations.

    Args:
        number: of the trial.
        experiment: its whole configuration.
        folder: address of the place for its files.
        provenance: goes into its checkpoints.
    """
    return {
        "number": number,
        "experiment": experiment.model_dump(mode="json"),
        "folder": folder,
        "provenance": dict(provenance),
    }


def tell(report: Report, images: int) -> dict[str, Any]:
    """Return a report as Tune carries it; what it says of the objective stands in the report."""
    return {
        "images": report.images,
        "report": dict(report.metrics),
        "note": report.note,
        "failure": "",
        "done": report.images >= images,
    }


def failure(error: HyperdermError) -> dict[str, Any]:
    """Return the end of a trial that cannot succeed, however often it is repeated; `refused` is what the user can mend."""
    refused = not isinstance(error, NonFiniteLoss)
    return {"images": -1, "report": {}, "failure": str(error), "refused": refused, "done": True}


def ended(error: Exception) -> dict[str, Any]:
    """Return the end of a trial that met `error`: a failure, which is its own and final, or trouble, which leaves it open.

    Raises:
        MachineTrouble: trouble that may be over when Ray repeats the trial; Exception: what nobody foresaw, as it was.
    """
    told = _of_gpu(error) or trouble_of(error) or own_of(error)
    if told is None:
        raise error
    if isinstance(told, (StoreError, ClusterError)) and not isinstance(told, MachineTrouble):
        why = trouble_of(told.__cause__) if told.__cause__ else None
        told = (DiskFull if isinstance(why, DiskFull) else FileTrouble)(told.what, told.remedy)
    if not isinstance(told, MachineTrouble):
        return failure(told)
    if told.passing:
        raise told from error
    return {"images": -1, "report": {}, "failure": "", "trouble": told, "done": True}


def _of_gpu(error: Exception) -> HyperdermError | None:
    """Tell a GPU without memory: where others hold some of it that is the machine's doing, else the configuration's."""
    if not isinstance(error, torch.cuda.OutOfMemoryError):
        return None
    free, total = torch.cuda.mem_get_info()
    others = total - free - torch.cuda.memory_reserved()
    held = f"the GPU's memory is full ({total / 2**30:.0f} GiB, of which others hold {others / 2**30:.1f})"
    if others > OTHERS * total:
        return MachineTrouble(held, f"Let fewer share it (--set sweep.gpus_per_worker=1, a grid's resources.gpus); {AGAIN}")
    return ConfigError(f"{held}: this configuration does not fit it", "Lower training.batch_size, data.size or the widths.")


class InProcessTrial(tune.Trainable):
    """A one-worker trial: the loop runs in this actor, which the next trial takes over."""

    def setup(
        self,
        config: dict[str, Any],
        shared: Shared | None = None,
        threads: int = 1,
        bucket: Location | None = None,
    ) -> None:
        """Begin a trial; called once an actor."""
        torch.set_num_threads(threads)
        self._shared, self._bucket = shared, bucket
        self._data: tuple[object, TrainData] | None = None
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin the next trial in the same process."""
        self._folder = placed(new_config["folder"], self._bucket)
        self._experiment = parse(Experiment, new_config["experiment"])
        self._provenance = new_config["provenance"]
        self._reports: Iterator[Report] | None = None
        return True

    def step(self) -> dict[str, Any]:
        """Train to the next report."""
        try:
            self._reports = self._reports or self._begin()
            report = next(self._reports)
            keep_samples(report, self._folder)
        except Exception as error:
            return ended(error)  # or raised: Tune tries again, from the checkpoint
        return tell(report, self._experiment.training.images)

    def _begin(self) -> Iterator[Report]:
        context: Context = local(self._folder, self._provenance)
        data, learner = self._experiment.data, self._experiment.learner
        asked = data.size, data.scaling_percentiles, learner.scaled_as
        if self._data is None or self._data[0] != asked:
            assert self._shared is not None
            self._data = None  # gone before the next is read, not after
            self._data = (asked, self._shared.load(self._experiment))
        return run(self._experiment, self._data[1], context)
