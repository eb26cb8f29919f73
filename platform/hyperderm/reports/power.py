"""What a planned grid can show, in sentences, and what it would take to show a small difference."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import ceil

from hyperderm.reports.leaderboard import duration
from hyperderm.reports.number_format import number
from hyperderm.statistics.power import MOST_SEEDS, Enough, OutOfReach
from hyperderm.studies.ablation.estimate import Estimate
from hyperderm.studies.ablation.outlook import Outlook
from hyperderm.studies.ablation.plan import Plan

SMALL = 0.02
"""The difference of AUROC whose price every plan tells."""
_WORDS = {1: "one", 2: "two", 3: "three"}


def power_sentences(
    plan: Plan,
    outlook: Outlook | None,
    costs: Estimate | None = None,
    jobs_at_once: Mapping[float, int] | None = None,
) -> Iterator[str]:
    """Yield which differences a grid can show, where that is from, and what a difference of `SMALL` would need.

    Args:
        plan: the grid.
        outlook: what it can show; None yields nothing, as for a grid without comparisons.
        costs: the estimate of its jobs; without it, no time is told.
        jobs_at_once: GPUs of a job to the number of such jobs that run side by side.
    """
    if outlook is None:
        return
    folds, seeds = len(plan.folds), len(plan.grid.seeds)
    tested = sum(outlook.tested[fold].melanomas for fold in plan.folds)
    family = "1 declared comparison" if outlook.contrasts == 1 else f"{outlook.contrasts} declared comparisons"
    shown = {model: outlook.detectable(model, folds, seeds) for model in outlook.spreads}
    each = ", ".join(f"{rounded_up(value)} with {model}" for model, value in shown.items())
    yield (
        f"power: with {tested} melanomas tested and {family} (level {number(outlook.alpha, 4)} each), a comparison finds a "
        f"true difference in AUROC of {each} in 80 % of such studies; {answer_takes(plan)}"
    )
    if seeds == 1 and any(spread.trainings for spread in outlook.spreads.values()):
        yield "  with one seed, its intervals cannot hold what training again would change; this number does"
    yield from (f"  {sentence}" for sentence in outlook.sources)
    found = outlook.needed(SMALL)
    if isinstance(found, Enough):
        price = _price(plan, costs, jobs_at_once, found)
        yield f"  a difference of {SMALL:g} needs {_grid(plan, found)}{price}"
    else:
        yield f"  {out_of_reach(SMALL, found, len(outlook.tested))}"
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


def out_of_reach(difference: float, found: OutOfReach, folds: int) -> str:
    """Return why a difference cannot be shown on a store of `folds` folds."""
    told = (
        f"a difference of {difference:g} is out of reach here: all {folds} folds test {found.tested} images with melanomas"
    )
    if found.at_any_seeds > difference:
        return f"{told}, which show {rounded_up(found.at_any_seeds)} at least, however many seeds there are"
    best = rounded_up(found.at_most_seeds)
    return f"{told}, and would need more than {MOST_SEEDS} seeds; with {MOST_SEEDS} they show {best} at least"


def more_melanomas(found: OutOfReach) -> str:
    """Return how many melanomas would show it, or that no number does."""
    if found.melanomas is None:
        return f"no number of lesions suffices with {MOST_SEEDS} seeds: trainings differ too much"
    return (
        f"it would take about {_two_digits(found.melanomas)} images with melanomas and as many times more others, in all "
        f"folds with {MOST_SEEDS} seeds"
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


def _two_digits(count: int) -> int:
    """Return a count rounded up to two digits, as an estimate deserves."""
    unit = 10 ** max(0, len(str(count)) - 2)
    return -(-count // unit) * unit
