"""Make the report from a grid's folder: its predictions, their analysis, and the facts that predictions do not hold."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from hyperderm.grid_config import HURDLE
from hyperderm.learners.sampling import count_of
from hyperderm.metrics.memorisation import describe, is_current
from hyperderm.metrics.recognisability import told_from_real
from hyperderm.reports.ablation.answer import Line, in_short
from hyperderm.reports.ablation.facts import (
    CellFailure,
    Cells,
    Cost,
    Declaration,
    Dose,
    Picture,
    Protection,
    ReportFacts,
    StoreFacts,
    SyntheticSet,
)
from hyperderm.reports.ablation.meter import shortcuts
from hyperderm.reports.ablation.write import write_report
from hyperderm.statistics.ablation import analyse
from hyperderm.statistics.ablation_results import REAL, Analysis, Contrast, Estimate
from hyperderm.statistics.learning_curve import CurveFacts
from hyperderm.statistics.panel import Panel, common, panel
from hyperderm.statistics.predictions import Predictions
from hyperderm.store.folds import POSITIVE
from hyperderm.store.reader import open_store
from hyperderm.store.synthetic import SyntheticOrigin, origin_of
from hyperderm.strict import fingerprint
from hyperderm.studies.ablation.arms import AT
from hyperderm.studies.ablation.audits import audit, audit_set
from hyperderm.studies.ablation.choice import choices, planned, with_choices
from hyperderm.studies.ablation.jobs import Job, ancestors
from hyperderm.studies.ablation.plan import Plan
from hyperderm.studies.ablation.records import STORE, GridFolder, declarations, predictions, result_of, unfinished
from hyperderm.tags import COMMIT_TAG, LOCK_TAG
from hyperderm.tracking.figures import RealSet
from hyperderm.training.run_folder import PREDICTIONS, REPORT, Result
from hyperderm.training.selection import kept_groups

PACKAGES = ("torch", "timm", "scikit-learn", "ray", "mlflow", "numpy", "scipy")


@dataclass(frozen=True)
class Outcome:
    """A written report."""

    folder: Path
    predictions: Path
    analysis: Analysis
    lines: list[Line]
    table: Table

    @property
    def sentences(self) -> list[str]:
        """The sentences of the answer, without their questions."""
        return [sentence for _, said in self.lines for sentence in said]


def conclude(
    plan: Plan,
    grid: GridFolder,
    tags: Mapping[str, str],
    failed: Mapping[str, str],
    late: Collection[str],
    real: RealSet,
    commands: Sequence[str] = (),
) -> Outcome | None:
    """Analyse the finished cells of the grid and write the report; return None if no cell is finished.

    Args:
        plan: the grid.
        grid: the places of the grid's files; the report is written into its folder.
        tags: the provenance of this driver.
        failed: key of a failed job to its reason.
        late: keys of the jobs for which there was no time.
        real: shows lesions as pictures, all with the same gain and white balance.
        commands: the commands that asked for the grid; all of them together make this report again.
    """
    results = {job.key: result for job in plan.jobs if (result := result_of(grid, job))}
    if not any(job.key in results for job in plan.stage("cell")):
        return None
    chosen = choices(plan, results)
    table = with_choices(predictions(grid, plan), chosen)
    folder = grid.path
    table.to_parquet(folder / PREDICTIONS)
    missing = unfinished(table, planned(plan))
    table, panels, thin = _enough(table)
    missing += thin
    declared = [Contrast(*each) for each in plan.contrasts]
    pairs = {c: (panels.get((c.arm, c.model)), panels.get((c.reference, c.model))) for c in declared}
    asked = [c for c, (arm, reference) in pairs.items() if arm and reference and common(arm, reference)]
    alone = _alone(declared)
    trained_on = _trained_on(plan, alone)
    negative = [arm.name for arm in plan.arms if arm.negative]
    unanswered = sum(each not in asked and each.arm not in negative for each in declared)
    lost = [(each.arm, each.model) for each in declared if each.reference == HURDLE and each not in asked]
    analysis = analyse(
        table, asked, unanswered=unanswered, curve=trained_on, negative=negative, hurdle=HURDLE, lost=lost, alone=alone
    )
    facts = _facts(plan, grid, tags, results, failed, late, missing, real)
    facts = replace(
        facts, recompute="\n# ".join(commands), trained_on=trained_on, negative=tuple(negative), choices=tuple(chosen),
        lost=tuple(lost), left_out=plan.left_out,
    )  # fmt: skip
    write_report(folder / REPORT, table, analysis, facts)
    lines, _ = in_short(analysis, facts.lacking_controls)
    shown = summary(analysis, [arm.name for arm in plan.arms])
    return Outcome(folder / REPORT, folder / PREDICTIONS, analysis, lines, shown)


def _enough(table: Predictions) -> tuple[Predictions, dict[tuple[str, str], Panel], list[str]]:
    """Return the rows and panels of the arms that test enough lesions for an interval, and a sentence on each other arm.

    An arm that has just begun thus does not keep the others from being reported. If no arm tests enough, all are returned.
    """
    names = dict.fromkeys((key.arm, key.model) for key in table.cells())
    panels = {pair: panel(table, *pair) for pair in names}
    thin = [pair for pair, each in panels.items() if each.thin]
    if not thin or len(thin) == len(panels):
        return table, panels, []
    rows = zip(table.arm.tolist(), table.model.tolist(), strict=True)
    kept = table.take(np.array([pair not in thin for pair in rows]))
    said = [f"arm {arm} with {model}: too few of its cells were finished to compare it." for arm, model in thin]
    return kept, {pair: each for pair, each in panels.items() if pair not in thin}, said


def summary(analysis: Analysis, arms: Sequence[str]) -> Table:
    """Return the table for a terminal of 80 columns, with a heading for each model and the arms in the order of `arms`.

    Decisions use the threshold of each cell; every other metric is in the report.
    """
    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column("arm", overflow="fold")
    for name in ("AUROC [95 %]", "sens.", "spec.", "TP FN FP TN"):
        table.add_column(name, justify="right", no_wrap=True)
    for model in analysis.models:
        table.add_row(Text(model, style="bold"))
        for arm in arms:
            found = [each for each in analysis.arms if (each.arm, each.model) == (arm, model)]
            for result in found:
                m, n = result.metrics, result.mean_counts
                counts = " ".join(f"{c:.0f}" if c >= 100 else f"{c:.3g}" for c in (n.tp, n.fn, n.fp, n.tn))
                table.add_row(arm, _interval(m["auroc"]), _value(m["sensitivity"]), _value(m["specificity"]), counts)
    return table


def _value(estimate: Estimate) -> str:
    return "–" if estimate.value is None else f"{estimate.value:.3f}"


def _interval(estimate: Estimate) -> str:
    span = "" if estimate.low is None or estimate.high is None else f" [{estimate.low:.3f} {estimate.high:.3f}]"
    return _value(estimate) + span


def _facts(
    plan: Plan,
    grid: GridFolder,
    tags: Mapping[str, str],
    results: Mapping[str, Result],
    failed: Mapping[str, str],
    late: Collection[str],
    missing: list[str],
    real: RealSet,
) -> ReportFacts:
    cells, sets = plan.stage("cell"), _sets(plan, grid, results)
    ended = sorted(str(result["ended"]) for result in results.values())
    declared = declarations(grid.path)
    first = min(str(result["began"]) for result in results.values())
    broken = [CellFailure(job.arm, job.model, job.fold, job.seed, failed[job.key]) for job in cells if job.key in failed]
    codes = Counter(str(result.get("code", "unknown")) for result in results.values())
    devices = Counter(str(result.get("device", "unknown")) for result in results.values())
    for what, found in (("by several commits", codes), ("on several devices", devices)):
        if len(found) > 1:
            named = ", ".join(f"{count} {what[:2]} {name}" for name, count in sorted(found.items()))
            missing = [*missing, f"Its jobs were run {what}: {named}."]
    if plan.grid.rgb:
        missing = [
            *missing,
            "The photographs in rgb were compared with held-out lesions by file and patient, not by what they show.",
        ]
    begun = [*missing, *(f"{job.label}: no time before --until" for job in plan.jobs if job.key in late)]
    return ReportFacts(
        name=grid.name,
        profile=plan.grid.profile,
        store=_store(plan),
        folds=tuple(range(plan.store.folds().count)),
        seeds=plan.grid.seeds,
        models={name: _model(plan, name, results) for name in plan.grid.models},
        arms={arm.name: arm.description for arm in plan.arms},
        doses=_doses(plan, results),
        declared=Declaration(
            tuple(Contrast(*contrast) for contrast, _ in declared),
            max((at for _, at in declared), default=datetime.fromisoformat(first)),
            fingerprint([[contrast, at.isoformat()] for contrast, at in declared]),
            tuple(Contrast(*contrast) for contrast, at in declared if at > datetime.fromisoformat(first)),
        ),
        sets=tuple(sets.values()),
        shortcuts=shortcuts(plan, results, {source: each.recognisable for source, each in sets.items()}),
        protections=tuple(Protection(*line) for line in audit(plan, grid, results)),
        cells=Cells(len(cells), sum(job.key in results for job in cells), tuple(broken)),
        costs=_costs(plan, results),
        steps=_steps(plan),
        versions=_versions(),
        git_commit=tags.get(COMMIT_TAG, "unknown"),
        jobs_by=codes,
        lock_sha256=tags.get(LOCK_TAG, "unknown"),
        started=datetime.fromisoformat(first),
        ended=datetime.fromisoformat(ended[-1]),
        missing=tuple(begun),
        picture=partial(_picture, plan, real),
    )


def _store(plan: Plan) -> StoreFacts:
    manifest = plan.store.manifest
    return StoreFacts(
        name=Path(plan.store.location.path).name,
        fingerprint=manifest.fingerprint,
        shape=manifest.shape[:2],
        bands=len(manifest.wavelengths_nm),
        diagnoses=manifest.diagnoses,
        negatives=plan.grid.task.negatives,
        phantom=manifest.source.get("verb") == "phantom",
    )


def _model(plan: Plan, name: str, results: Mapping[str, Result]) -> str:
    digest = next((r["weights_sha256"] for r in results.values() if r["model"] == name and r.get("weights_sha256")), "")
    return plan.grid.classifiers[name].learner.described(digest, plan.grid.size)


def _doses(plan: Plan, results: Mapping[str, Result]) -> dict[str, Dose]:
    balance = _balance(results)
    return {
        arm.name: Dose(arm.series, balance if arm.ratio == "balance" else float(arm.ratio), arm.control)
        for arm in plan.arms
        if arm.control and arm.by_dose and (arm.ratio != "balance" or balance > 0)
    }


def _alone(declared: Sequence[Contrast]) -> list[tuple[str, str]]:
    """Return the arms and models that are declared to be compared with `real` and with no control."""
    controlled = {(each.arm, each.model) for each in declared if each.reference not in (REAL, HURDLE)}
    return [(each.arm, each.model) for each in declared if (each.arm, each.model) not in controlled]


def _trained_on(plan: Plan, alone: Sequence[tuple[str, str]]) -> CurveFacts | None:
    """Return what the arms are trained on, from the plan's train roles; None without a learning curve.

    Args:
        plan: the grid.
        alone: arms and models that are compared with `real` and with no control.
    """
    parts = [arm for arm in plan.arms if arm.share < 1]
    if not parts:
        return None
    rows = {row["lesion_id"]: row for row in plan.store.index().to_pylist()}
    kinds = {lesion: row["diagnosis"] for lesion, row in rows.items()}
    groups = {
        fold: [rows[lesion]["group"] for lesion in chosen.train if kinds[lesion] == POSITIVE]
        for fold, chosen in plan.selections.items()
    }
    curves: dict[str, dict[str, float]] = {}
    for arm in parts:
        whole = arm.name.partition(AT)[0]
        curves.setdefault(whole, {whole: 1.0})[arm.name] = _share(groups, arm.share, plan.grid.seeds)
    train = {fold: [kinds[lesion] == POSITIVE for lesion in plan.selections[fold].train] for fold in sorted(plan.selections)}
    added = {
        arm.name: [count_of(sum(each), len(each) - sum(each), arm.ratio) for each in train.values()]
        for arm in plan.arms
        if arm.control and not arm.negative and not arm.chosen_from
    }
    return CurveFacts(
        curves.pop(REAL),
        {fold: sum(each) for fold, each in train.items()},
        {arm.name: (str(arm.control), float(np.mean(added[arm.name]))) for arm in plan.arms if arm.name in added},
        curves,
        alone,
    )


def _share(groups: Mapping[int, Sequence[str]], asked: float, seeds: Sequence[int]) -> float:
    """Return the part of train's melanomas that a share leaves, mean over folds and seeds, since whole groups are left out.

    Args:
        groups: fold to the group of each melanoma in train.
        asked: the share.
        seeds: seeds of the classifiers.
    """
    left = [
        sum(group in kept_groups(of, asked, seed, fold) for group in of) / len(of)
        for fold, of in groups.items()
        for seed in seeds
    ]
    return float(np.mean(left))


def _balance(results: Mapping[str, Result]) -> float:
    """Return the mean over folds of the number of synthetic melanomas per real one that made the classes equal."""
    shown = [r["train"] for r in results.values() if "train" in r]
    ratios = [(each["real"] - 2 * each["real_melanomas"]) / each["real_melanomas"] for each in shown]
    return max(float(np.mean(ratios)), 0.0) if ratios else 0.0


def _sets(plan: Plan, grid: GridFolder, results: Mapping[str, Result]) -> dict[str, SyntheticSet]:
    """Return the sets by their name as the source of cells (`Job.source`), sorted by generator and fold."""
    found = {}
    for job in plan.stage("synthetic"):
        if job.key in results:
            made_here = SyntheticOrigin.model_validate(results[job.key]["origin"])
            found[job.key] = _set(job.model, job.fold, _audited(plan, made_here, grid.address(job, STORE), job.fold))
    used = {job.store: job for job in plan.stage("cell") if job.store}
    names = {uri: name for name, stores in plan.grid.sets.items() for uri in stores.values()}
    for uri, job in used.items():
        made = open_store(uri, verify=False)
        origin = origin_of(made.manifest)
        if origin:
            found[job.source] = _set(names.get(uri, origin.generator), job.fold, _audited(plan, origin, uri, job.fold))
    negative = {arm.name for arm in plan.arms if arm.negative}
    asked = {job.source for job in plan.stage("cell") if job.arm not in negative}
    named = {job.source for job in plan.stage("cell")}  # the pool of another set is read by no cell
    found = {key: replace(each, control=key in named - asked) for key, each in found.items()}
    return dict(sorted(found.items(), key=lambda each: (each[1].generator, each[1].fold)))


def _audited(plan: Plan, origin: SyntheticOrigin, uri: str, fold: int) -> SyntheticOrigin:
    """Return the origin with an audit of this version; a set without one is audited now."""
    if is_current(origin.audit):
        return origin
    return origin.model_copy(update={"audit": audit_set(plan, open_store(uri, verify=False), fold)})


def _set(name: str, fold: int, origin: SyntheticOrigin) -> SyntheticSet:
    audit = origin.audit or {}
    return SyntheticSet(
        generator=name,
        fold=fold,
        count=sum(origin.requested.values()),
        rejected=origin.rejected,
        derived=origin.derived,
        checkpoint=origin.checkpoint,
        copies=audit.get("share"),
        flagged=audit.get("memorised"),
        detail=describe(audit) if audit else "",
        recognisable=told_from_real(audit),
    )


def _costs(plan: Plan, results: Mapping[str, Result]) -> dict[str, Cost]:
    """Return the hours of each arm; the cells that read a generator and its set, and its judge, share the cost equally."""
    readers: dict[str, list[Job]] = {}
    jobs = {job.key: job for job in plan.jobs}
    judges = {(job.source, job.model): job.key for job in plan.stage("judge")}
    for cell in plan.stage("cell"):
        judge = judges.get((cell.source, cell.model))
        for key in [*ancestors(jobs, cell), *([judge] if judge else [])]:
            readers.setdefault(key, []).append(cell)
    hours: dict[str, list[float]] = {arm.name: [0.0] * 4 for arm in plan.arms if not arm.chosen_from}
    for job in plan.jobs:
        if job.key not in results:
            continue
        gpu = job.gpus > 0
        spent = float(results[job.key]["seconds"]) / 3600 * int(results[job.key].get("workers", 1))
        own = spent * (job.gpus if gpu else plan.grid.resources.cpus)
        for arm, share, at in (
            [(job.arm, 1.0, 0)] if job.arm else [(c.arm, 1 / len(readers[job.key]), 2) for c in readers.get(job.key, ())]
        ):
            hours[arm][at + (not gpu)] += own * share
    return {arm: Cost(*values) for arm, values in hours.items()}


def _steps(plan: Plan) -> dict[str, int]:
    steps: dict[str, int] = {}
    for job in plan.stage("cell"):
        assert job.experiment is not None
        training = job.experiment.training
        if not job.experiment.learner.fit_once:
            steps[job.arm] = -(-training.images // training.batch_size)
    return steps


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _picture(plan: Plan, real: RealSet, lesion_id: str) -> Picture | None:
    rows = plan.store.read([lesion_id])
    return real.picture(rows.column("cube").combine_chunks().to_numpy_ndarray()[0]) if rows.num_rows else None
