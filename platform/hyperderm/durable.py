"""Files and folders that are whole or absent: made in a room beside their place, brought to the disk, renamed.

A kill at any instant, or a power cut, leaves what was there before or what was to be there, never a half of it. The room is
held by a lock of the kernel's for as long as its maker lives, so that the next writer of the same place knows the rooms of
the dead and removes them.
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
"""What the name of a room ends with; it begins with a dot and the name of what is made in it."""
KEPT = 50
"""Characters of a name that its room bears: a name may be as long as the disk allows."""


@contextmanager
def room(path: Path) -> Iterator[Path]:
    """Yield a new folder beside `path` to make it in; removed at the end with whatever is left in it.

    Raises:
        OSError: the folder of `path` is not there, or cannot be written.
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
    """Make the folders above `path` that are not there.

    Raises:
        OSError: a file stands where a folder must be, or the disk refuses.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:  # a file: "exists" would be taken for another writer's work
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), error.filename) from error


def clear_rooms(path: Path) -> None:
    """Remove the rooms in which killed processes were making `path`."""
    start = _start(path)
    with suppress(OSError):
        for each in path.parent.iterdir():
            if each.name.startswith(start) and each.name.endswith(MARK):
                _clear(each)


def write_whole(path: Path, content: bytes | memoryview | str, *, keep: Path | None = None) -> None:
    """Write `path` anew, text as UTF-8; readers see the old file or the new one.

    Args:
        path: of the file.
        content: of it.
        keep: the name under which the old file stays; a kill may leave it under that name alone.

    Raises:
        OSError: its folder is not there, or the disk refuses; the old file stays then.
    """
    with whole(path, keep=keep) as made:
        made.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def whole(path: Path, *, keep: Path | None = None) -> Iterator[Path]:
    """Yield where to write what then becomes `path`, of the same name; nothing becomes of it when the block fails.

    `keep` is as for `write_whole`.

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
    """Give an error of the disk that knows no name, as that of a write, the name `path`.

    Raises:
        OSError: the disk refuses.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise type(error)(error.errno, error.strerror, str(path)) from error


def publish(made: Path, path: Path, *, over: bool = True, keep: Path | None = None) -> None:
    """Bring the file or folder `made` to the disk and give it the name `path`.

    Args:
        made: on the same disk as `path`.
        path: its new name.
        over: an older file of this name goes, as an empty folder does; otherwise the older one stays.
        keep: the name that an older file gets, where it is not to go.

    Raises:
        FileExistsError: there is one, and `over` is False; OSError: the disk refuses, or a folder with files is there.
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
    """Bring a file, or a folder with all that is in it, to the disk.

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
    """Let the disk begin to take a file in, so that `sync` waits less; where it refuses, `sync` says so."""
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError):
            descriptor = os.open(file, os.O_RDONLY)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)  # written out first: that is what it is for here
            finally:
                os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, where its file system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def is_room(name: str) -> bool:
    """Return whether a file name is that of a room."""
    return name.startswith(".") and name.endswith(MARK)


def _start(path: Path) -> str:
    return f".{path.name[:KEPT]}."


def _entered(path: Path) -> tuple[Path, int | None]:
    """Make a room and hold it; None where the file system knows no such locks."""
    while True:
        folder = path.with_name(f"{_start(path)}{uuid.uuid4().hex[:8]}{MARK}")
        folder.mkdir()
        held = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(held, fcntl.LOCK_EX)
            if folder.exists():  # another process may have taken it for a dead one's before it was held
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
    """Give a file a name that no other has; a link fails, as it must, where there is one."""
    try:
        os.link(made, path)
    except FileExistsError:
        raise
    except OSError as error:  # a disk without links
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
        os.replace(made, path)  # noqa: PTH105
