"""A disk that is really full: a small one in memory, mounted where a test wants it."""

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

FILLER = "filler"


class Disk:
    """A file system of `kib` KiB at `place`, until `close`."""

    def __init__(self, place: Path, kib: int) -> None:
        place.mkdir(parents=True, exist_ok=True)
        self.place = place
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(place)], check=True, capture_output=True)

    def enlarge(self, kib: int = 2**18) -> None:
        """Make room, as who adds a disk does."""
        subprocess.run(["mount", "-o", f"remount,size={kib}k", str(self.place)], check=True, capture_output=True)

    def fill(self) -> None:
        """Take what is left, whatever else writes meanwhile."""
        file = os.open(self.place / FILLER, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        try:
            while True:
                os.write(file, bytes(2**16))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
        finally:
            os.close(file)

    def free(self) -> None:
        """Give back what `fill` took."""
        (self.place / FILLER).unlink()

    def close(self) -> None:
        """Take it away, with whatever is on it."""
        with suppress(subprocess.CalledProcessError):
            subprocess.run(["umount", "-l", str(self.place)], check=True, capture_output=True)


def mounted(tmp_path: Path) -> Iterator[Callable[[Path, int], Disk]]:
    """Yield what mounts small disks, which are gone afterwards; skip the test where this user may not mount any."""
    try:
        Disk(tmp_path / ".may-mount", 64).close()
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        reason = getattr(error, "stderr", b"").decode().strip() or str(error)
        pytest.skip(f"only root may mount the small disk that this test fills: {reason}")
    made: list[Disk] = []

    def mount(place: Path, kib: int) -> Disk:
        made.append(Disk(place, kib))
        return made[-1]

    yield mount
    for each in made:
        each.close()
