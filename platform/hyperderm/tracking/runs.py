"""The tree of runs; each run is named by a key of hyperderm, so that a restarted driver finds the run again."""

import getpass
import hashlib
import json
import math
import posixpath
import re
import shutil
import sqlite3
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Literal
from urllib.parse import quote

from hyperderm import databases
from hyperderm.errors import TrackingError
from hyperderm.tags import LONG_PARAMS_TAG, NONFINITE_PREFIX, REASON_TAG, plain
from hyperderm.tracking.artifact_locations import same_database
from hyperderm.tracking.datasets import DataSet
from hyperderm.tracking.delivery import Delivery, guarded
from hyperderm.tracking.event_log import DAMAGED, EventLog
from hyperderm.tracking.requests import MlflowRequests
from hyperderm.tracking.server import check_server, quiet_client, redacted

__all__ = ["Status", "Tracker", "check_server"]

PARAM_LIMIT, TAG_LIMIT = 6000, 8000  # characters MLflow keeps
NONE: Mapping[str, str] = MappingProxyType({})

Status = Literal["FINISHED", "FAILED", "KILLED"]


class Tracker:
    """The driver's interface to MLflow. Every method returns after a local write; a background thread delivers.

    Args:
        uri: `http(s)://…` or `sqlite:///…`, as `check_server` takes it.
        experiment: the MLflow experiment, which is created if missing.
        event_log: the SQLite file of undelivered operations, one for each driver, on a local disk. Files to be uploaded wait
            in the folder `<event_log>.spool` beside it.
        artifact_root: the folder for artifacts with a `sqlite:` uri; a server has a place of its own.
        on_warning: is told, from any thread, everything that a user should know. After construction no method raises, except
            for a wrong key or status.
    """

    def __init__(
        self, uri: str, experiment: str, event_log: Path, artifact_root: Path | None, on_warning: Callable[[str], None]
    ) -> None:
        quiet_client()
        self._uri = uri.rstrip("/")
        self._warn = guarded(on_warning)
        self._event_log = EventLog(event_log, self._warn)
        try:
            mine = f"{redacted(self._uri)} ({experiment})"
            self._event_log.bind(mine, lambda known, runs: same_database(known, mine, runs))
        except TrackingError:
            self._event_log.close()
            raise
        except sqlite3.Error as error:
            self._event_log.close()
            raise TrackingError(*databases.told(event_log, error, DAMAGED)) from error
        self._spool = self._event_log.spool
        self._remove_orphans()
        self._warned: set[tuple[str, str]] = set()
        self._warned_lock = threading.Lock()
        requests = MlflowRequests(uri, experiment, artifact_root, self._event_log, self._warn)
        self._delivery = Delivery(self._event_log, requests.deliver, requests.probe, self._warn)

    def open_run(
        self,
        key: str,
        name: str,
        parent: str | None = None,
        tags: Mapping[str, str] = NONE,
        params: Mapping[str, object] = NONE,
    ) -> None:
        """Create the run, or find it by its key and set it running again; `parent` is the key of another run."""
        for one in (key, parent or key):
            if not re.fullmatch(r"[^\"`\x00-\x1f]{1,500}", one):
                raise TrackingError(
                    f"The run key {one!r} cannot be searched for in MLflow",
                    'Use 1 to 500 printable characters without " and `',
                )
        texts = {param: str(value) for param, value in params.items()}
        long = {param: text for param, text in texts.items() if len(text) > PARAM_LIMIT}
        shown = texts | {p: f"({len(text)} characters: artifact {_long_file(p, text)})" for p, text in long.items()}
        notes = {LONG_PARAMS_TAG: ", ".join(f"{p}: {_long_file(p, t)}" for p, t in long.items())} if long else {}
        body = {"name": name, "parent": parent, "params": shown, "identity": _identity(), "at": _now_ms()}
        self._delivery.put(key, "open", body)
        for param, text in long.items():
            self.log_json(key, {param: text}, _long_file(param, text))
        self.set_tags(key, {**tags, **notes})

    def log_metrics(self, key: str, metrics: Mapping[str, float], step: int) -> None:
        """Log the metrics of one step; skip steps that a metric has already reached, as in a resumed trial.

        MLflow keeps no infinity. Values that are not finite are left out, with one warning and one tag per metric.
        """
        finite: dict[str, float] = {}
        for name, value in metrics.items():
            try:
                number = float(value)
            except (TypeError, ValueError):
                self._warn_once(key, name, f"Metric {name!r} of run {key!r} is no number: {value!r}")
                continue
            if math.isfinite(number):
                finite[name] = number
            elif self._warn_once(key, name, f"Metric {name!r} of run {key!r} is {number} at step {step}: not logged"):
                self.set_tags(key, {f"{NONFINITE_PREFIX}{plain(name)}": f"{number} at step {step}"})
        if finite:
            self._delivery.put_metrics(key, finite, int(step))

    def set_tags(self, key: str, tags: Mapping[str, str]) -> None:
        """Set tags; a value that is too long for MLflow is cut, marked as cut, and kept whole as an artifact."""
        shown: dict[str, str] = {}
        for name, value in tags.items():
            text = shown[name] = str(value)
            if len(text) > TAG_LIMIT:
                file = f"hyperderm/long_tags/{plain(name)}.txt"
                shown[name] = text[: TAG_LIMIT - 200] + f"… (cut; all {len(text)} characters: artifact {file})"
                self.log_text(key, text, file)
        if shown:
            self._delivery.put(key, "tags", {"tags": shown})

    def log_data(self, key: str, sets: Sequence[DataSet]) -> None:
        """Record the data sets that the run reads; those that it names already are not named twice."""
        if sets:
            self._delivery.put(key, "data", {"sets": [each.to_json() for each in sets]})

    def log_file(self, key: str, path: Path, artifact_path: str = "") -> None:
        """Copy the file now, and upload the copy into the folder `artifact_path` of the run's artifacts."""
        self._put_file(key, path.name, artifact_path, lambda copy: shutil.copyfile(path, copy))

    def log_json(self, key: str, data: object, artifact_file: str) -> None:
        """Write the data as JSON to the artifact `artifact_file`; values that JSON does not know are written as text."""
        self.log_text(key, json.dumps(data, indent=2, default=str), artifact_file)

    def log_text(self, key: str, text: str, artifact_file: str) -> None:
        """Write the text to the artifact `artifact_file`."""
        folder, _, name = artifact_file.rpartition("/")
        self._put_file(key, name, folder, lambda copy: copy.write_text(text, encoding="utf-8"))

    def close_run(self, key: str, status: Status, reason: str | None = None) -> None:
        """End the run; the reason becomes the tag hyperderm.reason."""
        if status not in ("FINISHED", "FAILED", "KILLED"):
            raise TrackingError(f"A run cannot end as {status!r}", "Use FINISHED, FAILED or KILLED")
        if reason:
            self.set_tags(key, {REASON_TAG: reason})
        self._delivery.put(key, "close", {"status": status, "at": _now_ms()})

    def flush(self, timeout_s: float) -> int:
        """Wait at most `timeout_s` seconds until everything is delivered; return the number of undelivered entries."""
        return self._delivery.flush(timeout_s)

    def close(self) -> None:
        """Stop; undelivered entries stay in the event log, and the next Tracker on the event log delivers them first."""
        self._delivery.close()

    def ui_address(self, key: str) -> str | None:
        """Return the address of the run in the server's UI, or None before the run is delivered.

        MLflow shows a new visitor its pages for language models; `workflowType` asks for those of training.
        """
        known = self._event_log.known_run(key)
        if known is None or not self._uri.startswith(("http://", "https://")):
            return None
        return f"{redacted(self._uri)}/#/experiments/{known[1]}/runs/{known[0]}?workflowType=machine_learning"

    def charts_below(self, key: str, metric: str) -> str | None:
        """Return the page of MLflow with charts of the runs below this run, the lowest value of the metric first.

        The link begins with #, so that it holds wherever the UI stands; None before the run is delivered.
        """
        known = self._event_log.known_run(key)
        if known is None:
            return None
        below = quote(f"tags.`mlflow.parentRunId` = '{known[0]}'", safe="")
        order = quote(f"metrics.`{metric}`", safe="")
        chosen = f"compareRunsMode=CHART&searchFilter={below}&orderByKey={order}&orderByAsc=true"
        return f"#/experiments/{known[1]}/runs?workflowType=machine_learning&{chosen}"

    @property
    def pending(self) -> int:
        """The number of entries that are not yet delivered to MLflow."""
        return self._delivery.pending

    @property
    def state(self) -> str:
        """`delivering`, or why nothing is delivered, as in `Delivery.state`."""
        return self._delivery.state

    @property
    def refused(self) -> list[tuple[str, str, str]]:
        """The entries that MLflow refused, as (run key, kind, reason)."""
        return self._event_log.refused

    def _put_file(self, key: str, name: str, artifact_path: str, write: Callable[[Path], object]) -> None:
        place = posixpath.join(artifact_path, name)
        if not name or place.startswith("/") or posixpath.normpath(place) != place or place.startswith("../"):
            self._warn(f"The artifact {place!r} of run {key!r} is not logged: its path leaves the run's folder")
            return
        copy = self._spool / uuid.uuid4().hex / name
        try:
            copy.parent.mkdir(parents=True)
            write(copy)
        except OSError as error:
            shutil.rmtree(copy.parent, ignore_errors=True)
            self._warn(f"The artifact {name!r} of run {key!r} is not logged: {error}")
            return
        self._delivery.put(key, "file", {"artifact_path": artifact_path}, copy)

    def _remove_orphans(self) -> None:
        """Remove copies that no entry names, left by a driver that died before it wrote the entry or after the delivery."""
        if self._spool.is_dir():
            named = {file.parent for file in self._event_log.files()}
            for folder in self._spool.iterdir():
                if folder not in named:
                    shutil.rmtree(folder, ignore_errors=True)

    def _warn_once(self, key: str, name: str, message: str) -> bool:
        with self._warned_lock:
            if (key, name) in self._warned:
                return False
            self._warned.add((key, name))
        self._warn(message)
        return True


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _identity() -> dict[str, str]:
    """Return who runs which program, as tags that the MLflow UI shows."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container without an entry for this user id
        user = "unknown"
    source = Path(sys.argv[0]).name if sys.argv and sys.argv[0] not in ("", "-c") else "hyperderm"
    return {"mlflow.user": user, "mlflow.source.name": source, "mlflow.source.type": "LOCAL"}


def _long_file(param: str, text: str) -> str:
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"hyperderm/long_params/{plain(param)}-{digest}.json"
