"""What a single run says on its way: a line a validation, and its score with a scale."""

import io

from rich.console import Console

from hyperderm.reports.progress import ProgressLine, RunLine
from hyperderm.studies.trial_job import TrialJob
from tests.training.tiny import tiny

RUN = TrialJob(experiment=tiny(), name="a run")


def test_a_single_run_tells_every_validation_and_what_its_score_means():
    out = io.StringIO()
    line = RunLine(Console(file=out, width=40), tiny(training__images=2_000))
    with line:
        line.started(RUN, False)
        for images, score in ((0, 2.0), (1_000, 0.5), (2_000, 0.75)):
            scale = {"floor_real_vs_real": -0.01, "score_of_mean_cube": 1.5}
            line.reported(RUN, images, {"spectral_energy_distance": score, "critic_loss": 1.0, **scale})
        line.noted(RUN, "a note")
        line.finished(RUN, "finished", "")
    said = out.getvalue().splitlines()
    assert said[0] == "training starts: 2,000 images"
    assert said[2].startswith("1,000 of 2,000 images after ")
    assert said[2].endswith("s: spectral energy distance 0.5")
    assert said[4] == "a note"
    assert said[5].endswith(
        "; best spectral energy distance 0.5 (floor real vs real -0.01, score of mean cube 1.5); lower is better"
    )


def test_a_run_without_yardsticks_that_failed_says_why():
    out = io.StringIO()
    line = RunLine(Console(file=out, width=40), tiny())
    line.started(RUN, True)
    line.finished(RUN, "failed", "a loss is not finite")
    line.interrupted(RUN)
    said = out.getvalue().splitlines()
    assert said[0].startswith("training goes on: ")
    assert ": a loss is not finite; best spectral energy distance –; lower is better" in said[1]
    assert said[2] == "interrupted; the same command goes on"


def test_a_trial_that_ends_tells_its_own_score_beside_the_best():
    """The best so far may be that of a trial that still runs."""
    out = io.StringIO()
    line = ProgressLine(Console(file=out, width=200), "sweep", 2, images=64, objective="spectral_energy_distance")
    first, second = (TrialJob(number, tiny()) for number in (0, 1))
    for job, score in ((first, 2.5), (second, 0.5)):
        line.started(job, False)
        line.reported(job, 32, {"spectral_energy_distance": score})
    line.finished(first, "finished", "")
    assert out.getvalue().splitlines()[-1].endswith("s, score 2.5; best so far 0.5")
