"""Grids that can answer nothing are refused in the plan, exactly where the statistics could give no interval; curves of few
melanomas are said to be."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hyperderm.errors import StudyError
from hyperderm.statistics.ablation import analyse
from hyperderm.statistics.predictions import Predictions
from hyperderm.store.reader import Store, open_store
from hyperderm.store.writer import write_store
from hyperderm.studies.ablation.outlook import CHECKED_GROUPS, check_answerable, curve_sentence
from hyperderm.studies.ablation.plan import Plan
from hyperderm.studies.ablation.records import record_plan
from hyperderm.workflows.run_ablation import prepare, show_plan
from tests.simulation import SMALL
from tests.studies.grids import lesions, plan, predictions, store
from tests.studies.test_power import refusal, request, workspace

REAL = {"arms": ["real"], "models": ["spectral"]}


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Three melanomas in three folds: each tests one."""
    return store(tmp_path_factory.mktemp("single") / "store", {"melanoma": 3, "dysplastic_nevus": 12}, folds=3)


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Four melanomas in three folds: one of them tests two."""
    return store(tmp_path_factory.mktemp("uneven") / "store", {"melanoma": 4, "dysplastic_nevus": 12}, folds=3)


def has_no_interval(made: Plan) -> bool:
    """Whether the analysis of the finished grid is refused, as after its night."""
    table = Predictions.concatenate(predictions(made, job) for job in made.stage("cell"))
    group = {row["lesion_id"]: row["group"] for row in made.store.index().to_pylist()}
    table = replace(table, group=np.array([group[name] for name in table.lesion_id.tolist()]))
    try:
        analyse(table, [], resamples=20)
    except StudyError as error:
        return "no fold tests two groups" in error.what
    return False


def is_refused(made: Plan) -> bool:
    try:
        check_answerable(made)
    except StudyError:
        return True
    return False


def twofold(sizes: Mapping[str, int], of_one: int, place: Path) -> Store:
    """A store in three folds where each patient has `of_one` lesions of one diagnosis."""
    made = [replace(one, group=f"{one.diagnosis} {number // of_one}") for number, one in enumerate(lesions(sizes))]
    write_store(str(place), made, fold_count=3, seed=0)
    return open_store(str(place))


def test_one_melanoma_a_fold_is_refused_before_anything_runs(single, tmp_path):
    error = refusal(StudyError, lambda: show_plan(workspace(tmp_path), request(single, tmp_path, **REAL)))
    assert error.what == (
        "no fold tests two groups (patients or images) of melanoma, so that nothing in this grid's report could have an "
        "interval (groups of melanoma: fold 0: 1, fold 1: 1, fold 2: 1)"
    )
    assert error.remedy == "Ingest melanomas of more patients."  # three folds are the fewest
    assert not list(tmp_path.iterdir())


def test_a_grid_is_refused_exactly_where_the_statistics_have_no_interval(single, uneven, real, tmp_path):
    one_patient = twofold({"melanoma": 6, "dysplastic_nevus": 24}, 2, tmp_path / "one")  # six lesions, three patients
    found = {}
    for name, of, folds in (("single", single, 3), ("uneven", uneven, 3), ("real", real, 5), ("patients", one_patient, 3)):
        for asked in ("all", *([fold] for fold in range(folds))):
            made = plan(of, **REAL, folds=asked)
            found[name, str(asked)] = is_refused(made)
            assert is_refused(made) == has_no_interval(made), (name, asked)
    assert found["single", "all"]
    assert found["patients", "all"]
    assert not found["uneven", "all"]
    assert sum(found["uneven", f"[{fold}]"] for fold in range(3)) == 2
    assert not any(refused for (name, _), refused in found.items() if name == "real")


def test_the_remedy_is_what_helps(uneven, tmp_path):
    thin = next(fold for fold in range(3) if is_refused(plan(uneven, **REAL, folds=[fold])))
    error = refusal(StudyError, lambda: check_answerable(plan(uneven, **REAL, folds=[thin])))
    assert f"(groups of melanoma: fold {thin}: 1)" in error.what
    assert error.remedy == "Take more folds (--set folds=all), or ingest melanomas of more patients."
    kinds = {"melanoma": 12, "dysplastic_nevus": 4, "nevus": 16}
    few = store(tmp_path / "few", kinds, folds=4)
    error = refusal(StudyError, lambda: check_answerable(plan(few, **REAL)))
    assert "no fold tests two groups (patients or images) of lesions other than melanoma" in error.what
    assert error.remedy == (
        "Take other negatives (--set task.negatives=all_others), or ingest such lesions of more patients, or ingest with "
        "fewer --folds."
    )
    check_answerable(plan(few, **REAL, task__negatives="all_others"))


def test_folds_that_were_asked_before_count(uneven, tmp_path):
    """The report of a grid holds what was ever asked of it, so a fold that alone gives no interval may join."""
    thin = [fold for fold in range(3) if is_refused(plan(uneven, **REAL, folds=[fold]))]
    (two,) = {0, 1, 2}.difference(thin)
    asked = request(uneven, tmp_path, **REAL, folds=[thin[0]])
    refusal(StudyError, lambda: prepare(workspace(tmp_path), asked))
    (tmp_path / "night").mkdir()
    record_plan(tmp_path / "night", plan(uneven, **REAL, folds=[two]))
    assert prepare(workspace(tmp_path), asked)[0].folds == (thin[0],)


# --- learning curves of few melanomas


def test_few_melanomas_under_a_curve_are_told_in_the_plan(real, tmp_path):
    space = workspace(tmp_path)
    show_plan(space, request(real, tmp_path, **REAL, curve=[0.25, 0.5]))
    assert (
        "the learning curve rests on 15 melanomas in 15 groups that are tested (train holds 9 groups a fold, the smallest "
        "share 2): how often such intervals hold the truth was checked down to 24 groups, and not for fewer"
    ) in space.console.file.getvalue()
    rated = curve_sentence(plan(real, arms=["synthetic"], curve=[0.5], folds=[0, 1]))
    assert rated.startswith("the learning curve rests on 6 melanomas in 6 groups that are tested")
    assert rated.endswith("and not for fewer; no exchange rate will be defined")


def test_a_curve_of_as_many_as_were_checked_needs_no_word(real, tmp_path):
    assert SMALL[0] == CHECKED_GROUPS, "the smallest study whose coverage tests/statistics/test_learning_curve.py measures"
    assert curve_sentence(plan(real, **REAL)) == ""
    kinds = {"melanoma": CHECKED_GROUPS, "dysplastic_nevus": 30}
    enough = store(tmp_path / "enough", kinds, folds=3)
    assert curve_sentence(plan(enough, **REAL, curve=[0.5])) == ""
    assert "on 16 melanomas in 16 groups" in curve_sentence(plan(enough, **REAL, curve=[0.5], folds=[0, 1]))
