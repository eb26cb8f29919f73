"""Write pictures of a source's images for an annotation tool."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hyperderm.errors import CubeError
from hyperderm.ingest.annotations.export import export_annotation_images
from hyperderm.ingest.annotations.region import LESION
from hyperderm.ingest.formats.damage import check_machine
from hyperderm.ingest.lesions import Image, masks_of
from hyperderm.ingest.source import Job, gathered, none_used


@dataclass(frozen=True)
class Exported:
    """The result of an export of pictures from a source.

    Attributes:
        count: the number of pictures.
        aside: the unused files, each with the reason.
        notes: sentences that the user must see.
    """

    count: int
    aside: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


def export_images(job: Job, folder: Path, document_root: Path | None = None) -> Exported:
    """Write a picture of every image of `job` below `folder`, with the known masks.

    Args:
        job: the images and their marks; the pictures are as large as the images, whatever the size of the job's crops.
        folder: the target folder; it must not exist yet.
        document_root: the folder from which Label Studio serves local files.

    Returns:
        The number of pictures, the unused files and the notes, as an ingest of the source reports them.

    Raises:
        CubeError: no image can be used, or the folder cannot be written. In both cases nothing is left behind.
    """
    aside = [(one.file, one.reason) for one in job.set_aside]
    left = len(aside)
    notes: list[tuple[str, str]] = []
    shown: list[str] = []
    known: dict[str, list[tuple[str, NDArray[np.bool_]]]] = {}

    def scenes() -> Iterator[tuple[str, NDArray[np.floating]]]:
        for source in job.sources:
            try:
                image: Image = job.reader.open_image(source)
            except (CubeError, OSError) as error:
                check_machine(error, job.root, rights=False)
                aside.append((source.image_id, str(error)))
                continue
            marks, bad, said = masks_of(image, job.how.marker)
            notes.extend(said)
            aside.extend((one.file, one.reason) for one in bad)
            h, w = image.reflectance.shape[:2]
            for mask, _ in marks:
                if mask.shape != (h, w):
                    reason = f"a mask of it has {mask.shape[0]} x {mask.shape[1]} pixels, the image {h} x {w}"
                    aside.append((image.image_id, reason))
            known.clear()
            known[image.image_id] = [(diagnosis or LESION, mask) for mask, diagnosis in marks if mask.shape == (h, w)]
            shown.append(image.image_id)
            yield image.image_id, image.reflectance

    try:
        count = export_annotation_images(scenes(), folder, lambda name: known.get(name, []), document_root)
    except CubeError as error:
        if shown or len(aside) == left:
            raise
        first = "; ".join(f"{file}: {reason}" for file, reason in aside[left : left + 3])
        raise CubeError(f"{none_used(len(job.sources), job.root)} ({first})", "Mend them.") from error
    return Exported(count, tuple(aside), (*job.notes, *gathered(notes)))
