"""The figures of an unmixing: endmembers beside known absorbers, abundance maps, pixels in the simplex, errors."""

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hyperderm.cubes.diagnosis import UNKNOWN
from hyperderm.cubes.pseudo_rgb import display_rgb, fit_gain
from hyperderm.errors import ConfigError, CubeError
from hyperderm.phantom.optics import haemoglobin_extinction, melanin_absorption
from hyperderm.reports.figure_parts import axes_at, ending, sheet, spoken, tile, words
from hyperderm.reports.figure_style import HUES, INK, MARKERS, QUIET, WIDTH, plain
from hyperderm.studies.unmixing import Unmixing
from hyperderm.unmixing.pixels import principal

SMALL = 8.5
_FAINTEST = 0.25  # opacity of the pixels in the simplex


def unit(found: Unmixing) -> str:
    """Return the name of the values that were unmixed."""
    return "share of the pixel's length" if found.request.unit else "reflectance"


def unit_of_pixels(found: Unmixing) -> str:
    """Return the name of the values in which errors are told."""
    return unit(found) if found.request.colours is None else "linear colour, matched"


def endmembers(found: Unmixing) -> Figure:
    """Draw every endmember over the bands, and for lesions with diagnoses the absorption of melanin and haemoglobin."""
    nm = np.array(found.request.nm)
    skin = any(each.diagnosis != UNKNOWN for each in found.lesions)
    absorbers = known_absorbers(nm) if skin else {}
    figure = sheet(4.0 + 2.4 * bool(absorbers))
    axes = axes_at(figure, 0.9, 0.35, 8.0, 3.1)
    plain(axes)
    for k, spectrum in enumerate(found.endmembers):
        axes.plot(nm, spectrum, marker=MARKERS[k % len(MARKERS)], markersize=4, color=_hue(k), label=f"endmember {k + 1}")
    axes.set_ylabel(unit(found), fontsize=SMALL, color=QUIET)
    axes.legend(frameon=False, fontsize=SMALL, loc="center left", bbox_to_anchor=(1.01, 0.5))
    words(figure, 0.9, 0.05, "Endmembers", bold=True)
    if absorbers:
        below = axes_at(figure, 0.9, 4.05, 8.0, 1.75)
        plain(below)
        for k, (name, values) in enumerate(absorbers.items()):
            fine = np.linspace(nm.min(), nm.max(), len(values))
            below.semilogy(fine, values, color=(INK, "#b22222", "#5a3e9b")[k], linestyle=("-", "-", "--")[k], label=name)
        below.set_ylabel("absorption, peak = 1", fontsize=SMALL, color=QUIET)
        below.set_xlim(axes.get_xlim())
        below.legend(frameon=False, fontsize=SMALL, loc="center left", bbox_to_anchor=(1.01, 0.5))
        words(figure, 0.9, 3.75, "Known absorbers of skin", bold=True)
        axes = below
    axes.set_xlabel("nm", fontsize=SMALL, color=QUIET)
    return figure


def known_absorbers(nm: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Return the absorption of eumelanin, oxy- and deoxyhaemoglobin on a fine grid between the first and the last band.

    Each is divided by its maximum. Bands outside the table of haemoglobin leave melanin alone; bands outside 250 to 1100 nm,
    for which melanin's power law was not made, give nothing.
    """
    if nm.min() < 250 or nm.max() > 1100:
        return {}
    fine = np.linspace(nm.min(), nm.max(), 301)
    found = {"eumelanin": melanin_absorption(fine)[0]}
    try:
        oxy, deoxy = haemoglobin_extinction(fine)
        found |= {"oxyhaemoglobin": oxy, "deoxyhaemoglobin": deoxy}
    except ConfigError:  # bands outside its table
        pass
    return {name: values / values.max() for name, values in found.items()}


def abundance_maps(found: Unmixing) -> Figure:
    """Draw the lesions that are shown, a row each: the cube as seen, then the abundance of every endmember from 0 to 1."""
    count = len(found.endmembers)
    side = min(1.15, (WIDTH - 1.9) / (count + 1) - 0.08)
    figure = sheet(0.75 + len(found.maps) * (side + 0.08))
    words(figure, 1.75, 0.1, "as seen" if found.coloured else "mean of all bands", SMALL)
    for k in range(count):
        words(figure, 1.75 + (k + 1) * (side + 0.08), 0.1, f"endmember {k + 1}", SMALL, colour=_hue(k))
    gain = _gain(found)
    for row, each in enumerate(found.maps):
        top = 0.4 + row * (side + 0.08)
        words(figure, 0.1, top + 0.1, f"{ending(each.lesion_id, 1.5, SMALL, 2)}\n{spoken(each.diagnosis)}", SMALL)
        tile(figure, 1.75, top, side, display_rgb(each.levels, np.eye(3), gain))
        for k in range(count):
            left = 1.75 + (k + 1) * (side + 0.08)
            tile(figure, left, top, side, each.abundances[..., k], cmap="magma", vmin=0, vmax=1)
    return figure


def simplex(found: Unmixing) -> Figure:
    """Draw pixels of train and the endmembers in the first two principal components of the pixels."""
    mean, directions = principal(found.sample, 2)
    pixels, corners = ((values - mean) @ directions.T for values in (found.sample, found.request.seen(found.endmembers)))
    figure = sheet(5.2)
    axes = axes_at(figure, 0.9, 0.35, 6.2, 4.3)
    plain(axes)
    axes.scatter(pixels[:, 0], pixels[:, 1], s=3, color=QUIET, alpha=_FAINTEST, linewidths=0, rasterized=True)
    for k, (x, y) in enumerate(corners):
        for other in corners[k + 1 :]:
            axes.plot((x, other[0]), (y, other[1]), color=QUIET, linewidth=0.6)
        axes.scatter(x, y, s=60, color=_hue(k), marker=MARKERS[k % len(MARKERS)], zorder=3, label=f"endmember {k + 1}")
    axes.set_xlabel("first principal component", fontsize=SMALL, color=QUIET)
    axes.set_ylabel("second", fontsize=SMALL, color=QUIET)
    axes.legend(frameon=False, fontsize=SMALL, loc="center left", bbox_to_anchor=(1.02, 0.5))
    words(figure, 0.9, 0.05, f"{len(pixels)} pixels and the simplex of the endmembers", bold=True)
    return figure


def errors(found: Unmixing) -> Figure:
    """Draw the reconstruction error over the number of endmembers, with the knee and HySime's number."""
    choice = found.choice
    counts = sorted(choice.errors)
    figure = sheet(3.6)
    axes = axes_at(figure, 0.9, 0.35, 6.2, 2.7)
    plain(axes)
    axes.plot(counts, [choice.errors[count] for count in counts], marker="o", color=INK)
    axes.scatter(choice.count, choice.errors[choice.count], s=90, facecolors="none", edgecolors=HUES[1], linewidths=2)
    axes.annotate(f"knee: {choice.count}", (choice.count, choice.errors[choice.count]), (8, 8), textcoords="offset points")
    if choice.subspace is not None:
        said = f"HySime: {choice.subspace.count}"
        if counts[0] <= choice.subspace.count <= counts[-1]:
            axes.axvline(choice.subspace.count, color=HUES[0], linewidth=1, label=said)
        else:
            axes.plot([], [], color=HUES[0], label=f"{said} (beyond this plot)")
        axes.legend(frameon=False, fontsize=SMALL)
    axes.set_xticks(counts)
    axes.set_xlabel("number of endmembers", fontsize=SMALL, color=QUIET)
    axes.set_ylabel(f"root mean square error, {unit(found)}", fontsize=SMALL, color=QUIET)
    return figure


def _hue(k: int) -> str:
    return HUES[k % len(HUES)]


def _gain(found: Unmixing) -> float:
    try:
        return fit_gain(np.concatenate([each.levels.reshape(1, -1, 3) for each in found.maps], axis=1), np.eye(3))
    except CubeError:  # no positive level: everything is black at any gain
        return 1.0
