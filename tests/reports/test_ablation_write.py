"""A report is written whole or not at all, and every number in it follows from the predictions beside it."""

import csv
import errno
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from hyperderm.errors import StudyError
from hyperderm.reports import report_folder
from hyperderm.reports.ablation import sections, write
from hyperderm.reports.ablation.answer import decision_sentences
from hyperderm.reports.ablation.facts import Dose
from hyperderm.reports.ablation.tables import TABLES, csv_files
from hyperderm.reports.ablation.write import write_report
from hyperderm.reports.document import Image
from hyperderm.statistics.ablation import analyse
from hyperderm.statistics.predictions import Predictions
from tests.reports import ablation_cases as cases
from tests.reports.reading import Page

ARMS = ("real", "oversampled_1", "shsgan_1")
MODELS = ("spectral_logistic",)
ALWAYS = {
    "report.html", "report.md", "predictions.parquet", "analysis.json", *TABLES,
    "forest.png", "roc.png", "precision_recall.png", "tradeoff.png", "hardest.png", "cost.png",
}  # fmt: skip


def written_to(folder, *grid):
    write_report(folder, *grid)
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return SimpleNamespace(folder=folder, page=folder / "report.html", text=folder / "report.md", files=files)


@pytest.fixture(scope="module")
def grid():
    predictions = cases.predictions(MODELS, ARMS, folds=range(3))
    analysis = analyse(predictions, cases.contrasts(MODELS), resamples=200)
    return predictions, analysis, cases.facts(MODELS, ARMS, folds=range(3), seeds=(0,))


@pytest.fixture(scope="module")
def written(grid, tmp_path_factory):
    return written_to(tmp_path_factory.mktemp("grid") / "report", *grid)


def hashes(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir() if p.is_file()}


def plain_figures(monkeypatch):
    """Drawing takes most of the time, and these tests are about files."""
    drawn = Image(b"<svg/>", b"png", 1.0)
    monkeypatch.setattr(report_folder, "image", lambda figure: drawn)
    for name in sections.FIGURES:
        monkeypatch.setattr(sections, name, lambda *args: None)


def test_everything_is_there(written):
    assert {path.name for path in written.files} == ALWAYS
    assert written.page.is_file()
    assert written.text.is_file()
    for name in ALWAYS:
        if name.endswith(".png"):
            assert (written.folder / name).read_bytes().startswith(b"\x89PNG")
    Page(written.page.read_text())
    assert not [p for p in written.folder.parent.iterdir() if p != written.folder]


def test_first_paragraph_is_the_decision(grid, written):
    text = Page(written.page.read_text()).text
    for sentence in decision_sentences(grid[1]):
        assert " ".join(sentence.split()) in text


def test_every_number_can_be_recomputed_by_the_lines_it_prints(grid, written, monkeypatch):
    source = written.text.read_text().split("```python\n")[1].split("\n```")[0]
    monkeypatch.chdir(written.folder)
    scope = {}
    exec(source, scope)
    again = scope["analysis"]
    assert again.to_dict() == grid[1].to_dict()
    held = again.to_dict() | {"answer": decision_sentences(again)}
    assert json.loads(json.dumps(held)) == json.loads(Path("analysis.json").read_text())
    for name, text in csv_files(again, grid[2]).items():
        assert Path(name).read_text() == text
    assert len(Predictions.from_parquet(Path("predictions.parquet"))) == len(grid[0])


def test_the_same_grid_gives_the_same_bytes(grid, written, tmp_path):
    again = written_to(tmp_path / "report", *grid)
    assert hashes(again.folder) == hashes(written.folder)


def full_disk(*args):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_leaves_the_older_report_whole(grid, tmp_path, monkeypatch):
    plain_figures(monkeypatch)
    folder = tmp_path / "report"
    write_report(folder, *grid)
    before = hashes(folder)
    for name in ("markdown", "page", "csv_files", "_swap"):
        with monkeypatch.context() as patch:
            patch.setattr(write if name == "csv_files" else report_folder, name, full_disk)
            with pytest.raises(StudyError if name != "csv_files" else (StudyError, OSError), match="No space left"):
                write_report(folder, grid[0], grid[1], replace(grid[2], name="another"))
        assert hashes(folder) == before
        assert list(tmp_path.iterdir()) == [folder]


def test_a_rename_that_fails_brings_the_older_report_back(grid, tmp_path, monkeypatch):
    plain_figures(monkeypatch)
    folder = tmp_path / "report"
    write_report(folder, *grid)
    before = hashes(folder)
    rename = Path.rename

    def fails(self, target):
        return full_disk() if self.name == ".report.partial" else rename(self, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(StudyError, match="cannot be written"):
        write_report(folder, grid[0], grid[1], replace(grid[2], name="another"))
    assert hashes(folder) == before
    assert list(tmp_path.iterdir()) == [folder]


def test_what_a_killed_writer_left_is_put_in_order(grid, tmp_path, monkeypatch):
    plain_figures(monkeypatch)
    folder = tmp_path / "report"
    write_report(folder, *grid)
    (folder / "notes.txt").write_text("mine")
    before = hashes(folder)
    folder.rename(tmp_path / ".report.old")  # killed between the two renames
    (tmp_path / ".report.partial").mkdir()
    (tmp_path / ".report.partial" / "half.csv").write_text("1,")
    write_report(folder, *grid)
    assert hashes(folder) == before
    assert list(tmp_path.iterdir()) == [folder]


def test_a_new_report_replaces_ours_and_keeps_what_people_added(grid, tmp_path, monkeypatch):
    plain_figures(monkeypatch)
    folder = tmp_path / "deep" / "report"
    write_report(folder, *grid)
    (folder / "notes.txt").write_text("mine")
    (folder / "more").mkdir()
    (folder / "more" / "a.txt").write_text("a")
    (folder / "dose_response.png").write_bytes(b"of an older grid")
    write_report(folder, grid[0], grid[1], replace(grid[2], name="renamed"))
    assert (folder / "notes.txt").read_text() == "mine"
    assert (folder / "more" / "a.txt").read_text() == "a"
    assert not (folder / "dose_response.png").exists()
    assert "renamed: does synthetic data help?" in (folder / "report.html").read_text()


def test_a_linked_folder_is_followed_every_time(tmp_path):
    place, link = tmp_path / "place", tmp_path / "link"
    place.mkdir()
    link.symlink_to(place)
    for text in ("first", "second", "third"):
        report_folder.write_folder(link, lambda made, text=text: (made / "report.html").write_text(text), {"report.html"})
        assert (place / "report.html").read_text() == text
    assert link.is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "place"]


def test_refusals(grid, tmp_path):
    predictions, analysis, facts = grid
    other = tmp_path / "work"
    other.mkdir()
    (other / "thesis.tex").write_text("years")
    with pytest.raises(StudyError, match="something other than a report"):
        write_report(other, predictions, analysis, facts)
    with pytest.raises(StudyError, match="is a file"):
        write_report(other / "thesis.tex", predictions, analysis, facts)
    with pytest.raises(StudyError, match="arm 'shsgan_1'"):
        write_report(tmp_path / "report", predictions, analysis, replace(facts, arms={"real": "", "oversampled_1": ""}))
    with pytest.raises(StudyError, match="model 'spectral_logistic'"):
        write_report(tmp_path / "report", predictions, analysis, replace(facts, models={"cnn": ""}))
    assert (other / "thesis.tex").read_text() == "years"
    assert not (tmp_path / "report").exists()


def test_one_fold_and_one_seed_with_two_ratios(tmp_path, monkeypatch):
    plain_figures(monkeypatch)
    arms = (*ARMS, "oversampled_2", "shsgan_2")
    doses = cases.SMALL_DOSES | {"shsgan_2": Dose("shsgan", 2.0, "oversampled_2")}
    predictions = cases.predictions(MODELS, arms, folds=(0,), lesions=12)
    analysis = analyse(predictions, cases.contrasts(MODELS, doses), resamples=100)
    facts = cases.facts(MODELS, arms, doses, folds=(0,), seeds=(0,))
    report = written_to(tmp_path / "report", predictions, analysis, facts)
    assert {path.name for path in report.files} == ALWAYS | {"dose_response.png"}
    with (report.folder / "contrasts.csv").open(newline="") as stream:
        assert len(list(csv.DictReader(stream))) == 4
    assert "nan" not in report.page.read_text().split("<main>")[0].lower().split()
