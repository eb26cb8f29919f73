"""The plan: how many jobs, what names them, what generators may see, and the order that keeps a short night balanced."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from hyperderm import registry
from hyperderm.errors import ConfigError
from hyperderm.learners.data import truth
from hyperderm.learners.shsgan import ShsGanConfig
from hyperderm.studies.ablation.jobs import SPARE
from hyperderm.studies.ablation.plan import Plan, make_plan
from hyperderm.training.selection import select
from tests.learners.tissue import lesions as tissue
from tests.learning import shown
from tests.studies.grids import FOLDS, generator, grid, keys, plan, store, synthetic_set

ROOT = Path(__file__).resolve().parents[2]
EVERY = ["real", "classic", "oversampled", "focal", "synthetic", "only", "pretrain", "both"]
MELANOMA_ONLY = {"shsgan": generator(data__diagnoses=["melanoma"])}
NO_WEIGHTS = ["spectral", "small_cnn", "efficientnet_lite0_scratch"]


def counted(made: Plan) -> dict[str, int]:
    return dict(Counter(job.stage for job in made.jobs))


def cells(made: Plan, arm: str) -> list:
    return [job for job in made.stage("cell") if job.arm == arm]


# --- how many


def test_the_small_profile_has_every_negative_control(real):
    small = registry.ablation("synthetic_vs_real", "small").override({"size": 16})
    made = make_plan(small, real, registry.generators(small.trained, "small"))
    curve = {"real@0.25", "real@0.5", "oversampled_x1@0.25"}
    controls = {"shsgan_without_melanoma_x1", "shsgan_shuffled_x1", "noisy_copies_x1"}
    both = {"real", *curve, "oversampled_x1", "shsgan_x1", "shsgan_only"} | controls
    assert {job.arm for job in made.stage("cell") if job.model == "spectral"} == both
    assert {job.arm for job in made.stage("cell") if job.model == "small_cnn"} == both | {"classic"}
    assert counted(made) == {"generator": 15, "synthetic": 20, "cell": 210, "judge": 15}
    assert {arm for arm, model, _ in made.left_out if model == "spectral"} == {"classic"}


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({}, {"generator": 5, "synthetic": 5, "cell": 30}),
        ({"arms": ["real", "oversampled"]}, {"cell": 20}),
        ({"folds": [3], "seeds": [0, 4]}, {"generator": 1, "synthetic": 1, "cell": 12}),
        (
            {"ratios": [1, 2, "balance"], "models": ["small_cnn"], "folds": [0, 1]},
            {"generator": 2, "synthetic": 2, "cell": 14},
        ),
        ({"arms": ["only"], "models": ["spectral"], "folds": [2]}, {"generator": 1, "synthetic": 1, "cell": 2}),
    ],
)
def test_number_of_jobs(real, overrides, expected):
    assert counted(plan(real, **overrides)) == expected


def test_every_arm_of_the_full_profile(tmp_path):
    real = store(tmp_path / "real", {"melanoma": 20, "dysplastic_nevus": 30})  # enough melanomas for a judge
    batches = {f"classifiers.{name}.training.batch_size": 16 for name in NO_WEIGHTS}
    small = {"classifiers.efficientnet_lite0_scratch.learner.architecture": "small_cnn"}  # serves 16 px
    full = registry.ablation("synthetic_vs_real", "full").override({"size": 16, "models": NO_WEIGHTS, **batches, **small})
    made = make_plan(full, real, registry.generators(full.trained, "full"))
    added, both, first, chosen, plain = 2 * 7, 2 * 2 + 2, 3, 2, 1 + 2 + 3 + 1 + 1 + 2 + 1
    assert len(made.arms) == plain + added + both + first + 2 + chosen
    unsuited = {"classic", "classic@0.25", "strong", "focal", "shsgan_pretrain", "shsgan_pretrain_head"}
    assert {(arm, model) for arm, model, _ in made.left_out} == {(arm, "spectral") for arm in unsuited}
    # own and of all classes, best and last; pre-trained, without melanoma, noisy copies; two filters, matched, named
    sets, curated = 7, 2 * 4
    trained = len(made.arms) - chosen
    assert counted(made) == {
        "generator": 6 * 5, "synthetic": (sets + curated) * 5, "cell": (trained * 3 - len(unsuited)) * 5 * 3,
        "judge": (4 + 2 + curated) * 2 * 5,
    }  # fmt: skip
    assert len({job.key for job in made.jobs}) == len(made.jobs)
    network, spectral = 2 * (added + both + 2 + 2 + 1) + (added - 2 + 4 + 2 + 1), 2 * (added + 2 + 1) + both
    assert len(made.contrasts) == 2 * network + spectral
    assert {job.gpus for job in made.stage("cell") if job.model == "spectral"} == {0.0}
    assert {job.gpus for job in made.jobs if job.model != "spectral" and not job.curation} == {1.0}


def test_contrasts_keep_to_what_runs(real):
    made = plan(real, arms=EVERY)
    for arm, reference, model in made.contrasts:
        assert cells(made, arm)
        assert any(job.model == model for job in cells(made, reference))


# --- keys


def test_keys_are_the_same_in_another_process(real):
    code = """
import json, sys
from hyperderm.store.reader import open_store
from tests.studies.grids import keys, plan
print(json.dumps(keys(plan(open_store(sys.argv[1]), arms=json.loads(sys.argv[2]), ratios=[1, "balance"]))))
"""
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    words = [sys.executable, "-c", code, real.location.uri, json.dumps(EVERY)]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == keys(plan(real, arms=EVERY, ratios=[1, "balance"]))


@pytest.mark.parametrize(
    "later",
    [
        {"seeds": [0, 1, 2]},
        {"arms": EVERY},
        {"ratios": [0.5, 1, 4, "balance"]},
        {"models": ["small_cnn", "spectral", "other_cnn"]},
        {"resources__gpus": 1.0, "resources__concurrent": 2},
        {"profile": "full", "name": "other"},
        {"classifiers__other_cnn__learner__lr": 0.5},
    ],
)
def test_what_joins_later_leaves_every_key_as_it_was(real, later):
    before, after = plan(real), plan(real, **later)
    assert keys(before).items() <= keys(after).items()
    for old, new in zip(before.stage("generator"), after.stage("generator"), strict=False):
        assert old.folder == new.folder


def test_a_fold_s_keys_do_not_depend_on_other_folds(real):
    assert keys(plan(real, folds=[3])).items() <= keys(plan(real)).items()


def test_a_larger_set_is_another_folder_under_the_same_key(real):
    before, after = plan(real, folds=[0]).stage("synthetic")[0], plan(real, folds=[0], ratios=[1, 4]).stage("synthetic")[0]
    assert (before.key, before.folder != after.folder) == (after.key, True)
    assert after.counts["melanoma"] - SPARE == 4 * (before.counts["melanoma"] - SPARE)


@pytest.mark.parametrize(
    ("change", "untouched"),
    [
        ({"classifiers__small_cnn__learner__lr": 0.01}, {"generator", "synthetic"}),
        ({"classifiers__small_cnn__training__images": 128}, {"generator", "synthetic"}),
        ({"generator_seed": 5}, set()),
        ({"generator_settings": {"shsgan": {"learner.n_critic": 3}}}, set()),
    ],
)
def test_what_shapes_a_result_is_in_its_key(real, change, untouched):
    asked = grid(**change)
    makers = {"shsgan": generator().override(asked.generator_settings.get("shsgan", {}))}
    before, after = plan(real, models=["small_cnn"]), plan(real, makers, models=["small_cnn"], **change)
    synthetic = {"synthetic": "shsgan_x1", "cell": "shsgan_x1"}
    for stage in ("generator", "synthetic", "cell"):
        old = [job.key for job in before.stage(stage) if job.arm in ("", synthetic["cell"])]
        new = [job.key for job in after.stage(stage) if job.arm in ("", synthetic["cell"])]
        assert (old == new) == (stage in untouched), stage
        assert set(old).isdisjoint(new) or stage in untouched
    real_cells = [[job.key for job in cells(made, "real")] for made in (before, after)]
    assert (real_cells[0] == real_cells[1]) == (not any(name.startswith("classifiers") for name in change))


def test_another_store_has_other_keys(real, tmp_path):
    other = store(tmp_path / "other", {"melanoma": 15, "dysplastic_nevus": 26})
    assert set(keys(plan(real)).values()).isdisjoint(keys(plan(other)).values())


def test_a_set_made_elsewhere_is_known_by_its_content_not_its_address(real, tmp_path):
    uris = [synthetic_set(tmp_path / name, real, 0, {"melanoma": 9}) for name in ("a", "b")]
    other = synthetic_set(tmp_path / "c", real, 0, {"melanoma": 10})
    found = [
        cells(plan(real, {}, folds=[0], generators=["made"], sets={"made": {"0": uri}}), "made_x1")[0]
        for uri in (*uris, other)
    ]
    assert found[0].key == found[1].key != found[2].key
    assert [job.store for job in found] == [*uris, other]
    assert all(job.needs == () for job in found)


# --- what is shared


def test_equal_generators_are_one_job_and_one_set(real):
    both = {"shsgan": generator(), "twin": generator(), "other": generator(learner__n_critic=5)}
    made = plan(real, both, generators=list(both), folds=[0, 1])
    assert counted(made) | {"cell": 0} == {"generator": 4, "synthetic": 4, "cell": 0}
    assert len({job.key for job in made.jobs if job.stage != "cell"}) == 8
    identical = [{job.key for job in cells(made, f"{name}_x1")} for name in ("shsgan", "twin", "other")]
    assert identical[0] == identical[1]
    assert identical[0].isdisjoint(identical[2])


def test_a_set_is_as_large_as_its_largest_reader(real):
    made = plan(real, arms=EVERY, ratios=[0.5, 2], folds=[0])
    (one,) = made.stage("synthetic")  # the generator learns every class: all variants are one
    held = truth([row["diagnosis"] for row in real.read(made.selections[0].train).to_pylist()])
    positives = int(held.sum())
    assert dict(one.counts) == {"melanoma": 2 * positives + SPARE, "dysplastic_nevus": len(held) - positives + SPARE}
    wanted = {"shsgan_x0.5": round(0.5 * positives), "shsgan_x2": 2 * positives}
    for arm, count in wanted.items():
        (phase,) = shown(cells(made, arm)[0].experiment, tissue(positives, 15, ("melanoma",) * 40))
        assert int((phase.entries >= positives + 15).sum()) == count


# --- generators


def test_a_generator_sees_the_train_role_of_its_fold_and_nothing_else(real):
    folds = real.folds()
    for job in plan(real, MELANOMA_ONLY, arms=EVERY).stage("generator"):
        assert job.experiment.data.fold == job.fold
        assert job.experiment.data.size == 16
        chosen = select(real, job.experiment)
        for lesions, role in ((chosen.train, "train"), (chosen.extra, "train"), (chosen.validation, "validation")):
            assert {folds.role(lesion, job.fold) for lesion in lesions} <= {role}
            assert not {lesion for lesion in lesions if folds.groups[lesion] == job.fold}


def test_a_cell_s_set_comes_from_the_generator_of_its_own_fold(real):
    made = plan(real, MELANOMA_ONLY, arms=EVERY, ratios=[1, "balance"])
    jobs = {job.key: job for job in made.jobs}
    for job in made.stage("cell"):
        assert len(job.needs) == (job.arm.startswith("shsgan"))
        for need in job.needs:
            (maker,) = jobs[need].needs
            assert jobs[need].fold == jobs[maker].fold == job.fold
            assert (jobs[need].stage, jobs[maker].stage) == ("synthetic", "generator")
            begun = {jobs[before].fold for before in jobs[maker].needs}
            assert begun == ({job.fold} if "both" in job.arm else set())


def test_variants_of_a_generator_of_melanomas(real):
    made = plan(real, MELANOMA_ONLY, arms=EVERY, folds=[0])
    by_label = {job.label: job.experiment for job in made.stage("generator")}
    suffixes = ("", " (all classes)", " (pretraining)", " (pretrained)")
    own, every, first, second = (by_label[f"shsgan{suffix} fold 0"] for suffix in suffixes)
    assert own.data.diagnoses == second.data.diagnoses == ("melanoma",)
    assert every.data.diagnoses == first.data.diagnoses == ("dysplastic_nevus", "melanoma")
    assert first.training.images + second.training.images == own.training.images == every.training.images
    assert (own.learner.start, first.learner.start, second.learner.start) == (None, None, "pending")
    variant = {arm.name: arm.variant for arm in made.arms if arm.generator}
    assert variant == {
        "shsgan_x1": "own", "shsgan_both_x1": "pretrained", "shsgan_only": "all_classes", "shsgan_pretrain": "all_classes"
    }  # fmt: skip
    assert [job.counts for job in made.stage("synthetic")] == [
        {"melanoma": 9 + SPARE}, {"melanoma": 9 + SPARE}, {"melanoma": 9 + SPARE, "dysplastic_nevus": 15 + SPARE}
    ]  # fmt: skip


def test_a_generator_of_every_class_is_its_own_variants(real):
    made = plan(real, arms=EVERY, folds=[0])
    assert [job.label for job in made.stage("generator")] == ["shsgan fold 0"]
    (job,) = made.stage("generator")
    assert job.experiment.data.diagnoses == "all"


def test_a_generator_that_is_pre_trained_begins_from_a_job_of_its_own(real):
    """The seeds' "pre-trained on both classes": two runs, the second known by the first."""
    made = plan(real, MELANOMA_ONLY, arms=["both"], folds=[0, 1])
    jobs = {job.label: job for job in made.stage("generator")}
    for fold in (0, 1):
        first, second = jobs[f"shsgan (pretraining) fold {fold}"], jobs[f"shsgan (pretrained) fold {fold}"]
        assert (second.needs, second.inputs) == ((first.key,), {"start": first.key})
        assert (first.needs, first.inputs) == ((), {})
    slower = {"shsgan": generator(data__diagnoses=["melanoma"], learner__lr_critic=2e-4)}
    other = plan(real, slower, arms=["both"], folds=[0])
    (changed,) = (job for job in other.stage("generator") if "pretrained" in job.label)
    assert changed.key != jobs["shsgan (pretrained) fold 0"].key


def test_a_generator_that_cannot_begin_from_a_run_is_not_pre_trained(real, monkeypatch):
    monkeypatch.setattr(ShsGanConfig, "inputs", ())
    made = plan(real, MELANOMA_ONLY, arms=["synthetic", "both"])
    assert {arm for arm, _, _ in made.left_out} == {"shsgan_both_x1"}
    assert all("cannot begin from another run" in reason for _, _, reason in made.left_out)


def test_a_generator_of_a_grid_names_no_run_itself(real):
    with pytest.raises(ConfigError, match=r'generator shsgan begins from a run \(learner.start = a-run\).*arm "both"'):
        plan(real, {"shsgan": generator(learner__start="a-run")})


def test_all_others_are_all_that_the_store_holds(tmp_path):
    many = store(tmp_path / "many", {"melanoma": 12, "dysplastic_nevus": 12, "nevus": 12}, 3)
    made = plan(many, MELANOMA_ONLY, arms=["only"], folds=[0], task__negatives="all_others")
    assert made.stage("generator")[0].experiment.data.diagnoses == ("dysplastic_nevus", "melanoma", "nevus")
    assert made.stage("synthetic")[0].counts == dict.fromkeys(("melanoma", "dysplastic_nevus", "nevus"), 4 + SPARE)
    few = plan(many, MELANOMA_ONLY, arms=["only"], folds=[0])
    assert few.stage("generator")[0].experiment.data.diagnoses == ("dysplastic_nevus", "melanoma")


def test_roles_of_classifiers_are_the_store_s(real):
    made = plan(real)
    for fold in range(FOLDS):
        for role in ("train", "validation"):
            expected = real.select(role, fold, ("melanoma", "dysplastic_nevus"))
            assert list(getattr(made.selections[fold], role)) == expected


# --- order


@pytest.mark.parametrize("seeds", [[0], [3, 1]])
def test_whatever_is_needed_comes_before(real, seeds):
    for overrides in ({"arms": EVERY}, {"arms": ["only"]}, {"arms": ["only", "real"], "ratios": [1, 2]}):
        seen: set[str] = set()
        for job in plan(real, MELANOMA_ONLY, seeds=seeds, **overrides).jobs:
            assert set(job.needs) <= seen
            seen.add(job.key)


def test_a_short_night_holds_as_many_cells_of_every_arm(real):
    made = plan(real, MELANOMA_ONLY, arms=EVERY, ratios=[1, 2], models=["small_cnn", "other_cnn"], seeds=[0, 1])
    order = [(job.seed, job.fold) for job in made.stage("cell")]
    blocks = [key for k, key in enumerate(order) if k == 0 or order[k - 1] != key]
    assert blocks == [(seed, fold) for seed in (0, 1) for fold in range(FOLDS)]  # each block once, seeds last
    size = len(order) // len(blocks)
    for k in range(len(blocks)):
        counts = Counter(job.arm for job in made.stage("cell")[: (k + 1) * size])
        assert set(counts.values()) == {2 * (k + 1)}
        assert len(counts) == len(made.arms)


def test_a_fold_s_generators_wait_for_their_fold(real):
    """A night that ends early has not trained generators of folds that it never reached."""
    made = plan(real, MELANOMA_ONLY, arms=["real", "synthetic", "only"])
    order = [(job.fold, job.stage) for job in made.jobs]
    assert [fold for fold, _ in order] == sorted(fold for fold, _ in order)
