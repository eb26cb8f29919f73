"""Show a study's progress: stage, jobs done, best score and time left; one live line on a terminal, else one per event."""

import time
from collections.abc import Callable, Collection, Mapping
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from hyperderm.cluster.observer import Job, Outcome
from hyperderm.config import LOSS, Experiment
from hyperderm.reports.leaderboard import duration


class ProgressLine:
    """Implements `cluster.observer.Observer` on a console, for sweeps, which have a score, and for grids, which have none.

    Args:
        console: the console to draw on.
        stage: the name that the line begins with.
        total: the number of jobs.
        unit: the word for the jobs, such as "trials".
        images: number of images that a whole job is shown; 0 if it differs between jobs.
        objective: the metric whose lowest value is shown; "" if none is shown.
        done: number of jobs that had ended before.
        best: best objective so far.
        quiet: kinds of jobs that are so many that their start is not printed.
        seconds_left: estimates the time left; if None, the images shown so far give the estimate.
    """

    def __init__(
        self,
        console: Console,
        stage: str,
        total: int,
        *,
        unit: str = "trials",
        images: int = 0,
        objective: str = "",
        done: int = 0,
        best: float | None = None,
        quiet: Collection[str] = (),
        seconds_left: Callable[[], float] | None = None,
    ) -> None:
        self.console, self._images, self._objective, self._best = console, max(images, 1), objective, best
        self._done, self._total, self._quiet, self._left = done, total, quiet, seconds_left
        self._seen: dict[str, int] = {}
        self._began: dict[str, float] = {}
        self._own: dict[str, float] = {}
        left = TimeRemainingColumn(elapsed_when_finished=True) if seconds_left is None else TextColumn("{task.fields[left]}")
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn(f"{{task.fields[done]}}/{total} {unit}"),
            *([TextColumn("best {task.fields[best]}")] if objective else []),
            TextColumn("left"),
            left,
            console=console,
            transient=True,
            disable=not console.is_terminal,
            speed_estimate_period=120,
        )
        shown, before = total * self._images, done * self._images
        self._task = self._progress.add_task(stage, total=shown, completed=before, done=done, best=_short(best), left="–")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def started(self, job: Job, resumed: bool) -> None:
        """Print that a job began."""
        self._began[job.key] = time.monotonic()
        shown = "  ".join(f"{path.rpartition('.')[2]}={_short(value)}" for path, value in job.values.items())
        if resumed or job.kind not in self._quiet:
            self._print(f"{_name(job)} {'goes on' if resumed else 'starts'}{f'  {shown}' if shown else ''}")

    def reported(self, job: Job, images: int, metrics: Mapping[str, float]) -> None:
        """Update the line after a report."""
        score = metrics.get(f"best_{self._objective}", metrics.get(self._objective))  # a resumed run knows better ones
        if score is not None and images:
            self._own[job.key] = min(score, self._own.get(job.key, score))
            self._best = score if self._best is None else min(score, self._best)
        self._seen[job.key] = images
        self._update()

    def noted(self, job: Job, sentence: str) -> None:
        """Print the sentence about a job."""
        self._print(f"{_name(job)}: {sentence}")

    def told(self, sentence: str) -> None:
        """Print the sentence."""
        self._print(sentence)

    def finished(self, job: Job, outcome: Outcome, reason: str) -> None:
        """Print how a job ended."""
        self._done += 1
        self._seen[job.key] = self._images  # an early stop saves the rest
        took = duration(time.monotonic() - self._began[job.key]) if job.key in self._began else "earlier"
        own = f", score {_short(self._own[job.key])}" if job.key in self._own else ""
        best = f"; best so far {_short(self._best)}" if self._objective else ""
        self._print(f"{_name(job)} {outcome} after {took}{own}{f': {reason}' if reason else ''}{best}")
        self._update()

    def interrupted(self, job: Job) -> None:
        """Print that a job was left open."""
        self._print(f"{_name(job)} interrupted")

    def _print(self, line: str) -> None:
        head = f"[{self._done}/{self._total}] " if not self.console.is_terminal else ""
        self._progress.console.print(head + line, highlight=False, markup=False, soft_wrap=True)

    def _update(self) -> None:
        running = sum(images for images in self._seen.values() if images < self._images)
        completed = self._done * self._images + running
        left = duration(self._left()) if self._left else "–"
        self._progress.update(self._task, completed=completed, done=self._done, best=_short(self._best), left=left)


def _name(job: Job) -> str:
    return job.label if job.kind == "trial" else f"{job.kind} {job.label}"


class RunLine(ProgressLine):
    """The progress of a single run: one line per validation, and at the end its score with numbers that give it a scale.

    Args:
        console: the console to draw on.
        experiment: the configuration of the run.

    Attributes:
        conclusion: how the run ended and its score, in words; "" before.
    """

    def __init__(self, console: Console, experiment: Experiment) -> None:
        objective = experiment.objective
        super().__init__(console, "train", 1, images=experiment.training.images, objective=objective)
        self._yardsticks, self._metrics = experiment.learner.yardsticks, dict[str, float]()
        self.conclusion = ""

    def started(self, job: Job, resumed: bool) -> None:
        """Print that the run began."""
        self._began[job.key] = time.monotonic()
        self._print(f"training {'goes on' if resumed else 'starts'}: {self._images:,} images")

    def reported(self, job: Job, images: int, metrics: Mapping[str, float]) -> None:
        """Print how far the run is."""
        super().reported(job, images, metrics)
        self._metrics = dict(metrics)
        took = duration(time.monotonic() - self._began[job.key])
        score = _short(metrics.get(self._objective))
        self._print(f"{images:,} of {self._images:,} images after {took}: {_words(self._objective)} {score}")

    def noted(self, job: Job, sentence: str) -> None:
        """Print the sentence about the run."""
        self._print(sentence)

    def finished(self, job: Job, outcome: Outcome, reason: str) -> None:
        """Print how the run ended."""
        held = {name: self._metrics[name] for name in self._yardsticks if name in self._metrics}
        scale = ", ".join(f"{_words(name)} {_short(value)}" for name, value in held.items())
        took = duration(time.monotonic() - self._began[job.key])
        best = f"best {_words(self._objective)} {_short(self._best)}{f' ({scale})' if scale else ''}; lower is better"
        self.conclusion = f"{outcome} after {took}{f': {reason}' if reason else ''}; {best}"
        self._print(self.conclusion)

    def interrupted(self, job: Job) -> None:
        """Print that the run was left open."""
        self._print("interrupted; the same command goes on")

    def _print(self, line: str) -> None:
        self._progress.console.print(line, highlight=False, markup=False, soft_wrap=True)


def _words(name: str) -> str:
    return name.removeprefix(f"{LOSS}/").replace("_", " ")


def counting(console: Console, stage: str) -> Progress:
    """Return a plain progress bar for stages that count files or lesions."""
    return Progress(
        SpinnerColumn(),
        TextColumn(stage),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _short(value: object) -> str:
    return "–" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)
