"""An evaluation says of sets with a known answer what is known, and refuses or tells what cannot be compared."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hyperderm.errors import StoreError
from hyperderm.metrics.evaluation.measure import METRICS, measure
from hyperderm.metrics.evaluation.names import SCORES
from hyperderm.metrics.evaluation.scores import MOST, comparison
from hyperderm.metrics.memorisation import Auditor, Reference
from hyperderm.phantom.rendering import phantom
from hyperderm.reports.evaluation import words
from hyperderm.reports.evaluation.sections import content
from hyperderm.reports.evaluation.tables import score_table
from hyperderm.store.reader import open_store
from hyperderm.store.writer import write_store
from hyperderm.studies.evaluated_sets import fold_of_sets, names_of, read_roles, read_set
from hyperderm.studies.evaluation import evaluate, flat_scores
from hyperderm.training.data import cube_set
from tests.evaluations import SPACES, group, lesions, write_set

FOLD = 1


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """A store of 240 phantom lesions: 20 melanomas in each of three folds."""
    place = str(tmp_path_factory.mktemp("stores") / "phantom")
    write_store(place, (one.lesion for one in phantom(240, 32, 0)), fold_count=3, seed=0)
    return open_store(place)


@pytest.fixture(scope="module")
def train(real):
    return cube_set(real.read(real.select("train", FOLD, ["melanoma"])), 32).reflectance


@pytest.fixture(scope="module")
def fresh(real):
    """Melanomas of another draw of the same phantom."""
    cubes, kinds, _ = lesions(110, seed=7)
    return cubes[[i for i, kind in enumerate(kinds) if kind == "melanoma"]]


def evaluated(real, *stores, fold=None, **options):
    chosen = fold_of_sets(real, stores, fold)
    roles = read_roles(real, stores, chosen)
    sets = [read_set(store, name, roles) for store, name in zip(stores, names_of(stores), strict=True)]
    return evaluate(roles, sets, SPACES, draws=16, **options)


@pytest.fixture(scope="module")
def both(tmp_path_factory, real, train, fresh):
    """An honest set, and one of copies at another exposure."""
    folder = tmp_path_factory.mktemp("sets")
    copies = train[:20] * 1.2 + 0.005 * torch.randn(20, *train.shape[1:], generator=torch.Generator().manual_seed(0))
    honest, copied = (write_set(folder / name, real, cubes, FOLD) for name, cubes in (("honest", fresh), ("copies", copies)))
    return evaluated(real, honest, copied)


def test_every_score_that_is_named_is_measured_and_no_other(both):
    for each in both.sets:
        assert {score.key for score in each.measured.scores.found} == set(SCORES), each.measured.scores.left
        assert not each.measured.scores.left
    assert {key.rpartition("/")[2] for key in SCORES} <= METRICS.keys()


def test_an_honest_set_is_as_real_and_copies_are_not_new(both):
    honest, copied = both.sets
    assert honest.audit is not None
    assert not honest.audit.memorised
    assert not honest.memorised
    assert sum(score.verdict == "as real" for score in honest.measured.scores.found) > 0.75 * len(SCORES)
    assert copied.audit is not None
    assert copied.audit.memorised
    assert len(copied.audit.copies) >= 19
    nearest = copied.measured.scores.get("train/nearest/sam_nearest")
    assert nearest is not None
    assert nearest.verdict == "below real"
    answer = words.answer(both)
    assert "no copies of train lesions were found" in answer[0]
    assert "NOT new" in answer[1]


def test_values_are_json_and_numbers_for_tracking(both):
    found = json.loads(json.dumps(both.to_dict(), allow_nan=False))
    assert found["sets"]["honest"]["scores"].keys() == set(SCORES)
    told = found["metrics"]["frechet"]
    assert (told["function"], told["better"]) == ("hyperderm.metrics.distribution.frechet_distance", "lower")
    assert "|μ_f − μ_g|²" in told["docs"]
    numbers = flat_scores(both.sets[1])
    assert numbers["audit/share"] >= 0.95
    assert {f"{key}/real" for key in SCORES if key.startswith("level")} <= numbers.keys()


def test_sets_of_different_numbers_each_have_their_own_range_in_the_table(tmp_path, real, fresh):
    found = evaluated(real, *(write_set(tmp_path / f"n{n}", real, fresh[:n], FOLD, seed=n) for n in (8, 16)))
    rows = {row.cells[0].sub: row.cells for row in score_table(found).rows if not row.heading}
    first, second = (each.measured.scores.get("held_out/inception/frechet") for each in found.sets)
    assert (first.size, second.size) == (8, 16)
    assert rows["frechet"][2].sub == "differs with the number of cubes"
    assert "; 8 cubes, real [" in rows["frechet"][3].sub
    assert "; 16 cubes, real [" in rows["frechet"][4].sub


def test_the_judgement_of_own_lesions_stands_in_every_output(both):
    own = {"memorised": True, "copies": [], "changed": 20, "found": 15}
    derived = replace(both.sets[0], audit=replace(both.sets[0].audit, derived=True, memorised=None), recorded={"own": own})
    found = replace(both, sets=[derived])
    assert found.to_dict()["sets"]["honest"]["memorised"] is True
    assert flat_scores(derived)["audit/memorised"] == 1.0
    assert "NOT new" in words.answer(found)[0]
    assert flat_scores(both.sets[0])["audit/memorised"] == 0.0


def test_the_size_of_a_smaller_set_is_taken_and_told(tmp_path, real, fresh):
    small = torch.nn.functional.interpolate(fresh[:12], (24, 24), mode="area")
    found = evaluated(real, write_set(tmp_path / "small", real, small, FOLD))
    assert found.roles.size == 24
    assert "Compared at 24 px" in found.roles.notes[0]
    assert found.how.train.cubes.shape[2:] == (24, 24)


def test_copies_of_held_out_lesions_are_told(tmp_path, real):
    held = cube_set(real.read(real.select("validation", FOLD, ["melanoma"])), 32).reflectance
    found = evaluated(real, write_set(tmp_path / "seen", real, held * 1.1, FOLD))
    assert "has its generator seen them?" in words.answer(found)[0]
    assert any("nearer to held-out lesions" in warning for warning in content(found).warnings)


def test_cubes_that_show_nothing_are_named(tmp_path, real, fresh):
    cubes = fresh[:9].clone()
    cubes[4] = 0
    found = evaluated(real, write_set(tmp_path / "black", real, cubes, FOLD))
    assert any("1 of its cubes show nothing" in note and "0000004" in note for note in found.sets[0].made.notes)
    refused("every value of .* is zero", real, write_set(tmp_path / "dark", real, cubes * 0, FOLD))


@pytest.mark.parametrize(("times", "most"), [(4, 2), pytest.param(20, 4, marks=pytest.mark.slow)])
def test_the_headline_seldom_accuses_real_cubes(real, times, most):
    """Fresh lesions of the phantom in the place of synthetic ones, many times: at most a few headlines say unlike."""
    accused = 0
    for seed in range(times):
        cubes, _, nm = lesions(90, side=16, seed=100 + seed)
        how = comparison(group("train", cubes[:40], nm), group("held-out", cubes[40:60], nm), nm, draws=16)
        made = SimpleNamespace(measured=measure(group("made", cubes[60:], nm), how, SPACES))
        accused += any(words.differing(made, aspect) for aspect in words.ASPECTS)
    assert accused <= most


def test_few_cubes_leave_out_what_needs_more_and_the_rest_goes_on(tmp_path, real, fresh):
    found = evaluated(real, write_set(tmp_path / "few", real, fresh[:3], FOLD))
    (each,) = found.sets
    left = {one.key: one.why for one in each.measured.scores.left}
    assert {"held_out/inception/frechet", "held_out/inception/two_sample_auroc", "mean_spectra/lesion_angle"} <= left.keys()
    assert "Use 4 cubes of each" in left["held_out/inception/frechet"]
    assert each.measured.scores.get("level/variance")
    assert each.measured.scores.get("held_out/nearest/ssim")
    one = evaluated(real, write_set(tmp_path / "one", real, fresh[:1], FOLD)).sets[0]
    score = one.measured.scores.get("level/variance")
    assert score is not None
    assert score.low is None


@pytest.mark.slow  # its short form is test_copies_of_held_out_lesions_are_told
def test_the_real_store_itself_is_all_copies_and_says_so(real):
    found = evaluated(real, real, fold=FOLD)
    (each,) = found.sets
    assert "This is the real store itself" in each.made.notes[0]
    assert each.audit is not None
    assert each.audit.memorised
    assert len(each.audit.copies) >= len(found.roles.seen)


def test_three_bands_and_two_hundred(tmp_path):
    for bands in (3, 200):
        rng = torch.Generator().manual_seed(bands)
        base = torch.rand(40, bands, 16, 16, generator=rng) * 0.2 + 0.3
        nm = np.linspace(400, 1000, bands)
        how = comparison(group("train", base[:14], nm), group("held-out", base[14:27], nm), nm, draws=8)
        found = measure(group("made", base[27:], nm), how, SPACES)
        assert {score.key for score in found.scores.found} == set(SCORES), found.scores.left


def refused(match, real, *stores, fold=None):
    with pytest.raises(StoreError, match=match):
        evaluated(real, *stores, fold=fold)


def test_sets_that_cannot_be_compared(tmp_path, real, fresh):
    cubes = fresh[:6]
    refused("made for fold 2, not for fold 1", real, write_set(tmp_path / "other", real, cubes, 2), fold=FOLD)
    refused("no lesion is held out from all", real, *(write_set(tmp_path / f"f{k}", real, cubes, k) for k in (0, 1)))
    refused("made from store dddd", real, write_set(tmp_path / "store", real, cubes, FOLD, manifest="d" * 64))
    longer = tuple(nm + 50 for nm in real.manifest.wavelengths_nm)
    refused("other bands", real, write_set(tmp_path / "bands", real, cubes, FOLD, wavelengths=longer))
    refused("negative, so they are no reflectance", real, write_set(tmp_path / "tanh", real, cubes * 2 - 1, FOLD))
    refused("another unit", real, write_set(tmp_path / "percent", real, cubes * 100, FOLD))
    refused("--fold 3 does not exist", real, write_set(tmp_path / "fine", real, cubes, FOLD), fold=3)
    refused("no set says for which fold", real, real)
    twice = write_set(tmp_path / "x", real, cubes, FOLD), write_set(tmp_path / "y", real, cubes, FOLD)
    refused("hold the same set", real, *twice)


def test_photographs_and_damaged_cubes(tmp_path, real, fresh):
    photographs = tmp_path / "rgb"
    from tests.studies.test_synthesis import photographs as stored

    refused("holds photographs", real, stored(photographs), fold=FOLD)
    refused("holds photographs", stored(tmp_path / "rgb2"), real, fold=FOLD)
    spoilt = fresh[:5].clone()
    spoilt[3, 2, 1, 1] = float("nan")
    with pytest.raises(StoreError, match="made 3 of made holds NaN"):
        group("made", spoilt, real.manifest.wavelengths_nm)


def test_a_set_that_others_made_is_taken_and_told(tmp_path, real, fresh):
    from hyperderm.cubes.cube import Cube, Lesion

    nm = np.array(real.manifest.wavelengths_nm)
    rows = [
        Lesion(f"m{i}", f"m{i}", f"m{i}", "melanoma", Cube(np.moveaxis(x.numpy(), 0, 2).copy(), nm), None, {})
        for i, x in enumerate(fresh[:8])
    ]
    write_store(str(tmp_path / "theirs"), iter(rows), fold_count=0, source={"verb": "ingest"})
    found = evaluated(real, open_store(str(tmp_path / "theirs")), fold=FOLD)
    assert "not proven that its generator has not seen" in found.sets[0].made.notes[0]


def test_a_large_set_is_drawn_from(real, train):
    many = group("many", train[:1].expand(MOST + 5, -1, -1, -1), real.manifest.wavelengths_nm)
    drawn = many.sampled()
    assert len(drawn) == MOST
    assert list(drawn.ids) == [name for name in many.ids if name in set(drawn.ids)]
    how = comparison(
        group("train", train[:9], real.manifest.wavelengths_nm),
        group("h", train[9:15], real.manifest.wavelengths_nm),
        range(16),
    )
    with pytest.raises(StoreError, match=f"Give 1 to {MOST}"):
        measure(many, how)


def test_a_set_named_like_a_role_keeps_its_own_features(tmp_path, real, fresh):
    """Features of a role and of a set are kept by name: under one name, a set would be compared with itself."""
    found = evaluated(real, write_set(tmp_path / "validation", real, fresh[:12], FOLD))
    (each,) = found.sets
    assert each.made.name != found.roles.held_out.name
    assert each.measured.published["seed_001/fid_scaled"] > 0
    assert len(each.measured.level_values["variance"]) == 2


def test_one_band_can_be_audited(tmp_path):
    rng = torch.Generator().manual_seed(0)
    cubes = torch.rand(12, 1, 16, 16, generator=rng) * 0.2 + 0.3
    ids = [str(i) for i in range(8)]
    auditor = Auditor(Reference(cubes[:8], cubes[8:10], ids, ids))
    auditor.add(torch.cat([cubes[:1], cubes[10:]]))
    assert 0 in [copy.position for copy in auditor.result(False).copies]
