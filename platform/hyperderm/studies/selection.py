"""Which lesions a run reads, and where the cubes it was scored on are kept. Free of Ray."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hyperderm.config import Experiment
from hyperderm.cubes.pseudo_rgb import pseudo_rgb_matrix
from hyperderm.errors import StoreError
from hyperderm.store.reader import Store
from hyperderm.training.data import check_size
from hyperderm.training.loop import Report

SAMPLES = "samples.npy"
SAMPLES_KEPT = 64


@dataclass(frozen=True)
class Selection:
    """The lesions of the two roles a training may read."""

    train: tuple[str, ...]
    validation: tuple[str, ...]


def select(store: Store, experiment: Experiment) -> Selection:
    """Return the lesion ids of both roles, after proving that the store can serve the experiment.

    Raises:
        ConfigError: more pixels than the store holds.
        CubeError: bands that make no pseudo-RGB.
        StoreError: a role that comes out empty or with a single lesion.
    """
    data, shape = experiment.data, store.manifest.shape
    check_size(data.size, shape[:2])
    if experiment.learner.input == "rgb":
        pseudo_rgb_matrix(store.manifest.wavelengths_nm)
    roles = Selection(
        tuple(store.select("train", data.fold, data.diagnoses)),
        tuple(store.select("validation", data.fold, data.diagnoses)),
    )
    for role, lesions in (("train", roles.train), ("validation", roles.validation)):
        if len(lesions) < 2:
            raise StoreError(
                f"the {role} role of fold {data.fold} holds one lesion: a score needs two",
                "Give more data.diagnoses or data.",
            )
    return roles


def keep_samples(report: Report, folder: Path) -> None:
    """Put the scored cubes where the driver draws them from: (n, B, H, W) float32 in `samples.npy`."""
    if report.cubes is not None:
        folder.mkdir(parents=True, exist_ok=True)
        aside = folder / f".{SAMPLES}"
        with aside.open("wb") as stream:
            np.save(stream, report.cubes[:SAMPLES_KEPT].numpy())
        aside.replace(folder / SAMPLES)
