"""Stand-in generators of derived sets on the phantom, and how the audit judges them: a section of `tests.bench.audit`.

Each trial draws 60 train lesions and some held-out ones from 500, and a set has a cube of each of 40 train lesions. Honest
generators are regressions of the bands on pseudo-RGB, fitted to train; copying ones look up the train lesion whose
pseudo-RGB fits best. Wanted: of honest sets no more memorised than `LEVEL` lets through, of copying ones all.
"""

from collections.abc import Callable, Iterator
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binom
from torch import Tensor
from torch.nn.functional import pad

from hyperderm.cubes.cube import HSIDERMOSCOPY_NM
from hyperderm.cubes.pseudo_rgb import pseudo_rgb_matrix
from hyperderm.metrics.memorisation import LEVEL
from hyperderm.metrics.own_lesion import OwnAudit, OwnReference
from hyperderm.phantom.rendering import phantom

SIDE, POOL, TRAIN, SET, NOISE = 32, 500, 60, 40, 0.006
MATRIX = pseudo_rgb_matrix(HSIDERMOSCOPY_NM)
Generator = Callable[[Tensor], Tensor]
"""Makes cubes (n, B, S, S) from pseudo-RGB (n, 3, S, S)."""


class Trial(NamedTuple):
    """The data of a trial, and a source of randomness for its generators."""

    train: Tensor
    held_out: Tensor
    rng: np.random.Generator


def pseudo_rgb(cubes: Tensor) -> Tensor:
    """Return H · reflectance: (n, B, S, S) -> (n, 3, S, S)."""
    return torch.einsum("cb,nbhw->nchw", torch.from_numpy(MATRIX).float(), cubes)


def ridge(trial: Trial) -> Generator:
    """Regress each band on the pseudo-RGB of 3 x 3 pixels."""

    def inputs(rgb: Tensor) -> Tensor:
        wide, side = pad(rgb, (1,) * 4, mode="reflect"), rgb.shape[-1]
        near = [wide[:, :, y : y + side, x : x + side] for y in range(3) for x in range(3)]
        return torch.cat([*near, torch.ones_like(rgb[:, :1])], 1)

    return _regression(trial.train, inputs)


def quadratic(trial: Trial) -> Generator:
    """Regress each band on the pseudo-RGB of the pixel and on products of its channels."""

    def inputs(rgb: Tensor) -> Tensor:
        products = torch.einsum("nahw,nbhw->nabhw", rgb, rgb)[:, *np.triu_indices(3)]
        return torch.cat([rgb, products, torch.ones_like(rgb[:, :1])], 1)

    return _regression(trial.train, inputs)


def _regression(train: Tensor, inputs: Callable[[Tensor], Tensor]) -> Generator:
    x = inputs(pseudo_rgb(train)).movedim(1, 0).flatten(1).double()
    y = train.movedim(1, 0).flatten(1).double()
    weights = torch.linalg.solve(x @ x.T + 1e-3 * x.shape[1] * torch.eye(len(x), dtype=torch.double), x @ y.T).float()
    return lambda rgb: torch.einsum("nahw,ab->nbhw", inputs(rgb), weights)


def lookup(trial: Trial) -> Generator:
    """Return the train lesion whose pseudo-RGB fits best."""
    known = _shape(trial.train)
    return lambda rgb: trial.train[torch.cdist(_relative(rgb), known).argmin(1)]


def _shape(cubes: Tensor) -> Tensor:
    return _relative(pseudo_rgb(cubes))


def _relative(rgb: Tensor) -> Tensor:
    return (rgb / rgb.mean((2, 3), keepdim=True)).flatten(1)


def recorded_anew(made: Callable[[Trial], Generator]) -> Callable[[Trial], Generator]:
    """Return a generator whose cubes have another exposure, .7 to 1.3, and noise."""

    def anew(trial: Trial) -> Generator:
        inner = made(trial)

        def make(rgb: Tensor) -> Tensor:
            cubes = inner(rgb)
            gain = torch.from_numpy(trial.rng.uniform(0.7, 1.3, (len(cubes), 1, 1, 1))).float()
            return cubes * gain + NOISE * torch.from_numpy(trial.rng.standard_normal(cubes.shape)).float()

        return make

    return anew


def half(trial: Trial) -> Generator:
    """Return the mean of what is looked up and what is regressed."""
    one, other = lookup(trial), ridge(trial)
    return lambda rgb: (one(rgb) + other(rgb)) / 2


def few(trial: Trial) -> Generator:
    """Look up, and record anew, an eighth of the train lesions, and regress all others."""
    copied, other = recorded_anew(lookup)(trial), ridge(trial)
    known = _shape(trial.train[: SET // 8])

    def make(rgb: Tensor) -> Tensor:
        own = torch.cdist(_relative(rgb), known).amin(1) < 0.5
        return torch.where(own[:, None, None, None], copied(rgb), other(rgb))

    return make


GENERATORS: dict[str, tuple[Callable[[Trial], Generator], bool]] = {
    "regression on 3 x 3 pixels": (ridge, False),
    "such, exposure and noise": (recorded_anew(ridge), False),
    "regression on products": (quadratic, False),
    "copies by look-up": (lookup, True),
    "copies, exposure and noise": (recorded_anew(lookup), True),
    "half copy, half regression": (half, True),
    "5 of 40 copied, with noise": (few, True),
}
"""Name to generator and whether it copies."""


@cache
def pool() -> Tensor:
    """Return the phantom lesions (POOL, 16, SIDE, SIDE)."""
    cubes = [one.lesion.cube.reflectance for one in phantom(POOL, SIDE, 4)]
    return torch.from_numpy(np.moveaxis(np.stack(cubes), 3, 1).copy())


def audited(made: Callable[[Trial], Generator], held_out: int, trial: int, lesions: Tensor) -> OwnAudit:
    """Return the audit of one set, with `held_out` lesions held out."""
    rng = np.random.default_rng(trial)
    train, held = lesions[torch.from_numpy(rng.permutation(len(lesions))[: TRAIN + held_out])].split([TRAIN, held_out])
    generator = made(Trial(train, held, rng))
    names = [f"l{row}" for row in range(TRAIN)]
    unseen = [f"h{row}" for row in range(held_out)]
    known = OwnReference(train, names, names, held, generator(pseudo_rgb(held)), unseen, MATRIX)
    sources = names[:SET]
    return known.result(known.similarity(generator(pseudo_rgb(train[:SET])), sources), sources)


def table(trials: int) -> Iterator[tuple[str, bool]]:
    """Yield the lines of the table, and whether each is as wanted."""
    yield f"{'derived set':29} held out  own  held-out  cubes named  power  sets memorised of {trials}", True
    for held_out in (12, 50):
        for name, (made, copies) in GENERATORS.items():
            found = [audited(made, held_out, trial, pool()) for trial in range(trials)]
            sets = sum(one.memorised for one in found)
            well = sets == trials if copies else sets <= binom(trials, LEVEL).isf(1e-3)
            mark = "ok" if well else "NOT AS WANTED"
            values: NDArray[np.float64] = np.mean(
                [(one.mean, one.mean_held_out, len(one.copies) / SET, one.found / one.changed) for one in found], 0
            )
            own, unseen, named, power = values.tolist()
            yield (
                f"{name:29}  {held_out:7}  {own:4.2f}  {unseen:7.2f}  {named:10.1%}  {power:5.0%}  {sets:8}  {mark}",
                well,
            )
