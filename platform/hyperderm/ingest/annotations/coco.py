"""COCO JSON with `images`, `annotations` and `categories`; a mask is polygons or run lengths of its image's size."""

from functools import partial
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from hyperderm.errors import CubeError
from hyperderm.ingest.annotations import names, rle
from hyperderm.ingest.annotations.region import Read, Region, passed_over, told
from hyperderm.ingest.formats.scene import SetAside

TOOL = "COCO"


def is_document(document: object) -> TypeGuard[dict[str, list[Any]]]:
    """Return whether parsed JSON looks like COCO."""
    return isinstance(document, dict) and all(isinstance(document.get(k), list) for k in ("images", "annotations"))


def read(document: dict[str, Any], file: str) -> Read:
    """Split a COCO document into its records; no mask is drawn.

    An image without any annotation counts as an image without a lesion.

    Raises:
        CubeError: a record lacks fields of COCO, a path leads out of the folder, or a category is almost a diagnosis but not
            one.
    """
    images = _images(document["images"], file)
    categories = _categories(document.get("categories"), file)
    paths = {record["file_name"]: _path(record["file_name"], file) for record in images.values()}
    regions: list[Region] = []
    aside: list[SetAside] = []
    others: dict[str, list[str]] = {}
    for number, record in enumerate(document["annotations"]):
        where = f"annotation {record.get('id', number) if isinstance(record, dict) else number}"
        if not isinstance(record, dict):
            raise CubeError(f"{file}, {where} is not an object", "Export it again.")
        image = images.get(_key(record.get("image_id")))
        if image is None:
            reason = f"{where} is of image id {record.get('image_id')!r}, which the file does not list"
            aside.append(SetAside(file, reason))
            continue
        label = _label(record.get("category_id"), categories, f"{file}, {where}")
        if passed_over(label, f"{file}, {where}"):
            others.setdefault(str(label), []).append(image["file_name"])
            continue
        segmentation = record.get("segmentation")
        facts = {
            "file": file,
            "tool": TOOL,
            "annotation": record.get("id", number),
            "kind": "run lengths" if isinstance(segmentation, dict) else "polygon",
        }
        if record.get("iscrowd") == 1:  # CVAT sets it for every mask drawn with a brush, so it does not say crowd
            facts["iscrowd"] = True
        draw = partial(_mask, segmentation, image.get("height"), image.get("width"))
        regions.append(Region(image["file_name"], where, label, draw, facts))
    marked = {region.image for region in regions}
    only = {image: label for label, images in others.items() for image in images if image not in marked}
    unmarked = {image: f"{file}: it holds no lesion, only {label}" for image, label in only.items()}
    empty = [image for image in paths if image not in marked and image not in unmarked]
    if aside:  # whose they are is not said, so nobody can say of any image that there is no lesion
        reason = f"{file}: no annotation is of it, but {len(aside)} are of images that the file does not list"
        unmarked, empty = unmarked | dict.fromkeys(empty, reason), []
    return Read(paths, regions, [*aside, *told(others, paths, file)], empty, unmarked)


def _images(records: list[Any], file: str) -> dict[tuple[str, Any], dict[str, Any]]:
    images: dict[tuple[str, Any], dict[str, Any]] = {}
    for number, record in enumerate(records):
        if not isinstance(record, dict) or not isinstance(record.get("file_name"), str) or "id" not in record:
            raise CubeError(f"{file}: record {number} of `images` has no id or no file_name", "Export it again.")
        key = _key(record["id"])
        if key in images and images[key]["file_name"] != record["file_name"]:
            both = f"{images[key]['file_name']!r} and {record['file_name']!r}"
            raise CubeError(f"{file}: the image id {record['id']!r} is that of {both}", "Give each an id of its own.")
        images[key] = record
    return images


def _categories(records: object, file: str) -> dict[tuple[str, Any], str]:
    categories = {}
    for number, record in enumerate(records if isinstance(records, list) else []):
        if not isinstance(record, dict) or not isinstance(record.get("name"), str) or "id" not in record:
            raise CubeError(f"{file}: record {number} of `categories` has no id or no name", "Export it again.")
        categories[_key(record["id"])] = record["name"]
    return categories


def _label(identity: object, categories: dict[tuple[str, Any], str], where: str) -> str | None:
    if identity is None:
        return None
    label = categories.get(_key(identity))
    if label is None:
        raise CubeError(f"{where}: category id {identity!r} is none of `categories`", "Export it again.")
    return label


def _path(name: str, file: str) -> str:
    try:
        return names.beside(name)
    except CubeError as error:
        raise CubeError(f"{file} {error.what}", error.remedy) from error


def _key(identity: object) -> tuple[str, Any]:
    """Return an id as a dictionary key; ids that are neither numbers nor text are compared by their text form."""
    return (type(identity).__name__, identity if isinstance(identity, int | str) else repr(identity))


def _mask(segmentation: object, height: object, width: object) -> NDArray[np.bool_]:
    shape = rle.check_shape(height, width)
    if isinstance(segmentation, dict):
        if segmentation.get("size") != list(shape):
            raise CubeError(f"the mask's size is {segmentation.get('size')!r}, its image's {list(shape)}")
        return rle.coco_mask(segmentation.get("counts"), shape)
    if not isinstance(segmentation, list) or not segmentation:
        raise CubeError("there is no segmentation", "Boxes are not enough; export masks or polygons.")
    return rle.ring_mask([_ring(numbers) for numbers in segmentation], shape)


def _ring(numbers: object) -> NDArray[np.float64]:
    if not isinstance(numbers, list) or len(numbers) % 2 or len(numbers) < 6:
        raise CubeError("a polygon is not a list x1, y1, x2, y2, … of at least three points")
    return rle.points(numbers).reshape(-1, 2)
