"""study.db, outbox.db, identity.json: half-made, locked or damaged, they are mended, waited for, or told. No Ray."""

import json
import signal
import sqlite3
from contextlib import closing

import pytest

from hyperderm import databases
from hyperderm.errors import StudyError, TrackingError
from hyperderm.registry import check_name
from hyperderm.studies.named_runs import checkpoint_of_run
from hyperderm.studies.study_file import open_study, read_study
from hyperderm.tracking.event_log import EventLog
from hyperderm.training.run_folder import IDENTITY, STUDY, claim
from tests.cluster.sweeps import Memory, ask, search, tiny
from tests.killing import in_child
from tests.tracking.test_database import change, locked, read_only

DAMAGE = {"text": b"no database " * 500, "zeroes": bytes(8192), "first page": None}


def damaged(path, how: str) -> None:
    path.write_bytes(DAMAGE[how] or bytes(4096) + path.read_bytes()[4096:])


def test_a_study_killed_at_any_step_is_whole_or_absent(tmp_path):
    path = tmp_path / STUDY
    for last in (1, 5, 20, 40):
        killed = in_child(lambda: open_study(path, "a"), str(tmp_path), last)
        assert killed.signal == signal.SIGKILL, f"it is made in fewer than {last} steps"
        assert not path.exists()
    assert open_study(path, "a").trials == []
    assert [each.name for each in tmp_path.iterdir()] == [STUDY]


@pytest.mark.parametrize("half", ["no bytes", "tables without a study", "some tables"])
def test_a_half_made_study_is_made_anew(tmp_path, half):
    path = tmp_path / STUDY
    if half == "no bytes":
        path.touch()
    elif half == "some tables":
        change(path, "CREATE TABLE studies (study_id INTEGER)", "CREATE TABLE trials (trial_id INTEGER)")
    else:
        open_study(path, "a")._storage.remove_session()
        change(path, "DELETE FROM study_directions", "DELETE FROM studies")
    made = search(tmp_path, tiny(), Memory())
    assert ask(made).number == 0


def test_a_file_that_is_no_study_stays(tmp_path):
    change(tmp_path / STUDY, "CREATE TABLE mine (x)")
    before = (tmp_path / STUDY).read_bytes()
    with pytest.raises(StudyError, match="not a study"):
        search(tmp_path, tiny(), Memory())
    assert (tmp_path / STUDY).read_bytes() == before


@pytest.mark.parametrize("name", ["a%20b", "what?", "50%", "{x} #1", "Läsionen"])
def test_a_study_in_any_folder_lies_there(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    open_study(folder / STUDY, "one").ask()
    assert len(read_study(folder / STUDY).trials) == 1
    assert [each.name for each in tmp_path.iterdir()] == [name]


def test_a_study_whose_folder_was_renamed_keeps_its_trials(tmp_path):
    open_study(tmp_path / STUDY, "before").ask()
    assert len(open_study(tmp_path / STUDY, "now").trials) == 1


@pytest.mark.parametrize("opens", [lambda path: open_study(path, "a"), read_study])
def test_a_locked_study_is_called_locked(tmp_path, monkeypatch, opens):
    monkeypatch.setattr(databases, "PATIENCE_S", 0.5)
    path = tmp_path / STUDY
    open_study(path, "a").ask()
    with locked(path, 60) as holder, pytest.raises(StudyError) as caught:
        opens(path)
    assert f"{path} is in use by process {holder.pid}" in caught.value.what
    assert "Close that program" in caught.value.remedy
    assert len(opens(path).trials) == 1


def test_a_study_that_is_locked_for_a_while_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(databases, "QUIET_S", 0.2)
    said: list[str] = []
    open_study(tmp_path / STUDY, "a").ask()
    with locked(tmp_path / STUDY, 2.2):
        assert len(open_study(tmp_path / STUDY, "a", say=said.append).trials) == 1
    assert len(said) == 1
    assert "waiting up to 30 s" in said[0]


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("opens", [lambda path: open_study(path, "a"), read_study])
def test_a_damaged_study_is_called_damaged(tmp_path, how, opens):
    path = tmp_path / STUDY
    open_study(path, "a").ask()
    damaged(path, how)
    before = path.read_bytes()
    with pytest.raises(StudyError, match=r"is damaged.*--name NAME.*checkpoints in trials/ are kept"):
        opens(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_journal_is_called_damaged_and_its_remedy_works(tmp_path, how):
    path = tmp_path / "outbox.db"
    EventLog(path).close()
    damaged(path, how)
    for side in ("outbox.db-wal", "outbox.db-shm"):
        (tmp_path / side).unlink(missing_ok=True)
    with pytest.raises(TrackingError, match=r"is damaged.*Move it away"):
        EventLog(path)
    path.rename(tmp_path / "away")
    EventLog(path).close()


def test_a_locked_journal_is_called_locked(tmp_path, monkeypatch):
    monkeypatch.setattr(databases, "PATIENCE_S", 0.5)
    EventLog(tmp_path / "outbox.db").close()
    with locked(tmp_path / "outbox.db", 60), pytest.raises(TrackingError, match="is in use by process"):
        EventLog(tmp_path / "outbox.db")
    EventLog(tmp_path / "outbox.db").close()


def test_a_journal_killed_at_any_step_can_be_opened(tmp_path):
    for last in (1, 2, 4, 6, 8):
        assert in_child(lambda: EventLog(tmp_path / "outbox.db"), "outbox.db", last).signal == signal.SIGKILL
    event_log = EventLog(tmp_path / "outbox.db")
    event_log.append("a", "tags", {"tags": {}})
    assert event_log.pending == 1
    event_log.close()


BAD = {
    "nested": "[" * 100_000,
    "empty": "",
    "cut": '{"key": "a-1", "iden',
    "no JSON object": "[]",
    "no key": '{"identity": {}}',
    "zeroes": "\0" * 50,
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_a_damaged_identity_where_nothing_was_recorded_is_made_anew(tmp_path, text):
    folder = tmp_path / "one"
    folder.mkdir()
    (folder / IDENTITY).write_text(text)
    (folder / ".lock").touch()
    with claim(folder, {"a": 1}) as key:
        pass
    assert json.loads((folder / IDENTITY).read_text()) == {"key": key, "identity": {"a": 1}}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_a_damaged_identity_of_recorded_work_is_told(tmp_path, text):
    folder = tmp_path / "one"
    (folder / "trials" / "0000").mkdir(parents=True)
    (folder / IDENTITY).write_text(text)
    with pytest.raises(StudyError, match=r"identity.json is damaged.*--name NAME"), claim(folder, {"a": 1}):
        pass
    with pytest.raises(StudyError, match=r"identity.json is damaged"):
        checkpoint_of_run("one", tmp_path)
    assert (folder / IDENTITY).read_text() == text
    with claim(tmp_path / "two", {"a": 1}):  # the remedy
        pass


def test_an_identity_killed_at_any_step_blocks_nothing(tmp_path):
    def begin():
        with claim(tmp_path / "one", {"a": 1}):
            pass

    for last in (1, 2, 3, 4, 5):
        assert in_child(begin, str(tmp_path / "one"), last).signal == signal.SIGKILL
    begin()
    assert {each.name for each in (tmp_path / "one").iterdir()} == {IDENTITY, ".lock"}


def test_the_best_trial_of_a_locked_sweep(tmp_path, monkeypatch):
    monkeypatch.setattr(databases, "PATIENCE_S", 0.3)
    (tmp_path / "one" / "trials").mkdir(parents=True)
    open_study(tmp_path / "one" / STUDY, "one")
    with closing(sqlite3.connect(tmp_path / "one" / STUDY, isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StudyError, match="is in use by another program"):
            checkpoint_of_run("one", tmp_path)


def test_a_study_that_only_can_be_read_is_refused_by_name_to_who_writes(tmp_path, monkeypatch):
    path = tmp_path / STUDY
    open_study(path, "one")
    read_only(path, monkeypatch)
    with pytest.raises(StudyError, match=r"study\.db cannot be written \(attempt to write a readonly database\)"):
        open_study(path, "one")
    assert read_study(path).study_name == "one"


def test_a_journal_that_only_can_be_read_is_refused_by_name(tmp_path, monkeypatch):
    path = tmp_path / "outbox.db"
    EventLog(path).close()
    read_only(path, monkeypatch)
    with pytest.raises(TrackingError, match=r"outbox\.db cannot be written"):
        EventLog(path)


def test_a_name_that_is_too_long_is_told_with_the_longest():
    check_name("a" * 255)
    with pytest.raises(StudyError, match=r"--name a{20}… is 300 bytes long\. Use at most 255"):
        check_name("a" * 300)
