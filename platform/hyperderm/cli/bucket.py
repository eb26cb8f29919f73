"""Commands for object storage: describe a bucket, make links to a store, and remove what crashed writers left."""

from typing import Annotated

import typer

from hyperderm import workflows
from hyperderm.cli import add_group

bucket_app = add_group("bucket", "Look at a bucket, share a store by links, clean up after a crash.")

Uri = Annotated[str, typer.Argument(help="s3://bucket, or a prefix or store in it.")]


@bucket_app.command("info")
def info(uri: Uri) -> None:
    """Show whether a bucket exists, where it is, and whether it keeps versions."""
    workflows.bucket_info(uri)


@bucket_app.command("links")
def links(
    store: Annotated[str, typer.Argument(help="An s3:// store.")],
    hours: Annotated[float, typer.Option(min=0.01, max=168, help="How long they hold; a week at most.")] = 24.0,
) -> None:
    """Print links to every file of a store. Whoever has a link can read that file without a key."""
    workflows.bucket_links(store, hours=hours)


@bucket_app.command("clean")
def clean(
    uri: Uri,
    older_than: Annotated[float, typer.Option(min=0, help="Hours; a writer at work leaves the same.")] = 24.0,
    remove: Annotated[bool, typer.Option("--remove", help="Remove it; without, it is listed.")] = False,
) -> None:
    """List what crashed writers left: incomplete uploads, and parts that no manifest names."""
    workflows.bucket_clean(uri, older_than=older_than, remove=remove)
