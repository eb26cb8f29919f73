"""Short and unambiguous texts of configuration paths and numbers, for readers."""

import math
from collections import Counter
from collections.abc import Iterable


def short_names(paths: Iterable[str]) -> dict[str, str]:
    """Return the last part of each path, with as many parts before it as tell it from the other paths."""
    parts = {path: path.split(".") for path in paths}
    names = {path: 1 for path in parts}
    while True:
        labels = {path: ".".join(parts[path][-count:]) for path, count in names.items()}
        seen = Counter(labels.values())
        longer = [p for p, label in labels.items() if seen[label] > 1 and names[p] < len(parts[p])]
        if not longer:
            return labels
        for path in longer:
            names[path] += 1


def three_digits(value: object, *, keep_zeros: bool = False) -> str:
    """Return the text of a value: floats in 3 significant digits, whole numbers in full, None as –, anything else unchanged.

    Args:
        value: a number or any other value.
        keep_zeros: write 0.5 as 0.500, so that the numbers of a column line up.
    """
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return str(value)
    if not math.isfinite(value):
        return str(value)
    rounded = float(f"{value:.3g}") + 0.0  # + 0.0: no minus on zero
    if 1e3 <= abs(rounded) < 1e6:
        return f"{rounded:.0f}"
    return f"{rounded:#.3g}".rstrip(".") if keep_zeros else f"{rounded:.3g}"
