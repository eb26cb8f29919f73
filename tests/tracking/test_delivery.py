"""The outbox with a server made of a list: order, patience, refusals, restarts."""

import sqlite3
import threading
import time
from pathlib import Path

import pytest

from hyperderm.errors import TrackingError
from hyperderm.tracking import delivery as outbox_module
from hyperderm.tracking.delivery import Delivery, Refused
from hyperderm.tracking.event_log import EventLog


class Server:
    """Takes batches into a list; `broken` is what it raises instead."""

    def __init__(self) -> None:
        self.taken: list[list[tuple[str, str, object]]] = []
        self.broken: Exception | None = None
        self.probe_fails = True
        self.warnings: list[str] = []

    def deliver(self, batch):
        if self.broken is not None:
            raise self.broken
        if batch[0].body.get("poison"):
            raise Refused("INVALID_PARAMETER_VALUE: poison")
        if batch[0].body.get("indigestible"):
            raise RuntimeError("500")
        self.taken.append([(operation.run, operation.kind, operation.body) for operation in batch])

    def probe(self):
        if self.probe_fails:
            raise ConnectionError

    def outbox(self, path: Path) -> Delivery:
        return Delivery(EventLog(path), self.deliver, self.probe, self.warnings.append)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(outbox_module, "BACKOFF_S", (0.01, 0.05))
    return Server()


def test_order_is_kept_and_metrics_of_one_run_travel_together(server, tmp_path):
    server.broken = ConnectionError("away")
    box = server.outbox(tmp_path / "j.db")
    box.put("a", "open", {})
    box.put("b", "open", {})
    for step in range(600):
        box.put_metrics("a", {"loss": float(step), "acc": 1.0}, step)
        box.put_metrics("b", {"loss": -float(step)}, step)
    box.put("a", "tags", {"tags": {"x": "y"}})
    box.put_metrics("a", {"loss": 7.0}, 600)
    box.put("a", "close", {})
    server.broken = None
    assert box.flush(5) == 0
    box.close()

    batches_of_a = [batch for batch in server.taken if batch[0][0] == "a"]
    assert [batch[0][1] for batch in batches_of_a] == ["open", "metrics", "metrics", "tags", "metrics", "close"]
    assert [len(batch) for batch in batches_of_a[1:3]] == [500, 100]  # 1,000 metrics a request
    steps = [body["step"] for batch in batches_of_a for _, kind, body in batch if kind == "metrics"]
    assert steps == list(range(601))
    assert [len(batch) for batch in server.taken if batch[0][:2] == ("b", "metrics")] == [600]


def test_a_refusal_is_kept_told_once_and_blocks_nothing(server, tmp_path):
    box = server.outbox(tmp_path / "j.db")
    for number in range(3):
        box.put("a", "tags", {"poison": True, "number": number})
    box.put("a", "tags", {"tags": {}})
    assert box.flush(5) == 0
    assert len(server.taken) == 1
    assert [row[:2] for row in box.event_log.refused] == [("a", "tags")] * 3
    assert len(server.warnings) == 1
    assert "poison" in server.warnings[0]
    box.close()


def test_a_batch_that_the_living_server_cannot_digest_is_given_up_in_the_end(server, tmp_path):
    box = server.outbox(tmp_path / "j.db")
    box.put("a", "tags", {"indigestible": True})
    box.put("a", "close", {})
    assert box.flush(1.0) == 2, "while the probe fails too, the server is away and nothing is given up"
    server.probe_fails = False
    assert box.flush(5) == 0
    assert "given up" in box.event_log.refused[0][2]
    assert server.taken[0][0][1] == "close"
    box.close()


def test_a_server_that_comes_and_goes_is_no_reason_to_give_up(server, tmp_path):
    answers = iter([True, True, False] * 1000)

    def probe():
        if not next(answers):
            raise ConnectionError

    server.probe = probe
    server.broken = ConnectionError()
    box = server.outbox(tmp_path / "j.db")
    box.put("a", "open", {})
    assert box.flush(1.5) == 1
    assert box.event_log.refused == []
    server.broken = None
    assert box.flush(5) == 0
    box.close()


@pytest.mark.parametrize("code", ["SQLITE_READONLY", "SQLITE_BUSY", "SQLITE_CORRUPT", "SQLITE_FULL"])
def test_what_ails_the_database_file_is_never_blamed_on_a_batch(server, tmp_path, code):
    ill = sqlite3.OperationalError("attempt to write a readonly database")
    ill.sqlite_errorcode = getattr(sqlite3, code)
    server.broken = RuntimeError("BAD_REQUEST")  # as MLflow wraps it
    server.broken.__cause__ = ill
    server.probe_fails = False
    box = server.outbox(tmp_path / "j.db")
    box.put("a", "open", {})
    box.put("a", "close", {})
    assert box.flush(1.0) == 2
    assert box.event_log.refused == []
    server.broken = None
    assert box.flush(5) == 0
    assert [batch[0][1] for batch in server.taken] == ["open", "close"]
    box.close()


def test_server_away_is_a_state_told_once_and_left_by_itself(server, tmp_path):
    server.broken = ConnectionError("no route")
    box = server.outbox(tmp_path / "j.db")
    assert box.state == "delivering"
    box.put("a", "open", {})
    started = time.monotonic()
    assert box.flush(0.3) == 1
    assert time.monotonic() - started < 0.5
    assert box.state.startswith("server away since ")
    server.broken = None
    assert box.flush(5) == 0
    time.sleep(0.05)
    assert box.state == "delivering"
    assert len(server.warnings) == 2
    assert "no route" in server.warnings[0]
    assert "answers again" in server.warnings[1]
    box.close()


def test_the_next_driver_delivers_what_was_left_first(server, tmp_path):
    server.broken = ConnectionError()
    first = server.outbox(tmp_path / "j.db")
    first.put("a", "open", {"number": 0})
    first.put_metrics("a", {"loss": 1.0}, 5)
    first.close()
    assert first.pending == 2

    server.broken = None
    second = server.outbox(tmp_path / "j.db")
    second.put("a", "close", {})
    assert second.flush(5) == 0
    assert [batch[0][1] for batch in server.taken] == ["open", "metrics", "close"]
    second.close()


def test_high_water_is_kept_by_metric_and_survives_a_restart(server, tmp_path):
    box = server.outbox(tmp_path / "j.db")
    for step in (1, 2, 3, 2, 3):
        box.put_metrics("a", {"loss": float(step)}, step)
    box.put_metrics("a", {"val": 0.5, "loss": 9.0}, 3)  # val is new at step 3, loss is not
    assert box.flush(5) == 0
    box.close()
    box = server.outbox(tmp_path / "j.db")
    for step in (2, 3, 4):
        box.put_metrics("a", {"loss": float(step)}, step)
    assert box.flush(5) == 0
    box.close()
    logged = [(body["step"], body["metrics"]) for batch in server.taken for _, _, body in batch]
    assert logged == [(1, {"loss": 1.0}), (2, {"loss": 2.0}), (3, {"loss": 3.0}), (3, {"val": 0.5}), (4, {"loss": 4.0})]


def test_a_journal_belongs_to_one_driver(server, tmp_path):
    box = server.outbox(tmp_path / "j.db")
    with pytest.raises(TrackingError, match="in use by another"):
        EventLog(tmp_path / "j.db")
    box.close()
    EventLog(tmp_path / "j.db").close()


def test_a_journal_does_not_change_its_destination_while_it_owes(tmp_path):
    event_log = EventLog(tmp_path / "j.db")
    event_log.bind("http://one (x)")
    event_log.append("a", "open", {})
    with pytest.raises(TrackingError, match="still owes 1"):
        event_log.bind("http://two (x)")
    event_log.remove_delivered([event_log.next_batch()[0]])
    event_log.record_run("a", "id", "1", {})
    event_log.bind("http://two (x)")
    event_log.close()
    assert sqlite3.connect(tmp_path / "j.db").execute("SELECT count(*) FROM runs").fetchone() == (0,)


def test_a_place_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TrackingError, match="cannot be written"):
        EventLog(tmp_path / "file" / "j.db")


def test_callers_in_many_threads_are_fast_while_nothing_is_delivered(server, tmp_path):
    server.broken = ConnectionError()
    box = server.outbox(tmp_path / "j.db")
    slowest = [0.0] * 4

    def log(number: int) -> None:
        for step in range(500):
            started = time.perf_counter()
            box.put_metrics(f"run{number}", {f"m{i}": 1.0 for i in range(5)}, step)
            slowest[number] = max(slowest[number], time.perf_counter() - started)

    threads = [threading.Thread(target=log, args=(number,)) for number in range(4)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - started < 5  # 10,000 metrics
    assert max(slowest) < 0.5  # an order less than one request
    assert box.pending == 2000
    box.close()


def test_a_callback_or_journal_that_fails_does_not_reach_the_caller(server, tmp_path):
    def fails(message: str) -> None:
        raise ValueError(message)

    box = Delivery(EventLog(tmp_path / "j.db"), server.deliver, server.probe, fails)
    box.put("a", "tags", {"poison": True})
    assert box.flush(5) == 0
    box.close()
    box.put("a", "tags", {})  # the event log is closed: lost, but no exception


def test_what_could_not_be_journalled_is_told_with_its_remedy(server, tmp_path, monkeypatch):
    box = server.outbox(tmp_path / "j.db")

    def locked(*arguments):
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(box.event_log, "append", locked)
    box.put("a", "open", {})
    box.close()
    assert server.warnings[0].endswith("tracking is losing data; the same command again mends it")


@pytest.mark.parametrize("error", [sqlite3.OperationalError("database or disk is full"), OSError(28, "No space left")])
def test_a_journal_that_cannot_be_written_is_a_state_and_left_by_itself(server, tmp_path, monkeypatch, error):
    box = server.outbox(tmp_path / "j.db")
    remove_delivered = box.event_log.remove_delivered

    def full(*arguments):
        raise error

    monkeypatch.setattr(box.event_log, "remove_delivered", full)
    box.put("a", "open", {})
    assert box.flush(0.3) == 1
    assert box.state.startswith("the tracking event log cannot be used: ")
    monkeypatch.setattr(box.event_log, "remove_delivered", remove_delivered)
    assert box.flush(5) == 0
    assert box.state == "delivering"
    box.close()


@pytest.mark.parametrize(
    "error", [OSError(5, "Input/output error", "j.db"), ValueError("no JSON"), RuntimeError("can't start new thread")]
)
def test_the_delivery_survives_whatever_it_meets_says_so_and_goes_on(server, tmp_path, monkeypatch, error):
    box = server.outbox(tmp_path / "j.db")
    read = box.event_log.next_batch

    def fails():
        raise error

    monkeypatch.setattr(box.event_log, "next_batch", fails)
    box.put("a", "open", {})
    assert box.flush(0.3) == 1
    assert box.state.startswith("the tracking event log cannot be used: ")
    assert str(error) in box.state
    assert str(error) in server.warnings[0]
    monkeypatch.setattr(box.event_log, "next_batch", read)
    assert box.flush(5) == 0
    assert box.state == "delivering"
    assert [batch[0][1] for batch in server.taken] == ["open"]
    box.close()


def test_a_delivery_that_ended_all_the_same_is_no_delivering(server, tmp_path, monkeypatch):
    box = server.outbox(tmp_path / "j.db")

    def ends():
        raise SystemExit(3)

    monkeypatch.setattr(box.event_log, "next_batch", ends)
    box.put("a", "open", {})
    box._thread.join(5)
    assert box.state == "delivery has ended (SystemExit: 3); the same command again delivers what is owed"
    started = time.monotonic()
    assert box.flush(5) == 1
    assert time.monotonic() - started < 1, "nobody is waited for"
    box.close()


def test_a_copy_that_cannot_be_removed_was_delivered_all_the_same(server, tmp_path, monkeypatch):
    box = server.outbox(tmp_path / "j.db")
    copy = box.event_log.spool / "x" / "picture.png"
    copy.mkdir(parents=True)  # to remove it as a file fails, also for root
    box.put("a", "file", {}, copy)
    assert box.flush(5) == 0
    assert box.state == "delivering"
    assert server.warnings == []
    box.close()


def test_what_this_machine_could_not_read_is_kept_and_tried_again_by_the_next_driver(server, tmp_path):
    """Set aside, so that it blocks nothing; but nothing is lost: the next driver owes it again, before all else."""
    deliver, ill = server.deliver, OSError(13, "Permission denied", "picture.png")

    def delivers(batch):
        if batch[0].kind == "file":
            raise Refused("picture.png cannot be kept: Permission denied", passing=True) from ill
        deliver(batch)

    box = Delivery(EventLog(tmp_path / "j.db"), delivers, server.probe, server.warnings.append)
    box.put("a", "open", {})
    box.put("a", "file", {"artifact_path": ""}, box.event_log.spool / "x" / "picture.png")
    box.put("a", "tags", {"poison": True})
    box.put("a", "close", {})
    assert box.flush(5) == 0
    assert [row[1] for row in box.event_log.refused] == ["file", "tags"]
    box.close()
    server.taken.clear()
    second = server.outbox(tmp_path / "j.db")
    assert second.flush(5) == 0
    assert [batch[0][1] for batch in server.taken] == ["file"]
    assert [row[1] for row in second.event_log.refused] == ["tags"], "what the server refuses it would refuse again"
    second.close()


def test_a_batch_given_up_for_this_machines_disk_is_tried_again_by_the_next_driver(server, tmp_path):
    server.broken, server.probe_fails = OSError(5, "Input/output error", "picture.png"), False
    box = server.outbox(tmp_path / "j.db")
    box.put("a", "file", {}, box.event_log.spool / "x" / "picture.png")
    assert box.flush(5) == 0
    assert "given up after" in box.event_log.refused[0][2]
    box.close()
    server.broken = None
    second = server.outbox(tmp_path / "j.db")
    assert second.flush(5) == 0
    assert [batch[0][1] for batch in server.taken] == ["file"]
    second.close()
