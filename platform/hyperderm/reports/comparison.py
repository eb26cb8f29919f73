"""Runs in groups: what differs between them, means over seeds and differences to a baseline, with t intervals."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from scipy import stats

from hyperderm.errors import ConfigError, nearest
from hyperderm.tracking.fetch import TrackedRun

LEVEL = 0.95
SEED = "seed"
MANIFEST = "hyperderm.manifest"
"""The one tag that makes another configuration: other data."""
MACHINERY = "sweep."
"""Settings below it say how a search is run, not what a run is: shown where they differ, never a group of their own."""
_BOOKKEEPING = {"key", "trial", "outcome", "reason", "best", "pictures", "long_params"}
_BOOKKEEPING |= {"fold", "profile", "experiment", "arm"}
"""Tags of hyperderm that say nothing on the configuration, or say again what settings say."""


@dataclass(frozen=True)
class Estimate:
    """A mean or a difference of means.

    Attributes:
        value: in the metric's unit.
        low: lower end of the 95 % interval; None with one value on a side.
        high: upper end.
        how: the interval's kind.
    """

    value: float
    low: float | None
    high: float | None
    how: Literal["t", "paired", "Welch"]

    @property
    def half(self) -> float | None:
        """Half the width of the interval."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2


def mean_over(values: Sequence[float]) -> Estimate:
    """Return the mean of one value a seed, with Student's t interval.

    Raises:
        ValueError: no value.
    """
    x = _finite(values)
    if x.size == 1:
        return Estimate(float(x[0]), None, None, "t")
    if np.ptp(x) == 0:  # the mean of 0.4, 0.4 and 0.4 is rounded, and their spread with it
        return Estimate(float(x[0]), float(x[0]), float(x[0]), "t")
    return _around(float(x.mean()), float(x.std(ddof=1)) / math.sqrt(x.size), x.size - 1, "t")


def paired(values: Sequence[float], baseline: Sequence[float]) -> Estimate:
    """Return the mean of `values - baseline`, seed by seed, with the t interval of those differences.

    Raises:
        ValueError: no value, or other lengths.
    """
    if len(values) != len(baseline):
        raise ValueError(f"{len(values)} values cannot be paired with {len(baseline)}")
    return replace(mean_over((_finite(values) - _finite(baseline)).tolist()), how="paired")


def welch(values: Sequence[float], baseline: Sequence[float]) -> Estimate:
    """Return the difference of two independent means, with Welch's interval (Welch, Biometrika 34, 1947).

    Raises:
        ValueError: no value on a side.
    """
    x, y = _finite(values), _finite(baseline)
    difference = float(x.mean() - y.mean())
    if min(x.size, y.size) == 1:
        return Estimate(difference, None, None, "Welch")
    a, b = float(x.var(ddof=1)) / x.size, float(y.var(ddof=1)) / y.size
    freedom = (a + b) ** 2 / (a**2 / (x.size - 1) + b**2 / (y.size - 1)) if a + b > 0 else 1.0
    return _around(difference, math.sqrt(a + b), freedom, "Welch")


@dataclass(frozen=True)
class Group:
    """Runs whose configuration differs in the seed alone (and in what else means are taken over).

    Attributes:
        number: from 1, in the order in which the runs were named.
        runs: all of them; those that are `counted` enter the means.
        over: paths of the settings that means are taken over.
    """

    number: int
    runs: tuple[TrackedRun, ...]
    over: tuple[str, ...]

    @property
    def counted(self) -> list[TrackedRun]:
        """The runs that ended by themselves."""
        return [run for run in self.runs if run.status == "FINISHED"]

    @property
    def left_out(self) -> list[TrackedRun]:
        """The runs that still run, failed or were killed."""
        return [run for run in self.runs if run.status != "FINISHED"]

    @property
    def statuses(self) -> str:
        """How many runs are in which state, e.g. "2 finished, 1 failed"; of one run the state alone."""
        words = Counter(status(run) for run in self.runs)
        return next(iter(words)) if len(self.runs) == 1 else ", ".join(f"{count} {word}" for word, count in words.items())

    def repeat(self, run: TrackedRun) -> str:
        """Return what tells the run from the others of its group: its seed, or "2 / 0" with a fold; "?" if not recorded."""
        found = [run.settings.get(path) for path in self.over]
        return " / ".join("?" if value is None else str(value) for value in found)

    def values(self, metric: str) -> dict[str, float]:
        """Return repeat -> the last logged value of the counted runs; runs that share a repeat are averaged.

        A run without a recorded seed stands under its id, so that it is never paired.
        """
        found: dict[str, list[float]] = defaultdict(list)
        for run in self.counted:
            if metric in run.metrics and math.isfinite(run.metrics[metric][0]):
                repeat = self.repeat(run)
                found[run.id if "?" in repeat else repeat].append(run.metrics[metric][0])
        return {repeat: float(np.mean(found[repeat])) for repeat in sorted(found, key=natural)}


@dataclass(frozen=True)
class Comparison:
    """Groups of runs, and what is told of them.

    Attributes:
        groups: in the order of their first runs.
        baseline: the group differences are taken to; None where no group has a finished run.
        over: paths of the settings that means are taken over, the seed first.
        metrics: names of those that are told.
        equal_metrics: names of those that were left out, being equal in all runs.
    """

    groups: tuple[Group, ...]
    baseline: Group | None
    over: tuple[str, ...]
    metrics: tuple[str, ...]
    equal_metrics: tuple[str, ...]

    @cached_property
    def runs(self) -> list[TrackedRun]:
        """Every run, group by group."""
        return [run for group in self.groups for run in group.runs]

    @cached_property
    def columns(self) -> list[str]:
        """Paths of settings and names of tags that differ between runs, but for those that means are taken over."""
        return [path for path in self._varied if path not in self.over]

    @property
    def equal(self) -> int:
        """How many settings and tags are the same in all runs."""
        return len(self._facts) - len(self._varied)

    def cell(self, group: Group, path: str) -> list[object]:
        """Return the different values that the group's runs have at `path`; None stands for "not set"."""
        return list({str(value): value for value in (_value(run, path) for run in group.runs)}.values())

    def mean(self, group: Group, metric: str) -> Estimate | None:
        """Return the group's mean; None where no counted run has the metric."""
        values = group.values(metric)
        return mean_over(list(values.values())) if values else None

    def difference(self, group: Group, metric: str) -> Estimate | None:
        """Return the difference to the baseline, paired where both have the same seeds; None for the baseline itself."""
        if self.baseline is None or group is self.baseline:
            return None
        mine, other = group.values(metric), self.baseline.values(metric)
        if not mine or not other:
            return None
        compute = paired if mine.keys() == other.keys() else welch
        return compute(list(mine.values()), list(other.values()))

    @cached_property
    def _facts(self) -> list[str]:
        return list(dict.fromkeys(path for run in self.runs for path in (*run.settings, *filter(_tells, run.tags))))

    @cached_property
    def _varied(self) -> list[str]:
        return [path for path in self._facts if len({str(_value(run, path)) for run in self.runs}) > 1]


def compare(
    runs: Iterable[TrackedRun],
    baseline: Sequence[TrackedRun] = (),
    metrics: Sequence[str] = (),
    over: Sequence[str] = (),
    named: str = "",
) -> Comparison:
    """Group runs and choose what is told.

    Args:
        runs: in the order they are to be shown; a run given twice counts once.
        baseline: runs of the baseline's group; none: the first group with a finished run.
        metrics: names, each brings its best_… along where that is logged; none: all that differ between runs.
        over: paths of settings that means are taken over beside the seed, such as data.fold.
        named: what the user called the baseline.

    Raises:
        ConfigError: fewer than two runs, a metric or path that no run has, a baseline that is several groups or has no
            finished run.
    """
    every = list({run.id: run for run in (*runs, *baseline)}.values())
    if len(every) < 2:
        only = f": {every[0].name} ({every[0].id[:8]})" if every else ""
        raise ConfigError(f"fewer than two runs to compare{only}", "Name another RUN, or a sweep: it stands for its trials.")
    paths = {path for run in every for path in run.settings}
    for path in over:
        if path not in paths:
            raise ConfigError(f"--over {path!r} is no setting of these runs", nearest(path, paths) if paths else "")
    repeats = tuple(dict.fromkeys((SEED, *over)))
    groups = _groups(every, repeats)
    known = sorted({metric for run in every for metric in run.metrics})
    for metric in metrics:
        if metric not in known:
            raise ConfigError(f"no run has logged the metric {metric!r}", nearest(metric, known) if known else "")
    equal = [] if metrics else [m for m in known if len({run.metrics.get(m, (None,))[0] for run in every}) == 1]
    told = dict.fromkeys(m for name in metrics for m in (name, f"best_{name}") if m in known) if metrics else known
    return Comparison(
        groups, _baseline(groups, baseline, named), repeats, tuple(m for m in told if m not in equal), tuple(equal)
    )


def status(run: TrackedRun) -> str:
    """Return finished, stopped early, running, failed, killed or scheduled."""
    outcome = run.tags.get("hyperderm.outcome", "")
    return outcome if run.status == "FINISHED" and outcome == "stopped early" else run.status.lower()


def natural(text: str) -> list[tuple[int, str]]:
    """Return a key that sorts "2" before "10"."""
    return [(len(part), part) for part in text.split(" / ")]


def _groups(runs: Sequence[TrackedRun], over: tuple[str, ...]) -> tuple[Group, ...]:
    found: dict[frozenset[tuple[str, str]], list[TrackedRun]] = defaultdict(list)
    for run in runs:
        kept = {
            path: str(value)
            for path, value in run.settings.items()
            if path not in over and not path.startswith(MACHINERY) and value is not None
        }
        found[frozenset({**kept, MANIFEST: run.tags.get(MANIFEST, "")}.items())].append(run)
    return tuple(Group(number, tuple(members), over) for number, members in enumerate(found.values(), 1))


def _baseline(groups: Sequence[Group], chosen: Sequence[TrackedRun], named: str) -> Group | None:
    if not chosen:
        return next((group for group in groups if group.counted), None)
    wanted = {run.id for run in chosen}
    found = [group for group in groups if wanted & {run.id for run in group.runs}]
    if len(found) > 1:
        first = ", ".join(f"{group.runs[0].id[:8]} ({group.runs[0].name})" for group in found[:5])
        raise ConfigError(
            f"--baseline {named!r} stands for {len(found)} configurations", f"Name a run of one of them: {first}."
        )
    if not found[0].counted:
        raise ConfigError(f"--baseline {named!r} has no finished run", "Wait for it, or choose another.")
    return found[0]


def _tells(tag: str) -> bool:
    """Whether a tag is part of what was run, or a user's own."""
    own = tag.removeprefix("hyperderm.")
    if own == tag:
        return not tag.startswith("mlflow.")
    return own not in _BOOKKEEPING and not own.startswith("nonfinite.")


def _value(run: TrackedRun, path: str) -> object:
    return run.settings.get(path, run.tags.get(path))


def _finite(values: Sequence[float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    x = np.asarray(values, dtype=np.float64).reshape(-1)
    if x.size == 0 or not np.isfinite(x).all():
        raise ValueError(f"an estimate needs finite values, got {x.tolist()}")
    return x


def _around(value: float, error: float, freedom: float, how: Literal["t", "Welch"]) -> Estimate:
    half = float(stats.t.ppf((1 + LEVEL) / 2, freedom)) * error
    return Estimate(value, value - half, value + half, how)
