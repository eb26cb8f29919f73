"""Figures that show cubes: contact sheet, three bands, spectral-angle maps, and the cubes nearest to train."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from hyperderm.cubes.pseudo_rgb import srgb_encode
from hyperderm.errors import CubeError
from hyperderm.metrics.evaluation.measure import Measured
from hyperderm.metrics.evaluation.scores import Comparison, CubeGroup
from hyperderm.metrics.spectral import spectral_angles
from hyperderm.reports.evaluation.look import HELD_OUT, SYNTHETIC, TRAIN, Look, Pictures, label, spread
from hyperderm.reports.figure_parts import EDGE, SMALL, TEXT, TITLE, axes_at, ending, evenly, sheet, spoken, tile, words
from hyperderm.reports.figure_style import FAINT, QUIET, WIDTH, wrapped
from hyperderm.reports.number_format import number

_BETWEEN, _MIDDLE, _COLUMNS = 0.07, 0.34, 6
_LINE = 0.135  # inches of a line of small text
_BLOCK = (WIDTH - 2 * EDGE - _MIDDLE) / 2
_HEAD = 0.46  # title of a block: two lines
ANGLE_SIDE = 32
"""Largest side in pixels at which angles are mapped: that of `neighbours.nearest_by_angle`, so that both agree."""
_SCALE = 4.0  # the colours end at this many times the angle of real cubes


def contact_sheet(found: Measured, how: Comparison, count: int = 24) -> Figure:
    """Draw synthetic cubes beside held-out ones and above train, all in pseudo-RGB at one gain, with their diagnoses.

    Args:
        found: what was measured.
        how: the comparison.
        count: the most cubes of the synthetic and of the held-out set; half as many of train.
    """
    pictures, kinds = Pictures(how), found.synthetic.diagnoses
    side = (_BLOCK - (_COLUMNS - 1) * _BETWEEN) / _COLUMNS
    made, held = spread(found.synthetic, count), spread(how.held_out, count, kinds)
    wide = 2 * _COLUMNS
    train = spread(how.train, count // 2, kinds)
    rows, below = -(-max(len(made), len(held)) // _COLUMNS), -(-len(train) // wide)
    pitch = side + 2 * _LINE + 0.1
    top = 0.28
    figure = sheet(top + 2 * _HEAD + (rows + below) * pitch + 0.05)
    words(figure, EDGE, 0.12, _said(pictures.kind), SMALL, colour=QUIET)
    right = EDGE + _BLOCK + _MIDDLE
    for look, group, chosen, left, at, columns, width in (
        (SYNTHETIC, found.synthetic, made, EDGE, top, _COLUMNS, _BLOCK),
        (HELD_OUT, how.held_out, held, right, top, _COLUMNS, _BLOCK),
        (TRAIN, how.train, train, EDGE, top + _HEAD + rows * pitch, wide, 2 * _BLOCK),
    ):
        _title(figure, look, group, (left, at), width, f" ({len(chosen)} of {len(group)})")
        for k, row in enumerate(chosen):
            gap = (WIDTH - 2 * EDGE - wide * side) / (wide - 1) if columns == wide else _BETWEEN
            x, y = left + k % columns * (side + gap), at + _HEAD + k // columns * pitch
            tile(figure, x, y, side, pictures.of(group, row))
            words(figure, x, y + side + 0.03, wrapped(spoken(group.diagnoses[row]), side, SMALL, 2), SMALL, colour=QUIET)
    return figure


def three_bands(found: Measured, how: Comparison, count: int = 6) -> Figure:
    """Draw the shortest, the middle and the longest band of cubes in grey, each band at its common range.

    Args:
        found: what was measured.
        how: the comparison.
        count: the most cubes of each set; they are among those of `contact_sheet` or lie between them.
    """
    bands = sorted({0, (len(how.wavelengths) - 1) // 2, len(how.wavelengths) - 1})
    names = 0.6
    block = (WIDTH - 2 * EDGE - names - _MIDDLE) / 2
    side = (block - (count - 1) * _BETWEEN) / count
    top, pitch = _HEAD + 0.06, side + _BETWEEN
    figure = sheet(top + len(bands) * pitch + 2 * _LINE + 0.1)
    for look, group, left in ((SYNTHETIC, found.synthetic, EDGE + names), (HELD_OUT, how.held_out, WIDTH - EDGE - block)):
        chosen = spread(group, count, found.synthetic.diagnoses)
        _title(figure, look, group, (left, 0.06), block, f" ({len(chosen)} of {len(group)})")
        for k, row in enumerate(chosen):
            x = left + k * (side + _BETWEEN)
            for i, band in enumerate(bands):
                grey = (group.cubes[row, band].numpy() - how.low[band]) / (how.high[band] - how.low[band])
                shown = srgb_encode(np.clip(grey, 0, 1))
                tile(figure, x, top + i * pitch, side, shown, cmap="gray", vmin=0, vmax=1)
            y = top + len(bands) * pitch - 0.03
            words(figure, x, y, wrapped(spoken(group.diagnoses[row]), side, SMALL, 2), SMALL, colour=QUIET)
    for i, band in enumerate(bands):
        words(figure, EDGE, top + i * pitch + side / 2 - 0.07, f"{how.wavelengths[band]:.0f} nm", bold=True)
    return figure


def angle_map(x: Tensor, y: Tensor) -> NDArray[np.float64]:
    """Return the spectral angle in rad at each pixel of two cubes (B, S, S), at most `ANGLE_SIDE` pixels a side.

    Returns:
        (s, s), s = min(S, `ANGLE_SIDE`); NaN where one of the spectra is zero.
    """
    small = [_reduced(cube) for cube in (x, y)]
    bands, side = small[0].shape[:2]
    pixels = [cube.flatten(1).T.reshape(side * side, bands, 1, 1) for cube in small]  # each pixel as a cube of its own
    return spectral_angles(*pixels).reshape(side, side)


def _reduced(cube: Tensor) -> Tensor:
    if cube.shape[-1] <= ANGLE_SIDE:
        return cube.float()
    return interpolate(cube[None].float(), (ANGLE_SIDE, ANGLE_SIDE), mode="area")[0]


def angle_maps(found: Measured, how: Comparison, count: int = 6) -> Figure:
    """Draw synthetic cubes, their nearest held-out cubes by angle, and the map of the spectral angle between both.

    The cubes are evenly spread from the nearest to the furthest. The colours end at `_SCALE` times the mean angle of real
    cubes, so that several sets share their scale.

    Args:
        found: what was measured.
        how: the comparison.
        count: the most cubes.
    """
    pictures, (angles, partners) = Pictures(how), found.nearest[how.held_out.name].by_angle
    chosen = evenly(np.argsort(angles, kind="stable").tolist(), count)
    maps = [angle_map(found.synthetic.cubes[row], how.held_out.cubes[partners[row]]) for row in chosen]
    real, most = _scale(found, maps)
    colours = colormaps["viridis"].with_extremes(bad="#d9d9d9")
    names, bar = 0.85, 0.95
    side = min(1.5, (WIDTH - 2 * EDGE - names - bar - (count - 1) * 0.12) / count)
    pitch = side + 2 * _LINE + 0.1
    top = 0.62
    figure = sheet(top + 3 * pitch)
    _heads(figure, found, f"From the nearest cube to the furthest. {_said(pictures.kind)}")
    _row_names(figure, ("synthetic", "nearest\nheld-out", "spectral\nangle"), top, pitch)
    for k, row in enumerate(chosen):
        x, partner = EDGE + names + k * (side + 0.12), int(partners[row])
        for i, (group, at) in enumerate(((found.synthetic, row), (how.held_out, partner))):
            tile(figure, x, top + i * pitch, side, pictures.of(group, at))
            text = f"{ending(group.ids[at], side, SMALL, 1)}\n{wrapped(spoken(group.diagnoses[at]), side, SMALL, 1)}"
            words(figure, x, top + 0.03 + i * pitch + side, text, SMALL, colour=QUIET)
        tile(figure, x, top + 2 * pitch, side, maps[k], cmap=colours, vmin=0, vmax=most)
        masked = int(np.isnan(maps[k]).sum())
        text = f"mean {_rad(float(angles[row]))}" + f"\n{masked} px without spectrum" * (masked > 0)
        words(figure, x, top + 0.03 + 2 * pitch + side, text, SMALL)
    _colour_bar(figure, (EDGE + names + len(chosen) * (side + 0.12) + 0.1, top + 2 * pitch, side), colours, most, real)
    return figure


def _scale(found: Measured, maps: Sequence[NDArray[np.float64]]) -> tuple[float | None, float]:
    """Return the mean angle of real cubes, None if it could not be had, and the angle at which the colours end."""
    score = found.scores.get("held_out/nearest/sam_nearest")
    if score is not None and score.real:
        return score.real, _SCALE * score.real
    values = np.concatenate([each[np.isfinite(each)] for each in maps])
    return None, float(np.quantile(values, 0.99)) if len(values) and values.max() > 0 else 0.1


def _colour_bar(
    figure: Figure, place: tuple[float, float, float], colours: Colormap, most: float, real: float | None
) -> None:
    left, top, height = place
    axes = axes_at(figure, left, top, 0.13, height)
    bar = figure.colorbar(ScalarMappable(Normalize(0, most), colours), cax=axes, extend="max", extendfrac=0.06)
    bar.outline.set_linewidth(0.5)
    ticks = np.linspace(0, most, 5)
    bar.set_ticks(ticks.tolist(), labels=[number(tick, 3) if tick else "0" for tick in ticks])
    axes.tick_params(labelsize=SMALL, colors=QUIET, color=FAINT, length=2)
    words(figure, left, top - 0.28, "angle (rad)", SMALL)
    if real is not None:
        axes.plot([0, 1], [real, real], color="white", linewidth=1.6, transform=axes.get_yaxis_transform())
        words(figure, left, top + height + 0.08, f"white: real,\nmean {number(real, 3)}", SMALL)


def nearest_pairs(found: Measured, how: Comparison, count: int = 8) -> Figure:
    """Draw the synthetic cubes nearest to train by angle, nearest first, with their nearest train and held-out cubes.

    Args:
        found: what was measured.
        how: the comparison.
        count: the most cubes.
    """
    galleries = ((TRAIN, how.train), (HELD_OUT, how.held_out))
    try:
        near = {look: found.nearest[group.name].by_angle for look, group in galleries}
    except (CubeError, KeyError) as error:
        figure = sheet(0.6)
        words(figure, EDGE, 0.2, wrapped(f"No nearest cubes: {error}", WIDTH - 2 * EDGE, TEXT, 2))
        return figure
    pictures, angles = Pictures(how), near[TRAIN][0]
    chosen = np.argsort(angles, kind="stable")[:count].tolist()
    names = 0.85
    side = (WIDTH - 2 * EDGE - names - (count - 1) * 0.12) / count
    pitch, top = side + 4 * _LINE + 0.14, 0.62
    figure = sheet(top + 3 * pitch)
    _heads(figure, found, _yardstick(found, pictures))
    _row_names(figure, ("synthetic", "nearest\ntrain", "nearest\nheld-out"), top, pitch)
    for k, row in enumerate(chosen):
        x = EDGE + names + k * (side + 0.12)
        _named(figure, pictures, (found.synthetic, row), (x, top), side, "")
        for i, (look, group) in enumerate(galleries, 1):
            partner, angle = int(near[look][1][row]), float(near[look][0][row])
            _named(figure, pictures, (group, partner), (x, top + i * pitch), side, _rad(angle))
    return figure


def _yardstick(found: Measured, pictures: Pictures) -> str:
    score = found.scores.get("train/nearest/sam_nearest")
    shared = set(found.synthetic.groups) & set(pictures.how.train.groups)
    said = ["Nearest to train first"]
    if score is not None and score.real is not None:
        said.append(f"held-out cubes lie {_rad(score.real)} from their nearest train cube on average")
    if shared:
        said.append("a cube may be paired with the lesion that it was made from")
    return f"{'; '.join(said)}. {_said(pictures.kind)}"


def _named(
    figure: Figure, pictures: Pictures, cube: tuple[CubeGroup, int], place: tuple[float, float], side: float, angle: str
) -> None:
    """Draw a cube with its angle, its id and its diagnosis below."""
    (group, row), (left, top) = cube, place
    tile(figure, left, top, side, pictures.of(group, row))
    y = top + side + 0.03
    if angle:
        words(figure, left, y, angle, SMALL, bold=True)
        y += _LINE
    lines = ending(group.ids[row], side, SMALL, 2), wrapped(spoken(group.diagnoses[row]), side, SMALL, 1)
    words(figure, left, y, "\n".join(lines), SMALL, colour=QUIET)


def _heads(figure: Figure, found: Measured, text: str) -> None:
    """Write the name of the synthetic set, and what a reader must know below it."""
    name = wrapped(label(SYNTHETIC, found.synthetic.name), WIDTH - 2 * EDGE, TITLE, 1, "bold")
    words(figure, EDGE, 0.1, name, TITLE, bold=True, colour=SYNTHETIC.colour)
    words(figure, EDGE, 0.32, wrapped(text, WIDTH - 2 * EDGE, SMALL, 1), SMALL, colour=QUIET)


def _row_names(figure: Figure, titles: Sequence[str], top: float, pitch: float) -> None:
    for i, title in enumerate(titles):
        words(figure, EDGE, top + i * pitch, title, TEXT, bold=True)


def _title(figure: Figure, look: Look, group: CubeGroup, place: tuple[float, float], width: float, count: str) -> None:
    """Write the name of a block of tiles in at most two lines that end `_HEAD` below, in the colour of its role."""
    text = wrapped(label(look, group.name) + count, width, TITLE, 2, "bold")
    top = place[1] + (0.06 if "\n" in text else 0.22)
    words(figure, place[0], top, text, TITLE, bold=True, colour=look.colour)


def _said(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _rad(angle: float) -> str:
    return f"{number(angle, 4 if angle < 0.01 else 3)} rad"
