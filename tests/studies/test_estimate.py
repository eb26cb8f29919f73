"""How long a grid takes: closed forms on hand-made costs; what is measured and what is taken from finished jobs."""

from dataclasses import replace

import pytest

from hyperderm import registry
from hyperderm.studies.ablation import estimate as module
from hyperderm.studies.ablation.estimate import COMPRESSED, OVERHEAD_S, Cost, Estimate, estimate, measure_here
from hyperderm.studies.ablation.jobs import SPARE, Job
from hyperderm.studies.ablation.records import GridFolder
from tests.studies.grids import SIZE, finish, plan


def job(key: str, stage: str = "cell", needs: tuple[str, ...] = ()) -> Job:
    return Job(key, stage, key, 0, None, needs)  # type: ignore[arg-type]


def costs(seconds: dict[str, float], done: tuple[str, ...] = ()) -> Estimate:
    return Estimate(seconds, dict.fromkeys(seconds, 1), frozenset(done))


# --- time on a clock


@pytest.mark.parametrize(("places", "expected"), [(1, 8.0), (2, 4.0), (3, 4.0), (4, 2.0), (9, 2.0)])
def test_independent_jobs_fill_the_places(places, expected):
    jobs = [job(str(k)) for k in range(4)]
    assert costs(dict.fromkeys("0123", 2.0)).wall(jobs, places) == expected


@pytest.mark.parametrize(("places", "expected"), [(1, 17.0), (2, 14.0), (5, 14.0)])
def test_a_cell_waits_for_its_set_and_that_for_its_generator(places, expected):
    jobs = [job("real"), job("g", "generator"), job("s", "synthetic", ("g",)), job("c", needs=("s",))]
    assert costs({"real": 3.0, "g": 10.0, "s": 1.0, "c": 3.0}).wall(jobs, places) == expected


def test_what_is_done_costs_nothing_and_keeps_nobody_waiting():
    jobs = [job("g", "generator"), job("s", "synthetic", ("g",)), job("c", needs=("s",)), job("real")]
    made = costs({"g": 10.0, "s": 1.0, "c": 3.0, "real": 3.0}, ("g", "s"))
    assert made.wall(jobs, 2) == 3.0
    assert made.work(jobs) == 6.0
    assert costs(made.seconds, tuple(made.seconds)).wall(jobs, 2) == 0.0


def test_jobs_that_need_a_gpu_wait_for_one_another_and_others_do_not_wait_for_them():
    jobs = [replace(job(str(k)), gpus=float(k < 4)) for k in range(8)]  # four on the one GPU, four anywhere
    assert costs(dict.fromkeys("01234567", 2.0)).wall(jobs, {1.0: 1, 0.0: 16}) == 8.0
    assert costs(dict.fromkeys("01234567", 2.0)).wall(jobs, {1.0: 4, 0.0: 16}) == 2.0


def test_work_is_the_sum():
    assert costs({"a": 2.0, "b": 3.5}).work([job("a"), job("b")]) == 5.5


# --- time of a job


COST = Cost(step=0.5, validation=3.0, checkpoint=1000)


def told(made, tmp_path):
    """An estimate with a stub for the measuring, and what it was asked to measure."""
    measured = []

    def measure(job, manifest, train):
        measured.append((job.stage, job.model, train))
        return COST

    return estimate(made, GridFolder(tmp_path), measure), measured


def test_steps_and_validations_of_every_stage(real, tmp_path):
    made = plan(real, folds=[0])
    guess, measured = told(made, tmp_path)
    by_label = {job.label: job for job in made.jobs}
    cell, generator = by_label["real/small_cnn fold 0 seed 0"], by_label["shsgan fold 0"]
    assert guess.seconds[cell.key] == OVERHEAD_S + 64 / 8 * 0.5 + (64 // 32 + 1) * 3.0
    assert guess.seconds[generator.key] == OVERHEAD_S + 32 / 4 * 0.5 + (32 // 16 + 1) * 3.0
    assert guess.seconds[by_label["real/spectral fold 0 seed 0"].key] == OVERHEAD_S + 3.0
    (drawn,) = made.stage("synthetic")
    assert guess.seconds[drawn.key] == OVERHEAD_S + (9 + SPARE) / module.DRAWN_A_SECOND
    assert guess.bytes[drawn.key] == int((9 + SPARE) * 16 * 16 * 16 * 4 * COMPRESSED)
    assert (guess.bytes[generator.key], guess.bytes[cell.key]) == (2000, 20_000)
    assert guess.done == frozenset()
    assert {train for _, _, train in measured} == {24}


def test_each_kind_is_measured_once_whatever_the_seeds_folds_and_ratios(real, tmp_path):
    one = told(plan(real, folds=[0], models=["small_cnn"]), tmp_path)[1]
    many = told(plan(real, seeds=[0, 1, 2], ratios=[1, 2, 4], models=["small_cnn"]), tmp_path)[1]
    assert len(one) == len(many) == 3  # a generator, the network with and without augmentation


def test_finished_jobs_tell_the_time_and_are_not_measured_again(real, tmp_path):
    made = plan(real, models=["small_cnn"], folds=[0, 1])
    first = plan(real, models=["small_cnn"], folds=[0])
    finish(first, tmp_path)
    guess, measured = told(made, tmp_path)
    assert guess.done == {job.key for job in first.jobs}
    assert {guess.seconds[job.key] for job in made.jobs} == {2.0}  # as `finish` writes
    assert [stage for stage, _, _ in measured if stage == "cell"] == []


def test_a_measurement_runs_the_real_steps(real):
    made = plan(real, folds=[0])
    for one in (made.stage("generator")[0], next(job for job in made.stage("cell") if job.model == "small_cnn")):
        cost = measure_here(one, real.manifest, 24)
        assert 0 < cost.step < 5
        assert 0 < cost.validation < 30
        assert cost.checkpoint > 4 * 5000  # bytes of weights and optimizer
    copier = registry.experiment("noisy_copies", "small").override({"data.size": SIZE})
    copies = replace(plan(real, folds=[0]).stage("generator")[0], experiment=copier)
    assert measure_here(copies, real.manifest, 24).checkpoint > 24 * 16 * SIZE**2 * 4  # it keeps train's cubes
    pretraining = plan(real, arms=["pretrain"], models=["small_cnn"], folds=[0]).stage("cell")[0]
    assert measure_here(pretraining, real.manifest, 24).step > 0


def test_a_measurement_says_how_long_it_had_a_processor(real, monkeypatch):
    made = plan(real, folds=[0], models=["small_cnn"])
    cell = made.stage("cell")[0]
    assert 0 < measure_here(cell, real.manifest, 24).had_cpu <= 1
    clock = module.process_time
    monkeypatch.setattr(module, "process_time", lambda: clock() / 4)  # as beside three programs that are as busy
    assert 0 < measure_here(cell, real.manifest, 24).had_cpu < 0.5


def test_an_estimate_tells_the_worst_of_its_measurements(real, tmp_path):
    shares = iter((0.9, 0.4, 1.0))
    made = plan(real, folds=[0], models=["small_cnn"])
    guess = estimate(made, GridFolder(tmp_path), lambda *_: replace(COST, had_cpu=next(shares)))
    assert guess.had_cpu == 0.4
