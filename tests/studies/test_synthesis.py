"""Synthetic sets from a trained generator: one store whoever makes it, its origin, its sources, its limits."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from hyperderm.cluster.session import Cluster
from hyperderm.cubes.cube import Cube, Lesion
from hyperderm.errors import ClusterError, ConfigError, StoreError, StudyError
from hyperderm.identity import SCHEMA
from hyperderm.learners.spec import FREELY
from hyperderm.metrics import memorisation
from hyperderm.metrics.orientation import orient
from hyperderm.store.reader import Store, open_store
from hyperderm.store.synthetic import check_origin, origin_of
from hyperderm.store.writer import write_store
from hyperderm.studies import set_audit, synthesis
from hyperderm.studies.named_runs import checkpoint_of_run, find_inputs
from hyperderm.studies.synthesis import generate, generate_here
from hyperderm.training.data import cube_set
from hyperderm.training.drawn_cubes import STRIDE
from hyperderm.training.named_checkpoints import read_checkpoint
from hyperderm.training.run import load_sampler
from hyperderm.training.selection import select
from tests.cluster.sweeps import Memory, ask, tiny, train_once

FOLD = 1
BOTH = {"melanoma": 40, "dysplastic_nevus": 35}


@pytest.fixture(scope="module")
def real(phantom_store) -> Store:
    return open_store(str(phantom_store))


def train(real: Store, folder: Path, **overrides) -> Path:
    """A run as the command line leaves it; returns its best checkpoint."""
    experiment = tiny(data__fold=FOLD, training__images=32, **overrides)
    provenance = {
        "run": "a-run",
        "hyperderm.manifest": real.manifest.fingerprint,
        "hyperderm.fold": str(FOLD),
        "hyperderm.store": real.location.uri,
    }
    inputs = find_inputs(experiment, real, folder.parent)
    place = folder / "trials" / "0000"
    train_once(experiment, real, place, provenance, Memory(), inputs=inputs)
    return folder / "trials" / "0000" / "best.pt"


@pytest.fixture(scope="module")
def checkpoint(real, tmp_path_factory) -> Path:
    return train(real, tmp_path_factory.mktemp("runs") / "rgb")


@pytest.fixture(scope="module")
def derived(real, checkpoint, tmp_path_factory) -> Store:
    """A derived set of more than a part, each diagnosis more than a chunk."""
    place = str(tmp_path_factory.mktemp("sets") / "derived")
    generate_here(real, checkpoint, place, counts=BOTH, seed=3)
    return open_store(place)


def photographs(place: Path, diagnoses=("melanoma", "nevus"), size=24, kind="rgb") -> Store:
    def lesions():
        rng = np.random.default_rng(1)
        for i, diagnosis in enumerate((*diagnoses,) * 4):
            cube = Cube(rng.random((size, size, 3), np.float32), np.array([465.0, 545.0, 610.0]))
            yield Lesion(f"p{i}", f"p{i}", f"p{i}", diagnosis, cube, None)

    write_store(str(place), lesions(), fold_count=0, kind=kind)
    return open_store(str(place))


def cubes(store: Store):
    return np.stack([lesion.cube.reflectance for lesion in store.lesions()])


# --- one store whoever makes it


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_ray_writes_the_store_that_this_process_writes(tmp_path, real, checkpoint, derived, ray_cluster, workers):
    seen: list[tuple[int, int]] = []
    made = generate(
        real,
        checkpoint,
        str(tmp_path / "s"),
        counts=BOTH,
        seed=3,
        workers=workers,
        cluster=ray_cluster,
        progress=lambda *at: seen.append(at),
    )
    assert made == derived.manifest  # the fingerprint covers the bytes of all parts
    assert seen[-1] == (75, 75)


def test_a_batch_may_mix_diagnoses(real, checkpoint, derived):
    """Ray Data cuts batches as it likes."""
    synthesiser = synthesis._prepare(real, checkpoint, BOTH, 3, None, "cpu", None, FREELY).synthesiser()
    synthesiser.load()
    rows = [0, 39, 40, 74, 1]
    made = synthesiser.make([row if row < 40 else STRIDE + row - 40 for row in rows])
    np.testing.assert_array_equal(np.moveaxis(made, 1, 3), cubes(derived)[rows])


def test_more_workers_than_cpus(real, checkpoint):
    with pytest.raises(ClusterError, match="--workers 3: the cluster has 2 CPU"):
        generate(real, checkpoint, "x", counts=BOTH, workers=3, cluster=Cluster(((2.0, 0.0),), ""))


def test_a_smaller_set_is_the_beginning_of_a_larger_one_and_another_seed_is_another_set(tmp_path, real, checkpoint, derived):
    generate_here(real, checkpoint, str(tmp_path / "few"), counts={"melanoma": 9}, seed=3)
    np.testing.assert_array_equal(cubes(open_store(str(tmp_path / "few"))), cubes(derived)[:9])
    generate_here(real, checkpoint, str(tmp_path / "other"), counts={"melanoma": 9}, seed=4)
    assert not np.array_equal(cubes(open_store(str(tmp_path / "other"))), cubes(derived)[:9])


# --- origin and content


def test_a_derived_set_says_so_in_manifest_and_rows(real, checkpoint, derived):
    digest = read_checkpoint(checkpoint)[1]
    origin = check_origin(derived, real, FOLD)
    assert (origin.generator, origin.run, origin.checkpoint, origin.seed) == ("shsgan", "a-run", digest, 3)
    assert (origin.derived, origin.rgb, origin.rejected) == (True, None, 0)
    assert origin.requested == derived.manifest.diagnoses == BOTH
    assert origin.audit["synthetic"] == 75
    assert origin.audit["train"] == len(real.select("train", FOLD, "all"))
    assert origin.audit["derived"]
    own = origin.audit["own"]
    assert own["lesions"] == sum(len(set(real.select("train", FOLD, (name,)))) for name in BOTH)
    assert own["held_out"] == origin.audit["held_out"]
    assert (own["memorised"], own["copies"], origin.audit["memorised"]) == (False, [], False)
    assert origin.audit["held_out"] == sum(
        real.folds().role(row["group"], FOLD) == "validation" for row in real.index().to_pylist() if row["diagnosis"] in BOTH
    )
    assert set(origin.audit["recognisable"]) == set(BOTH)
    assert derived.manifest.folds is None
    allowed = {name: set(real.select("train", FOLD, (name,))) for name in BOTH}
    uses: dict[str, set[int]] = {}
    for position, lesion in enumerate(derived.lesions()):
        index = position if position < 40 else STRIDE + position - 40
        assert lesion.lesion_id == f"synthetic-{digest[:8]}-3-{index:07d}"
        assert lesion.origin["derived_from"] in allowed[lesion.diagnosis]
        assert lesion.origin["orientation"] not in uses.setdefault(lesion.origin["derived_from"], set())
        uses[lesion.origin["derived_from"]].add(lesion.origin["orientation"])


def test_a_derived_cube_is_the_generators_answer_to_its_source(real, checkpoint, derived):
    """Recomputed from the row's origin alone."""
    synthesiser = load_sampler(read_checkpoint(checkpoint)[0])
    for lesion in list(derived.lesions())[::20]:
        source = cube_set(real.read([lesion.origin["derived_from"]]), 16).reflectance.double()
        levels = torch.einsum("cb,nbhw->nchw", torch.from_numpy(synthesiser.matrix), source).float()
        again = synthesiser.sample(3, [0], orient(levels, lesion.origin["orientation"]))
        np.testing.assert_allclose(lesion.cube.reflectance, again[0].movedim(0, 2), rtol=1e-5, atol=1e-6)


def test_photographs_of_the_diagnosis_are_matched_to_train_and_named(tmp_path, real, checkpoint):
    rgb = photographs(tmp_path / "rgb")
    job = synthesis._prepare(real, checkpoint, {"melanoma": 12}, 0, rgb, "cpu", None, FREELY)
    sources = job.sources["melanoma"]
    assert sources.names == ("p0", "p2", "p4", "p6")
    train = cube_set(real.read(real.select("train", FOLD, ("melanoma",))), 16).reflectance.double().numpy()
    own = np.einsum("cb,nbhw->nchw", job.sampler.matrix, train)
    np.testing.assert_allclose(sources.levels.mean((0, 2, 3)), own.mean((0, 2, 3)), rtol=1e-4)
    np.testing.assert_allclose(sources.levels.std((0, 2, 3)), own.std((0, 2, 3)), rtol=1e-4)
    red = rgb.read(["p0"])["cube"].combine_chunks().to_numpy_ndarray()[0, ..., 2]
    red = torch.nn.functional.interpolate(torch.tensor(red)[None, None], (16, 16), mode="area")[0, 0]
    assert np.corrcoef(sources.levels[0, 0].ravel(), red.ravel())[0, 1] > 0.999  # red is the first row of H
    generate_here(real, checkpoint, str(tmp_path / "s"), counts={"melanoma": 12}, rgb=rgb)
    made = open_store(str(tmp_path / "s"))
    origin = origin_of(made.manifest)
    assert (origin.derived, origin.rgb) == (False, rgb.manifest.fingerprint)
    assert [lesion.origin["photograph"] for lesion in made.lesions()][:4] != ["p0", "p2", "p4", "p6"]  # a keyed order
    assert {lesion.origin["photograph"] for lesion in made.lesions()} == {"p0", "p2", "p4", "p6"}


def test_unlabelled_photographs_are_taken_at_the_users_word(tmp_path, real, checkpoint):
    rgb = photographs(tmp_path / "rgb", (None,))
    assert len(synthesis._prepare(real, checkpoint, {"nevus": 3}, 0, rgb, "cpu", None, FREELY).sources["nevus"].names) == 4


def test_the_audit_knows_what_a_pre_training_saw(tmp_path, real):
    """The first run sees both classes, the second melanomas alone: cubes may copy what either saw."""
    first = train(real, tmp_path / "first", data__diagnoses=["melanoma", "dysplastic_nevus"])
    path = train(real, tmp_path / "second", data__diagnoses=["melanoma"], learner__start=str(first))
    generate_here(real, path, str(tmp_path / "s"), counts={"melanoma": 2})
    audit = origin_of(open_store(str(tmp_path / "s")).manifest).audit
    assert audit["train"] == len(real.select("train", FOLD, ("melanoma", "dysplastic_nevus")))
    assert audit["held_out"] == len(real.select("validation", FOLD, ("melanoma",)))


# --- out of range


@pytest.fixture
def spoilt(monkeypatch):
    """Makes every cube whose index is in the set unusable, after the generator and before the writer."""

    def spoilt(bad: set[int]) -> None:
        original = synthesis.CheckpointSampler.make

        def make(self, indices):
            out = original(self, indices).copy()
            for row, index in enumerate(indices):
                if index in bad:
                    out[row, 0] = np.nan
            return out

        monkeypatch.setattr(synthesis.CheckpointSampler, "make", make)

    return spoilt


def test_a_rejected_cube_is_counted_and_the_next_index_takes_its_place(tmp_path, real, checkpoint, derived, spoilt):
    spoilt({1, 4, 10})
    generate_here(real, checkpoint, str(tmp_path / "s"), counts={"melanoma": 10}, seed=3)
    made = open_store(str(tmp_path / "s"))
    assert [lesion.origin["index"] for lesion in made.lesions()] == [0, 2, 3, 5, 6, 7, 8, 9, 11, 12]
    assert origin_of(made.manifest).rejected == 3
    np.testing.assert_array_equal(cubes(made), cubes(derived)[[0, 2, 3, 5, 6, 7, 8, 9, 11, 12]])


def test_more_than_half_rejected_ends_it_and_leaves_nothing(tmp_path, real, checkpoint, spoilt):
    spoilt(set(range(2, 1000)))
    with pytest.raises(StudyError, match=r"more than half.*7 of 9.*another checkpoint"):
        generate_here(real, checkpoint, str(tmp_path / "s"), counts={"melanoma": 6})
    assert list(tmp_path.iterdir()) == []


# --- copies


@pytest.fixture
def copying(monkeypatch, real):
    """Puts train lesions, at another exposure, in the place of the cubes whose index is in the set."""
    lesions = cube_set(real.read(real.select("train", FOLD, ("dysplastic_nevus",))), 16).reflectance.numpy()

    def copying(copied: set[int]) -> None:
        original = synthesis.CheckpointSampler.make

        def make(self, indices):
            out = original(self, indices).copy()
            for row, index in enumerate(indices):
                if index in copied:
                    out[row] = 0.9 * lesions[index % len(lesions)]
            return out

        monkeypatch.setattr(synthesis.CheckpointSampler, "make", make)

    return copying


def test_copies_are_rejected_on_request_and_counted_apart(tmp_path, real, checkpoint, derived, spoilt, copying):
    copying({1, 4, 10})
    spoilt({2})
    counts = {"melanoma": 10}
    generate_here(real, checkpoint, str(tmp_path / "kept"), counts=counts, seed=3)
    kept = origin_of(open_store(str(tmp_path / "kept")).manifest)
    assert (kept.rejected, kept.reject, kept.rejected_copies) == (1, None, 0)
    assert {copy["position"] for copy in kept.audit["copies"]} >= {1, 3, 9}
    assert kept.audit["memorised"]
    source = open_store(str(tmp_path / "kept")).manifest.source
    assert not {"reject", "rejected_copies"} & {*source, *source["audit"]}  # as before copies could be rejected
    generate_here(real, checkpoint, str(tmp_path / "s"), counts=counts, seed=3, reject="copies")
    made = open_store(str(tmp_path / "s"))
    origin = origin_of(made.manifest)
    assert [lesion.origin["index"] for lesion in made.lesions()] == [0, 3, 5, 6, 7, 8, 9, 11, 12, 13]
    assert (origin.rejected, origin.reject, origin.rejected_copies) == (1, "copies", 3)
    assert (origin.audit["synthetic"], origin.audit["copies"], origin.audit["rejected"]) == (10, [], 3)
    assert not origin.audit["memorised"]
    assert "3 further cubes were copies and were left out of the set" in origin.audit["notes"]
    np.testing.assert_array_equal(cubes(made), cubes(derived)[[0, 3, 5, 6, 7, 8, 9, 11, 12, 13]])


@pytest.fixture
def strict(tmp_path, real, checkpoint, monkeypatch):
    """A threshold that splits the cubes of a trained generator."""
    monkeypatch.setattr(memorisation, "FEWEST", 1000)
    seen = origin_of(open_store(_made(tmp_path / "all", real, checkpoint)).manifest).audit["median_synthetic"]
    monkeypatch.setattr(memorisation, "FALLBACK", seen + 0.05)


def test_chunks_reject_the_same_copies(tmp_path, real, checkpoint, strict, monkeypatch):
    whole = open_store(_made(tmp_path / "whole", real, checkpoint, reject="copies")).manifest
    monkeypatch.setattr(synthesis, "CHUNK", 2)
    assert open_store(_made(tmp_path / "pieces", real, checkpoint, reject="copies")).manifest == whole
    assert origin_of(whole).rejected_copies > 0


@pytest.mark.slow
def test_workers_reject_the_same_copies(tmp_path, real, checkpoint, ray_cluster, strict):
    here = _made(tmp_path / "here", real, checkpoint, reject="copies")
    there = str(tmp_path / "there")
    generate(real, checkpoint, there, counts={"melanoma": 9}, workers=2, cluster=ray_cluster, reject="copies")
    assert open_store(here).manifest == open_store(there).manifest


def _made(place: Path, real, checkpoint, **options) -> str:
    generate_here(real, checkpoint, str(place), counts={"melanoma": 9}, **options)
    return str(place)


@pytest.fixture
def copying_own(monkeypatch, real):
    """Puts a cube's own lesion, in its orientation and at another exposure, in the place of some cubes."""
    train = cube_set(real.read(real.select("train", FOLD, "all")), 16)
    lesions = dict(zip(train.lesion_ids, train.reflectance, strict=True))

    def copying(copied: set[int]) -> None:
        original = synthesis.CheckpointSampler.make

        def make(self, indices):
            out, sources = original(self, indices).copy(), self.sources["melanoma"]
            for row, index in enumerate(indices):
                if index in copied:
                    chosen, orientation = sources.place(self.seed, index)
                    out[row] = 0.9 * orient(lesions[sources.names[chosen]], orientation).numpy()
            return out

        monkeypatch.setattr(synthesis.CheckpointSampler, "make", make)

    return copying


def test_copies_of_a_cubes_own_lesion_are_named(tmp_path, real, checkpoint, copying_own):
    copying_own(set(range(20)))
    generate_here(real, checkpoint, str(tmp_path / "all"), counts={"melanoma": 20}, seed=3)
    audit = origin_of(open_store(str(tmp_path / "all")).manifest).audit
    assert (audit["memorised"], audit["copies"], len(audit["own"]["copies"]), audit["share"]) == (True, [], 20, 1.0)
    assert audit["own"]["memorised"]


def test_copies_of_a_cubes_own_lesion_are_rejected(tmp_path, real, checkpoint, copying_own):
    copying_own({1, 4})
    generate_here(real, checkpoint, str(tmp_path / "s"), counts={"melanoma": 6}, seed=3, reject="copies")
    made = open_store(str(tmp_path / "s"))
    origin = origin_of(made.manifest)
    assert [lesion.origin["index"] for lesion in made.lesions()] == [0, 2, 3, 5, 6, 7]
    assert (origin.rejected_copies, origin.audit["rejected"], origin.audit["own"]["copies"]) == (2, 2, [])


def test_few_held_out_lesions_leave_it_unjudged(tmp_path, real, checkpoint, monkeypatch):
    monkeypatch.setattr(set_audit, "FEWEST_HELD_OUT", 99)
    audit = origin_of(open_store(_made(tmp_path / "s", real, checkpoint)).manifest).audit
    assert audit["memorised"] is None
    assert audit["unjudged"] == f"{audit['held_out']} groups of held-out lesions are fewer than 99"


def test_more_than_half_copies_end_it_and_leave_nothing(tmp_path, real, checkpoint, copying, spoilt):
    copying(set(range(3, 1000)))
    spoilt({0})
    said = r"more than half of the cubes of melanoma are left out \(6 copies of train lesions and 1 out of range, of 9\)"
    with pytest.raises(StudyError, match=said):
        generate_here(real, checkpoint, str(tmp_path / "s"), counts={"melanoma": 6}, reject="copies")
    assert list(tmp_path.iterdir()) == []


def test_a_limit_that_rejected_cubes_reach_says_so(tmp_path, real, checkpoint, copying):
    copying({0})
    limit = 8 * len(real.select("train", FOLD, ("melanoma",)))
    with pytest.raises(
        StudyError, match=rf"{limit + 1} different cubes of melanoma \(1 of them left out\).*Ask for {limit - 1}"
    ):
        generate_here(real, checkpoint, str(tmp_path / "s"), counts={"melanoma": limit}, reject="copies")
    assert list(tmp_path.iterdir()) == []


# --- what is refused


def refused(kind, match, real, checkpoint, counts=None, **options):
    with pytest.raises(kind, match=match):
        generate_here(real, checkpoint, "never-made", counts=counts or {"melanoma": 2}, **options)
    assert not Path("never-made").exists()


def test_counts_and_diagnoses_that_cannot_be_served(real, checkpoint):
    refused(StudyError, "--count 0", real, checkpoint, {"melanoma": 0})
    refused(StudyError, r"was not learnt.*melanoma", real, checkpoint, {"melanom": 2})
    limit = 8 * len(real.select("train", FOLD, ("melanoma",)))
    refused(StudyError, f"Ask for {limit} at most", real, checkpoint, {"melanoma": limit + 1})


def test_photographs_that_do_not_fit(tmp_path, real, checkpoint):
    refused(StudyError, "not photographs", real, checkpoint, rgb=real)
    refused(StudyError, "--size 16", real, checkpoint, rgb=photographs(tmp_path / "a", size=12))
    refused(
        StudyError, r"holds no melanoma \(it holds nevus\)", real, checkpoint, rgb=photographs(tmp_path / "b", ("nevus",))
    )


def test_checkpoints_of_other_stores_and_foreign_ones(tmp_path, real, checkpoint):
    other = photographs(tmp_path / "other", kind="spectral")
    refused(StoreError, r"was trained on store .*--source-store", other, checkpoint)
    refused(StudyError, "does not exist", real, tmp_path / "none.pt")
    (tmp_path / "damaged.pt").write_bytes(checkpoint.read_bytes()[:-5000])
    refused(StudyError, "cannot be read", real, tmp_path / "damaged.pt")
    torch.save({"weights": torch.zeros(1)}, tmp_path / "foreign.pt")
    refused(StudyError, "is no checkpoint of hyperderm", real, tmp_path / "foreign.pt")
    state = dict(read_checkpoint(checkpoint)[0])
    torch.save({**state, "provenance": {}}, tmp_path / "homeless.pt")
    refused(StudyError, "does not say which store", real, tmp_path / "homeless.pt")
    classifier = json.loads(state["experiment"])
    classifier |= {"learner": {"kind": "classifier"}, "task": {}, "data": {"size": 16}}
    torch.save({**state, "experiment": json.dumps(classifier)}, tmp_path / "classifier.pt")
    refused(StudyError, r"learner\.kind = classifier \(classifier\): it makes no cubes", real, tmp_path / "classifier.pt")
    torch.save({**state, "schema": SCHEMA + 1}, tmp_path / "later.pt")
    refused(
        StudyError, rf"later.pt is of schema {SCHEMA + 1}, this hyperderm reads up to {SCHEMA}", real, tmp_path / "later.pt"
    )
    learner = dict(state["learner"])
    weights = dict(learner["ema"])
    name = next(name for name, values in weights.items() if values.is_floating_point())
    weights[name] = torch.full_like(weights[name], float("nan"))
    torch.save({**state, "learner": {**learner, "ema": weights}}, tmp_path / "diverged.pt")
    refused(StudyError, rf"NaN or infinite values \({name}\): its training diverged", real, tmp_path / "diverged.pt")
    (tmp_path / "folder.pt").mkdir()
    refused(StudyError, r"folder.pt is a folder. Give a best.pt or latest.pt", real, tmp_path / "folder.pt")


def test_a_place_that_is_taken_and_a_store_of_photographs_as_the_real_one(tmp_path, real, checkpoint):
    with pytest.raises(StoreError, match="already there"):
        generate_here(real, checkpoint, real.location.uri, counts={"melanoma": 1})
    with pytest.raises((StoreError, ConfigError), match="holds photographs"):
        select(photographs(tmp_path / "rgb"), tiny())


# --- runs by name


def test_checkpoint_of_a_run(tmp_path, checkpoint):
    runs = checkpoint.parents[3]
    for run in ("rgb", str(runs / "rgb")):
        assert checkpoint_of_run(run, runs) == (checkpoint, "run rgb")
    with pytest.raises(StudyError, match=r"rgbb is no run.*'rgb'"):
        checkpoint_of_run("rgbb", runs)
    with pytest.raises(StudyError, match="Train one first"):
        checkpoint_of_run("rgb", tmp_path)
    (tmp_path / "new" / "trials").mkdir(parents=True)
    with pytest.raises(StudyError, match=r"has no best\.pt yet"):
        checkpoint_of_run("new", tmp_path)


def test_checkpoint_of_a_sweep_is_that_of_the_best_trial(tmp_path):
    from tests.cluster.sweeps import search

    sweep = tmp_path / "sweep"
    made = search(sweep, tiny(), Memory())
    (sweep / "trials").mkdir()
    with pytest.raises(StudyError, match="no trial of sweep sweep has finished"):
        checkpoint_of_run("sweep", tmp_path)
    for score in (0.5, 0.2, 0.4):
        number = ask(made).number
        made.report(str(number), 96, {"spectral_energy_distance": score})
        made.finish(str(number))
        (sweep / "trials" / f"{number:04d}").mkdir()
        (sweep / "trials" / f"{number:04d}" / "best.pt").touch()
    assert checkpoint_of_run("sweep", tmp_path) == (sweep / "trials/0001/best.pt", "trial 001, best trial of sweep sweep")
