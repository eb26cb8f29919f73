"""The manifest, which describes a store. A folder without a manifest is not a store."""

import re
from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import Field

from hyperderm.errors import StoreError
from hyperderm.strict import Strict, fingerprint, json_of

SCHEMA_VERSION = 1
MANIFEST, LESIONS = "manifest.json", "lesions"
"""The file that describes a store, and the folder of its parts."""
_OWN_FOLDER = re.compile(rf"^{LESIONS}/[0-9a-f]{{8}}/")
_IN_WORDS = re.compile(r"test role of fold (?P<fold>\d+) of store (?P<manifest>\w+)(?: at (?P<at>\S+))?")

Role = Literal["train", "validation", "test"]
Kind = Literal["spectral", "rgb", "abundances"]
"""What the values of a store are: reflectance in bands, photographs, or how much of each endmember a pixel holds."""


class Part(Strict):
    """One Parquet file of a store."""

    path: str
    """The path of the file, relative to the store."""
    sha256: str
    rows: int
    bytes: int


FOLD_FREE = "free"
"""A placeholder for the fold if training used pixels of every lesion of its store: it matches no fold of any store."""


@dataclass(frozen=True)
class Opening:
    """The opening of a test role, as whoever opens the role writes it down.

    Attributes:
        manifest: fingerprint of the store.
        fold: the test fold.
        at: time of the opening (UTC, ISO 8601); "" if it is unknown.
    """

    manifest: str
    fold: int
    at: str = ""

    @classmethod
    def of(cls, saved: object) -> Self | None:
        """Return the opening that was written as `asdict`, as the JSON text of that, or by an earlier version in words.

        None means that the record cannot be read.
        """
        if isinstance(saved, str) and (old := _IN_WORDS.fullmatch(saved)):
            return cls(old["manifest"], int(old["fold"]), old["at"] or "")
        try:
            facts = json_of(saved) if isinstance(saved, str) else saved
            assert isinstance(facts, dict)
            return cls(str(facts["manifest"]), int(facts["fold"]), str(facts.get("at", "")))
        except (AssertionError, KeyError, TypeError, ValueError):
            return None


class Folds(Strict):
    """The fold of each group, drawn once from a seed."""

    seed: int
    count: int = Field(ge=3)
    groups: dict[str, int]

    def role(self, group: str, fold: int) -> Role:
        """Return the role of `group` when `fold` is the test fold; validation is the next fold, train are all other folds.

        Raises:
            StoreError: `fold` is not one of this store's folds.
        """
        if not 0 <= fold < self.count:
            raise StoreError(f"fold {fold} does not exist", f"This store has folds 0 … {self.count - 1}.")
        mine = self.groups[group]
        if mine == fold:
            return "test"
        return "validation" if mine == (fold + 1) % self.count else "train"


class SetAsideFile(Strict):
    """A source file that could not be used."""

    file: str
    reason: str


class Manifest(Strict):
    """The description of a store, with a fingerprint over all its fields."""

    schema_version: int = SCHEMA_VERSION
    kind: Kind = "spectral"
    wavelengths_nm: tuple[float, ...]
    """The band centres; of photographs nominal ones, of abundances the numbers 1 … R of the endmembers."""
    shape: tuple[int, int, int]
    """The shape (H, W, B) of every cube."""
    lesions: int
    diagnoses: dict[str, int]
    parts: tuple[Part, ...]
    folds: Folds | None
    warnings: tuple[str, ...] = ()
    set_aside: tuple[SetAsideFile, ...] = ()
    source: dict[str, Any] = Field(default_factory=dict)
    """How the store was made: the command and its options, without paths of a machine."""
    fingerprint: str = ""

    def sealed(self) -> Self:
        """Return this manifest with its fingerprint computed."""
        return self.model_copy(update={"fingerprint": self.digest()})

    def digest(self) -> str:
        """Return the sha256 over everything in the manifest except the fingerprint itself and the writer's folder."""
        data = self.model_dump(mode="json", exclude={"fingerprint"})
        for part in data["parts"]:  # on S3 each writer has a folder of its own: the same data is the same store
            part["path"] = _OWN_FOLDER.sub(f"{LESIONS}/", part["path"])
        return fingerprint(data)
