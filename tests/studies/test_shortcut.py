"""The shortcut meter, on sets that anyone could tell from real cubes and on sets that nobody could."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from hyperderm.config import SyntheticConfig
from hyperderm.learners.data import CubeSet
from hyperderm.statistics.probability import Calibration
from hyperderm.store.folds import POSITIVE
from hyperderm.store.reader import Store, open_store
from hyperderm.store.synthetic import SyntheticCube, write_synthetic
from hyperderm.studies.ablation.jobs import SPARE
from hyperderm.studies.ablation.plan import Plan
from hyperderm.studies.ablation.records import GridFolder, result_of
from hyperderm.studies.ablation.shortcut import probabilities, spare_cubes
from hyperderm.studies.ablation.work import work
from tests.studies.grids import NM, SIZE, generator, plan, synthetic_set
from tests.studies.test_work import task
from tests.studies.worlds import origin

NEVUS = "dysplastic_nevus"


def cubes(levels, diagnoses) -> CubeSet:
    """Constant cubes of these levels."""
    x = torch.tensor(levels, dtype=torch.float32)[:, None, None, None].expand(-1, 16, 4, 4)
    names = tuple(map(str, range(len(levels))))
    return CubeSet(names, tuple(diagnoses), x, torch.zeros(len(levels), 4, 4, dtype=torch.bool))


class ByLevel:
    """A classifier whose logit is the level of a cube."""

    def logits_of(self, reflectance, masks):
        return reflectance[:, 0, 0, 0].double()


def test_probabilities_are_means_by_class():
    real = cubes([0.0, 1.0, -1.0], [POSITIVE, POSITIVE, NEVUS])
    spare = cubes([3.0, 5.0], [POSITIVE, POSITIVE])
    found = probabilities(ByLevel(), Calibration(1.0, 0.0), real, spare)
    chance = lambda *z: np.mean([1 / (1 + np.exp(-each)) for each in z])  # noqa: E731
    assert found == {"melanoma": {"real": pytest.approx(chance(0, 1)), "synthetic": pytest.approx(chance(3, 5)), "cubes": 2}}
    both = probabilities(ByLevel(), Calibration(1.0, 0.0), real, cubes([2.0], [NEVUS]))
    assert both == {"negative": {"real": pytest.approx(chance(-1)), "synthetic": pytest.approx(chance(2)), "cubes": 1}}


@pytest.mark.parametrize(
    ("use", "counts", "left"),
    [
        ("add", {POSITIVE: 12}, {POSITIVE: 3}),
        ("add", {POSITIVE: 30, NEVUS: 4}, {POSITIVE: SPARE, NEVUS: 4}),
        ("only", {POSITIVE: 10, NEVUS: 18}, {POSITIVE: 1, NEVUS: 3}),
        ("add", {POSITIVE: 9}, {}),
    ],
)
def test_spare_cubes_are_those_that_are_not_shown(real, tmp_path: Path, use, counts, left):
    """A classifier of 9 melanomas and 15 nevi at ratio 1."""
    made = open_store(synthetic_set(tmp_path / "set", real, 0, counts))
    asked = SyntheticConfig(store="x", use=use, ratio=1.0)
    found = spare_cubes(made, [POSITIVE] * 9 + [NEVUS] * 15, asked, SIZE)
    if not left:
        assert found is None
        return
    assert {name: found.diagnoses.count(name) for name in set(found.diagnoses)} == left
    melanomas = sorted(row["lesion_id"] for row in made.index().to_pylist() if row["diagnosis"] == POSITIVE)
    assert not set(melanomas[:9]) & set(found.lesion_ids)


@pytest.fixture
def judge(real: Store, tmp_path: Path):
    """What the judge says of a set of cubes with or without a mark, through the job of a grid."""

    def judged(mark: float) -> dict:
        rng = np.random.default_rng(5)
        made = [
            SyntheticCube(i, rng.uniform(0.2, 0.6, (SIZE, SIZE, len(NM))).astype(np.float32) + np.float32(mark), POSITIVE)
            for i in range(9 + SPARE)
        ]
        uri = str(tmp_path / f"set {mark}")
        write_synthetic(uri, made, NM, origin(real, 0, "made", len(made)))
        planned = plan(
            real, {}, folds=[0], arms=["synthetic"], generators=["made"], sets={"made": {"0": uri}}, judge=True,
            classifiers__small_cnn__training__images=800,
        )  # fmt: skip
        (job,) = planned.stage("judge")
        assert (job.label, job.experiment.training.images) == ("small_cnn of made fold 0", 200)
        list(work(task(planned, job, tmp_path / f"grid {mark}"), real))
        return result_of(GridFolder(tmp_path / f"grid {mark}"), job)["judge"]

    return judged


def test_a_judge_knows_what_is_marked_and_guesses_where_nothing_is(judge):
    found = judge(0.3)
    assert found == {"auroc": 1.0, "real": 3.0, "synthetic": float(SPARE)}
    assert abs(judge(0.0)["auroc"] - 0.5) < 0.4


def randomly_filtered(real: Store, uri: str) -> Plan:
    """A grid of one fold in which a random part of a set made elsewhere is shown."""
    return plan(
        real, {}, folds=[0], models=["small_cnn"], arms=["filtered"], filters=["random"], generators=["made"],
        sets={"made": {"0": uri}},
    )  # fmt: skip


def test_cells_measure_the_shift_on_the_spare_cubes_of_a_curated_set(real, tmp_path: Path):
    """A pool made elsewhere, of which a random part is kept; the cell reads the part and measures on its spare cubes."""
    uri = synthetic_set(tmp_path / "pool", real, 0, {POSITIVE: 51})
    planned = randomly_filtered(real, uri)
    (made,) = planned.stage("synthetic")
    (cell,) = [job for job in planned.stage("cell") if job.source]
    assert (made.counts, made.drawn, made.store) == ({POSITIVE: 17}, {POSITIVE: 51}, uri)
    for job in (made, cell):
        list(work(task(planned, job, tmp_path / "grid"), real))
    facts = result_of(GridFolder(tmp_path / "grid"), made)
    assert facts["origin"]["curated"]["asked"] == {"keep": "random"}
    shift = result_of(GridFolder(tmp_path / "grid"), cell)["shortcut"]
    assert shift["melanoma"]["cubes"] == SPARE
    assert json.dumps(shift)


def test_models_that_are_fitted_at_once_have_no_judge(real):
    planned = plan(real, folds=[0, 1], arms=["synthetic", "filtered", "shuffled"], filters=["confidence"], judge=True)
    assert [job.model for job in planned.stage("judge")] == ["small_cnn"] * 4  # two sets a fold; shuffled says no diagnosis
    assert len({job.key for job in planned.stage("judge")}) == 4


def test_every_set_is_judged_once_whatever_its_arms_do_with_it(real):
    """Arms that share a set share its judge, and further arms change the name of none."""
    melanomas = {"shsgan": generator(data__diagnoses=["melanoma"])}
    asked = {"folds": [0], "models": ["small_cnn"], "judge": True}
    alone = plan(real, melanomas, arms=["synthetic"], **asked).stage("judge")
    arms = ["synthetic", "proportional", "only", "pretrain", "pretrain_head", "rebuilt", "shuffled"]
    made = plan(real, melanomas, arms=arms, **asked)
    judges = made.stage("judge")
    assert len(judges) == 2  # the set of melanomas, and that of every diagnosis, which five arms share
    assert {job.key for job in alone} < {job.key for job in judges}
    shared = {job.source for job in made.stage("cell") if job.arm in ("shsgan_proportional_x1", "shsgan_only")}
    assert {job.source for job in judges} == shared | {job.source for job in alone}


@pytest.mark.slow  # two more audits; that what is made from another is made anew: test_work.py, with a generator
def test_a_curated_set_is_made_anew_where_its_pool_is_another(real, tmp_path: Path):
    uri = synthetic_set(tmp_path / "pool", real, 0, {POSITIVE: 51})
    planned = randomly_filtered(real, uri)
    (made,) = planned.stage("synthetic")
    assert [report.note for report in work(task(planned, made, tmp_path / "grid"), real)] == [""]
    synthetic_set(tmp_path / "other", real, 0, {POSITIVE: 51}, seed=1)
    (tmp_path / "pool").rename(tmp_path / "gone")
    (tmp_path / "other").rename(tmp_path / "pool")
    (tmp_path / "grid" / made.folder / "result.json").unlink()
    notes = [report.note for report in work(task(planned, made, tmp_path / "grid"), real)]
    assert notes == ["made anew: its pool was made again"]
