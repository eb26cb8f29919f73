"""Who is who across stores: by group, by file, by cube, and passed on from one to the other."""

from dataclasses import replace

import numpy as np
import pytest

from hyperderm.cubes.cube import Cube, Lesion
from hyperderm.store.overlap import LesionMatcher, Row, StoreFacts, read_facts
from hyperderm.store.reader import open_store
from hyperderm.store.writer import write_store

NM = np.linspace(465.0, 630.0, 3)


def facts(name, *rows):
    return StoreFacts(name, name, rows, (4, 4, 3), None, {})


def row(name, group="", files=(), cube=""):
    return Row(name, group or name, "melanoma", frozenset(files), cube)


def how(kin, touched, held):
    found = kin.overlap(touched, held)
    return found.lesions, dict(found.how)


def test_ids_and_groups_of_two_stores_say_nothing():
    kin = LesionMatcher([facts("a", row("L1", "g")), facts("b", row("L1", "g"))])
    assert how(kin, [("a", "L1")], [("b", "L1")]) == (0, {})


def test_the_strongest_reason_counts():
    a = facts("a", row("L1", "g", ["file 1"], "c1"), row("L2", "g"))
    b = facts("b", row("x", files=["file 1"], cube="c1"), row("y", cube="c1"), row("z"))
    kin = LesionMatcher([a, b])
    assert how(kin, [("a", "L1")], [("a", "L1"), ("a", "L2"), ("b", "x"), ("b", "y"), ("b", "z")]) == (
        4,
        {"lesion": 1, "group": 1, "file": 1, "cube": 1},
    )


def test_what_one_store_knows_of_a_patient_holds_in_the_others():
    knows = facts("knows", row("p", "one patient", ["file 1"]), row("q", "one patient", ["file 2"]))
    a, b = facts("a", row("L1", files=["file 1"])), facts("b", row("L2", files=["file 2"]))
    assert how(LesionMatcher([knows, a, b]), [("a", "L1")], [("b", "L2")]) == (1, {"group": 1})
    assert how(LesionMatcher([a, b]), [("a", "L1")], [("b", "L2")]) == (0, {})


def test_empty_cubes_are_no_link():
    assert how(LesionMatcher([facts("a", row("L1")), facts("b", row("L2"))]), [("a", "L1")], [("b", "L2")]) == (0, {})


@pytest.fixture
def places(tmp_path):
    rng = np.random.default_rng(0)
    made = [
        Lesion(f"L{i}", f"I{i}", f"I{i}", "melanoma", Cube(rng.random((4, 4, 3)).astype(np.float32), NM), None, {})
        for i in range(3)
    ]
    origins = {"sha256": "aa"}, {"phantom": 1, "seed": 0, "index": 7}, {"derived_from": "L9"}
    write_store(str(tmp_path / "a"), (replace(m, origin=o) for m, o in zip(made, origins, strict=True)), fold_count=0)
    write_store(str(tmp_path / "b"), (replace(m, lesion_id=f"other {m.lesion_id}") for m in made), fold_count=0)
    return tmp_path


def test_rows_of_a_store_carry_what_relates_them(places):
    found = read_facts(open_store(str(places / "a")), cubes=True)
    assert [set(one.files) for one in found.rows] == [{"file aa"}, {"phantom 1 0 7 melanoma"}, set()]
    assert [one.derived_from for one in found.rows] == ["", "", "L9"]
    assert len({one.cube for one in found.rows}) == 3


@pytest.mark.parametrize(("cubes", "lesions"), [(True, 3), (False, 0)])
def test_the_same_cubes_under_other_names_are_the_same(places, cubes, lesions):
    a, b = (read_facts(open_store(str(places / name)), cubes) for name in "ab")
    assert LesionMatcher([a, b]).overlap(a.all(), b.all()).lesions == lesions


def test_roles_are_those_of_the_folds(places):
    found = read_facts(open_store(str(places / "a")), cubes=False)
    assert found.roles(0, ("train",), None) is None
    write_store(str(places / "c"), open_store(str(places / "a")).lesions(), fold_count=3, seed=0)
    folded = read_facts(open_store(str(places / "c")), cubes=False)
    roles = [folded.roles(1, (role,), ["melanoma"]) for role in ("train", "validation", "test")]
    assert set.union(*roles) == folded.all()
    assert [len(role) for role in roles] == [1, 1, 1]
    assert folded.roles(1, ("train", "test"), ["nevus"]) == set()
    assert folded.roles(3, ("train",), None) is None
