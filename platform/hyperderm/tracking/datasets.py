"""The stores that a run reads, as MLflow's data sets: each role of a fold is one, and so is a synthetic set."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from hyperderm.store.manifest import Manifest, Role
from hyperderm.store.reader import Store
from hyperderm.store.synthetic import origin_of

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

DIGEST = 36
"""The most characters that MLflow keeps of a digest."""
CONTEXT = "mlflow.data.context"
"""MLflow's tag for what a run uses a data set for."""
SOURCE = "hyperderm store"


@dataclass(frozen=True)
class DataSet:
    """One data set of a run.

    Attributes:
        name: the name in the UI, which says role and fold, since MLflow keeps one data set of a name and digest a run.
        context: what the run uses it for: train, validation, test, synthetic or photographs.
        digest: beginning of the fingerprint of the store's manifest.
        source: address of the store, its whole fingerprint, fold and role; of a synthetic set also what made it.
        shape: (H, W, B) of every cube.
        profile: number of lesions, and by diagnosis.
    """

    name: str
    context: str
    digest: str
    source: Mapping[str, Any]
    shape: tuple[int, ...]
    profile: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, as the event log keeps them."""
        return asdict(self)


def role_of_store(store: Store, fold: int | None, role: Role, lesions: int | None = None) -> DataSet:
    """Return one role of a store; `fold` is None for a store without folds, `lesions` how many of the role the run reads."""
    profile = {} if lesions is None else {"lesions": lesions}
    manifest = store.manifest
    named = f"{store.name}, {role}" if fold is None else f"{store.name}, {role} of fold {fold}"
    return _data_set(named, role, store, {"role": role, "fold": fold}, profile, manifest)


def synthetic_set(store: Store) -> DataSet:
    """Return a synthetic set; its source names the run of its generator, the checkpoint and the seed."""
    manifest = store.manifest
    origin = origin_of(manifest)
    made = {} if origin is None else {"generator": origin.generator, "generator_run": origin.run, "seed": origin.seed}
    if origin is not None:
        made |= {"checkpoint": origin.checkpoint, "fold": origin.fold, "trained_on": origin.manifest}
    profile = {"lesions": sum(manifest.diagnoses.values()), "diagnoses": dict(manifest.diagnoses)}
    return _data_set(f"{store.name}, synthetic", "synthetic", store, made, profile, manifest)


def photographs(store: Store, lesions: int) -> DataSet:
    """Return a store of photographs that a generator learns beside its cubes."""
    return _data_set(f"{store.name}, photographs", "photographs", store, {}, {"lesions": lesions}, store.manifest)


def _data_set(
    name: str, context: str, store: Store, source: Mapping[str, Any], profile: Mapping[str, Any], manifest: Manifest
) -> DataSet:
    whole = {"uri": store.location.uri, "fingerprint": manifest.fingerprint, **source}
    return DataSet(name, context, manifest.fingerprint[:DIGEST], whole, tuple(manifest.shape), profile)


def entity(data: Mapping[str, Any]) -> "DatasetInput":
    """Return MLflow's form of a data set's JSON values."""
    import numpy as np
    from mlflow.entities import Dataset, DatasetInput, InputTag
    from mlflow.types import Schema, TensorSpec

    features = Schema([TensorSpec(np.dtype("float32"), (-1, *data["shape"]), "reflectance")])
    schema = {"mlflow_tensorspec": {"features": features.to_json(), "targets": None}}
    made = Dataset(
        name=data["name"],
        digest=data["digest"],
        source_type=SOURCE,
        source=json.dumps(data["source"]),
        schema=json.dumps(schema),
        profile=json.dumps(data["profile"]),
    )
    return DatasetInput(made, [InputTag(CONTEXT, data["context"])])
