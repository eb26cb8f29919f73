"""Divide the pixels of scenes into clusters of their latent vectors, beside k-means and mixtures of the pixels themselves.

The scenes are read twice: first for a sample of their pixels, then one by one. Nothing grows with their number but a few
numbers of each.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from hyperderm.cubes.pseudo_rgb import pseudo_rgb_matrix
from hyperderm.errors import ConfigError, CubeError
from hyperderm.metrics.spectra import mean_angle
from hyperderm.segmentation.clustering import AT_ONCE, BASELINES, PIXEL_RIDGE, Division, divide, finite, fit_limit
from hyperderm.segmentation.latent_metric import LatentMetric
from hyperderm.segmentation.masks import cluster_mask, otsu_mask
from hyperderm.segmentation.scoring import Agreement, agreement, dice, rand_index
from hyperderm.studies.scenes import Cubes, Frame, Sample, Scenes, sample
from hyperderm.studies.spectral_coding import Coding, Told, Training, check_latent, trained_here

LATENT = "latent mixture"
"""The name of the segmentation that this module is about, beside those of `BASELINES`."""
SHOWN = 12
"""The most scenes whose label maps are shown."""
EXAMPLES = 9
"""The most pixels whose spectra are shown beside their reconstruction; each cluster has at least one."""
STORE_WIDE, ALONE, ALONE_L2, OTSU = (
    "clusters of all scenes",
    "clusters of each lesion",
    "k-means, L2, of each lesion",
    "Otsu",
)
MASKS = (STORE_WIDE, ALONE, ALONE_L2, OTSU)
"""Names of the ways in which a lesion mask is made without a drawn one."""

Labels = NDArray[np.int32]
Values = NDArray[np.float64]
Masks = Mapping[str, NDArray[np.bool_] | None]
"""Name of `MASKS` to a lesion mask (H, W); None where no lesion was found."""
Keep = Callable[[Frame, Labels, Cubes, Masks], None]
"""A function that is given every scene, its labels (H, W), its reconstruction (H, W, B) and its masks, to keep them."""


@dataclass(frozen=True, eq=False)
class Request:
    """How scenes are divided.

    Attributes:
        scenes: the scenes.
        count: K.
        weight: λ of `clustering.cluster`.
        training: how the autoencoder is trained, where `coding` is None; its seed counts in any case.
        coding: an autoencoder that an earlier run trained (`spectral_coding.of_checkpoint`).
        as_masks: whether lesion masks are made, and compared with drawn ones where there are any.
        reference: (H, W) integers, the known classes of the only scene, negative where unknown; None: not known.
        provenance: facts that a checkpoint holds.
    """

    scenes: Scenes
    count: int
    weight: float = 0.5
    training: Training = field(default_factory=Training)
    coding: Coding | None = None
    as_masks: bool = False
    reference: NDArray[np.integer] | None = None
    provenance: Mapping[str, str] = field(default_factory=dict)

    @property
    def seed(self) -> int:
        """The seed of the sample, the network and the clusters."""
        return self.training.seed


@dataclass(frozen=True, eq=False)
class SceneLabels:
    """What one scene was divided into.

    Attributes:
        name, diagnosis, role: see `Frame`.
        masked: number of its pixels with NaN or infinite values, which have no label.
        shares: (K,) shares of the clusters among its other pixels; NaN if there is none.
        rmse: root mean square of the difference from its reconstruction, in its units; NaN if all pixels are masked.
        angle: mean spectral angle (rad) between its pixels and their reconstructions; likewise.
        dice: name of `MASKS` to the Dice of that mask with the drawn one, None where no mask was found; empty if there is no
            drawn mask or none was asked for.
        unmasked: names of those of `MASKS` that found no lesion, if masks were asked for.
    """

    name: str
    diagnosis: str
    role: str
    masked: int
    shares: Values
    rmse: float
    angle: float
    dice: Mapping[str, float | None]
    unmasked: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Shown:
    """A scene as it is shown.

    Attributes:
        name, diagnosis: see `Frame`.
        levels: (H, W, 3) linear colours, or false ones.
        labels: method to (H, W) labels.
        drawn: (H, W) the hand-drawn mask; None without.
        masks: name of `MASKS` to mask, where masks were asked for and found.
        dice: see `SceneLabels`.
    """

    name: str
    diagnosis: str
    levels: NDArray[np.float32]
    labels: Mapping[str, Labels]
    drawn: NDArray[np.bool_] | None = None
    masks: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    dice: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Example:
    """A pixel of a scene: its row, column and cluster, its spectrum (B,) and the reconstruction of it."""

    name: str
    row: int
    column: int
    cluster: int
    spectrum: Cubes
    rebuilt: Cubes


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Scenes divided into clusters, numbered by their size among the fitted pixels.

    Attributes:
        request: how they were divided.
        coding: the autoencoder.
        drawn: number of pixels that were drawn, and of those that are only scored.
        fitted: number of pixels to which the latent mixture was fitted.
        sizes: (K,) number of pixels of each cluster.
        masked: number of pixels without a label, and of all.
        decoded: (K, B) spectra of the clusters' latent means, with the mean length of their pixels.
        means, spreads: (K, B) mean and standard deviation of the pixels of each cluster; NaN for an empty one.
        tables: pair of methods to the (K, K) numbers of pixels in each pair of their clusters.
        settled: method to whether its fit came to rest.
        agreements: method to its agreement with the reference; empty without.
        scenes: one row a scene.
        shown: scenes to look at.
        masks_shown: the best, a middle and the worst lesion by the Dice of `ALONE`; without a drawn mask three others.
        examples: pixels to look at.
        coloured: whether `Shown.levels` are colours.
    """

    request: Request
    coding: Coding
    drawn: tuple[int, int]
    fitted: int
    sizes: NDArray[np.int64]
    masked: tuple[int, int]
    decoded: Values
    means: Values
    spreads: Values
    tables: Mapping[tuple[str, str], NDArray[np.int64]]
    settled: Mapping[str, bool]
    agreements: Mapping[str, Agreement]
    scenes: tuple[SceneLabels, ...]
    shown: tuple[Shown, ...]
    masks_shown: tuple[Shown, ...]
    examples: tuple[Example, ...]
    coloured: bool

    @property
    def methods(self) -> tuple[str, ...]:
        """The names of all segmentations, the latent one first."""
        return (LATENT, *BASELINES)

    def rand(self, one: str, other: str) -> float:
        """Return the adjusted Rand index between the labels of two methods."""
        if one == other:
            return 1.0
        return rand_index(self.tables[(one, other) if (one, other) in self.tables else (other, one)])

    def renamed(self, method: str) -> NDArray[np.intp]:
        """Return the latent cluster (K,) that each cluster of a method resembles most, one to one; for colours."""
        if method == LATENT:
            return np.arange(self.request.count)
        rows, columns = linear_sum_assignment(self.tables[(LATENT, method)], maximize=True)
        found = np.empty(self.request.count, np.intp)
        found[columns] = rows
        return found

    def medians(self) -> dict[str, float]:
        """Return the medians over scenes of the error of reconstruction, and of validation alone where there is one."""
        found = {}
        for prefix, of in (("", self.scenes), ("validation_", [one for one in self.scenes if one.role == "validation"])):
            for name in ("rmse", "angle"):
                values = [value for one in of if np.isfinite(value := getattr(one, name))]
                if values:
                    found[prefix + name] = float(np.median(values))
        return found

    @property
    def scored(self) -> bool:
        """Whether any lesion mask was compared with a drawn one."""
        return any(one.dice for one in self.scenes)

    def dices(self, way: str) -> Values:
        """Return the Dice of one way to make masks, for every lesion with a drawn mask; 0 where no mask was found."""
        return np.array([one.dice[way] or 0.0 for one in self.scenes if one.dice])


def check(request: Request) -> None:
    """Refuse what can be refused before pixels are read.

    Raises:
        ConfigError: a reference is given for several scenes or of another shape, or there are more latent numbers than
            bands.
    """
    scenes = request.scenes
    if request.coding is None:
        check_latent(request.training.latent, scenes)
    if request.reference is not None:
        if not scenes.single:
            what = f"--reference for {len(scenes.roles)} scenes"
            raise ConfigError(what, "Give it with a single cube.")
        if request.reference.shape != scenes.shape[:2]:
            what = (
                f"--reference of shape {request.reference.shape} for a cube of {scenes.shape[0]} x {scenes.shape[1]} pixels"
            )
            raise ConfigError(what, "Give one class a pixel, (height, width).")


def segment(request: Request, checkpoint: Path, keep: Keep, told: Told = lambda text: None) -> Segmentation:
    """Divide scenes into clusters.

    Args:
        request: the scenes and the settings.
        checkpoint: where an autoencoder that is trained here is left.
        keep: is given every scene's labels and reconstruction, so that they need not stay in memory.
        told: is told what is done.

    Raises:
        ConfigError: the scenes cannot be divided so; the message names value and remedy. StoreError: a
            store cannot be read.
    """
    check(request)
    scenes = request.scenes
    told("reading pixels")
    drawn = sample(scenes, request.seed)
    divisions = {name: baseline(request, drawn, name) for name in BASELINES}  # first: they refuse what cannot be divided
    coding = request.coding or trained_here(scenes, drawn, request.training, request.provenance, checkpoint, told)
    told("fitting the mixture")
    where = drawn.fitting(fit_limit(coding.latent), request.seed, scenes.folded)
    latent = coding.coder.encode(torch.from_numpy(drawn.spectra[where]))
    metric = LatentMetric.fit(latent.numpy(), coding.coder.decode(latent).numpy())
    mixture = divide(
        metric.forward(latent.numpy()),
        drawn.place[where],
        request.count,
        request.seed,
        weight=request.weight,
        masked=drawn.masked,
    )
    reading = _Reading(request, coding, metric, {LATENT: mixture, **divisions}, keep)
    for number, frame in enumerate(scenes.frames()):
        told(f"labels of scene {number + 1} of {len(scenes.roles)}")
        reading.take(frame)
    return reading.result(drawn, where)


def baseline(request: Request, drawn: Sample, name: str) -> Division:
    """Fit one of `BASELINES` to drawn pixels."""
    method, change = BASELINES[name]
    where = drawn.fitting(fit_limit(request.scenes.shape[2]), request.seed, request.scenes.folded)
    spectra, place = drawn.spectra[where], drawn.place[where]
    return divide(spectra, place, request.count, request.seed, method, 0.0, PIXEL_RIDGE, change, drawn.masked)


class _Reading:
    """What is gathered while the scenes go by."""

    def __init__(
        self, request: Request, coding: Coding, metric: LatentMetric, divisions: dict[str, Division], keep: Keep
    ) -> None:
        self.request, self.coding, self.metric, self.divisions, self.keep = request, coding, metric, divisions, keep
        count, bands = request.count, request.scenes.shape[2]
        names = list(request.scenes.roles)
        shown = min(SHOWN, len(names))
        self.wanted = {names[(2 * k + 1) * len(names) // (2 * shown)] for k in range(shown)}
        self.matrix, self.coloured = shown_matrix(request.scenes)
        self.tables = {pair: np.zeros((count, count), np.int64) for pair in combinations(divisions, 2)}
        self.sums, self.squares = np.zeros((2, count, bands))
        self.lengths, self.sizes = np.zeros(count), np.zeros(count, np.int64)
        self.scenes: list[SceneLabels] = []
        self.shown: list[Shown] = []
        self.agreements: dict[str, Agreement] = {}

    def take(self, frame: Frame) -> None:
        features = self.metric.forward(self.coding.encode(frame.cube))
        labels = {LATENT: self.divisions[LATENT].label(features)}
        labels |= {name: self.divisions[name].label(frame.cube) for name in BASELINES}
        self._count(frame, labels)
        rebuilt = self.coding.rebuild(frame.cube)
        made = self._masks(frame, features, labels[LATENT]) if self.request.as_masks else {}
        drawn = frame.mask
        scored = {} if drawn is None else {way: None if m is None else dice(m, drawn) for way, m in made.items()}
        self._row(frame, labels[LATENT], rebuilt, scored, tuple(way for way, mask in made.items() if mask is None))
        if frame.name in self.wanted:
            levels = picture_levels(frame.cube, self.matrix)
            self.shown.append(Shown(frame.name, frame.diagnosis, levels, labels, frame.mask))
        if self.request.reference is not None:
            self.agreements = {name: agreement(each, self.request.reference) for name, each in labels.items()}
        self.keep(frame, labels[LATENT], rebuilt, made)

    def _count(self, frame: Frame, labels: Mapping[str, Labels]) -> None:
        count = self.request.count
        flat = {name: each.reshape(-1) for name, each in labels.items()}
        both = flat[LATENT] >= 0
        for (one, other), table in self.tables.items():
            pairs = flat[one][both].astype(np.int64) * count + flat[other][both]
            table += np.bincount(pairs, minlength=count * count).reshape(count, count)
        pixels = frame.cube.reshape(-1, frame.cube.shape[2])
        for start in range(0, len(pixels), AT_ONCE):
            part = flat[LATENT][start : start + AT_ONCE]
            spectra = pixels[start : start + AT_ONCE][part >= 0].astype(np.float64)
            member = part[part >= 0, None] == np.arange(count)
            self.sums += member.T.astype(np.float64) @ spectra
            self.squares += member.T.astype(np.float64) @ spectra**2
            self.lengths += member.T @ np.linalg.norm(spectra, axis=1)
            self.sizes += member.sum(0)

    def _row(
        self, frame: Frame, labels: Labels, rebuilt: Cubes, scored: Mapping[str, float | None], unmasked: tuple[str, ...]
    ) -> None:
        known = labels[labels >= 0]
        rmse, angle = reconstruction_error(rebuilt, frame.cube)
        shares = np.bincount(known, minlength=self.request.count) / len(known) if len(known) else None
        empty = np.full(self.request.count, np.nan)
        self.scenes.append(
            SceneLabels(
                frame.name,
                frame.diagnosis,
                frame.role,
                int(labels.size - len(known)),
                empty if shares is None else shares,
                rmse,
                angle,
                scored,
                unmasked,
            )
        )

    def _masks(self, frame: Frame, features: Values, labels: Labels) -> dict[str, NDArray[np.bool_] | None]:
        """Return the lesion masks of one lesion by `MASKS`; None where no lesion was found."""
        request, kmeans = self.request, BASELINES["k-means, L2"][1]

        def alone(values: NDArray[np.floating], change: Callable[..., NDArray[np.floating]] | None) -> Labels:
            pixels = values.reshape(-1, values.shape[2])
            usable = np.flatnonzero(finite(pixels))
            usable = usable[:: 1 + len(usable) // fit_limit(pixels.shape[1])]
            y, x = np.divmod(usable, values.shape[1])
            place = np.stack([x, y], 1) / np.maximum(np.array(values.shape[1::-1]) - 1, 1)
            if change is None:
                return divide(pixels[usable], place, request.count, request.seed, weight=request.weight).label(values)
            return divide(pixels[usable], place, request.count, request.seed, "kmeans", change=change).label(values)

        ways: dict[str, Callable[[], NDArray[np.bool_]]] = {
            STORE_WIDE: lambda: cluster_mask(labels).mask,
            ALONE: lambda: cluster_mask(alone(features, None)).mask,
            ALONE_L2: lambda: cluster_mask(alone(frame.cube, kmeans)).mask,
            OTSU: lambda: otsu_mask(frame.cube),
        }
        found: dict[str, NDArray[np.bool_] | None] = {}
        for name, make in ways.items():
            try:
                found[name] = make()
            except (CubeError, ConfigError):  # no lesion inside the frame, or pixels of fewer colours than clusters
                found[name] = None
        return found

    def result(self, drawn: Sample, where: NDArray[np.intp]) -> Segmentation:
        mixture, counts = self.divisions[LATENT], np.maximum(self.sizes, 1)[:, None]
        means = np.where(self.sizes[:, None] > 0, self.sums / counts, np.nan)
        spreads = np.sqrt(np.maximum(self.squares / counts - means**2, 0))
        latent = torch.from_numpy(self.metric.inverse(mixture.centres).astype(np.float32))
        decoded = self.coding.coder.decode(latent).numpy().astype(np.float64)
        if self.coding.coder.by_shape:
            decoded = decoded * (self.lengths[:, None] / counts)
        return Segmentation(
            self.request,
            self.coding,
            (len(drawn.spectra), int(drawn.held.sum())),
            len(where),
            self.sizes,
            (drawn.masked, drawn.total),
            decoded,
            means,
            spreads,
            self.tables,
            {name: division.converged for name, division in self.divisions.items()},
            self.agreements,
            tuple(self.scenes),
            tuple(self.shown),
            tuple(self._extremes()),
            tuple(self._examples(drawn, where)),
            self.coloured,
        )

    def _extremes(self) -> Iterator[Shown]:
        """Read the lesions of `Segmentation.masks_shown` again, and return them with all masks."""
        if not self.request.as_masks:
            return
        scored = sorted((one for one in self.scenes if one.dice), key=lambda one: one.dice[ALONE] or 0.0, reverse=True)
        scored = scored or self.scenes
        chosen = {one.name: one for one in (scored[0], scored[len(scored) // 2], scored[-1])}
        found = {}
        for frame in self.request.scenes.frames():
            if frame.name in chosen:
                features = self.metric.forward(self.coding.encode(frame.cube))
                labels = self.divisions[LATENT].label(features)
                masks = {way: mask for way, mask in self._masks(frame, features, labels).items() if mask is not None}
                levels = picture_levels(frame.cube, self.matrix)
                dices = chosen[frame.name].dice
                found[frame.name] = Shown(frame.name, frame.diagnosis, levels, {LATENT: labels}, frame.mask, masks, dices)
        yield from (found[name] for name in chosen)

    def _examples(self, drawn: Sample, where: NDArray[np.intp]) -> Iterator[Example]:
        labels, names = self.divisions[LATENT].labels, list(self.request.scenes.roles)
        order = np.random.default_rng([self.request.seed, 1]).permutation(len(where))
        each = max(1, EXAMPLES // self.request.count)
        for cluster in range(self.request.count):
            for at in order[labels[order] == cluster][:each]:
                row = where[at]
                spectrum = drawn.spectra[row]
                rebuilt = self.coding.coder.rebuild(torch.from_numpy(spectrum[None])).numpy()[0]
                y, x = divmod(int(drawn.pixel[row]), self.request.scenes.shape[1])
                yield Example(names[drawn.scene[row]], y, x, cluster, spectrum, rebuilt)


def reconstruction_error(rebuilt: Cubes, cube: Cubes) -> tuple[float, float]:
    """Return root mean square and mean spectral angle (rad) between cubes (H, W, B), over pixels that are finite in both."""
    a, b = (each.reshape(-1, cube.shape[2]) for each in (rebuilt, cube))
    total, angles, count = 0.0, 0.0, 0
    for start in range(0, len(a), AT_ONCE):
        x, y = (each[start : start + AT_ONCE].astype(np.float64) for each in (a, b))
        both = np.isfinite(x).all(1) & np.isfinite(y).all(1)
        if both.any():
            total += float(np.square(x[both] - y[both]).sum())
            angles += mean_angle(x[both], y[both]) * int(both.sum())
            count += int(both.sum())
    if not count:
        return float("nan"), float("nan")
    return float(np.sqrt(total / (count * cube.shape[2]))), angles / count


def shown_matrix(scenes: Scenes) -> tuple[NDArray[np.float32], bool]:
    """Return the matrix (3, B) to the colours in which scenes are shown, and whether these are colours as people see them.

    Where the bands give no colours, false ones are means of the last, the middle and the first third of the bands; two bands
    give grey.
    """
    bands = scenes.shape[2]
    if scenes.measured:
        try:
            return pseudo_rgb_matrix(scenes.bands).astype(np.float32), True
        except CubeError:
            pass
    if bands < 3:
        return np.full((3, bands), 1 / bands, np.float32), False
    thirds = np.array_split(np.arange(bands), 3)[::-1]
    return np.array([np.isin(np.arange(bands), part) / len(part) for part in thirds], np.float32), False


def picture_levels(cube: Cubes, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return linear levels (H, W, 3), row by row, because a scene may be large; missing values are black."""
    levels = np.empty((*cube.shape[:2], 3), np.float32)
    for row, spectra in enumerate(cube):
        levels[row] = np.nan_to_num(spectra, posinf=0, neginf=0) @ matrix.T
    return levels
