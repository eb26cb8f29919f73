"""The place where a run's workers write: a shared folder, or a bucket's prefix, where each write is complete or absent."""

from dataclasses import replace
from pathlib import Path

from hyperderm.durable import write_whole
from hyperderm.store.location import Location

RunLocation = Path | Location
"""A folder, or a location on S3."""


def below(place: RunLocation, *parts: str) -> RunLocation:
    """Return the place with the path `parts` below `place`."""
    if isinstance(place, Path):
        return place.joinpath(*parts)
    path = "/".join((place.path, *parts))
    return replace(place, uri=f"s3://{path}", path=path)


def location_at(address: str, storage: Location | None) -> RunLocation:
    """Return the place at `address`, with the S3 settings of `storage`; if `storage` is None, a folder."""
    return Path(address) if storage is None else replace(storage, uri=address, path=address.removeprefix("s3://"))


def address(place: RunLocation, name: str = "") -> str:
    """Return the user's address of the file `name` in `place`, or of the place itself."""
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
    """Return the content of the file `name`, or None if the file does not exist.

    Raises:
        StoreError: the S3 server does not answer or refuses.
    """
    try:
        return (place / name).read_bytes() if isinstance(place, Path) else place.read_bytes(name)
    except FileNotFoundError:
        return None


def put(place: RunLocation, name: str, content: bytes | memoryview) -> None:
    """Write the file `name` completely or not at all; a missing folder is created.

    Raises:
        OSError: the disk refuses the file; StoreError: the S3 server does not answer or refuses.
    """
    if isinstance(place, Path):
        place.mkdir(parents=True, exist_ok=True)
        write_whole(place / name, content)
    else:
        place.write_bytes(name, bytes(content))


def forget(place: RunLocation, *names: str) -> None:
    """Remove files of `place`; missing files are ignored.

    Raises:
        StoreError: the S3 server does not answer or refuses.
    """
    for name in names:
        if isinstance(place, Path):
            (place / name).unlink(missing_ok=True)
        elif holds(place, name):
            path = place.join(name)
            place.patiently(lambda path=path: place.fs.delete_file(path))  # type: ignore[misc]
