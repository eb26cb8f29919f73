"""What a grid's folder stands for: the settings that later calls must share, and the proof that they do."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hyperderm.errors import StudyError
from hyperderm.identity import ELSEWHERE, present, shaping_in_full
from hyperderm.studies.ablation.builder import ALONE, VERSION
from hyperderm.studies.ablation.plan import Plan
from hyperderm.training.run_folder import IDENTITY, check_same, known_identity

OF_A_FOLD = re.compile(r"(?P<generator>.+?)(?P<variant> \(.+\))? fold (?P<fold>\d+)\.(?P<path>.+)")
"""The name of a generator's setting in an identity, such as "shsgan (pretrained) fold 2.learner.n_critic"."""


def identity(plan: Plan) -> dict[str, Any]:
    """Return the settings of a grid that must not change later, as path to value.

    Seeds, folds, arms, ratios, models and generators may be added later. What `choose` chooses among may not: it would be
    another arm, defined after results could be seen.
    """
    grid = plan.grid
    facts: dict[str, Any] = {
        "manifest": plan.store.manifest.fingerprint,
        "size": grid.size,
        "code version": VERSION,
        "task.negatives": grid.task.negatives,
        "generator_seed": grid.generator_seed,
        "pool": grid.pool,
        "photographs": grid.photographs,
        **{f"unmixers.{name}": net for name, net in grid.unmixers.items()},
        **{f"{arm.name}.chosen_from": list(arm.chosen_from) for arm in plan.arms if arm.chosen_from},
        **plan.content,
    }
    for name in grid.models:
        facts |= {f"{name}.{path}": value for path, value in grid.classifiers[name].flat().items() if path != "gpus"}
    for job in plan.stage("generator"):
        assert job.experiment is not None
        for path, value in shaping_in_full(job.experiment).items():
            if path.startswith(("learner.", "training.", "data.")):
                facts[f"{job.label}.{path}"] = value
    return facts


def check_identity(plan: Plan, folder: Path) -> None:
    """Refuse a plan that cannot join what its folder holds; nothing is written, and no lock is taken.

    Raises:
        StudyError: another version or other settings began the grid, or one arm would hold two different generators.
    """
    if not (folder / IDENTITY).exists():
        return
    check_version(folder)
    was, mine = present(known_identity(folder / IDENTITY)["identity"]), json.loads(json.dumps(identity(plan)))
    check_same(folder, was, mine, grows=True)
    for name, old, new in _on_other_folds(plan, was, mine):
        raise StudyError(
            f"{folder.name} exists with another {name} on other folds, and one arm would hold both: {old} -> {new}",
            "Give the new one a name of its own: --name NAME (make: NAME=…).",
        )


def _on_other_folds(plan: Plan, was: Mapping[str, Any], mine: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Yield the settings of generators that differ from what another fold of the grid was trained with, old and new.

    What depends on the fold by itself may differ: the winner of a search, the diagnoses that a fold holds, the runs that
    are read.
    """
    grid, before = plan.grid, dict[tuple[str, str], Any]()
    for name, value in was.items():
        if found := OF_A_FOLD.fullmatch(name):
            before[f"{found['generator']}{found['variant'] or ''}", found["path"]] = value
    free = {"data.fold", "data.diagnoses", *ELSEWHERE, *(f"learner.{name}" for name in ALONE)}
    free |= {path for job in plan.stage("generator") if job.experiment for path in job.experiment.learner.told_apart}
    for name, value in mine.items():
        found = OF_A_FOLD.fullmatch(name)
        if found and found["generator"] not in grid.searches and found["path"] not in free:
            label = f"{found['generator']}{found['variant'] or ''}"
            old = before.get((label, found["path"]), value)
            if old != value:
                yield f"{label}.{found['path']}", old, value
    trained, elsewhere = "trained by the grid", "a set made elsewhere (sets)"
    for name in grid.sets:
        if any(label.split(" (")[0] == name for label, _ in before):
            yield name, trained, elsewhere
    for name in {job.model for job in plan.stage("generator")}:
        if any(each.startswith(f"sets.{name}.") for each in was):
            yield name, elsewhere, trained


def check_version(folder: Path) -> None:
    """Refuse a grid of an earlier version, because its jobs have other names and would not be found again."""
    if not (folder / IDENTITY).exists():
        return
    was = known_identity(folder / IDENTITY)["identity"].get("code version", VERSION)
    if was != VERSION:
        raise StudyError(
            f"{folder.name} was run by another version of hyperderm, which names jobs otherwise ({was}, here {VERSION}): it "
            "cannot be gone on with",
            f"Its report and predictions stay in {folder} and can be read. Give the new grid a name of its own: --name NAME "
            "(make: NAME=…).",
        )
