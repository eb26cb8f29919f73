"""The checkpoints of one run, each in a file of its own, in one folder or below one S3 address.

A file on disk is written under another name, synced and renamed; on S3 it is written as a whole. So a kill never leaves half
a file. `latest.pt` is the present state of the run, `previous.pt` the state before it, and `best.pt` the state with the best
score. If `latest.pt` is damaged, the others are used instead.
"""

import hashlib
import io
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from hyperderm.durable import write_whole
from hyperderm.errors import CheckpointError
from hyperderm.store.location import Location
from hyperderm.store.run_location import RunLocation, address, content_of, holds

LATEST = "latest.pt"
PREVIOUS = "previous.pt"
BEST = "best.pt"
FILES = (LATEST, PREVIOUS, BEST)
REMEDY = "Move it away; the run then begins anew."


class CheckpointFolder:
    """The checkpoints of one trial, in a folder that all nodes which may run the trial can see, or below an S3 address.

    Attributes:
        notes: sentences about damaged checkpoints that `resume` skipped.
    """

    def __init__(self, folder: RunLocation) -> None:
        self.folder = folder
        self.notes: list[str] = []
        self._trusted = False
        """Whether `latest.pt` was read or written here; only then it is kept as `previous.pt`."""

    def address(self, name: str = LATEST) -> str:
        """Return the address by which a user names a checkpoint."""
        return address(self.folder, name)

    def holds(self, name: str = LATEST) -> bool:
        """Return whether there is a checkpoint called `name`."""
        return holds(self.folder, name)

    def resumable(self) -> bool:
        """Return whether there is a checkpoint from which the run can continue."""
        return any(self.holds(name) for name in (LATEST, PREVIOUS))

    def save(self, state: dict[str, Any], *, best: bool = False) -> None:
        """Write `state` as the latest checkpoint, atomically: readers see either the old file or the new one.

        Args:
            state: the state that `load` will return.
            best: whether to keep the state as the best checkpoint too. The best checkpoint is written first. So if the
                process is killed between both, the resumed run makes that best checkpoint again, and the latest checkpoint
                never refers to a best one that is missing.

        Raises:
            OSError: the disk fails; StoreError: the S3 server does not answer or refuses.
        """
        buffer = io.BytesIO()
        torch.save(state, buffer)  # first into memory, because torch does not report that a disk is full
        content = buffer.getbuffer()
        if isinstance(self.folder, Path):
            self._to_disk(self.folder, content, best)
        else:
            self._to_s3(self.folder, content, best)
        self._trusted = True

    def _to_disk(self, folder: Path, content: memoryview, best: bool) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if best:
            write_whole(folder / BEST, content)
        write_whole(folder / LATEST, content, keep=folder / PREVIOUS if self._trusted else None)

    def _to_s3(self, place: Location, content: memoryview, best: bool) -> None:
        if best:
            place.write_bytes(BEST, pa.py_buffer(content))
        if self._trusted:
            with suppress(FileNotFoundError):
                place.patiently(lambda: place.fs.copy_file(place.join(LATEST), place.join(PREVIOUS)))
        place.write_bytes(LATEST, pa.py_buffer(content))

    def load(self, name: str = LATEST) -> dict[str, Any] | None:
        """Return the state saved as `name`, on the CPU, or None if there is no such checkpoint.

        Raises:
            CheckpointError: the file is damaged; OSError: the disk cannot be read; StoreError: the S3 server does not answer
                or refuses.
        """
        held = content_of(self.folder, name)
        if held is None:
            return None
        try:
            check_whole(held)
            state: dict[str, Any] = torch.load(io.BytesIO(held), map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged file can raise any error
            reason = (str(error).splitlines() or [""])[0]
            raise CheckpointError(
                f"checkpoint {self.address(name)} cannot be read ({type(error).__name__}: {reason[:200].rstrip('.')})",
                REMEDY,
            ) from error
        return state

    def resume(self) -> tuple[str, dict[str, Any]] | None:
        """Return the name and the state of the checkpoint from which the run continues, or None if there is none.

        If the latest checkpoint is damaged, use the previous one, and if that is damaged too, the best one; `notes` then
        gets a sentence.

        Raises:
            CheckpointError: no checkpoint can be read; OSError, StoreError: see `load`.
        """
        damaged = list[CheckpointError]()
        for name in FILES if self.resumable() else ():
            try:
                state = self.load(name)
            except CheckpointError as error:
                damaged.append(error)
                continue
            if state is None:
                continue
            if damaged:
                self.notes.append(f"{damaged[0].what}; it goes on from {name} instead")
            self._trusted = name == LATEST
            return name, state
        if len(damaged) > 1:
            raise CheckpointError(damaged[0].what, f"Move {', '.join(FILES)} away; the run then begins anew.")
        if damaged:
            raise damaged[0]
        return None

    def check_best(self) -> None:
        """Refuse to continue if the best checkpoint is lost, because a resumed run would not make it again.

        Raises:
            CheckpointError: the best checkpoint is lost; the message names the remedy.
        """
        if not self.holds(BEST):
            others = ", ".join(name for name in FILES if name != BEST)
            raise CheckpointError(
                f"checkpoint {self.address(BEST)} is lost", f"Move {others} beside it away; the run then begins anew."
            )

    def told(self) -> str:
        """Return the sentences of `notes` and clear them, so that they are told once."""
        said, self.notes = "; ".join(self.notes), []
        return said

    def sha256(self, name: str = LATEST) -> str:
        """Return the sha256 (hex) of a saved checkpoint.

        Raises:
            FileNotFoundError: there is no checkpoint called `name`.
        """
        held = content_of(self.folder, name)
        if held is None:
            raise FileNotFoundError(self.address(name))
        return hashlib.sha256(held).hexdigest()


def check_whole(content: bytes) -> None:
    """Prove that bytes did not change since they were written: torch itself does not check the checksums of its files.

    Raises:
        BadZipFile: a checksum is wrong.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if (spoilt := archive.testzip()) is not None:
            raise zipfile.BadZipFile(f"the checksum of {spoilt} is wrong")
