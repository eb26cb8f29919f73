"""A comparison of sweeps for readers: one table for each budget, as text for a terminal, as Markdown and as CSV."""

import csv as csv_module
import io
from collections.abc import Iterator
from typing import NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Group as Stack
from rich.table import Table
from rich.text import Text

from hyperderm.reports.leaderboard import duration, footnotes
from hyperderm.reports.sweep_comparison import Budget, Scores, SweepComparison, finished, total
from hyperderm.studies.sweep_record import SweepRecord
from hyperderm.tracking.short_texts import three_digits

_LEFT = {"sweep", "experiment"}
_REPEATS = "repeats of the best trial"
_COLUMNS = (
    "budget", "amount", "ranked_by", "rank", "sweep", "experiment", "objective", "begun", "scored", "best", "median",
    "lower_quartile", "upper_quartile", "worst", "mean", "sd", "winner", "values", "finished", "stopped_early", "failed",
    "open", "images", "seconds", "floor", "mean_cube", "machines",
)  # fmt: skip


class Part(NamedTuple):
    """One table with its title.

    Attributes:
        title: what the table shows, and what ranks its lines.
        header: the names of the columns.
        body: the cells, line by line.
    """

    title: str
    header: list[str]
    body: list[list[str]]


def table(found: SweepComparison) -> Stack:
    """Return the tables and the notes for a terminal."""
    parts: list[Table | Text] = []
    for part in tables(found):
        made = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, pad_edge=False, header_style="bold")
        for name in part.header:
            made.add_column(Text(name), justify="left" if name in _LEFT else "right", overflow="fold")
        for cells in part.body:
            made.add_row(*map(Text, cells))
        parts += [Text(part.title, style="bold"), made, Text()]
    return Stack(*parts, Text("\n".join(notes(found)), style="dim"))


def markdown(found: SweepComparison) -> str:
    """Return the tables and the notes as Markdown."""
    blocks = []
    for part in tables(found):
        rule = [":--" if name in _LEFT else "--:" for name in part.header]
        lines = ["| " + " | ".join(map(_escaped, cells)) + " |" for cells in (part.header, rule, *part.body)]
        blocks.append("\n".join([f"**{part.title}**", "", *lines]))
    return "\n\n".join([*blocks, "\n".join(f"- {note}" for note in notes(found))]) + "\n"


def csv(found: SweepComparison) -> str:
    """Return one line for each sweep and budget, and one for its repeats, with full precision; missing values are empty.

    The column `values` holds "trial=score" (for repeats "seed=score") of everything counted, joined by ";", so that all
    other numbers can be computed again.
    """
    out = io.StringIO()
    write = csv_module.writer(out, lineterminator="\n").writerow
    write(_COLUMNS)
    for budget in found.budgets:
        for line in budget.lines:
            head = [_name(budget), budget.amount, budget.ranked_by, line.rank]
            write([*head, *_who(line.sweep), *_numbers(line), None, None, None, _pairs(line.scores), *_facts(line.sweep)])
    for rank, sweep in found.repeated:
        assert sweep.repeats is not None
        scores = {each.seed: each.score for each in sweep.repeats.records if each.outcome == "finished"}
        known = {seed: score for seed, score in scores.items() if score is not None}
        line = Scores(sweep, len(sweep.repeats.records), known)
        mean = [sweep.repeats.mean, sweep.repeats.spread, sweep.repeats.winner.score]
        write([_REPEATS, None, "mean", rank, *_who(sweep), *_numbers(line), *mean, _pairs(known), *_facts(sweep)])
    return out.getvalue()


def tables(found: SweepComparison) -> list[Part]:
    """Return what was run, the scores at each budget, and the repeats, if there are any."""
    made = [_run(found), *map(_budget, found.budgets)]
    return [*made, _repeats(found)] if found.repeated else made


def notes(found: SweepComparison) -> list[str]:
    """Return the notes that a reader needs in order to read the numbers correctly."""
    return [*_reading(found), *_time(found), *_luck(found), *_differing(found)]


def said_of(budget: Budget) -> str:
    """Return a budget in words, such as `4,000 images of each trial`."""
    whole = "in all" if budget.whole else "of each trial"
    return f"{amount_of(budget)} {whole}"


def amount_of(budget: Budget) -> str:
    """Return the amount of a budget with its unit."""
    return f"{budget.amount:,.0f} images" if budget.unit == "images" else duration(budget.amount)


def _run(found: SweepComparison) -> Part:
    header = ["sweep", "experiment", "finished", "stopped", "failed", "images", "time", "floor", "mean cube"]
    body = [
        [
            sweep.name,
            sweep.experiment,
            *(str(sweep.count(outcome)) for outcome in ("finished", "stopped early", "failed")),
            f"{total(sweep, 'images'):,.0f}",
            duration(total(sweep, "seconds")),
            _digits(sweep.floor),
            _digits(sweep.mean_cube),
        ]
        for sweep in found.sweeps
    ]
    return Part(f"What was run; the score is the {found.sweeps[0].objective}, lower is better", header, body)


def _budget(budget: Budget) -> Part:
    header = ["rank", "sweep", "begun", "scored", "best", "median", "quartiles", "worst"]
    body = []
    for line in budget.lines:
        quartiles = "–" if line.quartiles is None else " to ".join(map(_digits, line.quartiles))
        numbers = [_digits(line.best), _digits(line.median), quartiles, _digits(line.worst)]
        body.append([_rank(line.rank), line.sweep.name, str(line.begun), str(len(line.scores)), *numbers])
    return Part(f"{said_of(budget)}, ranked by the {budget.ranked_by}", header, body)


def _repeats(found: SweepComparison) -> Part:
    header = ["rank", "sweep", "seeds", "failed", "mean", "SD", "range", "the winner's own"]
    body = []
    for rank, sweep in found.repeated:
        each = sweep.repeats
        assert each is not None
        span = f"{_digits(min(each.scores))} to {_digits(max(each.scores))}"
        counts = [str(len(each.scores)), str(len(each.failed))]
        body.append(
            [str(rank), sweep.name, *counts, *map(_digits, (each.mean, each.spread)), span, _digits(each.winner.score)]
        )
    return Part("Repeats of the best trial with other seeds, ranked by the mean", header, body)


def _reading(found: SweepComparison) -> Iterator[str]:
    yield (
        "Equal budgets: the most that every sweep has spent (images of each trial: the fewest of a finished trial; seconds "
        "of each trial: the smallest median of a sweep). A budget in all puts trials one behind the other by their numbers "
        "and cuts the last one."
    )
    yield (
        "A trial counts with the checkpoint that it kept within the budget; one that was stopped early with what it had; "
        "one that failed has no score, but its images and seconds count."
    )
    if at_once := [sweep.name for sweep in found.sweeps if sweep.fit_once]:
        yield f"Fitted at once, so it sets no budget of images and counts whole in one: {', '.join(at_once)}."
    if left := [f"{sweep.name}: {sweep.open}" for sweep in found.sweeps if sweep.open]:
        yield f"Trials that have not ended do not count ({', '.join(left)})."
    if any(" and " in sweep.facts.get("objective", "") for sweep in found.sweeps):
        yield "Of two objectives the first is compared."
    scales = {(sweep.floor, sweep.mean_cube) for sweep in found.sweeps}
    yield from footnotes(*scales.pop()) if len(scales) == 1 else ()


def _time(found: SweepComparison) -> Iterator[str]:
    """Say what the seconds are, and on which machines they were taken."""
    if len(found.budgets) == 2:
        untimed = [sweep.name for sweep in found.sweeps if any(trial.seconds <= 0 for trial in finished(sweep))]
        yield f"No budgets of seconds: the seconds of trials are not recorded in {', '.join(untimed)}."
        return
    yield "Seconds are those of the trials, added up; trials that run side by side share their machine."
    if guessed := [sweep.name for sweep in found.sweeps if not all(trial.timed for trial in sweep.trials)]:
        yield (
            f"In {', '.join(guessed)} the seconds of reports are not recorded: they are taken in proportion to the images."
        )
    machines = {" and ".join(sweep.machines) or "a machine that is not recorded" for sweep in found.sweeps}
    if len(machines) == 1 and all(len(sweep.machines) == 1 for sweep in found.sweeps):
        yield f"Machine of all sweeps: {machines.pop()}."
        return
    told = "; ".join(f"{sweep.name}: {' and '.join(sweep.machines) or 'not recorded'}" for sweep in found.sweeps)
    yield f"Beware: seconds of different machines do not compare. Machines: {told}."


def _luck(found: SweepComparison) -> Iterator[str]:
    """Say what a best score is worth without repeats."""
    bare = [sweep.name for sweep in found.sweeps if not (sweep.repeats and len(sweep.repeats.scores) > 1)]
    if bare:
        yield (
            f"The best of many trials is lucky, and not repeated in {', '.join(bare)}: "
            "hyperderm sweep … --repeat 3 (make: REPEAT=3)."
        )
    ends = {sweep.name: sweep.repeats.winner.experiment.training.images for _, sweep in found.repeated if sweep.repeats}
    if len(set(ends.values())) > 1:
        told = ", ".join(f"{name}: {images:,}" for name, images in ends.items())
        yield f"Repeats ran to their own ends, so their budgets are not equal (images: {told})."


def _differing(found: SweepComparison) -> Iterator[str]:
    for path in found.sweeps[0].settings:
        told = {sweep.name: sweep.settings.get(path) for sweep in found.sweeps}
        if len(set(map(str, told.values()))) > 1:
            said = ", ".join(f"{name}: {value}" for name, value in told.items())
            why = {
                "training.validate_every": "more validations give more chances of a low score",
                "training.validation_samples": "scores of fewer cubes scatter more",
            }.get(path, "the sweeps are of different sizes")
            yield f"Beware: {path} differs ({said}); {why}."


def _name(budget: Budget) -> str:
    return f"{budget.unit} {'in all' if budget.whole else 'of each trial'}"


def _who(sweep: SweepRecord) -> list[str]:
    return [sweep.name, sweep.experiment, sweep.facts["objective"]]


def _numbers(line: Scores) -> list[object]:
    return [line.begun, len(line.scores), line.best, line.median, *(line.quartiles or (None, None)), line.worst]


def _facts(sweep: SweepRecord) -> list[object]:
    counts = [sweep.count(outcome) for outcome in ("finished", "stopped early", "failed")]
    sums = [total(sweep, "images"), total(sweep, "seconds")]
    return [*counts, sweep.open, *sums, sweep.floor, sweep.mean_cube, ";".join(sweep.machines)]


def _pairs(scores: dict[int, float]) -> str:
    return ";".join(f"{number}={score!r}" for number, score in scores.items())


def _rank(rank: int | None) -> str:
    return "–" if rank is None else str(rank)


def _digits(value: float | None) -> str:
    return three_digits(value, keep_zeros=True)


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|").replace("\n", " ")
