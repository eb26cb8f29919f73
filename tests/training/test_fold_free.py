"""Learners of pixels on stores without folds: what is held out, how it is marked, and where it is refused."""

import json
from dataclasses import replace

import pytest
import torch

from hyperderm.cluster.feed_choice import choose_feed
from hyperderm.config import DataConfig, TrainingConfig
from hyperderm.errors import ConfigError, StoreError, StudyError
from hyperderm.learners.held_out_pixels import held_out_blocks
from hyperderm.store.reader import Store, open_store
from hyperderm.store.writer import write_store
from hyperderm.studies.named_runs import find_inputs
from hyperderm.training.checkpoint import BEST
from hyperderm.training.inputs import check_fits, given_inputs
from hyperderm.training.named_checkpoints import fold_of, read_checkpoint
from hyperderm.training.selection import fold_said, read, select
from tests.cluster.sweeps import Memory, tiny, train_once
from tests.learners.toys import LinearUnmixer, ToyExperiment
from tests.studies.grids import lesions


def toy(**data) -> ToyExperiment:
    return ToyExperiment(
        name="toy",
        data=DataConfig(**{"size": 16, "diagnoses": "all", "flips": False} | data),
        learner=LinearUnmixer(),
        training=TrainingConfig(batch_size=1, images=60, validate_every=30),
    )


@pytest.fixture(scope="module")
def free(tmp_path_factory) -> Store:
    """A store without folds."""
    place = tmp_path_factory.mktemp("free") / "store"
    write_store(str(place), lesions({"melanoma": 3, "nevus": 2}), fold_count=0, seed=0)
    return open_store(str(place))


@pytest.fixture(scope="module")
def checkpoint(free, tmp_path_factory):
    place, made = tmp_path_factory.mktemp("run") / "runs" / "toy" / "trials" / "0000", toy()
    told = {
        "run": "toy-key",
        "hyperderm.manifest": free.manifest.fingerprint,
        "hyperderm.fold": fold_said(free.manifest, made),
    }
    train_once(made, free, place, told, Memory())
    return place / BEST


def test_a_tenth_of_each_cube_is_held_out_in_blocks_that_are_the_same_for_every_run():
    held = held_out_blocks(["a", "b", "c"], 64)
    assert held.shape == (3, 64, 64)
    assert held.sum((1, 2)).tolist() == [10 * 6 * 6] * 3
    assert torch.equal(held_out_blocks(["c", "a"], 64), held[[2, 0]])
    assert not torch.equal(held[0], held[1])
    blocks = held[:, :60, :60].reshape(3, 10, 6, 10, 6)
    assert torch.equal(blocks.any(4).any(2), blocks.all(4).all(2))  # whole squares
    assert held_out_blocks(["a"], 16).sum() == 26  # squares of a pixel: 16 x 16 of them


def test_held_out_pixels_are_learnt_by_nobody_and_scale_nothing(free):
    made = toy()
    data = read(free, select(free, made), made)
    assert data.train is data.validation
    free_pixels = data.train.reflectance.movedim(1, 3)[~data.held_out]
    assert torch.equal(data.scaling.low, free_pixels.amin(0).double())
    assert torch.equal(data.scaling.high, free_pixels.amax(0).double())


def test_it_trains_on_the_pixels_of_a_store_and_is_marked(free, checkpoint):
    saved, _ = read_checkpoint(checkpoint)
    assert saved["provenance"]["hyperderm.fold"] == "free"
    held = held_out_blocks([row["lesion_id"] for row in free.index().to_pylist()], 16)
    latest, _ = read_checkpoint(checkpoint.parent / "latest.pt")
    assert torch.equal(latest["learner"]["seen"], ~held)
    assert saved["metrics"]["held_out_error"] < 0.32  # of noise, whose variance is 1/3
    assert saved["seen"] == ["melanoma", "nevus"]


def test_it_trains_on_a_single_cube(tmp_path):
    write_store(str(tmp_path / "one"), lesions({"melanoma": 1}), fold_count=0, seed=0)
    store, made, observer = open_store(str(tmp_path / "one")), toy(), Memory()
    train_once(made, store, tmp_path / "run", {}, observer)
    assert observer.reports[0] == [0, 30, 60]


def test_unlabelled_cubes_serve_too_and_labels_are_minded_where_there_are_any(free, tmp_path):
    def unlabelled():
        for lesion in lesions({"melanoma": 2}):
            yield replace(lesion, diagnosis=None)

    write_store(str(tmp_path / "s"), unlabelled(), fold_count=0, seed=0)
    assert len(select(open_store(str(tmp_path / "s")), toy(diagnoses=("melanoma",))).train) == 2
    assert len(select(free, toy(diagnoses=("nevus",))).train) == 2
    with pytest.raises(StoreError, match=r"data.diagnoses names 'solar_lentigo', which this store does not hold"):
        select(free, toy(diagnoses=("solar_lentigo",)))


def test_with_folds_it_keeps_to_them(phantom_store):
    store = open_store(str(phantom_store))
    chosen = select(store, toy(fold=1))
    assert not chosen.fold_free
    assert set(chosen.train) == set(store.select("train", 1, "all"))
    assert read(store, chosen, toy(fold=1)).held_out is None
    assert fold_said(store.manifest, toy(fold=1)) == "1"


# --- refusals


def test_other_roles_need_folds(free):
    with pytest.raises(StoreError, match=r"has no folds, so no training roles. Ingest it again with diagnoses"):
        select(free, tiny())


def test_a_fold_of_a_store_without_folds(free):
    with pytest.raises(ConfigError, match=r"data.fold = 2: this store has no folds. Leave it out"):
        select(free, toy(fold=2))


def test_it_is_not_streamed(free):
    with pytest.raises(ConfigError, match=r"a store without folds cannot be streamed"):
        choose_feed(free, select(free, toy()), toy(feed="stream"))


def test_photographs_and_synthetic_sets_are_no_store_of_pixels(tmp_path):
    write_store(str(tmp_path / "rgb"), lesions({"melanoma": 2}), fold_count=0, kind="rgb")
    store = open_store(str(tmp_path / "rgb"))
    drawn = store.manifest.model_copy(update={"kind": "spectral", "source": {"verb": "generate"}})
    for each, said in ((store, "holds photographs"), (Store(store.location, drawn), "cannot be read without folds")):
        with pytest.raises(StoreError, match=said):
            select(each, toy())


def test_a_fold_free_checkpoint_is_refused_wherever_folds_matter(free, checkpoint, phantom_store):
    """By `generate` and a grid's sets, which ask for the fold; as an input of a run, also one of a grid."""
    state, real = read_checkpoint(checkpoint)[0], open_store(str(phantom_store))
    for store in (free, real):
        with pytest.raises(StudyError, match=r"the checkpoint is fold-free: it has seen pixels of every lesion"):
            fold_of(state, store)
    facts = json.loads(state["experiment"]) | {"learner": tiny().learner.model_dump(mode="json")}
    known = {**state, "experiment": json.dumps(facts)}
    for store in (free, real):
        with pytest.raises(StudyError, match=r"it is fold-free: it has seen pixels.*Name a run that"):
            check_fits("start", known, tiny(), store.manifest)
    torch.save(known, checkpoint.parent / "latest.pt")
    with pytest.raises(StudyError, match=r"learner.start = .*latest.pt: it is fold-free"):
        find_inputs(tiny(learner__start=str(checkpoint.parent / "latest.pt")), real, checkpoint.parents[3])
    with pytest.raises(StudyError, match=r"learner.start = .*latest.pt: it is fold-free"):  # in a grid
        given_inputs({"start": str(checkpoint.parent / "latest.pt")}, tiny(), real)
