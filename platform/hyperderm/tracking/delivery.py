"""Deliver the event log to MLflow, in order and from one thread, with patience while the server is away."""

import errno
import logging
import math
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from hyperderm.databases import trouble
from hyperderm.tracking.event_log import EventLog, Operation

LINGER_S = 0.1  # after a quiet time: let metrics gather into one request
BACKOFF_S = (0.5, 30.0)
TOLERANCE = 4  # failures of one batch before each further one is followed by a probe
PATIENCE = 6  # failures in a row (two minutes) with a server that answers the probe: the batch itself is the cause

QUIET_S = 120.0  # between two complaints of one trouble
DELIVERING = "delivering"

log = logging.getLogger(__name__)


class Refused(Exception):
    """Says that the server will never accept these operations, or the whole batch if none are named.

    Attributes:
        passing: the reason is that this machine cannot read or keep them; the next driver tries again, since this may be
            repaired.
    """

    def __init__(self, reason: str, operations: Sequence[Operation] = (), *, passing: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.operations, self.passing = reason, list(operations), passing


class Delivery:
    """Accepts operations as fast as a local SQLite insert, and delivers them from a daemon thread.

    Args:
        event_log: holds the waiting operations; those of an earlier driver are delivered first.
        deliver: delivers one batch; raises Refused for a batch that can never succeed, and anything else for a batch that
            may succeed later. It must be idempotent: a batch is delivered again if the driver dies before the event log
            removes the batch.
        probe: sends a harmless request, and raises while the server is away. It shows whether the server is away or cannot
            accept a batch, so that one such batch never blocks the queue for good.
        on_warning: is told when the server goes away or comes back, and of refusals; called from any thread.
    """

    def __init__(
        self,
        event_log: EventLog,
        deliver: Callable[[Sequence[Operation]], None],
        probe: Callable[[], None],
        on_warning: Callable[[str], None],
    ) -> None:
        self.event_log = event_log
        self._deliver, self._probe, self._warn = deliver, probe, guarded(on_warning)
        self._signal = threading.Condition()
        self._closing = self._fresh = self._hurry = False
        self._flushing = 0
        self._failures = self._blamed = 0
        self._away_since: float | None = None
        self._stuck = ""
        self._said: set[tuple[str, str, str]] = set()
        self._complained_s = -math.inf
        with suppress(sqlite3.Error):  # a disk in trouble: the driver after this one puts it back
            event_log.requeue_refused()
        self._thread = threading.Thread(target=self._run, name="hyperderm-outbox", daemon=True)
        self._thread.start()

    @property
    def pending(self) -> int:
        """The number of operations that are not yet delivered."""
        return self.event_log.pending

    @property
    def state(self) -> str:
        """`delivering`, or since when the server is away, or why the event log cannot be used or nothing is delivered."""
        if self._stuck:
            return self._stuck
        since = self._away_since
        return DELIVERING if since is None else f"server away since {time.strftime('%H:%M:%S', time.localtime(since))}"

    def put(self, run: str, kind: str, body: Mapping[str, object], file: Path | None = None) -> None:
        """Write one operation to the event log."""
        self._guarded(lambda: self.event_log.append(run, kind, body, file))

    def put_metrics(self, run: str, metrics: Mapping[str, float], step: int) -> None:
        """Write the metrics of one step to the event log, except metrics already written for this step or a later one."""
        now = time.time_ns() // 1_000_000
        self._guarded(lambda: self.event_log.append_metrics(run, metrics, step, now))

    def flush(self, timeout_s: float) -> int:
        """Wait until everything is delivered or the time is over; return the number of undelivered operations."""
        deadline = time.monotonic() + timeout_s
        with self._signal:
            self._flushing += 1
            self._hurry = True
            self._signal.notify_all()
            try:
                while (owed := self.pending) and (left := deadline - time.monotonic()) > 0 and self._thread.is_alive():
                    self._signal.wait(min(left, 0.5))
            finally:
                self._flushing -= 1
        return owed

    def close(self) -> None:
        """Stop delivering and close the event log; undelivered operations stay in the event log for the next driver."""
        with self._signal:
            self._closing = True
            self._signal.notify_all()
        self._thread.join(timeout=5)  # a request in flight ends by itself; its batch is then delivered again next time
        self.event_log.close()

    def _guarded(self, write: Callable[[], None]) -> None:
        """Write to the event log; if the disk is full, the record is lost but the training goes on."""
        try:
            write()
        except sqlite3.Error as error:
            self._complain(f"cannot be written ({error}): tracking is losing data; the same command again mends it")
            return
        with self._signal:
            self._fresh = True
            self._signal.notify_all()

    def _complain(self, what: str) -> None:
        """Warn about the event log, unless a warning came a moment ago, because a full disk makes every write fail."""
        now = time.monotonic()
        if now - self._complained_s > QUIET_S:
            self._warn(f"The tracking event log {self.event_log.path} {what}")
        self._complained_s = now

    def _run(self) -> None:
        try:
            while not self._closing:
                self._turn()
        except BaseException as error:  # nothing of a delivery raises such: whatever ends this thread is told
            self._stuck = (
                f"delivery has ended ({type(error).__name__}: {error}); the same command again delivers what is owed"
            )
            if not self._closing:
                self._complain(f"is not delivered any more ({self._stuck})")

    def _turn(self) -> None:
        """Deliver one batch or wait for one; no error ends the thread, and warnings are repeated as long as an error lasts.

        This also holds for errors that do not come from SQLite or the disk, such as a row that is no JSON or a lack of
        memory.
        """
        try:
            with self._signal:
                self._fresh = False
            batch = self.event_log.next_batch()
            if batch:
                self._attempt(batch)
            else:
                self._idle()
            self._stuck = ""
        except Exception as error:
            if not self._closing:
                self._complain(f"cannot be used ({error}): nothing is delivered")
                self._stuck = f"the tracking event log cannot be used: {error}"
                self._wait(BACKOFF_S[1])

    def _idle(self) -> None:
        with self._signal:
            self._signal.notify_all()
            self._signal.wait_for(lambda: self._fresh or self._closing)
            self._signal.wait_for(lambda: self._closing or self._flushing > 0, LINGER_S)

    def _attempt(self, batch: Sequence[Operation]) -> None:
        try:
            self._deliver(batch)
        except Refused as refusal:
            self._refuse(batch, refusal)
        except Exception as error:
            self._put_off(batch, error)
            return
        else:
            self.event_log.remove_delivered(batch)
            _remove_spooled(batch)
        self._failures = self._blamed = 0
        if self._away_since is not None:
            self._away_since = None
            self._warn(f"MLflow answers again; {self.pending} tracking entries are being delivered")

    def _refuse(self, batch: Sequence[Operation], refusal: Refused) -> None:
        refused = refusal.operations or batch
        self.event_log.remove_delivered(batch, refused, refusal.reason, refusal.passing)
        first = refused[0]
        if (said := (first.run, first.kind, refusal.reason[:80])) not in self._said:
            self._said.add(said)
            self._warn(
                f"MLflow refused {first.kind} of run {first.run!r} ({refusal.reason}); "
                f"kept in the table `refused` of {self.event_log.path}"
            )

    def _put_off(self, batch: Sequence[Operation], error: Exception) -> None:
        """Wait longer after every failure; give up a batch only if it keeps failing while the server answers.

        An error of a disk or a database file (read-only, locked, damaged or full) is never blamed on the batch.
        """
        self._failures += 1
        blamed = self._failures > TOLERANCE and not _is_full(error) and not trouble(error) and self._answers()
        self._blamed = self._blamed + 1 if blamed else 0
        if self._blamed >= PATIENCE:
            reason = f"given up after {self._failures} attempts while the server answers: {error}"
            self._refuse(batch, Refused(reason, passing=of_this_machine(error)))
            self._failures, self._blamed, self._away_since = 0, 0, None
            return
        if self._away_since is None and not self._closing:
            self._away_since = time.time()
            self._warn(
                f"MLflow does not take tracking data ({_short(error)}); training goes on, "
                f"{self.pending} entries wait in {self.event_log.path}"
            )
        shortest, longest = BACKOFF_S
        delay = min(longest, shortest * 2 ** min(self._failures - 1, 10))
        self._wait(min(delay, 1.0) if self._flushing else delay)

    def _answers(self) -> bool:
        try:
            self._probe()
        except Exception:
            return False
        return True

    def _wait(self, seconds: float) -> None:
        with self._signal:
            self._signal.wait_for(lambda: self._closing or self._hurry, seconds)
            self._hurry = False


def guarded(callback: Callable[[str], None]) -> Callable[[str], None]:
    """Return the callback with its own exceptions caught, so that they do not stop a delivery or a training."""

    def warn(message: str) -> None:
        try:
            callback(message)
        except Exception:
            log.exception("The callback for tracking warnings failed; the warning was: %s", message)

    return warn


def _remove_spooled(batch: Sequence[Operation]) -> None:
    """Remove the copies of delivered files; the next driver removes copies that remain."""
    for operation in batch:
        if operation.file is not None:
            with suppress(OSError):
                operation.file.unlink(missing_ok=True)
                if operation.file.parent.exists() and not any(operation.file.parent.iterdir()):
                    operation.file.parent.rmdir()


def of_this_machine(error: BaseException) -> bool:
    """Return whether the error comes from this machine's operating system (a disk, for example) and not from a server."""
    return isinstance(error, OSError) and error.errno is not None and getattr(error, "response", None) is None


def _is_full(error: Exception) -> bool:
    """Return whether a disk is full; later operations would fail too, and making room repairs the trouble."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def _short(error: Exception) -> str:
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0][:200]
