"""A synthetic set of real train cubes as a generator rebuilds them: from their pseudo-RGB, or by its own encoder.

A classifier that is shown them learns what the generator leaves on a cube without learning it as a sign of one class
(METHODS section 11). They are derived cubes, never new lesions.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hyperderm.cubes.diagnosis import DIAGNOSES
from hyperderm.errors import StudyError
from hyperderm.identity import shaping
from hyperderm.learners.abundance_space import AbundanceSpace
from hyperderm.learners.base import Compute
from hyperderm.learners.data import CubeSet, TrainData
from hyperderm.learners.rebuilding import Rebuilding
from hyperderm.learners.scaling import Scaling
from hyperderm.learners.spec import SPACE
from hyperderm.metrics.memorisation import CHUNK
from hyperderm.store.manifest import Manifest
from hyperderm.store.reader import Store
from hyperderm.store.synthetic import SyntheticCube, SyntheticOrigin, write_synthetic
from hyperderm.strict import fingerprint
from hyperderm.studies.set_audit import SetAudit, groups_of
from hyperderm.training.data import cube_set
from hyperderm.training.drawn_cubes import STRIDE
from hyperderm.training.inputs import experiment_of
from hyperderm.training.named_checkpoints import fold_of, read_checkpoint
from hyperderm.training.run import load_sampler


def rebuild_here(store: Store, checkpoint: Path | str, uri: str, diagnoses: Sequence[str], seed: int = 0) -> Manifest:
    """Write the train cubes of some diagnoses, as the generator of a checkpoint rebuilds them, to `uri`.

    Args:
        store: the real store on which the generator was trained.
        checkpoint: path or `s3://` address of its checkpoint.
        uri: where the set is written; the place must be empty.
        diagnoses: the diagnoses whose train cubes are rebuilt, one synthetic cube for each.
        seed: seed of what a generator adds at random to the pseudo-RGB.

    Raises:
        StudyError: the generator cannot rebuild cubes, or the checkpoint cannot be read. StoreError: it was trained on
            another store, or the place is taken. After an error nothing is left behind.
    """
    state, digest = read_checkpoint(checkpoint)
    fold, experiment = fold_of(state, store), experiment_of(state)
    size = experiment.data.size
    train = cube_set(store.read(store.select("train", fold, tuple(diagnoses))), size)
    held_out = cube_set(store.read(store.select("validation", fold, "all")), size)
    counts = {name: train.diagnoses.count(name) for name in diagnoses}
    origin = SyntheticOrigin(
        generator=experiment.learner.kind,
        run=str(state["provenance"].get("run", "")),
        checkpoint=digest,
        experiment=fingerprint(shaping(experiment)),
        manifest=store.manifest.fingerprint,
        fold=fold,
        seed=seed,
        requested=counts,
        derived=True,
        rebuilt=True,
    )
    audit = SetAudit(train, held_out, groups_of(store), store.manifest.wavelengths_nm, counts, derived=True)
    made = _rebuilt(state, train, seed)

    def cubes() -> Iterator[SyntheticCube]:
        kept = sorted(_cubes(train, made), key=lambda cube: cube.index)
        for at in range(0, len(kept), CHUNK):
            audit.add(kept[at : at + CHUNK])
            yield from kept[at : at + CHUNK]

    return write_synthetic(uri, cubes(), store.manifest.wavelengths_nm, origin, lambda: {"audit": audit.result()})


def _cubes(train: CubeSet, made: Tensor) -> Iterator[SyntheticCube]:
    seen: dict[str, int] = {}
    for row, (name, diagnosis) in enumerate(zip(train.lesion_ids, train.diagnoses, strict=True)):
        index = STRIDE * DIAGNOSES.index(diagnosis) + seen.setdefault(diagnosis, 0)
        seen[diagnosis] += 1
        facts = {"derived_from": name, "orientation": 0}
        yield SyntheticCube(index, np.ascontiguousarray(np.moveaxis(made[row].numpy(), 0, 2)), diagnosis, facts)


def _rebuilt(state: Mapping[str, Any], cubes: CubeSet, seed: int) -> Tensor:
    """Return the cubes (n, B, S, S) in reflectance as the generator of a checkpoint rebuilds them, on the CPU."""
    experiment = experiment_of(state)
    if not experiment.learner.rebuilds:
        raise StudyError(
            f"learner.kind = {experiment.learner.kind} cannot rebuild a given cube",
            "Take a generator from pseudo-RGB (shsgan), or one with an encoder (vae, hvae).",
        )
    if experiment.learner.condition == "rgb":
        sampler = load_sampler(state)
        levels = sampler.sources(cubes)
        assert levels is not None
        return sampler.sample(seed, range(len(cubes)), torch.from_numpy(levels.astype(np.float32)))
    space = AbundanceSpace.from_state(state[SPACE]) if SPACE in state else None
    bands = tuple(state["wavelengths_nm"])
    data = TrainData(cubes, cubes, bands, Scaling.from_state(state["scaling"]), space=space)
    learner = experiment.learner.build(experiment, data, Compute(torch.device("cpu")))
    learner.load_state_dict(state["learner"])
    assert isinstance(learner, Rebuilding)
    return learner.rebuilt_cubes(cubes)
