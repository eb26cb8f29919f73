"""The progress line: stage, done of total, best so far, time left. On a terminal one live line, else a line an event."""

import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from hyperderm.config import Experiment
from hyperderm.reports.leaderboard import duration


class ProgressLine:
    """Implements `studies.observer.Observer` on a console.

    Args:
        console: where to draw.
        stage: shown first.
        trials: how many there will be.
        images: images a whole trial is shown.
        objective: the metric whose lowest value is shown.
        done: trials that had ended before.
        best: best objective so far.
    """

    def __init__(
        self,
        console: Console,
        stage: str,
        trials: int,
        images: int,
        objective: str,
        done: int = 0,
        best: float | None = None,
    ) -> None:
        self.console, self._images, self._objective, self._best = console, images, objective, best
        self._seen: dict[int, int] = {}
        self._began: dict[int, float] = {}
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[done]}/{task.fields[trials]} trials"),
            TextColumn("best {task.fields[best]}"),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
            transient=True,
            disable=not console.is_terminal,
            speed_estimate_period=120,
        )
        self._task = self._progress.add_task(
            stage, total=trials * images, completed=done * images, done=done, trials=trials, best=_short(best)
        )
        self._done, self._trials = done, trials

    def __enter__(self) -> "ProgressLine":
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def started(self, number: int, experiment: Experiment, values: Mapping[str, Any], resumed: bool) -> None:
        """Say that a trial began."""
        self._began[number] = time.monotonic()
        shown = "  ".join(f"{path.rpartition('.')[2]}={_short(value)}" for path, value in values.items())
        self._print(f"trial {number:03d} {'goes on' if resumed else 'starts'}  {shown}")

    def reported(self, number: int, images: int, metrics: Mapping[str, float]) -> None:
        """Move on."""
        score = metrics.get(self._objective)
        if score is not None and images and (self._best is None or score < self._best):
            self._best = score
        self._seen[number] = images
        self._update()

    def noted(self, number: int, sentence: str) -> None:
        """Say it."""
        self._print(f"trial {number:03d}: {sentence}")

    def finished(self, number: int, outcome: str, reason: str) -> None:
        """Say how a trial ended."""
        self._done += 1
        self._seen[number] = self._images  # an early stop saves the rest
        took = duration(time.monotonic() - self._began[number]) if number in self._began else "earlier"
        self._print(
            f"trial {number:03d} {outcome} after {took}{f': {reason}' if reason else ''}; best so far {_short(self._best)}"
        )
        self._update()

    def interrupted(self, number: int) -> None:
        """Say that a trial was left open."""
        self._print(f"trial {number:03d} interrupted")

    def _print(self, line: str) -> None:
        head = f"[{self._done}/{self._trials}] " if not self.console.is_terminal else ""
        self._progress.console.print(head + line, highlight=False, markup=False, soft_wrap=True)

    def _update(self) -> None:
        before = (self._trials * self._images) - self._images * (self._trials - self._done)
        running = sum(images for number, images in self._seen.items() if images < self._images)
        self._progress.update(self._task, completed=before + running, done=self._done, best=_short(self._best))


class RunLine(ProgressLine):
    """The progress of a single run: a line a validation, and at the end its score with what gives that a scale.

    Args:
        console: where to draw.
        experiment: what runs.
    """

    def __init__(self, console: Console, experiment: Experiment) -> None:
        objective = experiment.learner.objective
        super().__init__(console, "train", 1, experiment.training.images, objective)
        self._yardsticks, self._metrics = experiment.learner.yardsticks, dict[str, float]()

    def started(self, number: int, experiment: Experiment, values: Mapping[str, Any], resumed: bool) -> None:
        """Say that it began."""
        self._began[number] = time.monotonic()
        self._print(f"training {'goes on' if resumed else 'starts'}: {self._images:,} images")

    def reported(self, number: int, images: int, metrics: Mapping[str, float]) -> None:
        """Say how far it is."""
        super().reported(number, images, metrics)
        self._metrics = dict(metrics)
        took = duration(time.monotonic() - self._began[number])
        score = _short(metrics.get(self._objective))
        self._print(f"{images:,} of {self._images:,} images after {took}: {_words(self._objective)} {score}")

    def noted(self, number: int, sentence: str) -> None:
        """Say it."""
        self._print(sentence)

    def finished(self, number: int, outcome: str, reason: str) -> None:
        """Say how it ended."""
        held = {name: self._metrics[name] for name in self._yardsticks if name in self._metrics}
        scale = ", ".join(f"{_words(name)} {_short(value)}" for name, value in held.items())
        took = duration(time.monotonic() - self._began[number])
        best = f"best {_words(self._objective)} {_short(self._best)}{f' ({scale})' if scale else ''}; lower is better"
        self._print(f"{outcome} after {took}{f': {reason}' if reason else ''}; {best}")

    def interrupted(self, number: int) -> None:
        """Say that it was left open."""
        self._print("interrupted; the same command goes on")

    def _print(self, line: str) -> None:
        self._progress.console.print(line, highlight=False, markup=False, soft_wrap=True)


def _words(name: str) -> str:
    return name.replace("_", " ")


def counting(console: Console, stage: str) -> Progress:
    """Return a plain bar for stages that count files or lesions."""
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
