"""The feed of a train role that does not fit into memory. It is read in shards and shuffled window by window.

An epoch visits all shards in a random order. A window consists of `window` shards, and its entries are shuffled together.
The cube at every position depends only on the seed and on the number of images shown, so a resumed run needs no saved state.
Two windows are in memory at a time: the window that is shown, and the next one, which is read meanwhile. The sources of
conditional generators come from the shown window too, shuffled separately. Independent windows for them would double the
amount of data that is read and held.

Synthetic cubes lie in the shards of a store of their own. Each phase visits the shards that hold its entries. The second
stream of mixed sampling has its own windows, which are held in addition to those of the first stream.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from math import inf
from typing import Any

import torch
from torch import Tensor

from hyperderm.config import Experiment
from hyperderm.errors import ConfigError, MachineTrouble
from hyperderm.learners.base import Batch
from hyperderm.learners.data import Streamed, TrainData
from hyperderm.learners.randomness import generator
from hyperderm.learners.sampling import phases
from hyperderm.learners.scaling import Coordinates
from hyperderm.training.context import Context
from hyperderm.training.feed import Feed, MemoryFeed, Part
from hyperderm.trouble import AGAIN

Window = tuple[float, tuple[int, ...]]
"""A window: the number of images that its stream shows before it, and the numbers of its shards."""


def feed_of(experiment: Experiment, data: TrainData, context: Context) -> Feed:
    """Return the feed of a run, which streams the train role if `data.streamed` is given and else holds it in memory.

    Raises:
        ConfigError: see `Feed` and `check_gpu`; MachineTrouble: see `check_gpu`.
    """
    how: dict[str, Any] = {
        "batch_size": experiment.training.batch_size,
        "seed": experiment.seed,
        "rank": context.rank,
        "world_size": context.world_size,
        "flips": experiment.data.flips,
        "phases": phases(experiment.learner, experiment, data),
        "labels": data.labels,
        "parts": context.parts,
    }
    if data.streamed is None:
        check_gpu(data, context.device)
        held = data.coordinates.forward(data.drawn).to(context.device)
        return MemoryFeed(held, pixelwise=pixelwise(experiment, context.device), masks=data.drawn_masks, **how)
    return StreamFeed(data.streamed, data.coordinates, device=context.device, **how)


def check_gpu(data: TrainData, device: torch.device) -> None:
    """Check, before the scaled train cubes are made, that the GPU has enough free memory for them.

    Args:
        data: the data of the run; its train role is in memory.
        device: the device that trains; nothing is checked for a CPU.

    Raises:
        ConfigError: the cubes would not even fit into an empty GPU; MachineTrouble: other processes hold the memory that
            the cubes need.
    """
    if device.type != "cuda":
        return
    cubes = data.train.reflectance
    needed = data.rows * cubes[:1].numel() * cubes.element_size()
    free, total = torch.cuda.mem_get_info(device)
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # reserved here, unused
    if needed <= free:
        return
    mine = torch.cuda.memory_allocated(device)
    gib = 2**30
    said = (
        f"the {data.rows} scaled train cubes take {needed / gib:.2f} GiB of GPU memory, and {free / gib:.2f} of "
        f"{total / gib:.2f} GiB are free"
    )
    if needed <= total - mine:
        raise MachineTrouble(said, f"Let fewer share it (--set sweep.gpus_per_worker=1, a grid's resources.gpus); {AGAIN}")
    raise ConfigError(
        said, "Lower data.size, learn fewer data.diagnoses, use --set data.feed=stream, or a GPU with more memory."
    )


def pixelwise(experiment: Experiment, device: torch.device) -> bool:
    """Return whether the learner of `experiment` runs faster if the bands of a pixel lie side by side; see `MemoryFeed`."""
    return device.type == "cpu" and experiment.learner.pixelwise


def check_streams(experiment: Experiment) -> None:
    """Refuse to stream the train role of an experiment that needs all its cubes at once.

    Raises:
        ConfigError: the learner or the scaling cannot be streamed; the message names the setting and the remedy.
    """
    data, remedy = experiment.data, "give the machine more memory, or use --set data.feed=memory"
    if not experiment.learner.streams:
        raise ConfigError(
            f"learner.kind = {experiment.learner.kind} cannot be fed by a stream: it is fitted to all of train at once",
            remedy.capitalize(),
        )
    if data.photographs is not None:
        raise ConfigError("data.photographs cannot be fed by a stream: they are unmixed at once", remedy.capitalize())
    if data.scaling == "robust":
        raise ConfigError(
            "data.scaling = robust cannot be fed by a stream: percentiles need all of train at once",
            f"Use --set data.scaling=range, {remedy}",
        )


class Windows:
    """The windows of one stream of entries, in an unlimited number of epochs.

    Args:
        entries: (E,) int64, the rows of the stream; E is at least 1.
        shard: (rows,) int64, for each row the number of its shard, 0 … shards − 1.
        shards: number of shards.
        window: number of shards that are shuffled together, at least 1.
        seed: the seed on which all draws depend.
    """

    def __init__(self, entries: Tensor, shard: Tensor, shards: int, window: int, seed: int) -> None:
        self.count, self.window, self.seed = len(entries), window, seed
        lies = shard[entries]
        sizes = torch.bincount(lies, minlength=shards).tolist()
        self.shown = entries[torch.argsort(lies, stable=True)].split(sizes)  # the entries in each shard
        self.of = lru_cache(maxsize=4)(self._of)

    def order(self, key: str, epoch: int) -> Tensor:
        """Return the entries of one epoch, (E,) int64, shuffled within each window.

        `key` names the stream of random numbers, and `epoch` counts from 0.
        """
        parts = []
        for number, (_, shards) in enumerate(self.of(epoch)):
            inside = torch.cat([self.shown[shard] for shard in shards])
            draw = generator(self.seed, f"{key}/window-{number}", epoch)
            parts.append(inside[torch.randperm(len(inside), generator=draw)])
        return torch.cat(parts)

    def since(self, image: int) -> Iterator[Window]:
        """Yield, without end, the window that shows image number `image` of the stream, and all windows after it."""
        epoch = image // self.count
        while True:
            windows = self.of(epoch)
            ends = [begin for begin, _ in windows[1:]] + [inf]
            for (begin, shards), end in zip(windows, ends, strict=True):
                if end > image - epoch * self.count:
                    yield epoch * self.count + begin, shards
            epoch += 1

    def _of(self, epoch: int) -> list[Window]:
        """Return the windows of one epoch; the first begins at image 0 of the epoch."""
        draw = generator(self.seed, "order/shards", epoch)
        order = [s for s in torch.randperm(len(self.shown), generator=draw).tolist() if len(self.shown[s])]
        found, begin = list[Window](), 0
        for at in range(0, len(order), self.window):
            shards = tuple(order[at : at + self.window])
            found.append((begin, shards))
            begin += sum(len(self.shown[shard]) for shard in shards)
        return found


class StreamFeed(Feed):
    """A feed of a streamed train role, and of the synthetic cubes that are streamed with it.

    Args:
        streamed: the shards of both.
        coordinates: the map that is applied to the reflectance.
        batch_size: see `Feed`.
        seed: see `Feed`.
        device: the device that trains; None: the CPU.
        how: further arguments of `Feed`.

    Raises:
        ConfigError: see `Feed`.
    """

    def __init__(
        self,
        streamed: Streamed,
        coordinates: Coordinates,
        batch_size: int,
        seed: int,
        *,
        device: torch.device | None = None,
        **how: Any,  # noqa: ANN401 - arguments of Feed
    ) -> None:
        count = len(streamed.lesion_ids) + len(streamed.extra)
        super().__init__(count, batch_size, seed, **how)
        self.streamed, self.coordinates, self.device = streamed, coordinates, device or torch.device("cpu")
        self.shard = torch.empty(count, dtype=torch.int64)  # the shard of each row
        self.place = torch.empty_like(self.shard)  # the position of each row in its shard
        for number, rows in enumerate(streamed.shards):
            self.shard[list(rows)] = number
            self.place[list(rows)] = torch.arange(len(rows))
        parts = [(number, mixed) for number in range(len(self.phases)) for mixed in (False, True)]
        self.windows = {
            part: Windows(entries, self.shard, len(streamed.shards), streamed.window, seed)
            for part in parts
            if len(entries := self.entries_of(part))
        }
        self._waiting: dict[int, Callable[[], Tensor]] = {}
        self._held: dict[int, Tensor] = {}

    def batch(self, images: int) -> Batch:
        """Begin to read the shards of the batch after `images` real images, and return this worker's share of the batch."""
        self._want(images)
        return super().batch(images)

    def gather(self, chosen: Tensor) -> Tensor:
        """Return scaled copies of the chosen cubes, (n, B, H, W); wait for shards that are still being read."""
        cubes = [
            self._cubes_of(shard)[place]
            for shard, place in zip(self.shard[chosen].tolist(), self.place[chosen].tolist(), strict=True)
        ]
        return self.coordinates.forward(torch.stack(cubes)).to(self.device)

    def order(self, key: str, part: Part, epoch: int) -> Tensor:
        """Return the entries of `part`, (E,) int64, shuffled within each window."""
        return self.windows[part].order(key, epoch)

    def shards_of(self, images: int) -> list[int]:
        """Return the numbers of the shards that are held while the batch after `images` images is shown.

        These are the shards of the windows that the batch shows. If a stream of a phase shows only one window, the shards of
        its next window are added. If the phase ends before that window, the first windows of the next phase are added.
        """
        end, found, most = images + self.batch_size, list[int](), 0
        stops = [phase.start for phase in self.phases[1:]] + [inf]
        for number, (phase, stop) in enumerate(zip(self.phases, stops, strict=True)):
            if stop <= max(images, phase.start):  # it has ended, or a later phase replaces it
                continue
            if phase.start >= end and most > 1:
                break
            reached = [self._reached(part, images, end, stop, most) for part in self.windows if part[0] == number]
            found += [shard for windows in reached for shards in windows for shard in shards]
            most = max(most + len(windows) for windows in reached)
        return list(dict.fromkeys(found))

    def _reached(self, part: Part, images: int, end: int, stop: float, before: int) -> list[tuple[int, ...]]:
        """Return the shards of each window of `part` that the batch shows, and of the next window if it shows only one.

        Args:
            part: a stream of a phase.
            images: number of images shown before the batch.
            end: number of images shown after the batch.
            stop: number of images shown when the phase ends; infinite for the last phase.
            before: number of windows that the batch shows in earlier phases.
        """
        start, found = self.phases[part[0]].start, list[tuple[int, ...]]()
        first, last = (self._shown(part, max(at - start, 0)) for at in (images, min(end, stop)))
        limit = self._shown(part, stop - start)
        for begin, shards in self.windows[part].since(int(first)):
            if begin >= limit or (begin >= last and before + len(found) > 1):
                break
            found.append(shards)
            if begin >= last:
                break
        return found

    def _shown(self, part: Part, images: float) -> float:
        """Return how many of the first `images` images of the phase belong to `part`."""
        if images == inf:
            return inf
        mixed = self.phases[part[0]].mixed_in(int(images))
        return mixed if part[1] else int(images) - mixed

    def _want(self, images: int) -> None:
        """Begin to read the shards that the batch after `images` images needs, and release all other shards."""
        wanted = self.shards_of(images)
        for held in (self._held, self._waiting):
            for shard in set(held) - set(wanted):
                del held[shard]
        for shard in wanted:
            if shard not in self._held and shard not in self._waiting:
                self._waiting[shard] = self.streamed.begin(shard)

    def _cubes_of(self, shard: int) -> Tensor:
        if shard not in self._held:
            self._held[shard] = self._waiting.pop(shard)()
        return self._held[shard]
