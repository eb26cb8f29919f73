"""The seeds' metrics computed in the seeds' way, so that their printed numbers can be set beside ours, and those numbers.

The numbers are no measure of a generator. Cubes are paired by position, so unrelated lesions are compared pixel by pixel;
every value is a level that pairs of real cubes have too. Compare them with the same numbers of a second real set, and use
the other modules of this package to judge. `METRICS` says for every number what is wrong or odd with it, in `cannot`.

What the seeds do not state is chosen here and said: the defaults of torchmetrics 1.9 (seed 001 names it as its tool) and of
piq 0.8 (which agrees with seed 002's tool to 4e-4), the real cube as the reference, a data range of 1 and no clipping,
except that seed 002's images are clipped to [0, 1], without which piq refuses them.

The seeds' public code, read after this was written, differs from their texts in ways that are not followed yet: seed 001
clips scaled cubes to [0, 1], averages over batches of 8 and sums total variation over a batch; seed 002 uses piqa, stretches
every image by its own minimum and maximum, and leaves out the last pair. Its FID does multiply by 3/16.
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
        fid: Fréchet distances computed elsewhere, by name, usually `FIDS`; passed through as `seed_001/fid_<name>`.

    Returns:
        The key of every metric in `METRICS` and its value. None stands for what the images are too small for (SSIM of seed
        001 needs 6 px, RASE 9, MS-GMSD, MDSI and SNR 3, HaarPSI 16), for an infinite value (PSNR of copies) and for a FID
        that was not given. Levels of single cubes are means over the whole synthetic set, and beside them `<key>_real` is
        that of the real set. Further keys: `pairs` (number), `range_of_sets` (1 if the range came from the sets, 0 if it was
        the seeds') and `seed_001/sam_masked` (pixels left out of the spectral angle of seed 001 because a spectrum is wholly
        zero after the mapping).

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


_TORCHMETRICS, _PIQ, _OURS = "torchmetrics 1.9", "piq 0.8", "formula of this package; the seed gives only a name"
_LEVEL = "It is a level of images on a scale that differs from band to band, in no physical unit."
_POSITION = "It compares unrelated lesions pixel by pixel, so even real cubes have no good value. "
_SCALED = "The mapping gives every band the same weight, dark and noisy ones too. "


def _metric(
    key: str, title: str, better: Better, unit: str, formula: str, source: str, cannot: str, perfect: float | None = None
) -> Metric:
    bounded = key.endswith(("ssim", "haarpsi"))
    lowest = {"psnr": None, "snr": None, "ssim": -1.0}.get(key.split("/")[1], 0.0)
    return Metric(
        key=key,
        title=f"{title} (seed {key[5:8]})",
        function=as_published,
        kind="set",
        better=better,
        unit=unit,
        span=(lowest, 1.0 if bounded else None),
        perfect=perfect,
        formula=formula,
        source=source,
        cannot=cannot,
    )


_FID = (
    "The seed does not say whether the repeated weights were multiplied by 3/16. At fewer than 200 cubes FID is biased "
    "upwards and needs the real-versus-real value at the same number; the seed chose its checkpoints by it, on all data."
)

METRICS = (
    _metric("seed_000/variance", "variance", "as real", "", "mean over bands of the variance over pixels", _OURS, _LEVEL),
    _metric(
        *("seed_000/spatial_entropy", "spatial entropy", "as real", "bit", "mean over bands; 256 bins over [0, 1]"),
        *(_OURS, _LEVEL + " Without a stated number of bins no printed value could be repeated."),
    ),
    _metric(
        *("seed_000/spectral_entropy", "spectral entropy", "as real", "bit", "mean over pixels of −Σ p log2 p"),
        *(_OURS, "The mapping flattens spectra, so that all come near log2 B and the shape of real spectra is lost."),
    ),
    _metric(
        *("seed_000/snr", "signal-to-noise ratio", "as real", "dB", "mean over bands of 20 log10(mean / noise)", _OURS),
        "The mapping subtracts the band's minimum from the signal and leaves the noise. Blurred cubes score high.",
    ),
    _metric(
        *("seed_001/ssim", "SSIM", "higher", "", "Gaussian window of 11 px, mirrored border included, mean over bands"),
        *(_TORCHMETRICS, _POSITION + "The seed gives its range as [0, 1] and as [-1, 1]; [-1, 1] is right.", 1.0),
    ),
    _metric(
        *("seed_001/psnr", "PSNR", "higher", "dB", "−10 log10 of the mean square error over all pairs together"),
        *(_TORCHMETRICS, _POSITION + "A blurred mean lesion wins. The seed names it and prints no value."),
    ),
    _metric(
        *("seed_001/sam", "spectral angle", "lower", "rad", "mean over all pixels of arccos(x·y / |x| |y|)", _TORCHMETRICS),
        f"{_POSITION}{_SCALED}"
        "Angles between mapped spectra are not those between reflectance spectra. A wholly zero spectrum "
        "makes torchmetrics' mean NaN; it is masked and counted here. The mean image wins (VAE .102 with the worst FID). "
        "The seed gives the range as 0° to ∞° and leaves the unit open; its values fit radians.",
        0.0,
    ),
    _metric(
        *("seed_001/rase", "RASE", "lower", "%/64", "6400 · mean over windows of 8 px of √(mean over bands of e²) / level"),
        _TORCHMETRICS,
        f"{_POSITION}"
        "It is 64 times the textbook value: torchmetrics divides the level by the window's area twice. Error e (RMSE "
        "of the window) and level are averaged over cubes before the division. The darkest windows dominate.",
        0.0,
    ),
    _metric(
        *("seed_001/ergas", "ERGAS", "lower", "%", "100 / 4 · √(mean over bands of (RMSE / mean of the real band)²)"),
        _TORCHMETRICS,
        f"{_POSITION}{_SCALED}"
        "The ratio 4 is torchmetrics' default for fused images; nothing is fused here, so it is a quarter "
        "of the value with ratio 1. The mapping lowers a band's mean and thereby raises the error relative to it.",
        0.0,
    ),
    _metric(
        *("seed_001/total_variation", "total variation", "as real", "", "Σ |differences to the lower and right neighbour|"),
        *(_TORCHMETRICS, "It is a sum over pixels and bands, so sizes cannot be compared, and noise counts as texture."),
    ),
    *(
        _metric(f"seed_001/fid_{name}", f"adapted FID, first weights {name}", "lower", "", formula, "seed 001", _FID, 0.0)
        for name, formula in zip(FIDS, ("weights · 3/B", "weights · 1"), strict=True)
    ),
    _metric(
        *("seed_002/psnr", "PSNR", "higher", "dB", "mean over pairs of −10 log10(MSE + 1e-8), folded image", _PIQ),
        *(_POSITION + "The seed compares a generated batch with a real batch. Copies have 80 dB, not infinity.", 80.0),
    ),
    _metric(
        *("seed_002/ssim", "SSIM", "higher", "", "Gaussian window of 11 px inside the image, folded image", _PIQ),
        _POSITION + "Images from 384 px on are reduced by piq first and are not here. The seed gives the range as 0 to 1; "
        "negative values occur.",
        1.0,
    ),
    _metric(
        *("seed_002/ms_gmsd", "MS-GMSD", "lower", "", "see `perceptual.ms_gmsd`, folded image", _PIQ),
        f"{_POSITION}"
        "The seed says that 1 is best. It is a deviation: 0 is best, so the seed read its own column the wrong way "
        "round. It also mentions colour, which piq's default leaves out. Luminance weights are applied to bands that are no "
        "red, green and blue.",
        0.0,
    ),
    _metric(
        *("seed_002/mdsi", "MDSI", "lower", "", "see `perceptual.mdsi`, folded image", _PIQ),
        *(
            _POSITION + "It measures the deviation of the similarity, not its level; its chromaticity is of false colours.",
            0.0,
        ),
    ),
    _metric(
        *("seed_002/haarpsi", "HaarPSI", "higher", "", "see `perceptual.haarpsi`, folded image", _PIQ),
        *(_POSITION + "It was tuned on human judgements of colour photographs; the seed's values are of photographs.", 1.0),
    ),
    _metric(
        *("seed_004/rmse", "RMSE", "lower", "", "mean over pairs of √MSE", "definition"),
        "The seed measures how well unmixing restores the same cube; here unrelated cubes are compared, so its values "
        "cannot be reached. " + _SCALED,
        0.0,
    ),
    _metric(
        *("seed_004/psnr", "PSNR", "higher", "dB", "mean over pairs of −10 log10 MSE", "definition"),
        "Restoration there, unrelated cubes here, as for RMSE. The seed's RMSE and PSNR do not fit one another at "
        "data range 1 (RMSE .034 is 29.4 dB, printed is 34.26), so the range or averaging differs. One copy makes it "
        "infinite.",
    ),
    _metric(
        *("seed_004/ssim", "SSIM", "higher", "", "Gaussian window of 11 px inside the image, mean over bands", "definition"),
        *("Restoration there, unrelated cubes here, as for RMSE. The seed does not state window and data range.", 1.0),
    ),
    _metric(
        *(
            "seed_004/sad",
            "spectral angle distance",
            "lower",
            "°",
            "mean over pairs of the mean angle over pixels",
            "definition",
        ),
        "Restoration there, unrelated cubes here, as for RMSE. Mapped spectra have other angles than reflectance. Zero "
        "spectra are masked as in `seed_001/sam`.",
        0.0,
    ),
)
"""Every key of `as_published` that is a metric; `cannot` says what is wrong or odd with the seeds' way."""


@dataclass(frozen=True)
class Published:
    """One number that a seed printed.

    Attributes:
        seed: the seed's number, such as "001".
        model: the generator, or the setting of the row.
        metric: the key in `METRICS`, or `seed_00x/<name>` of a metric that `as_published` does not compute.
        value: as printed.
        against: what the model's cubes were compared with.
        doubt: why the number must not be taken as it stands.
    """

    seed: str
    model: str
    metric: str
    value: float
    against: str
    doubt: str


_UNRELATED = "unrelated real melanomas of 256 px, 16 bands"
_ON_ALL = (
    "One model, one run, no interval, no value of real cubes beside it. Checkpoints were picked by FID on all data, and the "
    "range for min-max came from all data."
)
_FROM_PROJECT = " Not in the seed's text; reported of the seed project in METHODS, sections 6 and 9."
_PHOTOGRAPHS = "a batch of real RGB photographs of lesions"
_BATCH = (
    "Unrelated pictures compared by position; three channels, so not comparable in level with folded cubes. One run, no "
    "interval."
)
_AERIAL = "the same cubes before unmixing: Chikusei, 128 bands, aerial"
_RESTORED = "Quality of restoration, not of synthesis; no lesions; scale and averaging not stated."
_DRAWN = "real aerial cubes"
_FEATURES = "No lesions; features and number of images are not stated, so only the order of the rows counts."

_SEED_002 = {"DC-GAN": (12.92, 0.35, 0.29, 0.45, 0.39), "SN-GAN": (12.21, 0.21, 0.26, 0.49, 0.41)} | {
    "SN-GAN 128": (12.18, 0.24, 0.15, 0.52, 0.45)
}
_SEED_004 = {
    15: (0.022, 36.48, 0.944, 4.56, 49.15, 0.11, 0.08),
    8: (0.027, 35.89, 0.938, 4.81, 15.19, 0.36, 0.31),
    5: (0.034, 34.26, 0.931, 5.47, 8.23, 0.50, 0.48),
    3: (0.041, 30.95, 0.927, 9.04, 8.77, 0.50, 0.41),
}

PUBLISHED = (
    Published("001", "FastGAN", "seed_001/fid", 114.7, _UNRELATED, f"{_ON_ALL} {_FID}"),
    Published("001", "FastGAN", "seed_001/sam", 0.17, _UNRELATED, f"{_ON_ALL} The unit is not stated; taken as rad."),
    Published(
        "001", "FastGAN", "seed_001/rase", 3634.0, _UNRELATED, f"{_ON_ALL} 64 times the textbook value, which is about 57."
    ),
    Published("001", "FastGAN", "seed_001/ssim", 0.67, _UNRELATED, _ON_ALL),
    Published("001", "FastGAN, pre-trained on both classes", "seed_001/fid", 104.2, _UNRELATED, _ON_ALL + _FROM_PROJECT),
    Published("001", "CycleGAN", "seed_001/fid", 101.0, _UNRELATED, _ON_ALL + _FROM_PROJECT),
    Published("001", "VAE", "seed_001/fid", 296.6, _UNRELATED, _ON_ALL + _FROM_PROJECT),
    Published(
        "001", "VAE", "seed_001/sam", 0.102, _UNRELATED, f"{_ON_ALL} The best angle beside the worst FID.{_FROM_PROJECT}"
    ),
    *(
        Published("002", model, f"seed_002/{name}", value, _PHOTOGRAPHS, _BATCH + more)
        for model, row in _SEED_002.items()
        for name, value, more in zip(
            ("psnr", "ssim", "ms_gmsd", "mdsi", "haarpsi"),
            row,
            ("", "", " 0 is best; the seed took 1 for best.", "", ""),
            strict=True,
        )
    ),
    *(
        Published("004", f"{size} abundances", f"seed_004/{name}", value, against, doubt)
        for size, row in _SEED_004.items()
        for name, value, (against, doubt) in zip(
            ("rmse", "psnr", "ssim", "sad", "fid", "recall", "precision"),
            row,
            [(_AERIAL, _RESTORED)] * 4 + [(_DRAWN, _FEATURES)] * 3,
            strict=True,
        )
    ),
)
"""The numbers that the seeds printed of generated or restored images, for display beside ours. Seeds 000 and 003 print none,
and those of seed 001's SHS-GAN stand only in a figure that is not at hand. METHODS, section 9, gives ranges over seed 001's
models that belong to no row: spectral angle .17 to .24, SSIM .64 to .67. Classifiers' numbers are not here."""
