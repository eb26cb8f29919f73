"""Which of several arrays in one file is the image: told by their names or by the wavelengths, or not at all."""

from collections.abc import Callable, Mapping, Sequence

from hyperderm.ingest.layouts.references import REFERENCE, WHOLE, words_of

_IDLE = {"cube", "image", "data", "mean", "raw"}
"""Words beside the one for a reference in the name of an array."""
_ALONE = {"ref", "refs", "reference", "references"}


def is_reference(key: str) -> bool:
    """Return whether an array is a white or dark reference by its own name or that of a struct it lies in."""
    return any(_says_reference(part) for part in key.split("."))


def _says_reference(name: str) -> bool:
    text = "_".join(word for word in words_of(name).split("_") if word not in _IDLE)
    return text in _ALONE or bool(REFERENCE.fullmatch(text) or WHOLE.fullmatch(text))


def the_image(arrays: Mapping[str, Sequence[int]], fits: Callable[[str], bool]) -> tuple[list[str], list[str]]:
    """Return the arrays that may be the image, and sentences on those that are passed over for a reason.

    Args:
        arrays: key to shape.
        fits: whether as many wavelengths are known as an array has bands.
    """
    keys, notes = list(arrays), []
    images = [key for key in keys if not is_reference(key)]
    if len(keys) > 1 and images and len(images) < len(keys):
        others = [key for key in keys if key not in images]
        notes.append(f"{_told(others, arrays)} {_are(others)} by name, and not used: the image is {_told(images, arrays)}")
        keys = images
    fitting = [key for key in keys if fits(key)] if len(keys) > 1 else []
    if len(fitting) == 1:
        others = [key for key in keys if key not in fitting]
        verb = "does" if len(others) == 1 else "do"
        notes.append(f"{_told(others, arrays)} {verb} not fit the wavelengths, and the image is {_told(fitting, arrays)}")
        keys = fitting
    return keys, notes if len(keys) == 1 else []


def _are(keys: Sequence[str]) -> str:
    return "is a reference" if len(keys) == 1 else "are references"


def _told(keys: Sequence[str], arrays: Mapping[str, Sequence[int]]) -> str:
    return ", ".join(f"{key} {tuple(arrays[key])}" for key in sorted(keys))
