"""Register the model of a run in MLflow's registry."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyperderm.errors import StudyError
from hyperderm.tags import COMMIT_TAG, FOLD_TAG, LEARNER_TAG, MANIFEST_TAG
from hyperderm.workflows.find_store import source_of
from hyperderm.workflows.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hyperderm.tracking.model_registry import Registered


def register(
    run: str, name: str, *, alias: str | None = None, source_store: str | None = None, runs: Path | None = None
) -> "Registered":
    """Make a version of the registered model `name` from the best checkpoint of a run, and return it.

    Args:
        run: a run, a sweep (its best trial), or a trial of one (`sweep/3`), by name or path.
        name: the name of the registered model; its first version makes it.
        alias: an alias for this version, such as `champion`; another version may lose it.
        source_store: the store that the run was trained on, if it was moved since; only generators from photographs read it.
        runs: where runs are kept; None: `runs/` of the project.

    Raises:
        HyperdermError: an error that the user can correct. Nothing is left behind.
    """
    from hyperderm.tracking.model_registry import check_model_name

    check_model_name(name, alias)
    workspace = Workspace.here()
    from hyperderm.studies.named_runs import checkpoint_of_run

    place, said = checkpoint_of_run(run, workspace.runs(runs))
    made = _register(workspace, place, said, name, alias, source_store)
    gone = f", which was version {made.replaced} before" if made.replaced else ""
    workspace.say(
        f"version {made.version} of {made.name}: {said}, {made.size / 2**20:.1f} MiB",
        *([f"alias {made.alias}{gone}"] if made.alias else []),
        f'load it: mlflow.pyfunc.load_model("{made.uri}")',
    )
    return made


def _register(
    workspace: Workspace, place: Path | str, said: str, name: str, alias: str | None, source_store: str | None
) -> "Registered":
    from hyperderm.reports.model_card import model_card, purpose
    from hyperderm.store.run_location import content_of
    from hyperderm.tracking.model_registry import ModelToRegister
    from hyperderm.tracking.model_registry import register as register_model
    from hyperderm.tracking.provenance import provenance
    from hyperderm.training.named_checkpoints import opened, read_checkpoint
    from hyperderm.training.served_models import facts_of, needs_store, served

    state, digest = read_checkpoint(place)
    key = _key(state, place)
    facts = facts_of(state, digest, source_of(state, source_store, "generator") if needs_store(state) else None)
    model = served(state, facts)
    content = content_of(*opened(place))
    assert content is not None
    origin = state["provenance"]
    return register_model(
        workspace.tracking_uri,
        ModelToRegister(
            name=name,
            alias=alias,
            key=key,
            said=said,
            model=model,
            checkpoint=content,
            facts=facts.to_json(),
            sha256=digest,
            purpose=purpose(model),
            describe=lambda uri: model_card(model, state, digest, said, uri),
            tags={
                LEARNER_TAG: model.run.learner.kind,
                MANIFEST_TAG: str(origin[MANIFEST_TAG]),
                FOLD_TAG: str(origin[FOLD_TAG]),
                COMMIT_TAG: provenance(workspace.root)[COMMIT_TAG],
            },
        ),
    )


def _key(state: "Mapping[str, Any]", place: Path | str) -> str:
    """Return the key of the run or trial that left a checkpoint, by which MLflow knows it."""
    origin = state["provenance"]
    for name, what in {"run": "run", MANIFEST_TAG: "store", FOLD_TAG: "fold"}.items():
        if not origin.get(name):
            raise StudyError(f"the checkpoint {place} does not say which {what} it is of", "Train it anew.")
    return str(origin["run"])
