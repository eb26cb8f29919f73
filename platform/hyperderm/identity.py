"""Decide what makes two results the same, in one place for runs, checkpoints, sweeps, grids and estimates. Free of torch."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from hyperderm.config import STREAM_SETTINGS, DataConfig, Experiment, Run, TrainingConfig
from hyperderm.errors import ConfigError, RemovedSetting
from hyperderm.learners import LEARNERS, learner_of
from hyperderm.strict import Strict, fingerprint, parse, unfolded

SCHEMA = 2
"""Part of every identity. Raise it when the default of a field, or the meaning of a value, changes. A new field with a
default needs no change: values at their defaults are left out, and a record without the field is read with the default.
"""
FIRST = 2
"""The schema of records that were written before records contained their schema."""
LABELS = ("name", "profile")
"""Settings that name a configuration; they do not change its result."""
INPUTS = frozenset(f"learner.{name}" for each in LEARNERS for name in each.inputs)
"""Settings with the addresses of other runs' checkpoints, which are identified by their hashes instead."""
ELSEWHERE = frozenset({"synthetic.store", "data.photographs", *INPUTS})
"""Settings with the address of something that is identified by its fingerprint."""
EXTENDABLE = ("sweep.trials", "sweep.concurrent", "sweep.cpus_per_worker", "sweep.gpus_per_worker", "sweep.max_failures")
"""Settings of a sweep that depend on the machine, or that may grow later."""
GROUPS = (*(f"{name}." for name in Experiment.model_fields), "task", "synthetic")
"""The beginnings of all paths that belong to a group of the configuration."""


def shapes(path: str) -> bool:
    """Return whether the configuration's leaf `path` shapes the result of a run.

    The settings of the search (`sweep.*`), the number of workers and the requested feed do not shape the result. The feed
    that was actually used does, and code that compares runs adds it (`training.resume.feed_of`).
    """
    return not path.startswith(("sweep.", *STREAM_SETTINGS)) and path not in (*LABELS, *ELSEWHERE)


def shaping(run: Run) -> dict[str, Any]:
    """Return the leaves that shape the result of a run, as path to value, without leaves at their defaults."""
    return {"schema": SCHEMA} | {path: value for path, value in run.changed().items() if shapes(path)}


def searching(experiment: Experiment) -> dict[str, Any]:
    """Return every leaf that two equal sweeps, or two equal runs of `hyperderm train`, must share, as path to value.

    Leaves at their defaults are included, so that messages can tell what differs.
    """
    free = {*EXTENDABLE, *INPUTS}
    if experiment.data.feed != "stream":  # where `auto` comes to a stream, its checkpoints hold on to that
        free |= set(STREAM_SETTINGS)
    return {"schema": SCHEMA} | {path: value for path, value in experiment.flat().items() if path not in free}


def shaping_in_full(run: Run) -> dict[str, Any]:
    """Return what `shaping` returns, but without the schema and with every default, for messages that tell what differs."""
    return {path: value for path, value in run.flat().items() if shapes(path)}


def named(mine: Mapping[str, Any], experiment: Experiment) -> str:
    """Return the name of a run of `hyperderm train`: the first 8 digits of a fingerprint of its non-default settings.

    Args:
        mine: the result of `searching`, and all other facts that define the run.
        experiment: the configuration of the run.
    """
    changed, every = experiment.changed(), experiment.flat()
    return fingerprint({path: value for path, value in mine.items() if path in changed or path not in every})[:8]


def read(saved: Mapping[str, Any]) -> Experiment:
    """Return a configuration from the nested JSON that this version or an earlier one recorded.

    Raises:
        RemovedSetting: it holds a setting that this version no longer has. ConfigError: hyperderm did not write it.
    """
    saved = {**saved, "data": _present_data(saved.get("data", {}))}
    learner = saved.get("learner")
    if isinstance(learner, Mapping) and (known := learner_of(str(learner.get("kind")))):
        return parse(Experiment, {**saved, "learner": known.migrated(learner)})
    return parse(Experiment, dict(saved))


def _present_data(saved: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return the group `data` of a configuration without a field of an earlier version, the diagnoses of a pre-training."""
    if not isinstance(saved, Mapping):
        return saved
    if before := saved.get("pretrain_diagnoses"):
        raise RemovedSetting(
            f"data.pretrain_diagnoses = {list(before)} is no more: a pre-training is a run of its own now, which another "
            "begins from",
            "Train both anew (learner.start), or take another --name. Sets made from the old checkpoint can still be used.",
        )
    return {name: value for name, value in saved.items() if name != "pretrain_diagnoses"}


def present(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return today's form of the facts `flat` that an earlier version recorded of a run or a grid.

    A field that was added since gets its default. Facts that cannot be understood are returned unchanged.
    """
    own = {path: value for path, value in flat.items() if path in LABELS or path == "seed" or path.startswith(GROUPS)}
    if "learner.kind" not in own:
        return _present_grid(flat)
    try:
        experiment = read(unfolded(own))
    except ConfigError:
        return dict(flat)
    others = {path: value for path, value in flat.items() if path not in own}
    return searching(experiment) | {"schema": flat.get("schema", FIRST)} | others


def _present_grid(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Do the same as `present` for the learners of a grid, whose paths begin with the name of the learner."""
    found = dict(flat)
    for whose in [path.removesuffix("learner.kind") for path in flat if path.endswith(".learner.kind")]:
        own = {path: value for path, value in flat.items() if path.startswith(whose)}
        said = unfolded({path.removeprefix(whose): value for path, value in own.items()})
        known = learner_of(str(said["learner"]["kind"]))
        if known is None:
            continue
        groups: dict[str, type[Strict]] = {"learner": known, "training": TrainingConfig, "data": DataConfig}
        with suppress(ConfigError):
            said |= {"learner": known.migrated(said["learner"]), "data": _present_data(said.get("data", {}))}
            now = {name: parse(group, said[name]).flat() for name, group in groups.items() if said.get(name)}
            found = {path: value for path, value in found.items() if not path.startswith(tuple(f"{whose}{g}." for g in now))}
            leaves = {f"{name}.{path}": value for name, values in now.items() for path, value in values.items()}
            found |= {whose + path: value for path, value in leaves.items() if shapes(path)}
    return found
