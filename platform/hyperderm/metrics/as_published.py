"""The seeds' metrics computed in the seeds' way, so that their printed numbers can be set beside ours, and those numbers.

The numbers are no measure of a generator. Cubes are paired by position, so unrelated lesions are compared pixel by pixel;
every value is a level that pairs of real cubes have too. Compare them with the same numbers of a second real set, and use
the other modules of this package to judge. `METRICS` says for every number what is wrong or odd with it, in `cannot`.

The seeds' public code is followed where it says more than their texts, or something else:

- Seed 001 (its script that compares a stored synthetic set with a real one) maps every band to [0, 1], clips, computes the
  metrics of torchmetrics for batches of eight pairs, a smaller last one included, and prints the mean over the batches. Its
  FID multiplies the repeated first weights by 3/16. The number that it logs in training is another: the mean over at most
  eight batches of the training loader, of up to 32 cubes, with 0 raised to 1e-8.
- Seed 002 stretches each of the two pictures of a pair by its own smallest and largest value over the three channels, hands
  them to piqa, the real one first, and forgets the last pair. Its photographs have three channels; cubes are folded here.
  piq 0.8 takes the place of piqa. Compared with piqa 1.1.3 at sides of 24 to 128 px, PSNR, SSIM and MDSI are equal up to
  float32, HaarPSI differs by up to 3.2e-4 of its value (a digit of piqa's colour matrix), and MS-GMSD is lower by .6 % at
  24 px, .1 % at 64 px and .03 % at 128 px (piqa divides variances by n - 1). At odd sides, which the two halve in different
  ways, HaarPSI differs by up to 3 % and MS-GMSD by up to 2 %; the seed's pictures had 64 and 128 px.
- The metrics that seed 000 names were not found in what was read of its code, and seed 004's code was not looked for. What
  is stated nowhere is chosen here and said: the real cube as the reference, a data range of 1 and no clipping.
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
    *(0.00028473, 0.0043945, 0.00149752, 0.00167517, 0.00190101, 0.0028114, 0.00394378, 0.00488099),
    *(0.00257091, 0.00215704, 0.00797662, 0.01205248, 0.01310135, 0.01476806, 0.01932094, 0.02020744),
)
SEED_HIGH = (
    *(0.6203158, 0.6172642, 0.46794897, 0.4325111, 0.4996644, 0.61997396, 0.7382196, 0.86097705),
    *(0.88304037, 0.9397393, 1.1892519, 1.5035477, 1.4947973, 1.4737314, 1.6318618, 1.7226081),
)
"""Smallest and largest reflectance of each band in the seed project's 287 cropped lesions, test lesions included, with the
digits of its configuration."""
BATCH = 8
"""Pairs that seed 001 compares at once; its numbers are means over such batches."""
ERGAS_RATIO = 4.0
"""torchmetrics' default, which suits images fused from one with pixels four times as wide; here nothing is fused."""
PSNR_FLOOR = 1e-8
"""What piq adds to the mean square error, so that identical images have 80 dB."""
SSIM_BORDER = similarity.WINDOW // 2
"""Width in pixels of the mirrored border that torchmetrics adds before SSIM."""
FIDS = ("scaled", "unscaled")
"""Two readings of seed 001's adapted FID: repeated first weights multiplied by 3/B (3/16), as its code does, or not."""

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
        001 needs 6 px, that of seed 002 11, RASE 9, MS-GMSD, MDSI and SNR 3, HaarPSI 16), for an infinite value (PSNR of
        copies), for seed 002 if there is one pair alone (it leaves out the last) and for a FID that was not given. The
        levels of seed 000 are means over the whole synthetic set, total variation is that of the cubes in pairs, and beside
        them `<key>_real` is that of the real set. Further keys: `pairs` (number), `range_of_sets` (1 if the range came from
        the sets, 0 if it was the seeds') and `seed_001/sam_masked` (pixels left out of the spectral angle of seed 001
        because a spectrum is wholly zero after mapping and clipping).

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

    def clipped(self, cubes: Tensor) -> Tensor:
        """Return the cubes (n, B, H, W) with every band mapped and clipped to [0, 1], in float64."""
        return self.scaled(cubes).clamp(0.0, 1.0)

    def each(self, metric: PairMetric, least: int = 1, clip: bool = False) -> Values:
        """Return the metric of every pair (mapped synthetic, mapped real); NaN if images are below `least` pixels."""
        if self.side < least:
            return np.full(len(self.real), np.nan)
        mapped = self.clipped if clip else self.scaled
        return cube_values(lambda x, y: torch.from_numpy(metric(mapped(x), mapped(y))), self.synthetic, self.real)

    def levels(self, cubes: Tensor) -> list[tuple[str, float]]:
        """Return the mean over mapped cubes of every level."""
        functions: dict[str, Callable[[Tensor], Values]] = {
            "seed_000/variance": texture.variance,
            "seed_000/spatial_entropy": lambda x: texture.spatial_entropy(x, 0.0, 1.0),
            "seed_000/spectral_entropy": spectral.spectral_entropy,
            "seed_000/snr": texture.signal_to_noise if self.side >= 3 else lambda x: np.full(len(x), np.nan),
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


def _batches(values: Values) -> list[Values]:
    """Return the values (n,) of seed 001's batches."""
    return [values[i : i + BATCH] for i in range(0, len(values), BATCH)]


def _over_batches(values: Values) -> float:
    """Return the mean over batches of the mean over each; a smaller last batch counts as much as the others."""
    return float(np.mean([batch.mean() for batch in _batches(values)]))


def _seed_001(compared: _Pairs) -> dict[str, float]:
    def clipped(metric: PairMetric, least: int = 1) -> Values:
        return compared.each(metric, least, clip=True)

    known = clipped(_compared_pixels)
    sums = np.nan_to_num(clipped(spectral.spectral_angles)) * known
    angles = [batch.sum() / count.sum() for batch, count in zip(_batches(sums), _batches(known), strict=True) if count.any()]
    errors = np.array([batch.mean() for batch in _batches(clipped(_square_error))])
    values = compared.real.shape[1:].numel()
    variations = {
        end: cube_values(lambda x: torch.from_numpy(texture.total_variation(compared.clipped(x)) * values), cubes)
        for end, cubes in (("", compared.synthetic), ("_real", compared.real))
    }
    return {
        "seed_001/ssim": _over_batches(clipped(_padded_ssim, SSIM_BORDER + 1)),
        "seed_001/psnr": float(np.mean(-10 * np.log10(errors))) if errors.all() else math.inf,
        "seed_001/sam": _mean(np.array(angles)),
        "seed_001/sam_masked": float(len(known) * compared.real.shape[2:].numel() - known.sum()),
        "seed_001/rase": _rase(compared),
        "seed_001/ergas": _over_batches(clipped(lambda x, y: spectral.ergas(x, y, ERGAS_RATIO))),
        **{
            f"seed_001/total_variation{end}": float(np.mean([batch.sum() for batch in _batches(each)]))
            for end, each in variations.items()
        },
    }


def _square_error(x: Tensor, y: Tensor) -> Values:
    error: Values = (x - y).square().mean((1, 2, 3)).cpu().numpy()
    return error


def _rase(compared: _Pairs) -> float:
    """Return the mean over batches of torchmetrics' RASE, NaN if the images are too small for its window."""
    if compared.side <= spectral.WINDOW:
        return math.nan
    pairs = zip(compared.synthetic.split(BATCH), compared.real.split(BATCH), strict=True)
    return float(np.mean([_rase_of_batch(compared, x, y) for x, y in pairs]))


def _rase_of_batch(compared: _Pairs, synthetic: Tensor, real: Tensor) -> float:
    """Return torchmetrics' RASE of one batch: it averages the windows' errors and levels over cubes before dividing.

    `spectral.rase_as_published` is the same for a single pair. Levels below `spectra.MEAN_FLOOR` are raised to it;
    torchmetrics gives infinity there, or a negative value.
    """
    window = spectral.WINDOW
    errors = levels = torch.zeros(())
    step = max(1, AT_ONCE // real.shape[1:].numel())
    for x, y in zip(synthetic.split(step), real.split(step), strict=True):
        a, b = compared.clipped(x), compared.clipped(y)
        errors = errors + avg_pool2d((a - b).square(), window, stride=1).sqrt().sum(0).cpu()
        levels = levels + avg_pool2d(b.mean(1), window, stride=1).sum(0).cpu()
    ratio = errors.square().mean(0).sqrt() / len(real) / (levels / len(real)).clamp_min(MEAN_FLOOR)
    return 100 * window**2 * float(ratio[:-1, :-1].mean())


def _stretched(cubes: Tensor) -> tuple[Tensor, Tensor]:
    """Return folded images (n, 3, H, W), each stretched to [0, 1] as a whole, and which of them (n,) are constant."""
    images = folded_mean(cubes)
    low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
    flat = high == low
    return (images - low) / torch.where(flat, 1.0, high - low), flat.flatten()


def _seed_002(compared: _Pairs) -> dict[str, float]:
    def each(metric: PairMetric, least: int = 1) -> Values:
        def stretched(x: Tensor, y: Tensor) -> Values:
            (fake, fake_flat), (real, real_flat) = _stretched(x), _stretched(y)
            return np.where((fake_flat | real_flat).cpu().numpy(), np.nan, metric(real, fake))

        return compared.each(stretched, least)[:-1]

    return {
        "seed_002/psnr": _mean(-10 * np.log10(each(_square_error) + PSNR_FLOOR)),
        "seed_002/ssim": _mean(each(lambda x, y: similarity.ssim(x, y, 1.0), similarity.WINDOW)),
        "seed_002/ms_gmsd": _mean(each(lambda x, y: perceptual.ms_gmsd(x, y, 1.0), perceptual.GRADIENT)),
        "seed_002/mdsi": _mean(each(lambda x, y: perceptual.mdsi(x, y, 1.0), perceptual.GRADIENT)),
        "seed_002/haarpsi": _mean(each(lambda x, y: perceptual.haarpsi(x, y, 1.0), perceptual.HAAR)),
    }


def _seed_004(compared: _Pairs) -> dict[str, float]:
    return {
        "seed_004/rmse": _mean(np.sqrt(compared.each(_square_error))),
        "seed_004/psnr": _mean(compared.each(lambda x, y: similarity.psnr(x, y, 1.0))),
        "seed_004/ssim": _mean(compared.each(lambda x, y: similarity.ssim(x, y, 1.0))),
        "seed_004/sad": math.degrees(_mean(compared.each(spectral.spectral_angles))),
    }


_TORCHMETRICS, _PIQ = "torchmetrics 1.9; the seed's public code", "piq 0.8 for the seed's piqa; the seed's public code"
_OURS = "formula of this package; the seed gives only a name"
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


_CLIPPED = "Values outside the mapping's range are clipped, in both cubes, so overexposed cubes look better than they are. "
_STRETCHED = (
    "Each picture is stretched by its own extremes, which hides exposure and lets a single bright pixel change all "
    "others; the last pair is left out. The seed's text says neither. "
)
_FID = (
    "At fewer than 200 cubes FID is biased upwards and needs the real-versus-real value at the same number; the seed chose "
    "its checkpoints by it, against lesions that had trained the generator."
)
_READINGS = {
    "scaled": "The seed's text does not say whether the repeated weights were multiplied by 3/16; its code does, so this is "
    "its reading. Its network sees cubes mapped by the seed's range to [-1, 1] (its VAE's: to [0, 1]). ",
    "unscaled": "The seed's text allows this reading, but its code multiplies the repeated weights by 3/16: do not compare "
    "it with the seed's numbers. ",
}

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
        *(_TORCHMETRICS, _POSITION + _CLIPPED + "The seed gives its range as [0, 1] and as [-1, 1]; [-1, 1] is right.", 1.0),
    ),
    _metric(
        *("seed_001/psnr", "PSNR", "higher", "dB", "mean over batches of 8 of −10 log10 of the batch's MSE"),
        *(_TORCHMETRICS, _POSITION + _CLIPPED + "A blurred mean lesion wins. The seed names it and prints no value."),
    ),
    _metric(
        *(
            "seed_001/sam",
            "spectral angle",
            "lower",
            "rad",
            "mean over batches and pixels of arccos(x·y / |x| |y|)",
            _TORCHMETRICS,
        ),
        f"{_POSITION}{_SCALED}{_CLIPPED}"
        "Angles between mapped spectra are not those between reflectance spectra. A wholly zero spectrum makes "
        "torchmetrics' mean NaN, and the seed's code then counts the whole batch as 0, the best value; such pixels are "
        "masked and counted here. The mean image wins (VAE .102 with the worst FID). "
        "The seed gives the range as 0° to ∞° and leaves the unit open; its values fit radians.",
        0.0,
    ),
    _metric(
        *("seed_001/rase", "RASE", "lower", "%/64", "6400 · mean of √(mean over bands of e²) / level, windows of 8 px"),
        _TORCHMETRICS,
        f"{_POSITION}"
        "It is 64 times the textbook value: torchmetrics divides the level by the window's area twice. Error e (RMSE "
        "of the window) and level are averaged over the 8 cubes of a batch before the division, so the value depends on the "
        "size of the batch. The darkest windows dominate.",
        0.0,
    ),
    _metric(
        *("seed_001/ergas", "ERGAS", "lower", "%", "100 / 4 · √(mean over bands of (RMSE / mean of the real band)²)"),
        _TORCHMETRICS,
        f"{_POSITION}{_SCALED}"
        "Neither the seed's text nor its code has it; it is computed as its other metrics are. The ratio 4 is torchmetrics' "
        "default for fused images; nothing is fused here, so it is a quarter of the value with ratio 1. The mapping lowers "
        "a band's mean and thereby raises the error relative to it.",
        0.0,
    ),
    _metric(
        *("seed_001/total_variation", "total variation", "as real", "", "mean over batches of Σ |x - lower| + |x - right|"),
        _TORCHMETRICS,
        "It is a sum over pixels, bands and the 8 cubes of a batch, so sizes cannot be compared, and a smaller last batch "
        "lowers it. Noise counts as texture. The seed's text speaks of it and prints no value.",
    ),
    *(
        _metric(
            *(f"seed_001/fid_{name}", f"adapted FID, first weights {name}", "lower", "", formula, "seed 001"),
            *(_READINGS[name] + _FID, 0.0),
        )
        for name, formula in zip(FIDS, ("weights · 3/B", "weights · 1"), strict=True)
    ),
    _metric(
        *("seed_002/psnr", "PSNR", "higher", "dB", "mean over pairs of −10 log10(MSE + 1e-8), stretched folded image", _PIQ),
        _POSITION + _STRETCHED + "Copies have 80 dB, not infinity.",
        80.0,
    ),
    _metric(
        *("seed_002/ssim", "SSIM", "higher", "", "Gaussian window of 11 px inside the image, stretched folded image", _PIQ),
        f"{_POSITION}{_STRETCHED}The seed gives the range as 0 to 1; negative values occur.",
        1.0,
    ),
    _metric(
        *("seed_002/ms_gmsd", "MS-GMSD", "lower", "", "see `perceptual.ms_gmsd`, stretched folded image", _PIQ),
        f"{_POSITION}{_STRETCHED}"
        "The seed says that 1 is best. It is a deviation: 0 is best, so the seed read its own column the wrong way "
        "round. It also mentions colour, which its tool leaves out. Luminance weights are applied to bands that are no "
        "red, green and blue.",
        0.0,
    ),
    _metric(
        *("seed_002/mdsi", "MDSI", "lower", "", "see `perceptual.mdsi`, stretched folded image", _PIQ),
        f"{_POSITION}{_STRETCHED}"
        "It measures the deviation of the similarity, not its level; its chromaticity is of false colours. It is not "
        "symmetric: the real picture comes first, as in the seed's code.",
        0.0,
    ),
    _metric(
        *("seed_002/haarpsi", "HaarPSI", "higher", "", "see `perceptual.haarpsi`, stretched folded image", _PIQ),
        f"{_POSITION}{_STRETCHED}"
        "It was tuned on human judgements of colour photographs; the seed's values are of photographs.",
        1.0,
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
    "One model, one run, no interval, no value of real cubes beside it. Checkpoints were picked by FID against training "
    "lesions, and the range for min-max came from all data. Whether it was logged in training or printed by the script that "
    "`as_published` follows is not known."
)
_MIFID = (
    "The seed calls it FID, but its code has a checkpoint of this model with val_MIFID = 114.7889 in its name, so it is "
    "rather the memorisation-informed FID of torchmetrics, cut to one decimal. That equals the FID unless the "
    "features of both sets are on average nearer than .1 in cosine distance; then it is more than ten times the FID."
)
_OF_VAE = (
    " In the code of its training the VAE's metrics compare reconstructions with their own cubes, and its FID is a mean "
    "over batches of cubes in [0, 1] where the other generators' are in [-1, 1]; if the number comes from there, it cannot "
    "be compared with theirs."
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
    Published("001", "FastGAN", "seed_001/fid", 114.7, _UNRELATED, f"{_MIFID} {_ON_ALL} {_FID}"),
    Published("001", "FastGAN", "seed_001/sam", 0.17, _UNRELATED, f"{_ON_ALL} The unit is not stated; taken as rad."),
    Published(
        "001", "FastGAN", "seed_001/rase", 3634.0, _UNRELATED, f"{_ON_ALL} 64 times the textbook value, which is about 57."
    ),
    Published("001", "FastGAN", "seed_001/ssim", 0.67, _UNRELATED, _ON_ALL),
    Published("001", "FastGAN, pre-trained on both classes", "seed_001/fid", 104.2, _UNRELATED, _ON_ALL + _FROM_PROJECT),
    Published("001", "CycleGAN", "seed_001/fid", 101.0, _UNRELATED, _ON_ALL + _FROM_PROJECT),
    Published("001", "VAE", "seed_001/fid", 296.6, _UNRELATED, _ON_ALL + _OF_VAE + _FROM_PROJECT),
    Published(
        "001",
        "VAE",
        "seed_001/sam",
        0.102,
        _UNRELATED,
        f"{_ON_ALL} The best angle beside the worst FID.{_OF_VAE}{_FROM_PROJECT}",
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
