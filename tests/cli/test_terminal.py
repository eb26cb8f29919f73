"""Terminals that do not speak UTF-8 get every sentence, in the signs that they have."""

import io
import os
import subprocess
import sys

import pytest

from hyperderm.cli.terminal import PLAIN, print_what_it_can


def printed(encoding: str, text: str) -> str:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    print_what_it_can(stream)
    stream.write(text)
    stream.flush()
    return stream.buffer.getvalue().decode(encoding)


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("latin-1", "465 ... 620 nm, 64 × 64, 0.1 ± 0.2, ? -> Läsion"),
        ("ascii", "465 ... 620 nm, 64 x 64, 0.1 +/- 0.2, ? -> L?sion"),
        ("utf-8", "465 … 620 nm, 64 × 64, 0.1 ± 0.2, 痣 → Läsion"),
    ],
)
def test_what_a_terminal_lacks_is_written_in_what_it_has(encoding, shown):
    assert printed(encoding, "465 … 620 nm, 64 × 64, 0.1 ± 0.2, 痣 → Läsion") == shown


def test_every_stand_in_is_plain():
    assert all(text.isascii() and text for text in PLAIN.values())


def test_streams_that_are_no_text_files_are_left_alone():
    print_what_it_can(io.StringIO())


def test_a_store_is_described_on_a_latin_1_terminal(tmp_path):
    """The encoding as a terminal of LC_ALL=en_US has it; the locale itself need not be installed here."""
    store = tmp_path / "Größe"
    made = subprocess.run(
        [
            sys.executable,
            "-m",
            "hyperderm",
            "phantom",
            "--store",
            str(store),
            "--count",
            "10",
            "--size",
            "16",
            "--folds",
            "0",
        ],
        env={**os.environ, "PYTHONIOENCODING": "latin-1", "COLUMNS": "300"},
        capture_output=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr.decode("latin-1")
    said = made.stdout.decode("latin-1")
    assert "10 of 16 x 16 x 16, 465 ... 620 nm, spectral" in said
    assert "Größe" in said
