"""Every error a user can cause. Each names the field or file, the value, and the remedy; the CLI exits with 2."""

import difflib
from collections.abc import Iterable

_VISIBLE = {code: repr(chr(code))[1:-1] for code in (*range(32), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F))}
"""Control characters as they are written in a program: a file's name may hold a line break or move the cursor."""


class HyperdermError(Exception):
    """One clear sentence about what is wrong, and one about what to do.

    Args:
        what: names the field or file and the offending value; no full stop at the end.
        remedy: an instruction the user can follow; may be empty when `what` already holds it.
    """

    exit_code = 2

    def __init__(self, what: str, remedy: str = "") -> None:
        what, remedy = (text.translate(_VISIBLE) for text in (what, remedy))
        self.what, self.remedy = what, remedy
        super().__init__(f"{what}. {remedy}".rstrip() if remedy else what)

    def __reduce__(self) -> tuple[type["HyperdermError"], tuple[str, str]]:
        return type(self), (self.what, self.remedy)  # Ray pickles errors; Exception's default would join the parts


class ConfigError(HyperdermError):
    """A configuration key or value that cannot be used."""


class Gone(ConfigError):
    """What an earlier version wrote down, and this one has no more; the remedy says what there is instead."""


class CubeError(HyperdermError):
    """A cube, mask or source file that cannot be used; ingest sets such a file aside and lists it."""


class NoImage(CubeError):
    """A file that can be no hyperspectral image by what it holds: one grey picture, a list or table of numbers."""


class StoreError(HyperdermError):
    """A store that is missing, damaged, or does not hold what was asked of it."""


class MachineTrouble(HyperdermError):
    """What the machine did, not the trial: disk, memory, rights, a damaged file, a killed worker. It is no result.

    A trial or job that meets it stays open, and the same command goes on with it later.

    Attributes:
        everywhere: the next trial would meet it too, so the sweep or grid ends at once.
        passing: it may be over when the trial is repeated, so Ray repeats it first.
    """

    everywhere = False
    passing = True


class DiskFull(MachineTrouble):
    """A disk, quota or file system that takes no more."""

    everywhere = True
    passing = False


class FileTrouble(MachineTrouble):
    """A file or folder that refuses, is lost, or is damaged."""

    passing = False


class WorkerLost(MachineTrouble):
    """A worker process or its node that ended without a word of its own."""


class StorageAway(MachineTrouble, StoreError):
    """Object storage that went away and did not come back: nothing is wrong with the run, which can go on later."""

    everywhere = True


class ClusterError(HyperdermError):
    """Resources or storage that the Ray cluster does not have."""


class TrackingError(HyperdermError):
    """A tracking server that does not answer or refuses."""


class StudyError(HyperdermError):
    """A sweep that cannot be started or continued as asked."""


class CheckpointError(MachineTrouble, StudyError):
    """A checkpoint that is damaged, or another run's."""

    passing = False


class NonFiniteLoss(HyperdermError):
    """A loss or gradient that is NaN or infinite: the trial fails, naming the step and the culprit."""


class Unforeseen(HyperdermError):
    """An error of no kind that is known here, by its name and what it said: it travels where the error itself cannot."""

    exit_code = 1


def nearest(name: str, known: Iterable[str], count: int = 3) -> str:
    """Return a phrase naming the known names closest to `name`, e.g. "Did you mean 'fold'?"."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=count, cutoff=0.5)
    if close:
        return "Did you mean " + " or ".join(repr(c) for c in close) + "?"
    return "Known: " + ", ".join(names)
