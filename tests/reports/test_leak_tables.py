"""How an audit is told: every finding in every form, numbers that are not known as such, one line that sums it up."""

import csv as csv_module
import io

from rich.console import Console

from hyperderm.reports.leak_tables import csv, markdown, summary, table
from hyperderm.store.leaks import Finding, Verdict

USERS = tuple(f"grid/arm/cell {i}" for i in range(5))
ROLE = "test role of fold 0 of store ab"
LEAKS = (
    Finding("generator", "gan|fold 1", "train of fold 1 of store ab", ROLE, 3, 9, "same lesion 3", USERS, 4),
    Finding("set", "made", "made from train of fold 1", ROLE, None, None, "same store, another fold", USERS[:1], 0),
)
COUNTS = {"search": 1, "generator": 2, "set": 1, "classifier": 12}
FOUND = Verdict(LEAKS, (("a notebook", "carries no fact of hyperderm"),), COUNTS, 12, 2, 3)
CLEAN = Verdict((), (), {"classifier": 1}, 1, 1, 1)


def text(verdict: Verdict, width: int = 200) -> str:
    console = Console(width=width, color_system=None, emoji=False)
    with console.capture() as captured:
        console.print(table(verdict))
    return captured.get()


def test_the_summary_counts_everything():
    assert summary(FOUND) == (
        "1 search, 2 generators, 1 synthetic set, 12 classifiers; 2 test roles opened 12 times; 3 stores read: 2 leaks, "
        "1 unknown."
    )
    assert summary(CLEAN) == (
        "0 searches, 0 generators, 0 synthetic sets, 1 classifier; 1 test role opened 1 time; 1 store read: no leak found, "
        "nothing unknown."
    )


def test_a_terminal_shows_each_kind_with_its_runs():
    said = text(FOUND)
    for part in (
        "Generators whose training saw the test role: 1",
        "Synthetic sets made from the test role: 1",
        "What cannot be told: 1",
        "3 of 9 (same lesion 3)",
        "not counted (same store, another fold)",
        "grid/arm/cell 0, grid/arm/cell 1, grid/arm/cell 2 and 2 more",
        "4 of 5",
        "carries no fact of hyperderm",
        "2 leaks, 1 unknown.",
    ):
        assert part in said
    assert text(CLEAN).strip() == summary(CLEAN)


def test_markdown_keeps_its_columns():
    said = markdown(FOUND)
    rows = [line.replace("\\|", "") for line in said.splitlines() if line.startswith("|")]
    assert {row.count("|") for row in rows} == {7, 3}
    assert "gan\\|fold 1" in said
    assert said.endswith(summary(FOUND) + "\n")


def test_csv_names_every_user():
    rows = list(csv_module.DictReader(io.StringIO(csv(FOUND))))
    assert [row["kind"] for row in rows] == ["generator", "set", "unknown"]
    assert rows[0]["users"].split(";") == list(USERS)
    assert (rows[0]["lesions"], rows[0]["of"], rows[0]["opened"]) == ("3", "9", "4")
    assert (rows[1]["lesions"], rows[1]["of"]) == ("", "")
    assert (rows[2]["touched_by"], rows[2]["data"]) == ("a notebook", "carries no fact of hyperderm")
