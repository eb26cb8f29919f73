"""`--storage s3://bucket/prefix`: where a run's workers write, so that its machines need no disk in common. Free of Ray.

The driver's own files (study, journal, identity, lock, Tune's records) stay in the run's folder; checkpoints, samples and
what Ray Train keeps of its groups lie below `<storage>/<name of the run's folder>`.
"""

import json
from pathlib import Path

from hyperderm.errors import StoreError, StudyError
from hyperderm.store.location import Location, locate
from hyperderm.store.run_location import RunLocation, below, content_of
from hyperderm.store.s3 import prepare, put_new
from hyperderm.training.run_folder import IDENTITY, TRIALS, known_identity, trial_folder

STORAGE = "storage"
"""The field of a run's identity that says where its workers write; "": in its folder."""
OWNER = "owner.json"
"""The object that says whose a run's prefix is."""
TAKEN = ".storage"
"""Marks a run's folder once its prefix is its own."""


def open_storage(uri: str | None) -> Location | None:
    """Return what `--storage` names, proven to be writable; None where it is not given.

    Raises:
        StoreError: no S3 address, or as `store.s3.probe`: within 10 s, and nothing is left behind.
    """
    if uri is None:
        return None
    location = locate(uri, "--storage")
    if location.access is None:
        raise StoreError(f"--storage {uri!r} is no s3:// address", "A folder that all nodes see is given by --runs.")
    return prepare(location, write=True)


def recorded(storage: Location | None) -> dict[str, str]:
    """Return what a run's identity says of its storage."""
    return {STORAGE: f"s3://{storage.path}" if storage else ""}


def storage_of_run(storage: Location | None, folder: Path) -> Location | None:
    """Return the part of `storage` that belongs to the run in `folder`."""
    if storage is None:
        return None
    mine = below(storage, folder.name)
    assert isinstance(mine, Location)
    return mine


def take(storage: Location | None, folder: Path, key: str) -> None:
    """Make the prefix of the run in `folder` its own, or prove that it is.

    Args:
        storage: as `storage_of_run` gives it.
        folder: of the run.
        key: of the run, which no other has.

    Raises:
        StudyError: it is another run's, or does not hold any more what this one wrote. StoreError: the server refuses.
    """
    if storage is None:
        return
    owner = json.dumps({"key": key}).encode()
    known = content_of(storage, OWNER)
    if known is None and (folder / TAKEN).exists():
        raise StudyError(
            f"{storage.uri} does not hold the files of {folder.name} any more",
            "Set AWS_ENDPOINT_URL_S3 as it was when the run began, or begin a new one: --name NAME (make: NAME=…).",
        )
    if known is None:
        try:
            put_new(storage, OWNER, owner)
        except FileExistsError:
            known = content_of(storage, OWNER)
    if known not in (None, owner):
        raise StudyError(
            f"{storage.uri} holds the files of another run of this name",
            "Give this one a name or a place of its own: --name NAME or --storage URI (make: NAME=…, STORAGE=…).",
        )
    (folder / TAKEN).touch()


def trial_place(folder: Path, number: int, storage: Location | None) -> RunLocation:
    """Return the place of a trial's checkpoints and samples.

    Args:
        folder: of the run.
        number: of the trial.
        storage: as `storage_of_run` gives it.
    """
    return trial_folder(folder, number) if storage is None else below(storage, TRIALS, f"{number:04d}")


def trial_address(folder: Path, number: int, storage: str) -> str:
    """Return how `trial_place` is named; `storage` is the address of the run's part of its storage, "" where it has none."""
    return f"{storage}/{TRIALS}/{number:04d}" if storage else str(trial_folder(folder, number))


def storage_named(folder: Path) -> str | None:
    """Return the `--storage` that the run in `folder` was begun with, None where its workers write into the folder."""
    path = folder / IDENTITY
    return known_identity(path)["identity"].get(STORAGE) or None if path.is_file() else None


def storage_in_use(folder: Path) -> str:
    """Return the address below which the workers of the run in `folder` wrote; "": they wrote into it."""
    storage = storage_named(folder)
    return f"{storage}/{folder.name}" if storage else ""
