"""The command line in this process, for tests: one of its own costs seconds of imports. Not for what starts Ray."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hyperderm.cli import main

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Run `hyperderm` with these arguments, in the working directory, and return its code and what it printed."""

    def command(*arguments: object) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", ["hyperderm", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        return subprocess.CompletedProcess(arguments, int(ended.value.code or 0), out, err)

    return command


@contextmanager
def project_of(folder: Path, **environment: str) -> Iterator[None]:
    """Work in a project folder with experiments of its own, whose modules are forgotten afterwards."""
    ours = ("experiments", "search_spaces")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        for name, value in environment.items():
            patch.setenv(name, value)
        for name in [name for name in sys.modules if name.partition(".")[0] in ours]:
            patch.delitem(sys.modules, name)
        try:
            yield
        finally:
            for name in [name for name in sys.modules if name.partition(".")[0] in ours]:
                del sys.modules[name]
