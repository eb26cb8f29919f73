"""The plan as people read it, from hand-made costs: what runs, how long, what is done, whether it fits, what to drop."""

import io
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from rich.console import Console

from hyperderm.cluster.session import Cluster
from hyperderm.reports.plan import at_a_time, print_plan
from hyperderm.reports.power import Power, rounded_up
from hyperderm.statistics.power import assumed
from hyperderm.studies.ablation.curve_outlook import curve_power
from hyperderm.studies.ablation.estimate import Estimate, report_s
from hyperderm.studies.ablation.plan import Plan
from tests.studies import grids

SECONDS = {"generator": 600.0, "synthetic": 60.0, "cell": 120.0}
TWO = Cluster(((2.0, 0.0),), "")
NIGHT = datetime(2026, 3, 1, 22, 0).astimezone()


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return grids.plan(grids.store(tmp_path_factory.mktemp("real") / "store"), seeds=[0, 1])


def costs(plan: Plan, done: tuple[str, ...] = ()) -> Estimate:
    return Estimate(
        {job.key: SECONDS[job.stage] for job in plan.jobs}, {job.key: 2_000_000 for job in plan.jobs}, frozenset(done)
    )


def printed(
    plan: Plan, made: Estimate, cluster: Cluster = TWO, hours: float | None = None, power: Power | None = None
) -> str:
    out = io.StringIO()
    end = NIGHT + timedelta(hours=hours) if hours else None
    print_plan(Console(file=out, width=160, color_system=None), plan, made, cluster, end, NIGHT, power)
    return out.getvalue()


def row(text: str, *words: str) -> list[str]:
    (found,) = [line for line in text.splitlines() if all(word in line for word in words)]
    return found.split()


def test_cells_stages_and_what_is_shared_are_counted(plan: Plan):
    text = printed(plan, costs(plan))
    cells = plan.stage("cell")
    assert f"{len(plan.arms)} arms x {len(plan.grid.models)} models x 5 folds x 2 seeds = {len(cells)} cells" in text
    generator = " ".join(row(text, "generator, shared by all cells of a fold"))
    assert "5 0 10.0 min 50.0 min 10 MB 0" in generator
    assert "5 0 1.0 min 5.0 min 10 MB 0" in " ".join(row(text, "synthetic, shared by all cells of a fold"))
    for model in plan.grid.models:
        count = sum(job.model == model for job in cells)
        whole = f"{count * 2:.1f} min" if count * 2 < 60 else f"{count * 2 / 60:.1f} h"
        assert f"{count} 0 2.0 min {whole} {count * 2} MB 0" in " ".join(row(text, "cell ", model, "min"))
    for arm, reference, model in plan.contrasts:
        assert f"  {model}: {arm} against {reference}" in text


def test_the_task_says_what_is_told_from_what(plan: Plan):
    assert "task: 15 melanomas against 25 dysplastic_nevus (task.negatives = dysplastic_nevus)" in printed(plan, costs(plan))


def test_negative_controls_are_a_family_of_their_own(plan: Plan):
    text = printed(plan, costs(plan))
    assert "4 declared comparisons (AUROC within fold, Holm-adjusted):\n  spectral: shsgan_x1 against real\n" in text
    assert "of negative controls" not in text
    made = grids.plan(plan.store, arms=["synthetic", "shuffled"], models=["small_cnn"])
    controls = "2 comparisons of negative controls, which must not help (Holm-adjusted among themselves):\n"
    both = printed(made, costs(made))
    assert both.index("2 declared comparisons") < both.index("shsgan_x1 against oversampled_x1") < both.index(controls)
    assert both.index(controls) < both.index("  small_cnn: shsgan_shuffled_x1 against real")


def test_arms_that_choose_are_no_cells(plan: Plan):
    made = grids.plan(plan.store, arms=["synthetic"], ratios=[1, 2], choose="validation", models=["small_cnn"], folds=[0])
    text = printed(made, costs(made))
    trained = [arm for arm in made.arms if not arm.chosen_from]
    assert f"{len(trained)} arms x 1 model x 1 fold x 1 seed = {len(trained)} cells; shsgan_chosen" in text
    assert "choose among them and train nothing\n" in text


def test_combinations_without_meaning_are_counted(plan: Plan):
    assert ", without" not in printed(plan, costs(plan))
    made = grids.plan(plan.store, arms=["real", "classic"])
    assert " = 15 cells, without 1 combination of arm and model that means nothing\n" in printed(made, costs(made))


@pytest.mark.parametrize(("share", "said"), [(0.46, True), (0.84, True), (0.9, False), (1.0, False)])
def test_step_times_measured_beside_other_programs_are_told(plan: Plan, share: float, said: bool):
    text = printed(plan, replace(costs(plan), had_cpu=share))
    note = f"step times were measured beside other programs, with a processor for {100 * share:.0f} % of the time"
    assert (note in text) == said


def test_a_learning_curve_alone_has_its_power_told(plan: Plan):
    made = grids.plan(plan.store, arms=["real"], curve=[0.5], models=["small_cnn"])
    text = printed(made, costs(made), power=Power(made, None, curve_power(made, None)))
    sizes = [(3, 5)] * 5
    slope = assumed(sizes).detectable_slope(5, 1, (0.5, 1.0))
    assert f"  learning curve, gain in AUROC per doubling of real melanomas: {rounded_up(slope)} with small_cnn\n" in text
    assert "  no pilot, so it is assumed: AUROC 0.75" in text
    assert "comparison of arms" not in text
    none = grids.plan(plan.store, arms=["real"], curve=[0.5], models=["small_cnn"], folds=[0])
    assert "of real melanomas: none that is possible with small_cnn" in printed(
        none, costs(none), power=Power(none, None, curve_power(none, None))
    )


def test_the_time_is_that_of_the_places(plan: Plan):
    made = costs(plan)
    text = printed(plan, made)
    whole = made.wall(plan.jobs, 2)
    assert f"2 CPU and 0 GPU: 2 jobs at a time, about {whole / 3600:.1f} h from now, plus " in text
    assert whole >= sum(made.seconds.values()) / 2


def test_finished_jobs_are_counted_and_cost_nothing(plan: Plan):
    done = tuple(job.key for job in plan.jobs if job.stage != "cell")
    text = printed(plan, costs(plan, done))
    assert "5 5 10.0 min 0 s 10 MB 0" in " ".join(row(text, "generator, shared by all cells of a fold"))
    everything = printed(plan, costs(plan, tuple(job.key for job in plan.jobs)))
    assert "2 jobs at a time, about 0 s from now" in everything


def test_what_fits_the_night_is_said_and_nothing_is_to_be_dropped(plan: Plan):
    made = costs(plan)
    over = NIGHT + timedelta(seconds=made.wall(plan.jobs, 2))
    text = printed(plan, made, hours=24.0)
    assert f"fits: over at about {over:%H:%M}, before {NIGHT + timedelta(hours=24):%H:%M}" in text
    assert "without" not in text.partition("fits:")[2]


def test_what_does_not_fit_is_told_with_what_saves_most_first(plan: Plan):
    made = costs(plan)
    wall = made.wall(plan.jobs, 2)
    hours = (wall + report_s(plan)) / 3600 - 0.05
    told = printed(plan, made, hours=hours).partition("does not fit: over at about ")[2].splitlines()
    assert told[0].endswith(f", 3.0 min after {NIGHT + timedelta(hours=hours):%H:%M}. What saves:")
    assert told[1:]
    assert all(line.startswith("  without ") and line.endswith("(then it fits)") for line in told[1:])
    assert any(line.startswith("  without seed 1: ") for line in told)
    assert not any(word in line for line in told for word in ("arm real", "arm oversampled"))
    short = printed(plan, made, hours=0.1)
    assert "(then it fits)" not in short


def test_a_plan_that_the_cluster_cannot_run_says_why(plan: Plan):
    large = replace(plan, grid=plan.grid.override({"resources.cpus": 4.0}))
    text = printed(large, costs(large))
    assert "does not run here: " in text
    assert "jobs at a time" not in text


def test_places_with_and_without_gpu_are_told_apart():
    assert at_a_time({0.0: 3}) == "3 jobs at a time"
    assert at_a_time({1.0: 2, 0.0: 16}) == "16 without GPU and 2 with 1 GPU at a time"
