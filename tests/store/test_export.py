"""A store as .mat files: the layout, what the files hold, and what readers of that layout make of them."""

import csv
import json

import numpy as np
import pytest
import scipy.io
from PIL import Image

from hyperderm.cubes import crop
from hyperderm.cubes.cube import HSIDERMOSCOPY_NM, Cube
from hyperderm.cubes.diagnosis import DIAGNOSES
from hyperderm.errors import StoreError
from hyperderm.ingest.annotations.mask_image import read_mask
from hyperderm.ingest.formats.matlab import read_array
from hyperderm.ingest.layouts import hsidermoscopy
from hyperderm.store.export import export_store
from hyperderm.store.reader import open_store
from hyperderm.store.writer import write_store
from tests.store.lesions import lesion

NM = np.array(HSIDERMOSCOPY_NM)


def lesions(masks):
    """Two lesions of every diagnosis, 16 px, 16 bands."""
    for i, diagnosis in enumerate((*DIAGNOSES, *DIAGNOSES)):
        cube = Cube(np.random.default_rng(i).normal(0.5, 0.4, (16, 16, 16)).astype(np.float32), NM)
        yield lesion(i, 16, diagnosis=diagnosis, cube=cube, mask=masks(i))


def centre(i):
    mask = np.zeros((16, 16), bool)
    mask[2:14, 2:14] = True  # 1.5 times its box is the whole frame
    return mask


def stored(place, masks=lambda i: None, **options):
    write_store(str(place), lesions(masks), fold_count=0, **options)
    return open_store(str(place))


@pytest.mark.parametrize("masks", [lambda i: None, centre, lambda i: centre(i) if i % 2 else None])
def test_readers_of_the_layout_find_every_lesion_and_cut_nothing_off(tmp_path, masks):
    store = stored(tmp_path / "store", masks)
    out = tmp_path / "out"
    assert export_store(store, out, "mat") == 14
    with (out / "lesions.csv").open() as stream:
        table = {row["file"]: row for row in csv.DictReader(stream)}
    before = {one.lesion_id: one for one in store.lesions()}
    sources = hsidermoscopy.scan(out)
    assert hsidermoscopy.orphans(out, sources) == []
    assert len(sources) == 14
    for source in sources:
        row = table[source.path.relative_to(out).as_posix()]
        one = before[row["lesion_id"]]
        assert read_array(source.path).tobytes() == one.cube.reflectance.tobytes()
        assert source.diagnosis == one.diagnosis == row["diagnosis"]
        assert row["mask"] == ("whole frame" if one.mask is None else "lesion")
        mask = read_mask(*source.masks)
        np.testing.assert_array_equal(mask, np.ones((16, 16), bool) if one.mask is None else one.mask)
        assert crop.scaled_box(crop.mask_box(mask), mask.shape) == (0, 0, 16, 16)


def test_files_are_what_the_layout_says(tmp_path):
    store = stored(tmp_path / "store", centre)
    export_store(store, tmp_path / "out", "mat")
    files = sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.mat"))
    other = [f"images/OtherCube/{tag}{n}.mat" for tag in ("IEC", "Lentigo", "Melt", "Nv", "SK") for n in (1, 2)]
    assert files == [*(f"images/{k}/{n}.mat" for k in ("DNCube", "MMCube") for n in (1, 2)), *other]
    first = next(store.lesions())
    found = scipy.io.loadmat(tmp_path / "out/images/MMCube/1.mat")
    assert found["DataCubeC"].dtype == np.float32
    np.testing.assert_array_equal(found["DataCubeC"], first.cube.reflectance)
    np.testing.assert_array_equal(found["wavelengths_nm"].ravel(), NM)
    assert json.loads(found["origin"].item()) == first.origin
    mask = np.asarray(Image.open(tmp_path / "out/masks/MMCube/1_00.png"))
    np.testing.assert_array_equal(mask, centre(0) * 255)


def test_nothing_is_overwritten_and_nothing_half_written(tmp_path, monkeypatch):
    store = stored(tmp_path / "store")
    (tmp_path / "out").mkdir()
    with pytest.raises(StoreError, match="already there"):
        export_store(store, tmp_path / "out", "mat")
    full = OSError(28, "No space left on device")
    monkeypatch.setattr(scipy.io, "savemat", lambda *a, **k: (_ for _ in ()).throw(full))
    with pytest.raises(StoreError, match="cannot be written"):
        export_store(store, tmp_path / "new", "mat")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "store"]


def test_what_the_layout_cannot_hold(tmp_path):
    write_store(str(tmp_path / "a"), [lesion(0, diagnosis=None)], fold_count=0)
    with pytest.raises(StoreError, match="no folder"):
        export_store(open_store(str(tmp_path / "a")), tmp_path / "out", "mat")
    write_store(str(tmp_path / "b"), [lesion(0)], fold_count=0, kind="rgb")
    with pytest.raises(StoreError, match="photographs"):
        export_store(open_store(str(tmp_path / "b")), tmp_path / "out", "mat")
