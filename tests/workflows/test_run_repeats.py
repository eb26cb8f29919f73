"""What `sweep --repeat` does around the repeats: interrupts, the runs of a killed driver, tags. Nothing is trained."""

from types import SimpleNamespace

import pytest
from rich.console import Console

from hyperderm.errors import StudyError
from hyperderm.studies import sweep
from hyperderm.studies.repeats import Repeats
from hyperderm.workflows import run_repeats
from tests.studies.test_repeats import Told, best_of, perform, searched


class Tracked(Told):
    """Remembers what a `StudyTracker` is told about jobs that an earlier driver ran."""

    def catch_up(self, ended):
        self.events += [("caught up", job.key, outcome, reason) for job, outcome, reason in ended]


def test_an_interrupt_of_the_repeats_leaves_the_sweep_open(tmp_path, monkeypatch):
    made, told, said = searched(tmp_path, 0.4), Told(), []
    workspace = SimpleNamespace(say=said.append, console=Console(quiet=True))

    def interrupted(repeats, wanted, *_):
        assert wanted == 3
        repeats.ask()
        repeats.interrupted = True
        repeats.leave_open()

    monkeypatch.setattr(sweep, "run_jobs", interrupted)
    facts = SimpleNamespace(folder=tmp_path, provenance=dict, storage=None)
    run_repeats.run_repeats(workspace, made, 3, None, None, facts, told)
    assert said == ["repeating trial 0, the best one, with the seeds 6 to 8; none is stopped early"]
    assert made.interrupted
    assert [event[0] for event in told.events] == ["started", "interrupted"]
    assert run_repeats.missing(made, tmp_path, 3) == 3
    found = run_repeats.repeats_of(made, tmp_path)
    assert [record.seed for record in found.open] == [6]
    watched = Tracked()
    run_repeats.catch_up(found, watched)
    assert [event[:2] for event in watched.events] == [("interrupted", told.events[0][1])]


def test_repeats_that_ended_before_a_kill_are_caught_up_and_told(tmp_path):
    made = searched(tmp_path, 0.4)
    perform(Repeats(tmp_path, best_of(made), 2, Told()), 0.5, None)
    found, watched = run_repeats.repeats_of(made, tmp_path), Tracked()
    run_repeats.catch_up(found, watched)
    assert [(event[0], *event[2:]) for event in watched.events] == [
        ("caught up", "finished", ""), ("caught up", "failed", "loss is not finite at step 3"),
    ]  # fmt: skip
    assert run_repeats.tags_of(found) == {"hyperderm.repeats": "trial 0: 0.500 over 1 seed; the winner's own score is 0.400"}
    assert run_repeats.exit_code(found, 2) == 0
    assert run_repeats.missing(made, tmp_path, 2) == 0


def test_repeats_that_all_failed_and_a_search_without_a_winner(tmp_path):
    made = searched(tmp_path, 0.4)
    perform(Repeats(tmp_path, best_of(made), 1, Told()), None)
    found = run_repeats.repeats_of(made, tmp_path)
    assert run_repeats.exit_code(found, 1) == 1
    assert run_repeats.exit_code(found, 0) == 0, "none was asked for this time"
    assert run_repeats.tags_of(found)["hyperderm.repeats"].startswith("trial 0: none has finished")
    with pytest.raises(StudyError, match="--repeat 3: no trial of this sweep has finished"):
        run_repeats.exit_code(None, 3)
    assert run_repeats.tags_of(None) == {}
