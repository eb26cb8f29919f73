"""Order, rounding and completeness of the leaderboard in its three forms."""

import csv as csv_module
import io
import math
import random
from dataclasses import replace

import pytest
from rich.console import Console

from hyperderm.reports.leaderboard import Row, csv, duration, markdown, ranked, show, table
from hyperderm.tracking.measure import Measure
from hyperderm.tracking.short_texts import short_names, three_digits


def row(number, status="finished", best=0.5, reason="", **values):
    paths = {"learner.lr_generator": 1.23456789e-4, "training.batch_size": 4} | values
    return Row(number, status, best, None if best is None else 3000, 4000, 200.4, paths, reason)


ROWS = [
    row(0, best=0.7512345678901234),
    row(1, "failed", None, "loss_critic is NaN at step 12 [learner|shsgan]"),
    row(2, "stopped early", 0.9),
    row(3, best=-0.0123),
    row(4, "running", None),
    row(5, "failed", 0.001, "out of memory"),
    row(6, best=math.nan),
    row(7, best=math.inf),
    row(8, "running", 0.6),
]
ORDER = [3, 8, 0, 2, 7, 4, 6, 1, 5]


def printed(rows, width=160, **notes):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(table(rows, **notes))
    return console.file.getvalue()


@pytest.mark.parametrize("seed", range(3))
def test_rows_are_sorted_by_best_with_failed_last(seed):
    shuffled = random.Random(seed).sample(ROWS, len(ROWS))
    assert [r.number for r in ranked(shuffled)] == ORDER


def test_table_has_short_names_three_digits_and_reasons():
    text = printed(ROWS, floor=0.0213, mean_cube=1.5)
    first = [line.split()[0] for line in text.splitlines() if line.split()]
    assert [int(word) for word in first if word.isdigit()] == ORDER
    assert "lr_" in text
    assert "learner." not in text
    assert "0.751" in text
    assert "0.7512" not in text
    assert "0.000123" in text
    assert "3.3 min" in text
    assert "Trial 1 failed: loss_critic is NaN at step 12 [learner|shsgan]" in " ".join(text.split())
    assert "Real against real, the floor: 0.0213" in text
    assert "Beware" not in text
    assert "prefers the constant mean cube" in " ".join(printed(ROWS, floor=0.04, mean_cube=0.027).split())
    assert "Constant mean cube: 1.50" in text


def test_table_fits_a_narrow_terminal_without_losing_digits():
    four = {
        "learner.n_critic": 3,
        "learner.gp_weight": 11.2345,
        "learner.rgb_weight": 81.234,
        "learner.lr_critic": 1.2345e-5,
    }
    text = printed([row(0, best=0.7512, **four), row(1, "stopped early", best=0.9, **four)], width=80)
    assert max(map(len, text.splitlines())) <= 80
    assert {"0.751", "0.000123", "11.2", "1.23e-05", "81.2", "3,000", "finished", "stopped"} <= set(text.split())


def test_what_is_unknown_is_left_out():
    text = printed([row(0)])
    assert "Real against real" not in text
    assert "Constant mean cube" not in text
    assert "reason" not in text
    assert len(printed([])) > 0
    assert markdown([]).count("\n") == 2


def test_markdown_is_one_line_a_trial_and_escapes_bars():
    lines = markdown(ROWS, floor=0.02, mean_cube=None).splitlines()
    assert "| spectral energy distance |" in lines[0]
    assert lines[1].count("--") == lines[0].count("|") - 1
    assert [int(line.split("|")[1]) for line in lines[2 : 2 + len(ROWS)]] == ORDER
    assert "[learner\\|shsgan]" in lines[-4]
    assert lines[-1].startswith("Real against real, the floor: 0.0200")


def test_csv_keeps_every_digit_and_path():
    read = list(csv_module.DictReader(io.StringIO(csv([*ROWS, row(9, best=2.0, **{"learner.n_critic": 3})]))))
    assert [int(r["trial"]) for r in read] == [3, 8, 0, 2, 9, 7, 4, 6, 1, 5]
    by_number = {int(r["trial"]): r for r in read}
    assert float(by_number[0]["spectral_energy_distance"]) == 0.7512345678901234
    assert float(by_number[0]["learner.lr_generator"]) == 1.23456789e-4
    assert by_number[4]["spectral_energy_distance"] == ""
    assert by_number[0]["learner.n_critic"] == ""
    assert by_number[9]["learner.n_critic"] == "3"
    assert by_number[1]["reason"] == "loss_critic is NaN at step 12 [learner|shsgan]"


def test_short_names_are_never_ambiguous():
    assert short_names(["learner.lr", "training.batch_size"]) == {
        "learner.lr": "lr",
        "training.batch_size": "batch_size",
    }
    assert list(short_names(["a.x.lr", "b.x.lr", "c.y.lr"]).values()) == ["a.x.lr", "b.x.lr", "y.lr"]
    assert list(short_names(["lr", "critic.lr"]).values()) == ["lr", "critic.lr"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"), (True, "True"), ("adam", "adam"), (16384, "16384"), (0.000123456, "0.000123"), (1234.5, "1230"),
        (999.9, "1000"), (12345678.0, "1.23e+07"), (0.5, "0.5"), (-0.0, "0"), (math.inf, "inf"), ((1, 2), "(1, 2)"),
    ],
)  # fmt: skip
def test_three_digits(value, text):
    assert three_digits(value) == text


def test_three_digits_line_up_in_a_column():
    assert [three_digits(v, keep_zeros=True) for v in (0.5, 1.0, 123.0)] == ["0.500", "1.00", "123"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.7, "1.0 min"), (200, "3.3 min"), (3599, "1.0 h"), (math.nan, "–")]
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_two_objectives_stand_side_by_side_and_the_front_is_marked():
    rows = [
        replace(row(0, best=0.5), second=0.25, on_front=True),
        replace(row(1, best=0.7), second=0.3),
        replace(row(2, "running", None), second=None),
    ]
    second = Measure("loss of coverage", floor=0.125, mean_cube=1.0)
    lines = [line.split("|")[1:-1] for line in markdown(rows, 0.02, 1.5, second=second).splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line] for line in lines]
    assert cells[0][2:5] == ["spectral energy distance", "loss of coverage", "front"]
    assert [line[:1] + line[2:5] for line in cells[2:]] == [
        ["0", "0.500", "0.250", "*"],
        ["1", "0.700", "0.300", ""],
        ["2", "–", "–", ""],
    ]
    text = " ".join(printed(rows, floor=0.02, mean_cube=1.5, second=second).split())
    for said in (
        "Score: the spectral energy distance; score 2: the loss of coverage; lower is better.",
        "no other finished trial is at least as good in both",
        "Score 1: real against real, the floor: 0.0200.",
        "Score 2: real against real, the floor: 0.125.",
        "Score 2: constant mean cube: 1.00.",
    ):
        assert said in text
    found = list(csv_module.DictReader(io.StringIO(csv(rows, second=second))))
    assert [(one["spectral_energy_distance"], one["loss_of_coverage"], one["front"]) for one in found] == [
        ("0.5", "0.25", "yes"),
        ("0.7", "0.3", "no"),
        ("", "", "no"),
    ]
    assert "front" not in markdown(rows) + csv(rows)


def test_a_narrow_console_is_widened_and_loses_no_column():
    values = {f"learner.some_setting_{k}": 0.000101 + k for k in range(9)} | {"training.batch_size": 16}
    console = Console(file=io.StringIO(), width=80, color_system=None)
    show(console, table([row(0, **values), row(1, **values)]))
    lines = [line for line in console.file.getvalue().splitlines() if "finished" in line]
    swept = sorted(three_digits(value) for value in values.values())
    assert [sorted(line.split()[-11:]) for line in lines] == [sorted([*swept, three_digits(1.23456789e-4)])] * 2


def test_trials_that_a_constant_mean_cube_beats_are_named():
    rows = [row(0, best=0.5), row(1, best=2.5), row(2, best=3.0), row(3, "failed", best=None)]
    assert "Worse than the constant mean cube: trials 1, 2." in markdown(rows, 0.1, 2.0)
    assert "Worse than the constant mean cube: trials 1, 2." in printed(rows, floor=0.1, mean_cube=2.0)
    assert "Worse" not in markdown(rows[:1], 0.1, 2.0)
    assert "Worse" not in markdown(rows, 0.1, 0.05), "that score prefers the mean cube"
