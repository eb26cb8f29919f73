"""Sets that are chosen from a larger one, or matched to train: what is kept, what it says of itself, what is refused."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hyperderm.errors import StoreError, StudyError
from hyperderm.store.curated import Curation
from hyperderm.store.reader import Store, open_store
from hyperderm.store.synthetic import SyntheticCube, check_origin, origin_of, write_synthetic
from hyperderm.strict import json_of
from hyperderm.studies.curation import curate
from tests.studies.worlds import origin, world

FOLD, SIZE, POOL = 1, 16, 36
MARKED = 12
"""The first cubes of the pool carry a mark: a checkerboard that no lesion has."""


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> Store:
    return world(tmp_path_factory.mktemp("curated") / "store", melanomas=36, nevi=36, size=SIZE)


@pytest.fixture(scope="module")
def pool(real, tmp_path_factory) -> Store:
    """12 marked melanomas, 12 nevi that are called melanoma, and 12 copies of train melanomas, each a third by turns."""
    from hyperderm.phantom.rendering import render

    board = (np.indices((SIZE, SIZE)).sum(0) % 2 * 0.1)[..., None]
    train = real.read(real.select("train", FOLD, ["melanoma"])).column("cube").combine_chunks().to_numpy_ndarray()
    cubes = []
    for index in range(POOL):
        kind = "dysplastic_nevus" if index % 3 == 1 else "melanoma"
        cube = render(9_000 + index, kind, SIZE, seed=0).lesion.cube.reflectance
        cube = [cube + board, cube, train[index // 3]][index % 3]
        cubes.append(SyntheticCube(index, np.ascontiguousarray(cube, np.float32), "melanoma"))
    place = str(tmp_path_factory.mktemp("curated") / "pool")
    write_synthetic(place, cubes, real.manifest.wavelengths_nm, origin(real, FOLD, "made", POOL))
    return open_store(place)


def curated(real: Store, pool: Store, place: Path, count: int = 12, **asked) -> Store:
    counts = {"melanoma": count}
    curate(real, pool, str(place), Curation(**asked), counts, {"melanoma": POOL})
    return open_store(str(place))


def kinds(made: Store) -> Counter:
    """How many marked cubes, nevi and copies were kept."""
    rows = made.read(made.index().column("lesion_id").to_pylist())
    indices = [json_of(each)["index"] for each in rows.column("origin").to_pylist()]
    return Counter(("marked", "nevus", "copy")[index % 3] for index in indices)


def pixels(made: Store) -> np.ndarray:
    rows = made.read(sorted(made.index().column("lesion_id").to_pylist()))
    return rows.column("cube").combine_chunks().to_numpy_ndarray()


def test_the_judge_leaves_out_what_carries_a_mark(real, pool, tmp_path):
    found = kinds(curated(real, pool, tmp_path / "made", keep="judge"))
    assert found["marked"] <= 1
    assert found.total() == 12


def test_confidence_keeps_more_melanomas_than_chance_does(real, pool, tmp_path):
    """With 24 melanomas to learn from; what it means is in curation/test_keeping.py."""
    found = kinds(curated(real, pool, tmp_path / "made", count=12, keep="confidence"))
    assert found["nevus"] <= 2, found


def test_copies_are_left_out_and_counted(real, pool, tmp_path):
    made = curated(real, pool, tmp_path / "made", count=20, keep="copies")
    assert kinds(made)["copy"] <= 1
    said = origin_of(made.manifest).curated
    assert said.copies >= 11
    with pytest.raises(StudyError, match=r"of 36 melanoma that were drawn, 1\d are copies of train lesions, and 30"):
        curated(real, pool, tmp_path / "more", count=30, keep="copies")
    assert not (tmp_path / "more").exists()


def test_all_three_together(real, pool, tmp_path):
    """Confidence alone would keep copies first, then marked melanomas; nevi are all that is left without both."""
    found = kinds(curated(real, pool, tmp_path / "made", count=6, keep="all"))
    assert found["copy"] == 0
    assert found["marked"] <= 2


def test_random_is_no_choice_and_depends_on_the_seed(real, pool, tmp_path):
    counts, drawn = {"melanoma": 12}, {"melanoma": POOL}
    sets = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        curate(real, pool, str(tmp_path / name), Curation(keep="random"), counts, drawn, seed)
        sets.append(open_store(str(tmp_path / name)))
    assert sets[0].manifest.fingerprint == sets[1].manifest.fingerprint != sets[2].manifest.fingerprint
    assert min(kinds(sets[0]).values()) >= 2


def test_matched_cubes_have_trains_moments_and_say_what_was_clipped(real, pool, tmp_path):
    made = curated(real, pool, tmp_path / "made", count=POOL, match="moments")
    train = real.read(real.select("train", FOLD, ["melanoma"])).column("cube").combine_chunks().to_numpy_ndarray()
    was, now = (np.abs(each.mean((0, 1, 2)) - train.mean((0, 1, 2))).max() for each in (pixels(pool), pixels(made)))
    assert now < 0.1 * was
    said = origin_of(made.manifest).curated
    assert 0 <= said.clipped < 0.05
    assert pixels(made).max() <= train.max()


def test_nevi_that_are_called_melanoma(real, tmp_path):
    cubes = [
        SyntheticCube(i, lesion, "dysplastic_nevus")
        for i, lesion in enumerate(
            real.read(real.select("train", FOLD, ["dysplastic_nevus"]))
            .column("cube")
            .combine_chunks()
            .to_numpy_ndarray()[:8]
        )
    ]
    facts = origin(real, FOLD, "made", 8).model_copy(update={"requested": {"dysplastic_nevus": 8}})
    write_synthetic(str(tmp_path / "pool"), cubes, real.manifest.wavelengths_nm, facts)
    each = {"dysplastic_nevus": 8}
    curate(real, open_store(str(tmp_path / "pool")), str(tmp_path / "made"), Curation(named="melanoma"), each, each)
    made = open_store(str(tmp_path / "made"))
    assert made.manifest.diagnoses == {"melanoma": 8}
    assert origin_of(made.manifest).requested == {"melanoma": 8}
    rows = made.read(made.index().column("lesion_id").to_pylist())
    assert {json_of(each)["drawn_as"] for each in rows.column("origin").to_pylist()} == {"dysplastic_nevus"}
    np.testing.assert_array_equal(pixels(made), np.stack([cube.reflectance for cube in cubes]))


def test_a_curated_set_has_the_origin_of_its_pool(real, pool, tmp_path):
    made = curated(real, pool, tmp_path / "made", keep="random", match="noise")
    said = check_origin(made, real, FOLD)
    assert said.checkpoint == origin_of(pool.manifest).checkpoint
    assert said.curated.model_dump() == {
        "asked": {"keep": "random", "match": "noise"}, "pool": pool.manifest.fingerprint, "drawn": {"melanoma": POOL},
        "seed": 0, "copies": 0, "clipped": said.curated.clipped,
    }  # fmt: skip
    assert said.audit["synthetic"] == 12
    with pytest.raises(StudyError, match="made is a curated set"):
        curated(real, made, tmp_path / "again", keep="random")


def test_what_cannot_be_curated_leaves_nothing(real, pool, tmp_path):
    with pytest.raises(StudyError, match="37 melanoma to keep of 36 drawn"):
        curated(real, pool, tmp_path / "made", count=37, keep="judge")
    with pytest.raises(StudyError, match=r"40 melanoma to choose from, but .* holds 36"):
        curate(real, pool, str(tmp_path / "made"), Curation(keep="judge"), {"melanoma": 2}, {"melanoma": 40})
    other = world(tmp_path / "other", melanomas=12, nevi=20, size=SIZE)
    with pytest.raises(StoreError, match="was made from store"):
        curated(other, pool, tmp_path / "made", keep="judge")
    few = replace(pool)
    with pytest.raises(
        StudyError, match="a judge of real against synthetic needs 10 groups of each; there are 5 of synthetic"
    ):
        curate(real, few, str(tmp_path / "made"), Curation(keep="judge"), {"melanoma": 2}, {"melanoma": 5})
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("asked", [{}, {"keep": "best"}, {"match": "all"}, {"named": "freckle"}])
def test_words_that_mean_nothing(asked):
    with pytest.raises(ValueError, match=r"nothing is asked for|Input should be|freckle"):
        Curation(**asked)
