"""Find the checkpoints that an experiment or a command names, by the name of their run or by their own address."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hyperderm.config import Experiment
from hyperderm.errors import StudyError, nearest
from hyperderm.store.reader import Store
from hyperderm.store.run_location import holds
from hyperderm.training.checkpoint import BEST, LATEST
from hyperderm.training.inputs import RunInput, RunInputs, experiment_of, naming_input, read_input
from hyperderm.training.named_checkpoints import opened, read_checkpoint
from hyperderm.training.resume import of_one_run
from hyperderm.training.run_folder import STUDY, TRIALS, trial_folder
from hyperderm.training.storage import storage_in_use, trial_address

SUFFIX = ".pt"
"""An address with this ending is a checkpoint; every other name is a run."""


def find_inputs(experiment: Experiment, store: Store, runs: Path) -> RunInputs:
    """Return the checkpoints of the runs that `experiment` names, after proving that each fits.

    Args:
        experiment: the configuration whose learner names the runs.
        store: the store that `experiment` reads.
        runs: the folder in which runs are kept.

    Raises:
        StudyError: a named run does not exist, has not finished, or is of another store, fold, size or kind, or its
            checkpoint cannot be read. The message names the field and the run.
    """
    found = []
    for name, asked in experiment.learner.needed.items():
        with naming_input(name, asked):
            found.append(_found(name, asked, experiment, store, runs))
    return RunInputs(tuple(found))


def _found(name: str, asked: str, experiment: Experiment, store: Store, runs: Path) -> RunInput:
    address: Path | str = asked
    if not asked.endswith(SUFFIX):
        address, _ = checkpoint_of_run(asked, runs)
    state, digest = read_input(name, address, experiment, store)
    _check_finished(state, address)
    place = address if str(address).startswith("s3://") else Path(address).absolute()
    return RunInput(name, str(place), digest, state)


def _images(state: Mapping[str, Any]) -> int:
    images = state.get("images")
    return images if isinstance(images, int) else 0


def _check_finished(state: Mapping[str, Any], address: Path | str) -> None:
    """Prove that the run of a checkpoint has reached its end; a best state is judged by the latest state beside it."""
    wanted, images = experiment_of(state).training.images, _images(state)
    parent, _, name = str(address).rpartition("/")
    beside = f"{parent}/{LATEST}" if parent else LATEST
    latest = read_checkpoint(beside)[0] if name == BEST and holds(*opened(beside)) else {}
    if latest and of_one_run(latest, state):
        images = _images(latest)
    elif images < wanted:
        raise StudyError(
            f"nobody can tell whether its run has finished: it was left after {images:,} of {wanted:,} images",
            f"Name the run, or a {BEST} with the {LATEST} of its run beside it.",
        )
    if images < wanted:
        raise StudyError(
            f"its run has not finished: {images:,} of {wanted:,} images were shown", "Let it finish, or name another run."
        )


def checkpoint_of_run(run: str, runs: Path) -> tuple[Path | str, str]:
    """Return the best checkpoint of the run or sweep called `run`, and a phrase that says which one was taken.

    Of a sweep it is that of the best trial (`ranks.winner`), or that of the trial whose number stands behind a slash.

    Args:
        run: the name of a folder below `runs`, or the path of a run's folder; for a trial of a sweep followed by its number,
            as in `night/3`.
        runs: the folder in which runs are kept.

    Raises:
        StudyError: there is no such run, the run has no checkpoint, or no trial of the sweep has ended. StoreError: the
            storage of the run is not there.
    """
    folder, number = _folder_of(run, runs), None
    if folder is None and (trial := run.rpartition("/")[2]).isdecimal():
        folder, number = _folder_of(run.rpartition("/")[0], runs), int(trial)
        folder = folder if folder and (folder / STUDY).exists() else None
    if folder is None:
        known = [place.name for place in sorted(runs.glob("*")) if _is_run(place)]
        remedy = nearest(run, known) if known else "Train one first: hyperderm train EXPERIMENT."
        raise StudyError(f"{run} is no run, neither in {runs} nor as a path", remedy)
    number, name = _best_trial(folder) if number is None else (number, f"trial {number:03d} of sweep {folder.name}")
    storage = storage_in_use(folder)
    path = f"{trial_address(folder, number, storage)}/{BEST}" if storage else trial_folder(folder, number) / BEST
    if not holds(*opened(path)):
        raise StudyError(f"{name} has no {BEST} yet", "Let it reach its first validation, or name another.")
    return path, name


def _folder_of(run: str, runs: Path) -> Path | None:
    return next((place for place in (runs / run, Path(run)) if _is_run(place)), None)


def _is_run(folder: Path) -> bool:
    return (folder / TRIALS).is_dir() or bool(storage_in_use(folder))


def _best_trial(folder: Path) -> tuple[int, str]:
    """Return the number of the best trial of a run, and a phrase that says which one it is."""
    if not (folder / STUDY).exists():
        return 0, f"run {folder.name}"
    from hyperderm.studies.ranks import front, in_words, winner
    from hyperderm.studies.study_file import read_study

    study = read_study(folder / STUDY)
    best = winner(study)
    if best is None:
        raise StudyError(f"no trial of sweep {folder.name} has finished", "Let the sweep go on.")
    name = f"trial {best.number:03d}, best trial of sweep {folder.name}"
    if others := [f"{folder.name}/{trial.number}" for trial in front(study) if trial.number != best.number]:
        (first,) = in_words([str(study.user_attrs.get("objective", "its first objective"))])
        name += f" by {first} (others of its Pareto front: {', '.join(others)})"
    return best.number, name
