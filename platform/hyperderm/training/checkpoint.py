"""Checkpoints of one run in one folder: written aside and renamed, so a kill never leaves half a file."""

import hashlib
import os
import uuid
from pathlib import Path
from typing import Any

import torch

LATEST = "latest.pt"
BEST = "best.pt"


class CheckpointFolder:
    """The checkpoints of one trial. The folder must be visible to every node that may run the trial."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, state: dict[str, Any], name: str = LATEST) -> None:
        """Write `state` as `name`, atomically; readers see the old file or the new one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        aside = self.folder / f".{name}.{uuid.uuid4().hex[:8]}"
        try:
            torch.save(state, aside)
            aside.replace(self.folder / name)
        finally:
            aside.unlink(missing_ok=True)

    def load(self, name: str = LATEST) -> dict[str, Any] | None:
        """Return the state saved as `name` on the CPU, or None where there is none."""
        path = self.folder / name
        if not path.is_file():
            return None
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return state

    def promote(self) -> None:
        """Keep the latest checkpoint as the best one too (a hard link where the disk allows it)."""
        aside = self.folder / f".{BEST}.{uuid.uuid4().hex[:8]}"
        try:
            os.link(self.folder / LATEST, aside)
        except OSError:
            aside.write_bytes((self.folder / LATEST).read_bytes())
        aside.replace(self.folder / BEST)

    def sha256(self, name: str = LATEST) -> str:
        """Return the sha256 (hex) of a saved checkpoint."""
        return hashlib.sha256((self.folder / name).read_bytes()).hexdigest()
