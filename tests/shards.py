"""Run the fast tests as two pytest sessions side by side: tests that start Ray or servers wait half of their time.

`python -m tests.shards [pytest's options]`. Each session starts Ray at most once. The first one's output is shown as it
comes, the second one's when it is over; the exit code is that of the first that fails.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FIRST = ("tests/services", "tests/reports", "tests/metrics")
"""About half of the time; the second session runs all others."""


def main(options: list[str]) -> int:
    """Run both and return the exit code; an interrupt ends both."""
    command = [sys.executable, "-m", "pytest", *options]
    others = [*command, *(f"--ignore={place}" for place in FIRST)]
    with tempfile.TemporaryFile("w+") as kept:
        second = subprocess.Popen(others, cwd=ROOT, stdout=kept, stderr=subprocess.STDOUT)
        try:
            first = subprocess.run([*command, *FIRST], cwd=ROOT, check=False).returncode
            last = second.wait()
        finally:
            second.terminate()
            second.wait()
            kept.seek(0)
            sys.stdout.write(kept.read())
            sys.stdout.flush()
    return first or last


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
