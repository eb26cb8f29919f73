"""The tables of a description, for the page and as CSV at full precision."""

from collections.abc import Iterator

from hyperderm.reports.document import Cell, Column, Notes, Row, Table
from hyperderm.reports.figure_parts import spoken
from hyperderm.reports.number_format import number, percent
from hyperderm.reports.table_files import csv_text
from hyperderm.studies.description import ALL, QUANTITIES, REGIONS, Count, Description, Size

COUNTS, SIZES, BANDS, SPECTRA, FOLDS, ASIDE = "counts.csv", "sizes.csv", "bands.csv", "spectra.csv", "folds.csv", "aside.csv"
TABLES = (COUNTS, SIZES, BANDS, SPECTRA, FOLDS, ASIDE)
BY_DIAGNOSIS = ("lesion_area", "mask_share")
"""The quantities that the page gives for each diagnosis; sizes.csv gives all."""


def counts_table(found: Description) -> Table:
    """Return lesions, images, groups and masks of every diagnosis."""
    total = found.total
    rows = [
        Row((Cell(spoken(name)), Cell(str(each.lesions), percent(each.lesions / total.lesions)), *_rest(each)))
        for name, each in found.counts.items()
    ]
    rows.append(Row((Cell("all", tone="strong"), Cell(str(total.lesions), tone="strong"), *_rest(total))))
    titles = ("lesions", "source images", "groups", "with a mask")
    caption = "An image or group with several diagnoses counts at each of them, and once at the bottom."
    return Table(caption, (Column("diagnosis", words=True), *map(Column, titles)), tuple(rows))


def _rest(count: Count) -> list[Cell]:
    return [Cell(str(each)) for each in (count.images, count.groups, count.masks)]


def sizes_table(found: Description) -> Table:
    """Return the smallest, middle and largest value of every quantity, of some of them for each diagnosis."""
    rows = []
    for size in found.sizes:
        if size.diagnosis == ALL or (size.quantity in BY_DIAGNOSIS and len(found.kinds) > 1):
            title = QUANTITIES[size.quantity] if size.diagnosis == ALL else f"— {spoken(size.diagnosis)}"
            values = (_amount(size, value) for value in (size.low, size.median, size.high))
            rows.append(Row((Cell(title), *map(Cell, values), Cell(str(size.count)))))
    titles = ("smallest", "median", "largest", "lesions")
    return Table("", (Column("quantity", words=True), *map(Column, titles)), tuple(rows))


def _amount(size: Size, value: float) -> str:
    return percent(value) if size.quantity in ("mask_share", "mask_stored") else f"{value:.0f}"


def bands_table(found: Description) -> Table:
    """Return the values of every band over all pixels of all cubes."""
    bands = found.bands
    rows = tuple(
        Row(
            (
                Cell(f"{nm:g}"),
                *(Cell(number(value)) for value in (bands.low[k], *bands.quantiles[k], bands.high[k])),
                Cell(str(bands.negative[k]), share(int(bands.negative[k]), int(bands.finite[k]))),
                Cell(str(bands.broken[k]), tone="bad" if bands.broken[k] else ""),
            )
        )
        for k, nm in enumerate(found.store.manifest.wavelengths_nm)
    )
    titles = ("smallest", "0.5 %", "median", "99.5 %", "largest", "below 0", "not finite")
    return Table("Over all pixels of all cubes.", (Column("nm", words=True), *map(Column, titles)), rows)


def spectra_table(found: Description) -> Table:
    """Return mean and standard deviation of the spectra of all lesions, by region."""
    notes = Notes()
    rows = tuple(
        Row((Cell(f"{nm:g}"), *(_moment(found, region, k, notes) for region in found.regions)))
        for k, nm in enumerate(found.store.manifest.wavelengths_nm)
    )
    columns = (Column("nm", words=True), *(Column(f"{r}, {found.spectra[ALL, r].count} lesions") for r in found.regions))
    caption = (
        f"All lesions: mean of their mean spectra, and below it the standard deviation between lesions. {SPECTRA} holds "
        "every diagnosis."
    )
    return Table(caption, columns, rows, notes.listed)


def _moment(found: Description, region: str, band: int, notes: Notes) -> Cell:
    moments = found.spectra[ALL, region]
    if moments.count < 2:
        return Cell(number(moments.mean[band]), mark=notes.mark("one lesion has no spread between lesions"))
    return Cell(number(moments.mean[band]), f"± {number(moments.sd[band])}")


def folds_table(found: Description) -> Table:
    """Return the lesions of every fold by diagnosis, and its groups."""
    rows = tuple(
        Row(
            (
                Cell(str(fold.number)),
                Cell(str(fold.groups)),
                *(Cell(str(fold.lesions[name]), tone="" if fold.lesions[name] else "bad") for name in found.kinds),
                Cell(str(sum(fold.lesions.values()))),
            )
        )
        for fold in found.folds
    )
    columns = (Column("fold", words=True), Column("groups"), *(Column(spoken(name)) for name in found.kinds), Column("all"))
    return Table("Lesions by diagnosis.", columns, rows)


def aside_table(found: Description, most: int) -> Table:
    """Return the first files that the ingest set aside, with the reasons."""
    aside = found.store.manifest.set_aside
    caption = f"{len(aside)} in all" + (f"; {len(aside) - most} more are in {ASIDE}." if len(aside) > most else ".")
    rows = tuple(Row((Cell(one.file), Cell(one.reason))) for one in aside[:most])
    return Table(caption, (Column("file", words=True), Column("why it is not used", words=True)), rows)


def share(count: int, of: int) -> str:
    """Write a share in percent; one that is not 0 is never written as 0."""
    return "< 0.1 %" if 0 < count < 0.0005 * of else percent(count / max(1, of))


def csv_files(found: Description) -> dict[str, str]:
    """Return the tables as CSV by file name; an empty cell means that there is no such number."""
    nm, bands = found.store.manifest.wavelengths_nm, found.bands
    return {
        COUNTS: csv_text(
            ("diagnosis", "lesions", "images", "groups", "masks"),
            ((name, c.lesions, c.images, c.groups, c.masks) for name, c in (*found.counts.items(), (ALL, found.total))),
        ),
        SIZES: csv_text(
            ("quantity", "title", "diagnosis", "lesions", "smallest", "median", "largest"),
            ((s.quantity, QUANTITIES[s.quantity], s.diagnosis, s.count, s.low, s.median, s.high) for s in found.sizes),
        ),
        BANDS: csv_text(
            ("nm", "finite", "not_finite", "below_0", "smallest", "q0.005", "median", "q0.995", "largest"),
            (
                (
                    nm[k],
                    bands.finite[k],
                    bands.broken[k],
                    bands.negative[k],
                    bands.low[k],
                    *bands.quantiles[k],
                    bands.high[k],
                )
                for k in range(len(nm))
            ),
        ),
        SPECTRA: csv_text(("diagnosis", "region", "lesions", "nm", "mean", "sd_between_lesions"), _spectra(found)),
        FOLDS: csv_text(
            ("fold", "groups", "diagnosis", "lesions"),
            ((fold.number, fold.groups, name, n) for fold in found.folds for name, n in fold.lesions.items()),
        ),
        ASIDE: csv_text(("file", "reason"), ((one.file, one.reason) for one in found.store.manifest.set_aside)),
    }


def _spectra(found: Description) -> Iterator[tuple[object, ...]]:
    for name in (ALL, *found.kinds):
        for region in REGIONS:
            moments = found.spectra[name, region]
            if moments.count:
                for k, nm in enumerate(found.store.manifest.wavelengths_nm):
                    yield name, region, moments.count, nm, moments.mean[k], moments.sd[k]
