"""Find experiments and search spaces by name, on the driver only; workers receive data and never these modules."""

import importlib
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from hyperderm.config import Experiment
from hyperderm.errors import ConfigError, StudyError, nearest
from hyperderm.grid_config import Ablation
from hyperderm.identity import INPUTS
from hyperderm.learners.spec import Role
from hyperderm.settings import NAME
from hyperderm.strict import given_as_setting, is_setting

if TYPE_CHECKING:  # optuna takes half a second to import; a wrong key must be told before
    from optuna.distributions import BaseDistribution

Profile = Literal["small", "full"]
GRID = "ablation_"
"""The prefix of the names of files that declare a grid."""
LONGEST = 255
"""The longest name of a folder in bytes, on every file system that has such a limit."""


@dataclass(frozen=True)
class Space:
    """A search space: configuration path to Optuna distribution, with the VERSION that names these axes."""

    name: str
    version: int
    distributions: Mapping[str, "BaseDistribution"]

    def without(self, paths: Iterable[str]) -> tuple["Space", list[str]]:
        """Return this space without the axes named in `paths`, and the names of the removed axes.

        Raises:
            ConfigError: no axis is left.
        """
        fixed = sorted(set(paths) & set(self.distributions))
        left = {path: axis for path, axis in self.distributions.items() if path not in fixed}
        if not left:
            raise ConfigError(f"--set fixes every axis of search space {self.name!r}", "Use `hyperderm train` for one run.")
        return Space(self.name, self.version, left), fixed


def project_root() -> Path:
    """Return the nearest folder above the working directory that has `experiments/`, else the checkout of this package.

    Raises:
        ConfigError: there is no such folder.
    """
    here = Path.cwd()
    for folder in [here, *here.parents, Path(__file__).resolve().parents[2]]:
        if (folder / "experiments" / "__init__.py").is_file():
            return folder
    raise ConfigError(f"no experiments/ folder in {here} or above it", "Run hyperderm from the project's folder.")


def experiment(name: str, profile: Profile) -> Experiment:
    """Return the configuration that `experiments/<name>.py` declares for `profile`.

    Raises:
        ConfigError: the name is unknown; the message offers the nearest names.
    """
    module = _module("experiments", name, "experiment")
    function: Callable[[Profile], Experiment] = module.experiment
    return function(profile)


def ablation(name: str, profile: Profile) -> Ablation:
    """Return the grid that `experiments/ablation_<name>.py` declares for `profile`.

    Raises:
        ConfigError: the name is unknown; the message offers the nearest names.
    """
    short = name.removeprefix(GRID)
    known = grids()
    if short not in known:
        raise ConfigError(f"unknown ablation {name!r}", _known(short, known))
    function: Callable[[Profile], Ablation] = _import("experiments", GRID + short).ablation
    return function(profile)


def grids() -> list[str]:
    """Return the names of the grids declared in `experiments/`, such as "every_generator"."""
    return [each.removeprefix(GRID) for each in _files("experiments") if each.startswith(GRID)]


def generators(names: Iterable[str], profile: Profile) -> dict[str, Experiment]:
    """Return name to experiment for each generator.

    Raises:
        ConfigError: a name is no experiment, or its experiment generates nothing.
    """
    return _of_role("generators", "generator", "generates", names, profile)


def unmixers(names: Iterable[str], profile: Profile) -> dict[str, Experiment]:
    """Return name to experiment for each unmixing net.

    Raises:
        ConfigError: a name is no experiment, or its experiment unmixes nothing.
    """
    return _of_role("unmixers", "unmixer", "unmixes", names, profile)


def _of_role(field: str, role: Role, does: str, names: Iterable[str], profile: Profile) -> dict[str, Experiment]:
    found = {}
    for name in names:
        try:
            found[name] = experiment(name, profile)
        except ConfigError as error:
            raise ConfigError(f"{field} names {name!r}, which is no experiment", error.remedy) from None
        if found[name].learner.role != role:
            raise ConfigError(f"{field} names {name!r}, which {does} nothing", "Name an experiment that does.")
    return found


def space_of(name: str) -> str:
    """Return the name of an experiment's search space: the value of `SPACE` in its file, or else the experiment's name."""
    return str(getattr(_module("experiments", name, "experiment"), "SPACE", name))


def space(name: str, experiment: Experiment) -> Space:
    """Return the search space that `search_spaces/<name>.py` declares for `experiment`.

    Raises:
        ConfigError: the name is unknown; the message offers the nearest names.
    """
    module = _module("search_spaces", name, "search space")
    return Space(name, module.VERSION, module.space(experiment))


def check_space(space: Space, experiment: Experiment) -> None:
    """Prove that every axis exists and that its ends are valid values of `experiment`.

    Raises:
        ConfigError: an axis is no configuration key, or the configuration refuses one of its ends.
    """
    for path, distribution in space.distributions.items():
        if path in INPUTS:
            raise ConfigError(
                f"search space {space.name!r} has the axis {path}: which run a trial begins from is not searched",
                "Take it out, and make one sweep for each (NAME=…).",
            )
        for value in _ends(distribution):
            try:
                experiment.override({path: value})
            except ConfigError as error:
                raise ConfigError(f"search space {space.name!r}, axis {path}: {error.what}", error.remedy) from None


def names(folder: str) -> list[str]:
    """Return the names declared in `experiments/` or `search_spaces/`."""
    return [name for name in _files(folder) if not name.startswith(GRID)]


def check_name(name: str | None) -> None:
    """Refuse a name that is no plain folder name, before anything is opened or created.

    Raises:
        StudyError: the message names the value and the allowed characters.
    """
    if name is None:
        return
    if not re.fullmatch(NAME, name):
        raise StudyError(f"--name {name!r} is no name", "Use letters, digits, '.', '_' and '-'; --runs says where it goes.")
    if (length := len(name.encode())) > LONGEST:
        raise StudyError(
            f"--name {name[:20]}… is {length} bytes long", f"Use at most {LONGEST}: that is how long a folder's name can be."
        )


def _files(folder: str) -> list[str]:
    return sorted(p.stem for p in (project_root() / folder).glob("*.py") if not p.stem.startswith("_"))


def _module(folder: str, name: str, what: str) -> ModuleType:
    known = names(folder)
    if name not in known:
        raise ConfigError(f"unknown {what} {name!r}", _known(name, known))
    return _import(folder, name)


def _known(name: str, known: Iterable[str]) -> str:
    """Return the remedy for an unknown name, which may be a setting that lacks its option."""
    return given_as_setting(name) if is_setting(name) else nearest(name, known)


def _import(folder: str, name: str) -> ModuleType:
    root = str(project_root())
    if root not in sys.path:
        sys.path.append(root)  # last: nothing here may shadow an installed package
    return importlib.import_module(f"{folder}.{name}")


def _ends(distribution: "BaseDistribution") -> list[Any]:
    choices = getattr(distribution, "choices", None)
    return list(choices) if choices is not None else [distribution.low, distribution.high]  # type: ignore[attr-defined]
