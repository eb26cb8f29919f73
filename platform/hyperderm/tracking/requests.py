"""Turn one batch of the event log into requests to MLflow. Every request may be sent twice without harm."""

import errno
import mimetypes
import posixpath
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from hyperderm.databases import trouble, writable
from hyperderm.tags import DATABASE_TAG, KEY_TAG, plain
from hyperderm.tracking.artifact_locations import location_of, standing_place
from hyperderm.tracking.database import sqlite_path
from hyperderm.tracking.datasets import entity
from hyperderm.tracking.delivery import Refused, of_this_machine
from hyperderm.tracking.event_log import METRICS_PER_BATCH, EventLog, Operation
from hyperderm.tracking.server import quiet_client

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

PARENT_TAG = "mlflow.parentRunId"
LASTING = {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG,
    errno.ELOOP, errno.EINVAL, errno.EFBIG,
}  # fmt: skip
"""Disk errors about a file that waiting does not repair; a full disk (ENOSPC, EDQUOT) or a failing one may recover."""
# 4xx that say nothing about the request itself: log in, permission, too slow, conflict, too many, cancelled.
PASSING = {401, 403, 408, 409, 429, 499}

T = TypeVar("T")


class MlflowRequests:
    """Sends requests about one experiment through MlflowClient, always with explicit ids; runs in the delivery thread.

    Importing mlflow takes seconds, so the first delivery imports it, not the start of the driver.
    """

    def __init__(
        self,
        uri: str,
        experiment: str,
        artifact_root: Path | None,
        event_log: EventLog,
        on_warning: Callable[[str], None],
    ) -> None:
        self._uri, self._experiment, self._artifact_root = uri, experiment, artifact_root
        self._database = sqlite_path(uri)
        self._event_log, self._on_warning = event_log, on_warning
        quiet_client()  # here, in the driver's main thread: the environment is not changed from the thread of the delivery
        self._made: MlflowClient | None = None
        self._known_experiment: str | None = None
        self._floors: dict[str, dict[str, int]] = {}

    def deliver(self, batch: Sequence[Operation]) -> None:
        """Deliver one batch; raise Refused if it can never succeed, and another error if it may succeed later."""
        try:
            match batch[0].kind:
                case "open":
                    self._open(batch[0])
                case "metrics":
                    self._log_metrics(batch)
                case "tags":
                    self._set_tags(batch[0], batch[0].body["tags"])
                case "data":
                    sets = [entity(each) for each in batch[0].body["sets"]]
                    self._client.log_inputs(self._run_id(batch[0].run), sets)
                case "file":
                    self._log_file(batch[0])
                case "close":
                    self._close(batch[0])
                case unknown:
                    raise Refused(f"no operation is called {unknown!r}")
        except Exception as error:
            if is_permanent(error):
                raise Refused(_of_file(error, batch[0]) or first_line(error), passing=of_this_machine(error)) from error
            raise

    def probe(self) -> None:
        """Raise unless the server answers a database query; a database file must also be writable."""
        if self._database:
            writable(self._database)
        self._client.search_experiments(max_results=1)

    @property
    def _client(self) -> "MlflowClient":
        if self._made is None:
            from mlflow import MlflowClient

            self._made = MlflowClient(tracking_uri=self._uri, registry_uri=self._uri)
        return self._made

    def _open(self, operation: Operation) -> None:
        body, key = operation.body, operation.run
        experiment = self._experiment_id()
        known = self._event_log.known_run(key)
        run = self._find(key)
        floors: dict[str, int] = {}
        if run is None:
            if known is not None:
                self._on_warning(f"Run {key!r} was deleted in MLflow; a new one takes only what is logged from now on")
                self._event_log.forget_steps(key)
            tags = {KEY_TAG: key, **body["identity"], **self._parent_tag(body["parent"], key)}
            made = self._client.create_run(experiment, start_time=body["at"], tags=tags, run_name=body["name"])
            run = self._find(key) or made  # a create that timed out and was sent again has left a twin
        else:
            if run.info.status != "RUNNING":
                self._client.update_run(run.info.run_id, status="RUNNING")
            if known is None:  # a new event log meets an old run: what the server holds is not logged again
                floors = {metric.key: metric.step for metric in run.data.to_proto().metrics}
        self._event_log.record_run(key, run.info.run_id, experiment, floors)
        self._floors.pop(key, None)
        self._log_params(operation, run, body["params"])

    def _parent_tag(self, parent: str | None, key: str) -> dict[str, str]:
        if parent is None:
            return {}
        try:
            return {PARENT_TAG: self._run_id(parent)}
        except Refused:
            self._on_warning(f"Run {key!r} is shown without its parent {parent!r}, which was never opened")
            return {}

    def _log_params(self, operation: Operation, run: "Run", params: Mapping[str, str]) -> None:
        from mlflow.entities import Param

        held = run.data.params
        for name in sorted(set(held) & set(params)):
            if held[name] != params[name]:
                self._on_warning(
                    f"Param {name!r} of run {operation.run!r} stays {held[name]!r}: "
                    f"MLflow cannot change it to {params[name]!r}"
                )
        fresh = [Param(name, value) for name, value in params.items() if name not in held]
        run_id = run.info.run_id
        bad = send_all(fresh, lambda part: self._client.log_batch(run_id, params=part), size=100)
        _refuse_named([(operation, param.key, why) for param, why in bad])

    def _set_tags(self, operation: Operation, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        run_id = self._run_id(operation.run)
        entities = [RunTag(name, value) for name, value in tags.items()]
        bad = send_all(entities, lambda part: self._client.log_batch(run_id, tags=part), size=100)
        _refuse_named([(operation, tag.key, why) for tag, why in bad])

    def _log_metrics(self, batch: Sequence[Operation]) -> None:
        from mlflow.entities import Metric

        key = batch[0].run
        run_id = self._run_id(key)
        floors = self._floors.setdefault(key, self._event_log.floors(key))
        owners: list[tuple[Operation, Metric]] = []
        for operation in batch:
            step, timestamp = operation.body["step"], operation.body["timestamp"]
            for name, value in operation.body["metrics"].items():
                if name not in floors or step > floors[name]:
                    owners.append((operation, Metric(name, value, timestamp, step)))
        bad = send_all(
            owners,
            lambda part: self._client.log_batch(run_id, metrics=[metric for _, metric in part]),
            size=METRICS_PER_BATCH,
        )
        _refuse_named([(operation, metric.key, why) for (operation, metric), why in bad])

    def _log_file(self, operation: Operation) -> None:
        run_id = self._run_id(operation.run)
        if operation.file is None or not operation.file.is_file():
            raise Refused(f"the spooled copy {operation.file} is gone", passing=True)  # or its disk is not mounted
        place = operation.body["artifact_path"] or None
        if (more := operation.file.stat().st_size // 1_000_000) and self._put_slowly(run_id, operation.file, place, more):
            return
        self._client.log_artifact(run_id, str(operation.file), place)

    def _put_slowly(self, run_id: str, file: Path, place: str | None, more_s: int) -> bool:
        """Upload a large file to a server that stores it before it answers, with `more_s` seconds beyond the timeout.

        MLflow reads the timeout only from the environment, which all threads share; here the timeout is an argument. Return
        False, without an upload, if the files of the run do not pass through the server or are sent in parts.
        """
        from mlflow.environment_variables import MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD, MLFLOW_HTTP_REQUEST_TIMEOUT
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
        from mlflow.store.artifact.http_artifact_repo import HttpArtifactRepository
        from mlflow.utils.credentials import get_default_host_creds
        from mlflow.utils.request_utils import augmented_raise_for_status
        from mlflow.utils.rest_utils import http_request

        where = self._client.get_run(run_id).info.artifact_uri
        repository = get_artifact_repository(where, tracking_uri=self._uri)
        if not isinstance(repository, HttpArtifactRepository) or MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD.get():  # type: ignore[no-untyped-call]
            return False
        with file.open("rb") as stream:
            answer = http_request(  # type: ignore[no-untyped-call]
                get_default_host_creds(repository.artifact_uri),  # type: ignore[no-untyped-call]
                posixpath.join("/", place or "", file.name),
                "PUT",
                data=stream,
                extra_headers={"Content-Type": mimetypes.guess_type(file.name)[0] or "application/octet-stream"},
                timeout=MLFLOW_HTTP_REQUEST_TIMEOUT.get() + more_s,  # type: ignore[no-untyped-call]
            )
        augmented_raise_for_status(answer)  # type: ignore[no-untyped-call]
        return True

    def _close(self, operation: Operation) -> None:
        body = operation.body
        run_id = self._run_id(operation.run)
        self._find(operation.run)  # a twin may have arrived late
        self._client.set_terminated(run_id, status=body["status"], end_time=body["at"])

    def _run_id(self, key: str) -> str:
        known = self._event_log.known_run(key)
        if known is not None:
            return known[0]
        run = self._find(key)
        if run is None:
            raise Refused(f"run {key!r} was never opened")
        return run.info.run_id

    def _find(self, key: str) -> "Run | None":
        """Return the oldest run with this key; delete its empty duplicates, which come from requests sent twice."""
        found = self._client.search_runs([self._experiment_id()], f'tags.`{KEY_TAG}` = "{key}"', max_results=20)
        runs = sorted(
            (run for run in found if run.data.tags.get(KEY_TAG) == key),  # MySQL compares without case
            key=lambda run: (run.info.start_time, run.info.run_id),
        )
        if not runs:
            return None
        known = self._event_log.known_run(key)
        keep = next((run for run in runs if known and run.info.run_id == known[0]), runs[0])
        for run in runs:
            empty = not run.data.metrics and not run.data.params
            if run is not keep and empty and run.info.start_time == keep.info.start_time:
                self._client.delete_run(run.info.run_id)
        return keep

    def _experiment_id(self) -> str:
        if self._known_experiment is None:
            self._known_experiment = self._find_experiment() or self._create_experiment()
        return self._known_experiment

    def _find_experiment(self) -> str | None:
        found = self._client.get_experiment_by_name(self._experiment)
        if found is None:
            return None
        if found.lifecycle_stage == "deleted":
            self._client.restore_experiment(found.experiment_id)
            self._on_warning(f"The MLflow experiment {self._experiment!r} was deleted; it is restored")
        return found.experiment_id

    def _create_experiment(self) -> str:
        location, tags = None, {}
        if self._artifact_root is not None and self._database:
            location = location_of(self._artifact_root, plain(self._experiment))
            tags[DATABASE_TAG] = standing_place(self._database)
        try:
            return self._client.create_experiment(self._experiment, artifact_location=location, tags=tags)
        except Exception:
            found = self._find_experiment()  # another driver was quicker
            if found is None:
                raise
            return found


def send_all(items: Sequence[T], send: Callable[[Sequence[T]], object], size: int) -> list[tuple[T, str]]:
    """Send items in parts of `size`; halve a refused part until only bad items are left, and return those with reasons."""
    bad: list[tuple[T, str]] = []
    for start in range(0, len(items), size):
        part = items[start : start + size]
        try:
            send(part)
        except Exception as error:
            if not is_permanent(error):
                raise
            if len(part) == 1:
                bad.append((part[0], first_line(error)))
            else:
                bad += send_all(part, send, (len(part) + 1) // 2)
    return bad


def is_permanent(error: Exception) -> bool:
    """Return whether the same request would be refused again: a 4xx about the request itself, or an error of the file."""
    from mlflow.exceptions import MlflowException

    if trouble(error):  # of the database, which MLflow calls a bad request where it is damaged
        return False
    if isinstance(error, OSError) and of_this_machine(error) and error.errno in LASTING:
        return True
    if isinstance(error, MlflowException):
        if error.error_code == "ENDPOINT_NOT_FOUND":  # a proxy without its server says 404 as well
            return False
        status = error.get_http_status_code()  # type: ignore[no-untyped-call]
    else:  # artifact uploads raise what requests raises
        status = getattr(getattr(error, "response", None), "status_code", 0)
    return 400 <= status < 500 and status not in PASSING


def first_line(error: Exception) -> str:
    """Return the first line of an error, at most 300 characters."""
    return (str(error).splitlines() or [type(error).__name__])[0][:300]


def _of_file(error: Exception, operation: Operation) -> str:
    """Return a sentence on the file of a run that cannot be kept; "" if the error is about something else."""
    if not isinstance(error, OSError) or error.errno not in LASTING or operation.file is None:
        return ""
    name = posixpath.join(operation.body["artifact_path"] or "", operation.file.name)
    return f"{name} cannot be kept: {error.filename or 'its folder'}: {error.strerror}"


def _refuse_named(bad: Sequence[tuple[Operation, str, str]]) -> None:
    if bad:
        operations = list({operation.id: operation for operation, _, _ in bad}.values())
        names = ", ".join(sorted({repr(name) for _, name, _ in bad}))
        raise Refused(f"{names}: {bad[0][2]}", operations)
