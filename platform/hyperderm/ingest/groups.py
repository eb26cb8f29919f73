"""Which rows belong together: patients from a table, and images that show the same picture twice."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from hyperderm.errors import CubeError, nearest
from hyperderm.ingest.layouts.naming import Names, same_id
from hyperderm.ingest.layouts.tables import IMAGE_COLUMNS, LESION_COLUMNS, PATIENT_COLUMNS, read_table

GROUP_COLUMNS = ("group", "patient", *PATIENT_COLUMNS, *LESION_COLUMNS)


def read_groups(path: Path, images: Sequence[str]) -> dict[str, str]:
    """Return image id → group from a table (CSV, `tables`) with a column of images and a column of groups.

    An image may be named by its id (`MMCube/12`), with or without a file suffix, or by the last part of the id if that is
    unique. Names are compared as described in `naming`.

    Args:
        path: the path of the table.
        images: the ids of all images of the source.

    Raises:
        CubeError: the file is not such a table, an image of the source is missing from it, or a name matches no image or
            several.
    """
    try:
        table = read_table(path)
    except CubeError as error:
        raise CubeError(f"--groups {path} cannot be read as a table: {error.what}", error.remedy) from error
    image, group = table.column(IMAGE_COLUMNS), table.column(GROUP_COLUMNS)
    if image is None or group is None:
        raise CubeError(
            f"--groups {path} has no column of {'images' if image is None else 'groups'}",
            f"Name it {IMAGE_COLUMNS[0]}." if image is None else f"Name it {GROUP_COLUMNS[0]} or {GROUP_COLUMNS[1]}.",
        )
    found: dict[str, str] = {}
    spelled: dict[str, str] = {}
    names = Names(images)
    for number, cells in table.rows:
        said, whose, where = cells[image].replace("\\", "/"), cells[group], f"--groups {path}, line {number}"
        if number in table.ragged:
            raise CubeError(f"{where} has more cells than there are columns", "Put words with commas into quotes.")
        if not whose:
            raise CubeError(f"{where}: {said!r} has no group", "Give every image one.")
        name = _image(said, names, images, where)
        whose = spelled.setdefault(same_id(whose), whose)
        if found.setdefault(name, whose) != whose:
            raise CubeError(f"{where}: {name} has two groups", "Give every image one.")
    if missing := [name for name in images if name not in found]:
        shown = ", ".join(missing[:3]) + (" …" if len(missing) > 3 else "")
        raise CubeError(
            f"--groups {path} leaves out {len(missing)} of {len(images)} images ({shown})",
            "Name all of them: whose images they are decides what folds may not split.",
        )
    return found


def _image(said: str, names: Names, images: Sequence[str], where: str) -> str:
    found = names.ending(said) if said else []
    if len(found) > 1:
        raise CubeError(f"{where}: {said!r} may be any of {', '.join(found[:3])}", "Write its whole id.")
    if not found:
        raise CubeError(f"{where}: {said!r} is no image of the source", nearest(said, images))
    return found[0]


def merged(groups: Sequence[str], identical: Iterable[Sequence[int]]) -> list[str]:
    """Return `groups` after merging those that share a picture, each named like its first group in natural text order.

    Args:
        groups: the groups (n,) of the rows.
        identical: sets of rows that show the same picture.
    """
    parent = {name: name for name in groups}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for rows in identical:
        for row in rows[1:]:
            a, b = sorted((root(groups[rows[0]]), root(groups[row])))
            parent[b] = a
    return [root(name) for name in groups]
