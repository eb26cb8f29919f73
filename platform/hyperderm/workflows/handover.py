"""What a detached driver is given of this terminal's environment: in a file that only its owner reads, once.

Ray keeps and shows the entrypoint, the runtime environment and the metadata of a job to everybody who sees its dashboard,
so keys, tokens and addresses with a password stand in none of them. The driver on the cluster begins in the same working
folder, so it sees the folder of the runs as well: the file lies there, and the job knows its path alone.
"""

import json
import os
import re
import stat
import uuid
from collections.abc import Mapping
from pathlib import Path

from hyperderm.errors import ClusterError
from hyperderm.strict import json_of

FILE = "HYPERDERM_ENVIRONMENT_FILE"
"""Names the file to the driver on the other side; the variable is forgotten there when it is read."""
PREFIXES = ("AWS_", "MLFLOW_")
"""What boto3 and MLflow understand, which know more variables than a list here could follow."""
NAMES = frozenset(
    name for each in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY") for name in (each, each.lower())
) | {"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR", "TZ"}
"""What else the driver's connections and its clock depend on."""
OF_THE_MACHINE = ("AWS_CONTAINER_", "AWS_LAMBDA_", "AWS_EXECUTION_ENV")
"""Set by the machine for itself: on another they name a service that is not there."""
TOGETHER = (
    {
        "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AWS_PROFILE",
        "AWS_DEFAULT_PROFILE",
    },
    {"MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"},
)  # fmt: skip
"""Where one of these travels, the cluster's own values of the others do not count: they would be another identity's."""


def understood(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what the driver reads of an environment; Ray's own variables are not among it, they are the cluster's."""
    return {
        name: value
        for name, value in environment.items()
        if (name in NAMES or name.startswith(PREFIXES)) and not name.startswith(OF_THE_MACHINE)
    }


def hand_over(folder: Path, tracking_uri: str) -> Path:
    """Write down for the detached driver of a grid what it must know, and return where.

    Args:
        folder: of the grid; the file lies beside it.
        tracking_uri: where the grid is tracked, also where the environment does not say.

    Raises:
        ClusterError: the file system shows a file to others than its owner.
    """
    for stray in folder.absolute().parent.iterdir():  # of a job whose cluster is gone, or that this one stands for
        if re.fullmatch(rf"{re.escape(folder.name)}\.[0-9a-f]{{12}}\.environment", stray.name):
            stray.unlink(missing_ok=True)
    told = understood(os.environ) | {"MLFLOW_TRACKING_URI": tracking_uri}
    path = folder.absolute().with_name(f"{folder.name}.{uuid.uuid4().hex[:12]}.environment")
    made = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(made, "w", encoding="utf-8") as file:
        if _mode(made) & 0o077:  # before anything is in it
            path.unlink()
            raise ClusterError(
                f"{path.parent} lies on a file system that shows every file to others: keys cannot be handed over there",
                "Give --runs a folder on one that keeps modes, or run without --detach in a terminal multiplexer.",
            )
        json.dump(told, file)
        file.flush()
        os.fsync(made)
    return path


def take_over() -> None:
    """Put into the environment what was handed over to this driver, if anything was, and remove the file.

    Raises:
        ClusterError: it is gone, or cannot be read here.
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
    """Return the rights that the file system really gave to an open file."""
    return stat.S_IMODE(os.fstat(made).st_mode)
