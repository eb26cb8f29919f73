"""Perceptual similarity of pairs of cubes, from piq, on cubes folded to three channels.

A cube is folded by `folding.folded_mean`, divided by a common range and clipped to [0, 1], because piq refuses other values.
The three methods were made for colour pictures and tuned on human judgements of them. The folded channels take the places of
red, green and blue although they are none, so values compare cubes with cubes of the same bands and are not those of a
colour picture. piq surrounds an image with black, so its border counts as an edge in both cubes.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from hyperderm.metrics.blocks import Values, check, check_range, cube_values
from hyperderm.metrics.description import Metric
from hyperderm.metrics.folding import folded_mean

GMSD_SCALES = (0.096, 0.596, 0.289, 0.019)
"""Weights of the four scales of MS-GMSD, the finest first (Zhang et al. 2017)."""
GRADIENT = 3
"""Smallest image in pixels for MS-GMSD and MDSI: the side of Prewitt's mask. piq itself takes any in MDSI."""
HAAR = 16
"""Smallest image in pixels for HaarPSI: the largest wavelet has 8 px on the halved image."""


def ms_gmsd_scales(height: int, width: int) -> tuple[float, ...]:
    """Return the weights of the scales that MS-GMSD uses for images of this size, the finest first; they sum to 1.

    s scales need 2^s + 1 px (piq's rule), so all four need 17 px. The published weights of those in use are divided by
    their sum, as in `similarity.ms_ssim_scales`.

    Raises:
        CubeError: the image is smaller than 3 px.
    """
    check(torch.empty(0, 1, height, width), least=GRADIENT)
    used = [weight for s, weight in enumerate(GMSD_SCALES, 1) if min(height, width) > 2**s]
    return tuple(weight / sum(used) for weight in used)


def ms_gmsd(x: Tensor, y: Tensor, data_range: float) -> Values:
    """Return the multi-scale gradient magnitude similarity deviation of every pair; 0 is best, larger is worse.

    The root of the weighted squares, over scales, of the standard deviation over pixels of the similarity of gradients. Only
    the luminance .299 x'_0 + .587 x'_1 + .114 x'_2 of the folded image counts. Smaller images have fewer scales, see
    `ms_gmsd_scales`: say so beside the value.

    Args:
        x: (N, B, H, W) reflectance, B ≥ 3.
        y: (N, B, H, W) reflectance; y[i] is compared with x[i].
        data_range: reflectance that is white; values above it and below 0 are clipped after folding.

    Returns:
        (N,), 0 and above; 0 for identical cubes.

    Raises:
        CubeError: the shapes differ or are not (N, B, H, W), there are fewer than three bands, an image is smaller than
            3 px, a value is not finite, or data_range is not positive.
    """
    from piq import multi_scale_gmsd

    check(x, y)
    weights = torch.tensor(ms_gmsd_scales(*x.shape[2:]), dtype=torch.float64, device=x.device)
    return _compared(
        lambda a, b: multi_scale_gmsd(a, b, reduction="none", scale_weights=weights), x, y, data_range, GRADIENT
    )


def mdsi(x: Tensor, y: Tensor, data_range: float) -> Values:
    """Return the mean deviation similarity index of every pair; in spite of its name 0 is best, larger is worse.

    The fourth root of the mean deviation of a combined similarity of gradients and chromaticity (Nafchi et al. 2016,
    with the published constants). The fourth root makes small differences large: a relative difference of 1e-7
    already gives 3e-4.

    Args:
        x: (N, B, H, W) reflectance, B ≥ 3.
        y: (N, B, H, W) reflectance; y[i] is compared with x[i].
        data_range: see `ms_gmsd`.

    Returns:
        (N,), 0 and above.

    Raises:
        CubeError: see `ms_gmsd`.
    """
    from piq import mdsi as index

    return _compared(lambda a, b: index(a, b, reduction="none"), x, y, data_range, GRADIENT)


def haarpsi(x: Tensor, y: Tensor, data_range: float) -> Values:
    """Return the Haar wavelet-based perceptual similarity index of every pair; 1 is best.

    Similarity of Haar coefficients on the halved image at two scales, weighted by those of the third, and of chromaticity
    (Reisenhofer et al. 2018).

    Args:
        x: (N, B, H, W) reflectance, B ≥ 3.
        y: (N, B, H, W) reflectance; y[i] is compared with x[i].
        data_range: see `ms_gmsd`.

    Returns:
        (N,) in [0, 1]; 1 for identical cubes, two black ones included, for which piq gives infinity.

    Raises:
        CubeError: see `ms_gmsd`; here the smallest image has 16 px.
    """
    from piq import haarpsi as index

    def one(a: Tensor, b: Tensor) -> Tensor:
        black = ((a == 0) & (b == 0)).flatten(1).all(1)
        return torch.where(black, 1.0, index(a, b, reduction="none"))

    return _compared(one, x, y, data_range, HAAR)


def _compared(function: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor, data_range: float, least: int) -> Values:
    check_range(data_range)

    def one(a: Tensor, b: Tensor) -> Tensor:
        return function(*((folded_mean(cubes) / data_range).clamp(0.0, 1.0) for cubes in (a, b)))

    return cube_values(one, x, y, least=least)


_CLIPPED = "It cannot see values that are clipped, differences between the bands that are folded into one channel, "
_UNRELATED = " Of unrelated cubes it prefers a blurred or an average one to a real one"
_NOISE = _UNRELATED + ", and may do so with pure noise."

METRICS = (
    Metric(
        key="ms_gmsd",
        title="multi-scale gradient magnitude similarity deviation",
        function=ms_gmsd,
        kind="pair",
        better="lower",
        unit="",
        span=(0.0, None),
        perfect=0.0,
        formula="√ Σ w_s GMSD_s² over the scales that fit the image, on the luminance of the folded image",
        source="Zhang, Sander & Bermak, ICASSP 2017; Xue et al., IEEE TIP 23(2), 2014",
        cannot=_CLIPPED + "and brightness: a constant offset changes only the border." + _NOISE,
    ),
    Metric(
        key="mdsi",
        title="mean deviation similarity index",
        function=mdsi,
        kind="pair",
        better="lower",
        unit="",
        span=(0.0, None),
        perfect=0.0,
        formula="(mean |GCS^¼ − mean GCS^¼|)^¼, GCS = .6 GS + .4 CS, on the folded image",
        source="Nafchi et al., IEEE Access 4, 2016",
        cannot=_CLIPPED
        + "and a loss of similarity that is the same everywhere, since it measures the deviation alone."
        + _UNRELATED
        + ".",
    ),
    Metric(
        key="haarpsi",
        title="Haar wavelet-based perceptual similarity",
        function=haarpsi,
        kind="pair",
        better="higher",
        unit="",
        span=(0.0, 1.0),
        perfect=1.0,
        formula="logit-inverse of the weighted mean logistic similarity of Haar coefficients, on the folded image",
        source="Reisenhofer et al., Signal Processing: Image Communication 61, 2018",
        cannot=_CLIPPED + "and structure wider than about 16 px." + _NOISE,
    ),
)
