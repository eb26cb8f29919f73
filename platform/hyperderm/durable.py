"""Files and folders that are whole or absent: each is made in a room (a folder beside it), synced to disk, then renamed.

A kill at any instant, or a power cut, leaves either the old content or the new content, and never a part of it. A kernel
lock holds the room as long as its maker lives. The next writer of the same place therefore recognises the rooms of dead
makers and removes them.
"""

import errno
import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MARK = ".partial"
"""The ending of a room's name; the name begins with a dot and the name of the file or folder that is made in it."""
KEPT = 50
"""Number of characters of a file's name that its room's name takes over, since the file's name may have maximal length."""


@contextmanager
def room(path: Path) -> Iterator[Path]:
    """Yield a room, a new folder beside `path` in which to make it; remove the room with its content at the end.

    Raises:
        OSError: the folder of `path` does not exist or cannot be written.
    """
    clear_rooms(path)
    folder, held = _entered(path)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if held is not None:
            os.close(held)


def make_parents(path: Path) -> None:
    """Create the missing folders above `path`.

    Raises:
        OSError: a file is in the place of a folder, or the disk refuses.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:  # a file: "exists" would be taken for another writer's work
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), error.filename) from error


def clear_rooms(path: Path) -> None:
    """Remove the rooms in which processes that were killed made `path`."""
    start = _start(path)
    with suppress(OSError):
        for each in path.parent.iterdir():
            if each.name.startswith(start) and each.name.endswith(MARK):
                _clear(each)


def write_whole(path: Path, content: bytes | memoryview | str, *, keep: Path | None = None) -> None:
    """Replace the content of `path`, with text as UTF-8; readers see either the old file or the new one.

    Args:
        path: the file to write.
        content: the new content of the file.
        keep: the name under which the old file stays; after a kill it may have only this name.

    Raises:
        OSError: the folder of the file does not exist, or the disk refuses; the old file then stays.
    """
    with whole(path, keep=keep) as made:
        made.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def whole(path: Path, *, keep: Path | None = None) -> Iterator[Path]:
    """Yield a path at which to write the new `path`; if the block fails, `path` stays as it was.

    `keep` has the same meaning as in `write_whole`.

    Raises:
        OSError: the disk refuses; the error names `path`.
    """
    try:
        with room(path) as folder:
            yield folder / path.name
            publish(folder / path.name, path, keep=keep)
    except OSError as error:
        own = error.filename is None or str(error.filename).startswith(str(path.parent / _start(path)))
        if error.errno is None or not own:  # a write that fails knows no name
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Add the name `path` to a disk error without a file name, such as an error of a write.

    Raises:
        OSError: the disk refuses; the error names `path`.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise type(error)(error.errno, error.strerror, str(path)) from error


def publish(made: Path, path: Path, *, over: bool = True, keep: Path | None = None) -> None:
    """Sync the file or folder `made` to the disk and give it the name `path`.

    Args:
        made: a file or folder on the same disk as `path`.
        path: the new name.
        over: replace an older file or an empty folder of this name; if False, the older file stays.
        keep: a name that an older file gets, so that it is not lost.

    Raises:
        FileExistsError: there is an older file, and `over` is False. OSError: the disk refuses, or `path` is a folder with
            files.
    """
    sync(made)
    if keep is not None:
        with suppress(FileNotFoundError):
            os.replace(path, keep)  # noqa: PTH105
    if over:
        os.replace(made, path)  # noqa: PTH105 - the same for files and folders
    else:
        _link(made, path)
    sync_folder(path.parent)


def sync(made: Path) -> None:
    """Sync a file, or a folder with everything in it, to the disk.

    Raises:
        OSError: the disk refuses.
    """
    if not made.is_dir():
        _sync_file(made)
        return
    for folder, _, files in os.walk(made):
        for name in files:
            _sync_file(Path(folder, name))
        sync_folder(Path(folder))


def begin_sync(file: Path) -> None:
    """Ask the disk to start writing a file, so that `sync` waits less; errors are left to `sync`."""
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError):
            descriptor = os.open(file, os.O_RDONLY)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)  # written out first: that is what it is for here
            finally:
                os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Sync the names in a folder to the disk, if its file system supports this."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def is_room(name: str) -> bool:
    """Return whether a file name is the name of a room."""
    return name.startswith(".") and name.endswith(MARK)


def _start(path: Path) -> str:
    return f".{path.name[:KEPT]}."


def _entered(path: Path) -> tuple[Path, int | None]:
    """Create a room and lock it; return no lock (None) if the file system does not support such locks."""
    while True:
        folder = path.with_name(f"{_start(path)}{uuid.uuid4().hex[:8]}{MARK}")
        folder.mkdir()
        # Until it is held, another writer may take it for a dead maker's room and remove it: then a new one is made.
        try:
            held = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(held, fcntl.LOCK_EX)
            if folder.exists():
                return folder, held
        except OSError:
            os.close(held)
            return folder, None
        os.close(held)


def _clear(folder: Path) -> None:
    try:
        held = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    except OSError:
        pass  # its maker lives, or nobody can tell
    finally:
        os.close(held)


def _sync_file(path: Path) -> None:
    if path.is_symlink() or not path.is_file():
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system without it
            raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        os.close(descriptor)


def _link(made: Path, path: Path) -> None:
    """Give a file a name that no other file has; a link fails, as intended, if the name is taken."""
    try:
        os.link(made, path)
    except FileExistsError:
        raise
    except OSError as error:  # a disk without links
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
        os.replace(made, path)  # noqa: PTH105
