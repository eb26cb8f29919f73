"""What every run is started from: the project's places, the profile, the data, the tracking server."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.console import Console

from hyperderm import registry
from hyperderm.ablation import Ablation
from hyperderm.config import Experiment
from hyperderm.databases import sqlite_address
from hyperderm.errors import ConfigError, CubeError, StorageAway, StoreError
from hyperderm.strict import check_text, parse_overrides

if TYPE_CHECKING:  # nothing heavy is imported before the configuration is known to be good
    from hyperderm.ingest.source import Job
    from hyperderm.store.reader import Store

PHANTOM = {"count": 330, "size": 64, "seed": 0}
SIZE = 64
FOLDS = 5


@dataclass(frozen=True)
class Workspace:
    """Where this project keeps things, and which servers the environment names; the one place that reads it."""

    console: Console
    root: Path
    ray_address: str | None
    tracking_uri: str

    @classmethod
    def here(cls) -> "Workspace":
        """Read the environment: `RAY_ADDRESS`, `MLFLOW_TRACKING_URI`."""
        root = registry.project_root()
        uri = os.environ.get("MLFLOW_TRACKING_URI") or sqlite_address(root / "mlflow.db")
        address = os.environ.get("RAY_ADDRESS") or None
        check_text("MLFLOW_TRACKING_URI=", uri)
        check_text("RAY_ADDRESS=", address or "")
        return cls(Console(emoji=False), root, None if address == "local" else address, uri)

    @property
    def artifacts(self) -> Path:
        """Where pictures go when no server keeps them."""
        return self.root / "mlartifacts"

    def say(self, text: str) -> None:
        """Print one line."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)


def choose_profile(workspace: Workspace, asked: str, *, here: bool = False) -> Literal["small", "full"]:
    """Return the profile asked for; `auto` is full where the machine or the cluster has a GPU, else small, and says so.

    Args:
        setting: names the cluster.
        asked: auto, small or full.
        here: the run stays in this process, whatever cluster is named.

    Raises:
        ConfigError: an unknown profile.
    """
    from hyperderm.cluster.session import connect, local_gpu

    if asked == "small" or asked == "full":
        return "small" if asked == "small" else "full"
    if asked != "auto":
        raise ConfigError(f"--profile {asked!r} is unknown", "Use auto, small or full.")
    if workspace.ray_address and not here:
        with connect(workspace.ray_address) as cluster:
            gpu = cluster.gpus > 0
    else:
        gpu = local_gpu()
    if gpu:
        return "full"
    workspace.say(
        "no GPU: profile small (32 px, narrower networks, all diagnoses: a rehearsal of the whole path, not a result). "
        "For full size all the same: --profile full --set sweep.gpus_per_worker=0 (a grid: resources.gpus=0)."
    )
    return "small"


def configure(name: str, profile: Literal["small", "full"], overrides: list[str], **flags: object) -> Experiment:
    """Return the experiment with `--set` overrides and flags applied (a flag is a path with `__` for "."; None: not given).

    Raises:
        ConfigError: unknown experiment, key or value.
    """
    values = parse_overrides(overrides)
    values |= {path.replace("__", "."): value for path, value in flags.items() if value is not None}
    return registry.experiment(name, profile).override(values)


def check_source(store: str | None, data: Path | None) -> None:
    """Refuse at once what `find_store` would refuse after the slow imports: nothing is hashed or read yet.

    Raises:
        ConfigError: both given, or a folder that holds this project; CubeError: no such folder, or of another layout;
            StoreError: no store there.
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
    """Open the store at `store`, or of the raw files in `data` (ingested once), or the default phantom (built once).

    What is made here has crops of `size` pixels.

    Raises:
        ConfigError: both given; CubeError, StoreError: what cannot be read.
    """
    from hyperderm.reports.store_description import describe
    from hyperderm.store.reader import open_store
    from hyperderm.workflows.run_phantom import write_phantom

    check_source(store, data)
    if store:
        workspace.say(f"store {store}")
        return open_store(store)
    if data:
        from hyperderm.ingest.pipeline import forget_lock
        from hyperderm.store.location import locate
        from hyperderm.workflows.run_ingest import run_job

        job = _job(data, size)
        place = workspace.root / "stores" / f"{data.resolve().name}-{size}-{job.digest[:8]}"
        if place.exists():
            forget_lock(locate(str(place)), job)
        else:
            workspace.say(f"reading {data} into {_short(place, workspace)}")
            with _ingest_told(data):
                manifest = run_job(workspace.console, job, str(place), FOLDS, 0)
            for said in job.used:
                workspace.say(f"note: {said}")
            describe(workspace.console, _short(place, workspace), manifest)
    else:
        from hyperderm.phantom.rendering import PHANTOM_VERSION

        wanted = {**PHANTOM, "size": size}
        name = f"phantom-v{PHANTOM_VERSION}-{wanted['count']}x{size}-seed{wanted['seed']}"
        place = workspace.root / "stores" / name
        if not place.exists():
            workspace.say(f"no DATA or STORE given: drawing the phantom (simulated skin) into {_short(place, workspace)}")
            describe(
                workspace.console,
                _short(place, workspace),
                write_phantom(workspace.console, str(place), folds=FOLDS, **wanted),
            )
    workspace.say(f"store {_short(place, workspace)}")
    return open_store(str(place))


def _job(data: Path, size: int) -> "Job":
    from hyperderm.ingest.layouts.scene_folder import Camera
    from hyperderm.ingest.lesions import CropOptions
    from hyperderm.ingest.source import make_job

    with _ingest_told(data):
        return make_job(data, "auto", CropOptions(size), Camera())


@contextmanager
def _ingest_told(data: Path) -> Iterator[None]:
    """Say where the flags of a remedy belong: whoever gives raw files as data has none of them."""
    try:
        yield
    except (CubeError, StoreError) as error:
        if "--" not in error.remedy or isinstance(error, StorageAway):
            raise
        where = (
            f"These are flags of hyperderm ingest {data} --store stores/mine …: make the store so, then give it as the store"
        )
        raise type(error)(error.what, f"{error.remedy} {where} (STORE=stores/mine).") from error


def _short(path: Path, workspace: Workspace) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


@dataclass(frozen=True)
class GridRequest:
    """What the command line asks for."""

    grid: Ablation
    generators: Mapping[str, Experiment]
    store: str | None
    data: Path | None
    name: str | None
    runs: Path | None
    begin: datetime | None
    end: datetime | None
    storage: str | None = None


def configure_grid(
    workspace: Workspace, name: str, profile: str, overrides: list[str]
) -> tuple[Ablation, dict[str, Experiment]]:
    """Return the grid and the experiments of its generators.

    Raises:
        ConfigError: unknown grid, key, value, model or generator.
    """
    values = parse_overrides(overrides)
    if profile == "auto":  # whatever the profile turns out to be
        registry.ablation(name, "small").override(values)
    grid = registry.ablation(name, choose_profile(workspace, profile)).override(values)
    trained = [each for each in grid.generators if each not in grid.sets] if grid.uses_generators else []
    generators = registry.generators(trained, grid.profile)
    return grid, {name: each.override(grid.generator_settings.get(name, {})) for name, each in generators.items()}
