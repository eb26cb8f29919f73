"""Streaming of a train role on Ray: the readers of its shards, and the data that every trial keeps in memory.

A reader is an actor that holds one CPU from before the first trial until the end. So the trials cannot take the CPUs on
which the reading that they wait for depends. A trial requests shards one by one and uses them, without a copy, in Ray's
object store. Ray Data would read with tasks that compete with the trials for CPUs, and would start anew for every epoch
(tests/bench/stream.py).
"""

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray
import torch
from numpy.typing import NDArray
from ray.exceptions import GetTimeoutError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from torch import Tensor

from hyperderm.cluster.feed_choice import cube_bytes
from hyperderm.cluster.memory import RAM_SHARE, mib
from hyperderm.cluster.session import Cluster, connected, trials_at_once
from hyperderm.config import Experiment
from hyperderm.errors import ClusterError, ConfigError, HyperdermError, StoreError
from hyperderm.learners.data import CubeSet, Streamed, TrainData
from hyperderm.learners.randomness import generator
from hyperderm.learners.scaling import Scaling
from hyperderm.store.location import locate
from hyperderm.store.reader import Store, open_store
from hyperderm.training.data import cube_set
from hyperderm.training.inputs import NONE, RunInputs
from hyperderm.training.selection import Selection

if TYPE_CHECKING:
    from ray import ObjectRef

CPUS_PER_READER = 8
"""Number of CPUs of a node for each reader; a node that reads has at least one reader, which keeps one CPU."""
PATIENCE_S = 60.0
"""Seconds to wait for the CPUs of the readers."""
HELD = 0.8
"""Largest share of the object store that trials may hold; the rest is for shards that are being read."""


@dataclass(frozen=True)
class Shard:
    """A part of a store, restricted to one role.

    Attributes:
        path: path of the part in its store.
        lesion_ids: the lesions of the role in this part, in the order of the part.
        synthetic: whether the part belongs to the synthetic store.
    """

    path: str
    lesion_ids: tuple[str, ...]
    synthetic: bool = False


@dataclass(frozen=True)
class StreamedData:
    """The data that all trials of a sweep share if the train role is streamed.

    Attributes:
        readers: node id and actor of each reader.
        shards: the shards of the train role, then those of the synthetic store.
        lesion_ids: (N,) ids of the lesions of the train role.
        diagnoses: (N,) diagnoses of these lesions.
        sample: cubes of the train role that are held in memory, in Ray's object store.
        validation: the cubes of the validation role, in Ray's object store.
        scaling: the scaling that is fitted to the whole train role.
        wavelengths_nm: (B,) wavelengths of the bands in nm.
        size: height and width in pixels with which cubes are read.
        window: number of shards that are shuffled together.
        at_most: the largest number of trials whose windows fit the object stores and whose copies fit the RAM.
        inputs: reference to `TrainData.inputs`.
        extra: lesion id to diagnosis of the synthetic cubes, which are streamed too, in the order of their rows.
        mixing: whether the object stores have room for the windows of mixed sampling.
        each: bytes of RAM that each worker reserves through Ray; always 0.
    """

    readers: tuple[tuple[str, Any], ...]
    shards: tuple[Shard, ...]
    lesion_ids: tuple[str, ...]
    diagnoses: tuple[str, ...]
    sample: "_Held"
    validation: "_Held"
    scaling: Scaling
    wavelengths_nm: tuple[float, ...]
    size: int
    window: int
    at_most: int
    inputs: "ObjectRef[Mapping[str, Any]]"
    extra: Mapping[str, str] = field(default_factory=dict)
    mixing: bool = False
    each: int = 0

    def for_trials(self, cluster: Cluster) -> Cluster:
        """Return the part of the cluster that trials may use, which is all except the CPUs of the readers."""
        return without_readers(cluster, [node for node, _ in self.readers])

    def close(self) -> None:
        """Stop the readers, which frees their CPUs; a trial that still runs fails."""
        for _, actor in self.readers:
            ray.kill(actor)

    def load(self, experiment: Experiment) -> TrainData:
        """Return the training data of a trial of `experiment`; cubes are not copied.

        Raises:
            ConfigError: the experiment has another size of cubes, another scaling or another kind of sampling than the one
                for which the stream was prepared.
        """
        if experiment.data.size != self.size or experiment.data.scaling_percentiles is not None:
            raise ConfigError(
                "data.size and data.scaling cannot be searched while train is streamed: scaling and sample are made once",
                "Take them out of the search space, or use --set data.feed=memory.",
            )
        if experiment.learner.mixing is not None and not self.mixing:
            raise ConfigError(
                "learner.mixed_share cannot be searched while train is streamed, unless the experiment sets one: nobody "
                "kept room for two streams",
                "Set one, take it out of the search space, or use --set data.feed=memory.",
            )
        real = {name: row for row, name in enumerate(self.lesion_ids)}
        synthetic = {name: row for row, name in enumerate(self.extra, len(real))}
        rows = tuple(tuple((synthetic if s.synthetic else real)[name] for name in s.lesion_ids) for s in self.shards)
        diagnoses = tuple(self.extra.values())
        streamed = Streamed(self.lesion_ids, self.diagnoses, rows, self.window, self._begin(), diagnoses)
        held = self.sample.get(), self.validation.get()
        made = TrainData(*held, self.wavelengths_nm, self.scaling, streamed=streamed)
        return made.given(ray.get(self.inputs), experiment.learner.scaled_as)

    def _begin(self) -> Callable[[int], Callable[[], Tensor]]:
        here = ray.get_runtime_context().get_node_id()
        near = [actor for node, actor in self.readers if node == here] or [actor for _, actor in self.readers]

        def begin(number: int) -> Callable[[], Tensor]:
            shard = self.shards[number]
            asked = near[number % len(near)].cubes.remote(shard)
            return lambda: as_tensor(reader_result(asked))

        return begin


@dataclass(frozen=True)
class _Held:
    """A `CubeSet` whose arrays lie in Ray's object store."""

    lesion_ids: tuple[str, ...]
    diagnoses: tuple[str, ...]
    reflectance: "ObjectRef[NDArray[np.float32]]"
    masks: "ObjectRef[NDArray[np.bool_]]"

    def get(self) -> CubeSet:
        x, masks = ray.get([self.reflectance, self.masks])
        return CubeSet(self.lesion_ids, self.diagnoses, as_tensor(x), as_tensor(masks))


@ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=3)
class Reader:
    """An actor that reads parts of a store, and of a synthetic store, on a CPU of its own.

    Args:
        store: the store of the real lesions.
        extra: the synthetic store; None if there is none.
        size: height and width in pixels with which cubes are read.
    """

    def __init__(self, store: Store, extra: Store | None, size: int) -> None:
        torch.set_num_threads(1)
        self._store, self._extra, self._size = store, extra, size

    def ready(self) -> bool:
        """Return True; Ray delivers the answer as soon as the actor runs."""
        return True

    def cubes(self, shard: Shard) -> NDArray[np.float32]:
        """Return the reflectance of the shard's cubes, (n, B, size, size) float32, in the order of the part.

        Raises:
            StoreError: the part cannot be read.
        """
        store = self._extra if shard.synthetic else self._store
        assert store is not None
        return self._set(_rows(store, shard.path), shard.lesion_ids).reflectance.numpy()

    def survey(self, path: str, train: Sequence[str], others: Sequence[str]) -> "Survey":
        """Return the extremes of the lesions `train`, and the cubes and masks of the lesions `others`, of one part.

        Raises:
            StoreError: the part cannot be read.
        """
        rows, low, high = _rows(self._store, path), None, None
        if train:
            x = self._set(rows, train).reflectance
            low, high = x.amin((0, 2, 3)), x.amax((0, 2, 3))
        held = self._set(rows, others) if others else None
        found = ((), None, None) if held is None else (held.lesion_ids, held.reflectance.numpy(), held.masks.numpy())
        return Survey(low, high, *found)

    def _set(self, rows: pa.Table, lesion_ids: Sequence[str]) -> CubeSet:
        kept = rows.filter(pc.is_in(rows["lesion_id"], pa.array(lesion_ids, pa.string())))
        return cube_set(kept, self._size)


def _rows(store: Store, path: str) -> pa.Table:
    try:
        return store.location.read_table(path)
    except (OSError, pa.ArrowException) as error:
        where = f"{store.location.uri}: part {path} cannot be read"
        made = "generate it" if store.manifest.source.get("verb") == "generate" else "ingest"
        raise StoreError(f"{where}: {str(error).splitlines()[0]}", f"Restore it, or {made} again.") from error


@dataclass(frozen=True)
class Survey:
    """The result of `Reader.survey` for one part.

    Attributes:
        low: (B,) smallest reflectance of the train cubes in each band; None if the part holds no train cubes.
        high: (B,) largest reflectance, likewise.
        lesion_ids: (n,) ids of the cubes that stay in memory.
        reflectance: (n, B, size, size) float32 reflectance of these cubes; None if there are none.
        masks: (n, size, size) bool masks of these cubes; None if there are none.
    """

    low: Tensor | None
    high: Tensor | None
    lesion_ids: tuple[str, ...]
    reflectance: NDArray[np.float32] | None
    masks: NDArray[np.bool_] | None


def prepare_stream(
    store: Store, selection: Selection, experiment: Experiment, alone: bool = False, inputs: RunInputs = NONE
) -> StreamedData:
    """Start the readers, read all parts once, and return the data that the trials share.

    The scaling is fitted to every cube of the train role. The sample is drawn once and does not depend on the seed of a run.
    Only the index of a synthetic store is read here.

    Args:
        store: the store that holds both roles.
        selection: the lesions of the roles.
        experiment: the configuration, which sets the sizes of cubes, windows and sample, and the resources of a trial.
        alone: whether this process trains, so that training takes no resources of the cluster.
        inputs: the inputs of the run.

    Raises:
        ClusterError: there is no CPU for the readers, or the windows do not fit the object store; StoreError: a part cannot
            be read.
    """
    train, validation = set(selection.train), set(selection.validation)
    parts, names = _indexed(store, train | validation)
    shards = [Shard(p.path, tuple(n for n in p.lesion_ids if n in train)) for p in parts]
    shards = [shard for shard in shards if shard.lesion_ids]
    extra = _beside(experiment) if selection.extra else None
    more, kinds = _indexed(extra, set(selection.extra)) if extra else ([], {})
    shards += [replace(shard, synthetic=True) for shard in more]
    order = torch.randperm(len(selection.train), generator=generator(0, "stream/sample", 0))
    sampled = tuple(sorted(selection.train[row] for row in order[: experiment.data.sample].tolist()))
    at_most = _room(store, experiment, shards, len(sampled), len(validation))
    readers = start_readers(store, extra, experiment, alone)
    scaling, held = _survey(parts, train, (sampled, selection.validation), readers, store, experiment)
    sample, scored = (_hold(ids, names, *cubes) for ids, cubes in zip((sampled, selection.validation), held, strict=True))
    return StreamedData(
        readers,
        tuple(shards),
        selection.train,
        tuple(names[lesion] for lesion in selection.train),
        sample,
        scored,
        scaling,
        store.manifest.wavelengths_nm,
        experiment.data.size,
        experiment.data.window,
        at_most,
        ray.put(inputs.states),
        {name: kinds[name] for name in selection.extra},
        experiment.learner.mixing is not None,
    )


def _beside(experiment: Experiment) -> Store:
    """Open the synthetic store without a check of its hashes, because `select` has just checked them."""
    assert experiment.synthetic is not None
    return open_store(experiment.synthetic.store, verify=False)


def _indexed(store: Store, wanted: Collection[str]) -> tuple[list[Shard], dict[str, str]]:
    """Return the parts of `store` as shards of the lesions in `wanted`, and each lesion's diagnosis."""
    shards, names = list[Shard](), dict[str, str]()
    for part in store.manifest.parts:
        index = store.location.read_table(part.path, ["lesion_id", "diagnosis"])
        pairs = zip(*(index.column(c).to_pylist() for c in ("lesion_id", "diagnosis")), strict=True)
        mine = {lesion: diagnosis for lesion, diagnosis in pairs if lesion in wanted}
        if mine:
            names |= mine
            shards.append(Shard(part.path, tuple(mine)))
    return shards, names


Cubes = tuple[NDArray[np.float32], NDArray[np.bool_]]


def _survey(
    parts: Sequence[Shard],
    train: set[str],
    wanted: tuple[tuple[str, ...], tuple[str, ...]],
    readers: Sequence[tuple[str, Any]],
    store: Store,
    experiment: Experiment,
) -> tuple[Scaling, list[Cubes]]:
    """Return the scaling of train, and the cubes of each set in `wanted`; a reader gets at most two requests at a time."""
    size, bands = experiment.data.size, len(store.manifest.wavelengths_nm)
    held: list[Cubes] = [
        (np.empty((len(ids), bands, size, size), np.float32), np.empty((len(ids), size, size), np.bool_)) for ids in wanted
    ]
    place = {name: (which, row) for which, ids in enumerate(wanted) for row, name in enumerate(ids)}
    extremes = list[Tensor]()
    asked: list[Any] = []
    for number, part in enumerate(parts):
        mine = [n for n in part.lesion_ids if n in train]
        others = [n for n in part.lesion_ids if n in place]
        asked.append(readers[number % len(readers)][1].survey.remote(part.path, mine, others))
        if len(asked) == 2 * len(readers):
            _note(reader_result(asked.pop(0)), extremes, held, place)
    while asked:
        _note(reader_result(asked.pop(0)), extremes, held, place)
    return Scaling.fit(torch.stack(extremes)[:, :, None, None]), held


def _note(survey: Survey, extremes: list[Tensor], held: list[Cubes], place: dict[str, tuple[int, int]]) -> None:
    if survey.low is not None and survey.high is not None:
        extremes += [survey.low, survey.high]
    if survey.reflectance is None or survey.masks is None:
        return
    for name, cube, mask in zip(survey.lesion_ids, survey.reflectance, survey.masks, strict=True):
        which, row = place[name]
        held[which][0][row], held[which][1][row] = cube, mask


def _hold(ids: tuple[str, ...], names: dict[str, str], cubes: NDArray[np.float32], masks: NDArray[np.bool_]) -> _Held:
    return _Held(ids, tuple(names[name] for name in ids), ray.put(cubes), ray.put(masks))


def start_readers(store: Store, extra: Store | None, experiment: Experiment, alone: bool) -> tuple[tuple[str, Any], ...]:
    """Start the readers, wait until all of them run, and return the node id and the actor of each.

    Args:
        store: the store of the real lesions.
        extra: the synthetic store; None if there is none.
        experiment: the configuration, which sets the size of the cubes and the resources of a trial.
        alone: whether no CPUs have to be left for trials.

    Raises:
        ClusterError: a reader gets no CPU within `PATIENCE_S` seconds, or too few CPUs would be left for a trial.
    """
    nodes = reading_nodes(store, experiment)
    everything = Cluster(tuple((n["Resources"].get("CPU", 0.0), n["Resources"].get("GPU", 0.0)) for n in _alive()), "")
    sweep = experiment.sweep
    try:
        if not alone:
            trials_at_once(
                without_readers(everything, nodes),
                sweep.workers_per_trial,
                sweep.cpus_per_worker,
                sweep.gpus_per_worker,
                None,
            )
    except ClusterError as error:
        kept = f"{len(nodes)} CPU{'s' * (len(nodes) > 1)} kept for reading"
        raise ClusterError(f"{error.what}, {kept} of a streamed train role not counted", error.remedy) from None
    made: Any = Reader  # Ray's wrapper has no types
    pinned = [NodeAffinitySchedulingStrategy(node, soft=False) for node in nodes]
    actors = [made.options(scheduling_strategy=where).remote(store, extra, experiment.data.size) for where in pinned]
    try:
        ray.get([actor.ready.remote() for actor in actors], timeout=PATIENCE_S)
    except GetTimeoutError:
        for actor in actors:
            ray.kill(actor)
        raise ClusterError(
            f"no CPU came free for reading within {PATIENCE_S:.0f} s: a streamed train role keeps {len(actors)}",
            "Wait for what else runs on the cluster, or use a larger one.",
        ) from None
    return tuple(zip(nodes, actors, strict=True))


def reading_nodes(store: Store, experiment: Experiment) -> list[str]:
    """Return the node id of each reader.

    A node has one reader for every `CPUS_PER_READER` CPUs, but at least one. A store on a disk is read only by this node.
    """
    here = ray.get_runtime_context().get_node_id()
    beside = experiment.synthetic
    local = store.location.local or (beside is not None and locate(beside.store).local)
    seeing = [node for node in _alive() if node["NodeID"] == here or not local]
    counted = [(str(node["NodeID"]), int(node["Resources"].get("CPU", 0))) for node in seeing]
    return [node for node, cpus in counted for _ in range(max(1, cpus // CPUS_PER_READER)) if cpus]


def reader_cpus(store: Store, cluster: Cluster) -> int:
    """Return how many CPUs readers of `store` would keep on `cluster`; only its first node reads a store on a disk."""
    nodes = cluster.nodes[:1] if store.location.local else cluster.nodes
    return sum(max(1, int(cpus) // CPUS_PER_READER) for cpus, _ in nodes if cpus)


def without_readers(cluster: Cluster, readers: Sequence[str]) -> Cluster:
    """Return `cluster` without the CPUs of its readers; `readers` holds the node id of each."""
    taken = [list(readers).count(node["NodeID"]) for node in _alive()]
    nodes = zip(cluster.nodes, taken, strict=True)
    return replace(cluster, nodes=tuple((max(cpus - kept, 0.0), gpus) for (cpus, gpus), kept in nodes))


def _alive() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _room(store: Store, experiment: Experiment, shards: Sequence[Shard], sample: int, validation: int) -> int:
    """Return how many trials fit the memory of the connected cluster at a time.

    The object stores must hold the windows of the trials, the sample and the validation role. Workers use all of these
    without a copy. The RAM must hold the copies that a worker does make: the cubes of a step (`StreamFeed.gather`) and, for
    a while, the cubes that validation computes.

    Raises:
        ClusterError: not even one trial fits; the message names the settings to lower.
    """
    data, workers, cluster = experiment.data, experiment.sweep.workers_per_trial, connected()
    h, w, bands = store.manifest.shape
    cube = cube_bytes(store) * data.size**2 / (h * w)
    held = (sample + validation) * cube
    mixes = experiment.learner.mixing is not None
    streams = [[s for s in shards if s.synthetic is kind] for kind in (False, True)] if mixes else [shards]
    sizes = [sorted((len(shard.lesion_ids) for shard in stream), reverse=True) for stream in streams]
    windows = 2 * sum(sum(largest[: data.window]) for largest in sizes) * cube
    capacities = [HELD * (memory.store or 0) for memory in cluster.memory]
    may = mib(sum(capacities))
    fits = sum(int(max(capacity - held, 0.0) / windows) for capacity in capacities) // workers
    if fits < 1:
        whose = "each of the two streams of a trial" if mixes else "a trial"
        raise ClusterError(
            f"data.window = {data.window} and data.sample = {data.sample} do not fit the object store: two windows of "
            f"{whose} take {mib(workers * windows)}, sample and validation {mib(held)}, and {may} may be used",
            "Lower them, or data.size, with --set; or start Ray with a larger object store.",
        )
    shown = 2 * experiment.training.batch_size * cube
    copies = experiment.learner.scoring_bytes(data.size**2, bands, sample, validation) + shown
    ram = [RAM_SHARE * memory.ram for memory in cluster.memory if memory.ram is not None]
    if len(ram) < len(cluster.memory):
        return fits
    by_ram = sum(int(each / copies) for each in ram) // workers
    if by_ram < 1:
        raise ClusterError(
            f"data.sample = {data.sample} and {validation} cubes of validation do not fit the RAM: a worker takes "
            f"{mib(copies)} to score with them, and {mib(sum(ram))} may be used",
            "Lower data.sample or data.size with --set; or use nodes with more memory.",
        )
    return min(fits, by_ram)


def reader_result(reference: Any) -> Any:  # noqa: ANN401 - each method of a reader has its own type
    """Wait for the result of a reader and return it.

    Raises:
        HyperdermError: the error that the reader raised; RayTaskError: the reader raised another error.
    """
    try:
        return ray.get(reference)
    except RayTaskError as error:
        cause = error.cause
        raise (cause if isinstance(cause, HyperdermError) else error) from None


def as_tensor(array: NDArray[Any]) -> Tensor:
    """Return a tensor that shares the memory of `array`; it must not be written to, because Ray's memory is read-only."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)
