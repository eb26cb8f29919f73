"""Look at stores and buckets: what they hold, whether they are sound, how two differ, files and links of them."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from hyperderm.errors import StoreError
from hyperderm.reports.progress import counting
from hyperderm.reports.store_description import SHOWN, describe, say
from hyperderm.store.manifest import Manifest

if TYPE_CHECKING:
    from hyperderm.store.buckets import BucketFacts, Incomplete
    from hyperderm.store.diff import Difference
    from hyperderm.store.verify import Verdict, Verification


def store_info(store: str) -> Manifest:
    """Print what a store holds, and return its manifest; every part is hashed.

    Args:
        store: URI of the store.

    Raises:
        StoreError: there is no store, or a part is not the one that its manifest names.
    """
    from hyperderm.store.reader import open_store
    from hyperderm.store.synthetic import origin_of

    console, manifest = Console(emoji=False), open_store(store).manifest
    describe(console, store, manifest)
    if origin_of(manifest) is not None:
        from hyperderm.workflows.run_tracking import audit_notes  # seconds of imports, for synthetic sets alone

        say(console, *audit_notes(manifest))
    return manifest


def store_verify(store: str) -> "Verification":
    """Hash every part of a store, check every row, and print and return what was found.

    Args:
        store: URI of the store.

    Raises:
        StoreError: there is no store, or something in it is wrong; all faults are printed before.
    """
    from hyperderm.store.verify import verify_store

    console = Console(emoji=False)
    with counting(console, f"verifying {escape(str(store))}") as bar:
        task = bar.add_task("", total=None)

        def tell(verdict: "Verdict", total: int) -> None:
            bar.update(task, advance=1, total=total)
            said = "; ".join(verdict.faults) or f"sound, {verdict.rows} rows, {verdict.bytes / 1e6:.1f} MB"
            say(bar.console, f"{verdict.path}: {said}")

        found = verify_store(store, tell)
    say(console, *(f"note: {note}" for note in found.notes))
    if not found.sound:
        several = len(found.faults) > 1
        say(console, f"{len(found.faults)} fault{'s' * several}:")
        say(console, *(f"  {fault}" for fault in found.faults))
        more = f" (and {len(found.faults) - 1} more, listed above)" if several else ""
        raise StoreError(f"{store}: {found.faults[0]}{more}", "Restore it, or ingest again.")
    count, parts = found.manifest.lesions, len(found.parts)
    many = f"{count} lesion{'s' * (count != 1)} in {parts} part{'s' * (parts > 1)}"
    say(console, f"sound: {many}, fingerprint {found.manifest.fingerprint}")
    return found


def store_diff(a: str, b: str) -> "Difference":
    """Print and return what differs between two stores, lesion by lesion.

    Args:
        a: URI of a store.
        b: URI of another store.

    Raises:
        StoreError: one of them is no store, or cannot be read.
    """
    from hyperderm.store.diff import diff_stores
    from hyperderm.store.reader import open_store

    console = Console(emoji=False)
    one, other = open_store(a), open_store(b)
    with counting(console, "comparing") as bar:
        task = bar.add_task("", total=None)
        found = diff_stores(one, other, lambda done, total: bar.update(task, completed=done, total=total))
    if found.same:
        files = "" if found.same_files else ": the same lesions and description, in other files"
        say(console, f"the same{files}")
        return found
    say(console, *(f"{change.name}: {change.a} -> {change.b}" for change in found.fields))
    for name, ids in ((a, found.only_a), (b, found.only_b)):
        _list(console, f"only in {name}", list(ids))
    lines = [
        f"{one.lesion_id}: {', '.join(one.aspects)}" + "".join(f"; {word}" for word in one.words) for one in found.lesions
    ]
    _list(console, "in both, but different", lines)
    if found.fields and not (found.only_a or found.only_b or found.lesions):
        say(console, "every lesion is the same")
    _tell_largest(console, found, one.manifest.wavelengths_nm)
    return found


def store_export(store: str, out: Path, *, form: str = "mat") -> int:
    """Write a store as files, which `ingest` takes back bit by bit, and return the number of lesions.

    Args:
        store: URI of the store.
        out: the folder of the files; nothing may be there yet.
        form: mat (HSIDermoscopy's layout), envi or npz.

    Raises:
        HyperdermError: there is no store, its cubes do not fit the form, or the place is taken. Nothing is left behind.
    """
    from hyperderm.store.export import export_store
    from hyperderm.store.reader import open_store

    console = Console(emoji=False)
    with counting(console, f"exporting {escape(str(store))}") as bar:
        task = bar.add_task("", total=None)
        count = export_store(open_store(store), out, form, lambda done, total: bar.update(task, completed=done, total=total))
    say(console, f"{count} lesion{'s' * (count != 1)} in {out}")
    return count


def bucket_info(uri: str) -> "BucketFacts":
    """Print and return whether a bucket exists, where, and whether it keeps versions.

    Args:
        uri: `s3://bucket`, or a prefix or store in it.

    Raises:
        StoreError: the address is not on S3, or the server does not answer or refuses the access key.
    """
    from hyperderm.store.buckets import bucket_facts

    console, facts = Console(emoji=False), bucket_facts(uri)
    say(console, f"bucket {facts.bucket} at {facts.endpoint}: {'exists' if facts.exists else 'does not exist'}")
    if facts.exists:
        say(console, f"region {facts.region or 'not told'}, versioning {facts.versioning or 'not told'}")
    return facts


def bucket_links(store: str, *, hours: float = 24.0) -> list[tuple[str, str]]:
    """Print and return (name, link) of every file of a store: whoever has a link can read that file, without a key.

    Args:
        store: URI of an `s3://` store.
        hours: how long the links are valid, at most 168 (a week).

    Raises:
        StoreError: there is no S3 store, or S3 does not sign links for this time.
    """
    from hyperderm.store.buckets import presign

    found = presign(store, round(hours * 3600))
    say(Console(emoji=False), *(f"{name}\t{link}" for name, link in found))
    return found


def bucket_clean(uri: str, *, older_than: float = 24.0, remove: bool = False) -> "list[Incomplete]":
    """Print and return what crashed writers left: multipart uploads never completed, parts that no manifest names.

    Args:
        uri: `s3://bucket`, or a prefix or store in it.
        older_than: the age in hours from which something counts as left; a writer at work leaves the same.
        remove: remove it; it is only listed otherwise.

    Raises:
        StoreError: the address is not on S3, or the server does not answer or refuses.
    """
    from hyperderm.store.buckets import abort_incomplete, list_incomplete

    console, age = Console(emoji=False), timedelta(hours=older_than)
    if remove:
        found = abort_incomplete(uri, age)
    else:
        found = [one for one in list_incomplete(uri) if datetime.now(UTC) - one.since >= age]
    for one in found:
        size = "" if one.bytes is None else f", {one.bytes / 1e6:.1f} MB"
        say(console, f"{one.kind} {one.key}, since {one.since:%Y-%m-%d %H:%M} UTC{size}")
    word = "removed" if remove else "found; --remove removes it"
    say(console, f"{len(found)} left by crashed writers {word}")
    return found


def _tell_largest(console: Console, found: "Difference", wavelengths_nm: Sequence[float]) -> None:
    if not any("cube" in one.aspects for one in found.lesions):
        return
    largest = found.largest()
    if largest is None:
        say(console, "cubes of other bands or another shape: their values are not compared")
        return
    say(console, "largest absolute difference of the changed cubes:")
    say(console, *(f"  {nm:g} nm: {value:.6g}" for nm, value in zip(wavelengths_nm, largest, strict=True)))


def _list(console: Console, title: str, lines: list[str]) -> None:
    if not lines:
        return
    say(console, f"{title}: {len(lines)} lesion{'s' * (len(lines) > 1)}")
    say(console, *(f"  {line}" for line in lines[:SHOWN]))
    if len(lines) > SHOWN:
        say(console, f"  … {len(lines) - SHOWN} more")
