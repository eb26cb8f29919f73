"""Small lesions of two classes for tests of classifiers: melanomas are darker and flatter in spectrum."""

import torch
from torch import Tensor

from hyperderm.config import DataConfig, Experiment, TaskConfig, TrainingConfig
from hyperderm.learners.classifier import ClassifierConfig
from hyperderm.learners.data import CubeSet, TrainData
from hyperderm.learners.scaling import Scaling
from hyperderm.learners.spectral_baseline import SpectralConfig
from tests.training.tiny import blobs

NEVUS, MELANOMA = "dysplastic_nevus", "melanoma"


def cubes(diagnoses: tuple[str, ...], name: str, seed: int, depth: float = 0.25, size: int = 16) -> CubeSet:
    """Blobs, of which melanomas absorb `depth` more in the long bands of the centre."""
    x = blobs(len(diagnoses), size, seed=seed)
    centre = slice(size // 4, -size // 4)
    bands = torch.linspace(0, depth, x.shape[1])[:, None, None]
    for cube, diagnosis in zip(x, diagnoses, strict=True):
        if diagnosis == MELANOMA:
            cube[:, centre, centre] *= 1 - bands
    ids = tuple(f"{name}-{i}" for i in range(len(diagnoses)))
    return CubeSet(ids, diagnoses, x, torch.zeros(len(diagnoses), size, size, dtype=torch.bool))


def mixed(melanomas: int, nevi: int) -> tuple[str, ...]:
    """Both classes, melanomas spread among the nevi."""
    every = max((melanomas + nevi) // max(melanomas, 1), 1)
    names = [NEVUS] * (melanomas + nevi)
    for k in range(melanomas):
        names[k * every] = MELANOMA
    return tuple(names)


def lesions(
    melanomas: int = 8, nevi: int = 16, extra: tuple[str, ...] = (), *, depth: float = 0.25, validation: int = 8
) -> TrainData:
    train = cubes(mixed(melanomas, nevi), "train", 0, depth)
    held = cubes(mixed(validation, validation), "validation", 1000, depth)
    nm = tuple(torch.linspace(465, 630, 16).tolist())
    synthetic = cubes(extra, "synthetic", 2000, depth) if extra else None
    return TrainData(train, held, nm, Scaling.fit(train.reflectance), synthetic)


def classifier(**overrides: object) -> Experiment:
    """A small CNN on 16 px; `learner__loss="focal"` sets `learner.loss`."""
    return _experiment(ClassifierConfig(lr=1e-3, augmentation="none"), overrides)


def spectral(**overrides: object) -> Experiment:
    return _experiment(SpectralConfig(), overrides)


def _experiment(learner: ClassifierConfig | SpectralConfig, overrides: dict[str, object]) -> Experiment:
    base = Experiment(
        name="tissue",
        profile="small",
        data=DataConfig(size=16, flips=False),
        task=TaskConfig(),
        learner=learner,
        training=TrainingConfig(batch_size=8, images=64, validate_every=32),
    )
    return base.override({path.replace("__", "."): value for path, value in overrides.items()})


def auroc(logits: Tensor, truth: Tensor) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(truth, logits))
