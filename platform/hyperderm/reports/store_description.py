"""Describe the content of a store in words."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hyperderm.store.manifest import Manifest

SHOWN = 20

SHARED = 4
"""The number of files that are named when many files share one reason."""


def say(console: Console, *lines: str) -> None:
    """Print lines as they are: not wrapped, without colours, and no part of them taken for markup."""
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def describe(console: Console, uri: str, manifest: Manifest) -> None:
    """Print the content of a store, and every file that was set aside."""
    h, w, b = manifest.shape
    nm = manifest.wavelengths_nm
    parts = len(manifest.parts)
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_row("store", Text(uri))  # a path may hold what rich takes for markup
    table.add_row("fingerprint", manifest.fingerprint)
    held = (
        f"{nm[0]:g} … {nm[-1]:g} nm, {manifest.kind}" if manifest.kind != "abundances" else f"abundances of {b} endmembers"
    )
    table.add_row("cubes", f"{manifest.lesions} of {h} x {w} x {b}, {held}")
    table.add_row("size", f"{sum(part.bytes for part in manifest.parts) / 1e6:.1f} MB in {parts} part{'s' * (parts > 1)}")
    table.add_row("diagnoses", ", ".join(f"{name} {count}" for name, count in manifest.diagnoses.items()))
    if manifest.folds:
        table.add_row("folds", f"{manifest.folds.count}, seed {manifest.folds.seed}, {len(manifest.folds.groups)} groups")
    else:
        table.add_row("folds", "none: no training roles")
    console.print(table)
    say(console, *(f"note: {warning}" for warning in manifest.warnings))
    list_aside(console, [(one.file, one.reason) for one in manifest.set_aside])


def list_aside(console: Console, aside: list[tuple[str, str]], *, whole: bool = False) -> None:
    """Print the files that were set aside, with their reasons; many files with one reason share a line.

    Args:
        console: the console to print on.
        aside: pairs of a file and its reason.
        whole: print every reason; if a manifest holds the reasons, printing the first `SHOWN` lines is enough.
    """
    if not aside:
        return
    console.print(f"{len(aside)} file{'s' * (len(aside) > 1)} set aside:", highlight=False)
    by_reason: dict[str, list[str]] = {}
    for file, reason in aside:
        by_reason.setdefault(reason, []).append(file)
    lines: list[str] = []
    for reason, files in by_reason.items():
        several = len(files) > SHARED
        shown = [f"{', '.join(files[:SHARED])} and {len(files) - SHARED} more"] if several else files
        lines += [f"  {file}: {reason}" for file in shown]
    say(console, *(lines if whole else lines[:SHOWN]))
    if len(lines) > SHOWN and not whole:
        console.print(f"  … {len(lines) - SHOWN} more, all in the manifest", highlight=False)
