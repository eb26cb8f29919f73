"""The command for tracked runs: compare."""

from pathlib import Path
from typing import Annotated

import typer

from hyperderm import workflows
from hyperderm.cli import app
from hyperderm.errors import ConfigError


@app.command()
def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            help="MLflow run ids or their first 6 characters or more, run names, or keys; a sweep stands for its trials. "
            "With --sweeps: sweeps, by names or paths of their folders, or experiments, which stand for all their sweeps.",
            metavar="RUN",
        ),
    ],
    sweeps: Annotated[
        bool, typer.Option("--sweeps", help="Compare sweeps at equal budgets of images and of seconds: --sweeps A B C.")
    ] = False,
    baseline: Annotated[str | None, typer.Option(help="The run differences are taken to; default: the first.")] = None,
    metrics: Annotated[
        list[str] | None, typer.Option("--metric", help="What is compared; may be repeated. Default: all that differ.")
    ] = None,
    over: Annotated[
        list[str] | None,
        typer.Option(help="A setting that means are taken over beside the seed, e.g. data.fold; may be repeated."),
    ] = None,
    form: Annotated[str, typer.Option("--format", help="table, markdown or csv; csv has full precision.")] = "table",
    out: Annotated[
        Path | None,
        typer.Option(help="A new file to write to instead; with --sweeps a new folder, for tables and a figure."),
    ] = None,
    where: Annotated[
        Path | None, typer.Option("--runs", help="With --sweeps: where runs are kept; default: runs/ of the project.")
    ] = None,
) -> None:
    """Show what differs between runs: configuration, means over seeds, and differences to a baseline; or compare sweeps."""
    if not sweeps:
        if where is not None:
            raise ConfigError(
                f"--runs {str(where)!r} without --sweeps", "Without it, runs are named as MLflow knows them; leave it out."
            )
        workflows.compare(runs, baseline=baseline, metrics=metrics or (), over=over or (), form=form, out=out)
        return
    for option, given in (("--baseline", baseline), ("--metric", metrics), ("--over", over)):
        if given:
            raise ConfigError(f"{option} and --sweeps are both given", f"Leave {option} out: it is for runs.")
    workflows.compare_sweeps(runs, form=form, out=out, runs=where)
