"""B bands folded to three channels, for networks and image metrics that know only colour pictures.

Band c belongs to the residue class c mod 3. So each of the three channels holds every third band from the shortest to the
longest wavelength; the channels are no colours, and differences between bands of one class are lost.
"""

import torch
from torch import Tensor

from hyperderm.errors import CubeError

CHANNELS = 3


def folded_sum(x: Tensor, scaled: bool = True) -> Tensor:
    """Return x'_r = (3/B) Σ x_c over the bands c ≡ r mod 3, the input of a network for three channels.

    The untouched network on x' gives what it would give on x if the weights of its first convolution (out, 3, k, k) were
    repeated along the channels to B (band c has the weights of channel c mod 3) and multiplied by 3/B, as timm does to
    adapt a network. Any bias stays unchanged. If B is not divisible by 3, the channels have different numbers of bands,
    so a constant cube of value v gives up to v · (3/B) · ceil(B/3): 1.125 v for 16 bands.

    Args:
        x: (N, B, H, W), B ≥ 3, of any number type.
        scaled: whether the repeated weights are multiplied by 3/B; if not, the sum has the factor 1.

    Returns:
        (N, 3, H, W) float32, or float64 if x is.

    Raises:
        CubeError: x is not (N, B, H, W) or has fewer than three bands.
    """
    return _sums(x) * (CHANNELS / x.shape[1] if scaled else 1.0)


def folded_mean(x: Tensor) -> Tensor:
    """Return the mean of the bands c ≡ r mod 3, r = 0, 1, 2: an image with three channels in the units of x.

    It stays within the range of x, as image metrics demand, unlike `folded_sum`.

    Args:
        x: (N, B, H, W), B ≥ 3, of any number type.

    Returns:
        (N, 3, H, W) float32, or float64 if x is.

    Raises:
        CubeError: x is not (N, B, H, W) or has fewer than three bands.
    """
    sums = _sums(x)
    bands = [len(range(r, x.shape[1], CHANNELS)) for r in range(CHANNELS)]
    return sums / sums.new_tensor(bands).view(1, CHANNELS, 1, 1)


def _sums(x: Tensor) -> Tensor:
    if x.ndim != 4 or x.shape[1] < CHANNELS:
        raise CubeError(f"cubes of shape {tuple(x.shape)} cannot be folded", "Give (N, B, H, W) with three bands or more.")
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    return torch.stack([x[:, r::CHANNELS].sum(1, dtype=dtype) for r in range(CHANNELS)], 1)
