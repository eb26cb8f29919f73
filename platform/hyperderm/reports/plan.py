"""The plan of a grid for readers: what runs, how long, how much it stores, whether it fits the night, and what to drop."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from hyperderm.cluster.session import Cluster, described
from hyperderm.errors import ClusterError
from hyperderm.reports.leaderboard import duration
from hyperderm.reports.power import Power, power_sentences
from hyperderm.reports.store_description import say
from hyperderm.store.folds import POSITIVE
from hyperderm.studies.ablation.estimate import Estimate, capacity, report_s
from hyperderm.studies.ablation.jobs import STAGES, Job, ancestors
from hyperderm.studies.ablation.plan import Plan

QUIET = 0.85
"""Below this share of processor time, the measurement of step times is said to have been disturbed."""


def print_plan(
    console: Console,
    plan: Plan,
    costs: Estimate,
    cluster: Cluster,
    end: datetime | None,
    begin: datetime | None,
    power: Power | None = None,
) -> None:
    """Print the plan for `cluster`, what the grid can show, and whether it is over by `end`."""
    cells = plan.stage("cell")
    sides = {
        "arms": [arm for arm in plan.arms if not arm.chosen_from],
        "models": plan.grid.models,
        "folds": plan.folds,
        "seeds": plan.grid.seeds,
    }
    sizes = " x ".join(f"{len(each)} {name if len(each) != 1 else name[:-1]}" for name, each in sides.items())
    chosen = [arm.name for arm in plan.arms if arm.chosen_from]
    also = f"; {', '.join(chosen)} choose among them and train nothing" if chosen else ""
    say(console, _task(plan), f"{sizes} = {len(cells)} cells{_without(plan)}{also}")
    console.print(_arms(plan))
    console.print(_stages(plan, costs))
    say(
        console,
        *(f"left out: {arm} with {model}: {reason}" for arm, model, reason in plan.left_out),
        *_declared(plan),
        *_joins(plan, power),
    )
    try:
        taken = capacity(plan, cluster)
    except ClusterError as error:
        say(console, f"does not run here: {error}", *power_sentences(plan, power))
        return
    jobs_at_once = taken.jobs_at_once
    wall = costs.wall(plan.jobs, jobs_at_once)
    at_once = at_a_time(jobs_at_once)
    report = duration(report_s(plan))
    if taken.said:
        say(console, taken.said)
    say(console, f"{described(cluster)}: {at_once}, about {duration(wall)} from now, plus {report} at most for the report")
    if costs.had_cpu < QUIET and wall > 0:
        say(
            console,
            f"  step times were measured beside other programs, with a processor for {100 * costs.had_cpu:.0f} % of the "
            "time: on a quiet machine the grid takes less",
        )
    say(console, *power_sentences(plan, power, costs, jobs_at_once))
    _fit(console, plan, costs, jobs_at_once, end, begin)


def _task(plan: Plan) -> str:
    """Return what is told from what, with the lesions of the store that the task reads."""
    diagnoses = plan.grid.task.diagnoses
    counts = {
        name: count for name, count in plan.store.manifest.diagnoses.items() if diagnoses == "all" or name in diagnoses
    }
    melanomas = counts.pop(POSITIVE, 0)
    others = ", ".join(f"{count} {name}" for name, count in sorted(counts.items(), key=lambda each: -each[1]))
    return f"task: {melanomas} melanomas against {others} (task.negatives = {plan.grid.task.negatives})"


def _without(plan: Plan) -> str:
    trained = {arm.name for arm in plan.arms if not arm.chosen_from}
    count = sum(arm in trained for arm, _, _ in plan.left_out)
    if not count:
        return ""
    return f", without {count} combination{'s' * (count > 1)} of arm and model that mean{'s' * (count == 1)} nothing"


def _declared(plan: Plan) -> Iterator[str]:
    """Yield the declared comparisons: those that are asked, then those of negative controls, each a family."""
    controls = {arm.name for arm in plan.arms if arm.negative}
    for family, said in (
        (False, "declared comparisons (AUROC within fold, Holm-adjusted)"),
        (True, "comparisons of negative controls, which must not help (Holm-adjusted among themselves)"),
    ):
        mine = [each for each in plan.contrasts if (each[0] in controls) == family]
        if mine:
            yield f"{len(mine)} {said if len(mine) > 1 else said.replace('comparisons', 'comparison', 1)}:"
            yield from (f"  {model}: {arm} against {reference}" for arm, reference, model in mine)


def _joins(plan: Plan, power: Power | None) -> Iterator[str]:
    """Yield what earlier calls declared in this grid, and what joins it late."""
    earlier = set(power.earlier) if power else set()
    if others := earlier - set(plan.contrasts):
        yield f"declared earlier in this grid: {len(others)} more, which stay in their families"
    new = [each for each in plan.contrasts if each not in earlier]
    if earlier and new:
        yield (
            f"{len(new)} of these join the grid now: what joins after its first job had started is reported as exploration "
            "(--name NAME starts a grid of its own)"
        )


def at_a_time(jobs_at_once: Mapping[float, int]) -> str:
    """Return in words how many jobs run side by side."""
    if len(jobs_at_once) == 1:
        return f"{max(jobs_at_once.values())} jobs at a time"
    each = [f"{count} with {gpus:g} GPU" if gpus else f"{count} without GPU" for gpus, count in sorted(jobs_at_once.items())]
    return f"{' and '.join(each)} at a time"


def _fit(
    console: Console,
    plan: Plan,
    costs: Estimate,
    jobs_at_once: Mapping[float, int],
    end: datetime | None,
    begin: datetime | None,
) -> None:
    if end is None:
        return
    start = begin or datetime.now().astimezone()
    room = (end - start).total_seconds() - report_s(plan)
    wall = costs.wall(plan.jobs, jobs_at_once)
    over = start + timedelta(seconds=wall)
    if wall <= room:
        say(console, f"fits: over at about {over:%H:%M}, before {end:%H:%M}")
        return
    say(
        console, f"does not fit: over at about {over:%Y-%m-%d %H:%M}, {duration(wall - room)} after {end:%H:%M}. What saves:"
    )
    say(
        console,
        *(
            f"  without {what}: {duration(less)} less{' (then it fits)' if wall - less <= room else ''}"
            for what, less in _savings(plan, costs, jobs_at_once, wall)
        ),
    )


def _savings(plan: Plan, costs: Estimate, jobs_at_once: Mapping[float, int], wall: float) -> list[tuple[str, float]]:
    """Return what could be dropped and the time that this saves, largest first; `real` and controls are not offered."""
    needed = {"real", *(arm.control for arm in plan.arms)}
    options: list[tuple[str, list[Job]]] = []
    if len(plan.grid.seeds) > 1:
        last = plan.grid.seeds[-1]
        options.append((f"seed {last}", [job for job in plan.jobs if job.stage != "cell" or job.seed != last]))
    for model in plan.grid.models if len(plan.grid.models) > 1 else ():
        options.append((f"model {model}", [job for job in plan.jobs if job.stage != "cell" or job.model != model]))
    for arm in plan.arms:
        if arm.name not in needed:
            options.append((f"arm {arm.name}", [job for job in plan.jobs if job.arm != arm.name]))
    saved = [(what, wall - costs.wall(_wanted(jobs), jobs_at_once)) for what, jobs in options]
    return sorted((one for one in saved if one[1] > 0), key=lambda one: -one[1])


def _wanted(jobs: list[Job]) -> list[Job]:
    """Return the jobs without the generators and sets that no cell reads, and without their judges."""
    known = {job.key: job for job in jobs}
    cells = [job for job in jobs if job.stage == "cell"]
    read = {key for job in cells for key in ancestors(known, job)}
    shown = {(job.source, job.model) for job in cells}
    return [
        job
        for job in jobs
        if job.stage == "cell" or job.key in read or (job.stage == "judge" and (job.source, job.model) in shown)
    ]


def _arms(plan: Plan) -> Table:
    table = Table("arm", "what it is", "control", box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for arm in plan.arms:
        table.add_row(arm.name, arm.description, arm.control or "–")
    return table


def _stages(plan: Plan, costs: Estimate) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for column in ("stage", "what", "jobs", "done", "each", "left in all", "stores", "GPUs each"):
        table.add_column(column, justify="left" if column in ("stage", "what") else "right")
    for stage in STAGES:
        kinds = dict.fromkeys(job.model for job in plan.stage(stage))
        for kind in kinds:
            jobs = [job for job in plan.stage(stage) if job.model == kind]
            each = sum(costs.seconds[job.key] for job in jobs) / len(jobs)
            shared = f"{stage}, shared by all cells of a fold" if stage not in ("cell", "judge") else stage
            table.add_row(
                shared,
                kind,
                str(len(jobs)),
                str(sum(job.key in costs.done for job in jobs)),
                duration(each),
                duration(costs.work(jobs)),
                _size(sum(costs.bytes[job.key] for job in jobs)),
                f"{jobs[0].gpus:g}",
            )
    return table


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
