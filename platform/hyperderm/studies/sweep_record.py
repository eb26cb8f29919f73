"""What the folder of a sweep records of its trials, read back so that sweeps can be compared: scores, images, seconds."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from hyperderm.cluster.observer import Outcome
from hyperderm.config import Experiment
from hyperderm.errors import ConfigError, StudyError, nearest
from hyperderm.identity import GROUPS, LABELS, present, read
from hyperderm.strict import unfolded
from hyperderm.studies.ranks import SECONDS_AT, in_words, reached, seconds_of
from hyperderm.studies.repeats import Repeated, repeated, winner_of
from hyperderm.studies.study_file import read_study
from hyperderm.training.run_folder import IDENTITY, STUDY, known_identity

MACHINES = "machines"
"""The attribute of a study that holds a phrase for every machine or cluster that ran its trials."""
OUTCOMES: Mapping[TrialState, Outcome] = {
    TrialState.COMPLETE: "finished", TrialState.PRUNED: "stopped early", TrialState.FAIL: "failed",
}  # fmt: skip
SIZE, BATCH = "data.size", "training.batch_size"
SEARCHED = "(searched)"


@dataclass(frozen=True)
class TrialRecord:
    """One trial that has ended.

    Attributes:
        number: the number of the trial in its sweep.
        outcome: how it ended.
        scores: by number of images seen, the (first) objective of the checkpoint that the trial kept then.
        seconds_at: by number of images seen, the seconds that the trial had taken; empty if the sweep did not record it.
        seconds: the seconds of the whole trial.
        batch: number of images of one step.
    """

    number: int
    outcome: Outcome
    scores: Mapping[int, float]
    seconds_at: Mapping[int, float]
    seconds: float
    batch: int = 1

    @property
    def images(self) -> int:
        """The number of images seen at the last report; those that followed until the end are not recorded."""
        return max(self.scores, default=0)

    @property
    def timed(self) -> bool:
        """Whether the seconds at every report were recorded."""
        return all(images in self.seconds_at for images in self.scores)

    def seconds_when(self, images: int) -> float:
        """Return the seconds that the trial had taken at a report; in proportion to the images if they are not recorded."""
        if images in self.seconds_at:
            return self.seconds_at[images]
        return self.seconds * images / self.images

    def score_at_images(self, most: float) -> float | None:
        """Return the score when the trial had seen `most` images at the most; None if it had none or failed."""
        return self._last([images for images in self.scores if images <= most])

    def score_at_seconds(self, most: float) -> float | None:
        """Return the score when the trial had taken `most` seconds at the most; None if it had none or failed."""
        return self._last([images for images in self.scores if self.seconds_when(images) <= most])

    def _last(self, images: Sequence[int]) -> float | None:
        return self.scores[max(images)] if images and self.outcome != "failed" else None


@dataclass(frozen=True)
class SweepRecord:
    """A sweep as its folder records it.

    Attributes:
        name: the name of its folder.
        experiment: the name of its experiment.
        objective: the (first) objective in words.
        trials: the trials that ended, by number.
        open: number of trials that have begun and not ended.
        facts: what sweeps must agree in, so that their scores are of the same task, by the name of the fact.
        settings: settings that change how a score is measured, but not the task, by path.
        floor: the objective of real cubes against real ones; None if it is not known.
        mean_cube: the objective of the constant mean cube; None if it is not known.
        machines: phrases for the machines that ran it; empty if they were not recorded.
        repeats: what is known of the repeats of its best trial; None if no trial has finished.
        fit_once: whether its learner is fitted to all of train at once, so that images say nothing of its effort.
    """

    name: str
    experiment: str
    objective: str
    trials: tuple[TrialRecord, ...]
    open: int
    facts: Mapping[str, str]
    settings: Mapping[str, object]
    floor: float | None = None
    mean_cube: float | None = None
    machines: tuple[str, ...] = ()
    repeats: Repeated | None = None
    fit_once: bool = False

    def count(self, outcome: Outcome) -> int:
        """Return how many trials ended like this."""
        return sum(trial.outcome == outcome for trial in self.trials)


def note_machine(study: optuna.Study, phrase: str) -> None:
    """Record that a machine or cluster, described by `phrase`, runs trials of the study."""
    known = study.user_attrs.get(MACHINES, [])
    if phrase not in known:
        study.set_user_attr(MACHINES, [*known, phrase])


def find_sweeps(names: Sequence[str], runs: Path) -> list[Path]:
    """Return the folders of the sweeps that `names` stand for, each once.

    Args:
        names: names of folders below `runs` (which are the names of the runs in MLflow), paths of such folders, or names of
            experiments; an experiment stands for all of its sweeps below `runs`.
        runs: the folder in which runs are kept.

    Raises:
        StudyError: a name stands for no sweep.
    """
    found: dict[Path, None] = {}
    for name in names:
        for folder in _found(name, runs):
            found.setdefault(folder.resolve())
    return list(found)


def _found(name: str, runs: Path) -> list[Path]:
    places = [place for place in (runs / name, Path(name)) if place.is_dir()]
    if named := [place for place in places if _is_sweep(place)]:
        return named[:1]
    sweeps = [place for place in sorted(runs.glob("*")) if _is_sweep(place)]
    experiments: dict[str, list[Path]] = {}
    for place in sweeps:
        with suppress(StudyError, OSError):
            experiments.setdefault(str(known_identity(place / IDENTITY)["identity"].get("name")), []).append(place)
    if name in experiments:
        return experiments[name]
    if places:
        raise StudyError(
            f"{name} is no sweep: {places[0]} does not hold {STUDY} and {IDENTITY}", "Name sweeps; runs: compare RUN RUN."
        )
    known = [*(place.name for place in sweeps), *experiments]
    remedy = nearest(name, known) if known else "Make one first: hyperderm sweep EXPERIMENT."
    raise StudyError(f"{name} is no sweep, neither in {runs} nor as a path, and no experiment of one", remedy)


def _is_sweep(folder: Path) -> bool:
    return (folder / STUDY).is_file() and (folder / IDENTITY).is_file()


def read_sweep(folder: Path) -> SweepRecord:
    """Return what the folder of a sweep records.

    Raises:
        StudyError: the study or the identity is damaged, or an earlier version wrote a configuration that this version does
            not understand.
    """
    identity = present(known_identity(folder / IDENTITY)["identity"])
    base = _experiment(folder, identity)
    study = read_study(folder / STUDY)
    trials = study.get_trials(deepcopy=False)
    first = base.objectives[0]
    marks = {
        each: study.user_attrs.get(base.yardstick(each, first)) for each in ("floor_real_vs_real", "score_of_mean_cube")
    }
    axes = {path for trial in trials for path in trial.distributions}
    best = winner_of(study, base)
    return SweepRecord(
        name=folder.name,
        experiment=base.name,
        objective=in_words([first])[0],
        trials=tuple(_trial(trial, base) for trial in trials if trial.state in OUTCOMES),
        open=sum(trial.state is TrialState.RUNNING for trial in trials),
        facts=_facts(base, str(identity.get("manifest", "")), axes),
        settings={
            "training.validate_every": base.training.validate_every,
            "training.validation_samples": base.training.validation_samples,
            "profile": base.profile,
        },
        floor=marks["floor_real_vs_real"],
        mean_cube=marks["score_of_mean_cube"],
        machines=tuple(study.user_attrs.get(MACHINES, ())),
        repeats=None if best is None else repeated(folder, best),
        fit_once=base.learner.fit_once,
    )


def _experiment(folder: Path, identity: Mapping[str, Any]) -> Experiment:
    """Return the configuration that the swept values override, from the identity of a sweep."""
    own = {path: value for path, value in identity.items() if path in (*LABELS, "seed") or path.startswith(GROUPS)}
    try:
        return read(unfolded(own)).as_trial()
    except ConfigError as error:
        raise StudyError(f"{folder.name} cannot be compared: {error.what}", error.remedy) from None


def _facts(base: Experiment, manifest: str, axes: set[str]) -> dict[str, str]:
    asked = base.diagnoses
    facts = {
        "store (fingerprint)": manifest[:12] or "not recorded",
        "data.fold": str(base.data.fold),
        SIZE: SEARCHED if SIZE in axes else str(base.data.size),
        "diagnoses": asked if isinstance(asked, str) else ", ".join(sorted(asked)),
        "objective": " and ".join(base.objectives),
    }
    if base.task is not None:
        facts["task.negatives"] = base.task.negatives
    return facts


def _trial(trial: FrozenTrial, base: Experiment) -> TrialRecord:
    timed: Mapping[str, float] = trial.user_attrs.get(SECONDS_AT, {})
    return TrialRecord(
        number=trial.number,
        outcome=OUTCOMES[trial.state],
        scores={images: each.values[0] for images, each in reached(trial).items()},
        seconds_at={int(images): float(seconds) for images, seconds in timed.items()},
        seconds=seconds_of(trial),
        batch=int(trial.params.get(BATCH, base.training.batch_size)),
    )
