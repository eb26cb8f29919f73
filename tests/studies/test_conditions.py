"""Generators that are given masks, or what another run says: by `generate`, from train lesions in eight orientations."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hyperderm.cubes.cube import Lesion
from hyperderm.errors import ConfigError, StudyError
from hyperderm.learners import randomness
from hyperderm.learners.data import CubeSet
from hyperderm.learners.scaling import Scaling
from hyperderm.learners.shsgan import ShsGanConfig
from hyperderm.learners.spec import Condition, LearnerConfig, Role
from hyperderm.learners.synthesis import NetworkSampler, noise
from hyperderm.metrics.orientation import orient
from hyperderm.store.reader import Store, open_store
from hyperderm.store.synthetic import origin_of
from hyperderm.store.writer import write_store
from hyperderm.studies import synthesis
from hyperderm.studies.synthesis import generate_here
from hyperderm.training import drawn_cubes
from hyperderm.training.data import cube_set
from tests.cluster.sweeps import tiny
from tests.studies.grids import FOLDS, SIZE, lesions, plan

COUNTS = {"melanoma": 20}


class Given(LearnerConfig):
    """A generator that is given a mask, or three numbers a pixel that another run says."""

    role: Role = "generator"  # type: ignore[misc]
    objective: str = "none"  # type: ignore[misc]
    kind: Literal["given"] = "given"
    what: Condition

    @property
    def condition(self) -> Condition:
        """See `LearnerConfig.condition`."""
        return self.what


class GivenSampler(NetworkSampler):
    """Makes cubes from a condition and one noise value a cube; `other` is what the other run does with cubes (B, 3)."""

    other: Tensor = torch.ones(16, 3) / 16

    def inputs(self, seed: int, index: int, condition: Tensor | None) -> tuple[Tensor, ...]:
        """Return both, as channels."""
        assert condition is not None
        z = noise(seed, index, 1)[:, :, None, None].expand(1, 1, *condition.shape[2:])
        return (torch.cat([condition.float(), 0.1 * z], 1),)

    def sources(self, cubes: CubeSet) -> np.ndarray | None:
        """See `learners.base.Sampler.sources`."""
        if self.config.condition == "run":
            return torch.einsum("nbhw,bc->nchw", cubes.reflectance.double(), self.other.double()).numpy()
        return super().sources(cubes)


def half_masked() -> Iterator[Lesion]:
    """Every second lesion has a mask, none like another."""
    for number, lesion in enumerate(lesions({"melanoma": 15, "dysplastic_nevus": 25})):
        mask = np.zeros((SIZE, SIZE), bool)
        mask[2 : 5 + number % 9, 3 : 6 + number % 7] = True
        yield replace(lesion, mask=mask if number % 2 else None)


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> Store:
    place = tmp_path_factory.mktemp("masks") / "real"
    write_store(str(place), half_masked(), fold_count=FOLDS, seed=0)
    return open_store(str(place))


def sampler(real: Store, what: Condition) -> GivenSampler:
    rows = cube_set(real.read(real.select("train", 0, "all")), SIZE)
    with randomness.initialised(0):
        network = nn.Sequential(nn.Conv2d(2 if what == "mask" else 4, 16, 3, padding=1), nn.Tanh())
    scaling, nm = Scaling.fit(rows.reflectance), real.manifest.wavelengths_nm
    return GivenSampler(Given(what=what), tiny(data__size=SIZE, data__diagnoses="all"), network.eval(), nm, scaling)


@pytest.fixture
def checkpoint(real, tmp_path, monkeypatch):
    """Leaves a checkpoint whose sampler is the one of `what`."""

    def checkpoint(what: Condition, store: Store = real) -> Path:
        origin = {"run": "r", "hyperderm.manifest": store.manifest.fingerprint, "hyperderm.fold": "0"}
        seen = sorted(store.manifest.diagnoses)
        torch.save({"learner": {}, "experiment": "{}", "provenance": origin, "seen": seen}, tmp_path / "best.pt")
        made = sampler(store, what)
        for module in (synthesis, drawn_cubes):
            monkeypatch.setattr(module, "load_sampler", lambda state, device="cpu": made)
        return tmp_path / "best.pt"

    return checkpoint


@pytest.mark.parametrize("what", ["mask", "run"])
def test_each_cube_is_made_from_its_source_in_its_orientation(real, checkpoint, tmp_path, what):
    generate_here(real, checkpoint(what), str(tmp_path / "s"), counts=COUNTS, seed=4)
    made, maker = open_store(str(tmp_path / "s")), sampler(real, what)
    origin = origin_of(made.manifest)
    assert origin.derived
    given = {"mask": "masks", "run": "another run's output"}[what]
    assert origin.audit["unjudged"] == f"this generator makes cubes from {given}, not from the pseudo-RGB"
    assert not origin.audit["memorised"]
    assert made.manifest.lesions == 20
    for number, lesion in enumerate(made.lesions()):
        row = cube_set(real.read([lesion.origin["derived_from"]]), SIZE)
        given = torch.from_numpy(maker.sources(row).astype(np.float32))
        turned = orient(given, lesion.origin["orientation"])
        expected = maker.sample(4, [number], turned)
        assert np.array_equal(np.moveaxis(expected[0].numpy(), 0, 2), lesion.cube.reflectance)


def test_lesions_without_a_mask_are_no_source_of_one(real, checkpoint, tmp_path):
    generate_here(real, checkpoint("mask"), str(tmp_path / "s"), counts=COUNTS)
    used = {lesion.origin["derived_from"] for lesion in open_store(str(tmp_path / "s")).lesions()}
    train = set(real.select("train", 0, ("melanoma",)))
    assert used == train & real.with_masks()
    assert used != train


def test_more_than_the_masks_give_is_refused_with_their_number(real, checkpoint, tmp_path):
    masked = len(set(real.select("train", 0, ("melanoma",))) & real.with_masks())
    said = rf"90 different cubes of melanoma cannot be made from {masked} train cubes with a mask in 8 orientations"
    with pytest.raises(StudyError, match=said):
        generate_here(real, checkpoint("mask"), str(tmp_path / "s"), counts={"melanoma": 90})
    assert not (tmp_path / "s").exists()


def test_a_store_without_masks_cannot_serve_them(checkpoint, tmp_path):
    write_store(str(tmp_path / "bare"), lesions({"melanoma": 15, "dysplastic_nevus": 25}), fold_count=FOLDS, seed=0)
    bare = open_store(str(tmp_path / "bare"))
    with pytest.raises(StudyError, match=r"from 0 train cubes with a mask in 8 orientations. Use another diagnosis"):
        generate_here(bare, checkpoint("mask", bare), str(tmp_path / "s"), counts=COUNTS)


def test_the_plan_of_a_grid_asks_for_masks_before_anything_trains(real, tmp_path, monkeypatch):
    write_store(str(tmp_path / "bare"), lesions({"melanoma": 15, "dysplastic_nevus": 25}), fold_count=FOLDS, seed=0)
    monkeypatch.setattr(ShsGanConfig, "condition", property(lambda self: "mask"))
    assert plan(real).jobs
    with pytest.raises(ConfigError, match=r"arm shsgan_x1, generator shsgan: 9 different cubes.*0 train cubes with a"):
        plan(open_store(str(tmp_path / "bare")))


@pytest.mark.parametrize(("what", "said"), [("mask", "masks"), ("run", "another run's output")])
def test_photographs_are_for_those_that_see_rgb(real, checkpoint, tmp_path, what, said):
    write_store(str(tmp_path / "rgb"), lesions({"melanoma": 3}), fold_count=0, kind="rgb")
    rgb = open_store(str(tmp_path / "rgb"))
    with pytest.raises(StudyError, match=f"this generator makes cubes from {said}, not from photographs"):
        generate_here(real, checkpoint(what), str(tmp_path / "s"), counts={"melanoma": 2}, rgb=rgb)
