"""What nobody foresaw, and what the machine did, from the command line: one sentence, and a traceback only in a file."""

import errno
import os
import re
import tempfile
from pathlib import Path

import pytest

from hyperderm.store import reader


@pytest.fixture
def told(command, monkeypatch, tmp_path):
    """Let `store info` meet an error; return the exit code and what was printed."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def told(error: Exception) -> tuple[int, str]:
        def fail(*_: object, **__: object):
            raise error

        monkeypatch.setattr(reader, "open_store", fail)
        done = command("store", "info", "anything")
        assert "Traceback" not in done.stdout
        return done.returncode, done.stderr

    return told


def test_a_fault_of_ours_is_one_sentence_and_its_traceback_a_file(told, tmp_path):
    code, said = told(KeyError("wavelength"))
    found = re.fullmatch(
        r"error: KeyError: 'wavelength'\. This is a fault of hyperderm or .* surroundings; the traceback is in (\S+)\.\n",
        said,
    )
    assert (code, bool(found)) == (1, True), said
    log = Path(found[1])
    assert log.parent == tmp_path
    assert re.match(r"hyperderm-\d{8}-\d{6}-\w+\.log", log.name)
    assert "raise error\nKeyError: 'wavelength'" in log.read_text()


def test_where_not_even_that_file_can_be_written_the_traceback_is_printed(told, monkeypatch):
    def full(*_: object, **__: object):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "mkstemp", full)
    code, said = told(KeyError("wavelength"))
    assert code == 1
    assert "Traceback (most recent call last)" in said
    assert said.endswith("the traceback is above.\n")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/a/identity.json"),
            "error: runs/a/identity.json: No space left on device. Free some space there; then run the same command again",
        ),
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
            "error: a file: No space left on device. Free some space there; then run the same command again",
        ),
        (
            PermissionError(errno.EACCES, os.strerror(errno.EACCES), "runs"),
            "error: runs: Permission denied. Give this user the right to it; then run the same command again",
        ),
        (MemoryError(), "error: the machine has no memory left (MemoryError). Run fewer at a time"),
    ],
)
def test_what_the_machine_did_is_told_with_its_remedy(told, tmp_path, error, sentence):
    code, said = told(error)
    assert code == 2
    assert said.startswith(sentence)
    assert said.count("\n") == 1
    assert not list(tmp_path.iterdir())
