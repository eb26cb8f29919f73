"""Divide the pixels of a cube or a store into clusters, or free them of noise; write the report, and record it in MLflow."""

import hashlib
import math
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hyperderm.errors import ConfigError, StudyError
from hyperderm.store.manifest import FOLD_FREE
from hyperderm.tags import DENOISING, FOLD_TAG, INPUT_PREFIX, INPUT_RUN_PREFIX, MANIFEST_TAG, SEGMENTATION
from hyperderm.workflows.find_store import find_store
from hyperderm.workflows.workspace import Workspace

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hyperderm.ingest.formats.scene import ReadOptions
    from hyperderm.studies.denoising import Denoising
    from hyperderm.studies.scenes import Scenes
    from hyperderm.studies.segmentation import Segmentation
    from hyperderm.studies.spectral_coding import Coding, Training
    from hyperderm.workflows.recorded_run import RecordedRun

LATENT, WEIGHT = 8, 0.5
STEPS = {SEGMENTATION: 1_000, DENOISING: 3_000}
"""Updates of a network that is trained here: clusters need less than a reconstruction that is to beat noise."""
FEWEST = 2


@dataclass(frozen=True)
class Source:
    """The scenes of a command, and how they are read.

    Attributes:
        given: a file of a cube, a folder of one, or the URI of a store; None: `data`, or the default phantom.
        data: a folder of raw files, which is ingested once.
        fold: of a store with folds: its train role is learnt from; None: 0.
        options: how a file is read that does not say all; None: as it says.
    """

    given: str | None = None
    data: Path | None = None
    fold: int | None = None
    options: "ReadOptions | None" = None


@dataclass(frozen=True)
class Network:
    """The autoencoder of a command.

    Attributes:
        run: a run of `train autoencoder`, a report of an earlier command, or a checkpoint; None: it is trained here.
        latent: numbers of a latent vector, of one that is trained here; None: 8.
        resample: length to which spectra are interpolated for it; None: as they are.
        steps: updates, of one that is trained here; None: see `STEPS`.
        seed: of the sample of pixels, the network, the clusters and the pixels that are shown.
    """

    run: str | None = None
    latent: int | None = None
    resample: int | None = None
    steps: int | None = None
    seed: int = 0


def segment(
    source: Source,
    *,
    clusters: int,
    weight: float = WEIGHT,
    network: Network = Network(),
    as_masks: bool = False,
    reference: Path | None = None,
    out: Path | None = None,
    runs: Path | None = None,
) -> "Segmentation":
    """Divide pixels into clusters of their latent vectors, beside k-means and mixtures of the pixels; page, files, MLflow.

    Args:
        source: the cube or the store.
        clusters: K, 2 or more.
        weight: how far the place of a pixel counts, 0 or more (`clustering.cluster`).
        network: the autoencoder.
        as_masks: whether lesion masks are made of the clusters, beside Otsu's, and scored where masks are drawn.
        reference: an npy file of the known classes (H, W) of a single cube, negative where unknown, or a MATLAB file of its
            known abundances, of which the largest is a pixel's class (`ingest.formats.known_mixture`).
        out: the folder of the report, which must not exist; None: a folder below that of runs, where the new report replaces
            an older one.
        runs: where runs are kept; None: `runs/` of the project.

    Raises:
        HyperdermError: an error that the user can correct. No report is written then.
    """
    if clusters < FEWEST:
        raise ConfigError(f"--clusters {clusters}: a scene is divided into at least {FEWEST}", f"Ask for {FEWEST} or more.")
    if not (weight >= 0 and math.isfinite(weight)):
        raise ConfigError(f"--weight {weight}", "Give 0 (place does not count) or more.")
    workspace = Workspace.here()
    _check(network, out)
    scenes = _scenes(workspace, source)
    from hyperderm.reports.segmentation.sections import answer
    from hyperderm.reports.segmentation.write import write_segmentation
    from hyperderm.studies.segmentation import Request, check
    from hyperderm.studies.segmentation import segment as divide
    from hyperderm.training.run_folder import PAGE

    classes = None if reference is None else _classes(reference, scenes.shape)
    coding = _named(workspace, network.run, workspace.runs(runs), scenes)
    call = _call(workspace, scenes, "segment", out, runs)
    training, provenance = _training(network, SEGMENTATION), {"run": call.key, **_provenance(scenes)}
    request = Request(scenes, clusters, weight, training, coding, as_masks, classes, provenance)
    check(request)
    params = {"clusters": clusters, "weight": weight, "as_masks": as_masks, **_params(network, training, scenes)}
    with _recorded(call, SEGMENTATION, params) as (recorded, told):
        found, files = write_segmentation(
            call.out, request, lambda checkpoint, keep: divide(request, checkpoint, keep, told), recorded.facts
        )
        _record(recorded, found.coding, found.medians() | _numbers(found), files)
    workspace.say(answer(found), f"report: {call.out / PAGE}")
    return found


def denoise(
    source: Source,
    *,
    network: Network = Network(),
    out: Path | None = None,
    runs: Path | None = None,
) -> "Denoising":
    """Free a cube or the lesions of a store of noise with an autoencoder, beside two classical ways; page, files, MLflow.

    Args:
        source, network, out, runs: see `segment`.

    Raises:
        HyperdermError: an error that the user can correct. No report is written then.
    """
    workspace = Workspace.here()
    _check(network, out)
    scenes = _scenes(workspace, source)
    from hyperderm.reports.denoising.sections import answer
    from hyperderm.reports.denoising.write import write_denoising
    from hyperderm.studies.denoising import METHODS, Request
    from hyperderm.studies.denoising import denoise as clean
    from hyperderm.studies.spectral_coding import check_latent
    from hyperderm.training.run_folder import PAGE

    coding = _named(workspace, network.run, workspace.runs(runs), scenes)
    call = _call(workspace, scenes, "denoise", out, runs)
    training = _training(network, DENOISING)
    if coding is None:
        check_latent(training.latent, scenes)
    request = Request(scenes, training, coding, {"run": call.key, **_provenance(scenes)})
    with _recorded(call, DENOISING, _params(network, training, scenes)) as (recorded, told):
        found, files = write_denoising(
            call.out, request, lambda checkpoint, keep: clean(request, checkpoint, keep, told), recorded.facts
        )
        scores = {f"{m}/{name}": found.median(m, name) for m in METHODS for name in ("rmse", "angle")}
        _record(recorded, found.coding, {name.replace(" ", "_"): value for name, value in scores.items()}, files)
    workspace.say(answer(found), f"report: {call.out / PAGE}")
    return found


@dataclass(frozen=True)
class _Call:
    workspace: Workspace
    scenes: "Scenes"
    folder: Path
    key: str
    out: Path


def _call(workspace: Workspace, scenes: "Scenes", verb: str, out: Path | None, runs: Path | None) -> _Call:
    from hyperderm.reports.report_folder import check_free, check_writable
    from hyperderm.tags import plain
    from hyperderm.training.run_folder import REPORT

    name = plain(scenes.name)
    if not scenes.tags:  # two cubes may have one name
        name += f"-{hashlib.sha256(str(Path(scenes.address).resolve()).encode()).hexdigest()[:6]}"
    folder = workspace.runs(runs) / f"{verb}-{name}"
    place = out or folder / REPORT
    check_free(place)
    check_writable(place)
    return _Call(workspace, scenes, folder, f"{folder.name}/{uuid.uuid4().hex[:8]}", place)


@contextmanager
def _recorded(
    call: _Call, stage: str, params: Mapping[str, object]
) -> Iterator[tuple["RecordedRun", Callable[[str], None]]]:
    from hyperderm.workflows.recorded_run import recorded_run

    run = recorded_run(call.workspace, stage, call.folder, call.key, call.scenes.tags, params)
    with run as recorded, call.workspace.console.status("reading") as line:
        yield recorded, line.update


def _record(recorded: "RecordedRun", coding: "Coding", metrics: Mapping[str, float], files: list[Path]) -> None:
    """Record numbers, the loss curves, the run that the network came from, and the files."""
    for step, scores in coding.curves:
        recorded.tracker.log_metrics(recorded.key, dict(scores), step)
    if coding.uses:
        key, digest = coding.uses
        if key:  # a network of a cube in a file has seen no store
            tags = {f"{INPUT_PREFIX}network": digest, f"{INPUT_RUN_PREFIX}network": key}
            recorded.tracker.set_tags(recorded.key, tags)
    recorded.log({name: value for name, value in metrics.items() if math.isfinite(value)}, files)


def _numbers(found: "Segmentation") -> dict[str, float]:
    from hyperderm.studies.segmentation import LATENT as OURS
    from hyperderm.studies.segmentation import MASKS

    said = {"masked_pixels": float(found.masked[0]), "ari_with_kmeans_l2": found.rand(OURS, "k-means, L2")}
    if found.agreements:
        said |= {"accuracy": found.agreements[OURS].accuracy, "ari": found.agreements[OURS].ari}
    if found.scored:
        said |= {f"dice/{way.replace(' ', '_').replace(',', '')}": float(found.dices(way).mean()) for way in MASKS}
    return said


def _check(network: Network, out: Path | None) -> None:
    if network.seed < 0:
        raise ConfigError(f"--seed {network.seed}", "Give 0 or more.")
    if network.steps is not None and network.steps < 1:
        raise ConfigError(f"--steps {network.steps}", "Give 1 or more.")
    if network.resample is not None and not 2 <= network.resample <= 4096:
        raise ConfigError(f"--resample {network.resample}", "Give a length from 2 to 4096, such as 512.")
    if network.latent is not None and network.latent < 1:
        raise ConfigError(f"--latent {network.latent}", "Give 1 or more.")
    if network.run and (network.latent, network.resample, network.steps) != (None, None, None):
        raise ConfigError(
            "--run is given beside --latent, --resample or --steps", "Give --run without them: the run says all of them."
        )
    if out is not None and out.exists():
        raise StudyError(f"--out {out}: something is already there", "Choose another folder, or remove it first.")


def _scenes(workspace: Workspace, source: Source) -> "Scenes":
    """Open the cube or the store that a user names: an existing file or a folder without a manifest is a cube."""
    from hyperderm.ingest.formats.scene import ReadOptions
    from hyperderm.store.manifest import MANIFEST
    from hyperderm.studies.scenes import of_file, of_store

    path = None if source.given is None or "://" in source.given else Path(source.given)
    if path is not None and (path.exists() or path.suffix) and not (path / MANIFEST).exists():
        if source.fold is not None or source.data is not None:
            raise ConfigError(f"{path} is a cube, which has no folds and needs no --data", "Leave out --fold and --data.")
        workspace.say(f"cube {path}")
        return of_file(path, source.options or ReadOptions())
    if source.options is not None:
        raise ConfigError(
            "--wavelengths, --rows, --key and --axes say how a file is read, and a store is given", "Leave them out."
        )
    opened = find_store(workspace, source.given, source.data)
    if opened.manifest.folds is None and source.fold is not None:
        raise ConfigError(f"--fold {source.fold}: this store has no folds", "Leave it out.")
    return of_store(opened, None if opened.manifest.folds is None else source.fold or 0)


def _training(network: Network, stage: str) -> "Training":
    from hyperderm.studies.spectral_coding import Training

    return Training(network.latent or LATENT, network.resample, network.steps or STEPS[stage], network.seed)


def _named(workspace: Workspace, run: str | None, runs: Path, scenes: "Scenes") -> "Coding | None":
    """Return the autoencoder that a user names: by its file, a report with its network, or a run."""
    if run is None:
        return None
    from hyperderm.studies.named_runs import SUFFIX, checkpoint_of_run
    from hyperderm.studies.spectral_coding import CHECKPOINT, of_checkpoint
    from hyperderm.training.run_folder import REPORT

    if run.endswith(SUFFIX):
        return of_checkpoint(run, scenes, f"checkpoint {run}")
    for folder in (Path(run), Path(run) / REPORT, runs / run / REPORT):
        if (folder / CHECKPOINT).is_file():
            return of_checkpoint(folder / CHECKPOINT, scenes, f"the network of {folder}")
    path, name = checkpoint_of_run(run, runs)
    workspace.say(f"checkpoint of {name}: {path}")
    return of_checkpoint(path, scenes, name)


def _classes(path: Path, shape: tuple[int, int, int]) -> "NDArray[np.integer]":
    import numpy as np

    if path.suffix.lower() == ".mat":
        from hyperderm.ingest.formats.known_mixture import read_known_mixture

        return read_known_mixture(path, shape[0], shape[1]).classes
    try:
        classes = np.load(path, allow_pickle=False)
    except OSError as error:
        raise ConfigError(f"--reference {path}: {error.strerror}", "Give an .npy file of integers.") from None
    except ValueError:  # numpy would advise to open it as a pickle
        raise ConfigError(f"--reference {path} is no .npy file of numbers", "Give an .npy file of integers.") from None
    if not isinstance(classes, np.ndarray) or classes.ndim != 2 or not np.issubdtype(classes.dtype, np.integer):
        raise ConfigError(f"--reference {path} holds no integers (height, width)", "Give one class a pixel, -1: unknown.")
    return classes


def _provenance(scenes: "Scenes") -> dict[str, str]:
    return scenes.tags or {FOLD_TAG: FOLD_FREE}


def _params(network: Network, training: "Training", scenes: "Scenes") -> dict[str, object]:
    made = {"run": network.run} if network.run else {"latent": training.latent, "steps": training.steps}
    resampled = {"resample": training.resample} if training.resample else {}
    fold = {"fold": scenes.tags[FOLD_TAG]} if MANIFEST_TAG in scenes.tags else {"cube": scenes.address}
    return {**made, **resampled, "seed": training.seed, **fold}
