"""How a report, a failure and trouble of the machine travel from a worker to the driver, as data."""

import pickle
from typing import Any

import torch

from hyperderm.errors import (
    ClusterError,
    ConfigError,
    DiskFull,
    FileTrouble,
    HyperdermError,
    MachineTrouble,
    StoreError,
    Unforeseen,
)
from hyperderm.training.loop import Report
from hyperderm.trouble import AGAIN, own_of, reason_of, trouble_of

DONE: dict[str, Any] = {"images": -1, "report": {}, "failure": "", "done": True}
"""The end of a trial that has nothing more to report."""


OTHERS = 0.15
"""Share of a GPU's memory that others hold where a trial that does not fit is not to blame; a CUDA context takes some."""


def tell(report: Report, images: float) -> dict[str, Any]:
    """Return a report as Tune carries it; what it says of the objective stands in the report."""
    return {
        "images": report.images,
        "report": dict(report.metrics),
        "note": report.note,
        "failure": "",
        "done": report.images >= images,
    }


def failure(error: HyperdermError) -> dict[str, Any]:
    """Return the end of a trial that cannot succeed, however often it is repeated.

    `cause` is the kind, with its sentence, remedy and exit code, for whoever decides; `failure` is for people.
    """
    return {"images": -1, "report": {}, "failure": str(error), "cause": error, "done": True}


def ended(error: Exception) -> dict[str, Any]:
    """Return the end of a trial that met `error`: a failure, which is its own and final, or trouble, which leaves it open.

    Raises:
        MachineTrouble: trouble that may be over when Ray repeats the trial; Exception: what nobody foresaw, as it was;
            Unforeseen: the same, where the error cannot be made again from a pickle: Ray would hand on a text.
    """
    told = _of_gpu(error) or trouble_of(error) or own_of(error)
    if told is None:
        if not _travels(error):
            raise Unforeseen(f"{type(error).__name__}: {reason_of(error)}") from error
        raise error
    if isinstance(told, (StoreError, ClusterError)) and not isinstance(told, MachineTrouble):
        why = trouble_of(told.__cause__) if told.__cause__ else None
        told = (DiskFull if isinstance(why, DiskFull) else FileTrouble)(told.what, told.remedy)
    if not isinstance(told, MachineTrouble):
        return failure(told)
    if told.passing:
        raise told from error
    return {"images": -1, "report": {}, "failure": "", "trouble": told, "done": True}


def _travels(error: Exception) -> bool:
    """Return whether an error arrives at the driver as what it is: many a library's needs more than its pickle holds."""
    try:
        return type(pickle.loads(pickle.dumps(error))) is type(error)  # noqa: S301 - made in this line
    except Exception:  # pickles run what they like
        return False


def _of_gpu(error: Exception) -> HyperdermError | None:
    """Tell a GPU without memory: where others hold some of it that is the machine's doing, else the configuration's."""
    if not isinstance(error, torch.cuda.OutOfMemoryError):
        return None
    free, total = torch.cuda.mem_get_info()
    others = total - free - torch.cuda.memory_reserved()
    held = f"the GPU's memory is full ({total / 2**30:.0f} GiB, of which others hold {others / 2**30:.1f})"
    if others > OTHERS * total:
        return MachineTrouble(held, f"Let fewer share it (--set sweep.gpus_per_worker=1, a grid's resources.gpus); {AGAIN}")
    return ConfigError(f"{held}: this configuration does not fit it", "Lower training.batch_size, data.size or the widths.")
