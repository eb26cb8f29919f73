"""Tune's searcher, scheduler and callback, each a few lines that hand Tune's calls to the board."""

import pickle
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from hyperderm.cluster.trial import config_of
from hyperderm.errors import MachineTrouble, WorkerLost
from hyperderm.studies.search import Board
from hyperderm.training.storage import trial_address
from hyperderm.trouble import reason_of, trouble_of


class BoardSearcher(Searcher):
    """Hands out the board's assignments as Tune configurations. Tune pickles it to a file: it holds no S3 key."""

    def __init__(self, board: Board, folder: Path, provenance: Mapping[str, str], storage: str = "") -> None:
        super().__init__(metric="images", mode="max")  # the board knows the objective; Tune wants one
        self._board, self._folder, self._provenance, self._storage = board, folder, provenance, storage

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """Return the next trial's configuration."""
        if self._board.interrupted:
            return None
        next_one = self._board.ask()
        number, place = next_one.number, trial_address(self._folder, next_one.number, self._storage)
        origin = {**self._provenance, "run": f"{self._provenance.get('run', '')}/{number}"}
        return config_of(number, next_one.experiment, place, origin)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing: the callback closes the trial."""

    def save(self, checkpoint_path: str) -> None:
        """Write an empty state: the study is the state."""
        with Path(checkpoint_path).open("wb") as stream:
            pickle.dump(None, stream)

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the study is the state."""


class BoardScheduler(FIFOScheduler):
    """Lets the board stop trials: asynchronous successive halving on images seen, its rungs kept in the study."""

    def __init__(self, board: Board) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._board = board

    def on_trial_result(self, tune_controller: object, trial: Trial, result: dict[str, Any]) -> str:
        """Return STOP where the board says so."""
        metrics = {k.removeprefix("report/"): v for k, v in result.items() if k.startswith("report/")}
        stop = self._board.report(trial.config["number"], result["images"], metrics)
        return str(TrialScheduler.STOP if stop else TrialScheduler.CONTINUE)


class BoardCallback(Callback):
    """Tells the board of last reports and ends.

    Args:
        board: of the sweep.
        logs: where the workers' logs are, for what nobody foresaw.
    """

    def __init__(self, board: Board, logs: str = "") -> None:
        self._board, self._logs = board, logs

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: object
    ) -> None:
        """Record a last report, which Tune does not show to the scheduler."""
        if note := result.get("note"):
            self._board.observer.noted(trial.config["number"], note)
        if result["images"] >= 0:
            self._board.report(trial.config["number"], result["images"], result["report"])

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: object) -> None:
        """Close a trial that ended by itself or was stopped early; trouble of the machine leaves it open."""
        if trouble := trial.last_result.get("trouble"):
            self._board.leave(trial.config["number"], trouble)
        else:
            self._board.finish(trial.config["number"], trial.last_result.get("failure", ""))

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: object) -> None:
        """Say why a trial begins again from its checkpoint."""
        if not self._board.interrupted:
            self._board.observer.noted(trial.config["number"], recovered(trial))

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: object) -> None:
        """End a trial that met trouble more often than `sweep.max_failures` allows; the unforeseen is a failure."""
        trouble, why = final(trial, self._logs)
        if trouble:
            self._board.leave(trial.config["number"], trouble)
        else:
            self._board.finish(trial.config["number"], why)


def final(trial: Trial, logs: str) -> tuple[MachineTrouble | None, str]:
    """Return what the machine did to a trial that Tune gave up, or None and what nobody foresaw, with where to look."""
    error = error_of(trial)
    trouble = trouble_of(error) if error else None
    return trouble, "" if trouble else f"{last_line(error_text(trial))} (unforeseen; worker logs: {logs})"


def recovered(trial: Trial) -> str:
    """Return why a trial begins again, in words."""
    error = error_of(trial)
    trouble = trouble_of(error) if error else None
    node = (trial.last_result or {}).get("node_ip", "")
    if isinstance(trouble, WorkerLost):
        return f"a worker{f' on node {node}' if node else ''} was lost; it goes on from its checkpoint"
    why = trouble.what if trouble else reason_of(error) if error else last_line(error_text(trial))
    return f"{why}; it goes on from its checkpoint"


def error_of(trial: Trial) -> BaseException | None:
    """Return a trial's last failure, once; None where Tune kept none, or one that cannot be made again here."""
    path = trial.pickled_error_file
    if path is None:
        return None
    with suppress(Exception):  # pickles run what they like
        error = pickle.loads(Path(path).read_bytes())  # noqa: S301 - written by Tune, in this process
        Path(path).unlink()  # the next failure may be one that Tune does not pickle
        return error if isinstance(error, BaseException) else None
    return None


def error_text(trial: Trial) -> str:
    """Return what Tune wrote of a trial's last failure; `trial.get_error()` reads a copy that may not be there yet."""
    path = trial.error_file
    text = Path(path).read_text(encoding="utf-8", errors="replace") if path and Path(path).exists() else ""
    return text.rpartition("\nFailure # ")[2]  # the file holds earlier ones too, which the trial got over


def last_line(text: str) -> str:
    """Return what a traceback ends in."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "the process ended without an error; see Ray's logs"
