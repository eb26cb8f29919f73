"""The audits of a grid: a check of the written results for leaked test lesions, and an audit of sets made elsewhere."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from hyperderm.metrics.memorisation import CHUNK
from hyperderm.store.manifest import Opening
from hyperderm.store.reader import Store, open_store
from hyperderm.store.synthetic import SyntheticCube, origin_of
from hyperderm.strict import json_of
from hyperderm.studies.ablation.jobs import Job
from hyperderm.studies.ablation.plan import Plan
from hyperderm.studies.ablation.records import GridFolder, cell_predictions
from hyperderm.studies.set_audit import SetAudit, groups_of
from hyperderm.training.data import cube_set

Line = tuple[str, str, bool]


def audit(plan: Plan, grid: GridFolder, results: Mapping[str, Mapping[str, Any]]) -> Iterator[Line]:
    """Yield (what, detail, passed) for every rule that keeps test lesions out of training."""
    yield _groups(plan)
    cells = [job for job in plan.stage("cell") if job.key in results]
    yield _tested(plan, grid, cells)
    yield _sets(plan, grid, results)
    if begun := [job for job in plan.stage("generator") if job.inputs]:
        yield _begun(plan, begun, results)
    yield _searches(plan)
    yield _opened(plan, cells, results)


def _groups(plan: Plan) -> Line:
    rows = plan.store.index().to_pylist()
    folds = plan.store.folds()
    crossing = 0
    for fold in plan.folds:
        roles: dict[str, set[str]] = {}
        for row in rows:
            roles.setdefault(row["group"], set()).add(folds.role(row["group"], fold))
        images: dict[str, set[str]] = {}
        for row in rows:
            images.setdefault(row["image_id"], set()).add(folds.role(row["group"], fold))
        crossing += sum(len(found) > 1 for found in (*roles.values(), *images.values()))
    return (
        "no group and no source image lies in two roles of a fold",
        f"{len(folds.groups)} groups, {len(plan.folds)} folds, {crossing} crossings",
        crossing == 0,
    )


def _tested(plan: Plan, grid: GridFolder, cells: list[Job]) -> Line:
    folds = plan.store.folds()
    wrong = 0
    for job in cells:
        selection = plan.selections[job.fold]
        seen = {*selection.train, *selection.validation}
        held = cell_predictions(grid, job)
        wrong += len(seen & set(held.lesion_id.tolist()))
        wrong += sum(folds.groups.get(group) != job.fold for group in set(held.group.tolist()))
    return (
        "every prediction is of a lesion of the cell's own test role",
        f"{len(cells)} cells, {wrong} foreign lesions or groups",
        wrong == 0,
    )


def _opened(plan: Plan, cells: list[Job], results: Mapping[str, Mapping[str, Any]]) -> Line:
    manifest, recorded = plan.store.manifest.fingerprint, 0
    for job in cells:
        opened, chosen = Opening.of(results[job.key].get("test_opened")), str(results[job.key].get("chosen_at", "never"))
        own = opened and (opened.manifest, opened.fold) == (manifest, job.fold)
        recorded += bool(own and opened and chosen <= opened.at)  # both in UTC, one format
    return (
        "test role opened only after checkpoint, calibration and threshold were chosen",
        f"{recorded} of {len(cells)} cells recorded it",
        recorded == len(cells),
    )


def _sets(plan: Plan, grid: GridFolder, results: Mapping[str, Mapping[str, Any]]) -> Line:
    manifest, wrong, count = plan.store.manifest.fingerprint, [], 0
    for job in plan.stage("cell"):
        if job.key not in results or not (job.needs or job.store):
            continue
        count += 1
        places = _places(grid, job)
        origins = [origin_of(open_store(place, verify=False).manifest) for place in places]
        if not origins or any(o is None or o.manifest != manifest or o.fold != job.fold for o in origins):
            wrong.append(job.label)
    return (
        "every generator was trained on its cell's own fold and manifest (checkpoint chosen on validation)",
        f"{count} cells with synthetic cubes, {len(wrong)} with a set of another fold or manifest",
        not wrong,
    )


def _begun(plan: Plan, begun: list[Job], results: Mapping[str, Mapping[str, Any]]) -> Line:
    """Check that each generator that begins from another one began from its present checkpoint, and of its own fold."""
    jobs, wrong = {job.key: job for job in plan.jobs}, 0
    begun = [job for job in begun if job.key in results]
    for job in begun:
        read = results[job.key].get("inputs", {})
        for name, key in job.inputs.items():
            left = results.get(key, {}).get("checkpoint")
            wrong += jobs[key].fold != job.fold or left is None or read.get(name) != left
    return (
        "every generator that begins from another run began from one of its own fold and manifest",
        f"{len(begun)} generators that begin from another, {wrong} from a checkpoint of another fold or none that is there",
        wrong == 0,
    )


def _places(grid: GridFolder, job: Job) -> list[str]:
    """Return the places of the cell's synthetic set, at every size if the set grew, since the cell read one of them."""
    if job.store:
        return [job.store]
    return [place for need in job.needs for place in grid.sets(need)]


def _searches(plan: Plan) -> Line:
    named = [f"{name} fold {fold}" for name, folds in plan.grid.searches.items() for fold in folds]
    detail = (
        "winners taken for their own fold only: " + ", ".join(named)
        if named
        else "none took part; values are those of the plan"
    )
    return "hyperparameter searches", detail, True


def audit_elsewhere(plan: Plan, made: Store, fold: int) -> dict[str, Any]:
    """Return the audit of `made` against the train role of `fold`; validation gives the thresholds, and test is not opened.

    Diagnoses that the task does not hold are skipped, because no cell can show them.
    """
    size, selection = plan.grid.size, plan.selections[fold]
    train = cube_set(plan.store.read(selection.train), size)
    validation = cube_set(plan.store.read(selection.validation), size)
    shown = [d for d in sorted(made.manifest.diagnoses) if d in train.diagnoses and d in validation.diagnoses]
    held_out = cube_set(
        plan.store.read([i for i, d in zip(validation.lesion_ids, validation.diagnoses, strict=True) if d in shown]), size
    )
    rows = made.read([row["lesion_id"] for row in made.index().to_pylist() if row["diagnosis"] in shown])
    synthetic = cube_set(rows, size)
    counts = {d: synthetic.diagnoses.count(d) for d in shown}
    asked = SetAudit(train, held_out, groups_of(plan.store), made.manifest.wavelengths_nm, counts)
    pixels = np.moveaxis(synthetic.reflectance.numpy(), 1, 3)
    facts = map(json_of, rows.column("origin").to_pylist())
    cubes = [SyntheticCube(i, *each) for i, each in enumerate(zip(pixels, synthetic.diagnoses, facts, strict=True))]
    for at in range(0, len(cubes), CHUNK):
        asked.add(cubes[at : at + CHUNK])
    return asked.result()
