"""Tables as text files."""

import csv
import io
from collections.abc import Iterable, Sequence


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table as CSV; None and NaN become empty cells."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(
        ["" if value is None or value != value else value for value in row] for row in rows
    )  # NaN is not itself
    return text.getvalue()
