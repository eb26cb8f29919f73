"""Small cubes made of blobs, and experiments of a second on them."""

import numpy as np
import torch
from torch import Tensor

from hyperderm.config import DataConfig, Experiment, TrainingConfig
from hyperderm.learners.base import Batch, Compute
from hyperderm.learners.data import CubeSet, TrainData
from hyperderm.learners.scaling import Scaling
from hyperderm.learners.shsgan import ShsGanConfig
from hyperderm.learners.shsgan.learner import ShsGan
from tests.learning import built

CPU = torch.device("cpu")


def blobs(count: int, size: int = 16, bands: int = 16, seed: int = 0) -> Tensor:
    """(count, bands, size, size) reflectance: skin of a smooth spectrum, a darker blob, exposure, a little noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    spectrum = 0.2 + 0.4 * np.linspace(0, 1, bands) ** 2
    cubes = np.empty((count, bands, size, size))
    for cube in cubes:
        cy, cx, radius = rng.uniform(0.4, 0.6), rng.uniform(0.4, 0.6), rng.uniform(0.15, 0.3)
        lesion = np.exp(-(((y - cy) ** 2 + (x - cx) ** 2) / radius**2))
        depth = rng.uniform(0.3, 0.7) * np.linspace(1, 0.6, bands)
        cube[:] = rng.uniform(0.7, 1.3) * spectrum[:, None, None] * (1 - depth[:, None, None] * lesion)
        cube += rng.normal(0, 0.005, cube.shape)
    return torch.from_numpy(cubes.astype(np.float32))


def cube_set(reflectance: Tensor, name: str = "lesion") -> CubeSet:
    n, _, h, w = reflectance.shape
    ids = tuple(f"{name}-{i}" for i in range(n))
    return CubeSet(ids, ("melanoma",) * n, reflectance, torch.zeros(n, h, w, dtype=torch.bool))


def tiny_data(train: int = 12, validation: int = 6, size: int = 16, bands: int = 16, seed: int = 0) -> TrainData:
    a, b = blobs(train, size, bands, seed), blobs(validation, size, bands, seed + 1000)
    wavelengths = tuple(np.linspace(465.0, 630.0, bands).tolist())
    return TrainData(cube_set(a, "train"), cube_set(b, "validation"), wavelengths, Scaling.fit(a))


def tiny(**overrides: object) -> Experiment:
    """An experiment of a second; `learner__n_critic=1` sets `learner.n_critic`."""
    experiment = Experiment(
        name="tiny",
        profile="small",
        data=DataConfig(size=16, diagnoses="all"),
        learner=ShsGanConfig(generator_width=4, critic_width=4, lr_generator=1e-3, lr_critic=1e-3),
        training=TrainingConfig(batch_size=4, images=48, validate_every=16, validation_samples=8),
    )
    return experiment.override({path.replace("__", "."): value for path, value in overrides.items()})


def learner(data: TrainData | None = None, dtype: torch.dtype = torch.float32, bf16: bool = False, **overrides) -> ShsGan:
    return built(tiny(**overrides), data or tiny_data(), Compute(CPU, dtype, bf16))


def batch(data: TrainData, images: int = 0, count: int = 4) -> Batch:
    """The first `count` train cubes as real ones, the last as sources."""
    scaled = data.scaling.forward(data.train.reflectance)
    real, rows = scaled[:count], torch.arange(count)
    masks = data.drawn_masks[:count]
    return Batch(
        draw_real=lambda: real,
        views=real.unbind,
        draw_source=lambda: scaled[-count:],
        share=slice(0, count),
        count=count,
        images=images,
        rows=rows,
        labels=data.labels[:count],
        draw_masks=lambda: masks,
    )


def sampled(gan: ShsGan, count: int, seed: int) -> Tensor:
    """Cubes of a set, as validation makes them from train's pictures."""
    return gan.sample(seed, range(count), gan.condition(gan._drawn(count, seed)))


def state_of(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
