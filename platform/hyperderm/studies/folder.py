"""A sweep's folder: its name, the configuration it stands for, and the lock of its driver."""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution, distribution_to_json

from hyperderm.config import Experiment
from hyperderm.errors import StudyError
from hyperderm.registry import Space
from hyperderm.strict import differences

IDENTITY = "sweep.json"


def sweep_name(experiment: Experiment, space: Space, store: str) -> str:
    """Return experiment + profile + space VERSION + first digits of the manifest's fingerprint."""
    profile = "" if experiment.profile == "full" else f"-{experiment.profile}"
    return f"{experiment.name}{profile}-{space.name}-v{space.version}-{store}"


def identity(experiment: Experiment, space: Space, fingerprint: str) -> dict[str, Any]:
    """Return what makes two sweeps the same, flat and as JSON."""
    axes = {f"space.{path}": _axis(axis) for path, axis in space.distributions.items()}
    return {**experiment.identity(), **axes, "space.name": space.name, "space.version": space.version, "manifest": fingerprint}


@contextmanager
def claim(folder: Path, mine: Mapping[str, Any]) -> Iterator[None]:
    """Hold the sweep's folder for this driver; a first driver writes down what the sweep is.

    Raises:
        StudyError: another driver holds it, or it stands for another configuration (what differs is listed).
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            raise StudyError(
                f"sweep {folder.name} is being run by process {lock.read().strip() or '(unknown)'}", "Wait for it, or stop it."
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        _check_identity(folder, json.loads(json.dumps(mine)))
        yield


def _check_identity(folder: Path, mine: dict[str, Any]) -> None:
    path = folder / IDENTITY
    if path.exists():
        changed = differences(json.loads(path.read_text()), mine)
        if changed:
            raise StudyError(
                f"sweep {folder.name} exists with another configuration: {'; '.join(changed)}",
                "Give the new one a name of its own: --name NAME (make: NAME=…).",
            )
        return
    aside = path.with_suffix(".partial")
    aside.write_text(json.dumps(mine, indent=1, sort_keys=True))
    aside.replace(path)


def _axis(distribution: BaseDistribution) -> str:
    return str(distribution_to_json(distribution))
