"""A store that was changed after it was written is refused, with what to do."""

import json
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hyperderm.errors import StoreError
from hyperderm.store.manifest import SCHEMA_VERSION, Manifest, SetAsideFile
from hyperderm.store.reader import open_store
from hyperderm.store.writer import write_store
from tests.store.lesions import lesion, lesions


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    place = tmp_path_factory.mktemp("sound") / "store"
    aside = [SetAsideFile(file="images/MMCube/9.mat", reason="15 bands")]
    rows = [*lesions(69, 4), lesion(69, 4, diagnosis="solar_lentigo")]  # rare enough for a warning
    manifest = write_store(str(place), rows, fold_count=3, set_aside=aside, source={"verb": "test"})
    assert all(getattr(manifest, name) for name in Manifest.model_fields)  # nothing empty, so everything can be changed
    return place


@pytest.fixture
def store(sound, tmp_path):
    return shutil.copytree(sound, tmp_path / "store")


def part(store, number):
    return store / "lesions" / f"part-0000{number}.parquet"


def missing(store):
    part(store, 1).unlink()


def flipped(store):
    content = bytearray(part(store, 0).read_bytes())
    content[len(content) // 2] ^= 1
    part(store, 0).write_bytes(content)


def truncated(store):
    part(store, 1).write_bytes(part(store, 1).read_bytes()[:-1])


def swapped(store):
    first, second = part(store, 0).read_bytes(), part(store, 1).read_bytes()
    part(store, 0).write_bytes(second)
    part(store, 1).write_bytes(first)


def edit(store, **changes):
    path = store / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edited(store):
    edit(store, lesions=71)


def newer(store):
    edit(store, schema_version=SCHEMA_VERSION + 1, something_new={"a": 1})


def added_key(store):
    edit(store, comment="mine")


def no_json(store):
    (store / "manifest.json").write_text("lesions: 70")


def cut_json(store):
    path = store / "manifest.json"
    path.write_text(path.read_text()[:-20])


def other_json(store):
    (store / "manifest.json").write_text("[1, 2]")


def empty_json(store):
    (store / "manifest.json").write_text("{}")


def binary(store):
    (store / "manifest.json").write_bytes(b"\xff\xfe\x00PAR1")


def unsealed(store):
    (store / "manifest.json").unlink()


def folder(store):
    (store / "manifest.json").unlink()
    (store / "manifest.json").mkdir()


def gone(store):
    shutil.rmtree(store)


@pytest.mark.parametrize(
    ("damage", "what", "remedy"),
    [
        (missing, "part lesions/part-00001.parquet is missing", "Restore it, or ingest again"),
        (flipped, "part lesions/part-00000.parquet does not match its sha256", "Restore it, or ingest again"),
        (truncated, "part lesions/part-00001.parquet does not match its sha256", "Restore it, or ingest again"),
        (swapped, "part lesions/part-00000.parquet does not match its sha256", "Restore it, or ingest again"),
        (edited, "does not match its own fingerprint", "ingest again"),
        (newer, f"has schema version {SCHEMA_VERSION + 1}, this hyperderm reads up to {SCHEMA_VERSION}", "Update"),
        (added_key, "manifest.json is damaged: comment: Extra inputs", "Restore it, or ingest again"),
        (no_json, "manifest.json is damaged", "Restore it, or ingest again"),
        (cut_json, "manifest.json is damaged", "Restore it, or ingest again"),
        (other_json, "manifest.json is damaged: it names no schema_version", "Restore it, or ingest again"),
        (empty_json, "manifest.json is damaged: it names no schema_version", "Restore it, or ingest again"),
        (binary, "manifest.json is damaged", "Restore it, or ingest again"),
        (unsealed, "is not a store: no manifest.json", "hyperderm ingest"),
        (folder, "cannot be read", "Check the address"),
        (gone, "is not a store: no manifest.json", "hyperderm ingest"),
    ],
)
def test_damage_is_refused_with_the_remedy(store, damage, what, remedy):
    open_store(store)
    damage(store)
    with pytest.raises(StoreError) as caught:
        open_store(store)
    assert what in caught.value.what
    assert remedy in caught.value.remedy
    assert str(store) in caught.value.what
    assert "\n" not in str(caught.value)


def test_an_address_nobody_knows():
    with pytest.raises(StoreError, match=r"--store 'foo://x/y' cannot be opened.*Give a folder, or an s3:// address"):
        open_store("foo://x/y")


def leaves(node, at=()):
    """Every place in a JSON document, with the value there."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from leaves(value, (*at, key))
    elif isinstance(node, list):
        for i, value in enumerate(node):
            yield from leaves(value, (*at, i))
    else:
        yield at, node


def changed(value, data):
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + data.draw(st.integers(1, 9), "added")
    if isinstance(value, str):
        return data.draw(st.text(max_size=6).filter(lambda text: text != value), "text")
    return data.draw(st.integers(0, 3), "instead of null")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_field_of_the_manifest_can_be_changed(store, sound, data):
    document = json.loads((sound / "manifest.json").read_text())
    places = [at for at, _ in leaves(document)]
    at = data.draw(st.sampled_from(places), "place")
    node = document
    for key in at[:-1]:
        node = node[key]
    node[at[-1]] = changed(node[at[-1]], data)
    (store / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(StoreError):
        open_store(store)


@pytest.mark.parametrize("key", sorted(Manifest.model_fields))
def test_no_field_of_the_manifest_can_be_left_out(store, key):
    document = json.loads((store / "manifest.json").read_text())
    del document[key]
    (store / "manifest.json").write_text(json.dumps(document))
    if key == "kind":
        assert open_store(store).manifest.fingerprint  # the default is what stood there
        return
    with pytest.raises(StoreError):
        open_store(store)


def test_format_of_the_json_is_no_content(store):
    path = store / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()), indent=4, sort_keys=True))
    assert open_store(store).manifest.lesions == 70
