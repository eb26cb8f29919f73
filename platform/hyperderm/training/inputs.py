"""The other runs that a run needs (`learner.start`): found, proven and read on the driver, before anything starts.

An input is identified by the hash of its checkpoint, not by its path. Two paths of one file are the same input, and a run
whose training has continued is another input. Trials get the checkpoint read here, so no worker has to see the file.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hyperderm.config import Experiment
from hyperderm.errors import ConfigError, HyperdermError, MachineTrouble, RemovedSetting, StoreError, StudyError
from hyperderm.identity import read
from hyperderm.learners.scaling import Scaling
from hyperderm.store.manifest import FOLD_FREE, Manifest
from hyperderm.store.reader import Store
from hyperderm.tags import FOLD_TAG, INPUT_PREFIX, INPUT_RUN_PREFIX, MANIFEST_TAG
from hyperderm.training.named_checkpoints import read_checkpoint
from hyperderm.training.selection import fold_said


@dataclass(frozen=True)
class RunInput:
    """A checkpoint of another run that is proven to fit.

    Attributes:
        name: name of the learner's input (`LearnerConfig.inputs`).
        address: address of the checkpoint.
        sha256: sha256 (hex) of the checkpoint's file.
        state: content of the checkpoint, on the CPU.
    """

    name: str
    address: str
    sha256: str
    state: Mapping[str, Any]

    @property
    def run(self) -> str:
        """The key of the run that left the checkpoint."""
        return str(self.state["provenance"].get("run", ""))


@dataclass(frozen=True)
class RunInputs:
    """All inputs of a run; most runs have no inputs."""

    held: tuple[RunInput, ...] = ()

    @property
    def states(self) -> dict[str, Mapping[str, Any]]:
        """The contents of the checkpoints by input, as in `TrainData.inputs`."""
        return {each.name: each.state for each in self.held}

    @property
    def content(self) -> dict[str, str]:
        """The hashes of the checkpoints, which are part of the run's identity."""
        return {f"{INPUT_PREFIX}{each.name}": each.sha256 for each in self.held}

    @property
    def tags(self) -> dict[str, str]:
        """The hashes of the checkpoints and the runs that left them, for the audit of leaks."""
        return self.content | {f"{INPUT_RUN_PREFIX}{each.name}": each.run for each in self.held}

    @property
    def said(self) -> list[str]:
        """The sentences that are printed about the inputs."""
        return [f"learner.{each.name}: checkpoint {each.sha256[:12]} of {each.address}" for each in self.held]


NONE = RunInputs()
"""The inputs of a run that needs no other run."""


@contextmanager
def naming_input(name: str, asked: str) -> Iterator[None]:
    """Add the field and its value to errors that are raised inside this context; trouble of the machine is not changed."""
    try:
        yield
    except MachineTrouble:  # the storage had trouble, so the run can be tried again
        raise
    except HyperdermError as error:
        raise StudyError(f"learner.{name} = {asked}: {error.what}", error.remedy) from error


def given_inputs(addresses: Mapping[str, str], experiment: Experiment, store: Store) -> RunInputs:
    """Return checkpoints whose addresses are known and whose runs have ended, after proving that each fits.

    Args:
        addresses: addresses of the checkpoints, by input of the learner.
        experiment: the run that needs the inputs.
        store: the store that this run reads.

    Raises:
        HyperdermError: a checkpoint cannot be read, or does not fit.
    """
    found = []
    for name, address in addresses.items():
        with naming_input(name, address):
            state, digest = read_input(name, address, experiment, store)
            found.append(RunInput(name, address, digest, state))
    return RunInputs(tuple(found))


def read_input(name: str, address: Path | str, experiment: Experiment, store: Store) -> tuple[Mapping[str, Any], str]:
    """Return the content of a checkpoint, proven to fit and with all the diagnoses it has seen, and the hash of its file."""
    state, digest = read_checkpoint(address)
    check_fits(name, state, experiment, store.manifest)
    try:
        Scaling.from_state(state["scaling"])
    except (KeyError, TypeError, ValueError) as error:
        raise StudyError("it holds no scaling of reflectance", "Name another run.") from error
    return {**state, "seen": seen_of(state, store)}, digest


def seen_of(state: Mapping[str, Any], store: Store) -> list[str]:
    """Return the diagnoses of train that a checkpoint's run and its inputs have seen.

    An earlier version did not save them; then they follow from the configuration and the store.

    Args:
        state: content of the checkpoint.
        store: the store on which the run was trained.
    """
    if "seen" in state:
        return list(state["seen"])
    data = experiment_of(state).data
    if data.diagnoses != "all":
        return sorted(data.diagnoses)
    return sorted(store.kinds(store.select("train", data.fold, "all")))


def check_fits(name: str, state: Mapping[str, Any], experiment: Experiment, manifest: Manifest) -> None:
    """Prove that a checkpoint may be the input `name` of `experiment`: of the same store, fold, size and kind.

    Args:
        name: one of `LearnerConfig.inputs`.
        state: content of the checkpoint.
        experiment: the run that needs the input.
        manifest: manifest of the store that this run reads.

    Raises:
        ConfigError, StoreError, StudyError: the checkpoint does not fit; the message names the misfit and the remedy.
    """
    trained = experiment_of(state)
    origin, fold = state["provenance"], fold_said(manifest, experiment)
    was, read_fold = str(origin.get(MANIFEST_TAG, "")), str(origin.get(FOLD_TAG, "(unknown)"))
    if read_fold == FOLD_FREE != fold:
        raise StudyError(
            "it is fold-free: it has seen pixels of every lesion of its store, also of those that a fold holds back",
            "Name a run that was trained on a store with folds.",
        )
    if was != manifest.fingerprint:
        raise StoreError(
            f"it was trained on store {was[:12] or '(unknown)'}, this run reads {manifest.fingerprint[:12]}",
            "Name a run of this store, or give the store it was trained on.",
        )
    if read_fold != fold:
        raise StudyError(
            f"it was trained for fold {read_fold}, this run is of fold {fold}, whose test role it has seen",
            f"Train one for this fold (--set data.fold={fold}), and name that.",
        )
    if trained.data.size != experiment.data.size:
        raise StudyError(
            f"it was trained on {trained.data.size} pixels, this run on {experiment.data.size}",
            f"Use --set data.size={trained.data.size}, or name another run.",
        )
    if experiment.learner.scaled_as == name:
        _check_scaling(trained, experiment)
    experiment.learner.check_input(name, trained.learner, trained, experiment)


def _check_scaling(trained: Experiment, experiment: Experiment) -> None:
    """Refuse settings of the scaling that would have no effect, because the scaling of the input is kept."""
    for field in ("scaling", "percentiles"):
        was, asked = (json.loads(each.data.model_dump_json())[field] for each in (trained, experiment))
        if was != asked:
            raise StudyError(
                f"its data.{field} is {was}, here it is {asked}: its scaling is kept, so that its networks mean the same",
                f"Use --set data.{field}={json.dumps(was) if isinstance(was, list) else was}, or name another run.",
            )


def experiment_of(state: Mapping[str, Any]) -> Experiment:
    """Return the configuration of the run that left a checkpoint.

    Raises:
        StudyError: the checkpoint is of a learner, or of networks, that this version no longer has.
    """
    try:
        return read(json.loads(state["experiment"]))
    except RemovedSetting as error:
        raise StudyError(f"it is of an earlier version of hyperderm: {error.what}", error.remedy) from error
    except (AttributeError, ConfigError, TypeError, ValueError) as error:
        raise StudyError(
            f"it is not of this version of hyperderm ({error})", "Train it anew, or name another run."
        ) from error
