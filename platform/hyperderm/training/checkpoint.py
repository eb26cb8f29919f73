"""Checkpoints of one run in one folder: written aside and renamed, so a kill never leaves half a file."""

import errno
import hashlib
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

import torch

from hyperderm.errors import StudyError

LATEST = "latest.pt"
BEST = "best.pt"
LEAST_FREE = 2**20
"""Bytes: with fewer, a failed write is put down to a full disk."""


class CheckpointFolder:
    """The checkpoints of one trial. The folder must be visible to every node that may run the trial."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, state: dict[str, Any], *, best: bool = False) -> None:
        """Write `state` as the latest checkpoint, atomically; readers see the old file or the new one.

        Args:
            state: what `load` will return.
            best: keep it as the best one too. That comes first: a kill in between leaves a best checkpoint which the
                resumed run makes again, never a latest one whose score promises a best that is not there.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        mark = uuid.uuid4().hex[:8]
        aside, twin = self.folder / f".{LATEST}.{mark}", self.folder / f".{BEST}.{mark}"
        try:
            torch.save(state, aside)
            if best:
                _twin(aside, twin)
                twin.replace(self.folder / BEST)
            aside.replace(self.folder / LATEST)
        except RuntimeError as error:  # torch's writer hides why a write failed
            full = shutil.disk_usage(self.folder).free < LEAST_FREE
            number = errno.ENOSPC if full else errno.EIO
            raise OSError(number, os.strerror(number), str(self.folder / LATEST)) from error
        finally:
            aside.unlink(missing_ok=True)
            twin.unlink(missing_ok=True)

    def load(self, name: str = LATEST) -> dict[str, Any] | None:
        """Return the state saved as `name` on the CPU, or None where there is none.

        Raises:
            StudyError: a file that cannot be read.
        """
        path = self.folder / name
        if not path.is_file():
            return None
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # damaged files raise whatever their bytes happen to mean
            reason = (str(error).splitlines() or [""])[0]
            raise StudyError(
                f"checkpoint {path} cannot be read ({type(error).__name__}: {reason[:200].rstrip('.')})",
                "Move it away; the run then begins anew.",
            ) from error
        return state

    def sha256(self, name: str = LATEST) -> str:
        """Return the sha256 (hex) of a saved checkpoint."""
        return hashlib.sha256((self.folder / name).read_bytes()).hexdigest()


def _twin(file: Path, twin: Path) -> None:
    """Make `twin` the same file as `file`, by a hard link where the disk allows it."""
    try:
        os.link(file, twin)
    except OSError:
        shutil.copyfile(file, twin)
