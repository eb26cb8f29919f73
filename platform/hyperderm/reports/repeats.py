"""Repeats of a sweep's best trial for readers: mean and spread beside the winner's own score, and every repeat by name."""

import csv as csv_module
import io

from hyperderm.reports.leaderboard import duration
from hyperderm.studies.repeats import Record, Repeated
from hyperderm.tracking.short_texts import three_digits


def sentences(found: Repeated) -> list[str]:
    """Return what a reader must know of the repeats of a winner; [] if no trial was ever repeated."""
    number, scores = found.winner.number, found.scores
    others = [f"Not counted: {found.others} of trials that were the best ones before."] if found.others else []
    if not found.records:
        return [f"Trial {number} is not repeated yet. {others[0]}"] if others else []
    said = [f"Trial {number} repeated with other seeds: {summary(found)}.", *others]
    if found.place in ("below", "above"):
        lucky = "lucky" if found.place == "below" else "unlucky"
        said.append(
            f"The winner's own score lies {found.place} all {len(scores)} repeats, so it was {lucky} (by chance alone that "
            f"happens once in {len(scores) + 1} times): expect the mean."
        )
    said += [f"Repeat with seed {record.seed} failed: {record.reason}" for record in found.failed]
    if found.open:
        seeds = ", ".join(str(record.seed) for record in found.open)
        said.append(f"Not ended yet, and not counted: seed {seeds}.")
    return said


def summary(found: Repeated) -> str:
    """Return mean, spread and range of the repeats, with the winner's own score, as one phrase."""
    scores, own = found.scores, _digits(found.winner.score)
    if found.mean is None:
        return f"none has finished; the winner's own score is {own}"
    spread = (
        "" if found.spread is None else f" ± {_digits(found.spread)} (SD), {_digits(min(scores))} to {_digits(max(scores))}"
    )
    return (
        f"{_digits(found.mean)}{spread} over {len(scores)} seed{'s' * (len(scores) != 1)}; the winner's own score is {own}"
    )


def markdown(found: Repeated) -> str:
    """Return the repeats as a Markdown table with `sentences` above it; sentences alone if none has begun."""
    if not found.records:
        return "".join(f"\n{said}\n" for said in sentences(found))
    lines = [
        "",
        "| seed | status | score | best at | images | time | reason |",
        "| --: | :-- | --: | --: | --: | --: | :-- |",
    ]
    for record in found.records:
        at = "–" if record.best_images is None else f"{record.best_images:,}"
        cells = [str(record.seed), status(record), _digits(record.score), at, f"{record.images:,}", duration(record.seconds)]
        lines.append(f"| {' | '.join([*cells, _escaped(record.reason)])} |")
    return "\n".join(["", *(f"{said}\n" for said in sentences(found)), *lines[1:]]) + "\n"


def csv(found: Repeated) -> str:
    """Return one line for the winner and one for each repeat with full precision; missing values are empty."""
    out = io.StringIO()
    write = csv_module.writer(out, lineterminator="\n").writerow
    write(["trial", "repeat", "seed", "status", "score", "best_images", "images", "seconds", "reason", "configuration"])
    best = found.winner
    write([best.number, "no", best.experiment.seed, "finished", best.score, None, None, None, "", best.digest])
    for each in found.records:
        numbers = [each.score, each.best_images, each.images, each.seconds]
        write([best.number, "yes", each.seed, status(each), *numbers, each.reason, each.digest])
    return out.getvalue()


def status(record: Record) -> str:
    """Return how a repeat ended, or "open"."""
    return record.outcome or "open"


def metrics(found: Repeated) -> dict[str, float]:
    """Return the numbers of the repeats for the run of the sweep; {} if none has finished."""
    if found.mean is None:
        return {}
    numbers = {"winner": found.winner.score, "mean": found.mean, "min": min(found.scores), "max": max(found.scores)}
    if found.spread is not None:
        numbers["sd"] = found.spread
    numbers |= {"finished": float(len(found.scores)), "failed": float(len(found.failed))}
    return {f"repeats/{name}": value for name, value in numbers.items()}


def _digits(value: float | None) -> str:
    return three_digits(value, keep_zeros=True)


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|").replace("\n", " ")
