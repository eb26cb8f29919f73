"""Decide which job comes next: the first ready job in the order of the plan, as long as there is time."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from hyperderm.cluster.observer import Observer, Outcome
from hyperderm.cluster.study import Study
from hyperderm.errors import StoreError
from hyperderm.studies.ablation.jobs import Job
from hyperderm.studies.ablation.records import GridFolder, has_begun, result_of, write_failure


class JobQueue(Study[Job]):
    """Hands the jobs of a plan to Tune, and keeps track of them.

    Args:
        grid: the folder in which the jobs leave their results.
        jobs: all jobs of the plan, in its order; finished jobs are skipped.
        observers: are told of everything that happens.
        seconds: estimates the seconds that a job takes.
        until: the `time.time()` by which every job must have ended; None means no limit.
        slots: number of GPUs per job to the number of such jobs that may run; if empty, Tune alone decides. The limit is
            needed because a job that waits for a GPU would start later than the time for which `until` was checked.
    """

    def __init__(
        self,
        grid: GridFolder,
        jobs: Sequence[Job],
        observer: Observer,
        seconds: Callable[[Job], float] = lambda job: 0.0,
        until: float | None = None,
        slots: Mapping[float, int] | None = None,
    ) -> None:
        super().__init__(observer)
        self.grid, self.seconds, self.until, self.slots = grid, seconds, until, dict(slots or {})
        self.jobs = {job.key: job for job in jobs}
        self.done = {job.key for job in jobs if result_of(grid, job)}
        self.failed: dict[str, str] = {}
        self.waiting = [job for job in self.jobs.values() if job.key not in self.done]
        self.late: list[Job] = []
        """Jobs that were not started because they would not end by `until`."""
        self.open: dict[str, str] = {}
        """Key to reason of the jobs left to the next driver: trouble of the machine, with the job or one it needs."""

    @property
    def wanted(self) -> int:
        """The number of jobs that are left."""
        return len(self.waiting)

    @property
    def over(self) -> bool:
        """Whether no job is left to hand out, now or later."""
        return not self.waiting

    def ask(self) -> Job | None:
        """Return a job to start now; None if no job is ready or the grid was interrupted."""
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
                return self._hand_out(job, has_begun(self.grid, job))
        return None

    def _closed(self, job: Job, failure: str) -> tuple[Outcome, str]:
        reason = failure or ("" if result_of(self.grid, job) else "it ended without a result")
        if reason:
            self.failed[job.key] = reason
            with suppress(OSError, StoreError):  # a full disk may be the reason itself; observers are told all the same
                write_failure(self.grid.place(job), reason)
            return "failed", reason
        self.done.add(job.key)
        return "finished", ""

    def _left(self, job: Job, why: str) -> None:
        if why:
            self._note_open(job.key, why)

    def _note_open(self, key: str, why: str) -> None:
        """Record why a job stays open; jobs that are open because of another need then name this job as well."""
        self.open[key] = why
        for job in self.jobs.values():
            if job.key in self.open and key in job.needs:
                self.open[job.key] = self._what_it_needs(job)

    def _what_it_needs(self, job: Job) -> str:
        return f"it needs {' and '.join(self.jobs[need].label for need in job.needs if need in self.open)}"

    def _give_up(self, job: Job) -> None:
        """Close a job that was never started, because a job that it needs has failed."""
        lost = [need for need in job.needs if need in self.failed]
        self.observer.started(job, False)
        reason = "; ".join(f"{self.jobs[need].label} failed: {self.failed[need]}" for need in lost)
        self.observer.finished(job, *self._closed(job, reason))

    def _has_place(self, job: Job) -> bool:
        alike = sum(other.gpus == job.gpus for other in self.handed.values())
        return alike < self.slots.get(job.gpus, alike + 1)

    def _fits(self, job: Job) -> bool:
        return self.until is None or time.time() + self.seconds(job) <= self.until
