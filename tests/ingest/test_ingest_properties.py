"""Folders of anything: an ingest ends in a store that is sound, or in one of the project's own errors and leaves nothing."""

import io
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import tifffile
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from hyperderm.errors import HyperdermError
from hyperderm.ingest.formats.mosaic import Mosaic
from hyperderm.ingest.formats.scene import ReadOptions
from hyperderm.ingest.layouts.scene_folder import Camera
from hyperderm.ingest.lesions import CropOptions, LesionMarks
from hyperderm.ingest.pipeline import ingest
from hyperderm.ingest.source import LAYOUTS, make_job
from hyperderm.store.verify import verify_store

NM = (460.0, 500.0, 540.0)


def _npz(**arrays) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def _saved(write) -> bytes:
    stream = io.BytesIO()
    write(stream)
    return stream.getvalue()


RNG = np.random.default_rng(0)
CUBE = RNG.random((16, 20, 3), np.float32)
HEADER = (
    "ENVI\nsamples = 20\nlines = 16\nbands = 3\nheader offset = 0\nfile type = ENVI Standard\ndata type = 4\n"
    "interleave = bip\nbyte order = 0\nwavelength units = nm\nwavelength = {460, 500, 540}\n"
)
MASK = np.zeros((16, 20), np.uint8)
MASK[4:9, 5:12] = 255
GOOD: dict[str, bytes] = {
    ".npz": _npz(cube=CUBE, wavelengths_nm=np.array(NM)),
    ".npy": _saved(lambda s: np.save(s, CUBE)),
    ".tif": _saved(
        lambda s: tifffile.imwrite(
            s, np.moveaxis(CUBE, 2, 0), photometric="minisblack", description=json.dumps({"wavelengths_nm": NM})
        )
    ),
    ".png": _saved(lambda s: Image.fromarray(MASK).save(s, "PNG")),
    ".jpg": _saved(lambda s: Image.fromarray((CUBE * 255).astype(np.uint8)).save(s, "JPEG")),
    ".hdr": HEADER.encode(),
    ".img": CUBE.tobytes(),
    ".csv": b"image,label\na,mel\nb,nv\nc,mel\n",
    ".txt": b"460\n500\n540\n",
}
GOOD[".mat"] = _saved(lambda s: scipy.io.savemat(s, {"DataCubeC": RNG.random((16, 20, 16), np.float32)}))
SOUND: dict[str, dict[tuple[str, str], bytes]] = {
    "hsidermoscopy": {("images/MMCube", "1.mat"): GOOD[".mat"], ("masks/MMCube", "1_00.png"): GOOD[".png"]},
    "npz": {("", "a.npz"): GOOD[".npz"], ("masks", "a_00.png"): GOOD[".png"]},
    "tif": {("p", "b.tif"): GOOD[".tif"]},
    "envi": {("", "e.hdr"): GOOD[".hdr"], ("", "e.img"): GOOD[".img"]},
    "npy": {("", "n.npy"): GOOD[".npy"], ("", "n.wavelengths.txt"): GOOD[".txt"]},
    "picture": {("images", "a.jpg"): GOOD[".jpg"], ("masks", "a.png"): GOOD[".png"]},
    "table": {("", "labels.csv"): GOOD[".csv"]},
}
NAMES = st.sampled_from(["a", "b", "c", "a_00", "a_mask", "1", "01", "2", "a_460nm", "wavelengths", "camera_responses"]) | (
    st.text(max_size=8) | st.sampled_from(["..", "[red]", "{x}", "\n", "a\udcff", "x" * 120, "CON", "ä 😀", "%s", ".a", "-"])
).map(lambda text: text.replace("/", "_").replace("\0", "_"))
FOLDERS = {
    "scenes": ["", "", "p/q", "masks", "p/masks", "Masks"],
    "photographs": ["", "images", "masks"],
    "hsidermoscopy": ["", "images/MMCube", "masks/MMCube", "images/OtherCube", "images", "masks"],
}
SUFFIXES = [*GOOD, ".json", ".bmp", ".raw", ".h5", ".bin", ".NPY", "", ".parquet"]
CELLS = st.sampled_from(["image", "label", "a", "b", "mel", "nv", "", "a/b", "x.y", '"', "\0", "Image", "ä", "patient"])
TABLES = st.lists(st.lists(CELLS, max_size=4).map(",".join), max_size=5).map("\n".join)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["a.png", "../a", "lesion", "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["images", "annotations", "id", "file_name", "image_id", "data", "result", "what", "lesions"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@st.composite
def content(draw, suffix: str) -> bytes:
    good = GOOD.get(suffix.lower(), b"")
    how = draw(st.integers(0, 5))
    if how == 0:
        return draw(st.binary(max_size=200))
    if how == 1:
        return good[: draw(st.integers(0, len(good)))]
    if how == 2 and suffix == ".csv":
        return draw(TABLES).encode()
    if how <= 3 and suffix == ".json":
        return json.dumps(draw(JSON)).encode()
    if how == 2 and good:
        at = draw(st.integers(0, len(good) - 1))
        return good[:at] + draw(st.binary(min_size=1, max_size=4)) + good[at + 1 :]
    return good


@st.composite
def folders(draw) -> dict[str, object]:
    kind = draw(st.sampled_from(["scenes", "scenes", "photographs", "hsidermoscopy"]))
    good = {"scenes": ["npz", "tif", "envi", "npy", "table"], "photographs": ["picture", "table"]}.get(kind, [kind])
    names = draw(st.lists(st.sampled_from(good), max_size=3, unique=True))
    files = {at: data for name in names for at, data in SOUND[name].items()}
    for _ in range(draw(st.integers(0, 8))):
        suffix = draw(st.sampled_from(SUFFIXES))
        files[draw(st.sampled_from(FOLDERS[kind])), draw(NAMES) + suffix] = draw(content(suffix))
    mostly = st.integers(0, 9).map(lambda n: n > 1)  # options that do not fit the files end before these are read

    def option(usual, odd):
        return usual if draw(mostly) else draw(odd)

    return {
        "files": files,
        "layout": option("auto", st.sampled_from(LAYOUTS)),
        "size": draw(st.sampled_from([None, 16, 16])),
        "bands": option(None, st.sampled_from([(480.0, 520.0), (10.0,)])),
        "nm": option(None, st.sampled_from([NM, (1.0, 2.0)])),
        "automatic": draw(st.booleans()),
        "how": draw(st.sampled_from(["superpixel", "bilinear"])),
        "folds": option(0, st.sampled_from([3, 2])),
        "masks": option(None, content(".json")),
        "groups": option(None, TABLES),
        "single": option(False, st.just(True)),
    }


PLAIN = {"layout": "auto", "size": 16, "bands": None, "nm": None, "automatic": False, "how": "superpixel", "folds": 0}
PLAIN |= {"masks": None, "groups": None, "single": False}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(folders())
@example({**PLAIN, "files": {("", "a\udcff.npz"): GOOD[".npz"], ("", "b.npz"): GOOD[".npz"], ("", "z\udcff"): b""}})
@example({**PLAIN, "files": {("", "a.npz"): GOOD[".npz"]}, "masks": b'{"images": [{"id": 1, "file_name": "\\ud800"}], "annotations": []}'})  # fmt: skip # noqa: E501
@example({**PLAIN, "files": {("", "a.hdr"): GOOD[".hdr"], ("", "a.img"): GOOD[".img"], ("masks", "a_00.png"): GOOD[".png"]}})
def test_a_folder_of_anything(facts):
    place = Path(tempfile.mkdtemp())
    try:
        ended = take(place, facts)
        event(ended)
        assert ended != "refused without a word"
    finally:
        shutil.rmtree(place)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def take(place: Path, facts) -> str:
    raw = place / "raw"
    raw.mkdir()
    written = []
    for (folder, name), data in facts["files"].items():
        path = raw / folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            written.append(path)
        except OSError:
            continue  # a folder is called so, or the disk wants no such name
    side = {key: place / f"{key}.x" for key in ("masks", "groups") if facts[key] is not None}
    for key, path in side.items():
        path.write_bytes(facts[key] if isinstance(facts[key], bytes) else facts[key].encode())
    source = written[0] if facts["single"] and written else raw
    how = CropOptions(facts["size"], facts["bands"], LesionMarks(automatic=facts["automatic"]))
    mosaic = Mosaic(how=facts["how"], wavelengths_nm=facts["nm"]) if facts["layout"] == "mosaic" else None
    before = names(place)
    try:
        job = make_job(
            source, facts["layout"], how, Camera(ReadOptions(facts["nm"]), mosaic), side.get("masks"), side.get("groups")
        )
        manifest = ingest(job, str(place / "store"), folds=facts["folds"], seed=0)
    except HyperdermError as error:
        said = str(error)
        assert names(place) == before, "something half-written"
        return "refused" if said else "refused without a word"
    assert names(place) == sorted([*before, "store"])
    assert verify_store(str(place / "store")).sound
    assert manifest.lesions > 0
    return "a store"


def test_the_good_files_are_good(tmp_path):
    """Otherwise the property above would prove nothing."""
    files = {("", f"s{i}{suffix}"): GOOD[suffix] for i, suffix in enumerate((".npz", ".tif", ".npy"))}
    files |= {("", "e.hdr"): GOOD[".hdr"], ("", "e.img"): GOOD[".img"], ("", "wavelengths.txt"): GOOD[".txt"]}
    assert take(tmp_path, {**PLAIN, "files": files}) == "a store"
    from hyperderm.store.reader import open_store

    store = open_store(str(tmp_path / "store"))
    assert (store.manifest.lesions, store.manifest.set_aside) == (4, ())


@pytest.mark.slow
@settings(max_examples=3000, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(folders())
def test_many_folders_of_anything(facts):
    place = Path(tempfile.mkdtemp())
    try:
        event(take(place, facts))
    finally:
        shutil.rmtree(place)
