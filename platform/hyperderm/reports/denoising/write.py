"""Write the report of a denoising to a folder: one page with its figures, tables, and the cubes without noise."""

from collections.abc import Callable, Mapping
from pathlib import Path

from hyperderm.reports.denoising.sections import SCENES, content, csv_files
from hyperderm.reports.report_folder import TEXT, write_folder, write_pages
from hyperderm.reports.scene_files import CUBE, CUBE_ENVI, CubeFiles
from hyperderm.reports.segmentation.sections import LOSSES
from hyperderm.studies.denoising import Denoising, Keep, Request
from hyperderm.studies.spectral_coding import CHECKPOINT
from hyperderm.training.run_folder import PAGE

FILES = (PAGE, TEXT, SCENES, LOSSES, CHECKPOINT)
DRAWN = ("errors.png", "spectra.png", "pictures.png", "losses.png")


def write_denoising(
    folder: Path, request: Request, denoise: Callable[[Path, Keep], Denoising], facts: Mapping[str, str]
) -> tuple[Denoising, list[Path]]:
    """Denoise scenes and write the report to `folder`; see `segmentation.write.write_segmentation`."""
    results: list[Denoising] = []

    def fill(staging: Path) -> None:
        with CubeFiles(staging, request.scenes) as cubes:
            found = denoise(staging / CHECKPOINT, lambda _, cube: cubes.keep(cube))
        write_pages(staging, content(found, facts), csv_files(found))
        results.append(found)

    write_folder(folder, fill, {*FILES, *DRAWN, CUBE, *CUBE_ENVI})
    return results[0], [path for name in (*FILES, *DRAWN) if (path := folder / name).exists()]
