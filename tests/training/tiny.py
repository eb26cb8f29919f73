"""Small cubes made of blobs, and experiments of a second on them."""

from collections.abc import Mapping

import torch
from torch import Tensor

from hyperderm.config import DataConfig, Experiment, TrainingConfig
from hyperderm.learners.base import Batch, Compute
from hyperderm.learners.data import TrainData
from hyperderm.learners.shsgan import ShsGanConfig
from hyperderm.learners.shsgan.learner import ShsGan
from tests.learning import built
from tests.training.blobs import blobs, cube_set, tiny_data

__all__ = ["CPU", "batch", "blobs", "cube_set", "learner", "same", "sampled", "state_of", "tiny", "tiny_data"]
CPU = torch.device("cpu")


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


def steady(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics that the clock and the machine do not change."""
    return {k: v for k, v in metrics.items() if k != "train/seconds_per_step" and not k.startswith("system/")}
