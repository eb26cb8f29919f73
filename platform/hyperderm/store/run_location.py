"""Where a run's workers write: a folder that all of them see, or a prefix of a bucket, where writes are whole or none."""

from dataclasses import replace
from pathlib import Path

from hyperderm.durable import write_whole
from hyperderm.store.location import Location

RunLocation = Path | Location
"""A folder, or a location on S3."""


def below(place: RunLocation, *parts: str) -> RunLocation:
    """Return the place `parts` below `place`."""
    if isinstance(place, Path):
        return place.joinpath(*parts)
    path = "/".join((place.path, *parts))
    return replace(place, uri=f"s3://{path}", path=path)


def location_at(address: str, storage: Location | None) -> RunLocation:
    """Return the place that `address` names, spoken to as `storage` is; where that is None, a folder."""
    return Path(address) if storage is None else replace(storage, uri=address, path=address.removeprefix("s3://"))


def address(place: RunLocation, name: str = "") -> str:
    """Return how a user names the file `name` in `place`, or the place itself."""
    root = str(place) if isinstance(place, Path) else place.uri
    return f"{root}/{name}" if name else root


def holds(place: RunLocation, name: str) -> bool:
    """Return whether `place` holds the file `name`.

    Raises:
        StoreError: the S3 server does not answer or refuses.
    """
    if isinstance(place, Path):
        return (place / name).is_file()
    return place.patiently(lambda: bool(place.fs.get_file_info(place.join(name)).is_file))


def content_of(place: RunLocation, name: str) -> bytes | None:
    """Return what the file `name` holds, None where there is none.

    Raises:
        StoreError: the S3 server stays away or refuses.
    """
    try:
        return (place / name).read_bytes() if isinstance(place, Path) else place.read_bytes(name)
    except FileNotFoundError:
        return None


def put(place: RunLocation, name: str, content: bytes | memoryview) -> None:
    """Write the file `name` whole or not at all, in a folder that is made where it is missing.

    Raises:
        OSError: the disk does not take it; StoreError: the S3 server stays away or refuses.
    """
    if isinstance(place, Path):
        place.mkdir(parents=True, exist_ok=True)
        write_whole(place / name, content)
    else:
        place.write_bytes(name, bytes(content))


def forget(place: RunLocation, *names: str) -> None:
    """Remove files of `place`; those that are not there are passed over.

    Raises:
        StoreError: the S3 server stays away or refuses.
    """
    for name in names:
        if isinstance(place, Path):
            (place / name).unlink(missing_ok=True)
        elif holds(place, name):
            path = place.join(name)
            place.patiently(lambda path=path: place.fs.delete_file(path))  # type: ignore[misc]
