"""What a run allocates, counted and measured; and how many trials at a time a cluster's memory takes. No Ray is started."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from optuna.distributions import CategoricalDistribution, IntDistribution

from hyperderm.cluster import feed_choice
from hyperderm.cluster import memory as memory_needed
from hyperderm.cluster.feed_choice import FeedChoice, choose_feed
from hyperderm.cluster.memory import Demand, Needs, Roles, fit, gpu_bytes, mib, moments, needs_of, roles_of
from hyperderm.cluster.session import Cluster, Memory, machine_ram, this_machine
from hyperderm.errors import ClusterError, ConfigError, MachineTrouble
from hyperderm.learners.data import TrainData
from hyperderm.store.reader import Store, open_store
from hyperderm.studies.ablation.estimate import capacity
from hyperderm.training.context import Context
from hyperderm.training.selection import read, select
from hyperderm.training.stream import check_gpu, feed_of
from hyperderm.workflows.run_sweep import largest
from tests.cluster.sweeps import classifier, tiny
from tests.studies import grids

GIB = 2**30
MANY = tiny(sweep__trials=100)


def cluster(ram: float, store: float = 2**40, cpus: float = 16.0, gpus: float = 0.0, gpu: int | None = None, nodes: int = 1):
    memory = Memory(int(ram), int(store), gpu, here=True)
    return Cluster(((cpus, gpus),) * nodes, "", (memory,) * nodes)


@pytest.fixture(scope="module")
def store(phantom_store: Path) -> Store:
    return open_store(str(phantom_store))


def chosen(store: Store, experiment, where: Cluster, **how) -> FeedChoice:
    return choose_feed(store, select(store, experiment), experiment, cluster=where, **how)


def test_what_trials_copy_beside_the_object_store_lowers_their_number(store):
    """The fault: sixteen trials were let loose on a node whose RAM holds the copies of two."""
    needs = needs_of(roles_of(store, select(store, MANY), MANY), MANY, gpu=False)
    small = cluster(2.5 * needs.ram / memory_needed.RAM_SHARE)
    found = chosen(store, MANY, small)
    assert (found.streams, found.at_most, found.each) == (False, 2, 0)
    assert found.limit == (
        f"2 trials run at a time, not 16: a trial takes {mib(needs.ram)} of RAM for its cubes, and cubes may take "
        f"{mib(2.5 * needs.ram)}"
    )


def test_nothing_is_said_where_all_fits(store):
    plain = FeedChoice(False, (30 + 30) * 32 * 32 * (16 * 4 + 1))
    assert chosen(store, MANY, cluster(64 * GIB)) == plain
    assert chosen(store, MANY, Cluster(((16.0, 0.0),), "")) == plain  # nobody knows the memory
    assert choose_feed(store, select(store, MANY), MANY) == plain
    assert choose_feed(store, select(store, MANY), MANY, alone=True) == plain


def test_only_as_many_are_counted_as_would_run(store):
    needs = needs_of(roles_of(store, select(store, MANY), MANY), MANY, gpu=False)
    two = cluster(2.5 * needs.ram / memory_needed.RAM_SHARE)
    assert chosen(store, tiny(sweep__trials=2), two).at_most is None
    assert chosen(store, tiny(sweep__trials=100, sweep__concurrent=2), two).at_most is None
    assert chosen(store, tiny(sweep__trials=100, sweep__cpus_per_worker=8), two).at_most is None
    assert chosen(store, tiny(sweep__trials=100, sweep__workers_per_trial=2), two).at_most == 1  # each worker copies


def test_ray_keeps_each_of_several_nodes_to_what_its_ram_takes(store):
    needs = needs_of(roles_of(store, select(store, MANY), MANY), MANY, gpu=False)
    found = chosen(store, MANY, cluster(2.5 * needs.ram / memory_needed.RAM_SHARE, nodes=3))
    assert (found.at_most, found.each) == (6, needs.ram)
    assert found.limit.endswith("on 3 nodes together")


def test_roles_must_fit_every_node_not_the_cluster(store):
    """Ray copies an object to each node that asks for it: two halves are no whole."""
    decoded = roles_of(store, select(store, MANY), MANY).decoded
    assert chosen(store, MANY, cluster(GIB, decoded, nodes=2)).streams
    assert not chosen(store, MANY, cluster(GIB, 2 * decoded, nodes=2)).streams


def test_one_trial_that_does_not_fit_the_ram_is_streamed_or_told_why_not(store):
    needs = needs_of(roles_of(store, select(store, MANY), MANY), MANY, gpu=False)
    found = chosen(store, MANY, cluster(needs.ram))  # of which cubes may take four fifths
    assert found.streams
    assert found.said(1) == (
        f"train is streamed: a trial takes {mib(needs.ram)} of RAM for its cubes, and cubes may take "
        f"{mib(0.8 * needs.ram)}; 1 CPU kept for reading"
    )
    with pytest.raises(ConfigError, match=r"of RAM for its cubes, .* so they would be streamed; but data.scaling = robust"):
        chosen(store, tiny(data__scaling="robust"), cluster(needs.ram))


def test_memory_that_cannot_hold_one_trial_is_refused(store):
    held = tiny(data__feed="memory", sweep__trials=100)
    needs = needs_of(roles_of(store, select(store, held), held), held, gpu=False)
    just = chosen(store, held, cluster(needs.ram + 1))  # who asks for it gets the whole
    assert (just.streams, just.at_most) == (False, 1)
    assert just.limit.startswith("1 trial runs at a time, not 16: a trial takes")
    said = rf"data.feed = memory does not fit one trial at a time: a trial takes {mib(needs.ram)} of RAM .* there are 2 MiB"
    with pytest.raises(ConfigError, match=said) as refused:
        chosen(store, held, cluster(2 * 2**20))
    assert refused.value.remedy.startswith("Use --set data.feed=stream, lower data.size")
    with pytest.raises(ConfigError, match=rf"the roles are {mib(needs.store)} decoded, the object store holds 1 MiB"):
        chosen(store, held, cluster(GIB, 2**20))
    robust = tiny(data__feed="memory", data__scaling="robust")
    with pytest.raises(ConfigError, match="does not fit") as refused:
        chosen(store, robust, cluster(2**20))
    assert refused.value.remedy.startswith("Lower data.size")


def test_a_run_alone_has_all_of_the_machine_and_no_object_store(store, monkeypatch):
    alone = tiny(data__feed="memory")
    needs = needs_of(roles_of(store, select(store, alone), alone), alone, gpu=False, by_ray=False)
    assert needs.store == 0
    monkeypatch.setattr(feed_choice, "local_gpu", lambda: False)
    monkeypatch.setattr(feed_choice, "machine_ram", lambda: needs.ram + 1)
    assert not chosen(store, alone, cluster(1, 1), alone=True).streams
    monkeypatch.setattr(feed_choice, "machine_ram", lambda: needs.ram - 1)
    with pytest.raises(ConfigError, match="of RAM for its cubes"):
        chosen(store, alone, cluster(1, 1), alone=True)


def test_a_container_has_what_its_limit_leaves(monkeypatch, tmp_path):
    limit = tmp_path / "memory.max"
    limit.write_text("max\n")
    monkeypatch.setattr("hyperderm.cluster.session.LIMITS", (limit,))
    whole = machine_ram()
    limit.write_text("1000000\n")
    assert machine_ram() == 1_000_000 < whole
    (memory,) = this_machine().memory
    assert (memory.store, memory.ram) == (300_000, 700_000)


def test_the_account_in_closed_form():
    """12 + 6 + 4 cubes of 32 px and 10 bands, extra of 48 px, fed at 16 px."""
    roles, shown, held = Roles(12, 6, 4, (32, 32, 10), (48, 48), part=5, test=7), 16 * 16 * 10 * 4, 16 * 16 * 10 * 4 + 256
    row, sets = 32 * 32 * 41, 22 * held
    assert roles.decoded == 18 * row + 4 * 48 * 48 * 41
    gan = moments(roles, tiny(), gpu=False)
    kept = sets + 16 * shown + 16 * 256  # sets, the scaled copy, the joined masks
    assert gan["read"] == 18 * row + sets
    assert gan["feed"] == kept + 16 * shown  # train and extra joined, while they are scaled
    assert gan["hold"] == kept
    assert gan["score"] == kept + 3 * 12 * 2 * shown  # three pieces in float64; of many cubes twice train
    assert gan["test"] == kept + 7 * (row + 2 * shown + 256)
    many = moments(replace(roles, train=1200), tiny(), gpu=False)
    assert many["score"] - many["hold"] == 1200 * 2 * shown
    alone = moments(roles, tiny(), gpu=False, by_ray=False)
    assert alone["read"] == roles.decoded + 3 * 5 * row + sets
    on_gpu = needs_of(roles, tiny(), gpu=True)
    assert (on_gpu.gpu, on_gpu.held) == (16 * shown, sets + 16 * 256)
    assert needs_of(roles, tiny(), gpu=False).gpu == 0
    plain = replace(roles, extra=0)
    told = moments(plain, classifier(), gpu=False)
    assert told["hold"] == 18 * held + 12 * shown
    assert told["score"] - told["hold"] == 6 * shown
    assert told["feed"] - told["hold"] == 12 * shown * classifier().learner.pixelwise


@pytest.mark.parametrize("precision", ["fp32", "fp64"])
def test_what_is_held_is_what_is_counted(store, precision):
    """Byte for byte; a precision is that of a batch."""
    for experiment in (tiny(training__precision=precision), classifier(training__precision=precision)):
        data = read(store, select(store, experiment), experiment)
        feed = feed_of(experiment, data, Context(None, device=torch.device("cpu")))
        parts = [getattr(each, name) for each in (data.train, data.validation) for name in ("reflectance", "masks")]
        held = sum(part.untyped_storage().nbytes() for part in (*parts, feed.cubes))
        counted = needs_of(roles_of(store, select(store, experiment), experiment), experiment, gpu=False)
        assert counted.held == held


@pytest.mark.slow
def test_what_is_allocated_is_what_is_counted():
    """The kernel's word, within a tenth: of allocators that give back what is freed, so that no moment hides the next."""
    plain = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_MMAP_THRESHOLD_": "65536"}
    command = [sys.executable, "-m", "tests.cluster.allocated"]
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | plain, cwd=Path(__file__).parents[2], timeout=120
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for name, told in json.loads(done.stdout).items():
        for moment, counted in told["counted"].items():
            assert told["taken"][moment] == pytest.approx(counted, rel=0.1), (name, moment)


def test_trials_that_share_a_gpu_share_its_memory():
    needs, asked = Needs(0, 1, 1, 10 * GIB), Demand(1, 1.0, 0.25)
    assert fit(cluster(GIB, gpus=2.0, gpu=80 * GIB), needs, asked).fits == 8
    found = fit(cluster(GIB, gpus=2.0, gpu=30 * GIB), needs, asked)  # Ray might put the first four on one
    assert (found.wanted, found.fits) == (8, 2)
    assert found.why == (
        "the scaled cubes of a trial are 10.0 GiB, and cubes may take 24.0 GiB of a GPU (1 / 2 of a GPU each would use all "
        "GPUs: sweep.gpus_per_worker)"
    )
    assert fit(cluster(GIB, gpus=2.0, gpu=30 * GIB), needs, Demand(1, 1.0, 0.5)).fits == 4
    none = fit(cluster(GIB, gpus=2.0, gpu=8 * GIB), needs, asked)
    assert (none.short, none.why) == ("gpu", "the scaled cubes of a trial are 10.0 GiB, a GPU holds 8.0 GiB")
    assert fit(cluster(GIB, gpus=2.0, gpu=None), needs, asked).fits == 8  # nobody knows


def test_a_gpu_tells_its_memory_where_it_can(monkeypatch, tmp_path):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 81559\necho 40960\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert gpu_bytes() == 40960 * 2**20
    assert memory_needed.with_gpu_memory(cluster(GIB, gpus=2.0)).memory[0].gpu == 40960 * 2**20
    tool.write_text("#!/bin/sh\necho no devices\nexit 1\n")
    assert gpu_bytes() is None


def test_a_trial_says_that_its_cubes_do_not_fit_the_gpu_before_it_copies_them(monkeypatch):
    cubes = SimpleNamespace(reflectance=torch.empty(2, 16, 8, 8))
    data: TrainData = SimpleNamespace(train=cubes, rows=2**20)  # 4 GiB
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: GIB)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 0)
    for free, total, error in ((4, 8, None), (2, 8, MachineTrouble), (2, 3, ConfigError)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, a=free, b=total: (a * GIB, b * GIB))
        if error is None:
            check_gpu(data, torch.device("cuda"))
            continue
        said = rf"the 1048576 scaled train cubes take 4.00 GiB of GPU memory, and 3.00 of {total}.00 GiB are free"
        with pytest.raises(error, match=said):
            check_gpu(data, torch.device("cuda"))


def test_a_search_over_sizes_is_counted_at_its_largest():
    assert largest(MANY, {}) is MANY
    assert largest(MANY, {"data.size": CategoricalDistribution([16, 32, 24])}).data.size == 32
    assert largest(MANY, {"data.size": IntDistribution(16, 48, step=16)}).data.size == 48


def test_a_grid_runs_as_many_jobs_as_copies_fit(tmp_path):
    plan = grids.plan(grids.store(tmp_path / "store"))
    whole = cluster(GIB, GIB)
    assert capacity(plan, whole).jobs_at_once == {0.0: 16}
    assert capacity(plan, whole).said == ""
    # The most that a job reads is 24 + 8 lesions of 16 px in 16 bands, and what the generator's reference makes of 24.
    cube, mask = 16 * 16 * 16 * 4, 16 * 16
    most = max(32 * (cube + mask) + 24 * cube + 3 * 24 * 2 * cube, 1)
    small = cluster(3.5 * most / memory_needed.RAM_SHARE, GIB)
    found = capacity(plan, small)
    assert (found.jobs_at_once, found.each, capacity(plan, small).jobs_at_once) == ({0.0: 3}, 0, {0.0: 3})
    assert found.said == (
        f"3 jobs run at a time, not 16: a job takes {mib(most)} of RAM for its cubes, and cubes may take {mib(3.5 * most)}"
    )
    assert capacity(plan, cluster(3.5 * most / memory_needed.RAM_SHARE, GIB, nodes=2)).each == most
    with pytest.raises(ClusterError, match=r"a job does not fit the memory: a job takes .* there are 1 MiB"):
        capacity(plan, cluster(2**20, GIB))
    with pytest.raises(ClusterError, match=r"the store is 1 MiB decoded, the object store holds 1 MiB"):
        capacity(plan, cluster(GIB, 600_000))
