"""The place of a store: a folder or an `s3://bucket/prefix`, opened with pyarrow.fs so that both are read alike.

boto3 finds the credentials, region and endpoint of S3 by the AWS conventions: `AWS_ACCESS_KEY_ID` and its companions,
`AWS_PROFILE` with its files and their `services` sections, `AWS_REGION` before `AWS_DEFAULT_REGION`, `AWS_ENDPOINT_URL_S3`
before `AWS_ENDPOINT_URL`, `AWS_CA_BUNDLE`. These settings are read once, when the address is opened, and are pickled with
the location, so that a Ray worker does not need them. Keys that expire (SSO, an assumed role) are not renewed.
"""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from hyperderm.errors import StorageAway, StoreError

PATIENCE_S = 60.0
"""The time (s) for which a read or write is retried after its server has gone away."""
CONNECT_S, REQUEST_S, ATTEMPTS = 3, 5, 2
"""The limits of one pyarrow request: seconds to connect, seconds of silence, number of attempts."""
LONGEST_PAUSE_S = 4.0
AMAZON = re.compile(r"https://s3(\.[a-z0-9-]+)?\.amazonaws\.com(\.cn)?/?")
PASSING = re.compile(
    r"AWS Error (NETWORK_CONNECTION|SLOW_DOWN|SERVICE_UNAVAILABLE|INTERNAL_FAILURE|REQUEST_TIMEOUT|THROTTLING"
    r"|UNKNOWN \(HTTP status 5\d\d\))"
)
"""Matches pyarrow's messages about a server that is away or overloaded; waiting does not help with other errors."""

T = TypeVar("T")


@dataclass(frozen=True)
class Access:
    """The settings for talking to an S3 server; `repr` shows no secret.

    Attributes:
        key: the id of the access key.
        secret: the secret of the access key.
        token: the token of temporary credentials.
        region: the region of the bucket.
        endpoint: the URL of the server.
        virtual: whether the bucket is part of the host's name even at an endpoint that is not Amazon's.
        ca_file: the file of certificates to trust.
    """

    key: str
    secret: str = field(repr=False)
    token: str | None = field(repr=False)
    region: str
    endpoint: str
    virtual: bool = False
    ca_file: str | None = None

    def file_system(self) -> pafs.S3FileSystem:
        """Return pyarrow's file system with exactly these settings; no request is made."""
        scheme, _, host = self.endpoint.rstrip("/").partition("://")
        return pafs.S3FileSystem(
            access_key=self.key,
            secret_key=self.secret,
            session_token=self.token,
            region=self.region,
            scheme=scheme,
            endpoint_override=None if AMAZON.fullmatch(self.endpoint) else host,
            force_virtual_addressing=self.virtual,
            tls_ca_file_path=self.ca_file,
            connect_timeout=CONNECT_S,
            request_timeout=REQUEST_S,
            retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
            allow_delayed_open=True,  # a part of a few megabytes is one request, not a multipart upload
        )


@dataclass(frozen=True)
class Location:
    """An opened place: a pyarrow file system and a path on it; on S3 also the settings for the server."""

    uri: str
    fs: pafs.FileSystem
    path: str
    access: Access | None = None

    @property
    def local(self) -> bool:
        """Return True if the place is on a local disk."""
        return isinstance(self.fs, pafs.LocalFileSystem)

    @property
    def bucket(self) -> str:
        """Return the bucket of an S3 location."""
        return self.path.partition("/")[0]

    @property
    def prefix(self) -> str:
        """Return the prefix within the bucket of an S3 location, without slashes at its ends."""
        return self.path.partition("/")[2]

    def exists(self, name: str = "") -> bool:
        """Return whether the file or folder `name` below this place exists; a bucket without objects does not exist.

        Raises:
            StoreError: the S3 server does not answer or refuses.
        """
        path = self.join(name)
        wanted = pafs.FileSelector(path, allow_not_found=True) if self.access and "/" not in path else path
        try:
            found = self.fs.get_file_info(wanted)
        except OSError as error:
            raise self._failed(error) from error
        return bool(found if isinstance(found, list) else found.type != pafs.FileType.NotFound)

    def join(self, name: str) -> str:
        """Return the file-system path of `name` below this place."""
        return f"{self.path}/{name}" if name else self.path

    def read_bytes(self, name: str) -> bytes:
        """Return the content of the file `name`.

        Raises:
            FileNotFoundError: the file does not exist; StoreError: the S3 server does not answer or refuses.
        """

        def read() -> bytes:
            with self.fs.open_input_file(self.join(name)) as file:  # on S3 one request; a stream makes many
                return bytes(file.read())

        return self.patiently(read)

    def read_table(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the Parquet file `name`, or the given columns of it.

        Raises:
            FileNotFoundError: the file does not exist; StoreError: the S3 server does not answer or refuses.
        """
        if columns is None and not self.local:
            return pq.read_table(pa.BufferReader(self.read_bytes(name)))
        wanted = None if columns is None else list(columns)
        return self.patiently(lambda: pq.read_table(self.join(name), filesystem=self.fs, columns=wanted))

    def write_bytes(self, name: str, content: bytes | pa.Buffer) -> None:
        """Write the file `name`; on a local disk its folder must exist.

        Raises:
            StoreError: the S3 server does not answer or refuses; OSError: a local disk refuses.
        """

        def write() -> None:
            with self.fs.open_output_stream(self.join(name)) as stream:
                stream.write(content)

        self.patiently(write)

    def patiently(self, call: Callable[[], T]) -> T:
        """Return `call()`, retried for `PATIENCE_S` while an S3 server is away or overloaded; on a disk there is no retry.

        Raises:
            FileNotFoundError: the requested file does not exist; StoreError: the server did not answer in that time or
                refused.
        """
        begun = time.monotonic()
        deadline, pause, away = begun + PATIENCE_S, 0.2, False
        while True:
            try:
                done = call()
                if away:
                    _note_wait(self.access.endpoint if self.access else self.uri, time.monotonic() - begun)
                return done
            except FileNotFoundError:
                raise
            except OSError as error:
                left = deadline - time.monotonic()
                if self.local or not PASSING.search(str(error)) or left <= 0:
                    raise self._failed(error) from error
            away = True
            time.sleep(min(pause, left))
            pause = min(2 * pause, LONGEST_PAUSE_S)

    def _failed(self, error: OSError) -> OSError | StoreError:
        """Return the exception to raise for `error`."""
        if self.local:
            return error
        reason = " ".join(str(error).split())
        if PASSING.search(reason):
            return StorageAway(
                f"{self.uri}: the S3 server went away and did not come back ({reason})",
                "Start it, or wait for it; then run the same command again.",
            )
        return StoreError(f"{self.uri} cannot be used: {reason}", "Check the address and the rights of the access key.")


_WAITS: dict[str, float] = {}


def _note_wait(server: str, seconds: float) -> None:
    _WAITS[server] = max(seconds, _WAITS.get(server, 0.0))


def waited() -> str:
    """Return, once, for how long this process waited for which S3 servers that were away; "" if it did not."""
    told = [f"the S3 server at {server} was away; waited {seconds:.0f} s for it" for server, seconds in _WAITS.items()]
    _WAITS.clear()
    return "; ".join(told)


def locate(uri: str | Path, option: str = "--store") -> Location:
    """Open `uri`: a path (relative to the working directory), `file://…`, or `s3://bucket/prefix`.

    No server is contacted.

    Args:
        uri: the address of the place.
        option: the name of the address in error messages.

    Raises:
        StoreError: the scheme is unknown, the address is invalid, or there are no credentials for S3.
    """
    text = str(uri)
    if not isinstance(uri, str | Path) or "\0" in text:  # from Python: the command line gives neither
        raise StoreError(f"{option} {uri!r} is no address", "Give a folder, or an s3:// address.")
    if "://" not in text:
        return Location(text, pafs.LocalFileSystem(), str(Path(text).expanduser().absolute()))
    if text.startswith("s3://"):
        return _locate_s3(text, option)
    try:
        if not text.startswith("file://"):
            raise ValueError("its scheme is neither file:// nor s3://")
        fs, path = pafs.FileSystem.from_uri(text)
    except (ValueError, OSError) as error:
        raise StoreError(f"{option} {text!r} cannot be opened: {error}", "Give a folder, or an s3:// address.") from None
    return Location(text, fs, path.rstrip("/"))


_ADOPTED: list[Access] = []
"""The driver's S3 settings, in a worker whose own environment holds no credentials."""


def use_access(access: Access | None) -> None:
    """Make this worker process use the S3 settings of its driver, whatever its own environment says."""
    _ADOPTED[:] = [access] if access else []


def _locate_s3(text: str, option: str) -> Location:
    path = text.removeprefix("s3://").rstrip("/")
    bucket, _, prefix = path.partition("/")
    if "@" in bucket:  # the address is not repeated: it holds a secret
        raise StoreError(
            f"{option} s3://…@… carries credentials in the address",
            "Give s3://bucket/prefix, and the credentials as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE.",
        )
    if "?" in path:
        raise StoreError(
            f"{option} {text!r} carries options in the address",
            "Give the endpoint as AWS_ENDPOINT_URL_S3, the region as AWS_REGION.",
        )
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", bucket):
        raise StoreError(
            f"{option} {text!r}: {bucket!r} is no bucket's name", "Give s3://bucket/prefix (3 to 63 of a-z, 0-9, - and .)."
        )
    if prefix and any(part in ("", ".", "..") for part in prefix.split("/")):
        raise StoreError(f"{option} {text!r}: its prefix has an empty, '.' or '..' part", "Give s3://bucket/prefix.")
    access = _ADOPTED[0] if _ADOPTED else _resolve(text)
    return Location(text, access.file_system(), path, access)


def _resolve(uri: str) -> Access:
    """Return the S3 settings for `uri` by the AWS conventions."""
    from botocore.exceptions import BotoCoreError

    try:
        settings = _aws_settings()
        session = aws_session(settings)
        credentials = session.get_credentials()
        if credentials is None:
            raise StoreError(
                f"{uri}: no AWS credentials are set", "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE."
            )
        keys = credentials.get_frozen_credentials()
        client = session.client("s3")
        return Access(
            key=keys.access_key,
            secret=keys.secret_key,
            token=keys.token,
            region=session.region_name or "us-east-1",
            endpoint=client.meta.endpoint_url,
            virtual=(client.meta.config.s3 or {}).get("addressing_style") == "virtual",
            ca_file=settings.get_config_variable("ca_bundle"),
        )
    except (BotoCoreError, ValueError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise StoreError(
            f"{uri}: the AWS settings cannot be used: {reason}",
            "Correct AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL_S3 or the files in ~/.aws.",
        ) from None


def aws_session(settings: Any = None) -> Any:  # noqa: ANN401 - boto3 is not typed
    """Return a boto3 session with botocore's `settings`, or with the current settings.

    Raises:
        BotoCoreError: the settings cannot be used.
    """
    import boto3

    return boto3.Session(botocore_session=settings or _aws_settings())


def _aws_settings() -> Any:  # noqa: ANN401 - botocore is not typed
    """Return a botocore session with the current settings, including `AWS_REGION`, which botocore itself does not read."""
    import botocore.session

    own = botocore.session.Session(session_vars={"region": ("region", ["AWS_REGION", "AWS_DEFAULT_REGION"], None, None)})
    own.register_component("data_loader", _descriptions())
    return own


@lru_cache(maxsize=1)
def _descriptions() -> Any:  # noqa: ANN401
    """Return botocore's descriptions of services, read only once, because otherwise every client costs 0.1 s."""
    from botocore.loaders import create_loader

    return create_loader()
