"""Every error that a user can cause. Each names the field or file, the value and the remedy; the CLI exits with 2."""

import difflib
from collections.abc import Iterable

_VISIBLE = {code: repr(chr(code))[1:-1] for code in (*range(32), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F))}
"""Control characters to their escaped forms, because a file name may contain a line break or move the cursor."""


class HyperdermError(Exception):
    """An error with one clear sentence about what is wrong, and one about what to do.

    Args:
        what: names the field or file and the offending value; has no full stop at the end.
        remedy: an instruction that the user can follow; may be empty if `what` already contains it.
    """

    exit_code = 2

    def __init__(self, what: str, remedy: str = "") -> None:
        what, remedy = (text.translate(_VISIBLE) for text in (what, remedy))
        self.what, self.remedy = what, remedy
        super().__init__(f"{what}. {remedy}".rstrip() if remedy else what)

    def __reduce__(self) -> tuple[type["HyperdermError"], tuple[str, str]]:
        return type(self), (self.what, self.remedy)  # Ray pickles errors; the default of Exception would lose the remedy


class ConfigError(HyperdermError):
    """A configuration key or value that cannot be used."""


class RemovedSetting(ConfigError):
    """A setting that an earlier version recorded and this version no longer has; the remedy names its replacement."""


class CubeError(HyperdermError):
    """A cube, mask or source file that cannot be used; ingest sets such a file aside and lists it."""


class NoImage(CubeError):
    """A file whose content cannot be a hyperspectral image, such as one grey picture, or a list or table of numbers."""


class StoreError(HyperdermError):
    """A store that is missing, damaged, or does not hold what was asked of it."""


class MachineTrouble(HyperdermError):
    """Trouble of the machine and not of the trial: disk, memory, rights, a damaged file, a killed worker. It is no result.

    A trial or job that meets such trouble stays open, and the same command continues it later.

    Attributes:
        everywhere: the next trial would meet the same trouble, so the sweep or grid ends at once.
        passing: the trouble may be over when the trial is repeated, so Ray repeats the trial first.
        in_a_row: the trouble counts among those that end a sweep or grid if two jobs in a row meet them.
    """

    everywhere = False
    passing = True
    in_a_row = True


class DiskFull(MachineTrouble):
    """A disk, quota or file system that is full."""

    everywhere = True
    passing = False


class FileTrouble(MachineTrouble):
    """A file or folder that cannot be accessed, is lost, or is damaged."""

    passing = False


class WorkerLost(MachineTrouble):
    """A worker process or node that ended without reporting an error."""


class OutOfMemory(MachineTrouble):
    """A machine or a GPU that has no memory left."""


class TooLarge(OutOfMemory):
    """A trial for which a GPU has too little memory even without others: of this trial alone, other trials may fit it."""

    passing = False
    in_a_row = False


class Preempted(MachineTrouble):
    """A process that was told to leave its machine and saved its state; the run goes on elsewhere."""


class StorageAway(MachineTrouble, StoreError):
    """Object storage that became unreachable and stayed so: nothing is wrong with the run, which can go on later."""

    everywhere = True


class ClusterError(HyperdermError):
    """Resources or storage that the Ray cluster does not have."""


class TrackingError(HyperdermError):
    """A tracking server that does not answer or that refuses a request."""


class StudyError(HyperdermError):
    """A sweep that cannot be started or continued as asked."""


class CheckpointError(MachineTrouble, StudyError):
    """A checkpoint that is damaged or belongs to another run."""

    passing = False


class NonFiniteLoss(HyperdermError):
    """A loss or gradient that is NaN or infinite; the trial fails with a message that names the step and the culprit."""


class UnexpectedError(HyperdermError):
    """An error of an unknown kind, by its name and message; it can be sent where the error itself cannot be."""

    exit_code = 1


def nearest(name: str, known: Iterable[str], count: int = 3) -> str:
    """Return a phrase naming the known names closest to `name`, e.g. "Did you mean 'fold'?"."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=count, cutoff=0.5)
    if close:
        return "Did you mean " + " or ".join(repr(c) for c in close) + "?"
    return "Known: " + ", ".join(names)
