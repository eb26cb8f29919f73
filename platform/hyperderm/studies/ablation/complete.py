"""The part of a grid that can be compared: cells of a fold and seed count only where every arm has them."""

from collections.abc import Sequence

import numpy as np

from hyperderm.statistics.predictions import CellKey, Predictions


def complete_part(table: Predictions, planned: Sequence[CellKey]) -> tuple[Predictions | None, list[str]]:
    """Return the rows of all (fold, seed) blocks that every arm of a model finished, and a sentence on all that is left out.

    An arm that has only begun is left out itself where that keeps more cells than leaving out the blocks it lacks: what is
    finished is not thrown away for what is not. Of arms with as few cells the last planned goes first, because references
    come first.
    """
    held = set(table.cells())
    keep: set[CellKey] = set()
    said: list[str] = []
    for model in dict.fromkeys(key.model for key in planned):
        mine = [key for key in planned if key.model == model]
        done = {key for key in mine if key in held}
        if not done:
            said.append(f"model {model}: no cell was finished.")
            continue
        arms, dropped = _kept_arms(done, list(dict.fromkeys(key.arm for key in mine)))
        said += [f"arm {arm} with {model}: too few of its cells were finished to compare it." for arm in dropped]
        blocks = _blocks(done, arms)
        keep |= {key for key in done if key.arm in arms and (key.fold, key.seed) in blocks}
        lost = sorted({(key.fold, key.seed) for key in mine} - blocks)
        if lost:
            names = ", ".join(f"fold {fold} seed {seed}" for fold, seed in lost)
            said.append(f"model {model}: left out, because not every arm finished there: {names}.")
    if not keep:
        return None, said
    rows = zip(table.arm.tolist(), table.model.tolist(), table.fold.tolist(), table.seed.tolist(), strict=True)
    return table.take(np.array([CellKey(*row) in keep for row in rows])), said


def _kept_arms(done: set[CellKey], arms: list[str]) -> tuple[list[str], list[str]]:
    """Return the arms that together keep the most cells, and those left out, the least complete first."""
    kept, dropped = list(arms), []
    best: tuple[list[str], list[str]] = (list(arms), [])
    most = len(arms) * len(_blocks(done, arms))
    while len(kept) > 1:
        least = min(reversed(kept), key=lambda arm: sum(key.arm == arm for key in done))
        kept.remove(least)
        dropped.append(least)
        if (cells := len(kept) * len(_blocks(done, kept))) > most:
            best, most = (list(kept), list(dropped)), cells
    return best


def _blocks(done: set[CellKey], arms: Sequence[str]) -> set[tuple[int, int]]:
    return set.intersection(*({(key.fold, key.seed) for key in done if key.arm == arm} for arm in arms))
