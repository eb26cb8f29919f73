"""Machines of their own on this one: network namespaces on a bridge, each with its address and its own view of a folder."""

import os
import shlex
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

NETWORK = f"10.{77 + os.getpid() % 150}.{os.getpid() // 150 % 250}"
"""The first three numbers of the addresses, so that two test runs at a time have different ones."""


class Network:
    """A bridge with `count` namespaces; `here` is this machine's address on it. `close` takes everything away.

    Raises:
        OSError, subprocess.CalledProcessError: this user may not make them.
    """

    def __init__(self, count: int) -> None:
        self.name = f"hd{os.getpid() % 100000}"
        self.here = f"{NETWORK}.1"
        self.spaces: list[str] = []
        self.addresses: list[str] = []
        try:
            _ip("link", "add", self.name, "type", "bridge")
            _ip("addr", "add", f"{self.here}/24", "dev", self.name)
            _ip("link", "set", self.name, "up")
            for number in range(count):
                self._join(number)
        except BaseException:
            self.close()
            raise

    def _join(self, number: int) -> None:
        space, outer, inner = f"{self.name}-{number}", f"{self.name}o{number}", f"{self.name}i{number}"
        _ip("netns", "add", space)
        self.spaces.append(space)
        self.addresses.append(f"{NETWORK}.{number + 2}")
        _ip("link", "add", outer, "type", "veth", "peer", "name", inner)
        _ip("link", "set", outer, "master", self.name, "up")
        _ip("link", "set", inner, "netns", space)
        _ip("-n", space, "addr", "add", f"{self.addresses[-1]}/24", "dev", inner)
        _ip("-n", space, "link", "set", inner, "up")
        _ip("-n", space, "link", "set", "lo", "up")

    def inside(self, number: int, command: Sequence[str], *hidden: Path) -> list[str]:
        """Return what runs `command` in a namespace, where each of the folders `hidden` is an empty one of its own."""
        mounts = "".join(f"mount -t tmpfs tmpfs {shlex.quote(str(folder))} && " for folder in hidden)
        return ["ip", "netns", "exec", self.spaces[number], "sh", "-c", f'{mounts}exec "$@"', "sh", *command]

    def cut(self, number: int) -> None:
        """Take a namespace off the network; its processes go on."""
        _ip("link", "set", f"{self.name}o{number}", "down")

    def mend(self, number: int) -> None:
        """Bring a namespace back to the network."""
        _ip("link", "set", f"{self.name}o{number}", "up")

    def close(self) -> None:
        """Remove the namespaces and the bridge."""
        for space in self.spaces:
            with suppress(subprocess.CalledProcessError):
                _ip("netns", "del", space)
        with suppress(subprocess.CalledProcessError):
            _ip("link", "del", self.name)


class Loopback:
    """The same on loopback addresses, where everything is in common."""

    here, addresses = "127.0.0.1", ("127.0.0.2", "127.0.0.3")

    def inside(self, number: int, command: Sequence[str], *hidden: Path) -> list[str]:
        """Return the command as it is."""
        return list(command)

    def close(self) -> None:
        """Do nothing."""


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
