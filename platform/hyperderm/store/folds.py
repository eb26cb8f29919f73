"""Grouped, stratified folds: they are drawn once per seed, by group, and kept in the manifest."""

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from hyperderm.errors import StoreError
from hyperderm.store.manifest import Folds

POSITIVE = "melanoma"
FEWEST = 3
"""The smallest number of folds: train, validation and test need one each."""
SEEDS = 20
"""The number of other seeds that are tried to find a remedy; fewer if there are many lesions."""
TRIED_GROUPS = 20_000
NAMED = 4
"""The number of lesions that a sentence lists."""


def check_count(count: int) -> None:
    """Refuse a number of folds that cannot be useful for any data.

    Raises:
        StoreError: there are fewer than three folds.
    """
    if count < FEWEST:
        raise StoreError(f"--folds {count}: train, validation and test need three", "Use --folds 3 or more, or 0 for none.")


def assign_folds(
    groups: Sequence[str], diagnoses: Sequence[str | None], count: int, seed: int, lesions: Sequence[str] = ()
) -> tuple[Folds, list[str]]:
    """Assign every group to one of `count` folds, with classes spread as evenly as the groups allow.

    Args:
        groups: the group of every lesion.
        diagnoses: the diagnosis of every lesion.
        count: the number of folds.
        seed: the seed of the draw.
        lesions: the lesions' names for messages; empty: messages name the groups.

    Returns:
        The folds, and warnings: each class other than melanoma that is missing from a fold, and the folds that hold half of
        an even share or less of all lesions or of the melanomas.

    Raises:
        StoreError: there are fewer than three folds or fewer groups than folds, a lesion has no diagnosis, or a fold has no
            lesion, or no melanoma although the data hold melanomas. The remedy in the message was tried.
    """
    check_count(count)
    if unknown := [name for name, diagnosis in zip(lesions or groups, diagnoses, strict=True) if diagnosis is None]:
        more = f" and {len(unknown) - NAMED} more" if len(unknown) > NAMED else ""
        raise StoreError(
            f"folds need a diagnosis on every lesion, {len(unknown)} of {len(diagnoses)} have none: "
            f"{', '.join(unknown[:NAMED])}{more}",
            "Say them in a table of the source (columns image and diagnosis), leave those images out, or use --folds 0 "
            "for a store without training roles.",
        )
    names = list(map(str, diagnoses))
    lacking = _lacking(groups, names, count)
    folds = None if lacking else _draw(groups, names, count, seed)
    lacking = lacking or _hole(folds, groups, names)
    if folds is None or lacking:
        what, add = lacking or ("", "")
        raise StoreError(what, _remedy(groups, names, count, seed, add))
    return folds, [*_missing(folds, groups, names), *_short(folds, groups, names)]


def _lacking(groups: Sequence[str], diagnoses: Sequence[str], count: int) -> tuple[str, str] | None:
    """Return why no draw can fill the folds, and what to add; None if a draw may succeed."""
    distinct = len(set(groups))
    if distinct < count:
        return f"{distinct} group{'s' * (distinct > 1)} of source images cannot fill {count} folds", "images"
    positive = len({group for group, diagnosis in zip(groups, diagnoses, strict=True) if diagnosis == POSITIVE})
    if 0 < positive < count:
        groups_of = "1 group" if positive == 1 else f"{positive} groups"
        return f"melanoma has {groups_of} for {count} folds: a fold would hold none", "melanomas"
    if max(Counter(diagnoses).values()) < count:
        return f"no diagnosis has {count} lesions for {count} folds", "lesions"
    return None


def _hole(folds: Folds | None, groups: Sequence[str], diagnoses: Sequence[str]) -> tuple[str, str] | None:
    """Return what a fold lacks after a draw, and what to add; None if each has lesions, and melanomas if there are any."""
    if folds is None:
        return None
    sizes = _sizes(folds, groups, diagnoses)
    if 0 in sizes:
        return f"fold {sizes.index(0)} would hold no lesion (lesions a fold: {_listed(sizes)})", "images of other patients"
    positive = _sizes(folds, groups, diagnoses, POSITIVE)
    if any(positive) and 0 in positive:
        return f"fold {positive.index(0)} would hold no melanoma (melanomas a fold: {_listed(positive)})", "melanomas"
    return None


def _draw(groups: Sequence[str], diagnoses: Sequence[str], count: int, seed: int) -> Folds:
    order = sorted(range(len(groups)), key=lambda i: (groups[i], i))  # the draw must not depend on file order
    number = {group: n for n, group in enumerate(sorted(set(groups)))}  # numpy's texts lose a NUL at their end
    x = np.array([number[groups[i]] for i in order])
    y = np.array([diagnoses[i] for i in order])
    assigned = {groups[order[i]]: fold for fold, test in enumerate(_split(count, seed, y, x)) for i in test}
    return Folds(seed=seed, count=count, groups=dict(sorted(assigned.items())))


def _split(count: int, seed: int, y: np.ndarray, x: np.ndarray) -> list[np.ndarray]:
    import warnings

    from sklearn.model_selection import StratifiedGroupKFold  # two seconds, after everything that may be refused

    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # classes rarer than the folds are reported by `_missing`
        return [test for _, test in splitter.split(np.zeros(len(y)), y, x)]


def _missing(folds: Folds, groups: Sequence[str], diagnoses: Sequence[str]) -> list[str]:
    members: dict[str, set[str]] = defaultdict(set)
    for group, diagnosis in zip(groups, diagnoses, strict=True):
        members[diagnosis].add(group)
    warnings = []
    for diagnosis, named in sorted(members.items()):
        held = Counter(folds.groups[group] for group in named)
        if empty := [fold for fold in range(folds.count) if not held[fold]]:
            count = f"{len(named)} group{'s' * (len(named) > 1)}"
            warnings.append(f"{diagnosis}: {count}, none in fold {', '.join(map(str, empty))}")
    return warnings


def _short(folds: Folds, groups: Sequence[str], diagnoses: Sequence[str]) -> list[str]:
    """Return a sentence if a fold holds half of an even share or less, of all lesions or of the melanomas."""
    warnings = []
    for what, diagnosis in (("lesions", None), ("melanomas", POSITIVE)):
        sizes = _sizes(folds, groups, diagnoses, diagnosis)
        if short := [str(fold) for fold, size in enumerate(sizes) if 2 * size * folds.count <= sum(sizes) > 0]:
            which = f"fold{'s' * (len(short) > 1)} {', '.join(short)}"
            warnings.append(f"{which}: half of an even share of the {what} or less ({what} a fold: {_listed(sizes)})")
    return warnings


def _sizes(folds: Folds, groups: Sequence[str], diagnoses: Sequence[str], diagnosis: str | None = None) -> list[int]:
    """Return the number of lesions (of one diagnosis) in every fold."""
    held = Counter(folds.groups[g] for g, d in zip(groups, diagnoses, strict=True) if diagnosis in (None, d))
    return [held[fold] for fold in range(folds.count)]


def _listed(sizes: Sequence[int]) -> str:
    return ", ".join(map(str, sizes))


def _remedy(groups: Sequence[str], diagnoses: Sequence[str], count: int, seed: int, add: str) -> str:
    """Return a remedy: fewer folds or another seed if a trial has shown that they work, and in any case to `add` data."""

    def works(folds: int, draw: int) -> bool:
        drawn = None if _lacking(groups, diagnoses, folds) else _draw(groups, diagnoses, folds, draw)
        return drawn is not None and _hole(drawn, groups, diagnoses) is None

    tries = max(1, min(SEEDS, TRIED_GROUPS // len(groups)))
    fewer = next((folds for folds in range(count - 1, 2, -1) if works(folds, seed)), None)
    other = next((draw for draw in range(seed + 1, seed + 1 + tries) if works(count, draw)), None)
    ways = [f"--folds {fewer}"] * (fewer is not None) + [f"--seed {other}"] * (other is not None)
    if not ways:
        return f"Add {add}, or use --folds 0 (ingest, phantom) for a store without training roles."
    return f"Use {' or '.join(ways)} (ingest, phantom), or add {add}."
