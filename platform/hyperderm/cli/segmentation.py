"""The commands segment and denoise, which look at the pixels of a cube or a store with a spectral autoencoder."""

from pathlib import Path
from typing import Annotated

import typer

from hyperderm import workflows
from hyperderm.cli import app
from hyperderm.cli.ingest import Axes, Key, Rows, Wavelengths
from hyperderm.cli.terminal import print_aside

Given = Annotated[
    str | None,
    typer.Argument(
        help="A TIFF, ENVI, MATLAB or npy cube, or a store; without it --data, or the phantom.", metavar="CUBE|STORE"
    ),
]
Data = Annotated[Path | None, typer.Option(help="In place of a store: raw files, which are ingested once.")]
Run = Annotated[
    str | None, typer.Option(help="An autoencoder that was trained before: a run, a report, a file.", metavar="RUN")
]
Latent = Annotated[int | None, typer.Option(help="Numbers that a pixel's spectrum becomes; 8 if not given.")]
Resample = Annotated[int | None, typer.Option(help="Interpolate spectra to this length for the network, e.g. 512.")]
Steps = Annotated[int | None, typer.Option(help="Updates of the network, 256 spectra each; 1000, to denoise 3000.")]
Fold = Annotated[int | None, typer.Option(help="Its train role is learnt from; 0 if not given.")]
Seed = Annotated[int, typer.Option(help="Of the pixels that are drawn, the network and the clusters.")]
Out = Annotated[Path | None, typer.Option(help="Folder of the report; nothing may be there yet.", metavar="DIR")]
Runs = Annotated[Path | None, typer.Option("--runs", help="Where runs are kept.")]


@app.command()
def segment(
    given: Given = None,
    clusters: Annotated[int, typer.Option(help="How many, 2 or more.", metavar="K")] = 3,
    data: Data = None,
    weight: Annotated[float, typer.Option(help="How far a pixel's place counts, 0 or more.")] = 0.5,
    run: Run = None,
    latent: Latent = None,
    resample: Resample = None,
    steps: Steps = None,
    as_masks: Annotated[
        bool, typer.Option("--as-masks", help="Also make lesion masks; scored where masks are drawn.")
    ] = False,
    reference: Annotated[
        Path | None, typer.Option(help="Known classes of a cube: npy (-1: unknown) or MATLAB abundances.")
    ] = None,
    fold: Fold = None,
    wavelengths: Wavelengths = "",
    rows: Rows = None,
    key: Key = None,
    axes: Axes = "",
    seed: Seed = 0,
    out: Out = None,
    runs: Runs = None,
) -> None:
    """Divide pixels into clusters of their latent vectors: label maps, spectra, one HTML page; MLflow."""
    print_aside()
    workflows.segment(
        _source(given, data, fold, wavelengths, rows, key, axes),
        clusters=clusters,
        weight=weight,
        network=workflows.Network(run, latent, resample, steps, seed),
        as_masks=as_masks,
        reference=reference,
        out=out,
        runs=runs,
    )


@app.command()
def denoise(
    given: Given = None,
    data: Data = None,
    run: Run = None,
    latent: Latent = None,
    resample: Resample = None,
    steps: Steps = None,
    fold: Fold = None,
    wavelengths: Wavelengths = "",
    rows: Rows = None,
    key: Key = None,
    axes: Axes = "",
    seed: Seed = 0,
    out: Out = None,
    runs: Runs = None,
) -> None:
    """Free cubes of noise with a spectral autoencoder, beside two classical ways: a cube, one HTML page; MLflow."""
    print_aside()
    source = _source(given, data, fold, wavelengths, rows, key, axes)
    workflows.denoise(source, network=workflows.Network(run, latent, resample, steps, seed), out=out, runs=runs)


def _source(
    given: str | None,
    data: Path | None,
    fold: int | None,
    wavelengths: str,
    rows: int | None,
    key: str | None,
    axes: str,
) -> workflows.Source:
    from hyperderm.cubes.bands import parse_nm
    from hyperderm.ingest.formats.axes import parse_axes
    from hyperderm.ingest.formats.scene import ReadOptions

    options = None
    if wavelengths or rows or key or axes:
        nm = parse_nm("--wavelengths", wavelengths, rising=False) if wavelengths else None
        options = ReadOptions(nm, rows, key=key, axes=parse_axes(axes))
    return workflows.Source(given, data, fold, options)
