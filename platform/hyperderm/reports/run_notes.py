"""What stands at the top of a run's page in MLflow, as Markdown: what was done, on what, how it ended, how to repeat it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from hyperderm.reports import leaderboard
from hyperderm.reports.leaderboard import Row
from hyperderm.store.manifest import Manifest
from hyperderm.tracking.measure import Measure
from hyperderm.tracking.short_texts import brief, short_names, three_digits

NOTE_LIMIT = 7_500
"""The most characters of a note; MLflow keeps 8,000 of a tag."""
BEST = 10
"""The most trials of a leaderboard in a note."""


@dataclass(frozen=True)
class Trained:
    """What is trained, and on what.

    Attributes:
        experiment: name of the experiment, kind of its learner and profile.
        store: address of the store.
        manifest: its manifest.
        fold: the fold; None where all lesions of a store without folds are learnt.
        lesions: numbers of lesions of the train and the validation role.
        command: what repeats or continues it; "" if it was not started by a command.
    """

    experiment: str
    store: str
    manifest: Manifest
    fold: int | None
    lesions: tuple[int, int]
    command: str

    @property
    def data(self) -> str:
        """The paragraph about the data."""
        train, validation = self.lesions
        counts = ", ".join(f"{count} {name}" for name, count in sorted(self.manifest.diagnoses.items()))
        read = (
            f"nine tenths of the pixels of all {train} lesions are learnt, the others score."
            if self.fold is None
            else f"fold {self.fold}: {train} lesions of train to learn from, {validation} of validation to score with. "
            "The test role is not opened."
        )
        return f"**Data.** `{self.store}` (fingerprint `{self.manifest.fingerprint[:12]}`: {counts}), {read}"

    @property
    def again(self) -> list[str]:
        """The paragraph with the command; none without one."""
        return _again(self.command)


@dataclass(frozen=True)
class Searched:
    """What a sweep searches.

    Attributes:
        trained: what its trials train, and on what.
        space: name and version of the search space.
        axes: configuration path to the distribution that is searched.
        trials: number of trials in all.
        first, second: the objectives; `second` is None where there is one.
        charts: a link to charts of the trials; "" if it is not known yet.
    """

    trained: Trained
    space: str
    axes: Mapping[str, BaseDistribution]
    trials: int
    first: Measure
    second: Measure | None
    charts: str = ""


def run_note(trained: Trained, conclusion: str = "") -> str:
    """Return the note of a single run; `conclusion` says how it ended and its score, "" while it runs."""
    read_on = (
        "**Read on.** `validation/…` are scores, `train/…` means over steps, `reference/…` numbers of the data, each over "
        "images shown; the objective's best value is that of the checkpoint that is kept. Pictures are among the artifacts."
    )
    ended = f"It has {conclusion}." if conclusion else "It is running."
    return "\n\n".join([f"**One run of {trained.experiment}.** {ended}", trained.data, read_on, *trained.again])[:NOTE_LIMIT]


def sweep_note(searched: Searched, rows: Sequence[Row], ended: str = "") -> str:
    """Return the note of a sweep's run: the answer first, since MLflow's page folds all but its first lines away.

    Args:
        searched: what is searched.
        rows: the trials that there are; none before the first.
        ended: how the sweep ended; "" while it runs.
    """
    head = [
        f"**{searched.trials} trials of {searched.trained.experiment}**, searched by Optuna in {searched.space}. "
        f"{ended or _progress(rows)}{_best(rows)}",
        f"**Score.** {_score(searched)}",
    ]
    after = [
        _axes(searched.axes),
        searched.trained.data,
        "**Read on.** The runs below this one are the trials, named by their values: open them with the + of its row, or "
        "choose them in the chart view. `validation/…` are scores, `train/…` means over steps, `reference/…` numbers of the "
        "data, each over images shown. `leaderboard.md`, `leaderboard.csv` and `search.html` are among the artifacts, "
        "`lesions.png` of each trial shows its lesions beside real ones.",
    ]
    for shown in range(min(BEST, len(rows)), -1, -1):
        note = "\n\n".join([*head, *_board(searched, rows, shown), *after, *searched.trained.again])
        if len(note) <= NOTE_LIMIT:
            return note
    return "\n\n".join([*head, *after])[:NOTE_LIMIT]


def _best(rows: Sequence[Row]) -> str:
    """The sentence on the best trial; none before one has a score."""
    best = next(iter(leaderboard.ranked([row for row in rows if row.status not in ("failed", "running")])), None)
    if best is None or best.best is None:
        return ""
    names = short_names(best.values)
    values = ", ".join(f"`{names[path]}` {three_digits(value)}" for path, value in best.values.items())
    return (
        f" **Best: trial {best.number} with {three_digits(best.best, keep_zeros=True)}**{f' ({values})' if values else ''}."
    )


def _progress(rows: Sequence[Row]) -> str:
    if not rows:
        return "It is running."
    return f"It is running: {_counts(rows)}."


def counts_of(rows: Sequence[Row]) -> dict[str, int]:
    """Return how many trials have ended in each way."""
    return {status: sum(row.status == status for row in rows) for status in ("finished", "stopped early", "failed")}


def _counts(rows: Sequence[Row]) -> str:
    return ", ".join(f"{count} {status}" for status, count in counts_of(rows).items() if count) or "none has ended"


def ended_note(rows: Sequence[Row], interrupted: bool, broken: str) -> str:
    """Return the sentence on how a sweep ended."""
    if broken:
        return f"It broke off ({broken}): {_counts(rows)}."
    return f"It {'was interrupted' if interrupted else 'has ended'}: {_counts(rows)}."


def _score(searched: Searched) -> str:
    names = [each.name for each in (searched.first, searched.second) if each]
    said = [f"The {' and the '.join(names)} between generated and validation lesions, lower is better."]
    return " ".join([*said, *leaderboard.footnotes(searched.first.floor, searched.first.mean_cube, searched.second)])


def _axes(axes: Mapping[str, BaseDistribution]) -> str:
    lines = ["| searched | values |", "|:--|:--|"]
    return "\n".join([*lines, *(f"| `{path}` | {_range(axis)} |" for path, axis in axes.items())])


def _range(axis: BaseDistribution) -> str:
    match axis:
        case CategoricalDistribution():
            return ", ".join(f"`{choice}`" for choice in axis.choices)
        case FloatDistribution() | IntDistribution():
            step = f" in steps of {brief(axis.step)}" if axis.step not in (None, 1) else ""
            return f"{brief(axis.low)} to {brief(axis.high)}{', logarithmic' if axis.log else ''}{step}"
    return str(axis)


def _board(searched: Searched, rows: Sequence[Row], shown: int) -> list[str]:
    if not shown:
        return []
    best = [row for row in leaderboard.ranked(rows) if row.status != "running"][:shown]
    first, second = searched.first, searched.second
    text = _spaced(leaderboard.markdown(best, None, None, first.name, second).strip())
    more = "" if shown >= len(rows) else f" (the best {shown} of {len(rows)})"
    beaten = leaderboard.worse_than_mean(best, first.floor, first.mean_cube)
    charts = [f"[Charts of the trials, the best first]({searched.charts})"] if searched.charts else []
    return [f"**Leaderboard**{more}", "\n\n".join([text, *beaten, *charts])] if best else []


def _spaced(table: str) -> str:
    """Return the Markdown table with a space before every cell but a row's first: MLflow's page sets them without a gap."""
    header, rule, *rows = table.splitlines()
    return "\n".join([header.replace(" | ", " | &ensp;"), rule, *(row.replace(" | ", " | &ensp;") for row in rows)])


@dataclass(frozen=True)
class Compared:
    """What a grid compares and on what.

    Attributes:
        grid: name of the grid.
        arms: name to description of every arm.
        cells: number of cells.
        folds, seeds: numbers of folds and seeds.
        models: names of the classifiers.
        store, fingerprint: the store.
        command: see `Trained`.
    """

    grid: str
    arms: Mapping[str, str]
    cells: int
    folds: int
    seeds: int
    models: Sequence[str]
    store: str
    fingerprint: str
    command: str


def grid_note(compared: Compared, answer: Sequence[str] = ()) -> str:
    """Return the note of a grid's run; `answer` are the paragraphs of its report's answer, none before there is a report."""
    many = "s" * (compared.seeds != 1)
    parts = [
        *answer,
        f"**{compared.cells} cells of {compared.grid}**: every arm in {compared.folds} folds with {compared.seeds} "
        f"seed{many}, classified by {', '.join(compared.models)}. Data: `{compared.store}` (fingerprint "
        f"`{compared.fingerprint[:12]}`).",
        "\n".join(["| arm | what it is |", "|:--|:--|", *(f"| {name} | {what} |" for name, what in compared.arms.items())]),
        "**Read on.** The report (`report/report.html` among the artifacts) holds the answer with its intervals and audits. "
        "The runs below this one are the arms, those below them cells: `test/…` are scores of one cell on its own test "
        "role, from which alone nothing follows.",
    ]
    return "\n\n".join([*parts, *_again(compared.command)])[:NOTE_LIMIT]


def _again(command: str) -> list[str]:
    return [f"**Again** (it goes on where it stands):\n```\n{command}\n```"] if command else []
