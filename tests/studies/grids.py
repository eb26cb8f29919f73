"""A small grid for tests: random cubes, hand-made sets, and folders as jobs leave them."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hyperderm.config import DataConfig, Experiment, TrainingConfig
from hyperderm.cubes.cube import Cube, Lesion
from hyperderm.grid_config import Ablation, Model
from hyperderm.learners.classifier import ClassifierConfig
from hyperderm.learners.shsgan import ShsGanConfig
from hyperderm.learners.spectral_baseline import SpectralConfig
from hyperderm.statistics.predictions import Predictions
from hyperderm.store.reader import Store, open_store
from hyperderm.store.synthetic import SyntheticCube, SyntheticOrigin, write_synthetic
from hyperderm.store.writer import write_store
from hyperderm.studies.ablation.jobs import Job
from hyperderm.studies.ablation.plan import Plan, make_plan
from hyperderm.studies.ablation.records import write_result
from hyperderm.studies.ablation.work import STORE
from hyperderm.training.run_folder import PREDICTIONS

SIZE, FOLDS = 16, 5
NM = np.linspace(465.0, 630.0, 16)
KINDS = {"melanoma": 15, "dysplastic_nevus": 25}
FACTS = {"key": "k", "label": "l", "arm": "a", "model": "m", "fold": 0, "seed": 0, "began": "2026-01-01T00:00:00Z"}
ORIGIN = {
    "generator": "shsgan", "run": "run", "checkpoint": "c0ffee00" * 8, "experiment": "e" * 64, "derived": False,
    "manifest": "d" * 64, "fold": 0, "seed": 0, "requested": {"melanoma": 1},
}  # fmt: skip
OF_STAGE = {
    "generator": {},
    "synthetic": {"origin": ORIGIN},
    "cell": {"judgement": {"calibrated_log_loss": 0.5}},
    "judge": {"judge": {"auroc": 0.75, "real": 3.0, "synthetic": 8.0}},
}
"""What the results of each stage hold beside FACTS."""


def lesions(kinds: Mapping[str, int], size: int = SIZE) -> Iterator[Lesion]:
    rng = np.random.default_rng(0)
    for index, kind in enumerate(name for name, count in kinds.items() for _ in range(count)):
        name = f"L{index:03d}"
        cube = Cube(rng.uniform(0.2, 0.6, (size, size, len(NM))).astype(np.float32), NM)
        yield Lesion(name, name, name, kind, cube, None)


def store(place: Path, kinds: Mapping[str, int] = KINDS, folds: int = FOLDS) -> Store:
    write_store(str(place), lesions(kinds), fold_count=folds, seed=0)
    return open_store(str(place))


def grid(**overrides: object) -> Ablation:
    """Real, oversampled x1 and SHS-GAN x1 with two models, all folds; `task__negatives=…` sets `task.negatives`."""
    steps = TrainingConfig(batch_size=8, images=64, validate_every=32)
    base = Ablation(
        name="tiny",
        profile="small",
        size=SIZE,
        generators=("shsgan",),
        models=("spectral", "small_cnn"),
        classifiers={
            "spectral": Model(learner=SpectralConfig(), training=TrainingConfig(batch_size=8, images=8, validate_every=8)),
            "small_cnn": Model(learner=ClassifierConfig(lr=1e-3), training=steps),
            "other_cnn": Model(learner=ClassifierConfig(lr=1e-4), training=steps),
        },
    )
    return base.override({path.replace("__", "."): value for path, value in overrides.items()})


def generator(**overrides: object) -> Experiment:
    """An SHS-GAN that learns every diagnosis."""
    base = Experiment(
        name="shsgan",
        profile="small",
        data=DataConfig(size=SIZE, diagnoses="all"),
        learner=ShsGanConfig(generator_width=4, critic_width=4),
        training=TrainingConfig(batch_size=4, images=32, validate_every=16, validation_samples=8),
    )
    return base.override({path.replace("__", "."): value for path, value in overrides.items()})


def plan(real: Store, makers: Mapping[str, Experiment] | None = None, **overrides: object) -> Plan:
    return make_plan(grid(**overrides), real, {"shsgan": generator()} if makers is None else makers)


def keys(made: Plan) -> dict[str, str]:
    """Label with stage to key."""
    return {f"{job.stage} {job.label}": job.key for job in made.jobs}


def synthetic_set(place: Path, real: Store, fold: int, counts: Mapping[str, int], **changes: Any) -> str:
    """Write a set of random cubes that says what `changes` make its origin say; return its URI."""
    facts = {**ORIGIN, "manifest": real.manifest.fingerprint, "fold": fold, "requested": dict(counts)}
    rng = np.random.default_rng(fold)
    names = [name for name, count in counts.items() for _ in range(count)]
    shape = (SIZE, SIZE, len(NM))
    cubes = (SyntheticCube(i, rng.random(shape).astype(np.float32), name) for i, name in enumerate(names))
    write_synthetic(str(place), cubes, NM, SyntheticOrigin(**{**facts, **changes}))
    return str(place)


def finish(made: Plan, folder: Path) -> dict[str, dict[str, Any]]:
    """Leave every job of the plan done, as `work` does; return what they wrote."""
    for job in made.jobs:
        place = folder / job.folder
        place.mkdir(parents=True, exist_ok=True)
        facts: dict[str, Any] = {**FACTS, **OF_STAGE[job.stage], "key": job.key, "stage": job.stage, "fold": job.fold}
        facts["seconds"] = 2.0
        if job.stage == "synthetic":
            if not (place / STORE).exists():
                synthetic_set(place / STORE, made.store, job.fold, job.counts)
            facts["origin"] = open_store(str(place / STORE), verify=False).manifest.source
        if job.stage == "cell":
            facts["chosen_at"] = "2026-01-01T00:00:00Z"
            store = made.store.manifest.fingerprint
            facts["test_opened"] = {"fold": job.fold, "manifest": store, "at": "2026-01-01T00:00:01Z"}
            predictions(made, job).to_parquet(place / PREDICTIONS)
        write_result(place, facts, *([PREDICTIONS] if job.stage == "cell" else []))
    return {job.key: json.loads((folder / job.folder / "result.json").read_text()) for job in made.jobs}


def predictions(made: Plan, job: Job, role: str = "test") -> Predictions:
    """Return predictions of the lesions of one role of the job's fold."""
    folds = made.store.folds()
    rows = [row for row in made.store.index().to_pylist() if folds.role(row["group"], job.fold) == role]
    chance = np.random.default_rng(job.seed).random(len(rows))
    names = np.array([row["lesion_id"] for row in rows])
    kinds = np.array([row["diagnosis"] for row in rows])
    same = {"fold": job.fold, "seed": job.seed, "arm": job.arm, "model": job.model, "threshold": 0.5, "cell": job.key}
    return Predictions(
        lesion_id=names, group=names, diagnosis=kinds, truth=(kinds == "melanoma").astype(np.int8), probability=chance,
        raw_probability=chance, **{name: np.full(len(rows), value) for name, value in same.items()},
    )  # fmt: skip


def spoilt(table: Predictions, **columns: Any) -> Predictions:
    return replace(table, **columns)
