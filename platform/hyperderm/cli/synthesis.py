"""The commands that make synthetic sets: generate, from a trained generator, and curate, from a larger set."""

from pathlib import Path
from typing import Annotated

import typer

from hyperderm import workflows
from hyperderm.cli import app
from hyperderm.cli.terminal import print_aside
from hyperderm.settings import SEEDS


@app.command()
def generate(
    store: Annotated[str, typer.Option(help="Where the synthetic set goes; nothing may be there yet.")],
    count: Annotated[int, typer.Option(help="Number of cubes of each diagnosis.")],
    run: Annotated[
        str | None, typer.Option(help="A run, a sweep, or a trial of one (sweep/3): below runs/, or a path.")
    ] = None,
    checkpoint: Annotated[
        str | None, typer.Option(help="A checkpoint file or s3:// address, in place of --run.", metavar="URI")
    ] = None,
    diagnosis: Annotated[list[str] | None, typer.Option(help="Default melanoma; may be repeated.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=SEEDS - 1, help="Another seed is another set.")] = 0,
    rgb: Annotated[str | None, typer.Option(help="A store of photographs to make new lesions from.")] = None,
    source_store: Annotated[
        str | None, typer.Option(help="The store the generator was trained on, if it is not where it was.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Ray Data workers; 1: this process, without Ray.")] = 1,
    reject: Annotated[
        str | None, typer.Option(help="copies: leave out what the audit calls copies, and make others.", metavar="WHAT")
    ] = None,
    mix: Annotated[bool, typer.Option("--mix", help="The style of each cube from a second noise.")] = False,
    truncation: Annotated[
        float | None, typer.Option(help="Largest absolute value of the noise; smaller: more typical, less varied.")
    ] = None,
    guidance: Annotated[
        float | None, typer.Option(help="Of diffusion told the diagnosis; above 1: more typical of it, less varied.")
    ] = None,
    mat: Annotated[Path | None, typer.Option(help="Also as .mat files in HSIDermoscopy's layout, into this folder.")] = None,
    runs: Annotated[Path | None, typer.Option("--runs", help="Where runs are kept.")] = None,
) -> None:
    """Make a synthetic set with a trained generator."""
    print_aside()
    workflows.generate(
        store,
        dict.fromkeys(diagnosis or ["melanoma"], count),
        run=run,
        checkpoint=checkpoint,
        seed=seed,
        rgb=rgb,
        source_store=source_store,
        workers=workers,
        reject=reject,
        mix=mix,
        truncation=truncation,
        guidance=guidance,
        mat=mat,
        runs=runs,
    )


@app.command()
def curate(
    pool: Annotated[str, typer.Argument(help="A synthetic set that `generate` made.", metavar="URI")],
    store: Annotated[str, typer.Option(help="Where the new set goes; nothing may be there yet.")],
    real: Annotated[str, typer.Option(help="The real store the generator was trained on.", metavar="URI")],
    count: Annotated[int, typer.Option(help="Number of cubes of each diagnosis that are kept.")],
    keep: Annotated[
        str | None, typer.Option(help="random, judge, confidence, copies (none of them) or all.", metavar="WHICH")
    ] = None,
    match: Annotated[str | None, typer.Option(help="To train: moments, noise or both.", metavar="WHAT")] = None,
    named: Annotated[
        str | None, typer.Option(help="Call all cubes this diagnosis: a negative control.", metavar="DIAGNOSIS")
    ] = None,
    diagnosis: Annotated[list[str] | None, typer.Option(help="Default: all of the set; may be repeated.")] = None,
    drawn: Annotated[
        int | None, typer.Option(help="Choose among the first so many of each diagnosis; default: all.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=SEEDS - 1, help="Of choices at random and of added noise.")] = 0,
) -> None:
    """Choose cubes of a synthetic set, or give them what of train they lack."""
    print_aside()
    workflows.curate(
        pool,
        store,
        count,
        real=real,
        keep=keep,
        match=match,
        named=named,
        diagnoses=diagnosis or (),
        drawn=drawn,
        seed=seed,
    )
