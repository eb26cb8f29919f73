"""Grouped, stratified folds: drawn once from a seed, by group, kept in the manifest."""

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from hyperderm.errors import StoreError
from hyperderm.store.manifest import Folds

POSITIVE = "melanoma"


def check_count(count: int) -> None:
    """Refuse a number of folds that no data can make useful.

    Raises:
        StoreError: fewer than three.
    """
    if count < 3:
        raise StoreError(f"--folds {count}: train, validation and test need three", "Use --folds 3 or more, or 0 for none.")


def assign_folds(groups: Sequence[str], diagnoses: Sequence[str | None], count: int, seed: int) -> tuple[Folds, list[str]]:
    """Assign every group to one of `count` folds, classes spread as evenly as groups allow.

    Returns:
        The folds, and one warning for each class other than melanoma that is missing from a fold.

    Raises:
        StoreError: fewer than three folds, a lesion without diagnosis, fewer groups than folds, or a fold without melanoma
            although the data hold melanomas.
    """
    check_count(count)
    if any(diagnosis is None for diagnosis in diagnoses):
        raise StoreError("folds need a diagnosis on every lesion", "Use --folds 0 for a store without training roles.")
    distinct = len(set(groups))
    if distinct < count:
        raise StoreError(
            f"{distinct} group{'s' * (distinct > 1)} of source images cannot fill {count} folds", _fewer(distinct, "images")
        )
    members: dict[str, set[str]] = defaultdict(set)
    for group, diagnosis in zip(groups, diagnoses, strict=True):
        members[str(diagnosis)].add(group)
    positive = len(members.get(POSITIVE, ()))
    if 0 < positive < count:
        groups_of = "1 group" if positive == 1 else f"{positive} groups"
        raise StoreError(
            f"melanoma has {groups_of} for {count} folds: a fold would hold none", _fewer(positive, "melanomas")
        )
    most = max(Counter(map(str, diagnoses)).values())
    if most < count:
        raise StoreError(f"no diagnosis has {count} lesions for {count} folds", _fewer(most, "lesions"))
    order = sorted(range(len(groups)), key=lambda i: (groups[i], i))  # the draw must not depend on file order
    number = {group: n for n, group in enumerate(sorted(set(groups)))}  # numpy's texts lose a NUL at their end
    x = np.array([number[groups[i]] for i in order])
    y = np.array([str(diagnoses[i]) for i in order])
    assigned = {groups[order[i]]: fold for fold, test in enumerate(_split(count, seed, y, x)) for i in test}
    folds = Folds(seed=seed, count=count, groups=dict(sorted(assigned.items())))
    return folds, _missing(folds, members)


def _split(count: int, seed: int, y: np.ndarray, x: np.ndarray) -> list[np.ndarray]:
    import warnings

    from sklearn.model_selection import StratifiedGroupKFold  # two seconds, after everything that may be refused

    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # classes rarer than the folds are reported by `_missing`
        return [test for _, test in splitter.split(np.zeros(len(y)), y, x)]


def _missing(folds: Folds, members: dict[str, set[str]]) -> list[str]:
    warnings = []
    for diagnosis, groups in sorted(members.items()):
        held = Counter(folds.groups[group] for group in groups)
        empty = [fold for fold in range(folds.count) if not held[fold]]
        if empty and diagnosis == POSITIVE:
            raise StoreError(
                f"fold {empty[0]} would hold no melanoma", "Use fewer --folds, another --seed, or add melanomas."
            )
        if empty:
            count = f"{len(groups)} group{'s' * (len(groups) > 1)}"
            warnings.append(f"{diagnosis}: {count}, none in fold {', '.join(map(str, empty))}")
    return warnings


def _fewer(possible: int, what: str) -> str:
    """Return a remedy that works: fewer folds where three can be filled, else none at all."""
    if possible < 3:
        return f"Add {what}, or use --folds 0 (ingest, phantom) for a store without training roles."
    return f"Use --folds {possible} (ingest, phantom), or add {what}."
