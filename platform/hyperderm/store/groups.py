"""Who belongs together: patients from a table, and images that are the same picture twice."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from hyperderm.cubes.readers.labels import read_rows
from hyperderm.errors import CubeError, nearest

IMAGE_COLUMNS = ("image", "image_id", "image_name", "isic_id", "file")
GROUP_COLUMNS = ("group", "patient", "patient_id")


def read_groups(path: Path, images: Sequence[str]) -> dict[str, str]:
    """Return image id to group from a CSV file with a column of images and one of groups.

    An image may be named by its id (`MMCube/12`), with or without the suffix of a file, or by the last part of that where
    it is the only one.

    Args:
        path: the table.
        images: every image of the source.

    Raises:
        CubeError: no such table, an image of the source that it leaves out, or a name that is none or several of them.
    """
    rows = read_rows(path)
    columns = {name.strip().lower(): name for name in (rows[0] if rows else {}) if name}
    image = next((columns[c] for c in IMAGE_COLUMNS if c in columns), None)
    group = next((columns[c] for c in GROUP_COLUMNS if c in columns), None)
    if not image or not group:
        raise CubeError(
            f"--groups {path} has no column of {'images' if not image else 'groups'}",
            f"Name it {IMAGE_COLUMNS[0]}." if not image else f"Name it {GROUP_COLUMNS[0]} or {GROUP_COLUMNS[1]}.",
        )
    found: dict[str, str] = {}
    short: dict[str, list[str]] = {}
    for name in images:
        short.setdefault(name.rpartition("/")[2], []).append(name)
    for number, row in enumerate(rows, 2):
        said, whose = (row[image] or "").strip(), (row[group] or "").strip()
        if not whose:
            raise CubeError(f"--groups {path}, line {number}: {said!r} has no group", "Give every image one.")
        name = _image(said, set(images), short, f"--groups {path}, line {number}")
        if found.setdefault(name, whose) != whose:
            raise CubeError(f"--groups {path}, line {number}: {name} has two groups", "Give every image one.")
    if missing := [name for name in images if name not in found]:
        shown = ", ".join(missing[:3]) + (" …" if len(missing) > 3 else "")
        raise CubeError(
            f"--groups {path} leaves out {len(missing)} of {len(images)} images ({shown})",
            "Name all of them: whose images they are decides what folds may not split.",
        )
    return found


def _image(said: str, images: set[str], short: Mapping[str, list[str]], where: str) -> str:
    for name in (said, str(Path(said).with_suffix("").as_posix()) if said else ""):
        if name in images:
            return name
        near = short.get(name.rpartition("/")[2], []) if name else []
        if len(near) == 1 and (near[0] == name or "/" not in name or near[0].endswith(f"/{name}")):
            return near[0]
        if len(near) > 1 and "/" not in name:
            raise CubeError(f"{where}: {said!r} may be any of {', '.join(near[:3])}", "Write its whole id.")
    raise CubeError(f"{where}: {said!r} is no image of the source", nearest(said, images))


def merged(groups: Sequence[str], twins: Iterable[Sequence[int]]) -> list[str]:
    """Return `groups` with those that share a picture made one, named like the first of them in natural text order.

    Args:
        groups: (n,) of the rows.
        twins: rows that show the same picture.
    """
    parent = {name: name for name in groups}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for rows in twins:
        for row in rows[1:]:
            a, b = sorted((root(groups[rows[0]]), root(groups[row])))
            parent[b] = a
    return [root(name) for name in groups]
