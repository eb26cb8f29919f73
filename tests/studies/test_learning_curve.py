"""The arms of the learning curve: parts of train's melanomas, by group, nested, the same for every model."""

from dataclasses import replace

import pytest

from hyperderm.errors import ConfigError
from hyperderm.learners.sampling import real_entries
from hyperderm.store.folds import POSITIVE
from hyperderm.store.reader import open_store
from hyperderm.store.writer import write_store
from hyperderm.studies.ablation.arms import named
from hyperderm.studies.ablation.plan import Plan
from hyperderm.training.selection import select
from tests.studies.grids import KINDS, lesions, plan, store


def trained_on(made: Plan, arm: str, model: str = "small_cnn", fold: int = 0, seed: int = 0) -> set[str]:
    """The lesions with which a cell trains."""
    (cell,) = [
        job for job in made.stage("cell") if (job.arm, job.model, job.fold, job.seed) == (arm, model, fold, seed)
    ]  # fmt: skip
    return set(select(made.store, cell.experiment).train)


def melanomas(made: Plan, lesions: set[str]) -> set[str]:
    rows = made.store.index().to_pylist()
    return {row["lesion_id"] for row in rows if row["diagnosis"] == POSITIVE} & lesions


def test_shares_are_nested_and_keep_every_negative(real):
    made = plan(real, arms=["real"], curve=[0.25, 0.5], seeds=[0, 1])
    for fold in made.folds:
        whole, half, quarter = (trained_on(made, arm, fold=fold) for arm in ("real", "real@0.5", "real@0.25"))
        assert quarter < half < whole
        assert whole - melanomas(made, whole) == quarter - melanomas(made, quarter)
        counts = [len(melanomas(made, lesions)) for lesions in (quarter, half, whole)]
        assert counts == [round(share * counts[2]) for share in (0.25, 0.5, 1)]  # each has a group of its own here
    assert trained_on(made, "real@0.5") == trained_on(made, "real@0.5", model="spectral")
    assert trained_on(made, "real@0.5") != trained_on(made, "real@0.5", seed=1)
    assert made.selections[0].train == tuple(sorted(trained_on(made, "real")))


def test_a_patient_is_left_out_as_a_whole(tmp_path):
    """Three melanomas a patient: half of the patients, not half of the lesions."""
    made = [replace(one, group=f"patient {number // 3}") for number, one in enumerate(lesions(KINDS))]
    write_store(str(tmp_path / "store"), made, fold_count=3, seed=0)
    patients = {one.lesion_id: one.group for one in made}
    planned = plan(open_store(str(tmp_path / "store")), arms=["real"], curve=[0.5], folds=[0], models=["spectral"])
    half, whole = (melanomas(planned, trained_on(planned, arm, "spectral")) for arm in ("real@0.5", "real"))
    kept, lost = ({patients[lesion] for lesion in part} for part in (half, whole - half))
    assert not kept & lost
    assert len(kept) == round(0.5 * len(kept | lost)) > 0


def test_the_curve_changes_no_other_cell(real):
    """A grid that was run before goes on with it, and takes up the points as new cells."""
    before, after = (plan(real, arms=["real", "oversampled"], curve=curve) for curve in ([], [0.5]))
    assert {job.key for job in before.jobs} < {job.key for job in after.jobs}
    assert {job.arm for job in after.jobs} - {job.arm for job in before.jobs} == {"real@0.5"}
    assert [cell.experiment.training for cell in after.stage("cell") if cell.arm in ("real", "real@0.5")][:2] == [
        after.stage("cell")[0].experiment.training
    ] * 2  # the same steps


@pytest.mark.parametrize("ratio", [1.0, 3.0, "balance"])
def test_the_second_point_of_a_control_shows_fewer_melanomas_as_often(ratio, tmp_path):
    """Else a rate read along it would be one of the balance of the classes too. 36 melanomas and 60 others are in train."""
    held = store(tmp_path / "real", {POSITIVE: 60, "dysplastic_nevus": 100})
    arms = ["synthetic", *(["proportional"] if ratio != "balance" else [])]
    made = plan(held, ratios=[ratio], arms=arms, curve=[0.25, 0.5], folds=[0], models=["small_cnn"])
    controls = {f"oversampled_{named(ratio)}", *(["classic"] if ratio != "balance" else [])}
    assert {arm.name for arm in made.arms if "@" in arm.name} == {"real@0.25", "real@0.5", *(f"{c}@0.25" for c in controls)}
    diagnosis = dict(zip(*(held.index().column(c).to_pylist() for c in ("lesion_id", "diagnosis")), strict=True))
    shown = {}
    for cell in (job for job in made.stage("cell") if not job.source):
        kinds = [diagnosis[lesion] for lesion in select(held, cell.experiment).train]
        entries = [kinds[row] for row in real_entries(kinds, cell.experiment.learner.oversample).tolist()]
        shown[cell.arm] = (kinds.count(POSITIVE), entries.count(POSITIVE), entries.count("dysplastic_nevus"))
    for control in controls:
        (whole, *often), (few, *as_often) = shown[control], shown[f"{control}@0.25"]
        assert (whole, few) == (36, 9)
        assert as_often == often


@pytest.mark.parametrize(
    ("curve", "message"),
    [
        ([0.5, 0.5], "curve = .* names one twice"),
        ([1 / 3, 0.33333334], "differ by less than their arms' names can tell"),
        ([0.25, 1.0], r"curve = \[0.25, 1.0\] is refused: .* the whole is the arm real, which every grid has"),
        ([0.0], "curve"),
        ([-0.5], "curve"),
        (
            [0.01],
            r"task.melanomas = 0.01 leaves 0 of \d+ melanomas in train of fold 0, .* Use a larger share \(a grid: curve\)",
        ),
    ],
)
def test_a_share_that_is_none_is_refused(real, curve, message):
    with pytest.raises(ConfigError, match=message):
        plan(real, arms=["real"], curve=curve)


def test_the_melanomas_in_train_are_known_though_cells_of_real_are_lost(real):
    """One failed cell must not cost the report."""
    from hyperderm.reports.ablation.gather import _trained_on

    made = plan(real, arms=["real", "synthetic"], curve=[0.5])
    facts = _trained_on(made, [])
    assert facts.melanomas == dict.fromkeys(range(5), 9)
    assert facts.synthetic == {"shsgan_x1": ("oversampled_x1", 9.0)}
    assert _trained_on(plan(real, arms=["real"]), []) is None


def test_the_curve_stands_at_what_was_shown_and_not_at_what_was_asked(real):
    """Half of nine groups of one melanoma each are four of them, .44 and not .5."""
    from hyperderm.reports.ablation.gather import _trained_on

    made = plan(real, arms=["real"], curve=[0.5])
    cells = [job for job in made.stage("cell") if job.arm == "real@0.5"]
    shown = [len(melanomas(made, trained_on(made, "real@0.5", fold=job.fold, seed=job.seed))) for job in cells]
    assert _trained_on(made, []).shares == {"real": 1.0, "real@0.5": pytest.approx(4 / 9)}
    assert set(shown) == {4}
