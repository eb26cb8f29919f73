"""Which job comes next, what a failure takes with it, and what a later driver finds."""

import pickle
import time
from dataclasses import replace

import pytest

from hyperderm.errors import DiskFull, WorkerLost
from hyperderm.studies.ablation.jobs import Job
from hyperderm.studies.ablation.queue import JobQueue
from hyperderm.studies.ablation.records import GridFolder, failure_of, result_of, write_result
from tests.studies.grids import FACTS, OF_STAGE


class Told:
    """Remembers what an observer is told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, object]] = []

    def started(self, job: Job, resumed: bool) -> None:
        self.events.append(("started", job.key, resumed))

    def reported(self, job: Job, images: int, metrics: dict) -> None:
        self.events.append(("reported", job.key, images))

    def noted(self, job: Job, sentence: str) -> None:
        self.events.append(("noted", job.key, sentence))

    def told(self, sentence: str) -> None:
        self.events.append(("told", "", sentence))

    def finished(self, job: Job, outcome: str, reason: str) -> None:
        assert outcome == ("failed" if reason else "finished")
        self.events.append(("finished", job.key, reason))

    def interrupted(self, job: Job) -> None:
        self.events.append(("interrupted", job.key, ""))


def job(key: str, stage: str = "cell", needs: tuple[str, ...] = ()) -> Job:
    return Job(key, stage, f"the {key}", 0, None, needs)  # type: ignore[arg-type]


def chain() -> list[Job]:
    """Two generators with a set each, a cell on each set, and a cell that needs nothing."""
    return [
        job("g1", "generator"), job("g2", "generator"), job("s1", "synthetic", ("g1",)), job("s2", "synthetic", ("g2",)),
        job("real"), job("c1", needs=("s1",)), job("c2", needs=("s2",)),
    ]  # fmt: skip


@pytest.fixture
def told():
    return Told()


@pytest.fixture
def queue(tmp_path, told):
    return JobQueue(GridFolder(tmp_path), chain(), told, lambda job: 10.0)


def write(queue: JobQueue, key: str) -> None:
    job = queue.jobs[key]
    write_result(queue.grid.place(job), {**FACTS, **OF_STAGE[job.stage], "seconds": 1.0})


def done(queue: JobQueue, key: str) -> None:
    write(queue, key)
    queue.finish(key)


def asked(queue: JobQueue, count: int = 9) -> list[str]:
    """Keys handed out until there is none."""
    found = []
    while len(found) < count and (next_one := queue.ask()):
        found.append(next_one.key)
    return found


# --- order


def test_jobs_come_in_the_order_of_the_plan_once_their_needs_are_done(queue):
    assert asked(queue) == ["g1", "g2", "real"]
    assert not queue.over
    done(queue, "g2")
    assert asked(queue) == ["s2"]
    done(queue, "g1")
    done(queue, "s2")
    assert asked(queue) == ["s1", "c2"]
    done(queue, "s1")
    assert asked(queue) == ["c1"]
    assert queue.over
    assert queue.wanted == 0


def test_what_is_done_is_not_repeated(tmp_path, told, queue):
    for key in ("g1", "s1", "real"):
        write(queue, key)
    second = JobQueue(GridFolder(tmp_path), chain(), told, lambda job: 10.0)
    assert second.wanted == 4
    assert asked(second) == ["g2", "c1"]


def test_a_cell_of_two_arms_runs_once(tmp_path, told):
    queue = JobQueue(GridFolder(tmp_path), [job("a"), job("a"), job("b")], told, lambda job: 1.0)
    assert queue.wanted == 2
    assert asked(queue) == ["a", "b"]


def test_observers_are_told_in_order_and_whether_a_job_goes_on(queue, told):
    (queue.grid.path / "cell" / "real").mkdir(parents=True)
    asked(queue)
    queue.report("real", 32, {})
    queue.report("real", 32, {})
    queue.report("unknown", 64, {})
    done(queue, "real")
    assert told.events == [
        ("started", "g1", False), ("started", "g2", False), ("started", "real", True),
        ("reported", "real", 32), ("finished", "real", ""),
    ]  # fmt: skip


# --- failures


def test_a_generator_that_fails_takes_its_own_set_and_cells_with_it_and_nothing_else(queue, told):
    asked(queue)
    queue.finish("g1", "loss is NaN at step 3")
    done(queue, "g2")
    assert asked(queue) == ["s2"]
    done(queue, "s2")
    assert asked(queue) == ["c2"]
    done(queue, "c2")
    done(queue, "real")
    assert queue.failed == {
        "g1": "loss is NaN at step 3",
        "s1": "the g1 failed: loss is NaN at step 3",
        "c1": "the s1 failed: the g1 failed: loss is NaN at step 3",
    }
    assert queue.done == {"g2", "s2", "c2", "real"}
    assert queue.over
    for key in queue.failed:
        assert failure_of(queue.grid, queue.jobs[key]) == queue.failed[key]
        assert [name for name, about, _ in told.events if about == key] == ["started", "finished"]


def test_a_job_that_left_no_result_has_failed(queue):
    asked(queue)
    queue.finish("real")
    assert queue.failed == {"real": "it ended without a result"}


def test_the_next_driver_tries_again_and_forgets_the_failure(tmp_path, queue, told):
    asked(queue)
    queue.finish("g1", "disk full")
    asked(queue)
    again = JobQueue(GridFolder(tmp_path), chain(), told, lambda job: 1.0)
    assert again.failed == {}
    assert asked(again)[0] == "g1"
    done(again, "g1")
    assert failure_of(queue.grid, again.jobs["g1"]) is None
    assert result_of(queue.grid, again.jobs["g1"])["seconds"] == 1.0
    done(again, "g2")
    assert asked(again, 1) == ["s1"]  # noted as failed before; it only failed with its generator


def test_a_full_disk_while_noting_a_failure_is_survived(queue, told, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hyperderm.studies.ablation.queue.write_failure", full)
    asked(queue)
    queue.finish("g1", "OSError: [Errno 28] No space left on device")
    assert queue.failed["g1"].endswith("No space left on device")
    assert ("finished", "g1", queue.failed["g1"]) in told.events
    done(queue, "g2")
    assert asked(queue) == ["s2"]  # the grid goes on


# --- time


def test_what_would_run_past_the_end_stays_for_the_next_night(tmp_path, told):
    costs = {"g1": 500.0, "c2": 500.0}
    queue = JobQueue(GridFolder(tmp_path), chain(), told, lambda job: costs.get(job.key, 10.0), until=time.time() + 100)
    assert asked(queue) == ["g2", "real"]
    done(queue, "g2")
    done(queue, "real")
    assert asked(queue) == ["s2"]
    done(queue, "s2")
    assert asked(queue) == []
    assert queue.over
    assert [late.key for late in queue.late] == ["g1", "s1", "c1", "c2"]
    assert queue.failed == {}
    assert not any(key in ("g1", "s1", "c1", "c2") for _, key, _ in told.events)
    assert set(asked(JobQueue(GridFolder(tmp_path), chain(), Told(), lambda job: 10.0))) == {"g1", "c2"}


def test_after_the_end_nothing_starts(tmp_path):
    queue = JobQueue(GridFolder(tmp_path), chain(), Told(), lambda job: 0.0, until=time.time() - 1)
    assert queue.ask() is None
    assert queue.over
    assert len(queue.late) == 7


# --- interrupts


def test_an_interrupt_leaves_running_jobs_to_the_next_driver(tmp_path, queue, told):
    asked(queue)
    queue.interrupted = True
    assert queue.ask() is None
    queue.finish("g1", "killed")  # Tune tells of the trials it stopped
    queue.finish("real")
    queue.leave_open()
    assert [event for event in told.events if event[0] != "started"] == [
        ("interrupted", "g1", ""), ("interrupted", "g2", ""), ("interrupted", "real", "")
    ]  # fmt: skip
    assert queue.failed == {}
    assert not queue.handed
    assert not any((tmp_path / each.folder).exists() for each in chain())
    assert asked(JobQueue(GridFolder(tmp_path), chain(), Told(), lambda job: 1.0)) == ["g1", "g2", "real"]


def test_tune_may_pickle_it(queue):
    pickle.loads(pickle.dumps(queue))


def test_no_more_jobs_are_handed_out_than_have_a_gpu(tmp_path, told):
    """One that waits for a GPU would start long after its time was judged."""
    jobs = [replace(job(key), gpus=gpus) for key, gpus in (("a", 1.0), ("b", 1.0), ("c", 0.0), ("d", 0.0))]
    queue = JobQueue(GridFolder(tmp_path), jobs, told, lambda job: 1.0, slots={1.0: 1, 0.0: 16})
    assert [queue.ask().key for _ in range(3)] == ["a", "c", "d"]
    assert queue.ask() is None
    assert not queue.over
    write(queue, "a")
    queue.finish("a")
    assert queue.ask().key == "b"


# --- what the machine did


def test_a_job_that_met_trouble_stays_open_with_what_needs_it_and_the_others_go_on(queue, told):
    asked(queue)
    queue.leave("g1", WorkerLost("a worker died", "Look."))
    assert not queue.interrupted
    done(queue, "g2")
    assert asked(queue) == ["s2"]
    done(queue, "s2")
    assert asked(queue) == ["c2"]
    done(queue, "c2")
    done(queue, "real")
    assert queue.over, "nothing waits for ever for what is open"
    assert queue.open == {"g1": "a worker died", "s1": "it needs the g1", "c1": "it needs the s1"}
    assert queue.failed == {}
    assert not [key for key in queue.open if failure_of(queue.grid, queue.jobs[key])]
    assert [e for e in told.events if e[1] == "g1"] == [
        ("started", "g1", False), ("noted", "g1", "left open: a worker died"), ("interrupted", "g1", ""),
    ]  # fmt: skip
    again = JobQueue(queue.grid, chain(), told, lambda job: 10.0)
    assert asked(again) == ["g1"], "the next driver goes on with it"


def test_a_full_disk_or_a_second_trouble_in_a_row_ends_the_grid(queue, tmp_path, told):
    asked(queue)
    queue.leave("g1", WorkerLost("one"))
    queue.leave("g2", WorkerLost("two"))
    assert queue.interrupted
    assert queue.trouble.what == "two"
    assert queue.ask() is None
    full = JobQueue(GridFolder(tmp_path / "full"), chain(), told, lambda job: 10.0)
    asked(full)
    full.leave("real", DiskFull("latest.pt: No space left on device"))
    assert full.interrupted
    assert failure_of(full.grid, full.jobs["real"]) is None


def test_several_needs_of_one_job_may_fail(tmp_path, told):
    jobs = [job("g1", "generator"), job("g2", "generator"), job("both", needs=("g1", "g2"))]
    queue = JobQueue(GridFolder(tmp_path), jobs, told, lambda job: 10.0)
    for _ in range(2):
        queue.finish(queue.ask().key, "loss is NaN")
    assert queue.ask() is None
    assert queue.failed["both"] == "the g1 failed: loss is NaN; the g2 failed: loss is NaN"


@pytest.mark.parametrize("between", [False, True])
def test_several_needs_of_one_job_may_stay_open(tmp_path, told, between):
    """Troubles with a job between them that came to its end, so that the grid goes on; Tune asks whenever it likes."""
    jobs = [job("g1", "generator"), job("real"), job("g2", "generator"), job("both", needs=("g1", "real", "g2"))]
    queue = JobQueue(GridFolder(tmp_path), jobs, told, lambda job: 10.0)
    assert asked(queue) == ["g1", "real", "g2"]
    queue.leave("g1", WorkerLost("a worker died"))
    done(queue, "real")
    if between:
        assert asked(queue) == []
        assert queue.open["both"] == "it needs the g1"
    queue.leave("g2", WorkerLost("another died"))
    assert not queue.interrupted
    assert asked(queue) == []
    assert queue.over
    assert queue.open == {"g1": "a worker died", "g2": "another died", "both": "it needs the g1 and the g2"}
    assert queue.failed == {}
