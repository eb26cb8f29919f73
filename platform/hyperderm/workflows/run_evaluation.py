"""Evaluate synthetic sets beside real cubes: read, measure, record in MLflow, and write the report."""

import json
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from hyperderm.errors import StudyError, TrackingError
from hyperderm.tags import (
    CHOSEN_TAG,
    EVALUATION,
    EXPERIMENT_TAG,
    FOLD_TAG,
    MANIFEST_TAG,
    OPENED_TAG,
    PREFIX,
    STAGE_TAG,
    STORE_TAG,
    SYNTHETIC_TAG,
    plain,
)
from hyperderm.workflows.evaluated_run import COUNT, set_of_run
from hyperderm.workflows.workspace import Workspace

if TYPE_CHECKING:
    from hyperderm.store.manifest import Opening
    from hyperderm.store.reader import Store
    from hyperderm.studies.evaluation import Evaluation
    from hyperderm.tracking.runs import Status, Tracker

CACHE = "features"
"""The folder below that of runs in which features are kept."""


def evaluate(
    real: str | None,
    synthetic: Sequence[str] = (),
    *,
    run: str | None = None,
    count: int | None = None,
    fold: int | None = None,
    final: bool = False,
    out: Path | None = None,
    runs: Path | None = None,
) -> "Evaluation":
    """Say how clear, realistic, diverse and new synthetic sets are; write a report and record it in MLflow.

    Args:
        real: URI of the real store; None only with `run`.
        synthetic: URIs of one or more synthetic stores; several give one table.
        run: in place of `synthetic`, the name or path of a run or sweep, or "last" for the sweep that was written to last;
            a set is generated from its best checkpoint, unless an earlier evaluation did.
        count: with `run`, the number of cubes; None: 100, or as many as the generator has sources for.
        fold: the fold whose train role the generators have seen; None: as the sets say.
        final: compare with the test role instead of validation; the opening is recorded before the role is read.
        out: the folder of the report; None: a folder below that of runs.
        runs: where runs and kept features are; None: `runs/` of the project.

    Raises:
        HyperdermError: an error that the user can correct. No report is written then, and an older one stays.
    """
    workspace = Workspace.here()
    _check(real, synthetic, run, count)
    if run:
        made = set_of_run(workspace, run, workspace.runs(runs), count or COUNT, real, fold)
        real, synthetic = made.real, [made.synthetic]
    from hyperderm.reports.report_folder import check_free, check_writable
    from hyperderm.store.reader import open_store
    from hyperderm.studies.evaluated_sets import fold_of_sets
    from hyperderm.training.run_folder import REPORT

    real_store, stores = open_store(str(real)), [open_store(uri) for uri in synthetic]
    chosen = fold_of_sets(real_store, stores, fold)
    folder = workspace.runs(runs) / _name(real_store, stores, chosen, final)
    place = out or folder / REPORT
    check_free(place)
    check_writable(place)
    key = f"{folder.name}/{uuid.uuid4().hex[:8]}"
    return _evaluate(
        _Request(workspace, real_store, stores, chosen, final, folder, key, place, workspace.runs(runs) / CACHE)
    )


def _check(real: str | None, synthetic: Sequence[str], run: str | None, count: int | None) -> None:
    if bool(synthetic) == bool(run):
        raise StudyError(
            "one of --synthetic and --run is needed", "Give synthetic stores, or a run whose generator makes one."
        )
    if not run and not real:
        raise StudyError("no real store is given", "Give the store that the sets were made from: --real URI.")
    if count is not None and count < 1:
        raise StudyError(f"--count {count}", "Ask for at least 1 cube.")
    if count is not None and not run:
        raise StudyError(f"--count {count} without --run", "A set that is there already is evaluated whole: leave it out.")
    if len(set(synthetic)) < len(synthetic):
        raise StudyError("a synthetic store is given twice", "Name each once.")


@dataclass(frozen=True)
class _Request:
    workspace: Workspace
    real: "Store"
    sets: "list[Store]"
    fold: int
    final: bool
    folder: Path
    key: str
    out: Path
    cache: Path


def _evaluate(request: _Request) -> "Evaluation":
    from hyperderm.metrics.feature_cache import FeatureCache
    from hyperderm.metrics.feature_spaces import available_spaces
    from hyperderm.reports.evaluation.write import write_report
    from hyperderm.studies.evaluated_sets import names_of, read_roles, read_set
    from hyperderm.studies.evaluation import evaluate as measured
    from hyperderm.workflows.run_tracking import finish_tracking, open_tracker

    workspace = request.workspace
    tracker = open_tracker(workspace, EVALUATION, request.folder)
    ended: Status = "FAILED"
    try:
        with workspace.console.status("reading") as line:
            _open_run(tracker, request)
            opened: list[Opening] = []
            named = list(zip(request.sets, names_of(request.sets), strict=True))
            roles = read_roles(request.real, request.sets, request.fold)
            sets = [read_set(store, name, roles) for store, name in named]
            if request.final:  # only now: what can be refused without the test role is refused before it is opened
                record = partial(_record, tracker, request, opened)
                roles = read_roles(request.real, request.sets, request.fold, record)
                sets = [read_set(store, name, roles) for store, name in named]
            spaces, missing = available_spaces()
            cache = FeatureCache(request.cache)
            found = measured(roles, sets, spaces, cache.features, progress=line.update)
            found = replace(found, missing=tuple(missing), opening=opened[0] if opened else None, facts=_facts(request))
            line.update("writing the report")
            files = write_report(request.out, found)
        workspace.say(*cache.notes)
        _log(tracker, request, found, files)
        ended = "FINISHED"
    finally:
        tracker.close_run(request.key, ended)
        finish_tracking(workspace, tracker, request.key)
    _tell(request, found)
    return found


def _name(real: "Store", sets: "Sequence[Store]", fold: int, final: bool) -> str:
    """Return the name of the folder, the same for the same stores, fold and role."""
    read = (real.manifest.fingerprint, *(store.manifest.fingerprint for store in sets), str(fold), str(final))
    return f"evaluate-{sets[0].name}-{sha256(' '.join(read).encode()).hexdigest()[:8]}"


def _open_run(tracker: "Tracker", request: _Request) -> None:
    """Open the run of this evaluation, with everything that `audit leaks` asks."""
    from hyperderm.tracking.provenance import provenance

    tags = {
        **provenance(request.workspace.root),
        STAGE_TAG: EVALUATION,
        EXPERIMENT_TAG: EVALUATION,
        MANIFEST_TAG: request.real.manifest.fingerprint,
        STORE_TAG: request.real.location.uri,
        FOLD_TAG: str(request.fold),
        SYNTHETIC_TAG: ",".join(store.manifest.fingerprint for store in request.sets),
    }
    params = {"real": request.real.location.uri, "fold": request.fold, "role": "test" if request.final else "validation"}
    sets = {f"synthetic.{k}": store.location.uri for k, store in enumerate(request.sets)}
    tracker.open_run(request.key, request.folder.name, tags=tags, params={**params, **sets})


def _record(tracker: "Tracker", request: _Request, opened: "list[Opening]", opening: "Opening") -> None:
    """Record the opening of the test role in MLflow, and wait until it is there: only then may the role be read.

    Raises:
        TrackingError: the server does not take the record.
    """
    from hyperderm.studies.evaluation import utc_now
    from hyperderm.workflows.run_tracking import AWAY_S

    at = utc_now()
    opened.append(replace(opening, at=at))
    tracker.set_tags(request.key, {CHOSEN_TAG: at, OPENED_TAG: json.dumps(asdict(opened[0]))})
    if tracker.flush(AWAY_S):
        raise TrackingError(
            "the test role was not opened, because MLflow did not take the record of it",
            "Start the tracking server, or set MLFLOW_TRACKING_URI to one that answers.",
        )


def _facts(request: _Request) -> dict[str, str]:
    from hyperderm.tracking.provenance import provenance
    from hyperderm.tracking.server import redacted

    return {
        "MLflow run": f"{request.key} on {redacted(request.workspace.tracking_uri)}",
        **{tag.removeprefix(PREFIX): value for tag, value in provenance(request.workspace.root).items()},
    }


def _log(tracker: "Tracker", request: _Request, found: "Evaluation", files: Sequence[Path]) -> None:
    """Log the numbers, of several sets each below its name, and the files of the report."""
    from hyperderm.studies.evaluation import flat_scores

    names = [plain(each.made.name) for each in found.sets]
    starts = [name if names.count(name) == 1 else f"{name}-{k}" for k, name in enumerate(names)]
    for each, name in zip(found.sets, starts, strict=True):
        start = f"{name}/" if len(names) > 1 else ""
        tracker.log_metrics(request.key, {start + name: value for name, value in flat_scores(each).items()}, 0)
    for path in files:
        tracker.log_file(request.key, path)


def _tell(request: _Request, found: "Evaluation") -> None:
    from hyperderm.reports.evaluation.words import answer, details
    from hyperderm.training.run_folder import PAGE

    request.workspace.say(*answer(found), *details(found), f"report: {request.out / PAGE}")
