"""The audits of a grid: what its folder holds on leaks of test lesions, and an audit of sets that have none of today."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from hyperderm.metrics.memorisation import CHUNK
from hyperderm.statistics.predictions import Predictions
from hyperderm.store.artefacts import Artefact, set_artefact
from hyperderm.store.leaks import find_leaks
from hyperderm.store.manifest import Opening
from hyperderm.store.overlap import read_facts
from hyperderm.store.reader import Store, open_store
from hyperderm.store.synthetic import SyntheticCube, origin_of
from hyperderm.strict import json_of
from hyperderm.studies.ablation.jobs import Job, ancestors
from hyperderm.studies.ablation.plan import Plan
from hyperderm.studies.ablation.records import GridFolder, cell_predictions
from hyperderm.studies.set_audit import SetAudit, groups_of
from hyperderm.training.data import cube_set

Line = tuple[str, str, bool]


def audit(plan: Plan, grid: GridFolder, results: Mapping[str, Mapping[str, Any]]) -> Iterator[Line]:
    """Yield (what, detail, passed) for each protection of test lesions, from what `store.leaks` finds in the grid's records.

    A grid keeps every fact on its jobs, so a fact that is missing counts like a leak.
    """
    known = {one.name: one for one in _records(plan, grid, results)}
    verdict = find_leaks(list(known.values()), [read_facts(plan.store, cubes=False)])
    found, unproven = verdict.findings, {known[name].key for name, _ in verdict.unknown}
    cells = [job.label for job in plan.stage("cell") if job.key in results]

    crossings = sum(one.lesions or 0 for one in found if one.own)
    foreign = sum(one.lesions or 0 for one in found if one.kind == "foreign")
    yield (
        "no group and no source image lies in two roles of a fold",
        f"{len(plan.store.folds().groups)} groups, {len(plan.folds)} folds, {crossings} crossings",
        crossings == 0,
    )
    yield (
        "every prediction is of a lesion of the cell's own test role",
        f"{len(cells)} cells, {foreign} foreign lesions or groups",
        foreign == 0,
    )
    fed = [name for name in cells if known[name].uses]
    made = [one for one in found if one.kind in ("set", "generator", "checkpoint") and not one.own]
    mixed = {name for name in fed if unproven & {*known[name].uses}}.union(*(one.users for one in made))
    yield (
        "every generator was trained on its cell's own fold and manifest (checkpoint chosen on validation)",
        f"{len(fed)} cells with synthetic cubes, {len(mixed)} with a set of another fold or manifest",
        not mixed,
    )
    if begun := [job for job in plan.stage("generator") if job.inputs]:
        done, leaky = [job for job in begun if job.key in results], unproven | {known[one.by].key for one in made}
        wrong = sum(job.key in unproven or not leaky.isdisjoint(job.inputs.values()) for job in done)
        yield (
            "every generator that begins from another run began from one of its own fold and manifest",
            f"{len(done)} generators that begin from another, "
            f"{wrong} from a checkpoint of another fold or none that is there",
            wrong == 0,
        )
    named = [f"{name} fold {fold}" for name, folds in plan.grid.searches.items() for fold in folds]
    detail = f"winners taken for their own fold only: {', '.join(named)}"
    yield "hyperparameter searches", detail if named else "none took part; values are those of the plan", True
    late = {name for name in cells if name in unproven}.union(*(one.users for one in found if one.kind == "late"))
    yield (
        "test role opened only after checkpoint, calibration and threshold were chosen",
        f"{len(cells) - len(late)} of {len(cells)} cells recorded it",
        not late,
    )


def _records(plan: Plan, grid: GridFolder, results: Mapping[str, Mapping[str, Any]]) -> Iterator[Artefact]:
    """Yield the records of the trained generators, of all cells, and of the sets that finished cells read.

    A cell that is not finished has opened nothing yet; it stands for the generators that are trained for it.
    """
    manifest, jobs, sets = plan.store.manifest.fingerprint, {job.key: job for job in plan.jobs}, dict[str, list[Artefact]]()
    trained = {job.key: job for job in plan.stage("generator") if job.key in results}
    for job in trained.values():
        yield _generator(job, manifest, results)
    for job in plan.stage("cell"):
        makers = tuple(key for key in ancestors(jobs, job) if key in trained)
        cell = Artefact(job.label, job.label, "classifier", True, manifest, job.fold, uses=makers)
        if job.key in results:
            if (source := job.store or next(iter(job.needs), "")) and source not in sets:
                sets[source] = list(_sets(grid, job, makers))
                yield from sets[source]
            uses = tuple(made.key for made in sets.get(source, ()))
            cell = _opened(replace(cell, uses=uses), results[job.key], cell_predictions(grid, job))
        yield cell


def _generator(job: Job, manifest: str, results: Mapping[str, Mapping[str, Any]]) -> Artefact:
    """Return the record of a generator; a run that it began from must have left the checkpoint that the generator read."""
    read, uses = results[job.key].get("inputs", {}), tuple(key for key in job.inputs.values() if key in results)
    left = {name: results.get(key, {}).get("checkpoint") for name, key in job.inputs.items()}
    lost = tuple(f"its {name}, as that run left it" for name in left if left[name] is None or read.get(name) != left[name])
    return Artefact(job.key, job.label, "generator", manifest=manifest, fold=job.fold, uses=uses, missing=lost)


def _sets(grid: GridFolder, job: Job, makers: tuple[str, ...]) -> Iterator[Artefact]:
    """Yield the synthetic set of a cell, at every size if the set grew, since the cell read one of them."""
    places = [job.store] if job.store else [place for need in job.needs for place in grid.sets(need)]
    if not places:
        yield Artefact(job.needs[0], f"set {job.needs[0]}", "set", missing=("its store",))
    for place in places:
        manifest = open_store(place, verify=False).manifest
        made = replace(set_artefact(manifest.fingerprint, place, manifest.source), uses=makers)
        yield replace(made, missing=() if origin_of(manifest) else ("its origin",))


def _opened(cell: Artefact, result: Mapping[str, Any], held: Predictions) -> Artefact:
    """Return the record of a finished cell; a test role that it opened counts as recorded if it is the cell's own."""
    opened = Opening.of(result.get("test_opened"))
    own = opened is not None and (opened.manifest, opened.fold) == (cell.manifest, cell.fold)
    return replace(
        cell,
        openings=(opened,) if opened and own else (),
        chosen_at=str(result.get("chosen_at", "")),
        predicted=frozenset(zip(held.lesion_id.tolist(), held.group.tolist(), strict=True)),
        missing=() if own else ("the opening of its own test role",),
    )


def audit_set(plan: Plan, made: Store, fold: int) -> dict[str, Any]:
    """Return the audit of `made` against the train role of `fold`; validation checks false alarms, and test is not opened.

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
    origin, nm = origin_of(made.manifest), made.manifest.wavelengths_nm
    derived = origin is not None and origin.derived
    asked = SetAudit(train, held_out, groups_of(plan.store), nm, counts, derived)
    pixels = np.moveaxis(synthetic.reflectance.numpy(), 1, 3)
    facts = map(json_of, rows.column("origin").to_pylist())
    cubes = [SyntheticCube(i, *each) for i, each in enumerate(zip(pixels, synthetic.diagnoses, facts, strict=True))]
    for at in range(0, len(cubes), CHUNK):
        asked.add(cubes[at : at + CHUNK])
    return asked.result()
