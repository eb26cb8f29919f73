"""Report trials and jobs whose worker has not started after a minute, with the reason from Ray's logs."""

import time
from collections.abc import Callable
from pathlib import Path

from ray.tune import Callback
from ray.tune.experiment import Trial

from hyperderm.cluster.session import START_S

RAYLET = "raylet.err"
"""Log of the process that starts workers; it holds the shell's messages about worker commands, and its own errors."""
TAIL = 2**16
"""Number of bytes that are read from the end of a log."""


class StartWatch(Callback):
    """A callback that reports, once for each trial, that its worker has not started within `seconds`.

    The trial continues to wait: a cluster that others use may start the worker later, and Ctrl-C ends the waiting.

    Args:
        note: function that is called with a trial and a sentence.
        logs: folder of the workers' logs.
        seconds: time that a start may take.
    """

    def __init__(self, note: Callable[[Trial, str], None], logs: str, seconds: float = START_S) -> None:
        self._note, self._logs, self._seconds = note, Path(logs), seconds
        self._since: dict[str, float] = {}
        self._said: set[str] = set()

    def __reduce__(self) -> tuple[type[object], tuple[()]]:
        """Pickle as an empty object: Tune saves its callbacks only for its own restore, which is not used."""
        return object, ()

    def on_step_end(self, iteration: int, trials: list[Trial], **info: object) -> None:
        """Check the waiting times, whenever Tune has looked at its trials."""
        now = time.monotonic()
        for trial in trials:
            if trial.status != Trial.PENDING:
                self._since.pop(trial.trial_id, None)
            elif trial.trial_id not in self._said and now - self._since.setdefault(trial.trial_id, now) > self._seconds:
                self._said.add(trial.trial_id)
                self._note(trial, f"no worker has started for it in {self._seconds:.0f} s: {self._reason()}")

    def _reason(self) -> str:
        """Return the last complaint in Ray's logs, or a hint where to look."""
        log = self._logs / RAYLET
        if said := last_complaint(log):
            return f"{said} ({log})"
        return f"either all CPUs and GPUs are taken (`ray status`) or no worker can start ({log} of its node)"


def last_complaint(log: Path) -> str:
    """Return the last line in Ray's log that a shell or the system wrote, else Ray's last error, else "".

    Lines that begin with a bracket are Ray's own, and `E` marks its errors. The result is also "" if the log is on another
    machine.
    """
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - TAIL))
            lines = [line.strip() for line in stream.read().decode("utf-8", "replace").splitlines()]
    except OSError:
        return ""
    foreign = [line for line in lines if line and not line.startswith("[")]
    errors = [line.partition("] ")[2] for line in lines if line.startswith("[") and " E " in line.partition("]")[0]]
    return (foreign or errors or [""])[-1][:300]
