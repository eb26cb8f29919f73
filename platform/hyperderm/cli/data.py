"""Verbs on data: ingest, phantom, store info, store export."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hyperderm.cli import app
from hyperderm.store.manifest import Manifest

store_app = typer.Typer(help="Look at a store, or write it out.", rich_markup_mode=None)
app.add_typer(store_app, name="store")

SHOWN = 20


@app.command()
def ingest(
    source: Annotated[Path, typer.Argument(help="Folder with images/{DNCube,MMCube,OtherCube}/*.mat, or photographs.")],
    store: Annotated[str, typer.Option(help="Where the store goes; nothing may be there yet.")] = "",
    size: Annotated[int, typer.Option(min=16, max=1024, help="Pixels of the stored crops.")] = 64,
    wavelengths: Annotated[str, typer.Option(help="Band centres in nm, A:B:N or a list; default: HSIDermoscopy's.")] = "",
    folds: Annotated[int, typer.Option(min=0, help="Number of folds, 0 for none.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the folds.")] = 0,
    layout: Annotated[str, typer.Option(help="auto, hsidermoscopy (cubes) or photographs (PH2, ISIC).")] = "auto",
    check: Annotated[bool, typer.Option("--check", help="Read and report, write nothing.")] = False,
) -> None:
    """Raw files into a store; lists what cannot be used."""
    from hyperderm.errors import ConfigError
    from hyperderm.store.ingest import parse_wavelengths

    console = Console(emoji=False)
    nm = parse_wavelengths(wavelengths) if wavelengths else None
    if check:
        _check(console, source, size, nm, layout)
        return
    if not store:
        raise ConfigError("--store is missing", "Say where the store goes: --store data/mine")
    manifest = ingest_with_progress(console, source, store, size=size, wavelengths=nm, folds=folds, seed=seed, layout=layout)
    describe(console, store, manifest)


def ingest_with_progress(
    console: Console,
    source: Path,
    store: str,
    *,
    size: int,
    wavelengths: list[float] | None,
    folds: int,
    seed: int,
    layout: str = "auto",
) -> Manifest:
    """Ingest with a bar on `console`."""
    from hyperderm.reports.progress import counting
    from hyperderm.store.ingest import ingest as ingest_files

    with counting(console, f"reading {source}") as bar:
        task = bar.add_task("", total=None)
        return ingest_files(
            source,
            store,
            size=size,
            wavelengths=wavelengths,
            folds=folds,
            seed=seed,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
            layout=layout,
        )


@app.command()
def phantom(
    store: Annotated[str, typer.Option(help="Where the store goes; nothing may be there yet.")],
    count: Annotated[int, typer.Option(min=1, help="Number of lesions.")] = 330,
    size: Annotated[int, typer.Option(min=16, max=1024, help="Pixels of each lesion.")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the lesions and the folds.")] = 0,
    folds: Annotated[int, typer.Option(min=0, help="Number of folds, 0 for none.")] = 5,
) -> None:
    """The calibrated skin simulator into a store."""
    console = Console(emoji=False)
    describe(console, store, write_phantom(console, store, count, size, seed, folds))


def write_phantom(console: Console, store: str, count: int, size: int, seed: int, folds: int) -> Manifest:
    """Write a phantom store with a bar on `console`."""
    from hyperderm.cubes.phantom import PHANTOM_VERSION
    from hyperderm.cubes.phantom import phantom as lesions
    from hyperderm.reports.progress import counting
    from hyperderm.store.writer import write_store

    source = {"verb": "phantom", "version": PHANTOM_VERSION, "count": count, "size": size, "seed": seed}
    with counting(console, "drawing phantom lesions") as bar:
        rows = bar.track((one.lesion for one in lesions(count, size, seed)), total=count)
        return write_store(store, rows, fold_count=folds, seed=seed, source=source)


@store_app.callback(invoke_without_command=True)
def _store(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@store_app.command("info")
def info(store: Annotated[str, typer.Argument(help="The store.")]) -> None:
    """What a store holds; every part is hashed."""
    from hyperderm.cli.tracked import audit_notes
    from hyperderm.store.reader import open_store

    console, manifest = Console(emoji=False), open_store(store).manifest
    describe(console, store, manifest)
    for said in audit_notes(manifest):
        console.print(said, highlight=False, markup=False, soft_wrap=True)


@store_app.command("export")
def export(
    store: Annotated[str, typer.Argument(help="The store.")],
    out: Annotated[Path, typer.Option(help="Where the files go; nothing may be there yet.")],
) -> None:
    """A store as .mat files in HSIDermoscopy's layout."""
    from hyperderm.store.export import export_mat
    from hyperderm.store.reader import open_store

    count = export_mat(open_store(store), out)
    Console(emoji=False).print(f"{count} lesions in {out}", highlight=False, markup=False, soft_wrap=True)


def describe(console: Console, uri: str, manifest: Manifest) -> None:
    """Print what a store holds, and every file that was set aside."""
    h, w, b = manifest.shape
    nm = manifest.wavelengths_nm
    parts = len(manifest.parts)
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_row("store", Text(uri))  # a path may hold what rich takes for markup
    table.add_row("fingerprint", manifest.fingerprint)
    table.add_row("cubes", f"{manifest.lesions} of {h} x {w} x {b}, {nm[0]:g} … {nm[-1]:g} nm, {manifest.kind}")
    table.add_row("size", f"{sum(part.bytes for part in manifest.parts) / 1e6:.1f} MB in {parts} part{'s' * (parts > 1)}")
    table.add_row("diagnoses", ", ".join(f"{name} {count}" for name, count in manifest.diagnoses.items()))
    if manifest.folds:
        table.add_row("folds", f"{manifest.folds.count}, seed {manifest.folds.seed}, {len(manifest.folds.groups)} groups")
    else:
        table.add_row("folds", "none: no training roles")
    console.print(table)
    for warning in manifest.warnings:
        console.print(f"note: {warning}", highlight=False, markup=False, soft_wrap=True)
    _list_aside(console, [(one.file, one.reason) for one in manifest.set_aside])


def _list_aside(console: Console, aside: list[tuple[str, str]]) -> None:
    if not aside:
        return
    console.print(f"{len(aside)} file{'s' * (len(aside) > 1)} set aside:", highlight=False)
    for file, reason in aside[:SHOWN]:
        console.print(f"  {file}: {reason}", highlight=False, markup=False, soft_wrap=True)
    if len(aside) > SHOWN:
        console.print(f"  … {len(aside) - SHOWN} more, all in the manifest", highlight=False)


def _check(console: Console, source: Path, size: int, wavelengths: list[float] | None, layout: str) -> None:
    from hyperderm.reports.progress import counting
    from hyperderm.store.ingest import Reading, find_layout

    chosen = find_layout(source, layout, wavelengths)
    with counting(console, f"reading {source}") as bar:
        task = bar.add_task("", total=None)
        reading = Reading(
            source,
            size,
            wavelengths or chosen.wavelengths_nm,
            lambda done, total: bar.update(task, completed=done, total=total),
            chosen,
        )
        low, high, shapes = float("inf"), float("-inf"), set()
        for lesion in reading:
            low, high = min(low, float(lesion.cube.reflectance.min())), max(high, float(lesion.cube.reflectance.max()))
            shapes.add(lesion.cube.shape)
    sizes = ", ".join(" x ".join(map(str, shape)) for shape in sorted(shapes))
    console.print(f"{sum(reading.lesions.values())} lesions would be stored as cubes of {sizes}", highlight=False)
    console.print(f"reflectance {low:.3f} … {high:.3f}", highlight=False)
    for name, count in sorted(reading.lesions.items()):
        console.print(f"  {name}: {count}", highlight=False)
    _list_aside(console, [(one.file, one.reason) for one in reading.set_aside])
