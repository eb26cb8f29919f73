"""Commands for a store: info, verify, diff, export."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from hyperderm.cli import app

if TYPE_CHECKING:
    from hyperderm.store.diff import Difference

SHOWN = 20

store_app = typer.Typer(help="Look at a store, prove it, compare two, or write one out.", rich_markup_mode=None)
app.add_typer(store_app, name="store")


@store_app.callback(invoke_without_command=True)
def _store(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@store_app.command("info")
def info(store: Annotated[str, typer.Argument(help="The store.")]) -> None:
    """What a store holds; every part is hashed."""
    from hyperderm.reports.store_description import describe
    from hyperderm.store.reader import open_store
    from hyperderm.store.synthetic import origin_of

    console, manifest = Console(emoji=False), open_store(store).manifest
    describe(console, store, manifest)
    if origin_of(manifest) is None:
        return
    from hyperderm.workflows.tracked_run import audit_notes  # seconds of imports, for synthetic sets alone

    for said in audit_notes(manifest):
        _say(console, said)


@store_app.command("verify")
def verify(store: Annotated[str, typer.Argument(help="The store.")]) -> None:
    """Hash every part and check every row; exit code 2 where something is wrong."""
    from hyperderm.errors import StoreError
    from hyperderm.reports.progress import counting
    from hyperderm.store.verify import Verdict, verify_store

    console = Console(emoji=False)
    with counting(console, f"verifying {escape(store)}") as bar:
        task = bar.add_task("", total=None)

        def tell(verdict: Verdict, total: int) -> None:
            bar.update(task, advance=1, total=total)
            said = "; ".join(verdict.faults) or f"sound, {verdict.rows} rows, {verdict.bytes / 1e6:.1f} MB"
            _say(bar.console, f"{verdict.path}: {said}")

        found = verify_store(store, tell)
    for note in found.notes:
        _say(console, f"note: {note}")
    if not found.sound:
        several = len(found.faults) > 1
        _say(console, f"{len(found.faults)} fault{'s' * several}:")
        for fault in found.faults:
            _say(console, f"  {fault}")
        more = f" (and {len(found.faults) - 1} more, listed above)" if several else ""
        raise StoreError(f"{store}: {found.faults[0]}{more}", "Restore it, or ingest again.")
    count, parts = found.manifest.lesions, len(found.parts)
    many = f"{count} lesion{'s' * (count != 1)} in {parts} part{'s' * (parts > 1)}"
    _say(console, f"sound: {many}, fingerprint {found.manifest.fingerprint}")


@store_app.command("diff")
def diff(
    a: Annotated[str, typer.Argument(help="A store.")],
    b: Annotated[str, typer.Argument(help="Another store.")],
) -> None:
    """What differs between two stores, lesion by lesion."""
    from hyperderm.reports.progress import counting
    from hyperderm.store.diff import diff_stores
    from hyperderm.store.reader import open_store

    console = Console(emoji=False)
    one, other = open_store(a), open_store(b)
    with counting(console, "comparing") as bar:
        task = bar.add_task("", total=None)
        found = diff_stores(one, other, lambda done, total: bar.update(task, completed=done, total=total))
    if found.same:
        files = "" if found.same_files else ": the same lesions and description, in other files"
        _say(console, f"the same{files}")
        return
    for change in found.fields:
        _say(console, f"{change.name}: {change.a} -> {change.b}")
    for name, ids in ((a, found.only_a), (b, found.only_b)):
        _list(console, f"only in {name}", list(ids))
    lines = [
        f"{one.lesion_id}: {', '.join(one.aspects)}" + "".join(f"; {word}" for word in one.words) for one in found.lesions
    ]
    _list(console, "in both, but different", lines)
    if found.fields and not (found.only_a or found.only_b or found.lesions):
        _say(console, "every lesion is the same")
    _tell_largest(console, found, one.manifest.wavelengths_nm)


@store_app.command("export")
def export(
    store: Annotated[str, typer.Argument(help="The store.")],
    out: Annotated[Path, typer.Option(help="Where the files go; nothing may be there yet.")],
    format_: Annotated[str, typer.Option("--format", help="mat (HSIDermoscopy's layout), envi or npz.")] = "mat",
) -> None:
    """A store as .mat, ENVI or .npz files, which `ingest` takes back bit by bit."""
    from hyperderm.reports.progress import counting
    from hyperderm.store.export import export_store
    from hyperderm.store.reader import open_store

    console = Console(emoji=False)
    with counting(console, f"exporting {escape(store)}") as bar:
        task = bar.add_task("", total=None)
        count = export_store(
            open_store(store), out, format_, lambda done, total: bar.update(task, completed=done, total=total)
        )
    _say(console, f"{count} lesion{'s' * (count != 1)} in {out}")


def _tell_largest(console: Console, found: "Difference", wavelengths_nm: Sequence[float]) -> None:
    if not any("cube" in one.aspects for one in found.lesions):
        return
    largest = found.largest()
    if largest is None:
        _say(console, "cubes of other bands or another shape: their values are not compared")
        return
    _say(console, "largest absolute difference of the changed cubes:")
    for nm, value in zip(wavelengths_nm, largest, strict=True):
        _say(console, f"  {nm:g} nm: {value:.6g}")


def _list(console: Console, title: str, lines: list[str]) -> None:
    if not lines:
        return
    _say(console, f"{title}: {len(lines)} lesion{'s' * (len(lines) > 1)}")
    for line in lines[:SHOWN]:
        _say(console, f"  {line}")
    if len(lines) > SHOWN:
        _say(console, f"  … {len(lines) - SHOWN} more")


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
