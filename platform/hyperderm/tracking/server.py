"""Is there an MLflow to talk to? Asked once, before anything is started."""

import logging
import os
import shutil
import socket
import sqlite3
import time
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit, urlunsplit

from hyperderm.errors import TrackingError

START_ONE = "Start it (`make services-up`), correct MLFLOW_TRACKING_URI, or unset it to track in a local file"


def quiet_client() -> None:
    """Keep mlflow from blocking for minutes, chattering and calling home; what the user has set stays."""
    for name, value in {
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # the outbox is the one that is patient
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
        "MLFLOW_LOGGING_LEVEL": "WARNING",  # read when mlflow is imported; alembic's level follows it
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    }.items():
        os.environ.setdefault(name, value)
    logging.getLogger("mlflow").setLevel(os.environ["MLFLOW_LOGGING_LEVEL"].upper())  # it may be imported already
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # or it tells of every retry


def redacted(uri: str) -> str:
    """Return the URI without user and password."""
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def check_server(uri: str, timeout_s: float = 5) -> None:
    """Raise TrackingError, within about `timeout_s`, unless MLflow can be reached at `uri`.

    `http(s)://` must answer a request for experiments; the file of a `sqlite:///` is created, or migrated after
    a copy of it was made beside it.
    """
    quiet_client()
    try:
        parts = urlsplit(uri)
        web = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError as error:  # http://host:port
        raise TrackingError(f"MLFLOW_TRACKING_URI={uri!r} is no address ({error})", START_ONE) from error
    if web:
        _check_http(uri, parts, timeout_s)
    elif uri.startswith("sqlite:///") and _sqlite_path(uri).name:
        _check_sqlite(uri, _sqlite_path(uri), timeout_s)
    else:
        raise TrackingError(
            f"MLFLOW_TRACKING_URI={redacted(uri)!r} cannot be used: plain folders and file: are refused by MLflow 3, "
            "and a database other than SQLite needs a server before it",
            "Use sqlite:///path/mlflow.db, or http(s)://host:port of an `mlflow server`",
        )


def _check_http(uri: str, parts: SplitResult, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    shown = redacted(uri)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    assert parts.hostname is not None
    if parts.scheme not in urllib.request.getproxies() or urllib.request.proxy_bypass(parts.hostname):
        try:  # in milliseconds, before mlflow is imported
            socket.create_connection((parts.hostname, port), timeout=timeout_s).close()
        except OSError as error:
            raise TrackingError(f"The MLflow server at {shown} does not answer ({error})", START_ONE) from error
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    try:
        response = http_request(  # type: ignore[no-untyped-call]
            get_default_host_creds(uri),  # type: ignore[no-untyped-call]
            "/api/2.0/mlflow/experiments/search",
            "GET",
            params={"max_results": 1},
            max_retries=0,
            timeout=max(2.0, deadline - time.monotonic()),
            raise_on_status=False,
        )
    except Exception as error:  # mlflow wraps what requests raises in MlflowException, without its kind
        reason = str(error).splitlines()[0][:200].replace(uri, shown)
        raise TrackingError(f"The MLflow server at {shown} does not answer ({reason})", START_ONE) from error
    _judge(shown, response.status_code, response.text)


def _judge(shown: str, status: int, text: str) -> None:
    if status == 401:
        raise TrackingError(
            f"The MLflow server at {shown} refuses: not logged in (401)",
            "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
        )
    if status == 403:
        raise TrackingError(
            f"The MLflow server at {shown} refuses (403): {text.strip()[:200]}",
            "Ask for the permission, or start the server with --allowed-hosts naming the host in this address",
        )
    if status != 200 or not text.lstrip().startswith("{"):
        raise TrackingError(
            f"What answers at {shown} is not a working MLflow server (status {status}: {text.strip()[:100]!r})",
            START_ONE,
        )


def _sqlite_path(uri: str) -> Path:
    return Path(uri.removeprefix("sqlite:///").partition("?")[0])


def _check_sqlite(uri: str, path: Path, timeout_s: float) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(path, timeout=timeout_s, isolation_level=None)
        try:
            database.execute("BEGIN IMMEDIATE")
            database.execute("ROLLBACK")
            known = {row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        finally:
            database.close()
    except (OSError, sqlite3.Error) as error:
        raise TrackingError(
            f"The tracking database {path} cannot be written ({error})",
            "Give MLFLOW_TRACKING_URI=sqlite:///path/mlflow.db a path you may write, not used by another program",
        ) from error
    if known and "alembic_version" not in known:
        raise TrackingError(f"{path} is an SQLite file, but not MLflow's", "Give MLFLOW_TRACKING_URI another file")
    try:
        _migrate(uri, path, new=not known)
    except Exception as error:
        raise TrackingError(
            f"The tracking database {path} does not fit this MLflow's schema ({str(error).splitlines()[0][:200]})",
            "Use the MLflow that wrote it (`mlflow --version` there), or another file",
        ) from error


def _migrate(uri: str, path: Path, new: bool) -> None:
    from mlflow.store.db import utils as untyped

    utils: Any = untyped
    engine = utils.create_sqlalchemy_engine(uri)
    try:
        if new:
            utils._safe_initialize_tables(engine)  # under a file lock: `mlflow server` may be starting on it too
        elif (found := utils._get_schema_version(engine)) != utils._get_latest_schema_revision():
            shutil.copyfile(path, path.with_name(f"{path.name}.before-{found}"))
            utils._upgrade_db(engine)  # what `mlflow db upgrade` calls
    finally:
        engine.dispose()
