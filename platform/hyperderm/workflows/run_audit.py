"""Audit a project for leaks: what MLflow knows of it, and every store that plays a part in it."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from hyperderm.errors import ConfigError, StoreError
from hyperderm.reports.progress import counting
from hyperderm.store.leaks import Verdict, find_leaks
from hyperderm.store.manifest import MANIFEST
from hyperderm.store.overlap import read_facts
from hyperderm.store.reader import Store, open_store
from hyperderm.store.synthetic import origin_of
from hyperderm.tracking.project import Project, walk
from hyperderm.training.run_folder import PLAN
from hyperderm.workflows.run_ablation import known_grid
from hyperderm.workflows.workspace import Workspace


def run_audit(workspace: Workspace, given: Sequence[Store], cubes: bool, runs: Path | None) -> Verdict:
    """Return the leaks of the project; a progress bar shows how far its stores are read.

    Args:
        workspace: the project and its tracking server.
        given: stores that are no longer where runs say.
        cubes: whether cubes are compared bit by bit, which reads the stores whole.
        runs: where runs are kept.

    Raises:
        HyperdermError: the tracking server does not answer, or a store cannot be read.
    """
    if runs is not None and not runs.is_dir():
        raise ConfigError(f"--runs {runs} is no folder", "Name the folder that --runs named when the grids were run.")
    project = walk(workspace.tracking_uri)
    found, away = _stores(project, given, [*project.stores, *_beside(workspace, runs)], workspace.root)
    with counting(workspace.console, "reading stores") as bar:
        task = bar.add_task("", total=sum(len(store.manifest.parts) for store in found))
        verdict = find_leaks(project.artefacts, [read_facts(store, cubes, lambda: bar.advance(task)) for store in found])
    partly = [] if cubes else [("all stores", "cubes were not compared (--no-cubes)")]
    return replace(
        verdict,
        unknown=(*verdict.unknown, *away, *partly, *((name, "carries no fact of hyperderm") for name in project.foreign)),
    )


def _beside(workspace: Workspace, runs: Path | None) -> Iterator[str]:
    """Yield stores that no run names by an address: sets of grids and of `generate`, and stores that `train` ingested."""
    for grid in sorted(workspace.runs(runs).glob(f"*/{PLAN}")):
        yield from known_grid(grid.parent).sets()
    made = sorted((workspace.root / "stores").glob("*"))
    yield from (str(place) for place in made if (place / MANIFEST).is_file())


def _stores(
    project: Project, given: Sequence[Store], places: Sequence[str], root: Path
) -> tuple[list[Store], list[tuple[str, str]]]:
    """Return every store that plays a part, each once, and (place, what is unknown) of stores that are missing."""
    found, away = {store.manifest.fingerprint: store for store in given}, list[tuple[str, str]]()
    read = {name for one in project.artefacts for name in (one.manifest, one.photographs)}
    named = {key for one in project.artefacts for key in (one.key, *one.uses, *(each.manifest for each in one.openings))}
    wanted = read | named
    for uri in places:
        here = "://" not in uri and not Path(uri).exists() and (root / uri).exists()  # runs name it relative to the project
        try:
            store = open_store(str(root / uri) if here else uri, verify=False)
        except StoreError as error:
            away.append((uri, f"{error.what}; give its new place by --store"))
            continue
        origin = origin_of(store.manifest)
        if uri in project.stores or store.manifest.fingerprint in wanted or (origin and origin.manifest in wanted):
            found.setdefault(store.manifest.fingerprint, store)
    return list(found.values()), away if read - set(found) - {""} else []
