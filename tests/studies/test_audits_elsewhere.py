"""Sets made elsewhere, or before the audit of today, are audited as sets made here, each cube in its source's group."""

import numpy as np
import pytest

from hyperderm.metrics.recognisability import told_from_real
from hyperderm.store.reader import open_store
from hyperderm.store.synthetic import SyntheticCube, write_synthetic
from hyperderm.studies.ablation.audits import audit_set
from hyperderm.studies.ablation.plan import make_plan
from tests.studies.worlds import FOLDS, copier, grid, origin, perfect, world


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return world(tmp_path_factory.mktemp("worlds") / "store", melanomas=60, nevi=60)


def audited(store, uris):
    plan = make_plan(grid({"made": uris}, 1.0), store, {})
    return audit_set(plan, open_store(uris["0"]), 0)


def named_copies(folder, store, fold):
    """Copies that say what they are copies of."""
    names = store.select("train", fold, ["melanoma"])
    held = store.read(names).column("cube").combine_chunks().to_numpy_ndarray()
    facts = [{"derived_from": name} for name in names]
    cubes = (SyntheticCube(i, np.ascontiguousarray(c), "melanoma", facts[i]) for i, c in enumerate(held))
    uri = str(folder / f"named-{fold}")
    write_synthetic(uri, cubes, store.manifest.wavelengths_nm, origin(store, fold, "named", len(names)))
    return uri


def test_lesions_of_the_same_world_are_not_told_apart_and_cubes_stay_with_their_sources(tmp_path, store):
    count = len(store.select("train", 0, ["melanoma"]))
    fresh = audited(store, {str(k): perfect(tmp_path, store, k, 60) for k in range(FOLDS)})
    found = fresh["recognisable"]["melanoma"]
    assert found["low"] <= 0.5 <= found["high"]
    assert (found["synthetic"], found["real"]) == (count, count)
    assert not fresh["memorised"]
    named = audited(store, {str(k): named_copies(tmp_path, store, k) for k in range(FOLDS)})
    assert named["memorised"]
    assert "unjudged" not in named
    assert told_from_real(named) == 0.5
    unnamed = audited(store, {str(k): copier(tmp_path, store, k, 60) for k in range(FOLDS)})
    assert told_from_real(unnamed) < 0.4


def test_an_audit_of_an_earlier_version_is_made_anew(tmp_path, store):
    from hyperderm.metrics.memorisation import VERSION
    from hyperderm.reports.ablation.gather import _audited
    from hyperderm.store.synthetic import origin_of

    uris = {str(k): copier(tmp_path, store, k, 20) for k in range(FOLDS)}
    plan = make_plan(grid({"made": uris}, 1.0), store, {})
    before = origin_of(open_store(uris["0"]).manifest)
    old = before.model_copy(update={"audit": {"memorised": False, "share": 0.0}})
    anew = _audited(plan, old, uris["0"], 0).audit
    assert (anew["version"], anew["memorised"]) == (VERSION, True)
    kept = old.model_copy(update={"audit": anew})
    assert _audited(plan, kept, "nowhere", 0) is kept
