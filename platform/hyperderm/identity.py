"""What makes a result the same: said here once, for runs, checkpoints, sweeps, grids and estimates. Free of torch."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from hyperderm.config import FEEDING, DataConfig, Experiment, Run, TrainingConfig
from hyperderm.errors import ConfigError, Gone
from hyperderm.learners import LEARNERS, learner_of
from hyperderm.strict import Strict, fingerprint, parse, unfolded

SCHEMA = 2
"""Part of every identity: raise it when a field's default, or what a value means, changes. A new field with a default needs
nothing: what is at its default is left out, and what was written without it is read with it."""
FIRST = 2
"""Schema of what was written before it was written down beside."""
LABELS = ("name", "profile")
"""What a configuration is called; it leads to the same result."""
INPUTS = frozenset(f"learner.{name}" for each in LEARNERS for name in each.inputs)
"""Where the checkpoints of other runs lie, which are known by their hashes."""
INPUT, INPUT_RUN = "hyperderm.input.", "hyperderm.input_run."
"""Begin the names under which provenance holds the hash of an input's checkpoint, and the key of the run that left it."""
ELSEWHERE = frozenset({"synthetic.store", *INPUTS})
"""Where something lies that is known by its fingerprint."""
EXTENDABLE = ("sweep.trials", "sweep.concurrent", "sweep.cpus_per_worker", "sweep.gpus_per_worker", "sweep.max_failures")
"""Settings of a sweep that depend on the machine, or that may grow."""
GROUPS = (*(f"{name}." for name in Experiment.model_fields), "task", "synthetic")
"""How the leaves of a configuration begin that lie in a group."""


def shapes(path: str) -> bool:
    """Return whether the configuration's leaf `path` shapes what a run comes to.

    How its search goes on (`sweep.*`), on how many workers it is computed, and what its feed was asked to be do not; what
    the feed came to does, and whoever compares runs adds it (`TrainData.feed`).
    """
    return not path.startswith(("sweep.", *FEEDING)) and path not in (*LABELS, *ELSEWHERE)


def shaping(run: Run) -> dict[str, Any]:
    """Return what of a configuration shapes what the run comes to, flat, without what is at its default."""
    return {"schema": SCHEMA} | {path: value for path, value in run.changed().items() if shapes(path)}


def searching(experiment: Experiment) -> dict[str, Any]:
    """Return what makes two sweeps or two runs of `hyperderm train` the same, flat: every leaf that may not change.

    Leaves at their defaults are there too, for whoever is told what differs.
    """
    free = {*EXTENDABLE, *INPUTS}
    if experiment.data.feed != "stream":  # where `auto` comes to a stream, its checkpoints hold on to that
        free |= set(FEEDING)
    return {"schema": SCHEMA} | {path: value for path, value in experiment.flat().items() if path not in free}


def shaping_in_full(run: Run) -> dict[str, Any]:
    """Return what `shaping` returns, without the schema and with every default, for whoever is told what differs."""
    return {path: value for path, value in run.flat().items() if shapes(path)}


def named(mine: Mapping[str, Any], experiment: Experiment) -> str:
    """Return the name of a run of `hyperderm train`: the first digits of a fingerprint of what it is, without defaults.

    Args:
        mine: `searching`, and what else makes the run what it is.
        experiment: of the run.
    """
    changed, every = experiment.changed(), experiment.flat()
    return fingerprint({path: value for path, value in mine.items() if path in changed or path not in every})[:8]


def read(saved: Mapping[str, Any]) -> Experiment:
    """Return a configuration that this version or one before it has written down, as nested JSON.

    Raises:
        Gone: it holds what this version has no more; ConfigError: it was not written down by hyperderm.
    """
    saved = {**saved, "data": _present_data(saved.get("data", {}))}
    learner = saved.get("learner")
    if isinstance(learner, Mapping) and (known := learner_of(str(learner.get("kind")))):
        return parse(Experiment, {**saved, "learner": known.migrated(learner)})
    return parse(Experiment, dict(saved))


def _present_data(saved: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return `data` of a configuration without what one version kept there: what a pre-training saw."""
    if not isinstance(saved, Mapping):
        return saved
    if before := saved.get("pretrain_diagnoses"):
        raise Gone(
            f"data.pretrain_diagnoses = {list(before)} is no more: a pre-training is a run of its own now, which another "
            "begins from",
            "Train both anew (learner.start), or take another --name. Sets made from the old checkpoint can still be used.",
        )
    return {name: value for name, value in saved.items() if name != "pretrain_diagnoses"}


def present(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is said today of the run, or of the grid, of which an earlier version said `flat`.

    A field that came since is at its default there. What is neither, or none of this version, comes back as it is.
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
    """Do as `present` for the learners that a grid compares or trains: each begins with its name."""
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
