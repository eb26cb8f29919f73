"""The progress of a grid on a console: a live line on a terminal, else a line an event."""

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from hyperderm.reports.leaderboard import duration
from hyperderm.studies.ablation.job import Job
from hyperderm.studies.ablation.queue import Queue
from hyperderm.training.loop import Report


class GridProgress:
    """Implements `studies.ablation.queue.Observer`.

    Args:
        console: where to draw.
        total: jobs of the plan.
        done: those that were done before.
        places: jobs at a time, for the time left.
    """

    def __init__(self, console: Console, total: int, done: int, places: int) -> None:
        self.console, self._total, self._done, self._places = console, total, done, places
        self._began: dict[str, float] = {}
        self._queue: Queue | None = None
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("ablation"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} jobs"),
            TextColumn("left about {task.fields[left]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("", total=total, completed=done, left="–")

    def watch(self, queue: Queue) -> None:
        """Estimate the time left from `queue`."""
        self._queue = queue

    def __enter__(self) -> "GridProgress":
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def started(self, job: Job, resumed: bool) -> None:
        """Remember when."""
        self._began[job.key] = time.monotonic()
        if job.stage != "cell" or resumed:
            self._print(f"{job.stage} {job.label} {'goes on' if resumed else 'starts'}")

    def reported(self, job: Job, report: Report) -> None:
        """Say nothing: MLflow shows it."""

    def noted(self, job: Job, sentence: str) -> None:
        """Say it."""
        self._print(f"{job.stage} {job.label}: {sentence}")

    def finished(self, job: Job, reason: str) -> None:
        """Say how a job ended."""
        self._done += 1
        took = duration(time.monotonic() - self._began.get(job.key, time.monotonic()))
        self._print(f"{job.stage} {job.label} {f'failed: {reason}' if reason else f'done after {took}'}")
        left = sum(self._queue.seconds(each) for each in self._queue.waiting) / self._places if self._queue else 0.0
        self._progress.update(self._task, completed=self._done, left=duration(left))

    def interrupted(self, job: Job) -> None:
        """Say that a job was left open."""
        self._print(f"{job.stage} {job.label} interrupted")

    def _print(self, line: str) -> None:
        head = f"[{self._done}/{self._total}] " if not self.console.is_terminal else ""
        self._progress.console.print(head + line, highlight=False, markup=False, soft_wrap=True)
