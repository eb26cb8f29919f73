"""What `test_feed_choice` runs in a process of its own: it reads, feeds and scores roles, and prints what RAM that took."""

import gc
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import torch

from hyperderm.cluster.memory import Roles, moments
from hyperderm.config import DataConfig, Experiment, TaskConfig, TrainingConfig
from hyperderm.cubes.cube import Cube, Lesion
from hyperderm.learners.classifier import ClassifierConfig
from hyperderm.learners.data import TrainData
from hyperderm.learners.generative import GenerativeReference
from hyperderm.store.reader import Store
from hyperderm.store.schema import to_table
from hyperderm.training.context import Context
from hyperderm.training.data import train_data
from hyperderm.training.stream import feed_of
from tests.training.tiny import tiny

NM = np.linspace(465.0, 630.0, 16)
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Blocks(Store):
    """Rows in memory, in blocks that hold lesions of both roles, as `SharedStore` has them."""

    def __init__(self, count: int, size: int) -> None:
        super().__init__(None, SimpleNamespace(wavelengths_nm=tuple(NM)))  # type: ignore[arg-type]
        cube = Cube(np.random.default_rng(0).random((size, size, 16), np.float32), NM)
        names = [f"n{i:05d}" for i in range(count)]
        rows = [Lesion(n, n, n, "melanoma" if i % 3 else "dysplastic_nevus", cube, None) for i, n in enumerate(names)]
        self.__dict__["held"] = [to_table(rows[at : at + 64], cube.shape) for at in range(0, count, 64)]
        self.__dict__["roles"] = [n for i, n in enumerate(names) if i % 4], names[::4]

    def tables(self, columns: list[str] | None) -> Iterator[pa.Table]:
        yield from self.__dict__["held"]


def resident(name: str) -> int:
    """Return bytes: `VmRSS` now, `VmHWM` at most since `forget`."""
    (line,) = [line for line in STATUS.read_text().splitlines() if line.startswith(name)]
    return int(line.split()[1]) * 1024


def forget() -> None:
    gc.collect()
    CLEAR.write_text("5")


def taken(store: Blocks, experiment: Experiment) -> dict[str, int]:
    """Return the bytes at most while roles are read, while the feed is made, and while it is held and a score is taken."""
    forget()
    before = resident("VmRSS")

    def most() -> int:
        found = resident("VmHWM") - before
        forget()
        return found

    train, validation = store.__dict__["roles"]

    def read() -> TrainData:
        rows = store.read(train), store.read(validation)
        return train_data(*rows, store.manifest.wavelengths_nm, experiment.data.size)

    data = read()
    found = {"read": most()}
    feed = feed_of(experiment, data, Context(None, device=torch.device("cpu")))  # type: ignore[arg-type]
    found["feed"] = most()
    found["hold"] = resident("VmRSS") - before
    if experiment.learner.role == "generator":
        GenerativeReference(data.train.reflectance, data.validation.reflectance, 0)
    else:
        data.scaling.forward(data.validation.reflectance)
    found["score"] = most()
    del feed
    return found


def main() -> dict[str, dict[str, dict[str, int]]]:
    torch.set_num_threads(1)
    large, told = Blocks(256, 48), {}
    classifier = Experiment(
        name="told",
        profile="small",
        data=DataConfig(size=48),
        task=TaskConfig(),
        learner=ClassifierConfig(),
        training=TrainingConfig(batch_size=8, images=8, validate_every=8),
    )
    for name, experiment in (("generator", tiny(data__size=32)), ("classifier", classifier)):
        taken(Blocks(64, 48), experiment)  # what is made once in a process has been made
        found = taken(large, experiment)
        counted = moments(Roles(192, 64, 0, (48, 48, 16), (48, 48)), experiment, gpu=False)
        told[name] = {"taken": found, "counted": {moment: counted[moment] for moment in found}}
    return told


if __name__ == "__main__":
    print(json.dumps(main()))
