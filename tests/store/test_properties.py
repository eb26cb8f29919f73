"""Whatever lesions there are: their store is sound and comes back, from exports too; or an error of ours says why not."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import event, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hyperderm.cubes.cube import Cube, Lesion
from hyperderm.cubes.diagnosis import DIAGNOSES
from hyperderm.errors import HyperdermError
from hyperderm.ingest.layouts import exported
from hyperderm.store.diff import diff_stores
from hyperderm.store.export import FORMATS, export_store
from hyperderm.store.export_format import is_export
from hyperderm.store.manifest import SetAsideFile
from hyperderm.store.reader import open_store
from hyperderm.store.verify import verify_store
from hyperderm.store.writer import write_store
from tests.ingest.test_exported import same, take_in

NAMES = st.text(max_size=12) | st.sampled_from(
    ["../x", "/", "a/b", ".", "..", "~", "\0", "ä😀", "%s", "CON", "a.hdr", "\\", "'"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def made(draw) -> dict[str, object]:
    """Facts of one store, of which nothing is checked yet: NaN, falling wavelengths and ids that come twice are possible."""
    h, w, b = draw(st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 5)))
    often = st.integers(0, 9).map(lambda n: n < 9)
    finite = draw(often)
    values = st.floats(width=32, allow_nan=not finite, allow_infinity=not finite)
    nm = draw(st.lists(st.floats(1, 3000, allow_nan=False), min_size=b, max_size=b))
    if draw(often):
        nm = np.cumsum(np.abs(nm)).tolist()
    masks = st.none() | st.just(np.zeros((h, w), bool)) | hnp.arrays(bool, (h, w))
    ids = draw(st.lists(NAMES, min_size=draw(often), max_size=5, unique=draw(often)))
    kinds = st.sampled_from(draw(st.sampled_from([DIAGNOSES, DIAGNOSES, (*DIAGNOSES, None), (None,), ("nevus", "wart")])))
    rows = [
        {
            "lesion_id": name,
            "image_id": draw(NAMES),
            "group": draw(NAMES),
            "diagnosis": draw(kinds),
            "cube": draw(hnp.arrays(np.float32, (h, w, b), elements=values, fill=st.just(np.float32(0.5)))),
            "mask": draw(masks),
            "origin": draw(st.dictionaries(NAMES, JSON, max_size=3)),
        }
        for name in ids
    ]
    return {
        "rows": rows,
        "nm": nm,
        "folds": draw(st.sampled_from([0, 0, 3, 2])),
        "seed": draw(st.integers(0, 2**32 - 1)),
        "kind": draw(st.sampled_from(["spectral", "rgb"])),
        "aside": draw(st.lists(st.tuples(NAMES, NAMES), max_size=2)),
        "source": draw(st.dictionaries(NAMES, JSON, max_size=2)),
    }


def lesions(facts) -> list[Lesion]:
    return [Lesion(**{**row, "cube": Cube(row["cube"], np.array(facts["nm"]))}) for row in facts["rows"]]


ONE = {"rows": [{"lesion_id": "", "image_id": "", "group": "", "diagnosis": "nevus", "origin": {}}], "nm": [1.0], "seed": 0}
ONE["rows"][0] |= {"cube": np.ones((1, 1, 1), np.float32), "mask": np.zeros((1, 1), bool)}
ONE |= {"folds": 0, "kind": "spectral", "aside": [], "source": {}}


@settings(max_examples=40, deadline=None)
@given(made())
@example(ONE)
def test_a_store_of_anything(facts):
    place = Path(tempfile.mkdtemp())
    try:
        try:
            rows = lesions(facts)
            aside = [SetAsideFile(file=file, reason=reason) for file, reason in facts["aside"]]
            options = {"fold_count": facts["folds"], "seed": facts["seed"]}
            write_store(str(place / "s"), rows, **options, kind=facts["kind"], set_aside=aside, source=facts["source"])
        except HyperdermError:
            event("refused")
            assert list(place.iterdir()) == [], "something half-written"
            return
        event("written")
        come_back(place, rows, options)
    finally:
        shutil.rmtree(place)


def come_back(place, rows, options):
    assert verify_store(str(place / "s")).faults == ()
    store = open_store(str(place / "s"))
    assert all(same(a, b) for a, b in zip(rows, store.lesions(), strict=True))
    for format_ in FORMATS:
        out, back = place / format_, place / f"{format_}-back"
        try:
            assert export_store(store, out, format_) == len(rows)
        except HyperdermError:
            assert format_ == "mat"  # which alone cannot hold everything
            assert store.manifest.kind == "rgb" or "unknown" in store.manifest.diagnoses
            assert not out.exists()
            continue
        assert is_export(out)
        assert exported.orphans(out, exported.scan(out)) == []
        assert take_in(out, back, **options) == []
        again = open_store(str(back))
        assert verify_store(str(back)).sound
        assert all(same(a, b) for a, b in zip(rows, again.lesions(), strict=True))
        assert again.manifest.folds == store.manifest.folds
        assert {one.name for one in diff_stores(store, again).fields} <= {"source", "set_aside"}
