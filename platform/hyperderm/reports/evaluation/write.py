"""Write the report of an evaluation to its folder: page, Markdown, numbers as JSON and CSV, figures."""

import json
from pathlib import Path

from hyperderm.reports.evaluation.sections import content
from hyperderm.reports.evaluation.tables import TABLES, csv_files
from hyperderm.reports.report_folder import TEXT, write_folder, write_pages
from hyperderm.studies.evaluation import Evaluation
from hyperderm.training.run_folder import PAGE

NUMBERS = "metrics.json"
FILES = (PAGE, TEXT, NUMBERS, *TABLES)


def write_report(folder: Path, found: Evaluation) -> list[Path]:
    """Write the report to `folder`, replacing an older report there, and return its files; files of others stay.

    Raises:
        StudyError: the folder holds something other than a report, or cannot be written.
    """
    whole = content(found)
    numbers = json.dumps(found.to_dict(), indent=1, allow_nan=False) + "\n"
    figures = {f"{drawing.name}.png" for section in whole.sections for drawing in section.drawings}

    def fill(staging: Path) -> None:
        write_pages(staging, whole, {**csv_files(found), NUMBERS: numbers})

    write_folder(folder, fill, {*FILES, *figures})
    return [folder / name for name in sorted({*FILES, *figures})]
