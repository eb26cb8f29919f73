"""Gather what the shortcut meter found, arm by arm and model by model, from the results of a grid's jobs."""

from collections.abc import Mapping, Sequence

from hyperderm.reports.ablation.facts import Shortcut
from hyperderm.statistics.intervals import score_limits
from hyperderm.studies.ablation.jobs import Job
from hyperderm.studies.ablation.plan import Plan
from hyperderm.training.run_folder import Result

Pair = tuple[float, float]


def shortcuts(plan: Plan, results: Mapping[str, Result], told: Mapping[str, float | None]) -> tuple[Shortcut, ...]:
    """Return the meter of every arm with synthetic cubes, for each model of which a cell is finished.

    Args:
        plan: the grid.
        results: key of a finished job to its result.
        told: source of a cell (`Job.source`) to the AUROC of its set's audit.
    """
    network = {(job.source, job.model): results[job.key]["judge"] for job in plan.stage("judge") if job.key in results}
    cells: dict[tuple[str, str], list[Job]] = {}
    for job in plan.stage("cell"):
        if job.source and job.key in results:
            cells.setdefault((job.model, job.arm), []).append(job)
    made = []
    for model in plan.grid.models:
        for arm in (each for each in plan.arms if (model, each.name) in cells and each.labels == "own"):
            jobs = cells[model, arm.name]
            by_fold = {job.fold: job.source for job in jobs}.values()
            logistic = _mean([told.get(source) for source in by_fold])
            judged = [network[source, model] for source in by_fold if (source, model) in network]
            told_by_network = [each for each in judged if each["auroc"] is not None]
            found = [results[job.key].get("shortcut", {}) for job in jobs]
            made.append(
                Shortcut(
                    arm.name, model, logistic, _mean([each["auroc"] for each in told_by_network]),
                    _pair(found, "melanoma"), _pair(found, "negative"), _interval(told_by_network),
                )
            )  # fmt: skip
    return tuple(made)


def _interval(judged: Sequence[Mapping[str, float | None]]) -> Pair | None:
    """Return the 95 % interval of the mean AUROC of judges, one a fold, each tried on cubes of its own."""
    value = _mean([each["auroc"] for each in judged])
    if value is None:
        return None
    sizes = [(int(each["synthetic"] or 0), int(each["real"] or 0)) for each in judged]
    return score_limits(value, sizes)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _pair(found: Sequence[Mapping[str, Mapping[str, float]]], name: str) -> Pair | None:
    held = [each[name] for each in found if name in each]
    if not held:
        return None
    real, synthetic = (sum(each[what] for each in held) / len(held) for what in ("real", "synthetic"))
    return real, synthetic
