"""A sweep on a real Ray: trials, failures, kills, interrupts, limits."""

import errno
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from optuna.trial import TrialState

from hyperderm.cluster import tune_driver
from hyperderm.cluster.trial import Trial
from hyperderm.errors import ClusterError, DiskFull, WorkerLost
from hyperderm.store.reader import open_store
from hyperderm.studies.sweep import run as run_trials
from hyperderm.training.selection import select
from tests.cluster.sweeps import Memory, classifier, run, search, tiny


@pytest.mark.slow  # its short form is test_killed_trial_goes_on_from_its_checkpoint
def test_every_trial_ends_and_is_told_once(tmp_path, shared, ray_cluster):
    memory = Memory()
    made = run(tmp_path, tiny(), shared, ray_cluster, memory)
    assert [t.state for t in made.study.trials] == [TrialState.COMPLETE] * 3
    assert memory.reports == {n: [0, 32, 64, 96] for n in range(3)}
    assert sorted(e for e in memory.events if e[0] == "finished") == [("finished", n, "") for n in range(3)]
    for number, trial in enumerate(made.study.trials):
        folder = tmp_path / "trials" / f"{number:04d}"
        saved = torch.load(folder / "latest.pt", weights_only=True)
        assert saved["images"] == 96
        assert trial.value == pytest.approx(saved["best"])
        assert trial.value == min(trial.intermediate_values.values())
        cubes = np.load(folder / "samples.npy")
        assert cubes.shape == (8, 16, 16, 16)
        assert np.isfinite(cubes).all()


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1])
def test_no_more_trials_run_at_a_time_than_memory_takes(tmp_path, shared, ray_cluster, workers):
    """Two CPUs for two trials of half a CPU a worker; and each worker asks Ray for the RAM of its copies."""
    memory, few = Memory(), replace(shared, at_most=1, each=2**20)
    cpus = ray_cluster.cpus / 4
    experiment = tiny(sweep__trials=2, sweep__workers_per_trial=workers, sweep__cpus_per_worker=cpus)
    run(tmp_path, experiment, few, ray_cluster, memory)
    assert [event[0] for event in memory.events] == ["started", "finished"] * 2


@pytest.mark.slow  # its short form: a grid's cells train by theirs (services/test_ablation_cli.py)
def test_classifiers_are_searched_by_their_own_objective(tmp_path, told, ray_cluster):
    made = run(tmp_path, classifier(), told, ray_cluster, Memory())
    assert [t.state for t in made.study.trials] == [TrialState.COMPLETE] * 2
    for number, trial in enumerate(made.study.trials):
        saved = torch.load(tmp_path / f"trials/{number:04d}/latest.pt", weights_only=True)
        assert trial.value == pytest.approx(saved["best"])
        assert saved["best"] == pytest.approx(saved["metrics"]["best_calibrated_log_loss"])
        assert saved["provenance"]["run"] == f"/{number}"  # a checkpoint names its trial, not only its sweep
    assert made.study.trials[0].params != made.study.trials[1].params


@pytest.mark.slow  # its short forms are in test_two_objectives.py and tests/training/test_objective.py
def test_both_objectives_of_a_trial_are_those_of_the_checkpoint_that_it_keeps(tmp_path, shared, ray_cluster):
    own, key = "spectral_energy_distance", "held_out/spectral/coverage"
    experiment = tiny(sweep__objective=[own, key], training__validation_samples=16, sweep__grace_images=32)
    made = run(tmp_path, experiment, shared, ray_cluster, Memory())
    assert [t.state for t in made.study.trials] == [TrialState.COMPLETE] * 3
    for number, trial in enumerate(made.study.trials):
        best = torch.load(tmp_path / f"trials/{number:04d}/best.pt", weights_only=True)
        assert trial.values == pytest.approx([best["metrics"][own], best["metrics"][f"loss/{key}"]])
        assert trial.user_attrs["best_images"] == best["images"]


def test_killed_trial_goes_on_from_its_checkpoint(tmp_path, shared, ray_cluster, capfd):
    """kill -9 of the process that trains: the same weights come out as undisturbed, and no report is told twice."""
    experiment = tiny(sweep__trials=1, training__images=160)
    run(tmp_path / "calm", experiment, shared, ray_cluster, Memory())
    killed = []

    def kill(number, images):
        if images == 64 and not killed:
            victims = [p for p in psutil.process_iter(["cmdline"]) if "ray::Trial" in " ".join(p.info["cmdline"] or [])]
            for victim in victims:
                victim.kill()
            killed.append(len(victims))

    memory = Memory(kill)
    made = run(tmp_path / "killed", experiment, shared, ray_cluster, memory)
    assert killed[0] >= 1
    ((_, note),) = memory.notes
    assert re.fullmatch(r"a worker on node \S+ was lost; it goes on from its checkpoint", note)
    assert "Traceback" not in "".join(capfd.readouterr())
    assert made.study.trials[0].state == TrialState.COMPLETE
    assert memory.reports[0] == [0, 32, 64, 96, 128, 160]
    calm, after = (
        torch.load(tmp_path / which / "trials/0000/latest.pt", weights_only=True)["learner"]["generator"]
        for which in ("calm", "killed")
    )
    assert all(torch.equal(calm[name], after[name]) for name in calm)


def test_diverged_trial_fails_once_with_step_and_culprit(tmp_path, shared, ray_cluster):
    memory = Memory()
    experiment = tiny(sweep__trials=1, learner__lr_critic=1.0, learner__gp_weight=1e30)
    made = run(tmp_path, experiment, shared, ray_cluster, memory)
    (trial,) = made.study.trials
    assert trial.state == TrialState.FAIL
    assert "is not finite at step" in trial.user_attrs["reason"]
    assert [e[0] for e in memory.events] == ["started", "failed"]


def refusing(mark: Path) -> type[Trial]:
    """A trial whose second checkpoint and all later ones find the disk full while `mark` is there."""

    class Refusing(Trial):
        def setup(self, config, **more):
            fsync = os.fsync

            def refuse(stream):
                path = str(Path(f"/proc/self/fd/{stream}").readlink())
                if mark.exists() and ".latest.pt" in path and (Path(path).parents[1] / "latest.pt").exists():
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                fsync(stream)

            os.fsync = refuse
            super().setup(config, **more)

    return Refusing


@pytest.mark.slow  # its short form is in tests/cluster/test_trouble.py
def test_a_full_disk_is_no_result_and_the_sweep_goes_on_where_it_stood(tmp_path, shared, ray_cluster, monkeypatch):
    mark = tmp_path / "full"
    mark.touch()
    monkeypatch.setattr(tune_driver, "Trial", refusing(mark))
    experiment, memory = tiny(sweep__trials=2, sweep__concurrent=1), Memory()
    made = search(tmp_path, experiment, memory)
    with pytest.raises(DiskFull, match=r"trials/0000/latest\.pt: No space left on device\. Free some space there; then run"):
        run_trials(made, shared, ray_cluster, tmp_path, {})
    assert [t.state for t in made.study.trials] == [TrialState.RUNNING]
    assert memory.reports[0] == [0, 32]
    assert [e[0] for e in memory.events] == ["started", "interrupted"]
    assert memory.notes[0][1].endswith("latest.pt: No space left on device")
    mark.unlink()
    after = Memory()
    again = run(tmp_path, experiment, shared, ray_cluster, after)
    assert [t.state for t in again.study.trials] == [TrialState.COMPLETE] * 2
    assert after.reports[0] == [32, 64, 96], "from its checkpoint of 32 images"


@pytest.mark.slow  # its short form is in tests/cluster/test_trouble.py
def test_a_worker_that_dies_each_time_leaves_its_trial_open_and_the_others_end(tmp_path, shared, ray_cluster, capfd):
    experiment = tiny(sweep__trials=2, sweep__concurrent=1, sweep__max_failures=0)

    def kill(number, images):
        if (number, images) == (0, 32):
            for victim in psutil.Process().children(recursive=True):
                if "ray::Trial" in " ".join(victim.cmdline()):
                    victim.kill()

    made = search(tmp_path, experiment, Memory(kill))
    with pytest.raises(WorkerLost, match=r"a worker process or its node died.*then run the same command again"):
        run_trials(made, shared, ray_cluster, tmp_path, {})
    assert [t.state for t in made.study.trials] == [TrialState.RUNNING, TrialState.COMPLETE]
    assert "Traceback" not in "".join(capfd.readouterr())
    after = Memory()
    again = run(tmp_path, experiment, shared, ray_cluster, after)
    assert [t.state for t in again.study.trials] == [TrialState.COMPLETE] * 2
    assert after.events[0] == ("started", 0, True)


@pytest.mark.slow  # its short forms: test_a_full_disk_is_no_result_… below, services/test_kill.py
def test_interrupted_sweep_goes_on(tmp_path, shared, ray_cluster):
    experiment = tiny(sweep__trials=4, sweep__concurrent=1)
    first = Memory()
    made = search(tmp_path, experiment, first)
    first._on_report = lambda number, images: setattr(made, "interrupted", made.interrupted or (number, images) == (1, 64))
    run_trials(made, shared, ray_cluster, tmp_path, {})
    assert [t.state for t in made.study.trials] == [TrialState.COMPLETE, TrialState.RUNNING]
    assert ("interrupted", 1, "") in first.events
    second = Memory()
    again = run(tmp_path, experiment, shared, ray_cluster, second)
    assert [t.state for t in again.study.trials] == [TrialState.COMPLETE] * 4
    assert second.events[0] == ("started", 1, True)
    assert 0 not in second.reports
    assert second.reports[1][-1] == 96
    assert min(second.reports[1]) >= 64
    more = run(tmp_path, tiny(sweep__trials=5, sweep__concurrent=1), shared, ray_cluster, Memory())
    assert len(more.study.trials) == 5


def test_more_than_the_cluster_has_is_refused(tmp_path, shared, ray_cluster):
    with pytest.raises(ClusterError, match=r"100 workers with 1 CPU.*cluster has .* CPU"):
        run(tmp_path, tiny(sweep__workers_per_trial=100, training__batch_size=100), shared, ray_cluster, Memory())
    with pytest.raises(ClusterError, match="GPU"):
        run(tmp_path, tiny(sweep__gpus_per_worker=99.0), shared, ray_cluster, Memory())


def test_blocks_hold_the_store_bit_for_bit(phantom_store, shared):
    store = open_store(str(phantom_store))
    selection = select(store, tiny())
    data = shared.load(tiny(data__size=32))
    for ids, cubes in ((selection.train, data.train), (selection.validation, data.validation)):
        assert cubes.lesion_ids == ids
        expected = np.moveaxis(store.read(ids).column("cube").combine_chunks().to_numpy_ndarray(), 3, 1)
        assert np.array_equal(cubes.reflectance.numpy(), expected)
    assert not set(selection.train) & set(selection.validation)
