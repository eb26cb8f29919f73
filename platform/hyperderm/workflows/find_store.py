"""Find the store of a run: a named store, raw files that are ingested once, or the phantom that is made once."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyperderm import registry
from hyperderm.errors import ConfigError, CubeError, StorageAway, StoreError
from hyperderm.tags import STORE_TAG
from hyperderm.workflows.run_ingest import SIZE, ingest
from hyperderm.workflows.run_phantom import phantom
from hyperderm.workflows.workspace import Workspace

if TYPE_CHECKING:  # heavy modules are imported only after the configuration is checked
    from hyperderm.ingest.source import Job
    from hyperderm.store.reader import Store

PHANTOM = {"count": 330, "size": 64, "seed": 0}

FOLDS = 5


def check_source(store: str | None, data: Path | None) -> None:
    """Refuse, before slow imports and without reading data, the arguments that `find_store` would refuse.

    Raises:
        ConfigError: both are given, or the folder holds this project. CubeError: the folder does not exist, or has no known
            layout. StoreError: there is no store.
    """
    from hyperderm.store.reader import open_store

    if store and data:
        raise ConfigError(
            "--store and --data are both given", "Give one: a store, or a folder of raw files to make one from."
        )
    if store:
        open_store(store, verify=False)
    if data:
        if registry.project_root().is_relative_to(data.resolve()):
            raise ConfigError(
                f"--data {data} holds this project: its stores would be read too",
                "Name the folder of the images, or call from elsewhere.",
            )
        _job(data, SIZE)


def find_store(workspace: Workspace, store: str | None, data: Path | None, size: int = SIZE) -> "Store":
    """Open the store at `store`, or of the raw files in `data` (ingested once), or the default phantom (made once).

    A store that is made here has crops of `size` pixels.

    Raises:
        ConfigError: both are given. CubeError, StoreError: the data or the store cannot be read.
    """
    from hyperderm.store.reader import open_store

    check_source(store, data)
    if store:
        workspace.say(f"store {store}")
        return open_store(store)
    if data:
        from hyperderm.ingest.pipeline import forget_lock
        from hyperderm.store.location import locate

        job = _job(data, size)
        place = workspace.root / "stores" / f"{data.resolve().name}-{size}-{job.digest[:8]}"
        if place.exists():
            forget_lock(locate(str(place)), job)
        else:
            workspace.say(f"reading {data} into {_short(place)}")
            with _ingest_told(data):
                ingest(job, _short(place), folds=FOLDS)
    else:
        from hyperderm.phantom.rendering import PHANTOM_VERSION

        wanted = {**PHANTOM, "size": size}
        name = f"phantom-v{PHANTOM_VERSION}-{wanted['count']}x{size}-seed{wanted['seed']}"
        place = workspace.root / "stores" / name
        if not place.exists():
            workspace.say(f"no DATA or STORE given: drawing the phantom (simulated skin) into {_short(place)}")
            phantom(_short(place), folds=FOLDS, **wanted)
    workspace.say(f"store {_short(place)}")
    return open_store(str(place))


def _job(data: Path, size: int) -> "Job":
    from hyperderm.ingest.layouts.scene_folder import Camera
    from hyperderm.ingest.lesions import CropOptions
    from hyperderm.ingest.source import make_job

    with _ingest_told(data):
        return make_job(data, "auto", CropOptions(size), Camera())


@contextmanager
def _ingest_told(data: Path) -> Iterator[None]:
    """Add to a remedy that its flags belong to `hyperderm ingest`, since other commands that take raw files lack them."""
    try:
        yield
    except (CubeError, StoreError) as error:
        if "--" not in error.remedy or isinstance(error, StorageAway):
            raise
        where = (
            f"These are flags of hyperderm ingest {data} --store stores/mine …: make the store so, then give it as the store"
        )
        raise type(error)(error.what, f"{error.remedy} {where} (STORE=stores/mine).") from error


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def source_of(checkpoint: Mapping[str, Any], named: str | None, what: str) -> "Store":
    """Open the store that a user names, or else the one whose address a checkpoint holds.

    Args:
        checkpoint: content of the checkpoint.
        named: what the user gave by --source-store.
        what: what was trained there, for the message.

    Raises:
        StoreError: it is not there.
    """
    from hyperderm.store.reader import open_store

    if named:
        return open_store(named)
    try:
        return open_store(checkpoint["provenance"].get(STORE_TAG, ""))
    except StoreError as error:
        raise StoreError(
            f"the store the {what} was trained on is not where it was ({error.what})", "Say where: --source-store URI."
        ) from None
