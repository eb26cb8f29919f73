"""Bucket operations beside reading and writing a store: facts, links, and the clean-up after a crash."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from hyperderm.errors import StoreError
from hyperderm.store.location import Location, locate
from hyperderm.store.manifest import MANIFEST, Manifest
from hyperderm.store.reader import open_store
from hyperderm.store.s3 import (
    PART,
    access_of,
    client_of,
    code_of,
    explained,
    objects,
    probe,
    region_told,
    remove,
    target_of,
    uploads,
)

LONGEST_LINK_S = 7 * 24 * 3600
"""The longest time (s) for which S3 signs a link."""


@dataclass(frozen=True)
class BucketFacts:
    """The facts on a bucket that its server reports.

    Attributes:
        bucket: the bucket's name.
        endpoint: the URL of the server.
        exists: whether the bucket exists for this access key.
        region: the bucket's region; None if the server does not report it.
        versioning: `enabled`, `suspended`, `off`; None if the server does not report it.
    """

    bucket: str
    endpoint: str
    exists: bool
    region: str | None = None
    versioning: Literal["enabled", "suspended", "off"] | None = None


@dataclass(frozen=True)
class Incomplete:
    """An object or upload in a bucket that was left by a writer that crashed or is still at work.

    Attributes:
        key: the object's key within the bucket.
        kind: `upload`: a multipart upload that was not completed (invisible, but paid for); `part`: a part that no manifest
            names.
        since: the time when the upload began or the part was written.
        bytes: the size of a part in bytes; None for an upload.
        upload_id: the id of an upload.
    """

    key: str
    kind: Literal["upload", "part"]
    since: datetime
    bytes: int | None = None
    upload_id: str | None = None


def presign(uri: str, seconds: int) -> list[tuple[str, str]]:
    """Return (name, link) of the manifest and every part of the store at `uri`.

    Anyone who has a link can read that file.

    Args:
        uri: an `s3://` store.
        seconds: how long the links are valid, at most a week; they expire earlier if temporary credentials do.

    Raises:
        StoreError: there is no S3 store, or S3 does not sign links for this time.
    """
    if not 1 <= seconds <= LONGEST_LINK_S:
        raise StoreError(f"links for {seconds} s cannot be made", f"S3 signs for 1 to {LONGEST_LINK_S} s (a week).")
    location = _remote(uri)
    names = [MANIFEST, *(part.path for part in open_store(uri, verify=False).manifest.parts)]
    client = client_of(location)
    with explained(location):
        return [
            (name, client.generate_presigned_url("get_object", Params=target_of(location, name), ExpiresIn=seconds))
            for name in names
        ]


def bucket_facts(uri: str) -> BucketFacts:
    """Return what the server reports on the bucket of `uri`; a missing bucket is a fact, not an error.

    Raises:
        StoreError: the address is not on S3, or the server does not answer or refuses the access key.
    """
    from botocore.exceptions import ClientError

    location = _remote(uri)
    client, endpoint = client_of(location), access_of(location).endpoint
    with explained(location):
        try:
            region = region_told(client.list_objects_v2(Bucket=location.bucket, MaxKeys=1))
        except ClientError as error:
            if code_of(error) != "NoSuchBucket":
                raise
            return BucketFacts(location.bucket, endpoint, exists=False)
        versioning: Literal["enabled", "suspended", "off"] | None = None
        try:
            region = region or client.get_bucket_location(Bucket=location.bucket)["LocationConstraint"]
            told = client.get_bucket_versioning(Bucket=location.bucket).get("Status", "off").lower()
            versioning = told if told in ("enabled", "suspended") else "off"
        except ClientError:  # a server that has no such thing, or a key that may not ask: the fields say None
            pass
    return BucketFacts(location.bucket, endpoint, True, region, versioning)


def list_incomplete(uri: str) -> list[Incomplete]:
    """Return what crashed writers left below `uri` (a bucket, a prefix, or a store), oldest first.

    A writer that is still at work leaves the same objects; `since` helps to tell them apart.

    Raises:
        StoreError: the address is not on S3, or the server does not answer or refuses.
    """
    location = _remote(uri)
    probe(location, write=False)
    found = [Incomplete(one["Key"], "upload", one["Initiated"], upload_id=one["UploadId"]) for one in uploads(location)]
    named: dict[str, set[str] | None] = {}
    for item in objects(location):
        part = PART.fullmatch("/" + item["Key"])
        if part is None:
            continue
        store = part["store"].lstrip("/")
        if store not in named:
            named[store] = _named(location, store)
        keys = named[store]
        if keys is not None and item["Key"] not in keys:
            found.append(Incomplete(item["Key"], "part", item["LastModified"], item["Size"]))
    return sorted(found, key=lambda one: (one.since, one.key))


def abort_incomplete(uri: str, older_than: timedelta) -> list[Incomplete]:
    """Remove the entries of `list_incomplete` that are older than `older_than` (a writer may be at work); return them.

    Raises:
        StoreError: for the same reasons as in `list_incomplete`, or because the bucket is read-only.
    """
    location = _remote(uri)
    old = [one for one in list_incomplete(uri) if datetime.now(UTC) - one.since >= older_than]
    if old:
        probe(location, write=True)
    for one in old:
        remove(location, one.key, one.upload_id)
    return old


def _named(location: Location, store: str) -> set[str] | None:
    """Return the keys that the manifest of the store at the key `store` names, or None if the manifest is unreadable."""
    path = f"{location.bucket}/{store}".rstrip("/")
    place = Location(f"s3://{path}", location.fs, path, location.access)
    try:
        manifest = Manifest.model_validate_json(place.read_bytes(MANIFEST))
    except FileNotFoundError:
        return set()
    except ValueError:
        return None
    return {target_of(place, part.path)["Key"] for part in manifest.parts}


def _remote(uri: str) -> Location:
    location = locate(uri)
    access_of(location)
    return location
