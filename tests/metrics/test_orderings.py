"""Sets of which the answer is known: every metric sees what physics says, and says of itself what it cannot see."""

from collections import Counter

import numpy as np
import pytest

from hyperderm.errors import StoreError
from hyperderm.metrics.evaluation.expectations import CANNOT, EXPECTED, WORDS, faults, ordering_table, unsaid
from hyperderm.metrics.evaluation.measure import METRICS
from hyperderm.metrics.evaluation.names import SCORES
from hyperderm.metrics.evaluation.orderings import (
    CHANGES,
    COPIES,
    DARK,
    FEW,
    FRESH,
    SETS,
    Row,
    committed,
    known_sets,
    sights,
    written,
)
from tests.bench.orderings import differences, lesions, table

NETWORKS = ("inception", "lite0")


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return table(40, 32, [], tmp_path_factory.mktemp("features"))


@pytest.fixture(scope="module")
def kept():
    return committed()


@pytest.mark.slow  # its short form is the committed table, below
def test_every_metric_without_a_network_sees_what_physics_says(rows):
    assert {row.metric for row in rows} == {key for key in SCORES if not _of_network(key)}
    assert faults(rows) == []


def test_the_committed_table_holds_every_expectation_and_every_metric_tells_its_blindness(kept):
    assert {(row.metric, row.set) for row in kept} == {(key, name) for key in SCORES for name in SETS}
    assert faults(kept) == []
    assert unsaid(kept) == []


def test_every_expectation_is_of_a_metric_and_every_metric_has_one():
    from fnmatch import fnmatchcase

    for one in EXPECTED:
        assert one.why
        assert any(fnmatchcase(key, one.metrics) for key in SCORES), one.metrics
        assert set(one.sees + one.cannot + one.better) <= set(SETS)
    assert [key for key in SCORES if not any(fnmatchcase(key, one.metrics) for one in EXPECTED)] == []
    assert WORDS.keys() == SETS.keys() - {FRESH}


def test_fresh_cubes_are_as_real_apart_from_chance(kept):
    """Ranges hold 95 %; the relative errors of one pair rise together, so a few scores may lie outside."""
    verdicts = Counter(row.verdict for row in kept if row.set == FRESH)
    assert verdicts["as real"] >= 0.85 * verdicts.total()


def test_the_report_is_told_by_what_right_a_metric_does_not_see(kept):
    told = {(one.metric, one.set): one.sight for one in ordering_table(kept)}
    assert told["level/spectral_entropy", "bands permuted"] == CANNOT
    assert told["held_out/nearest/sam", "bands permuted"] == "sees"
    assert told["held_out/nearest/sam", "mean cube"] == "takes for better"
    assert told["train/nearest/sam", COPIES] == "sees"
    assert all(told[metric, FRESH] == "does not see" for metric in SCORES)


def test_a_fault_is_told_and_so_is_a_blindness_without_a_word():
    def row(name, value, verdict, metric="level/spectral_entropy"):
        return Row(metric, name, value, 0.0, 2.0, 0.0, verdict)

    quiet = [row(name, 1.0, "as real") for name in SETS]
    assert any("spectral_entropy of pure noise: does not see, expected: sees" in one for one in faults(quiet))
    assert any("has no value for shifted" in one for one in faults([each for each in quiet if each.set != "shifted"]))
    moved = [each._replace(value=1.1) if each.set == "shifted" else each for each in quiet]
    assert any("of shifted: does not see, expected: by construction cannot" in one for one in faults(moved))
    beyond = [each._replace(value=5.0, verdict="above real") if each.set == COPIES else each for each in quiet]
    copied = [row._replace(metric="held_out/spectral/energy") for row in beyond]
    assert any("of copies: sees, expected: by construction cannot" in one for one in faults(copied))
    rising = [
        row(FRESH, 1.0, "as real", "held_out/nearest/psnr"),
        row("half exposure", 9, "better than real", "held_out/nearest/psnr"),
    ]
    assert unsaid(rising) == [f"psnr takes for better: half exposure, but it says: {METRICS['psnr'].cannot}"]


def test_a_sight_needs_a_value_outside_the_range_and_away_from_the_fresh_cubes():
    def sight(fresh, value, verdict, name="strong blur", metric="held_out/lite0/frechet"):
        return sights([Row(metric, FRESH, fresh, 0, 2, 0, ""), Row(metric, name, value, 0, 2, 0, verdict)])[metric, name]

    assert sight(1.0, 2.5, "worse than real") == "sees"
    assert sight(2.3, 2.5, "worse than real") == "does not see"
    assert sight(1.0, 1.9, "as real") == "does not see"
    assert sight(1.0, -0.5, "better than real") == "takes for better"
    assert sight(1.0, -0.5, "better than real", COPIES) == "takes for better"
    assert sight(1.0, -0.5, "better than real", COPIES, "train/lite0/frechet") == "sees"


def test_the_sets_are_what_they_are_called():
    train, nm = lesions("train", 6, 16, 1)
    fresh, _ = lesions("fresh", 13, 16, 3)
    sets = known_sets(train, fresh, nm)
    assert list(sets) == list(SETS)
    x = {name: group.cubes.numpy() for name, group in sets.items()}
    assert all(cubes.shape == (6, 16, 16, 16) for cubes in x.values())
    np.testing.assert_array_equal(x["bands exchanged"][:, ::2], x[FRESH][:, 1::2])
    np.testing.assert_array_equal(np.sort(x["bands permuted"], 1), np.sort(x[FRESH], 1))
    np.testing.assert_array_equal(x["shifted"][..., 2:, 2:], x[FRESH][..., :-2, :-2])
    np.testing.assert_array_equal(x["half exposure"] * 2, x[FRESH])
    assert np.std(x["strong noise"] - x[FRESH]) == pytest.approx(0.1, rel=0.05)
    assert np.std(x[COPIES] - train.cubes.numpy()[:6]) == pytest.approx(0.001, rel=0.05)
    np.testing.assert_allclose(x["mean cube"][3], train.cubes.numpy().mean(0), rtol=1e-5)
    np.testing.assert_allclose(x["pure noise"].mean((0, 2, 3)), train.cubes.numpy().mean((0, 2, 3)), atol=0.05)
    assert all(np.var(x[name]) < np.var(x[FRESH]) for name in ("slight blur", "strong blur"))
    np.testing.assert_allclose(x[FEW][5].mean((1, 2)), x[FRESH][0].mean((1, 2)), atol=1e-3)
    means = fresh.cubes.numpy().mean((1, 2, 3))
    assert set(sets[DARK].ids) == {fresh.ids[i] for i in np.argsort(means)[:6]}
    assert set(CHANGES) == set(SETS) - {FRESH, "pure noise", "mean cube", COPIES, DARK, FEW}
    assert all(group.groups == group.ids and len(set(group.ids)) == 6 for group in sets.values())
    with pytest.raises(StoreError, match="13 fresh and 3 train"):
        known_sets(train.chosen(range(3)), fresh, nm)


def test_a_table_is_read_as_it_was_written_and_differences_are_told(kept):
    assert written(kept).splitlines()[0] == "metric,set,value,real_low,real_high,loss,verdict"
    assert written(kept[:1]).splitlines()[1].startswith("mean_spectra/lesion_angle,fresh,")
    assert differences(kept, kept) == []
    other = [kept[0]._replace(value=kept[0].real_high * 2), *kept[1:-1]]
    assert len(differences(other, kept)) == 2


def _of_network(key):
    return any(f"/{name}/" in key for name in NETWORKS)
