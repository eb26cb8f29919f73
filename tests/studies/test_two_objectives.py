"""A search by named objectives, one or two: what ranks trials, what is drawn, kept of a killed driver, and on the front."""

import random

import pytest
from optuna.trial import TrialState

from hyperderm.errors import ConfigError, StudyError
from hyperderm.registry import Space
from hyperderm.studies.named_runs import checkpoint_of_run
from hyperderm.studies.ranks import front, reached, values_of, winner
from hyperderm.studies.search import sweep_identity
from hyperderm.studies.study_file import open_study
from hyperderm.training.run_folder import claim
from tests.cluster.sweeps import AXES, Memory, ask, classifier, search, tiny

OWN, COVERAGE, KERNEL = "spectral_energy_distance", "held_out/spectral/coverage", "held_out/lite0/kernel"
TWO = [OWN, COVERAGE]


def reports(first: float, second: float) -> dict[str, float]:
    return {OWN: first, f"loss/{COVERAGE}": second}


def ended(made, *scores: tuple[float, float], failure: str = "") -> int:
    """One more trial with a report of two scores at each validation."""
    key = ask(made).key
    for at, each in enumerate(scores, 1):
        assert not made.report(key, 32 * at, reports(*each))
    made.finish(key, failure)
    return int(key)


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_draws_are_seeded_and_survive_a_restart(tmp_path, sampler):
    experiment = tiny(sweep__objective=TWO, sweep__sampler=sampler, sweep__startup_trials=3)

    def some(folder, counts) -> list:
        memory = Memory()
        for count in counts:
            made = search(tmp_path / folder, experiment, memory)
            for _ in range(count):
                rate = ask(made).values["learner.lr_generator"]
                key = str(len(memory.jobs) - 1)
                made.report(key, 96, reports(rate, 1 / rate))
                made.finish(key)
        return [memory.jobs[n].values for n in range(sum(counts))]

    straight = some("a", [9])
    assert some("b", [1, 3, 5]) == straight
    assert len({str(values) for values in straight}) == 9
    assert straight[0] == {"learner.lr_generator": 1e-3, "learner.rgb_weight": 1.0}


def test_the_samplers_differ_once_they_learn(tmp_path):
    drawn = {}
    for sampler in ("tpe", "nsga2"):
        made = search(tmp_path / sampler, tiny(sweep__objective=TWO, sweep__sampler=sampler), Memory())
        drawn[sampler] = [ended(made, (1.0 + n, 2.0 - n)) for n in range(4)] and made.study.trials[3].params
    assert drawn["tpe"] != drawn["nsga2"]


def test_both_values_of_a_trial_are_those_of_the_checkpoint_that_it_keeps(tmp_path):
    """A driver is killed between two validations; the next one knows what was kept, and counts nothing twice."""
    experiment = tiny(sweep__objective=TWO)
    first = search(tmp_path, experiment, Memory())
    key = ask(first).key
    first.report(key, 32, reports(1.0, 0.5))
    second = search(tmp_path, experiment, Memory())
    assert ask(second).key == key
    second.report(key, 32, reports(1.0, 0.5))
    second.report(key, 64, reports(2.0, 0.1))  # covers more, but its checkpoint is not kept
    third = search(tmp_path, experiment, Memory())
    assert ask(third).key == key
    third.report(key, 96, reports(1.5, 0.2))
    third.finish(key)
    (trial,) = third.study.trials
    assert trial.values == [1.0, 0.5]
    assert trial.user_attrs["best_images"] == 32
    assert trial.intermediate_values == {}
    assert {images: each.values for images, each in reached(trial).items()} == dict.fromkeys((32, 64, 96), (1.0, 0.5))
    ended(third, (1.0, 0.5), (0.8, 0.9))
    assert third.study.trials[1].values == [0.8, 0.9]
    assert third.study.trials[1].user_attrs["best_images"] == 64


def test_no_trial_is_stopped_early_and_one_without_a_score_fails(tmp_path):
    made = search(tmp_path, tiny(sweep__objective=TWO, sweep__grace_images=32, sweep__reduction=2), Memory())
    for n in range(4):
        ended(made, (1.0 + n, 1.0 + n), (1.0 + n, 1.0 + n))
    key = ask(made).key
    made.report(key, 0, reports(0.1, 0.1))  # the untrained generator has no checkpoint
    made.report(key, 32, reports(0.1, float("nan")))
    made.finish(key)
    assert [trial.state for trial in made.study.trials] == [TrialState.COMPLETE] * 4 + [TrialState.FAIL]
    assert made.study.trials[4].user_attrs["reason"] == "no finite objective was reported"
    assert values_of(made.study.trials[4]) == ()


def test_the_front_is_what_its_definition_says(tmp_path):
    """Scores from a few whole numbers, so that there are ties; and a failed trial that would dominate all."""
    made, draws = search(tmp_path, tiny(sweep__objective=TWO), Memory()), random.Random(3)
    assert winner(made.study) is None
    scores = [(float(draws.randrange(5)), float(draws.randrange(5))) for _ in range(14)]
    scores += [min(scores)]
    for each in scores:
        ended(made, each)
    ended(made, (-1.0, -1.0), failure="it diverged")

    def dominated(b: tuple[float, float]) -> bool:
        return any(a[0] <= b[0] and a[1] <= b[1] and a != b for a in scores)

    expected = [n for n, each in enumerate(scores) if not dominated(each)]
    found = [trial.number for trial in front(made.study)]
    assert sorted(found) == expected
    assert 1 < len(found) < len(scores)
    assert [made.study.trials[n].values for n in found] == sorted(made.study.trials[n].values for n in found)
    assert winner(made.study).values == list(min(scores))
    assert winner(made.study).number == scores.index(min(scores))


def test_one_name_ranks_and_chooses_checkpoints_unless_training_says_otherwise(tmp_path):
    assert tiny().objectives == (OWN,)
    assert tiny(sweep__objective=OWN).as_trial() == tiny(sweep__objective=OWN)
    ranked = tiny(sweep__objective=COVERAGE)
    assert ranked.objective == OWN  # a run of its own is not ranked
    assert ranked.as_trial().objective == f"loss/{COVERAGE}"
    assert ranked.as_trial().objectives == (f"loss/{COVERAGE}",)
    memory = Memory()
    made = search(tmp_path / "a", ranked, memory)
    ended(made, (1.0, 0.5), (0.5, 0.8), (2.0, 0.4))
    assert memory.jobs[0].experiment.training.objective == COVERAGE
    assert (made.study.trials[0].value, made.study.trials[0].user_attrs["best_images"]) == (0.4, 96)
    apart = tiny(sweep__objective=OWN, training__objective=COVERAGE, sweep__grace_images=32, sweep__reduction=2)
    made = search(tmp_path / "b", apart, Memory())
    ended(made, (1.0, 0.5), (0.5, 0.8), (2.0, 0.4))
    assert (made.study.trials[0].value, made.study.trials[0].user_attrs["best_images"]) == (2.0, 96)
    assert made.study.trials[0].intermediate_values == {32: 1.0, 64: 1.0, 96: 2.0}
    bad = search(tmp_path / "b", apart, Memory())
    key = ask(bad).key
    assert bad.report(key, 32, reports(9.0, 0.1)), "a good checkpoint for coverage, a bad trial for its rank"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ([OWN, "held_out/spectral/coverge"], r"held_out/spectral/coverge is neither .*'held_out/spectral/coverage'"),
        ("spectral_energy", r"spectral_energy is neither the learner's own score.*'spectral_energy_distance'"),
        ([OWN, "train/spectral/coverage"], "against held-out cubes"),
        ([OWN, OWN], "both names are one score"),
        ([OWN, COVERAGE, KERNEL], "a list holds two names for a Pareto front, not 3"),
        ([COVERAGE], "not 1; one name stands alone"),
        ([], "not 0; one name stands alone"),
        (3, r"sweep\.objective = 3 is refused"),
    ],
)
def test_wrong_objectives_are_refused(asked, said):
    with pytest.raises(ConfigError, match=said):
        tiny(sweep__objective=asked)


def test_what_a_learner_or_a_sampler_cannot_have_is_refused():
    own = classifier().objective
    assert classifier(sweep__objective=own).objectives == (own,)
    with pytest.raises(ConfigError, match=rf"learner.kind = classifier is a classifier, .* is {own}"):
        classifier(sweep__objective=[own, COVERAGE])
    for one in (None, COVERAGE):
        with pytest.raises(ConfigError, match="nsga2 needs two names"):
            tiny(sweep__objective=one, sweep__sampler="nsga2")


def test_a_sweep_goes_on_with_its_own_objectives_alone(tmp_path):
    space, one, two = Space("tiny", 1, AXES), tiny(), tiny(sweep__objective=TWO)
    with claim(tmp_path / "sweep", sweep_identity(one, space, "f")):
        open_study(tmp_path / "sweep" / "study.db", "sweep")
    with (
        pytest.raises(StudyError, match=r"sweep\.objective: None -> .*held_out/spectral/coverage.*--name"),
        claim(tmp_path / "sweep", sweep_identity(two, space, "f")),
    ):
        pass
    with pytest.raises(StudyError, match=r"has 1 objectives, sweep.objective names 2.*--name"):
        search(tmp_path / "sweep", two, Memory())


def test_the_checkpoint_of_a_front_is_that_of_its_first_objective_and_others_are_named(tmp_path):
    sweep = tmp_path / "night"
    made = search(sweep, tiny(sweep__objective=TWO), Memory())
    for scores in ((0.5, 0.1), (0.2, 0.9), (0.3, 0.3), (0.6, 0.6)):
        folder = sweep / "trials" / f"{ended(made, scores):04d}"
        folder.mkdir(parents=True)
        (folder / "best.pt").touch()
    path, name = checkpoint_of_run("night", tmp_path)
    assert path == sweep / "trials/0001/best.pt"
    assert name == (
        "trial 001, best trial of sweep night by spectral energy distance (others of its Pareto front: night/2, night/0)"
    )
    for run in ("night/2", str(sweep / "2")):
        assert checkpoint_of_run(run, tmp_path) == (sweep / "trials/0002/best.pt", "trial 002 of sweep night")
    with pytest.raises(StudyError, match=r"trial 009 of sweep night has no best\.pt yet"):
        checkpoint_of_run("night/9", tmp_path)
    for wrong in ("day/2", "night/x", "2"):
        with pytest.raises(StudyError, match="is no run"):
            checkpoint_of_run(wrong, tmp_path)
