"""Write the report of an unmixing to a folder: one page with its figures, Markdown, tables, and all abundance maps."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hyperderm.reports.report_folder import TEXT, write_folder, write_pages
from hyperderm.reports.unmixing.known import KNOWN, KNOWN_PICTURE
from hyperderm.reports.unmixing.sections import ABUNDANCES, ENDMEMBERS, LESIONS, content, csv_files
from hyperderm.studies.unmixing import Keep, Unmixing
from hyperderm.training.run_folder import PAGE

FILES = (PAGE, TEXT, ENDMEMBERS, LESIONS, KNOWN, ABUNDANCES)
DRAWN = (f"{KNOWN_PICTURE}.png", "errors.png", "endmembers.png", "simplex.png", "maps.png")


def write_unmixing(folder: Path, unmix: Callable[[Keep], Unmixing], facts: Mapping[str, str]) -> tuple[Unmixing, list[Path]]:
    """Unmix a store, and write the report to `folder` in the place of an older one; return both the result and the files.

    Args:
        folder: the folder of the report.
        unmix: unmixes the store, giving every lesion's abundances to the function that it is called with.
        facts: name to value of what made the report.

    Raises:
        StudyError: the folder holds something other than a report, or cannot be written.
        HyperdermError: whatever `unmix` raises; an older report then stays.
    """
    results: list[Unmixing] = []

    def fill(staging: Path) -> None:
        with _Maps(staging / ABUNDANCES) as maps:
            found = unmix(maps.keep)
        write_pages(staging, content(found, facts), csv_files(found))
        results.append(found)

    write_folder(folder, fill, {*FILES, *DRAWN})
    return results[0], [path for name in (*FILES, *DRAWN) if (path := folder / name).exists()]


class _Maps:
    """The file of abundance maps, written as lesions come."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> "_Maps":
        return self

    def keep(self, lesion_id: str, abundances: NDArray[np.float32]) -> None:
        """Append a lesion's abundances (H, W, R); all have one shape."""
        values = pa.array(np.ascontiguousarray(abundances).reshape(-1), pa.float32())
        kind = pa.fixed_shape_tensor(pa.float32(), abundances.shape)
        maps = pa.ExtensionArray.from_storage(kind, pa.FixedSizeListArray.from_arrays(values, abundances.size))
        table = pa.table({"lesion_id": pa.array([lesion_id], pa.string()), "abundances": maps})
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, table.schema)
        self._writer.write_table(table)

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()
