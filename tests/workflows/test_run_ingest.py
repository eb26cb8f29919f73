"""Raw files into a store, called from Python."""

import numpy as np
import pytest

from hyperderm.errors import ConfigError
from hyperderm.ingest.formats.scene import ReadOptions
from hyperderm.ingest.layouts.scene_folder import Camera
from hyperderm.workflows import annotate_export, check_ingest, ingest, ingest_job, phantom, store_export

CAMERA = Camera(ReadOptions((500.0, 530.0, 560.0, 600.0)))


@pytest.fixture
def raw(tmp_path):
    """Three cubes (20, 24, 4)."""
    (tmp_path / "raw").mkdir()
    for number in range(3):
        np.save(tmp_path / f"raw/scan{number}.npy", np.random.default_rng(number).uniform(0.1, 0.9, (20, 24, 4)))
    return tmp_path / "raw"


def test_a_check_and_an_ingest(raw, tmp_path, capsys):
    job = ingest_job(raw, size=16, camera=CAMERA)
    found = check_ingest(job, folds=0)
    assert found.shapes == {(16, 16, 4): 3}
    assert "3 lesions would be stored" in capsys.readouterr().out
    made = ingest(job, str(tmp_path / "store"), folds=0)
    assert (made.lesions, made.shape, made.set_aside) == (3, (16, 16, 4), ())
    assert made.fingerprint in capsys.readouterr().out


def test_pictures_to_annotate(raw, tmp_path, capsys):
    found = annotate_export(ingest_job(raw, camera=CAMERA), tmp_path / "pictures")
    assert (found.count, found.aside) == (3, ())
    assert "3 pictures in" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"size": 15}, "--size '15' is none. Give 16"),
        ({"masks": "nothing.json"}, "--masks nothing.json does not exist"),
        ({"scale": ["x"]}, "--scale 'x' is none"),
    ],
)
def test_values_are_proven(raw, options, sentence):
    with pytest.raises(ConfigError, match=sentence):
        ingest_job(raw, camera=CAMERA, **options)


def test_an_export_keeps_its_size(tmp_path):
    phantom(str(tmp_path / "store"), count=3, size=16, folds=0)
    store_export(str(tmp_path / "store"), tmp_path / "files")
    assert ingest_job(tmp_path / "files").layout == "exported"
    with pytest.raises(ConfigError, match="--size 32 is not for what was exported"):
        ingest_job(tmp_path / "files", size=32)
