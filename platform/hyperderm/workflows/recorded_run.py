"""A run of MLflow around the work of one command: opened before it, closed after it, whether it ends well or not."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hyperderm.tags import EXPERIMENT_TAG, PREFIX, STAGE_TAG
from hyperderm.workflows.workspace import Workspace

if TYPE_CHECKING:
    from hyperderm.tracking.runs import Status, Tracker


@dataclass(frozen=True)
class RecordedRun:
    """A run that is open.

    Attributes:
        tracker: where it is written.
        key: its key.
        stage: the name of its experiment and of the folder of its artifacts.
        facts: what made it, by the names that people read.
    """

    tracker: "Tracker"
    key: str
    stage: str
    facts: Mapping[str, str]

    def log(self, metrics: Mapping[str, float], files: Sequence[Path]) -> None:
        """Record numbers, and files as artifacts."""
        self.tracker.log_metrics(self.key, dict(metrics), 0)
        for path in files:
            self.tracker.log_file(self.key, path, self.stage)


def facts_of_code(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the tags of the code that made a report, by the names that people read."""
    return {tag.removeprefix(PREFIX): value for tag, value in tags.items()}


@contextmanager
def recorded_run(
    workspace: Workspace,
    stage: str,
    folder: Path,
    key: str,
    tags: Mapping[str, str],
    params: Mapping[str, object] | None = None,
) -> Iterator[RecordedRun]:
    """Open a run, and close it as finished or, after an exception, as failed; then deliver what is owed to the server.

    Args:
        workspace: the project.
        stage: one of the stages in `tags`, which is also the name of the experiment.
        folder: the folder of the run; the run has its name.
        key: the key of the run.
        tags: tags beside those of the code, the stage and the experiment.
        params: parameters.
    """
    from hyperderm.tracking.provenance import provenance
    from hyperderm.workflows.run_tracking import finish_tracking, open_tracker

    made = provenance(workspace.root)
    tracker = open_tracker(workspace, stage, folder)
    ended: Status = "FAILED"
    try:
        every = {**made, **tags, EXPERIMENT_TAG: stage, STAGE_TAG: stage}
        tracker.open_run(key, folder.name, tags=every, params=dict(params or {}))
        yield RecordedRun(tracker, key, stage, facts_of_code(made))
        ended = "FINISHED"
    finally:
        tracker.close_run(key, ended)
        finish_tracking(workspace, tracker, key)
