"""What a search suggests, stops early, and remembers of a driver that was killed. No Ray."""

import time

from optuna.trial import TrialState

from hyperderm.studies.ranks import SECONDS, SECONDS_AT, seconds_of
from tests.cluster.sweeps import Memory, ask, search, tiny


def test_first_trial_is_the_declared_configuration(tmp_path):
    memory = Memory()
    search(tmp_path, tiny(), memory).ask()
    assert memory.jobs[0].values == {"learner.lr_generator": 1e-3, "learner.rgb_weight": 1.0}
    assert memory.jobs[0].experiment == tiny()


def test_suggestions_are_seeded_and_survive_a_restart(tmp_path):
    """A restarted driver draws what the first one would have drawn."""

    memory = Memory()

    def ask_and_end(made):
        key = made.ask().key
        made.report(key, 32, {"spectral_energy_distance": 1.0 + int(key)})
        made.finish(key)
        return memory.jobs[int(key)].values

    whole = search(tmp_path / "a", tiny(), memory)
    straight = [ask_and_end(whole) for _ in range(5)]
    halves = []
    for count in (2, 3):
        part = search(tmp_path / "b", tiny(), memory)
        halves += [ask_and_end(part) for _ in range(count)]
    assert halves == straight
    assert len({str(v) for v in straight}) == 5


def test_successive_halving_stops_bad_trials_and_remembers_rungs(tmp_path):
    experiment = tiny(sweep__grace_images=32, sweep__reduction=2, training__images=128)
    made = search(tmp_path, experiment, Memory())
    for value in (1.0, 1.1, 1.2):
        key = made.ask().key
        if not made.report(key, 32, {"spectral_energy_distance": value}):
            made.report(key, 128, {"spectral_energy_distance": value})
        made.finish(key)
    later = search(tmp_path, experiment, Memory())  # a restarted driver prunes by the same rungs
    bad = later.ask().key
    assert later.report(bad, 32, {"spectral_energy_distance": 5.0})
    later.finish(bad)
    states = [t.state for t in later.study.trials]
    assert states[0] == TrialState.COMPLETE
    assert states[-1] == TrialState.PRUNED
    assert "successive halving at 32 images" in later.study.trials[-1].user_attrs["reason"]


def test_a_trial_stopped_early_stays_stopped_when_the_driver_dies_before_its_end(tmp_path):
    experiment = tiny(sweep__grace_images=32, sweep__reduction=2, training__images=128)
    first = search(tmp_path, experiment, Memory())
    good = ask(first).key
    first.report(good, 32, {"spectral_energy_distance": 1.0})
    first.finish(good)
    bad = ask(first).key
    assert first.report(bad, 32, {"spectral_energy_distance": 9.0})
    memory = Memory()
    second = search(tmp_path, experiment, memory)  # the first driver is gone
    assert ask(second).key == bad
    assert memory.events == [("started", int(bad), True)]
    assert second.report(bad, 32, {"spectral_energy_distance": 9.0})
    second.finish(bad)
    assert second.study.trials[int(bad)].state == TrialState.PRUNED


def test_a_trial_killed_while_it_was_drawn_gets_every_axis(tmp_path):
    first = search(tmp_path, tiny(), Memory())
    first.finish(ask(first).key, "an earlier one")
    half = first.study.ask()  # a driver killed between two axes
    name, axis = next(iter(first.distributions.items()))
    drawn = half._suggest(name, axis)
    values = ask(search(tmp_path, tiny(), Memory())).values
    assert set(values) == set(first.distributions)
    assert values[name] == drawn


def test_the_seconds_of_a_trial_go_on_over_drivers_and_stand_at_each_report(tmp_path):
    first = search(tmp_path, tiny(), Memory())
    key = ask(first).key
    for images in (32, 64):
        time.sleep(0.05)
        first.report(key, images, {"spectral_energy_distance": 1.0})
    (left,) = first.study.trials
    assert SECONDS not in left.user_attrs, "the driver is killed now"
    assert 0.1 <= seconds_of(left) == left.user_attrs[SECONDS_AT]["64"] > left.user_attrs[SECONDS_AT]["32"] >= 0.05
    second = search(tmp_path, tiny(), Memory())
    assert ask(second).key == key
    time.sleep(0.05)
    second.report(key, 96, {"spectral_energy_distance": 1.0})
    second.finish(key)
    (ended,) = second.study.trials
    at = ended.user_attrs[SECONDS_AT]
    assert at == left.user_attrs[SECONDS_AT] | {"96": at["96"]}
    assert seconds_of(left) + 0.05 <= at["96"] <= seconds_of(ended) == ended.user_attrs[SECONDS]
