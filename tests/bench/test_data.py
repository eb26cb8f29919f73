"""`make bench-data` on little data: every number is printed, and nothing stays behind."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
NUMBERS = (
    r"two against one [0-9.]+x",
    r"largest resident memory of a worker [0-9.]+ GB",
    r"ten times the files [0-9.]+x",
    r"the store reaches [0-9]+% of pyarrow",
    r"reaches [0-9]+% of boto3",
    r"augmentation is [0-9]+% of the feed's time by the batch",
    r"geometry=batch, 2 threads [0-9.]+x faster",
    r"classifier +streamed +[0-9.]+ images/s",
)


@pytest.fixture
def short():
    """A folder with a short name: Ray's sockets lie below it, and their paths may have 107 characters."""
    with tempfile.TemporaryDirectory(prefix="hd") as folder:
        yield Path(folder)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_quick_bench_prints_its_numbers_and_leaves_nothing(short):
    command = [sys.executable, "-m", "tests.bench.data", "--quick"]
    environment = {**os.environ, "TMPDIR": str(short)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=580)
    assert done.returncode == 0, done.stderr[-3000:]
    for number in NUMBERS:
        assert re.search(number, done.stdout), number
    assert not list(short.iterdir())
    assert not [one.pid for one in psutil.process_iter(["cmdline"]) if str(short) in " ".join(one.info["cmdline"] or [])]
