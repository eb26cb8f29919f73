"""Repeats of a sweep's best trial: their seeds, records and restarts, without Ray."""

import statistics

import pytest

from hyperderm.errors import StudyError
from hyperderm.reports import repeats as words
from hyperderm.studies.repeats import RECORD, Repeats, jobs_of, repeated, winner_of
from tests.cluster.sweeps import Memory, ask, search, tiny

OWN = "spectral_energy_distance"


class Told(Memory):
    """Remembers the events of repeats by their keys."""

    def started(self, job, resumed):
        self.events.append(("started", job.key, resumed))
        self.jobs[job.key] = job

    def reported(self, job, images, metrics):
        self.reports.setdefault(job.key, []).append(images)

    def finished(self, job, outcome, reason):
        self.events.append((outcome, job.key, reason))

    def interrupted(self, job):
        self.events.append(("interrupted", job.key, ""))


def searched(folder, *scores: float, **overrides):
    """A search whose trials ended with these scores."""
    made = search(folder, tiny(seed=5, **overrides), Memory())
    for score in scores:
        key = ask(made).key
        made.report(key, 96, {OWN: score})
        made.finish(key)
    return made


def best_of(made):
    found = winner_of(made.study, made.base)
    assert found is not None
    return found


def perform(repeats: Repeats, *scores: float | None) -> None:
    """Run repeats that end with these scores; None: the repeat fails."""
    for score in scores:
        job = repeats.ask()
        assert job is not None
        repeats.report(job.key, 0, {OWN: 0.001})
        if score is not None:
            repeats.report(job.key, 32, {OWN: score + 1})
            repeats.report(job.key, 96, {OWN: score})
        repeats.finish(job.key, "loss is not finite at step 3" if score is None else "")


def test_the_winner_runs_with_the_next_seeds_and_the_search_does_not_see_it(tmp_path):
    made = searched(tmp_path, 0.5, 0.2, 0.4)
    best, told = best_of(made), Told()
    before = [(trial.number, trial.state, trial.values) for trial in made.study.trials]
    repeats = Repeats(tmp_path, best, 3, told)
    perform(repeats, 0.3, 0.25, 0.35)
    assert repeats.over
    assert repeats.ask() is None
    jobs = [told.jobs[key] for _, key, _ in told.events[::2]]
    assert [job.experiment.seed for job in jobs] == [6, 7, 8]
    for job in jobs:
        assert job.experiment.override({"seed": 5}) == best.experiment
        assert job.params == {**made.study.trials[1].params, "seed": job.experiment.seed}
        assert job.tags == {"hyperderm.trial": "1", "hyperderm.repeat": "1"}
        assert (tmp_path / job.folder / RECORD).is_file()
    found = repeated(tmp_path, best)
    assert found.scores == [0.3, 0.25, 0.35]
    assert (found.mean, found.spread) == (pytest.approx(0.3), pytest.approx(statistics.stdev([0.3, 0.25, 0.35])))
    assert found.place == "below"
    assert [(trial.number, trial.state, trial.values) for trial in made.study.trials] == before
    again = search(tmp_path, made.base, Memory())
    assert ask(again).number == 3


def test_a_repeat_goes_on_is_never_run_twice_and_a_larger_count_adds(tmp_path):
    best = best_of(searched(tmp_path, 0.2))
    first = Repeats(tmp_path, best, 2, Told())
    perform(first, 0.4)
    left = first.ask()
    assert left is not None
    first.report(left.key, 32, {OWN: 0.3})
    first.leave_open()
    told = Told()
    second = Repeats(tmp_path, best, 3, told)
    assert second.wanted == 2
    resumed = second.ask()
    assert resumed is not None
    assert told.events == [("started", left.key, True)]
    second.report(resumed.key, 32, {OWN: 0.3})  # repeated by the run itself
    second.report(resumed.key, 64, {OWN: 0.9})
    second.finish(resumed.key)
    perform(second, 0.5)
    assert told.events[2] == ("started", "-".join([*left.key.split("-")[:-1], "8"]), False)
    found = repeated(tmp_path, best)
    assert found.scores == [0.4, 0.3, 0.5]
    assert [record.best_images for record in found.records] == [96, 32, 96]
    assert Repeats(tmp_path, best, 3, Told()).wanted == 0
    assert Repeats(tmp_path, best, 1, Told()).wanted == 0


def test_a_failed_repeat_is_listed_and_not_counted(tmp_path):
    best = best_of(searched(tmp_path, 0.2))
    repeats = Repeats(tmp_path, best, 3, Told())
    perform(repeats, 0.1, None, 0.3)
    found = repeated(tmp_path, best)
    assert found.place == "within"
    said = words.sentences(found)
    assert said[0] == (
        "Trial 0 repeated with other seeds: 0.200 ± 0.141 (SD), 0.100 to 0.300 over 2 seeds; "
        "the winner's own score is 0.200."
    )
    assert said[1:] == ["Repeat with seed 7 failed: loss is not finite at step 3"]
    assert "| 7 | failed | – | – | 0 | " in words.markdown(found)
    assert words.csv(found).splitlines()[1].startswith("0,no,5,finished,0.2,")
    assert [line.split(",")[2:4] for line in words.csv(found).splitlines()[2:]] == [
        ["6", "finished"],
        ["7", "failed"],
        ["8", "finished"],
    ]
    assert words.metrics(found) == {
        "repeats/winner": 0.2, "repeats/mean": 0.2, "repeats/min": 0.1, "repeats/max": 0.3,
        "repeats/sd": pytest.approx(0.02**0.5), "repeats/finished": 2.0, "repeats/failed": 1.0,
    }  # fmt: skip


def test_a_lucky_winner_is_told_and_a_single_repeat_says_nothing_of_luck(tmp_path):
    best = best_of(searched(tmp_path, 0.2))
    perform(Repeats(tmp_path, best, 1, Told()), 0.5)
    assert not any("lucky" in said for said in words.sentences(repeated(tmp_path, best)))
    perform(Repeats(tmp_path, best, 3, Told()), 0.3, 0.4)
    said = " ".join(words.sentences(repeated(tmp_path, best)))
    assert "lies below all 3 repeats, so it was lucky (by chance alone that happens once in 4 times)" in said


def test_repeats_of_an_earlier_winner_stay_and_are_not_those_of_the_new_one(tmp_path):
    made = searched(tmp_path, 0.5)
    old = best_of(made)
    perform(Repeats(tmp_path, old, 2, Told()), 0.6, 0.7)
    job = ask(made)
    made.report(job.key, 96, {OWN: 0.1})
    made.finish(job.key)
    new = best_of(made)
    assert (old.number, new.number) == (0, 1)
    found = repeated(tmp_path, new)
    assert (found.records, found.others, found.mean) == ((), 2, None)
    assert words.sentences(found) == [
        "Trial 1 is not repeated yet. Not counted: 2 of trials that were the best ones before."
    ]
    assert Repeats(tmp_path, new, 2, Told()).wanted == 2
    assert repeated(tmp_path, old).scores == [0.6, 0.7]


def test_what_does_not_shape_the_result_leaves_the_configuration_the_same(tmp_path):
    made = searched(tmp_path, 0.5)
    more = search(tmp_path, made.base.override({"sweep.trials": 9, "sweep.concurrent": 2}), Memory())
    assert best_of(more).digest == best_of(made).digest
    assert jobs_of(best_of(more), [1])[0].key == jobs_of(best_of(made), [1])[0].key


def test_a_search_without_a_finished_trial_has_no_winner(tmp_path):
    made = search(tmp_path, tiny(), Memory())
    assert winner_of(made.study, made.base) is None
    made.finish(ask(made).key, "it failed")
    assert winner_of(made.study, made.base) is None


def test_a_damaged_record_is_named_with_the_remedy(tmp_path):
    best = best_of(searched(tmp_path, 0.5))
    perform(Repeats(tmp_path, best, 1, Told()), 0.6)
    (place,) = tmp_path.glob(f"repeats/*/*/{RECORD}")
    place.write_text(place.read_text()[:20])
    with pytest.raises(StudyError, match=r"repeat\.json is damaged .*Remove .*seed-6: the same command then runs"):
        Repeats(tmp_path, best, 2, Told())


def test_every_report_of_a_trial_has_its_seconds(tmp_path):
    made = search(tmp_path, tiny(), Memory())
    key = ask(made).key
    for images in (0, 32, 64, 96):
        made.report(key, images, {OWN: 1.0})
    made.finish(key)
    found = made.study.trials[0].user_attrs
    at = [found["seconds_at"][images] for images in ("32", "64", "96")]
    assert sorted(at) == at
    assert at[0] > 0
    assert at[-1] <= found["seconds"] < 60
