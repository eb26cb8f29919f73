"""Write a report as one folder, either whole or not at all; an older report stays until the new one is complete."""

import shutil
from collections.abc import Callable, Mapping, Set
from pathlib import Path
from tempfile import TemporaryDirectory

from hyperderm.durable import sync
from hyperderm.errors import StudyError
from hyperderm.reports.document import Content, image, markdown, page
from hyperderm.training.run_folder import PAGE

TEXT = "report.md"


def write_folder(folder: Path, fill: Callable[[Path], None], ours: Set[str]) -> None:
    """Let `fill` write a report into a new folder, and put that in the place of an older report at `folder`.

    Args:
        folder: a folder that is absent, empty or holds an older report; its parents are created.
        fill: writes all files of the report into the empty folder that it is given.
        ours: names of files that an older report may have; all other files in `folder` are kept.

    Raises:
        StudyError: the folder holds something else or cannot be written. The older report is then unchanged.
    """
    check_free(folder)
    folder = folder.resolve()  # a link is followed: renamed, it could not be removed later
    staging, old = (folder.with_name(f".{folder.name}.{state}") for state in ("partial", "old"))
    try:
        _settle(folder, staging, old)
        staging.mkdir(parents=True)
        fill(staging)
        _keep_others(folder, staging, ours)
        sync(staging)
        _swap(folder, staging, old)
    except OSError as error:
        raise StudyError(
            f"the report cannot be written to {folder}: {error}", "Check the place, its space and rights, and run it again."
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def check_free(folder: Path) -> None:
    """Refuse a place where something other than a report stands.

    Raises:
        StudyError: the place is a file, or a folder of other things.
    """
    if folder.exists() and not folder.is_dir():
        raise StudyError(f"{folder} is a file", "Name a folder for the report.")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / PAGE).is_file():
        raise StudyError(f"{folder} holds something other than a report", "Name a folder of its own for the report.")


def check_writable(folder: Path) -> None:
    """Prove, before long work, that a report can be written beside and into `folder`.

    Raises:
        StudyError: its place cannot be written.
    """
    folder = folder.resolve()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent):
            pass
    except OSError as error:
        raise StudyError(
            f"the report cannot be written to {folder}: {error}", "Check the place, its space and rights, and run it again."
        ) from error


def write_pages(folder: Path, content: Content, texts: Mapping[str, str]) -> None:
    """Write a report as a page and as Markdown, its figures as PNG, and further text files by name."""
    images = {d.name: image(d.draw()) for section in content.sections for d in section.drawings}
    for name, drawn in images.items():
        (folder / f"{name}.png").write_bytes(drawn.png)
    for name, text in {**texts, TEXT: markdown(content), PAGE: page(content, images)}.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")


def _settle(folder: Path, staging: Path, old: Path) -> None:
    """Clean up after a killed writer: remove an unfinished report, and restore an old report that has no successor."""
    shutil.rmtree(staging, ignore_errors=True)
    if old.is_dir():
        if folder.exists():
            shutil.rmtree(old)
        else:
            old.rename(folder)


def _keep_others(folder: Path, staging: Path, ours: Set[str]) -> None:
    """Copy the files that users put beside an older report."""
    for path in [path for path in folder.iterdir() if path.name not in ours] if folder.is_dir() else ():
        if path.is_dir():
            shutil.copytree(path, staging / path.name, symlinks=True)
        else:
            shutil.copy2(path, staging / path.name, follow_symlinks=False)


def _swap(folder: Path, staging: Path, old: Path) -> None:
    """Replace the old report by the new one; if the second of the two renames fails, restore the old report."""
    if folder.is_dir():
        folder.rename(old)
    try:
        staging.rename(folder)
    except OSError:
        if old.is_dir():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)
