"""Choose between two files of one scan: the camera's counts, and the reflectance that the camera computed from them.

    <scan>/capture/<scan>.hdr              the counts of a Specim IQ
    <scan>/results/REFLECTANCE_<scan>.hdr  its reflectance of the same scan

If both were stored as lesions, one could get into the training folds and the other into the test fold. Only one is used.
"""

from collections.abc import Callable, Sequence

from hyperderm.ingest.formats.scene import Found
from hyperderm.ingest.layouts.references import folder_and_stem

WORD = "reflectance"
"""Put before or after a scan's name, this word gives the name of the scan's reflectance."""


def one_of_each(found: Sequence[Found], referenced: Callable[[Found], bool]) -> tuple[list[Found], list[tuple[Found, str]]]:
    """Separate the scenes to read from other versions of the same scans in the same folder or in one beside it.

    Args:
        found: the scenes of a folder.
        referenced: tells whether references turn the counts of a scan into reflectance; if so, the counts are used, else the
            camera's reflectance.

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
