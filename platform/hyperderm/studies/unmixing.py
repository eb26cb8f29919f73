"""Unmix a store: endmembers from the pixels of train, then the abundances of every lesion that may be looked at.

The store is read twice, part by part: first a sample of train's pixels, then every lesion. The test role stays closed.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hyperderm.cubes.diagnosis import UNKNOWN
from hyperderm.cubes.pseudo_rgb import pseudo_rgb_matrix
from hyperderm.errors import ConfigError, CubeError, StoreError, StudyError
from hyperderm.identity import read
from hyperderm.ingest.formats.known_mixture import KnownMixture
from hyperderm.metrics.spectra import mean_angle
from hyperderm.store.manifest import FOLD_FREE
from hyperderm.store.reader import Store
from hyperderm.studies.known_unmixing import Compared, compared
from hyperderm.studies.photograph_unmixing import ColourNet, colour_net
from hyperderm.tags import FOLD_TAG, MANIFEST_TAG
from hyperderm.unmixing.dimension import SignalSubspace, hysime, knee
from hyperderm.unmixing.fcls import fcls
from hyperderm.unmixing.methods import reconstruction_errors, unmix
from hyperderm.unmixing.pixels import Spectra, candidates, finite_pixels, unit_length

MOST_PIXELS = 50_000
"""Largest number of pixels among which endmembers are sought; they are drawn evenly from the lesions of train."""
MOST_TRIED = 8
"""Largest number of endmembers that `auto` tries."""
MOST_FOR_AUTO = 20_000
"""Number of pixels on which `auto` compares numbers of endmembers."""
SHOWN = 12
"""The most lesions whose abundance maps are shown."""
FEWEST_FOR_KNEE = 3

NET = "net"
"""The method of endmembers that a trained unmixing net gives."""

Count = int | Literal["auto"]


@dataclass(frozen=True)
class Request:
    """How a store is unmixed.

    Attributes:
        store: the store, opened.
        method: one of `unmixing.methods.METHODS`, or `NET`.
        count: R, the number of endmembers, or "auto": the knee of the reconstruction error.
        fold: the fold whose train role gives the endmembers; None for a store without folds, all of whose pixels do.
        seed: of the sample of pixels and of the method.
        unit: whether every pixel is divided by its length first, so that brightness does not count.
        given: (R, B) the endmembers of a trained unmixing net, with `method` "net"; None: the method finds them.
        known: what the pixels of the store's only scene are known to be mixed of (`known_unmixing.known_of`), with which the
            result is compared; None: not known.
        colours: where the store holds photographs, the net that sees their colours and gives abundances itself.
    """

    store: Store
    method: str
    count: Count
    fold: int | None
    seed: int = 0
    unit: bool = False
    given: Spectra | None = None
    known: KnownMixture | None = None
    colours: ColourNet | None = None

    @property
    def nm(self) -> tuple[float, ...]:
        """(B,) the bands of the endmembers."""
        return tuple(self.store.manifest.wavelengths_nm) if self.colours is None else self.colours.bands

    def seen(self, endmembers: Spectra) -> Spectra:
        """Return endmembers (R, B) as pixels see them: in their bands, or in colours."""
        return endmembers if self.colours is None else endmembers @ self.colours.matrix.T

    def rows(self, cube: NDArray[Any], diagnosis: str) -> Spectra:
        """Return the pixels of a cube (H, W, B) as rows (H · W, B) that are unmixed; of a photograph its matched colours."""
        return self.values(cube) if self.colours is None else self.colours.colours(cube, diagnosis)

    def values(self, pixels: NDArray[Any]) -> Spectra:
        """Return pixels (..., B) as rows (N, B) in the units that are unmixed."""
        rows = np.asarray(pixels, dtype=np.float64).reshape(-1, pixels.shape[-1])
        return unit_length(rows) if self.unit else rows


@dataclass(frozen=True, eq=False)
class Choice:
    """How the number of endmembers was chosen.

    Attributes:
        count: R.
        errors: number of endmembers to reconstruction error; empty where R was asked for.
        subspace: HySime's estimate, beside it; None where R was asked for.
    """

    count: int
    errors: dict[int, float] = field(default_factory=dict)
    subspace: SignalSubspace | None = None


@dataclass(frozen=True, eq=False)
class LesionMixture:
    """What one lesion consists of.

    Attributes:
        lesion_id: its id.
        diagnosis: its diagnosis, or `store.reader.UNKNOWN`.
        role: train or validation; "" in a store without folds.
        masked: number of its pixels with NaN or infinite values (of unit length also black ones), which count nowhere.
        rmse: root mean square of what the mixtures do not explain, in the units that are unmixed; NaN if all are masked.
        angle: mean spectral angle (rad) between its pixels and their mixtures; NaN if all are masked.
        whole: (R,) its mean abundances; NaN if all are masked.
        inside, outside: (R,) the same inside and outside its mask; None without a mask.
    """

    lesion_id: str
    diagnosis: str
    role: str
    masked: int
    rmse: float
    angle: float
    whole: NDArray[np.float64]
    inside: NDArray[np.float64] | None
    outside: NDArray[np.float64] | None


@dataclass(frozen=True, eq=False)
class Maps:
    """One lesion as it is shown: `levels` (H, W, 3) linear colours or grey, and `abundances` (H, W, R), NaN where masked."""

    lesion_id: str
    diagnosis: str
    levels: NDArray[np.float32]
    abundances: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Unmixing:
    """A store as mixtures.

    Attributes:
        request: how it was unmixed.
        choice: how the number of endmembers was chosen.
        endmembers: (R, B) in the units that are unmixed.
        sample: (n, B) pixels of train, for the picture of the simplex.
        sampled: number of pixels among which the endmembers were sought.
        lesions: the lesions, in the order of their ids.
        maps: the lesions that are shown.
        coloured: whether `Maps.levels` are colours.
        compared: the result beside what is known; None without.
    """

    request: Request
    choice: Choice
    endmembers: Spectra
    sample: Spectra
    sampled: int
    lesions: tuple[LesionMixture, ...]
    maps: tuple[Maps, ...]
    coloured: bool
    compared: Compared | None = None

    def medians(self) -> dict[str, float]:
        """Return the medians over lesions of `rmse` and `angle`; of validation alone too, where there is one."""
        found = {}
        for name, of in (("", self.lesions), ("validation_", [each for each in self.lesions if each.role == "validation"])):
            for field_ in ("rmse", "angle"):
                values = [value for each in of if np.isfinite(value := getattr(each, field_))]
                if values:
                    found[f"{name}{field_}"] = float(np.median(values))
        return found


Keep = Callable[[str, NDArray[np.float32]], None]
"""A function that is given a lesion's id and its abundances (H, W, R), to keep them."""


def unmix_store(request: Request, keep: Keep, progress: Callable[[str], None] = lambda text: None) -> Unmixing:
    """Find the endmembers of a store and the abundances of its lesions.

    Args:
        request: the store and the method.
        keep: is given every lesion's abundances, so that they need not stay in memory.
        progress: is told what is done.

    Raises:
        ConfigError: the store cannot be unmixed so; the message names value and remedy.
        StoreError: the store has no such fold, or cannot be read.
    """
    roles = _roles(request)
    progress("reading pixels of train")
    spectra = _sample(request, [name for name, role in roles.items() if role != "validation"])
    choice = _choice(request, spectra, progress)
    progress(f"looking for {choice.count} endmembers among {len(spectra)} pixels")
    endmembers = request.given
    if endmembers is None:
        endmembers = unmix(spectra, request.method, choice.count, request.seed).endmembers
    reading = _Reading(request, roles, endmembers, keep)
    for done, part in enumerate(request.store.tables(["lesion_id", "diagnosis", "cube", "mask", "has_mask"])):
        progress(f"abundances: part {done + 1} of {len(request.store.manifest.parts)}")
        reading.take(part)
    lesions = tuple(sorted(reading.lesions, key=lambda each: each.lesion_id))
    maps = tuple(sorted(reading.maps, key=lambda each: each.lesion_id))
    shown = _thinned(spectra, request.seed, 5_000)
    return Unmixing(request, choice, endmembers, shown, len(spectra), lesions, maps, reading.coloured, reading.compared)


def of_net(store: Store, checkpoint: Mapping[str, Any], seed: int = 0, source: Store | None = None) -> Request:
    """Return the request that unmixes a store by the endmembers of an unmixing net that was trained on it.

    Abundances are then those of least squares on these endmembers, which fit the pixels better than the network's own.

    Args:
        store: the store.
        checkpoint: what the training left (`training.named_checkpoints.read_checkpoint`).
        seed: of the pixels that are shown.
        source: the store on which the net was trained, where `store` holds photographs; abundances are then the network's.

    Raises:
        StudyError: the checkpoint is not of an unmixing net, or does not say what it was trained on.
        StoreError: it was trained on another store.
    """
    experiment = read(json.loads(checkpoint["experiment"]))
    if experiment.learner.role != "unmixer":
        raise StudyError(
            f"this run trained a {experiment.learner.role} (learner.kind = {experiment.learner.kind}), which has no "
            "endmembers",
            "Name a run of `hyperderm train unmixer`.",
        )
    origin = checkpoint["provenance"]
    manifest, fold = str(origin.get(MANIFEST_TAG, "")), str(origin.get(FOLD_TAG, ""))
    cubes = source or store
    if manifest != cubes.manifest.fingerprint:
        raise StoreError(
            f"this net was trained on store {manifest[:12] or '(unknown)'}, {cubes.location.uri} is "
            f"{cubes.manifest.fingerprint[:12]}",
            "Give the store that it was trained on.",
        )
    endmembers = checkpoint["learner"]["network"]["endmembers"].double().numpy()
    if not np.isfinite(endmembers).all():
        raise StudyError("this net's endmembers are NaN or infinite: its training diverged", "Train it anew.")
    if source is not None:
        net = colour_net(checkpoint, store, source)
        return Request(store, NET, len(endmembers), None, seed, given=endmembers, colours=net)
    unit = bool(experiment.learner.model_dump()["unit_length"])
    return Request(store, NET, len(endmembers), None if fold == FOLD_FREE else int(fold), seed, unit, endmembers)


def _roles(request: Request) -> dict[str, str]:
    """Return lesion id to role, of the lesions that may be looked at."""
    store = request.store
    if request.colours is not None:
        return dict.fromkeys(map(str, store.index().column("lesion_id").to_pylist()), "")
    if request.fold is None:
        return dict.fromkeys(store.every("all"), "")
    train, validation = (store.select(role, request.fold, "all") for role in ("train", "validation"))
    return dict.fromkeys(train, "train") | dict.fromkeys(validation, "validation")


def _sample(request: Request, lesion_ids: Sequence[str]) -> Spectra:
    """Return at most `MOST_PIXELS` pixels (n, B), equally many of each lesion, drawn by the seed and the lesion's id."""
    wanted, each = pa.array(sorted(lesion_ids), pa.string()), max(1, MOST_PIXELS // len(lesion_ids))
    drawn: dict[str, Spectra] = {}
    for part in request.store.tables(["lesion_id", "diagnosis", "cube"]):
        chosen = part.filter(pa.compute.is_in(part.column("lesion_id"), value_set=wanted))
        for (name, cube), diagnosis in zip(_cubes(chosen), chosen.column("diagnosis").to_pylist(), strict=True):
            rows = request.rows(cube, diagnosis or UNKNOWN)
            rng = np.random.default_rng([request.seed, *name.encode()])
            drawn[name] = rows if len(rows) <= each else rows[np.sort(rng.permutation(len(rows))[:each])]
    return candidates(finite_pixels(np.concatenate([drawn[name] for name in sorted(drawn)])).spectra)


def _cubes(part: pa.Table) -> Iterator[tuple[str, NDArray[np.float32]]]:
    if len(part):
        yield from zip(
            part.column("lesion_id").to_pylist(), part.column("cube").combine_chunks().to_numpy_ndarray(), strict=True
        )


def _choice(request: Request, spectra: Spectra, progress: Callable[[str], None]) -> Choice:
    if request.count != "auto":
        return Choice(request.count)
    few, bands = _thinned(spectra, request.seed, MOST_FOR_AUTO), spectra.shape[1]
    if bands < FEWEST_FOR_KNEE + 1:
        raise ConfigError(
            f"--endmembers auto needs {FEWEST_FOR_KNEE + 1} bands or more, the store has {bands}",
            "Give a number, such as --endmembers 2.",
        )
    errors: dict[int, float] = {}
    for count in range(2, min(MOST_TRIED, bands) + 1):
        progress(f"trying {count} endmembers")
        try:
            errors |= reconstruction_errors(few, request.method, [count], request.seed)
        except ConfigError:
            if not errors:
                raise
            break  # the pixels span no more
    if len(errors) < FEWEST_FOR_KNEE:
        raise ConfigError(
            f"--endmembers auto: these pixels can be unmixed into {', '.join(map(str, errors))} endmembers only, "
            "too few numbers to choose from",
            "Give a number, such as --endmembers 2.",
        )
    return Choice(knee(errors), errors, hysime(few))


def _thinned(spectra: Spectra, seed: int, most: int) -> Spectra:
    if len(spectra) <= most:
        return spectra
    return spectra[np.sort(np.random.default_rng(seed).permutation(len(spectra))[:most])]


class _Reading:
    """What is gathered while the parts of a store go by."""

    def __init__(self, request: Request, roles: dict[str, str], endmembers: Spectra, keep: Keep) -> None:
        self._request, self._roles, self._endmembers, self._keep = request, roles, endmembers, keep
        names = sorted(roles)
        count = min(SHOWN, len(names))
        self._shown = {names[(2 * k + 1) * len(names) // (2 * count)] for k in range(count)}
        self._matrix, self.coloured = _matrix(request.store)
        self.lesions: list[LesionMixture] = []
        self.maps: list[Maps] = []
        self.compared: Compared | None = None

    def take(self, part: pa.Table) -> None:
        masks = part.column("mask").combine_chunks().to_numpy_ndarray()
        facts = part.select(["diagnosis", "has_mask"]).to_pylist()
        for (name, cube), mask, row in zip(_cubes(part), masks, facts, strict=True):
            if name in self._roles:
                self._lesion(name, row["diagnosis"] or UNKNOWN, cube, mask.astype(bool) if row["has_mask"] else None)

    def _lesion(self, name: str, diagnosis: str, cube: NDArray[np.float32], mask: NDArray[np.bool_] | None) -> None:
        height, width, _ = cube.shape
        rows = self._request.rows(cube, diagnosis)
        usable = np.isfinite(rows).all(1)
        abundances = np.full((len(rows), len(self._endmembers)), np.nan)
        rmse = angle = np.nan
        if usable.any():
            if self._request.colours is None:
                abundances[usable] = fcls(rows[usable], self._endmembers)
            else:
                abundances[usable] = self._request.colours.abundances(np.nan_to_num(rows), height, width)[usable]
            mixed = abundances[usable] @ self._request.seen(self._endmembers)
            rmse = float(np.sqrt(np.square(mixed - rows[usable]).mean()))
            angle = mean_angle(mixed, rows[usable])
        if self._request.known is not None:
            self.compared = compared(self._request.known, rows, self._endmembers, abundances, self._request.unit)
        inside = None if mask is None else mask.reshape(-1)
        self.lesions.append(
            LesionMixture(
                name,
                diagnosis,
                self._roles[name],
                int((~usable).sum()),
                rmse,
                angle,
                _mean(abundances),
                None if inside is None else _mean(abundances[inside]),
                None if inside is None else _mean(abundances[~inside]),
            )
        )
        maps = abundances.reshape(height, width, -1).astype(np.float32)
        self._keep(name, maps)
        if name in self._shown:
            levels = np.asarray(np.nan_to_num(cube, posinf=0, neginf=0) @ self._matrix.T, dtype=np.float32)
            self.maps.append(Maps(name, diagnosis, levels, maps))


def _matrix(store: Store) -> tuple[NDArray[np.float64], bool]:
    """Return the matrix (3, B) to linear colours, or to grey where these bands give none, and whether it is to colours."""
    bands = store.manifest.wavelengths_nm
    if store.manifest.kind == "rgb":
        return np.eye(3)[::-1], True  # B, G, R
    try:
        return pseudo_rgb_matrix(bands), True
    except CubeError:
        return np.full((3, len(bands)), 1 / len(bands)), False


def _mean(abundances: NDArray[np.float64]) -> NDArray[np.float64]:
    known = abundances[np.isfinite(abundances).all(1)]
    return known.mean(0) if len(known) else np.full(abundances.shape[1], np.nan)
