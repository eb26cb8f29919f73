"""A step that computes its batch in parts comes to what one comes to that computes it whole, and holds less in memory."""

import weakref
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from hyperderm.config import DataConfig, Experiment, TaskConfig, TrainingConfig
from hyperderm.learners.base import Batch, Compute
from hyperderm.learners.classifier import ClassifierConfig
from hyperderm.learners.classifier.architectures import network
from hyperderm.learners.classifier.config import ARCHITECTURES
from hyperderm.learners.classifier.networks import has_batch_norm
from hyperderm.learners.dcgan import DcganConfig
from hyperderm.learners.shsgan import ShsGanConfig
from hyperderm.learners.spec import LearnerConfig
from hyperderm.learners.vae import VaeConfig
from hyperderm.training.checkpoint import CheckpointFolder
from hyperderm.training.context import Context
from hyperderm.training.stream import feed_of
from tests.learners.test_contract import SMALL, context, data, leaves
from tests.learning import built
from tests.training.tiny import CPU

SPLITTING = {
    "shsgan",
    "r3gan",
    "r3gan told the class",
    "vae told the class",
    "hvae",
    "hvae told the class",
    "abundances",
    "abundances told the class",
    "abundances from colours",
    "abundances that are matched",
    "imle",
    "imle told the class",
    "diffusion",
    "flow",
    "ddpm of abundances",
    "classifier",
    "unmixer",
    "unmixer of colours",
}
"""Those of the house's small learners whose steps may be computed in parts."""
LAYERED = DcganConfig(generator_width=4, critic_width=4, noise_dim=10, norm="layer", generator_norm="layer")
FOLLOWING = {"loss": "hinge", "diffaug.policy": "flips", "diffaug.strength": "adaptive", "diffaug.adapts_over": 32.0}
"""An adaptive augmentation, whose probability follows the scores of batches."""
MORE: dict[str, LearnerConfig] = {
    "augmented": LAYERED.override(
        {"loss": "hinge", "r1_weight": 0.1, "r2_weight": 0.1, "diffaug.policy": "flips+translation+cutout"}
    ),
    "telling critic": LAYERED.override({"conditioning": "class", "class_head": "auxiliary", "n_critic": 2}),
    "clipped": LAYERED.override({"norm": "none", "loss": "wgan_clip"}),
    "focal": ClassifierConfig(loss="focal", class_weights="balanced", oversample=1.0, geometry="albumentations"),
}
COUNT = 5
"""Cubes of a batch: no number of parts but 5 divides it."""


def experiment(learner: LearnerConfig, count: int = COUNT) -> Experiment:
    told_apart = learner.role == "classifier"
    return Experiment(
        name="parts",
        profile="small",
        data=DataConfig(size=16) if told_apart else DataConfig(size=16, diagnoses="all"),
        task=TaskConfig(negatives="all_others") if told_apart else None,
        learner=learner,
        training=TrainingConfig(batch_size=count, images=60, validate_every=60),
    )


def trained(
    learner: LearnerConfig, parts: int, where: Context | None = None, count: int = COUNT, steps: int = 3
) -> dict[str, Tensor]:
    """Return the state after some steps in double precision, and the metrics of each of them."""
    where = where or context()
    made = experiment(learner, count)
    held = learner.in_space(made, data())
    one = built(made, held, where.compute("fp64"))
    feed = feed_of(made, held, where)
    found: dict[str, Any] = {}
    for step in range(steps):
        batch = replace(feed.batch(step * count), parts=parts)
        found[f"metrics {step}"] = one.step(batch)
    return {name: torch.as_tensor(value) for name, value in leaves(found | one.state_dict()).items() if _number(value)}


def _number(value: Any) -> bool:
    return isinstance(value, Tensor | float | int)


def apart(a: dict[str, Tensor], b: dict[str, Tensor]) -> dict[str, float]:
    """Return by how much each tensor differs at most, in units of its largest value and of a small constant."""
    assert a.keys() == b.keys()
    found = {}
    for name, value in b.items():
        # A bias before a norm has no gradient but rounding, which Adam turns into steps.
        least = 1e-5 if name.startswith(".metrics") or "optimizer" in name else 1.0
        difference = (a[name].double() - value.double()).abs().max()
        found[name] = float(difference / (value.double().abs().max() + least))
    return found


@pytest.mark.parametrize("name", [*sorted(SPLITTING), *MORE])
def test_parts_come_to_the_same_as_the_whole(name):
    learner = (SMALL | MORE)[name]
    whole = trained(learner, 1)
    for parts in (2, 3):
        assert {what: by for what, by in apart(trained(learner, parts), whole).items() if by > 1e-9} == {}


def test_which_learners_may_be_split():
    assert {name for name, learner in SMALL.items() if learner.splits} == SPLITTING
    assert all(learner.splits for learner in MORE.values())


@pytest.mark.parametrize(
    "learner",
    [
        *(LAYERED.override({"loss": "hinge", **values}) for values in ({"norm": "spectral"}, {"lecam_weight": 0.1})),
        LAYERED.override({"generator_norm": "batch"}),
        LAYERED.override({"norm": "batch"}),
        LAYERED.override(FOLLOWING),
        ShsGanConfig(generator_width=4, critic_width=4, norm="spectral", n_critic=1),
        VaeConfig(generator_width=4, encoder_width=4, noise_dim=8),
        SMALL["fastgan told the class"].override({"lecam_weight": 0.0}),
    ],
    ids=lambda learner: ",".join(f"{name}={value}" for name, value in learner.changed().items() if "width" not in name),
)
def test_a_setting_that_sees_the_batch_forbids_parts_and_would_come_to_something_else(learner):
    assert not learner.splits
    differences = apart(trained(learner, 2), trained(learner, 1))
    assert max(differences.values()) > 1e-4


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_classifier_splits_unless_it_has_batch_norm(architecture):
    with torch.device("meta"):
        made = network(architecture, 4)
    assert ClassifierConfig(architecture=architecture).splits != has_batch_norm(made)
    assert not any(isinstance(each, nn.Dropout) and each.p > 0 for each in made.modules())  # its draws have no key


def shared_batch(parts: int) -> tuple[Batch, list[str]]:
    """Return the second worker's five of ten cubes, and what has been drawn of it."""
    drawn: list[str] = []
    real = torch.arange(5.0).view(5, 1, 1, 1)

    def draw(name: str, value: Any) -> Any:
        drawn.append(name)
        return value

    return Batch(
        draw_real=lambda: draw("real", real),
        views=lambda: draw("views", real.unbind()),
        draw_source=lambda: draw("source", -real),
        share=slice(5, 10),
        count=10,
        images=30,
        rows=torch.arange(20, 25),
        labels=torch.arange(5) % 2,
        draw_masks=lambda: draw("masks", real[:, 0] > 2),
        parts=parts,
    ), drawn


@pytest.mark.parametrize(("parts", "sizes"), [(2, [2, 3]), (3, [1, 2, 2]), (5, [1] * 5), (9, [1] * 5)])
def test_parts_are_consecutive_shares_of_the_same_batch_which_is_drawn_once(parts, sizes):
    whole, drawn = shared_batch(parts)
    split = whole.split()
    assert drawn == []
    assert [len(part.rows) for part in split] == sizes
    assert [row for part in split for row in range(part.count)[part.share]] == [5, 6, 7, 8, 9]
    assert {(part.count, part.images, part.parts) for part in split} == {(10, 30, 1)}
    for name in ("rows", "labels", "real", "source", "masks"):
        assert torch.equal(torch.cat([getattr(part, name) for part in split]), getattr(whole, name))
    assert torch.equal(torch.stack([view for part in split for view in part.views()]), whole.real)
    assert sorted(drawn) == ["masks", "real", "source", "views"]
    assert all(part.split() == (part,) for part in split)


def test_one_part_is_the_batch_itself():
    whole, drawn = shared_batch(1)
    assert whole.split()[0] is whole
    assert drawn == []


@dataclass(eq=False)
class Kept:
    """A tensor that autograd keeps for a backward pass."""

    tensor: Tensor


class Saved:
    """Counts the bytes of what autograd keeps for the backward passes, without the weights; each memory once."""

    def __init__(self) -> None:
        self.users: dict[int, int] = {}
        self.now = self.most = 0

    def pack(self, tensor: Tensor) -> Any:
        if tensor.is_leaf and tensor.requires_grad:
            return tensor
        storage = tensor.untyped_storage()
        kept = Kept(tensor.detach())  # a result that knows its origin would keep itself alive
        self.users[storage.data_ptr()] = self.users.get(storage.data_ptr(), 0) + 1
        if self.users[storage.data_ptr()] == 1:
            self.now += storage.nbytes()
            self.most = max(self.most, self.now)
        weakref.finalize(kept, self.release, storage.data_ptr(), storage.nbytes())
        return kept

    def release(self, at: int, size: int) -> None:
        self.users[at] -= 1
        if not self.users[at]:
            self.now -= size

    @staticmethod
    def unpack(kept: Any) -> Tensor:
        return kept if isinstance(kept, Tensor) else kept.tensor


def peak(learner: LearnerConfig, parts: int) -> int:
    made = experiment(learner, 8)
    held = learner.in_space(made, data())
    one, saved = built(made, held, Compute(CPU)), Saved()
    batch = replace(feed_of(made, held, context()).batch(0), parts=parts)
    with torch.autograd.graph.saved_tensors_hooks(saved.pack, saved.unpack):
        one.step(batch)
    assert saved.now == 0
    return saved.most


@pytest.mark.parametrize("name", ["shsgan", "diffusion", "classifier", "unmixer"])
def test_a_part_at_a_time_is_in_memory(name):
    whole, halves, quarters = (peak(SMALL[name], parts) for parts in (1, 2, 4))
    assert halves < 0.65 * whole
    assert quarters < 0.65 * halves


ON_TWO: dict[str, LearnerConfig] = {
    "shsgan": SMALL["shsgan"],
    "unmixer": SMALL["unmixer"],
}


def worker(rank: int, folder: Path) -> None:
    """Train on one of two gloo workers, each with four of eight cubes in three parts, and leave the results."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    where = Context(CheckpointFolder(folder), rank, 2, CPU)
    torch.save({name: trained(each, 3, where, 8) for name, each in ON_TWO.items()}, folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow  # its short form: parts on one worker, and two workers in tests/training/test_ddp.py
def test_parts_on_two_workers_come_to_the_same_as_the_whole_on_one(tmp_path):
    torch.multiprocessing.spawn(worker, (tmp_path,), nprocs=2)
    one, two = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    for name, learner in ON_TWO.items():
        whole = trained(learner, 1, count=8)
        assert max(apart(_states(one[name]), _states(whole)).values()) < 1e-9
        assert max(apart(_states(two[name]), _states(one[name])).values()) == 0


def _states(found: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the state alone: metrics are of each worker's own cubes."""
    return {name: value for name, value in found.items() if not name.startswith(".metrics")}
