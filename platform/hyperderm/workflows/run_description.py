"""Describe a store: read it, write the report, and record it in MLflow."""

import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hyperderm.errors import StudyError
from hyperderm.tags import DESCRIBED_TAG, DESCRIPTION, MANIFEST_TAG, STORE_TAG
from hyperderm.workflows.find_store import find_store
from hyperderm.workflows.workspace import Workspace

if TYPE_CHECKING:
    from hyperderm.store.reader import Store
    from hyperderm.studies.description import Description


def describe(
    store: str | None = None, *, data: Path | None = None, out: Path | None = None, runs: Path | None = None
) -> "Description":
    """Say what a store holds, in one HTML page with Markdown and tables, and record it in MLflow.

    Args:
        store: URI of a store, of cubes or of photographs, real or synthetic; None: `data`, or the default phantom.
        data: a folder of raw files, which is ingested once.
        out: the folder of the report, which must not exist; None: a folder below that of runs, where the new report replaces
            an older one.
        runs: where runs are kept; None: `runs/` of the project.

    Raises:
        HyperdermError: an error that the user can correct. No report is written then.
    """
    workspace = Workspace.here()
    if out is not None and out.exists():
        raise StudyError(f"--out {out}: something is already there", "Choose another folder, or remove it first.")
    opened = find_store(workspace, store, data)
    from hyperderm.reports.report_folder import check_free, check_writable
    from hyperderm.studies.description import check_lesions
    from hyperderm.training.run_folder import REPORT

    check_lesions(opened)
    folder = workspace.runs(runs) / f"describe-{opened.name}"
    place = out or folder / REPORT
    check_free(place)
    check_writable(place)
    return _describe(_Request(workspace, opened, folder, f"{folder.name}/{uuid.uuid4().hex[:8]}", place))


@dataclass(frozen=True)
class _Request:
    workspace: Workspace
    store: "Store"
    folder: Path
    key: str
    out: Path


def _describe(request: _Request) -> "Description":
    from hyperderm.reports.description.sections import answer, missing
    from hyperderm.reports.description.write import write_description
    from hyperderm.studies.description import describe_store
    from hyperderm.training.run_folder import PAGE
    from hyperderm.workflows.recorded_run import recorded_run

    workspace, store = request.workspace, request.store
    fingerprint = store.manifest.fingerprint
    tags = {MANIFEST_TAG: fingerprint, STORE_TAG: store.location.uri}
    with recorded_run(workspace, DESCRIPTION, request.folder, request.key, tags) as recorded:
        with workspace.console.status("reading") as line:
            found = describe_store(store, line.update)
            line.update("writing the report")
            files = write_description(request.out, found, recorded.facts)
        total = found.total
        counts = {"lesions": total.lesions, "images": total.images, "groups": total.groups, "masks": total.masks}
        recorded.log(counts, files)
        recorded.tracker.set_tags(request.key, {DESCRIBED_TAG: fingerprint})  # last: who finds it finds the files
    workspace.say(answer(found), *missing(found), f"report: {request.out / PAGE}")
    return found
