"""Label Studio's JSON export: tasks with annotations; a mask is a brush (its own run lengths) or a polygon.

Of the annotations of an image that were not cancelled the latest counts, by `updated_at`. Predictions are no annotations.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple, TypeGuard

import numpy as np
from numpy.typing import NDArray

from hyperderm.cubes.annotations import names, rle
from hyperderm.cubes.annotations.region import Region, diagnosis_of
from hyperderm.cubes.readers.scene import SetAside
from hyperderm.errors import CubeError

TOOL = "Label Studio"
Read = tuple[dict[str, str], list[Region], list[SetAside]]

_LABELS = {"brushlabels", "polygonlabels", "labels"}
_DRAWN = {"brush", "brushlabels", "polygon", "polygonlabels"}
_SHAPES = {kind + tail for kind in ("rectangle", "ellipse", "keypoint", "bitmask", "vector") for tail in ("", "labels")}


class _Version(NamedTuple):
    """One annotator's work on one task; sorts by time, then by its place in the file."""

    when: datetime
    number: int
    task: str
    record: dict[str, Any]


def is_document(document: object) -> TypeGuard[list[dict[str, Any]]]:
    """Return whether parsed JSON looks like Label Studio's export in the format called JSON."""
    return isinstance(document, list) and bool(document) and all(_is_task(task) for task in document)


def _is_task(task: object) -> bool:
    return isinstance(task, dict) and isinstance(task.get("data"), dict)


def read(document: list[dict[str, Any]], file: str) -> Read:
    """Take an export apart; no mask is drawn.

    Returns:
        Image as the file names it → its path; the regions; images that nobody annotated.

    Raises:
        CubeError: tasks that name no image, paths that climb out, labels that are no diagnosis.
    """
    paths: dict[str, str] = {}
    work: dict[str, list[_Version]] = {}
    passed: dict[str, str] = {}
    for number, task in enumerate(document):
        where = f"task {task.get('id', number)}"
        image = task["data"].get("image")
        if not isinstance(image, str):
            raise CubeError(f"{file}, {where} has no `image` among its data", "Label pictures under the name $image.")
        try:
            paths[image] = names.served(image)
        except CubeError as error:
            raise CubeError(f"{file}, {where} {error.what}", error.remedy) from error
        versions, cancelled = _versions(task.get("annotations"), where, file)
        work.setdefault(image, []).extend(versions)
        passed[image] = f"{where}: {f'its {cancelled} annotations were cancelled' if cancelled else 'nobody annotated it'}"
    regions = [region for image, versions in work.items() if versions for region in _latest(image, versions, file)]
    aside = [SetAside(image, f"{file}, {passed[image]}") for image, versions in work.items() if not versions]
    return paths, regions, aside


def _versions(records: object, where: str, file: str) -> tuple[list[_Version], int]:
    """The annotations of a task that were not cancelled, and how many were."""
    versions, cancelled = [], 0
    for number, record in enumerate(records if isinstance(records, list) else []):
        if not isinstance(record, dict):
            raise CubeError(f"{file}, {where}: annotation {number} is not an object", "Export it again.")
        if record.get("was_cancelled"):
            cancelled += 1
            continue
        when = record.get("updated_at") or record.get("created_at")
        try:
            moment = datetime.fromisoformat(str(when)) if when else datetime.min
        except ValueError as error:
            raise CubeError(f"{file}, {where}: updated_at is {when!r}, which is no time", "Export it again.") from error
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        versions.append(_Version(moment, number, where, record))
    return versions, cancelled


def _latest(image: str, versions: list[_Version], file: str) -> Iterator[Region]:
    latest = max(versions, key=lambda version: version[:2])
    record = latest.record
    shared = {
        "file": file,
        "tool": TOOL,
        "annotation": record.get("id"),
        "updated_at": record.get("updated_at"),
        "annotations_passed_over": [v.record.get("id") for v in versions if v is not latest],
    }
    where = f"{latest.task}, annotation {record.get('id', latest.number)}"
    results = record.get("result")
    if not isinstance(results, list) or not all(isinstance(result, dict) for result in results):
        raise CubeError(f"{file}, {where}: its result is not a list of regions", "Export it again.")
    for number, parts in enumerate(_regions(results)):
        drawn = parts[0]
        name = drawn.get("id", number)
        label = _label(parts, f"{file}, {where}, region {name}")
        kind = str(drawn["type"]).removesuffix("labels")
        yield Region(image, f"{where}, region {name}", label, _draw(drawn, kind), {**shared, "region": name, "kind": kind})


def _regions(results: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The results that are drawn, each with those of the same id behind it: shape and label may come apart.

    Choices, texts and ratings mark no pixels and are left out.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for number, result in enumerate(results):
        groups.setdefault(str(result.get("id", f"#{number}")), []).append(result)
    kinds = _DRAWN | _SHAPES
    ordered = [sorted(group, key=lambda r: str(r.get("type")) not in kinds) for group in groups.values()]
    return [group for group in ordered if str(group[0].get("type")) in kinds]


def _label(parts: list[dict[str, Any]], where: str) -> str | None:
    found: list[str] = []
    for part in parts:
        value = part.get("value")
        labels = value.get(str(part.get("type"))) if isinstance(value, dict) and part.get("type") in _LABELS else None
        found += [str(label) for label in labels if str(label) not in found] if isinstance(labels, list) else []
    if len(found) > 1:
        raise CubeError(f"{where} has {len(found)} labels: {', '.join(found)}", "Leave one of them.")
    try:
        diagnosis_of(found[0] if found else None)
    except CubeError as error:
        raise CubeError(f"{where}: {error.what}", error.remedy) from error
    return found[0] if found else None


def _draw(result: dict[str, Any], kind: str) -> partial[NDArray[np.bool_]]:
    value = result.get("value")
    drawing = value.get("rle" if kind == "brush" else "points") if isinstance(value, dict) else None
    if kind == "brush":
        drawing = _packed(drawing)
    size = (result.get("original_height"), result.get("original_width"))
    return partial(_mask, kind, drawing, size, result.get("image_rotation"))


def _packed(numbers: object) -> bytes | None:
    """A brush's list of bytes as bytes, an eighth of the memory; None where it is none."""
    if not isinstance(numbers, list) or not all(isinstance(n, int) and 0 <= n <= 255 for n in numbers):
        return None
    return bytes(numbers)


def _mask(kind: str, drawing: object, size: tuple[Any, Any], rotation: object) -> NDArray[np.bool_]:
    if kind not in _DRAWN:
        raise CubeError(f"a {kind} is no mask", "Draw the lesion with the brush or as a polygon, and delete the rest.")
    shape = rle.check_shape(*size)
    if rotation:
        raise CubeError(f"the picture was turned by {rotation!r} degrees while it was annotated", "Annotate it upright.")
    if kind == "brush":
        if not isinstance(drawing, bytes):
            raise CubeError("the brush has no `rle` of whole numbers from 0 to 255")
        return rle.brush_mask(drawing, shape)
    if not isinstance(drawing, list) or len(drawing) < 3 or not all(isinstance(p, list) and len(p) == 2 for p in drawing):
        raise CubeError("a polygon needs at least three points of two coordinates")
    percent = rle.points([n for point in drawing for n in point]).reshape(-1, 2)
    return rle.ring_mask([percent * np.array(shape[::-1]) / 100], shape)
