"""Write pictures on which lesions are annotated, with the files that Label Studio needs to show them.

    <folder>/images/<name>.png        annotation images; `names.picture_name` makes names of scenes into names of files
    <folder>/tasks.json               for Label Studio's import; known masks become predictions
    <folder>/labeling_config.xml      for Settings → Labeling Interface → Code

Label Studio serves pictures from its own disk if it is started with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and
LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT=<the folder that holds this one>, and if this folder is added to the project as a
local storage. Its export (format JSON) names the same pictures, so that `read_annotations` finds the scenes again, also for
pictures that were uploaded by hand.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hyperderm.cubes.diagnosis import DIAGNOSES
from hyperderm.cubes.regions import annotation_image
from hyperderm.durable import make_parents, publish, room
from hyperderm.errors import CubeError
from hyperderm.ingest.annotations import names, rle
from hyperderm.ingest.annotations.region import LESION, diagnosis_of

Mask = NDArray[np.bool_]
KnownMasks = Callable[[str], Iterable[tuple[str, Mask]]]
"""A function that maps a scene's name to the label and the (H, W) mask of each known lesion."""

LABELS: tuple[str, ...] = (LESION, *DIAGNOSES)
"""The labels that can be chosen in Label Studio."""

_TAILS = (0.5, 99.5)  # percentiles that become black and white: a few reflexes must not darken all the rest


def annotation_png(reflectance: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return an (H, W, B) cube as the (H, W, 3) uint8 picture on which lesions are annotated.

    All three channels hold the mean of all bands, whose 0.5th to 99.5th percentile is stretched to 0 … 255. This is the grey
    "false RGB" of METHODS section 2, not the pseudo-RGB that shows colours. A constant image and missing pixels are black.
    """
    grey = annotation_image(reflectance).astype(np.float64)
    known = grey[np.isfinite(grey)]
    low, high = np.percentile(known, _TAILS) if known.size else (0.0, 0.0)
    if not high > low and known.size:
        low, high = float(known.min()), float(known.max())
    stretched = np.clip((grey - low) / (high - low), 0, 1) if high > low else np.zeros_like(grey)
    stretched = np.nan_to_num(stretched, nan=0.0)
    return np.repeat(np.round(stretched * 255).astype(np.uint8)[..., None], 3, axis=2)


def export_annotation_images(
    scenes: Iterable[tuple[str, NDArray[np.floating]]],
    folder: Path,
    masks: KnownMasks | None = None,
    document_root: Path | None = None,
) -> int:
    """Write the pictures, tasks and labelling configuration of all scenes below `folder`; return the number of scenes.

    One scene is in memory at a time. Everything is written beside `folder` first and renamed at the end.

    Args:
        scenes: the name and the (H, W, B) reflectance of each scene.
        folder: the target folder; it must not exist yet.
        masks: gives the known lesions of a scene, which users then correct instead of draw; None: there are none.
        document_root: the folder from which Label Studio serves local files; by default the parent of `folder`.

    Raises:
        CubeError: there are no scenes, two scenes have one name, a known mask has a wrong size or label, or the folder
            exists already, lies outside the document root or cannot be written. Nothing is left behind.
    """
    if folder.exists():
        raise CubeError(f"{folder}: something is already there", "Choose another folder, or remove it first.")
    served = _served(folder.absolute(), (document_root or folder.absolute().parent).absolute())
    place = folder.absolute()
    with ExitStack() as stack:
        with _writing(folder):
            make_parents(place)
            staging = stack.enter_context(room(place)) / place.name
            (staging / "images").mkdir(parents=True)
        count = 0
        for count, (name, reflectance) in enumerate(scenes, 1):
            known = list(masks(name)) if masks else []
            with _writing(folder):
                _write_scene(staging, served, name, annotation_png(reflectance), known, first=count == 1)
        if not count:
            raise CubeError("there are no scenes to annotate", "Name a folder or a store that holds some.")
        with _writing(folder):
            with (staging / "tasks.json").open("a", encoding="utf-8") as stream:
                stream.write("\n]\n")
            (staging / "labeling_config.xml").write_text(labeling_config(), encoding="utf-8")
            publish(staging, place)  # fails, as it must, when another export got there first
    return count


def labeling_config() -> str:
    """Return Label Studio's labelling interface: a brush and a polygon tool over the picture, each with every label."""
    labels = "\n".join(f'    <Label value="{label}"/>' for label in LABELS)
    return (
        '<View>\n  <Image name="image" value="$image" zoom="true" zoomControl="true"/>\n'
        f'  <BrushLabels name="brush" toName="image">\n{labels}\n  </BrushLabels>\n'
        f'  <PolygonLabels name="polygon" toName="image">\n{labels}\n  </PolygonLabels>\n</View>\n'
    )


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Name the target folder in the error if the disk refuses to write; errors of the scenes pass unchanged."""
    try:
        yield
    except OSError as error:
        raise CubeError(f"{folder} cannot be written: {error}", "Check the place, its space and rights.") from error


def _served(folder: Path, root: Path) -> str:
    """Return the folder as Label Studio calls it: its path below the document root, percent-encoded."""
    if not folder.is_relative_to(root):
        raise CubeError(f"{folder} lies outside Label Studio's document root {root}", "Name a folder below it.")
    return quote((folder / "images").relative_to(root).as_posix())


def _write_scene(
    staging: Path, served: str, name: str, picture: NDArray[np.uint8], known: list[tuple[str, Mask]], *, first: bool
) -> None:
    if not name:
        raise CubeError("a scene has no name", "Give each scene a name of its own.")
    results = [_result(label, mask, name, picture.shape[:2], i) for i, (label, mask) in enumerate(known)]
    file = names.picture_name(name)
    try:
        with (staging / "images" / file).open("xb") as stream:
            Image.fromarray(picture).save(stream, format="PNG")
    except FileExistsError as error:
        raise CubeError(f"two scenes are called {name!r}", "Give each scene a name of its own.") from error
    task: dict[str, Any] = {"data": {"image": f"/data/local-files/?d={served}/{file}", "scene": name}}
    if results:
        task["predictions"] = [{"model_version": "hyperderm", "result": results}]
    with (staging / "tasks.json").open("a", encoding="utf-8") as tasks:
        tasks.write(("[\n" if first else ",\n") + json.dumps(task))


def _result(label: str, mask: Mask, name: str, shape: tuple[int, ...], number: int) -> dict[str, Any]:
    diagnosis_of(label)
    if mask.shape != shape:
        raise CubeError(f"scene {name!r} has {shape[0]} x {shape[1]} pixels, a mask of it {mask.shape[0]} x {mask.shape[1]}")
    return {
        "id": f"mask{number}",
        "type": "brushlabels",
        "from_name": "brush",
        "to_name": "image",
        "original_width": shape[1],
        "original_height": shape[0],
        "image_rotation": 0,
        "value": {"format": "rle", "rle": rle.brush_from_mask(mask), "brushlabels": [label]},
    }
