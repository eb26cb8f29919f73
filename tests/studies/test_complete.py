"""What can be compared: blocks that every arm finished, and a sentence on all that is left out."""

import numpy as np
import pytest

from hyperderm.statistics.predictions import CellKey, Predictions
from hyperderm.studies.ablation.records import complete_part

ARMS = ("real", "oversampled_x1", "shsgan_x1")


def planned(models=("cnn",), arms=ARMS, folds=(0, 1, 2), seeds=(0, 1)) -> list[CellKey]:
    return [CellKey(arm, model, fold, seed) for seed in seeds for fold in folds for model in models for arm in arms]


def table(cells: list[CellKey]) -> Predictions:
    """Two lesions a cell."""
    rows = [(key, i) for key in cells for i in range(2)]
    names = np.array([f"L{key.fold}-{i}" for key, i in rows])
    truth = np.array([i for _, i in rows])
    columns = {name: np.array([getattr(key, name) for key, _ in rows]) for name in CellKey._fields}
    chance = np.linspace(0, 1, len(rows))
    return Predictions(
        lesion_id=names, group=names, diagnosis=np.where(truth == 1, "melanoma", "nevus"), truth=truth.astype(np.int8),
        probability=chance, raw_probability=chance, threshold=np.full(len(rows), 0.5),
        cell=np.array([str(key) for key, _ in rows]), **columns,
    )  # fmt: skip


def test_a_whole_grid_stays_whole():
    whole = table(planned())
    part, said = complete_part(whole, planned())
    assert (part.cells(), said) == (whole.cells(), [])
    np.testing.assert_array_equal(part.probability, whole.probability)


def test_a_block_that_one_arm_lacks_is_left_out_for_all():
    held = [key for key in planned() if key != CellKey("shsgan_x1", "cnn", 1, 0)]
    part, said = complete_part(table(held), planned())
    assert part.cells() == sorted(key for key in planned() if (key.fold, key.seed) != (1, 0))
    assert said == ["model cnn: left out, because not every arm finished there: fold 1 seed 0."]


def test_models_are_looked_at_one_by_one():
    keys = planned(("cnn", "spectral"))
    held = [key for key in keys if key.model == "spectral" or key.fold != 2]
    part, said = complete_part(table(held), keys)
    assert part.cells() == sorted(held)
    assert said == ["model cnn: left out, because not every arm finished there: fold 2 seed 0, fold 2 seed 1."]
    part, said = complete_part(table([key for key in keys if key.model == "cnn"]), keys)
    assert {key.model for key in part.cells()} == {"cnn"}
    assert said == ["model spectral: no cell was finished."]


def test_an_arm_without_a_cell_is_dropped_rather_than_everything():
    held = [key for key in planned() if key.arm != "shsgan_x1"]
    part, said = complete_part(table(held), planned())
    assert part.cells() == sorted(held)
    assert said == ["arm shsgan_x1 with cnn: too few of its cells were finished to compare it."]


def test_arms_are_dropped_until_the_others_share_a_block():
    held = [
        *(CellKey("real", "cnn", fold, 0) for fold in (0, 1)),
        *(CellKey("oversampled_x1", "cnn", fold, 0) for fold in (0, 1)),
        CellKey("shsgan_x1", "cnn", 2, 0),
    ]
    part, said = complete_part(table(held), planned(seeds=(0,)))
    assert {key.arm for key in part.cells()} == {"real", "oversampled_x1"}
    assert said == [
        "arm shsgan_x1 with cnn: too few of its cells were finished to compare it.",
        "model cnn: left out, because not every arm finished there: fold 2 seed 0.",
    ]


def test_of_arms_with_as_few_cells_references_stay():
    """The first planned is `real`, with which all others are compared."""
    held = [CellKey("real", "cnn", 0, 0), CellKey("oversampled_x1", "cnn", 0, 0), CellKey("shsgan_x1", "cnn", 1, 0)]
    part, said = complete_part(table(held), planned(seeds=(0,)))
    assert part.cells() == sorted(held[:2])
    assert said[0].startswith("arm shsgan_x1 ")


@pytest.mark.parametrize("models", [("other",), ("other", "third")])
def test_nothing_planned_is_held(models):
    part, said = complete_part(table(planned()), planned(models))
    assert part is None
    assert said == [f"model {model}: no cell was finished." for model in models]


def test_an_arm_that_has_only_begun_does_not_throw_away_what_is_finished():
    """A second night adds an arm and ends after its first cell."""
    arms = (*ARMS, "focal")
    held = [*planned(), CellKey("focal", "cnn", 0, 0)]
    part, said = complete_part(table(held), planned(arms=arms))
    assert part.cells() == sorted(planned())
    assert said == ["arm focal with cnn: too few of its cells were finished to compare it."]
