"""Unmixing of a store: whose pixels give the endmembers, what is kept of every lesion, and the report."""

import csv
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.io import loadmat, savemat

from hyperderm.cubes.cube import Cube
from hyperderm.errors import ConfigError, StoreError
from hyperderm.phantom.rendering import phantom
from hyperderm.reports.unmixing import figures
from hyperderm.reports.unmixing.known import KNOWN
from hyperderm.reports.unmixing.sections import ABUNDANCES, ENDMEMBERS, LESIONS, content
from hyperderm.reports.unmixing.write import write_unmixing
from hyperderm.store.reader import open_store
from hyperderm.store.writer import write_store
from hyperderm.studies.known_unmixing import known_of
from hyperderm.studies.unmixing import Request, unmix_store
from hyperderm.unmixing.fcls import fcls


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    place = tmp_path_factory.mktemp("unmixed") / "store"
    write_store(str(place), (one.lesion for one in phantom(30, 16, 0)), fold_count=3)
    return open_store(str(place))


def unmixed(request: Request):
    kept = {}
    found = unmix_store(request, lambda name, maps: kept.__setitem__(name, maps))
    return found, kept


@pytest.fixture(scope="module")
def found(store):
    return unmixed(Request(store, "nfindr", 4, 0))


def test_abundances_are_those_of_the_pixels_alone(store, found):
    result, kept = found
    cubes = {each.lesion_id: each.cube.reflectance for each in store.lesions()}
    for each in result.lesions:
        maps = kept[each.lesion_id]
        np.testing.assert_allclose(maps.sum(2), 1, atol=1e-5)
        assert maps.min() >= 0
        rows = cubes[each.lesion_id].reshape(-1, 16).astype(np.float64)
        exact = fcls(rows, result.endmembers)
        np.testing.assert_allclose(maps.reshape(-1, 4), exact, atol=1e-6)
        assert each.rmse == pytest.approx(np.sqrt(np.square(exact @ result.endmembers - rows).mean()))
        np.testing.assert_allclose(each.whole, exact.mean(0))
    assert len(result.maps) == 12


def test_the_test_role_stays_closed_and_endmembers_are_those_of_train(store, found):
    result, kept = found
    train, validation = (store.select(role, 0, "all") for role in ("train", "validation"))
    assert set(kept) == {*train, *validation} == {each.lesion_id for each in result.lesions}
    assert len(kept) < len(list(store.lesions()))
    assert {each.lesion_id for each in result.lesions if each.role == "train"} == set(train)
    pixels = np.concatenate([e.cube.reflectance.reshape(-1, 16) for e in store.lesions() if e.lesion_id in train])
    for endmember in result.endmembers:  # N-FINDR's endmembers are pixels
        assert np.abs(pixels - endmember).sum(1).min() < 1e-6
    other, _ = unmixed(Request(store, "nfindr", 4, 1))
    assert not np.array_equal(other.endmembers, result.endmembers)


def test_the_same_request_gives_the_same_bits(store, found):
    again, kept = unmixed(Request(store, "nfindr", 4, 0))
    assert np.array_equal(again.endmembers, found[0].endmembers)
    assert all(np.array_equal(kept[name], maps) for name, maps in found[1].items())


def test_mixtures_of_known_spectra_are_found_again(tmp_path):
    """Cubes made from three spectra, with pure pixels: SISAL and N-FINDR find them, and the knee says three."""
    rng = np.random.default_rng(0)
    spectra = np.array([np.linspace(0.2, 0.9, 16), np.linspace(0.8, 0.1, 16), 0.5 + 0.3 * np.sin(np.arange(16))])
    lesions = []
    for one in phantom(6, 16, 0):
        mixed = rng.dirichlet([0.6] * 3, (16, 16)) @ spectra + rng.normal(0, 1e-4, (16, 16, 16))
        cube = Cube(mixed.astype(np.float32), one.lesion.cube.wavelengths_nm)
        lesions.append(replace(one.lesion, cube=cube))
    write_store(str(tmp_path / "mixed"), lesions, fold_count=0)
    store = open_store(str(tmp_path / "mixed"))
    for method in ("nfindr", "sisal"):
        result, _ = unmixed(Request(store, method, "auto", None))
        assert result.choice.count == 3
        assert result.choice.subspace.count == 3
        gaps = np.abs(result.endmembers[:, None] - spectra[None]).max(2)
        assert gaps.min(0).max() < 0.1
        assert max(each.rmse for each in result.lesions) < 0.02


def test_pixels_of_unit_length_have_no_brightness(store):
    result, _ = unmixed(Request(store, "vca", 3, 0, unit=True))
    assert np.linalg.norm(result.sample, axis=1) == pytest.approx(1)


def test_pixels_without_a_direction_are_masked_and_counted(tmp_path):
    lesions = [one.lesion for one in phantom(6, 16, 0)]
    broken = lesions[2].cube.reflectance.copy()
    broken[[3, 7], [4, 8]] = 0  # black: no length to divide by
    lesions[2] = replace(lesions[2], cube=Cube(broken, lesions[2].cube.wavelengths_nm))
    write_store(str(tmp_path / "broken"), lesions, fold_count=0)
    result, kept = unmixed(Request(open_store(str(tmp_path / "broken")), "nfindr", 3, None, unit=True))
    masked = {each.lesion_id: each.masked for each in result.lesions}
    assert masked == {each.lesion_id: 2 * (each is lesions[2]) for each in lesions}
    maps = kept[lesions[2].lesion_id]
    assert np.isnan(maps[[3, 7], [4, 8]]).all()
    assert np.isfinite(maps).all(2).sum() == 254
    assert np.isfinite(result.medians()["rmse"])


def test_more_endmembers_than_bands_and_no_such_fold(store):
    with pytest.raises(ConfigError, match="--endmembers 17: the pixels have 16 bands"):
        unmixed(Request(store, "vca", 17, 0))
    with pytest.raises(StoreError, match="fold 7"):
        unmixed(Request(store, "vca", 3, 7))
    with pytest.raises(StoreError, match="cannot be read without folds"):
        unmixed(Request(store, "vca", 3, None))


def changed(place, change):
    lesions = []
    for one in phantom(6, 16, 0):
        values, nm = change(one.lesion.cube.reflectance), one.lesion.cube.wavelengths_nm
        lesions.append(replace(one.lesion, cube=Cube(values.astype(np.float32), nm[: values.shape[2]])))
    write_store(str(place), lesions, fold_count=0)
    return open_store(str(place))


@pytest.mark.parametrize(
    ("change", "count", "unit", "said"),
    [
        (lambda x: np.full_like(x, 0.5), 3, False, "all 1536 pixels have one colour"),
        (lambda x: np.full_like(x, 0.5), "auto", False, "all 1536 pixels have one colour"),
        (lambda x: x[..., :3], "auto", False, "auto needs 4 bands or more, the store has 3"),
        (lambda x: x[..., :1], 2, False, "the pixels have 1 band"),
        (lambda x: np.zeros_like(x), 2, True, "none of the 1536 pixels is finite"),
    ],
)
def test_scenes_that_cannot_be_unmixed(tmp_path, change, count, unit, said):
    with pytest.raises(ConfigError, match=said):
        unmixed(Request(changed(tmp_path / "store", change), "nfindr", count, None, unit=unit))


def test_the_report_holds_the_numbers(tmp_path, store):
    request = Request(store, "sisal", "auto", 0)
    found, files = write_unmixing(tmp_path / "out", lambda keep: unmix_store(request, keep), {"commit": "abc"})
    assert {path.name for path in files} == {path.name for path in (tmp_path / "out").iterdir()}
    assert {"errors.png", "endmembers.png", "maps.png", "simplex.png"} <= {path.name for path in files}
    table = pq.read_table(tmp_path / "out" / ABUNDANCES)
    assert table.column("lesion_id").to_pylist()[0] in {each.lesion_id for each in found.lesions}
    maps = table.column("abundances").combine_chunks().to_numpy_ndarray()
    assert maps.shape == (len(found.lesions), 16, 16, found.choice.count)
    with (tmp_path / "out" / ENDMEMBERS).open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["endmember_1"]) for row in rows] == pytest.approx(found.endmembers[0])
    with (tmp_path / "out" / LESIONS).open() as file:
        by_id = {row["lesion_id"]: row for row in csv.DictReader(file)}
    for each in found.lesions:
        assert float(by_id[each.lesion_id]["rmse"]) == pytest.approx(each.rmse)
        assert float(by_id[each.lesion_id]["inside_1"]) == pytest.approx(each.inside[0])
    assert f"{found.medians()['rmse']:.4f}" in (tmp_path / "out" / "report.md").read_text()


def test_a_request_that_fails_leaves_no_report(tmp_path, store):
    request = Request(store, "vca", 17, 0)
    with pytest.raises(ConfigError):
        write_unmixing(tmp_path / "out", lambda keep: unmix_store(request, keep), {})
    assert list(tmp_path.iterdir()) == []


def test_absorbers_are_drawn_where_they_are_known():
    assert list(figures.known_absorbers(np.array([460.0, 620.0]))) == ["eumelanin", "oxyhaemoglobin", "deoxyhaemoglobin"]
    assert list(figures.known_absorbers(np.array([401.0, 1000.0]))) == ["eumelanin"]
    assert figures.known_absorbers(np.array([900.0, 1700.0])) == {}


def test_what_a_reader_must_know_is_said(store):
    found, _ = unmixed(Request(store, "vca", 3, 0))
    dark = replace(found, endmembers=found.endmembers - 1)
    assert any("Endmembers 1, 2, 3: values below 0" in each for each in content(dark, {}).warnings)
    worse = replace(found, lesions=tuple(replace(each, rmse=1.0, masked=2) for each in found.lesions))
    said = " ".join(content(worse, {}).warnings)
    assert "VCA looks for extreme colours" in said
    assert f"{2 * len(found.lesions)} pixels of {len(found.lesions)} lesions cannot be unmixed" in said


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A scene of three spectra with pure pixels and no noise, and the MATLAB file that says so."""
    folder = tmp_path_factory.mktemp("scene")
    spectra = np.array([np.linspace(0.2, 0.9, 16), np.linspace(0.8, 0.1, 16), 0.5 + 0.3 * np.sin(np.arange(16))])
    shares = np.random.default_rng(0).dirichlet([0.5] * 3, (16, 16))
    shares[:3] = np.eye(3)[:, None]
    lesion = next(iter(phantom(1, 16, 0))).lesion
    cube = Cube((shares @ spectra).astype(np.float32), lesion.cube.wavelengths_nm)
    write_store(str(folder / "scene"), [replace(lesion, cube=cube)], fold_count=0)
    turned = [2, 0, 1]
    a = shares[..., turned].reshape(-1, 3, order="F").T
    savemat(folder / "end.mat", {"A": a, "M": spectra[turned].T, "cood": np.array([["c"], ["a"], ["b"]], dtype=object)})
    return open_store(str(folder / "scene")), folder / "end.mat"


def test_a_known_mixture_is_found_and_scored(scene, tmp_path):
    store, path = scene
    request = Request(store, "nfindr", 3, None, known=known_of(path, store, None))
    found, _ = write_unmixing(tmp_path / "out", lambda keep: unmix_store(request, keep), {})
    truth = found.compared
    assert truth.names == ("c", "a", "b")
    assert truth.found.mean_angle == pytest.approx(0, abs=1e-3)
    assert truth.found.abundance_rmse == pytest.approx(0, abs=1e-4)
    assert truth.true.abundance_rmse == pytest.approx(0, abs=1e-4)
    text = (tmp_path / "out" / "report.md").read_text()
    assert "Against the known mixture: mean spectral angle 0.0000 rad, abundances 0.0000 off" in text
    with (tmp_path / "out" / KNOWN).open() as file:
        rows = list(csv.DictReader(file))
    assert [row["material"] for row in rows] == ["c", "a", "b"]
    for k, row in enumerate(rows):  # the endmember that a row names is the known spectrum
        matched = found.endmembers[int(row["endmember"]) - 1]
        assert matched == pytest.approx(truth.endmembers[k], abs=1e-3)
    worse = replace(request, given=found.endmembers + 0.05, method="net")
    assert unmixed(worse)[0].compared.found.mean_angle > 0.03
    assert unmixed(replace(worse, given=None, method="nfindr", unit=True))[0].compared.true.abundance_rmse > 0.01


def test_a_known_mixture_of_something_else(scene, store, tmp_path):
    of_scene, path = scene
    with pytest.raises(ConfigError, match="--endmembers 4 with a reference of 3"):
        known_of(path, of_scene, 4)
    with pytest.raises(ConfigError, match="--reference for a store of 30 scenes"):
        known_of(path, store, 3)
    a, m = (loadmat(path)[key] for key in ("A", "M"))
    savemat(tmp_path / "few.mat", {"A": a, "M": m[:9]})
    with pytest.raises(ConfigError, match="endmembers of 9 bands, the store has 16"):
        known_of(tmp_path / "few.mat", of_scene, 3)
    savemat(tmp_path / "alone.mat", {"A": a})
    with pytest.raises(ConfigError, match="holds no endmembers"):
        known_of(tmp_path / "alone.mat", of_scene, 3)
