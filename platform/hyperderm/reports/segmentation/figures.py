"""The figures of a segmentation: label maps, spectra of clusters, pixels beside their reconstruction, lesion masks."""

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hyperderm.cubes.diagnosis import UNKNOWN
from hyperderm.reports.figure_parts import axes_at, ending, sheet, spoken, words
from hyperderm.reports.figure_style import HUES, INK, QUIET, WIDTH, plain
from hyperderm.reports.scene_figures import (
    SMALL,
    band_axis,
    height_of,
    hues,
    label_colours,
    large_picture,
    legend,
    marker,
    overlaid,
    picture_axes,
    seen,
    spectra_grid,
    widest,
)
from hyperderm.studies.segmentation import LATENT, MASKS, Segmentation, Shown

GAP = 0.08
_DRAWN, _MADE = "#ffffff", "#00a0ff"


def names(found: Segmentation) -> list[str]:
    """Return the names of the clusters with their share of all labelled pixels."""
    total = max(1, int(found.sizes.sum()))
    return [f"cluster {k}: {100 * size / total:.1f} %" for k, size in enumerate(found.sizes)]


def _listed(found: Segmentation) -> list[str]:
    return [*names(found), *([f"masked: {found.masked[0]} pixels"] if found.masked[0] else [])]


def labels(found: Segmentation) -> Figure:
    """Draw the label map of a single scene with its legend."""
    colours = hues(found.request.count)
    return large_picture(label_colours(found.shown[0].labels[LATENT], colours), _listed(found), colours)


def overlay(found: Segmentation) -> Figure:
    """Draw the label map of a single scene over the scene as it is seen."""
    colours, one = hues(found.request.count), found.shown[0]
    (picture,) = seen([one.levels], found.coloured)
    return large_picture(overlaid(picture, one.labels[LATENT], colours), _listed(found), colours)


def methods(found: Segmentation) -> Figure:
    """Draw every scene that is shown, a row each: as it is seen, and its clusters by every method."""
    colours, methods = hues(found.request.count), [each for each in found.methods if each != LATENT]
    pictures = seen([one.levels for one in found.shown], found.coloured)
    left = 0.15 if found.request.scenes.single else 1.7
    width = widest(pictures[0], min(1.7, (WIDTH - left - 0.15) / (len(methods) + 2) - GAP))
    height = height_of(pictures[0], width)
    figure = sheet(0.85 + len(pictures) * (height + GAP))
    for k, title in enumerate(("as seen" if found.coloured else "false colours", LATENT, *methods)):
        words(figure, left + k * (width + GAP), 0.12, title, SMALL, bold=title == LATENT)
    for row, (one, picture) in enumerate(zip(found.shown, pictures, strict=True)):
        top = 0.4 + row * (height + GAP)
        if left > 1:
            words(figure, 0.1, top + 0.1, _name(one), SMALL)
        picture_axes(figure, left, top, width, picture)
        picture_axes(figure, left + width + GAP, top, width, label_colours(one.labels[LATENT], colours))
        for k, method in enumerate(methods):
            own = np.append(found.renamed(method), -1)[one.labels[method]]
            picture_axes(figure, left + (k + 2) * (width + GAP), top, width, label_colours(own, colours))
    for k, name in enumerate(names(found)[:6]):
        legend(figure, left + 1.5 * k, 0.5 + len(pictures) * (height + GAP), [name], colours[k : k + 1])
    return figure


def clusters(found: Segmentation) -> Figure:
    """Draw the mean of every cluster's pixels with their standard deviation, and the spectrum of its latent mean."""
    scenes, colours = found.request.scenes, hues(found.request.count)
    figure = sheet(4.6)
    axes = axes_at(figure, 0.8, 0.4, 7.7, 3.6)
    plain(axes)
    for k in range(found.request.count):
        mean, spread, colour = found.means[k], found.spreads[k], tuple(colours[k])
        axes.fill_between(scenes.bands, mean - spread, mean + spread, color=colour, alpha=0.15, linewidth=0)
        axes.plot(scenes.bands, mean, color=colour, label=f"cluster {k}, mean ± sd", linewidth=1.4, **marker(scenes, k))
        axes.plot(scenes.bands, found.decoded[k], color=colour, linestyle="--", linewidth=1.2)
    axes.plot([], [], color=QUIET, linestyle="--", label="decoded latent mean")
    axes.set_ylabel("value of the cube", fontsize=SMALL, color=QUIET)
    band_axis(axes, scenes)
    axes.legend(frameon=False, fontsize=SMALL, loc="upper left", bbox_to_anchor=(1.01, 1.0))
    return figure


def examples(found: Segmentation) -> Figure:
    """Draw the spectra of chosen pixels beside their reconstruction."""
    panels = []
    for one in found.examples:
        where = f"row {one.row}, column {one.column}"
        name = "" if found.request.scenes.single else f"{ending(one.name, 1.2, SMALL, 1)}, "
        spectra = {"pixel": one.spectrum, "reconstruction": one.rebuilt}
        panels.append((f"cluster {one.cluster}: {name}{where}", spectra))
    styles = {"pixel": {"color": INK}, "reconstruction": {"color": HUES[1], "linestyle": "--"}}
    return spectra_grid(found.request.scenes, panels, styles)


def masks(found: Segmentation) -> Figure:
    """Draw the lesions of `Segmentation.masks_shown` with the drawn mask and those that were made, as outlines."""
    pictures = seen([one.levels for one in found.masks_shown], found.coloured)
    width = min((WIDTH - 1.7) / 4 - GAP, 2.2)
    height = height_of(pictures[0], width)
    figure = sheet(0.6 + len(pictures) * (height + 0.35))
    for row, (one, picture) in enumerate(zip(found.masks_shown, pictures, strict=True)):
        top = 0.45 + row * (height + 0.35)
        rank = f"{_rank(row, len(pictures))}\n" if one.dice else ""
        words(figure, 0.1, top + 0.1, f"{rank}{_name(one)}", SMALL)
        for k, way in enumerate(MASKS):
            left, score = 1.65 + k * (width + GAP), one.dice.get(way)
            axes = picture_axes(figure, left, top, width, picture)
            if one.drawn is not None:
                _outline(axes, one.drawn, _DRAWN)
            if way in one.masks:
                _outline(axes, one.masks[way], _MADE)
            said = "none found" if way not in one.masks else "made" if score is None else f"{score:.2f}"
            words(figure, left, top - 0.2, f"{way}: {said}", 7.5)
    return figure


def dices(found: Segmentation) -> Figure:
    """Draw how the Dice of every way to make masks is distributed over lesions."""
    figure = sheet(3.0)
    axes = axes_at(figure, 2.4, 0.3, 6.5, 2.1)
    plain(axes, "x")
    parts = axes.boxplot(
        [found.dices(way) for way in MASKS[::-1]],
        orientation="horizontal",
        widths=0.6,
        showmeans=True,
        flierprops={"markersize": 3},
    )
    for line in parts["medians"]:
        line.set_color(HUES[1])
    axes.set_yticks(range(1, len(MASKS) + 1), MASKS[::-1], fontsize=SMALL)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("Dice with the drawn mask (no mask found: 0)", fontsize=SMALL, color=QUIET)
    return figure


def _outline(axes: object, mask: NDArray[np.bool_], colour: str) -> None:
    if mask.any() and not mask.all():
        axes.contour(mask.astype(float), levels=[0.5], colors=[colour], linewidths=1.4)  # type: ignore[attr-defined]


def _rank(row: int, count: int) -> str:
    return ("best", "middle", "worst")[row] if count == 3 else "lesion"


def _name(one: Shown) -> str:
    known = "" if one.diagnosis == UNKNOWN else f"\n{spoken(one.diagnosis)}"
    return f"{ending(one.name, 1.5, SMALL, 2)}{known}"
