"""Where the words of a figure stand: none may leave the figure or cover another."""

from itertools import combinations

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text


def texts(figure):
    """Every visible text with its box in pixels."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()
    found = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]
    return [(t, t.get_window_extent(renderer)) for t in found if t not in out_of_view(figure)]


def out_of_view(figure):
    """Labels of ticks beyond the axes' limits: matplotlib makes them and never draws them."""
    found = []
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            near = 1e-9 * (high - low)
            for tick in axis.get_major_ticks():
                if not low - near <= tick.get_loc() <= high + near:
                    found += [tick.label1, tick.label2]
    return found


def check_words(figure):
    width, height = figure.get_size_inches() * figure.dpi
    shown = texts(figure)
    for text, box in shown:
        assert box.x0 >= -1, text
        assert box.y0 >= -1, text
        assert box.x1 <= width + 1, text
        assert box.y1 <= height + 1, text
    for (a, first), (b, second) in combinations(shown, 2):
        wide = min(first.x1, second.x1) - max(first.x0, second.x0)
        high = min(first.y1, second.y1) - max(first.y0, second.y0)
        assert not (wide > 1.5 and high > 1.5), (a, b)
