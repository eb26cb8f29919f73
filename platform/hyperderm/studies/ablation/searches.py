"""The winner of a sweep, for the one fold and manifest it was searched on."""

from pathlib import Path
from typing import Any

from hyperderm.errors import StudyError
from hyperderm.strict import json_of
from hyperderm.training.run_folder import IDENTITY

STUDY = "study.db"


def winner(folder: Path, fold: int, manifest: str, experiment: str) -> dict[str, Any]:
    """Return the swept values (configuration path to value) of the best finished trial of the sweep in `folder`.

    Raises:
        StudyError: no sweep there, no finished trial, or a sweep of another fold or manifest: its choice has seen lesions
            that `fold` holds back.
    """
    try:
        known = json_of((folder / IDENTITY).read_text("utf-8"))["identity"]
    except (OSError, ValueError, KeyError, TypeError):
        raise StudyError(f"{folder} is no sweep's folder", "Give one made by `hyperderm sweep`.") from None
    if known.get("manifest") != manifest:
        raise StudyError(
            f"the sweep in {folder} searched store {str(known.get('manifest'))[:12]}, not this one ({manifest[:12]})",
            "Search on this store, or leave it out of searches.",
        )
    if known.get("data.fold") != fold:
        raise StudyError(
            f"the sweep in {folder} searched fold {known.get('data.fold')}; its winner has seen lesions that "
            f"fold {fold} holds back",
            f"Run one sweep per fold (--set data.fold={fold} --name …), or leave fold {fold} out of searches.",
        )
    if known.get("name") != experiment:
        raise StudyError(
            f"the sweep in {folder} searched {known.get('name')!r}, not {experiment!r}", "Name a sweep of that generator."
        )
    from hyperderm.studies.study_file import read_study

    if not (folder / STUDY).exists():
        raise StudyError(f"the sweep in {folder} has no trial yet", "Let it finish first.")
    study = read_study(folder / STUDY)
    try:
        return dict(study.best_trial.params)
    except ValueError:
        raise StudyError(f"the sweep in {folder} has no finished trial", "Let it finish first.") from None
