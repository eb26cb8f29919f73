"""The seeds' metrics computed in the seeds' way, so that their printed numbers can be set beside ours, and those numbers.

The numbers are no measure of a generator. Cubes are paired by position, so unrelated lesions are compared pixel by pixel;
every value is a level that pairs of real cubes have too. Compare them with the same numbers of a second real set, and use
the other modules of this package to judge. `METRICS` says for every number what is wrong or odd with it, in `cannot`.

What the seeds do not state is chosen here and said: the defaults of torchmetrics 1.9 (seed 001 names it as its tool) and of
piq 0.8 (seed 002's metrics are those of piq), the real cube as the reference, a data range of 1 and no clipping, except
that seed 002's images are clipped to [0, 1], without which piq refuses them.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from hyperderm.errors import CubeError
from hyperderm.metrics import perceptual, similarity, spectral, texture
from hyperderm.metrics.blocks import AT_ONCE, Values, check, cube_values
from hyperderm.metrics.description import Better, Metric
from hyperderm.metrics.folding import folded_mean
from hyperderm.metrics.spectra import MEAN_FLOOR

SEED_LOW = (
    *(0.0003, 0.0044, 0.0015, 0.0017, 0.0019, 0.0028, 0.0039, 0.0049),
    *(0.0026, 0.0022, 0.0080, 0.0121, 0.0131, 0.0148, 0.0193, 0.0202),
)
SEED_HIGH = (
    *(0.620, 0.617, 0.468, 0.433, 0.500, 0.620, 0.738, 0.861),
    *(0.883, 0.940, 1.189, 1.504, 1.495, 1.474, 1.632, 1.723),
)
"""Smallest and largest reflectance of each band in the seed project's 287 cropped lesions, test lesions included."""
ERGAS_RATIO = 4.0
"""torchmetrics' default, which suits images fused from one with pixels four times as wide; here nothing is fused."""
PSNR_FLOOR = 1e-8
"""What piq adds to the mean square error, so that identical images have 80 dB."""
SSIM_BORDER = similarity.WINDOW // 2
"""Width in pixels of the mirrored border that torchmetrics adds before SSIM."""
FIDS = ("scaled", "unscaled")
"""The two readings of seed 001's adapted FID: repeated first weights multiplied by 3/B (here 3/16), or not."""

PairMetric = Callable[[Tensor, Tensor], Values]


def as_published(real: Tensor, synthetic: Tensor, fid: Mapping[str, float] | None = None) -> dict[str, float | None]:
    """Return the seeds' metrics of a synthetic set against a real one, computed in the seeds' way.

    Pair i is synthetic[i] and real[i], i below min(n, m); the order of the sets therefore matters. Before all metrics every
    band is mapped by (x − low) / (high − low), with `SEED_LOW` and `SEED_HIGH` if there are 16 bands, otherwise with the
    smallest and largest value of the band in both sets together (a constant band becomes 0).

    Args:
        real: (n, B, H, W) reflectance, n ≥ 1, B ≥ 3.
        synthetic: (m, B, H, W) reflectance, m ≥ 1.
        fid: Fréchet distances that were computed elsewhere, by name, usually `FIDS`; passed through as `seed_001/fid_<name>`.

    Returns:
        The key of every metric in `METRICS` and its value. None stands for what the images are too small for (SSIM of seed
        001 needs 6 px, RASE 9, MS-GMSD and MDSI 3, HaarPSI 16), for an infinite value (PSNR of copies) and for a FID that was
        not given. Levels of single cubes are means over the whole synthetic set, beside them `<key>_real` for the real set.
        Further keys: `pairs` (number), `range_of_sets` (1 if the range came from the sets, 0 if it was the seeds') and
        `seed_001/sam_masked` (pixels left out of the spectral angle because a spectrum is wholly zero after the mapping).

    Raises:
        CubeError: a set is empty, the shapes of cubes differ or are not (B, H, W), there are fewer than three bands, or a
            value is not finite.
    """
    pairs = min(len(real), len(synthetic))
    if not pairs:
        raise CubeError(f"{len(real)} real and {len(synthetic)} synthetic cubes", "Give one or more of each.")
    compared = _Pairs(real, synthetic, pairs)
    found = {
        f"{key}{end}": value for end, cubes in (("", synthetic), ("_real", real)) for key, value in compared.levels(cubes)
    }
    found |= _seed_001(compared) | _seed_002(compared) | _seed_004(compared)
    found |= {f"seed_001/fid_{name}": value for name, value in (dict.fromkeys(FIDS, math.nan) | dict(fid or {})).items()}
    found |= {"pairs": float(pairs), "range_of_sets": float(compared.range_of_sets)}
    return {key: float(value) if math.isfinite(value) else None for key, value in sorted(found.items())}


class _Pairs:
    """The pairs of two sets, and the mapping of their bands to [0, 1]."""

    def __init__(self, real: Tensor, synthetic: Tensor, pairs: int) -> None:
        self.real, self.synthetic = real[:pairs], synthetic[:pairs]
        check(self.real, self.synthetic)
        bands = real.shape[1]
        self.side = min(real.shape[2:])
        self.range_of_sets = bands != len(SEED_LOW)
        if self.range_of_sets:
            dims = (0, 2, 3)
            low = torch.minimum(real.amin(dims).float(), synthetic.amin(dims).float())
            high = torch.maximum(real.amax(dims).float(), synthetic.amax(dims).float())
        else:  # in float32 as in the seed, so that a pixel at the minimum becomes exactly 0
            low, high = (torch.tensor(edge, dtype=torch.float32, device=real.device) for edge in (SEED_LOW, SEED_HIGH))
        span = high.double() - low.double()
        self.low, self.span = (edge.view(1, bands, 1, 1) for edge in (low.double(), torch.where(span > 0, span, 1.0)))

    def scaled(self, cubes: Tensor) -> Tensor:
        """Return the cubes (n, B, H, W) with every band mapped, in float64."""
        return (cubes.double() - self.low) / self.span

    def each(self, metric: PairMetric, least: int = 1) -> Values:
        """Return the metric of every pair (mapped synthetic, mapped real); NaN if images are below `least` pixels."""
        if self.side < least:
            return np.full(len(self.real), np.nan)
        return cube_values(lambda x, y: torch.from_numpy(metric(self.scaled(x), self.scaled(y))), self.synthetic, self.real)

    def levels(self, cubes: Tensor) -> list[tuple[str, float]]:
        """Return the mean over mapped cubes of every level."""
        values = cubes.shape[1:].numel()
        functions: dict[str, Callable[[Tensor], Values]] = {
            "seed_000/variance": texture.variance,
            "seed_000/spatial_entropy": lambda x: texture.spatial_entropy(x, 0.0, 1.0),
            "seed_000/spectral_entropy": spectral.spectral_entropy,
            "seed_000/snr": texture.signal_to_noise if self.side >= 3 else lambda x: np.full(len(x), np.nan),
            "seed_001/total_variation": lambda x: texture.total_variation(x) * values,
        }
        return [
            (key, _mean(cube_values(lambda x, f=function: torch.from_numpy(f(self.scaled(x))), cubes)))
            for key, function in functions.items()
        ]


def _mean(values: Values) -> float:
    """Return the mean of the values that are known, NaN if none is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


def _padded_ssim(x: Tensor, y: Tensor) -> Values:
    border = (SSIM_BORDER,) * 4
    return similarity.ssim(pad(x, border, mode="reflect"), pad(y, border, mode="reflect"), 1.0)


def _compared_pixels(x: Tensor, y: Tensor) -> Values:
    """Return the number of pixels (n,) whose spectrum is nonzero in both cubes."""
    counts: Values = (x.ne(0).any(1) & y.ne(0).any(1)).sum((1, 2)).double().cpu().numpy()
    return counts


def _seed_001(compared: _Pairs) -> dict[str, float]:
    angles, known = compared.each(spectral.spectral_angles), compared.each(_compared_pixels)
    pixels = compared.real.shape[2:].numel()
    error = float(compared.each(lambda x, y: _square_error(x, y)).mean())
    return {
        "seed_001/ssim": _mean(compared.each(_padded_ssim, least=SSIM_BORDER + 1)),
        "seed_001/psnr": -10 * math.log10(error) if error else math.inf,
        "seed_001/sam": float(np.nansum(angles * known) / known.sum()) if known.any() else math.nan,
        "seed_001/sam_masked": float(len(known) * pixels - known.sum()),
        "seed_001/rase": _rase(compared),
        "seed_001/ergas": _mean(compared.each(lambda x, y: spectral.ergas(x, y, ERGAS_RATIO))),
    }


def _square_error(x: Tensor, y: Tensor) -> Values:
    error: Values = (x - y).square().mean((1, 2, 3)).cpu().numpy()
    return error


def _rase(compared: _Pairs) -> float:
    """Return torchmetrics' RASE of the whole set, which averages the windows' errors and levels over cubes before dividing.

    `spectral.rase_as_published` is the same for a single pair. Levels below `spectra.MEAN_FLOOR` are raised to it;
    torchmetrics gives infinity there, or a negative value.
    """
    window = spectral.WINDOW
    if compared.side <= window:
        return math.nan
    errors = levels = torch.zeros(())
    step = max(1, AT_ONCE // compared.real.shape[1:].numel())
    for x, y in zip(compared.synthetic.split(step), compared.real.split(step), strict=True):
        a, b = compared.scaled(x), compared.scaled(y)
        errors = errors + avg_pool2d((a - b).square(), window, stride=1).sqrt().sum(0).cpu()
        levels = levels + avg_pool2d(b.mean(1), window, stride=1).sum(0).cpu()
    ratio = errors.square().mean(0).sqrt() / len(compared.real) / (levels / len(compared.real)).clamp_min(MEAN_FLOOR)
    return 100 * window**2 * float(ratio[:-1, :-1].mean())


def _seed_002(compared: _Pairs) -> dict[str, float]:
    def folded(metric: PairMetric) -> PairMetric:
        return lambda x, y: metric(folded_mean(x).clamp(0.0, 1.0), folded_mean(y).clamp(0.0, 1.0))

    errors = compared.each(folded(_square_error))
    return {
        "seed_002/psnr": _mean(-10 * np.log10(errors + PSNR_FLOOR)),
        "seed_002/ssim": _mean(compared.each(folded(lambda x, y: similarity.ssim(x, y, 1.0)))),
        "seed_002/ms_gmsd": _mean(compared.each(lambda x, y: perceptual.ms_gmsd(x, y, 1.0), least=perceptual.GRADIENT)),
        "seed_002/mdsi": _mean(compared.each(lambda x, y: perceptual.mdsi(x, y, 1.0), least=perceptual.GRADIENT)),
        "seed_002/haarpsi": _mean(compared.each(lambda x, y: perceptual.haarpsi(x, y, 1.0), least=perceptual.HAAR)),
    }


def _seed_004(compared: _Pairs) -> dict[str, float]:
    return {
        "seed_004/rmse": _mean(np.sqrt(compared.each(_square_error))),
        "seed_004/psnr": _mean(compared.each(lambda x, y: similarity.psnr(x, y, 1.0))),
        "seed_004/ssim": _mean(compared.each(lambda x, y: similarity.ssim(x, y, 1.0))),
        "seed_004/sad": math.degrees(_mean(compared.each(spectral.spectral_angles))),
    }
