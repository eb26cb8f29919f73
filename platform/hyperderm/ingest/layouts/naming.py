"""Compare names of images: readers, masks, tables, groups and annotations all use this comparison.

The comparison ignores case, whether a letter with an accent is one character or two (Unicode's forms NFC and NFD), and all
suffixes of image files: `Arm0.bil.hdr` equals `arm0`. Among images whose names differ only in these ways, the closest
spelling wins; if several are equally close, the name means all of them, and the caller reports this.
"""

import os
import posixpath
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from hyperderm.ingest.formats.pixels import natural

SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ome", ".pgm", ".mat", ".npy", ".npz", ".hdr",
    ".img", ".dat", ".raw", ".bin", ".hyspex", ".bsq", ".bil", ".bip", ".h5", ".hdf5", ".dcm",
})  # fmt: skip
"""Suffixes of image files; they do not belong to an image's name."""


_WHOLE = re.compile(r"^(\d+)[.,]0+$")


def shorter(name: str) -> list[str]:
    """Return a name, then the name without its last suffix, and so on as long as the suffix is in `SUFFIXES`."""
    names = [name]
    while True:
        stem, suffix = posixpath.splitext(names[-1])
        if suffix.lower() not in SUFFIXES or not posixpath.basename(stem):
            return names
        names.append(stem)


def folded(name: str) -> str:
    """Return a name in the form in which it is compared: in NFC and without case."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def same_id(name: str) -> str:
    """Return the id of a patient or lesion as it is compared: `folded`, and 7.0 (from spreadsheets) becomes 7."""
    return _WHOLE.sub(r"\1", folded(name.strip()))


_SPELLINGS: tuple[Callable[[str], str], ...] = (str, partial(unicodedata.normalize, "NFC"), folded)
"""The spellings under which names are compared, from strict (as they are) to lenient."""


def last_part(name: str) -> str:
    """Return the part of a name after its last slash."""
    return name.rpartition("/")[2]


class Names:
    """The images among which names are looked up.

    Args:
        images: the names of the images, relative to a folder, with slashes.
        called: gives the name under which an image is looked up, if it is not the image's own name.
    """

    def __init__(self, images: Iterable[str], called: Callable[[str], str] = str) -> None:
        self._whole: list[dict[str, list[tuple[int, str]]]] = [{} for _ in _SPELLINGS]
        self._last: dict[str, list[tuple[str, str]]] = {}
        for image in dict.fromkeys(images):
            for cut, form in enumerate(shorter(called(image))):
                for table, spelled in zip(self._whole, _SPELLINGS, strict=True):
                    table.setdefault(spelled(form), []).append((cut, image))
                self._last.setdefault(folded(last_part(form)), []).append((form, image))

    def whole(self, said: str) -> list[str]:
        """Return the images whose whole name, with folders, is `said`; several if the names cannot be told apart."""
        hits = [
            (cut, less, lenient, image)
            for less, form in enumerate(shorter(said))
            for lenient, spelled in enumerate(_SPELLINGS)
            for cut, image in self._whole[lenient].get(spelled(form), ())
        ]
        best = min((hit[:3] for hit in hits), default=None)
        return list(dict.fromkeys(hit[3] for hit in hits if hit[:3] == best))

    def ending(self, said: str) -> list[str]:
        """Return `whole`, or else the images whose path ends in `said` or is the end of `said`, part by part."""
        return self.whole(said) or self._near(said, lambda one, other: alike(one, other))

    def last(self, said: str) -> list[str]:
        """Return the images whose last part equals the last part of `said`, whatever their folders are."""
        return self._near(said, lambda one, other: last_part(one) == last_part(other))

    def _near(self, said: str, fits: Callable[[str, str], bool]) -> list[str]:
        forms = shorter(said)
        near = [(form, pair) for form in forms for pair in self._last.get(folded(last_part(form)), ())]
        for spelled in _SPELLINGS:
            found = [image for form, (called, image) in near if fits(spelled(called), spelled(form))]
            if found:
                return list(dict.fromkeys(found))
        return []


def relative(path: Path, base: Path) -> str:
    """Return the name of a file in lists: its path below `base`, with slashes."""
    return path.relative_to(base).as_posix()


def alike(one: str, other: str) -> bool:
    """Return whether one path equals the other or its end, part by part."""
    return one == other or one.endswith("/" + other) or other.endswith("/" + one)


def folders(root: Path, name: str) -> list[Path]:
    """Return the folders in `root` that are called `name`, in any case; links to folders are included."""
    if not root.is_dir():
        return []
    return sorted((path for path in root.iterdir() if folded(path.name) == folded(name) and path.is_dir()), key=natural)


def files_in(folder: Path) -> list[Path]:
    """Return the visible files of a folder in natural order, including broken links; none if the folder does not exist."""
    if not folder.is_dir():
        return []
    return sorted((p for p in folder.iterdir() if not p.name.startswith(".") and not p.is_dir()), key=natural)


def files_below(folder: Path) -> list[Path]:
    """Return every visible file at any depth below a folder, in natural order, folders after files; no link is followed.

    Links to folders and broken links are included, so that lists of unused files name them.
    """
    return list(_walk(folder))


def _walk(folder: Path) -> Iterator[Path]:
    try:
        with os.scandir(folder) as entries:
            inner = {folder / entry.name: entry.is_dir(follow_symlinks=False) for entry in entries if entry.name[0] != "."}
    except OSError:
        return  # whoever lists the folder says so
    paths = sorted(inner, key=natural)
    yield from (path for path in paths if not inner[path])
    for path in paths:
        if inner[path]:
            yield from _walk(path)
