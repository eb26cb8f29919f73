"""Check once, before anything is started, that MLflow can be reached."""

import logging
import os
import re
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import SplitResult, urlsplit, urlunsplit

from hyperderm.errors import TrackingError
from hyperderm.tracking.artifact_locations import follow
from hyperderm.tracking.database import ready, sqlite_path, telling

RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
CA = "MLFLOW_TRACKING_SERVER_CERT_PATH"
START_ONE = "Start it (`make services-up`), correct MLFLOW_TRACKING_URI, or unset it to track in a local file"


def quiet_client() -> None:
    """Stop mlflow from blocking for minutes, printing much and sending usage data; settings of the user stay."""
    for name, value in {
        RETRIES: "2",  # the delivery is the one that is patient
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
        "MLFLOW_LOGGING_LEVEL": "WARNING",  # read when mlflow is imported; alembic's level follows it
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    }.items():
        os.environ.setdefault(name, value)
    if not os.environ.get(CA):  # set to nothing, it would stop mlflow from looking at the server's certificate at all
        os.environ.pop(CA, None)
    logging.getLogger("mlflow").setLevel(os.environ["MLFLOW_LOGGING_LEVEL"].upper())  # it may be imported already
    if os.environ["MLFLOW_LOGGING_LEVEL"].upper() != "DEBUG":  # a database's errors, each with its traceback: we tell them
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # or it tells of every retry


@contextmanager
def impatient() -> Iterator[None]:
    """Let mlflow repeat a failed request once only, for all threads of this process, until the end of the block."""
    before = os.environ.get(RETRIES)
    os.environ[RETRIES] = str(min(1, int(before or 1)))
    try:
        yield
    finally:
        if before is None:
            del os.environ[RETRIES]
        else:
            os.environ[RETRIES] = before


def redacted(uri: str) -> str:
    """Return the URI without user and password."""
    try:
        parts = urlsplit(uri)
    except ValueError:  # it is told as no address; even so its password is not
        return re.sub(r"//[^/]*@", "//", uri)
    if "@" not in parts.netloc:
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def check_server(
    uri: str, timeout_s: float = 5, say: Callable[[str], None] = lambda text: None, *, write: bool = True
) -> None:
    """Raise a TrackingError, within about `timeout_s` seconds, unless MLflow can be reached at `uri`.

    An `http(s)://` server must answer a request for experiments. The file of a `sqlite:///` address is created, migrated in
    a copy, or waited for while another program has locked it; artifacts that were moved with it are found again. `say` is
    called with a sentence on each of these. Without `write`, a read-only file is enough.
    """
    quiet_client()
    try:
        parts = urlsplit(uri)
        web = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError as error:  # http://host:port
        shown = redacted(uri)
        raise TrackingError(f"MLFLOW_TRACKING_URI={shown!r} is no address ({error})", START_ONE) from error
    if web:
        _check_http(uri, parts, timeout_s)
    elif (path := sqlite_path(uri)) and path.name:
        if ready(path, say, write=write):
            with telling(path):
                follow(path, say)
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

    login = get_default_host_creds(uri)  # type: ignore[no-untyped-call]
    try:
        response = http_request(  # type: ignore[no-untyped-call]
            login,
            "/api/2.0/mlflow/experiments/search",
            "GET",
            params={"max_results": 1},
            max_retries=0,
            timeout=max(2.0, deadline - time.monotonic()),
            raise_on_status=False,
        )
    except Exception as error:  # mlflow wraps what requests raises in MlflowException, without its kind
        raise _unanswered(uri, str(error)) from error
    user = login.username or parts.username
    given = f"user {user!r} with the password" if user else "the token" if login.token else ""
    _check_answer(shown, response.status_code, response.text, given)


def _unanswered(uri: str, said: str) -> TrackingError:
    """Return the error for a server to which no request gets through, from the words of mlflow's exception."""
    shown = redacted(uri)
    if "CERTIFICATE_VERIFY_FAILED" in said or "TLS CA certificate bundle" in said:
        reason = (re.findall(r"certificate verify failed[^'\")]*|Could not find a suitable TLS[^'\")]*", said) or [said])[0]
        return TrackingError(
            f"The certificate of the MLflow server at {shown} is not trusted here ({reason.strip()})",
            f"Set {CA} to the file of the CA that signed it, and name the server as its certificate does",
        )
    if "WRONG_VERSION_NUMBER" in said:
        return TrackingError(f"The MLflow server at {shown} does not speak TLS", "Write http:// in MLFLOW_TRACKING_URI")
    reason = said.splitlines()[0][:200].replace(uri, shown)
    return TrackingError(f"The MLflow server at {shown} does not answer ({reason})", START_ONE)


def _check_answer(shown: str, status: int, text: str, login: str) -> None:
    """Raise unless this is an answer of MLflow's; `login` says in words what was given to log in with, "" if nothing was."""
    if status == 401 and login:
        raise TrackingError(
            f"The MLflow server at {shown} refuses {login} given (401)",
            "Correct MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
        )
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
    if status >= 500 and text.lstrip().startswith("{"):  # MLflow's own words, not those of a proxy
        said = re.search(r'"message": *"((?:[^"\\]|\\.)*)', text)
        reason = " ".join((said[1] if said else text).split())[:200]
        raise TrackingError(
            f"The MLflow server at {shown} answers, but cannot work: its database may be away ({status}: {reason})",
            "Start the database (PostgreSQL), and look at the server's log",
        )
    if status != 200 or not text.lstrip().startswith("{"):
        raise TrackingError(
            f"What answers at {shown} is not a working MLflow server (status {status}: {text.strip()[:100]!r})",
            START_ONE,
        )
