"""NumPy files: one array with three axes, nothing pickled, everything else refused by name and shape."""

import io
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperderm.errors import CubeError
from hyperderm.ingest.formats.numpy_files import find, read
from hyperderm.ingest.formats.scene import ReadOptions

CUBE = (np.arange(5 * 7 * 4).reshape(5, 7, 4) / 64).astype(np.float32)


def load(path, **asked):
    [found] = find(path.parent, [path], path.parent)
    return read(found, ReadOptions(**asked))


def refused(path, **asked):
    with pytest.raises(CubeError) as caught:
        load(path, **asked)
    return str(caught.value)


@pytest.mark.parametrize("dtype", ["uint8", "int16", ">u2", "float16", "float64", ">f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_comes_back_exactly_and_in_memory(tmp_path, dtype, order):
    cube = np.asarray(np.round(CUBE * 64), dtype=dtype, order=order)
    np.save(tmp_path / "a.npy", cube)
    scene = load(tmp_path / "a.npy")
    np.testing.assert_array_equal(scene.reflectance, cube.astype(np.float32))
    assert type(scene.reflectance) is np.ndarray
    assert scene.reflectance.flags.forc
    assert scene.reflectance.flags.writeable
    assert scene.facts["dtype"] == np.dtype(dtype).name
    assert scene.wavelengths_nm is None


def test_the_file_may_go_away_after_reading(tmp_path):
    np.save(tmp_path / "a.npy", CUBE)
    scene = load(tmp_path / "a.npy")
    (tmp_path / "a.npy").write_bytes(b"")
    np.testing.assert_array_equal(scene.reflectance, CUBE)


def test_npz_with_wavelengths_beside(tmp_path):
    nm = np.array([450, 500, 550, 600])
    np.savez(tmp_path / "a.npz", cube=CUBE, mask=CUBE[..., 0] > 0, name=np.array("arm"), wavelengths_nm=nm)
    scene = load(tmp_path / "a.npz")
    np.testing.assert_array_equal(scene.reflectance, CUBE)
    np.testing.assert_array_equal(scene.wavelengths_nm, nm)
    assert scene.facts["key"] == "cube"
    assert load(tmp_path / "a.npz", wavelengths_nm=(1, 2, 3, 4)).wavelengths_nm.tolist() == [1, 2, 3, 4]


def test_several_arrays_need_a_key(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", first=CUBE, raw=CUBE + 1)
    said = refused(tmp_path / "a.npz")
    assert "first (5, 7, 4) float32" in said
    assert "--key" in said
    np.testing.assert_array_equal(load(tmp_path / "a.npz", key="raw").reflectance, CUBE + 1)
    assert "'row'" in refused(tmp_path / "a.npz", key="row")
    assert "Did you mean 'raw'" in refused(tmp_path / "a.npz", key="row")
    np.savez_compressed(tmp_path / "a.npz", white=CUBE, raw=CUBE + 1)
    scene = load(tmp_path / "a.npz")
    np.testing.assert_array_equal(scene.reflectance, CUBE + 1)
    [note] = scene.facts["notes"]
    assert note == "white (5, 7, 4) is a reference by name, and not used: the image is raw (5, 7, 4)"


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (CUBE[..., 0], "(5, 7)"),
        (CUBE[None], "(1, 5, 7, 4)"),
        (CUBE[:0], "(0, 7, 4)"),
        (CUBE.astype(complex), "complex128"),
        (CUBE > 0, "bool"),
        (CUBE.astype(str), "real numbers"),
    ],
)
def test_arrays_that_are_no_scene(tmp_path, array, said):
    np.save(tmp_path / "a.npy", array)
    assert said in refused(tmp_path / "a.npy")


@pytest.mark.parametrize("nm", [[450, 500, 550], [450, 500, 500, 550], [1, 2, 3, np.inf], ["a", "b", "c", "d"]])
def test_wavelengths_that_do_not_fit(tmp_path, nm):
    np.savez(tmp_path / "a.npz", cube=CUBE, wavelengths_nm=nm)
    assert "wavelengths" in refused(tmp_path / "a.npz")


def test_pickles_are_never_loaded(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (tmp_path.joinpath("exploded").touch, ())

    np.save(tmp_path / "a.npy", np.array([Bomb()], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "b.npz", cube=CUBE, extra=np.array([Bomb()], dtype=object))
    for name in ("a.npy", "b.npz"):
        said = refused(tmp_path / name)
        assert "pickled Python objects, which are never loaded" in said
        assert "allow_pickle" not in said
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_truncated(tmp_path, name):
    (np.save if name.endswith("npy") else np.savez)(tmp_path / name, CUBE)
    whole = (tmp_path / name).read_bytes()
    for cut in (0, 5, 60, len(whole) // 2, len(whole) - 1):
        (tmp_path / name).write_bytes(whole[:cut])
        assert "damaged or truncated" in refused(tmp_path / name)


def whole(kind):
    stream = io.BytesIO()
    if kind == "npy":
        np.save(stream, CUBE[:2, :2])
    else:
        np.savez(stream, cube=CUBE[:2, :2], wavelengths_nm=[1, 2, 3, 4])
    return stream.getvalue()


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["npy", "npz"]),
    change=st.one_of(st.binary(max_size=100), st.tuples(st.floats(0, 1), st.integers(0, 20), st.binary(max_size=8))),
)
def test_any_bytes_raise_only_our_error(tmp_path_factory, kind, change):
    content = change
    if isinstance(change, tuple):
        good = whole(kind)
        at = int(change[0] * len(good))
        content = good[:at] + change[2] + good[at + change[1] :]
    path = tmp_path_factory.mktemp("fuzz") / f"a.{kind}"
    path.write_bytes(content)
    try:
        scene = load(path)
    except CubeError:
        return
    assert scene.reflectance.ndim == 3


def test_a_zip_that_promises_too_much(tmp_path):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": (10**6, 10**6, 10**3)})
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("cube.npy", stream.getvalue())
    assert "damaged or truncated" in refused(tmp_path / "a.npz")
