"""The tables of an evaluation, for the page and as CSV."""

from collections.abc import Iterable, Iterator, Sequence

from hyperderm.metrics.as_published import METRICS as PUBLISHED_METRICS
from hyperderm.metrics.as_published import PUBLISHED
from hyperderm.metrics.description import Metric
from hyperderm.metrics.evaluation.expectations import CANNOT, ordering_table
from hyperderm.metrics.evaluation.orderings import FRESH, SETS
from hyperderm.metrics.evaluation.scores import Score
from hyperderm.reports.document import Cell, Column, Notes, Row, Table, Tone
from hyperderm.reports.evaluation.words import amount
from hyperderm.reports.table_files import csv_text
from hyperderm.studies.evaluation import Evaluated, Evaluation, where

SCORES, BANDS, NEAREST, COPIES = "scores.csv", "bands.csv", "nearest.csv", "copies.csv"
TABLES = (SCORES, BANDS, NEAREST, COPIES)
FAMILIES = {
    "mean_spectra": "Mean spectra, against held-out cubes",
    "level": "Single cubes, beside held-out cubes",
    "held_out/nearest": "Pairs: each synthetic cube with the nearest held-out cube",
    "train/nearest": "Pairs: each synthetic cube with the nearest train cube (a copier shines here)",
    "held_out/spectral": "Sets against held-out cubes: spectral statistics",
    "held_out/inception": "Sets against held-out cubes: features of Inception-v3",
    "held_out/lite0": "Sets against held-out cubes: features of EfficientNet-Lite0",
    "train/spectral": "Sets against train cubes (a copier shines here): spectral statistics",
    "train/inception": "Sets against train cubes (a copier shines here): features of Inception-v3",
    "train/lite0": "Sets against train cubes (a copier shines here): features of EfficientNet-Lite0",
}
SHAPES = {
    "pair": "cubes (N, B, H, W) and (N, B, H, W) → (N,)",
    "level": "cubes (N, B, H, W) → (N,)",
    "set": "features (n, d) and (m, d) → a number",
}
"""What a metric of each kind takes and gives; the docstring of its function says more."""
MARKS: dict[str, tuple[str, Tone]] = {
    "sees": ("sees", "strong"),
    "does not see": ("–", "quiet"),
    "takes for better": ("better", "bad"),
    CANNOT: ("cannot", "quiet"),
}
MOST_COPIES = 50
"""Number of copies that the page lists; copies.csv holds all."""


def score_table(found: Evaluation) -> Table:
    """Return all scores, a column a set, with the range of real cubes; empty if nothing could be measured."""
    notes = Notes()
    rows: list[Row] = []
    for family, title in FAMILIES.items():
        keys = _keys(found.sets, f"{family}/")
        if keys:
            rows.append(Row((Cell(title),)))
            rows += [_row(key, found.sets, notes) for key in keys]
    columns = (
        Column("metric", words=True),
        Column("wanted"),
        Column("real cubes"),
        *(Column(each.made.name) for each in found.sets),
        Column("cubes"),
    )
    caption = (
        "Below each value its 95 % interval. Real cubes: the value that real cubes have in the place of the synthetic ones, "
        "and the range of 95 % of such values at the same number of cubes; the value is judged, not its interval. "
        "Distances of sets at different numbers of cubes cannot be compared."
    )
    return Table(caption, columns, tuple(rows), notes.listed)


def _keys(sets: Sequence[Evaluated], start: str) -> list[str]:
    """Return the keys that any set has, also where it was left out, in the order in which they were measured."""
    every = [score.key for each in sets for score in each.measured.scores.found]
    every += [left.key for each in sets for left in each.measured.scores.left]
    return list(dict.fromkeys(key for key in every if key.startswith(start)))


def _row(key: str, sets: Sequence[Evaluated], notes: Notes) -> Row:
    scores = [each.measured.scores.get(key) for each in sets]
    known = next((score for score in scores if score), None)
    if known is None:
        why = next(left.why for each in sets for left in each.measured.scores.left if left.key == key)
        return Row((Cell(key.rpartition("/")[2]), Cell(""), Cell(""), *(notes.missing(why) for _ in sets), Cell("")))
    metric = known.metric
    unit = f", {metric.unit}" if metric.unit else ""
    alike = len({(score.size, score.real_low) for score in scores if score}) == 1
    real = _real(known) if alike else Cell("", "differs with the number of cubes")
    cells = [_value(score, each, key, notes, alone=alike) for score, each in zip(scores, sets, strict=True)]
    size = Cell(str(known.size) if alike else "")
    return Row((Cell(metric.title + unit, metric.key), Cell(metric.better), real, *cells, size))


def _real(score: Score) -> Cell:
    if score.real is None or score.real_low is None or score.real_high is None:
        return Cell("not told", tone="quiet")
    return Cell(amount(score.real), f"[{amount(score.real_low)}, {amount(score.real_high)}]")


def _value(score: Score | None, each: Evaluated, key: str, notes: Notes, alone: bool) -> Cell:
    if score is None:
        return notes.missing(next((left.why for left in each.measured.scores.left if left.key == key), ""))
    tones: dict[str, Tone] = {"as real": "good", "better than real": "strong", "not told": "quiet"}
    span = f"[{amount(score.low)}, {amount(score.high)}] " if score.low is not None and score.high is not None else ""
    beside = "" if alone else f"; {score.size} cubes, real {_real(score).sub or 'not told'}"
    return Cell(
        amount(score.value), f"{span}{score.verdict}{beside}", notes.mark(score.note), tones.get(score.verdict, "bad")
    )


def copies_table(each: Evaluated) -> Table | None:
    """Return the cubes that the audit names, each with its lesion; None if there are none."""
    if not each.audit or not each.audit.copies:
        return None
    rows = [
        Row((Cell(each.made.cubes.ids[c.position]), Cell(c.lesion), Cell(f"{c.similarity:.3f}"), Cell(_chance(c.p))))
        for c in each.audit.copies[:MOST_COPIES]
    ]
    more = len(each.audit.copies) - MOST_COPIES
    caption = f"Copies in {each.made.name}" + (f"; {more} more are in {COPIES}" if more > 0 else "")
    columns = (Column("cube", True), Column("copy of the train lesion", True), Column("similarity"), Column("chance"))
    return Table(caption, columns, tuple(rows))


def published_table(found: Evaluation) -> Table:
    """Return the seeds' metrics in the seeds' way, with the numbers that the seeds printed."""
    rows = []
    for metric in PUBLISHED_METRICS:
        values = [each.measured.published.get(metric.key) for each in found.sets]
        real = found.published_real.get(metric.key)
        stem = metric.key.removesuffix("_scaled").removesuffix("_unscaled")
        printed = [f"{one.model} {one.value:g}" for one in PUBLISHED if one.metric == stem]
        rows.append(
            Row(
                (
                    Cell(metric.title, metric.key),
                    Cell("" if real is None else amount(real)),
                    *(Cell("not attainable" if v is None else amount(v), tone="quiet" if v is None else "") for v in values),
                    Cell(metric.unit),
                    Cell(", ".join(printed)),
                    Cell(metric.cannot),
                )
            )
        )
    columns = (
        *(Column("metric", words=True), Column("train cubes in their place")),
        *(Column(each.made.name) for each in found.sets),
        *(Column("unit"), Column("printed by the seed", words=True), Column("what is wrong with it", words=True)),
    )
    return Table(
        "Unrelated lesions are compared pixel by pixel, at another scale: no measure of a generator.", columns, tuple(rows)
    )


def metrics_table(metrics: Iterable[Metric]) -> Table:
    """Return the description of every metric, with the shapes it takes and the function that computes it."""
    rows = tuple(
        Row(
            (
                Cell(metric.title, metric.key), Cell(metric.formula), Cell(metric.unit or "1"), Cell(_span(metric)),
                Cell(metric.better), Cell(SHAPES[metric.kind]), Cell(metric.source), Cell(metric.cannot),
                Cell(where(metric)),
            )
        )
        for metric in metrics
    )  # fmt: skip
    titles = ("metric", "formula", "unit", "range", "good", "shapes", "source", "cannot see", "function")
    return Table("", tuple(Column(title, words=title not in ("unit", "range", "good")) for title in titles), rows)


def orderings_table() -> Table:
    """Return what every metric says of sets whose answer is known, as it was measured on phantom lesions."""
    told = {(each.metric, each.set): each.sight for each in ordering_table()}
    metrics = dict.fromkeys(metric for metric, _ in told)
    rows = tuple(
        Row((Cell(metric), *(Cell(*_mark(told.get((metric, name)))) for name in SETS if name != FRESH)))
        for metric in metrics
    )
    return Table("", (Column("score", words=True), *(Column(name) for name in SETS if name != FRESH)), rows)


def _mark(sight: str | None) -> tuple[str, str, str, Tone]:
    text, tone = MARKS[sight] if sight else ("", "")
    return text, "", "", tone


def bands_table(found: Evaluation) -> Table:
    """Return for each band the mean relative error to the nearest held-out cube of every set."""
    rows = tuple(
        Row((Cell(f"{nm:g}"), *(Cell(f"{each.measured.bands[:, band].mean():.3f}") for each in found.sets)))
        for band, nm in enumerate(found.how.wavelengths)
    )
    columns = (Column("nm", words=True), *(Column(each.made.name) for each in found.sets))
    return Table(
        "Root mean square error to the nearest held-out cube by spectral angle, over the band's mean; mean over cubes.",
        columns,
        rows,
    )


def csv_files(found: Evaluation) -> dict[str, str]:
    """Return the tables as CSV by file name, at full precision."""
    return {
        SCORES: csv_text(
            ("set", "key", "value", "low", "high", "cubes", "real", "real_low", "real_high", "verdict", "loss", "note"),
            (
                (
                    each.made.name,
                    s.key,
                    s.value,
                    s.low,
                    s.high,
                    s.size,
                    s.real,
                    s.real_low,
                    s.real_high,
                    s.verdict,
                    s.loss,
                    s.note,
                )
                for each in found.sets
                for s in each.measured.scores.found
            ),
        ),
        BANDS: csv_text(
            ("set", "nm", "relative_rmse"),
            (
                (each.made.name, nm, each.measured.bands[:, band].mean())
                for each in found.sets
                for band, nm in enumerate(found.how.wavelengths)
            ),
        ),
        NEAREST: csv_text(
            ("set", "cube", "gallery", "lesion_by_angle", "angle_rad", "lesion_by_thumbnail", "thumbnail_distance"),
            _nearest(found),
        ),
        COPIES: csv_text(
            ("set", "cube", "lesion", "similarity", "chance"),
            (
                (each.made.name, each.made.cubes.ids[copy.position], copy.lesion, copy.similarity, copy.p)
                for each in found.sets
                for copy in (each.audit.copies if each.audit else ())
            ),
        ),
    }


def _nearest(found: Evaluation) -> Iterator[tuple[object, ...]]:
    for each in found.sets:
        for gallery, search in each.measured.nearest.items():
            (angles, by_angle), (distances, by_thumbnail) = search.by_angle, search.by_thumbnail
            for i, cube in enumerate(each.made.cubes.ids):
                ids = search.gallery.ids
                yield each.made.name, cube, gallery, ids[by_angle[i]], angles[i], ids[by_thumbnail[i]], distances[i]


def _span(metric: Metric) -> str:
    low, high = metric.span
    return f"{'−∞' if low is None else f'{low:.4g}'} … {'∞' if high is None else f'{high:.4g}'}"


def _chance(p: float | None) -> str:
    return "not known" if p is None else f"{p:.1e}"
