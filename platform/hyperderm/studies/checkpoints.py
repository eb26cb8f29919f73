"""Checkpoints as a user names them: a file, an object on S3, or the run that wrote it. Free of Ray."""

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hyperderm.errors import StoreError, StudyError, nearest
from hyperderm.store.location import locate
from hyperderm.store.manifest import FOLD_FREE
from hyperderm.store.place import Place, content_of, holds
from hyperderm.store.reader import Store
from hyperderm.store.s3 import prepare
from hyperderm.studies.folder import TRIALS, trial_folder
from hyperderm.studies.storage import storage_in_use, trial_address

BEST = "best.pt"
STUDY = "study.db"
REMEDY = "Give a best.pt or latest.pt that hyperderm wrote, or a run by --run."


def read_checkpoint(path: Path | str) -> tuple[Mapping[str, Any], str]:
    """Return what a checkpoint holds, on the CPU, and the sha256 (hex) of the file.

    Args:
        path: a file's path, or an `s3://` address.

    Raises:
        StudyError: no such file, one that cannot be read, or one that hyperderm did not write. StoreError: the S3 server
            refuses, or does not answer.
    """
    import torch

    from hyperderm.training.checkpoint import check_whole

    held = content_of(*opened(path))
    if held is None:
        raise StudyError(f"checkpoint {path} does not exist", REMEDY)
    try:
        check_whole(held)
        state = torch.load(io.BytesIO(held), map_location="cpu", weights_only=True)
    except Exception as error:  # damaged and foreign files raise whatever their bytes happen to mean
        reason = (str(error).splitlines() or [""])[0][:200].rstrip(". ")
        raise StudyError(f"checkpoint {path} cannot be read ({type(error).__name__}: {reason})", REMEDY) from error
    kinds = {"learner": dict, "experiment": str, "provenance": dict}
    if not isinstance(state, dict) or not all(isinstance(state.get(name), kind) for name, kind in kinds.items()):
        raise StudyError(f"{path} is no checkpoint of hyperderm", REMEDY)
    return state, hashlib.sha256(held).hexdigest()


def checkpoint_of_run(run: str, runs: Path) -> tuple[Path | str, str]:
    """Return the best checkpoint of the run or sweep called `run`, and a phrase that says which it is.

    Args:
        run: a folder below `runs`, or the path of one.
        runs: where runs are kept.

    Raises:
        StudyError: no such run, no checkpoint in it, or a sweep in which no trial has ended. StoreError: its storage is
            not there.
    """
    folder = next((place for place in (runs / run, Path(run)) if _is_run(place)), None)
    if folder is None:
        known = [place.name for place in sorted(runs.glob("*")) if _is_run(place)]
        remedy = nearest(run, known) if known else "Train one first: hyperderm train EXPERIMENT."
        raise StudyError(f"{run} is no run, neither in {runs} nor as a path", remedy)
    number, which = (_best_trial(folder), "best trial of sweep") if (folder / STUDY).exists() else (0, "run")
    storage = storage_in_use(folder)
    path = f"{trial_address(folder, number, storage)}/{BEST}" if storage else trial_folder(folder, number) / BEST
    if not holds(*opened(path)):
        raise StudyError(f"run {folder.name} has no {BEST} yet", "Let it reach its first validation.")
    name = f"trial {number:03d}, {which} {folder.name}" if which != "run" else f"run {folder.name}"
    return path, name


def _is_run(folder: Path) -> bool:
    return (folder / TRIALS).is_dir() or bool(storage_in_use(folder))


def opened(path: Path | str) -> tuple[Place, str]:
    """Return the place of a checkpoint and its name there; an S3 server is proven to be readable."""
    if not str(path).startswith("s3://"):
        return Path(path).parent, Path(path).name
    parent, _, name = str(path).rpartition("/")
    return prepare(locate(parent, "--checkpoint"), write=False), name


def fold_of(checkpoint: Mapping[str, Any], store: Store) -> int:
    """Return the fold a checkpoint was trained for, after proving that `store` is the one it was trained on.

    Raises:
        StudyError: it names no store or fold; StoreError: it names another.
    """
    origin = checkpoint["provenance"]
    manifest, fold = origin.get("hyperderm.manifest"), origin.get("hyperderm.fold")
    if manifest is None or fold is None:
        raise StudyError("the checkpoint does not say which store and fold it was trained on", REMEDY)
    if fold == FOLD_FREE:
        raise StudyError(
            "the checkpoint is fold-free: it has seen pixels of every lesion of its store, also those a fold holds back",
            "Train one on a store with folds.",
        )
    mine = store.manifest.fingerprint
    if manifest != mine:
        raise StoreError(
            f"the checkpoint was trained on store {manifest[:12]}, {store.location.uri} is {mine[:12]}",
            "Give the store it was trained on: --source-store URI.",
        )
    return int(fold)


def _best_trial(folder: Path) -> int:
    from hyperderm.studies.study_file import read_study

    study = read_study(folder / STUDY)
    try:
        return study.best_trial.number
    except ValueError:
        raise StudyError(f"no trial of sweep {folder.name} has finished", "Let the sweep go on.") from None
