"""A finished grid as the pilot of another one of the same store: the variances of its comparisons."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hyperderm.errors import StudyError
from hyperderm.grid_config import Ablation
from hyperderm.statistics.ablation_results import Contrast
from hyperderm.statistics.learning_curve import slope_coefficients
from hyperderm.statistics.paired import combination, difference
from hyperderm.statistics.panel import common, panel
from hyperderm.statistics.predictions import Predictions
from hyperderm.statistics.resampling import bootstrap
from hyperderm.store.reader import Store
from hyperderm.strict import json_of
from hyperderm.studies.ablation.shapes import ANALYSIS_FILE, IDENTITY_FILE, wrong
from hyperderm.training.run_folder import ANALYSIS, IDENTITY, PREDICTIONS, REPORT, known_identity

RESAMPLES = 300
"""Bootstrap resamples for the stretch of a pilot's learning curve, which a plan needs within a few hundredths."""


@dataclass(frozen=True)
class Measured:
    """What a pilot measured for one contrast.

    Attributes:
        lesion_variance: as in `ContrastResult`.
        seed_variance: as in `ContrastResult`; 0 if it is unknown.
        stretch: as in `ContrastResult`.
        cells: fold to the number of seeds that both arms have.
    """

    contrast: Contrast
    lesion_variance: float
    seed_variance: float
    stretch: float
    cells: Mapping[int, int]


@dataclass(frozen=True)
class MeasuredCurve:
    """What a pilot measured for the slope of one learning curve.

    Attributes:
        shares: the shares of its points.
        lesion_variance: as in `ContrastResult`, of the slope.
        seed_variance: likewise; 0 if it is unknown.
        stretch: as in `ContrastResult`.
        cells: fold to the number of seeds that all points have.
    """

    model: str
    shares: tuple[float, ...]
    lesion_variance: float
    seed_variance: float
    stretch: float
    cells: Mapping[int, int]


@dataclass(frozen=True)
class Pilot:
    """The comparisons of a finished grid.

    Attributes:
        name: the name of its folder.
        size: the height and width in pixels of its cubes.
        contrasts: its comparisons, at least one.
        curves: model to its learning curve, where it has one.
    """

    name: str
    size: int
    contrasts: tuple[Measured, ...]
    curves: Mapping[str, MeasuredCurve] = field(default_factory=dict)

    def like(self, asked: Sequence[tuple[str, str, str]], model: str) -> tuple[list[Measured], str]:
        """Return the comparisons that are most like those of a model, and what they are.

        Args:
            asked: the contrasts of the planned grid, as (arm, reference, model).
            model: the model of the planned grid.
        """
        mine = [each for each in self.contrasts if each.contrast.model == model]
        wanted = [each for each in asked if each[2] == model]
        same = [each for each in mine if (each.contrast.arm, each.contrast.reference, model) in wanted]
        arms = {arm for arm, _, _ in wanted}
        if found := same or [each for each in mine if each.contrast.arm in arms]:
            return found, "of the same arms and model"
        if mine:
            return mine, "of the same model with other arms"
        return list(self.contrasts), f"of other models, since it has none of {model}"


def read_pilot(folder: Path, store: Store, grid: Ablation) -> Pilot:
    """Return the pilot in `folder`.

    Args:
        folder: the folder of a finished grid.
        store: the store of the planned grid.
        grid: the planned grid.

    Raises:
        StudyError: the folder holds no grid with a report, or the grid is of another store or task or has no comparison.
    """
    known = known_identity(folder / IDENTITY)["identity"] if (folder / IDENTITY).exists() else {}
    if "task.negatives" not in known or "code version" not in known:
        raise StudyError(f"--pilot {folder} is no grid's folder", "Name a finished grid, or give the path of its folder.")
    if known.get("manifest") != store.manifest.fingerprint:
        raise StudyError(
            f"--pilot {folder.name} is a grid of another store ({str(known.get('manifest'))[:12]}, here "
            f"{store.manifest.fingerprint[:12]})",
            "Its lesions say nothing of these: name a grid of this store, or leave --pilot out for stated assumptions.",
        )
    if known["task.negatives"] != grid.task.negatives:
        raise StudyError(
            f"--pilot {folder.name} has another task: task.negatives = {known['task.negatives']}, here "
            f"{grid.task.negatives}",
            f"Name a grid of the same task, or use --set task.negatives={known['task.negatives']}.",
        )
    if reason := wrong(IDENTITY_FILE, known):
        raise StudyError(f"{folder / IDENTITY} cannot be read ({reason})", "Name another grid.")
    analysis = _analysis(folder)
    folds = store.folds().count
    for each in analysis["contrasts"]:
        if strange := sorted({cell["fold"] for cell in each["cells"]} - set(range(folds))):
            raise StudyError(
                f"--pilot {folder.name} compares {each['arm']} on fold {strange[0]}, this store has folds 0 … {folds - 1}",
                "Delete the report's folder and run that grid's command again.",
            )
    contrasts = tuple(_recorded(each) for each in analysis["contrasts"])
    if not contrasts:
        raise StudyError(
            f"--pilot {folder.name} holds no comparison", "Name a grid with an arm that is compared with a reference."
        )
    curves = _curves(analysis, folder / PREDICTIONS)
    return Pilot(folder.name, int(known["size"]), tuple(_complete(contrasts, analysis, folder)), curves)


def _analysis(folder: Path) -> dict[str, Any]:
    path = folder / REPORT / ANALYSIS
    try:
        found: dict[str, Any] = json_of(path.read_text("utf-8"))
        reason = wrong(ANALYSIS_FILE, found)
    except FileNotFoundError:
        raise StudyError(
            f"--pilot {folder.name} has no report yet", "Let it finish first: the same command continues it."
        ) from None
    except ValueError as error:
        reason = str(error)
    if not reason:
        return found
    raise StudyError(f"{path} cannot be read ({reason})", "Delete the report's folder and run that grid's command again.")


Recorded = tuple[Contrast, dict[str, Any]]


def _recorded(each: dict[str, Any]) -> Recorded:
    return Contrast(each["arm"], each["reference"], each["model"]), each


def _complete(contrasts: Sequence[Recorded], analysis: Mapping[str, Any], folder: Path) -> list[Measured]:
    """Return what was measured; what a report of an earlier version lacks is computed from the predictions."""
    if any(each.get(name) is None for name in ("lesion_variance", "seed_variance", "stretch") for _, each in contrasts):
        return _computed([contrast for contrast, _ in contrasts], analysis, folder / PREDICTIONS)
    return [
        Measured(
            contrast,
            each["lesion_variance"],
            each["seed_variance"],
            each["stretch"],
            Counter(cell["fold"] for cell in each["cells"]),
        )
        for contrast, each in contrasts
    ]


def _curves(analysis: Mapping[str, Any], path: Path) -> dict[str, MeasuredCurve]:
    """Return the learning curves of a pilot, computed from its predictions: a report holds their intervals alone."""
    asked = [each for each in analysis.get("curves", []) if each["slope"]["value"] is not None]
    if not asked:
        return {}
    predictions, found = Predictions.from_parquet(path), {}
    for each in asked:
        points = {point["arm"]: float(point["share"]) for point in each["points"]}
        panels = common(*(panel(predictions, arm, each["model"]) for arm in points))
        if panels is None:
            continue
        made = combination(panels, slope_coefficients(list(points.values())), bootstrap(panels[0], RESAMPLES, 0))
        cells = {fold.number: len(fold.seeds) for fold in panels[0].folds}
        parts = (made.variance.fixed, made.variance.retrained, made.stretch)
        found[each["model"]] = MeasuredCurve(each["model"], tuple(points.values()), *parts, cells)
    return found


def _computed(contrasts: Sequence[Contrast], analysis: Mapping[str, Any], path: Path) -> list[Measured]:
    predictions, found = Predictions.from_parquet(path), []
    for asked in contrasts:
        both = common(*(panel(predictions, arm, asked.model) for arm in (asked.arm, asked.reference)))
        if both is None:
            raise StudyError(
                f"{path} lacks cells of the report: {asked.arm} and {asked.reference} with {asked.model} share none",
                "Run that grid's command again.",
            )
        arm, reference = both
        made = difference(arm, reference, bootstrap(arm, analysis["resamples"], analysis["seed"]))
        cells = {fold.number: len(fold.seeds) for fold in arm.folds}
        found.append(Measured(asked, made.variance.fixed, made.variance.retrained, made.stretch, cells))
    return found
