"""Write the description of a store to a folder: one page with its figures, Markdown, tables as CSV."""

from collections.abc import Mapping
from pathlib import Path

from hyperderm.reports.description.sections import content
from hyperderm.reports.description.tables import TABLES, csv_files
from hyperderm.reports.report_folder import TEXT, write_folder, write_pages
from hyperderm.studies.description import Description
from hyperderm.training.run_folder import PAGE

FILES = (PAGE, TEXT, *TABLES)


def write_description(folder: Path, found: Description, facts: Mapping[str, str]) -> list[Path]:
    """Write the report to `folder`, replacing an older report there, and return its files; files of others stay.

    Args:
        folder: the folder of the report.
        found: the description.
        facts: name to value of what made the report.

    Raises:
        StudyError: the folder holds something other than a report, or cannot be written.
    """
    whole = content(found, facts)
    drawn = {f"{drawing.name}.png" for section in whole.sections for drawing in section.drawings}

    def fill(staging: Path) -> None:
        write_pages(staging, whole, csv_files(found))

    write_folder(folder, fill, {*FILES, *drawn})
    return [folder / name for name in sorted({*FILES, *drawn})]
