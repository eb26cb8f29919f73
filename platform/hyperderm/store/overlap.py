"""Find related lesions across stores: lesions of one group, from one source file, or with bit-identical pictures."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hyperderm.store.manifest import Folds, Role
from hyperderm.store.reader import Store
from hyperderm.strict import json_of

MatchReason = Literal["lesion", "file", "cube", "group"]
MATCH_REASONS: tuple[MatchReason, ...] = ("lesion", "file", "cube", "group")
"""The reasons why two rows belong together: same row of one store, same source file, same cube, or only same group."""
Lesion = tuple[str, str]
"""The store's fingerprint and the lesion id; ids alone cannot be compared between stores."""


@dataclass(frozen=True)
class Row:
    """One lesion of a store.

    Attributes:
        lesion_id: the lesion's id in its store.
        group: the group that folds do not split.
        diagnosis: the diagnosis, or None if it is unknown.
        files: identifiers of the lesion's source, such as the sha256 of a file.
        cube: the sha256 of shape and values, "" if the cube was not read.
        derived_from: for a synthetic cube the lesion of the real store whose geometry it keeps, else "".
        image: the id of the source image in its store, "" if unknown.
    """

    lesion_id: str
    group: str
    diagnosis: str | None
    files: frozenset[str] = frozenset()
    cube: str = ""
    derived_from: str = ""
    image: str = ""


@dataclass(frozen=True)
class StoreFacts:
    """The facts on a store that an audit needs.

    Attributes:
        fingerprint: the fingerprint of the manifest.
        uri: the address of the store.
        rows: all rows of the store.
        shape: the shape (H, W, B) of every cube.
        folds: the folds, or None if the store has none.
        source: how the store was made (`Manifest.source`).
    """

    fingerprint: str
    uri: str
    rows: tuple[Row, ...]
    shape: tuple[int, int, int]
    folds: Folds | None
    source: dict[str, Any]

    def roles(self, fold: int, roles: Sequence[Role], diagnoses: Sequence[str] | None) -> set[Lesion] | None:
        """Return the lesions of the given roles and diagnoses (None: of all); None if the store has no such fold."""
        folds = self.folds
        if folds is None or not 0 <= fold < folds.count:
            return None
        return {
            (self.fingerprint, row.lesion_id)
            for row in self.rows
            if (diagnoses is None or row.diagnosis in diagnoses) and folds.role(row.group, fold) in roles
        }

    def crossing(self, fold: int) -> set[Lesion]:
        """Return the lesions whose source image has lesions in several roles of the fold; none if there is no such fold."""
        folds = self.folds
        if folds is None or not 0 <= fold < folds.count:
            return set()
        shown = {(row.image, folds.role(row.group, fold)) for row in self.rows if row.image}
        roles = Counter(image for image, _ in shown)
        return {(self.fingerprint, row.lesion_id) for row in self.rows if roles[row.image] > 1}

    def all(self) -> set[Lesion]:
        """Return every lesion of the store."""
        return {(self.fingerprint, row.lesion_id) for row in self.rows}


def read_facts(store: Store, cubes: bool, read: Callable[[], None] = lambda: None) -> StoreFacts:
    """Read the rows of a store, with one part in memory at a time.

    Args:
        store: the opened store.
        cubes: whether the cubes are read and hashed too.
        read: a function that is called after each part.

    Raises:
        StoreError: a part is missing, or the server does not answer.
    """
    rows: list[Row] = []
    columns = ["lesion_id", "group", "diagnosis", "image_id", "origin", *(["cube"] if cubes else [])]
    for part in store.manifest.parts:
        table = store.location.read_table(part.path, columns)
        digests = _digests(table.column("cube")) if cubes else iter(())
        texts = table.drop_columns(["cube"]) if cubes else table
        rows += (_row(row, next(digests, "")) for row in texts.to_pylist())
        read()
    manifest = store.manifest
    return StoreFacts(manifest.fingerprint, store.location.uri, tuple(rows), manifest.shape, manifest.folds, manifest.source)


@dataclass(frozen=True)
class Overlap:
    """The lesions of one side that the other side holds, too.

    Attributes:
        lesions: the number of these lesions.
        how: reason → number of lesions, in the order of `MATCH_REASONS`; each lesion is counted under its strongest reason.
    """

    lesions: int
    how: tuple[tuple[MatchReason, int], ...]


class LesionMatcher:
    """Finds which lesions of the given stores belong together: by group within a store, by file and cube across stores.

    The relation is transitive: if one store assigns pictures to one patient, they belong to one patient in every store that
    holds any of them.
    """

    def __init__(self, stores: Iterable[StoreFacts]) -> None:
        self._rows: dict[Lesion, Row] = {}
        self._parent: dict[str, str] = {}
        for store in stores:
            for row in store.rows:
                self._rows[store.fingerprint, row.lesion_id] = row
                group = self._root(f"group {store.fingerprint} {row.group}")
                for mark in _marks(row):
                    self._parent[self._root(mark)] = group

    def overlap(self, touched: Iterable[Lesion], held: Iterable[Lesion]) -> Overlap:
        """Return the lesions of `held` that belong to lesions of `touched`."""
        mine = {lesion for lesion in touched if lesion in self._rows}
        groups = {self._group(lesion) for lesion in mine}
        marks = {mark for lesion in mine for mark in _marks(self._rows[lesion])}
        found = [self._how(lesion, mine, marks) for lesion in held if lesion in self._rows and self._group(lesion) in groups]
        counts = Counter(found)
        return Overlap(len(found), tuple((how, counts[how]) for how in MATCH_REASONS if counts[how]))

    def _how(self, lesion: Lesion, touched: set[Lesion], marks: set[str]) -> MatchReason:
        row = self._rows[lesion]
        if lesion in touched:
            return "lesion"
        if row.files & marks:
            return "file"
        return "cube" if row.cube and f"cube {row.cube}" in marks else "group"

    def _group(self, lesion: Lesion) -> str:
        return self._root(f"group {lesion[0]} {self._rows[lesion].group}")

    def _root(self, name: str) -> str:
        parent = self._parent
        parent.setdefault(name, name)
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name


def _marks(row: Row) -> Iterator[str]:
    yield from row.files
    if row.cube:
        yield f"cube {row.cube}"


def _row(row: dict[str, Any], cube: str) -> Row:
    origin = json_of(row["origin"])
    files = {f"file {origin['sha256']}"} if origin.get("sha256") else set()
    if "phantom" in origin:  # drawn from these alone: the same skin at every size
        drawn = (origin.get(name) for name in ("phantom", "seed", "index"))
        files.add(" ".join(map(str, ("phantom", *drawn, row["diagnosis"]))))
    derived = str(origin.get("derived_from") or "")
    return Row(row["lesion_id"], row["group"], row["diagnosis"], frozenset(files), cube, derived, row["image_id"])


def _digests(column: Any) -> Iterator[str]:  # noqa: ANN401 - pyarrow has no types
    for cube in column.combine_chunks().to_numpy_ndarray():
        yield hashlib.sha256(repr(cube.shape).encode() + cube.tobytes()).hexdigest()
