"""Which job comes next: what is ready, in the order of the plan, as long as there is time."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from hyperderm.cluster.observer import Observer
from hyperderm.cluster.trial import KEY
from hyperderm.errors import MachineTrouble, StoreError
from hyperderm.studies.ablation.jobs import Job
from hyperderm.studies.ablation.records import GridFolder, result_of, was_begun, write_failure


class JobQueue:
    """The jobs of a plan on their way through Tune.

    Args:
        grid: where they leave what they make.
        jobs: all of the plan, in its order; those done before are passed over.
        observers: told of everything.
        seconds: estimate of a job's time.
        until: `time.time()` after which nothing may still run; None: no limit.
        slots: number of GPUs a job takes to how many such jobs may run; none: Tune alone decides. A job that was handed out
            and waits for a GPU would start after its time was judged.
        config: turns a job into the configuration that Tune is handed.
    """

    def __init__(
        self,
        grid: GridFolder,
        jobs: Sequence[Job],
        observer: Observer,
        seconds: Callable[[Job], float],
        until: float | None = None,
        slots: Mapping[float, int] | None = None,
        config: Callable[[Job], dict[str, Any]] = lambda job: {KEY: job.key},
    ) -> None:
        self.slots, self.config = dict(slots or {}), config
        self.grid, self.observer, self.seconds, self.until = grid, observer, seconds, until
        self.jobs = {job.key: job for job in jobs}
        self.done = {job.key for job in jobs if result_of(grid, job)}
        self.failed: dict[str, str] = {}
        self.begun: dict[str, Job] = {}
        self.waiting = [job for job in self.jobs.values() if job.key not in self.done]
        self.late: list[Job] = []
        """Jobs not started because of `until`."""
        self.open: dict[str, str] = {}
        """Jobs that the next driver goes on with, and why: what the machine did to them, or to one that they need."""
        self.trouble: MachineTrouble | None = None
        """What the machine did last."""
        self.interrupted = False
        self._in_a_row = 0
        self._told: dict[str, int] = {}

    def __reduce__(self) -> tuple[type[object], tuple[()]]:
        """Pickle to nothing: Tune saves its callbacks for a restore of its own, but the folders are the state here."""
        return object, ()

    @property
    def wanted(self) -> int:
        """How many jobs are left."""
        return len(self.waiting)

    @property
    def running(self) -> bool:
        """Return whether a job that was handed out has not ended."""
        return bool(self.begun)

    def ask(self) -> dict[str, Any] | None:
        """Return the configuration of a job to start now, or None: nothing is ready, or the grid was interrupted."""
        if self.interrupted:
            return None
        for job in list(self.waiting):
            if any(need in self.failed for need in job.needs):
                self.waiting.remove(job)
                self._give_up(job)
            elif any(need in self.open for need in job.needs):
                self.waiting.remove(job)
                self._note_open(job.key, self._what_it_needs(job))
            elif set(job.needs) & {late.key for late in self.late} or not self._fits(job):
                self.waiting.remove(job)
                self.late.append(job)
            elif all(need in self.done for need in job.needs) and self._has_place(job):
                self.waiting.remove(job)
                self._start(job)
                return self.config(job)
        return None

    @property
    def over(self) -> bool:
        """Nothing is left to hand out, now or later."""
        return not self.waiting

    def report(self, key: str, images: int, metrics: Mapping[str, float]) -> bool:
        """Pass a report on, once; no job of a grid is stopped early."""
        if key in self.begun and images > self._told.get(key, -1):
            self._told[key] = images
            self.observer.reported(self.begun[key], images, metrics)
        return False

    def finish(self, key: str, failure: str = "") -> None:
        """Note the end of a job, done or failed for good; does nothing once the grid was interrupted."""
        job = self.begun.get(key)
        if job is None or self.interrupted:
            return
        del self.begun[key]
        self._in_a_row = 0
        if not failure and not result_of(self.grid, job):
            failure = "it ended without a result"
        self._close(job, failure)

    def note(self, key: str, sentence: str) -> None:
        """Pass on what happened to a job that is not its end."""
        if key in self.begun and not self.interrupted:
            self.observer.noted(self.begun[key], sentence)

    def leave(self, key: str, trouble: MachineTrouble) -> None:
        """Leave a job to the next driver because of what the machine did, with what needs it; others go on.

        Where the next one would meet the same, or the second in a row has met trouble, the grid ends.
        """
        if key not in self.begun or self.interrupted:
            return
        self.note(key, f"left open: {trouble.what}")
        job = self.begun.pop(key)
        self.observer.interrupted(job)
        self.trouble = trouble
        self._note_open(key, trouble.what)
        self._in_a_row += 1
        self.interrupted = trouble.everywhere or self._in_a_row > 1

    def leave_open(self) -> None:
        """After an interrupt: leave running jobs to the next driver."""
        for job in self.begun.values():
            self.observer.interrupted(job)
        self.begun.clear()

    def _close(self, job: Job, reason: str) -> None:
        if reason:
            self.failed[job.key] = reason
            with suppress(OSError, StoreError):  # a full disk may be the reason itself; observers are told all the same
                write_failure(self.grid.place(job), reason)
        else:
            self.done.add(job.key)
        self.observer.finished(job, "failed" if reason else "finished", reason)

    def _note_open(self, key: str, why: str) -> None:
        """Note why a job stays open; jobs that stay open for another need of theirs tell of this one as well."""
        self.open[key] = why
        for job in self.jobs.values():
            if job.key in self.open and key in job.needs:
                self.open[job.key] = self._what_it_needs(job)

    def _what_it_needs(self, job: Job) -> str:
        return f"it needs {' and '.join(self.jobs[need].label for need in job.needs if need in self.open)}"

    def _start(self, job: Job) -> None:
        self.begun[job.key] = job
        self.observer.started(job, was_begun(self.grid, job))

    def _give_up(self, job: Job) -> None:
        lost = [need for need in job.needs if need in self.failed]
        self.observer.started(job, False)
        self._close(job, "; ".join(f"{self.jobs[need].label} failed: {self.failed[need]}" for need in lost))

    def _has_place(self, job: Job) -> bool:
        alike = sum(other.gpus == job.gpus for other in self.begun.values())
        return alike < self.slots.get(job.gpus, alike + 1)

    def _fits(self, job: Job) -> bool:
        return self.until is None or time.time() + self.seconds(job) <= self.until
