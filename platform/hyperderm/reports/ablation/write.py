"""Write a report as one folder, either whole or not at all; an older report stays until the new one is complete."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from hyperderm.durable import sync
from hyperderm.errors import StudyError
from hyperderm.reports.ablation.answer import decision_sentences
from hyperderm.reports.ablation.document import Content, image, markdown, page
from hyperderm.reports.ablation.facts import REAL, ReportFacts
from hyperderm.reports.ablation.sections import FIGURES, content
from hyperderm.reports.ablation.tables import TABLES, csv_files
from hyperderm.statistics.ablation_results import Analysis
from hyperderm.statistics.predictions import Predictions
from hyperderm.training.run_folder import PAGE, PREDICTIONS

TEXT, ANALYSIS = "report.md", "analysis.json"


def write_report(folder: Path, predictions: Predictions, analysis: Analysis, facts: ReportFacts) -> None:
    """Write the report of one ablation to `folder`, replacing an older report there.

    Files that do not belong to a report stay. The same arguments give the same bytes.

    Args:
        folder: a folder that is absent, empty or holds an older report; its parents are created.
        predictions: the input of `analysis`; written beside the report so that every number can be recomputed.
        analysis: the numbers of the report.
        facts: all facts other than the numbers.

    Raises:
        StudyError: `facts` do not describe an arm or model of `analysis`, or the folder holds something else or cannot be
            written. The older report is then unchanged.
    """
    _check(folder, analysis, facts)
    whole = content(analysis, facts, decision_sentences(analysis))
    staging, old = (folder.with_name(f".{folder.name}.{state}") for state in ("partial", "old"))
    try:
        _settle(folder, staging, old)
        staging.mkdir(parents=True)
        predictions.to_parquet(staging / PREDICTIONS)
        _write(staging, whole, csv_files(analysis, facts), analysis)
        _keep_others(folder, staging)
        sync(staging)
        _swap(folder, staging, old)
    except OSError as error:
        raise StudyError(
            f"the report cannot be written to {folder}: {error}", "Check the place, its space and rights, and run it again."
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _check(folder: Path, analysis: Analysis, facts: ReportFacts) -> None:
    for kind, found, known in (("arm", analysis.arm_names, facts.arms), ("model", analysis.models, facts.models)):
        unknown = [name for name in found if name not in known]
        if unknown:
            raise StudyError(
                f"the predictions hold {kind} {unknown[0]!r}, which the grid does not describe",
                f"Known: {', '.join(known)}. Give the report the predictions of its own grid.",
            )
    if REAL not in facts.arms:
        raise StudyError(f"the grid has no arm {REAL!r}", "Every comparison is made against it: add it to the grid's arms.")
    if folder.exists() and not folder.is_dir():
        raise StudyError(f"{folder} is a file", "Name a folder for the report.")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / PAGE).is_file():
        raise StudyError(f"{folder} holds something other than a report", "Name a folder of its own for the report.")


def _write(staging: Path, whole: Content, csv: Mapping[str, str], analysis: Analysis) -> None:
    images = {d.name: image(d.draw()) for section in whole.sections for d in section.drawings}
    for name, drawn in images.items():
        (staging / f"{name}.png").write_bytes(drawn.png)
    held = analysis.to_dict() | {"answer": decision_sentences(analysis)}
    texts = {
        **csv,
        ANALYSIS: json.dumps(held, indent=1, allow_nan=False) + "\n",
        TEXT: markdown(whole),
        PAGE: page(whole, images),
    }
    for name, text in texts.items():
        (staging / name).write_text(text, encoding="utf-8", newline="\n")


def _settle(folder: Path, staging: Path, old: Path) -> None:
    """Clean up after a killed writer: remove an unfinished report, and restore an old report that has no successor."""
    shutil.rmtree(staging, ignore_errors=True)
    if old.is_dir():
        if folder.exists():
            shutil.rmtree(old)
        else:
            old.rename(folder)


def _keep_others(folder: Path, staging: Path) -> None:
    """Copy the files that users put beside an older report."""
    ours = {PAGE, TEXT, PREDICTIONS, ANALYSIS, *(f"{name}.png" for name in FIGURES), *TABLES}
    for path in [path for path in folder.iterdir() if path.name not in ours] if folder.is_dir() else ():
        if path.is_dir():
            shutil.copytree(path, staging / path.name, symlinks=True)
        else:
            shutil.copy2(path, staging / path.name, follow_symlinks=False)


def _swap(folder: Path, staging: Path, old: Path) -> None:
    """Replace the old report by the new one; if the second of the two renames fails, restore the old report."""
    if folder.is_dir():
        folder.rename(old)
    try:
        staging.rename(folder)
    except OSError:
        if old.is_dir():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)
