"""Registered models: a trained generator or classifier as a version of a model in MLflow's registry.

A version is made whole or not at all: whatever was made before an error is removed again.
"""

import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import hyperderm
from hyperderm.errors import TrackingError
from hyperderm.strict import fingerprint
from hyperderm.tags import BANDS_TAG, CHECKPOINT_TAG, KEY_TAG, ROLE_TAG
from hyperderm.tracking.database import sqlite_path
from hyperderm.tracking.delivery import of_this_machine
from hyperderm.tracking.fetch import check_there
from hyperderm.tracking.requests import first_line, is_permanent
from hyperderm.tracking.server import START_ONE, quiet_client, redacted
from hyperderm.training.served_models import CHECKPOINT, FACTS, ServedClassifier, ServedModel

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.models import ModelSignature

LOADER = ("mlflow-skinny", "pandas")
"""The packages by which a model is loaded: MLflow without its server, and what it imports for any model."""
NAME = re.compile(r"(?!\.)[^/:'\"`\\\x00-\x1f\x7f]{1,250}")
ALIAS = re.compile(r"[A-Za-z0-9_-]{1,250}")
CODE = Path(__file__).with_name("model_code.py")


@dataclass(frozen=True)
class ModelToRegister:
    """What becomes a version of a registered model.

    Attributes:
        name: the name of the registered model.
        alias: an alias that this version gets, such as `champion`; None: none.
        key: the key of the run that trained the learner.
        said: what the run is called, for messages.
        model: the trained learner.
        checkpoint: the content of its checkpoint's file.
        facts: its `ModelFacts` as JSON.
        sha256: the sha256 of the checkpoint's file.
        purpose: one line on the registered model.
        describe: returns Markdown on this version, given the address by which it is loaded.
        tags: further tags of this version.
    """

    name: str
    alias: str | None
    key: str
    said: str
    model: ServedModel
    checkpoint: bytes
    facts: str
    sha256: str
    purpose: str
    describe: Callable[[str], str]
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Registered:
    """A version of a registered model.

    Attributes:
        name: the name of the registered model.
        version: the number of the version, from 1.
        alias: the alias that the version has got; None: none.
        replaced: the version that had this alias before; None: none.
        run_id: MLflow's id of the run that trained it.
        size: bytes of the model's folder.
    """

    name: str
    version: int
    alias: str | None
    replaced: int | None
    run_id: str
    size: int

    @property
    def uri(self) -> str:
        """The address by which `mlflow.pyfunc.load_model` loads it."""
        return address(self.name, self.alias, self.version)


def address(name: str, alias: str | None, number: int) -> str:
    """Return the address of version `number` of a registered model: by its alias, if it has one."""
    return f"models:/{name}@{alias}" if alias else f"models:/{name}/{number}"


def check_model_name(name: str, alias: str | None) -> None:
    """Prove that MLflow accepts both names.

    Raises:
        TrackingError: it does not; the message names the letters that it takes.
    """
    if not NAME.fullmatch(name) or name.strip() != name:
        raise TrackingError(
            f"--name {name!r} is no name of a model", "Use 1 to 250 letters, digits, _ and -; no / and no :."
        )
    if alias is None:
        return
    if not ALIAS.fullmatch(alias):
        raise TrackingError(f"--alias {alias!r} is no alias", "Use letters, digits, _ and -, such as champion.")
    if alias.lower() == "latest" or re.fullmatch(r"[vV]\d+", alias):
        raise TrackingError(f"--alias {alias!r} is reserved: MLflow gives it itself", "Use another, such as champion.")


def register(uri: str, wanted: ModelToRegister) -> Registered:
    """Make a version of a registered model, logged to the run that trained it.

    Args:
        uri: `http(s)://…` or `sqlite:///…`.
        wanted: what to register.

    Raises:
        TrackingError: the server does not answer or refuses, does not know the run, or holds a model of this name that is
            another one; or this checkpoint is registered under this name already. Nothing is left behind.
    """
    check_model_name(wanted.name, wanted.alias)
    check_there(uri)
    with _telling(uri), TemporaryDirectory(prefix="hyperderm-model-") as folder, ExitStack() as undo:
        from mlflow import MlflowClient
        from mlflow.entities import LoggedModelOutput

        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        run = _run(client, uri, wanted)
        known = _known(client, wanted)
        place = Path(folder) / "model"
        model_id = _logged(client, run, wanted, place, undo)
        if not known:
            tags = {ROLE_TAG: wanted.model.role, BANDS_TAG: bands_said(wanted.model)}
            client.create_registered_model(wanted.name, tags=tags, description=wanted.purpose)
            undo.callback(client.delete_registered_model, wanted.name)
        made = _version(client, uri, run, wanted, model_id, undo)
        replaced = _named(client, wanted.name, wanted.alias, made, undo) if wanted.alias else None
        client.log_outputs(run.info.run_id, [LoggedModelOutput(model_id, step=0)])
        undo.pop_all()
        size = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
    return Registered(wanted.name, made, wanted.alias, replaced, run.info.run_id, size)


def bands_said(model: ServedModel) -> str:
    """Return the bands of a model's cubes in words, with a hash of all their wavelengths."""
    bands = model.wavelengths_nm
    return f"{len(bands)} bands, {bands[0]:g} … {bands[-1]:g} nm ({fingerprint(list(bands))[:8]})"


def requirements(model: ServedModel) -> list[str]:
    """Return what must be installed where the model is loaded, in the versions of this process, one `name==version` each.

    These are the versions of `requirements.lock` in an environment that `make setup` made.
    """
    return [f"{name}=={version(name).partition('+')[0]}" for name in sorted({*LOADER, *model.packages})]


@contextmanager
def _telling(uri: str) -> Iterator[None]:
    """Turn any error of MLflow into a TrackingError that names the address without its password."""
    quiet_client()
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, OSError) as error:
        if of_this_machine(error):  # such as a full disk: the sentence on it is another one
            raise
        reason = first_line(error).replace(uri, redacted(uri))
        remedy = "Give another --name, or look at the log of the server" if is_permanent(error) else START_ONE
        raise TrackingError(f"MLflow at {redacted(uri)} does not register the model ({reason})", remedy) from error


def _run(client: "MlflowClient", uri: str, wanted: ModelToRegister) -> "Run":
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    found = client.search_runs(experiments, f'tags.`{KEY_TAG}` = "{wanted.key}"')
    runs = [run for run in found if run.data.tags.get(KEY_TAG) == wanted.key]  # MySQL compares without case
    if not runs:
        raise TrackingError(
            f"MLflow at {redacted(uri)} does not know the run that trained {wanted.said} (key {wanted.key})",
            "Set MLFLOW_TRACKING_URI to the server that tracked it, or repeat the command that trained it: it delivers what "
            "is still undelivered.",
        )
    return min(runs, key=lambda run: (run.info.start_time, run.info.run_id))


def _known(client: "MlflowClient", wanted: ModelToRegister) -> bool:
    """Return whether there is a registered model of this name, after proving that a further version fits it.

    Raises:
        TrackingError: it holds models of another role or other bands, or this very checkpoint.
    """
    found = [model for model in client.search_registered_models(f"name='{wanted.name}'") if model.name == wanted.name]
    if not found:
        return False
    another, tags = "Give another --name.", found[0].tags
    if ROLE_TAG not in tags:
        raise TrackingError(f"--name {wanted.name}: a model of this name is not of hyperderm", another)
    for tag, mine in ((ROLE_TAG, f"{wanted.model.role}"), (BANDS_TAG, bands_said(wanted.model))):
        if tags.get(tag) != mine:
            raise TrackingError(
                f"--name {wanted.name}: its versions are of {tags.get(tag)}, {wanted.said} is of {mine}", another
            )
    for each in _versions(client, wanted.name):
        if each.tags.get(CHECKPOINT_TAG) == wanted.sha256:
            said = f"version {each.version} of {wanted.name}"
            alias = f"models:/{wanted.name}/{each.version}"
            raise TrackingError(
                f"{wanted.said} is registered already: its checkpoint {wanted.sha256[:12]} is {said}",
                f"Load it as {alias}; MLflow's page of the model gives it an alias.",
            )
    return True


def _versions(client: "MlflowClient", name: str) -> Iterator[Any]:
    token: str | None = None
    while True:
        page = client.search_model_versions(f"name='{name}'", page_token=token)
        yield from (each for each in page if each.name == name)
        if not (token := page.token):
            return


def _logged(client: "MlflowClient", run: "Run", wanted: ModelToRegister, place: Path, undo: ExitStack) -> str:
    """Save the model in `place` and log it to its run; return the id of the logged model."""
    from mlflow.entities import LoggedModelStatus

    tags = {CHECKPOINT_TAG: wanted.sha256, **wanted.tags}
    made = client.create_logged_model(
        run.info.experiment_id,
        name=_plain(wanted.name),
        source_run_id=run.info.run_id,
        tags=tags,
        model_type=wanted.model.role,
    )
    undo.callback(client.delete_logged_model, made.model_id)
    _save(wanted, place, run.info.run_id, made.model_id)
    client.log_model_artifacts(made.model_id, str(place))
    client.finalize_logged_model(made.model_id, LoggedModelStatus.READY)
    return str(made.model_id)


def _save(wanted: ModelToRegister, place: Path, run_id: str, model_id: str) -> None:
    """Write the folder of the model: code, checkpoint, facts, signature, example, requirements, metadata."""
    from mlflow.models import Model
    from mlflow.pyfunc import save_model

    files = place.with_name("files")
    files.mkdir()
    (files / CHECKPOINT).write_bytes(wanted.checkpoint)
    (files / FACTS).write_text(wanted.facts, encoding="utf-8")
    save_model(
        path=str(place),
        python_model=str(CODE),
        artifacts={name: str(files / name) for name in (CHECKPOINT, FACTS)},
        code_paths=[str(Path(hyperderm.__file__).parent)],
        signature=_signature(wanted.model),
        input_example=wanted.model.example,
        pip_requirements=requirements(wanted.model),
        metadata={**wanted.model.described, "checkpoint": wanted.sha256},
        mlflow_model=Model(run_id=run_id, model_id=model_id),
    )
    for cache in place.rglob("__pycache__"):
        shutil.rmtree(cache)


def _signature(model: ServedModel) -> "ModelSignature":
    """Return the form of inputs and outputs.

    Sizes of cubes are left open here, because MLflow refuses another shape without a remedy; `ServedClassifier` names one.
    Photographs are of any type, because MLflow looks at each row of pixels of a typed image.
    """
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec
    from mlflow.types.schema import AnyType

    cubes = TensorSpec(np.dtype(np.float32), (-1, -1, -1, -1))
    if isinstance(model, ServedClassifier):
        return ModelSignature(Schema([cubes]), Schema([TensorSpec(np.dtype(np.float64), (-1,))]))
    asked = [
        ColSpec("long", "count"),
        ColSpec("long", "seed", required=False),
        ColSpec("string", "diagnosis", required=len(model.diagnoses) > 1),
    ]
    rgb = [ColSpec(AnyType(), "rgb")] if "rgb" in model.described else []  # type: ignore[no-untyped-call]
    return ModelSignature(Schema([*asked, *rgb]), Schema([cubes]))


def _version(client: "MlflowClient", uri: str, run: "Run", wanted: ModelToRegister, model_id: str, undo: ExitStack) -> int:
    """Make the version and return its number."""
    here = sqlite_path(uri) is not None  # the store of a file looks `models:/` up in whatever database is the process's own
    source = client.get_logged_model(model_id).artifact_location if here else f"models:/{model_id}"
    made = client.create_model_version(
        wanted.name,
        source,
        run.info.run_id,
        tags={CHECKPOINT_TAG: wanted.sha256, **wanted.tags},
        model_id=model_id,
    )
    undo.callback(client.delete_model_version, wanted.name, made.version)
    said = wanted.describe(address(wanted.name, None, int(made.version)))  # its number: an alias may move on
    client.update_model_version(wanted.name, made.version, said)
    return int(made.version)


def _named(client: "MlflowClient", name: str, alias: str, made: int, undo: ExitStack) -> int | None:
    """Give version `made` its alias, and return the version that had it before."""
    before = client.get_registered_model(name).aliases.get(alias)
    if before:
        undo.callback(client.set_registered_model_alias, name, alias, before)
    client.set_registered_model_alias(name, alias, str(made))
    return int(before) if before else None


def _plain(name: str) -> str:
    """Return the name in the letters that logged models take."""
    return re.sub(r"[^\w-]+", "_", name)
