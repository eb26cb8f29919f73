"""Prove what a run needs of MLflow, and leave nothing: the version of the server, and a file that goes there and back."""

import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from hyperderm.errors import TrackingError
from hyperderm.tracking.database import look, sqlite_path
from hyperderm.tracking.server import check_server, impatient, quiet_client, redacted

TIMEOUT_S = 5


@dataclass(frozen=True)
class TrackingFacts:
    """Where runs are tracked.

    Attributes:
        shown: the address without user and password.
        server: version of the server; "" for a file.
        client: version of the client here.
        state: what was found, in words.
    """

    shown: str
    server: str
    client: str
    state: str


def look_at_tracking(uri: str) -> TrackingFacts:
    """Return what answers at the tracking address, after proving that a run can be tracked there.

    Raises:
        TrackingError: for the same reasons as in `check_server`.
    """
    quiet_client()
    path = sqlite_path(uri)
    if path is not None and path.name:
        state = look(path)
        return TrackingFacts(redacted(uri), "", _client(), state)
    check_server(uri, TIMEOUT_S)
    return TrackingFacts(redacted(uri), _version(uri), _client(), "answers and lets this user in")


def prove_artifacts(uri: str) -> str:
    """Write a file where the server at `uri` keeps the artifacts of new runs, read it back, remove it; return the place.

    The place is that of the experiment that was changed last; a server without experiments has its default experiment.

    Raises:
        TrackingError: the file cannot be written, read or removed.
    """
    from mlflow import MlflowClient
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    quiet_client()
    folder = f".hyperderm-{uuid.uuid4().hex[:8]}"
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    place = "its artifacts"
    try:
        newest = client.search_experiments(max_results=1)
        place = redacted(newest[0].artifact_location if newest else "mlflow-artifacts:/")
        _refuse_local(uri, place)
        repository = get_artifact_repository(newest[0].artifact_location if newest else place, tracking_uri=uri)
        content = uuid.uuid4().hex
        with impatient(), tempfile.TemporaryDirectory() as here:
            file = Path(here) / "probe.txt"
            file.write_text(content, "utf-8")
            repository.log_artifact(str(file), folder)  # type: ignore[no-untyped-call]
            try:
                got = repository.download_artifacts(f"{folder}/{file.name}", here)  # type: ignore[no-untyped-call]
                read = Path(got).read_text("utf-8")
            finally:
                repository.delete_artifacts(folder)  # type: ignore[no-untyped-call]
    except TrackingError:
        raise
    except Exception as error:  # of mlflow, requests, boto3, or the disk
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200].replace(uri, redacted(uri))
        raise TrackingError(
            f"The MLflow server at {redacted(uri)} does not keep files in {place} ({reason})",
            "See the server's log, and look at its --artifacts-destination, its key for the bucket, and this user's rights",
        ) from error
    if read != content:
        raise TrackingError(f"A file comes back changed from {place}", "Look at the server's --artifacts-destination")
    return place


def _refuse_local(uri: str, place: str) -> None:
    """Refuse a folder of the server's own disk, to which every client would write on the client's disk."""
    parts = urlsplit(place)
    if parts.scheme in ("", "file") and not Path(unquote(parts.path)).is_dir():
        raise TrackingError(
            f"The MLflow server at {redacted(uri)} sends files of runs to {place}, a folder that is not on this machine",
            "Start it with --artifacts-destination, without --no-serve-artifacts and --default-artifact-root",
        )


def _client() -> str:
    from importlib.metadata import version

    return version("mlflow")


def _version(uri: str) -> str:
    """Return the version that the server tells; "" if it tells none."""
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    try:
        answer = http_request(  # type: ignore[no-untyped-call]
            get_default_host_creds(uri),  # type: ignore[no-untyped-call]
            "/version",
            "GET",
            max_retries=0,
            timeout=TIMEOUT_S,
            raise_on_status=False,
        )
    except Exception:  # the server has just answered another request; the version alone is not worth an error
        return ""
    text = str(answer.text).strip()
    return text if answer.status_code == 200 and len(text) < 40 else ""
