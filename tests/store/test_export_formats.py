"""A store as ENVI and NumPy files, and as Parquet, read by those who know nothing of us."""

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
import spectral
from PIL import Image

from hyperderm.errors import ConfigError, StoreError
from hyperderm.ingest.formats import envi, numpy_files
from hyperderm.ingest.formats.scene import ReadOptions
from hyperderm.ingest.layouts import exported
from hyperderm.store.export import FORMATS, export_store
from hyperderm.store.reader import open_store
from hyperderm.store.writer import write_store
from tests.ingest.test_exported import rows
from tests.store.lesions import NM, lesion


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    place = tmp_path_factory.mktemp("exported") / "store"
    write_store(str(place), rows(), fold_count=3, seed=5)
    return open_store(str(place))


@pytest.fixture(scope="module")
def folders(store, tmp_path_factory):
    place = tmp_path_factory.mktemp("folders")
    for format_ in ("envi", "npz"):
        export_store(store, place / format_, format_)
    return place


def test_envi_as_spectral_and_our_reader_of_scenes_read_it(folders, store):
    for entry, one in zip(exported.scan(folders / "envi")[:9], store.lesions(), strict=False):
        path = folders / "envi" / entry.lesion.file
        image = spectral.open_image(str(path))
        assert (image.interleave, image.bands.band_unit, image.bands.centers) == (spectral.BSQ, "Nanometers", NM.tolist())
        np.testing.assert_array_equal(np.asarray(image.load()), one.cube.reflectance)
        raw = np.fromfile(path.with_suffix(".img"), "<f4").reshape(3, 8, 8)
        np.testing.assert_array_equal(raw, np.moveaxis(one.cube.reflectance, 2, 0))
        found = envi.find(path.parent, [path], folders / "envi")[0]
        np.testing.assert_array_equal(envi.read(found, ReadOptions()).wavelengths_nm, NM)
        if entry.lesion.mask:
            picture = np.asarray(Image.open(folders / "envi" / entry.lesion.mask))
            np.testing.assert_array_equal(picture, one.mask * np.uint8(255))


def test_npz_as_numpy_and_our_reader_of_scenes_read_it(folders, store):
    for entry, one in zip(exported.scan(folders / "npz")[:9], store.lesions(), strict=False):
        path = folders / "npz" / entry.lesion.file
        with np.load(path) as found:
            assert set(found.files) == {"cube", "wavelengths_nm"} | ({"mask"} if one.mask is not None else set())
            assert found["cube"].tobytes() == one.cube.reflectance.tobytes()
            np.testing.assert_array_equal(found["wavelengths_nm"], NM)
            assert one.mask is None or np.array_equal(found["mask"], one.mask)
        scene = numpy_files.read(numpy_files.find(path.parent, [path], folders / "npz")[0], ReadOptions())
        np.testing.assert_array_equal(scene.reflectance, one.cube.reflectance)
        np.testing.assert_array_equal(scene.wavelengths_nm, NM)


def test_plain_pyarrow_and_duckdb_read_the_parquet_as_it_is(store):
    """Neither knows anything of us: not the schema, not the manifest."""
    expected = list(store.lesions())[:64]
    path = store.part_paths()[0]
    table = pq.read_table(path)
    assert table.column("lesion_id").to_pylist() == [one.lesion_id for one in expected]
    assert table.column("diagnosis").to_pylist() == [one.diagnosis for one in expected]
    cubes = table.column("cube").combine_chunks().to_numpy_ndarray()
    assert cubes.tobytes() == np.stack([one.cube.reflectance for one in expected]).tobytes()
    query = "SELECT lesion_id, diagnosis, cube, mask FROM '{}'".format(path.replace("'", "''"))
    found = duckdb.connect().execute(query).fetchall()
    assert [row[:2] for row in found] == [(one.lesion_id, one.diagnosis) for one in expected]
    for row, one in zip(found, expected, strict=True):
        assert np.array(row[2], np.float32).reshape(8, 8, 3).tobytes() == one.cube.reflectance.tobytes()
        assert one.mask is None or np.array_equal(np.array(row[3], bool).reshape(8, 8), one.mask)
    counted = duckdb.connect().execute(
        f"SELECT diagnosis, count(*) FROM '{store.location.path}/lesions/*.parquet' GROUP BY 1"
    )
    assert dict(counted.fetchall()) == store.manifest.diagnoses


# --- writing ---


def test_an_origin_that_json_cannot_hold_is_refused_before_anything_is_there(tmp_path):
    write_store(str(tmp_path / "s"), [lesion(0, origin={"file": "\ud800"})], fold_count=0)
    with pytest.raises(StoreError, match=r"holds text that export\.json cannot hold"):
        export_store(open_store(str(tmp_path / "s")), tmp_path / "out", "npz")
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


def test_an_unknown_format(store, tmp_path):
    with pytest.raises(ConfigError, match=r"--format 'matt' is unknown\. Did you mean 'mat'"):
        export_store(store, tmp_path / "out", "matt")


@pytest.mark.parametrize("format_", FORMATS)
def test_an_interrupted_export_leaves_nothing(store, tmp_path, format_):
    def stop(done, total):
        assert total == 66
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_store(store, tmp_path / "out", format_, stop)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "out").mkdir()
    with pytest.raises(StoreError, match="already there"):
        export_store(store, tmp_path / "out", format_)
