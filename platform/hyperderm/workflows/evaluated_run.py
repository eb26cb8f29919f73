"""The synthetic set of a run that is to be evaluated: found where an earlier evaluation left it, or generated."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyperderm.errors import StudyError
from hyperderm.workflows.workspace import Workspace

if TYPE_CHECKING:
    from hyperderm.store.reader import Store

LAST = "last"
"""In place of the name of a run: the sweep below the folder of runs that was written to last."""
COUNT = 100
"""Number of cubes that are generated, or fewer if the generator has sources for fewer."""


@dataclass(frozen=True)
class RunSet:
    """The stores of an evaluation of a run.

    Attributes:
        real: URI of the store on which its generator was trained.
        synthetic: URI of the synthetic set of its best checkpoint.
    """

    real: str
    synthetic: str


def set_of_run(workspace: Workspace, run: str, runs: Path, count: int, real: str | None, fold: int | None = None) -> RunSet:
    """Return the stores of a run's best checkpoint; its set is generated unless it is there from an earlier evaluation.

    The set is in `stores/evaluate-…` of the project and holds melanomas if the generator learnt them.

    Args:
        workspace: the project.
        run: the name or path of a run or sweep, or `LAST`.
        runs: where runs are kept.
        count: number of cubes.
        real: the store that the generator was trained on, if it was moved since.
        fold: the fold that the user names; None: that of the run.

    Raises:
        StudyError: there is no such run, it has no checkpoint yet, or it is of another fold; or see `workflows.generate`.
    """
    from hyperderm.store.location import locate
    from hyperderm.store.manifest import MANIFEST
    from hyperderm.store.reader import open_store
    from hyperderm.studies.named_runs import checkpoint_of_run
    from hyperderm.tags import STORE_TAG
    from hyperderm.training.named_checkpoints import fold_of, read_checkpoint
    from hyperderm.workflows.run_generation import generate

    path, said = checkpoint_of_run(last_sweep(runs) if run == LAST else run, runs)
    state, digest = read_checkpoint(path)
    store = open_store(real or str(state["provenance"].get(STORE_TAG, "")))
    if fold not in (None, fold_of(state, store)):
        raise StudyError(f"--fold {fold}: {said} was trained for fold {fold_of(state, store)}", "Leave --fold out.")
    diagnosis, most = _asked(state, store)
    number = min(count, most)
    uri = str(workspace.root / "stores" / f"evaluate-{digest[:8]}-{diagnosis}-{number}")
    workspace.say(f"evaluating {said}")
    if locate(uri).exists(MANIFEST):
        workspace.say(f"its synthetic set is there from an earlier evaluation: {uri}")
    else:
        generate(uri, {diagnosis: number}, checkpoint=str(path), source_store=store.location.uri)
    return RunSet(store.location.uri, uri)


def last_sweep(runs: Path) -> str:
    """Return the name of the sweep below `runs` whose study was written to last.

    Raises:
        StudyError: there is no sweep.
    """
    from hyperderm.training.run_folder import STUDY

    studies = sorted(runs.glob(f"*/{STUDY}"), key=lambda study: (study.stat().st_mtime, str(study)))
    if not studies:
        raise StudyError(
            f"{runs} holds no sweep", "Run one first: make sweep-shsgan. Or name a run: RUN=name, or --run NAME."
        )
    return studies[-1].parent.name


def _asked(state: Mapping[str, Any], store: "Store") -> tuple[str, int]:
    """Return the diagnosis to generate, and the largest number of different cubes that its sources give."""
    from hyperderm.learners.spec import SOURCED
    from hyperderm.metrics.orientation import ORIENTATIONS
    from hyperderm.store.folds import POSITIVE
    from hyperderm.training.inputs import experiment_of
    from hyperderm.training.named_checkpoints import fold_of

    experiment = experiment_of(state)
    learnt = store.manifest.diagnoses if experiment.data.diagnoses == "all" else experiment.data.diagnoses
    diagnosis = POSITIVE if POSITIVE in learnt else next(iter(learnt))
    if experiment.learner.condition not in SOURCED:
        return diagnosis, sys.maxsize
    return diagnosis, ORIENTATIONS * len(store.select("train", fold_of(state, store), [diagnosis]))
