"""Decide which job comes next: the first ready job in the order of the plan, as long as there is time."""

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
    """Hands the jobs of a plan to Tune, and keeps track of them.

    Args:
        grid: the folder in which the jobs leave their results.
        jobs: all jobs of the plan, in its order; finished jobs are skipped.
        observers: are told of everything that happens.
        seconds: estimates the seconds that a job takes.
        until: the `time.time()` by which every job must have ended; None means no limit.
        slots: number of GPUs per job to the number of such jobs that may run; if empty, Tune alone decides. The limit is
            needed because a job that waits for a GPU would start later than the time for which `until` was checked.
        config: turns a job into the configuration that Tune receives.
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
        """Jobs that were not started because they would not end by `until`."""
        self.open: dict[str, str] = {}
        """Key to reason of the jobs left to the next driver: trouble of the machine, with the job or one it needs."""
        self.trouble: MachineTrouble | None = None
        """The last trouble of the machine."""
        self.interrupted = False
        self._in_a_row = 0
        self._told: dict[str, int] = {}

    def __reduce__(self) -> tuple[type[object], tuple[()]]:
        """Pickle to nothing: Tune saves its callbacks in order to restore them, but here the folders hold the state."""
        return object, ()

    @property
    def wanted(self) -> int:
        """The number of jobs that are left."""
        return len(self.waiting)

    @property
    def running(self) -> bool:
        """Return whether a job that was handed out has not ended."""
        return bool(self.begun)

    def ask(self) -> dict[str, Any] | None:
        """Return the configuration of a job to start now; None if no job is ready or the grid was interrupted."""
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
        """Whether no job is left to hand out, now or later."""
        return not self.waiting

    def report(self, key: str, images: int, metrics: Mapping[str, float]) -> bool:
        """Pass each report on only once; return False, because no job of a grid is stopped early."""
        if key in self.begun and images > self._told.get(key, -1):
            self._told[key] = images
            self.observer.reported(self.begun[key], images, metrics)
        return False

    def finish(self, key: str, failure: str = "") -> None:
        """Record that a job is done or has failed for good; do nothing if the grid was interrupted."""
        job = self.begun.get(key)
        if job is None or self.interrupted:
            return
        del self.begun[key]
        self._in_a_row = 0
        if not failure and not result_of(self.grid, job):
            failure = "it ended without a result"
        self._close(job, failure)

    def note(self, key: str, sentence: str) -> None:
        """Pass on to the observer something that happened to a job but did not end it."""
        if key in self.begun and not self.interrupted:
            self.observer.noted(self.begun[key], sentence)

    def leave(self, key: str, trouble: MachineTrouble) -> None:
        """Leave a job, and the jobs that need it, to the next driver after trouble of the machine; other jobs go on.

        End the grid if the next job would meet the same trouble, or if this is the second job in a row that met trouble.
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
        """After an interrupt, leave the running jobs to the next driver."""
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
        """Record why a job stays open; jobs that are open because of another need then name this job as well."""
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
