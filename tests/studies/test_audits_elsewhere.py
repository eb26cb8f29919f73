"""Sets made elsewhere are audited as sets made here, each cube in the group of what it was made from."""

import numpy as np
import pytest

from hyperderm.metrics.recognisability import told_from_real
from hyperderm.store.reader import open_store
from hyperderm.store.synthetic import SyntheticCube, write_synthetic
from hyperderm.studies.ablation.audits import audit_elsewhere
from hyperderm.studies.ablation.plan import make_plan
from tests.studies.worlds import FOLDS, copier, grid, origin, perfect, world


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return world(tmp_path_factory.mktemp("worlds") / "store", melanomas=60, nevi=60)


def audited(store, uris):
    plan = make_plan(grid({"made": uris}, 1.0), store, {})
    return audit_elsewhere(plan, open_store(uris["0"]), 0)


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
