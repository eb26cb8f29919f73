"""A search in pictures: importance, history, parallel coordinates and slices, as one interactive page and one figure.

Page and figure show the same points. A trial that was stopped early counts with the last score it reported, and looks
different. Nothing here uses pyplot, so that a background thread can draw.

Optuna's own plots (optuna.visualization 5.0) were drawn for comparison and show less. Trials that were stopped early or
failed, a third and more of all, are missing from its history, slices and parallel coordinates. Its objective axis is linear,
so that one diverged score flattens all others to a line. Its parameter axes span the drawn values, not the searched range.
Its importance uses finished trials alone, and its static plots use pyplot.
"""

import html
from typing import Any

import plotly.graph_objects as go
import plotly.io
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from optuna.study import Study
from plotly.offline import get_plotlyjs
from plotly.subplots import make_subplots

from hyperderm.tracking.short_texts import three_digits
from hyperderm.tracking.study_points import Axis, Point, StudyPoints

_INK, _FAINT, _BEST, _BAR = "#333333", "#9a9a9a", "#d9601a", "#1f5a94"
_WIDE = 6  # parameters whose names fit side by side in one line
_Plot = tuple[go.Figure | None, str]  # and a sentence: a caveat, or why there is no plot
_STYLE = "body{font:15px/1.45 sans-serif;margin:24px;max-width:1200px;color:#222}h1{font-size:22px}h2{font-size:17px}"


def study_figure(study: Study) -> Figure:
    """Draw the four plots as one static figure; a sentence with the reason replaces a plot that cannot be drawn.

    Raises:
        StudyError: the study does not minimise one objective.
    """
    found = StudyPoints(study)
    rows, columns = _shape(len(found.axes)) if found.points else (0, 0)
    heights = [0.7, 3.3, 3.3, *[2.5 * rows] * (rows > 0)]
    figure = Figure(figsize=(12, sum(heights)), dpi=100, facecolor="white", layout="constrained")
    parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)
    head, top, middle, *bottom = parts[:, 0]
    head.text(0.01, 0.9, found.name, fontsize=13, fontweight="bold", va="top", parse_math=False)
    head.text(0.01, 0.4, found.summary, fontsize=9, color="#555555", va="top")
    left, right = top.subplots(1, 2, width_ratios=[2, 1])
    _history(left, found)
    _importance(right, found)
    _parallel(middle.subplots(), found)
    for part in bottom:
        panels = part.subplots(rows, columns, squeeze=False).flat
        for i, axes in enumerate(panels):
            if i < len(found.axes):
                _slice(axes, found, found.axes[i], leftmost=i % columns == 0)
            else:
                axes.set_axis_off()
    return figure


def study_page(study: Study) -> str:
    """Return one HTML page with the four interactive plots; it contains plotly.js, so it works without a network.

    Raises:
        StudyError: the study does not minimise one objective.
    """
    found = StudyPoints(study)
    sections = [("History", *_history_plot(found)), ("Importance", *_importance_plot(found))]
    sections += [("Parallel coordinates", *_parallel_plot(found)), ("Slices", *_slices_plot(found))]
    script = "" if all(plot is None for _, plot, _ in sections) else f"<script>{get_plotlyjs()}</script>"
    parts = [f"<h1>{html.escape(found.name)}</h1>", f"<p>{html.escape(found.summary)}</p>", _best_values(found)]
    for title, plot, sentence in sections:
        parts += [f"<h2>{title}</h2>", f"<p>{html.escape(sentence)}</p>" if sentence else ""]
        parts += [] if plot is None else [_div(plot)]
    head = f'<meta charset="utf-8"><title>{html.escape(found.name)}</title><style>{_STYLE}</style>{script}'
    return f"<!doctype html><html><head>{head}</head><body>{''.join(parts)}</body></html>"


# ---------------------------------------------------------------------------------------------------- matplotlib


def _history(axes: Axes, found: StudyPoints) -> None:
    axes.set_title("history", fontsize=10, loc="left")
    if _explained(axes, found.nothing):
        return
    for finished, label in ((True, "finished"), (False, "stopped early (last score)")):
        points = [p for p in found.points if p.finished is finished]
        if points:
            look = _look(finished)
            axes.scatter([p.number for p in points], [p.value for p in points], **look, label=label, zorder=3)
    numbers, values = found.best_so_far
    if numbers:
        axes.step(numbers, values, where="post", color=_BEST, linewidth=1.4, label="best so far", zorder=2)
    if found.failed:
        place = axes.get_xaxis_transform()
        axes.scatter(
            found.failed, [0.03] * len(found.failed), marker="x", color="#b00020", s=22, transform=place, label="failed"
        )
    axes.set_xlabel("trial")
    _objective_axis(axes, found)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize=8, edgecolor="none", ncols=4, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.1)


def _importance(axes: Axes, found: StudyPoints) -> None:
    shares, note = found.importance
    axes.set_title("importance" + (f" ({note})" if shares else ""), fontsize=10, loc="left")
    if _explained(axes, "" if shares else note):
        return
    names, values = list(shares)[::-1], list(shares.values())[::-1]
    bars = axes.barh(names, values, color=_BAR, height=0.62)
    axes.bar_label(bars, [f"{100 * v:.0f} %" for v in values], padding=3, fontsize=8)
    axes.axvline(1 / len(shares), color=_FAINT, linestyle=":", linewidth=1.2, zorder=3)
    place = axes.get_xaxis_transform()
    axes.text(1 / len(shares), -0.02, "equal shares", fontsize=7.5, color="#777777", ha="center", va="top", transform=place)
    axes.set_xlim(0, 1.18 * max(values))
    axes.set_xticks([])
    axes.spines[["top", "right", "bottom"]].set_visible(False)


def _parallel(axes: Axes, found: StudyPoints) -> None:
    """Draw one vertical axis per parameter over its searched range, the objective last; the best trials are dark, on top."""
    drawn, sentence = _complete(found)
    stopped = any(not found.points[i].finished for i in drawn)
    legend = (": dark is best" + ", dashed was stopped early" * stopped) if drawn else ""
    axes.set_title("parallel coordinates" + legend, fontsize=10, loc="left")
    if _explained(axes, sentence if not drawn else ""):
        return
    columns = len(found.axes)
    colours = colormaps["viridis"](0.92 * found.shade)
    for i in sorted(drawn, key=lambda i: -found.values[i]):
        point = found.points[i]
        heights = [axis.position(point.params[axis.path]) for axis in found.axes]
        style = "solid" if point.finished else (0, (4, 2))
        axes.plot([*range(columns), columns], [*heights, found.shade[i]], color=colours[i], linestyle=style, linewidth=1.3)
    _parallel_ticks(axes, found)
    names = [*(axis.label for axis in found.axes), found.objective]
    if columns > _WIDE:
        names = [name.replace("_", "_\n").replace(" ", "\n") for name in names]
    axes.set_xticks(range(columns + 1), names, fontsize=8.5)
    axes.set_xlim(-0.3, columns + 0.3)
    axes.set_ylim(-0.06, 1.06)
    axes.set_yticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if sentence:
        axes.set_xlabel(sentence, fontsize=8)


def _parallel_ticks(axes: Axes, found: StudyPoints) -> None:
    box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 0.8}
    for x, axis in enumerate(found.axes):
        axes.axvline(x, color=_FAINT, linewidth=0.9, zorder=1)
        for y, text in axis.ticks:
            axes.text(x - 0.015, y, text, fontsize=7.5, ha="right", va="center", color=_INK, bbox=box, parse_math=False)
    axes.axvline(len(found.axes), color=_FAINT, linewidth=0.9, zorder=1)
    worst, best = float(found.values.max()), float(found.values.min())
    for text, y in {three_digits(worst): float(found.shade.max()), three_digits(best): 0.0}.items():
        axes.text(len(found.axes) + 0.015, y, text, fontsize=7.5, va="center", color=_INK)


def _slice(axes: Axes, found: StudyPoints, axis: Axis, leftmost: bool) -> None:
    """Draw the score against one parameter over its searched range; the best trial is a star."""
    for finished in (False, True):
        points = [p for p in found.points if p.finished is finished and axis.path in p.params]
        places = [axis.position(p.params[axis.path]) for p in points]
        axes.scatter(places, [p.value for p in points], **_look(finished))
    best = found.best
    if best is not None and axis.path in best.params:
        place = axis.position(best.params[axis.path])
        axes.scatter([place], [best.value], marker="*", s=110, color=_BEST, edgecolors="white", zorder=4)
    axes.set_xticks([x for x, _ in axis.ticks], [text for _, text in axis.ticks])
    axes.set_xlim(-0.06, 1.06)
    axes.set_xlabel(axis.label, parse_math=False)
    _objective_axis(axes, found)
    if not leftmost:
        axes.set_ylabel("")


def _explained(axes: Axes, sentence: str) -> bool:
    """Write a sentence in place of a plot; return whether there was a sentence."""
    if sentence:
        axes.text(0.5, 0.5, sentence, ha="center", va="center", fontsize=9, color="#555555", wrap=True)
        axes.set_axis_off()
    return bool(sentence)


def _objective_axis(axes: Axes, found: StudyPoints) -> None:
    axes.set_ylabel(found.objective)
    if found.log:
        axes.set_yscale("log")
    axes.grid(color="#e8e8e8", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _look(finished: bool) -> dict[str, Any]:
    if finished:
        return {"marker": "o", "s": 26, "color": _BAR}
    return {"marker": "o", "s": 22, "facecolors": "white", "edgecolors": _FAINT}


def _shape(slices: int) -> tuple[int, int]:
    """Return the rows and columns of the grid of slices, with as few empty places as possible."""
    columns = min((4, 3), key=lambda width: -slices % width)
    return -(-slices // columns), columns


def _complete(found: StudyPoints) -> tuple[list[int], str]:
    """Return the points that have every parameter, and a sentence on omitted points or on why there are none."""
    if found.nothing or not found.axes:
        return [], found.nothing or "No parameter was searched."
    drawn = [i for i, p in enumerate(found.points) if all(axis.path in p.params for axis in found.axes)]
    left = len(found.points) - len(drawn)
    return drawn, f"{left} of {len(found.points)} trials lack some parameters and are not drawn here." if left else ""


# -------------------------------------------------------------------------------------------------------- plotly


def _history_plot(found: StudyPoints) -> _Plot:
    if found.nothing:
        return None, found.nothing
    figure = go.Figure()
    for finished, name in ((True, "finished"), (False, "stopped early (last score)")):
        points = [p for p in found.points if p.finished is finished]
        figure.add_scatter(
            x=[p.number for p in points], y=[p.value for p in points], mode="markers", name=name,
            marker=_marker(finished), text=[_hover(found, p) for p in points], hoverinfo="text",
        )  # fmt: skip
    numbers, values = found.best_so_far
    figure.add_scatter(x=numbers, y=values, mode="lines", name="best so far", line={"shape": "hv", "color": _BEST})
    figure.update_xaxes(title="trial")
    figure.update_yaxes(title=found.objective, type="log" if found.log else "linear")
    numbered = ", ".join(map(str, found.failed))
    return _laid_out(figure, 380), f"Failed: {numbered}." if found.failed else ""


def _importance_plot(found: StudyPoints) -> _Plot:
    shares, note = found.importance
    if not shares:
        return None, note
    names, values = list(shares)[::-1], list(shares.values())[::-1]
    texts = [f"{100 * v:.0f} %" for v in values]
    look = {"orientation": "h", "textposition": "outside", "marker_color": _BAR, "cliponaxis": False}
    figure = go.Figure(go.Bar(x=values, y=names, text=texts, **look))
    figure.add_vline(1 / len(names), line={"dash": "dot", "color": _FAINT})
    figure.update_xaxes(title="share of the variance of the score (fANOVA)", tickformat=".0%")
    return _laid_out(figure, 120 + 34 * len(names)), f"{note[0].upper()}{note[1:]}. Dotted: equal shares."


def _parallel_plot(found: StudyPoints) -> _Plot:
    drawn, sentence = _complete(found)
    if not drawn:
        return None, sentence
    points = [found.points[i] for i in drawn]
    dimensions: list[dict[str, object]] = []
    for axis in found.axes:
        ticks = axis.ticks
        dimensions.append({
            "label": axis.label, "range": [0, 1], "values": [axis.position(p.params[axis.path]) for p in points],
            "tickvals": [y for y, _ in ticks], "ticktext": [text for _, text in ticks],
        })  # fmt: skip
    if len({p.finished for p in points}) == 2:
        ends = {"tickvals": [0, 1], "ticktext": ["stopped early", "finished"]}
        dimensions.append(
            {
                "label": "status",
                "range": [0, 1],
                "values": [int(p.finished) for p in points],
            }
            | ends
        )
    dimensions.append({"label": found.objective, "values": [p.value for p in points]})
    line = {"color": found.shade[drawn], "colorscale": "Viridis", "cmin": 0, "cmax": 1.08}
    figure = _laid_out(go.Figure(go.Parcoords(dimensions=dimensions, line=line)), 440)
    figure.update_layout(margin={"l": 80, "r": 80, "t": 60, "b": 30})
    return figure, f"Dark is best. Drag along an axis to pick trials. {sentence}".strip()


def _slices_plot(found: StudyPoints) -> _Plot:
    if found.nothing or not found.axes:
        return None, found.nothing or "No parameter was searched."
    rows, columns = _shape(len(found.axes))
    figure = make_subplots(rows, columns, shared_yaxes=True, vertical_spacing=0.32 / rows)
    for i, axis in enumerate(found.axes):
        place = {"row": i // columns + 1, "col": i % columns + 1}
        for finished in (False, True):
            points = [p for p in found.points if p.finished is finished and axis.path in p.params]
            figure.add_scatter(
                x=[axis.distribution.to_internal_repr(p.params[axis.path]) for p in points],  # a choice: its number
                y=[p.value for p in points], mode="markers", marker=_marker(finished),
                text=[_hover(found, p) for p in points], hoverinfo="text", showlegend=False, **place,
            )  # fmt: skip
        scale: dict[str, object] = {"type": "log" if axis.log else "linear"}
        if axis.choices is not None:
            scale = {"tickvals": list(range(len(axis.choices))), "ticktext": axis.choices}
        figure.update_xaxes(title=axis.label, **scale, **place)
        figure.update_yaxes(type="log" if found.log else "linear", **place)
    for row in range(rows):
        figure.update_yaxes(title=found.objective, row=row + 1, col=1)
    return _laid_out(figure, 90 + 250 * rows), "Filled: finished. Hollow: stopped early, the last score."


def _laid_out(figure: go.Figure, height: int) -> go.Figure:
    return figure.update_layout(template="simple_white", height=height, margin={"l": 70, "r": 30, "t": 20, "b": 50})


def _div(figure: go.Figure) -> str:
    config = {"displaylogo": False, "responsive": True}
    return str(plotly.io.to_html(figure, full_html=False, include_plotlyjs=False, config=config))


def _marker(finished: bool) -> dict[str, Any]:
    return {"color": _BAR, "size": 8} if finished else {"color": _FAINT, "size": 7, "symbol": "circle-open"}


def _hover(found: StudyPoints, point: Point) -> str:
    values = [f"{a.label} {three_digits(point.params[a.path])}" for a in found.axes if a.path in point.params]
    return "<br>".join(map(html.escape, [f"trial {point.number}: {three_digits(point.value, keep_zeros=True)}", *values]))


def _best_values(found: StudyPoints) -> str:
    """Return the values of the best trial with their full paths, ready to be copied into --set."""
    if found.best is None:
        return ""
    lines = [f"--set {path}={value}" for path, value in found.best.params.items()]
    return f"<pre>{html.escape(chr(10).join(lines))}</pre>"
