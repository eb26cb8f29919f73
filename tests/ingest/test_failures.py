"""Memory and broken disks are the machine's, damage and missing rights the file's: for every reader and an ingest."""

import errno
import os

import h5py
import numpy as np
import pytest
import scipy.io
import tifffile
from PIL import Image

from hyperderm.errors import CubeError, FileTrouble, MachineTrouble
from hyperderm.ingest.dry_run import check
from hyperderm.ingest.formats import damage, matlab, numpy_files
from hyperderm.ingest.formats.damage import check_machine
from hyperderm.ingest.layouts import photographs
from hyperderm.store.reader import open_store
from tests.ingest.sources import ingest_folder, job_of

NM = (450.0, 500.0, 550.0, 600.0)
CUBE = np.random.default_rng(0).random((20, 24, 4), np.float32)


def folder(root):
    (root / "masks").mkdir(parents=True)
    (root / "wavelengths.txt").write_text("\n".join(map(str, NM)))
    np.save(root / "npy.npy", CUBE)
    np.savez(root / "npz.npz", cube=CUBE)
    scipy.io.savemat(root / "v5.mat", {"cube": CUBE})
    with h5py.File(root / "v7.mat", "w") as file:
        file["cube"] = CUBE
    tifffile.imwrite(root / "tif.tif", np.moveaxis(CUBE, 2, 0), photometric="minisblack")
    mask = np.zeros((20, 24), np.uint8)
    mask[4:12, 6:16] = 255
    Image.fromarray(mask).save(root / "masks" / "npy_00.png")
    return root


PLACES = [
    (numpy_files.np, "load"),
    (matlab.scipy.io, "loadmat"),
    (matlab.h5py, "File"),
    (tifffile, "TiffFile"),
    (Image, "open"),
    (numpy_files, "make_scene"),
]


IO = OSError(errno.EIO, os.strerror(errno.EIO))
ERRORS = [
    (np._core._exceptions._ArrayMemoryError((20, 24, 4), np.dtype(np.float32)), "Unable to allocate 7.50 KiB"),
    (OSError(errno.ENOMEM, "Cannot allocate memory"), "no memory left"),
    (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), "Raise the limit (ulimit -n)"),
    (OSError("read failed: time = Fri, errno = 5, error message = 'Input/output error'"), "Input/output error"),
]


@pytest.mark.parametrize(
    ("module", "name", "error", "said"),
    [(*place, MemoryError(), "no memory left to read it (MemoryError)") for place in PLACES]
    + [(*place, IO, "Input/output error") for place in PLACES]
    + [(*PLACES[1], *one) for one in ERRORS],
)
def test_what_the_machine_did_ends_the_ingest_and_the_same_command_goes_on(tmp_path, monkeypatch, module, name, error, said):
    root = folder(tmp_path / "raw")
    monkeypatch.setattr(damage, "_SPARE", 2**62)  # as if nothing were left

    def broken(*args, **how):
        raise error

    with monkeypatch.context() as broke:
        broke.setattr(module, name, broken)
        with pytest.raises(MachineTrouble) as caught:
            ingest_folder(root, str(tmp_path / "s"), folds=0)
        with pytest.raises(MachineTrouble):
            check(job_of(root), "", 0, 0, lambda done, total: None)
    assert said in str(caught.value)
    assert caught.value.exit_code == 2
    assert not (tmp_path / "s").exists()
    assert ingest_folder(root, str(tmp_path / "s"), folds=0).lesions == 5
    assert open_store(str(tmp_path / "s")).manifest.set_aside == ()
    assert {path.name for path in tmp_path.iterdir()} == {"raw", "s"}


def test_a_size_that_the_file_cannot_have_is_damage(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, CUBE)
    check_machine(MemoryError(), path)  # some memory is left
    check_machine(np._core._exceptions._ArrayMemoryError((10**9, 10**6), np.dtype(float)), path)
    with pytest.raises(MachineTrouble, match="no memory left"):
        check_machine(np._core._exceptions._ArrayMemoryError((1000,), np.dtype(float)), path)
    check_machine(ValueError("x"), path)
    check_machine(OSError("x"), path)


@pytest.mark.parametrize("kind", ["npy.npy", "v5.mat", "tif.tif", "masks/npy_00.png"])
def test_a_file_that_this_user_may_not_read_is_named(tmp_path, monkeypatch, kind):
    root = folder(tmp_path / "raw")
    module, name = {"npy": PLACES[0], "mat": PLACES[1], "tif": PLACES[3], "png": PLACES[4]}[kind.rpartition(".")[2]]
    given = getattr(module, name)

    def refused(path, *args, **how):
        if str(path) == str(root / kind):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return given(path, *args, **how)

    monkeypatch.setattr(module, name, refused)
    manifest = ingest_folder(root, str(tmp_path / "s"), folds=0)
    assert manifest.lesions == 4
    [aside] = manifest.set_aside
    assert aside.file == kind
    assert "may not be read (Permission denied). Give this user the right to it." in aside.reason


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES])
def test_photographs_and_their_tables(tmp_path, monkeypatch, number):
    (tmp_path / "raw" / "images").mkdir(parents=True)
    for name in "ab":
        Image.new("RGB", (30, 30), (90, 80, 70)).save(tmp_path / "raw" / "images" / f"{name}.png")
    given = Image.open

    def refused(path, *args, **how):
        if str(path).endswith("a.png"):
            raise OSError(number, os.strerror(number), str(path))
        return given(path, *args, **how)

    monkeypatch.setattr(photographs.Image, "open", refused)
    if number == errno.EIO:
        with pytest.raises(MachineTrouble, match="Input/output error"):
            ingest_folder(tmp_path / "raw", str(tmp_path / "s"), folds=0)
        return
    [aside] = ingest_folder(tmp_path / "raw", str(tmp_path / "s"), folds=0).set_aside
    assert "a.png may not be read (Permission denied)" in aside.reason


def test_an_error_that_no_reader_foresaw_names_the_image(tmp_path, monkeypatch):
    root = folder(tmp_path / "raw")

    def full(*args, **how):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), "x")

    monkeypatch.setattr("hyperderm.ingest.source.scaled", full)
    with pytest.raises(FileTrouble, match="while reading npy: x: Read-only file system"):
        ingest_folder(root, str(tmp_path / "s"), folds=0)


def test_damage_is_still_damage(tmp_path):
    (tmp_path / "a.mat").write_bytes(b"MATLAB 5.0 MAT-file" + bytes(200))
    with pytest.raises(CubeError):
        matlab.read_arrays(tmp_path / "a.mat")
