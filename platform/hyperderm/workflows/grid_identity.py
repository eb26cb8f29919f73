"""What a grid's folder stands for: the settings that later calls must share, and the proof that they do."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from hyperderm.errors import StudyError
from hyperderm.identity import present, shaping_in_full
from hyperderm.studies.ablation.builder import ALONE, VERSION, winner
from hyperderm.studies.ablation.jobs import Job
from hyperderm.studies.ablation.plan import Plan
from hyperderm.training.run_folder import IDENTITY, check_same, known_identity

OF_A_FOLD = re.compile(r"(?P<label>.+?) fold \d+\.(?P<path>.+)")
"""The name of a generator's setting in an identity, such as "shsgan (pretrained) fold 2.learner.n_critic"."""
AS_ASKED = ("", " (photographs)", " (pretrained)")
"""The variants of generators, as labels end, that learn the diagnoses that the experiment names."""


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
        **({"pool": grid.pool} if "filtered" in grid.arms else {}),
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
    """Yield what differs between the generators of folds that join the grid and those of the folds that it holds.

    Each is the name of a setting, the value of a fold that the grid holds, and the value of one that joins. Folds that the
    grid holds already are not compared with each other.
    """
    before = [(found["label"], found["path"], value) for name, value in was.items() if (found := OF_A_FOLD.fullmatch(name))]
    trained, elsewhere = "trained by the grid", "a set made elsewhere (sets)"
    held = {label.split(" (")[0] for label, _, _ in before}
    for name in held & plan.grid.sets.keys():
        if any(key.startswith(f"sets.{name}.") for key in mine.keys() - was.keys()):
            yield name, trained, elsewhere
    for job in plan.stage("generator"):
        if f"{job.label}.learner.kind" in was:
            continue
        if any(key.startswith(f"sets.{job.model}.") for key in was):
            yield job.model, elsewhere, trained
        net = f"unmixers.{job.model}"
        if job.model in held and was.get(net) != mine.get(net):
            yield net, was.get(net, "none"), mine.get(net, "none")
        yield from _settings_on_other_folds(plan, job, before, mine)


def _settings_on_other_folds(
    plan: Plan, job: Job, before: Iterable[tuple[str, str, Any]], mine: Mapping[str, Any]
) -> Iterator[tuple[str, Any, Any]]:
    """Yield the settings of a generator that differ from those of another fold: name, value there, value here."""
    own, free = job.label.removesuffix(f" fold {job.fold}"), _free(plan, job)
    for label, path, old in before:
        new = mine.get(f"{job.label}.{path}", old)
        if label == own and path not in free and new != old:
            yield f"{label}.{path}", old, new


def _free(plan: Plan, job: Job) -> set[str]:
    """Return the settings of a generator that may differ from fold to fold by themselves.

    These are what the sweeps searched whose winners train it, and, for variants that learn the diagnoses that a fold holds,
    what follows from these.
    """
    assert job.experiment is not None
    variant = job.label.removesuffix(f" fold {job.fold}").removeprefix(job.model)
    free = {"data.fold"} if variant in AS_ASKED else {"data.fold", "data.diagnoses"}
    if variant == " (without melanoma)":  # one class is learnt without being told
        free |= {*job.experiment.learner.told_apart, *(f"learner.{name}" for name in ALONE)}
    for fold, folder in plan.grid.searches.get(job.model, {}).items():
        with suppress(StudyError):  # a sweep of a fold that is not asked for may be gone
            free |= winner(Path(folder), int(fold), plan.store.manifest.fingerprint, job.experiment.name).keys()
    return free


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
