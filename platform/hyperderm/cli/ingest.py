"""Commands that read raw files into a store, and that export their pictures to an annotation tool."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hyperderm import workflows
from hyperderm.cli import app
from hyperderm.cli.terminal import print_aside
from hyperderm.errors import ConfigError

if TYPE_CHECKING:
    from hyperderm.ingest.layouts.scene_folder import Camera

Source = Annotated[Path, typer.Argument(help="A folder of images in any layout hyperderm knows, or one file.")]
Layout = Annotated[
    str, typer.Option(help="auto, hsidermoscopy, photographs (PH2, ISIC), scenes, mosaic (raw frames) or exported.")
]
Wavelengths = Annotated[str, typer.Option(help="Band centres in nm, A:B:N or a list, where the files do not say them.")]
Masks = Annotated[
    str, typer.Option(help="A COCO or Label Studio file, or auto: find a lesion where no mask picture marks one.")
]
Rows = Annotated[int | None, typer.Option(min=1, help="Rows of an image stored as a matrix of pixels by bands.")]
Columns = Annotated[int | None, typer.Option(min=1, help="Columns likewise.")]
Key = Annotated[str | None, typer.Option(help="Which array, in a file that holds several.")]
Axes = Annotated[str, typer.Option(help="Axes of the arrays in the order of their file, such as BHW, where it is unclear.")]
Dark = Annotated[Path | None, typer.Option(help="Dark reference: ENVI, TIFF, PNG, .npy, .npz or .mat; a frame or lines.")]
White = Annotated[Path | None, typer.Option(help="White reference likewise: values become reflectance.")]
References = Annotated[bool, typer.Option(help="Apply WHITEREF_ and DARKREF_ files that lie beside scans, each to its own.")]
WhiteReflectance = Annotated[float, typer.Option(help="Of the white panel.")]
Demosaic = Annotated[Literal["superpixel", "bilinear"], typer.Option(help="How raw mosaic frames become cubes.")]
Responses = Annotated[Path | None, typer.Option(help="Response table of a mosaic sensor; default: *responses*.mat beside.")]
Correction = Annotated[Path | None, typer.Option(help="Correction matrix of a mosaic sensor: .csv, .npy or .mat.")]
Scale = Annotated[
    list[str],
    typer.Option(help="Divide the numbers: N, or PATTERN=N for files of such names, or above:MEDIAN=N; repeatable."),
]


@app.command()
def ingest(
    source: Source,
    store: Annotated[str, typer.Option(help="Folder or s3:// address of the store; nothing may be there yet.")] = "",
    size: Annotated[str, typer.Option(help="Pixels of the stored crops, or native: as the images are. Default: 64.")] = "",
    wavelengths: Wavelengths = "",
    bands: Annotated[str, typer.Option(help="Bands to bring every cube to, in nm: A:B:N or a list.")] = "",
    folds: Annotated[int, typer.Option(min=0, help="Number of folds, 0 for none.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the folds.")] = 0,
    layout: Layout = "auto",
    masks: Masks = "",
    groups: Annotated[
        Path | None, typer.Option(help="CSV with columns image and patient: folds never split a patient.")
    ] = None,
    rows: Rows = None,
    columns: Columns = None,
    key: Key = None,
    axes: Axes = "",
    dark: Dark = None,
    white: White = None,
    white_reflectance: WhiteReflectance = 1.0,
    references: References = True,
    scale: Scale = [],  # noqa: B006 - typer copies it
    demosaic: Demosaic = "superpixel",
    responses: Responses = None,
    correction: Correction = None,
    fill: Annotated[bool, typer.Option("--fill", help="Fill a few missing values in a crop from their neighbours.")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Files read at a time on Ray; default: by their size.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Read and report, write nothing.")] = False,
) -> None:
    """Read raw files into a store, and list what cannot be used. The same command continues an interrupted ingest."""
    from hyperderm.cubes.bands import parse_nm

    camera = _camera(
        layout,
        wavelengths,
        rows,
        columns,
        key,
        dark,
        white,
        white_reflectance,
        demosaic,
        responses,
        correction,
        axes,
        references,
    )
    bands_nm = parse_nm("--bands", bands) if bands else None
    if not store and not check:
        raise ConfigError("--store is missing", "Say where the store goes: --store data/mine")
    job = workflows.ingest_job(
        source,
        layout=layout,
        size=size,
        bands_nm=bands_nm,
        masks=masks,
        groups=groups,
        scale=scale,
        fill=fill,
        camera=camera,
    )
    if check:
        workflows.check_ingest(job, store, folds=folds, seed=seed)
    else:
        print_aside()
        workflows.ingest(job, store, folds=folds, seed=seed, workers=workers)


@app.command("annotate-export")
def annotate_export(
    source: Source,
    out: Annotated[Path, typer.Option(help="Where the pictures and tasks go; nothing may be there yet.")],
    layout: Layout = "auto",
    wavelengths: Wavelengths = "",
    masks: Masks = "",
    rows: Rows = None,
    columns: Columns = None,
    key: Key = None,
    axes: Axes = "",
    dark: Dark = None,
    white: White = None,
    white_reflectance: WhiteReflectance = 1.0,
    references: References = True,
    demosaic: Demosaic = "superpixel",
    responses: Responses = None,
    correction: Correction = None,
    root: Annotated[
        Path | None, typer.Option(help="What Label Studio serves local files from; default: beside OUT.")
    ] = None,
) -> None:
    """Write pictures for marking lesions in Label Studio. Known masks are included and can be corrected.

    The way back in: hyperderm ingest SOURCE --masks EXPORT.json
    """
    camera = _camera(
        layout,
        wavelengths,
        rows,
        columns,
        key,
        dark,
        white,
        white_reflectance,
        demosaic,
        responses,
        correction,
        axes,
        references,
    )
    print_aside()
    workflows.annotate_export(workflows.ingest_job(source, layout=layout, masks=masks, camera=camera), out, root)


def _camera(
    layout: str,
    wavelengths: str,
    rows: int | None,
    columns: int | None,
    key: str | None,
    dark: Path | None,
    white: Path | None,
    white_reflectance: float,
    demosaic: Literal["superpixel", "bilinear"],
    responses: Path | None,
    correction: Path | None,
    axes: str,
    references: bool,
) -> "Camera":
    from hyperderm.cubes.bands import parse_nm
    from hyperderm.ingest.formats.axes import parse_axes
    from hyperderm.ingest.formats.mosaic import Mosaic
    from hyperderm.ingest.formats.scene import ReadOptions
    from hyperderm.ingest.layouts.scene_folder import Camera

    nm = parse_nm("--wavelengths", wavelengths, rising=False) if wavelengths else None
    asked = ReadOptions(nm, rows, columns, key, parse_axes(axes))
    for option, path in (("--dark", dark), ("--white", white), ("--responses", responses), ("--correction", correction)):
        if path is not None and not path.is_file():
            raise ConfigError(f"{option} {path} does not exist", "Name a file.")
    if layout == "mosaic":
        frames = Mosaic(demosaic, responses, dark, white, correction, nm, white_reflectance)
        return Camera(asked, frames, references=references)
    others = (("--responses", responses), ("--correction", correction), ("--demosaic", demosaic != "superpixel"))
    if given := [name for name, it in others if it]:
        raise ConfigError(f"{given[0]} is of raw mosaic frames", "Give --layout mosaic too.")
    return Camera(asked, None, dark, white, white_reflectance, references)
