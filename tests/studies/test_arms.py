"""The arms that the literature asks for and their negative controls: what they draw, show, and are compared with."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from hyperderm.errors import ConfigError, StoreError, StudyError
from hyperderm.grid_config import HURDLE
from hyperderm.learners.dcgan import DcganConfig
from hyperderm.learners.mixture import MixtureConfig
from hyperderm.learners.sampling import apportioned
from hyperderm.store.folds import POSITIVE
from hyperderm.store.reader import open_store
from hyperderm.store.synthetic import origin_of
from hyperderm.store.writer import write_store
from hyperderm.studies.ablation.jobs import SPARE
from hyperderm.studies.ablation.plan import Plan
from tests.studies.grids import generator, lesions, plan, synthetic_set

NEVUS = "dysplastic_nevus"
WHERE = "shsgan was made elsewhere, by one generator that is not at hand"


def fitted():
    """A generator that is fitted at once, told the diagnosis."""
    steps = {"batch_size": 8, "images": 8, "validate_every": 8, "validation_samples": 8}
    base = generator().model_copy(update={"learner": MixtureConfig(conditioning="class", dimensions=4)})
    return base.override({f"training.{name}": value for name, value in steps.items()})


def planned(real, **changes) -> Plan:
    changes = {"folds": [0], "models": ["small_cnn"]} | changes
    return plan(real, {"shsgan": fitted(), "noisy_copies": fitted()}, **changes)


def cell(made: Plan, arm: str):
    (found,) = [job for job in made.stage("cell") if job.arm == arm]
    return found


def source(made: Plan, arm: str):
    """The set that a cell reads."""
    (found,) = [job for job in made.stage("synthetic") if job.key in cell(made, arm).needs]
    return found


def test_filters_choose_as_many_cubes_from_a_larger_set(real):
    made = planned(real, arms=["synthetic", "filtered"], filters=["confidence", "copies"], pool=2.5)
    plain, judged = source(made, "shsgan_x1"), source(made, "shsgan_confidence_x1")
    assert judged.counts == {POSITIVE: 9 + SPARE}
    assert judged.drawn == {POSITIVE: 43}
    assert judged.curation == {"keep": "confidence"}
    assert plain.counts == {POSITIVE: 43}  # one set serves both: its first nine cubes are the plain arm's
    assert judged.needs == (plain.key, *plain.needs)
    assert cell(made, "shsgan_confidence_x1").experiment == cell(made, "shsgan_x1").experiment
    assert len({source(made, f"shsgan_{part}x1").key for part in ("", "confidence_", "copies_")}) == 3
    places = [made.jobs.index(job) for job in (plain, judged, cell(made, "shsgan_confidence_x1"))]
    assert places == sorted(places)


def test_a_filtered_set_does_not_depend_on_other_ratios(real):
    one, two = (planned(real, arms=["filtered"], filters=["confidence"], ratios=ratios) for ratios in ([1.0], [1.0, 2.0]))
    assert source(one, "shsgan_confidence_x1").key == source(two, "shsgan_confidence_x1").key
    assert cell(one, "shsgan_confidence_x1").key == cell(two, "shsgan_confidence_x1").key


def test_matched_sets_keep_every_cube(real):
    made = planned(real, arms=["matched"])
    assert [arm.name for arm in made.arms if arm.generator] == [
        f"shsgan_matched_{what}_x1" for what in ("moments", "noise", "both")
    ]
    found = source(made, "shsgan_matched_both_x1")
    assert (found.curation, found.counts, found.drawn) == ({"match": "both"}, *[{POSITIVE: 9 + SPARE}] * 2)


def test_a_generator_that_never_saw_melanoma(real):
    made = planned(real, arms=["without_melanoma", "synthetic"])
    named = source(made, "shsgan_without_melanoma_x1")
    assert (named.curation, named.counts) == ({"named": POSITIVE}, {NEVUS: 9 + SPARE})
    (maker,) = [job for job in made.stage("generator") if job.key in named.needs]
    assert maker.experiment.data.diagnoses == (NEVUS,)
    assert maker.label == "shsgan (without melanoma) fold 0"
    assert [arm.name for arm in made.arms if arm.negative] == ["shsgan_without_melanoma_x1"]


def test_nor_did_its_unmixing_net(real):
    """See test_unmixed_generators.py for how a net is trained for a generator."""
    from hyperderm import registry

    makers = registry.generators(["mixture"], "small") | registry.unmixers(["unmixer"], "small")
    small = {name: each.override({"data.size": 16, "training.validation_samples": 8}) for name, each in makers.items()}
    small["mixture"] = small["mixture"].override({"learner.unmixing": "pending"})
    made = plan(
        real, small, arms=["without_melanoma"], generators=["mixture"], unmixers={"mixture": "unmixer"}, folds=[0],
        models=["small_cnn"],
    )  # fmt: skip
    seen = {job.label: job.experiment.data.diagnoses for job in made.stage("generator")}
    assert set(seen.values()) == {(NEVUS,)}, seen
    assert len(seen) == 2


def test_noisy_copies_need_no_generator_of_the_grid(real):
    made = planned(real, arms=["noisy_copies"], generators=[])
    assert [(arm.name, arm.control) for arm in made.arms if arm.negative] == [("noisy_copies_x1", "oversampled_x1")]
    assert made.contrasts == [("noisy_copies_x1", "real", "small_cnn"), ("noisy_copies_x1", "oversampled_x1", "small_cnn")]


def test_strong_augmentation_has_to_be_beaten_by_all_but_the_controls(real):
    made = planned(real, arms=["synthetic", "strong", "noisy_copies"])
    assert cell(made, HURDLE).experiment.learner.augmentation == "classic+spectral"
    assert Counter(reference for arm, reference, _ in made.contrasts if arm == "shsgan_x1") == {
        "real": 1, "oversampled_x1": 1, "strong": 1
    }  # fmt: skip
    assert {reference for arm, reference, _ in made.contrasts if arm == "noisy_copies_x1"} == {"real", "oversampled_x1"}


def test_the_head_alone_is_trained_on_real_cubes(real):
    made = planned(real, arms=["pretrain", "pretrain_head"])
    whole, head = (cell(made, f"shsgan_{name}").experiment for name in ("pretrain", "pretrain_head"))
    assert head.synthetic.use == "pretrain_head"
    assert head.training == whole.training
    assert [reference for arm, reference, _ in made.contrasts if arm == "shsgan_pretrain_head"] == ["real", "classic"]


def test_sets_made_elsewhere_can_be_filtered_too(real, tmp_path: Path):
    uri = synthetic_set(tmp_path / "made", real, 0, {POSITIVE: 30})
    made = planned(
        real, arms=["filtered", "without_melanoma"], filters=["random"], sets={"shsgan": {"0": uri}}
    )  # fmt: skip
    found = source(made, "shsgan_random_x1")
    assert (found.store, found.needs, found.drawn) == (uri, (), {POSITIVE: 27})
    assert ("shsgan_without_melanoma_x1", "small_cnn", WHERE) in made.left_out
    assert origin_of(open_store(uri).manifest).curated is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": ["filtered"], "filters": ["best"]}, "filters"),
        ({"arms": ["matched"], "matches": ["texture"]}, "matches"),
        ({"arms": ["controls"]}, "arms"),
        ({"arms": ["filtered"], "filters": []}, "filters"),
        ({"arms": ["filtered"], "filters": ["judge", "judge"]}, "filters = .* names one twice"),
        ({"arms": ["filtered"], "pool": 1.0}, "pool"),
    ],
)
def test_unknown_words_are_refused_by_the_field(real, changes, message):
    with pytest.raises(ConfigError, match=message):
        planned(real, **changes)


def test_a_whole_is_divided_without_rest():
    assert apportioned(7, {"a": 10, "b": 10, "c": 1}) == {"a": 4, "b": 3}
    assert apportioned(9, {"a": 3, "b": 6}) == {"a": 3, "b": 6}
    assert sum(apportioned(100, {"a": 1, "b": 1, "c": 1}).values()) == 100


def test_a_generator_told_the_diagnosis(real):
    makers = {"shsgan": fitted().override({"data.diagnoses": [POSITIVE], "learner.conditioning": "none"})}
    made = plan(real, makers, arms=["synthetic", "conditional"], folds=[0], models=["small_cnn"])
    learnt = [job.experiment.data.diagnoses for job in made.stage("generator")]
    assert learnt == [(POSITIVE,), (NEVUS, POSITIVE)]
    assert source(made, "shsgan_conditional_x1").key != source(made, "shsgan_x1").key
    (arm,) = [arm for arm in made.arms if arm.word == "conditional"]
    assert (arm.variant, arm.control) == ("all_classes", "oversampled_x1")


def test_a_generator_that_learns_melanomas_alone_beside_one_that_is_told_the_diagnosis(real):
    made = planned(real, arms=["synthetic", "melanoma_only"], folds=[0], models=["small_cnn"])
    whole, alone = (job.experiment for job in made.stage("generator"))
    assert (whole.data.diagnoses, alone.data.diagnoses) == ("all", (POSITIVE,))
    assert (whole.learner.conditioning, alone.learner.conditioning) == ("class", "none")
    (arm,) = [arm for arm in made.arms if arm.word == "melanoma_only"]
    assert (arm.name, arm.control) == ("shsgan_melanoma_only_x1", "oversampled_x1")
    again = plan(real, {"shsgan": generator(data__diagnoses=[POSITIVE])}, arms=["synthetic", "melanoma_only"])
    assert {(name, why) for name, _, why in again.left_out} == {
        ("shsgan_melanoma_only_x1", "shsgan learns melanomas alone anyway")
    }


def test_photographs_and_their_arm_belong_together(real, tmp_path: Path):
    with pytest.raises(ConfigError, match="photographs = None with arms"):
        planned(real, arms=["photographs"])
    with pytest.raises(ConfigError, match="photographs = rgb with arms"):
        planned(real, photographs="rgb")
    made = planned(real, arms=["synthetic", "photographs"], photographs="rgb")
    (reason,) = [why for arm, _, why in made.left_out if arm == "shsgan_photographs_x1"]
    assert "shsgan cannot learn from photographs" in reason
    assert not [job for job in made.jobs if "photographs" in job.label]


def test_photographs_of_held_out_lesions_are_refused(tmp_path: Path):
    """The same files as those of the store, which a set would show again under other names."""
    made = [replace(one, origin={"sha256": one.lesion_id}) for one in lesions({POSITIVE: 15, NEVUS: 25})]
    write_store(str(tmp_path / "real"), made, fold_count=5, seed=0)
    pictures = [
        replace(one, lesion_id=f"P{one.lesion_id}", image_id=f"P{one.lesion_id}", group=f"P{one.group}") for one in made
    ]
    write_store(str(tmp_path / "rgb"), pictures, fold_count=0, kind="rgb")
    real = open_store(str(tmp_path / "real"))
    with pytest.raises(StoreError, match=r"rgb = .* shows 8 of 8 lesions of the validation role of fold 0 \(8 by file\)"):
        plan(real, {"shsgan": generator()}, rgb=str(tmp_path / "rgb"), folds=[0])
    train = [each for each in pictures if real.folds().role(each.group.removeprefix("P"), 0) == "train"]
    write_store(str(tmp_path / "train"), train, fold_count=0, kind="rgb")
    with pytest.raises(StoreError, match=r"rgb = .* shows 24 of 24 lesions of the train role of fold 0 \(24 by file\)"):
        plan(real, {"shsgan": generator()}, rgb=str(tmp_path / "train"), folds=[0])


def test_an_arm_that_would_be_another_one_again_is_left_out(real):
    """A generator that learns every class is its own conditional one."""
    made = planned(real, arms=["synthetic", "conditional"])
    assert ("shsgan_conditional_x1", "small_cnn", "shsgan learns every class of the task anyway") in made.left_out
    assert {arm for arm, _, _ in made.contrasts} == {"shsgan_x1"}


def test_a_filter_without_enough_melanomas_is_left_out_before_a_generator_trains(real):
    made = planned(real, arms=["filtered"], filters=["judge", "random"])
    (why,) = [reason for arm, _, reason in made.left_out if arm == "shsgan_judge_x1"]
    assert why == "its judge needs 10 melanomas of different groups, train of fold 0 holds 9"


def test_told_generators_learn_without_melanoma_too(real):
    """With one class left there is nothing to balance or to tell."""
    told = generator().model_copy(update={"learner": DcganConfig(conditioning="class", balance_classes=True)})
    made = plan(real, {"shsgan": told}, arms=["without_melanoma"], folds=[0], models=["small_cnn"])
    (maker,) = made.stage("generator")
    learner = maker.experiment.learner
    assert (maker.experiment.data.diagnoses, learner.conditioning, learner.balance_classes) == ((NEVUS,), "none", False)


def test_photographs_of_no_diagnosis_serve_melanoma_alone(real, tmp_path: Path):
    pictures = [replace(one, diagnosis=None) for one in lesions({POSITIVE: 9})]
    write_store(str(tmp_path / "rgb"), pictures, fold_count=0, kind="rgb")
    asked = {"rgb": str(tmp_path / "rgb"), "folds": [0]}
    assert plan(real, {"shsgan": generator()}, **asked).stage("synthetic")
    with pytest.raises(StudyError, match="arm shsgan_without_melanoma_x1 needs photographs of dysplastic_nevus"):
        plan(real, {"shsgan": generator()}, arms=["without_melanoma"], **asked)
