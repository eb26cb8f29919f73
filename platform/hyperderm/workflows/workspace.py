"""The workspace that every run is started from: the project's places, the profile, the data and the tracking server."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console

from hyperderm import registry
from hyperderm.config import Experiment
from hyperderm.databases import sqlite_address
from hyperderm.errors import ConfigError, nearest
from hyperderm.grid_config import USED_BY, Ablation
from hyperderm.learners.spec import UNMIXING
from hyperderm.reports.store_description import say
from hyperderm.settings import PENDING
from hyperderm.strict import check_text, parse_overrides
from hyperderm.studies.ablation.arms import arms

if TYPE_CHECKING:  # heavy modules are imported only after the configuration is checked
    from hyperderm.reports.leaderboard import Row
    from hyperderm.studies.repeats import Repeated


PLAIN: dict[str, Any] = {
    **{name: Ablation.model_fields[name].default for name in USED_BY},
    "checkpoints": ("best",),
    "choose": "nothing",
}
"""What a grid's settings are that a profile fills for its own arms; `choose` is the last, since it needs the others."""


@dataclass(frozen=True)
class Workspace:
    """Where this project keeps its files, and which servers the environment names; only this class reads the environment."""

    console: Console
    root: Path
    ray_address: str | None
    tracking_uri: str

    @classmethod
    def here(cls) -> "Workspace":
        """Read the variables `RAY_ADDRESS` and `MLFLOW_TRACKING_URI` of the environment."""
        root = registry.project_root()
        uri = os.environ.get("MLFLOW_TRACKING_URI") or sqlite_address(root / "mlflow.db")
        address = os.environ.get("RAY_ADDRESS") or None
        check_text("MLFLOW_TRACKING_URI=", uri)
        check_text("RAY_ADDRESS=", address or "")
        return cls(Console(emoji=False), root, None if address == "local" else address, uri)

    @property
    def artifacts(self) -> Path:
        """The folder for pictures if no server keeps them."""
        return self.root / "mlartifacts"

    def runs(self, given: Path | None) -> Path:
        """Return the folder below which runs have their folders: the given one, or the project's own."""
        return given or self.root / "runs"

    def say(self, *lines: str) -> None:
        """Print lines as they are."""
        say(self.console, *lines)


def choose_profile(workspace: Workspace, asked: str, *, here: bool = False) -> Literal["small", "full"]:
    """Return the requested profile; `auto` is full if the machine or the cluster has a GPU, else small, which is printed.

    Args:
        workspace: the workspace, which names the cluster.
        asked: auto, small or full.
        here: whether the run stays in this process, even if the environment names a cluster.

    Raises:
        ConfigError: the profile is unknown.
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
        "no GPU: profile small (32 px, narrower networks, SHS-GAN on all diagnoses: "
        "a rehearsal of the whole path, not a result). "
        "For full size all the same: --profile full --set sweep.gpus_per_worker=0 (a grid: resources.gpus=0)."
    )
    return "small"


def configure(name: str, profile: Literal["small", "full"], overrides: list[str], **flags: object) -> Experiment:
    """Return the experiment with `--set` overrides and flags (a path with `__` for "."; None means not given) applied.

    Raises:
        ConfigError: an unknown experiment, key or value.
    """
    values = parse_overrides(overrides)
    values |= {path.replace("__", "."): value for path, value in flags.items() if value is not None}
    return registry.experiment(name, profile).override(values)


@dataclass(frozen=True)
class Ended:
    """How a run, a sweep or a grid ended.

    Attributes:
        exit_code: the exit code of the command: 0 done, 1 nothing or not everything finished, 130 interrupted.
        folder: the folder of its files on this machine.
        rows: the leaderboard of a sweep, in the order of the trials; empty for other runs.
        repeats: what is known of the repeats of a sweep's best trial; None without such a trial, and for other runs.
    """

    exit_code: int
    folder: Path
    rows: "tuple[Row, ...]" = ()
    repeats: "Repeated | None" = None


@dataclass(frozen=True)
class GridRequest:
    """A grid as a user requests it, with its configuration resolved; `workflows.grid_request` makes it.

    Attributes:
        grid: the configuration of the grid.
        generators: name to experiment of each generator that the grid trains.
        store: URI of a store; None: `data`, or the default phantom.
        data: a folder of raw files, which is ingested once.
        name: the name of the grid's folder; None: a name that is made from the configuration.
        runs: the folder of all runs; None: `runs/` of the project.
        begin: when the grid starts; None: now.
        end: no job is started that would run past this time; None: no limit.
        storage: `s3://bucket/prefix` for what jobs write; None: the grid's folder.
        words: the arguments of `hyperderm` that request the same grid, without its times.
        power: the difference of AUROC for which folds and seeds are chosen; None: those of the grid.
        pilot: name or folder of a finished grid whose variances tell the power; None: stated assumptions.
        fixed: the settings that `--set` names.
    """

    grid: Ablation
    generators: Mapping[str, Experiment]
    store: str | None
    data: Path | None
    name: str | None
    runs: Path | None
    begin: datetime | None
    end: datetime | None
    storage: str | None
    words: tuple[str, ...]
    power: float | None = None
    pilot: str | None = None
    fixed: frozenset[str] = frozenset()


def configure_grid(
    workspace: Workspace, name: str, profile: str, overrides: list[str]
) -> tuple[Ablation, dict[str, Experiment]]:
    """Return the grid and the experiments of its generators.

    Raises:
        ConfigError: unknown grid, key, value, model or generator.
    """
    values = parse_overrides(overrides)
    if "profile" in values:
        raise ConfigError(f"profile = {values['profile']} is no setting of a grid", "Use --profile (make: PROFILE=…).")
    if profile == "auto":  # for every profile
        _for_arms(registry.ablation(name, "small"), values)
    grid = _for_arms(registry.ablation(name, choose_profile(workspace, profile)), values)
    _check_models(name, grid)
    trained = list(grid.trained)
    unmixed = {name: net for name, net in grid.unmixers.items() if name in trained}
    found = registry.generators(trained, grid.profile) | registry.unmixers(unmixed.values(), grid.profile)
    pending = {name: {f"learner.{UNMIXING}": PENDING} for name in unmixed}
    return grid, {name: _with_settings(grid, name, each, pending.get(name, {})) for name, each in found.items()}


def _for_arms(grid: Ablation, values: Mapping[str, Any]) -> Ablation:
    """Return a grid with a user's values; arms that have no use for what the profile fills for its own arms drop that."""
    if "arms" not in values:
        return grid.override(values)
    plain = {name: value for name, value in PLAIN.items() if name not in values}
    bare = grid.override({**plain, **values})
    for name in plain:
        try:
            kept = bare.override({name: grid.model_dump(mode="json")[name]})
            arms(kept)
        except ConfigError:
            continue
        bare = kept
    return bare


def _check_models(name: str, grid: Ablation) -> None:
    """Prove that the profile holds the models; a refusal says which models stand in the other profile alone."""
    unknown = next((model for model in grid.models if model not in grid.classifiers), None)
    if unknown is None:
        return
    other: Literal["small", "full"] = "full" if grid.profile == "small" else "small"
    there = sorted(registry.ablation(name, other).classifiers.keys() - grid.classifiers.keys())
    remedy = nearest(unknown, grid.classifiers)
    if unknown in there or (there and not remedy.endswith("?")):
        named = [unknown] if unknown in there else there
        stand = f"{', '.join(named)} {'stands' if len(named) == 1 else 'stand'} in the {other} profile: --profile {other}"
        remedy += f" {stand}" if remedy.endswith("?") else f"; {stand}"
    raise ConfigError(f"models names {unknown!r}", remedy)


def _with_settings(grid: Ablation, name: str, base: Experiment, pending: Mapping[str, Any]) -> Experiment:
    """Return the experiment of a generator with a grid's changes to it; a refusal of these names the generator."""
    settings = grid.generator_settings.get(name, {})
    try:
        return base.override({**settings, **pending})
    except ConfigError as error:
        if not settings:
            raise
        remedy = re.sub(
            r"--set ('?)([\w.]+=.+?)\1$",
            lambda example: grid.with_settings(name, parse_overrides([example[2]])),
            error.remedy,
        )
        remedy += "" if not remedy or remedy.endswith((".", "?")) else "."
        form = f'{{"{name}":{{"PATH":VALUE}}}}'
        where = "" if "generator_settings" in remedy else f"Its settings in a grid: --set 'generator_settings={form}'."
        raise ConfigError(f"generator_settings of {name}: {error.what}", f"{remedy} {where}".strip()) from None


def next_time(option: str, text: str, after: datetime) -> datetime:
    """Return the next time this machine's clock shows `text` (HH:MM), strictly after `after`; a whole date stays as it is.

    If the clocks change before that, the wait is an hour shorter or longer; if the time occurs twice, the first one counts.

    Raises:
        ConfigError: the text is no time of day.
    """
    if "T" in text:  # a detached driver receives the time as a whole date
        try:
            return datetime.fromisoformat(text).astimezone()
        except ValueError:
            raise ConfigError(f"{option} {text!r} is no time", f"Write {option} 22:00.") from None
    match = re.fullmatch(r"(\d{1,2}):(\d{2})", text)
    if not match or int(match[1]) > 23 or int(match[2]) > 59:
        raise ConfigError(f"{option} {text!r} is no time of day", f"Write {option} 22:00.")
    shown = after.astimezone().replace(hour=int(match[1]), minute=int(match[2]), second=0, microsecond=0, tzinfo=None)
    found = shown.astimezone()
    return found if found > after else (shown + timedelta(days=1)).astimezone()
