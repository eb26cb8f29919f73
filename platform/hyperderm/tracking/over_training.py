"""Pictures of how a generator learns: cubes from the same inputs over training, and lesions that it rebuilds."""

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hyperderm.tracking.figures import GENERATED_COLOUR, REAL_COLOUR, Cubes, RealSet

_TILE_INCHES, _LEFT, _CURVES = 0.85, 0.75, 1.9
ROWS = 6
"""Largest number of cubes that are drawn."""


def over_training_figure(real: RealSet, moments: Mapping[int, Cubes], title: str) -> Figure:
    """Draw the same generated cubes at each moment, and below them how far they moved and how unlike each other they are.

    Distances are root mean squares over bands and pixels, in reflectance. Cubes that come to be alike say that the generator
    collapses; cubes that no longer move say that it has stopped learning, whatever its losses do.

    Args:
        real: the real cubes, for colours and for their own distance from each other.
        moments: images shown to (n, h, w, B) cubes, in rising order; the n cubes are made from the same noise (or images)
            each time.
        title: the first line of the figure.
    """
    images = list(moments)
    rows = min(ROWS, *(len(cubes) for cubes in moments.values()))
    width, height = _LEFT + len(images) * _TILE_INCHES, rows * _TILE_INCHES + _CURVES + 0.5
    figure = Figure(figsize=(max(width, 5.0), height), dpi=100, facecolor="white")
    figure.text(0.01, 1 - 0.08 / height, title, fontsize=11, fontweight="bold", va="top", parse_math=False)
    for row in range(rows):
        for column, shown in enumerate(images):
            left, bottom = _LEFT + column * _TILE_INCHES, height - 0.5 - (row + 1) * _TILE_INCHES
            place = (left / figure.get_figwidth(), bottom / height, 0.8 / figure.get_figwidth(), 0.8 / height)
            tile = figure.add_axes(place)
            tile.imshow(real.picture(np.nan_to_num(moments[shown][row])), interpolation="nearest")
            tile.set_axis_off()
            if row == 0:
                tile.set_title(f"{shown:,}", fontsize=7.5, pad=2)
    span = (len(images) * _TILE_INCHES - 0.05) / figure.get_figwidth()
    _curves(figure.add_axes((_LEFT / figure.get_figwidth(), 0.5 / height, span, (_CURVES - 0.75) / height)), real, moments)
    return figure


def reconstructions(real: RealSet, held: Cubes, made: Cubes, title: str) -> Figure:
    """Draw lesions above what the networks rebuild of them, and the root mean square error of each pair, in reflectance.

    Args:
        real: the real cubes, for colours.
        held: (k, h, w, B) cubes that training has not seen.
        made: (k, h, w, B) the same cubes, rebuilt.
        title: the first line of the figure.
    """
    width, height = max(_LEFT + len(held) * _TILE_INCHES, 5.0), 2 * _TILE_INCHES + 0.75
    figure = Figure(figsize=(width, height), dpi=100, facecolor="white")
    figure.text(0.01, 1 - 0.08 / height, title, fontsize=11, fontweight="bold", va="top", parse_math=False)
    for row, (name, cubes) in enumerate((("held out", held), ("rebuilt", made))):
        bottom = height - 0.4 - (row + 1) * _TILE_INCHES
        figure.text(0.01, (bottom + 0.4) / height, name, fontsize=8.5, va="center")
        for column, cube in enumerate(cubes):
            place = ((_LEFT + column * _TILE_INCHES) / width, bottom / height, 0.8 / width, 0.8 / height)
            tile = figure.add_axes(place)
            tile.imshow(real.picture(np.nan_to_num(cube)), interpolation="nearest")
            tile.set_axis_off()
    for column, (a, b) in enumerate(zip(held, made, strict=True)):
        error = float(np.sqrt(np.mean(np.square(a - b))))
        centre = (_LEFT + column * _TILE_INCHES + 0.4) / width
        figure.text(centre, 0.12 / height, f"{error:.3f}", fontsize=7.5, ha="center")
    return figure


def _curves(axes: Axes, real: RealSet, moments: Mapping[int, Cubes]) -> None:
    images, cubes = list(moments), list(moments.values())
    apart = [spread(each) for each in cubes]
    moved = [float(np.sqrt(np.mean(np.square(b - a)))) for a, b in pairwise(cubes)]
    axes.plot(images, apart, color=GENERATED_COLOUR, marker="o", markersize=3, label="distance between cubes")
    axes.plot(images[1:], moved, color="#666666", marker="s", markersize=3, label="moved since the moment before")
    theirs = spread(_reduced(real.reflectance, cubes[0].shape[1]))
    axes.axhline(theirs, color=REAL_COLOUR, linestyle="--", label=f"between {real.name} cubes")
    axes.set_ylim(0, 1.3 * max(theirs, *apart, *moved[1:]) or 1.0)  # the first move, away from noise, may be far larger
    axes.set_xlabel("images shown", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=7, edgecolor="none", ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def spread(cubes: Cubes) -> float:
    """Return the root mean square distance between two different ones of (n, h, w, B) cubes, per value; 0 for one cube."""
    finite = cubes[np.isfinite(cubes).all((1, 2, 3))].astype(np.float64)
    if len(finite) < 2:
        return 0.0
    return float(np.sqrt(2 * finite.var(0, ddof=1).mean()))


def _reduced(cubes: Cubes, side: int) -> NDArray[np.float32]:
    """Return (N, H, W, B) cubes at `side` pixels, by the mean over areas where that is a whole number."""
    times = cubes.shape[1] // side
    if times <= 1 or cubes.shape[1] % side:
        return cubes
    n, _, _, bands = cubes.shape
    return cubes.reshape(n, side, times, side, times, bands).mean((2, 4))
