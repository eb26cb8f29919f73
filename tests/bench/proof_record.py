"""What the worlds of `proof_world` said, world by world, in a file that runs add to, and what they say together.

    python -m tests.bench.proof_record tests/bench/proof_world.json      # the table of the README

The worlds of several seeds are independent, so the mean over worlds of a difference or of the curve's slope has Student's t
interval, with one degree of freedom less than there are worlds. Nothing is adjusted in it: the declared answers are the
verdicts of each world, these means only tell how large the effects are.
"""

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hyperderm.durable import write_whole
from hyperderm.statistics.ablation_results import HELPS
from hyperderm.statistics.intervals import critical
from hyperderm.tags import COMMIT_TAG
from hyperderm.tracking.provenance import provenance

if TYPE_CHECKING:
    from hyperderm.statistics.ablation_results import Analysis

INFORMED, RIVALS = "colour_unmixing", ("copier", "blurred_average")
World = dict[str, Any]
"""What the report of one world says, with the date, the commit and the seconds it took."""


def world_said(analysis: "Analysis", seconds: float) -> World:
    """Return what an analysis says, in plain numbers."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": provenance(Path.cwd())[COMMIT_TAG],
        "seconds": round(seconds),
        "auroc": {each.arm: each.metrics["auroc"].value for each in analysis.arms},
        "curve": [[*each.slope.bounds, each.usefulness] for each in analysis.curves],
        "rates": {
            each.arm: [each.rate.value, each.rate.low, each.rate.high] if each.rate.value is not None else each.rate.reason
            for each in analysis.rates
        },
        "decisions": {
            each.arm: {
                "verdict": each.verdict,
                "negative": each.negative,
                "against": {
                    found.reference: [found.difference, found.adjusted_low, found.adjusted_high]
                    for found in analysis.contrasts
                    if (found.arm, found.model) == (each.arm, each.model)
                },
            }
            for each in analysis.decisions
        },
    }


def lines(seed: int, said: World) -> Iterator[str]:
    """Yield a line of the AUROCs, of the learning curve, of each exchange rate and decision, and of the time it took."""
    yield f"seed {seed}: " + ", ".join(f"{arm} {value:.3f}" for arm, value in said["auroc"].items())
    for value, low, high, usefulness in said["curve"]:
        yield f"seed {seed}: learning curve {value:+.3f} [{low:+.3f}, {high:+.3f}] per doubling: {usefulness}"
    for arm, rate in said["rates"].items():
        worth = rate if isinstance(rate, str) else f"{rate[0]:+.2f} [{rate[1]:+.2f}, {_top(rate[2])}]"
        yield f"seed {seed}: real melanomas that one of {arm} is worth: {worth}"
    for arm, decision in said["decisions"].items():
        told = "; ".join(
            f"{value:+.3f} [{low:+.3f}, {high:+.3f}] against {reference}"
            for reference, (value, low, high) in decision["against"].items()
        )
        yield f"seed {seed}: {arm}{' (negative control)' * decision['negative']}: {decision['verdict']}: {told}"
    yield f"seed {seed}: {said['seconds']} s, {said['date']}, commit {said['commit']}"


def together(worlds: Mapping[int, World]) -> Iterator[str]:
    """Yield what several worlds say: verdicts of each arm, mean differences, and the mean slope of the learning curve."""
    number = f"of {len(worlds)} worlds (seeds {', '.join(map(str, sorted(worlds)))})"
    counts = Counter((arm, decision["verdict"]) for said in worlds.values() for arm, decision in said["decisions"].items())
    for (arm, verdict), count in sorted(counts.items()):
        yield f"{arm}: {verdict} in {count} {number}"
    if len(worlds) < 2:
        return
    slopes = [said["curve"][0][0] for said in worlds.values() if said["curve"]]
    if len(slopes) == len(worlds):
        yield f"learning curve: {_mean(slopes)} per doubling, mean {number}"
    for arm in (name for name in next(iter(worlds.values()))["auroc"] if "@" in name and not name.startswith("real")):
        whole, share = arm.split("@")
        gains = [(said["auroc"][whole] - said["auroc"][arm]) / np.log2(1 / float(share)) for said in worlds.values()]
        yield f"learning curve of {whole}: {_mean(gains)} per doubling, mean {number}"
    for arm, decision in next(iter(worlds.values()))["decisions"].items():
        for reference in decision["against"]:
            values = [said["decisions"][arm]["against"][reference][0] for said in worlds.values()]
            yield f"{arm} against {reference}: {_mean(values)}, mean {number}"


def table(worlds: Mapping[int, World]) -> Iterator[str]:
    """Yield the lines of a Markdown table with a row for each world; differences are those to an arm's control."""
    titles = (
        "seed", "gain a doubling of real melanomas", f"`{INFORMED}` against real", "against its control", "verdict",
        "a cube is worth so many real melanomas", "copier", "blurred average", "negative controls that help", "run on",
    )  # fmt: skip
    yield f"| {' | '.join(titles)} |"
    yield "|" + "---|" * len(titles)
    for seed, said in sorted(worlds.items()):
        arms = {arm: decision for arm, decision in said["decisions"].items() if not decision["negative"]}
        mine, copier, blurred = (next(arm for arm in arms if arm.startswith(name)) for name in (INFORMED, *RIVALS))
        rate = said["rates"][mine]
        worth = rate if isinstance(rate, str) else f"{rate[0]:.2f} [{rate[1]:.2f}, {_top(rate[2]).lstrip('+')}]"
        controls = [decision for decision in said["decisions"].values() if decision["negative"]]
        helping = sum(decision["verdict"] == HELPS for decision in controls)
        cells = (
            str(seed), _told(said["curve"][0][:3]), _told(arms[mine]["against"]["real"]), _against_control(arms[mine]),
            arms[mine]["verdict"], worth, *map(_against_control, (arms[copier], arms[blurred])),
            f"{helping} of {len(controls)}", f"{said['date']}, {said['commit'][:7]}",
        )  # fmt: skip
        yield f"| {' | '.join(cells)} |".replace("-0.", "−0.")


def _against_control(decision: Mapping[str, Any]) -> str:
    """Return the difference of an arm to its control, the reference that is not `real`."""
    return next(_told(found) for reference, found in decision["against"].items() if reference != "real")


def _told(found: list[float]) -> str:
    value, low, high = found
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"


def recorded(file: Path | None, world: Mapping[str, Any]) -> dict[int, World]:
    """Return the worlds that a file records by seed; {} without a file.

    Raises:
        SystemExit: the file records another kind of world.
    """
    if file is None or not file.exists():
        return {}
    held = json.loads(file.read_text())
    if held["world"] != json.loads(json.dumps(dict(world))):  # tuples become lists
        raise SystemExit(f"{file} records another kind of world: {held['world']}. Give another --record, or these settings.")
    return {int(seed): said for seed, said in held["seeds"].items()}


def record(file: Path, world: Mapping[str, Any], worlds: Mapping[int, World]) -> None:
    """Write the worlds to a file, by seed."""
    content = {"world": dict(world), "seeds": {str(seed): worlds[seed] for seed in sorted(worlds)}}
    write_whole(file, json.dumps(content, indent=1) + "\n")


def _top(high: float | None) -> str:
    return "no upper end" if high is None else f"{high:+.2f}"


def _mean(values: list[float]) -> str:
    mean = float(np.mean(values))
    half = critical(len(values) - 1.0) * float(np.std(values, ddof=1)) / np.sqrt(len(values))
    return f"{mean:+.3f} [{mean - half:+.3f}, {mean + half:+.3f}]"


if __name__ == "__main__":
    kept = json.loads(Path(sys.argv[1]).read_text())["seeds"]
    print(*table({int(seed): said for seed, said in kept.items()}), sep="\n")
