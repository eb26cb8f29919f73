"""What is known of a GPU's work where there may be none."""

import math

import torch

from hyperderm.training.usage import gpu_busy


def test_a_gpu_that_cannot_be_asked_ends_no_trial():
    """Without a driver, or on a part of a GPU, NVIDIA's library raises errors of its own."""
    busy = gpu_busy(torch.device("cuda:0"))
    assert 0 <= busy <= 1 if torch.cuda.is_available() and not math.isnan(busy) else math.isnan(busy)
