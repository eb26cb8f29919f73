"""The event log of undelivered MLflow operations: one SQLite file that outlives its driver and serves one at a time."""

import fcntl
import json
import math
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hyperderm import databases
from hyperderm.errors import TrackingError

METRICS_PER_BATCH = 1000  # MLflow's own limit for one log_batch
BUSY_MS = 5000
"""Milliseconds that one write waits for another program, in the middle of a training."""
DAMAGED = (
    "Move it away, with the folder .spool beside it, and repeat the command: MLflow then lacks what was not delivered yet; "
    "trials, checkpoints and results are kept."
)

SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS operations
    (id INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL, file TEXT);
CREATE INDEX IF NOT EXISTS by_run ON operations (run, id);
CREATE INDEX IF NOT EXISTS barriers ON operations (run, id) WHERE kind <> 'metrics';
CREATE TABLE IF NOT EXISTS refused
    (id INTEGER PRIMARY KEY, run TEXT, kind TEXT, body TEXT, file TEXT, reason TEXT, refused_at REAL);
CREATE TABLE IF NOT EXISTS passing (id INTEGER PRIMARY KEY);
CREATE TABLE IF NOT EXISTS runs (run TEXT PRIMARY KEY, run_id TEXT NOT NULL, experiment_id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS steps (run TEXT, metric TEXT, step INTEGER, PRIMARY KEY (run, metric)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS floors (run TEXT, metric TEXT, step INTEGER, PRIMARY KEY (run, metric)) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Operation:
    """One operation on one run; `kind` is open, metrics, tags, file or close."""

    id: int
    run: str
    kind: str
    body: Mapping[str, Any]
    file: Path | None = None


class EventLog:
    """Holds the undelivered and the refused operations, the known run ids, and the highest step of every metric.

    One connection under one lock serves the callers and the delivery thread. The file uses WAL without a sync per commit: a
    killed driver loses nothing, and a power cut may lose the last second. Like any SQLite file it belongs on a local disk.
    """

    def __init__(self, path: Path, say: Callable[[str], None] = lambda text: None) -> None:
        self.path = path
        self.spool = path.with_name(path.name + ".spool").absolute()
        self._lock = threading.RLock()
        self._steps: dict[str, dict[str, int]] = {}
        self._runs: dict[str, tuple[str, str]] = {}
        self._end: tuple[int, list[tuple[str, str, str]]] | None = None  # pending and refused when it was closed
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._owner = path.with_name(path.name + ".lock").open("a")
            fcntl.flock(self._owner, fcntl.LOCK_EX | fcntl.LOCK_NB)  # released by the kernel, also after kill -9
            self._db = databases.patiently(self._opened, path, say)
        except BlockingIOError as error:
            self._owner.close()
            raise TrackingError(
                f"The tracking event log {path} is in use by another hyperderm process",
                "Wait until it ends, or stop it; an event log belongs to one driver",
            ) from error
        except sqlite3.Error as error:
            self._owner.close()
            raise TrackingError(*databases.told(path, error, DAMAGED)) from error
        except OSError as error:
            raise TrackingError(
                f"The tracking event log {path} cannot be written: {error}", "Give a folder on a local disk with space"
            ) from error

    def _opened(self) -> sqlite3.Connection:
        """Open the file, and create its missing tables; creating a table again does no harm."""
        made = sqlite3.connect(self.path, timeout=1, check_same_thread=False, isolation_level=None)
        try:
            made.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;" + SCHEMA)
            databases.prove(made)
            made.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        except BaseException:
            made.close()
            raise
        return made

    def bind(self, destination: str, same: Callable[[str, Sequence[str]], bool] = lambda known, runs: False) -> None:
        """Record the destination of this event log; refuse another destination while operations are owed to the first one.

        Args:
            destination: the name of the destination, in words that a user understands.
            same: says of an earlier destination and its run ids whether it is the present destination, only moved.
        """
        with self._lock, self._transaction():
            row = self._db.execute("SELECT value FROM meta WHERE name = 'destination'").fetchone()
            runs = [str(one[0]) for one in self._db.execute("SELECT run_id FROM runs")]
            if row and row[0] != destination and not same(row[0], runs):
                owed = self.pending
                if owed:
                    raise TrackingError(
                        f"The tracking event log {self.path} still owes {owed} entries to {row[0]}, not to {destination}",
                        "Start that server and run once with its MLFLOW_TRACKING_URI, or delete the event log "
                        "to give the entries up",
                    )
                for table in ("runs", "steps", "floors"):
                    self._db.execute(f"DELETE FROM {table}")  # noqa: S608  names from the line above
            self._db.execute("INSERT OR REPLACE INTO meta VALUES ('destination', ?)", (destination,))

    def append(self, run: str, kind: str, body: Mapping[str, object], file: Path | None = None) -> None:
        """Add one operation; once this method returns, the operation survives kill -9."""
        row = (run, kind, json.dumps(body), None if file is None else str(file))
        with self._lock:
            self._db.execute("INSERT INTO operations (run, kind, body, file) VALUES (?, ?, ?, ?)", row)

    def append_metrics(self, run: str, metrics: Mapping[str, float], step: int, timestamp_ms: int) -> None:
        """Add, in one transaction, the metrics whose step is above all steps already recorded for this run and metric."""
        with self._lock:
            marks = self._marks(run)
            fresh = {name: value for name, value in metrics.items() if step > marks.get(name, -math.inf)}
            if not fresh:
                return
            body = json.dumps({"step": step, "timestamp": timestamp_ms, "metrics": fresh})
            with self._transaction():
                self._db.execute("INSERT INTO operations (run, kind, body) VALUES (?, 'metrics', ?)", (run, body))
                self._db.executemany("INSERT OR REPLACE INTO steps VALUES (?, ?, ?)", [(run, n, step) for n in fresh])
            marks.update(dict.fromkeys(fresh, step))

    def next_batch(self) -> list[Operation]:
        """Return the oldest operation; if it is metrics, also the run's next metrics up to an operation of another kind."""
        fields = "SELECT id, run, kind, body, file FROM operations"
        with self._lock:
            first = self._db.execute(f"{fields} ORDER BY id LIMIT 1").fetchone()
            if first is None or first[2] != "metrics":
                return [] if first is None else [self._operation(first)]
            barrier = "SELECT min(id) FROM operations WHERE run = ?1 AND kind <> 'metrics'"
            query = f"{fields} WHERE run = ?1 AND id < ifnull(({barrier}), {2**63 - 1}) ORDER BY id LIMIT 1000"
            rows = self._db.execute(query, (first[1],)).fetchall()
        batch: list[Operation] = []
        count = 0
        for operation in map(self._operation, rows):
            count += len(operation.body["metrics"])
            if batch and count > METRICS_PER_BATCH:
                break
            batch.append(operation)
        return batch

    def remove_delivered(
        self, batch: Sequence[Operation], refused: Iterable[Operation] = (), reason: str = "", passing: bool = False
    ) -> None:
        """Remove a batch from the event log, and keep its refused operations with the reason in a table of their own.

        With `passing`, this machine could not read or keep the refused operations; `requeue_refused` makes them owed again.
        """
        with self._lock, self._transaction():
            refused_ids = [operation.id for operation in refused]
            self._db.executemany(
                "INSERT OR REPLACE INTO refused SELECT id, run, kind, body, file, ?, ? FROM operations WHERE id = ?",
                [(reason, time.time(), number) for number in refused_ids],
            )
            if passing:
                self._db.executemany("INSERT OR REPLACE INTO passing VALUES (?)", [(number,) for number in refused_ids])
            self._db.executemany("DELETE FROM operations WHERE id = ?", [(operation.id,) for operation in batch])

    def requeue_refused(self) -> None:
        """Put back in order the operations set aside because of this machine, since it may have been repaired."""
        with self._lock, self._transaction():
            again = "FROM refused WHERE id IN (SELECT id FROM passing)"
            self._db.execute(f"INSERT OR IGNORE INTO operations SELECT id, run, kind, body, file {again}")
            self._db.execute(f"DELETE {again}")
            self._db.execute("DELETE FROM passing")

    def record_run(self, run: str, run_id: str, experiment_id: str, floors: Mapping[str, int]) -> None:
        """Record the id of a run, and the steps that the server already held when this event log first met the run."""
        with self._lock, self._transaction():
            self._db.execute("INSERT OR REPLACE INTO runs VALUES (?, ?, ?)", (run, run_id, experiment_id))
            self._runs[run] = (run_id, experiment_id)
            rows = [(run, metric, step) for metric, step in floors.items()]
            self._db.executemany("INSERT OR REPLACE INTO floors VALUES (?, ?, ?)", rows)

    def forget_steps(self, run: str) -> None:
        """Allow every step to be logged again, because the server no longer has this run."""
        with self._lock, self._transaction():
            self._db.execute("DELETE FROM steps WHERE run = ?", (run,))
            self._db.execute("DELETE FROM floors WHERE run = ?", (run,))
            self._steps.pop(run, None)

    def known_run(self, run: str) -> tuple[str, str] | None:
        """Return (run id, experiment id) of a run that was delivered before; also after the event log is closed."""
        with self._lock:
            if run not in self._runs and self._end is None:
                row = self._db.execute("SELECT run_id, experiment_id FROM runs WHERE run = ?", (run,)).fetchone()
                if row is not None:
                    self._runs[run] = (row[0], row[1])
            return self._runs.get(run)

    def floors(self, run: str) -> dict[str, int]:
        """Return metric to the step that the server already held when this event log first met the run."""
        with self._lock:
            return dict(self._db.execute("SELECT metric, step FROM floors WHERE run = ?", (run,)).fetchall())

    def files(self) -> set[Path]:
        """Return every copied file that an undelivered or refused operation still names."""
        query = "SELECT file FROM operations WHERE file IS NOT NULL UNION SELECT file FROM refused WHERE file IS NOT NULL"
        with self._lock:
            return {self._spooled(row[0]) for row in self._db.execute(query)}

    def _spooled(self, file: str) -> Path:
        """Return the present place of a copied file, because the event log may have been moved together with its spool."""
        return self.spool.joinpath(*Path(file).parts[-2:])

    def _operation(self, row: tuple[int, str, str, str, str | None]) -> Operation:
        number, run, kind, body, file = row
        return Operation(number, run, kind, json.loads(body), None if file is None else self._spooled(file))

    @property
    def pending(self) -> int:
        """The number of operations that are not yet delivered; after `close`, their number at that time."""
        with self._lock:
            if self._end is not None:
                return self._end[0]
            return int(self._db.execute("SELECT count(*) FROM operations").fetchone()[0])

    @property
    def refused(self) -> list[tuple[str, str, str]]:
        """The refused operations as (run, kind, reason), oldest first; after `close`, those of that time."""
        with self._lock:
            if self._end is not None:
                return self._end[1]
            return self._db.execute("SELECT run, kind, reason FROM refused ORDER BY id").fetchall()

    def close(self) -> None:
        """Close the file, so that another driver can open it."""
        with self._lock, suppress(sqlite3.Error):
            self._end = self.pending, self.refused
            self._db.close()
        self._owner.close()

    def _marks(self, run: str) -> dict[str, int]:
        if run not in self._steps:
            rows = self._db.execute("SELECT metric, step FROM steps WHERE run = ?", (run,)).fetchall()
            self._steps[run] = dict(rows)
        return self._steps[run]

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except BaseException:  # KeyboardInterrupt too: an open transaction would end all later writes
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
