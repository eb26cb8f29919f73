"""What stands at the top of a run's page in MLflow."""

from dataclasses import replace
from types import SimpleNamespace

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from hyperderm.reports.leaderboard import Row
from hyperderm.reports.run_notes import (
    NOTE_LIMIT,
    Compared,
    Searched,
    Trained,
    counts_of,
    ended_note,
    grid_note,
    run_note,
    sweep_note,
)
from hyperderm.tracking.measure import Measure

TRAINED = Trained(
    experiment="`shsgan` (shsgan, profile small)",
    store="s3://bucket/store",
    manifest=SimpleNamespace(fingerprint="ab" * 32, diagnoses={"melanoma": 6, "nevus": 1}),
    fold=2,
    lesions=(40, 12),
    command="hyperderm sweep shsgan --store s3://bucket/store",
)
SEARCHED = Searched(
    trained=TRAINED,
    space="the space `shsgan v1`",
    axes={
        "learner.lr": FloatDistribution(1e-5, 1e-3, log=True),
        "learner.n_critic": IntDistribution(1, 5),
        "training.batch_size": CategoricalDistribution([4, 8]),
    },
    trials=3,
    first=Measure("spectral energy distance", 0.1, 1.7),
    second=None,
)
ROWS = [
    Row(0, "finished", 0.5, 64, 64, 3.0, {"learner.lr": 1e-4, "learner.n_critic": 2}),
    Row(1, "failed", None, None, 0, 1.0, {"learner.lr": 1e-3, "learner.n_critic": 5}, "critic_loss is not finite"),
    Row(2, "stopped early", 0.9, 64, 128, 3.0, {"learner.lr": 2e-5, "learner.n_critic": 1}),
]


def test_a_sweep_says_what_is_searched_on_what_and_how_to_go_on():
    note = sweep_note(SEARCHED, [])
    for said in (
        "**3 trials of `shsgan`",
        "It is running.",
        "`s3://bucket/store` (fingerprint `abababababab`: 6 melanoma, 1 nevus), fold 2: 40 lesions of train to learn from",
        "12 of validation to score with. The test role is not opened.",
        "Real against real, the floor: 0.100. Constant mean cube: 1.70.",
        "| `learner.lr` | 1e-5 to 1e-3, logarithmic |",
        "| `learner.n_critic` | 1 to 5 |",
        "| `training.batch_size` | `4`, `8` |",
        "```\nhyperderm sweep shsgan --store s3://bucket/store\n```",
    ):
        assert said in note
    assert "Leaderboard" not in note
    assert "Best: trial" not in note + sweep_note(SEARCHED, [ROWS[1], replace(ROWS[0], status="running")])


def test_the_leaderboard_stands_in_it_best_first_and_the_end_is_told():
    ended = ended_note(ROWS, interrupted=False, broken="")
    assert ended == "It has ended: 1 finished, 1 stopped early, 1 failed."
    note = sweep_note(SEARCHED, ROWS, ended)
    assert f"{ended} **Best: trial 0 with 0.500** (`lr` 0.0001, `n_critic` 2).\n\n**Score.**" in note
    assert "| trial | &ensp;status | &ensp;spectral energy distance | &ensp;best at |" in note
    assert "\n| --: | :-- | --: |" in note
    assert "\n| 0 | &ensp;finished | &ensp;0.500 | &ensp;64 |" in note
    assert "Charts of the trials" not in note
    charts = "[Charts of the trials, the best first](#/experiments/1/runs)"
    assert f"\n\n{charts}\n\n" in sweep_note(replace(SEARCHED, charts="#/experiments/1/runs"), ROWS, ended)
    assert note.index("| 0 | ") < note.index("1e-5 to 1e-3") < note.index("**Data.**")
    first, second, third = (note.index(f"| {number} | ") for number in (0, 2, 1))
    assert first < second < third
    assert "critic_loss is not finite" in note
    assert "Worse than the constant mean cube" not in note
    worse = sweep_note(SEARCHED, [ROWS[0], replace(ROWS[2], best=1.8)])
    assert "Worse than the constant mean cube: trial 2." in worse
    assert ended_note(ROWS, True, "") == "It was interrupted: 1 finished, 1 stopped early, 1 failed."
    assert (
        ended_note(ROWS, False, "DiskFull: full") == "It broke off (DiskFull: full): 1 finished, 1 stopped early, 1 failed."
    )
    assert counts_of(ROWS) == {"finished": 1, "stopped early": 1, "failed": 1}


def test_a_thousand_trials_and_long_reasons_fit_into_what_mlflow_keeps():
    many = [replace(ROWS[0], number=k, best=k / 1000) for k in range(1000)]
    note = sweep_note(SEARCHED, many)
    assert len(note) <= NOTE_LIMIT
    assert "(the best 10 of 1000)" in note
    assert TRAINED.command in note
    long = [replace(ROWS[1], number=k, reason="x" * 900) for k in range(20)]
    note = sweep_note(SEARCHED, long)
    assert len(note) <= NOTE_LIMIT
    assert TRAINED.command in note


def test_a_grid_says_its_arms_and_then_its_answer():
    compared = Compared(
        "`ablation` (profile small)", {"real": "real cubes alone", "add": "one synthetic melanoma for each real one"},
        40, 5, 1, ["small_cnn", "spectral"], "stores/a", "cd" * 32, "hyperderm ablation",
    )  # fmt: skip
    note = grid_note(compared)
    assert "**40 cells of `ablation` (profile small)**: every arm in 5 folds with 1 seed, classified by small_cnn" in note
    assert "| add | one synthetic melanoma for each real one |" in note
    assert "```\nhyperderm ablation\n```" in note
    told = grid_note(compared, ["Synthetic cubes: cannot be told."])
    assert told.startswith("Synthetic cubes: cannot be told.\n\n**40 cells")


def test_a_single_run_says_what_it_learnt_and_how_it_ended():
    note = run_note(TRAINED)
    assert note.startswith("**One run of `shsgan` (shsgan, profile small).** It is running.")
    assert "fold 2: 40 lesions of train to learn from, 12 of validation to score with. The test role is not opened." in note
    assert TRAINED.command in note
    ended = run_note(replace(TRAINED, command=""), "finished after 3 s; best spectral energy distance 0.4; lower is better")
    assert "It has finished after 3 s; best spectral energy distance 0.4; lower is better." in ended
    assert "Again" not in ended
    assert "nine tenths of the pixels of all 40 lesions are learnt" in run_note(replace(TRAINED, fold=None))
