"""The feed of a train role larger than memory: shards in an order keyed on (seed, epoch), shuffled window by window.

An epoch goes through all shards, `window` of them at a time; a window's entries are shuffled together. Which cube comes at
which place is computed from (seed, images shown) alone, so resuming needs no state. Two windows are in memory at a time:
the one that is shown, and the next, which is read meanwhile. The sources of conditional generators come from the window
that is shown, in a shuffle of their own: independent windows would double what is read and held.

Synthetic cubes lie in shards of their own store. Each phase goes through the shards that hold its entries; the second stream
of mixed sampling has windows beside those of the first.
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
from hyperderm.learners.scaling import Scaling
from hyperderm.training.context import Context
from hyperderm.training.feed import Feed, KeyedFeed, Part
from hyperderm.trouble import AGAIN

Window = tuple[float, tuple[int, ...]]
"""At which of the images of its stream it begins, and its shards."""


def feed_of(experiment: Experiment, data: TrainData, context: Context) -> KeyedFeed:
    """Return the feed of a run: from memory, or streamed where its data says so."""
    how: dict[str, Any] = {
        "batch_size": experiment.training.batch_size,
        "seed": experiment.seed,
        "rank": context.rank,
        "world_size": context.world_size,
        "flips": experiment.data.flips,
        "phases": phases(experiment.learner, experiment, data),
        "labels": data.labels,
    }
    if data.streamed is None:
        check_gpu(data, context.device)
        held = data.scaling.forward(data.drawn).to(context.device)
        return Feed(held, pixelwise=pixelwise(experiment, context.device), masks=data.drawn_masks, **how)
    return StreamFeed(data.streamed, data.scaling, device=context.device, **how)


def check_gpu(data: TrainData, device: torch.device) -> None:
    """Refuse to put more scaled cubes on a GPU than it has room for, before they are made.

    Raises:
        ConfigError: they would not fit an empty one; MachineTrouble: others hold what they need.
    """
    if device.type != "cuda":
        return
    cubes = data.train.reflectance
    needed = data.rows * cubes[:1].numel() * cubes.element_size()
    free, total = torch.cuda.mem_get_info(device)
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # this process holds it unused
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
    """Return whether the cubes of `experiment` are best held with the bands of a pixel together."""
    return device.type == "cpu" and experiment.learner.pixelwise


def check_streams(experiment: Experiment) -> None:
    """Refuse to stream what needs all of train at once.

    Raises:
        ConfigError: naming the setting and the remedy.
    """
    data, remedy = experiment.data, "give the machine more memory, or use --set data.feed=memory"
    if not experiment.learner.streams:
        raise ConfigError(
            f"learner.kind = {experiment.learner.kind} cannot be fed by a stream: it is fitted to all of train at once",
            remedy.capitalize(),
        )
    if data.scaling == "robust":
        raise ConfigError(
            "data.scaling = robust cannot be fed by a stream: percentiles need all of train at once",
            f"Use --set data.scaling=range, {remedy}",
        )


class Windows:
    """The windows of one stream of entries, epoch after epoch without end.

    Args:
        entries: (E,) int64 rows.
        shard: (rows,) in which shard each row lies.
        shards: how many there are.
        window: shards that are shuffled together.
        seed: key of all draws.
    """

    def __init__(self, entries: Tensor, shard: Tensor, shards: int, window: int, seed: int) -> None:
        self.count, self.window, self.seed = len(entries), window, seed
        lies = shard[entries]
        sizes = torch.bincount(lies, minlength=shards).tolist()
        self.shown = entries[torch.argsort(lies, stable=True)].split(sizes)  # of each shard
        self.of = lru_cache(maxsize=4)(self._of)

    def order(self, key: str, epoch: int) -> Tensor:
        """Return the entries of one epoch: those of each window shuffled, under `key`."""
        parts = []
        for number, (_, shards) in enumerate(self.of(epoch)):
            inside = torch.cat([self.shown[shard] for shard in shards])
            draw = generator(self.seed, f"{key}/window-{number}", epoch)
            parts.append(inside[torch.randperm(len(inside), generator=draw)])
        return torch.cat(parts)

    def since(self, image: int) -> Iterator[Window]:
        """Yield the windows from that of the stream's image `image` on."""
        epoch = image // self.count
        while True:
            windows = self.of(epoch)
            ends = [begin for begin, _ in windows[1:]] + [inf]
            for (begin, shards), end in zip(windows, ends, strict=True):
                if end > image - epoch * self.count:
                    yield epoch * self.count + begin, shards
            epoch += 1

    def _of(self, epoch: int) -> list[Window]:
        """Return the windows of an epoch; they begin at 0."""
        draw = generator(self.seed, "order/shards", epoch)
        order = [s for s in torch.randperm(len(self.shown), generator=draw).tolist() if len(self.shown[s])]
        found, begin = list[Window](), 0
        for at in range(0, len(order), self.window):
            shards = tuple(order[at : at + self.window])
            found.append((begin, shards))
            begin += sum(len(self.shown[shard]) for shard in shards)
        return found


class StreamFeed(KeyedFeed):
    """Draws batches from the windows of a streamed train role, and of synthetic cubes that are streamed with it.

    Args:
        streamed: both.
        scaling: of their reflectance.
        batch_size: global; divisible by the workers, at most the role.
        seed: key of all draws.
        device: that trains.
        how: as for `KeyedFeed`.
    """

    def __init__(
        self,
        streamed: Streamed,
        scaling: Scaling,
        batch_size: int,
        seed: int,
        *,
        device: torch.device | None = None,
        **how: Any,  # noqa: ANN401 - those of KeyedFeed
    ) -> None:
        count = len(streamed.lesion_ids) + len(streamed.extra)
        super().__init__(count, batch_size, seed, **how)
        self.streamed, self.scaling, self.device = streamed, scaling, device or torch.device("cpu")
        self.shard = torch.empty(count, dtype=torch.int64)  # of each row
        self.place = torch.empty_like(self.shard)  # of each row in its shard
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
        """Return this worker's share of the batch that begins after `images` real images."""
        self._want(images)
        return super().batch(images)

    def gather(self, chosen: Tensor) -> Tensor:
        """Copy the cubes out of the windows and scale them."""
        cubes = [
            self._cubes_of(shard)[place]
            for shard, place in zip(self.shard[chosen].tolist(), self.place[chosen].tolist(), strict=True)
        ]
        return self.scaling.forward(torch.stack(cubes)).to(self.device)

    def order(self, key: str, part: Part, epoch: int) -> Tensor:
        """Shuffle the entries of each window."""
        return self.windows[part].order(key, epoch)

    def shards_of(self, images: int) -> list[int]:
        """Return the shards that are held from `images` on: of the windows of that batch, and of the next ones.

        Each stream of a phase has a next window, until the phase ends within all that are shown: then the first ones of the
        next phase are read.
        """
        end, found, most = images + self.batch_size, list[int](), 0
        stops = [phase.start for phase in self.phases[1:]] + [inf]
        for number, (phase, stop) in enumerate(zip(self.phases, stops, strict=True)):
            if stop <= max(images, phase.start):  # it is over, or another took its place before it began
                continue
            if phase.start >= end and most > 1:
                break
            reached = [self._reached(part, images, end, stop, most) for part in self.windows if part[0] == number]
            found += [shard for windows in reached for shards in windows for shard in shards]
            most = max(most + len(windows) for windows in reached)
        return list(dict.fromkeys(found))

    def _reached(self, part: Part, images: int, end: int, stop: float, before: int) -> list[tuple[int, ...]]:
        """Return the windows of `part` that the batch of `images` to `end` reaches, and the next one if they are but one.

        Args:
            part: a stream of a phase.
            images: where the batch begins.
            end: of the batch.
            stop: of the phase.
            before: windows that the batch has reached in earlier phases.
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
        """Return how many of the first `images` of its phase are of `part`."""
        if images == inf:
            return inf
        mixed = self.phases[part[0]].mixed_in(int(images))
        return mixed if part[1] else int(images) - mixed

    def _want(self, images: int) -> None:
        """Begin to read what is held from here on, and let go of the rest."""
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
