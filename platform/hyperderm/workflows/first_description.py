"""The first tracked run on a store that an ingest made gets the description of that store among its artifacts."""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from hyperderm.reports.description.write import write_description
from hyperderm.store.reader import Store
from hyperderm.studies.description import describe_store
from hyperderm.tags import DESCRIBED_TAG, DESCRIPTION, UNDESCRIBED_TAG
from hyperderm.tracking.descriptions import is_described
from hyperderm.tracking.provenance import provenance
from hyperderm.tracking.runs import Tracker
from hyperderm.tracking.study_tracker import StudyFacts, StudyTracker
from hyperderm.workflows.recorded_run import facts_of_code
from hyperderm.workflows.workspace import Workspace

MOST_BYTES = 1_000_000_000
"""The largest store that is described beside a run; reading a larger one twice would be felt."""
OPENED_S = 10.0
"""Seconds in which the run should stand on the server, before it is asked what other runs hold."""


def describe_first(workspace: Workspace, watched: StudyTracker, tracker: Tracker, facts: StudyFacts, store: Store) -> None:
    """Let the run of a study hold the description of its store, if an ingest made that and no other run holds one.

    The work is done in the background, in the driver's thread for pictures: the start of the run does not wait for it. It
    never ends a run: trouble becomes a sentence, which is printed and stands on the run.

    Args:
        workspace: the project and its tracking server.
        watched: the tracker of the study, whose run is open.
        tracker: the interface to MLflow.
        facts: the facts of the study.
        store: the store that the study reads.
    """
    if store.manifest.source.get("verb") == "ingest":
        watched.meanwhile(partial(_describe, workspace, tracker, facts, store))


def _describe(workspace: Workspace, tracker: Tracker, facts: StudyFacts, store: Store) -> None:
    try:
        tracker.flush(OPENED_S)
        if is_described(workspace.tracking_uri, store.manifest.fingerprint):
            return
        size = sum(part.bytes for part in store.manifest.parts)
        if size <= MOST_BYTES:
            _log(workspace, tracker, facts, store)
            return
        why = f"it is large ({size / 1e9:.1f} GB); `hyperderm describe {store.location.uri}` takes its time"
    except Exception as error:  # a description must not end a run, whatever it fails on
        why = f"{type(error).__name__}: {error}"
    said = f"the store is not described on this run: {why}"
    tracker.set_tags(facts.key, {UNDESCRIBED_TAG: said})
    workspace.say(said)


def _log(workspace: Workspace, tracker: Tracker, facts: StudyFacts, store: Store) -> None:
    made = provenance(workspace.root)
    with TemporaryDirectory() as folder:
        for path in write_description(Path(folder) / DESCRIPTION, describe_store(store), facts_of_code(made)):
            tracker.log_file(facts.key, path, DESCRIPTION)
    tracker.set_tags(facts.key, {DESCRIBED_TAG: store.manifest.fingerprint})  # last: who finds it finds the files
