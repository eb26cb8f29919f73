"""Pictures for comparing trials: real beside generated lesions, and real against generated spectra.

Everything is drawn with matplotlib's objects and never with pyplot, so that a background thread can draw.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hyperderm.cubes.pseudo_rgb import display_rgb, fit_gain, pseudo_rgb_matrix
from hyperderm.cubes.regions import lesion_region, skin_region
from hyperderm.errors import CubeError

Cubes = NDArray[np.float32]
Spectra = NDArray[np.float64]
Picture = NDArray[np.uint8]

REGIONS = ("whole cube", "lesion", "skin")
REAL_COLOUR, GENERATED_COLOUR = "#1f5a94", "#d9601a"  # told apart by colour-blind readers too

_DPI = 100
_TILE = 128  # pixels of a tile's longer side
_GAP = 6  # pixels between tiles
_CAPTION = 15  # pixels under a tile for its diagnosis
_HEAD, _EDGE, _MIDDLE = 62, 12, 30  # pixels above the blocks, around them, between them
_REACH = 1.0  # the axis leaves generated cubes this much room above and below, in heights of what the real ones fill


RegionSpectra = Mapping[str, Spectra]
"""Mean spectra of N cubes, (N, B) for each of `REGIONS`; a row is NaN if its cube does not have the region."""


Regions = list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]


def automatic_regions(reflectance: Cubes) -> Regions:
    """Return the lesion and skin regions that `cubes.regions` finds in each of (N, H, W, B) cubes, real or generated."""
    lesions = [lesion_region(cube) for cube in reflectance]
    return [(lesion, skin_region(cube, lesion)) for cube, lesion in zip(reflectance, lesions, strict=True)]


def region_spectra(reflectance: Cubes, regions: Regions) -> RegionSpectra:
    """Return the mean spectra of (N, H, W, B) cubes and of their regions."""
    count, bands = reflectance.shape[0], reflectance.shape[3]
    whole, lesion, skin = (np.full((count, bands), np.nan) for _ in REGIONS)
    for i, (cube, (on_lesion, on_skin)) in enumerate(zip(reflectance, regions, strict=True)):
        whole[i] = cube.mean((0, 1), dtype=np.float64)
        if on_lesion.any():
            lesion[i] = cube[on_lesion].mean(0, dtype=np.float64)
        if on_skin.any():
            skin[i] = cube[on_skin].mean(0, dtype=np.float64)
    return dict(zip(REGIONS, (whole, lesion, skin), strict=True))


@dataclass(frozen=True, eq=False)
class RealSet:
    """The real cubes that generated cubes are compared with; values that follow from them are computed once.

    Attributes:
        reflectance: (N, H, W, B) float32.
        diagnoses: N names; None where the diagnosis is unknown.
        wavelengths_nm: (B,).
        name: the name of the cubes in pictures; "phantom" if they are simulated.

    Raises:
        CubeError: there are no cubes, or the counts of cubes, diagnoses, bands and wavelengths disagree.
    """

    reflectance: Cubes
    diagnoses: Sequence[str | None]
    wavelengths_nm: NDArray[np.float64]
    name: str = "real"

    def __post_init__(self) -> None:
        x = self.reflectance
        if x.ndim != 4 or not len(x):
            raise CubeError(f"pictures need real cubes of axes (N, H, W, B), N at least 1, got shape {x.shape}")
        if len(self.diagnoses) != len(x) or np.shape(self.wavelengths_nm) != (x.shape[3],):
            raise CubeError(
                f"cubes of shape {x.shape} with {len(self.diagnoses)} diagnoses "
                f"and {np.size(self.wavelengths_nm)} wavelengths"
            )

    @cached_property
    def matrix(self) -> NDArray[np.float64]:
        """The matrix H, (3, B), from bands to RGB."""
        return pseudo_rgb_matrix(self.wavelengths_nm)

    @cached_property
    def gain(self) -> float:
        """The gain that is used for every tile, real or generated."""
        return fit_gain(self.reflectance, self.matrix)

    @cached_property
    def regions(self) -> Regions:
        """The automatic lesion and skin regions of every cube."""
        return automatic_regions(self.reflectance)

    @cached_property
    def white(self) -> NDArray[np.float64] | None:
        """Median linear level of skin, (3,), shown as the skin tone; None if a channel or all skin is missing."""
        skin = [cube[skin] for cube, (_, skin) in zip(self.reflectance, self.regions, strict=True)]
        pixels = np.concatenate(skin)
        if not len(pixels):
            return None
        levels = np.median(self.gain * (pixels @ self.matrix.T), axis=0)
        return levels if np.all(levels > 0) else None

    @cached_property
    def spectra(self) -> RegionSpectra:
        """The mean spectra of every cube and of its regions."""
        return region_spectra(self.reflectance, self.regions)

    def picture(self, cube: Cubes) -> Picture:
        """Return an (H, W, B) cube, real or generated, as sRGB with this set's gain and white balance."""
        return display_rgb(cube, self.matrix, self.gain, self.white)


def lesion_grid(real: RealSet, generated: Cubes, title: str, seed: int, rows: int = 4, columns: int = 4) -> Figure:
    """Draw random real cubes on the left and random generated ones on the right, all with one gain and white balance.

    Args:
        real: the real cubes; the diagnosis of each tile stands below it.
        generated: (n, H, W, B), possibly the output of an untrained generator; n may be 0.
        title: the first line of the figure.
        seed: chooses the cubes; use one seed for all trials, so that they show the same real cubes.
        rows: tiles of a block from top to bottom.
        columns: tiles of a block from left to right.

    Raises:
        CubeError: the generated cubes have other bands, or the wavelengths allow no pseudo-RGB.
    """
    _check_bands(real, generated)
    tiles = rows * columns
    chosen = _choice(len(real.reflectance), tiles, seed)
    fakes = _choice(len(generated), tiles, seed)
    pictures = [_tile(real.picture(real.reflectance[i])) for i in chosen]
    names = [(real.diagnoses[i] or "").replace("_", " ") for i in chosen]
    imitations = [_tile(real.picture(np.nan_to_num(generated[i]))) for i in fakes]
    height, width = pictures[0].shape[:2]
    block_w, block_h = columns * (width + _GAP) - _GAP, rows * (height + _CAPTION)
    figure_w, figure_h = 2 * (_EDGE + block_w) + _MIDDLE, _HEAD + block_h + _EDGE
    figure = Figure(figsize=(figure_w / _DPI, figure_h / _DPI), dpi=_DPI, facecolor="white")
    figure.text(_EDGE / figure_w, 1 - 10 / figure_h, title, fontsize=12, fontweight="bold", va="top", parse_math=False)
    counts = (f"{real.name}: {len(chosen)} of {len(real.reflectance)}", f"generated: {len(fakes)} of {len(generated)}")
    none: list[str] = []
    blocks = ((pictures, names, REAL_COLOUR), (imitations, none, GENERATED_COLOUR))
    for k, ((images, captions, colour), count) in enumerate(zip(blocks, counts, strict=True)):
        left = _EDGE + k * (block_w + _MIDDLE)
        place = (left / figure_w, _EDGE / figure_h, block_w / figure_w, block_h / figure_h)
        axes = figure.add_axes(place)
        _block(axes, images, captions, columns, (block_h, block_w))
        axes.set_title(count, loc="left", fontsize=11, color=colour, fontweight="bold", pad=4)
    return figure


def spectra(real: RealSet, generated: Cubes, title: str) -> Figure:
    """Draw mean spectra ± 1 standard deviation between cubes for whole cube, lesion and skin, real against generated.

    The same program finds lesion and skin in real and in generated cubes. Cubes that are not finite are left out.

    Args:
        real: the real cubes.
        generated: (n, H, W, B), possibly the output of an untrained generator; n may be 0.
        title: the first line of the figure.

    Raises:
        CubeError: the generated cubes have other bands.
    """
    _check_bands(real, generated)
    finite = generated[np.isfinite(generated).all((1, 2, 3))]
    made = region_spectra(finite, automatic_regions(finite))
    figure = Figure(figsize=(11, 4.2), dpi=_DPI, facecolor="white", layout="constrained")
    panels = figure.subplots(1, len(REGIONS), sharey=True)
    titles = {name: _panel_title(name, real, made[name]) for name in REGIONS}
    lines = max(title.count("\n") for title in titles.values())
    for axes, name in zip(panels, REGIONS, strict=True):
        _curve(axes, real.wavelengths_nm, real.spectra[name], real.name, REAL_COLOUR, "o")
        _curve(axes, real.wavelengths_nm, made[name], "generated", GENERATED_COLOUR, "s")
        axes.set_title(titles[name] + "\n" * (lines - titles[name].count("\n")), fontsize=10)
        axes.set_xlabel("wavelength (nm)")
        axes.grid(color="#e4e4e4", linewidth=0.7)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(loc="upper left", fontsize=8, edgecolor="none")
    panels[0].set_ylabel("reflectance")
    beyond = _set_reach(panels[0], real.spectra, made)
    broken = len(generated) - len(finite)
    notes = ["mean over cubes, band ± 1 sd between cubes"]
    notes += ["generated reaches beyond the axis"] * beyond
    notes += [f"{broken} of {len(generated)} generated cubes are not finite and left out"] * (broken > 0)
    figure.suptitle(f"{title}\n", x=0.01, ha="left", fontsize=12, fontweight="bold", parse_math=False)
    figure.text(0.01, 0.925, "; ".join(notes), fontsize=8.5, color="#555555", va="top")
    return figure


def _check_bands(real: RealSet, generated: Cubes) -> None:
    if generated.ndim != 4 or generated.shape[3] != len(real.wavelengths_nm):
        raise CubeError(f"generated cubes of shape {generated.shape} beside real ones of {len(real.wavelengths_nm)} bands")


def _choice(available: int, wanted: int, seed: int) -> list[int]:
    order = np.random.default_rng(seed).permutation(available)
    return [int(i) for i in order[:wanted]]


def _tile(picture: Picture) -> Picture:
    """Enlarge a picture by a whole factor, or shrink it by area, to at most `_TILE` pixels."""
    height, width = picture.shape[:2]
    times = _TILE // max(height, width)
    if times >= 1:
        return picture.repeat(times, axis=0).repeat(times, axis=1)
    scale = _TILE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _block(axes: Axes, images: Sequence[Picture], captions: Sequence[str], columns: int, size: tuple[int, int]) -> None:
    """Arrange tiles in rows on a white canvas that is shown pixel by pixel."""
    canvas = np.full((*size, 3), 255, dtype=np.uint8)
    for i, image in enumerate(images):
        height, width = image.shape[:2]
        y, x = i // columns * (height + _CAPTION), i % columns * (width + _GAP)
        canvas[y : y + height, x : x + width] = image
        if i < len(captions):
            axes.text(x + width / 2, y + height + 1, captions[i], fontsize=6.5, ha="center", va="top", color="#444444")
    axes.imshow(canvas, interpolation="nearest", aspect="auto")
    axes.set_axis_off()


def _curve(axes: Axes, nm: NDArray[np.float64], rows: Spectra, name: str, colour: str, marker: str) -> None:
    """Draw the mean and the band of the finite rows; the band needs two rows."""
    there = _there(rows)
    label = f"{name}, {len(there)} cube{'s' * (len(there) != 1)}"
    if not len(there):
        axes.plot([], [], color=colour, marker=marker, markersize=3, label=label)
        return
    mean = there.mean(0)
    axes.plot(nm, mean, color=colour, marker=marker, markersize=3, linewidth=1.6, label=label)
    if len(there) > 1:
        sd = there.std(0, ddof=1)
        axes.fill_between(nm, mean - sd, mean + sd, color=colour, alpha=0.15, linewidth=0)
        axes.plot(nm, np.stack([mean - sd, mean + sd], 1), color=colour, alpha=0.6, linewidth=0.7)


def _there(rows: Spectra) -> Spectra:
    return rows[np.isfinite(rows).all(1)]


def _panel_title(name: str, real: RealSet, made: Spectra) -> str:
    """Return the name of the region, and in how many cubes the program found none."""
    counts = ((real.name, real.spectra[name]), ("generated", made))
    missing = [(who, len(rows) - len(_there(rows)), len(rows)) for who, rows in counts]
    said = [f"no {name} found in {k} of {n} {who}" for who, k, n in missing if k]
    return "\n".join([name, *said])


def _set_reach(axes: Axes, real: RegionSpectra, made: RegionSpectra) -> bool:
    """Fit the reflectance axis to both sets, within a limit for generated cubes; return whether some values lie outside."""
    low, high = _extent(real)
    made_low, made_high = _extent(made)
    reach = _REACH * max(high - low, 1e-3)
    bottom, top = max(min(low, made_low), low - reach), min(max(high, made_high), high + reach)
    margin = 0.05 * max(top - bottom, 1e-3)
    axes.set_ylim(bottom - margin, top + 4 * margin)  # room for the legend
    return bool(made_low < bottom or made_high > top)


def _extent(spectra: RegionSpectra) -> tuple[float, float]:
    """Return the lowest and highest value of mean ± 1 sd over all regions; (inf, -inf) if there are no cubes."""
    low, high = np.inf, -np.inf
    for rows in map(_there, spectra.values()):
        if len(rows):
            sd = rows.std(0, ddof=1) if len(rows) > 1 else np.zeros(rows.shape[1])
            low, high = min(low, float((rows.mean(0) - sd).min())), max(high, float((rows.mean(0) + sd).max()))
    return low, high
