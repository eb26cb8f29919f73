"""Where a store is: a URI or path, opened through pyarrow.fs so that local disks and object storage read alike."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow.fs as pafs

from hyperderm.errors import StoreError


@dataclass(frozen=True)
class Location:
    """An opened place: a pyarrow file system and a path on it."""

    uri: str
    fs: pafs.FileSystem
    path: str

    @property
    def local(self) -> bool:
        """True on a local disk."""
        return isinstance(self.fs, pafs.LocalFileSystem)

    def exists(self, name: str = "") -> bool:
        """Return whether the file or folder `name` below this place exists."""
        return bool(self.fs.get_file_info(self.join(name)).type != pafs.FileType.NotFound)

    def join(self, name: str) -> str:
        """Return the file-system path of `name` below this place."""
        return f"{self.path}/{name}" if name else self.path

    def read_bytes(self, name: str) -> bytes:
        """Return the content of the file `name`."""
        with self.fs.open_input_stream(self.join(name)) as stream:
            return bytes(stream.read())


def locate(uri: str | Path) -> Location:
    """Open `uri`: a path (relative to the working directory) or a `scheme://` address.

    Raises:
        StoreError: a scheme that pyarrow does not know.
    """
    text = str(uri)
    if "://" not in text:
        return Location(text, pafs.LocalFileSystem(), str(Path(text).expanduser().absolute()))
    try:
        fs, path = pafs.FileSystem.from_uri(text)
    except (ValueError, OSError, NotImplementedError) as error:  # the last: a file system this pyarrow is built without
        raise StoreError(f"--store {text!r} cannot be opened: {error}", "Give a folder, or an s3:// address.") from None
    return Location(text, fs, path.rstrip("/"))
