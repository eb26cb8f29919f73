"""The messages by which a worker sends a report, a failure or trouble of the machine to the driver, as plain data."""

import pickle
from typing import Any

import torch

from hyperderm.cluster.gpu_share import share_of_gpu
from hyperderm.errors import (
    ClusterError,
    DiskFull,
    FileTrouble,
    HyperdermError,
    MachineTrouble,
    OutOfMemory,
    StoreError,
    TooLarge,
    UnexpectedError,
)
from hyperderm.store.location import waited
from hyperderm.training.report import Report
from hyperderm.trouble import AGAIN, cause_for, own_of, reason_of, trouble_of

DONE: dict[str, Any] = {"images": -1, "report": {}, "failure": "", "done": True}
"""The message that ends a trial without a further report."""


OTHERS = 0.15
"""Share of a GPU's memory; if other processes hold more than this share, they are the reason why a trial does not fit.

It is not 0, because a CUDA context takes some memory too."""


def report_message(report: Report, images: float) -> dict[str, Any]:
    """Return a report in the form that Tune transports; the objective is among the metrics of the report."""
    return {
        "images": report.images,
        "report": dict(report.metrics),
        "note": "; ".join(filter(None, (report.note, waited()))),
        "failure": "",
        "done": report.images >= images,
    }


def failure_message(error: HyperdermError) -> dict[str, Any]:
    """Return the message that ends a trial which would fail again at every repetition.

    In the message, `cause` is the error itself, which the driver evaluates; `failure` is its text, which people read.
    """
    return {"images": -1, "report": {}, "failure": str(error), "cause": error, "done": True}


def end_message(error: Exception) -> dict[str, Any]:
    """Return the message that ends a trial with `error`.

    A failure is caused by the trial itself and is final; trouble of the machine leaves the trial open.

    Raises:
        MachineTrouble: the trouble may be over when Ray repeats the trial; Exception: the unchanged `error`, if it is
            unforeseen; UnexpectedError: an unforeseen error that cannot be pickled, of which Ray would pass on only a text.
    """
    known = _of_gpu(error) or trouble_of(error) or own_of(error)
    if known is None:
        if not _travels(error):
            raise UnexpectedError(f"{type(error).__name__}: {reason_of(error)}") from error
        raise error
    if isinstance(known, (StoreError, ClusterError)) and not isinstance(known, MachineTrouble):
        why = trouble_of(known.__cause__) if known.__cause__ else None
        known = (DiskFull if isinstance(why, DiskFull) else FileTrouble)(known.what, known.remedy)
    if not isinstance(known, MachineTrouble):
        return failure_message(known)
    if known.passing:
        raise known from cause_for(known, error)
    return {"images": -1, "report": {}, "failure": "", "trouble": known, "done": True}


def _travels(error: Exception) -> bool:
    """Return whether an error keeps its type on the way to the driver; some libraries' errors cannot be unpickled."""
    try:
        return type(pickle.loads(pickle.dumps(error))) is type(error)  # noqa: S301 - the bytes come from this process
    except Exception:  # unpickling runs code of the error's class, which may raise anything
        return False


def _of_gpu(error: Exception) -> OutOfMemory | None:
    """Return the error for a GPU without free memory, or None for any other error.

    If other processes hold much of the memory, the trouble may pass. Otherwise, or if this process has used up its own
    share, the configuration does not fit. That shows at the first step, which takes what all later ones take.
    """
    if not isinstance(error, torch.cuda.OutOfMemoryError):
        return None
    free, total = torch.cuda.mem_get_info()
    share = share_of_gpu()
    if share < 1 and free >= share * total - torch.cuda.memory_reserved():  # what is left of the share is there
        return TooLarge(
            f"this trial's share of the GPU's memory is full ({share:g} of {total / 2**30:.0f} GiB): this configuration "
            "does not fit it",
            "Run the same command with more of it (--set sweep.gpus_per_worker, a grid: resources.gpus): it goes on; or "
            "begin anew with a lower training.batch_size, data.size or smaller widths.",
        )
    others = total - free - torch.cuda.memory_reserved()
    held = f"the GPU's memory is full ({total / 2**30:.0f} GiB, of which others hold {others / 2**30:.1f})"
    if others > OTHERS * total:
        return OutOfMemory(held, f"Let fewer share it (--set sweep.gpus_per_worker=1, a grid's resources.gpus); {AGAIN}")
    return TooLarge(
        f"{held}: this configuration does not fit it",
        "Run the same command on a GPU with more: it goes on; or begin anew with a lower training.batch_size, data.size or "
        "smaller widths.",
    )
