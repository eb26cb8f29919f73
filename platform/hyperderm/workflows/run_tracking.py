"""The tracking that sweeps and single runs share: facts, the tracker, and the real cubes that pictures compare with."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hyperderm.cluster.feed_choice import FeedChoice
from hyperderm.config import Experiment
from hyperderm.metrics import memorisation, recognisability
from hyperderm.reports.run_notes import Trained
from hyperderm.store.location import Location
from hyperderm.store.manifest import Manifest
from hyperderm.store.reader import Store, open_store
from hyperderm.store.synthetic import origin_of
from hyperderm.studies import photograph_audit
from hyperderm.tags import (
    EXPERIMENT_TAG,
    FEED_TAG,
    FOLD_TAG,
    MANIFEST_TAG,
    PROFILE_TAG,
    STORAGE_TAG,
    STORE_TAG,
    SYNTHETIC_AUDIT_TAG,
)
from hyperderm.tracking.datasets import DataSet, photographs, role_of_store, synthetic_set
from hyperderm.tracking.delivery import DELIVERING
from hyperderm.tracking.figures import RealSet
from hyperderm.tracking.provenance import command_line, provenance
from hyperderm.tracking.runs import Tracker
from hyperderm.tracking.server import redacted
from hyperderm.tracking.study_tracker import StudyFacts
from hyperderm.training.data import cube_set
from hyperderm.training.run_folder import EVENT_LOG
from hyperderm.training.selection import extra_store, fold_said
from hyperderm.workflows.prepared import Prepared
from hyperderm.workflows.workspace import Workspace

FLUSH_S, SLICE_S, AWAY_S = 300.0, 2.0, 8.0
"""Seconds to wait for delivery in all, between two checks, and for a server that is away."""


def facts_of(
    found: Prepared, key: str, folder: Path, feed_choice: FeedChoice | None, storage: Location | None = None
) -> StudyFacts:
    """Return the facts that every run of this sweep or training carries; without `feed_choice`, the feed is left out."""
    store, experiment = found.store, found.experiment
    tags = {
        **provenance(found.workspace.root),
        MANIFEST_TAG: store.manifest.fingerprint,
        STORE_TAG: store.location.uri,
        FOLD_TAG: fold_said(store.manifest, experiment),
        PROFILE_TAG: experiment.profile,
        EXPERIMENT_TAG: experiment.name,
        **found.content,
        **found.inputs.tags,
    }
    if said := synthetic_notes(experiment):
        tags[SYNTHETIC_AUDIT_TAG] = " ".join(said)
    if feed_choice:
        tags[FEED_TAG] = feed_choice.mode
    if storage:
        tags[STORAGE_TAG] = storage.uri
    return StudyFacts(key, folder.name, folder, tags, storage, data_of(found))


def trained_of(found: Prepared) -> Trained:
    """Return what a run of this sweep or training learns, for the note on its page."""
    experiment, selection = found.experiment, found.selection
    return Trained(
        experiment=f"`{experiment.name}` ({experiment.learner.kind}, profile {experiment.profile})",
        store=found.store.location.uri,
        manifest=found.store.manifest,
        fold=None if selection.fold_free else experiment.data.fold,
        lesions=(len(selection.train), len(selection.validation)),
        command=command_line(),
    )


def data_of(found: Prepared) -> list[DataSet]:
    """Return the data sets that a run of this sweep or training reads."""
    store, selection, experiment = found.store, found.selection, found.experiment
    if selection.fold_free:
        return [role_of_store(store, None, "train", len(selection.train))]
    fold = experiment.data.fold
    roles = [role_of_store(store, fold, "train", len(selection.train))]
    roles.append(role_of_store(store, fold, "validation", len(selection.validation)))
    if selection.extra:
        extra = extra_store(experiment, verify=False)
        roles.append(synthetic_set(extra) if experiment.synthetic else photographs(extra, len(selection.extra)))
    return roles


def synthetic_notes(experiment: Experiment) -> list[str]:
    """Return notes on this experiment's synthetic set for readers of its results; an empty list if there is no such set."""
    if experiment.synthetic is None:
        return []
    return audit_notes(open_store(experiment.synthetic.store, verify=False).manifest)


def audit_notes(manifest: Manifest) -> list[str]:
    """Return sentences on a synthetic set: whether it is derived, copies training cubes, or can be told from real cubes."""
    origin = origin_of(manifest)
    if origin is None:
        return []
    said = ["Derived: each cube keeps the geometry of a lesion of the train role."] if origin.derived else []
    if not origin.audit:
        return [*said, "The set carries no memorisation audit."]
    told = [f"Told from real {each}." for each in recognisability.describe(origin.audit)]
    seen = photograph_audit.describe(origin.audit)
    return [*said, f"Memorisation audit: {memorisation.describe(origin.audit)}.", *seen, *told]


def say_made_with(found: Prepared) -> None:
    """Print which runs this one needs, and the notes of `synthetic_notes`."""
    found.workspace.say(*[*found.inputs.said, *(f"synthetic set: {note}" for note in synthetic_notes(found.experiment))])


def open_tracker(workspace: Workspace, experiment: str, folder: Path) -> Tracker:
    """Open the connection to MLflow, with its event log in the folder of the run."""
    artifacts = workspace.artifacts if workspace.tracking_uri.startswith("sqlite") else None
    return Tracker(
        workspace.tracking_uri, experiment, folder / EVENT_LOG, artifacts, lambda text: workspace.say(f"tracking: {text}")
    )


def finish_tracking(workspace: Workspace, tracker: Tracker, key: str) -> None:
    """Deliver the remaining entries, print which could not be delivered, and where run `key` is shown on a server."""
    deadline = time.monotonic() + FLUSH_S
    while (owed := tracker.flush(SLICE_S)) and time.monotonic() < deadline:
        if tracker.state != DELIVERING:
            owed = tracker.flush(AWAY_S)
            if tracker.state != DELIVERING:  # else it has come back meanwhile
                break
    if owed:
        workspace.say(
            f"tracking: {owed} entries wait for {redacted(workspace.tracking_uri)}; the same command delivers them"
        )
    elif address := tracker.ui_address(key):
        workspace.say(f"see {address}")
    tracker.close()


def real_set(store: Store, lesions: Sequence[str], size: int) -> RealSet:
    """Return these lesions at `size` pixels, for pictures: the validation role, at the size used in training."""
    cubes = cube_set(store.read(lesions), size)
    reflectance = np.ascontiguousarray(cubes.reflectance.movedim(1, 3).numpy())
    name = "phantom" if store.manifest.source.get("verb") == "phantom" else "real"
    return RealSet(reflectance, cubes.diagnoses, np.array(store.manifest.wavelengths_nm), name)
