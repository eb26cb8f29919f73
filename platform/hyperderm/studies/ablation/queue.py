"""Which job comes next: what is ready, in the order of the plan, as long as there is time."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from hyperderm.errors import MachineTrouble
from hyperderm.studies.ablation.job import Job
from hyperderm.studies.ablation.results import result_of, write_failure
from hyperderm.training.loop import Report


class Observer(Protocol):
    """Told on the driver, in the order things happen; must return quickly and never raise."""

    def started(self, job: Job, resumed: bool) -> None:
        """A job was handed out."""

    def reported(self, job: Job, report: Report) -> None:
        """A job reported."""

    def noted(self, job: Job, sentence: str) -> None:
        """Something happened to a job that a person should know, and it is not its end."""

    def finished(self, job: Job, reason: str) -> None:
        """A job ended: done (reason empty) or failed for good."""

    def interrupted(self, job: Job) -> None:
        """The grid stops while this job runs; the next driver goes on with it."""


class Queue:
    """The jobs of a plan on their way through Tune.

    Args:
        folder: of the grid.
        jobs: all of the plan, in its order; those done before are passed over.
        observers: told of everything.
        seconds: estimate of a job's time.
        until: `time.time()` after which nothing may still run; None: no limit.
        slots: number of GPUs a job takes to how many such jobs may run; none: Tune alone decides. A job that was handed out
            and waits for a GPU would start after its time was judged.
    """

    def __init__(
        self,
        folder: Path,
        jobs: Sequence[Job],
        observers: Sequence[Observer],
        seconds: Callable[[Job], float],
        until: float | None = None,
        slots: Mapping[float, int] | None = None,
    ) -> None:
        self.slots = dict(slots or {})
        self.folder, self.observers, self.seconds, self.until = folder, observers, seconds, until
        self.jobs = {job.key: job for job in jobs}
        self.done = {job.key for job in jobs if result_of(folder, job)}
        self.failed: dict[str, str] = {}
        self.running: dict[str, Job] = {}
        self.waiting = [job for job in self.jobs.values() if job.key not in self.done]
        self.late: list[Job] = []
        """Jobs not started because of `until`."""
        self.open: dict[str, str] = {}
        """Jobs that the next driver goes on with, and why: what the machine did to them, or to one that they need."""
        self.trouble: MachineTrouble | None = None
        """What the machine did last."""
        self.interrupted = False
        self._in_a_row = 0

    def __reduce__(self) -> tuple[type[object], tuple[()]]:
        """Pickle to nothing: Tune saves its callbacks for a restore of its own, but the folders are the state here."""
        return object, ()

    @property
    def wanted(self) -> int:
        """How many jobs are left."""
        return len(self.waiting)

    def ask(self) -> Job | None:
        """Return a job to start now, or None: nothing is ready, or the grid was interrupted."""
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
                return self._start(job)
        return None

    @property
    def over(self) -> bool:
        """Nothing is left to hand out, now or later."""
        return not self.waiting

    def report(self, key: str, report: Report) -> None:
        """Pass a report on."""
        if key in self.running:
            for each in self.observers:
                each.reported(self.running[key], report)

    def finish(self, key: str, reason: str = "") -> None:
        """Note the end of a job, done or failed for good; does nothing once the grid was interrupted."""
        job = self.running.get(key)
        if job is None or self.interrupted:
            return
        del self.running[key]
        self._in_a_row = 0
        if not reason and not result_of(self.folder, job):
            reason = "it ended without a result"
        self._close(job, reason)

    def note(self, key: str, sentence: str) -> None:
        """Pass on what happened to a job that is not its end."""
        if key in self.running and not self.interrupted:
            for each in self.observers:
                each.noted(self.running[key], sentence)

    def leave(self, key: str, trouble: MachineTrouble) -> None:
        """Leave a job to the next driver because of what the machine did, with what needs it; others go on.

        Where the next one would meet the same, or the second in a row has met trouble, the grid ends.
        """
        if key not in self.running or self.interrupted:
            return
        self.note(key, f"left open: {trouble.what}")
        job = self.running.pop(key)
        for each in self.observers:
            each.interrupted(job)
        self.trouble = trouble
        self._note_open(key, trouble.what)
        self._in_a_row += 1
        self.interrupted = trouble.everywhere or self._in_a_row > 1

    def leave_open(self) -> None:
        """After an interrupt: leave running jobs to the next driver."""
        for job in self.running.values():
            for each in self.observers:
                each.interrupted(job)
        self.running.clear()

    def _close(self, job: Job, reason: str) -> None:
        if reason:
            self.failed[job.key] = reason
            with suppress(OSError):  # a full disk may be the reason itself; observers are told all the same
                write_failure(self.folder / job.folder, reason)
        else:
            self.done.add(job.key)
        for each in self.observers:
            each.finished(job, reason)

    def _note_open(self, key: str, why: str) -> None:
        """Note why a job stays open; jobs that stay open for another need of theirs tell of this one as well."""
        self.open[key] = why
        for job in self.jobs.values():
            if job.key in self.open and key in job.needs:
                self.open[job.key] = self._what_it_needs(job)

    def _what_it_needs(self, job: Job) -> str:
        return f"it needs {' and '.join(self.jobs[need].label for need in job.needs if need in self.open)}"

    def _start(self, job: Job) -> Job:
        self.running[job.key] = job
        resumed = (self.folder / job.folder).exists()
        for each in self.observers:
            each.started(job, resumed)
        return job

    def _give_up(self, job: Job) -> None:
        lost = [need for need in job.needs if need in self.failed]
        for each in self.observers:
            each.started(job, False)
        self._close(job, "; ".join(f"{self.jobs[need].label} failed: {self.failed[need]}" for need in lost))

    def _has_place(self, job: Job) -> bool:
        alike = sum(other.gpus == job.gpus for other in self.running.values())
        return alike < self.slots.get(job.gpus, alike + 1)

    def _fits(self, job: Job) -> bool:
        return self.until is None or time.time() + self.seconds(job) <= self.until
