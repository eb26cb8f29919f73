"""Compare groups of runs: the settings that differ, means over seeds, and differences to a baseline, with t intervals."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hyperderm.cluster.observer import Outcome
from hyperderm.errors import ConfigError, nearest
from hyperderm.statistics.seed_means import Estimate, mean_over, paired, welch
from hyperderm.tags import (
    ARM_TAG,
    BEST_TAG,
    EXPERIMENT_TAG,
    FOLD_TAG,
    FRONT_TAG,
    KEY_TAG,
    LONG_PARAMS_TAG,
    MANIFEST_TAG,
    NONFINITE_PREFIX,
    OUTCOME_TAG,
    PICTURES_TAG,
    PROFILE_TAG,
    REASON_TAG,
    REPEAT_TAG,
    REPEATS_TAG,
    TRIAL_TAG,
)
from hyperderm.tracking.fetch import TrackedRun

SEED = "seed"
STOPPED: Outcome = "stopped early"
MACHINERY = "sweep."
"""Settings with this prefix say how a search is run; they are shown if they differ, but never separate groups."""
_BOOKKEEPING = {
    KEY_TAG, TRIAL_TAG, OUTCOME_TAG, REASON_TAG, BEST_TAG, FRONT_TAG, REPEATS_TAG, PICTURES_TAG, LONG_PARAMS_TAG, FOLD_TAG,
    PROFILE_TAG, EXPERIMENT_TAG, ARM_TAG,
}  # fmt: skip
"""Tags of hyperderm that do not describe the configuration, or that repeat what settings say."""


@dataclass(frozen=True)
class Group:
    """Runs whose configurations differ only in the seed, and in the other settings that means are taken over.

    Attributes:
        number: the number of the group, from 1, in the order in which the runs were named.
        runs: all runs of the group; only `counted` runs enter the means.
        over: paths of the settings that means are taken over.
    """

    number: int
    runs: tuple[TrackedRun, ...]
    over: tuple[str, ...]

    @property
    def counted(self) -> list[TrackedRun]:
        """The runs that finished."""
        return [run for run in self.runs if run.status == "FINISHED"]

    @property
    def left_out(self) -> list[TrackedRun]:
        """The runs that are still running, were killed, or failed."""
        return [run for run in self.runs if run.status != "FINISHED"]

    @property
    def statuses(self) -> str:
        """The number of runs in each state, e.g. "2 finished, 1 failed"; for a single run only its state."""
        words = Counter(status(run) for run in self.runs)
        return next(iter(words)) if len(self.runs) == 1 else ", ".join(f"{count} {word}" for word, count in words.items())

    def repeat(self, run: TrackedRun) -> str:
        """Return the seed that tells the run from others of its group, or "2 / 0" with a fold; "?" if not recorded."""
        found = [run.settings.get(path) for path in self.over]
        return " / ".join("?" if value is None else str(value) for value in found)

    def recorded(self, run: TrackedRun) -> bool:
        """Return whether the seed of the run, and every other setting that means are taken over, is recorded."""
        return all(run.settings.get(path) is not None for path in self.over)

    def values(self, metric: str) -> dict[str, float]:
        """Return each repeat with the last logged value of its counted runs; runs that share a repeat are averaged.

        A run without a recorded seed is listed under its id, so that it is never paired.
        """
        found: dict[str, list[float]] = defaultdict(list)
        for run in self.counted:
            if metric in run.metrics and math.isfinite(run.metrics[metric][0]):
                found[self.repeat(run) if self.recorded(run) else run.id].append(run.metrics[metric][0])
        return {repeat: float(np.mean(found[repeat])) for repeat in sorted(found, key=natural)}


@dataclass(frozen=True)
class Comparison:
    """Groups of runs, with the metrics that are reported for them.

    Attributes:
        groups: the groups, in the order of their first runs.
        baseline: the group that differences are taken to; None if no group has a finished run.
        over: paths of the settings that means are taken over, the seed first.
        metrics: names of the reported metrics.
        equal_metrics: names of the metrics that are left out because they are equal in all runs.
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
        """Paths of settings and names of tags that differ between runs, except the settings that means are taken over."""
        return [path for path in self._varied if path not in self.over]

    @property
    def equal(self) -> int:
        """The number of settings and tags that are the same in all runs."""
        return len(self._facts) - len(self._varied)

    def cell(self, group: Group, path: str) -> list[object]:
        """Return the different values of the group's runs at `path`; None stands for "not set"."""
        return list({str(value): value for value in (_value(run, path) for run in group.runs)}.values())

    def mean(self, group: Group, metric: str) -> Estimate | None:
        """Return the mean of the group; None if no counted run has the metric."""
        values = group.values(metric)
        return mean_over(list(values.values())) if values else None

    def difference(self, group: Group, metric: str) -> Estimate | None:
        """Return the difference to the baseline, paired if both have the same seeds; None for the baseline itself."""
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
    """Group the runs, and choose the metrics to report.

    Args:
        runs: the runs in the order of the report; a run that is given twice counts once.
        baseline: runs of the baseline's group; if empty, the first group with a finished run is the baseline.
        metrics: names of metrics; best_NAME is added to each if it was logged. If empty, all metrics that differ between
            runs.
        over: paths of settings that means are taken over in addition to the seed, such as data.fold.
        named: the user's name for the baseline, for error messages.

    Raises:
        ConfigError: there are fewer than two runs, no run has a metric or path, or the baseline is several groups or has no
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
    """Return the state of a run: finished, stopped early, running, failed, killed or scheduled."""
    return STOPPED if run.status == "FINISHED" and run.tags.get(OUTCOME_TAG) == STOPPED else run.status.lower()


def natural(text: str) -> list[tuple[int, str]]:
    """Return a sort key that puts "2" before "10"."""
    return [(len(part), part) for part in text.split(" / ")]


def _groups(runs: Sequence[TrackedRun], over: tuple[str, ...]) -> tuple[Group, ...]:
    found: dict[frozenset[tuple[str, str]], list[TrackedRun]] = defaultdict(list)
    for run in runs:
        kept = {
            path: str(value)
            for path, value in run.settings.items()
            if path not in over and not path.startswith(MACHINERY) and value is not None
        }
        # The best trial of a search was chosen by its score, so it is no seed among its repeats.
        told = {tag: run.tags.get(tag, "") for tag in (MANIFEST_TAG, REPEAT_TAG)}
        found[frozenset({**kept, **told}.items())].append(run)
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
    """Return whether a tag describes what was run or is a user's own tag."""
    return tag not in _BOOKKEEPING and not tag.startswith(("mlflow.", NONFINITE_PREFIX))


def _value(run: TrackedRun, path: str) -> object:
    return run.settings.get(path, run.tags.get(path))
