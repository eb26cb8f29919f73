"""Train cubes as a generator rebuilds them: each once, in its place, by the colours or by the encoder."""

import numpy as np
import pytest
import torch

from hyperderm.errors import StudyError
from hyperderm.learners.mixture import MixtureConfig
from hyperderm.learners.vae import VaeConfig
from hyperderm.store.reader import open_store
from hyperderm.store.synthetic import check_origin, origin_of
from hyperderm.strict import json_of
from hyperderm.studies.rebuilding import rebuild_here
from hyperderm.training.data import cube_set
from hyperderm.training.named_checkpoints import read_checkpoint
from hyperderm.training.run import load_sampler
from tests.cluster.sweeps import Memory, tiny, train_once
from tests.studies.grids import plan

FOLD, BOTH = 1, ["dysplastic_nevus", "melanoma"]


def trained(real, folder, learner=None):
    experiment = tiny(data__fold=FOLD, training__images=16, data__size=16, data__diagnoses=BOTH)
    if learner is not None:
        experiment = experiment.model_copy(update={"learner": learner})
    known = {"run": "a-run", "hyperderm.manifest": real.manifest.fingerprint, "hyperderm.fold": str(FOLD)}
    train_once(experiment, real, folder, known, Memory())
    return folder / "best.pt"


def rebuilt(real, checkpoint, place):
    rebuild_here(real, checkpoint, str(place), BOTH)
    made = open_store(str(place))
    rows = made.read(sorted(made.index().column("lesion_id").to_pylist()))
    sources = [json_of(each)["derived_from"] for each in rows.column("origin").to_pylist()]
    return made, cube_set(rows, 16), sources


def test_by_the_colours_every_train_cube_comes_back_once(real, tmp_path):
    checkpoint = trained(real, tmp_path / "run")
    made, cubes, sources = rebuilt(real, checkpoint, tmp_path / "set")
    names = real.select("train", FOLD, tuple(BOTH))
    assert sorted(sources) == sorted(names)
    train = cube_set(real.read(names), 16)
    meant = dict(zip(train.lesion_ids, train.diagnoses, strict=True))
    assert [meant[name] for name in sources] == list(cubes.diagnoses)
    origin = check_origin(made, real, FOLD)
    assert (origin.rebuilt, origin.derived) == (True, True)
    assert "rebuilt" in made.manifest.source
    sampler = load_sampler(read_checkpoint(checkpoint)[0])
    levels = torch.from_numpy(sampler.sources(train).astype(np.float32))
    expected = dict(zip(train.lesion_ids, sampler.sample(0, range(len(train)), levels), strict=True))
    for cube, name in zip(cubes.reflectance, sources, strict=True):
        torch.testing.assert_close(cube, expected[name])


def test_by_an_encoder_with_the_same_networks(real, tmp_path):
    """Recomputed from the checkpoint's networks: scaled, encoded, decoded by the moving average, and back."""
    from hyperderm.learners.scaling import Scaling

    config = VaeConfig(generator_width=8, encoder_width=8, noise_dim=4, norm="layer")
    checkpoint = trained(real, tmp_path / "run", config)
    _, cubes, sources = rebuilt(real, checkpoint, tmp_path / "set")
    state, _ = read_checkpoint(checkpoint)
    from hyperderm.learners.vae.networks import VaeDecoder, VaeEncoder

    encoder, decoder = VaeEncoder(16, 8, 16, 4, "layer", 0), VaeDecoder(16, 8, 16, 4, "layer", 0)
    encoder.load_state_dict(state["learner"]["encoder"])
    decoder.load_state_dict(state["learner"]["ema"])
    scaling = Scaling.from_state(state["scaling"])
    train = cube_set(real.read(sources), 16)
    order = [train.lesion_ids.index(name) for name in sources]
    with torch.no_grad():
        seen = scaling.forward(train.reflectance[order])
        expected = scaling.inverse(decoder.eval()(encoder.eval()(seen)[0]).double()).float()
    torch.testing.assert_close(cubes.reflectance, expected, atol=1e-5, rtol=1e-4)


def test_a_generator_without_either_is_refused(real, tmp_path):
    checkpoint = trained(real, tmp_path / "run", MixtureConfig(conditioning="class", dimensions=4))
    with pytest.raises(StudyError, match=r"learner\.kind = mixture cannot rebuild a given cube"):
        rebuild_here(real, checkpoint, str(tmp_path / "set"), BOTH)
    assert not (tmp_path / "set").exists()


def test_in_a_grid(real):
    made = plan(real, arms=["rebuilt"], folds=[0], models=["small_cnn"])
    (job,) = made.stage("synthetic")
    (maker,) = made.stage("generator")
    assert (job.rebuilt, job.needs, job.counts) == (True, (maker.key,), {"dysplastic_nevus": 15, "melanoma": 9})
    assert [job.stage for job in made.jobs[:2]] == ["generator", "synthetic"]
    assert [reference for arm, reference, _ in made.contrasts if arm == "shsgan_rebuilt"] == ["real", "classic"]
    assert origin_of(real.manifest) is None
