"""Generators that learn photographs beside cubes: what is read, how it is unmixed, how often it is shown."""

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hyperderm.config import DataConfig, Experiment, TrainingConfig
from hyperderm.cubes.cube import Cube, Lesion
from hyperderm.cubes.pseudo_rgb import pseudo_rgb_matrix
from hyperderm.errors import ConfigError, StorageAway, StoreError, StudyError
from hyperderm.learners.dcgan import DcganConfig
from hyperderm.learners.unmixer import UnmixerConfig
from hyperderm.learners.unmixer.networks import UnmixingNet
from hyperderm.phantom.rendering import phantom
from hyperderm.reports.unmixing import sections
from hyperderm.store.reader import Store, open_store
from hyperderm.store.synthetic import origin_of
from hyperderm.store.writer import write_store
from hyperderm.studies import photograph_audit
from hyperderm.studies.named_runs import find_inputs
from hyperderm.studies.photograph_audit import PhotographAudit
from hyperderm.studies.synthesis import generate_here
from hyperderm.studies.unmixing import of_net, unmix_store
from hyperderm.training.checkpoint import BEST
from hyperderm.training.context import local
from hyperderm.training.data import cube_set
from hyperderm.training.named_checkpoints import read_checkpoint
from hyperderm.training.run import load_sampler
from hyperderm.training.selection import content, read, select
from hyperderm.training.stream import check_streams, feed_of
from hyperderm.workflows.run_tracking import audit_notes
from tests.cluster.sweeps import Memory, train_once

FOLD, SIZE = 1, 16
NM = np.array([465.0, 545.0, 610.0])


@pytest.fixture(scope="module")
def real(phantom_store) -> Store:
    return open_store(str(phantom_store))


@pytest.fixture(scope="module")
def runs(real, tmp_path_factory) -> Path:
    """Two unmixing nets: `colours` sees the pseudo-RGB, `bands` all bands."""
    place = tmp_path_factory.mktemp("runs")
    for name, seen in (("colours", "rgb"), ("bands", "all")):
        made = Experiment(
            name="tiny",
            profile="small",
            data=DataConfig(size=SIZE, diagnoses="all", fold=FOLD),
            learner=UnmixerConfig(endmembers=3, width=8, stages=1, lr=1e-2, bands=seen, start_by="sisal"),
            training=TrainingConfig(batch_size=4, images=64, validate_every=64),
        )
        train_once(made, real, place / name / "trials" / "0000", provenance(real, name), Memory())
    return place


def provenance(real: Store, name: str) -> dict[str, str]:
    return {"run": f"{name}-key", "hyperderm.manifest": real.manifest.fingerprint, "hyperderm.fold": str(FOLD)}


def pictures(lesions: Iterable[Lesion], place: Path, named: bool = True, **changes: object) -> Store:
    """Photographs of lesions: their pseudo-RGB, as `--layout photographs` stores it."""
    matrix = None

    def all_of() -> Iterable[Lesion]:
        nonlocal matrix
        for lesion in lesions:
            matrix = pseudo_rgb_matrix(tuple(lesion.cube.wavelengths_nm)) if matrix is None else matrix
            levels = np.einsum("cb,hwb->hwc", matrix, lesion.cube.reflectance)[..., ::-1].astype(np.float32)
            kind = lesion.diagnosis if named else None
            yield replace(lesion, cube=Cube(levels.copy(), NM), diagnosis=kind, **changes)

    write_store(str(place), all_of(), fold_count=0, kind="rgb")
    return open_store(str(place))


@pytest.fixture(scope="module")
def others(tmp_path_factory) -> Store:
    """Photographs of lesions that no store of cubes holds."""
    return pictures((one.lesion for one in phantom(24, 32, 77)), tmp_path_factory.mktemp("others") / "rgb")


def experiment(photographs: Store, **overrides: object) -> Experiment:
    made = Experiment(
        name="tiny",
        profile="small",
        data=DataConfig(size=SIZE, diagnoses="all", fold=FOLD, photographs=photographs.location.uri),
        learner=DcganConfig(
            generator_width=4,
            critic_width=4,
            norm="layer",
            generator_norm="layer",
            conditioning="class",
            space="abundance",
            unmixing="colours",
        ),
        training=TrainingConfig(batch_size=8, images=32, validate_every=16, validation_samples=8, precision="fp32"),
    )
    return made.override({path.replace("__", "."): value for path, value in overrides.items()})


def prepared(made: Experiment, real: Store, runs: Path):
    inputs = find_inputs(made, real, runs)
    return inputs, made.learner.in_space(made, read(real, select(real, made), made, inputs.states))


# --- what is learnt


def test_photographs_stand_beside_the_lesions_of_train(real, runs, others):
    made = experiment(others)
    _, data = prepared(made, real, runs)
    held = {row["lesion_id"]: row["diagnosis"] for row in others.index().to_pylist()}
    assert data.extra.lesion_ids == tuple(sorted(held))
    assert data.extra.diagnoses == tuple(held[name] for name in sorted(held))
    assert data.extra.reflectance.shape == (24, 16, SIZE, SIZE)
    assert data.rows == len(data.train) + 24
    seen = data.space.forward(data.extra.reflectance.double())
    torch.testing.assert_close(data.space.inverse(seen), data.extra.reflectance.double(), atol=1e-5, rtol=0)  # mixtures


def test_a_photograph_is_what_the_net_sees_in_it(real, runs, tmp_path):
    """Photographs that are the pseudo-RGB of train itself are matched already."""
    train = set(real.select("train", FOLD, "all"))
    same = pictures((lesion for lesion in real.lesions() if lesion.lesion_id in train), tmp_path / "rgb")
    _, data = prepared(experiment(same), real, runs)
    network = UnmixingNet.from_state(read_checkpoint(runs / "colours" / "trials" / "0000" / BEST)[0]["learner"]["network"])
    matrix = torch.from_numpy(pseudo_rgb_matrix(data.wavelengths_nm))
    order = [data.train.lesion_ids.index(name) for name in data.extra.lesion_ids]
    levels = torch.einsum("cb,nbhw->nchw", matrix, data.train.reflectance[order].double()).float()
    _, expected = network(levels)
    torch.testing.assert_close(data.extra.reflectance, expected, atol=2e-3, rtol=0)


def test_their_share_of_a_batch_is_the_one_that_was_asked_for(real, runs, others):
    for share, expected in ((None, 0.5), (0.25, 0.25)):
        made = experiment(others, data__photographs_share=share)
        _, data = prepared(made, real, runs)
        feed = feed_of(made, data, local(runs / "nowhere"))
        rows = torch.cat([feed.batch(at).rows for at in range(0, 400, 8)])
        assert float((rows >= len(data.train)).double().mean()) == pytest.approx(expected, abs=0.01)


def test_balanced_classes_balance_the_photographs_too(real, runs, others):
    made = experiment(others, learner__balance_classes=True)
    _, data = prepared(made, real, runs)
    feed = feed_of(made, data, local(runs / "nowhere"))
    drawn = [data.drawn_diagnoses[row] for at in range(0, 800, 8) for row in feed.batch(at).rows.tolist()]
    counts = [drawn.count(name) for name in data.classes]
    assert max(counts) <= 1.2 * min(counts)


def test_a_run_with_photographs_trains_says_so_and_makes_cubes(real, runs, others, tmp_path):
    made = experiment(others)
    inputs = find_inputs(made, real, runs)
    told = provenance(real, "fused") | inputs.tags | content(made, 16)
    memory = Memory()
    train_once(made, real, tmp_path / "fused", told, memory, inputs=inputs)
    state, _ = read_checkpoint(tmp_path / "fused" / BEST)
    assert state["provenance"]["hyperderm.photographs"] == others.manifest.fingerprint
    assert state["seen"] == sorted(real.manifest.diagnoses)
    assert {"score_through_space", "held_out_unmixing_rmse", "held_out_rmse_from_colours"} <= state["metrics"].keys()
    assert state["metrics"]["held_out_unmixing_rmse"] < state["metrics"]["held_out_rmse_from_colours"]
    cubes = load_sampler(state).sample(0, range(3), torch.tensor([0, 1, 0]))
    assert cubes.shape == (3, 16, SIZE, SIZE)
    assert torch.isfinite(cubes).all()


def test_a_store_of_photographs_is_unmixed_by_the_net(real, runs, others):
    state, _ = read_checkpoint(runs / "colours" / "trials" / "0000" / BEST)
    request = of_net(others, state, source=real)
    kept = {}
    found = unmix_store(request, lambda name, maps: kept.__setitem__(name, maps))
    assert found.endmembers.shape == (3, 16)
    assert kept.keys() == {lesion.lesion_id for lesion in others.lesions()}
    pixels = {}
    for lesion in others.lesions():
        matched = request.colours.colours(lesion.cube.reflectance, lesion.diagnosis)
        np.testing.assert_allclose(
            kept[lesion.lesion_id].reshape(-1, 3), request.colours.abundances(matched, 32, 32), atol=1e-6
        )
        pixels.setdefault(lesion.diagnosis, []).append(matched)
    for diagnosis, rows in pixels.items():  # matched: mean and deviation are those of the train cubes of the same diagnosis
        values = np.concatenate(rows)
        np.testing.assert_allclose(values.mean(0), request.colours.known_means[diagnosis], atol=1e-6)
        np.testing.assert_allclose(values.std(0), request.colours.known_spreads[diagnosis], atol=1e-6)
    assert "three colours do not say how much" in " ".join(sections.content(found, {}).warnings)
    bands, _ = read_checkpoint(runs / "bands" / "trials" / "0000" / BEST)
    with pytest.raises(ConfigError, match="this net sees all bands, and photographs have three colours"):
        of_net(others, bands, source=real)
    with pytest.raises(StoreError, match="this net was trained on store"):
        of_net(others, state, source=others)


def test_copies_of_photographs_are_looked_for_in_a_set(real, runs, tmp_path, monkeypatch):
    lesions = [one.lesion for one in phantom(30, 32, 77)]
    rgb = pictures(lesions, tmp_path / "rgb", image_id="x")
    made = experiment(rgb)
    inputs = find_inputs(made, real, runs)
    train_once(
        made, real, tmp_path / "run", provenance(real, "a") | inputs.tags | content(made, 16), Memory(), inputs=inputs
    )
    best = tmp_path / "run" / BEST
    generate_here(real, best, str(tmp_path / "set"), counts={"melanoma": 4})
    audit = origin_of(open_store(str(tmp_path / "set")).manifest).audit
    assert audit["photographs"]["synthetic"] == 4
    learnt = [one for one in lesions if one.diagnosis in real.manifest.diagnoses]
    assert audit["photographs"]["train"] == len(learnt)
    assert re.search(rf"Audit against photographs: \d of 4 cubes are copies of one of {len(learnt)} photo", notes(tmp_path))
    (tmp_path / "rgb").rename(tmp_path / "moved")
    generate_here(real, best, str(tmp_path / "again"), counts={"melanoma": 4})
    assert "were not looked for, because" in notes(tmp_path, "again")
    assert "Bring the photographs back to where they were" in notes(tmp_path, "again")
    pictures(lesions[:9], tmp_path / "rgb", image_id="x")
    generate_here(real, best, str(tmp_path / "changed"), counts={"melanoma": 4})
    assert f"now, and was {rgb.manifest.fingerprint[:12]}" in notes(tmp_path, "changed")

    def away(*_):
        raise StorageAway("the S3 server does not answer", "Start it.")

    monkeypatch.setattr(photograph_audit, "extra_store", away)
    with pytest.raises(StorageAway):  # a server that is away is no reason to look for no copies
        generate_here(real, best, str(tmp_path / "never"), counts={"melanoma": 4})
    assert not (tmp_path / "never").exists()


def test_a_copy_of_a_photograph_is_found_whatever_its_bands(real, tmp_path):
    """Cubes whose colours are those of photographs, brighter and mirrored, are copies; other lesions are not."""
    lesions, others = ([one.lesion for one in phantom(count, 32, seed)] for count, seed in ((40, 77), (8, 5)))
    rgb = pictures(lesions, tmp_path / "rgb", image_id="x")
    train, held = (cube_set(real.read(real.select(role, FOLD, "all")), SIZE) for role in ("train", "validation"))
    photographs = cube_set(rgb.read([one.lesion_id for one in lesions]), SIZE)
    audit = PhotographAudit(photographs, train, held, tuple(real.manifest.wavelengths_nm))
    made = [one.cube.reflectance.reshape(SIZE, 2, SIZE, 2, -1).mean((1, 3)) for one in (*lesions[:8], *others)]
    cubes = np.stack([0.8 * np.moveaxis(cube, 2, 0)[:, :, ::-1] for cube in made]).astype(np.float32)
    for cube in cubes:
        audit.keep(audit.match(cube[None]))
    found = audit.result()
    assert found["memorised"]
    copies = {copy["position"]: copy["lesion"] for copy in found["copies"]}
    assert len(copies.keys() & set(range(8))) >= 6
    assert all(copies[k] == lesions[k].lesion_id for k in copies if k < 8)
    assert not copies.keys() & set(range(8, 16))


def notes(folder, name="set"):
    return " ".join(audit_notes(open_store(str(folder / name)).manifest))


def test_photographs_without_a_diagnosis_count_as_the_one_that_is_learnt(real, runs, tmp_path):
    unnamed = pictures((one.lesion for one in phantom(6, 32, 77)), tmp_path / "rgb", named=False)
    made = experiment(unnamed, data__diagnoses=["melanoma"], learner__conditioning="none")
    _, data = prepared(made, real, runs)
    assert set(data.extra.diagnoses) == {"melanoma"}
    with pytest.raises(StoreError, match=r"says no diagnosis, and \d diagnoses are learnt"):
        select(real, experiment(unnamed))


def test_of_all_diagnoses_those_that_the_cubes_have_are_learnt(real, runs, tmp_path):
    more = pictures((one.lesion for one in phantom(6, 32, 77)), tmp_path / "rgb", image_id="x")
    only = pictures(
        (replace(one.lesion, diagnosis="intraepidermal_carcinoma") for one in phantom(3, 32, 78)), tmp_path / "other"
    )
    _, data = prepared(experiment(more), real, runs)
    assert set(data.extra.diagnoses) <= set(real.manifest.diagnoses)
    with pytest.raises(StoreError, match=r"holds intraepidermal_carcinoma, and none of the diagnoses that are learnt"):
        select(real, experiment(only))


# --- what is refused


@pytest.mark.parametrize("role", ["validation", "test"])
def test_a_photograph_of_a_held_out_lesion_is_refused(real, tmp_path, role):
    shown = next(lesion for lesion in real.lesions() if real.folds().role(lesion.group, FOLD) == role)
    rgb = pictures([shown, *(one.lesion for one in phantom(3, 32, 77))], tmp_path / "rgb")
    with pytest.raises(StoreError, match=rf"shows 1 of \d+ lesions of the {role} role of fold 1 \(1 by file\)"):
        select(real, experiment(rgb))


def test_the_patient_of_a_held_out_lesion_is_refused(real, tmp_path):
    """The store of photographs says that two pictures are of one patient; one, not learnt, is a lesion of the test role."""
    test = next(
        lesion
        for lesion in real.lesions()
        if real.folds().role(lesion.group, FOLD) == "test" and lesion.diagnosis != "melanoma"
    )
    stranger = replace(next(one.lesion for one in phantom(1, 32, 77)), diagnosis="melanoma")
    rgb = pictures([replace(each, group="p") for each in (test, stranger)], tmp_path / "rgb")
    made = experiment(rgb, data__diagnoses=["melanoma"], learner__conditioning="none")
    with pytest.raises(StoreError, match=r"of the test role of fold 1 \(1 by group\)"):
        select(real, made)


def test_a_patient_whom_both_stores_name_alike_is_refused(tmp_path):
    """A patient of a held-out lesion, in another picture; the same words as names of pictures tell nothing."""
    cubes = [replace(one.lesion, group=f"patient {number // 2}") for number, one in enumerate(phantom(30, 32, 5))]
    write_store(str(tmp_path / "cubes"), cubes, fold_count=3, seed=0)
    store = open_store(str(tmp_path / "cubes"))
    held = next(each.group for each in store.lesions() if store.folds().role(each.group, FOLD) == "validation")
    rgb = pictures((one.lesion for one in phantom(4, 32, 77)), tmp_path / "rgb", group=held)
    with pytest.raises(StoreError, match=rf"patients of the validation role of fold 1: both stores name {held}\..*--groups"):
        select(store, experiment(rgb))
    named = pictures((one.lesion for one in phantom(4, 32, 77)), tmp_path / "named", group=held, image_id=held)
    select(store, experiment(named))


def test_what_a_net_that_cannot_see_colours_is_asked(real, runs, others):
    with pytest.raises(StudyError, match=r"learner.unmixing = bands: it sees all bands, and photographs have three colours"):
        find_inputs(experiment(others, learner__unmixing="bands"), real, runs)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"data__fold": 0}, r"learner.unmixing = colours: it was trained for fold 1, this run is of fold 0"),
        ({"data__size": 28}, r"learner.unmixing = colours: it was trained on 16 pixels, this run on 28"),
        ({"learner__unmixing": "nowhere"}, r"nowhere"),
    ],
)
def test_a_net_of_another_fold_size_or_none(real, runs, others, change, said):
    with pytest.raises(StudyError, match=said):
        find_inputs(experiment(others, **change), real, runs)


def test_a_net_of_another_store_is_refused(runs, others, tmp_path):
    write_store(str(tmp_path / "other"), (one.lesion for one in phantom(24, 32, 9)), fold_count=3)
    with pytest.raises((StoreError, StudyError), match=r"learner.unmixing = colours: it was trained on store"):
        find_inputs(experiment(others), open_store(str(tmp_path / "other")), runs)


def test_smaller_photographs_and_other_stores(real, runs, tmp_path):
    small = pictures((one.lesion for one in phantom(3, 12, 77)), tmp_path / "small")
    with pytest.raises(StudyError, match=r"data.photographs = .* holds photographs of 12 pixels, this generator makes 16"):
        select(real, experiment(small))
    with pytest.raises(StudyError, match=r"data.photographs = .* holds spectral cubes, not photographs"):
        select(real, experiment(real))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"learner.space": "cube", "learner.unmixing": None},
            r"a photograph has three colours. Use learner.space=abundance",
        ),
        ({"learner.unmixing": None}, r"learner.unmixing = None is refused: a photograph has three colours"),
        (
            {"data.photographs": None, "data.photographs_share": 0.3},
            r"data.photographs_share = 0.3 without data.photographs",
        ),
        ({"data.photographs_share": 1.0}, r"data.photographs_share"),
    ],
)
def test_settings_that_do_not_fit(others, change, said):
    with pytest.raises(ConfigError, match=said):
        experiment(others).override(change)


def test_other_learners_and_streams_refuse_them(others):
    unmixer = {"kind": "unmixer"}
    with pytest.raises((ConfigError, ValueError), match=r"only generators learn photographs"):
        Experiment(name="x", data=experiment(others).data, learner=UnmixerConfig(**unmixer))
    with pytest.raises(ConfigError, match=r"data.photographs cannot be fed by a stream"):
        check_streams(experiment(others))
