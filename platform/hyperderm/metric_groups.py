"""The groups in which MLflow shows the metrics of a run: a name's part before its first slash is a section of its page.

Workers report scores by their own names, by which studies compare, and means over steps as `train/…`. The tracker adds the
other groups; `compare` takes them off again, so that runs of versions without groups stand beside those of today.
"""

from collections.abc import Mapping

TRAIN, VALIDATION, REFERENCE, TEST, SYSTEM = "train/", "validation/", "reference/", "test/", "system/"
GROUPS = (TRAIN, VALIDATION, REFERENCE, TEST, SYSTEM)
"""The groups: means over the steps since the last report; scores on the validation role; numbers of the data that do not
change in a run; scores on the test role, which a grid's cell has once; what the workers used of their machines."""

_OF_TEST, _OF_VALIDATION = "test_", "validation_"
_NAMED = {f"{VALIDATION}{name}": f"{_OF_VALIDATION}{name}" for name in ("auroc", "auprc")}

CONSTANT = (
    "floor_real_vs_real",
    "score_of_mean_cube",
    "score_through_space",
    "held_out_unmixing_rmse",
    "held_out_rmse_from_colours",
    "rmse_of_mean_spectrum",
)
"""Scores that say something about the data alone; they give the other scores a scale (also behind a slash, of a second
objective)."""


def grouped(metrics: Mapping[str, float]) -> tuple[dict[str, float], dict[str, float]]:
    """Return the metrics of a report by their names in MLflow: those that change, and the constants of `REFERENCE`."""
    changing, constant = {}, {}
    for name, value in metrics.items():
        if name.startswith(GROUPS):
            changing[name] = value
        elif name.split("/")[0] in CONSTANT:
            constant[REFERENCE + name] = value
        else:
            changing[VALIDATION + name.removeprefix(_OF_VALIDATION)] = value
    return changing, constant


def of_test_role(name: str) -> str:
    """Return the name in MLflow of a metric on the test role, such as `test/auroc` for `test_auroc`."""
    return TEST + name.removeprefix(_OF_TEST)


def is_result(name: str) -> bool:
    """Return whether a metric in MLflow says something of a run, and not of the machine that it ran on; its seconds do."""
    return not name.startswith(SYSTEM) or name == f"{SYSTEM}seconds"


def ungrouped(name: str) -> str:
    """Return the name of a metric without its group, as versions without groups wrote it."""
    if name.startswith(TEST):
        return _OF_TEST + name.removeprefix(TEST)
    if name in _NAMED:
        return _NAMED[name]
    return next((name.removeprefix(group) for group in GROUPS if name.startswith(group)), name)
