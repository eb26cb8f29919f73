"""Look for everything on this machine, its servers and a cluster that a start would refuse, and print it on one screen."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from hyperderm.reports.store_description import say

if TYPE_CHECKING:
    from hyperderm.reports.health import Finding


def doctor(
    *,
    cluster: bool = False,
    store: str | None = None,
    storage: str | None = None,
    runs: Path | None = None,
    as_json: bool = False,
) -> "list[Finding]":
    """Print and return what is good, doubtful or bad about this machine, its servers, and a cluster; nothing is left behind.

    Args:
        cluster: visit every node of the cluster that RAY_ADDRESS names.
        store: URI of a store that runs will read.
        storage: `s3://bucket/prefix` for what workers write.
        runs: the folder of all runs; None: `runs/` of the project.
        as_json: print one JSON object in place of the table.

    Raises:
        ConfigError: an address in the environment is no text that can be used.
    """
    from hyperderm.cluster.session import quiet_ray
    from hyperderm.reports import health
    from hyperderm.workflows.examination import asked_for, examine

    began = time.monotonic()
    quiet_ray()
    findings = list(examine(asked_for(cluster, store, storage, runs)))
    seconds = time.monotonic() - began
    console = Console(emoji=False)
    if as_json:
        say(console, health.as_json(findings, seconds))
    else:
        health.print_health(console, findings, seconds)
    return findings
