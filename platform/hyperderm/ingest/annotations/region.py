"""One region that an annotator marked in one image, before and after its mask is drawn."""

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperderm.cubes.diagnosis import DIAGNOSES
from hyperderm.errors import CubeError, nearest
from hyperderm.ingest.formats.scene import SetAside
from hyperderm.ingest.layouts.diagnosis_words import LABELS

LESION = "lesion"
"""The label of a region whose diagnosis is not given."""
_NEAR = 0.65
"""A word this similar (`difflib`) to a known one is a typing error: `melonoma` .88, `nevi` .67, but not `reflection` .62."""
_CORE = {"lesion", "melanoma", "nevus", "naevus"}
"""A label that contains one of these words is about a lesion: `melanoma in situ`."""


@dataclass(frozen=True)
class Annotation:
    """A mask from an annotation tool.

    Attributes:
        mask: (H, W) bool, at least one pixel True.
        label: the category or diagnosis in the tool's wording, or None.
        facts: where the mask came from, JSON-serialisable, for a lesion's origin: `file`, `tool` (COCO or Label Studio),
            `annotation` (its id), `kind` (polygon, run lengths, brush, ellipse …), and further facts from the tool.
    """

    mask: NDArray[np.bool_]
    label: str | None
    facts: dict[str, Any]

    @property
    def diagnosis(self) -> str | None:
        """Return the label as one of `DIAGNOSES`, or None if it says only that this is a lesion."""
        return diagnosis_of(self.label)


@dataclass(frozen=True)
class Region:
    """An `Annotation` not yet drawn; `where` describes its place for messages, `draw` returns its mask."""

    image: str
    where: str
    label: str | None
    draw: Callable[[], NDArray[np.bool_]]
    facts: dict[str, Any] = field(default_factory=dict)

    def annotation(self) -> Annotation:
        """Draw the mask.

        Raises:
            CubeError: the mask cannot be drawn; the message names the fault, the file, the image and the annotation.
        """
        try:
            mask = self.draw()
            if not mask.any():
                raise CubeError("no pixel is marked")
        except CubeError as error:
            raise CubeError(f"{self.facts['file']}, {self.where}, on {self.image!r}: {error.what}", error.remedy) from error
        return Annotation(mask, self.label, dict(self.facts))


class Read(NamedTuple):
    """The contents of an annotation file, split into records; no mask is drawn.

    Attributes:
        paths: the image's name in the file → its path below the folder.
        regions: the marked regions.
        aside: the unusable entries other than whole images.
        empty: the images that an annotator looked at without marking anything.
        unmarked: image → why the file has no annotation of it, although it names the image.
    """

    paths: dict[str, str]
    regions: list[Region]
    aside: list[SetAside]
    empty: list[str]
    unmarked: dict[str, str]


def passed_over(label: str | None, where: str) -> bool:
    """Return whether a label is neither a diagnosis nor similar to one: `hair`, `ruler`.

    Raises:
        CubeError: the label is almost a diagnosis but not one; the message names its place, `where`.
    """
    try:
        diagnosis_of(label)
    except CubeError as error:
        word = _word(str(label))
        names = [known for known in (*LABELS, LESION) if len(known) > 3]
        if _CORE & set(re.split(r"[^a-z]+", word)) or difflib.get_close_matches(word, names, 1, _NEAR):
            raise CubeError(f"{where}: {error.what}", error.remedy) from error
        return True
    return False


def told(labels: dict[str, list[str]], paths: dict[str, str], file: str) -> list[SetAside]:
    """Report the skipped regions, one sentence per label; `labels` maps each label to the image of every such region."""
    aside = []
    for label, images in labels.items():
        names = list(dict.fromkeys(paths[image] for image in images))
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        count = f"{len(images)} region{'s' * (len(images) != 1)} passed over"
        aside.append(SetAside(file, f"the label {label!r} is no diagnosis: {count}, on {shown}"))
    return aside


def diagnosis_of(label: str | None) -> str | None:
    """Return the diagnosis that a label means: one of `DIAGNOSES`, or None for `LESION` and for no label.

    Raises:
        CubeError: the label is another word; the message names the nearest known words.
    """
    if label is None:
        return None
    word = _word(label)
    if word == LESION:
        return None
    if word not in LABELS:
        raise CubeError(f"the label {label!r} is unknown", nearest(word, [*DIAGNOSES, LESION]))
    return LABELS[word]


def _word(label: str) -> str:
    return "_".join(label.lower().split())
