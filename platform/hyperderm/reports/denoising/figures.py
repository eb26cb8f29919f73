"""The figures of a denoising: scores of every scene, spectra of chosen pixels, scenes and what is left of the error."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from hyperderm.cubes.diagnosis import UNKNOWN
from hyperderm.reports.figure_parts import axes_at, ending, sheet, spoken, words
from hyperderm.reports.figure_style import HUES, INK, QUIET, WIDTH, plain
from hyperderm.reports.scene_figures import SMALL, height_of, picture_axes, seen, spectra_grid, widest
from hyperderm.studies.denoising import AXES, FILTER, INPUT, METHODS, NET, TRUTH, Denoising

GAP = 0.08
STYLES: dict[str, dict[str, Any]] = {
    INPUT: {"color": QUIET, "marker": ".", "markersize": 3, "linewidth": 0.6},
    NET: {"color": HUES[1]},
    FILTER: {"color": HUES[0], "linestyle": ":"},
    AXES: {"color": HUES[2], "linestyle": "-."},
    TRUTH: {"color": INK, "linestyle": "--"},
}


def errors(found: Denoising) -> Figure:
    """Draw the root mean square error and the spectral angle of every scene, a box a method."""
    figure, methods = sheet(2.9), found.scored[::-1]
    of = [one for one in found.scenes if one.known == found.known]
    against = "the truth" if found.known else "the cube as measured"
    for k, (name, title) in enumerate((("rmse", "root mean square error"), ("angle", "mean spectral angle, rad"))):
        axes = axes_at(figure, 1.75 + 4.7 * k, 0.3, 4.2, 2.0)
        plain(axes, "x")
        values = [[value for one in of if np.isfinite(value := getattr(one.scores[each], name))] for each in methods]
        parts = axes.boxplot(values, orientation="horizontal", widths=0.6, flierprops={"markersize": 3})
        for line in parts["medians"]:
            line.set_color(HUES[1])
        axes.set_yticks(range(1, len(methods) + 1), methods if k == 0 else [""] * len(methods), fontsize=SMALL)
        axes.set_xlim(left=0)
        axes.set_xlabel(f"{title}, from {against}", fontsize=SMALL, color=QUIET)
    return figure


def spectra(found: Denoising) -> Figure:
    """Draw the spectra of chosen pixels: as measured, by every method, and the truth if it is known."""
    panels = []
    for one in found.shown:
        for at, (row, column) in enumerate(one.pixels):
            name = "" if found.request.scenes.single else f"{ending(one.name, 1.4, SMALL, 1)}, "
            panels.append((f"{name}row {row}, column {column}", {way: values[at] for way, values in one.spectra.items()}))
    return spectra_grid(found.request.scenes, panels, STYLES)


def pictures(found: Denoising) -> Figure:
    """Draw the scenes that are shown, two rows each: as they are seen, and the error of every pixel on one scale."""
    ways = [INPUT, *METHODS, *([TRUTH] if found.known else [])]
    left, first = 1.7, found.shown[0].levels[INPUT]
    width = widest(first, min(1.9, (WIDTH - left) / len(ways) - GAP))
    height = height_of(first, width)
    figure = sheet(0.5 + len(found.shown) * (2 * height + 3 * GAP))
    for k, way in enumerate(ways):
        words(figure, left + k * (width + GAP), 0.12, way, SMALL)
    for number, one in enumerate(found.shown):
        top = 0.4 + number * (2 * height + 3 * GAP)
        known = [way for way in ways if way in one.levels]
        drawn = dict(zip(known, seen([one.levels[way] for way in known], found.coloured), strict=True))
        most = float(np.nanpercentile([error for way, error in one.errors.items() if way != FILTER], 99.5))
        diagnosis = "" if one.diagnosis == UNKNOWN else f"\n{spoken(one.diagnosis)}"
        words(figure, 0.1, top + 0.1, f"{ending(one.name, 1.5, SMALL, 2)}{diagnosis}", SMALL)
        words(figure, 0.1, top + height + GAP + 0.1, f"{'error' if found.known else 'change'},\nwhite: {most:.3g}", SMALL)
        for k, way in enumerate(ways):
            if way in drawn:
                picture_axes(figure, left + k * (width + GAP), top, width, drawn[way])
            if way in one.errors:
                place = (left + k * (width + GAP), top + height + GAP, width)
                picture_axes(figure, *place, one.errors[way], cmap="magma", vmin=0, vmax=most or 1)
    return figure
