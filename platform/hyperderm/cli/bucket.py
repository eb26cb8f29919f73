"""Commands for object storage: describe a bucket, make links to a store, and remove what crashed writers left."""

from typing import Annotated

import typer
from rich.console import Console

from hyperderm.cli import app

bucket_app = typer.Typer(help="Look at a bucket, share a store by links, clean up after a crash.", rich_markup_mode=None)
app.add_typer(bucket_app, name="bucket")

Uri = Annotated[str, typer.Argument(help="s3://bucket, or a prefix or store in it.")]


@bucket_app.callback(invoke_without_command=True)
def _bucket(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@bucket_app.command("info")
def info(uri: Uri) -> None:
    """Whether a bucket exists, where, and whether it keeps versions."""
    from hyperderm.store.buckets import bucket_facts

    facts = bucket_facts(uri)
    _say(f"bucket {facts.bucket} at {facts.endpoint}: {'exists' if facts.exists else 'does not exist'}")
    if facts.exists:
        _say(f"region {facts.region or 'not told'}, versioning {facts.versioning or 'not told'}")


@bucket_app.command("links")
def links(
    store: Annotated[str, typer.Argument(help="An s3:// store.")],
    hours: Annotated[float, typer.Option(min=0.01, max=168, help="How long they hold; a week at most.")] = 24.0,
) -> None:
    """Links to every file of a store: whoever has one can read that file, without a key."""
    from hyperderm.store.buckets import presign

    for name, link in presign(store, round(hours * 3600)):
        _say(f"{name}\t{link}")


@bucket_app.command("clean")
def clean(
    uri: Uri,
    older_than: Annotated[float, typer.Option(min=0, help="Hours; a writer at work leaves the same.")] = 24.0,
    remove: Annotated[bool, typer.Option("--remove", help="Remove it; without, it is listed.")] = False,
) -> None:
    """What crashed writers left: multipart uploads never completed, parts no manifest names."""
    from datetime import UTC, datetime, timedelta

    from hyperderm.store.buckets import abort_incomplete, list_incomplete

    age = timedelta(hours=older_than)
    if remove:
        found = abort_incomplete(uri, age)
    else:
        found = [one for one in list_incomplete(uri) if datetime.now(UTC) - one.since >= age]
    for one in found:
        size = "" if one.bytes is None else f", {one.bytes / 1e6:.1f} MB"
        _say(f"{one.kind} {one.key}, since {one.since:%Y-%m-%d %H:%M} UTC{size}")
    word = "removed" if remove else "found; --remove removes it"
    _say(f"{len(found)} left by crashed writers {word}")


def _say(text: str) -> None:
    Console(emoji=False).print(text, highlight=False, markup=False, soft_wrap=True)
