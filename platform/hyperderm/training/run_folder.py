"""The folder of a sweep, a grid or a single run: its files, its identity, and the lock of its driver."""

import json
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypedDict

from hyperderm.durable import is_room, write_whole
from hyperderm.errors import HyperdermError, StudyError
from hyperderm.identity import present
from hyperderm.registry import check_name
from hyperderm.strict import differences, json_of
from hyperderm.training.holder import LOCK, acquire_lock

STUDY, PLAN, CONFIG = "study.db", "plan.json", "config.json"
"""The files of a sweep's Optuna study, of what a grid was asked, and of a configuration among the artefacts of a run."""
RESULT, PREDICTIONS, SAMPLES = "result.json", "predictions.parquet", "samples.npy"
OVER_TRAINING, REBUILT = "over_training.npz", "rebuilt.npy"
"""The files that a job leaves: its result, its predictions of the test role, and the cubes on which it was scored."""
IDENTITY = "identity.json"
TRIALS = "trials"
EVENT_LOG = "outbox.db"  # the name of earlier versions, so that their runs go on
CLOSED = ".closed"
"""The file that marks the folder of a sweep or a grid once its summary is in the event log of tracking."""
REPORT, PAGE, ANALYSIS = "report", "report.html", "analysis.json"
"""The folder of a grid's report, the page in it, and the file of its numbers."""


class Shown(TypedDict):
    """What a cell's training showed.

    Attributes:
        real: number of real lesions of the train role.
        real_melanomas: number of melanomas among them.
        synthetic_held: number of synthetic cubes that training may draw.
        images: number of cubes that were shown in all.
    """

    real: int
    real_melanomas: int
    synthetic_held: int
    images: int


class Result(TypedDict, total=False):
    """The fields of a job's `result.json`; a result of an earlier version may lack some.

    Attributes:
        key, stage, label, fold, arm, model, seed, workers: those of the job.
        began, ended: times in UTC.
        seconds: time that all processes together spent.
        metrics: the finite metrics of the last report.
        code: the commit of the code.
        device: the GPU, or "cpu".
        outputs: name of a file that the job left to its sha256.
        checkpoint: of a generator, the sha256 of its best state.
        latest: of a generator, the sha256 of its last state.
        train_lesions: of a generator, the number of lesions of its train role.
        inputs: of a generator that begins from other runs, input to the sha256 of its checkpoint.
        origin: of a set, `Manifest.source`.
        fingerprint: of a set, that of its store.
        judgement: of a cell, the metrics of its decision rule on the validation role.
        best_images: of a cell, number of images seen at its best state.
        chosen_at: of a cell, when checkpoint, calibration and threshold were chosen.
        test_opened: of a cell, which test role was opened and when (`store.manifest.Opening`).
        train: of a cell, what its training showed.
        feed: of a cell, how the train role was fed (`training.resume.feed_of`).
        weights_sha256: of a cell, the file of weights from which its network began; "" for none.
        test: of a cell, its metrics on the test role.
        shortcut: of a cell with synthetic cubes, how sure it is of real and of synthetic ones (`shortcut.probabilities`).
        judge: of a judge, how well it tells synthetic melanomas from real ones (`shortcut.judged`).
    """

    key: str
    stage: str
    label: str
    fold: int
    arm: str
    model: str
    seed: int
    workers: int
    began: str
    ended: str
    seconds: float
    metrics: dict[str, float]
    code: str
    device: str
    outputs: dict[str, str]
    checkpoint: str
    latest: str
    train_lesions: int
    inputs: dict[str, str]
    origin: dict[str, Any]
    fingerprint: str
    judgement: Mapping[str, float]
    best_images: int
    chosen_at: str
    test_opened: dict[str, Any]
    train: Shown
    feed: str
    weights_sha256: str
    test: dict[str, float]
    shortcut: dict[str, dict[str, float]]
    judge: dict[str, float | None]


@contextmanager
def claim(folder: Path, mine: Mapping[str, Any], grows: bool = False) -> Iterator[str]:
    """Hold the folder for this driver and yield the folder's unique key; the first driver saves the identity.

    Args:
        folder: the folder of the run.
        mine: the identity of this run, flat.
        grows: whether new fields of `mine` are added to the saved identity; then only fields in both must be equal.

    Raises:
        StudyError: another driver holds the folder, the folder belongs to another configuration (the message lists the
            differences), or it holds files that are no run.
    """
    created = not folder.exists()
    if not created and not (folder / IDENTITY).exists() and any(not _of_a_start(path.name) for path in folder.iterdir()):
        raise StudyError(f"{folder} holds files that are no run", "Choose another --name or --runs.")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+") as lock:
        acquire_lock(lock, folder.name)
        try:
            yield _check_identity(folder, json.loads(json.dumps(mine)), grows)
        except HyperdermError:
            if created and not (folder / TRIALS).exists() and not (folder / EVENT_LOG).exists():
                shutil.rmtree(folder)  # nothing was recorded yet, so the name stays free
            raise


def run_folder(runs: Path, name: str | None, default: str) -> Path:
    """Return the folder of the run called `name`, or the folder called `default` if `name` is not given.

    Raises:
        StudyError: `check_name` refuses the name.
    """
    check_name(name)
    return runs.absolute() / (name or default)


def same_run(runs: Path, start: str, mine: Mapping[str, Any]) -> Path | None:
    """Return a folder below `runs` with the identity `mine` and a name that begins with `start`, or None.

    A field that the version which wrote the identity did not know counts as having its default value.
    """
    wanted = json.loads(json.dumps(mine))
    for path in sorted(runs.glob(f"{start}*/{IDENTITY}")):
        with suppress(StudyError):
            was = present(known_identity(path)["identity"])
            if {k: v for k, v in was.items() if k in wanted} == wanted:
                return path.parent
    return None


def trial_folder(sweep: Path, number: int) -> Path:
    """Return the folder of a trial's checkpoints and samples."""
    return sweep / TRIALS / f"{number:04d}"


def _check_identity(folder: Path, mine: dict[str, Any], grows: bool) -> str:
    path = folder / IDENTITY
    key = f"{folder.name}-{uuid.uuid4().hex[:12]}"
    if known := _known(path):
        was, key = {**{k: "" for k in ("storage",) if k in mine}, **present(known["identity"])}, str(known["key"])
        check_same(folder, was, mine, grows)
        mine = was | mine
        if mine == known["identity"]:
            return key
    write_whole(path, json.dumps({"key": key, "identity": mine}, indent=1, sort_keys=True))
    return key


def check_same(folder: Path, was: Mapping[str, Any], mine: Mapping[str, Any], grows: bool = False) -> None:
    """Refuse a configuration that differs from that which `folder` stands for.

    Args:
        folder: the folder of the run.
        was: the identity that it was begun with, flat.
        mine: the identity of this run, as JSON values.
        grows: whether only fields in both must be equal.

    Raises:
        StudyError: they differ; the message lists the differences.
    """
    both = set(was) & set(mine) if grows else set(was) | set(mine)
    changed = differences(*({k: _said(k, v) for k, v in each.items() if k in both} for each in (was, mine)))
    if changed:
        raise StudyError(
            f"{folder.name} exists with another configuration: {'; '.join(changed)}",
            "Give the new one a name of its own: --name NAME (make: NAME=…).",
        )


def known_identity(path: Path) -> dict[str, Any]:
    """Return the content of an identity file: `key` and `identity`.

    Raises:
        StudyError: the file is damaged.
    """
    try:
        known = json_of(path.read_text(encoding="utf-8"))
        if isinstance(known["identity"], dict) and known["key"]:
            return dict(known)
        reason = "a field is missing"
    except (ValueError, KeyError, TypeError) as error:
        reason = str(error) if path.stat().st_size else "it is empty"
    raise StudyError(
        f"{path} is damaged ({reason}): nobody can tell any more which configuration {path.parent.name} stands for",
        f"Restore it from a backup, or give this run a name of its own: --name NAME (make: NAME=…). What lies in "
        f"{path.parent} stays, and its checkpoints can be used by their paths.",
    )


def _known(path: Path) -> dict[str, Any] | None:
    """Return the content of an identity file; None if it is missing, or if it is damaged and nothing else was recorded."""
    if not path.exists():
        return None
    try:
        return known_identity(path)
    except StudyError:
        if all(_of_a_start(each.name) or each.name == IDENTITY for each in path.parent.iterdir()):
            return None
        raise


def _of_a_start(name: str) -> bool:
    """Return whether a file may have been left by a driver that was killed before it saved an identity."""
    return name in (LOCK, "identity.partial") or is_room(name)


def _said(field: str, value: Any) -> Any:  # noqa: ANN401 - whatever JSON holds
    return value or "(the run's folder)" if field == "storage" else value
