"""One region that someone marked in one image: before and after its mask is drawn."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperderm.cubes.cube import DIAGNOSES
from hyperderm.cubes.readers.labels import LABELS
from hyperderm.errors import CubeError, nearest

LESION = "lesion"
"""The label of a region whose diagnosis is not said."""


@dataclass(frozen=True)
class Annotation:
    """A mask from an annotation tool.

    Attributes:
        image: the image as the file names it.
        stem: the image's path without ending, as scenes are called: what it is matched by.
        mask: (H, W) bool, at least one pixel True.
        label: category or diagnosis in the tool's word, or None.
        facts: where it came from, JSON-serialisable: goes into a lesion's origin. `file`, `tool` (COCO or Label Studio),
            `annotation` (its id), `kind` (polygon, run lengths, brush), and what else the tool knows of it.
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


def diagnosis_of(label: str | None) -> str | None:
    """Return what a label means: one of `DIAGNOSES`, or None for `LESION` and for no label.

    Raises:
        CubeError: another word, with the nearest known ones.
    """
    if label is None:
        return None
    word = "_".join(label.lower().split())
    if word == LESION:
        return None
    if word not in LABELS:
        raise CubeError(f"the label {label!r} is unknown", nearest(word, [*DIAGNOSES, LESION]))
    return LABELS[word]
