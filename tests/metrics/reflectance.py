"""Random cubes for tests of metrics, in the range that reflectance has: partly below 0 and above 1."""

import torch


def reflectance(count, bands=16, height=24, width=24, seed=0, low=-0.07, high=1.9):
    """Return smooth patches with noise, (count, bands, height, width) float32."""
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, bands, 4, 4, generator=rng)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    noisy = smooth + 0.1 * torch.randn(count, bands, height, width, generator=rng)
    return low + (high - low) * noisy.clamp(0, 1)
