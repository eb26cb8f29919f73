"""Figures that reports on the pixels of scenes share: scenes as they are seen, label maps, loss curves, and spectra."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import NullFormatter
from numpy.typing import NDArray

from hyperderm.cubes.pseudo_rgb import srgb_encode
from hyperderm.reports.figure_parts import axes_at, sheet, words
from hyperderm.reports.figure_style import FAINT, HUES, INK, MARKERS, QUIET, WIDTH, plain
from hyperderm.studies.scenes import Scenes
from hyperderm.studies.spectral_coding import Coding

SMALL = 8.5
MASKED = (1.0, 1.0, 1.0)
"""The colour of pixels without a label."""
_BRIGHTEST = 99.5  # percentile of all values that is shown white
_TINT = 0.45  # opacity of clusters over the scene
_TALLEST = 7.5  # inches of a picture
_TERMS = ("loss", "mse", "angle", "gradient")

Colours = NDArray[np.float64]


def hues(count: int) -> Colours:
    """Return a colour (3,) for each of `count` clusters, 0 to 1; those of the reports first, more from a colour wheel."""
    if count <= len(HUES):
        return np.array([to_rgb(each) for each in HUES[:count]])
    wheel = colormaps["hsv"](np.arange(count) / count)[:, :3]
    return np.asarray(wheel * np.where(np.arange(count) % 2, 0.65, 0.95)[:, None])


def label_colours(labels: NDArray[np.integer], colours: Colours) -> Colours:
    """Return a label map (H, W) as colours (H, W, 3); `MASKED` where it is negative."""
    return np.concatenate([colours, [MASKED]])[labels]  # -1 is the last one


def seen(levels: Sequence[NDArray[np.float32]], coloured: bool) -> list[Colours]:
    """Return linear levels (H, W, 3) of several scenes as pictures with one gain; false colours stretch each channel."""
    every = np.concatenate([each.reshape(-1, 3) for each in levels])
    if coloured:
        low, high = np.zeros(3), np.full(3, np.percentile(every.max(1), _BRIGHTEST))
    else:
        low, high = np.percentile(every, 100 - _BRIGHTEST, axis=0), np.percentile(every, _BRIGHTEST, axis=0)
    width = np.where(high > low, high - low, 1.0)
    return [srgb_encode(np.clip((each - low) / width, 0, 1)) for each in levels]


def overlaid(picture: Colours, labels: NDArray[np.integer], colours: Colours) -> Colours:
    """Return a picture with the clusters tinted over it, and their borders in their full colour; masked pixels stay."""
    mixed = (1 - _TINT) * picture + _TINT * label_colours(labels, colours)
    border = np.zeros(labels.shape, np.bool_)
    border[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    border[1:] |= labels[1:] != labels[:-1]
    mixed[border] = label_colours(labels, colours)[border]
    return np.where(labels[..., None] < 0, picture, mixed)


def picture_axes(
    figure: Figure,
    left: float,
    top: float,
    width: float,
    picture: NDArray[Any],
    **shown: Any,  # noqa: ANN401
) -> Axes:
    """Draw a picture whose pixels are square, `width` inches wide; `shown` goes to `imshow`."""
    axes = axes_at(figure, left, top, width, height_of(picture, width))
    axes.imshow(picture, aspect="auto", interpolation="nearest", **shown)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color(FAINT)
    axes.spines[:].set_linewidth(0.5)
    return axes


def height_of(picture: NDArray[Any], width: float) -> float:
    """Return the height in inches of a picture of this width."""
    return width * picture.shape[0] / picture.shape[1]


def widest(picture: NDArray[Any], width: float) -> float:
    """Return the width in inches, `width` at most, at which a picture is not too tall for a page."""
    return min(width, _TALLEST * picture.shape[1] / picture.shape[0])


def large_picture(picture: Colours, names: Sequence[str], colours: Colours) -> Figure:
    """Draw one picture as large as the page allows, with the names of the clusters beside it in their colours."""
    width = widest(picture, WIDTH - 3.2)
    rows = max(height_of(picture, width), 0.24 * len(names))
    figure = sheet(rows + 0.3)
    picture_axes(figure, 0.15, 0.15, width, picture)
    legend(figure, width + 0.4, 0.15, names, colours)
    return figure


def legend(figure: Figure, left: float, top: float, names: Sequence[str], colours: Colours) -> None:
    """Write names below each other, each behind a square of its colour."""
    for k, name in enumerate(names):
        colour, total = tuple(colours[k]) if k < len(colours) else MASKED, figure.get_figheight()
        corner = (left / WIDTH, 1 - (top + 0.24 * k + 0.16) / total)
        box = Rectangle(corner, 0.16 / WIDTH, 0.16 / total, facecolor=colour, edgecolor=FAINT, transform=figure.transFigure)
        figure.add_artist(box)
        words(figure, left + 0.24, top + 0.24 * k, name, SMALL)


def loss_curves(coding: Coding) -> Figure:
    """Draw every term of the loss over the updates, learnt and held-out pixels, linear above and logarithmic below."""
    figure = sheet(6.4)
    for row, scale in enumerate(("linear", "log")):
        for column, term in enumerate(_TERMS):
            axes = axes_at(figure, 0.65 + 2.65 * column, 0.45 + 3.05 * row, 2.1, 2.3)
            plain(axes)
            for name, colour, said in ((term, QUIET, "learnt"), (f"held_out_{term}", HUES[1], "held out")):
                points = [(step, scores[name]) for step, scores in coding.curves if name in scores]
                axes.plot(*zip(*points, strict=True), color=colour, label=said, linewidth=1.2)
            axes.set_yscale(scale)
            axes.yaxis.set_minor_formatter(NullFormatter())
            axes.set_title(f"{term}, {scale}", fontsize=SMALL, color=INK)
            if row:
                axes.set_xlabel("updates", fontsize=SMALL, color=QUIET)
            if not column:
                axes.legend(frameon=False, fontsize=SMALL)
    return figure


def band_axis(axes: Axes, scenes: Scenes) -> None:
    """Name the axis of the bands."""
    axes.set_xlabel("nm" if scenes.measured else "number of the band", fontsize=SMALL, color=QUIET)


def spectra_grid(
    scenes: Scenes, panels: Sequence[tuple[str, Mapping[str, NDArray[np.floating]]]], styles: Mapping[str, Mapping[str, Any]]
) -> Figure:
    """Draw spectra (B,) by name, in panels of three columns with a title each; `styles` are arguments of `plot` by name."""
    rows = -(-len(panels) // 3)
    figure = sheet(0.5 + 2.55 * rows)
    for k, (title, spectra) in enumerate(panels):
        axes = axes_at(figure, 0.65 + 3.5 * (k % 3), 0.35 + 2.55 * (k // 3), 2.8, 1.75)
        plain(axes)
        for name, values in spectra.items():
            axes.plot(scenes.bands, values, **{"linewidth": 1.2, "label": name, **styles.get(name, {})})
        axes.set_title(title, fontsize=SMALL, color=INK, parse_math=False)
        axes.tick_params(labelsize=7.5)
        if k // 3 == rows - 1 or k + 3 >= len(panels):
            band_axis(axes, scenes)
        if k == 0:
            axes.legend(frameon=False, fontsize=7.5)
    return figure


def marker(scenes: Scenes, k: int) -> dict[str, Any]:
    """Return the marker of the k-th spectrum, on few bands only."""
    return {"marker": MARKERS[k % len(MARKERS)], "markersize": 3.5} if scenes.shape[2] <= 40 else {}
