"""Synthetic sets carry their origin, and sets of another manifest or fold are refused."""

import numpy as np
import pytest

from hyperderm.errors import StoreError
from hyperderm.store.manifest import Folds, Manifest, Part
from hyperderm.store.reader import open_store
from hyperderm.store.synthetic import SyntheticCube, SyntheticOrigin, check_origin, origin_of, write_synthetic
from hyperderm.store.writer import write_store
from tests.store.lesions import NM, lesion, lesions


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    place = tmp_path_factory.mktemp("real") / "store"
    write_store(str(place), lesions(9), fold_count=3)
    return open_store(str(place))


def origin(real, **changes):
    facts = {
        "generator": "phantom",
        "run": "a-run",
        "checkpoint": "c0ffee00" * 8,
        "experiment": "e" * 64,
        "manifest": real.manifest.fingerprint,
        "fold": 1,
        "seed": 4,
        "requested": {"melanoma": 2, "nevus": 1},
        "derived": False,
    }
    return SyntheticOrigin(**{**facts, **changes})


def cubes():
    for i, diagnosis in enumerate(("melanoma", "melanoma", "nevus")):
        yield SyntheticCube(7 * i, lesion(i).cube.reflectance, diagnosis, {"derived_from": f"lesion-{i}"})


def made(place, real, finish=None, **changes):
    write_synthetic(str(place), cubes(), NM, origin(real, **changes), finish)
    return open_store(str(place))


def test_rows_and_manifest_say_where_the_cubes_come_from(tmp_path, real):
    store = made(tmp_path / "s", real, lambda: {"rejected": 3, "audit": {"memorised": False}})
    manifest = store.manifest
    assert (manifest.lesions, manifest.diagnoses, manifest.folds) == (3, {"melanoma": 2, "nevus": 1}, None)
    assert origin_of(manifest) == origin(real, rejected=3, audit={"memorised": False})
    rows = list(store.lesions())
    assert [row.lesion_id for row in rows] == [f"synthetic-c0ffee00-4-{i:07d}" for i in (0, 7, 14)]
    for i, row in enumerate(rows):
        np.testing.assert_array_equal(row.cube.reflectance, lesion(i).cube.reflectance)
        assert row.mask is None
        assert row.group == row.lesion_id
        assert row.group not in real.folds().groups
        assert row.origin == {
            "run": "a-run",
            "checkpoint": "c0ffee00" * 8,
            "seed": 4,
            "fold": 1,
            "manifest": real.manifest.fingerprint,
            "generator": "phantom",
            "index": 7 * i,
            "derived_from": f"lesion-{i}",
        }


def test_the_same_set_twice_has_one_fingerprint(tmp_path, real):
    first, again, other = (made(tmp_path / name, real, seed=seed) for name, seed in (("a", 4), ("b", 4), ("c", 5)))
    assert first.manifest == again.manifest != other.manifest


def test_origin_is_proved(tmp_path, real):
    assert check_origin(made(tmp_path / "s", real), real, 1) == origin(real)


def test_a_set_of_another_fold_is_refused(tmp_path, real):
    with pytest.raises(StoreError, match=r"was made for fold 1, not for fold 2.*data\.fold=1"):
        check_origin(made(tmp_path / "s", real), real, 2)


def test_a_set_of_another_manifest_is_refused_with_both_fingerprints(tmp_path, real):
    write_store(str(tmp_path / "other"), lesions(12), fold_count=3)
    other = open_store(str(tmp_path / "other"))
    with pytest.raises(StoreError) as caught:
        check_origin(made(tmp_path / "s", real), other, 1)
    assert real.manifest.fingerprint[:12] in caught.value.what
    assert other.manifest.fingerprint[:12] in caught.value.what
    assert "a checkpoint trained on this one" in caught.value.remedy


def test_a_store_that_is_no_set_and_one_of_other_bands(tmp_path, real):
    assert origin_of(real.manifest) is None
    with pytest.raises(StoreError, match=r"is no synthetic set.*hyperderm generate"):
        check_origin(real, real, 1)
    write_synthetic(str(tmp_path / "bands"), cubes(), NM + 1, origin(real))
    with pytest.raises(StoreError, match="other bands"):
        check_origin(open_store(str(tmp_path / "bands")), real, 1)


def test_an_origin_of_another_version_is_refused(real):
    manifest = real.manifest.model_copy(update={"source": {"verb": "generate", "fold": "one"}})
    with pytest.raises(StoreError, match=r"cannot be read.*generate it again"):
        origin_of(manifest)


def test_a_set_has_no_roles_and_photographs_are_not_trained_on(tmp_path, real):
    with pytest.raises(StoreError, match=r"is a synthetic set.*real store"):
        made(tmp_path / "s", real).select("train", 0, "all")
    write_store(str(tmp_path / "rgb"), lesions(9), fold_count=3, kind="rgb")
    with pytest.raises(StoreError, match=r"holds photographs.*--rgb"):
        open_store(str(tmp_path / "rgb")).select("train", 0, "all")


def test_nothing_is_left_when_the_cubes_stop_half_way(tmp_path, real):
    def broken():
        yield from cubes()
        raise StoreError("no more")

    with pytest.raises(StoreError, match="no more"):
        write_synthetic(str(tmp_path / "s"), broken(), NM, origin(real))
    assert list(tmp_path.iterdir()) == []


def test_lesions_stream_out_as_they_went_in(tmp_path):
    write_store(str(tmp_path / "s"), (lesion(i, 4) for i in reversed(range(70))), fold_count=0)
    back = list(open_store(str(tmp_path / "s")).lesions())
    for i, one in zip(reversed(range(70)), back, strict=True):
        expected = lesion(i, 4)
        assert one.cube.reflectance.tobytes() == expected.cube.reflectance.tobytes()
        assert one.origin == expected.origin
        assert (one.lesion_id, one.group, one.diagnosis) == (expected.lesion_id, expected.group, expected.diagnosis)
        assert (one.mask is None) == (expected.mask is None)
        assert expected.mask is None or np.array_equal(one.mask, expected.mask)


def test_the_fingerprint_of_stores_made_before_there_were_synthetic_sets_is_the_same():
    """Computed by the version of commit 4c4251b."""
    manifest = Manifest(
        wavelengths_nm=(465.0, 500.5),
        shape=(8, 8, 2),
        lesions=3,
        diagnoses={"melanoma": 3},
        parts=(Part(path="lesions/part-00000.parquet", sha256="0" * 64, rows=3, bytes=10),),
        folds=Folds(seed=0, count=3, groups={"a": 0, "b": 1, "c": 2}),
        source={"verb": "test"},
    )
    assert manifest.digest() == "851cec69c53b06aab87507f160aa1d1b3c006cdeb9cc4568fcf5d0df2e9dbd30"
