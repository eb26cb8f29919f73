"""What a single run and a sweep find and prove before anything is claimed or started: store, lesions, inputs, storage."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hyperderm.config import Experiment
from hyperderm.store.location import Location
from hyperderm.store.reader import Store
from hyperderm.studies.named_runs import find_inputs
from hyperderm.tracking.server import check_server
from hyperderm.training.inputs import RunInputs
from hyperderm.training.selection import Selection, content, select
from hyperderm.training.storage import open_storage
from hyperderm.workflows.find_store import find_store
from hyperderm.workflows.workspace import Workspace


@dataclass(frozen=True)
class RunRequest:
    """A run or a sweep as a user requests it.

    Attributes:
        experiment: the whole configuration.
        store: URI of a store; None: `data`, or the default phantom.
        data: a folder of raw files, which is ingested once.
        name: the name of the run's folder; None: a name that is made from the configuration.
        runs: the folder of all runs.
        storage: `s3://bucket/prefix` for what workers write; None: the run's folder.
    """

    experiment: Experiment
    store: str | None
    data: Path | None
    name: str | None
    runs: Path
    storage: str | None


@dataclass(frozen=True)
class Prepared:
    """A requested run or sweep whose inputs are found and proven.

    Attributes:
        workspace: where the project keeps its files.
        request: what the user requested.
        bucket: the storage of all runs; None: runs write into their folders.
        store: the store that holds the cubes of the roles.
        selection: the lesions of each role.
        inputs: the checkpoints of other runs that this one needs.
    """

    workspace: Workspace
    request: RunRequest
    bucket: Location | None
    store: Store
    selection: Selection
    inputs: RunInputs

    @property
    def experiment(self) -> Experiment:
        """Return the whole configuration."""
        return self.request.experiment

    @cached_property
    def content(self) -> Mapping[str, Any]:
        """Return the hashes of the files that shape the result beside the store: synthetic sets, weights, other runs."""
        return content(self.experiment, len(self.store.manifest.wavelengths_nm)) | self.inputs.content


def prepare(workspace: Workspace, request: RunRequest, check: Callable[[Experiment, int], None]) -> Prepared:
    """Find and prove everything that a run needs.

    Args:
        workspace: where the project keeps its files.
        request: what the user requested.
        check: refuses a configuration that cannot be trained on this number of training cubes.

    Raises:
        HyperdermError: an error that the user can correct.
    """
    bucket = open_storage(request.storage)
    check_server(workspace.tracking_uri, say=workspace.say)
    store = find_store(workspace, request.store, request.data)
    selection = select(store, request.experiment)
    check(request.experiment, len(selection.train))
    return Prepared(workspace, request, bucket, store, selection, find_inputs(request.experiment, store, request.runs))
