"""Checkpoints of one run in one place: each a file of its own, written aside, synced and renamed, or put whole on S3.

A kill never leaves half a file. `latest.pt` is where the run stands, `previous.pt` what it was before, `best.pt` the one
that scored best; a damaged `latest.pt` falls back to those.
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
    """The checkpoints of one trial, in a folder that every node sees which may run the trial, or below an S3 address.

    Attributes:
        notes: sentences on what `resume` passed over.
    """

    def __init__(self, folder: RunLocation) -> None:
        self.folder = folder
        self.notes: list[str] = []
        self._trusted = False
        """`latest.pt` was read or written here, so it is worth keeping as the one before."""

    def address(self, name: str = LATEST) -> str:
        """Return how a user names a checkpoint."""
        return address(self.folder, name)

    def holds(self, name: str = LATEST) -> bool:
        """Return whether there is a checkpoint called `name`."""
        return holds(self.folder, name)

    def resumable(self) -> bool:
        """Return whether there is anything to go on from."""
        return any(self.holds(name) for name in (LATEST, PREVIOUS))

    def save(self, state: dict[str, Any], *, best: bool = False) -> None:
        """Write `state` as the latest checkpoint, atomically; readers see the old file or the new one.

        Args:
            state: what `load` will return.
            best: keep it as the best one too. That comes first: a kill in between leaves a best checkpoint which the
                resumed run makes again, never a latest one whose score promises a best that is not there.

        Raises:
            OSError: of a disk; StoreError: the S3 server stays away or refuses.
        """
        buffer = io.BytesIO()
        torch.save(state, buffer)  # into memory: of a full disk torch's own writer says nothing but that it failed
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
        """Return the state saved as `name` on the CPU, or None where there is none.

        Raises:
            CheckpointError: a file that cannot be read; OSError: a disk that cannot be; StoreError: the S3 server stays away
                or refuses.
        """
        held = content_of(self.folder, name)
        if held is None:
            return None
        try:
            check_whole(held)
            state: dict[str, Any] = torch.load(io.BytesIO(held), map_location="cpu", weights_only=True)
        except Exception as error:  # damaged files raise whatever their bytes happen to mean
            reason = (str(error).splitlines() or [""])[0]
            raise CheckpointError(
                f"checkpoint {self.address(name)} cannot be read ({type(error).__name__}: {reason[:200].rstrip('.')})",
                REMEDY,
            ) from error
        return state

    def resume(self) -> tuple[str, dict[str, Any]] | None:
        """Return the name and the state of the checkpoint to go on from, or None where there is none.

        A damaged latest one falls back to the one before and then to the best one, and `notes` says so.

        Raises:
            CheckpointError: none of them can be read; OSError, StoreError: as `load`.
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
        """Refuse to go on from a latest state whose best one is lost: nobody would make that again.

        Raises:
            CheckpointError: with the remedy.
        """
        if not self.holds(BEST):
            others = ", ".join(name for name in FILES if name != BEST)
            raise CheckpointError(
                f"checkpoint {self.address(BEST)} is lost", f"Move {others} beside it away; the run then begins anew."
            )

    def told(self) -> str:
        """Return what `notes` says, once."""
        said, self.notes = "; ".join(self.notes), []
        return said

    def sha256(self, name: str = LATEST) -> str:
        """Return the sha256 (hex) of a saved checkpoint.

        Raises:
            FileNotFoundError: there is none.
        """
        held = content_of(self.folder, name)
        if held is None:
            raise FileNotFoundError(self.address(name))
        return hashlib.sha256(held).hexdigest()


def check_whole(content: bytes) -> None:
    """Raise for bytes that changed since they were written: torch reads the checksums of its files, but checks none."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if (spoilt := archive.testzip()) is not None:
            raise zipfile.BadZipFile(f"the checksum of {spoilt} is wrong")
