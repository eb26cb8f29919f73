"""The content of a checkpoint beside weights, and the proof that a checkpoint belongs to the run that continues from it."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hyperderm.config import Experiment
from hyperderm.errors import CheckpointError, ConfigError, RemovedSetting
from hyperderm.identity import FIRST, SCHEMA, read, shaping_in_full
from hyperderm.learners.abundance_space import AbundanceSpace
from hyperderm.learners.base import Learner
from hyperderm.learners.data import TrainData
from hyperderm.learners.spec import SPACE
from hyperderm.strict import differences, fingerprint
from hyperderm.tags import FOLD_TAG, INPUT_PREFIX, MANIFEST_TAG, PHOTOGRAPHS_TAG, SYNTHETIC_TAG, WEIGHTS_TAG
from hyperderm.training.context import Context

ORIGIN = (MANIFEST_TAG, FOLD_TAG, SYNTHETIC_TAG, PHOTOGRAPHS_TAG, WEIGHTS_TAG)
"""The fields of provenance that must not change during a run, beside those of its inputs."""


def pack(learner: Learner, experiment: Experiment, data: TrainData, context: Context) -> dict[str, Any]:
    """Return the learner's state, together with all facts that are needed to continue training or to generate cubes."""
    return {
        "learner": learner.state_dict(),
        "schema": SCHEMA,
        "experiment": experiment.model_dump_json(),
        "scaling": data.scaling.state_dict(),
        **({} if data.space is None else {SPACE: data.space.state_dict()}),
        "wavelengths_nm": list(data.wavelengths_nm),
        "lesions": _lesions(data),
        "seen": seen(data),
        "feed": feed_of(data),
        "provenance": dict(context.provenance),
    }


def restore(learner: Learner, experiment: Experiment, data: TrainData, context: Context) -> dict[str, Any] | None:
    """Load the latest checkpoint into `learner` and return its content, or None if there is no checkpoint.

    If the latest checkpoint is damaged, an older one is used, see `CheckpointFolder.resume`.

    Raises:
        CheckpointError: no checkpoint can be read, or it was made with another configuration, other data, another fold or
            another version of the networks.
    """
    found = context.checkpoint.resume()
    if found is None:
        return None
    name, saved = found
    path = context.checkpoint.address(name)
    remedy = "Continue with what it was made with, or move it away; the run then begins anew."
    try:
        changed = differences(_was(saved), _present(experiment, data, context))
    except RemovedSetting as error:
        raise CheckpointError(f"checkpoint {path} is of an earlier version: {error.what}", error.remedy) from error
    except (AttributeError, ConfigError, IndexError, KeyError, TypeError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"checkpoint {path} was not made by this version of hyperderm ({reason})", remedy) from error
    if changed:
        raise CheckpointError(f"checkpoint {path} was made by another run: {'; '.join(changed)}", remedy)
    try:
        learner.load_state_dict(saved["learner"])
    except (KeyError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"checkpoint {path} does not fit the networks of this version ({reason})", remedy) from error
    return saved


def saved_space(data: TrainData, context: Context) -> TrainData:
    """Return the data in the abundance space of the checkpoint from which the run continues, if there is one.

    Another machine might round differently where it finds the same endmembers again.

    Raises:
        CheckpointError: no checkpoint can be read, or its space is damaged.
    """
    found = context.checkpoint.resume()
    if found is None or SPACE not in found[1]:
        return data
    try:
        return replace(data, space=AbundanceSpace.from_state(found[1][SPACE]))
    except (KeyError, TypeError, ValueError) as error:
        path = context.checkpoint.address(found[0])
        raise CheckpointError(f"checkpoint {path} holds a damaged abundance space ({error})", "Move it away.") from error


def _was(saved: Mapping[str, Any]) -> dict[str, Any]:
    experiment = read(json.loads(saved["experiment"]))
    facts = _facts(experiment, saved["provenance"], saved["lesions"], saved.get("feed", "memory"))
    return facts | {"schema": saved.get("schema", FIRST)}


def _present(experiment: Experiment, data: TrainData, context: Context) -> dict[str, Any]:
    return _facts(experiment, context.provenance, _lesions(data), feed_of(data))


def _facts(experiment: Experiment, provenance: Mapping[str, str], lesions: str, feed: str) -> dict[str, Any]:
    """Return all facts that influence a result; they must be equal in the checkpoint and in the run.

    A synthetic set is identified by its fingerprint, see `ORIGIN`.
    """
    shaping = {"schema": SCHEMA} | {path: json.dumps(value) for path, value in shaping_in_full(experiment).items()}
    origin = {name: provenance.get(name, "(none)") for name in ORIGIN}
    origin |= {name: digest for name, digest in provenance.items() if name.startswith(INPUT_PREFIX)}
    return shaping | origin | {"lesions": lesions[:12], "data.feed": feed}


def of_one_run(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two checkpoints were left by the same run, also if different versions of the code wrote them."""

    def told(state: Mapping[str, Any]) -> list[Any]:
        origin = state["provenance"]
        inputs = {name: digest for name, digest in origin.items() if name.startswith(INPUT_PREFIX)}
        return [state.get("lesions"), inputs, *(origin.get(name) for name in ("run", *ORIGIN))]

    return told(one) == told(other)


def feed_of(data: TrainData) -> str:
    """Return the text by which checkpoints and results name the feed. It is only compared as a whole, never parsed.

    They are part of what a run is, because the order of its cubes depends on the feed.
    """
    if data.streamed is None:
        return "memory"
    return f"stream: windows of {data.streamed.window} shards, a sample of {len(data.train)} cubes"


def seen(data: TrainData) -> list[str]:
    """Return the diagnoses that influenced a run: those of its own training, and those that its inputs have seen."""
    before = [name for state in data.inputs.values() for name in state.get("seen", ())]
    return sorted({*data.drawn_diagnoses, *before})


def _lesions(data: TrainData) -> str:
    return fingerprint([data.lesion_ids, data.validation.lesion_ids])
