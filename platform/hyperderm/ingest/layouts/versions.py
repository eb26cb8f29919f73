"""Two files of one scan: what a camera recorded, and the reflectance that it computed from that.

    <scan>/capture/<scan>.hdr              a Specim IQ's counts
    <scan>/results/REFLECTANCE_<scan>.hdr  its reflectance of the same scan

Stored as two lesions, one could come into the training folds and the other into the test fold. One of them is used.
"""

from collections.abc import Callable, Sequence

from hyperderm.ingest.formats.scene import Found
from hyperderm.ingest.layouts.references import folder_and_stem

WORD = "reflectance"
"""Before or after the name of a scan it makes the name of its reflectance."""


def one_of_each(found: Sequence[Found], referenced: Callable[[Found], bool]) -> tuple[list[Found], list[tuple[Found, str]]]:
    """Part the scenes to read from other versions of the same scans, which lie in the same folder or in one beside it.

    Args:
        found: the scenes of a folder.
        referenced: whether the counts of a scan become reflectance by references: then these are used, else what the camera
            computed.

    Returns:
        The scenes to read, in order, and the others with the reason.
    """
    known = {folder_and_stem(each): each for each in found}
    aside: dict[str, tuple[Found, str]] = {}
    for computed in found:
        for counts in _counts_of(computed, known):
            if referenced(counts):
                why = f"the camera's reflectance of {counts.name}, which becomes reflectance by its own references"
                aside[computed.name] = (computed, f"{why}; --no-references uses this one")
            else:
                aside[counts.name] = (counts, f"the counts of {computed.name}, which is used")
    return [each for each in found if each.name not in aside], list(aside.values())


def _counts_of(computed: Found, known: dict[tuple[str, str], Found]) -> list[Found]:
    folder, stem = folder_and_stem(computed)
    scan = stem.removeprefix(f"{WORD}_") if stem.startswith(f"{WORD}_") else stem.removesuffix(f"_{WORD}")
    if scan == stem:
        return []
    above = _above(folder)
    return [
        each
        for (place, name), each in known.items()
        if name == scan and (place == folder or (folder and place and _above(place) == above))
    ]


def _above(folder: str) -> str:
    return folder.rpartition("/")[0]
