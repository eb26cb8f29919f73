"""Learning curves and exchange rates: closed forms, and the coverage of whole simulated studies whose answer is known."""

import json
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
from scipy.special import ndtri

from hyperderm.errors import StudyError
from hyperderm.statistics.ablation import analyse
from hyperderm.statistics.ablation_results import CANNOT_BE_TOLD, WOULD_HELP, WOULD_NOT
from hyperderm.statistics.intervals import critical
from hyperderm.statistics.learning_curve import (
    CHECKED_GROUPS,
    CurveFacts,
    bend_coefficients,
    learning_curves,
    ratio_limits,
    slope_coefficients,
)
from hyperderm.statistics.paired import auroc, combination, difference
from hyperderm.statistics.panel import Panel, common
from hyperderm.statistics.resampling import bootstrap
from tests.simulation import LARGE, SMALL, Design, predictions, simulate

SHARES = {"real@0.25": 0.25, "real@0.5": 0.5, "real": 1.0}
CONTROL = {"control@0.25": 0.25, "control": 1.0}
"""The two points of a control's curve, as a grid makes them."""
TRAIN = 80
"""Melanomas in train of every fold."""


class World(NamedTuple):
    """A study with AUROC `top` + `slope` · log2(share), exactly, and an arm that adds `added` · TRAIN synthetic melanomas.

    One of them is worth `rate` real ones. A lesion's mean scores over seeds in two arms have the correlation .7.
    """

    slope: float = 0.06
    rate: float = 0.5
    top: float = 0.85
    added: float = 1.0
    groups: tuple[int, int] = LARGE
    seeds: int = 3
    seed_sd: float = 0.15
    control: bool = False
    bent: float = 1.0

    @property
    def facts(self):
        melanomas, reference = dict.fromkeys(range(5), TRAIN), "control" if self.control else "real"
        synthetic = {"synthetic": (reference, self.added * TRAIN)}
        return CurveFacts(SHARES, melanomas, synthetic, {"control": CONTROL} if self.control else {})

    def auroc(self, doublings):
        """Each doubling gains `bent` times what the one before gained; that from half to all gains `slope`."""
        if self.bent == 1:
            return self.top + self.slope * doublings
        return self.top + self.slope * self.bent * (self.bent**doublings - 1) / (self.bent - 1)

    def panels(self, rng):
        made = Design(groups=self.groups, seeds=self.seeds, seed_sd=self.seed_sd, fold_sd=0.0)
        arms = SHARES | (CONTROL if self.control else {})
        aurocs = self.auroc(np.log2([*arms.values(), 1 + self.rate * self.added]))
        within = made.group_sd**2 + made.lesion_sd**2 + made.arm_sd**2 + made.noise_sd**2
        separations = ndtri(aurocs) * np.sqrt(2 * within + 2 * self.seed_sd**2)
        drawn = simulate(replace(made, separations=tuple(separations)), rng)
        assert drawn.aurocs == pytest.approx(aurocs)
        named = zip((*arms, "synthetic"), drawn.panels, strict=True)
        return {(arm, "cnn"): replace(panel, arm=arm, model="cnn") for arm, panel in named}

    def study(self, rng, resamples=200):
        curves, rates = learning_curves(self.panels(rng), self.facts, resamples=resamples)
        return curves[0], rates[0]


def drawn(seed=0, **world):
    made = World(**world)
    return made.panels(np.random.default_rng(seed)), made.facts


def exact(panel: Panel, value: float, arm: str) -> Panel:
    """The panel with this AUROC in every cell: 10 negatives score 1 … 10, and every melanoma beats `value` · 10 of them."""
    folds = []
    for fold in panel.folds:
        negatives = np.flatnonzero(~fold.truth)
        scores = np.full(len(fold.truth), 0.1 * value + 0.0005)
        scores[negatives] = 0.01 * (np.arange(len(negatives)) % 10) + 0.001
        folds.append(replace(fold, probability=np.tile(scores, (len(fold.seeds), 1))))
    return replace(panel, arm=arm, folds=tuple(folds))


@pytest.fixture(scope="module")
def study():
    """A simulated study, and its curve and rate."""
    panels, facts = drawn()
    curves, rates = learning_curves(panels, facts, resamples=300)
    return panels, facts, curves[0], rates[0]


# --- combinations of panels ---


def test_a_combination_with_coefficients_1_and_minus_1_is_the_difference(study):
    panels = list(study[0].values())
    weights = bootstrap(panels[0], 200, 0)
    one, other = difference(panels[2], panels[0], weights), combination(panels, (-1.0, 0.0, 1.0, 0.0), weights)
    for name in ("value", "variance", "error", "stretch", "p"):
        assert getattr(one, name) == getattr(other, name)
    assert one.interval() == other.interval()
    assert one.value == pytest.approx(auroc(panels[2]).value - auroc(panels[0]).value)


def test_a_multiple_of_a_combination_has_the_same_multiple_of_every_length(study):
    panels = list(study[0].values())
    weights = bootstrap(panels[0], 200, 0)
    one, half = (combination(panels[:2], (c, -c), weights) for c in (1.0, 0.5))
    assert (half.value, half.error) == pytest.approx((one.value / 2, one.error / 2))
    assert np.multiply(half.interval(), 2) == pytest.approx(one.interval())
    assert (half.p, half.stretch, half.scale) == pytest.approx((one.p, one.stretch, 0.5))


def test_one_combination_less_a_multiple_of_another_is_their_combination(study):
    panels = list(study[0].values())
    weights = bootstrap(panels[0], 100, 0)
    gain, slope = (combination(panels, c, weights) for c in ((0, 0, -1, 1), (-0.5, 0, 0.5, 0)))
    apart, direct = gain.less(slope, 0.7), combination(panels, (0.35, 0, -1.35, 1), weights)
    assert (apart.value, apart.error, apart.scale) == pytest.approx((direct.value, direct.error, direct.scale))
    assert apart.variance.df == pytest.approx(direct.variance.df)


def test_coefficients_that_do_not_sum_to_zero_are_no_difference(study):
    panels = list(study[0].values())
    with pytest.raises(ValueError, match="sum to 0"):
        combination(panels, (1.0, 0.0, 0.0, 0.0), bootstrap(panels[0], 10, 0))


def test_coefficients_are_least_squares():
    shares, values = (0.1, 0.3, 0.5, 1.0), np.array([0.61, 0.7, 0.72, 0.79])
    line, bow = (np.polyfit(np.log2(shares), values, degree)[0] for degree in (1, 2))
    assert slope_coefficients(shares) @ values == pytest.approx(line)
    assert bend_coefficients(shares) @ values == pytest.approx(bow)
    assert sum(slope_coefficients(shares)) == pytest.approx(0)
    assert sum(bend_coefficients(shares)) == pytest.approx(0)
    with pytest.raises(ValueError, match="two different shares"):
        slope_coefficients((0.5, 0.5))


# --- closed forms without noise ---


def test_slope_and_rate_of_exact_points():
    """AUROC .5, .6, .7 at a quarter, a half and all; the arm reaches .8, as twice the melanomas would, with half as many."""
    base = next(iter(drawn()[0].values()))
    base = replace(base, folds=tuple(trimmed(fold) for fold in base.folds))
    values = {"real@0.25": 0.5, "real@0.5": 0.6, "real": 0.7, "synthetic": 0.8, "equal": 0.7, "worse": 0.5}
    values |= {"control": 0.6, "control@0.25": 0.5, "other": 0.5, "beside": 0.7}
    panels = {(arm, "cnn"): exact(base, value, arm) for arm, value in values.items()}
    added = {"synthetic": ("real", TRAIN / 2), "equal": ("real", TRAIN), "worse": ("real", TRAIN * 3)}
    # two doublings above its control, along that one's own curve of .05: three times the melanomas more
    added["beside"] = ("control", TRAIN)
    facts = CurveFacts(SHARES, dict.fromkeys(range(5), TRAIN), added, {"control": {"control": 1.0, "control@0.25": 0.25}})
    (curve,), rates = learning_curves(panels, facts, resamples=50)
    assert [(p.arm, p.share, p.melanomas) for p in curve.points] == [
        ("real@0.25", 0.25, 20),
        ("real@0.5", 0.5, 40),
        ("real", 1, 80),
    ]
    assert [p.auroc.value for p in curve.points] == pytest.approx([0.5, 0.6, 0.7])
    assert curve.slope.value == pytest.approx(0.1)
    assert curve.usefulness == WOULD_HELP
    found = {rate.arm: rate for rate in rates}
    assert {arm: rate.rate.value for arm, rate in found.items()} == pytest.approx(
        {"synthetic": 2.0, "equal": 0.0, "worse": -0.25, "beside": 3.0}, abs=1e-12
    )
    assert found["equal"].gain.value == pytest.approx(0)
    (other,) = learning_curves(panels, replace(facts, synthetic={"equal": ("other", TRAIN)}), resamples=50)[1]
    assert (other.rate.value, other.rate.reason) == (None, "the learning curve of other needs two shares of the melanomas")
    alone = replace(facts, synthetic={"beside": ("control", TRAIN)}, alone=[("beside", "cnn")])
    ((beside,),) = (learning_curves(panels, alone, resamples=50)[1],)
    assert (beside.reference, beside.rate.value) == ("real", pytest.approx(0))
    for rate in rates:
        assert -rate.melanomas / rate.synthetic <= rate.rate.low < rate.rate.value < rate.rate.high


def trimmed(fold):
    """The fold with a number of negatives that is a multiple of 10, each lesion a group of its own."""
    negatives = np.flatnonzero(~fold.truth)
    kept = np.sort(np.concatenate([np.flatnonzero(fold.truth), negatives[: len(negatives) // 10 * 10]]))
    scores = {name: getattr(fold, name)[:, kept] for name in ("probability", "raw_probability")}
    return replace(fold, lesion_id=fold.lesion_id[kept], truth=fold.truth[kept], group=np.arange(len(kept)), **scores)


def test_fieller_limits_are_those_of_the_quadratic(study):
    """Without seeds' variance and at one critical value, the limits solve (g − r b)² = c² (V_g − 2 r C + r² V_b)."""
    panels = list(study[0].values())
    panels = [replace(p, folds=tuple(first_seed(fold) for fold in p.folds)) for p in panels]
    weights = bootstrap(panels[0], 50, 0)
    gain, slope = (combination(panels, c, weights) for c in ((0, 0, -1, 1), (-0.5, 0, 0.5, 0)))
    gain, slope = replace(gain, stretch=1.3), replace(slope, stretch=1.1)
    for low_or_high in ratio_limits(gain, slope):
        g, b = gain.variance.lesions, slope.variance.lesions
        covariance = (g + b - gain.less(slope, 1.0).variance.lesions) / 2
        variance = g - 2 * low_or_high * covariance + low_or_high**2 * b
        apart = gain.less(slope, low_or_high)
        assert apart.variance.total == pytest.approx(variance)
        half = 1.3 * critical(apart.variance.df) * apart.error
        assert abs(gain.value - low_or_high * slope.value) == pytest.approx(half)
        assert apart.error == pytest.approx(np.sqrt(variance), rel=0.02)
    assert ratio_limits(gain, replace(slope, stretch=50.0)) is None


def test_the_limits_are_where_the_test_turns():
    """Outside them, the test of numerator minus ratio times denominator rejects; inside, it does not."""
    for seed in range(6):
        panels = list(drawn(seed, seed_sd=0.2)[0].values())
        weights = bootstrap(panels[0], 100, 0)
        gain, slope = (combination(panels, c, weights) for c in ((0, 0, -1, 1), (-0.5, 0, 0.5, 0)))
        limits = ratio_limits(gain, slope)
        for ratio in np.linspace(-20, 20, 401):
            made = gain.less(slope, ratio)
            half = max(gain.stretch, slope.stretch) * critical(made.variance.df) * made.error
            assert (abs(made.value) <= half) == (limits[0] <= ratio <= limits[1])


def first_seed(fold):
    rows = {name: getattr(fold, name)[:1] for name in ("probability", "raw_probability", "threshold")}
    return replace(fold, seeds=fold.seeds[:1], **rows)


# --- whole curves ---


def test_the_slope_is_that_of_the_points(study):
    _, _, curve, rate = study
    x, y = np.log2([p.melanomas for p in curve.points]), [p.auroc.value for p in curve.points]
    assert curve.slope.value == pytest.approx(np.polyfit(x, y, 1)[0])
    assert curve.slope.low < curve.slope.value < curve.slope.high
    assert (curve.slope.low > 0) == (curve.p < 0.05)
    assert curve.cells == 15
    assert rate.gain.value == pytest.approx(auroc(study[0]["synthetic", "cnn"]).value - y[-1])
    ratio = rate.gain.value / curve.slope.value
    assert rate.rate.value == pytest.approx(TRAIN * (2**ratio - 1) / TRAIN)


def test_the_order_of_panels_and_facts_changes_nothing(study):
    panels, facts, curve, rate = study
    backwards = replace(
        facts, shares=dict(reversed(facts.shares.items())), melanomas=dict(reversed(facts.melanomas.items()))
    )
    again = learning_curves(dict(reversed(panels.items())), backwards, resamples=300)
    assert again == ((curve,), (rate,))


def test_as_many_synthetic_melanomas_again_are_worth_half_as_much_each(study):
    panels, facts, _, rate = study
    _, (half,) = learning_curves(panels, replace(facts, synthetic={"synthetic": ("real", 2 * TRAIN)}), resamples=300)
    for name in ("value", "low", "high"):
        assert getattr(half.rate, name) == pytest.approx(getattr(rate.rate, name) / 2)


def test_models_are_told_apart(study):
    panels, facts, curve, rate = study
    others = drawn(5, slope=0.0, rate=0.0)[0]
    both = panels | {(arm, "resnet"): replace(p, model="resnet") for (arm, _), p in others.items()}
    both["real", "spectral"] = replace(panels["real", "cnn"], model="spectral")
    both["other", "odd"] = replace(panels["real", "cnn"], arm="other", model="odd")
    curves, rates = learning_curves(both, facts, resamples=300)
    assert [each.model for each in curves] == ["cnn", "resnet", "spectral"]
    assert (curves[0], rates[0]) == (curve, rate)
    assert [(each.arm, each.model) for each in rates] == [("synthetic", "cnn"), ("synthetic", "resnet")]


def test_a_flat_curve_has_no_exchange_rate():
    curve, rate = World(slope=0.0, rate=0.0).study(np.random.default_rng(3))
    assert curve.slope.low < 0 < curve.slope.high
    assert curve.usefulness in (WOULD_NOT, CANNOT_BE_TOLD)
    assert rate.rate.value is None
    assert "does not surely rise" in rate.rate.reason
    assert rate.gain.low < rate.gain.value < rate.gain.high


def test_a_curve_whose_upper_end_is_below_the_smallest_gain_would_not_help():
    """Arms that rank the lesions alike: the interval is narrow around 0."""
    panels, facts = drawn()
    same = {(arm, "cnn"): replace(panels["real", "cnn"], arm=arm) for arm, _ in panels}
    (curve,), (rate,) = learning_curves(same, facts, resamples=50)
    assert curve.usefulness == WOULD_NOT
    assert curve.slope.value == 0
    assert 0 < curve.slope.high < curve.smallest_gain
    assert rate.rate.value is None


def test_a_curve_that_surely_rises_by_too_little_for_a_ratio():
    """The gain's stretch is larger than the slope's: its test at an infinite ratio does not reject."""
    panels = list(drawn()[0].values())
    weights = bootstrap(panels[0], 50, 0)
    gain, slope = (combination(panels, c, weights) for c in ((0, 0, -1, 1), (-0.5, 0, 0.5, 0)))
    enough = slope.value / (critical(slope.variance.df) * slope.error)
    slope = replace(slope, stretch=0.99 * enough)
    assert slope.interval()[0] > 0
    assert ratio_limits(replace(gain, stretch=1.0), slope) is not None
    assert ratio_limits(replace(gain, stretch=1.01 * enough), slope) is None


def test_one_point_is_no_curve(study):
    panels, facts, _, _ = study
    alone = {key: panel for key, panel in panels.items() if key[0] in ("real", "synthetic")}
    (curve,), (rate,) = learning_curves(alone, facts, resamples=50)
    assert [p.arm for p in curve.points] == ["real"]
    assert (curve.slope.value, curve.p, curve.usefulness) == (None, None, CANNOT_BE_TOLD)
    assert curve.slope.reason == rate.rate.reason == "a curve needs two shares of the melanomas"
    assert rate.gain.value is not None
    assert learning_curves(alone, replace(facts, shares={}), resamples=50)[0] == ()


def test_missing_cells_are_left_out_of_every_arm(study):
    panels, facts, curve, rate = study
    whole = panels["real@0.5", "cnn"]
    short = replace(whole, folds=(first_seed(whole.folds[0]), *whole.folds[1:]))
    (found,), (exchanged,) = learning_curves(panels | {("real@0.5", "cnn"): short}, facts, resamples=300)
    assert (curve.cells, found.cells) == (15, 13)
    assert found.notes[0] == exchanged.notes[0] == "Compared over the 13 of 15 cells that all arms have."
    kept = common(panels["real", "cnn"], short)[0]
    assert found.points[-1].auroc.value == pytest.approx(auroc(kept).value)
    lost = replace(panels["synthetic", "cnn"], folds=panels["synthetic", "cnn"].folds[1:])
    (found,), (exchanged,) = learning_curves(panels | {("synthetic", "cnn"): lost}, facts, resamples=300)
    assert found == curve  # the arm's failed cells cost only its own rate
    assert exchanged.notes[0] == "Compared over the 12 of 15 cells that all arms have."
    assert exchanged.rate.value != rate.rate.value


def test_without_a_common_cell_nothing_is_compared(study):
    panels, facts, curve, _ = study
    halves = {at: replace(p, folds=p.folds[:2] if at[0] == "real" else p.folds[2:]) for at, p in panels.items()}
    (found,), (rate,) = learning_curves(halves, facts, resamples=50)
    assert (found.cells, found.slope.value) == (0, None)
    assert "no cell in common" in found.slope.reason
    assert "no cell in common" in rate.rate.reason
    (found,), (rate,) = learning_curves(panels, replace(facts, synthetic={"synthetic": ("control", 9.0)}), resamples=300)
    assert found == curve
    assert rate.rate.reason == rate.gain.reason == "no predictions of the reference 'control'"


def test_a_point_that_shares_no_cell_with_the_others_is_left_out(study):
    """Calls of one grid asked for different shares on different folds."""
    panels, facts, _, _ = study
    some = {
        ("real@0.25", "cnn"): panels["real@0.25", "cnn"].folds[:2],
        ("real@0.5", "cnn"): panels["real@0.5", "cnn"].folds[2:],
    }
    parted = panels | {at: replace(panels[at], folds=folds) for at, folds in some.items()}
    (curve,), _ = learning_curves(parted, facts, resamples=100)
    assert [point.arm for point in curve.points] == ["real@0.5", "real"]
    assert curve.cells == 9
    assert curve.slope.value is not None
    assert curve.notes[0] == "real@0.25 shares no cell with the other points and is left out."


def test_an_arm_without_synthetic_melanomas_has_no_rate(study):
    panels, facts, _, _ = study
    _, (rate,) = learning_curves(panels, replace(facts, synthetic={"synthetic": ("real", 0.0)}), resamples=50)
    assert rate.rate.reason == "the arm adds no synthetic melanomas"


def test_extrapolation_and_endless_intervals_are_said():
    curve, rate = World(rate=2.0, slope=0.05).study(np.random.default_rng(0))
    assert curve.usefulness == WOULD_HELP
    assert rate.rate.value > 1
    assert any("The rate reaches above the measured curve (20 to 80 real" in note for note in rate.notes)
    low = World(rate=-0.9).study(np.random.default_rng(0))[1]
    assert any("reaches below the measured curve" in note for note in low.notes)
    assert low.rate.low >= -1
    for seed in range(60):
        found = World(slope=0.03, rate=2.0).study(np.random.default_rng(seed), 50)[1]
        if found.rate.value is not None and found.rate.high is None:
            assert "no upper end" in found.rate.reason
            break
    else:
        pytest.fail("no study of 60 has an endless interval")


def test_a_bend_is_said():
    panels, facts = drawn(1)
    assert not any("straight" in note for note in learning_curves(panels, facts, resamples=100)[0][0].notes)
    bent = panels | {("real@0.5", "cnn"): replace(drawn(1, top=0.95)[0]["real", "cnn"], arm="real@0.5")}
    (curve,), (rate,) = learning_curves(bent, facts, resamples=100)
    assert any("the last doubling gained less" in note for note in curve.notes)
    assert any("told too small" in note for note in rate.notes)


def test_with_fewer_groups_than_were_checked_no_rate_is_defined():
    enough, few = (World(groups=(count, 96)) for count in (CHECKED_GROUPS, CHECKED_GROUPS - 1))
    (curve, rate), (thin, none) = (each.study(np.random.default_rng(0), 50) for each in (enough, few))
    assert rate.rate.value is not None
    assert not any("It rests on" in note for note in curve.notes)
    assert none.rate.value is None
    assert none.rate.reason == (
        "only 23 groups (patients or images) of melanoma are tested, fewer than the 24 down to which its interval was "
        "checked"
    )
    assert none.gain.value is not None
    assert thin.slope.value is not None
    assert [note for note in thin.notes if note.startswith("It rests on 23 groups")]


def test_one_seed_is_said():
    panels, facts = drawn(seeds=1)
    assert any(note.startswith("One seed") for note in learning_curves(panels, facts, resamples=50)[0][0].notes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shares": {"real@2": 2.0}}, "'real@2' has the share 2.0"),
        ({"shares": {"real@0": 0.0}}, "'real@0' has the share 0.0"),
        ({"melanomas": {0: 0}}, "train of fold 0 has 0 melanomas"),
        ({"synthetic": {"made": ("real", -1.0)}}, "'made' adds -1.0 synthetic"),
        ({"synthetic": {"made": ("real", float("nan"))}}, "'made' adds nan synthetic"),
        ({"synthetic": {"made": ("made", 9.0)}}, "'made' is its own reference"),
    ],
)
def test_facts_that_cannot_be_are_refused(change, message):
    with pytest.raises(StudyError, match=message):
        replace(World().facts, **change)


def test_a_fold_without_its_number_of_melanomas_is_refused(study):
    panels, facts, _, _ = study
    with pytest.raises(StudyError, match="of fold 3 is not given"):
        learning_curves(panels, replace(facts, melanomas={0: 80, 1: 80, 2: 80}), resamples=50)


def test_an_analysis_holds_curves_and_rates_and_json_without_nan(study):
    panels, facts, curve, rate = study
    found = analyse(predictions(tuple(panels.values())), [], resamples=300, curve=facts)
    assert found.curves[0].slope.value == pytest.approx(curve.slope.value)
    assert found.rates[0].rate.value == pytest.approx(rate.rate.value)
    assert [point.arm for point in found.curves[0].points] == list(SHARES)
    assert "NaN" not in json.dumps(found.to_dict(), allow_nan=False)
    plain = analyse(predictions((panels["real", "cnn"],)), [], resamples=50)
    assert (plain.curves, plain.rates) == ((), ())


# --- coverage ---


class Held(NamedTuple):
    """Shares of studies whose slope's interval holds the truth, whose rate is defined, whose rate's interval holds the truth
    (of those defined) or misses it (of all studies), and whose verdict is "would help"."""

    slope: float
    defined: float
    rate: float
    wrong: float
    help: float


def held(world: World, studies: int, seed: int = 0, resamples: int = 200) -> Held:
    rng = np.random.default_rng(seed)
    counts = np.zeros(4)
    for _ in range(studies):
        curve, exchanged = world.study(rng, resamples)
        rate = exchanged.rate
        defined = rate.value is not None
        holds = defined and rate.low <= world.rate <= (np.inf if rate.high is None else rate.high)
        counts += [curve.slope.low <= world.slope <= curve.slope.high, defined, holds, curve.usefulness == WOULD_HELP]
    slope, defined, holds, would = (counts / studies).tolist()
    return Held(slope, defined, holds / defined if defined else 1.0, defined - holds, would)


def test_coverage_reduced():
    """60 studies: a standard error of 3 %, so only gross faults are seen here; the slow tests hold the bounds."""
    found = held(World(), 60, resamples=100)
    assert min(found.slope, found.rate) > 0.87
    assert found.defined > 0.9
    assert held(World(control=True), 60, resamples=100).rate > 0.87
    assert held(World(slope=0.0, rate=0.0), 60, resamples=100).help <= 0.1  # 2.5 % ± 2 %


STEEP, WEAK = World(), World(slope=0.03)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "world",
    [
        *(STEEP._replace(rate=rate) for rate in (-0.3, 0.0, 0.5, 1.0)),
        *(WEAK._replace(rate=rate) for rate in (0.0, 0.5)),
        STEEP._replace(seeds=2, seed_sd=0.3),
        STEEP._replace(groups=SMALL),
        *(each._replace(rate=0.5, control=True) for each in (STEEP, WEAK)),
    ],
)
def test_coverage(world):
    """1,000 studies each (standard error .7 %), 200 bootstrap resamples instead of a report's 2,000.

    Measured on 2026-11-30, in %: the slope's interval holds the truth; the rate is defined; its interval then holds it.

    steep (.06 a doubling), rate −.3    94.9  99.8  96.1
    steep, rate 0                       94.9  99.9  94.9
    steep, rate .5                      94.9  99.8  95.0
    steep, rate 1                       94.9  99.9  95.5
    weak (.03), rate 0                  94.9  72.1  95.7
    weak, rate .5                       94.9  72.3  95.6
    two seeds of strong effect          96.4  66.1  96.2
    24 melanoma groups                  95.6  79.3  98.1 (few groups make the rate's interval wider than need be)
    steep, a control's two points, .5   94.3  99.7  96.3 (2026-12-01)
    weak, likewise                      95.0  72.3  96.8

    The worlds share their random numbers, so the rows are not independent. 800 studies of another seed gave 95
    for the slope, 96.5 to 97.0 for the rate on the steep curve, 97.1 to 97.6 on the weak one and 97.6 at 24 groups.
    """
    found = held(world, 1000)
    print(world, found)
    assert min(found.slope, found.rate) >= 0.92
    assert max(found.slope, found.rate) <= (0.97 if world.groups == LARGE else 0.99)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_with_one_seed_intervals_are_too_narrow():
    """What training again would change cannot be seen then, as each curve and report says; this is how much it matters.

    400 studies each, measured on 2026-11-30, in %: the slope's interval holds the truth in 89, the rate's in 91 (steep) and
    94 (weak), and a flat curve is told to rise in 6 instead of 2.5.
    """
    steep, flat = held(STEEP._replace(seeds=1), 400), held(World(slope=0.0, rate=0.0, seeds=1), 400)
    print(steep, flat)
    assert 0.86 <= min(steep.slope, flat.slope) <= max(steep.slope, flat.slope) <= 0.93
    assert steep.rate >= 0.88
    assert flat.help <= 0.09


BENT = World(slope=0.037, bent=0.57, rate=1.0)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("control", [False, True])
def test_where_a_curve_flattens_rates_are_told_too_small(control):
    """Successive doublings gain .065, .037 and .021. What README and each report say of it: a bound, not a promise.

    Measured on 2026-12-01: the interval of a rate of 1 holds it in 81 % of studies by the curve of real cubes, in 84 % by a
    control's two points.
    """
    found = held(BENT._replace(control=control), 400)
    print(found)
    assert 0.76 <= found.rate <= 0.89
    assert found.defined > 0.95


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_flat_curve_is_seldom_told_to_rise():
    """2,000 studies (standard error .35 %): measured on 2026-11-30, 2.1 % "would help", a rate in 1.9 %."""
    found = held(World(slope=0.0, rate=0.0), 2000)
    print(found)
    assert found.help <= 0.035  # 2.5 % ± 3 standard errors
    assert found.defined <= found.help
