"""Spectral metrics of cubes: angles, divergences and relative errors of pairs, and properties of single cubes.

Cubes are tensors (N, B, H, W) in reflectance, of any floating type and any strides. They are processed in blocks of
`AT_ONCE` values, in float32, or in float64 if they have that type or similar logarithms are subtracted. Results are float64
arrays. A metric of pairs compares x[i] with the reference y[i], pixel by pixel.

A pixel whose spectrum is wholly zero has no direction and no distribution, so it is masked: the mean is over the other
pixels. Only a cube without any other pixel has the value NaN.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d

from hyperderm.cubes.bands import checked_nm
from hyperderm.errors import CubeError
from hyperderm.metrics.description import Metric
from hyperderm.metrics.lesion_features import Masks, lesion_and_skin
from hyperderm.metrics.spectra import MEAN_FLOOR

Table = NDArray[np.float64]
Wavelengths = Sequence[float] | Table

AT_ONCE = 2**18
"""Number of values of a block: 1 MB in float32, so that a block and what is made of it stay in the processor's cache."""
REFLECTANCE_FLOOR = 1e-3
"""Reflectance below this value is raised to it before a spectrum is taken as a distribution, which has no negative parts."""
WINDOW = 8
"""Side in pixels of the sliding window in torchmetrics' RASE."""


def spectral_angles(x: Tensor, y: Tensor) -> Table:
    """Return the mean over pixels of the angle between the spectra of x[i] and y[i] at the same place, in radians.

    Spectra u and v of length one have the angle 2 atan2(|u − v|, |u + v|) (Kahan 2006, "How futile are mindless assessments
    of roundoff", section 12). Unlike the arc cosine of u·v it is accurate for small angles: its error is about 1e-7 rad in
    float32, where the arc cosine errs by up to 5e-4 rad.

    Args:
        x: (N, B, H, W).
        y: (N, B, H, W), the reference; the angle is symmetric in x and y.

    Returns:
        (N,) from 0 to π, or π/2 if no reflectance is negative; NaN for a pair without a pixel that is nonzero in both.

    Raises:
        CubeError: x and y are not (N, B, H, W) of one shape.
    """
    _check_pair(x, y)
    return _in_blocks(_angles, x, y)


def _angles(x: Tensor, y: Tensor) -> Tensor:
    (u, u_known), (v, v_known) = _unit(x), _unit(y)
    total = (u + v).square_().sum(1).sqrt_()
    difference = u.sub_(v).square_().sum(1).sqrt_()
    return _mean_of_known(torch.atan2(difference, total).mul_(2), u_known & v_known)


def _unit(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the spectra (n, B, P) at length one, and where they have a length (n, P); the others are zero."""
    spectra = x.flatten(2)
    power = spectra.square().sum(1, keepdim=True)
    least = torch.finfo(x.dtype).tiny
    return spectra * power.clamp_min(least).rsqrt_(), power[:, 0] > least


def spectral_information_divergence(x: Tensor, y: Tensor) -> Table:
    """Return the mean over pixels of the spectral information divergence (Chang, IEEE Trans. Inf. Theory 46, 2000).

    Reflectance is raised to `REFLECTANCE_FLOOR` and each spectrum divided by its sum, which gives p for x and q for y. The
    divergence of a pixel is Σ p log(p / q) + Σ q log(q / p), in nats. Pixels that are nowhere above the floor are masked.

    Args:
        x: (N, B, H, W).
        y: (N, B, H, W), the reference; the divergence is symmetric in x and y.

    Returns:
        (N,) not negative; NaN for a pair without a pixel that rises above the floor in both.

    Raises:
        CubeError: x and y are not (N, B, H, W) of one shape.
    """
    _check_pair(x, y)
    return _in_blocks(_divergence, x, y)


def _divergence(x: Tensor, y: Tensor) -> Tensor:
    (p, p_known), (q, q_known) = _distribution(x), _distribution(y)
    divergence = (p - q).mul_(p.log_().sub_(q.log_())).sum(1)
    return _mean_of_known(divergence, p_known & q_known)


def _distribution(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the spectra (n, B, P) as distributions in float64, and where they rise above the floor (n, P)."""
    spectra = x.flatten(2).double()
    raised = spectra.clamp_min(REFLECTANCE_FLOOR)
    return raised / raised.sum(1, keepdim=True), spectra.amax(1) > REFLECTANCE_FLOOR


def relative_rmse(x: Tensor, y: Tensor) -> Table:
    """Return the root mean square error of each band over the mean of that band of y.

    The mean of a band is replaced by `spectra.MEAN_FLOOR` (0.001) where it is lower.

    Args:
        x: (N, B, H, W).
        y: (N, B, H, W), the reference.

    Returns:
        (N, B), not negative.

    Raises:
        CubeError: x and y are not (N, B, H, W) of one shape.
    """
    squares, levels = _band_errors(x, y)
    return np.sqrt(squares) / np.maximum(levels, MEAN_FLOOR)


def ergas(x: Tensor, y: Tensor, ratio: float = 1.0) -> Table:
    """Return ERGAS, 100 / ratio · sqrt(mean over bands of (RMSE of the band / mean of y's band)²).

    Source: Wald, "Quality of high resolution synthesised images: is there a simple criterion?", Fusion of Earth Data 2000.
    It agrees with torchmetrics, except that means of bands below `spectra.MEAN_FLOOR` (0.001) are raised to it.

    Args:
        x: (N, B, H, W).
        y: (N, B, H, W), the reference.
        ratio: pixel size of the low resolution over that of the high one, in a fusion; 1 where nothing is fused.

    Returns:
        (N,) in percent if `ratio` is 1.

    Raises:
        CubeError: x and y are not (N, B, H, W) of one shape.
    """
    return 100 / ratio * np.sqrt(np.square(relative_rmse(x, y)).mean(1))


def rase(x: Tensor, y: Tensor) -> Table:
    """Return the relative average spectral error, 100 / M · sqrt(mean over bands of RMSE²), M the mean of y over all bands.

    Source: Ranchin & Wald, Photogrammetric Engineering & Remote Sensing 66, 2000. M is at least `spectra.MEAN_FLOOR`.

    Args:
        x: (N, B, H, W).
        y: (N, B, H, W), the reference.

    Returns:
        (N,) in percent.

    Raises:
        CubeError: x and y are not (N, B, H, W) of one shape.
    """
    squares, levels = _band_errors(x, y)
    return 100 * np.sqrt(squares.mean(1)) / np.maximum(levels.mean(1), MEAN_FLOOR)


def rase_as_published(x: Tensor, y: Tensor) -> Table:
    """Return what torchmetrics calls RASE, for comparison with published values; `rase` is the definition.

    It differs from the definition in two ways. It is the mean of the RASE of all windows of 8 × 8 pixels, each with its own
    mean M, except the windows at the last row and the last column. And torchmetrics divides M by the area of the window
    once more, so that every value is 64 times too large. Here M is at least `spectra.MEAN_FLOOR`, whereas torchmetrics
    gives infinity or NaN for a black window. A batch in one call of torchmetrics gives another number than the mean over
    its cubes, because it averages error and level over the cubes first.

    Args:
        x: (N, B, H, W), H and W above 8.
        y: (N, B, H, W), the reference.

    Returns:
        (N,), 64 times a percentage.

    Raises:
        CubeError: x and y are not (N, B, H, W) of one shape, or they are too small.
    """
    _check_pair(x, y)
    if min(x.shape[2:]) <= WINDOW:
        raise CubeError(f"cubes of {tuple(x.shape[2:])} pixels have no window", f"Use more than {WINDOW} pixels a side.")
    return _in_blocks(_windowed_rase, x, y)


def _windowed_rase(x: Tensor, y: Tensor) -> Tensor:
    maps = torch.stack([(x - y).square_().mean(1), y.mean(1)], 1)
    squares, levels = avg_pool2d(maps, WINDOW, stride=1)[..., :-1, :-1].unbind(1)
    return (squares.sqrt() / levels.clamp_min(MEAN_FLOOR)).mean((1, 2)) * (100 * WINDOW**2)


def _band_errors(x: Tensor, y: Tensor) -> tuple[Table, Table]:
    """Return the mean square error and the mean of y, each (N, B)."""
    _check_pair(x, y)
    found = _in_blocks(lambda a, b: torch.stack([(a - b).square_().mean((2, 3)), b.mean((2, 3))], 1), x, y)
    return found[:, 0], found[:, 1]


def mean_spectra(x: Tensor, masks: Masks) -> Table:
    """Return the mean spectra over the lesion and over the skin of each cube.

    Skin is `cubes.regions.skin_region`: what is left without the lesion, a margin and the lens corners. An empty region is
    replaced by the whole cube.

    Args:
        x: (N, B, H, W).
        masks: (N, H, W) bool, the lesions; for real and synthetic cubes alike those of `lesion_features.automatic_masks`.

    Returns:
        (N, 2, B) reflectance, lesion first.

    Raises:
        CubeError: x is not (N, B, H, W), or the masks do not fit it.
    """
    _check(x)
    if masks.shape != (len(x), *x.shape[2:]):
        raise CubeError(f"masks of shape {masks.shape} for cubes of shape {tuple(x.shape)}", "Give (N, H, W).")

    def means(cubes: Tensor, lesions: Tensor) -> Tensor:
        regions = torch.from_numpy(lesion_and_skin(cubes.cpu().numpy(), lesions.numpy() > 0)).flatten(2).double()
        sums = regions @ cubes.cpu().flatten(2).double().transpose(1, 2)
        return sums / regions.sum(2, keepdim=True)

    return _in_blocks(means, x, torch.from_numpy(masks))


def signature_angles(spectra: Table, signature: Table) -> Table:
    """Return the angle of each spectrum to one signature, in radians; see `spectral_angles` for the formula.

    Args:
        spectra: (N, B), such as the lesions' mean spectra, `mean_spectra(x, masks)[:, 0]`.
        signature: (B,), such as the mean of the spectra of real melanomas.

    Returns:
        (N,) from 0 to π; NaN for a zero spectrum or a zero signature.

    Raises:
        CubeError: the signature does not fit the spectra.
    """
    if spectra.ndim != 2 or signature.shape != spectra.shape[1:]:
        raise CubeError(f"a signature {signature.shape} for spectra {spectra.shape}", "Give (B,) and (N, B).")
    given, wanted = (torch.from_numpy(np.asarray(v, dtype=np.float64))[..., None, None] for v in (spectra, signature))
    return spectral_angles(given, wanted.expand_as(given))


def spectral_smoothness(x: Tensor, wavelengths: Wavelengths) -> Table:
    """Return the mean over pixels and inner bands of |second derivative| of the spectra of a cube scaled to mean one.

    The second derivative at a band is that of the parabola through the band and its two neighbours, for bands of any
    spacing. The cube is divided by its mean over pixels and bands, not each spectrum by its own: otherwise the darkest
    pixels (hair, lens corners), whose relative noise is largest, would decide. Smaller is smoother.

    Args:
        x: (N, B, H, W), at least 3 bands.
        wavelengths: (B,) nm, increasing.

    Returns:
        (N,) in nm⁻²; 0 for a zero cube, because the mean is at least `spectra.MEAN_FLOOR` (0.001).

    Raises:
        CubeError: x is not (N, B, H, W) with three bands or more, or the wavelengths do not fit it.
    """
    steps = _steps(x, wavelengths, 3)
    before, after = steps[:-1], steps[1:]
    left, right = 2 / (before * (before + after)), 2 / (after * (before + after))

    def roughness(cubes: Tensor) -> Tensor:
        spectra = cubes.flatten(2)
        a, b = (torch.from_numpy(w)[:, None].to(spectra) for w in (left, right))
        bent = spectra[:, :-2].sub(spectra[:, 1:-1]).mul_(a).add_(spectra[:, 2:].sub(spectra[:, 1:-1]).mul_(b))
        return bent.abs_().mean((1, 2)) / spectra.mean((1, 2)).clamp_min(MEAN_FLOOR)

    return _in_blocks(roughness, x)


def derivative_spectra(x: Tensor, wavelengths: Wavelengths) -> Table:
    """Return the first derivative of each cube's mean spectrum between neighbouring bands.

    Args:
        x: (N, B, H, W), at least 2 bands.
        wavelengths: (B,) nm, increasing.

    Returns:
        (N, B − 1) in reflectance per nm; value b lies midway between the bands b and b + 1.

    Raises:
        CubeError: x is not (N, B, H, W) with two bands or more, or the wavelengths do not fit it.
    """
    steps = _steps(x, wavelengths, 2)
    return np.diff(_in_blocks(lambda cubes: cubes.double().mean((2, 3)), x), axis=1) / steps


def spectral_entropy(x: Tensor) -> Table:
    """Return the mean over pixels of the Shannon entropy of the spectrum, −Σ p log₂ p, in bits.

    p is the spectrum, raised to `REFLECTANCE_FLOOR` and divided by its sum, as in `spectral_information_divergence`. A flat
    spectrum has the largest entropy, log₂ B. Pixels that are nowhere above the floor are masked.

    Args:
        x: (N, B, H, W).

    Returns:
        (N,) from 0 to log₂ B; NaN for a cube without a pixel that rises above the floor.

    Raises:
        CubeError: x is not (N, B, H, W).
    """
    _check(x)

    def entropy(cubes: Tensor) -> Tensor:
        p, known = _distribution(cubes)
        return _mean_of_known(torch.special.entr(p).sum(1), known) / np.log(2)

    return _in_blocks(entropy, x)


def _check(x: Tensor) -> None:
    if x.ndim != 4:
        raise CubeError(f"cubes of shape {tuple(x.shape)}", "Give (N, B, H, W).")


def _check_pair(x: Tensor, y: Tensor) -> None:
    _check(x)
    if x.shape != y.shape:
        raise CubeError(
            f"cubes of shape {tuple(x.shape)} cannot be compared one by one with cubes of shape {tuple(y.shape)}",
            "Give as many cubes, with the same bands and pixels.",
        )


def _steps(x: Tensor, wavelengths: Wavelengths, least: int) -> Table:
    """Return the distances (B − 1,) in nm between neighbouring bands."""
    _check(x)
    if x.shape[1] < least:
        raise CubeError(f"{x.shape[1]} bands have no such derivative", f"Give at least {least} bands.")
    steps = np.diff(checked_nm(np.asarray(wavelengths), x.shape[1]))
    if np.any(steps <= 0):
        raise CubeError(f"wavelengths must increase from band to band, got {list(wavelengths)}")
    return steps


def _in_blocks(function: Callable[..., Tensor], *cubes: Tensor) -> Table:
    """Apply a function of blocks (n, …) in float32 or float64 that returns (n, …), and join what it returns."""
    first = cubes[0]
    kind = torch.float64 if torch.float64 in {c.dtype for c in cubes} else torch.float32
    count = max(1, AT_ONCE // max(1, first.shape[1:].numel()))
    with torch.no_grad():
        parts = [
            function(*(c[i : i + count].to(kind) for c in cubes)).double().cpu() for i in range(0, max(1, len(first)), count)
        ]
    return torch.cat(parts).numpy()


def _mean_of_known(values: Tensor, known: Tensor) -> Tensor:
    """Return the mean (n,) of values (n, P) where they are known, NaN where none is."""
    return (values * known).sum(1) / known.sum(1)


METRICS = (
    Metric(
        key="sam",
        title="spectral angle",
        function=spectral_angles,
        kind="pair",
        better="lower",
        unit="rad",
        span=(0.0, float(np.pi)),
        perfect=0.0,
        formula="mean over pixels of arccos(x·y / (|x| |y|)), computed as 2 atan2(|u − v|, |u + v|)",
        source="Kruse et al., Remote Sensing of Environment 44, 1993; Kahan 2006, section 12",
        cannot="brightness: a gain of each pixel changes nothing; for unrelated cubes it measures their alignment too, and "
        "prefers a blurred or an average cube to a real one",
    ),
    Metric(
        key="sid",
        title="spectral information divergence",
        function=spectral_information_divergence,
        kind="pair",
        better="lower",
        unit="nat",
        span=(0.0, None),
        perfect=0.0,
        formula="mean over pixels of Σ (p − q) (log p − log q), p and q the spectra divided by their sums",
        source="Chang, IEEE Trans. Inf. Theory 46, 2000",
        cannot=f"brightness, and whatever lies below a reflectance of {REFLECTANCE_FLOOR:g}; for unrelated cubes it prefers "
        "a blurred or an average cube to a real one",
    ),
    Metric(
        key="relative_rmse",
        title="relative error of each band",
        function=relative_rmse,
        kind="pair",
        better="lower",
        unit="",
        span=(0.0, None),
        perfect=0.0,
        formula="for each band sqrt(mean (x − y)²) / mean y",
        source="the terms of ERGAS: Wald 2000",
        cannot="where in the band the error lies, and whether it is noise, an offset or a shift; for unrelated cubes it "
        "does not see blur, and prefers an average cube to a real one",
    ),
    Metric(
        key="ergas",
        title="ERGAS",
        function=ergas,
        kind="pair",
        better="lower",
        unit="%",
        span=(0.0, None),
        perfect=0.0,
        formula="100 / ratio · sqrt(mean over bands of (RMSE / mean y)²), ratio 1",
        source="Wald, Fusion of Earth Data 2000",
        cannot="which band is wrong: one dark band with a small absolute error can decide; for unrelated cubes it does not "
        "see blur, and prefers an average cube to a real one",
    ),
    Metric(
        key="rase",
        title="relative average spectral error",
        function=rase,
        kind="pair",
        better="lower",
        unit="%",
        span=(0.0, None),
        perfect=0.0,
        formula="100 / M · sqrt(mean over bands of RMSE²), M the mean of y",
        source="Ranchin & Wald, Photogrammetric Engineering & Remote Sensing 66, 2000",
        cannot="errors of dark bands beside those of bright bands; for unrelated cubes it does not see blur, and prefers an "
        "average cube to a real one",
    ),
    Metric(
        key="rase_as_published",
        title="RASE as torchmetrics computes it",
        function=rase_as_published,
        kind="pair",
        better="lower",
        unit="%/64",
        span=(0.0, None),
        perfect=0.0,
        formula="64 times the mean of the RASE of sliding windows of 8 × 8 pixels",
        source="torchmetrics 1.9, relative_average_spectral_error, one cube at a time",
        cannot="more than RASE can, an average cube included; dark windows weigh most, and it depends on the size in pixels",
    ),
    Metric(
        key="signature_angle",
        title="spectral angle of the lesion to the mean melanoma",
        function=signature_angles,
        kind="level",
        better="as real",
        unit="rad",
        span=(0.0, float(np.pi)),
        perfect=None,
        formula="angle between the mean spectrum of the lesion and a mean signature",
        source="Kruse et al., Remote Sensing of Environment 44, 1993",
        cannot="variation within the lesion, brightness, and faults of the mask",
    ),
    Metric(
        key="spectral_smoothness",
        title="roughness of spectra",
        function=spectral_smoothness,
        kind="level",
        better="as real",
        unit="1/nm²",
        span=(0.0, None),
        perfect=None,
        formula="mean over pixels and inner bands of |d²x / dλ²| over the mean of x",
        source="three-point finite difference on uneven bands",
        cannot="noise from structure: a sensor's noise is rough as well, and smaller pixels have more of it; brightness; "
        "and where pixels lie",
    ),
    Metric(
        key="derivative_spectrum",
        title="slope of the mean spectrum",
        function=derivative_spectra,
        kind="level",
        better="as real",
        unit="1/nm",
        span=(None, None),
        perfect=None,
        formula="for neighbouring bands (mean x[b + 1] − mean x[b]) / (λ[b + 1] − λ[b])",
        source="two-point finite difference",
        cannot="anything within the cube: it sees the mean spectrum alone; a gain scales it",
    ),
    Metric(
        key="spectral_entropy",
        title="entropy of spectra",
        function=spectral_entropy,
        kind="level",
        better="as real",
        unit="bit",
        span=(0.0, None),
        perfect=None,
        formula="mean over pixels of −Σ p log2 p, p the spectrum divided by its sum; at most log2 B",
        source="Shannon 1948",
        cannot="the order of the bands, brightness, and where pixels lie",
    ),
)
