"""The shortcut meter: can synthetic cubes be told from real ones, and does the classifier's decision rest on it?

Where only melanomas are synthetic, whatever gives them away is a sign of melanoma (METHODS section 11). Two things are
measured on cubes that nothing was trained on. A judge, which is a network of the classifier's own kind, is trained to tell
the synthetic melanomas of a set from the real melanomas of train, and says of validation's melanomas and of spare synthetic
ones which is which. And each classifier says its probability of melanoma for real validation cubes and for spare synthetic
cubes of the same class: were both alike, the means would agree.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from hyperderm.config import Experiment, SyntheticConfig
from hyperderm.learners.base import MelanomaClassifier
from hyperderm.learners.data import CubeSet, TrainData, truth
from hyperderm.learners.sampling import synthetic_entries
from hyperderm.learners.scaling import Scaling
from hyperderm.statistics.classification import auroc
from hyperderm.statistics.probability import Calibration
from hyperderm.store.folds import POSITIVE
from hyperderm.store.reader import Store
from hyperderm.studies.ablation.jobs import SPARE
from hyperderm.training.context import local
from hyperderm.training.data import cube_set
from hyperderm.training.run import run
from hyperderm.training.selection import select

REAL, SYNTHETIC = "dysplastic_nevus", POSITIVE
"""The diagnoses that stand for real and synthetic melanomas where a classifier is trained as a judge."""
BY_CLASS = {"melanoma": 1, "negative": 0}


def spare_cubes(store: Store, real: Sequence[str], synthetic: SyntheticConfig, size: int) -> CubeSet | None:
    """Return the first cubes of a synthetic set that a classifier is not shown, at most `SPARE` of each diagnosis.

    Args:
        store: the synthetic set.
        real: diagnoses of the real train cubes.
        synthetic: how the set is used.
        size: side of the cubes in pixels.

    Returns:
        The cubes, or None if the classifier is shown all.
    """
    held = sorted((row["lesion_id"], row["diagnosis"]) for row in store.index().to_pylist())
    diagnoses = [diagnosis for _, diagnosis in held]
    shown = set(synthetic_entries(real, diagnoses, synthetic.ratio, alone=synthetic.use != "add").tolist())
    left: dict[str, list[str]] = {}
    for row, (name, diagnosis) in enumerate(held):
        if row not in shown:
            left.setdefault(diagnosis, []).append(name)
    chosen = [name for names in left.values() for name in names[:SPARE]]
    return cube_set(store.read(sorted(chosen)), size) if chosen else None


def probabilities(
    learner: MelanomaClassifier, calibration: Calibration, real: CubeSet, spare: CubeSet
) -> dict[str, dict[str, float]]:
    """Return the mean probability of melanoma of real and of spare synthetic cubes, for each class that both hold.

    Args:
        learner: the trained classifier.
        calibration: fitted on validation.
        real: the cubes of validation.
        spare: synthetic cubes that the classifier has not seen.

    Returns:
        "melanoma" and "negative" to `real`, `synthetic` (means in [0, 1]), and `cubes`, the number of synthetic cubes.
    """
    means: dict[str, dict[str, float]] = {}
    both = {"real": real, "synthetic": spare}
    chance = {what: calibration(learner.logits_of(cubes.reflectance, cubes.masks).numpy()) for what, cubes in both.items()}
    for name, positive in BY_CLASS.items():
        rows = {what: truth(cubes.diagnoses).numpy() == positive for what, cubes in both.items()}
        if all(each.any() for each in rows.values()):
            means[name] = {what: float(chance[what][rows[what]].mean()) for what in both}
            means[name]["cubes"] = float(rows["synthetic"].sum())
    return means


def judged(experiment: Experiment, store: Store, synthetic: Store) -> dict[str, float | None]:
    """Train a judge on real and synthetic melanomas, and return how well it tells others apart.

    The judge is shown as many synthetic melanomas as real ones, or all but `SPARE` if there are fewer. Its test cubes are
    the melanomas of validation and the spare synthetic ones; the state after the last step is judged, so nothing is chosen
    on them.

    Args:
        experiment: the classifier as the judge is trained, with the fold and the synthetic set.
        store: the real lesions.
        synthetic: the set.

    Returns:
        `auroc` (None without test cubes of both kinds), `real` and `synthetic`, the numbers of test cubes.
    """
    size = experiment.data.size
    roles = select(store, experiment.model_copy(update={"synthetic": None}))
    train, held_out = (_melanomas(store, names, size) for names in (roles.train, roles.validation))
    names = sorted(row["lesion_id"] for row in synthetic.index().to_pylist() if row["diagnosis"] == POSITIVE)
    shown = min(len(train), len(names) - SPARE)
    spare = names[shown : shown + SPARE] if shown > 0 else []
    if not spare:
        return {"auroc": None, "real": float(len(held_out)), "synthetic": 0.0}
    made, unseen = (cube_set(synthetic.read(part), size) for part in (names[:shown], spare))
    cubes, test = _together(train, made), _together(held_out, unseen)
    data = TrainData(cubes, cubes, store.manifest.wavelengths_nm, Scaling.fit(cubes.reflectance))
    batch = min(experiment.training.batch_size, len(cubes))
    bare = experiment.model_copy(update={"synthetic": None}).override({"training.batch_size": batch})
    with TemporaryDirectory() as folder:
        steps = run(bare, data, local(Path(folder), {}))
        while True:
            try:
                next(steps)
            except StopIteration as end:
                learner: Any = end.value
                break
    chance = torch.sigmoid(learner.logits_of(test.reflectance, test.masks)).numpy()
    value = auroc(truth(test.diagnoses).numpy(), chance).value
    return {"auroc": value, "real": float(len(held_out)), "synthetic": float(len(unseen))}


def _melanomas(store: Store, names: Sequence[str], size: int) -> CubeSet:
    kinds = {row["lesion_id"]: row["diagnosis"] for row in store.index().to_pylist()}
    return cube_set(store.read([name for name in names if kinds[name] == POSITIVE]), size)


def _together(real: CubeSet, made: CubeSet) -> CubeSet:
    """Return both as one set whose diagnoses say which is which."""
    return replace(
        real,
        lesion_ids=real.lesion_ids + made.lesion_ids,
        diagnoses=(REAL,) * len(real) + (SYNTHETIC,) * len(made),
        reflectance=torch.cat([real.reflectance, made.reflectance]),
        masks=torch.cat([real.masks, made.masks]),
    )
