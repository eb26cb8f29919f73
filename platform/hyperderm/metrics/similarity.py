"""Similarity of pairs of cubes pixel by pixel: PSNR, SSIM and MS-SSIM, band by band.

Pairs of unrelated cubes give levels and no errors: neither a generator's quality nor its faults can be read off such
values without the values that pairs of real cubes have. SSIM is our own code because piq refuses values outside
[0, data_range], which reflectance has, and torchmetrics pads the image and cannot shrink a Gaussian window.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from hyperderm.metrics.blocks import Values, band_values, check, check_range
from hyperderm.metrics.description import Metric

WINDOW, SIGMA = 11, 1.5
"""Side and standard deviation in pixels of the Gaussian window of SSIM (Wang et al. 2004, section III)."""
K1, K2 = 0.01, 0.03
SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Weights of the five scales of MS-SSIM, the finest first (Wang et al. 2003, section 3.2)."""


def psnr(x: Tensor, y: Tensor, data_range: float) -> Values:
    """Return the peak signal-to-noise ratio of every pair, 10 log10(data_range² / MSE), in dB.

    MSE is the mean over all bands and pixels. Identical cubes have +inf; a mean over pairs must treat them apart.

    Args:
        x: (N, B, H, W) reflectance.
        y: (N, B, H, W) reflectance; y[i] is compared with x[i].
        data_range: the peak, in reflectance.

    Returns:
        (N,).

    Raises:
        CubeError: the shapes differ or are not (N, B, H, W), a value is not finite, or data_range is not positive.
    """
    check_range(data_range)
    error = band_values(lambda a, b: (a - b).square().mean((1, 2)), x, y).mean(1)
    with np.errstate(divide="ignore"):
        return 10.0 * np.log10(data_range**2 / error)


def ssim(x: Tensor, y: Tensor, data_range: float) -> Values:
    """Return the structural similarity of every pair: SSIM of each band, averaged over bands.

    SSIM (Wang et al. 2004, eq. 13) with a Gaussian window of 11 x 11 px and σ 1.5 px, averaged over all places where the
    whole window lies in the image, K1 = .01 and K2 = .03. If an image is smaller than 11 px, the window is the largest odd
    square that fits (σ stays). Then few places remain and values are not comparable with those of larger images.

    Args:
        x: (N, B, H, W) reflectance.
        y: (N, B, H, W) reflectance; y[i] is compared with x[i].
        data_range: L of the constants (K1 L)² and (K2 L)², in reflectance. A larger value gives a larger SSIM.

    Returns:
        (N,) in [-1, 1]; 1 for identical cubes. A band that is zero in both cubes counts as identical.

    Raises:
        CubeError: the shapes differ or are not (N, B, H, W), a value is not finite, or data_range is not positive.
    """
    check_range(data_range)
    return band_values(lambda a, b: _terms(a, b, data_range)[0], x, y).mean(1)


def ms_ssim_scales(height: int, width: int) -> tuple[float, ...]:
    """Return the weights of the scales that MS-SSIM uses for images of this size, the finest first; they sum to 1.

    Scale s (0 … 4) is the image halved s times. It is used if the window of 11 px fits, so five scales need 176 px. The
    first scale is always used. The published weights of the scales in use are divided by their sum.
    """
    used = [weight for s, weight in enumerate(SCALES) if s == 0 or min(height, width) >> s >= WINDOW]
    return tuple(weight / sum(used) for weight in used)


def ms_ssim(x: Tensor, y: Tensor, data_range: float) -> Values:
    """Return the multi-scale structural similarity of every pair: MS-SSIM of each band, averaged over bands.

    The product over scales of the mean contrast-structure term, at the coarsest scale of the mean SSIM, each to the power
    of its weight (Wang et al. 2003, eq. 7). Terms below 0 count as 0. Images are halved by the mean of 2 x 2 px; an odd last
    row or column is left out. Small images have fewer scales, see `ms_ssim_scales`: say so beside the value. Below 22 px
    only one scale remains, and the value is SSIM with negative bands set to 0.

    Args:
        x: (N, B, H, W) reflectance.
        y: (N, B, H, W) reflectance; y[i] is compared with x[i].
        data_range: see `ssim`.

    Returns:
        (N,) in [0, 1]; 1 for identical cubes.

    Raises:
        CubeError: the shapes differ or are not (N, B, H, W), a value is not finite, or data_range is not positive.
    """
    check_range(data_range)
    check(x, y)
    weights = ms_ssim_scales(*x.shape[2:])

    def one(a: Tensor, b: Tensor) -> Tensor:
        product = torch.ones(len(a), dtype=a.dtype, device=a.device)
        for scale, weight in enumerate(weights):
            if scale:
                a, b = avg_pool2d(a, 2), avg_pool2d(b, 2)
            similarity, contrast = _terms(a, b, data_range)
            last = scale == len(weights) - 1
            product *= (similarity if last else contrast).clamp_min(0.0) ** weight
        return product

    return band_values(one, x, y).mean(1)


def _terms(a: Tensor, b: Tensor, data_range: float) -> tuple[Tensor, Tensor]:
    """Return the mean SSIM and the mean of its contrast-structure term of single bands: (P, H, W) twice -> (P,) twice."""
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    height, width = a.shape[1:]
    side = min(WINDOW, height, width)
    side -= 1 - side % 2
    weights = _window(side)
    mean_a, mean_b, squares, product = (_averaged(image, weights) for image in (a, b, a * a + b * b, a * b))
    power = mean_a.square() + mean_b.square()
    covariance = product - mean_a * mean_b
    variances = (squares - power).clamp_min_(0.0)
    contrast = (2 * covariance + c2) / (variances + c2)
    luminance = (2 * mean_a * mean_b + c1) / (power + c1)
    return (luminance * contrast).mean((1, 2)), contrast.mean((1, 2))


def _window(side: int) -> list[float]:
    """Return the weights of the Gaussian window along one axis."""
    offset = torch.arange(side, dtype=torch.float64) - side // 2
    weights = torch.exp(-offset.square() / (2 * SIGMA**2))
    return (weights / weights.sum()).tolist()


def _averaged(images: Tensor, weights: list[float]) -> Tensor:
    """Return the weighted means of all whole windows: (P, H, W) -> (P, H - side + 1, W - side + 1).

    Sums of shifted images take half the time of a product with a matrix that is mostly zero.
    """
    for axis in (1, 2):
        length = images.shape[axis] - len(weights) + 1
        total = images.narrow(axis, 0, length) * weights[0]
        for i, weight in enumerate(weights[1:], 1):
            total.add_(images.narrow(axis, i, length), alpha=weight)
        images = total
    return images


METRICS = (
    Metric(
        key="psnr",
        title="peak signal-to-noise ratio",
        function=psnr,
        kind="pair",
        better="higher",
        unit="dB",
        span=(None, None),
        perfect=float("inf"),
        formula="10 log10(L² / MSE), MSE over all bands and pixels, L the data range",
        source="definition",
        cannot="It cannot see structure: a shift by a pixel costs as much as noise of equal energy. Of unrelated cubes it "
        "prefers a blurred or an average one to a real one.",
    ),
    Metric(
        key="ssim",
        title="structural similarity",
        function=ssim,
        kind="pair",
        better="higher",
        unit="",
        span=(-1.0, 1.0),
        perfect=1.0,
        formula="mean over bands of SSIM, Gaussian window 11 px, σ 1.5 px, K1 .01, K2 .03, L the data range",
        source="Wang et al., IEEE TIP 13(4), 2004, eq. 13",
        cannot="It cannot see relations between bands, nor any structure wider than its window of 11 px. Of unrelated cubes "
        "it prefers a blurred or an average one to a real one.",
    ),
    Metric(
        key="ms_ssim",
        title="multi-scale structural similarity",
        function=ms_ssim,
        kind="pair",
        better="higher",
        unit="",
        span=(0.0, 1.0),
        perfect=1.0,
        formula="mean over bands of Π cs_s^w_s · ssim_S^w_S over the scales that fit the image, weights summing to 1",
        source="Wang, Simoncelli & Bovik, Asilomar 2003, eq. 7",
        cannot="It cannot see relations between bands, and brightness only at the coarsest scale; values of images with "
        "different numbers of scales cannot be compared. Of unrelated cubes it prefers a blurred or an average one.",
    ),
)
