"""Out-of-fold predictions of an ablation, one row for each lesion and cell: the artifact from which all numbers come."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hyperderm.durable import write_whole
from hyperderm.errors import StudyError
from hyperderm.store.folds import POSITIVE

SCHEMA = pa.schema(
    [
        pa.field("lesion_id", pa.string(), nullable=False),
        pa.field("group", pa.string(), nullable=False),
        pa.field("diagnosis", pa.string(), nullable=False),
        pa.field("truth", pa.int8(), nullable=False),
        pa.field("fold", pa.int64(), nullable=False),
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("arm", pa.string(), nullable=False),
        pa.field("model", pa.string(), nullable=False),
        pa.field("probability", pa.float64(), nullable=False),
        pa.field("raw_probability", pa.float64(), nullable=False),
        pa.field("threshold", pa.float64(), nullable=False),
        pa.field("cell", pa.string(), nullable=False),
    ]
)
_AGAIN = "Run the same command again: cells that are done are not repeated."
_DTYPES = {pa.string(): np.str_, pa.int8(): np.int8, pa.int64(): np.int64, pa.float64(): np.float64}


class CellKey(NamedTuple):
    """The names that identify a cell of the grid for a reader."""

    arm: str
    model: str
    fold: int
    seed: int

    def __str__(self) -> str:
        return f"arm {self.arm!r}, model {self.model!r}, fold {self.fold}, seed {self.seed}"


@dataclass(frozen=True, eq=False)
class Predictions:
    """Columns of equal length with one row for each lesion and cell; they are checked by the constructor.

    Attributes:
        lesion_id: id of the tested lesion.
        group: source image (or patient), which may hold several lesions; a group is never in two folds.
        diagnosis: diagnosis as in the store.
        truth: 1 for melanoma, 0 for everything else.
        fold: the fold whose test role holds the lesion.
        seed: seed of the training.
        arm: arm of the grid.
        model: architecture and weights, or the spectral baseline.
        probability: calibrated P(melanoma), in [0, 1].
        raw_probability: P(melanoma) before calibration, in [0, 1].
        threshold: threshold of the cell, chosen on validation; a lesion is called melanoma if probability >= threshold.
        cell: fingerprint of the cell's configuration.

    Raises:
        StudyError: columns have different shapes, values are out of range, a truth contradicts the diagnosis, a lesion
            occurs twice in a cell, a lesion or group is in two folds, a cell has two thresholds, or lacks a class.
    """

    lesion_id: NDArray[np.str_]
    group: NDArray[np.str_]
    diagnosis: NDArray[np.str_]
    truth: NDArray[np.int8]
    fold: NDArray[np.int64]
    seed: NDArray[np.int64]
    arm: NDArray[np.str_]
    model: NDArray[np.str_]
    probability: NDArray[np.float64]
    raw_probability: NDArray[np.float64]
    threshold: NDArray[np.float64]
    cell: NDArray[np.str_]

    def __post_init__(self) -> None:
        rows = np.shape(self.lesion_id)
        for name in SCHEMA.names:
            values = np.asarray(getattr(self, name))
            if values.ndim != 1 or values.shape != rows:
                raise StudyError(
                    f"predictions: column {name} has shape {values.shape}, lesion_id {rows}",
                    "Give one value a lesion: P(melanoma) and its truth, never one-hot columns.",
                )
            kind = _DTYPES[SCHEMA.field(name).type]
            if kind is np.int8 and not np.isin(values, (0, 1)).all():
                raise StudyError("predictions: truth holds values other than 0 and 1", "Melanoma is 1, all others 0.")
            object.__setattr__(self, name, values.astype(kind))
        if not len(self):
            raise StudyError("predictions: no rows", _AGAIN)
        self._check_values()
        self._check_lesions()
        self._check_cells()

    def __len__(self) -> int:
        return len(self.lesion_id)

    @classmethod
    def from_columns(cls, columns: Mapping[str, Sequence[Any] | NDArray[Any]]) -> Self:
        """Return predictions made from one sequence for each column of `SCHEMA`."""
        missing = [name for name in SCHEMA.names if name not in columns]
        if missing:
            raise StudyError(f"predictions: column {missing[0]} is missing", f"Columns: {', '.join(SCHEMA.names)}.")
        return cls(**{name: np.asarray(columns[name]) for name in SCHEMA.names})

    @classmethod
    def from_parquet(cls, path: Path) -> Self:
        """Read a file written by `to_parquet`.

        Raises:
            StudyError: the file is missing, unreadable, or not of this schema; and all errors of the class.
        """
        try:
            content = path.read_bytes()
        except OSError as error:
            raise StudyError(f"{path} cannot be read as predictions: {error}", _AGAIN) from error
        return cls.from_bytes(content, str(path))

    @classmethod
    def from_bytes(cls, content: bytes, name: str) -> Self:
        """Read the content that `to_bytes` made; `name` is the name of the content in errors.

        Raises:
            StudyError: the content is unreadable, or not of this schema; and all errors of the class.
        """
        try:
            table = pq.read_table(pa.BufferReader(content), schema=SCHEMA)
        except (OSError, pa.ArrowException) as error:
            raise StudyError(f"{name} cannot be read as predictions: {error}", _AGAIN) from error
        return cls.from_columns({name: table.column(name).to_numpy() for name in SCHEMA.names})

    @classmethod
    def concatenate(cls, parts: Iterable["Predictions"]) -> Self:
        """Return the rows of all `parts` together, checked as a whole."""
        held = list(parts)
        if not held:
            raise StudyError("predictions: no cell has any", _AGAIN)
        return cls(**{f.name: np.concatenate([getattr(part, f.name) for part in held]) for f in fields(cls)})

    def to_parquet(self, path: Path) -> None:
        """Write the predictions to a file atomically.

        Rows are sorted by arm, model, fold, seed and lesion, so that equal sets give equal files.

        Raises:
            OSError: the file cannot be written; the error names the file, and no half-written file is left.
        """
        write_whole(path, self.to_bytes())

    def to_bytes(self) -> memoryview:
        """Return the content of the file that `to_parquet` writes."""
        order = np.lexsort((self.lesion_id, self.seed, self.fold, self.model, self.arm))
        table = pa.table({name: pa.array(getattr(self, name)[order]) for name in SCHEMA.names}, schema=SCHEMA)
        sink = pa.BufferOutputStream()  # into memory: of a full disk pyarrow's own writer says it in other words
        pq.write_table(table, sink, compression="zstd")
        return memoryview(sink.getvalue())

    def where(self, **wanted: str | int) -> Self:
        """Return the rows that agree with every given value, by the name of its column.

        Raises:
            StudyError: there are no such rows.
        """
        keep = np.all([getattr(self, name) == value for name, value in wanted.items()], axis=0)
        if not keep.any():
            asked = ", ".join(f"{name} {value!r}" for name, value in wanted.items())
            raise StudyError(f"predictions: no row with {asked}", f"Arms: {', '.join(np.unique(self.arm))}.")
        return self.take(keep)

    def take(self, rows: NDArray[Any]) -> Self:
        """Return the rows selected by a mask or by positions."""
        return type(self)(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def cells(self) -> list[CellKey]:
        """Return the distinct cells in sorted order."""
        keys = zip(self.arm.tolist(), self.model.tolist(), self.fold.tolist(), self.seed.tolist(), strict=True)
        return sorted({CellKey(*key) for key in keys})

    def _first(self, bad: NDArray[np.bool_]) -> str:
        at = int(np.flatnonzero(bad)[0])
        key = CellKey(str(self.arm[at]), str(self.model[at]), int(self.fold[at]), int(self.seed[at]))
        return f"lesion {str(self.lesion_id[at])!r} in {key}"

    def _check_values(self) -> None:
        for name in ("probability", "raw_probability"):
            values = getattr(self, name)
            bad = ~((values >= 0) & (values <= 1))
            if bad.any():
                value = values[np.flatnonzero(bad)[0]]
                raise StudyError(f"predictions: {name} = {value} of {self._first(bad)}", "Probabilities lie in [0, 1].")
        bad = ~np.isfinite(self.threshold)
        if bad.any():
            raise StudyError(f"predictions: threshold of {self._first(bad)} is not finite", "Choose it on validation.")
        bad = (self.truth == 1) != (self.diagnosis == POSITIVE)
        if bad.any():
            raise StudyError(
                f"predictions: truth = {self.truth[np.flatnonzero(bad)[0]]} contradicts the diagnosis "
                f"{str(self.diagnosis[np.flatnonzero(bad)[0]])!r} of {self._first(bad)}",
                "Melanoma is 1, all others 0.",
            )

    def _check_lesions(self) -> None:
        for name, remedy in (
            ("fold", "Each lesion is tested in one fold: cells of different manifests were mixed."),
            ("group", "A lesion has one group: cells of different manifests were mixed."),
            ("diagnosis", "A lesion has one diagnosis: cells of different manifests were mixed."),
        ):
            bad = _varies_within(self.lesion_id, getattr(self, name))
            if bad.any():
                raise StudyError(f"predictions: {self._first(bad)} has more than one {name}", remedy)
        bad = _varies_within(self.group, self.fold)
        if bad.any():
            raise StudyError(
                f"predictions: group {str(self.group[np.flatnonzero(bad)[0]])!r} is in two folds",
                "Folds are drawn by group, or training leaks into testing: ingest again.",
            )

    def _check_cells(self) -> None:
        codes = _codes(_codes(self.arm), _codes(self.model), self.fold, self.seed)
        pairs = _codes(codes, _codes(self.lesion_id))
        repeated = np.bincount(pairs)[pairs] > 1
        if repeated.any():
            raise StudyError(f"predictions: {self._first(repeated)} appears twice", "One probability a lesion and cell.")
        for name in ("threshold", "cell"):
            bad = _varies_within(codes, getattr(self, name))
            if bad.any():
                raise StudyError(f"predictions: the cell of {self._first(bad)} has more than one {name}", _AGAIN)
        share = np.bincount(codes, self.truth)[codes] / np.bincount(codes)[codes]
        bad = (share == 0) | (share == 1)
        if bad.any():
            lacks = "melanoma" if share[np.flatnonzero(bad)[0]] == 0 else "lesion other than melanoma"
            raise StudyError(
                f"predictions: no {lacks} in the cell of {self._first(bad)}",
                "Every fold needs both classes: ingest with fewer --folds or another --seed.",
            )


def _codes(*columns: NDArray[Any]) -> NDArray[np.intp]:
    """Return for each row the number, from 0, of its combination of column values."""
    code = np.zeros(len(columns[0]), np.intp)
    for column in columns:
        values, inverse = np.unique(column, return_inverse=True)
        code = np.unique(code * len(values) + inverse, return_inverse=True)[1]
    return code


def _varies_within(key: NDArray[Any], values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return a mask of the rows whose value differs from that of the first row with the same key."""
    keys = _codes(key)
    first = np.zeros(keys.max() + 1, np.intp)
    first[keys[::-1]] = np.arange(len(keys))[::-1]
    return values != values[first[keys]]
