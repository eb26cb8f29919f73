"""What a planned grid can show, in sentences, and what it would take to show a small difference."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from math import ceil

from hyperderm.reports.leaderboard import duration
from hyperderm.reports.number_format import number
from hyperderm.statistics.ablation_results import LARGEST_GAIN
from hyperderm.statistics.power import MOST_SEEDS, Enough, OutOfReach
from hyperderm.studies.ablation.curve_outlook import CurvePower
from hyperderm.studies.ablation.estimate import Estimate
from hyperderm.studies.ablation.outlook import Outlook, fold_sizes
from hyperderm.studies.ablation.plan import Plan

SMALL = 0.02
"""The difference of AUROC whose price every plan tells."""
SMALL_SAID = ", which is taken for small here (--power prices another),"
_WORDS = {1: "one", 2: "two", 3: "three"}


@dataclass(frozen=True)
class Power:
    """What a grid can show before it runs.

    Attributes:
        whole: the grid, with all that was asked of its folder earlier, of which its report will be.
        comparisons: what its comparisons can show; None for a grid without any but of negative controls.
        curve: what its learning curve can show; None for a grid without one.
        earlier: the comparisons that were declared in its folder before.
    """

    whole: Plan
    comparisons: Outlook | None
    curve: CurvePower | None
    earlier: tuple[tuple[str, str, str], ...] = ()


def power_sentences(
    plan: Plan,
    power: Power | None,
    costs: Estimate | None = None,
    jobs_at_once: Mapping[float, int] | None = None,
) -> Iterator[str]:
    """Yield which differences a grid can show, where that is from, and what a difference of `SMALL` would need.

    Args:
        plan: the grid as it is asked for now.
        power: what the grid can show; None yields nothing.
        costs: the estimate of the jobs of `plan`; without it, no time is told.
        jobs_at_once: GPUs of a job to the number of such jobs that run side by side.
    """
    if power is None or not (power.comparisons or power.curve):
        return
    whole = power.whole
    sizes = fold_sizes(plan.store, plan.grid.task.diagnoses)
    melanomas, others = (sum(getattr(sizes[fold], name) for fold in whole.folds) for name in ("melanomas", "others"))
    tested = f"{melanomas} melanomas and {others} other lesions"
    more = ", all that was asked of this grid earlier counted" if _larger(plan, whole) else ""
    yield f"power: the smallest true effects that show in 80 % of such studies, with {tested} tested{more}"
    if power.curve:
        yield f"  learning curve, gain in AUROC per doubling of real melanomas: {_each(power.curve.slopes)}"
    yield from _comparisons(whole, power.comparisons) if power.comparisons else ()
    by_chance = any(not whole.grid.classifiers[model].learner.fit_once for model in whole.grid.models)
    if len(whole.grid.seeds) == 1 and by_chance:
        yield "  with one seed, its intervals cannot hold what training again would change; these numbers do"
    found = [each.sources for each in (power.comparisons, power.curve) if each]
    yield from (f"  {sentence}" for sentence in dict.fromkeys(chain(*found)))
    if power.comparisons:
        yield from _small_difference(plan, power.comparisons, costs, jobs_at_once)


def _larger(plan: Plan, whole: Plan) -> bool:
    """Return whether more was asked of the grid earlier than is asked for now."""
    return len(whole.jobs) > len(plan.jobs) or len(whole.contrasts) > len(plan.contrasts)


def _comparisons(plan: Plan, outlook: Outlook) -> Iterator[str]:
    family = "1 declared comparison" if outlook.contrasts == 1 else f"{outlook.contrasts} declared comparisons"
    shown = {model: outlook.detectable(model, len(plan.folds), len(plan.grid.seeds)) for model in outlook.spreads}
    yield (
        f"  comparison of arms, one of {family} (level {number(outlook.alpha, 4)} each), difference in AUROC: "
        f"{_each(shown)}; {answer_takes(plan)}"
    )


def _each(shown: Mapping[str, float | None]) -> str:
    """Return the smallest differences of all models in words; one that is larger than any AUROC allows is none."""
    return ", ".join(f"{_value(value)} with {model}" for model, value in shown.items())


def _value(value: float | None) -> str:
    if value is None:
        return "cannot be told, since its arms share no fold and seed,"
    return rounded_up(value) if value < LARGEST_GAIN else "none that is possible"


def _small_difference(
    plan: Plan, outlook: Outlook, costs: Estimate | None, jobs_at_once: Mapping[float, int] | None
) -> Iterator[str]:
    found = outlook.needed(SMALL)
    if isinstance(found, Enough):
        price = _price(plan, costs, jobs_at_once, found)
        yield f"  a difference of {SMALL:g}{SMALL_SAID} needs {_grid(plan, found)}{price}"
    else:
        yield f"  {out_of_reach(SMALL, found, len(outlook.tested), SMALL_SAID)}"
        yield f"  {more_melanomas(found)}"


def answer_takes(plan: Plan) -> str:
    """Return how many comparisons must leave out 0 at once for an answer, since the power is that of one of them."""
    controls = {arm.name for arm in plan.arms if arm.negative}
    counts = Counter((arm, model) for arm, _, model in plan.contrasts if arm not in controls)
    needed = sorted(set(counts.values()))
    if needed == [1]:
        return "an answer takes this one comparison"
    told = " or ".join(_WORDS.get(count, str(count)) for count in needed)
    if needed[0] == 1:
        return f"an answer takes {told} comparisons, and is found more rarely where it takes more than one"
    return f"an answer takes {told} comparisons and is found more rarely"


def out_of_reach(difference: float, found: OutOfReach, folds: int, said: str = "") -> str:
    """Return why a difference cannot be shown on a store of `folds` folds."""
    told = (
        f"a difference of {difference:g}{said} is out of reach of this store: all {folds} folds test {found.tested} "
        "patients or images with melanoma"
    )
    if found.at_any_seeds > difference:
        least = rounded_up(found.at_any_seeds)
        return f"{told}, which show {least} at least with every model, however many seeds there are"
    best = rounded_up(found.at_most_seeds)
    return f"{told}, and would need more than {MOST_SEEDS} seeds; with {MOST_SEEDS} they show {best} at least"


def more_melanomas(found: OutOfReach) -> str:
    """Return how many melanomas would show it, or that no number does."""
    if found.melanomas is None:
        return f"no number of lesions suffices with {MOST_SEEDS} seeds: trainings differ too much"
    return (
        f"it would take about {_two_digits(found.melanomas)} patients or images with melanoma, "
        f"{_times(found.melanomas / found.tested)} times as many, and as many times more others, in all folds with "
        f"{MOST_SEEDS} seeds"
    )


def rounded_up(value: float) -> str:
    """Write a difference rounded up to three decimals, so that a grid shows the number that is read."""
    return number(ceil(value * 1000 - 1e-9) / 1000)


def _grid(plan: Plan, found: Enough) -> str:
    combinations = len(plan.stage("cell")) // (len(plan.folds) * len(plan.grid.seeds))
    folds, seeds = (f"{n} {word}{'s' * (n != 1)}" for n, word in ((found.folds, "fold"), (found.seeds, "seed")))
    return f"{folds} x {seeds} = {found.folds * found.seeds * combinations} cells"


def _price(plan: Plan, costs: Estimate | None, jobs_at_once: Mapping[float, int] | None, found: Enough) -> str:
    """Return the time of another number of folds and seeds, scaled from the estimate; generators are trained once a fold."""
    if costs is None or jobs_at_once is None:
        return ""
    anew = replace(costs, done=frozenset())
    shared = anew.work([job for job in plan.jobs if job.stage != "cell"]) / len(plan.folds)
    each = anew.work(plan.stage("cell")) / (len(plan.folds) * len(plan.grid.seeds))
    times = found.folds * (shared + found.seeds * each) / anew.work(plan.jobs)
    whole = anew.wall(plan.jobs, jobs_at_once)
    return f", about {duration(times * whole)} in all (this grid in all: {duration(whole)})"


def _times(factor: float) -> str:
    return number(factor, 1 if factor < 10 else 0)


def _two_digits(count: int) -> int:
    """Return a count rounded up to two digits, as an estimate deserves."""
    unit = 10 ** max(0, len(str(count)) - 2)
    return -(-count // unit) * unit
