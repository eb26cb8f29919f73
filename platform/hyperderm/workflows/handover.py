"""Hand this terminal's environment to a detached driver, in a file that only its owner can read and that is read once.

Ray shows the entrypoint, the runtime environment and the metadata of a job to everyone who can see its dashboard, so none of
them may contain keys, tokens or addresses with a password. The driver on the cluster starts in the same working folder and
therefore sees the folder of the runs. The file lies there, and the job knows only its path.
"""

import json
import os
import re
import stat
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from hyperderm.errors import ClusterError
from hyperderm.strict import json_of

FILE = "HYPERDERM_ENVIRONMENT_FILE"
"""The variable that gives the driver the path of the file; the driver removes the variable when it reads the file."""
PREFIXES = ("AWS_", "MLFLOW_")
"""The prefixes of the variables of boto3 and MLflow, which are too many to list here."""
NAMES = frozenset(
    name for each in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY") for name in (each, each.lower())
) | {"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR", "TZ"}
"""Other variables that the driver's connections and its clock depend on."""
OF_THE_MACHINE = ("AWS_CONTAINER_", "AWS_LAMBDA_", "AWS_EXECUTION_ENV")
"""Prefixes of variables that a machine sets for itself; on another machine they name a service that is not there."""
TOGETHER = (
    {
        "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AWS_PROFILE",
        "AWS_DEFAULT_PROFILE",
    },
    {"MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"},
)  # fmt: skip
"""If one variable of a group is handed over, the cluster's own values of the group are removed: they are another identity's.
"""


def understood(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that the driver reads; Ray's own variables are left out, because they belong to the cluster."""
    return {
        name: value
        for name, value in environment.items()
        if (name in NAMES or name.startswith(PREFIXES)) and not name.startswith(OF_THE_MACHINE)
    }


def hand_over(folder: Path, tracking_uri: str) -> Path:
    """Write the environment for the detached driver of a grid to a file, and return the path of the file.

    Args:
        folder: the folder of the grid; the file is written beside it.
        tracking_uri: where the grid is tracked, even if the environment does not say so.

    Raises:
        ClusterError: the file system shows a file to users other than its owner.
    """
    for stray in folder.absolute().parent.iterdir():  # left by a job whose cluster is gone, or that this job replaces
        if re.fullmatch(rf"{re.escape(folder.name)}\.[0-9a-f]{{12}}\.environment", stray.name):
            stray.unlink(missing_ok=True)
    told = understood(os.environ) | {"MLFLOW_TRACKING_URI": tracking_uri}
    path = folder.absolute().with_name(f"{folder.name}.{uuid.uuid4().hex[:12]}.environment")
    with open_private(path) as file:
        json.dump(told, file)
        file.flush()
        os.fsync(file.fileno())
    return path


def open_private(path: Path) -> IO[str]:
    """Create a file that only its owner can read, and return it opened for writing.

    Raises:
        ClusterError: the file system shows a file to users other than its owner; the file is removed.
    """
    made = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    if _mode(made) & 0o077:  # checked while the file is still empty
        os.close(made)
        path.unlink()
        raise ClusterError(
            f"{path.parent} lies on a file system that shows every file to others: keys cannot be handed over there",
            "Give --runs a folder on one that keeps modes, or run without --detach in a terminal multiplexer.",
        )
    return os.fdopen(made, "w", encoding="utf-8")


def take_over() -> None:
    """Add the environment that was handed over to this driver, if there is one, to its own, and remove the file.

    Raises:
        ClusterError: the file is gone, or cannot be read here.
    """
    place = os.environ.pop(FILE, "")
    if not place:
        return
    again = "Give the command with --detach again."
    try:
        told: dict[str, str] = json_of(Path(place).read_text("utf-8"))
        Path(place).unlink()
    except FileNotFoundError:
        raise ClusterError(
            f"{place}, which holds the environment of this job, is gone",
            f"A job is begun once only, on storage it shares. {again}",
        ) from None
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"{place}, which holds the environment of this job, cannot be read here ({error})",
            f"The cluster must run jobs as the user who gives the command. {again}",
        ) from None
    for group in TOGETHER:
        if group & set(told):
            for name in group:
                os.environ.pop(name, None)
    os.environ.update(told)


def _mode(made: int) -> int:
    """Return the access rights that the file system actually gave to an open file."""
    return stat.S_IMODE(os.fstat(made).st_mode)
