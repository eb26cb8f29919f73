"""The command that writes the phantom to a store."""

from typing import Annotated

import typer

from hyperderm import workflows
from hyperderm.cli import app
from hyperderm.cli.terminal import print_aside


@app.command()
def phantom(
    store: Annotated[str, typer.Option(help="Where the store goes; nothing may be there yet.")],
    count: Annotated[int, typer.Option(min=1, help="Number of lesions.")] = 330,
    size: Annotated[int, typer.Option(min=16, max=1024, help="Pixels of each lesion.")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the lesions and the folds.")] = 0,
    folds: Annotated[int, typer.Option(min=0, help="Number of folds, 0 for none.")] = 5,
) -> None:
    """Write phantom lesions, made by the calibrated skin simulator, into a store."""
    print_aside()
    workflows.phantom(store, count=count, size=size, seed=seed, folds=folds)
