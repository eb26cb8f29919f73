"""What each of two gloo workers does for `test_ddp`; a module of its own, so that a spawned process can import it."""

import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from hyperderm.config import DataConfig, Experiment, SweepConfig, TaskConfig, TrainingConfig
from hyperderm.errors import NonFiniteLoss, Preempted
from hyperderm.learners.classifier import ClassifierConfig
from hyperderm.learners.classifier.learner import Classifier
from hyperderm.learners.cube_diffaug import AdaptiveStrength
from hyperderm.learners.cube_diffaug_settings import DiffAugmentConfig
from hyperderm.learners.data import TrainData
from hyperderm.learners.dcgan import DcganConfig
from hyperderm.learners.diffusion import DiffusionConfig
from hyperderm.learners.fastgan import FastGanConfig
from hyperderm.learners.hvae import HvaeConfig
from hyperderm.learners.imle import ImleConfig
from hyperderm.learners.penalties import LeCam
from hyperderm.learners.r3gan import R3ganConfig
from hyperderm.learners.shsgan.learner import ShsGan
from hyperderm.learners.spec import LearnerConfig
from hyperderm.learners.unmixer import UnmixerConfig
from hyperderm.learners.vae import VaeConfig
from hyperderm.training.checkpoint import CheckpointFolder
from hyperderm.training.context import Context
from hyperderm.training.feed import MemoryFeed
from hyperderm.training.loop import train
from hyperderm.training.preemption import listening
from hyperderm.training.stream import feed_of
from tests.learning import built, shown
from tests.training.tiny import CPU, tiny, tiny_data

STEPS = 6
_FASTGAN = FastGanConfig(generator_width=4, critic_width=4, noise_dim=8, norm="layer", conditioning="class")
FROM_NOISE: dict[str, LearnerConfig] = {
    "fastgan": _FASTGAN,
    "fastgan that rebuilds nothing": _FASTGAN.model_copy(update={"reconstruction_weight": 0.0, "spectral_weight": 0.0}),
    "r3gan": R3ganConfig(generator_width=4, critic_width=4, noise_dim=8, blocks=1, conditioning="class"),
    "vae": VaeConfig(generator_width=4, encoder_width=4, noise_dim=8, norm="layer", conditioning="class"),
    "hvae": HvaeConfig(generator_width=4, blocks=1, latent_channels=2, conditioning="class"),
    "imle": ImleConfig(generator_width=4, noise_dim=8, pool_factor=2, refresh_epochs=0.5, conditioning="class"),
    "diffusion": DiffusionConfig(
        generator_width=4,
        multipliers=(1, 2),
        layers=1,
        dropout=0.1,
        augment=0.5,
        conditioning="class",
        class_dropout=0.3,
    ),
}
"""Generators from noise that several workers train as one does."""
OF_PIXELS: dict[str, LearnerConfig] = {
    "unmixer": UnmixerConfig(endmembers=3, width=4, stages=1, start_by="vca"),
    "unmixer of colours": UnmixerConfig(endmembers=3, width=4, stages=0, start_by="vca", bands="rgb"),
}
"""Networks of pixels that several workers train as one does; the autoencoder's batch norm refuses several."""


def experiment(**overrides: object) -> Experiment:
    return tiny(learner__n_critic=1, learner__rgb_weight=10.0, training__precision="fp64", data__flips=True, **overrides)


def noise_experiment(learner: LearnerConfig | None = None) -> Experiment:
    """By default of a DCGAN that is told the class, with norms that know no batch, and all that keeps a critic smooth."""
    dcgan = DcganConfig(
        generator_width=4,
        critic_width=4,
        noise_dim=10,
        critic="conv3d",
        norm="layer",
        generator_norm="layer",
        loss="hinge",
        conditioning="class",
        r1_weight=0.1,
        r2_weight=0.1,
        lecam_weight=0.1,
        diffaug={"policy": "flips+translation+cutout", "strength": "adaptive", "adapts_over": 8.0, "target": -0.9},
    )
    return Experiment(
        name="tiny",
        data=DataConfig(size=16, diagnoses="all"),
        learner=learner or dcgan,
        training=TrainingConfig(batch_size=4, images=48, validate_every=48, validation_samples=8, precision="fp64"),
        sweep=SweepConfig(workers_per_trial=2),
    )


def steps(context: Context, data: TrainData, settings: Experiment, mark: str = "", count: int = STEPS) -> dict[str, Tensor]:
    """Gradients of all networks in the first step, and the weights after `count`, as gradient/<mark>generator.…"""
    gan = built(settings, data, context.compute(settings.training.precision))
    feed = feed_of(settings, data, context)
    found: dict[str, Tensor] = {}
    networks = {**gan.modules, "ema": gan.ema}
    for step in range(count):
        gan.step(feed.batch(step * settings.training.batch_size))
        for name, network in networks.items():
            for key, p in network.named_parameters():
                if step == 0 and name != "ema":
                    assert p.grad is not None or "decode_" in key  # those of a FastGAN that rebuilds nothing
                    found[f"gradient/{mark}{name}.{key}"] = torch.zeros_like(p) if p.grad is None else p.grad.clone()
                found[f"weight/{mark}{name}.{key}"] = p.detach().clone()
    return found


def two_classes(data: TrainData) -> TrainData:
    """The first third of train are melanomas."""
    diagnoses = tuple("melanoma" if row < 4 else "dysplastic_nevus" for row in range(len(data.train)))
    return replace(data, train=replace(data.train, diagnoses=diagnoses))


def classifier_steps(context: Context) -> dict[str, Tensor]:
    """The same for a classifier with class weights, melanomas shown twice, dropout and classic augmentation."""
    settings = Experiment(
        name="tiny",
        data=DataConfig(size=16, flips=False),
        task=TaskConfig(),
        learner=ClassifierConfig(lr=1e-3, class_weights="balanced", oversample=1.0, dropout=0.4),
        training=TrainingConfig(batch_size=6, images=60, validate_every=60, precision="fp64"),
    )
    data = two_classes(tiny_data())
    learner = built(settings, data, context.compute(settings.training.precision))
    assert isinstance(learner, Classifier)
    feed = MemoryFeed(
        data.scaling.forward(data.drawn),
        settings.training.batch_size,
        settings.seed,
        rank=context.rank,
        world_size=context.world_size,
        phases=shown(settings, data),
    )
    found: dict[str, Tensor] = {}
    for step in range(STEPS):
        learner.step(feed.batch(step * settings.training.batch_size))
        for key, p in learner.network.named_parameters():
            if step == 0:
                assert p.grad is not None
                found[f"gradient/classifier.{key}"] = p.grad.clone()
            found[f"weight/classifier.{key}"] = p.detach().clone()
    return found


def pixel_steps(context: Context, data: TrainData, learner: LearnerConfig) -> dict[str, Tensor]:
    """Gradients in the first of two steps, and the weights after them, of a network that learns pixels."""
    settings = Experiment(
        name="tiny",
        data=DataConfig(size=16, diagnoses="all", flips=False),
        learner=learner,
        training=TrainingConfig(batch_size=4, images=16, validate_every=16, precision="fp64"),
        sweep=SweepConfig(workers_per_trial=2),
    )
    made = built(settings, data, context.compute("fp64"))
    feed = feed_of(settings, data, context)
    found: dict[str, Tensor] = {}
    for step in range(2):
        made.step(feed.batch(4 * step))
        for key, p in made.network.named_parameters():
            if step == 0:
                found[f"gradient/{key}"] = torch.zeros_like(p) if p.grad is None else p.grad.clone()
            found[f"weight/{key}"] = p.detach().clone()
    return found


def strength(context: Context) -> dict[str, Tensor]:
    """The state after four updates in which the first half of the batch alone would say the opposite of the whole."""
    config = DiffAugmentConfig(policy="cutout", strength="adaptive", adapts_over=100.0, target=0.4)
    one = AdaptiveStrength(config, context.compute("fp32").mean)
    scores = torch.tensor([1.0, -1.0, 2.0, 3.0])
    for _ in range(5):
        one.update(scores[4 * context.rank // context.world_size : 4 * (context.rank + 1) // context.world_size], 4)
    return one.state_dict()


def lecam(context: Context) -> dict[str, Tensor]:
    """The state and the penalty after two steps, each worker with its share of the scores."""
    compute = context.compute("fp64")
    one = LeCam(0.9, compute.mean).double()
    rows = slice(4 * context.rank // context.world_size, 4 * (context.rank + 1) // context.world_size)
    penalty = torch.zeros(())
    for scale in (1.0, 3.0):
        real, fake = scale * torch.arange(4.0, dtype=torch.float64), -torch.arange(4.0, dtype=torch.float64).square()
        one.update(real[rows], fake[rows])
        penalty = compute.mean(one(real[rows], fake[rows]))
    return one.state_dict() | {"penalty": penalty}


def loop(context: Context, data: TrainData, settings: Experiment) -> list[dict[str, float]]:
    return [dict(report.metrics) for report in train(settings, data, context)]


def failing(context: Context, data: TrainData) -> str:
    """A loss that is not finite on the last worker alone."""
    step = ShsGan.step

    def bad(self: ShsGan, batch: Any) -> dict[str, Tensor]:
        metrics = dict(step(self, batch))
        if context.rank == context.world_size - 1 and batch.images >= 8:
            metrics["penalty"] = metrics["penalty"] * float("inf")
        return metrics

    ShsGan.step = bad  # type: ignore[method-assign]
    try:
        loop(context, data, experiment())
    except NonFiniteLoss as error:
        return str(error)
    finally:
        ShsGan.step = step  # type: ignore[method-assign]
    return ""


def everything(rank: int, workers: int, folder: Path) -> None:
    """Run all as one of `workers` and leave the results in `folder`."""
    torch.set_num_threads(1)
    if workers > 1:
        dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=workers)

    def context(name: str) -> Context:
        return Context(CheckpointFolder(folder / name), rank, workers, CPU)

    data = tiny_data()
    result = {
        "steps": steps(context("steps"), data, experiment())
        | steps(context("noise"), two_classes(data), noise_experiment(), "noise-")
        | classifier_steps(context("classifier")),
        "from noise": {
            name: steps(context(name), two_classes(data), noise_experiment(learner), count=2)
            for name, learner in FROM_NOISE.items()
        },
        "of pixels": {name: pixel_steps(context(name), data, learner) for name, learner in OF_PIXELS.items()},
        "lecam": lecam(context("lecam")),
        "strength": strength(context("strength")),
        "loop": loop(context("loop"), data, experiment()),
        "bf16": loop(context("bf16"), data, experiment().override({"training.precision": "bf16"})),
        "failing": failing(context("failing"), data),
    }
    torch.save(result, folder / f"result-{rank}.pt")
    if workers > 1:
        dist.destroy_process_group()


def told_to_leave(rank: int, workers: int, folder: Path) -> None:
    """Train, with SIGTERM to the second worker in its third step, then go on; and train undisturbed beside it."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=workers)
    step, counted = ShsGan.step, iter(range(10**6))

    def stepped(learner: ShsGan, batch: Any) -> Any:
        done = step(learner, batch)
        if next(counted) == 2 and rank == 1:
            signal.raise_signal(signal.SIGTERM)
        return done

    for every in (16, 128):  # the workers leave at a validation after 4 steps, or before one after 32
        experiment = tiny(training__images=128, training__validate_every=every, training__precision="fp64")

        def run(name: str, experiment: Experiment = experiment, every: int = every) -> list[int]:
            place = CheckpointFolder(folder / f"{name}-{every}")
            context = Context(place, rank=rank, world_size=workers, device=CPU)
            return [report.images for report in train(experiment, tiny_data(), context)]

        run("calm")
        counted = iter(range(10**6))
        ShsGan.step = stepped  # type: ignore[method-assign]
        with listening():
            try:
                run("told")
                said = "ended"
            except Preempted as told:
                said = str(told)
        ShsGan.step = step  # type: ignore[method-assign]
        state = CheckpointFolder(folder / f"told-{every}").load()
        dist.barrier()
        reports = run("told")
        torch.save({"said": said, "state": state, "reports": reports}, folder / f"told-{every}-{rank}.pt")
    dist.destroy_process_group()
