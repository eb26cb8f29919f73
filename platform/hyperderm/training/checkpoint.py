"""Checkpoints of one run in one place: written aside and renamed, or put whole on S3, so a kill never leaves half a file."""

import errno
import hashlib
import io
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from hyperderm.errors import StudyError
from hyperderm.store.place import Place, address, content_of, holds

LATEST = "latest.pt"
BEST = "best.pt"
LEAST_FREE = 2**20
"""Bytes: with fewer, a failed write is put down to a full disk."""


class CheckpointFolder:
    """The checkpoints of one trial, in a folder that every node sees which may run the trial, or below an S3 address."""

    def __init__(self, folder: Place) -> None:
        self.folder = folder

    def address(self, name: str = LATEST) -> str:
        """Return how a user names a checkpoint."""
        return address(self.folder, name)

    def holds(self, name: str = LATEST) -> bool:
        """Return whether there is a checkpoint called `name`."""
        return holds(self.folder, name)

    def save(self, state: dict[str, Any], *, best: bool = False) -> None:
        """Write `state` as the latest checkpoint, atomically; readers see the old file or the new one.

        Args:
            state: what `load` will return.
            best: keep it as the best one too. That comes first: a kill in between leaves a best checkpoint which the
                resumed run makes again, never a latest one whose score promises a best that is not there.

        Raises:
            OSError: of a disk; StoreError: the S3 server stays away or refuses.
        """
        if isinstance(self.folder, Path):
            self._save_to_disk(self.folder, state, best)
            return
        buffer = io.BytesIO()
        torch.save(state, buffer)
        for name in (BEST, LATEST) if best else (LATEST,):
            self.folder.write_bytes(name, pa.py_buffer(buffer.getbuffer()))

    def _save_to_disk(self, folder: Path, state: dict[str, Any], best: bool) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        mark = uuid.uuid4().hex[:8]
        aside, twin = folder / f".{LATEST}.{mark}", folder / f".{BEST}.{mark}"
        try:
            torch.save(state, aside)
            if best:
                _twin(aside, twin)
                twin.replace(folder / BEST)
            aside.replace(folder / LATEST)
        except RuntimeError as error:  # torch's writer hides why a write failed
            full = shutil.disk_usage(folder).free < LEAST_FREE
            number = errno.ENOSPC if full else errno.EIO
            raise OSError(number, os.strerror(number), str(folder / LATEST)) from error
        finally:
            aside.unlink(missing_ok=True)
            twin.unlink(missing_ok=True)

    def load(self, name: str = LATEST) -> dict[str, Any] | None:
        """Return the state saved as `name` on the CPU, or None where there is none.

        Raises:
            StudyError: a file that cannot be read; StoreError: the S3 server stays away or refuses.
        """
        source = self._source(name)
        if source is None:
            return None
        try:
            state: dict[str, Any] = torch.load(source, map_location="cpu", weights_only=True)
        except Exception as error:  # damaged files raise whatever their bytes happen to mean
            reason = (str(error).splitlines() or [""])[0]
            raise StudyError(
                f"checkpoint {self.address(name)} cannot be read ({type(error).__name__}: {reason[:200].rstrip('.')})",
                "Move it away; the run then begins anew.",
            ) from error
        return state

    def sha256(self, name: str = LATEST) -> str:
        """Return the sha256 (hex) of a saved checkpoint.

        Raises:
            FileNotFoundError: there is none.
        """
        held = content_of(self.folder, name)
        if held is None:
            raise FileNotFoundError(self.address(name))
        return hashlib.sha256(held).hexdigest()

    def _source(self, name: str) -> Path | io.BytesIO | None:
        """Return what torch reads a checkpoint from: a disk's file as it is, an object through memory."""
        if isinstance(self.folder, Path):
            path = self.folder / name
            return path if path.is_file() else None
        held = content_of(self.folder, name)
        return None if held is None else io.BytesIO(held)


def _twin(file: Path, twin: Path) -> None:
    """Make `twin` the same file as `file`, by a hard link where the disk allows it."""
    try:
        os.link(file, twin)
    except OSError:
        shutil.copyfile(file, twin)
