"""Which lesions are got wrong: by diagnosis, and the worst ones by name."""

from collections.abc import Mapping, Sequence

import numpy as np

from hyperderm.statistics.ablation_results import DiagnosisErrors, HardLesion
from hyperderm.statistics.panel import Panel
from hyperderm.statistics.predictions import Predictions

HARDEST = 12


def diagnosis_errors(panels: Sequence[Panel], predictions: Predictions) -> tuple[DiagnosisErrors, ...]:
    """Return the wrong decisions per diagnosis, model and arm, sorted."""
    diagnosis = _facts(predictions)
    made = []
    for panel in panels:
        lesions, wrong = _wrong(panel)
        kinds = np.array([diagnosis[lesion][1] for lesion in lesions])
        for kind in np.unique(kinds).tolist():
            mine = kinds == kind
            errors, count = float(wrong[mine].sum()), int(mine.sum())
            truth = diagnosis[lesions[int(np.flatnonzero(mine)[0])]][2]
            made.append(DiagnosisErrors(kind, truth, panel.arm, panel.model, count, errors, errors / count))
    return tuple(sorted(made, key=lambda each: (each.diagnosis, each.model, each.arm)))


def hardest(panels: Sequence[Panel], predictions: Predictions, count: int = HARDEST) -> tuple[HardLesion, ...]:
    """Return per model the `count` lesions with the largest |truth − probability|, averaged over arms and seeds."""
    facts = _facts(predictions)
    made = []
    for model in dict.fromkeys(panel.model for panel in panels):
        mine = [panel for panel in panels if panel.model == model]
        probability = {panel.arm: _by_lesion(panel, _probability(panel)) for panel in mine}
        wrong = {panel.arm: _by_lesion(panel, _wrong(panel)[1]) for panel in mine}
        found = []
        for lesion in dict.fromkeys(lesion for arm in probability.values() for lesion in arm):
            group, diagnosis, truth, fold = facts[lesion]
            by_arm = {arm: values[lesion] for arm, values in probability.items() if lesion in values}
            error = float(np.mean([abs(truth - p) for p in by_arm.values()]))  # |mean| is mean: one sign a lesion
            wrong_by_arm = {arm: wrong[arm][lesion] for arm in by_arm}
            found.append(HardLesion(lesion, group, diagnosis, truth, fold, model, error, by_arm, wrong_by_arm))
        made += sorted(found, key=lambda each: (-each.error, each.lesion_id))[:count]
    return tuple(made)


def _facts(predictions: Predictions) -> dict[str, tuple[str, str, int, int]]:
    columns = (predictions.group, predictions.diagnosis, predictions.truth, predictions.fold)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return dict(zip(predictions.lesion_id.tolist(), rows, strict=True))


def _wrong(panel: Panel) -> tuple[list[str], np.ndarray]:
    """Return the lesions of all folds and the share of seeds that decided wrongly."""
    lesions = [lesion for fold in panel.folds for lesion in fold.lesion_id.tolist()]
    return lesions, np.concatenate([(fold.called != fold.truth).mean(0) for fold in panel.folds])


def _probability(panel: Panel) -> np.ndarray:
    return np.concatenate([fold.probability.mean(0) for fold in panel.folds])


def _by_lesion(panel: Panel, values: np.ndarray) -> Mapping[str, float]:
    return dict(zip(_wrong(panel)[0], values.tolist(), strict=True))
