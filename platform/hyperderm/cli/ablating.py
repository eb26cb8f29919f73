"""Put a grid together: studies run it, tracking records it, reports print it."""

import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyperderm import registry
from hyperderm.ablation import Ablation
from hyperderm.cli.setting import Setting, choose_profile, find_store
from hyperderm.cli.streams import print_aside
from hyperderm.config import Experiment
from hyperderm.errors import ConfigError, StudyError
from hyperderm.identity import shaping_in_full
from hyperderm.strict import parse_overrides

if TYPE_CHECKING:  # nothing heavy is imported before the configuration is known to be good
    from hyperderm.store.reader import Store
    from hyperderm.studies.ablation.plan import Plan


@dataclass(frozen=True)
class Asked:
    """What the command line asks for."""

    grid: Ablation
    generators: Mapping[str, Experiment]
    store: str | None
    data: Path | None
    name: str | None
    runs: Path | None
    begin: datetime | None
    end: datetime | None


def resolve(setting: Setting, name: str, profile: str, overrides: list[str]) -> tuple[Ablation, dict[str, Experiment]]:
    """Return the grid and the experiments of its generators.

    Raises:
        ConfigError: unknown grid, key, value, model or generator.
    """
    values = parse_overrides(overrides)
    if profile == "auto":  # whatever the profile turns out to be
        registry.ablation(name, "small").override(values)
    grid = registry.ablation(name, choose_profile(setting, profile)).override(values)
    trained = [each for each in grid.generators if each not in grid.sets] if grid.uses_generators else []
    generators = registry.generators(trained, grid.profile)
    return grid, {name: each.override(grid.generator_settings.get(name, {})) for name, each in generators.items()}


def prepare(setting: Setting, asked: Asked) -> "tuple[Plan, Path]":
    """Return the plan on the store that is asked for, and the grid's folder.

    Raises:
        HyperdermError: whatever the user can mend.
    """
    from hyperderm.studies.ablation.plan import make_plan
    from hyperderm.studies.folder import run_folder

    opened = find_store(setting, asked.store, asked.data, max(64, asked.grid.size))
    check_weights(asked.grid, len(opened.manifest.wavelengths_nm))
    plan = make_plan(asked.grid, opened, asked.generators)
    return plan, run_folder(asked.runs or setting.root / "runs", asked.name, default_name(asked.grid, opened))


def check_weights(grid: Ablation, bands: int) -> None:
    """Prove that every network of the grid is known and that its weights lie on this machine.

    Raises:
        ConfigError: naming the model and the remedy.
    """
    for name in grid.models:
        model = grid.classifiers.get(name)
        if model is None:
            continue
        try:
            model.learner.weights_sha256(bands)
        except ConfigError as error:
            raise ConfigError(f"model {name}: {error.what}", f"{error.remedy} Or leave the model out of models.") from None


def default_name(grid: Ablation, store: "Store") -> str:
    """Return ablation + grid + profile + first digits of the manifest's fingerprint."""
    profile = "" if grid.profile == "full" else f"-{grid.profile}"
    return f"ablation-{grid.name}{profile}-{store.name}"


def identity(plan: "Plan") -> dict[str, Any]:
    """Return what a grid of this name stands for, flat; seeds, folds, arms, ratios, models and generators may join later."""
    from hyperderm.studies.ablation.maker import VERSION

    grid = plan.grid
    facts: dict[str, Any] = {
        "manifest": plan.store.manifest.fingerprint,
        "size": grid.size,
        "code version": VERSION,
        "task.negatives": grid.task.negatives,
        "generator_seed": grid.generator_seed,
        **plan.content,
    }
    for name in grid.models:
        facts |= {f"{name}.{path}": value for path, value in grid.classifiers[name].flat().items() if path != "gpus"}
    for job in plan.stage("generator"):
        assert job.experiment is not None
        for path, value in shaping_in_full(job.experiment).items():
            if path.startswith(("learner.", "training.", "data.")):
                facts[f"{job.label}.{path}"] = value
    return facts


def show_plan(setting: Setting, asked: Asked) -> int:
    """Print the plan; start nothing that lasts."""
    from contextlib import nullcontext

    from hyperderm.reports.plan import print_plan
    from hyperderm.studies.ablation.estimate import estimate
    from hyperderm.studies.cluster import connect, this_machine

    plan, folder = prepare(setting, asked)
    with connect(setting.ray_address) if setting.ray_address else nullcontext(this_machine()) as cluster:
        there = None
        if setting.ray_address and cluster.gpus:
            from hyperderm.studies.ablation.grid import measure_there

            there = measure_there(plan.grid.resources.cpus)
        setting.say(f"measuring step times {'on the cluster' if there else 'on this machine'}")
        print_plan(setting.console, plan, estimate(plan, folder, there), cluster, asked.end, asked.begin)
    return 0


def run(setting: Setting, asked: Asked) -> int:
    """Run or continue the grid, report, and return the exit code.

    Raises:
        HyperdermError: whatever the user can mend, before any process starts.
    """
    from hyperderm.studies.folder import claim
    from hyperderm.tracking.server import check_server

    print_aside()
    end_like_ctrl_c()
    check_server(setting.tracking_uri, say=setting.say)
    plan, folder = prepare(setting, asked)
    _check_version(folder)
    with claim(folder, identity(plan), grows=True) as key:
        _wait(setting, asked.begin)
        from hyperderm.cli.ablation_run import run_claimed

        return run_claimed(setting, asked, plan, folder, key)


def _check_version(folder: Path) -> None:
    """Refuse a grid of an earlier version: its jobs are named otherwise, so none of them would be found again."""
    from hyperderm.studies.ablation.maker import VERSION
    from hyperderm.studies.folder import IDENTITY, known_identity

    if not (folder / IDENTITY).exists():
        return
    was = known_identity(folder / IDENTITY)["identity"].get("code version", VERSION)
    if was != VERSION:
        raise StudyError(
            f"{folder.name} was run by another version of hyperderm, which names jobs otherwise ({was}, here {VERSION}): it "
            "cannot be gone on with",
            f"Its report and predictions stay in {folder} and can be read. Give the new grid a name of its own: --name NAME "
            "(make: NAME=…).",
        )


def without_schedule(words: Sequence[str]) -> list[str]:
    """Return a command's words without those that say when and how it runs."""
    kept, skip = [], False
    for word in words:
        if skip:
            skip = False
        elif word in ("--at", "--until"):
            skip = True
        elif word != "--detach" and not word.startswith(("--at=", "--until=")):
            kept.append(word)
    return kept


def end_like_ctrl_c() -> None:
    """Let SIGTERM end this process as Ctrl-C does, wherever nothing else is said."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def _wait(setting: Setting, begin: datetime | None) -> None:
    if begin is None:
        return
    setting.say(f"starting at {begin:%Y-%m-%d %H:%M}; Ctrl-C gives up")
    while (left := begin.timestamp() - time.time()) > 0:
        time.sleep(min(left, 30.0))
