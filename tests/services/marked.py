"""Secrets with marks that are easy to find again, and a search for them wherever a program may have left them."""

import base64
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

MARK = "9kQvW3zR"
"""Stands in every secret; letters and digits only, so an address holds it as it is."""
PASSWORD = f"password-{MARK}-mlflow"
SECRET = f"secret-{MARK}-s3-key"
TOKEN = f"token-{MARK}-of-ray-0123456789"


def _forms() -> tuple[bytes, ...]:
    """The mark as it is, in hexadecimal (Tune's states), and as base64 shows its middle after 0, 1 or 2 other bytes."""
    plain = MARK.encode()
    shifted = [base64.b64encode(bytes(shift) + plain)[4 if shift else 0 : 10] for shift in range(3)]
    return plain, plain.hex().encode(), plain.hex().upper().encode(), *shifted


FORMS = _forms()


def betrays(content: bytes) -> bool:
    return any(form in content for form in FORMS)


def betraying(folders: Iterable[Path]) -> list[str]:
    """The files below these folders that hold a mark in their bytes or their name; there are files, or it is no proof."""
    found = []
    for folder in folders:
        files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
        assert files, f"{folder} is empty"
        found += [str(path) for path in files if betrays(bytes(path)) or betrays(path.read_bytes())]
    return found


class Watched:
    """The command lines of all processes of this machine, as `ps` would show them, looked at again and again."""

    def __init__(self) -> None:
        self.looks = 0
        self.seen: set[bytes] = set()
        self._over = threading.Event()

    def look(self) -> None:
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):  # it has ended
                self.seen.add(process.read_bytes())
        self.looks += 1

    def watch(self) -> None:
        while not self._over.wait(0.1):
            self.look()

    def stop(self) -> None:
        self._over.set()


@contextmanager
def watching() -> Iterator[Watched]:
    watched = Watched()
    thread = threading.Thread(target=watched.watch, daemon=True)
    thread.start()
    try:
        yield watched
    finally:
        watched.stop()
        thread.join()


def token(environment: Mapping[str, str]) -> dict[str, str]:
    """`environment`, with a marked token for a Ray of one's own."""
    return {**environment, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
