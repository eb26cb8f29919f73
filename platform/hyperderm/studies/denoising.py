"""Cubes without noise: an autoencoder's reconstruction beside a Savitzky-Golay filter and a projection on principal axes.

On the phantom the noise-free cube can be drawn, so all are scored against it. Elsewhere no truth is known.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import savgol_filter

from hyperderm.cubes.diagnosis import DIAGNOSES
from hyperderm.phantom.rendering import PHANTOM_VERSION, noise_free, render
from hyperderm.studies.scenes import Cubes, Frame, Scenes, sample
from hyperderm.studies.segmentation import picture_levels, reconstruction_error, shown_matrix
from hyperderm.studies.spectral_coding import Coding, Told, Training, check_latent, trained_here
from hyperderm.unmixing.pixels import principal

INPUT, NET, FILTER, AXES = "as measured", "spectral autoencoder", "Savitzky-Golay", "principal components"
METHODS = (NET, FILTER, AXES)
SHOWN = 4
"""The most scenes that are shown."""
EXAMPLES = 6
"""Number of pixels whose spectra are shown, evenly from the scenes that are shown."""
SHARE, NARROWEST, WIDEST, ORDER = 0.1, 5, 15, 2
"""Window of the Savitzky-Golay filter: a tenth of the bands, from 5 to 15, odd, with a polynomial of degree 2."""

Keep = Callable[[Frame, Cubes], None]
"""A function that is given every scene and its reconstruction (H, W, B), to keep it."""


@dataclass(frozen=True, eq=False)
class Request:
    """How scenes are freed of noise; the fields are those of `segmentation.Request`."""

    scenes: Scenes
    training: Training = field(default_factory=Training)
    coding: Coding | None = None
    provenance: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Score:
    """The distance of one cube from another, over pixels that are finite in both.

    Attributes:
        rmse: root mean square over pixels and bands, in the units of the cube.
        psnr: 20 log10(largest value of the truth / rmse) in dB; NaN where the other cube is no truth.
        angle: mean spectral angle over pixels (rad).
    """

    rmse: float
    psnr: float
    angle: float


@dataclass(frozen=True, eq=False)
class Denoised:
    """One scene: `scores` are against the truth if `known`, else against the cube as measured, which is then left out."""

    name: str
    diagnosis: str
    role: str
    masked: int
    known: bool
    scores: Mapping[str, Score]


@dataclass(frozen=True, eq=False)
class Shown:
    """A scene as it is shown: linear colours (H, W, 3) by method, spectra (n, B) at `pixels` (n, 2), and maps of the error.

    Attributes:
        name, diagnosis: see `scenes.Frame`.
        levels: method to colours; the truth under `TRUTH`, if it is known.
        errors: method to (H, W) root mean square over bands of its difference from the truth, or else from the input.
        pixels: rows and columns.
        spectra: method to spectra at these pixels.
    """

    name: str
    diagnosis: str
    levels: Mapping[str, NDArray[np.float32]]
    errors: Mapping[str, NDArray[np.float32]]
    pixels: NDArray[np.intp]
    spectra: Mapping[str, Cubes]


TRUTH = "without noise"


@dataclass(frozen=True, eq=False)
class Denoising:
    """All scenes, and what was done to them.

    Attributes:
        request: how it was done.
        coding: the autoencoder.
        window: number of bands of the Savitzky-Golay filter.
        drawn: number of pixels that were drawn, and of those that are only scored.
        masked: number of pixels with NaN or infinite values, and of all.
        scenes: one row a scene.
        shown: scenes to look at.
        coloured: whether `Shown.levels` are colours.
    """

    request: Request
    coding: Coding
    window: int
    drawn: tuple[int, int]
    masked: tuple[int, int]
    scenes: tuple[Denoised, ...]
    shown: tuple[Shown, ...]
    coloured: bool

    @property
    def known(self) -> bool:
        """Whether the truth of at least one scene is known."""
        return any(one.known for one in self.scenes)

    @property
    def scored(self) -> tuple[str, ...]:
        """The methods that have a score: with a truth also the cube as it was measured."""
        return (INPUT, *METHODS) if self.known else METHODS

    def median(self, method: str, name: str, role: str | None = None) -> float:
        """Return the median of a score (`rmse`, `psnr` or `angle`) over scenes; NaN if there is none.

        Args:
            method: one of `scored`.
            name: the field of `Score`.
            role: train or validation alone; None: all.
        """
        of = [one for one in self.scenes if one.known == self.known and role in (None, one.role)]
        values = [value for one in of if np.isfinite(value := getattr(one.scores[method], name))]
        return float(np.median(values)) if values else float("nan")


def denoise(request: Request, checkpoint: Path, keep: Keep, told: Told = lambda text: None) -> Denoising:
    """Free scenes of noise in three ways.

    Args:
        request: the scenes and the settings.
        checkpoint: where an autoencoder that is trained here is left.
        keep: is given every scene's reconstruction by the autoencoder.
        told: is told what is done.

    Raises:
        ConfigError, StoreError: see `segmentation.segment`.
    """
    scenes = request.scenes
    if request.coding is None:
        check_latent(request.training.latent, scenes)
    told("reading pixels")
    drawn = sample(scenes, request.training.seed)
    coding = request.coding or trained_here(scenes, drawn, request.training, request.provenance, checkpoint, told)
    axes = principal(drawn.spectra[~drawn.held].astype(np.float64), min(coding.latent, scenes.shape[2]))
    matrix, coloured = shown_matrix(scenes)
    names, window = list(scenes.roles), filter_window(scenes.shape[2])
    count = min(SHOWN, len(names))
    wanted = {names[(2 * k + 1) * len(names) // (2 * count)] for k in range(count)}
    rows, shown = list[Denoised](), list[Shown]()
    for number, frame in enumerate(scenes.frames()):
        told(f"scene {number + 1} of {len(names)}")
        made = {
            NET: coding.rebuild(frame.cube),
            FILTER: filtered(frame.cube, window),
            AXES: projected(frame.cube, *axes),
        }
        truth = truth_of(frame) if scenes.phantom else None
        rows.append(_row(frame, made, truth))
        if frame.name in wanted:
            rng = np.random.default_rng([request.training.seed, *frame.name.encode()])
            shown.append(_shown(frame, made, truth, matrix, -(-EXAMPLES // count), rng))
        keep(frame, made[NET])
    sizes, masked = (len(drawn.spectra), int(drawn.held.sum())), (drawn.masked, drawn.total)
    return Denoising(request, coding, window, sizes, masked, tuple(rows), tuple(shown), coloured)


def filter_window(bands: int) -> int:
    """Return the number of bands of the Savitzky-Golay window: odd, and no more than there are."""
    wanted = int(np.clip(2 * (round(SHARE * bands) // 2) + 1, NARROWEST, WIDEST))
    return min(wanted, bands - 1 + bands % 2)


def filtered(cube: Cubes, window: int) -> Cubes:
    """Return a cube (H, W, B) filtered along its bands (Savitzky, Golay 1964), ends by their polynomial; masked: NaN."""
    found = np.full(cube.shape, np.nan, np.float32)
    for row, spectra in enumerate(cube):
        usable = np.isfinite(spectra).all(1)
        if usable.any():
            values = spectra[usable].astype(np.float64)
            found[row, usable] = savgol_filter(values, window, min(ORDER, window - 1), axis=-1, mode="interp")
    return found


def projected(cube: Cubes, mean: NDArray[np.float64], directions: NDArray[np.float64]) -> Cubes:
    """Return a cube (H, W, B) projected on the mean (B,) and the directions (k, B) of principal components, row by row."""
    found = np.empty(cube.shape, np.float32)
    for row, spectra in enumerate(cube):
        found[row] = (spectra.astype(np.float64) - mean) @ directions.T @ directions + mean
    return found


def truth_of(frame: Frame) -> Cubes | None:
    """Return the noise-free cube of a lesion of the phantom; None unless the phantom draws exactly this cube again."""
    origin, size = frame.origin, frame.cube.shape[0]
    seed, index = origin.get("seed"), origin.get("index")
    if origin.get("phantom") != PHANTOM_VERSION or not isinstance(seed, int) or not isinstance(index, int):
        return None
    if frame.diagnosis not in DIAGNOSES:
        return None
    again = render(index, frame.diagnosis, size, seed).lesion.cube.reflectance
    if again.shape != frame.cube.shape or not np.array_equal(again, frame.cube):
        return None
    return noise_free(index, frame.diagnosis, size, seed)


def score(cube: Cubes, other: Cubes, truth: bool) -> Score:
    """Return the distance of a cube from another, which is the truth or the cube as measured."""
    rmse, angle = reconstruction_error(cube, other)
    peak = float(np.nanmax(np.where(np.isfinite(other), other, np.nan))) if np.isfinite(other).any() else 0.0
    psnr = 20 * float(np.log10(peak / rmse)) if truth and rmse > 0 and peak > 0 else float("nan")
    return Score(rmse, psnr, angle)


def _row(frame: Frame, made: Mapping[str, Cubes], truth: Cubes | None) -> Denoised:
    masked = int((~np.isfinite(frame.cube).all(2)).sum())
    measured = {} if truth is None else {INPUT: frame.cube}
    against = frame.cube if truth is None else truth
    scores = {name: score(cube, against, truth is not None) for name, cube in {**measured, **made}.items()}
    return Denoised(frame.name, frame.diagnosis, frame.role, masked, truth is not None, scores)


def _shown(
    frame: Frame,
    made: Mapping[str, Cubes],
    truth: Cubes | None,
    matrix: NDArray[np.float32],
    count: int,
    rng: np.random.Generator,
) -> Shown:
    cubes = {INPUT: frame.cube, **made, **({} if truth is None else {TRUTH: truth})}
    against = frame.cube if truth is None else truth
    usable = np.argwhere(np.isfinite(frame.cube).all(2))
    pixels = usable[rng.permutation(len(usable))[:count]]
    return Shown(
        frame.name,
        frame.diagnosis,
        {name: picture_levels(cube, matrix) for name, cube in cubes.items()},
        {
            name: np.sqrt(np.square(cube - against).mean(2))
            for name, cube in cubes.items()
            if name != TRUTH and (truth is not None or name != INPUT)
        },
        pixels,
        {name: cube[pixels[:, 0], pixels[:, 1]] for name, cube in cubes.items()},
    )
