"""`verify` finds what was done to a store, names where, and goes on to find the rest."""

import hashlib
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from hyperderm.errors import StoreError
from hyperderm.store.manifest import SCHEMA_VERSION, Manifest
from hyperderm.store.verify import verify_store
from hyperderm.store.writer import write_store
from tests.ingest.test_damage import (
    added_key,
    cut_json,
    edit,
    edited,
    empty_json,
    flipped,
    gone,
    missing,
    newer,
    no_json,
    other_json,
    part,
    swapped,
    truncated,
    unsealed,
)
from tests.store.lesions import lesion, lesions

FIRST, SECOND = "lesions/part-00000.parquet", "lesions/part-00001.parquet"


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    place = tmp_path_factory.mktemp("verify") / "store"
    write_store(str(place), lesions(70, 4), fold_count=3)
    return place


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    place = tmp_path_factory.mktemp("verify") / "other"
    write_store(str(place), (lesion(i + 500, 4) for i in range(70)), fold_count=3)
    return place


@pytest.fixture
def store(sound, tmp_path):
    return shutil.copytree(sound, tmp_path / "store")


def manifest_of(store) -> Manifest:
    return Manifest.model_validate_json((store / "manifest.json").read_bytes())


def seal(store, **changes):
    """Change the manifest as someone would who knows how to seal it again: only the rows can tell."""
    sealed = manifest_of(store).model_copy(update=changes).sealed()
    (store / "manifest.json").write_text(sealed.model_dump_json())


def reseal(store, number, table):
    """Replace a part by `table`, with hashes that agree."""
    pq.write_table(table, part(store, number))
    content = part(store, number).read_bytes()
    parts = list(manifest_of(store).parts)
    digest = hashlib.sha256(content).hexdigest()
    parts[number] = parts[number].model_copy(update={"sha256": digest, "bytes": len(content)})
    seal(store, parts=tuple(parts))


def table_of(store, number=0) -> pa.Table:
    return pq.read_table(part(store, number))


def replaced(table, name, values):
    i = table.schema.get_field_index(name)
    return table.set_column(i, table.schema.field(i), pa.array(values, table.schema.field(i).type))


def tensors(table, name, change):
    """`table` with one tensor column changed by `change`, which gets a copy of it as an array."""
    array = table.column(name).combine_chunks().to_numpy_ndarray().copy()
    change(array)
    i = table.schema.get_field_index(name)
    return table.set_column(i, table.schema.field(i), pa.FixedShapeTensorArray.from_numpy_ndarray(array))


def test_a_sound_store(store):
    seen = []
    found = verify_store(str(store), lambda verdict, total: seen.append((verdict.path, total)))
    assert found.sound
    assert (found.faults, found.notes) == ((), ())
    assert seen == [(FIRST, 2), (SECOND, 2)]
    assert [(one.path, one.rows, one.faults) for one in found.parts] == [(FIRST, 64, ()), (SECOND, 6, ())]
    assert found.manifest == manifest_of(store)


def faults(store) -> tuple[str, ...]:
    found = verify_store(str(store))
    assert not found.sound
    assert not any("\n" in fault for fault in found.faults)
    assert len(found.parts) == len(found.manifest.parts)
    return found.faults


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (missing, [f"part {SECOND}: it is missing"]),
        (flipped, [f"part {FIRST}: it was changed: it does not match its sha256 in manifest.json"]),
        (
            swapped,
            [
                f"part {FIRST}: it holds the content of part {SECOND}: they were swapped",
                f"part {SECOND}: it holds the content of part {FIRST}: they were swapped",
            ],
        ),
    ],
)
def test_damaged_parts(store, damage, said):
    damage(store)
    assert list(faults(store)) == said


def test_a_truncated_part(store):
    size = part(store, 1).stat().st_size
    truncated(store)
    said = f"part {SECOND}: it is truncated or another file: {size - 1} bytes, manifest.json says {size}"
    assert faults(store) == (said,)


def test_a_part_of_another_store(store, other):
    shutil.copy(part(other, 1), part(store, 1))
    assert len(said := faults(store)) == 1
    assert said[0].startswith(f"part {SECOND}: it ")  # its size may happen to be the same
    assert "another file" in said[0] or "does not match its sha256" in said[0]


def test_a_part_of_another_store_with_hashes_that_agree(store, other):
    """Its groups are in no fold: trained on, they would be in no role, or in two."""
    reseal(store, 1, table_of(other, 1))
    said = faults(store)
    assert said[0] == f"part {SECOND}: group 'MMCube/0564', 'MMCube/0565', 'MMCube/0566' and 3 more is in no fold"
    assert said[1] == "the folds name group 'MMCube/0064', 'MMCube/0065', 'MMCube/0066' and 3 more, which no lesion has"


def test_a_part_twice_with_hashes_that_agree(store):
    reseal(store, 1, table_of(store, 0).slice(0, 6))
    assert any(f"part {SECOND}: lesion id 'MMCube/0000_00', " in one and "more than once" in one for one in faults(store))


def test_an_edited_manifest_does_not_hide_the_rest(store):
    edited(store)
    missing(store)
    assert list(faults(store)) == [
        "manifest.json was edited: it does not match its own fingerprint",
        "manifest.json says 71 lesions, its parts 70 rows",
        "manifest.json says 71 lesions, its diagnoses 70",
        f"part {SECOND}: it is missing",
    ]


@pytest.mark.parametrize("damage", [newer, added_key, no_json, cut_json, other_json, empty_json, unsealed, gone])
def test_what_cannot_be_read_as_a_store(store, damage):
    damage(store)
    with pytest.raises(StoreError) as caught:
        verify_store(str(store))
    assert str(store) in caught.value.what


def test_a_newer_schema_that_is_like_ours(store):
    edit(store, schema_version=SCHEMA_VERSION + 1)
    with pytest.raises(StoreError, match=f"has schema version {SCHEMA_VERSION + 1}, this hyperderm reads up to"):
        verify_store(str(store))


# --- rows that are not what a sealed manifest says ---


def nan(table):
    return tensors(table, "cube", lambda x: x.__setitem__((2, 1, 1, 0), np.nan))


def infinite(table):
    return tensors(table, "cube", lambda x: x.__setitem__((0, 1, 1, 0), np.inf))


def grey(table):
    return tensors(table, "mask", lambda x: x.__setitem__((1, 0, 0), 255))


def unannounced(table):
    return tensors(table, "mask", lambda x: x.__setitem__((0, 0, 0), 1))  # the first has none


def twice(table):
    ids = table.column("lesion_id").to_pylist()
    return replaced(table, "lesion_id", [ids[0], ids[0], *ids[2:]])


def wart(table):
    return replaced(table, "diagnosis", ["wart", *table.column("diagnosis").to_pylist()[1:]])


def homeless(table):
    return replaced(table, "group", ["nobody", *table.column("group").to_pylist()[1:]])


def listed(table):
    return replaced(table, "origin", ["[1]", "{", *table.column("origin").to_pylist()[2:]])


def short(table):
    return table.slice(0, 5)


def narrow(table):
    return table.drop_columns(["origin"])


def doubled(table):
    i = table.schema.get_field_index("cube")
    array = table.column("cube").combine_chunks().to_numpy_ndarray().astype(np.float64)
    tensor = pa.FixedShapeTensorArray.from_numpy_ndarray(array)
    return table.set_column(i, pa.field("cube", tensor.type, nullable=False), tensor)


def nulls(table):
    i = table.schema.get_field_index("cube")
    kind = table.schema.field(i).type
    values = table.column("cube").combine_chunks().storage.flatten().to_pylist()
    storage = pa.FixedSizeListArray.from_arrays(pa.array([None, *values[1:]], pa.float32()), kind.storage_type.list_size)
    return table.set_column(i, table.schema.field(i), pa.ExtensionArray.from_storage(kind, storage))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (nan, "the cube of 'MMCube/0066_00' holds NaN or infinite values"),
        (infinite, "the cube of 'MMCube/0064_00' holds NaN or infinite values"),
        (grey, "the mask of 'MMCube/0065_00' holds other values than 0 and 1"),
        (twice, "lesion id 'MMCube/0064_00' appears more than once"),
        (wart, "diagnosis 'wart' is not one of melanoma, dysplastic_nevus"),
        (homeless, "group 'nobody' is in no fold"),
        (listed, "the origin of 'MMCube/0064_00', 'MMCube/0065_00' is no JSON object"),
        (short, "it holds 5 rows, manifest.json says 6"),
        (narrow, "it has the columns lesion_id, image_id, group, diagnosis, cube, mask, has_mask, not "),
        (doubled, "its column cube is extension<arrow.fixed_shape_tensor[value_type=double"),
        (nulls, "its column cube holds nulls"),
    ],
)
def test_rows(store, change, said):
    reseal(store, 1, change(table_of(store, 1)))
    assert any(fault.startswith(f"part {SECOND}: {said}") for fault in faults(store)), faults(store)


def test_a_mask_where_there_should_be_none(store):
    reseal(store, 0, unannounced(table_of(store, 0)))
    said = f"part {FIRST}: the mask of 'MMCube/0000_00' is marked although has_mask says there is none"
    assert faults(store) == (said,)


def test_no_parquet_with_a_hash_that_agrees(store):
    part(store, 1).write_bytes(b"PAR1 no more PAR1")
    content = part(store, 1).read_bytes()
    parts = list(manifest_of(store).parts)
    digest = hashlib.sha256(content).hexdigest()
    parts[1] = parts[1].model_copy(update={"sha256": digest, "bytes": len(content)})
    seal(store, parts=tuple(parts))
    assert faults(store)[0].startswith(f"part {SECOND}: it cannot be read as Parquet")


# --- a sealed manifest that is not what the rows say ---


def with_folds(store, **changes):
    return {"folds": manifest_of(store).folds.model_copy(update=changes)}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"lesions": 71}, "manifest.json says 71 lesions, its parts 70 rows"),
        ({"lesions": 71}, "the parts hold 70 lesions, manifest.json says 71"),
        ({"diagnoses": {"melanoma": 70}}, "the parts hold 24 lesions of diagnosis melanoma, manifest.json says 70"),
        ({"diagnoses": {"melanoma": 70}}, "the parts hold 23 lesions of diagnosis nevus, manifest.json says 0"),
        ({"shape": (4, 4, 4)}, "manifest.json names 3 wavelengths for 4 bands"),
        ({"shape": (8, 2, 3)}, f"part {FIRST}: its column cube is extension<arrow.fixed_shape_tensor["),
        ({"shape": (0, 4, 3)}, "manifest.json says cubes of 0 x 4 x 3"),
        ({"wavelengths_nm": (465.0, 464.0, 620.0)}, "manifest.json: wavelengths_nm do not increase: [465.0, 464.0, 620.0]"),
        ({"wavelengths_nm": (465.0, 500.0)}, "manifest.json names 2 wavelengths for 3 bands"),
        ({"wavelengths_nm": (-1.0, 500.0, 620.0)}, "manifest.json: wavelengths_nm do not increase"),
    ],
)
def test_manifests(store, changes, said):
    seal(store, **changes)
    assert any(fault.startswith(said) for fault in faults(store)), faults(store)


def test_folds_that_do_not_fit_the_rows(store):
    groups = dict(manifest_of(store).folds.groups)
    moved, gone_ = sorted(groups)[:2]
    groups[moved] = 7
    del groups[gone_]
    seal(store, **with_folds(store, groups={**groups, "nobody": 1}))
    said = faults(store)
    assert said[0] == f"manifest.json puts '{moved}' into folds that are not 0 … 2"
    assert f"part {FIRST}: group '{gone_}' is in no fold" in said
    assert "the folds name group 'nobody', which no lesion has" in said


@pytest.mark.parametrize("path", ["../other/part-00000.parquet", "/etc/passwd", "lesions/../../x"])
def test_paths_that_lead_out_of_the_store(store, path):
    parts = list(manifest_of(store).parts)
    parts[0] = parts[0].model_copy(update={"path": path})
    seal(store, parts=tuple(parts))
    assert f"part {path}: its path leads out of the store" in faults(store)


def test_a_part_that_may_not_be_read_is_a_fault_of_that_part(store):
    part(store, 0).unlink()
    part(store, 0).mkdir()
    assert len(said := faults(store)) == 1
    assert said[0].startswith(f"part {FIRST}: it ")


def test_files_nobody_names_are_told_and_harm_nothing(store):
    shutil.copy(part(store, 0), store / "lesions" / "part-00009.parquet")
    found = verify_store(str(store))
    assert found.sound
    assert len(found.notes) == 1
    assert found.notes[0].startswith("manifest.json does not name 'lesions/part-00009.parquet': no part of the store")


def test_stores_without_folds_masks_and_diagnoses(tmp_path):
    write_store(str(tmp_path / "s"), [lesion(i, diagnosis=None, mask=None) for i in range(3)], fold_count=0)
    assert verify_store(str(tmp_path / "s")).sound
    table = table_of(tmp_path / "s")
    assert pc.sum(table.column("has_mask")).as_py() == 0
