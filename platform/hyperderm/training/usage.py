"""What a worker uses of its machine between two reports: processor, memory, GPU and disk."""

import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import torch

from hyperderm.metric_groups import SYSTEM

GIB = 2**30
STATM = Path("/proc/self/statm")


class Usage:
    """Measures from when it is made."""

    def __init__(self, device: torch.device) -> None:
        """Begin; the peak of the device's memory begins anew."""
        self.device = device
        self._cpu, self._wall = _processor_s(), time.perf_counter()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    def since(self) -> dict[str, float]:
        """Return the numbers by their names in MLflow; NaN for what cannot be known, so all workers have the same names.

        `cpu_cores` is the mean number of cores that this process and its finished children kept busy; memory is in GiB: of
        the process now, of the GPU at its peak since the last report and what others hold of it; `gpu_busy` is what
        `gpu_busy` returns. The disk is that of temporary files.
        """
        wall = time.perf_counter() - self._wall
        found = {
            "cpu_cores": (_processor_s() - self._cpu) / wall if wall > 0 else 0.0,
            "memory_gib": _resident() / GIB,
            "disk_free_gib": shutil.disk_usage(tempfile.gettempdir()).free / GIB,
        }
        if self.device.type == "cuda":
            found |= self._of_gpu()
        return {f"{SYSTEM}{name}": value for name, value in found.items()}

    def _of_gpu(self) -> dict[str, float]:
        free, total = torch.cuda.mem_get_info(self.device)
        reserved = torch.cuda.memory_reserved(self.device)
        return {
            "gpu_busy": gpu_busy(self.device),
            "gpu_memory_peak_gib": torch.cuda.max_memory_allocated(self.device) / GIB,
            "gpu_memory_of_others_gib": max(total - free - reserved, 0) / GIB,
        }


def gpu_busy(device: torch.device) -> float:
    """Return the share of the driver's last sample period in which the GPU worked, from 0 to 1; NaN if it cannot be asked.

    The driver does not say it of a part of a GPU (MIG), for example.
    """
    from pynvml import NVMLError  # here: registered models import this module where nothing is installed for GPUs

    with suppress(RuntimeError, NVMLError):
        return torch.cuda.utilization(device) / 100
    return float("nan")


def _processor_s() -> float:
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def _resident() -> float:
    try:
        return int(STATM.read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):  # no /proc
        return float("nan")
