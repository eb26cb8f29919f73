"""Write the report of an ablation to its folder."""

import json
from pathlib import Path

from hyperderm.errors import StudyError
from hyperderm.reports.ablation.answer import decision_sentences, in_short
from hyperderm.reports.ablation.facts import ReportFacts
from hyperderm.reports.ablation.sections import FIGURES, content
from hyperderm.reports.ablation.tables import TABLES, csv_files
from hyperderm.reports.report_folder import TEXT, write_folder, write_pages
from hyperderm.statistics.ablation_results import REAL, Analysis
from hyperderm.statistics.predictions import Predictions
from hyperderm.training.run_folder import ANALYSIS, PAGE, PREDICTIONS

OURS = frozenset({PAGE, TEXT, PREDICTIONS, ANALYSIS, *(f"{name}.png" for name in FIGURES), *TABLES})


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
    _check(analysis, facts)
    answer = decision_sentences(analysis, facts.lacking_controls)
    whole = content(analysis, facts, *in_short(analysis, facts.lacking_controls))
    held = json.dumps(analysis.to_dict() | {"answer": answer}, indent=1, allow_nan=False) + "\n"

    def fill(staging: Path) -> None:
        predictions.to_parquet(staging / PREDICTIONS)
        write_pages(staging, whole, {**csv_files(analysis, facts), ANALYSIS: held})

    write_folder(folder, fill, OURS)


def _check(analysis: Analysis, facts: ReportFacts) -> None:
    for kind, found, known in (("arm", analysis.arm_names, facts.arms), ("model", analysis.models, facts.models)):
        unknown = [name for name in found if name not in known]
        if unknown:
            raise StudyError(
                f"the predictions hold {kind} {unknown[0]!r}, which the grid does not describe",
                f"Known: {', '.join(known)}. Give the report the predictions of its own grid.",
            )
    if REAL not in facts.arms:
        raise StudyError(f"the grid has no arm {REAL!r}", "Every comparison is made against it: add it to the grid's arms.")
