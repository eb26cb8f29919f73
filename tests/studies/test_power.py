"""What a grid can show before it runs: pilots, folds and seeds chosen for a difference, the plan's sentences, refusals."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from hyperderm import workflows
from hyperderm.cluster.session import Cluster
from hyperderm.errors import ConfigError, HyperdermError, StudyError
from hyperderm.reports.plan import print_plan
from hyperderm.reports.power import Power, answer_takes, power_sentences
from hyperderm.statistics.ablation import analyse
from hyperderm.statistics.ablation_results import Contrast
from hyperderm.statistics.learning_curve import CurveFacts, slope_coefficients
from hyperderm.statistics.multiplicity import FAMILY_LEVEL
from hyperderm.statistics.paired import combination
from hyperderm.statistics.panel import panel
from hyperderm.statistics.power import TRAINING_SD, Spread
from hyperderm.statistics.predictions import Predictions
from hyperderm.statistics.resampling import bootstrap
from hyperderm.store.reader import Store
from hyperderm.studies.ablation.curve_outlook import curve_power
from hyperderm.studies.ablation.estimate import Estimate
from hyperderm.studies.ablation.outlook import FoldSize, fold_sizes, outlook
from hyperderm.studies.ablation.pilot import read_pilot
from hyperderm.studies.ablation.plan import Plan
from hyperderm.studies.ablation.records import record_plan
from hyperderm.training.run_folder import ANALYSIS, IDENTITY, PLAN, PREDICTIONS, REPORT
from hyperderm.workflows.grid_identity import identity
from hyperderm.workflows.grid_power import power_of, powered
from hyperderm.workflows.workspace import GridRequest, Workspace
from tests.command import Command, command, project_of  # noqa: F401 - a fixture
from tests.services.grids import make_project
from tests.studies.grids import generator, grid, plan, predictions

RESAMPLES = 50
PARTS = ("lesion_variance", "seed_variance", "df", "stretch")


def drawn(made: Plan) -> Predictions:
    """Predictions of every cell: melanomas are a little higher, arms differ in each lesion, and trainings differ too."""
    found = []
    for number, job in enumerate(made.stage("cell")):
        table = predictions(made, job)
        arm = np.random.default_rng([job.fold, len(job.arm)]).random(len(table))
        scores = 0.2 * table.truth + 0.6 * arm + 0.2 * np.random.default_rng(number).random(len(table))
        found.append(replace(table, probability=scores, raw_probability=scores))
    return Predictions.concatenate(found)


def finished(folder: Path, made: Plan) -> Path:
    """The folder of the grid as its end leaves it, as far as a pilot is read."""
    table = drawn(made)
    asked = [Contrast(*each) for each in made.contrasts]
    (folder / REPORT).mkdir(parents=True)
    (folder / IDENTITY).write_text(json.dumps({"key": "k", "identity": identity(made)}))
    table.to_parquet(folder / PREDICTIONS)
    analysis = analyse(table, asked, resamples=RESAMPLES)
    (folder / REPORT / ANALYSIS).write_text(json.dumps(analysis.to_dict()))
    return folder


@pytest.fixture(scope="module")
def pilot_plan(real: Store) -> Plan:
    return plan(real, folds=[0, 1], seeds=[0, 1], models=["small_cnn"])


@pytest.fixture(scope="module")
def pilot(pilot_plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished(tmp_path_factory.mktemp("runs") / "small", pilot_plan)


@pytest.fixture
def spoilt(pilot: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the pilot whose identity and analysis are changed."""

    def spoilt(analysis: dict | None = None, **facts: object) -> Path:
        folder = tmp_path / "spoilt"
        (folder / REPORT).mkdir(parents=True)
        known = json.loads((pilot / IDENTITY).read_text())
        known["identity"] |= {name.replace("__", "."): value for name, value in facts.items()}
        (folder / IDENTITY).write_text(json.dumps(known))
        whole = json.loads((pilot / REPORT / ANALYSIS).read_text()) | (analysis or {})
        (folder / REPORT / ANALYSIS).write_text(json.dumps(whole))
        (folder / PREDICTIONS).write_bytes((pilot / PREDICTIONS).read_bytes())
        return folder

    return spoilt


def request(real: Store, runs: Path, *, fixed: tuple[str, ...] = (), power=None, pilot=None, **overrides) -> GridRequest:
    return GridRequest(
        grid(**overrides), {"shsgan": generator()}, str(real.location.uri), None, "night", runs, None, None, None, (),
        power, pilot, frozenset(fixed),
    )  # fmt: skip


def workspace(root: Path) -> Workspace:
    return Workspace(Console(file=io.StringIO(), width=400, color_system=None), root, None, "")


def refusal(kind: type[HyperdermError], call: Callable[[], object]) -> HyperdermError:
    with pytest.raises(kind) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert caught.value.remedy
    return caught.value


# --- pilots


def test_the_folds_test_what_the_store_says(real):
    assert fold_sizes(real, "all") == (FoldSize(3, 3, 5, 5),) * 5
    assert fold_sizes(real, ("melanoma",)) == (FoldSize(3, 3, 0, 0),) * 5


def test_a_pilot_tells_the_variances_of_its_report(pilot, pilot_plan, real):
    found = read_pilot(pilot, real, pilot_plan.grid)
    held = json.loads((pilot / REPORT / ANALYSIS).read_text())["contrasts"]
    assert (found.name, found.size, len(found.contrasts)) == ("small", 16, 2)
    for measured, each in zip(found.contrasts, held, strict=True):
        assert measured.contrast == Contrast(each["arm"], each["reference"], each["model"])
        assert measured.lesion_variance == each["lesion_variance"] > 0
        assert measured.seed_variance == each["seed_variance"] > 0
        assert measured.stretch == each["stretch"] >= 1
        assert dict(measured.cells) == {0: 2, 1: 2}
        least = 0.1 / 6  # 3 melanomas in each of two folds
        assert each["standard_error"] ** 2 == pytest.approx(each["lesion_variance"] + each["seed_variance"] + least**2)


def test_a_report_of_an_earlier_version_is_completed_from_its_predictions(pilot, spoilt, pilot_plan, real):
    held = json.loads((pilot / REPORT / ANALYSIS).read_text())["contrasts"]
    old = spoilt({"contrasts": [{k: v for k, v in each.items() if k not in PARTS} for each in held]})
    made, whole = read_pilot(old, real, pilot_plan.grid), read_pilot(pilot, real, pilot_plan.grid)
    for one, other in zip(made.contrasts, whole.contrasts, strict=True):
        assert (one.contrast, dict(one.cells)) == (other.contrast, dict(other.cells))
        numbers = [(each.lesion_variance, each.seed_variance, each.stretch) for each in (one, other)]
        assert numbers[0] == pytest.approx(numbers[1])


def test_the_most_alike_comparisons_are_taken(pilot, pilot_plan, real):
    found = read_pilot(pilot, real, pilot_plan.grid)
    same = [("shsgan_x1", "real", "small_cnn")]
    assert [each.contrast.reference for each in found.like(same, "small_cnn")[0]] == ["real"]
    assert found.like([("shsgan_x1", "classic", "small_cnn")], "small_cnn") == (
        list(found.contrasts),
        "of the same arms and model",
    )
    assert found.like([("dcgan_x1", "real", "small_cnn")], "small_cnn")[1] == "of the same model with other arms"
    assert found.like(same, "spectral") == (list(found.contrasts), "of other models, since it has none of spectral")


def test_the_spread_is_the_median_of_the_pilot_scaled(pilot, real):
    made = plan(real)
    found = outlook(made, read_pilot(pilot, real, made.grid))
    held = read_pilot(pilot, real, made.grid).contrasts
    spread = found.spreads["small_cnn"]
    lesions, trainings = (np.median([getattr(each, name) for each in held]) for name in ("lesion_variance", "seed_variance"))
    assert spread.variance(5, 3) == pytest.approx(lesions * 2 / 5 + trainings * 4 / 15)
    assert (spread.melanomas, spread.others) == (3, 5)
    assert found.alpha == pytest.approx(0.05 / 4)
    assert (
        "small_cnn: variances of pilot small (2 folds x 2 seeds), median of its 2 comparisons of the same"
        in found.sources[1]
    )


def test_a_pilot_of_one_seed_takes_an_assumption_and_says_so(real, tmp_path):
    made = plan(real, folds=[0, 1])
    folder = finished(tmp_path / "one", made)
    found = outlook(made, read_pilot(folder, real, made.grid))
    assert found.spreads["small_cnn"].trainings == pytest.approx(2 * TRAINING_SD**2)
    assert found.spreads["spectral"].trainings == 0.0
    assert [("is assumed" in each) for each in found.sources] == [False, True]


def test_contrasts_that_were_declared_before_stay_in_the_family(real):
    made = plan(real)
    assert outlook(made, None).contrasts == 4
    assert outlook(replace(made, declared=(*made.contrasts, ("gone", "real", "small_cnn"))), None).contrasts == 5
    assert outlook(plan(real, arms=["real"]), None) is None


def test_a_plan_counts_what_was_asked_of_its_folder_before(real, tmp_path):
    """Negative controls of earlier calls stay in their own family; folds and seeds of earlier calls are tested too."""
    controls = plan(real, arms=["shuffled"], models=["small_cnn"], folds=[0, 1], seeds=[0, 1])
    (tmp_path / "night").mkdir()
    record_plan(tmp_path / "night", controls)
    before = (tmp_path / "night" / PLAN).read_bytes()
    asked = {"models": ["small_cnn"], "folds": [2], "seeds": [0]}
    made = plan(real, **asked)
    found = power_of(workspace(tmp_path), request(real, tmp_path, **asked), made, tmp_path / "night")
    assert found.comparisons.contrasts == 2
    assert set(found.earlier) == set(controls.contrasts)
    assert (found.whole.folds, found.whole.grid.seeds) == ((0, 1, 2), (0, 1))
    assert (tmp_path / "night" / PLAN).read_bytes() == before
    out = io.StringIO()
    seconds = dict.fromkeys((job.key for job in made.jobs), 1.0)
    costs = Estimate(seconds, dict.fromkeys(seconds, 1), frozenset())
    print_plan(Console(file=out, width=200, color_system=None), made, costs, Cluster(((2.0, 0.0),), ""), None, None, found)
    text = out.getvalue()
    assert "with 9 melanomas and 15 other lesions tested, all that was asked of this grid earlier counted\n" in text
    assert "declared earlier in this grid: 2 more, which stay in their families\n" in text
    assert "2 of these join the grid now: what joins after its first job had started is reported as exploration" in text
    assert "comparison of arms, one of 2 declared comparisons (level 0.0250 each)" in text


# --- learning curves


SHARES = {"real@0.25": 0.25, "real@0.5": 0.5, "real": 1.0}


def curve_pilot(folder: Path, made: Plan) -> Path:
    """A finished grid with a learning curve."""
    table = drawn(made)
    (folder / REPORT).mkdir(parents=True)
    (folder / IDENTITY).write_text(json.dumps({"key": "k", "identity": identity(made)}))
    table.to_parquet(folder / PREDICTIONS)
    facts = CurveFacts(SHARES, {0: 9, 1: 9})
    analysis = analyse(table, [Contrast(*each) for each in made.contrasts], resamples=RESAMPLES, curve=facts)
    (folder / REPORT / ANALYSIS).write_text(json.dumps(analysis.to_dict()))
    return folder


def test_the_curve_has_the_variances_of_the_pilot_s_own(real, tmp_path):
    """And not those of its comparisons, which differ from generator to generator."""
    small = {"folds": [0, 1], "seeds": [0, 1], "models": ["small_cnn"], "curve": [0.25, 0.5]}
    made = plan(real, **small)
    known = read_pilot(curve_pilot(tmp_path / "small", made), real, made.grid)
    table = Predictions.from_parquet(tmp_path / "small" / PREDICTIONS)
    panels = [panel(table, arm, "small_cnn") for arm in SHARES]
    slope = combination(panels, slope_coefficients(list(SHARES.values())), bootstrap(panels[0], 300, 0))
    curve = known.curves["small_cnn"]
    assert (curve.lesion_variance, curve.seed_variance) == (slope.variance.fixed, slope.variance.retrained)
    found = curve_power(made, known)
    assert found.slopes["small_cnn"] == pytest.approx(slope.detectable(FAMILY_LEVEL), rel=0.05)  # the same grid again
    assert found.sources == ("small_cnn: its learning curve has the variances of that of pilot small",)
    alone = curve_power(plan(real, **{**small, "arms": ["real"]}), known)
    assert alone.slopes == found.slopes
    halves = curve_power(plan(real, **{**small, "curve": [0.5]}), known)
    assert halves.slopes["small_cnn"] == pytest.approx(2 * found.slopes["small_cnn"])
    both = curve_power(plan(real, **{**small, "models": ["spectral", "small_cnn"]}), known)
    assert both.sources[1].startswith("pilot small has no learning curve of spectral, so it is assumed: AUROC 0.75")


def test_a_curve_whose_arms_share_no_fold_is_told_before_it_runs(real, tmp_path):
    (tmp_path / "night").mkdir()
    record_plan(tmp_path / "night", plan(real, arms=["real"], curve=[0.5], folds=[0], models=["small_cnn"]))
    asked = {"arms": ["real"], "curve": [0.25], "folds": [1], "models": ["small_cnn"]}
    found = power_of(workspace(tmp_path), request(real, tmp_path, **asked), plan(real, **asked), tmp_path / "night")
    one = curve_power(plan(real, **{**asked, "curve": [0.5], "folds": [0]}), None)
    assert found.curve.slopes["small_cnn"] in (
        one.slopes["small_cnn"],
        curve_power(plan(real, **asked), None).slopes["small_cnn"],
    )
    jobs = [job for job in found.whole.jobs if job.arm != "real" or job.fold == 4]
    apart = curve_power(replace(found.whole, jobs=tuple(jobs)), None)
    assert apart.slopes == {"small_cnn": None}
    (said,) = [each for each in power_sentences(found.whole, replace(found, curve=apart)) if "learning curve" in each]
    assert "cannot be told, since its arms share no fold and seed, with small_cnn" in said


MADE = {"arm": "a", "reference": "real", "model": "small_cnn", "cells": [{"fold": 0}]}


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"manifest": "ab" * 32}, "is a grid of another store (abababababab, here "),
        ({"task__negatives": "all_others"}, "has another task: task.negatives = all_others, here dysplastic_nevus"),
        ({"analysis": {"contrasts": []}}, "holds no comparison"),
        ({"analysis": {"contrasts": None}}, "analysis.json cannot be read (contrasts: input should be a valid list)"),
        ({"analysis": {"contrasts": [{}]}}, "analysis.json cannot be read (contrasts.0.arm: field required)"),
        ({"analysis": {"contrasts": [MADE | {"lesion_variance": -1.0}]}}, "lesion_variance: input should be greater than"),
        ({"analysis": {"contrasts": [MADE | {"stretch": "x"}]}}, "contrasts.0.stretch: input should be a valid number"),
        ({"analysis": {"contrasts": [MADE | {"cells": []}]}}, "contrasts.0.cells: list should have at least 1 item"),
        (
            {"analysis": {"contrasts": [MADE | {"cells": [{"fold": 99}]}]}},
            "spoilt compares a on fold 99, this store has folds 0",
        ),
        ({"size": "big"}, "identity.json cannot be read (size: input should be a valid integer)"),
    ],
)
def test_pilots_of_another_grid_are_refused(spoilt, pilot_plan, real, facts, said):
    error = refusal(StudyError, lambda: read_pilot(spoilt(**facts), real, pilot_plan.grid))
    assert said in error.what
    assert "spoilt" in error.what


def test_what_is_no_finished_grid_is_refused(spoilt, pilot_plan, real, tmp_path):
    error = refusal(StudyError, lambda: read_pilot(tmp_path, real, pilot_plan.grid))
    assert error.what == f"--pilot {tmp_path} is no grid's folder"
    (spoilt() / REPORT / ANALYSIS).unlink()
    error = refusal(StudyError, lambda: read_pilot(tmp_path / "spoilt", real, pilot_plan.grid))
    assert error.what == "--pilot spoilt has no report yet"
    (tmp_path / "spoilt" / REPORT / ANALYSIS).write_text("{")
    error = refusal(StudyError, lambda: read_pilot(tmp_path / "spoilt", real, pilot_plan.grid))
    assert "analysis.json cannot be read" in error.what
    asked = request(real, tmp_path, pilot="nowhere")
    error = refusal(StudyError, lambda: power_of(workspace(tmp_path), asked, pilot_plan, tmp_path / "night"))
    assert error.what == f"--pilot nowhere: there is no such folder, also not in {tmp_path}"


@pytest.mark.parametrize(
    ("curve", "said"),
    [
        ({"points": [], "slope": {"value": 0.1}}, "curves.0.points"),
        ({"points": [{"arm": "real"}], "slope": {"value": 0.1}}, "curves.0.points.0.share"),
        ({"points": [{"arm": "real", "share": 1.0}], "slope": {"value": 0.1}}, "a slope needs two different shares"),
        ({"points": [{"arm": "real", "share": 1.0}]}, "curves.0.slope"),
    ],
)
def test_damaged_curves_of_a_pilot_are_named(spoilt, pilot_plan, real, curve, said):
    folder = spoilt({"curves": [{"model": "small_cnn", **curve}]})
    error = refusal(StudyError, lambda: read_pilot(folder, real, pilot_plan.grid))
    assert "analysis.json cannot be read" in error.what
    assert said in error.what


def test_a_pilot_is_named_below_the_runs_or_by_its_path(pilot, real, tmp_path):
    made = plan(real)
    by_name = power_of(workspace(tmp_path), request(real, pilot.parent, pilot="small"), made, tmp_path / "night")
    by_path = power_of(workspace(tmp_path), request(real, tmp_path, pilot=str(pilot)), made, tmp_path / "night")
    assert by_name == by_path != power_of(workspace(tmp_path), request(real, tmp_path), made, tmp_path / "night")


# --- folds and seeds for a difference


def test_folds_and_seeds_are_chosen_for_a_difference(real, tmp_path):
    asked = request(real, tmp_path, power=0.35, models=["small_cnn"])
    chosen = powered(workspace(tmp_path), asked, real, tmp_path / "night")
    known = outlook(plan(real, models=["small_cnn"]), None)
    found = known.needed(0.35)
    assert (chosen.folds, chosen.seeds) == (tuple(range(found.folds)), tuple(range(found.seeds)))
    assert known.detectable("small_cnn", found.folds, found.seeds) <= 0.35
    assert chosen.model_copy(update={"folds": "all", "seeds": (0,)}) == asked.grid


def test_set_may_agree_with_the_choice_but_not_contradict_it(real, tmp_path):
    def choose(**overrides):
        asked = request(real, tmp_path, power=0.35, models=["small_cnn"], fixed=tuple(overrides), **overrides)
        return powered(workspace(tmp_path), asked, real, tmp_path / "night")

    free = choose()
    assert choose(folds=list(free.folds), seeds=list(free.seeds)) == free
    error = refusal(ConfigError, lambda: choose(seeds=[0, 7, 9]))
    assert error.what == (f"--power 0.35 chooses seeds = {list(free.seeds)}, and --set seeds = [0, 7, 9] contradicts it")
    error = refusal(ConfigError, lambda: choose(folds=[4]))
    assert f"chooses folds = {list(free.folds)}, and --set folds = [4] contradicts it" in error.what


def test_a_difference_out_of_reach_is_refused_with_what_it_takes(real, tmp_path):
    asked = request(real, tmp_path, power=0.03, models=["small_cnn"])
    error = refusal(StudyError, lambda: powered(workspace(tmp_path), asked, real, tmp_path / "night"))
    found = outlook(plan(real, models=["small_cnn"]), None).needed(0.03)
    assert error.what.startswith(
        "--power: a difference of 0.03 is out of reach of this store: all 5 folds test 15 patients or images with melanoma, "
    )
    assert "AUROC 0.75 of both arms, correlation 0.7 of their scores, standard deviation 0.015" in error.what
    assert f"; for 0.03 it would take about {str(found.melanomas)[0]}" in error.remedy


def test_a_grid_without_comparisons_has_no_power(real, tmp_path):
    asked = request(real, tmp_path, power=0.1, arms=["real"])
    error = refusal(ConfigError, lambda: powered(workspace(tmp_path), asked, real, tmp_path / "night"))
    assert error.what == "--power 0.1: this grid declares no comparison"
    asked = request(real, tmp_path, power=0.1, arms=["shuffled"])
    error = refusal(ConfigError, lambda: powered(workspace(tmp_path), asked, real, tmp_path / "night"))
    assert error.what == "--power 0.1: this grid declares no comparison but of negative controls"


# --- what is printed


def printed(made: Plan, told, cpus: float = 2.0) -> str:
    out = io.StringIO()
    seconds = {"generator": 600.0, "synthetic": 60.0, "cell": 120.0}
    costs = Estimate({job.key: seconds[job.stage] for job in made.jobs}, {job.key: 1 for job in made.jobs}, frozenset())
    console = Console(file=out, width=160, color_system=None)
    power = None if told is None else Power(made, told, None)
    print_plan(console, made, costs, Cluster(((cpus, 0.0),), ""), None, None, power)
    return out.getvalue()


def test_the_plan_says_what_it_shows_and_what_a_small_difference_takes(real):
    made = plan(real)
    told = outlook(made, None)
    text = printed(made, told)
    shown = told.detectable("small_cnn", 5, 1)
    assert "that show in 80 % of such studies, with 15 melanomas and 25 other lesions tested\n" in text
    assert "  comparison of arms, one of 4 declared comparisons (level 0.0125 each), difference in AUROC: " in text
    assert f"{np.ceil(1000 * shown) / 1000:.3f} with small_cnn; an answer takes two comparisons and is found more" in text
    assert "  with one seed, its intervals cannot hold what training again would change; these numbers do" in text
    assert "  no pilot, so it is assumed: AUROC 0.75 of both arms" in text
    assert "  a difference of 0.02, which is taken for small here (--power prices another), is out of reach of" in text
    assert "power:" not in printed(made, None)
    assert "learning curve" not in text
    wild = {"small_cnn": Spread(1e-3, 1e-1, 1, 1, 3, 5)}
    said = "  no number of lesions suffices with 20 seeds: trainings differ too much"
    assert said in printed(made, replace(told, spreads=wild))
    assert "  comparison of arms, one of 4 declared" in printed(
        replace(made, grid=made.grid.override({"resources.cpus": 4.0})), told
    )


def test_the_price_of_a_small_difference_scales_the_estimate(real):
    made = plan(real, folds=[0, 1])
    sure = {name: Spread(5e-6, 2e-5, 1, 1, 1e4, 1e4) for name in ("spectral", "small_cnn")}
    told = replace(outlook(made, None), spreads=sure)
    found = told.needed(0.02)
    cells = 3 * 2  # arms x models
    text = printed(made, told, cpus=1.0)
    work = found.folds * (660 + found.seeds * cells * 120)
    here = 2 * (660 + cells * 120)
    assert (
        f"  a difference of 0.02, which is taken for small here (--power prices another), needs {found.folds} fold" in text
    )
    assert f" = {found.folds * found.seeds * cells} cells, about {work / 60:.1f} min in all" in text
    assert f"(this grid in all: {here / 60:.1f} min)" in text
    assert " cells\n" in printed(replace(made, grid=made.grid.override({"resources.cpus": 4.0})), told)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"arms": ["synthetic"]}, "two comparisons and is found more rarely"),
        ({"arms": ["synthetic", "shuffled"]}, "two comparisons and is found more rarely"),
        ({"arms": ["synthetic", "strong"], "models": ["small_cnn"]}, "three comparisons and is found more rarely"),
        ({"arms": ["synthetic", "strong"]}, "two or three comparisons and is found more rarely"),
    ],
)
def test_an_answer_takes_all_comparisons_of_an_arm(real, asked, said):
    assert answer_takes(plan(real, **asked)) == f"an answer takes {said}"


def test_an_answer_may_take_one_comparison(real):
    made = plan(real, arms=["synthetic"])
    (arm, real_arm, model), control, *others = made.contrasts
    alone = replace(made, declared=((arm, real_arm, model),))
    assert answer_takes(alone) == "an answer takes this one comparison"
    some = replace(made, declared=((arm, real_arm, model), *others))
    assert control not in some.contrasts
    assert answer_takes(some) == (
        "an answer takes one or two comparisons, and is found more rarely where it takes more than one"
    )


# --- as a user types it


@pytest.mark.parametrize("value", ["0", "-0.02", "0.5", "nan", "inf"])
def test_differences_that_cannot_be_are_refused(command, value):  # noqa: F811
    done = command("ablation", "--profile", "small", "--store", "nowhere", "--plan", f"--power={value}")
    assert done.returncode == 2
    assert f"--power {float(value):g} is refused. Give a difference of AUROC above 0 and below 0.5" in done.stderr


def test_a_pilot_without_a_question_is_refused(command):  # noqa: F811
    done = command("ablation", "--profile", "small", "--store", "nowhere", "--pilot", "small")
    assert done.returncode == 2
    assert "--pilot small serves --plan and --power alone" in done.stderr


def test_a_plan_is_made_for_a_difference(tmp_path, phantom_store, capsys):
    with project_of(make_project(tmp_path)):
        asked = workflows.grid_request("tiny", store=str(phantom_store), profile="small", power=0.25)
        assert ("--power", "0.25") in zip(asked.words, asked.words[1:], strict=False)
        made = workflows.ablation_plan(asked)
    text = capsys.readouterr().out
    chosen = f"--power 0.25 chooses folds = {list(made.folds)} and seeds = {list(made.grid.seeds)}"
    assert chosen in text
    answer = "an answer takes two comparisons and is found more rarely"
    assert f"  a comparison then finds a true difference in AUROC of 0.25 in 80 % of such studies; {answer}\n" in text
    assert f"x {len(made.folds)} folds x {len(made.grid.seeds)} seeds = {len(made.stage('cell'))} cells" in text
    assert len(made.grid.seeds) > 1
    assert "power: the smallest true effects" in text
