"""The command that examines a whole project: audit leaks."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hyperderm.cli import app

if TYPE_CHECKING:
    from hyperderm.reports.leaks import Verdict
    from hyperderm.store.overlap import StoreFacts
    from hyperderm.store.reader import Store
    from hyperderm.tracking.project_records import Project
    from hyperderm.workflows.workspace import Workspace

FORMS = ("text", "markdown", "csv")

audit_app = typer.Typer(help="Look back on a whole project.", rich_markup_mode=None)
app.add_typer(audit_app, name="audit")


@audit_app.callback(invoke_without_command=True)
def _audit(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@audit_app.command("leaks")
def leaks(
    stores: Annotated[
        list[str] | None, typer.Option("--store", help="A store that is no longer where runs say; may be repeated.")
    ] = None,
    form: Annotated[str, typer.Option("--format", help="text, markdown or csv; csv names every user.")] = "text",
    cubes: Annotated[
        bool, typer.Option("--cubes/--no-cubes", help="Also compare cubes bit by bit, which reads the stores whole.")
    ] = True,
    runs: Annotated[Path | None, typer.Option("--runs", help="Where runs are kept: grids have their sets there.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 1 also where something could not be told.")] = False,
) -> None:
    """Lists whatever saw a lesion of a later test role; exit code 1 where something did."""
    from hyperderm.errors import ConfigError
    from hyperderm.workflows.workspace import Workspace

    if form not in FORMS:
        raise ConfigError(f"--format {form!r} is unknown", f"Use {', '.join(FORMS[:-1])} or {FORMS[-1]}.")
    workspace = Workspace.here()
    from hyperderm.store.reader import open_store

    given = [open_store(uri, verify=False) for uri in stores or []]
    from hyperderm.tracking.project import walk

    project = walk(workspace.tracking_uri)
    found, away = _stores(project, given, [*_beside(workspace, runs)], workspace.root)
    verdict = _judged(project, _read(workspace, found, cubes), away, cubes)
    _print(workspace, verdict, form)
    raise typer.Exit(1 if verdict.findings or (strict and verdict.unknown) else 0)


def _beside(workspace: "Workspace", runs: Path | None) -> Iterator[str]:
    """Yield stores that no run names by an address: sets of grids and of `generate`, and stores that `train` ingested."""
    from hyperderm.store.manifest import MANIFEST
    from hyperderm.training.run_folder import PLAN
    from hyperderm.workflows.run_ablation import known_grid

    for grid in sorted((runs or workspace.root / "runs").glob(f"*/{PLAN}")):
        yield from known_grid(grid.parent).sets()
    made = sorted((workspace.root / "stores").glob("*"))
    yield from (str(place) for place in made if (place / MANIFEST).is_file())


def _stores(
    project: "Project", given: "list[Store]", beside: Iterable[str], root: Path
) -> "tuple[list[Store], list[tuple[str, str]]]":
    """Return every store that plays a part, each once, and the stores that are missing where runs say they are."""
    from hyperderm.errors import StoreError
    from hyperderm.store.reader import open_store
    from hyperderm.store.synthetic import origin_of

    found = {store.manifest.fingerprint: store for store in given}
    wanted = {one.manifest for one in project.artefacts} | {one.key.removeprefix("set ") for one in project.artefacts}
    wanted |= {key.removeprefix("set ") for one in project.artefacts for key in one.uses}
    wanted |= {opening.manifest for one in project.artefacts for opening in one.openings}
    away: list[tuple[str, str]] = []
    for uri in [*project.stores, *beside]:
        try:
            store = open_store(_placed(uri, root), verify=False)
        except StoreError as error:
            away.append((uri, error.what))
            continue
        origin = origin_of(store.manifest)
        if uri in project.stores or store.manifest.fingerprint in wanted or (origin and origin.manifest in wanted):
            found.setdefault(store.manifest.fingerprint, store)
    missed = {one.manifest for one in project.artefacts} - set(found) - {""}
    return list(found.values()), away if missed else []


def _placed(uri: str, root: Path) -> str:
    """Return the address of a store that a run names relative to the project."""
    return str(root / uri) if "://" not in uri and not Path(uri).exists() and (root / uri).exists() else uri


def _read(workspace: "Workspace", stores: "list[Store]", cubes: bool) -> "list[StoreFacts]":
    from hyperderm.reports.progress import counting
    from hyperderm.store.overlap import read_facts

    with counting(workspace.console, "reading stores") as bar:
        task = bar.add_task("", total=sum(len(store.manifest.parts) for store in stores))
        return [read_facts(store, cubes, lambda: bar.advance(task)) for store in stores]


def _judged(project: "Project", facts: "list[StoreFacts]", away: list[tuple[str, str]], cubes: bool) -> "Verdict":
    from dataclasses import replace

    from hyperderm.reports.leaks import find_leaks

    verdict = find_leaks(project.artefacts, facts)
    foreign = [(name, "carries no fact of hyperderm") for name in project.foreign]
    moved = [(uri, f"{what}; give its new place by --store") for uri, what in away]
    partly = [] if cubes else [("all stores", "cubes were not compared (--no-cubes)")]
    return replace(verdict, unknown=(*verdict.unknown, *moved, *partly, *foreign))


def _print(workspace: "Workspace", verdict: "Verdict", form: str) -> None:
    from hyperderm.reports import leak_tables

    if form == "text":
        workspace.console.print(leak_tables.table(verdict))
    else:
        typer.echo(leak_tables.markdown(verdict) if form == "markdown" else leak_tables.csv(verdict), nl=False)
