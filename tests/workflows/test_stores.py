"""What stores hold, and how two differ, called from Python: what is returned and what is printed."""

from dataclasses import replace

import pytest

from hyperderm.errors import StoreError
from hyperderm.store.buckets import BucketFacts
from hyperderm.workflows import (
    bucket_clean,
    bucket_info,
    bucket_links,
    phantom,
    store_diff,
    store_export,
    store_info,
    store_verify,
)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Two phantoms of other seeds."""
    folder = tmp_path_factory.mktemp("phantoms")
    for name, seed in (("a", 0), ("b", 1)):
        phantom(str(folder / name), count=12, size=16, seed=seed, folds=3)
    return str(folder / "a"), str(folder / "b")


def test_folds_that_cannot_be_filled_are_refused_before_a_lesion_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr("hyperderm.phantom.rendering.render", lambda *of: pytest.fail("a lesion was drawn"))
    with pytest.raises(StoreError, match="4 groups of source images cannot fill 5 folds"):
        phantom(str(tmp_path / "p"), count=4, size=16)
    assert list(tmp_path.iterdir()) == []


def test_phantom_and_info_return_the_manifest(tmp_path, capsys):
    made = phantom(str(tmp_path / "p"), count=3, size=16, folds=0)
    assert (made.lesions, made.shape, made.folds) == (3, (16, 16, 16), None)
    assert store_info(str(tmp_path / "p")) == made
    assert capsys.readouterr().out.count(made.fingerprint) == 2


def test_verify(stores, tmp_path, capsys):
    found = store_verify(stores[0])
    assert found.sound
    assert f"sound: 12 lesions in 1 part, fingerprint {found.manifest.fingerprint}" in capsys.readouterr().out
    with pytest.raises(StoreError, match="is not a store"):
        store_verify(str(tmp_path))


def test_diff(stores, capsys):
    assert store_diff(stores[0], stores[0]).same
    assert capsys.readouterr().out == "the same\n"
    found = store_diff(*stores)
    assert (found.same, len(found.only_a), len(found.only_b), found.lesions) == (False, 12, 12, ())
    assert f"only in {stores[1]}: 12 lesions" in capsys.readouterr().out


def test_export(stores, tmp_path, capsys):
    assert store_export(stores[0], tmp_path / "files", form="npz") == 12
    assert f"12 lesions in {tmp_path / 'files'}" in capsys.readouterr().out.replace("\n", "")


@pytest.mark.parametrize("function", [bucket_info, bucket_links, bucket_clean])
def test_a_folder_is_no_bucket(function, stores):
    with pytest.raises(StoreError, match="is not in object storage"):
        function(stores[0])


def test_what_is_said_of_a_bucket(monkeypatch, capsys):
    facts = BucketFacts("mine", "http://s3", exists=True, versioning="off")
    monkeypatch.setattr("hyperderm.store.buckets.bucket_facts", lambda uri: facts)
    assert bucket_info("s3://mine") == facts
    assert capsys.readouterr().out == "bucket mine at http://s3: exists\nregion not told, versioning off\n"
    facts = replace(facts, exists=False)
    bucket_info("s3://mine")
    assert capsys.readouterr().out == "bucket mine at http://s3: does not exist\n"
