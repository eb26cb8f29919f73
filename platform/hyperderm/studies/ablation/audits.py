"""The memorisation audit of sets that were made elsewhere and carry none."""

from typing import Any

from hyperderm.metrics.memorisation import audit
from hyperderm.store.reader import Store
from hyperderm.studies.ablation.plan import Plan
from hyperderm.training.data import cube_set


def audit_elsewhere(plan: Plan, made: Store, fold: int) -> dict[str, Any]:
    """Return the audit of `made` against the train role of `fold`; validation gives the thresholds, test stays shut."""
    size, diagnoses = plan.grid.size, sorted(made.manifest.diagnoses)
    synthetic = cube_set(made.read(made.index().column("lesion_id").to_pylist()), size)
    train = cube_set(plan.store.read(plan.selections[fold].train), size)
    held_out = cube_set(plan.store.read(plan.store.select("validation", fold, diagnoses)), size)
    return audit(synthetic.reflectance, train.reflectance, held_out.reflectance).to_dict()
