"""Comparisons: groups, what is left out, and the three forms."""

import csv as csv_module
import hashlib
import io

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from hyperderm.errors import ConfigError
from hyperderm.reports.compare import csv, markdown, notes, table
from hyperderm.reports.comparison import compare
from hyperderm.tracking.fetch import TrackedRun

SCORES = {("a", 0): 0.61, ("a", 1): 0.66, ("a", 2): 0.70, ("b", 0): 0.52, ("b", 1): 0.55, ("b", 2): 0.62 + 1e-13}


def run(name, status="FINISHED", seed: int | None = 0, metrics=None, tags=None, whole=True, step=100, **settings):
    """`lr__low=1` sets learner.lr… so: double underscores are dots."""
    paths = {key.replace("__", "."): value for key, value in settings.items()}
    known = {"name": "demo", "learner.lr": 1e-4, "learner.norm": "none", "data.fold": 0, "sweep.trials": 8} | paths
    if seed is not None:
        known["seed"] = seed
    found = {metric: (value, step) for metric, value in (metrics or {}).items()}
    every = {"hyperderm.manifest": "f" * 64, "hyperderm.key": name, "mlflow.user": name} | (tags or {})
    return TrackedRun(hashlib.sha256(name.encode()).hexdigest()[:32], name, status, known, whole, every, found)


def six(**changed):
    """Two configurations of three seeds; `changed` replaces fields of runs by name."""
    lr = {"a": 1e-4, "b": 1e-3}
    return [
        run(f"{g}{s}", **({"seed": s, "metrics": {"auroc": v}, "learner__lr": lr[g]} | changed.get(f"{g}{s}", {})))
        for (g, s), v in SCORES.items()
    ]


def printed(comparison, width=120):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(table(comparison))
    return console.file.getvalue()


def lines(comparison):
    return list(csv_module.DictReader(io.StringIO(csv(comparison))))


def test_runs_that_differ_in_the_seed_alone_are_one_group():
    comparison = compare(six())
    assert [[one.name for one in group.runs] for group in comparison.groups] == [["a0", "a1", "a2"], ["b0", "b1", "b2"]]
    assert comparison.columns == ["learner.lr"]
    assert comparison.equal == 5, "name, norm, fold, trials and the manifest; neither the seed nor hyperderm's own tags"
    a, b = comparison.groups
    assert comparison.baseline is a
    assert comparison.mean(a, "auroc").value == pytest.approx(np.mean([0.61, 0.66, 0.70]))
    assert comparison.difference(a, "auroc") is None
    found = comparison.difference(b, "auroc")
    want = stats.ttest_rel([0.52, 0.55, 0.62], [0.61, 0.66, 0.70]).confidence_interval()
    assert (found.how, found.low, found.high) == ("paired", pytest.approx(want.low), pytest.approx(want.high))


@pytest.mark.parametrize(
    ("changed", "groups"),
    [
        ({"sweep__trials": 99}, 2),
        ({"tags": {"hyperderm.git_commit": "0" * 40}}, 2),
        ({"learner__absent": None}, 2),
        ({"tags": {"hyperderm.manifest": "e" * 64}}, 3),
        ({"data__fold": 1}, 3),
        ({"learner__norm": "layer"}, 3),
    ],
)
def test_what_makes_another_group(changed, groups):
    assert len(compare(six(a1=changed)).groups) == groups


def test_pairs_follow_the_seed_and_not_the_order():
    runs = six()
    shuffled = [*runs[:3], runs[5], runs[3], runs[4]]
    assert compare(shuffled).difference(compare(shuffled).groups[1], "auroc") == compare(runs).difference(
        compare(runs).groups[1], "auroc"
    )


@pytest.mark.parametrize("seed", [9, None])
def test_other_or_unknown_seeds_are_not_paired(seed):
    comparison = compare(six(b2={"seed": seed}))
    found = comparison.difference(comparison.groups[1], "auroc")
    want = stats.ttest_ind([0.52, 0.55, 0.62], [0.61, 0.66, 0.70], equal_var=False).confidence_interval()
    assert (found.how, found.low, found.high) == ("Welch", pytest.approx(want.low), pytest.approx(want.high))
    assert "Welch" in markdown(comparison).split("minus #1")[1]
    both = compare(six(a2={"seed": None}, b2={"seed": None}))
    assert both.difference(both.groups[1], "auroc").how == "Welch", "two unknown seeds are not the same seed"
    assert any(note.startswith("Runs without a recorded seed") for note in notes(both))


def test_a_seed_run_twice_counts_once():
    again = run("a0 again", metrics={"auroc": 0.65}, learner__lr=1e-4)
    comparison = compare([*six(), again])
    assert comparison.groups[0].values("auroc") == {"0": pytest.approx(0.63), "1": 0.66, "2": 0.70}
    assert "#1: several runs of seed 0 are averaged before anything else." in notes(comparison)
    assert len(compare([*six(), *six()]).runs) == 6, "the same run given twice is one run"


@pytest.mark.parametrize("status", ["RUNNING", "FAILED", "KILLED"])
def test_what_is_not_finished_is_told_and_not_counted(status):
    reason = {"hyperderm.reason": "loss is NaN"}
    two = {"a1": {"status": status, "metrics": {"auroc": 77.7}, "tags": reason}, "b1": {"metrics": {}}}
    comparison, wild = compare(six(**two)), compare(six(**(two | {"a1": {**two["a1"], "metrics": {"auroc": -9.0}}})))
    for group, other in zip(comparison.groups, wild.groups, strict=True):
        assert comparison.mean(group, "auroc") == wild.mean(other, "auroc")
        assert comparison.difference(group, "auroc") == wild.difference(other, "auroc")
    assert comparison.difference(comparison.groups[1], "auroc").how == "paired", "both have seeds 0 and 2"
    text = " ".join(printed(comparison).split())
    assert f"2 finished, 1 {status.lower()}" in text
    assert "77.7 at 100" in text
    assert f"{status.lower()}: not counted" in text
    assert f"{status.lower()} (loss is NaN)" in text
    marked = [line for line in lines(comparison) if line["how"] == "not counted"]
    assert [(line["n"], line["mean"], line["values"]) for line in marked] == [("0", "", "1=77.7")]


def test_the_first_group_with_a_finished_run_is_the_baseline():
    comparison = compare(six(**{f"a{seed}": {"status": "RUNNING"} for seed in range(3)}))
    assert comparison.baseline is comparison.groups[1]
    alone = compare([run("x", "RUNNING", metrics={"m": 1.0}), run("y", "FAILED", metrics={"m": 2.0}, learner__lr=1.0)])
    assert alone.baseline is None
    assert "2.00 at 100" in printed(alone)
    assert {line["difference"] for line in lines(alone)} == {""}


def test_stopped_early_differing_steps_and_lost_values_are_said():
    stopped = {"hyperderm.outcome": "stopped early", "hyperderm.nonfinite.auroc": "inf at step 7"}
    comparison = compare(six(b0={"tags": stopped, "step": 40}))
    assert "2 finished" in printed(comparison)
    assert "1 stopped early" in printed(comparison)
    said = "\n".join(notes(comparison))
    assert "auroc: the last logged steps differ, 40 … 100." in said
    assert "auroc: values that are not finite were not logged in b0 (" in said
    assert "(inf at step 7)" in said


def test_means_over_folds_pair_by_fold_and_seed():
    cells = [
        run(f"{arm}{fold}{seed}", seed=seed, data__fold=fold, arm=arm, metrics={"m": fold + seed / 7 + (arm == "y") * 0.5})
        for arm in "xy" for fold in range(2) for seed in range(2)
    ]  # fmt: skip
    assert len(compare(cells).groups) == 4
    comparison = compare(cells, over=["data.fold"])
    assert [len(group.values("m")) for group in comparison.groups] == [4, 4]
    assert comparison.columns == ["arm"]
    found = comparison.difference(comparison.groups[1], "m")
    assert (found.how, found.low, found.high) == ("paired", pytest.approx(0.5), pytest.approx(0.5))
    assert "paired by seed and data.fold" in markdown(comparison)
    assert any("too narrow" in note for note in notes(comparison))


# --- what is told ---


def test_metrics_that_do_not_differ_are_left_out_unless_asked_for():
    runs = [
        run(name, learner__lr=lr, metrics={"m": lr, "best_m": 2 * lr, "same": 1.0}) for name, lr in (("x", 0.1), ("y", 0.2))
    ]
    assert compare(runs).metrics == ("best_m", "m")
    assert any(note == "Metrics equal in all runs and left out: same." for note in notes(compare(runs)))
    assert compare(runs, metrics=["m"]).metrics == ("m", "best_m"), "the best comes along"
    assert compare(runs, metrics=["same"]).metrics == ("same",)


def test_one_seed_says_that_it_has_no_interval():
    comparison = compare(six()[2:4])
    assert "| auroc | 1 | 1 | 0.700 | – | baseline; one seed: no interval |" in markdown(comparison)
    assert "| auroc | 2 | 1 | 0.520 | −0.180 | one seed: no interval; not paired |" in markdown(comparison)
    three = compare([*six()[:1], *six()[3:]])
    assert "baseline has one seed: no interval" in markdown(three)


def test_values_that_would_look_alike_are_told_in_full():
    runs = [run("x", learner__lr=1.00001e-4, learner__beta=0.25), run("y", learner__lr=1.00002e-4, learner__beta=0.333333)]
    text = markdown(compare(runs))
    assert "0.000100001" in text
    assert "0.000100002" in text
    assert "| 0.333 |" in text


def test_every_number_of_the_csv_follows_from_its_values():
    told = {line["group"]: line for line in lines(compare(six()))}
    values = {key: dict(pair.split("=") for pair in line["values"].split(";")) for key, line in told.items()}
    for (letter, seed), value in SCORES.items():
        assert float(values["1" if letter == "a" else "2"][str(seed)]) == value
    x, y = ([float(v) for v in values[key].values()] for key in "21")
    assert float(told["2"]["mean"]) == pytest.approx(np.mean(x), abs=1e-15)
    assert float(told["2"]["difference"]) == pytest.approx(np.mean(x) - np.mean(y), abs=1e-15)
    low, high = stats.ttest_rel(x, y).confidence_interval()
    assert (float(told["2"]["difference_low"]), float(told["2"]["difference_high"])) == pytest.approx((low, high))
    assert (told["1"]["learner.lr"], told["2"]["learner.lr"]) == ("0.0001", "0.001")
    assert (told["1"]["difference"], told["1"]["how"], told["2"]["how"]) == ("", "baseline", "paired by seed")
    assert len(told["1"]["run_ids"].split(";")) == 3


def test_the_table_and_markdown_show_the_same_cells():
    runs = six(a0={"tags": {"note": "a|b", "hyperderm.git_commit": "c0ffee11" * 5 + "-dirty"}})
    text, drawn = markdown(compare(runs)), " ".join(printed(compare(runs)).split())
    assert "a\\|b" in text
    assert "c0ffee11-dirty" in text
    assert "0.657 ± 0.112" in text
    assert "0.657 ± 0.112" in drawn
    assert "−0.0933 [−0.131, −0.0554]" in text
    assert "−0.0933 [−0.131, −0.0554]" in drawn
    for block in text.split("\n\n")[:2]:
        rows = block.splitlines()
        assert len({row.replace("\\|", "").count("|") for row in rows}) == 1
    assert max(map(len, printed(compare(six()), width=80).splitlines())) <= 80


# --- mistakes ---


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"metrics": ["aurok"]}, "no run has logged the metric 'aurok'. Did you mean 'auroc'?"),
        ({"over": ["data.fol"]}, "--over 'data.fol' is no setting of these runs. Did you mean 'data.fold'?"),
        (
            {"baseline": six()[2:4], "named": "all"},
            "--baseline 'all' stands for 2 configurations. Name a run of one of them: ",
        ),
        (
            {"baseline": [run("z", "RUNNING", learner__lr=0.5)], "named": "z"},
            "--baseline 'z' has no finished run. Wait for it, or choose another.",
        ),
    ],
)
def test_what_cannot_be_compared(arguments, said):
    with pytest.raises(ConfigError) as caught:
        compare(six(), **arguments)
    assert str(caught.value).startswith(said)


def test_a_baseline_that_is_not_among_the_runs_joins_them():
    comparison = compare(six()[3:], baseline=six()[:1], named="a0")
    assert [len(group.runs) for group in comparison.groups] == [3, 1]
    assert comparison.baseline is comparison.groups[1]


def test_fewer_than_two_runs():
    with pytest.raises(ConfigError, match=r"fewer than two runs to compare: x \("):
        compare([run("x"), run("x")])


def test_the_best_trial_of_a_search_is_no_seed_among_its_repeats():
    tagged = {"tags": {"hyperderm.repeat": "3", "hyperderm.trial": "3"}}
    comparison = compare(six(a1=tagged | {"seed": 1, "metrics": {"auroc": 0.66}}, a2=tagged | {"metrics": {"auroc": 0.7}}))
    assert [[one.name for one in group.runs] for group in comparison.groups][:2] == [["a0"], ["a1", "a2"]]
    assert "hyperderm.repeat" in comparison.columns
