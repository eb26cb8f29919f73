"""`hyperderm segment` and `hyperderm denoise` as a user calls them: stores, cubes in files, and what is refused."""

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from scipy.io import savemat
from spectral.io import envi

from experiments import unmixer
from hyperderm import workflows
from hyperderm.phantom.rendering import phantom
from hyperderm.store.writer import write_store
from hyperderm.tracking.server import check_server
from tests.command import project_of
from tests.services.grids import make_project

FEW = ("--steps", "40", "--latent", "3")
TRAIN = ("learner.endmembers=3", "learner.width=4", "learner.stages=0", "data.size=16", "training.images=16")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store of lesions, a project, and cubes in files: with two materials, with holes, of one band."""
    place = tmp_path_factory.mktemp("segmented")
    write_store(str(place / "store"), (one.lesion for one in phantom(12, 16, 0)), fold_count=3)
    project = make_project(place / "project")
    shutil.copy(Path(unmixer.__file__), project / "experiments" / "unmixer.py")
    rng = np.random.default_rng(0)
    spectra = np.array([np.linspace(0.2, 0.8, 9), np.linspace(0.9, 0.3, 9)])
    which = np.zeros((20, 30), np.int64)
    which[5:15, 8:22] = 1
    cube = (spectra[which] + rng.normal(0, 0.01, (20, 30, 9))).astype(np.float32)
    np.save(place / "which.npy", which)
    np.save(place / "cube.npy", cube)
    holes = cube.copy()
    holes[0, :3] = np.nan
    np.save(place / "holes.npy", holes)
    np.save(place / "other.npy", cube[:, ::-1, :8])
    np.save(place / "one.npy", cube[..., :1])
    np.save(place / "four.npy", cube[:2, :2])
    savemat(place / "known.mat", {"A": np.eye(2)[[0, 1, 0, 1]].T})
    (place / "words.txt").write_text("no cube")
    return place


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """An empty tracking database: making one takes seconds."""
    path = tmp_path_factory.mktemp("tracking") / "mlflow.db"
    check_server(f"sqlite:///{path}")
    return path


@pytest.fixture
def here(made, database, tmp_path):
    shutil.copy(database, tmp_path / "mlflow.db")
    with project_of(made / "project", MLFLOW_TRACKING_URI=f"sqlite:///{tmp_path / 'mlflow.db'}", COLUMNS="120"):
        yield made
    shutil.rmtree(made / "project" / "runs", ignore_errors=True)


def test_a_cube_in_a_file_and_its_network_on_another(here, command, tmp_path):
    out = tmp_path / "out"
    done = command("segment", here / "cube.npy", "--clusters", "2", *FEW, "--reference", here / "which.npy", "--out", out)
    assert done.returncode == 0, done.stderr
    assert "600 pixels of one scene were divided into 2 clusters" in done.stdout
    assert "of the pixels their known class (adjusted Rand index" in done.stdout
    labels, which = np.load(out / "labels.npy"), np.load(here / "which.npy")
    assert labels.dtype == np.int16
    assert (labels == which).mean() > 0.97  # cluster 0 is the larger one, as class 0 is
    assert np.array_equal(tifffile.imread(out / "labels.tif"), labels)
    classified = envi.open(out / "labels.hdr", out / "labels.img")
    assert np.array_equal(classified.read_band(0), labels + 1)
    assert classified.metadata["class names"] == ["masked", "cluster 0", "cluster 1"]
    rebuilt = envi.open(out / "reconstruction.hdr", out / "reconstruction.img").load()
    assert np.array_equal(np.asarray(rebuilt), np.load(out / "reconstruction.npy"))
    text = (out / "report.md").read_text()
    assert "Nothing says the wavelengths" in text
    assert "Accuracy against the reference" in text
    with (out / "clusters.csv").open() as file:
        rows = list(csv.DictReader(file))
    np.testing.assert_allclose([float(row["mean_0"]) for row in rows], np.load(here / "cube.npy")[labels == 0].mean(0), 1e-5)
    assert {f"{name}.png" for name in ("labels", "overlay", "methods", "clusters", "examples", "losses")} <= {
        path.name for path in out.iterdir()
    }
    for flags, said in (
        ((here / "other.npy",), "reads 9 bands"),
        ((here / "cube.npy", "--wavelengths", "400:800:9"), "was trained on other bands: band 1 is 1 there and 400 in"),
        ((here / "cube.npy", "--latent", "3"), "--run is given beside --latent"),
    ):
        refused = command("segment", *flags, "--clusters", "2", "--run", out)
        assert refused.returncode == 2
        assert said in refused.stderr
    again = command("segment", here / "holes.npy", "--clusters", "2", "--run", out, "--out", tmp_path / "again")
    assert again.returncode == 0, again.stderr
    holes = np.load(tmp_path / "again" / "labels.npy")
    assert (holes[0, :3] == -1).all()
    assert (holes >= 0).sum() == 597
    assert (holes == labels)[holes >= 0].mean() > 0.97
    assert np.isnan(np.load(tmp_path / "again" / "reconstruction.npy")[0, :3]).all()
    text = (tmp_path / "again" / "report.md").read_text()
    assert "3 of 600 pixels have NaN or infinite values" in text
    assert "It was not trained here" in text
    clean = command("denoise", here / "cube.npy", "--run", out / "autoencoder.pt", "--out", tmp_path / "clean")
    assert clean.returncode == 0, clean.stderr
    assert "No truth is known" in clean.stdout
    np.testing.assert_array_equal(np.load(tmp_path / "clean" / "reconstruction.npy"), np.load(out / "reconstruction.npy"))
    assert workflows.audit_leaks().counts.get("segmenter", 0) == 0  # cubes in files have no roles


def test_a_store_with_masks_and_its_run(here, command, tmp_path):
    out = tmp_path / "out"
    done = command("segment", here / "store", "--clusters", "3", *FEW, "--as-masks", "--out", out)
    assert done.returncode == 0, done.stderr
    with (out / "scenes.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["role"] for row in rows} == {"train", "validation"}
    assert len(rows) < 12  # the test role stays closed
    assert np.load(out / "labels.npy").shape == (len(rows), 16, 16)
    assert np.load(out / "reconstruction.npy").shape == (len(rows), 16, 16, 16)
    pictures = [cv2.imread(str(path)) for path in sorted((out / "labels").iterdir())]
    assert len(pictures) == len(rows)
    for drawn, found in zip(pictures, np.load(out / "labels.npy"), strict=True):  # one colour for each label, and back
        pairs = {(int(label), *pixel) for label, pixel in zip(found.ravel(), map(tuple, drawn.reshape(-1, 3)), strict=True)}
        assert len(pairs) == len(np.unique(found)) == len({pair[1:] for pair in pairs})
    assert "Lesion masks, mean Dice with the drawn ones" in (out / "report.md").read_text()
    assert all(0 <= float(row["dice: Otsu"] or 0) <= 1 for row in rows)
    clean = command("denoise", here / "store", "--run", out, "--out", tmp_path / "clean")
    assert clean.returncode == 0, clean.stderr
    assert "Closest to the truth" in clean.stdout
    other = command("denoise", here / "store", "--fold", "1", "--run", out)
    assert other.returncode == 2
    assert "was trained on fold 0 of this store, fold 1 is asked for. Give --fold 0." in other.stderr
    verdict = workflows.audit_leaks()
    assert (verdict.counts["segmenter"], verdict.openings, verdict.findings, verdict.unknown) == (2, 0, (), ())


def test_label_maps_lie_where_their_source_lies(here, command, tmp_path):
    """GeoTIFF's tags and ENVI's map info are copied; read back by tifffile and spectral."""
    cube = np.load(here / "cube.npy")
    placed = ["UTM", "1", "1", "500000", "3300000", "0.5", "0.5", "49", "North", "WGS-84", "units=Meters"]
    envi.save_image(str(tmp_path / "scene.hdr"), cube, dtype=np.float32, metadata={"map info": placed}, ext=".img")
    keys = (1, 1, 0, 1, 1024, 0, 1, 1)
    tags = [(33550, 12, 3, (0.5, 0.5, 0.0), True), (34735, 3, len(keys), keys, True)]
    tifffile.imwrite(tmp_path / "scene.tif", np.moveaxis(cube, 2, 0), photometric="minisblack", extratags=tags)
    for name in ("scene.hdr", "scene.tif"):
        out = tmp_path / name.replace(".", "-")
        done = command("segment", tmp_path / name, "--clusters", "2", *FEW, "--out", out)
        assert done.returncode == 0, done.stderr
        text = (out / "report.md").read_text()
        header = envi.open(out / "labels.hdr", out / "labels.img").metadata
        with tifffile.TiffFile(out / "labels.tif") as file:
            held = {code: file.pages.first.tags[code].value for code in (33550, 34735) if code in file.pages.first.tags}
        if name.endswith("hdr"):
            assert header["map info"] == placed
            rebuilt = envi.open(out / "reconstruction.hdr", out / "reconstruction.img")
            assert (rebuilt.metadata["map info"], held) == (placed, {})
            assert "The georeference of the source stands in the ENVI file" in text
        else:
            assert (held, "map info" in header) == ({33550: (0.5, 0.5, 0.0), 34735: keys}, False)
            assert "The georeference of the source stands in the TIFF file" in text


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("cube.npy", "--clusters", "1"), "--clusters 1: a scene is divided into at least 2. Ask for 2 or more."),
        (("cube.npy", "--weight", "-0.5"), "--weight -0.5. Give 0 (place does not count) or more."),
        (("cube.npy", "--weight", "nan"), "--weight nan"),
        (("cube.npy", "--latent", "10"), "--latent 10: a pixel has 9 bands. Give 1 to 9."),
        (("cube.npy", "--latent", "0"), "--latent 0. Give 1 or more."),
        (("cube.npy", "--steps", "0"), "--steps 0. Give 1 or more."),
        (("cube.npy", "--resample", "1"), "--resample 1. Give a length from 2 to 4096"),
        (("cube.npy", "--seed", "-1"), "--seed -1. Give 0 or more."),
        (("cube.npy", "--fold", "1"), "is a cube, which has no folds"),
        (("cube.npy", "--reference", "holes.npy"), "holds no integers (height, width)"),
        (("cube.npy", "--reference", "words.txt"), "words.txt is no .npy file of numbers"),
        (("cube.npy", "--reference", "known.mat"), "A of shape (2, 4) for a scene of 20 x 30 = 600 pixels"),
        (("four.npy", "--clusters", "5", "--latent", "2"), "--clusters 5: there are 4 usable pixels"),
        (("four.npy", "--reference", "which.npy"), "--reference of shape (20, 30) for a cube of 2 x 2 pixels"),
        (("one.npy",), "a cube of one band has no spectra. Give a cube of 2 bands or more."),
        (("words.txt",), "words.txt is no scene: no format reads .txt"),
        (("missing.npy",), "missing.npy does not exist"),
        (("cube.npy", "--run", "nobody"), "nobody is no run"),
        (("cube.npy", "--run", "lost.pt"), "checkpoint lost.pt does not exist"),
        (("store", "--fold", "9"), "fold 9"),
        (("store", "--rows", "4"), "say how a file is read, and a store is given"),
    ],
)
def test_what_is_refused(here, command, flags, said):
    words = [here / word if (here / word).exists() or word.startswith("missing") else word for word in flags]
    of_segment = ("--clusters", "--weight", "--as-masks", "--reference")
    for verb in ("segment", *(["denoise"] if not {*flags} & {*of_segment} else [])):
        done = command(verb, *words)
        assert done.returncode == 2, done.stdout + done.stderr
        assert said in done.stderr
    assert not list((here / "project").glob("runs/*/report"))


def test_places_and_runs_that_do_not_fit(here, command, tmp_path):
    (tmp_path / "taken").mkdir()
    for verb in ("segment", "denoise"):
        done = command(verb, here / "cube.npy", "--out", tmp_path / "taken")
        assert done.returncode == 2
        assert "something is already there" in done.stderr
    sets = [word for each in (*TRAIN, "training.validate_every=8", "training.batch_size=4") for word in ("--set", each)]
    done = command("train", "unmixer", "--store", here / "store", "--name", "net", "--profile", "small", *sets)
    assert done.returncode == 0, done.stdout + done.stderr
    done = command("segment", here / "store", "--run", "net")
    assert done.returncode == 2
    assert "run net trained learner.kind = unmixer (role unmixer), which has no latent space of pixels" in done.stderr


def test_masks_of_lesions_that_have_none_are_made_and_not_scored(here, command, tmp_path):
    lesions = [one.lesion for one in phantom(4, 32, 1)]
    write_store(str(tmp_path / "bare"), (replace(each, mask=None) for each in lesions), fold_count=0)
    out = tmp_path / "out"
    done = command("segment", tmp_path / "bare", "--clusters", "3", "--as-masks", *FEW, "--out", out)
    assert done.returncode == 0, done.stderr
    text = (out / "report.md").read_text()
    assert "Lesion masks were made and not scored, because none is drawn; lesions without a mask: " in text
    assert "Dice" not in text
    found = {}
    for path in sorted((out / "masks" / "k_means_L2_of_each_lesion").iterdir()):
        found[int(path.name.partition("_")[0])] = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert found
    assert {value for mask in found.values() for value in np.unique(mask).tolist()} == {0, 255}
    drawn = {number: each.mask for number, each in enumerate(lesions)}
    dices = [
        2 * ((mask > 0) & drawn[number]).sum() / ((mask > 0).sum() + drawn[number].sum()) for number, mask in found.items()
    ]
    assert np.median(dices) > 0.6, "a lesion lies where its mask does"
