"""Select the lesions of a run, and prove that the run may read them. This module does not use Ray."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from hyperderm.config import Experiment
from hyperderm.cubes.diagnosis import UNKNOWN
from hyperderm.errors import ConfigError, StoreError
from hyperderm.learners.data import TrainData
from hyperderm.learners.spec import PIXELWISE
from hyperderm.store.folds import POSITIVE
from hyperderm.store.manifest import FOLD_FREE, Manifest
from hyperderm.store.reader import Store, open_store
from hyperderm.tags import PHOTOGRAPHS_TAG, SYNTHETIC_TAG, WEIGHTS_TAG
from hyperderm.training.data import check_size, train_data
from hyperderm.training.photographs import check_unrelated, photographs_of

LEAST_MELANOMAS = 2
"""Fewest melanomas that a part of train's may hold."""


@dataclass(frozen=True)
class Selection:
    """The lesion ids of the two roles that training may read.

    Attributes:
        extra: ids of the synthetic lesions, or of the photographs, of another store.
        fold_free: whether both roles are all lesions of a store without folds; then blocks of pixels are held out.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    extra: tuple[str, ...] = ()
    fold_free: bool = False


def select(store: Store, experiment: Experiment) -> Selection:
    """Return the lesion ids of both roles, after proving that the store can serve the experiment.

    Raises:
        ConfigError: the run asks for more pixels than the store holds, or for a fold of a store without folds.
        CubeError: the bands do not give a pseudo-RGB.
        ConfigError: `task.melanomas` leaves too few of them.
        StoreError: a role is empty or has a single lesion, or for a classifier has no melanoma or no negatives; or the
            synthetic store is of another manifest or fold.
    """
    data, shape = experiment.data, store.manifest.shape
    store.check_cubes()
    check_size(data.size, shape[:2])
    experiment.learner.check_store(store.manifest)
    if is_fold_free(store.manifest, experiment):
        if data.fold:
            raise ConfigError(f"data.fold = {data.fold}: this store has no folds", "Leave it out.")
        every = tuple(store.every(data.diagnoses))
        return Selection(every, every, fold_free=True)
    _check_task(store, experiment)
    roles = Selection(
        _shown(store, experiment, store.select("train", data.fold, experiment.diagnoses)),
        tuple(store.select("validation", data.fold, experiment.diagnoses)),
        _extra(store, experiment) or _photographs(store, experiment),
    )
    for role, lesions in (("train", roles.train), ("validation", roles.validation)):
        if len(lesions) < 2:
            raise StoreError(
                f"the {role} role of fold {data.fold} holds one lesion: a score needs two",
                "Give more data.diagnoses or data.",
            )
    return roles


def is_fold_free(manifest: Manifest, experiment: Experiment) -> bool:
    """Return whether a run learns from pixels of every lesion of a store without folds."""
    return manifest.folds is None and experiment.learner.role in PIXELWISE


def fold_said(manifest: Manifest, experiment: Experiment) -> str:
    """Return the name of the fold in the provenance of a run on the store of `manifest`."""
    return FOLD_FREE if is_fold_free(manifest, experiment) else str(experiment.data.fold)


def read(
    store: Store, selection: Selection, experiment: Experiment, inputs: Mapping[str, Mapping[str, Any]] | None = None
) -> TrainData:
    """Read all the data that a run needs, in this process.

    Args:
        store: the store that holds the roles.
        selection: the lesions of the roles.
        experiment: the run.
        inputs: see `TrainData.inputs`.

    """
    extra = extra_store(experiment).read(selection.extra) if selection.extra else None
    rows = store.read(selection.train), store.read(selection.validation)
    data, bands = experiment.data, store.manifest.wavelengths_nm
    made = train_data(*rows, bands, data.size, extra, data.scaling_percentiles, selection.fold_free)
    return made.given(inputs or {}, experiment.learner.scaled_as)


def extra_store(experiment: Experiment, verify: bool = True) -> Store:
    """Return the store of synthetic cubes or of photographs that holds the lesions of `Selection.extra`."""
    address = experiment.synthetic.store if experiment.synthetic else experiment.data.photographs
    assert address is not None
    return open_store(address, verify=verify)


def content(experiment: Experiment, bands: int) -> dict[str, str]:
    """Return fingerprints of the data that the experiment names only by an address, because that data may change.

    `hyperderm.synthetic` is the fingerprint of the synthetic store, `hyperderm.photographs` that of the photographs, and
    `hyperderm.weights` the sha256 of the file of weights from which a network begins.
    """
    found = {}
    if experiment.synthetic:
        found[SYNTHETIC_TAG] = open_store(experiment.synthetic.store, verify=False).manifest.fingerprint
    if experiment.data.photographs:
        found[PHOTOGRAPHS_TAG] = open_store(experiment.data.photographs, verify=False).manifest.fingerprint
    if digest := experiment.learner.weights_sha256(bands):
        found[WEIGHTS_TAG] = digest
    return found


def _check_task(store: Store, experiment: Experiment) -> None:
    if experiment.task is None:
        return
    held, negatives = store.manifest.diagnoses, experiment.task.negatives
    if POSITIVE not in held:
        raise StoreError("this store holds no melanoma, so there is nothing to tell", "Use a store with melanomas.")
    if (negatives != "all_others" and negatives not in held) or len(held) < 2:
        others = sorted(set(held) - {POSITIVE})
        raise StoreError(
            f"task.negatives = {negatives}, which this store does not hold: {', '.join(others) or 'melanoma only'}",
            "Use --set task.negatives=all_others, or a store with them." if others else "Use a store with other lesions.",
        )
    for role in ("train", "validation"):
        store.select(role, experiment.data.fold, (POSITIVE,))  # all_others would not miss melanomas


def kept_groups(groups: Iterable[str], share: float, seed: int, fold: int) -> set[str]:
    """Return the part of the groups of train's melanomas that `task.melanomas` = `share` leaves, for a seed and a fold."""

    def place(name: str) -> bytes:
        return blake2b(f"{seed}/{fold}/{name}".encode()).digest()

    ordered = sorted(set(groups), key=place)
    return set(ordered[: round(share * len(ordered))])


def _shown(store: Store, experiment: Experiment, train: Sequence[str]) -> tuple[str, ...]:
    """Return the lesions of train without the melanomas that `task.melanomas` leaves out.

    Groups are left out as a whole, in an order that depends on the seed and the fold alone, so shares are nested.

    Raises:
        ConfigError: fewer than two melanomas would be left, or all.
    """
    if experiment.task is None or experiment.task.melanomas == 1:
        return tuple(train)
    rows = store.index().to_pylist()
    group = {row["lesion_id"]: row["group"] for row in rows if row["diagnosis"] == POSITIVE}
    melanomas = [lesion for lesion in train if lesion in group]
    kept = kept_groups(
        [group[lesion] for lesion in melanomas], experiment.task.melanomas, experiment.seed, experiment.data.fold
    )
    left = [lesion for lesion in melanomas if group[lesion] in kept]
    if len(left) == len(melanomas):
        raise ConfigError(
            f"task.melanomas = {experiment.task.melanomas:g} leaves out none of the {len(melanomas)} melanomas in train of "
            f"fold {experiment.data.fold}, since a share is rounded to whole groups",
            "Use a smaller share (a grid: curve), or leave it out.",
        )
    if len(left) < LEAST_MELANOMAS:
        raise ConfigError(
            f"task.melanomas = {experiment.task.melanomas:g} leaves {len(left)} of {len(melanomas)} melanomas in train of "
            f"fold {experiment.data.fold}, and a classifier needs {LEAST_MELANOMAS}",
            "Use a larger share (a grid: curve), or more data; a grid without a learning curve: --set 'curve=[]'.",
        )
    return tuple(lesion for lesion in train if lesion not in group or group[lesion] in kept)


def _extra(store: Store, experiment: Experiment) -> tuple[str, ...]:
    if experiment.synthetic is None:
        return ()
    from hyperderm.store.synthetic import check_origin

    synthetic = extra_store(experiment)
    check_origin(synthetic, store, experiment.data.fold)
    check_size(experiment.data.size, synthetic.manifest.shape[:2])
    return tuple(sorted(synthetic.index().column("lesion_id").to_pylist()))


def _photographs(store: Store, experiment: Experiment) -> tuple[str, ...]:
    """Return the ids of the photographs of the learnt diagnoses, after proving that none shows a held-out lesion."""
    data = experiment.data
    if data.photographs is None:
        return ()
    rgb, wanted = open_store(data.photographs), experiment.diagnoses
    named = tuple(sorted(store.manifest.diagnoses)) if wanted == "all" else wanted
    held = [name for name in named if name in rgb.manifest.diagnoses] if wanted == "all" else named
    if set(rgb.manifest.diagnoses) == {UNKNOWN}:
        if len(named) > 1:
            raise StoreError(
                f"data.photographs = {data.photographs} says no diagnosis, and {len(named)} diagnoses are learnt "
                f"({', '.join(named)})",
                "Ingest the photographs with a table of diagnoses, or learn one of data.diagnoses.",
            )
        held = named
    if not held:
        raise StoreError(
            f"data.photographs = {data.photographs} holds {', '.join(sorted(rgb.manifest.diagnoses))}, and none of the "
            f"diagnoses that are learnt ({', '.join(named)})",
            "Give photographs of these diagnoses.",
        )
    chosen = {name for diagnosis in held for name in photographs_of(rgb, diagnosis, data.size, "data.photographs =")}
    check_unrelated(store, rgb, chosen, data.fold)
    return tuple(sorted(chosen))
