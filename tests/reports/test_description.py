"""The description of a store: numbers against numpy on all cubes at once, cubes with outlines, sentences on what lacks."""

import csv
from dataclasses import replace
from io import StringIO

import numpy as np
import pyarrow as pa
import pytest

from hyperderm.cubes.cube import Cube
from hyperderm.cubes.regions import skin_region
from hyperderm.errors import StoreError
from hyperderm.phantom.rendering import phantom
from hyperderm.reports.description import figures
from hyperderm.reports.description.sections import content, missing
from hyperderm.reports.description.tables import csv_files
from hyperderm.reports.description.write import FILES, write_description
from hyperderm.store.reader import Store, open_store
from hyperderm.store.writer import ROWS_PER_PART, write_store
from hyperderm.studies import description
from hyperderm.studies.description import ALL, LESION, SHARES, SKIN, WHOLE, describe_store
from tests.evaluations import write_set
from tests.reports.figure_words import check_words
from tests.reports.reading import Page
from tests.store.lesions import lesion, lesions

CROP = {"frame": [200, 300], "crop": [10, 20, 110, 140], "mask_share": 0.05, "mask_stored": 0.9}


def made(place, rows, **options) -> Store:
    write_store(str(place), rows, **{"fold_count": 0, **options})
    return open_store(str(place))


@pytest.fixture(scope="module")
def drawn():
    """Seventy phantom lesions, so of two parts; some without a mask, some of one image and group, some from a file."""
    found = []
    for i, each in enumerate(phantom(70, 16, 0)):
        one = replace(each.lesion, image_id=f"image {i // 2}", group=f"patient {i // 4}")
        found.append(replace(one, mask=None) if i % 10 == 3 else replace(one, origin=CROP) if i % 2 else one)
    return found


@pytest.fixture(scope="module")
def store(drawn, tmp_path_factory):
    return made(tmp_path_factory.mktemp("described") / "store", drawn, fold_count=3, seed=2)


@pytest.fixture(scope="module")
def found(store):
    return describe_store(store)


# --- numbers ---


def test_counts_of_lesions_images_and_groups(drawn, found):
    assert (found.total.lesions, found.total.images, found.total.groups, found.total.masks) == (70, 35, 18, 63)
    for kind, count in found.counts.items():
        rows = [each for each in drawn if each.diagnosis == kind]
        assert count.lesions == len(rows)
        assert count.images == len({each.image_id for each in rows})
        assert count.groups == len({each.group for each in rows})
        assert count.masks == sum(each.mask is not None for each in rows)
    numbers = [count.lesions for count in found.counts.values()]
    assert numbers == sorted(numbers, reverse=True)


def test_values_of_the_bands(drawn, found):
    pixels = np.concatenate([each.cube.reflectance.reshape(-1, 16) for each in drawn]).astype(np.float64)
    np.testing.assert_allclose(found.bands.quantiles, np.quantile(pixels, SHARES, axis=0).T, rtol=1e-12)
    np.testing.assert_array_equal(found.bands.low, pixels.min(0))
    np.testing.assert_array_equal(found.bands.high, pixels.max(0))
    np.testing.assert_array_equal(found.bands.negative, (pixels < 0).sum(0))
    assert set(found.bands.finite) == {len(pixels)}
    assert not found.bands.broken.any()


def test_spectra_of_regions_with_their_spread_between_lesions(drawn, found):
    for kind in (ALL, *found.kinds):
        rows = [each for each in drawn if kind in (ALL, each.diagnosis)]
        marked = [(each.cube.reflectance.astype(np.float64), each.mask) for each in rows if each.mask is not None]
        expected = {
            WHOLE: [each.cube.reflectance.astype(np.float64).mean((0, 1)) for each in rows],
            LESION: [cube[mask].mean(0) for cube, mask in marked],
            SKIN: [cube[inside].mean(0) for cube, mask in marked if (inside := skin_region(cube, mask)).any()],
        }
        for region, spectra in expected.items():
            moments = found.spectra[kind, region]
            assert moments.count == len(spectra)
            if spectra:
                np.testing.assert_allclose(moments.mean, np.mean(spectra, 0), rtol=1e-6)
            if len(spectra) > 1:
                np.testing.assert_allclose(moments.sd, np.std(spectra, 0, ddof=1), rtol=1e-5)


def test_sizes_of_masks_and_of_what_an_ingest_recorded(drawn, found):
    sizes = {(size.quantity, size.diagnosis): size for size in found.sizes}
    shares = [each.mask.mean() for each in drawn if each.mask is not None]
    share = sizes["mask_share", ALL]
    assert (share.count, share.low, share.high) == (63, min(shares), max(shares))
    assert share.median == np.median(shares)
    recorded = sum(each.origin is CROP for each in drawn)
    for quantity, value in (("crop_height", 100), ("crop_width", 120), ("frame_width", 300), ("lesion_area", 3000)):
        size = sizes[quantity, ALL]
        assert (size.count, size.low, size.median, size.high) == (recorded, value, value, value)
    assert sum(sizes["mask_share", kind].count for kind in found.kinds if ("mask_share", kind) in sizes) == 63


def test_folds_by_diagnosis(store, drawn, found):
    groups = store.manifest.folds.groups
    for fold in found.folds:
        for kind, number in fold.lesions.items():
            assert number == sum(groups[each.group] == fold.number and each.diagnosis == kind for each in drawn)
    assert sum(fold.groups for fold in found.folds) == 18


def test_values_that_are_not_finite_are_counted_and_count_nowhere_else(store, found, monkeypatch):
    """No writer stores them, so they are put into what is read."""
    tables = Store.tables

    def broken(self, columns):
        for table in tables(self, columns):
            if "cube" in table.column_names:
                cubes = table.column("cube").combine_chunks().to_numpy_ndarray().copy()
                cubes[0, 0, 0, 3], cubes[0, 0, 1, 3] = np.nan, np.inf
                kind = type(table.column("cube").combine_chunks())
                table = table.set_column(table.schema.get_field_index("cube"), "cube", kind.from_numpy_ndarray(cubes))
            yield table

    monkeypatch.setattr(Store, "tables", broken)
    again = describe_store(store)
    assert again.bands.broken.tolist() == [4 * (band == 3) for band in range(16)]  # two in each part
    assert np.isfinite(again.bands.high).all()
    assert np.isfinite(again.spectra[ALL, WHOLE].mean).all()
    assert "4 values are NaN or infinite" in content(again, {}).warnings[-1]


def test_memory_holds_few_parts_at_a_time(tmp_path, monkeypatch):
    store = made(tmp_path / "long", lesions(24 * ROWS_PER_PART))
    part = ROWS_PER_PART * 8 * 8 * (3 * 4 + 1)
    read, alive = Store.tables, []
    before = pa.total_allocated_bytes()

    def watched(self, columns):
        for table in read(self, columns):
            alive.append(pa.total_allocated_bytes() - before)
            yield table

    monkeypatch.setattr(Store, "tables", watched)
    assert describe_store(store).total.lesions == 24 * ROWS_PER_PART
    assert len(alive) == 3 * 24  # the index, and two readings
    assert part < max(alive) < 8 * part  # reading ahead under load holds six


# --- cubes ---


def test_the_same_cubes_are_shown_each_time_and_the_rest_is_counted(drawn, found):
    for kind, tiles in found.tiles.items():
        ids = sorted(each.lesion_id for each in drawn if each.diagnosis == kind)
        assert len(tiles) == min(description.MOST_SHOWN // 2, len(ids))
        assert [tile.lesion_id for tile in tiles] == sorted({tile.lesion_id for tile in tiles} & set(ids))
    most = found.kinds[0]
    left = found.counts[most].lesions - len(found.tiles[most])
    shown = {text.get_text() for text in figures.contact_sheet(found).texts}
    assert f"{most.replace('_', ' ')}: 10 of {found.counts[most].lesions}, {left} not shown" in shown


def test_the_outline_runs_along_the_mask(found):
    tile = next(tile for tiles in found.tiles.values() for tile in tiles if tile.mask is not None)
    plain = figures.outlined(replace(tile, mask=None), 1.0, None, 160)
    drawn = figures.outlined(tile, 1.0, None, 160)
    changed = (plain != drawn).any(2)
    mask = tile.mask.repeat(10, 0).repeat(10, 1)
    inner = mask[5:-5, 5:-5]
    for dy in (-5, 5):
        for dx in (-5, 5):
            inner = inner & mask[5 + dy : 155 + dy, 5 + dx : 155 + dx]
    assert changed.any()
    assert not changed[5:-5, 5:-5][inner].any()  # deep inside nothing is drawn
    border = mask & ~(np.roll(mask, 1, 0) & np.roll(mask, -1, 0) & np.roll(mask, 1, 1) & np.roll(mask, -1, 1))
    assert changed[border].all()


def test_large_cubes_are_reduced_and_oblong_ones_stand_between_bars(tmp_path):
    cube = np.zeros((64, 256, 3), np.float32)
    one = lesion(1, cube=Cube(cube, np.array([465.0, 545.0, 610.0])), mask=np.ones((64, 256), bool))
    found = describe_store(made(tmp_path / "wide", [one], kind="rgb"))
    (tile,) = found.tiles["dysplastic_nevus"]
    assert tile.levels.shape == (32, 128, 3)
    assert tile.mask.shape == (32, 128)
    picture = figures.outlined(replace(tile, mask=None), 1.0, None, 100)
    assert (picture[:37] == 255).all()
    assert not picture[38:62].any()


# --- the report ---


def test_the_page_holds_its_figures_and_every_table(store, found, tmp_path):
    files = write_description(tmp_path / "out", found, {"code": "abc"})
    assert {path.name for path in files} == {path.name for path in (tmp_path / "out").iterdir()}
    assert set(FILES) <= {path.name for path in files}
    source = (tmp_path / "out" / "report.html").read_text()
    page = Page(source)
    assert 'src="http' not in source
    assert page.tags.count("img") == 4
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
    for said in (store.manifest.fingerprint, "70 lesions from 35 source images", "Choose no model", "code: abc"):
        assert said in page.text
    rows = page.table("diagnosis", "lesions")
    assert rows[-1][1:] == ["70", "35", "18", "63"]
    assert len(page.table("nm", "smallest")) == 16
    assert [row[0] for row in page.table("fold")] == ["0", "1", "2"]


def test_tables_as_csv_hold_the_numbers_in_full(found):
    files = csv_files(found)
    bands = list(csv.DictReader(StringIO(files["bands.csv"])))
    assert [float(row["median"]) for row in bands] == found.bands.quantiles[:, 1].tolist()
    spectra = list(csv.DictReader(StringIO(files["spectra.csv"])))
    mine = [float(row["mean"]) for row in spectra if (row["diagnosis"], row["region"]) == ("melanoma", LESION)]
    assert mine == found.spectra["melanoma", LESION].mean.tolist()
    folds = list(csv.DictReader(StringIO(files["folds.csv"])))
    assert sum(int(row["lesions"]) for row in folds) == 70


@pytest.mark.parametrize("draw", [figures.contact_sheet, figures.curves, figures.by_diagnosis, figures.band_values])
def test_no_word_of_a_figure_covers_another(found, draw):
    check_words(draw(found))


def test_what_a_store_lacks_is_said(tmp_path):
    bare = describe_store(made(tmp_path / "bare", (replace(each, diagnosis=None, mask=None) for each in lesions(6))))
    said = " ".join(missing(bare))
    for what in ("no diagnoses", "no masks", "no folds"):
        assert what in said
    assert bare.regions == (WHOLE,)
    page = write_description(tmp_path / "out", bare, {})
    assert {"folds.csv", "report.html"} <= {path.name for path in page}
    text = (tmp_path / "out" / "report.md").read_text()
    assert "whoever made it did not say" not in text  # these cubes name their crops
    assert "mask" not in csv_files(bare)["sizes.csv"].replace("masks", "")
    partly = describe_store(
        made(tmp_path / "partly", (replace(each, diagnosis=None) if i else each for i, each in enumerate(lesions(6))))
    )
    said = " ".join(missing(partly))
    assert "5 of 6 lesions have no diagnosis" in said
    assert "2 of 6 lesions have no mask" in said


def test_a_single_lesion_has_no_spread(tmp_path):
    one = describe_store(made(tmp_path / "one", [lesion(1)]))
    spectra = csv.DictReader(StringIO(csv_files(one)["spectra.csv"]))
    assert {row["sd_between_lesions"] for row in spectra} == {""}
    write_description(tmp_path / "out", one, {})
    assert "one lesion has no spread" in (tmp_path / "out" / "report.md").read_text()


def test_bands_without_colours_are_shown_in_grey(tmp_path):
    rows = (replace(each, cube=Cube(each.cube.reflectance, np.array([900.0, 950.0, 1000.0]))) for each in lesions(4))
    found = describe_store(made(tmp_path / "infrared", rows))
    assert not found.coloured
    assert "in grey" in (next(s for s in content(found, {}).sections if s.key == "cubes").drawings[0].caption)
    tile = next(iter(found.tiles.values()))[0]
    picture = figures.outlined(replace(tile, mask=None), 1.0, None, 80)
    assert (picture[..., 0] == picture[..., 1]).all()
    figures.contact_sheet(found)


def test_photographs_keep_their_colours(tmp_path):
    red = np.zeros((8, 8, 3), np.float32)
    red[..., 2] = 1  # blue, green, red
    one = lesion(1, cube=Cube(red, np.array([465.0, 545.0, 610.0])))
    found = describe_store(made(tmp_path / "rgb", [one], kind="rgb"))
    (tile,) = found.tiles["dysplastic_nevus"]
    assert figures.outlined(replace(tile, mask=None), 1.0, None, 8)[4, 4].tolist() == [255, 0, 0]
    assert "photographs of lesions" in content(found, {}).answer[0]


def test_a_synthetic_set_says_from_what_it_comes(store, drawn, tmp_path):
    cubes = [np.moveaxis(each.cube.reflectance, 2, 0) for each in drawn[:5]]
    for derived, said in ((True, "no new lesions"), (False, "from noise or from photographs")):
        made_from = describe_store(write_set(tmp_path / str(derived), store, cubes, fold=1, derived=derived))
        words = " ".join(missing(made_from))
        assert said in words
        assert f"fold 1 of store {store.manifest.fingerprint[:12]}" in words
        assert "5 synthetic cubes" in content(made_from, {}).answer[0]


def test_an_empty_store_is_refused(store):
    empty = replace(store, manifest=store.manifest.model_copy(update={"lesions": 0}))
    with pytest.raises(StoreError, match="holds no lesion"):
        describe_store(empty)


def test_values_far_above_white_are_told(found):
    assert not [each for each in content(found, {}).warnings if "white is 1" in each]
    high = found.bands.high.copy()
    high[2] = 12.25
    bright = replace(found, bands=replace(found.bands, high=high))
    (said,) = [each for each in content(bright, {}).warnings if "white is 1" in each]
    assert said.startswith(f"The largest value is 12.2, at {found.store.manifest.wavelengths_nm[2]:g} nm")
