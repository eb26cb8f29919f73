"""What is written is what is read: values, columns, encoding, parts, roles, and a writer that leaves nothing behind."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hyperderm.cubes.cube import Cube
from hyperderm.errors import StoreError
from hyperderm.store.manifest import Opening, SetAsideFile
from hyperderm.store.reader import open_store
from hyperderm.store.writer import ROWS_PER_PART, write_store
from tests.store.lesions import NM, lesion, lesions


@pytest.fixture
def place(tmp_path):
    return tmp_path / "store"


# --- round trip ---


def test_round_trip_bit_for_bit(place):
    write_store(str(place), lesions(20), fold_count=3)
    table = open_store(place).read([lesion(i).lesion_id for i in range(20)])
    cubes = table["cube"].combine_chunks().to_numpy_ndarray()
    masks = table["mask"].combine_chunks().to_numpy_ndarray()
    for i, row in enumerate(table.drop_columns(["cube", "mask"]).to_pylist()):
        one = lesion(i)
        assert cubes[i].tobytes() == one.cube.reflectance.tobytes()
        assert row["has_mask"] == (one.mask is not None)
        np.testing.assert_array_equal(masks[i], np.zeros((8, 8)) if one.mask is None else one.mask)
        assert (row["lesion_id"], row["image_id"], row["group"]) == (one.lesion_id, one.image_id, one.group)
        assert row["diagnosis"] == one.diagnosis
        assert json.loads(row["origin"]) == one.origin


def test_values_that_floats_find_hard_survive(place):
    hard = np.array([-0.0, 1e-45, -3.4e38, 3.4e38, 1.1754944e-38, 0.1], np.float32).reshape(1, 2, 3)
    write_store(str(place), [lesion(0, cube=Cube(hard, NM), mask=None)], fold_count=0)
    back = open_store(place).read([lesion(0).lesion_id])["cube"].combine_chunks().to_numpy_ndarray()
    assert back.tobytes() == hard.tobytes()


def test_plain_pyarrow_reads_it_without_our_code(place):
    write_store(str(place), lesions(4), fold_count=0)
    code = """
import sys, pyarrow.parquet as pq, numpy as np
t = pq.read_table(sys.argv[1])
c = t["cube"].combine_chunks()
print(t.schema.field("cube").type.extension_name, c.to_numpy_ndarray().shape, c.to_numpy_ndarray()[3, 0, 0, 0],
      "hyperderm" in sys.modules)
"""
    part = str(place / "lesions" / "part-00000.parquet")
    done = subprocess.run([sys.executable, "-c", code, part], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "arrow.fixed_shape_tensor (4, 8, 8, 3) 3.0 False"


def test_encoding_is_the_one_that_was_measured(place):
    write_store(str(place), lesions(4), fold_count=0)
    group = pq.read_metadata(place / "lesions" / "part-00000.parquet").row_group(0)
    columns = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    cube = columns["cube.list.element"]
    assert "BYTE_STREAM_SPLIT" in cube.encodings
    for column in columns.values():
        assert column.compression == "ZSTD"
        assert not column.has_dictionary_page
        assert not any("DICTIONARY" in encoding for encoding in column.encodings)


def test_lesions_are_written_the_same_twice(tmp_path):
    first = write_store(str(tmp_path / "a"), lesions(12), fold_count=3, seed=4)
    second = write_store(str(tmp_path / "b"), lesions(12), fold_count=3, seed=4)
    assert first == second
    assert write_store(str(tmp_path / "c"), lesions(12), fold_count=3, seed=5).fingerprint != first.fingerprint


@pytest.mark.parametrize("count", [1, 63, 64, 65, 129])
def test_parts_hold_64_rows(place, count):
    manifest = write_store(str(place), lesions(count, 2), fold_count=0)
    assert ROWS_PER_PART == 64
    assert [part.rows for part in manifest.parts] == [64] * (count // 64) + [count % 64] * bool(count % 64)
    assert len({part.path for part in manifest.parts}) == len(manifest.parts)
    store = open_store(place)
    ids = store.index()["lesion_id"].to_pylist()
    assert ids == [lesion(i).lesion_id for i in range(count)]
    table = store.read(ids[::-1])  # over the boundary of parts, asked for in another order
    assert table["cube"].combine_chunks().to_numpy_ndarray()[:, 0, 0, 0].tolist() == list(range(count))
    assert [len(pq.read_table(path)) for path in store.part_paths()] == [part.rows for part in manifest.parts]


def test_manifest_describes_the_store(place):
    aside: list[SetAsideFile] = []

    def reading():
        yield from lesions(4)
        aside.append(SetAsideFile(file="x.mat", reason="15 bands"))  # as a reader does while it yields

    write_store(str(place), reading(), fold_count=0, set_aside=aside, source={"verb": "test"})
    manifest = open_store(place).manifest
    assert manifest.shape == (8, 8, 3)
    assert manifest.wavelengths_nm == tuple(NM)
    assert (manifest.lesions, manifest.diagnoses) == (4, {"dysplastic_nevus": 1, "melanoma": 2, "nevus": 1})
    assert (manifest.kind, manifest.folds, manifest.source) == ("spectral", None, {"verb": "test"})
    assert manifest.set_aside == tuple(aside)
    assert str(place) not in manifest.model_dump_json()  # no machine's paths


def test_rows_come_ordered_by_id_whatever_the_order_of_files(place):
    write_store(str(place), [lesion(i, 2) for i in reversed(range(70))], fold_count=0)
    wanted = [lesion(i).lesion_id for i in (3, 69, 0, 40)]
    assert open_store(place).read(wanted)["lesion_id"].to_pylist() == sorted(wanted)


def test_unknown_diagnosis_is_kept_as_unknown(place):
    manifest = write_store(str(place), [lesion(0, diagnosis=None)], fold_count=0)
    assert manifest.diagnoses == {"unknown": 1}
    assert open_store(place).index()["diagnosis"].to_pylist() == [None]


def test_address_may_end_in_a_slash(place):
    write_store(f"file://{place}/", lesions(2), fold_count=0)
    assert open_store(f"{place}/").manifest.lesions == 2
    assert list(place.parent.iterdir()) == [place]


# --- nothing half-written ---


def nothing_left(place):
    assert list(place.parent.iterdir()) == []


@pytest.mark.parametrize("after", [0, 3, 64, 70])
@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_exception_in_the_lesions_leaves_nothing(place, after, error):
    def broken():
        yield from lesions(after, 2)
        raise error

    with pytest.raises(error):
        write_store(str(place), broken(), fold_count=0)
    nothing_left(place)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "no lesion to write"),
        ([lesion(0), lesion(1, size=9)], r"MMCube/0001_00 is \(9, 9, 3\), the store holds \(8, 8, 3\)"),
        ([lesion(0), lesion(0)], "'MMCube/0000_00' appears more than once"),
        ([lesion(0), lesion(1, cube=Cube(lesion(1).cube.reflectance, NM + 1))], "other wavelengths than the first"),
    ],
)
def test_what_cannot_be_one_store_is_refused(place, rows, said):
    with pytest.raises(StoreError, match=said):
        write_store(str(place), rows, fold_count=0)
    nothing_left(place)


def test_folds_that_cannot_be_assigned_leave_nothing(place):
    with pytest.raises(StoreError, match="2 groups of source images cannot fill 5 folds"):
        write_store(str(place), lesions(2), fold_count=5)
    nothing_left(place)


@pytest.mark.parametrize("kind", ["store", "empty folder", "file"])
def test_existing_target_is_refused_and_untouched(place, kind):
    if kind == "store":
        write_store(str(place), lesions(2), fold_count=0)
    elif kind == "file":
        place.write_text("mine")
    else:
        place.mkdir()
    before = sorted((p, p.stat().st_mtime_ns) for p in [place, *place.rglob("*")])
    with pytest.raises(StoreError, match="something is already there"):
        write_store(str(place), lesions(3), fold_count=0)
    assert sorted((p, p.stat().st_mtime_ns) for p in [place, *place.rglob("*")]) == before


def test_the_slower_of_two_writers_fails_and_the_first_store_stays(place):
    def slow():
        yield from lesions(3)
        write_store(str(place), lesions(2), fold_count=0)

    with pytest.raises(StoreError, match="cannot be written"):
        write_store(str(place), slow(), fold_count=0)
    assert open_store(place).manifest.lesions == 2
    assert list(place.parent.iterdir()) == [place]


def test_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match=r"cannot be written.*Check the place") as caught:
        write_store(str(tmp_path / "file" / "store"), lesions(2), fold_count=0)
    assert "\n" not in str(caught.value)


def test_killed_writer_leaves_no_store_and_blocks_no_other(place):
    code = """
import sys, time
from hyperderm.store.writer import write_store
from tests.store.lesions import lesions
def slow():
    yield from lesions(70, 2)
    print("writing", flush=True)
    time.sleep(60)
write_store(sys.argv[1], slow(), fold_count=0)
"""
    writer = subprocess.Popen([sys.executable, "-c", code, str(place)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "writing\n"
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    [left] = place.parent.iterdir()
    assert left.name.startswith(".store.")
    for path in (place, left):
        with pytest.raises(StoreError, match="is not a store"):
            open_store(path)
    assert write_store(str(place), lesions(3), fold_count=0).lesions == 3
    assert open_store(place).manifest.lesions == 3
    assert list(place.parent.iterdir()) == [place], "the next writer removes what a dead one left"


# --- roles ---


def roles(store, fold):
    return {role: set(store.select(role, fold, "all")) for role in ("train", "validation")}


def test_roles_turn_with_the_fold(place):
    write_store(str(place), lesions(40), fold_count=4)
    store = open_store(place)
    groups = store.folds().groups
    held = {k: {f"{group}_00" for group, fold in groups.items() if fold == k} for k in range(4)}
    for k in range(4):
        found = roles(store, k)
        assert found["validation"] == held[(k + 1) % 4]
        assert found["train"] == held[(k + 2) % 4] | held[(k + 3) % 4]
        assert not (found["train"] | found["validation"]) & held[k]  # the test role


def test_lesions_of_one_image_share_a_role(place):
    rows = [lesion(i, group=f"g{i // 2}", image_id=f"g{i // 2}", diagnosis="melanoma") for i in range(24)]
    write_store(str(place), rows, fold_count=3)
    found = roles(open_store(place), 1)
    for i in range(0, 24, 2):
        for ids in found.values():
            assert (rows[i].lesion_id in ids) == (rows[i + 1].lesion_id in ids)


def test_select_keeps_to_the_diagnoses_and_sorts(place):
    write_store(str(place), [lesion(i) for i in reversed(range(30))], fold_count=3)
    store = open_store(place)
    melanomas = store.select("train", 0, ["melanoma"])
    assert melanomas
    assert melanomas == sorted(melanomas)
    assert all(int(name[7:11]) % 3 == 0 for name in melanomas)
    some = store.select("train", 0, ["melanoma", "nevus"])
    assert set(some) | set(store.select("train", 0, ["dysplastic_nevus"])) == set(store.select("train", 0, "all"))


def test_the_test_role_is_locked(place):
    write_store(str(place), lesions(9), fold_count=3)
    with pytest.raises(StoreError, match="role 'test' is locked"):
        open_store(place).select("test", 0, "all")  # type: ignore[arg-type]


def test_opening_the_test_role_is_recorded_first_and_leaves_it_locked(place):
    manifest = write_store(str(place), lesions(18), fold_count=3)
    store = open_store(place)
    said: list[Opening] = []
    for fold in range(3):
        opened = store.open_test(fold, "all", said.append)
        assert set(opened) == {f"{group}_00" for group, mine in store.folds().groups.items() if mine == fold}
        assert opened == sorted(opened)
        assert not set(opened) & (roles(store, fold)["train"] | roles(store, fold)["validation"])
    assert said == [Opening(manifest.fingerprint, fold) for fold in range(3)]
    melanomas = store.open_test(1, ("melanoma",), said.append)
    assert {row["diagnosis"] for row in store.read(melanomas).to_pylist()} == {"melanoma"}
    with pytest.raises(StoreError, match="role 'test' is locked"):
        store.select("test", 1, "all")  # type: ignore[arg-type]


def test_a_test_role_that_cannot_be_recorded_stays_shut(place, monkeypatch):
    write_store(str(place), lesions(9), fold_count=3)
    store = open_store(place)
    monkeypatch.setattr(type(store), "tables", lambda *_: pytest.fail("it was read"))

    def full(_: str) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        store.open_test(0, "all", full)


def test_opening_the_test_role_refuses_what_select_refuses(place):
    write_store(str(place), lesions(9), fold_count=3)
    store = open_store(place)
    for arguments, what in (
        ((0, ["melanomas"]), "'melanomas', which this store does not hold"),
        ((3, "all"), "fold 3 does not exist"),
        ((0, []), "the test role of fold 0 holds no lesion"),
    ):
        with pytest.raises(StoreError, match=what):
            store.open_test(*arguments, lambda _: None)


@pytest.mark.parametrize(
    ("arguments", "what", "remedy"),
    [
        (("train", 0, ["melanomas"]), "'melanomas', which this store does not hold", "Did you mean 'melanoma'"),
        (("train", 3, "all"), "fold 3 does not exist", "folds 0 … 2"),
        (("train", -1, "all"), "fold -1 does not exist", "folds 0 … 2"),
        (("train", 0, []), "holds no lesion of any diagnosis", "Choose another data.fold"),
    ],
)
def test_select_refuses(place, arguments, what, remedy):
    write_store(str(place), lesions(9), fold_count=3)
    with pytest.raises(StoreError) as caught:
        open_store(place).select(*arguments)
    assert what in caught.value.what
    assert remedy in caught.value.remedy


def test_class_missing_from_a_role_is_refused_by_name(place):
    rows = [lesion(i, diagnosis="melanoma") for i in range(9)] + [lesion(9, diagnosis="nevus")]
    write_store(str(place), rows, fold_count=3)
    store = open_store(place)
    where = store.folds().groups["MMCube/0009"]
    with pytest.raises(StoreError, match=rf"the train role of fold {where} holds no lesion of nevus"):
        store.select("train", where, ["melanoma", "nevus"])
    assert store.select("train", where, "all")  # asked for all, it takes what is there


def test_store_without_folds_has_no_training_roles(place):
    write_store(str(place), lesions(9), fold_count=0)
    with pytest.raises(StoreError, match="has no folds, so no training roles") as caught:
        open_store(place).select("train", 0, "all")
    assert "--folds 5" in caught.value.remedy


def test_index_reads_no_cube(place, monkeypatch):
    write_store(str(place), lesions(9), fold_count=0)
    asked = []
    read = pq.read_table

    def spy(*args, **kwargs) -> pa.Table:
        asked.append(kwargs["columns"])
        return read(*args, **kwargs)

    monkeypatch.setattr(pq, "read_table", spy)
    assert open_store(place).index().num_rows == 9
    assert asked == [["lesion_id", "image_id", "group", "diagnosis"]]


def test_opening_without_proof_is_fast_because_it_reads_the_manifest_only(place):
    write_store(str(place), lesions(9), fold_count=0)
    begun = time.perf_counter()
    (place / "lesions" / "part-00000.parquet").unlink()
    assert open_store(place, verify=False).manifest.lesions == 9
    assert time.perf_counter() - begun < 1
