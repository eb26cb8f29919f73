"""Write the report of a segmentation to a folder: one page with its figures, tables, label maps and reconstructions."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hyperderm.reports.report_folder import TEXT, write_folder, write_pages
from hyperderm.reports.scene_figures import hues
from hyperderm.reports.scene_files import (
    CUBE,
    CUBE_ENVI,
    LABELS,
    LABELS_ENVI,
    MASK_FOLDER,
    PICTURES,
    TIFF,
    CubeFiles,
    write_labels,
    write_masks,
)
from hyperderm.reports.segmentation.sections import AGREEMENT, CLUSTERS, LOSSES, SCENES, content, csv_files
from hyperderm.studies.scenes import Cubes, Frame
from hyperderm.studies.segmentation import Keep, Labels, Masks, Request, Segmentation
from hyperderm.studies.spectral_coding import CHECKPOINT
from hyperderm.training.run_folder import PAGE

LARGE = (CUBE, *CUBE_ENVI)
"""Files that are as large as the scenes; they stay in the folder, and MLflow gets all others."""
FILES = (PAGE, TEXT, CLUSTERS, SCENES, AGREEMENT, LOSSES, LABELS, TIFF, *LABELS_ENVI, CHECKPOINT)
DRAWN = tuple(f"{name}.png" for name in ("labels", "overlay", "methods", "clusters", "examples", "losses", "dice", "masks"))


def write_segmentation(
    folder: Path, request: Request, segment: Callable[[Path, Keep], Segmentation], facts: Mapping[str, str]
) -> tuple[Segmentation, list[Path]]:
    """Segment scenes and write the report to `folder` in the place of an older one.

    Args:
        folder: the folder of the report.
        request: the scenes.
        segment: does it, given a file for the network and a function that keeps every scene.
        facts: name to value of what made the report.

    Returns:
        The result, and the files without `LARGE`.

    Raises:
        StudyError: the folder holds something other than a report, or cannot be written.
        HyperdermError: whatever `segment` raises; an older report then stays.
    """
    results: list[Segmentation] = []

    def fill(staging: Path) -> None:
        labels: list[NDArray[np.int16]] = []
        with CubeFiles(staging, request.scenes) as cubes:

            def keep(frame: Frame, found: Labels, rebuilt: Cubes, masks: Masks) -> None:
                write_masks(staging, len(labels), frame.name, masks)
                labels.append(found.astype(np.int16))
                cubes.keep(rebuilt)

            found = segment(staging / CHECKPOINT, keep)
        clusters = [f"cluster {k}" for k in range(request.count)]
        write_labels(staging, request.scenes, np.stack(labels), clusters, hues(request.count))
        write_pages(staging, content(found, facts), csv_files(found))
        results.append(found)

    write_folder(folder, fill, {*FILES, *LARGE, *DRAWN, PICTURES, MASK_FOLDER})
    return results[0], [path for name in (*FILES, *DRAWN) if (path := folder / name).exists()]
