"""The figures of a description: contact sheet with outlines of masks, spectra by diagnosis and region, values of bands."""

from collections.abc import Sequence

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from hyperderm.cubes.pseudo_rgb import display_rgb, fit_gain
from hyperderm.errors import CubeError
from hyperderm.metrics.streaming import Moments
from hyperderm.reports.figure_parts import EDGE, SMALL, TEXT, TITLE, axes_at, ending, sheet, spoken, words
from hyperderm.reports.figure_style import DPI, FAINT, HUES, INK, MARKERS, QUIET, WIDTH, plain, wrapped
from hyperderm.studies.description import ALL, LESION, SKIN, WHOLE, Description, Tile

Picture = NDArray[np.uint8]
COLUMNS = 10
"""Tiles in a row of the contact sheet."""
MOST_CURVES = len(HUES)
"""The most diagnoses that are drawn over each other; tables hold all."""
COLOURS = {WHOLE: INK, LESION: HUES[1], SKIN: HUES[0]}
_GAP, _LINE, _HEAD = 0.07, 0.135, 0.3  # inches between tiles, of a line of small text, of a row's title
_OUTLINE = (255, 255, 255), (0, 0, 0)
_MARKED = 12  # markers on a curve


def contact_sheet(found: Description) -> Figure:
    """Draw the chosen cubes of every diagnosis with the outlines of their masks, all at one gain and white balance."""
    side = (WIDTH - 2 * EDGE - (COLUMNS - 1) * _GAP) / COLUMNS
    pitch = side + _LINE + 0.08
    rows = {name: -(-len(tiles) // COLUMNS) for name, tiles in found.tiles.items()}
    figure = sheet(0.1 + sum(_HEAD + count * pitch for count in rows.values()))
    gain, white = _light(found)
    top = 0.1
    for name, tiles in found.tiles.items():
        left_out = found.counts[name].lesions - len(tiles)
        said = f"{len(tiles)} of {found.counts[name].lesions}" + (f", {left_out} not shown" if left_out else "")
        words(figure, EDGE, top, f"{spoken(name)}: {said}", TITLE, bold=True)
        for k, tile in enumerate(tiles):
            x, y = EDGE + k % COLUMNS * (side + _GAP), top + _HEAD - 0.06 + k // COLUMNS * pitch
            axes = axes_at(figure, x, y, side, side)
            axes.imshow(outlined(tile, gain, white, round(side * DPI)), aspect="auto", interpolation="none")
            axes.set_axis_off()
            words(figure, x, y + side + 0.03, ending(tile.lesion_id, side, 6.5, 1), 6.5, colour=QUIET)
        top += _HEAD + rows[name] * pitch
    return figure


def outlined(tile: Tile, gain: float, white: NDArray[np.float64] | None, side: int) -> Picture:
    """Return a cube as a square picture of `side` pixels, oblong ones between white bars, with its mask's outline.

    Args:
        tile: the cube.
        gain: the gain of the linear levels.
        white: (3,) the level of skin; None: no white balance.
        side: the side in pixels.

    Returns:
        (side, side, 3) sRGB.
    """
    picture = display_rgb(tile.levels, np.eye(3), gain, white)
    height, width = picture.shape[:2]
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    how = cv2.INTER_NEAREST if scale >= 1 else cv2.INTER_AREA
    drawn = np.ascontiguousarray(cv2.resize(picture, size, interpolation=how))
    if tile.mask is not None:
        mask = cv2.resize(tile.mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        lines, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        for colour, width in zip(_OUTLINE[::-1], (3, 1), strict=True):  # white within black is seen on any skin
            cv2.drawContours(drawn, lines, -1, colour, width)
    canvas = np.full((side, side, 3), 255, np.uint8)
    top, left = (side - size[1]) // 2, (side - size[0]) // 2
    canvas[top : top + size[1], left : left + size[0]] = drawn
    return canvas


def _light(found: Description) -> tuple[float, NDArray[np.float64] | None]:
    """Return the gain and the white balance of all tiles; photographs keep theirs."""
    if found.store.manifest.kind == "rgb":
        return 1.0, None
    tiles = [tile for each in found.tiles.values() for tile in each]
    try:
        gain = fit_gain(np.stack([tile.levels for tile in tiles]), np.eye(3))
    except CubeError:  # no positive level: everything is black at any gain
        return 1.0, None
    skin = np.concatenate([tile.levels[tile.skin] for tile in tiles])
    levels = gain * np.median(skin, axis=0) if len(skin) and found.coloured else np.zeros(3)
    return gain, levels if np.all(levels > 0) else None


def curves(found: Description) -> Figure:
    """Draw the mean spectra of the diagnoses over each other, region by region, and lesion over skin."""
    kinds, nm = found.kinds[:MOST_CURVES], found.store.manifest.wavelengths_nm
    regions = [region for region in found.regions if region != WHOLE] or [WHOLE]
    both = len(regions) == 2
    figure = sheet(4.0)
    panels = _panels(figure, 3 if both else 1, 0.7, 2.65)
    for axes, region in zip(panels, regions, strict=False):
        for k, name in enumerate(kinds):
            _curve(axes, nm, found.spectra[name, region].mean, k)
        axes.set_title(region, loc="left", fontsize=TITLE, color=INK, fontweight="bold")
    if both:
        for k, name in enumerate(kinds):
            lesion, skin = (found.spectra[name, region].mean for region in (LESION, SKIN))
            _curve(panels[2], nm, np.where(skin > 0, lesion / np.where(skin > 0, skin, 1), np.nan), k)
        panels[2].set_title("lesion / surrounding skin", loc="left", fontsize=TITLE, color=INK, fontweight="bold")
    _key(figure, [f"{spoken(name)} ({found.counts[name].lesions})" for name in kinds])
    return figure


def _curve(axes: Axes, nm: Sequence[float], mean: NDArray[np.float64], k: int) -> None:
    every = max(1, -(-len(nm) // _MARKED))
    axes.plot(nm, mean, color=HUES[k], marker=MARKERS[k], markersize=4, markevery=every, linewidth=1.5)


def _key(figure: Figure, names: Sequence[str]) -> None:
    handles = [
        Line2D([], [], color=HUES[k], marker=MARKERS[k], markersize=4.5, label=wrapped(name, 3.0, TEXT, 1))
        for k, name in enumerate(names)
    ]
    figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(EDGE / WIDTH, 1 - 0.08 / figure.get_figheight()), ncols=3,
        frameon=False, fontsize=TEXT, borderaxespad=0, borderpad=0, labelcolor=INK, handlelength=2.4, labelspacing=0.35,
    )  # fmt: skip


def _panels(figure: Figure, count: int, top: float, high: float) -> list[Axes]:
    """Add `count` axes side by side, with the names of both axes."""
    left, between = 0.65, 0.55
    width = (WIDTH - left - EDGE - 2 * between) / 3 if count > 1 else 6.0
    made = []
    for k in range(count):
        axes = axes_at(figure, left + k * (width + between), top, width, high)
        plain(axes)
        axes.set_xlabel("wavelength (nm)", fontsize=TEXT, color=INK)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        made.append(axes)
    made[0].set_ylabel("mean value", fontsize=TEXT, color=INK)
    return made


def by_diagnosis(found: Description) -> Figure:
    """Draw for all lesions and for each diagnosis the mean ± 1 standard deviation between lesions, region by region."""
    kinds = (ALL, *found.kinds) if len(found.kinds) > 1 else (ALL,)
    regions = [region for region in found.regions if region != WHOLE] or [WHOLE]
    columns, left, between, high = 3, 0.65, 0.35, 1.7
    width = (WIDTH - left - EDGE - (columns - 1) * between) / columns
    pitch, top = high + 0.95, 0.45
    figure = sheet(top + -(-len(kinds) // columns) * pitch)
    first: Axes | None = None
    for k, name in enumerate(kinds):
        x, y = left + k % columns * (width + between), top + k // columns * pitch
        words(
            figure, x, y, "all lesions" if name == ALL else wrapped(spoken(name), width, TITLE, 1, "bold"), TITLE, bold=True
        )
        words(figure, x, y + 0.17, _counted(found, name, regions), SMALL, colour=QUIET)
        axes = axes_at(figure, x, y + 0.36, width, high, share=first)
        first = first or axes
        plain(axes)
        for region in regions:
            _band(axes, found.store.manifest.wavelengths_nm, found.spectra[name, region], COLOURS[region])
        axes.tick_params(labelsize=SMALL, labelleft=k % columns == 0)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlabel("wavelength (nm)", fontsize=SMALL, color=INK)
        if k % columns == 0:
            axes.set_ylabel("mean value", fontsize=TEXT, color=INK)
    handles = [Patch(color=COLOURS[region], label=f"{region}: mean and ± 1 sd between lesions") for region in regions]
    figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(EDGE / WIDTH, 1 - 0.1 / figure.get_figheight()), ncols=3,
        frameon=False, fontsize=TEXT, borderaxespad=0, borderpad=0, labelcolor=INK,
    )  # fmt: skip
    return figure


def _counted(found: Description, name: str, regions: Sequence[str]) -> str:
    counts = [found.spectra[name, region].count for region in regions]
    if len(set(counts)) == 1:
        return f"{counts[0]} lesion{'s' * (counts[0] != 1)}"
    return ", ".join(f"{region} {count}" for region, count in zip(regions, counts, strict=True))


def _band(axes: Axes, nm: Sequence[float], moments: Moments, colour: str) -> None:
    if not moments.count:
        return
    axes.plot(nm, moments.mean, color=colour, linewidth=1.6, zorder=4)
    if moments.count > 1:
        low, high = moments.mean - moments.sd, moments.mean + moments.sd
        axes.fill_between(nm, low, high, color=colour, alpha=0.15, linewidth=0, zorder=2)


def band_values(found: Description) -> Figure:
    """Draw for each band the range of 99 % of its values with the median, and the smallest and the largest value."""
    bands, nm = found.bands, np.array(found.store.manifest.wavelengths_nm)
    figure = sheet(3.5)
    axes = axes_at(figure, 0.65, 0.5, WIDTH - 0.65 - EDGE, 2.4)
    plain(axes)
    low, median, high = bands.quantiles.T
    step = float(np.diff(nm).min()) if len(nm) > 1 else 10.0
    axes.axhline(0, color=FAINT, linewidth=0.9)
    axes.bar(nm, high - low, width=0.55 * step, bottom=low, color=HUES[0], alpha=0.45, linewidth=0)
    axes.plot(nm, median, linestyle="none", marker="_", markersize=max(3.0, 0.5 * _points(step, nm)), color=INK)
    for ends in (bands.low, bands.high):
        axes.plot(nm, ends, linestyle="none", marker=".", markersize=4, color=HUES[1])
    axes.set_xlabel("wavelength (nm)", fontsize=TEXT, color=INK)
    axes.set_ylabel("value", fontsize=TEXT, color=INK)
    handles = [
        Patch(color=HUES[0], alpha=0.45, label="0.5 % to 99.5 % of the values"),
        Line2D([], [], linestyle="none", marker="_", markersize=9, color=INK, label="median"),
        Line2D([], [], linestyle="none", marker=".", color=HUES[1], label="smallest and largest value"),
    ]
    figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(EDGE / WIDTH, 1 - 0.1 / figure.get_figheight()), ncols=3,
        frameon=False, fontsize=TEXT, borderaxespad=0, borderpad=0, labelcolor=INK,
    )  # fmt: skip
    return figure


def _points(step: float, nm: NDArray[np.float64]) -> float:
    """Return how many points wide a step of the wavelength is drawn."""
    reach = float(np.ptp(nm)) * 1.1 if len(nm) > 1 else step
    return 72 * (WIDTH - 0.65 - EDGE) * step / reach
