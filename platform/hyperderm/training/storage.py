"""`--storage s3://bucket/prefix`: the place where a run's workers write, so that its machines need no shared disk.

The driver's own files (study, event log, identity, lock, Tune's records) stay in the run's folder. Checkpoints, samples and
Ray Train's records of its worker groups lie below `<storage>/<name of the run's folder>`. This module does not import Ray.
"""

import json
from pathlib import Path

from hyperderm.errors import StoreError, StudyError
from hyperderm.store.location import Location, locate
from hyperderm.store.run_location import RunLocation, below, content_of
from hyperderm.store.s3 import prepare, put_new
from hyperderm.training.run_folder import IDENTITY, TRIALS, known_identity, trial_folder

STORAGE = "storage"
"""The field of a run's identity that names the address where its workers write; "" means the run's folder."""
OWNER = "owner.json"
"""Name of the object below a prefix that names the run to which the prefix belongs."""
CLAIMED = ".storage"
"""Name of the file that marks a run's folder once the run owns its prefix."""


def open_storage(uri: str | None) -> Location | None:
    """Return the location that `--storage` names, after proving that it is writable; None if it is not given.

    Raises:
        StoreError: `uri` is no S3 address, or `store.s3.probe` fails; the probe takes at most 10 s and leaves nothing.
    """
    return None if uri is None else prepare(locate_storage(uri), write=True)


def locate_storage(uri: str) -> Location:
    """Return the location that `--storage` names; no server is contacted.

    Raises:
        StoreError: `uri` is no S3 address, or there are no credentials.
    """
    location = locate(uri, "--storage")
    if location.access is None:
        raise StoreError(f"--storage {uri!r} is no s3:// address", "A folder that all nodes see is given by --runs.")
    return location


def recorded(storage: Location | None) -> dict[str, str]:
    """Return the entry for the storage in a run's identity."""
    return {STORAGE: f"s3://{storage.path}" if storage else ""}


def storage_of_run(storage: Location | None, folder: Path) -> Location | None:
    """Return the part of `storage` that belongs to the run in `folder`."""
    if storage is None:
        return None
    mine = below(storage, folder.name)
    assert isinstance(mine, Location)
    return mine


def claim_prefix(storage: Location | None, folder: Path, key: str) -> None:
    """Claim the storage prefix for the run in `folder`, or prove that the run already owns it.

    Args:
        storage: the location from `storage_of_run`.
        folder: the folder of the run.
        key: the unique key of the run.

    Raises:
        StudyError: the prefix belongs to another run, or no longer holds the files that this run wrote. StoreError: the
            server refuses.
    """
    if storage is None:
        return
    owner = json.dumps({"key": key}).encode()
    known = content_of(storage, OWNER)
    if known is None and (folder / CLAIMED).exists():
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
    (folder / CLAIMED).touch()


def trial_place(folder: Path, number: int, storage: Location | None) -> RunLocation:
    """Return the place of a trial's checkpoints and samples.

    Args:
        folder: the folder of the run.
        number: the number of the trial.
        storage: the location from `storage_of_run`.
    """
    return trial_folder(folder, number) if storage is None else below(storage, TRIALS, f"{number:04d}")


def trial_address(folder: Path, number: int, storage: str) -> str:
    """Return the address of `trial_place`; `storage` is the address of the run's part of its storage, "" without one."""
    return f"{storage}/{TRIALS}/{number:04d}" if storage else str(trial_folder(folder, number))


def storage_named(folder: Path) -> str | None:
    """Return the `--storage` with which the run in `folder` began, or None if its workers write into the folder."""
    path = folder / IDENTITY
    return known_identity(path)["identity"].get(STORAGE) or None if path.is_file() else None


def storage_in_use(folder: Path) -> str:
    """Return the address below which the workers of the run in `folder` wrote, or "" if they wrote into the folder."""
    storage = storage_named(folder)
    return f"{storage}/{folder.name}" if storage else ""
