"""One region that someone marked in one image: before and after its mask is drawn."""

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
"""The label of a region whose diagnosis is not said."""
_NEAR = 0.65
"""How alike (`difflib`) a word is to a known one to be a slip of the pen: `melonoma` .88, `nevi` .67; `reflection` .62."""
_CORE = {"lesion", "melanoma", "nevus", "naevus"}
"""Words that make any label one that speaks of a lesion: `melanoma in situ`."""


@dataclass(frozen=True)
class Annotation:
    """A mask from an annotation tool.

    Attributes:
        image: the image as the file names it.
        stem: the image's path without ending, as scenes are called: what it is matched by.
        mask: (H, W) bool, at least one pixel True.
        label: category or diagnosis in the tool's word, or None.
        facts: where it came from, JSON-serialisable: goes into a lesion's origin. `file`, `tool` (COCO or Label Studio),
            `annotation` (its id), `kind` (polygon, run lengths, brush, ellipse …), and what else the tool knows of it.
    """

    image: str
    stem: str
    mask: NDArray[np.bool_]
    label: str | None
    facts: dict[str, Any]

    @property
    def diagnosis(self) -> str | None:
        """The label as one of `DIAGNOSES`; None where it says only that this is a lesion."""
        return diagnosis_of(self.label)


@dataclass(frozen=True)
class Region:
    """An `Annotation` not yet drawn; `where` says which one it is in a sentence, `draw` returns its mask."""

    image: str
    where: str
    label: str | None
    draw: Callable[[], NDArray[np.bool_]]
    facts: dict[str, Any] = field(default_factory=dict)

    def annotation(self, stem: str) -> Annotation:
        """Draw the mask.

        Raises:
            CubeError: what is wrong with it, naming file, image and annotation.
        """
        try:
            mask = self.draw()
            if not mask.any():
                raise CubeError("no pixel is marked")
        except CubeError as error:
            raise CubeError(f"{self.facts['file']}, {self.where}, on {self.image!r}: {error.what}", error.remedy) from error
        return Annotation(self.image, stem, mask, self.label, dict(self.facts))


class Read(NamedTuple):
    """What an annotation file says, taken apart; no mask is drawn.

    Attributes:
        paths: image as the file names it → its path below the folder.
        regions: what is marked.
        aside: what cannot be used, beside whole images.
        empty: images that someone looked at and marked nothing on.
        unmarked: image → why nothing is known of it, although the file names it.
    """

    paths: dict[str, str]
    regions: list[Region]
    aside: list[SetAside]
    empty: list[str]
    unmarked: dict[str, str]


def passed_over(label: str | None, where: str) -> bool:
    """Return whether a label is neither a diagnosis nor like one: `hair`, `ruler`.

    Raises:
        CubeError: it is nearly one, naming `where` it is.
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
    """Say once a label which regions were passed over; `labels` has the image of every such region."""
    aside = []
    for label, images in labels.items():
        names = list(dict.fromkeys(paths[image] for image in images))
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        count = f"{len(images)} region{'s' * (len(images) != 1)} passed over"
        aside.append(SetAside(file, f"the label {label!r} is no diagnosis: {count}, on {shown}"))
    return aside


def diagnosis_of(label: str | None) -> str | None:
    """Return what a label means: one of `DIAGNOSES`, or None for `LESION` and for no label.

    Raises:
        CubeError: another word, with the nearest known ones.
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
