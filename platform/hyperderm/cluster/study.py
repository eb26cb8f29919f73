"""What sweeps and grids have in common: jobs are handed out, reported, ended, or left open for the next driver."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Generic, TypeVar

from hyperderm.cluster.observer import Job, Observer, Outcome
from hyperderm.errors import MachineTrouble

J = TypeVar("J", bound=Job)


class Study(ABC, Generic[J]):
    """Decides which job comes next, and what the reports and the end of a job mean; `cluster.tune_driver` runs the jobs.

    Args:
        observer: is told of every start, report, note and end of a job.
    """

    def __init__(self, observer: Observer) -> None:
        self.observer = observer
        self.handed: dict[str, J] = {}
        """The jobs that were handed out and have not ended, by key."""
        self.interrupted = False
        """True after a signal or after trouble of the machine; from then on no job is handed out or closed."""
        self.trouble: MachineTrouble | None = None
        """The last trouble of the machine that left a job open."""
        self._in_a_row = 0
        self._reached: dict[str, int] = {}

    def __reduce__(self) -> tuple[type[object], tuple[()]]:
        """Pickle to nothing: Tune saves its callbacks in order to restore them, but here files hold the state."""
        return object, ()

    @property
    @abstractmethod
    def over(self) -> bool:
        """Whether no further job will be handed out."""

    @abstractmethod
    def ask(self) -> J | None:
        """Return a job to start now; None if no job is ready or the study was interrupted."""

    @abstractmethod
    def _closed(self, job: J, failure: str) -> tuple[Outcome, str]:
        """Record the end of a job, and return its outcome and the reason; `failure` is "" if the job did not fail."""

    def _hand_out(self, job: J, resumed: bool) -> J:
        """Record that a job starts, and return it."""
        self.handed[job.key] = job
        self.observer.started(job, resumed)
        return job

    def _record_report(self, job: J, images: int, metrics: Mapping[str, float]) -> None:
        """Record a new report of a job."""

    def _stopped(self, key: str) -> bool:
        """Return whether the job is to be stopped early."""
        return False

    def _left(self, job: J, why: str) -> None:
        """Record that a job stays open; `why` names the trouble of the machine, or is "" after an interrupt."""

    def report(self, key: str, images: int, metrics: Mapping[str, float]) -> bool:
        """Record each report only once, and return whether the job is to be stopped early."""
        job = self.handed.get(key)
        if job is not None and images > self._reached.get(key, -1):
            self._reached[key] = images
            self.observer.reported(job, images, metrics)
            self._record_report(job, images, metrics)
        return self._stopped(key)

    def note(self, key: str, sentence: str) -> None:
        """Pass on to the observer something that happened to a job but did not end it."""
        if key in self.handed and not self.interrupted:
            self.observer.noted(self.handed[key], sentence)

    def tell(self, sentence: str) -> None:
        """Pass on to the observer an event of the cluster or of a server."""
        if not self.interrupted:
            self.observer.told(sentence)

    def finish(self, key: str, failure: str = "") -> None:
        """Record that a job is done or has failed for good; do nothing if the study was interrupted."""
        if key in self.handed and not self.interrupted:
            self._in_a_row = 0
            job = self.handed.pop(key)
            self.observer.finished(job, *self._closed(job, failure))

    def leave(self, key: str, trouble: MachineTrouble) -> None:
        """Leave a job to the next driver after trouble of the machine; other jobs go on.

        End the study if the next job would meet the same trouble, or if this is the second job in a row that met trouble.
        """
        if key not in self.handed or self.interrupted:
            return
        self.note(key, f"left open: {trouble.what}")
        self.trouble = trouble
        self._put_back(key, trouble.what)
        self._in_a_row += trouble.in_a_row
        self.interrupted = trouble.everywhere or self._in_a_row > 1

    def leave_open(self) -> None:
        """Leave every job that has not ended to the next driver."""
        for key in list(self.handed):
            self._put_back(key, "")

    def _put_back(self, key: str, why: str) -> None:
        job = self.handed.pop(key)
        self.observer.interrupted(job)
        self._left(job, why)
