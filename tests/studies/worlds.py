"""Simulated worlds in which the answer is known: phantom lesions with few melanomas, and two false generators."""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np

from hyperderm.config import TrainingConfig
from hyperderm.cubes.cube import Lesion
from hyperderm.grid_config import Ablation, Model
from hyperderm.learners.classifier import ClassifierConfig
from hyperderm.learners.spectral_baseline import SpectralConfig
from hyperderm.phantom.rendering import render
from hyperderm.store.reader import Store, open_store
from hyperderm.store.synthetic import SyntheticCube, SyntheticOrigin, write_synthetic
from hyperderm.store.writer import write_store

SIZE = 16
FOLDS = 3
AT_ONCE = TrainingConfig(batch_size=16, images=16, validate_every=16)


def lesions(melanomas: int, nevi: int, size: int = SIZE) -> Iterator[Lesion]:
    for index in range(melanomas + nevi):
        yield render(index, "melanoma" if index < melanomas else "dysplastic_nevus", size, seed=0).lesion


def world(folder: Path, melanomas: int, nevi: int, size: int = SIZE) -> Store:
    """A store in which melanoma is rare."""
    write_store(str(folder), lesions(melanomas, nevi, size), fold_count=FOLDS, seed=0)
    return open_store(str(folder))


def origin(store: Store, fold: int, name: str, count: int) -> SyntheticOrigin:
    return SyntheticOrigin(
        generator=name,
        run=name,
        checkpoint="0" * 64,
        experiment="0" * 64,
        manifest=store.manifest.fingerprint,
        fold=fold,
        seed=0,
        requested={"melanoma": count},
        derived=False,
    )


@lru_cache(maxsize=512)  # of one world all folds get the same
def _melanoma(number: int, size: int) -> np.ndarray:
    return render(number, "melanoma", size, seed=0).lesion.cube.reflectance


def perfect(folder: Path, store: Store, fold: int, count: int, first: int = 10_000) -> str:
    """The generator that nobody has: the phantom itself, lesions of its own."""
    size = store.manifest.shape[0]
    cubes = (_melanoma(first + i, size) for i in range(count))
    return _write(folder, store, fold, "perfect", cubes, count)


def copier(folder: Path, store: Store, fold: int, count: int) -> str:
    """The generator that has learnt its training cubes by heart."""
    rows = store.read(store.select("train", fold, ["melanoma"]))
    held = rows.column("cube").combine_chunks().to_numpy_ndarray()
    return _write(folder, store, fold, "copier", (held[i % len(held)] for i in range(count)), count)


def _write(folder: Path, store: Store, fold: int, name: str, cubes: Iterator[np.ndarray], count: int) -> str:
    uri = str(folder / f"{name}-{fold}")
    made = (SyntheticCube(index, np.ascontiguousarray(cube), "melanoma") for index, cube in enumerate(cubes))
    write_synthetic(uri, made, store.manifest.wavelengths_nm, origin(store, fold, name, count))
    return uri


def grid(sets: dict[str, dict[str, str]], ratio: float, **changes: object) -> Ablation:
    """Real, oversampled and each of `sets`, with the spectral baseline."""
    return Ablation(
        name="proof",
        profile="small",
        size=SIZE,
        arms=("real", "oversampled", "synthetic"),
        ratios=(ratio,),
        generators=tuple(sets),
        sets=sets,
        models=("spectral",),
        classifiers={
            "spectral": Model(learner=SpectralConfig(penalty=1.0), training=AT_ONCE),
            "small_cnn": Model(
                learner=ClassifierConfig(lr=1e-3),
                training=TrainingConfig(batch_size=16, images=9_600, validate_every=960),
            ),
        },
    ).override(changes)
