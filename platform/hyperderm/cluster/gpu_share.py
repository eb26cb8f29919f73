"""The share of a GPU's memory that a trial may take where several trials share one (`sweep.gpus_per_worker` below 1)."""

import torch

GIB = 2**30


def bound_gpu(gpus: float) -> str:
    """Bound this process to its share of the GPU's memory, and return a sentence about it; "" without a share.

    Without a bound, the trial that asks first takes what its neighbours need, and they fail at a step that says nothing of
    them. A process that is used for another trial keeps its GPU and gets the bound of that trial.

    Args:
        gpus: number of GPUs of the trial; a share of one is below 1.
    """
    if not torch.cuda.is_available() or gpus <= 0:
        return ""
    share = min(gpus, 1.0)
    if share == torch.cuda.get_per_process_memory_fraction():
        return ""
    torch.cuda.set_per_process_memory_fraction(share)
    if share == 1.0:
        return ""
    total = torch.cuda.mem_get_info()[1]
    return f"this trial may take {share:g} of the GPU's memory: {share * total / GIB:.1f} of {total / GIB:.0f} GiB"


def share_of_gpu() -> float:
    """Return the share of the GPU's memory to which this process is bound; 1 without a bound."""
    return float(torch.cuda.get_per_process_memory_fraction())
