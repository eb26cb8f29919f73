"""Check an S3 server before it is used; claim, list and remove objects; explain the server's refusals with the remedy."""

import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from hyperderm.errors import StorageAway, StoreError
from hyperderm.store.location import PATIENCE_S, Access, Location, aws_session, locate
from hyperderm.store.manifest import LESIONS, MANIFEST

CONNECT_S, READ_S = 3, 3
"""The limits (s) of one request of the probe; the first request is tried twice and ends within 8 s."""
FIRST_WRITE_S = 8
"""The limit (s) of the first write to a server that has answered: a new one prepares its disk meanwhile."""
PART = re.compile(rf"(?P<store>.*)/{LESIONS}/[0-9a-f]{{8}}/part-\d{{5}}(\.regrouped)?\.(parquet|json)")
"""Matches a part's key after a slash, as `write_store` names it on S3, where each writer has its own folder."""
PASSING = frozenset(("", "ConditionalRequestConflict", "InternalError", "RequestTimeout", "ServiceUnavailable", "SlowDown"))
"""Error codes of refusals that waiting solves (the conflict: another writer is at work); "" means no answer."""


def prepare(location: Location, write: bool) -> Location:
    """Return `location` after proving that it can be read, and written if `write`; a local folder is not checked.

    Raises:
        StoreError: for the same reasons as in `probe`.
    """
    if location.access is not None:
        probe(location, write)
    return location


def probe(location: Location, write: bool, attempts: int = 2) -> None:
    """Prove that the S3 server answers, accepts the access key, holds the bucket, and with `write` can be written to.

    Nothing visible is written: a multipart upload is begun and abandoned. `attempts` is how often the first request is sent.

    Raises:
        StoreError: raised within 10 s with a separate sentence for each case: the server is unreachable, the key is unknown,
            the secret is wrong, the token has expired, the bucket does not exist, it is in another region, may not be
            listed, or is read-only.
    """
    with explained(location):
        reply = client_of(location, attempts).list_objects_v2(Bucket=location.bucket, Prefix=location.prefix, MaxKeys=1)
        where = region_told(reply)
        if where and where != access_of(location).region:  # boto3 follows a redirection, pyarrow does not
            raise _elsewhere(location, where)
        if write:
            client, target = client_of(location, attempts=1), target_of(location, f".hyperderm-{uuid.uuid4().hex[:8]}")
            upload = client.create_multipart_upload(**target)["UploadId"]
            client.abort_multipart_upload(**target, UploadId=upload)


def round_trip(location: Location) -> None:
    """Prove all that `probe` proves, then write one object below `location`, read it back and remove it.

    No request is repeated, so a server that is silent costs 3 s, and one that cannot write 8 s more.

    Raises:
        StoreError: for the same reasons as in `probe`; or the object does not come back as it was written, or cannot be
            removed.
    """
    probe(location, write=True, attempts=1)
    client, target = client_of(location, 1, FIRST_WRITE_S), target_of(location, f".hyperderm-{uuid.uuid4().hex[:8]}")
    content = uuid.uuid4().bytes
    with explained(location):
        client.put_object(**target, Body=content)
        try:
            read = client.get_object(**target)["Body"].read()
        finally:
            client.delete_object(**target)
    if read != content:
        raise StoreError(f"{location.uri}: an object comes back with another content", "Check the server and its log.")


def occupied(location: Location) -> bool:
    """Return whether no store may be written here; on S3, parts of writers without a manifest do not count.

    Raises:
        StoreError: the server does not answer or refuses.
    """
    if location.access is None:
        return location.exists()
    below = f"{location.prefix}/" if location.prefix else ""
    parts = (PART.fullmatch("/" + item["Key"].removeprefix(below)) for item in objects(location))
    return any(part is None or part["store"] for part in parts) or bool(location.prefix and _is_object(location))


def vacant(uri: str) -> Location:
    """Return the place at `uri`, after proving that a store may be written there.

    Raises:
        StoreError: it holds something, it lies inside another store, or `probe` fails.
    """
    target = prepare(locate(uri), write=True)
    if around := _store_around(target):
        raise StoreError(f"--store {uri} lies inside the store {around}", "Choose a place of its own.")
    if occupied(target):
        raise StoreError(f"--store {uri}: something is already there", "Choose another place, or remove it first.")
    return target


def _store_around(location: Location) -> str | None:
    """Return the folder of a store on a disk that holds `location`; on S3 a prefix below another one harms nothing."""
    if not location.local:
        return None
    folders = Path(location.path).resolve().parents
    return next((str(each) for each in folders if (each / MANIFEST).is_file() and (each / LESIONS).is_dir()), None)


def _is_object(location: Location) -> bool:
    from botocore.exceptions import ClientError

    with explained(location):
        try:
            client_of(location).head_object(Bucket=location.bucket, Key=location.prefix)
        except ClientError as error:
            if code_of(error) != "404":
                raise
            return False
    return True


def put_new(location: Location, name: str, content: bytes) -> None:
    """Write the object `name` if it does not exist: of several simultaneous writers, exactly one succeeds.

    Raises:
        FileExistsError: another writer was faster; StoreError: the server does not answer, refuses, or does not support
            If-None-Match, and it is unknown whether the object was written.
    """
    client, target = client_of(location), target_of(location, name)
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            with explained(location):
                client.put_object(**target, Body=content, IfNoneMatch="*")
                return
        except StoreError as error:
            code = code_of(error.__cause__)
            if code == "PreconditionFailed":
                if location.read_bytes(name) == content:  # an answer was lost: it is ours that is there
                    return
                raise FileExistsError(f"{location.uri}/{name}") from None
            if code not in PASSING or time.monotonic() > deadline:
                raise
        time.sleep(0.5)


def clear(location: Location, folder: str) -> bool:
    """Remove every object and multipart upload below `folder`; return False if the server allows no removal now."""
    below = replace(location, path=location.join(folder))
    try:
        for item in list(objects(below)):
            remove(location, item["Key"])
        for item in list(uploads(below)):
            remove(location, item["Key"], item["UploadId"])
    except StoreError:
        return False
    return True


def remove(location: Location, key: str, upload: str | None = None) -> None:
    """Remove the object `key` of the bucket, or abandon its `upload`.

    Objects are removed one by one, because not every server supports DeleteObjects.

    Raises:
        StoreError: the server does not answer or refuses.
    """
    with explained(location):
        if upload is None:
            client_of(location).delete_object(Bucket=location.bucket, Key=key)
        else:
            client_of(location).abort_multipart_upload(Bucket=location.bucket, Key=key, UploadId=upload)


def objects(location: Location) -> Iterator[dict[str, Any]]:
    """Yield every object below `location`, as S3 lists it (Key, LastModified, Size).

    Raises:
        StoreError: the server does not answer or refuses.
    """
    yield from _pages(location, "list_objects_v2", "Contents")


def uploads(location: Location) -> Iterator[dict[str, Any]]:
    """Yield every incomplete multipart upload below `location` (Key, UploadId, Initiated).

    Raises:
        StoreError: the server does not answer or refuses.
    """
    yield from _pages(location, "list_multipart_uploads", "Uploads")


def _pages(location: Location, operation: str, listed: str) -> Iterator[dict[str, Any]]:
    prefix = f"{location.prefix}/" if location.prefix else ""
    with explained(location):
        for page in client_of(location).get_paginator(operation).paginate(Bucket=location.bucket, Prefix=prefix):
            yield from page.get(listed, ())


def access_of(location: Location) -> Access:
    """Return the settings for the server of `location`.

    Raises:
        StoreError: the location is not on S3.
    """
    if location.access is None:
        raise StoreError(f"{location.uri} is not in object storage", "Give an s3://bucket/prefix address.")
    return location.access


def target_of(location: Location, name: str) -> dict[str, str]:
    """Return the bucket and key of the file `name` in the form that boto3 takes."""
    return {"Bucket": location.bucket, "Key": f"{location.prefix}/{name}" if location.prefix else name}


def region_told(reply: dict[str, Any]) -> str | None:
    """Return the bucket's region if a server's answer names it, as Amazon's servers do, else None."""
    where = reply.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("x-amz-bucket-region")
    return str(where) if where else None


def client_of(location: Location, attempts: int = 2, read_s: int = READ_S) -> Any:  # noqa: ANN401 - made at run time
    """Return boto3's client for the server of `location`; by default a request without an answer ends within 8 s."""
    return _client(access_of(location), attempts, read_s)


@lru_cache(maxsize=8)
def _client(access: Access, attempts: int, read_s: int) -> Any:  # noqa: ANN401
    from botocore.config import Config

    return aws_session().client(
        "s3",
        endpoint_url=access.endpoint,
        region_name=access.region,
        aws_access_key_id=access.key,
        aws_secret_access_key=access.secret,
        aws_session_token=access.token,
        verify=access.ca_file,
        config=Config(
            connect_timeout=CONNECT_S,
            read_timeout=read_s,
            retries={"total_max_attempts": attempts, "mode": "standard"},
            s3={"addressing_style": "virtual" if access.virtual else "auto"},
        ),
    )


def code_of(error: BaseException | None) -> str:
    """Return the error code of an S3 server's refusal, or "" if the server gave no answer."""
    return str((getattr(error, "response", None) or {}).get("Error", {}).get("Code", ""))


@contextmanager
def explained(location: Location) -> Iterator[None]:
    """Turn boto3's exceptions into a StoreError with the remedy."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        raise _refused(location, error) from error
    except BotoCoreError as error:
        access, reason = access_of(location), " ".join(str(error).split()).rstrip(".")
        if "CERTIFICATE_VERIFY_FAILED" in reason:
            raise StoreError(
                f"{location.uri}: the certificate of {access.endpoint} is not trusted here ({reason})",
                "Set AWS_CA_BUNDLE to the file of the CA that signed it, or correct AWS_ENDPOINT_URL_S3.",
            ) from error
        raise StorageAway(
            f"{location.uri}: no S3 server answers at {access.endpoint} ({type(error).__name__}: {reason})",
            "Start it, correct AWS_ENDPOINT_URL_S3, or check the network.",
        ) from error


def _refused(location: Location, error: Any) -> StoreError:  # noqa: ANN401 - a ClientError, whose class is not typed
    """Return the error with the sentence for the server's answer."""
    uri, access, code = location.uri, access_of(location), code_of(error)
    where = error.response.get("Error", {}).get("Region") or region_told(error.response)
    if code in ("PermanentRedirect", "301", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"):
        return _elsewhere(location, where)
    if code in ("AccessDenied", "AllAccessDisabled") and error.operation_name == "CreateMultipartUpload":
        return StoreError(
            f"{uri}: access key {access.key} may read the bucket {location.bucket!r} but not write to it",
            "Use a key with the right to write, or another bucket.",
        )
    sentences = {
        "InvalidAccessKeyId": (f"{access.endpoint} does not know the access key {access.key}", _CORRECT_KEY),
        "SignatureDoesNotMatch": (f"the secret of access key {access.key} is wrong", _CORRECT_SECRET),
        "ExpiredToken": (f"the session token of access key {access.key} has expired", _RENEW),
        "InvalidToken": (f"the session token of access key {access.key} is not valid", _RENEW),
        "NotImplemented": (f"{access.endpoint} has no {error.operation_name} as asked here", _OTHER_SERVER),
        "RequestTimeTooSkewed": ("this machine's clock differs too much from the server's", "Set the clock."),
        "NoSuchBucket": (
            f"there is no bucket {location.bucket!r} at {access.endpoint}",
            "Make it first, or correct the address.",
        ),
        "AccessDenied": (
            f"access key {access.key} has no right to {error.operation_name} in the bucket {location.bucket!r}",
            "Give it the right to list, read and (to make a store) write, or use another key.",
        ),
    }
    message = " ".join(str(error.response.get("Error", {}).get("Message", "")).split()).rstrip(".")
    other = (
        f"{access.endpoint} answered {code or 'nonsense'} to {error.operation_name} ({message})",
        "Check that AWS_ENDPOINT_URL_S3 is an S3 server, and its log.",
    )
    what, remedy = sentences.get(code, other)
    return (StorageAway if code and code in PASSING else StoreError)(f"{uri}: {what}", remedy)


_CORRECT_KEY = "Correct AWS_ACCESS_KEY_ID or AWS_PROFILE, or the endpoint."
_CORRECT_SECRET = "Correct AWS_SECRET_ACCESS_KEY or AWS_PROFILE."  # noqa: S105 - no secret
_OTHER_SERVER = "A store needs conditional writes (If-None-Match), or two writers cannot be told apart; use another server."
_RENEW = "Log in again (aws sso login), or renew AWS_SESSION_TOKEN."


def _elsewhere(location: Location, where: str | None) -> StoreError:
    region = where or "another region"
    return StoreError(
        f"{location.uri}: the bucket {location.bucket!r} is in {region}, not in {access_of(location).region}",
        f"Set AWS_REGION={where}." if where else "Set AWS_REGION to the bucket's.",
    )
