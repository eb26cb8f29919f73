"""Ratio and filter are chosen on validation, in each fold and seed; the test role has no say."""

from dataclasses import replace

import numpy as np
import pytest

from hyperderm.errors import ConfigError, StoreError, StudyError
from hyperderm.statistics.predictions import Predictions
from hyperderm.store.reader import Store, open_store
from hyperderm.store.writer import write_store
from hyperderm.studies.ablation.choice import choices, planned, with_choices
from hyperderm.studies.ablation.plan import Plan
from hyperderm.studies.ablation.records import record_plan
from tests.studies.grids import KINDS, generator, lesions, plan, predictions, store, synthetic_set

MAKERS = {"shsgan": generator()}


def grid(real, **changes) -> Plan:
    asked = {"arms": ["synthetic"], "ratios": [0.5, 1.0], "choose": "validation", "models": ["small_cnn"], "folds": [0, 1]}
    return plan(real, MAKERS, **(asked | changes))


def results(made: Plan, losses: dict[str, list[float]]) -> dict[str, dict]:
    """What cells leave; an arm's losses by fold."""
    return {
        job.key: {"judgement": {"calibrated_log_loss": losses.get(job.arm, [9.0, 9.0])[job.fold]}}
        for job in made.stage("cell")
    }


def test_the_lowest_loss_of_each_fold_lends_its_predictions(real):
    made = grid(real)
    assert [arm.name for arm in made.arms if arm.chosen_from] == ["shsgan_chosen_control", "shsgan_chosen"]
    losses = {
        "shsgan_x0.5": [0.4, 0.7],
        "shsgan_x1": [0.5, 0.6],
        "oversampled_x0.5": [0.3, 0.3],
        "oversampled_x1": [0.4, 0.2],
    }
    found = choices(made, results(made, losses))
    assert {(each.arm, each.fold): each.chosen for each in found} == {
        ("shsgan_chosen", 0): "shsgan_x0.5", ("shsgan_chosen", 1): "shsgan_x1",
        ("shsgan_chosen_control", 0): "oversampled_x0.5", ("shsgan_chosen_control", 1): "oversampled_x1",
    }  # fmt: skip
    table = Predictions.concatenate(predictions(made, job) for job in made.stage("cell"))
    whole = with_choices(table, found)
    for fold, arm in ((0, "shsgan_x0.5"), (1, "shsgan_x1")):
        own, lent = (whole.where(arm=name, fold=fold) for name in ("shsgan_chosen", arm))
        np.testing.assert_array_equal(own.probability, lent.probability)
        assert set(own.cell) == set(lent.cell)  # says whose they are
    assert {key for key in planned(made) if key.arm == "shsgan_chosen"} <= set(whole.cells())
    assert len(planned(made)) == len(set(whole.cells())) == len(made.stage("cell")) + 4


def test_chosen_arms_are_compared_and_train_nothing(real):
    made, plain = grid(real), grid(real, choose="nothing")
    assert [job.key for job in made.jobs] == [job.key for job in plain.jobs]
    new = set(made.contrasts) - set(plain.contrasts)
    assert new == {("shsgan_chosen", "real", "small_cnn"), ("shsgan_chosen", "shsgan_chosen_control", "small_cnn")}


def test_a_cell_that_is_missing_is_no_choice(real):
    made = grid(real)
    left = results(made, {})
    (lost,) = [job for job in made.stage("cell") if (job.arm, job.fold) == ("shsgan_x1", 1)]
    del left[lost.key]
    assert {(each.arm, each.fold) for each in choices(made, left)} == {
        ("shsgan_chosen", 0), ("shsgan_chosen_control", 0), ("shsgan_chosen_control", 1)
    }  # fmt: skip


def test_negative_controls_are_no_candidates_and_one_control_stays_itself(real):
    made = grid(real, arms=["synthetic", "filtered", "without_melanoma"], filters=["confidence"], ratios=[1.0])
    (arm,) = [each for each in made.arms if each.chosen_from]
    assert arm.chosen_from == ("shsgan_x1", "shsgan_confidence_x1")
    assert arm.control == "oversampled_x1"


def test_a_model_for_which_too_few_arms_have_a_meaning(real):
    made = grid(real, arms=["synthetic", "pretrain"], ratios=[1.0], models=["spectral", "small_cnn"])
    assert ("shsgan_chosen", "spectral") in {(arm, model) for arm, model, _ in made.left_out}
    assert "shsgan_chosen" in {arm for arm, _, model in made.contrasts if model == "small_cnn"}
    both = grid(real, arms=["synthetic", "filtered", "pretrain"], filters=["confidence"], ratios=[1.0], models=["spectral"])
    assert ("shsgan_chosen", "shsgan_chosen_control", "spectral") in both.contrasts  # chosen among the one that is left


def test_nothing_to_choose_is_refused(real):
    with pytest.raises(ConfigError, match="choose = validation, and shsgan has 1 arm to choose among"):
        grid(real, ratios=[1.0])
    with pytest.raises(ConfigError, match="choose"):
        grid(real, choose="test")


def test_what_is_chosen_among_is_part_of_the_grids_identity(real):
    """Fewer ratios, after the report was read, would be another arm under the same name."""
    from hyperderm.workflows.grid_identity import identity

    wide, narrow = (identity(grid(real, ratios=ratios)) for ratios in ([0.5, 1.0, 2.0], [0.5, 2.0]))
    assert wide["shsgan_chosen.chosen_from"] == ["shsgan_x0.5", "shsgan_x1", "shsgan_x2"]
    assert wide["shsgan_chosen.chosen_from"] != narrow["shsgan_chosen.chosen_from"]
    assert identity(grid(real, arms=["filtered"], pool=5.0))["pool"] == 5.0
    assert "pool" not in identity(grid(real)), "arms that join later have no use for it"


def test_the_pool_is_of_filtered_arms_alone_and_stays_what_it_was(real, tmp_path):
    from hyperderm.training.run_folder import claim
    from hyperderm.workflows.grid_identity import identity

    def join(**changes) -> None:
        with claim(tmp_path / "grid", identity(grid(real, choose="nothing", **changes)), grows=True):
            pass

    join(arms=["filtered"], pool=5.0)
    join(arms=["synthetic"])
    with pytest.raises(StudyError, match=r"pool: 5\.0 -> 3\.0"):
        join(arms=["filtered"])
    with pytest.raises(ConfigError, match=r'pool = 5 with arms = .*the arm "filtered" alone uses it'):
        join(arms=["synthetic"], pool=5.0)


def test_a_block_that_was_not_asked_all_candidates_chooses_none(real, tmp_path):
    """Seed 0 was run with one ratio, seed 1 with two: only seed 1 chooses."""
    record_plan(tmp_path, grid(real, ratios=[0.5, 2.0], seeds=[0], choose="nothing"))
    joined = record_plan(tmp_path, grid(real, seeds=[1]))
    made = choices(joined, results(joined, {}))
    assert {each.seed for each in made if each.arm == "shsgan_chosen"} == {1}


def test_a_cell_with_other_settings_under_the_same_name_is_refused(real, tmp_path):
    record_plan(tmp_path, grid(real, arms=["filtered"], filters=["random"], choose="nothing"))
    with pytest.raises(StudyError, match=r"cell shsgan_random_x0\.5/small_cnn fold 0 seed 0 was asked for with other"):
        record_plan(tmp_path, grid(real, arms=["filtered"], filters=["random"], choose="nothing", pool=5.0))


def test_the_state_of_a_generator_can_be_chosen(real):
    """One generator, two sets: its best state by its own score, and its last; both cells may be chosen."""
    made = grid(real, ratios=[1.0], checkpoints=["best", "latest"], folds=[0])
    best, last = (next(job for job in made.stage("cell") if job.arm == arm) for arm in ("shsgan_x1", "shsgan_latest_x1"))
    sets = {job.key: job for job in made.stage("synthetic")}
    assert [sets[cell.needs[0]].checkpoint for cell in (best, last)] == ["best", "latest"]
    assert len(made.stage("generator")) == 1
    assert best.key in {job.key for job in grid(real, ratios=[1.0], folds=[0], choose="nothing").jobs}
    (chosen,) = [arm for arm in made.arms if arm.chosen_from]
    assert (chosen.chosen_from, chosen.control) == (("shsgan_x1", "shsgan_latest_x1"), "oversampled_x1")


def test_cubes_of_both_classes_are_drawn_from_both_states(real):
    made = grid(real, arms=["proportional"], ratios=[1.0], checkpoints=["latest", "best"], choose="nothing")
    assert [arm.name for arm in made.arms if arm.generator] == ["shsgan_proportional_latest_x1", "shsgan_proportional_x1"]


def test_a_generator_without_a_last_state_is_refused(real):
    from hyperderm import registry

    makers = registry.generators(["smote"], "small")
    with pytest.raises(ConfigError, match="checkpoints names latest, and smote has one state: it is fitted at once"):
        plan(real, makers, arms=["synthetic"], generators=["smote"], checkpoints=["latest"], models=["small_cnn"])


def test_a_set_made_elsewhere_has_one_state(real, tmp_path):
    uri = synthetic_set(tmp_path / "made", real, 0, {"melanoma": 20})
    asked = {"arms": ["synthetic"], "generators": ["made"], "sets": {"made": {"0": uri}}, "folds": [0]}
    with pytest.raises(ConfigError, match="checkpoints names latest, and the sets of made were made elsewhere"):
        plan(real, {}, **asked, checkpoints=["best", "latest"])


@pytest.mark.parametrize(
    ("states", "arms", "said"),
    [
        (["latest"], ["filtered"], r"checkpoints = \['latest'\] with arms = \['filtered'\] is refused"),
        (["best", "best"], ["synthetic"], r"checkpoints = \['best', 'best'\] names one twice"),
        (["first"], ["synthetic"], "checkpoints"),
        ([], ["synthetic"], "checkpoints"),
    ],
)
def test_states_that_cannot_be_drawn_are_refused(real, states, arms, said):
    with pytest.raises(ConfigError, match=said):
        plan(real, MAKERS, arms=arms, checkpoints=states)


def without_validation(place, fold: int) -> Store:
    """A store whose validation role of one fold is empty: its lesions belong to the test role."""
    found = store(place)
    moved = {group: fold if of == (fold + 1) % 5 else of for group, of in found.folds().groups.items()}
    folds = found.folds().model_copy(update={"groups": moved})
    return replace(found, manifest=found.manifest.model_copy(update={"folds": folds}))


def test_a_choice_on_validation_needs_a_validation_role(tmp_path):
    write_store(str(tmp_path / "free"), lesions(KINDS), fold_count=0)
    free = open_store(str(tmp_path / "free"))
    with pytest.raises(
        StoreError, match=r"^choose = validation needs a validation role: store .*free has no folds.*--folds"
    ):
        grid(free)
    with pytest.raises(StoreError, match=r"^store .*free has no folds"):
        grid(free, choose="nothing")
    holed = without_validation(tmp_path / "holed", 1)
    said = (
        r"the validation role of fold 1 holds no \w+, and choose = validation chooses by what it holds\. Leave that fold out"
    )
    with pytest.raises(StoreError, match=said):
        grid(holed)
    with pytest.raises(StoreError, match=r"the validation role of fold 1 holds no \w+\. Leave that fold out"):
        grid(holed, choose="nothing")
    grid(holed, folds=[3])
