"""Layers of networks in plain numpy, from their definitions: what torch's are tested against. Maps are (N, C, H, W)."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

Array = NDArray[np.float64]


def weights(module: nn.Module, seed: int = 0) -> dict[str, Array]:
    """Fill every parameter and buffer of a network with random doubles, variances positive, and return them by name.

    Initial zeros would hide faults.
    """
    module.double()
    g = torch.Generator().manual_seed(seed)
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            fan_in = max(value[0].numel(), 1) if value.dim() > 1 else 1
            drawn = torch.randn(value.shape, generator=g, dtype=torch.float64) / fan_in**0.5
            value.copy_(drawn.abs() + 0.5 if name.endswith("running_var") else drawn)
    return {name: value.numpy() for name, value in module.state_dict().items()}


def conv(x: Array, w: Array, b: Array | None = None, stride: int = 1, padding: int = 0, groups: int = 1) -> Array:
    """Convolution with weights (out, in / groups, k, k) as a sum over the k x k shifts of the zero-padded map."""
    n, _, height, width = x.shape
    k, per_group = w.shape[2], w.shape[0] // groups
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    h, v = (height + 2 * padding - k) // stride + 1, (width + 2 * padding - k) // stride + 1
    out = np.zeros((n, w.shape[0], h, v))
    for o in range(w.shape[0]):
        first = (o // per_group) * w.shape[1]
        for i in range(w.shape[1]):
            for dy in range(k):
                for dx in range(k):
                    shifted = padded[:, first + i, dy : dy + h * stride : stride, dx : dx + v * stride : stride]
                    out[:, o] += w[o, i, dy, dx] * shifted
    return out if b is None else out + b[:, None, None]


def conv_transpose(x: Array, w: Array, stride: int, padding: int) -> Array:
    """Transposed convolution with weights (in, out, k, k): every pixel paints its k x k patch; the border is cut off."""
    n, _, height, width = x.shape
    k = w.shape[2]
    out = np.zeros((n, w.shape[1], (height - 1) * stride + k, (width - 1) * stride + k))
    for i in range(height):
        for j in range(width):
            patch = np.einsum("nc,cokl->nokl", x[:, :, i, j], w)
            out[:, :, i * stride : i * stride + k, j * stride : j * stride + k] += patch
    return out[:, :, padding : out.shape[2] - padding, padding : out.shape[3] - padding]


def bilinear(x: Array, size: int) -> Array:
    """Bilinear interpolation of square maps: pixel centres are half-integers, the border is continued."""
    side = x.shape[2]
    at = np.clip((np.arange(size) + 0.5) * side / size - 0.5, 0, side - 1)
    matrix = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(side)[None]))  # (size, side)
    return np.einsum("yi,ncij,xj->ncyx", matrix, x, matrix)


def leaky_relu(x: Array, slope: float) -> Array:
    return np.where(x > 0, x, slope * x)


def batch_norm(x: Array, w: dict[str, Array], name: str, training: bool) -> Array:
    """Batch norm with the batch's mean and biased variance in training, else with the running ones."""
    mean = x.mean((0, 2, 3)) if training else w[f"{name}.running_mean"]
    variance = x.var((0, 2, 3)) if training else w[f"{name}.running_var"]
    normal = (x - mean[:, None, None]) / np.sqrt(variance[:, None, None] + 1e-5)
    return normal * w[f"{name}.weight"][:, None, None] + w[f"{name}.bias"][:, None, None]


def layer_norm(x: Array, w: dict[str, Array], name: str) -> Array:
    """Layer norm over (C, H, W) with one gain and offset a channel."""
    normal = (x - x.mean((1, 2, 3), keepdims=True)) / np.sqrt(x.var((1, 2, 3), keepdims=True) + 1e-5)
    return normal * w[f"{name}.weight"][:, None, None] + w[f"{name}.bias"][:, None, None]
