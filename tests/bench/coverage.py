"""How often the intervals hold the truth, and how often Holm's procedure errs, on simulated prediction sets.

`python -m tests.bench.coverage [SETS] [RESAMPLES]` prints the whole table: 2,000 sets a row, no training.
"""

import sys
from dataclasses import replace
from time import perf_counter
from typing import NamedTuple

import numpy as np

from hyperderm.statistics.multiplicity import FAMILY_LEVEL, holm
from hyperderm.statistics.operating import threshold_metrics
from hyperderm.statistics.paired import auroc, difference
from hyperderm.statistics.resampling import bootstrap
from tests.simulation import LARGE, SMALL, Design, simulate

SETS, NULL_SETS, RESAMPLES = 2000, 1000, 2000
DESIGNS = {
    "AUROC .83, equal": Design((1.25, 1.25)),
    "AUROC .89, equal": Design((1.6, 1.6)),
    "AUROC .93 and .90": Design((1.95, 1.65)),
    "AUROC .96, equal": Design((2.2, 2.2)),
    "AUROC .99 and .95": Design((2.8, 2.2)),
    "arms that resemble": Design((1.4, 1.4), arm_sd=0.15, noise_sd=0.15, seed_sd=0.1),
    "one seed, no seed effect": Design((1.6, 1.6), seeds=1, seed_sd=0.0, threshold_sd=0.0),
    "two seeds, strong effect": Design((1.6, 1.6), seeds=2, seed_sd=0.3),
    "larger, mixed groups": Design((1.6, 1.6), pairs=0.5, mixed=0.3, group_sd=0.8),
}
FAMILY = ((2, 0), (2, 1), (3, 0), (3, 1))
"""Two synthetic arms, each against real (0) and its control (1)."""


class Coverage(NamedTuple):
    """Shares of sets whose 95 % interval holds the truth."""

    auroc: float
    difference: float
    sensitivity: float


def coverage(design: Design, sets: int, resamples: int, seed: int = 0) -> Coverage:
    rng = np.random.default_rng(seed)
    held = np.zeros(3)
    for _ in range(sets):
        made = simulate(design, rng)
        first, second = made.panels
        weights = bootstrap(first, resamples, seed)
        sensitivity = threshold_metrics(first)["sensitivity"]
        spans = (
            (auroc(first).limits(), made.aurocs[0]),
            (difference(first, second, weights).interval(), made.aurocs[0] - made.aurocs[1]),
            ((sensitivity.low, sensitivity.high), made.sensitivities[0]),
        )
        held += [low <= truth <= high for (low, high), truth in spans]
    return Coverage(*(held / sets))


def family_wise(design: Design, sets: int, resamples: int, seed: int = 0) -> tuple[float, float]:
    """Shares of null sets with any rejection: by Holm, and without adjustment."""
    rng = np.random.default_rng(seed)
    null = replace(design, separations=(design.separations[0],) * 4, fold_sd=0.0)
    wrong, unadjusted = 0, 0
    for _ in range(sets):
        panels = simulate(null, rng).panels
        weights = bootstrap(panels[0], resamples, seed)
        p = [difference(panels[a], panels[b], weights).p for a, b in FAMILY]
        wrong += any(value <= each.alpha for value, each in zip(p, holm(p), strict=True))
        unadjusted += min(p) <= FAMILY_LEVEL
    return wrong / sets, unadjusted / sets


def main(arguments: list[str]) -> int:
    sets, resamples = (int(a) for a in [*arguments, *map(str, (SETS, RESAMPLES)[len(arguments) :])])
    print(f"coverage of 95 % intervals, {sets} sets, {resamples} resamples (standard error {(0.0475 / sets) ** 0.5:.2%})")
    print(f"{'groups':8} {'design':26} {'AUROC':>7} {'paired':>7} {'sens.':>7} {'ms/set':>7}")
    for groups in (LARGE, SMALL):
        for name, design in DESIGNS.items():
            begin = perf_counter()
            found = coverage(replace(design, groups=groups), sets, resamples)
            each = (perf_counter() - begin) / sets * 1e3
            print(
                f"{groups[0]:>3}/{groups[1]:<4} {name:26} {found[0]:7.1%} {found[1]:7.1%} {found[2]:7.1%} {each:7.1f}",
                flush=True,
            )
    nulls = min(sets, NULL_SETS)
    print(f"family-wise false positives of Holm over {len(FAMILY)} contrasts, {nulls} null sets (unadjusted in brackets)")
    for groups in (LARGE, SMALL):
        for name in ("AUROC .83, equal", "AUROC .89, equal", "AUROC .96, equal"):
            wrong, unadjusted = family_wise(replace(DESIGNS[name], groups=groups), nulls, resamples)
            print(f"{groups[0]:>3}/{groups[1]:<4} {name:26} {wrong:7.1%} ({unadjusted:.1%})", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
