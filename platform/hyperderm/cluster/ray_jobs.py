"""Ray jobs: commands that a cluster runs even if the terminal is closed; they can be submitted, inspected and stopped."""

import time
from collections.abc import Mapping
from typing import Any

from ray.job_submission import JobSubmissionClient

from hyperderm.cluster.session import dashboard_address
from hyperderm.errors import ClusterError

__all__ = ["JobSubmissionClient", "job_client", "submit"]

READY_S = 30.0
"""Seconds for which a newly started cluster may answer that none of its agents is ready."""


def job_client(address: str | None) -> JobSubmissionClient:
    """Return the client of the cluster at `address`.

    Raises:
        ClusterError: the cluster does not accept jobs.
    """
    dashboard = dashboard_address(address)
    try:
        return JobSubmissionClient(dashboard)
    except (ConnectionError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ClusterError(
            f"the Ray cluster takes no jobs at {dashboard} ({reason})",
            "Start its head with the dashboard (ray[default]), or run without --detach in a terminal multiplexer.",
        ) from None


def submit(client: JobSubmissionClient, entrypoint: str, environment: Mapping[str, str], metadata: Mapping[str, str]) -> str:
    """Submit a command and return the id of its job; repeat this while a newly started cluster is not ready.

    Args:
        client: the client of the cluster.
        entrypoint: the command; Ray shows it to everybody, like the other arguments.
        environment: environment variables of the command.
        metadata: facts that Ray shows with the job.

    Raises:
        ClusterError: the cluster does not accept the job.
    """
    deadline = time.monotonic() + READY_S
    while True:
        try:
            asked: dict[str, Any] = {"entrypoint": entrypoint, "metadata": dict(metadata)}
            return str(client.submit_job(runtime_env={"env_vars": dict(environment)}, **asked))
        except RuntimeError as error:
            if time.monotonic() > deadline:
                reason = str(error).strip().splitlines()[0]
                raise ClusterError(f"the Ray cluster does not take the job ({reason})", "See `ray status`.") from None
            time.sleep(2)
