"""The predictions of one arm and model as arrays: folds of lesions, seeds nested in folds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hyperderm.errors import StudyError
from hyperderm.statistics.predictions import CellKey, Predictions


@dataclass(frozen=True, eq=False)
class Fold:
    """The test lesions of one fold, sorted by id and scored by S trainings; in an interrupted grid S may differ by fold.

    Attributes:
        number: number of the fold.
        seeds: seeds of the S trainings, ascending.
        lesion_id: (n,) ids of the lesions.
        truth: (n,) bool, True for melanoma.
        group: (n,) index into the G groups of this fold.
        probability: (S, n) calibrated P(melanoma).
        raw_probability: (S, n) P(melanoma) before calibration.
        threshold: (S,) threshold of each training.
    """

    number: int
    seeds: tuple[int, ...]
    lesion_id: NDArray[np.str_]
    truth: NDArray[np.bool_]
    group: NDArray[np.intp]
    probability: NDArray[np.float64]
    raw_probability: NDArray[np.float64]
    threshold: NDArray[np.float64]

    @cached_property
    def member(self) -> NDArray[np.float64]:
        """The membership of lesions in groups, (n, G): 1 if the lesion belongs to the group, else 0."""
        return (self.group[:, None] == np.arange(self.group.max() + 1)).astype(np.float64)

    @cached_property
    def strata(self) -> NDArray[np.intp]:
        """The stratum of each group, (G,): 1 if it holds a melanoma, else 0; resampling keeps the size of each stratum."""
        return (self.member.T @ self.truth > 0).astype(np.intp)

    @cached_property
    def called(self) -> NDArray[np.bool_]:
        """Whether each lesion is called melanoma, (S, n): probability >= threshold."""
        return self.probability >= self.threshold[:, None]

    @cached_property
    def kernel(self) -> NDArray[np.float64]:
        """The comparison of every melanoma with every negative, (S, m, n); its mean is the AUROC.

        It is 1 if the melanoma scores above the negative, ½ for a tie, and 0 otherwise.
        """
        positive, negative = self.probability[:, self.truth, None], self.probability[:, None, ~self.truth]
        return (positive > negative) + 0.5 * (positive == negative)


@dataclass(frozen=True, eq=False)
class Panel:
    """The predictions of one arm with one model."""

    arm: str
    model: str
    folds: tuple[Fold, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds that occur in any fold, ascending."""
        return tuple(sorted({seed for fold in self.folds for seed in fold.seeds}))

    @property
    def blocks(self) -> list[tuple[int, int]]:
        """The pair (fold, seed) of every cell."""
        return [(fold.number, seed) for fold in self.folds for seed in fold.seeds]

    @property
    def sizes(self) -> NDArray[np.intp]:
        """The numbers of groups with and without melanoma in every fold, (K, 2)."""
        return np.array([[fold.strata.sum(), (fold.strata == 0).sum()] for fold in self.folds])

    @property
    def thin(self) -> bool:
        """Whether no fold tests two groups of some class, so that nothing has an interval."""
        return any(too_few(counts) for counts in self.sizes.T.tolist())


def too_few(counts: Sequence[int]) -> bool:
    """Return whether no fold tests two groups of a class, so that its spread is unknown; `counts` are its groups by fold."""
    return max(counts) == 1


def panel(predictions: Predictions, arm: str, model: str) -> Panel:
    """Return the panel of one arm and model.

    Raises:
        StudyError: there are no such cells, or seeds of a fold test different lesions.
    """
    mine = predictions.where(arm=arm, model=model)
    return Panel(arm, model, tuple(_fold(mine, number) for number in np.unique(mine.fold).tolist()))


def common(*panels: Panel) -> tuple[Panel, ...] | None:
    """Return the panels restricted to the cells that all of them have, or None if there are no such cells or too few.

    They are too few if what is left is `Panel.thin` although no panel is.
    """
    kept = sorted(set.intersection(*(set(panel.blocks) for panel in panels)))
    found = tuple(_only(panel, kept) for panel in panels) if kept else None
    return None if found and found[0].thin and not any(panel.thin for panel in panels) else found


def _only(panel: Panel, blocks: Sequence[tuple[int, int]]) -> Panel:
    folds = []
    for fold in panel.folds:
        rows = [s for s, seed in enumerate(fold.seeds) if (fold.number, seed) in blocks]
        if rows:
            scores = {name: getattr(fold, name)[rows] for name in ("probability", "raw_probability", "threshold")}
            folds.append(replace(fold, seeds=tuple(fold.seeds[s] for s in rows), **scores))
    return replace(panel, folds=tuple(folds))


def _fold(mine: Predictions, number: int) -> Fold:
    key = CellKey(str(mine.arm[0]), str(mine.model[0]), number, 0)
    seeds = tuple(np.unique(mine.seed[mine.fold == number]).tolist())
    rows = []
    for seed in seeds:
        found = np.flatnonzero((mine.fold == number) & (mine.seed == seed))
        rows.append(found[np.argsort(mine.lesion_id[found], kind="stable")])
        if not np.array_equal(mine.lesion_id[rows[0]], mine.lesion_id[rows[-1]]):
            raise StudyError(
                f"predictions missing for a lesion: {key._replace(seed=seed)} tests other lesions than seed {seeds[0]}",
                "Run the same command again, or analyse the complete cells only.",
            )
    at, all_rows = rows[0], np.stack(rows)
    return Fold(
        number=number,
        seeds=seeds,
        lesion_id=mine.lesion_id[at],
        truth=mine.truth[at] == 1,
        group=np.unique(mine.group[at], return_inverse=True)[1],
        probability=mine.probability[all_rows],
        raw_probability=mine.raw_probability[all_rows],
        threshold=mine.threshold[all_rows[:, 0]],
    )


def same_lesions(one: Panel, other: Panel) -> None:
    """Prove that two panels test the same lesions in the same folds with the same seeds.

    Raises:
        StudyError: they do not; the message names the two arms and the difference.
    """
    pair = f"arms {one.arm!r} and {other.arm!r} (models {one.model!r}, {other.model!r})"
    again = "Compare cells of one grid, all of them finished."
    if odd := sorted(set(one.blocks) ^ set(other.blocks)):
        raise StudyError(f"{pair}: only one of them has fold {odd[0][0]} seed {odd[0][1]}", again)
    for a, b in zip(one.folds, other.folds, strict=True):
        if not np.array_equal(a.lesion_id, b.lesion_id):
            raise StudyError(f"{pair} test different lesions in fold {a.number}", again)
