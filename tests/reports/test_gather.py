"""The terminal's table fits a terminal, sets are read whoever audited them, and what the plan left out is handed on."""

import json
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from hyperderm.reports.ablation import gather
from hyperderm.reports.ablation.facts import result_of
from hyperderm.reports.ablation.gather import _costs, _set, summary
from hyperderm.statistics.ablation_results import Counts
from hyperderm.store.synthetic import SyntheticOrigin
from hyperderm.studies.ablation.records import GridFolder
from hyperderm.workflows.run_tracking import real_set
from tests.reports import ablation_cases as cases
from tests.studies import grids


def printed(analysis, arms) -> list[str]:
    out = StringIO()
    Console(file=out, width=80, color_system=None).print(summary(analysis, arms))
    return out.getvalue().splitlines()


@pytest.mark.parametrize("arm", ["shsgan_1", "a_generator_of_a_very_long_name_both_balance"])
def test_the_summary_fits_80_columns_with_its_counts_whole(arm):
    analysis = cases.analysis(arms=("real", "oversampled_1", arm), doses={})
    counts = Counts(None, 73.33333, 11.66667, 1240.33333, 135.0)
    analysis = replace(analysis, arms=tuple(replace(each, mean_counts=counts) for each in analysis.arms))
    lines = printed(analysis, analysis.arm_names)
    assert max(map(len, lines)) <= 80
    assert "…" not in "".join(lines)
    assert sum(line.rstrip().endswith(" 73.3 11.7 1240 135") for line in lines) == len(analysis.arms)
    assert "".join(lines).count("TP FN FP TN") == 1
    assert [line.strip() for line in lines if line.strip() in cases.MODELS] == list(cases.MODELS)
    result = result_of(analysis, "real", cases.MODELS[0]).metrics
    auroc = result["auroc"]
    row = f"{auroc.value:.3f} [{auroc.low:.3f} {auroc.high:.3f}] {result['sensitivity'].value:.3f}"
    assert sum(row in " ".join(line.split()) for line in lines) == 1


def test_old_audits_without_recognisability_are_read():
    facts = {
        "generator": "shsgan", "run": "r", "checkpoint": "c0ffee00", "experiment": "e", "manifest": "m", "fold": 2,
        "seed": 0, "requested": {"melanoma": 8}, "derived": False,
    }  # fmt: skip
    old = {"share": 0.25, "memorised": True, "copied": [1, 3], "synthetic": 8, "train": 30, "held_out": 9, "notes": []}
    old["quantile_is_minimum"] = True
    found = _set("made", 2, SyntheticOrigin(**facts, audit=old))
    assert (found.copies, found.flagged, found.recognisable) == (0.25, True, None)
    new = old | {"recognisable": {"nevus": {"auroc": 0.9}, "melanoma": {"auroc": 0.7}}}
    assert _set("made", 2, SyntheticOrigin(**facts, audit=new)).recognisable == 0.7
    assert _set("made", 2, SyntheticOrigin(**facts)).recognisable is None


@pytest.mark.parametrize(
    ("arms", "judge"),
    [(["real", "synthetic"], False), (["real", "synthetic", "both", "only"], False), (["synthetic", "filtered"], True)],
)
def test_a_generator_is_paid_by_the_arms_that_read_it(tmp_path, arms, judge):
    """Every job takes an hour on one CPU: an arm's own hours are its cells', those of what they are made from are shared."""
    melanomas = {"shsgan": grids.generator(data__diagnoses=["melanoma"])}
    plan = grids.plan(grids.store(tmp_path / "store"), melanomas, arms=arms, judge=judge)
    cells = plan.stage("cell")
    costs = _costs(plan, {job.key: {"seconds": 3600.0} for job in plan.jobs})
    for arm in plan.arms:
        mine = [job for job in cells if job.arm == arm.name]
        assert costs[arm.name].cpu_hours == pytest.approx(len(mine))
        assert (costs[arm.name].generator_cpu_hours > 0) == any(job.needs for job in mine)
        assert costs[arm.name].gpu_hours == costs[arm.name].generator_gpu_hours == 0
    made = len(plan.jobs) - len(cells)
    assert sum(each.generator_cpu_hours for each in costs.values()) == pytest.approx(made)
    two = _costs(replace(plan, jobs=tuple(replace(j, gpus=0.5) for j in plan.jobs)), {cells[0].key: {"seconds": 7200.0}})
    assert two[cells[0].arm].gpu_hours == 1.0  # two hours of half a GPU
    assert sum(each.gpu_hours + each.cpu_hours for each in two.values()) == 1.0
    pair = _costs(plan, {cells[0].key: {"seconds": 3600.0, "workers": 2}})
    assert pair[cells[0].arm].cpu_hours == 2.0  # an hour of two workers


def test_what_the_plan_left_out_reaches_the_report(tmp_path, monkeypatch):
    """A regression has no focal loss; without its arm, the plan lacks a negative control of one model."""
    plan = grids.plan(grids.store(tmp_path / "store"), arms=["focal", "shuffled"], folds=[0, 1])
    dealt = next(arm.name for arm in plan.arms if arm.negative)
    left = (*(each for each in plan.left_out if each[0] == "focal"), (dealt, "spectral", "it has no meaning"))
    plan = replace(plan, left_out=left, jobs=tuple(job for job in plan.stage("cell") if job.arm in ("real", "focal")))
    folder = tmp_path / "grid"
    for key, result in grids.finish(plan, folder).items():
        job = next(job for job in plan.jobs if job.key == key)
        times = {"began": "2026-01-01T00:00:00Z", "ended": "2026-01-01T00:01:00Z"}
        (folder / job.folder / "result.json").write_text(json.dumps({**result, **times}))
    seen = []
    monkeypatch.setattr(gather, "write_report", lambda place, table, analysis, facts: seen.append(facts))
    real = real_set(plan.store, plan.selections[0].validation, grids.SIZE)
    outcome = gather.conclude(plan, GridFolder(folder), {}, {}, [], real)
    assert seen[0].left_out == left
    assert left[0] == ("focal", "spectral", "a regression has no focal loss")
    assert any(f"spectral lacks {dealt} (it has no meaning)" in sentence for sentence in outcome.sentences)
