"""The spectral autoencoder of a command: trained on pixels of its scenes, or by an earlier run and applied again."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray

from hyperderm.config import Experiment, TrainingConfig
from hyperderm.cubes.bands import SAME_NM
from hyperderm.errors import ConfigError, StoreError, StudyError
from hyperderm.identity import read
from hyperderm.learners import kinds, learner_of
from hyperderm.learners.base import PixelCoder
from hyperderm.learners.data import CubeSet, TrainData
from hyperderm.learners.scaling import Scaling
from hyperderm.learners.spec import Role
from hyperderm.store.manifest import FOLD_FREE
from hyperderm.studies.scenes import Cubes, Sample, Scenes
from hyperderm.tags import FOLD_TAG, MANIFEST_TAG
from hyperderm.training.checkpoint import BEST
from hyperderm.training.context import local
from hyperderm.training.named_checkpoints import read_checkpoint
from hyperderm.training.run import run

CHECKPOINT = "autoencoder.pt"
"""The name of the network among the files of a report; `--run` takes it."""
ROLE: Role = "segmenter"
"""The role of the learners that make a pixel's spectrum a few numbers and back."""
AT_ONCE = 16_384
"""Number of pixels that are coded together."""
STEPS = 1_000
PIXELS = 256
"""Spectra of every step."""
VALIDATIONS = 25
"""Number of points of the loss curves."""

Told = Callable[[str], None]


@dataclass(frozen=True)
class Training:
    """How an autoencoder is trained here.

    Attributes:
        latent: Z, numbers of a latent vector.
        resample: length to which spectra are interpolated for the network; None: as they are.
        steps: number of updates, each by `PIXELS` spectra.
        seed: of weights and draws.
    """

    latent: int = 8
    resample: int | None = None
    steps: int = STEPS
    seed: int = 0

    def experiment(self) -> Experiment:
        """Return the same as the configuration of a run; a batch is one cube, which holds all pixels that were drawn."""
        (kind,) = kinds(ROLE)
        segmenter = learner_of(kind)
        assert segmenter is not None
        return Experiment(
            name=kind,
            profile="small",
            seed=self.seed,
            learner=segmenter.for_pixels(self.latent, self.resample, PIXELS),
            training=TrainingConfig(
                batch_size=1, images=self.steps, validate_every=max(1, self.steps // VALIDATIONS), precision="fp32"
            ),
        )


@dataclass(frozen=True, eq=False)
class Coding:
    """A trained autoencoder.

    Attributes:
        coder: its network.
        curves: number of updates and scores of every validation; empty if an earlier run trained it.
        made: what trained it, in words.
        uses: the key of the run that trained it and the sha256 of its checkpoint; None if it was trained here.
    """

    coder: PixelCoder
    curves: tuple[tuple[int, Mapping[str, float]], ...]
    made: str
    uses: tuple[str, str] | None = None

    @property
    def latent(self) -> int:
        """Z, the number of values of a latent vector."""
        return self.coder.latent

    def encode(self, cube: Cubes) -> NDArray[np.float32]:
        """Return the latent vectors (H, W, Z) of a cube (H, W, B); NaN where a pixel is not finite."""
        return self._each(cube, self.latent, self.coder.encode)

    def rebuild(self, cube: Cubes) -> Cubes:
        """Return the reconstruction (H, W, B) of a cube; NaN where a pixel is not finite."""
        return self._each(cube, cube.shape[2], self.coder.rebuild)

    def _each(self, cube: Cubes, width: int, make: Callable[[torch.Tensor], torch.Tensor]) -> NDArray[np.float32]:
        pixels = cube.reshape(-1, cube.shape[2])
        found = np.full((len(pixels), width), np.nan, np.float32)
        for start in range(0, len(pixels), AT_ONCE):
            part = np.asarray(pixels[start : start + AT_ONCE], dtype=np.float32)
            usable = np.isfinite(part).all(1)
            if usable.any():
                found[start : start + AT_ONCE][usable] = make(torch.from_numpy(part[usable])).numpy()
        return found.reshape(*cube.shape[:2], width)


def check_latent(latent: int, scenes: Scenes) -> None:
    """Refuse more latent numbers than bands.

    Raises:
        ConfigError: there are fewer bands, or the number is below 1.
    """
    bands = scenes.shape[2]
    if not 1 <= latent <= bands:
        raise ConfigError(f"--latent {latent}: a pixel has {bands} bands", f"Give 1 to {bands}.")


def trained_here(
    scenes: Scenes, drawn: Sample, training: Training, provenance: Mapping[str, str], checkpoint: Path, told: Told
) -> Coding:
    """Train an autoencoder on pixels of scenes, and leave its best state in a file.

    Args:
        scenes: the scenes.
        drawn: pixels of them; those that are held out are scored and never learnt from.
        training: the settings.
        provenance: facts that the checkpoint holds.
        checkpoint: the file that is written.
        told: is told how far it is.

    Raises:
        ConfigError: the pixels cannot be normalised. NonFiniteLoss: training diverged.
    """
    check_latent(training.latent, scenes)
    experiment, data = training.experiment(), _data(drawn, scenes.bands)
    curves: list[tuple[int, Mapping[str, float]]] = []
    with TemporaryDirectory() as folder, _one_thread():
        for report in run(experiment, data, local(Path(folder), provenance)):
            curves.append((report.images, dict(report.metrics)))
            told(f"training the autoencoder: step {report.images} of {training.steps}")
        content = (Path(folder) / BEST).read_bytes()
    checkpoint.write_bytes(content)
    state, _ = read_checkpoint(checkpoint)
    coder = experiment.learner.load_coder(state)
    taken = int(state["images"])
    said = f"trained here for {training.steps} steps of {PIXELS} spectra; the state of step {taken} scored best and is used"
    return Coding(coder, tuple(curves), said)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one thread: on a few hundred spectra, threads that wait for each other on busy cores take far longer."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def of_checkpoint(path: Path | str, scenes: Scenes, name: str) -> Coding:
    """Return the autoencoder of a checkpoint, after proving that it fits the scenes.

    Raises:
        StudyError: the file cannot be read, is of another learner, or was trained on other bands.
        StoreError: it was trained on another fold of the store that the scenes come from.
    """
    state, digest = read_checkpoint(path)
    experiment = read(json.loads(state["experiment"]))
    if experiment.learner.role != ROLE:
        raise StudyError(
            f"{name} trained learner.kind = {experiment.learner.kind} (role {experiment.learner.role}), which has no latent "
            "space of pixels",
            f"Name a run of `hyperderm train autoencoder`, or the {CHECKPOINT} of an earlier segmentation.",
        )
    bands = [float(nm) for nm in state.get("wavelengths_nm", ())]
    if len(bands) != len(scenes.bands):
        what = f"the autoencoder of {name} reads {len(bands)} bands, {scenes.address} has {len(scenes.bands)}"
        raise StudyError(what, "Give a cube of the same bands, or leave out --run.")
    apart = np.abs(np.array(bands) - np.array(scenes.bands))
    if apart.max() > SAME_NM:
        at = int(np.flatnonzero(apart > SAME_NM)[0])
        raise StudyError(
            f"the autoencoder of {name} was trained on other bands: band {at + 1} is {bands[at]:g} there and "
            f"{scenes.bands[at]:g} in {scenes.address}",
            "Give a cube of the same wavelengths (--wavelengths, if a file does not say them), or leave out --run.",
        )
    try:
        coder = experiment.learner.load_coder(state)
    except (KeyError, RuntimeError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise StudyError(f"the checkpoint of {name} does not fit this version ({reason})", "Train it anew.") from error
    if not coder.finite():
        raise StudyError(f"the weights of {name} are NaN or infinite: its training diverged", "Train it anew.")
    origin = state["provenance"]
    _check_fold(origin, scenes, name)
    key = str(origin.get("run", "")) if origin.get(MANIFEST_TAG) else ""
    where = f"store {origin[MANIFEST_TAG][:12]}, fold {origin.get(FOLD_TAG, FOLD_FREE)}" if key else "a cube in a file"
    made = f"{name}, trained on {where}, after {state.get('images', 0)} images; checkpoint {digest[:12]}"
    return Coding(coder, (), made, (key, digest))


def _check_fold(origin: Mapping[str, str], scenes: Scenes, name: str) -> None:
    """Refuse a network that has learnt from lesions which the fold of the scenes holds back, or calls validation."""
    mine, fold = scenes.tags.get(MANIFEST_TAG), origin.get(FOLD_TAG)
    if mine is not None and origin.get(MANIFEST_TAG) == mine and fold != scenes.tags[FOLD_TAG]:
        what = (
            f"the autoencoder of {name} was trained on fold {fold} of this store, fold {scenes.tags[FOLD_TAG]} is asked for"
        )
        raise StoreError(what, f"Give --fold {fold}.")


def _data(drawn: Sample, bands: tuple[float, ...]) -> TrainData:
    """Return the drawn pixels as one cube, a column of pixels: (1, B, n, 1)."""
    spectra = torch.from_numpy(drawn.spectra)
    pixels = spectra.T.contiguous()[None, :, :, None]
    cube = CubeSet(("pixels",), ("unknown",), pixels, torch.zeros(1, len(spectra), 1, dtype=torch.bool))
    held = torch.from_numpy(drawn.held)[None, :, None]
    return TrainData(cube, cube, bands, Scaling.fit(spectra[~held[0, :, 0]][:, :, None, None], None), held_out=held)
