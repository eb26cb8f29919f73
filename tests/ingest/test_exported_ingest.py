"""A store written out and read in again is the store: lesions, masks, groups, folds, bit for bit."""

import numpy as np
import pytest

from hyperderm.store.export import export_store
from hyperderm.store.reader import open_store
from tests.ingest.sources import ingest_folder
from tests.ingest.test_ingest import three_of_each
from tests.studies.grids import store as real_store
from tests.studies.grids import synthetic_set


@pytest.mark.parametrize("format_", ["mat", "envi", "npz"])
def test_out_and_in_again(tmp_path, format_):
    three_of_each(tmp_path / "raw")
    ingest_folder(tmp_path / "raw", str(tmp_path / "store"), size=16)
    first = open_store(str(tmp_path / "store"))
    export_store(first, tmp_path / "out", format_)
    ingest_folder(tmp_path / "out", str(tmp_path / "again"), size=8)  # an export is neither cropped nor resized
    second = open_store(str(tmp_path / "again"))
    assert second.manifest.folds == first.manifest.folds
    assert second.manifest.set_aside == ()
    for a, b in zip(first.lesions(), second.lesions(), strict=True):
        assert (a.lesion_id, a.image_id, a.group, a.diagnosis, a.origin) == (
            b.lesion_id,
            b.image_id,
            b.group,
            b.diagnosis,
            b.origin,
        )
        assert np.array_equal(a.cube.reflectance, b.cube.reflectance)
        assert np.array_equal(a.mask, b.mask)


def test_a_synthetic_set_comes_back_as_one(tmp_path):
    real = real_store(tmp_path / "real")
    uri = synthetic_set(tmp_path / "made", real, 1, {"melanoma": 5})
    export_store(open_store(uri), tmp_path / "out", "npz")
    manifest = ingest_folder(tmp_path / "out", str(tmp_path / "again"))
    assert manifest.source == open_store(uri).manifest.source
    assert manifest.folds is None
