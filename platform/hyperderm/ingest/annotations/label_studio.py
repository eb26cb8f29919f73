"""Label Studio's JSON export: tasks with annotations, whose regions become masks by `shapes`.

If an image has several annotations, the latest one (by `updated_at`) that was not cancelled counts. An empty annotation
means that there is no lesion. Predictions do not count as annotations. A region whose label is not a diagnosis is skipped
and reported.
"""

from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple, TypeGuard

from hyperderm.errors import CubeError
from hyperderm.ingest.annotations import names, shapes
from hyperderm.ingest.annotations.region import Read, Region, passed_over, told

TOOL = "Label Studio"

_KINDS = ("brush", "polygon", "rectangle", "ellipse", "vector", "bitmask", "keypoint")
_LABELS = {"labels", *(kind + "labels" for kind in _KINDS)}
_SHAPES = {kind + tail for kind in _KINDS for tail in ("", "labels")}


class _Version(NamedTuple):
    """One annotator's work on one task; versions sort by time, then by their place in the file."""

    when: datetime
    number: int
    task: str
    record: dict[str, Any]


def is_document(document: object) -> TypeGuard[list[dict[str, Any]]]:
    """Return whether parsed JSON looks like Label Studio's export in its "JSON" format."""
    tasks = document if isinstance(document, list) else []
    return bool(tasks) and all(isinstance(task, dict) and isinstance(task.get("data"), dict) for task in tasks)


def read(document: list[dict[str, Any]], file: str) -> Read:
    """Split an export into its regions; no mask is drawn.

    Raises:
        CubeError: a task names no image, a path leads out of the folder, or a label is almost a diagnosis but not one.
    """
    paths: dict[str, str] = {}
    work: dict[str, list[_Version]] = {}
    unmarked: dict[str, str] = {}
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
        unmarked[image] = f"{file}, {where}: {_why(cancelled, task)}"
    regions: list[Region] = []
    empty: list[str] = []
    others: dict[str, list[str]] = {}
    for image, versions in work.items():
        if not versions:
            continue
        del unmarked[image]
        found, why = _latest(image, versions, file, others)
        regions += found
        if why:
            unmarked[image] = why
        elif not found:
            empty.append(image)
    return Read(paths, regions, told(others, paths, file), empty, unmarked)


def _why(cancelled: int, task: dict[str, Any]) -> str:
    """Return the reason why a task has no annotation that counts."""
    if cancelled:
        return f"it was skipped ({cancelled} annotation{'s' * (cancelled > 1)} cancelled)"
    return f"nobody annotated it{', there are only predictions' if task.get('predictions') else ''}"


def _versions(records: object, where: str, file: str) -> tuple[list[_Version], int]:
    """Return the annotations of a task that were not cancelled, and the number of cancelled ones."""
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


def _latest(image: str, versions: list[_Version], file: str, others: dict[str, list[str]]) -> tuple[list[Region], str]:
    """Return the regions of the annotation that counts, and the reason if no regions does not mean "no lesion".

    Skipped regions are added to `others`: label → the image of each region.
    """
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
    found: list[Region] = []
    over: list[str] = []
    for number, parts in enumerate(_regions(results)):
        drawn = parts[0]
        name = drawn.get("id", number)
        label = _label(parts, f"{file}, {where}, region {name}")
        if passed_over(label, f"{file}, {where}, region {name}"):
            over.append(str(label))
            continue
        kind = str(drawn["type"]).removesuffix("labels")
        found.append(
            Region(image, f"{where}, region {name}", label, _draw(drawn, kind), {**shared, "region": name, "kind": kind})
        )
    for label in over:
        others.setdefault(label, []).append(image)
    if found or not results:
        return found, ""
    only = ", ".join(dict.fromkeys(over or [str(result.get("type")) for result in results]))
    return [], f"{file}, {where}: it holds no lesion, only {only}"


def _regions(results: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Return the drawn results, each followed by the results of the same id, because shape and label may be separate.

    Choices, texts and ratings mark no pixels and are left out.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for number, result in enumerate(results):
        groups.setdefault(str(result.get("id", f"#{number}")), []).append(result)
    ordered = [sorted(group, key=lambda r: str(r.get("type")) not in _SHAPES) for group in groups.values()]
    return [group for group in ordered if str(group[0].get("type")) in _SHAPES]


def _label(parts: list[dict[str, Any]], where: str) -> str | None:
    found: list[str] = []
    for part in parts:
        value = part.get("value")
        labels = value.get(str(part.get("type"))) if isinstance(value, dict) and part.get("type") in _LABELS else None
        found += [str(label) for label in labels if str(label) not in found] if isinstance(labels, list) else []
    if len(found) > 1:
        raise CubeError(f"{where} has {len(found)} labels: {', '.join(found)}", "Leave one of them.")
    return found[0] if found else None


def _draw(result: dict[str, Any], kind: str) -> "partial[shapes.Mask]":
    size = (result.get("original_height"), result.get("original_width"))
    return partial(shapes.mask, kind, shapes.packed(kind, result.get("value")), size, result.get("image_rotation"))
