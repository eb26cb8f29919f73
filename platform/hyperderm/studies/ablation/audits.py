"""The audit of sets that were made elsewhere and carry none."""

import json
from typing import Any

import numpy as np

from hyperderm.metrics.memorisation import CHUNK
from hyperderm.store.reader import Store
from hyperderm.store.synthetic import SyntheticCube
from hyperderm.studies.ablation.plan import Plan
from hyperderm.studies.set_audit import SetAudit, groups_of
from hyperderm.training.data import cube_set


def audit_elsewhere(plan: Plan, made: Store, fold: int) -> dict[str, Any]:
    """Return the audit of `made` against the train role of `fold`; validation gives the thresholds, test stays shut."""
    size, diagnoses = plan.grid.size, sorted(made.manifest.diagnoses)
    rows = made.read(made.index().column("lesion_id").to_pylist())
    synthetic = cube_set(rows, size)
    train = cube_set(plan.store.read(plan.selections[fold].train), size)
    held_out = cube_set(plan.store.read(plan.store.select("validation", fold, diagnoses)), size)
    asked = SetAudit(train, held_out, groups_of(plan.store), made.manifest.wavelengths_nm, made.manifest.diagnoses)
    pixels = np.moveaxis(synthetic.reflectance.numpy(), 1, 3)
    facts = map(json.loads, rows.column("origin").to_pylist())
    cubes = [SyntheticCube(i, *each) for i, each in enumerate(zip(pixels, synthetic.diagnoses, facts, strict=True))]
    for at in range(0, len(cubes), CHUNK):
        asked.add(cubes[at : at + CHUNK])
    return asked.result()
