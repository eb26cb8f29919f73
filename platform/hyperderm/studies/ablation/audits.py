"""The audit of sets that were made elsewhere and carry none."""

from typing import Any

import numpy as np

from hyperderm.metrics.memorisation import CHUNK
from hyperderm.store.reader import Store
from hyperderm.store.synthetic import SyntheticCube
from hyperderm.strict import json_of
from hyperderm.studies.ablation.plan import Plan
from hyperderm.studies.set_audit import SetAudit, groups_of
from hyperderm.training.data import cube_set


def audit_elsewhere(plan: Plan, made: Store, fold: int) -> dict[str, Any]:
    """Return the audit of `made` against the train role of `fold`; validation gives the thresholds, test stays shut.

    Diagnoses that no cell can show, because the task does not hold them, are not looked at.
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
