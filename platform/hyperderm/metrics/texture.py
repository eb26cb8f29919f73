"""Levels of single cubes: how rough, varied, noisy and finely structured the images of the bands are.

Every function takes cubes (N, B, H, W) in reflectance of any number type and returns (N,). None of the values is good or bad
in itself: a generator should give the distribution that real cubes of the same size have.
"""

import math
from functools import cache, partial

import torch
from torch import Tensor

from hyperderm.errors import CubeError
from hyperderm.metrics.blocks import Values, band_values
from hyperderm.metrics.description import Metric

FLOOR = 1e-6
"""Smallest signal, noise and spatial standard deviation in reflectance that count; float32 rounds more finely than that."""
NORMAL_QUARTILE = 0.6744897501960817
"""Median of the absolute value of a standard normal variable."""
LOWEST = 3
"""Lowest spatial frequency of the fitted power spectrum, in cycles per shorter side; the window blurs lower ones."""
SMALLEST = 16
"""Smallest side in pixels for which a spectrum is fitted; it then has 6 points."""


def total_variation(x: Tensor) -> Values:
    """Return the anisotropic total variation of every cube, as a mean per pixel and band, in reflectance.

    (Σ |x[i+1, j] − x[i, j]| + Σ |x[i, j+1] − x[i, j]|) / (B H W): the mean absolute difference to the lower neighbour plus
    that to the right one; missing neighbours count as equal (Rudin, Osher & Fatemi 1992, in the anisotropic form).

    Args:
        x: (N, B, H, W) reflectance.

    Returns:
        (N,), 0 and above; 0 for cubes that are constant in space.

    Raises:
        CubeError: x is not (N, B, H, W), or a value is not finite.
    """

    def one(image: Tensor) -> Tensor:
        down, right = (image.diff(dim=d).abs().sum((1, 2)) for d in (1, 2))
        return (down + right) / (image.shape[1] * image.shape[2])

    return band_values(one, x).mean(1)


def variance(x: Tensor) -> Values:
    """Return the variance over pixels (divided by H W) of each band, averaged over bands, in squared reflectance.

    Args:
        x: (N, B, H, W) reflectance.

    Returns:
        (N,), 0 and above.

    Raises:
        CubeError: x is not (N, B, H, W), or a value is not finite.
    """
    return band_values(lambda image: image.var((1, 2), correction=0), x).mean(1)


def spatial_entropy(x: Tensor, low: float, high: float, bins: int = 256) -> Values:
    """Return the entropy of the histogram of each band, −Σ p log2 p, averaged over bands, in bits.

    The histogram has equal bins over [low, high]; values outside count in the outermost bins. The range must be the same
    for all cubes that are compared. An image of n pixels cannot exceed log2 n: cubes of different sizes differ by that.

    Args:
        x: (N, B, H, W) reflectance.
        low: lower end of the histogram, in reflectance.
        high: upper end.
        bins: number of bins.

    Returns:
        (N,) in [0, log2 bins]; 0 for cubes that are constant in space.

    Raises:
        CubeError: x is not (N, B, H, W), a value is not finite, the range is empty, or bins is below 1.
    """
    if not (math.isfinite(low) and math.isfinite(high) and low < high and bins >= 1):
        raise CubeError(f"a histogram from {low} to {high} with {bins} bins", "Give low < high and one bin or more.")

    def one(image: Tensor) -> Tensor:
        where = ((image - low) * (bins / (high - low))).floor().clamp(0, bins - 1).long().flatten(1)
        offset = torch.arange(len(where), device=where.device)[:, None] * bins
        counts = torch.bincount((where + offset).flatten(), minlength=len(where) * bins)
        p = counts.view(-1, bins).double() / where.shape[1]
        return torch.special.entr(p).sum(1) / math.log(2.0)

    return band_values(one, x).mean(1)


def signal_to_noise(x: Tensor) -> Values:
    """Return the signal-to-noise ratio of each band, 20 log10(mean / σ), averaged over bands, in dB.

    The noise σ is estimated from the image itself, which is filtered by the mask [1 −2 1; −2 4 −2; 1 −2 1] (Immerkær 1996).
    The mask removes planes and edges along the axes and multiplies the σ of white noise by 6. Then σ is the median of the
    absolute values divided by 6 · 0.6745 (Donoho & Johnstone 1994); a few edges and hairs hardly move it, unlike
    Immerkær's mean. Mean and σ count as 1e-6 at least: a zero cube has 0 dB and a constant one a finite value.

    Args:
        x: (N, B, H, W) reflectance; H and W of 3 px or more. White noise is assumed: noise that was smoothed by
            interpolation is underestimated, and texture finer than 3 px counts as noise.

    Returns:
        (N,).

    Raises:
        CubeError: x is not (N, B, H, W), a side is below 3 px, or a value is not finite.
    """

    def one(image: Tensor) -> Tensor:
        filtered = image.diff(n=2, dim=1).diff(n=2, dim=2).abs().flatten(1)
        noise = filtered.quantile(0.5, dim=1) / (6 * NORMAL_QUARTILE)
        return 20 * torch.log10(image.mean((1, 2)).clamp_min(FLOOR) / noise.clamp_min(FLOOR))

    return band_values(one, x, least=3).mean(1)


def spectrum_slope(x: Tensor) -> Values:
    """Return the slope of log power against log spatial frequency of each band, averaged over bands.

    Each band is multiplied by a Hann window after its windowed mean was subtracted. Its power spectrum is averaged over
    rings that are one cycle per shorter side wide. A line is fitted to the logarithms (least squares, all rings alike) from
    3 cycles per shorter side to the Nyquist frequency of half a cycle per pixel. White noise has 0, natural images are near
    −2 (Field 1987); the up-sampling of generators distorts high frequencies (Durall et al., CVPR 2020). Bands with a
    standard deviation below 1e-6 have slope 0. On noise of known slope from 0 to −3 the bias is below .15 from 32 px on.

    Args:
        x: (N, B, H, W) reflectance; H and W of 16 px or more.

    Returns:
        (N,).

    Raises:
        CubeError: x is not (N, B, H, W), a side is below 16 px, or a value is not finite.
    """
    return band_values(_slope, x, least=SMALLEST).mean(1)


def _slope(image: Tensor) -> Tensor:
    height, width = image.shape[1:]
    window, ring, frequency = (each.to(image.device) for each in _rings(height, width))
    centred = image - ((image * window).sum((1, 2)) / window.sum())[:, None, None]
    power = torch.fft.fft2(centred * window).abs().square().flatten(1)
    rings = len(frequency)
    sums = power.new_zeros(len(power), rings + 1).index_add_(1, ring, power)[:, :rings]
    level = (sums / torch.bincount(ring, minlength=rings + 1)[:rings]).clamp_min(torch.finfo(power.dtype).tiny).log()
    along = frequency.log() - frequency.log().mean()
    slope = (level * along).sum(1) / along.square().sum()
    return torch.where(image.std((1, 2), correction=0) < FLOOR, 0.0, slope)


@cache
def _rings(height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the window (H, W), the ring of every frequency (H W,) and the mean frequency of every ring (R,).

    Frequencies outside the fitted range have ring R.
    """
    hann = partial(torch.hann_window, periodic=False, dtype=torch.float64)
    window = hann(height)[:, None] * hann(width)
    fy, fx = (torch.fft.fftfreq(n, dtype=torch.float64) for n in (height, width))
    radius = torch.hypot(fy[:, None], fx).flatten()
    side = min(height, width)
    ring = (radius * side).round().long() - LOWEST
    rings = side // 2 - LOWEST + 1
    ring[(ring < 0) | (ring >= rings)] = rings
    sums = torch.zeros(rings + 1, dtype=torch.float64).index_add_(0, ring, radius)
    return window, ring, (sums / torch.bincount(ring, minlength=rings + 1))[:rings]


METRICS = (
    Metric(
        key="total_variation",
        title="total variation",
        function=total_variation,
        kind="level",
        better="as real",
        unit="reflectance",
        span=(0.0, None),
        perfect=None,
        formula="(Σ |x[i+1, j] − x[i, j]| + Σ |x[i, j+1] − x[i, j]|) / (B H W)",
        source="Rudin, Osher & Fatemi, Physica D 60, 1992 (anisotropic form)",
        cannot="It cannot tell noise from structure, does not see the order of the bands, and depends on a lesion's pixels.",
    ),
    Metric(
        key="variance",
        title="variance over pixels",
        function=variance,
        kind="level",
        better="as real",
        unit="reflectance²",
        span=(0.0, None),
        perfect=None,
        formula="mean over bands of Σ (x − mean)² / (H W)",
        source="definition",
        cannot="It cannot see where pixels lie, nor the order of the bands: shuffled ones give the same value.",
    ),
    Metric(
        key="spatial_entropy",
        title="entropy of the histogram",
        function=spatial_entropy,
        kind="level",
        better="as real",
        unit="bit",
        span=(0.0, None),
        perfect=None,
        formula="mean over bands of −Σ p log2 p over equal bins of a common range",
        source="Shannon, Bell System Technical Journal 27, 1948",
        cannot="It cannot see where pixels lie, the order of the bands, nor changes within a bin or outside the range of "
        "the histogram.",
    ),
    Metric(
        key="signal_to_noise",
        title="signal-to-noise ratio",
        function=signal_to_noise,
        kind="level",
        better="as real",
        unit="dB",
        span=(None, None),
        perfect=None,
        formula="mean over bands of 20 log10(mean / σ), σ = median |x * N| / (6 · 0.6745), N Immerkær's mask",
        source="Immerkær, CVIU 64(2), 1996; Donoho & Johnstone, Biometrika 81, 1994",
        cannot="It cannot tell texture finer than 3 px from noise, and does not see noise that was smoothed, brightness, "
        "nor the order of the bands.",
    ),
    Metric(
        key="spectrum_slope",
        title="slope of the spatial power spectrum",
        function=spectrum_slope,
        kind="level",
        better="as real",
        unit="",
        span=(None, None),
        perfect=None,
        formula="slope of log ring-averaged power (Hann window) against log frequency, 3 cycles per side to Nyquist",
        source="Field, JOSA A 4, 1987; Durall et al., CVPR 2020",
        cannot="It cannot see direction, phase or a single peak, brightness, the order of the bands, and nothing coarser "
        "than a third of the image.",
    ),
)
