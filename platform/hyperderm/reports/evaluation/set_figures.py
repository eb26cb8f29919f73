"""Figures of whole sets: mean spectra by diagnosis and region, histograms of levels, and the embedding of features."""

from collections import Counter
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from hyperderm.metrics.evaluation.mean_spectra import LESION, SKIN
from hyperderm.metrics.evaluation.measure import METRICS, Measured
from hyperderm.metrics.evaluation.scores import Comparison, CubeGroup
from hyperderm.reports.evaluation.look import HELD_OUT, KEY, SYNTHETIC, Look, Sets, counted, inside, key, key_height, sets
from hyperderm.reports.figure_parts import EDGE, SMALL, TEXT, TITLE, axes_at, evenly, sheet, spoken, words
from hyperderm.reports.figure_style import FAINT, INK, QUIET, WIDTH, plain, wrapped

Table = NDArray[np.float64]
_COLUMNS = 4
_LEFT, _RIGHT, _BETWEEN = 0.62, 0.2, 0.3  # inches around and between panels
_PANEL = (WIDTH - _LEFT - _RIGHT - (_COLUMNS - 1) * _BETWEEN) / _COLUMNS
MOST_DIAGNOSES = 7
"""The most diagnoses that have panels of their own; the first panel holds all cubes."""
_MARKED = 12  # markers on a curve
_BEYOND = 1.0  # the axis leaves synthetic spectra this much room above and below, in heights of the real ones


def mean_spectra(found: Measured, how: Comparison) -> Figure:
    """Draw the mean ± 1 standard deviation of the cubes' mean spectra, lesion above skin, for all cubes and by diagnosis."""
    shown = sets(found, how)
    counts = Counter(found.synthetic.diagnoses)
    names = sorted({name for _, group in shown for name in group.diagnoses}, key=lambda name: (-counts[name], name))
    kinds: list[str | None] = [None, *names[:MOST_DIAGNOSES]] if len(names) > 1 else [*names]
    rows, high, title = -(-len(kinds) // _COLUMNS), 1.35, 0.42
    pitch = title + 2 * high + 0.12 + 0.55
    top = key_height(shown) + 0.2
    figure = sheet(top + rows * pitch + (0.2 if len(names) > MOST_DIAGNOSES else 0.0))
    key(figure, shown, line=True)
    first: dict[int, Axes] = {}
    for k, kind in enumerate(kinds):
        left, at = _LEFT + k % _COLUMNS * (_PANEL + _BETWEEN), top + k // _COLUMNS * pitch
        heads = "all diagnoses" if kind is None else wrapped(spoken(kind), _PANEL, TITLE, 1, "bold")
        words(figure, left, at, heads, TITLE, bold=True, colour=QUIET)
        sizes = " / ".join(str(sum(kind in (None, name) for name in group.diagnoses)) for _, group in shown)
        words(figure, left, at + 0.18, f"{sizes} cubes", SMALL, colour=QUIET)
        for region, name in ((LESION, "lesion"), (SKIN, "skin")):
            place = (left, at + title + region * (high + 0.12), _PANEL, high)
            axes = axes_at(figure, *place, share=first.get(region))
            first.setdefault(region, axes)
            plain(axes)
            for look, group in shown:
                _band(axes, how.wavelengths, _of(found.spectra.of(group)[:, region], group, kind), look)
            axes.text(0.03, 0.95, name, transform=axes.transAxes, fontsize=SMALL, va="top", color=INK, fontweight="bold")
            axes.tick_params(labelsize=SMALL, labelbottom=region == SKIN, labelleft=k % _COLUMNS == 0)
            axes.xaxis.set_major_locator(MaxNLocator(4))
            if k % _COLUMNS == 0:
                axes.set_ylabel("reflectance", fontsize=TEXT, color=INK)
            if region == SKIN:
                axes.set_xlabel("wavelength (nm)", fontsize=TEXT, color=INK)
    beyond = [_reach(axes, found, how, region) for region, axes in first.items()]
    notes = [f"{len(names) - MOST_DIAGNOSES} rarer diagnoses have no panel"] * (len(names) > MOST_DIAGNOSES)
    notes += ["synthetic spectra go beyond the axis"] * any(beyond)
    words(figure, _LEFT, top - 0.21, "; ".join(notes), SMALL, colour=QUIET)
    return figure


def _of(spectra: Table, group: CubeGroup, kind: str | None) -> Table:
    """Return the finite spectra (n, B) of one diagnosis, or of all."""
    rows = np.array([kind in (None, name) for name in group.diagnoses]) & np.isfinite(spectra).all(1)
    return spectra[rows]


def _band(axes: Axes, nm: tuple[float, ...], spectra: Table, look: Look) -> None:
    if not len(spectra):
        return
    mean = spectra.mean(0)
    every = max(1, -(-len(nm) // _MARKED))
    axes.plot(
        nm, mean, color=look.colour, linestyle=look.dash, linewidth=1.5, marker=look.marker, markersize=3.6,
        markevery=every, markerfacecolor=inside(look), markeredgewidth=0.8, zorder=4,
    )  # fmt: skip
    if len(spectra) > 1:
        sd = spectra.std(0, ddof=1)
        axes.fill_between(nm, mean - sd, mean + sd, color=look.colour, alpha=0.12, linewidth=0, zorder=2)
        for edge in (mean - sd, mean + sd):
            axes.plot(nm, edge, color=look.colour, linewidth=0.6, linestyle=look.dash, alpha=0.8, zorder=3)


def _reach(axes: Axes, found: Measured, how: Comparison, region: int) -> bool:
    """Fit the axis to the real spectra, with some room for synthetic ones; return whether those go beyond."""
    ends = []
    for groups in ((how.train, how.held_out), (found.synthetic,)):
        spectra = np.concatenate([_of(found.spectra.of(group)[:, region], group, None) for group in groups])
        ends.append((float(spectra.min()), float(spectra.max())) if len(spectra) else (0.0, 1.0))
    (low, high), (least, most) = ends
    room = _BEYOND * max(high - low, 1e-3)
    bottom, top = max(min(low, least), low - room), min(max(high, most), high + room)
    margin = 0.04 * (top - bottom) or 0.01
    axes.set_ylim(bottom - margin, top + 4 * margin)
    return least < bottom or most > top


_HATCH = "////"
_APART = 0.5  # inches between histograms, which have axes of their own


def level_histograms(found: Measured) -> Figure:
    """Draw the values of each level metric as shares of the cubes of the synthetic and of the real set, in common bins."""
    levels = found.level_values
    lost = any(not np.isfinite(each).all() for values in levels.values() for each in values.values())
    rows, high, title, foot = -(-len(levels) // _COLUMNS), 1.35, 0.56 if lost else 0.42, 0.45
    wide = (WIDTH - _LEFT - _RIGHT - (_COLUMNS - 1) * _APART) / _COLUMNS
    top = 2 * KEY + 0.15
    figure = sheet(top + max(1, rows) * (title + high + foot))
    _patches(figure, found)
    if not levels:
        words(figure, EDGE, top + 0.3, "No level metric could be computed.", TEXT)
    for k, (metric, values) in enumerate(levels.items()):
        left, at = _LEFT + k % _COLUMNS * (wide + _APART), top + k // _COLUMNS * (title + high + foot)
        unit = METRICS[metric].unit
        text = METRICS[metric].title + f" ({unit})" * bool(unit)
        words(figure, left - 0.3, at, wrapped(text, wide + 0.3, TEXT, 2, "bold"), TEXT, bold=True, colour=QUIET)
        axes = axes_at(figure, left, at + title, wide, high)
        plain(axes, "y")
        said = _histogram(axes, found, values)
        words(figure, left - 0.3, at + 0.33, said, SMALL, colour=QUIET)
        axes.tick_params(labelsize=SMALL)
        if k % _COLUMNS == 0:
            axes.set_ylabel("share of cubes", fontsize=TEXT, color=INK)
    return figure


def _patches(figure: Figure, found: Measured) -> None:
    """Draw the key of bars, one set a line."""
    sizes = {name: len(each) for values in found.level_values.values() for name, each in values.items()}
    handles = []
    for name, size in sizes.items():
        look, mean = (SYNTHETIC, "▲") if name == found.synthetic.name else (HELD_OUT, "△")
        text = wrapped(counted(look, name, size), WIDTH - 1.5, TEXT, 1).replace("$", r"\$")
        handles.append(Patch(**_bar(look), label=f"{text}; {mean} mean"))
    figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(EDGE / WIDTH, 1 - 0.1 / figure.get_figheight()), ncols=1,
        frameon=False, fontsize=TEXT, borderaxespad=0, borderpad=0, labelcolor=INK, labelspacing=0.35,
    )  # fmt: skip


def _bar(look: Look) -> dict[str, Any]:
    if look is SYNTHETIC:
        return {"facecolor": "none", "edgecolor": look.colour, "hatch": _HATCH, "linewidth": 1.2}
    return {"facecolor": "#9ec9e6", "edgecolor": look.colour, "linewidth": 0.9}


def _histogram(axes: Axes, found: Measured, values: dict[str, Table]) -> str:
    """Draw one panel; return in words how many cubes have no value."""
    finite = {name: each[np.isfinite(each)] for name, each in values.items()}
    pooled = np.concatenate(list(finite.values()))
    lost = sum(len(each) for each in values.values()) - len(pooled)
    said = f"{lost} cube{'s' * (lost != 1)} without a value" if lost else ""
    if not len(pooled):
        axes.set_xticks([])
        axes.set_yticks([])
        return said
    low, high = float(pooled.min()), float(pooled.max())
    if high - low <= 1e-9 * max(abs(low), abs(high)):  # one value: bars need a width
        low, high = low - 0.5 * (abs(low) or 1.0), high + 0.5 * (abs(high) or 1.0)
    edges = np.linspace(low, high, int(np.clip(np.sqrt(len(pooled)) * 1.5, 8, 24)) + 1)
    for name in sorted(finite, key=lambda name: name == found.synthetic.name):
        each, look = finite[name], SYNTHETIC if name == found.synthetic.name else HELD_OUT
        if not len(each):
            continue
        share = np.histogram(each, edges)[0] / len(each)
        axes.stairs(share, edges, fill=True, **_bar(look))
        fill, over = (look.colour, 6) if look is SYNTHETIC else ("none", 7)  # both are seen where they meet
        axes.plot(
            [each.mean()], [-0.035], marker="^", markersize=6.5, color=look.colour, markerfacecolor=fill, clip_on=False,
            transform=axes.get_xaxis_transform(), zorder=over, markeredgewidth=1.2,
        )  # fmt: skip
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.tick_params(axis="x", pad=6)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.set_ylim(bottom=0)
    return said


POINTS, DIMENSIONS, LEAST = 1000, 50, 5
"""The most points of an embedding, the dimensions that t-SNE starts from, and the cubes of each set that it needs."""
_SEED = 0


def embedding(found: Measured, how: Comparison, space: str) -> Figure:
    """Draw the features of the three sets in one space: their first two principal components, and t-SNE of the first 50.

    Sets that hold more than `POINTS` cubes together are thinned out evenly, in proportion. Features that are not finite are
    left out. t-SNE is left out, and this is said, where a set has fewer than `LEAST` cubes.

    Args:
        found: what was measured.
        how: the comparison.
        space: a key of `found.features`.
    """
    from sklearn.decomposition import PCA  # takes a second to import

    shown, side, gap = sets(found, how), 4.6, 0.75
    tables = [_thinned(found, group, sum(len(g) for _, g in shown), space) for _, group in shown]
    points, sizes = np.concatenate(tables), [len(table) for table in tables]
    top = key_height(shown) + 0.38
    figure = sheet(top + side + 0.55)
    key(figure, shown, line=False)
    places, share = np.zeros((len(points), 2)), np.zeros(2)
    if len(points) > 1:
        kept = PCA(min(DIMENSIONS, points.shape[1], len(points) - 1), svd_solver="full").fit(points)
        places = kept.transform(points)
        share = np.pad(np.nan_to_num(kept.explained_variance_ratio_[:2]), (0, 2))
    flat = np.pad(places[:, :2], ((0, 0), (0, max(0, 2 - places.shape[1]))))
    left = (WIDTH - 2 * side - gap) / 2 + 0.15
    axes = _points(figure, (left, top, side), "principal components", shown, (flat, sizes))
    axes.set_xlabel(f"first component, {share[0]:.0%} of the variance".replace("%", " %"), fontsize=TEXT, color=INK)
    axes.set_ylabel(f"second component, {share[1]:.0%} of the variance".replace("%", " %"), fontsize=TEXT, color=INK)
    place = (left + side + gap, top, side)
    if min(sizes) < LEAST:
        few = ", ".join(f"{look.role} {n}" for (look, _), n in zip(shown, sizes, strict=True) if n < LEAST)
        axes = _points(figure, place, "t-SNE", (), (flat[:0], []))
        text = wrapped(f"left out: it needs {LEAST} cubes of each set ({few})", side - 0.4, TEXT, 3)
        axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", fontsize=TEXT, color=QUIET)
    else:
        title = "t-SNE: distances between clouds mean little"
        axes = _points(figure, place, title, shown, (_t_sne(places), sizes))
    axes.set_xticks([])
    axes.set_yticks([])
    return figure


def _thinned(found: Measured, group: CubeGroup, total: int, space: str) -> Table:
    """Return the finite features (n, d) of the share of a set that is drawn."""
    table = np.asarray(found.features[space][group.name], np.float64)
    rows = np.flatnonzero(np.isfinite(table).all(1)).tolist()
    return table[evenly(rows, len(rows) if total <= POINTS else max(1, POINTS * len(group) // total))]


def _t_sne(places: Table) -> Table:
    """Return t-SNE (N, 2) of the principal components (N, k), on one thread: a thousand points take 5 s.

    More threads would add up in another order, and wait for each other where cores are busy.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    perplexity = min(30.0, max(2.0, (len(places) - 1) / 4))
    with threadpool_limits(1):
        made = TSNE(2, perplexity=perplexity, init="pca", random_state=_SEED).fit_transform(places)
    return np.asarray(made, np.float64)


def _points(
    figure: Figure,
    place: tuple[float, float, float],
    title: str,
    shown: Sets,
    drawn: tuple[Table, list[int]],
) -> Axes:
    left, top, side = place
    axes = axes_at(figure, left, top, side, side)
    plain(axes, None)
    axes.spines[:].set_visible(True)
    axes.spines[:].set_color(FAINT)
    words(figure, left, top - 0.22, title, TITLE, bold=True, colour=QUIET)
    places, sizes = drawn
    ends = np.cumsum([0, *sizes])
    small = 4.2 if len(places) > 300 else 5.5
    for k in reversed(range(len(sizes))):  # train below, synthetic on top
        look, rows = shown[k][0], slice(ends[k], ends[k + 1])
        axes.plot(
            *places[rows].T, linestyle="none", marker=look.marker, markersize=small, color=look.colour, alpha=0.85,
            markerfacecolor=inside(look), markeredgecolor=look.colour if inside(look) == "white" else "white",
            markeredgewidth=0.9 if inside(look) == "white" else 0.4, zorder=3 + len(sizes) - k,
        )  # fmt: skip
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.tick_params(labelsize=SMALL)
    return axes
