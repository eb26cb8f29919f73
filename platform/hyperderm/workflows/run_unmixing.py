"""Unmix a store: find endmembers, write abundances and the report, and record them in MLflow."""

import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hyperderm.errors import ConfigError, StudyError, nearest
from hyperderm.store.manifest import FOLD_FREE
from hyperderm.tags import FOLD_TAG, MANIFEST_TAG, STORE_TAG, UNMIXING
from hyperderm.workflows.find_store import find_store, source_of
from hyperderm.workflows.workspace import Workspace

if TYPE_CHECKING:
    from hyperderm.store.reader import Store
    from hyperderm.studies.unmixing import Request, Unmixing

METHODS = ("sisal", "nfindr", "vca")
MOST_ENDMEMBERS = 64


def unmix(
    store: str | None = None,
    *,
    data: Path | None = None,
    endmembers: int | str | None = None,
    method: str | None = None,
    run: str | None = None,
    source_store: str | None = None,
    fold: int | None = None,
    unit_length: bool = False,
    seed: int = 0,
    reference: Path | None = None,
    out: Path | None = None,
    abundances: str | None = None,
    runs: Path | None = None,
) -> "Unmixing":
    """Unmix the pixels of a store into endmembers and abundances, and say so in one HTML page; MLflow.

    Args:
        store: URI of a store of cubes; None: `data`, or the default phantom.
        data: a folder of raw files, which is ingested once.
        endmembers: how many, or "auto": the knee of the reconstruction error; None: those of the reference, or 5.
        method: sisal, nfindr or vca; each is followed by fully constrained least squares. None: sisal.
        run: in place of a method, a run of `hyperderm train unmixer` on this store, whose endmembers, fold and units are
            taken. Where the store holds photographs, a run with `learner.bands=rgb` on a store of cubes.
        source_store: where the photographs' net was trained, if that store is not where it was.
        fold: the fold whose train role gives the endmembers; None: fold 0, or all lesions of a store without folds.
        unit_length: whether every pixel is divided by its length first, so that brightness does not count.
        seed: of the sample of pixels and of the method.
        reference: a MATLAB file of the known abundances and endmembers of the store's only scene
            (`ingest.formats.known_mixture`), with which the result is compared.
        out: the folder of the report, which must not exist; None: a folder below that of runs, where the new report replaces
            an older one.
        abundances: where a store of the abundances is written, which must not exist; None: there is none beside the report.
        runs: where runs are kept; None: `runs/` of the project.

    Raises:
        HyperdermError: an error that the user can correct. No report is written then.
    """
    workspace = Workspace.here()
    count = None if endmembers is None else _count(endmembers)
    if run and (endmembers is not None or method is not None or fold is not None or unit_length):
        raise ConfigError(
            "--run is given beside --endmembers, --method, --fold or --unit-length",
            "Give --run alone: the run says all of them.",
        )
    method = method or "sisal"
    if method not in METHODS:
        raise ConfigError(f"--method {method} is unknown", nearest(method, METHODS))
    if seed < 0:
        raise ConfigError(f"--seed {seed}", "Give 0 or more.")
    if out is not None and out.exists():
        raise StudyError(f"--out {out}: something is already there", "Choose another folder, or remove it first.")
    if abundances is not None:
        _check_place(abundances, out, store is None and data is None)
    opened = find_store(workspace, store, data)
    if opened.manifest.folds is None and fold is not None:
        raise ConfigError(f"--fold {fold}: this store has no folds", "Leave it out.")
    if not run and opened.manifest.kind == "rgb":
        raise ConfigError(
            f"{opened.location.uri} holds photographs, whose three colours have no endmembers of their own",
            "Name a net that sees colours: --run of `hyperderm train unmixer --set learner.bands=rgb` on cubes.",
        )
    from hyperderm.reports.report_folder import check_free, check_writable
    from hyperderm.studies.known_unmixing import known_of
    from hyperderm.studies.unmixing import Request
    from hyperderm.training.run_folder import REPORT

    if run:
        request = _trained(workspace, opened, run, workspace.runs(runs), seed, source_store)
        count = len(request.given) if request.given is not None else None
    known = None if reference is None else known_of(reference, opened, count)
    if not run:
        chosen = None if opened.manifest.folds is None else fold or 0
        request = Request(opened, method, count or (len(known.names) if known else 5), chosen, seed, unit_length)
    request = replace(request, known=known)
    folder = workspace.runs(runs) / f"unmix-{opened.name}"
    place = out or folder / REPORT
    check_free(place)
    check_writable(place)
    return _unmix(_Call(workspace, request, folder, f"{folder.name}/{uuid.uuid4().hex[:8]}", place, abundances))


def _trained(workspace: Workspace, store: "Store", run: str, runs: Path, seed: int, source_store: str | None) -> "Request":
    from hyperderm.studies.named_runs import checkpoint_of_run
    from hyperderm.studies.unmixing import of_net
    from hyperderm.training.named_checkpoints import read_checkpoint

    path, name = checkpoint_of_run(run, runs)
    workspace.say(f"checkpoint of {name}: {path}")
    state, source = read_checkpoint(path)[0], None
    if store.manifest.kind == "rgb":
        source = source_of(state, source_store, "net")
    elif source_store:
        raise ConfigError(f"--source-store {source_store}: the store holds cubes", "Give it with photographs alone.")
    return of_net(store, state, seed, source)


@dataclass(frozen=True)
class _Call:
    workspace: Workspace
    request: "Request"
    folder: Path
    key: str
    out: Path
    abundances: str | None


def _unmix(call: _Call) -> "Unmixing":
    from hyperderm.reports.unmixing.sections import answer
    from hyperderm.reports.unmixing.write import write_unmixing
    from hyperderm.studies.unmixing import unmix_store
    from hyperderm.training.run_folder import PAGE
    from hyperderm.workflows.recorded_run import recorded_run

    workspace, request = call.workspace, call.request
    manifest = request.store.manifest
    fold = FOLD_FREE if request.fold is None else str(request.fold)
    tags = {MANIFEST_TAG: manifest.fingerprint, STORE_TAG: request.store.location.uri, FOLD_TAG: fold}
    params = {
        "method": request.method,
        "endmembers": request.count,
        "fold": fold,
        "seed": request.seed,
        "unit_length": request.unit,
    }
    with recorded_run(workspace, UNMIXING, call.folder, call.key, tags, params) as recorded:
        with workspace.console.status("unmixing") as line:
            found, files = write_unmixing(call.out, lambda keep: unmix_store(request, keep, line.update), recorded.facts)
        metrics = {"endmembers_found": found.choice.count, "lesions": len(found.lesions)}
        scores = {} if found.compared is None else found.compared.numbers()
        recorded.log({name: float(value) for name, value in metrics.items()} | found.medians() | scores, files)
        if call.abundances is not None:
            _keep(workspace, call.abundances, found, call.out)
    workspace.say(answer(found), f"report: {call.out / PAGE}")
    return found


def _check_place(uri: str, out: Path | None, nothing_given: bool) -> None:
    """Refuse a place for the store of abundances that is taken, or that the report would take."""
    from hyperderm.store.location import locate
    from hyperderm.store.manifest import MANIFEST
    from hyperderm.store.s3 import vacant

    place = locate(uri)
    if nothing_given and place.exists(MANIFEST):
        raise ConfigError(
            f"--store {uri} is a store that is there; it says where abundances are written",
            f"To unmix it: hyperderm unmix {uri}.",
        )
    if out is not None and place.local:
        mine, report = Path(place.path).resolve(), out.resolve()
        if mine == report or mine in report.parents or report in mine.parents:
            raise ConfigError(f"--store {uri} and --out {out} lie in one another", "Give each a place of its own.")
    vacant(uri)


def _keep(workspace: Workspace, uri: str, found: "Unmixing", report: Path) -> None:
    from hyperderm.reports.unmixing.sections import ABUNDANCES
    from hyperderm.studies.abundance_store import write_abundances

    made = write_abundances(uri, found, report / ABUNDANCES)
    aside = f", {len(made.set_aside)} set aside" if made.set_aside else ""
    workspace.say(f"{made.lesions} lesions as abundances in {uri}{aside}")


def _count(asked: int | str) -> int | Literal["auto"]:
    if asked == "auto":
        return "auto"
    try:
        count = int(asked)
    except ValueError:
        raise ConfigError(f"--endmembers {asked}", "Give a whole number from 2, or auto.") from None
    if not 2 <= count <= MOST_ENDMEMBERS:
        raise ConfigError(f"--endmembers {asked}", f"Give a whole number from 2 to {MOST_ENDMEMBERS}, or auto.")
    return count
