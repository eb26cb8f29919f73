"""Rows come back as they were written, in order, whichever parts hold them and however many are read at a time."""

import pyarrow as pa
import pytest

from hyperderm.store import reader
from hyperderm.store.reader import chosen, open_store, ordered
from hyperderm.store.writer import write_store
from tests.store.lesions import lesions


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    place = str(tmp_path_factory.mktemp("reading") / "store")
    write_store(place, reversed(list(lesions(150))), fold_count=0)
    return open_store(place)


def plain(store, ids):
    table = pa.concat_tables([store.location.read_table(part.path) for part in store.manifest.parts])
    rows = {name: row for row, name in enumerate(table.column("lesion_id").to_pylist())}
    return table.take(pa.array([rows[name] for name in sorted(ids)], pa.int64()))


@pytest.mark.parametrize("at_once", [1, 2, 7])
def test_rows_are_those_of_plain_parquet_in_order(store, at_once, monkeypatch):
    monkeypatch.setattr(reader, "AT_ONCE", at_once)
    ids = store.index().column("lesion_id").to_pylist()
    assert len(store.manifest.parts) == 3
    assert ids != sorted(ids)
    for some in (ids, ids[::7], ids[64:128], ids[:1], []):
        assert store.read(some).equals(plain(store, some))


def test_rows_that_are_all_wanted_are_not_copied(store):
    part = store.location.read_table(store.manifest.parts[0].path)
    names = part["lesion_id"].combine_chunks()
    assert chosen(part, names) is part
    assert chosen(part, names[:5]).num_rows == 5


def test_ordering_copies_no_cube(store):
    part = store.location.read_table(store.manifest.parts[0].path)
    before = pa.total_allocated_bytes()
    sorted_rows = ordered(part)
    assert pa.total_allocated_bytes() - before < part["cube"].nbytes / 10
    assert sorted_rows["lesion_id"].to_pylist() == sorted(part["lesion_id"].to_pylist())
