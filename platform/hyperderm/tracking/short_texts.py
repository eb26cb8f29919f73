"""Short and unambiguous texts of configuration paths and numbers, for readers."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping

LONGEST_NAME = 120
"""The most characters of a run's name; MLflow's tables show fewer."""
SHORTER = {"batch_size": "bs", "lr_generator": "lr_g", "lr_critic": "lr_c"}
"""Names of swept values that are known to every reader by fewer letters."""


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


def trial_name(number: int, values: Mapping[str, object]) -> str:
    """Return the name of a trial in MLflow, by what tells it from its neighbours: `003 lr_g=3e-4 n_critic=2 bs=4`.

    Args:
        number: the number of the trial in its sweep.
        values: swept configuration path to value; if there are none, the name is `trial 003`.
    """
    if not values:
        return f"trial {number:03d}"
    names = short_names(values)
    words = [f"{SHORTER.get(names[path], names[path])}={brief(value)}" for path, value in values.items()]
    name = " ".join([f"{number:03d}", *words])
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def trial_note(sweep: str, number: int, values: Mapping[str, object]) -> str:
    """Return the Markdown at the top of a trial's page in MLflow; `sweep` is its name, the rest is as for `trial_name`."""
    swept = ", ".join(f"`{path}` {three_digits(value)}" for path, value in values.items())
    return (
        f"**Trial {number} of the sweep {sweep}**{f': {swept}' if swept else ''}. Its parent run says what is searched, on "
        "what data, how to read the scores, and which trial is best. Pictures of it are among the artifacts. "
        f"`hyperderm register {sweep}/{number} --name NAME` makes a model of it."
    )


def brief(value: object) -> str:
    """Return a value in as few characters as tell it from its neighbours: 3e-4, 0.9, 64; text and truth values unchanged."""
    if isinstance(value, bool) or not isinstance(value, float) or not math.isfinite(value):
        return str(value)
    if value and not 0.01 <= abs(value) < 1e4:
        mantissa, _, exponent = f"{value:.1e}".partition("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
