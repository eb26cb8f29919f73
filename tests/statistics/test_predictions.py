import numpy as np
import pytest

from hyperderm.errors import StudyError
from hyperderm.statistics.panel import panel
from hyperderm.statistics.predictions import SCHEMA, Predictions
from tests.simulation import Design, predictions, simulate


@pytest.fixture(scope="module")
def made():
    return predictions(simulate(Design(groups=(10, 20), folds=3, seeds=2), np.random.default_rng(0)).panels)


def columns(made):
    return {name: getattr(made, name).copy() for name in SCHEMA.names}


def test_a_round_trip_keeps_every_value_and_sorts_the_rows(made, tmp_path):
    shuffled = made.take(np.random.default_rng(0).permutation(len(made)))
    made.to_parquet(tmp_path / "a.parquet")
    shuffled.to_parquet(tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    back = Predictions.from_parquet(tmp_path / "a.parquet")
    order = np.lexsort((made.lesion_id, made.seed, made.fold, made.model, made.arm))
    for name in SCHEMA.names:
        np.testing.assert_array_equal(getattr(back, name), getattr(made, name)[order])
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["a.parquet", "b.parquet"]


def test_what_cannot_be_written_leaves_the_old_file(made, tmp_path):
    place = tmp_path / "folder"
    place.mkdir()
    with pytest.raises(OSError, match="folder") as caught:
        made.to_parquet(place)
    assert caught.value.filename == str(place)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_other_files_are_no_predictions(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"nothing")
    for name in ("x.parquet", "none.parquet"):
        with pytest.raises(StudyError, match=name):
            Predictions.from_parquet(tmp_path / name)


def test_where_selects_and_says_what_is_not_there(made):
    found = made.where(arm="arm1", fold=0, seed=0)
    assert set(found.arm) == {"arm1"}
    assert set(found.fold) == {0} == set(found.seed)
    with pytest.raises(StudyError, match=r"fold 9, seed 0\. Arms: arm0, arm1"):
        made.where(fold=9, seed=0)


def spoil(name, value, at=0):
    def change(held):
        held[name] = held[name].astype(object)
        held[name][at] = value

    return change


def everywhere(name, value):
    return lambda held: held.update({name: np.full(len(held[name]), value)})


def inverted(held):
    held["truth"] = 1 - held["truth"]


def without_melanoma(held):
    keep = ~((held["fold"] == 1) & (held["truth"] == 1))
    for name in held:
        held[name] = held[name][keep]


def twice(held):
    for name in held:
        held[name] = np.r_[held[name], held[name][:1]]


def one_hot(held):
    held["probability"] = np.stack([1 - held["probability"], held["probability"]], 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (spoil("probability", 1.5), r"probability = 1.5 of lesion '0-0000' in arm 'arm0'"),
        (spoil("raw_probability", np.nan), "raw_probability = nan"),
        (spoil("threshold", np.inf), "not finite"),
        (spoil("truth", 2), "other than 0 and 1"),
        (inverted, "contradicts the diagnosis"),
        (twice, "appears twice"),
        (one_hot, "never one-hot"),
        (spoil("threshold", 0.123), "more than one threshold"),
        (spoil("cell", "other"), "more than one cell"),
        (spoil("fold", 2), "more than one fold"),
        (everywhere("group", "g"), "is in two folds"),
        (without_melanoma, "no melanoma in the cell"),
        (lambda held: held.pop("seed"), "column seed is missing"),
        (lambda held: held.update({name: values[:0] for name, values in held.items()}), "no rows"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(made, change, message):
    held = columns(made)
    change(held)
    with pytest.raises(StudyError, match=message):
        Predictions.from_columns(held)


def test_panels_hold_the_rows_in_the_order_of_lesions_whatever_the_order_given(made):
    simulated = simulate(Design(groups=(10, 20), folds=3, seeds=2), np.random.default_rng(0)).panels[0]
    shuffled = made.take(np.random.default_rng(1).permutation(len(made)))
    found = panel(shuffled, "arm0", "simulated")
    assert found.blocks == [(fold, seed) for fold in range(3) for seed in range(2)]
    for mine, theirs in zip(found.folds, simulated.folds, strict=True):
        np.testing.assert_array_equal(mine.lesion_id, theirs.lesion_id)
        np.testing.assert_array_equal(mine.probability, theirs.probability)
        np.testing.assert_array_equal(mine.threshold, theirs.threshold)
        np.testing.assert_array_equal(mine.truth, theirs.truth)
        np.testing.assert_array_equal(mine.member @ mine.member.T, theirs.member @ theirs.member.T)


def test_parts_are_put_together(made):
    parts = [made.where(arm="arm0"), made.where(arm="arm1")]
    assert Predictions.concatenate(parts).cells() == made.cells()
    with pytest.raises(StudyError, match="no cell"):
        Predictions.concatenate([])
    with pytest.raises(StudyError, match="appears twice"):
        Predictions.concatenate([parts[0], parts[0]])


def test_melanoma_is_called_at_the_threshold_itself(made):
    held = columns(made)
    held["threshold"][:] = 0.5
    held["probability"][:] = np.where(held["truth"] == 1, 0.5, np.nextafter(0.5, 0))
    for fold in panel(Predictions.from_columns(held), "arm0", "simulated").folds:
        assert (fold.called == fold.truth).all()
