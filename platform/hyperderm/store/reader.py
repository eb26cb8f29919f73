"""Open a store, check its parts, and select rows by role."""

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hyperderm.cubes.cube import Lesion
from hyperderm.cubes.diagnosis import UNKNOWN
from hyperderm.errors import StoreError, nearest
from hyperderm.store.location import Location, locate
from hyperderm.store.manifest import MANIFEST, SCHEMA_VERSION, Folds, Manifest, Opening, Role
from hyperderm.store.s3 import prepare
from hyperderm.store.schema import to_lesions
from hyperderm.strict import first_fault, version_of

OpenRole = Literal["train", "validation"]
"""The roles that a training may read. The test role opens only for a final evaluation (`Store.open_test`)."""
AT_ONCE = 2
"""The number of parts that are read at a time, because pyarrow unpacks a column of one part on one core only."""


@dataclass(frozen=True)
class Store:
    """A store that has been opened."""

    location: Location
    manifest: Manifest
    _index: list[pa.Table] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def name(self) -> str:
        """Return the first eight digits of the fingerprint."""
        return self.manifest.fingerprint[:8]

    def index(self) -> pa.Table:
        """Return lesion_id, image_id, group and diagnosis of every row, without reading a cube.

        It is read once and kept: a store never changes, and the plan of a large grid asks hundreds of times.
        """
        if not self._index:
            self._index.append(pa.concat_tables(self.tables(["lesion_id", "image_id", "group", "diagnosis"])))
        return self._index[0]

    def with_masks(self) -> set[str]:
        """Return the lesion ids of the rows that have a mask, without reading a cube."""
        rows = pa.concat_tables(self.tables(["lesion_id", "has_mask"]))
        return set(rows.filter(rows["has_mask"])["lesion_id"].to_pylist())

    def select(self, role: OpenRole, fold: int, diagnoses: Sequence[str] | Literal["all"]) -> list[str]:
        """Return the sorted lesion ids of one role of one fold with the given diagnoses.

        Raises:
            StoreError: the store holds photographs, has no folds, or does not hold the fold or diagnosis, the selection is
                empty, or the role is the test role.
        """
        self.check_cubes()
        if role not in ("train", "validation"):
            raise StoreError(f"role {role!r} is locked", "Training reads train and validation only.")
        return self._role(role, fold, diagnoses)

    def check_cubes(self) -> None:
        """Refuse a store of photographs or of abundances, because no model is trained on it.

        Raises:
            StoreError: the store holds something else than cubes; the message names the remedy.
        """
        if self.manifest.kind == "abundances":
            raise StoreError(
                f"store {self.location.uri} holds abundances, made by `hyperderm unmix` for other programs",
                "Give the store of cubes that they were made of; networks learn abundances by learner.space=abundance.",
            )
        if self.manifest.kind == "rgb":
            raise StoreError(
                f"store {self.location.uri} holds photographs (kind rgb), which nothing is trained on",
                "Train on a store of cubes; `hyperderm generate --rgb` makes cubes from photographs.",
            )

    def every(self, diagnoses: Sequence[str] | Literal["all"]) -> list[str]:
        """Return the sorted lesion ids of a store without folds, with the given diagnoses if the store has diagnoses.

        Raises:
            StoreError: the store holds photographs or synthetic cubes, has folds, or does not hold a diagnosis.
        """
        self.check_cubes()
        if self.manifest.source.get("verb") == "generate":
            raise StoreError(
                f"store {self.location.uri} is a synthetic set and cannot be read without folds",
                "Give the real store that it was made from.",
            )
        if self.manifest.folds is not None:
            raise StoreError(
                f"store {self.location.uri} has folds and cannot be read without folds",
                "Give a fold, or a store made with --folds 0.",
            )
        rows, held = self.index().to_pylist(), self.manifest.diagnoses
        if diagnoses != "all" and set(held) != {UNKNOWN}:
            for diagnosis in diagnoses:
                self._check_held(diagnosis)
            rows = [row for row in rows if row["diagnosis"] in diagnoses]
        return sorted(str(row["lesion_id"]) for row in rows)

    def open_test(
        self, fold: int, diagnoses: Sequence[str] | Literal["all"], record: Callable[[Opening], None]
    ) -> list[str]:
        """Return the sorted lesion ids of the test role, for a final evaluation after which no choice is made any more.

        Args:
            fold: the test fold.
            diagnoses: the diagnoses, as for `select`.
            record: called first with what is opened; the evaluation stores that, with the time, beside its result.

        Raises:
            StoreError: for the same reasons as in `select`.
        """
        record(Opening(self.manifest.fingerprint, fold))
        return self._role("test", fold, diagnoses)

    def _role(self, role: Role, fold: int, diagnoses: Sequence[str] | Literal["all"]) -> list[str]:
        folds = self.folds()
        held = self.manifest.diagnoses
        wanted = list(held) if diagnoses == "all" else list(diagnoses)
        for diagnosis in wanted:
            self._check_held(diagnosis)
        rows = self.index().to_pylist()
        chosen = [r for r in rows if r["diagnosis"] in wanted and folds.role(r["group"], fold) == role]
        present = {r["diagnosis"] for r in chosen}
        absent = [] if diagnoses == "all" else [d for d in wanted if d not in present]
        if absent or not chosen:
            what = absent[0] if absent else "any diagnosis"
            raise StoreError(
                f"the {role} role of fold {fold} holds no lesion of {what}", "Choose another data.fold, or fewer folds."
            )
        return sorted(str(r["lesion_id"]) for r in chosen)

    def _check_held(self, diagnosis: str) -> None:
        if diagnosis not in (held := self.manifest.diagnoses):
            raise StoreError(f"data.diagnoses names {diagnosis!r}, which this store does not hold", nearest(diagnosis, held))

    def folds(self) -> Folds:
        """Return the folds of the store.

        Raises:
            StoreError: this store has no folds.
        """
        if self.manifest.folds is None and self.manifest.source.get("verb") == "generate":
            raise StoreError(
                f"store {self.location.uri} is a synthetic set: it has no folds and no roles of its own",
                "Train on the real store it was made from.",
            )
        if self.manifest.folds is None:
            raise StoreError(
                f"store {self.location.uri} has no folds, so no training roles",
                "Ingest it again with diagnoses and --folds 5.",
            )
        return self.manifest.folds

    def kinds(self, lesion_ids: Sequence[str]) -> set[str]:
        """Return the diagnoses of `lesion_ids`, without reading a cube."""
        return set(chosen(self.index(), pa.array(lesion_ids, pa.string()))["diagnosis"].to_pylist())

    def read(self, lesion_ids: Sequence[str]) -> pa.Table:
        """Return the full rows of `lesion_ids`, ordered by lesion_id."""
        wanted = pa.array(lesion_ids, pa.string())
        return ordered(pa.concat_tables(chosen(part, wanted) for part in self.tables(None)))

    def lesions(self) -> Iterator[Lesion]:
        """Yield every lesion in the order of writing, with one part in memory at a time."""
        for part in self.manifest.parts:
            yield from to_lesions(self.location.read_table(part.path), self.manifest.wavelengths_nm)

    def part_paths(self) -> list[str]:
        """Return the file-system paths of the parts."""
        return [self.location.join(part.path) for part in self.manifest.parts]

    def tables(self, columns: list[str] | None) -> Iterator[pa.Table]:
        """Yield the parts (None: all columns), or the given columns of them, one after the other, while the next are read.

        At most `AT_ONCE` parts wait in memory beside the one that was yielded.
        """
        parts = iter(self.manifest.parts)
        with ThreadPoolExecutor(AT_ONCE) as pool:

            def ask(count: int) -> list[Future[pa.Table]]:
                return [pool.submit(self.location.read_table, part.path, columns) for part in islice(parts, count)]

            waiting = deque(ask(AT_ONCE))
            while waiting:
                yield waiting.popleft().result()
                waiting.extend(ask(1))


def chosen(rows: pa.Table, lesion_ids: pa.Array) -> pa.Table:
    """Return the rows that `lesion_ids` names; if these are all rows, nothing is copied."""
    named = pc.is_in(rows["lesion_id"], lesion_ids)
    return rows if pc.all(named).as_py() else rows.filter(named)


def ordered(rows: pa.Table) -> pa.Table:
    """Return rows ordered by lesion_id without a copy; a column comes in pieces, which `combine_chunks` joins."""
    order = pc.sort_indices(rows["lesion_id"]).to_numpy().astype(np.int64)
    runs = np.split(order, np.flatnonzero(np.diff(order) != 1) + 1)
    return pa.concat_tables([rows.slice(int(run[0]), len(run)) for run in runs if len(run)] or [rows])


def open_store(uri: str, *, verify: bool = True) -> Store:
    """Open the store at `uri`; with `verify`, hash every part and compare it with the manifest.

    Raises:
        StoreError: there is no store, its schema is newer, its manifest cannot be parsed or does not match its fingerprint,
            a part is missing, damaged or swapped, or an S3 server does not answer or refuses.
    """
    location = prepare(locate(uri), write=False)
    try:
        return _open(location, verify)
    except OSError as error:
        raise StoreError(f"{uri} cannot be read: {error}", "Check the address, its rights and the network.") from error


def _open(location: Location, verify: bool) -> Store:
    uri = location.uri
    if not location.exists(MANIFEST):
        raise StoreError(
            f"{uri} is not a store: no {MANIFEST}",
            "Make one with `hyperderm ingest SOURCE --store …` or `hyperderm phantom`.",
        )
    manifest = _manifest(location)
    if verify:
        for part in manifest.parts:
            try:
                content = location.read_bytes(part.path)
            except FileNotFoundError:
                raise StoreError(f"{uri}: part {part.path} is missing", "Restore it, or ingest again.") from None
            if hashlib.sha256(content).hexdigest() != part.sha256:
                raise StoreError(
                    f"{uri}: part {part.path} does not match its sha256 in the manifest", "Restore it, or ingest again."
                )
    return Store(location, manifest)


def _manifest(location: Location) -> Manifest:
    content = location.read_bytes(MANIFEST)
    try:
        version = version_of(content, "schema_version")
        if version > SCHEMA_VERSION:
            raise StoreError(
                f"{location.uri} has schema version {version}, this hyperderm reads up to {SCHEMA_VERSION}",
                "Update hyperderm.",
            )
        manifest = Manifest.model_validate_json(content)
    except ValueError as error:
        raise StoreError(
            f"{location.uri}/{MANIFEST} is damaged: {first_fault(error)}", "Restore it, or ingest again."
        ) from None
    if manifest.digest() != manifest.fingerprint:
        raise StoreError(f"{location.uri}/{MANIFEST} does not match its own fingerprint", "It was edited; ingest again.")
    return manifest
