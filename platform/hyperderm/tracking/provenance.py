"""The code and the packages that made a run, as tags."""

import hashlib
import platform
import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from hyperderm.tags import COMMIT_TAG, LOCK_TAG, PREFIX, PYTHON_TAG
from hyperderm.tracking.server import redacted

PACKAGES = ("torch", "ray", "mlflow")


def provenance(root: Path) -> dict[str, str]:
    """Return as tags the git commit of `root` (with `-dirty`), the hash of its lock file and versions of key packages."""
    lock = root / "requirements.lock"
    facts = {
        COMMIT_TAG: _commit(root),
        LOCK_TAG: hashlib.sha256(lock.read_bytes()).hexdigest() if lock.is_file() else "unknown",
        PYTHON_TAG: platform.python_version(),
    }
    for package in PACKAGES:
        try:
            facts[PREFIX + package] = version(package)
        except PackageNotFoundError:
            facts[PREFIX + package] = "not installed"
    return facts


def _commit(root: Path) -> str:
    try:
        commit = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return f"{commit}-dirty" if changed else commit


def _git(root: Path, *words: str) -> str:
    command = ["git", "-C", str(root), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)  # noqa: S603  a fixed list, no shell
    return done.stdout.strip()


def command_line() -> str:
    """Return the command with which hyperderm was started, without passwords; "" if another program calls it."""
    program = Path(sys.argv[0]).name if sys.argv else ""
    if program not in ("hyperderm", "__main__.py"):
        return ""
    return shlex.join(["hyperderm", *(redacted(word) for word in sys.argv[1:])])
